//! The dashboard: messages and what became of them, for people with a browser.
//!
//! Pages are made on the server and need no script. Mail is hostile content: HTML parts are shown in a sandboxed frame from a path of their
//! own whose policy runs nothing and loads nothing, and sources come as plain text.
//!
//! | path | is |
//! |---|---|
//! | `/dashboard` | list and search |
//! | `/dashboard/login`, `/dashboard/logout` | a password for a cookie, and back |
//! | `/dashboard/messages/ID` | one message |
//! | `/dashboard/plugins` | the plugins: versions, numbers, reloads |
//! | `/dashboard/messages/ID/changes` | what each plugin changed, side by side; `?recipient=` takes another copy than the first |
//! | `/dashboard/messages/ID/html`, `…/source`, `…/original` | its content; `?recipient=` takes another copy than the first |

mod changes;
mod list;
mod message;
mod page;
mod plugins;
mod preview;
mod session;
mod sides;

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use bytes::Bytes;

use super::origin::Origin;
use super::{Services, body};
use crate::archive::ArchiveError;
use crate::mail::message_id::MessageId;
use crate::spool::entry::Entry;
pub use session::{Access, Attempt};

/// Octets of a login form.
const LONGEST_LOGIN: u64 = 8 * 1024;

/// Builds the routes.
pub(super) fn router(services: &Arc<Services>) -> Router<Arc<Services>> {
    let inside = Router::new()
        .route("/dashboard", get(list::show))
        .route("/dashboard/plugins", get(plugins::show))
        .route("/dashboard/messages/{id}", get(message::show))
        .route("/dashboard/messages/{id}/changes", get(changes::show))
        .route("/dashboard/messages/{id}/html", get(preview::html))
        .route("/dashboard/messages/{id}/source", get(preview::source))
        .route("/dashboard/messages/{id}/original", get(preview::original))
        .layer(middleware::from_fn_with_state(services.clone(), only_insiders));
    Router::new()
        .route("/", get(|| async { Redirect::to("/dashboard") }))
        .route("/dashboard/", get(|| async { Redirect::to("/dashboard") }))
        .route("/dashboard/login", get(ask_for_login).post(log_in))
        .route("/dashboard/logout", post(log_out))
        .route("/dashboard/style.css", get(page::style))
        .merge(inside)
        .layer(middleware::from_fn_with_state(services.clone(), guard))
}

/// Whether whoever sent these headers may look at the dashboard.
pub(super) fn is_open_for(services: &Services, headers: &HeaderMap) -> bool {
    services.dashboard.knows(headers, services.clock.now())
}

/// Refuses what other sites make browsers do, and says on every answer what browsers may do with it.
async fn guard(State(services): State<Arc<Services>>, request: Request, next: Next) -> Response {
    let mut response = if session::is_own_request(&request, services.dashboard.is_demonstration()) {
        next.run(request).await
    } else {
        page::notice(StatusCode::FORBIDDEN, "Not from here", "This request was made by another site.").into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in page::SAFETY {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

async fn only_insiders(State(services): State<Arc<Services>>, request: Request, next: Next) -> Response {
    if is_open_for(&services, request.headers()) {
        next.run(request).await
    } else if services.dashboard.is_closed() {
        let text = "Set password in the section [dashboard] of the configuration to open it: \"tubepost login hash\" makes the value.";
        page::notice(StatusCode::FORBIDDEN, "The dashboard is closed", text).into_response()
    } else {
        Redirect::to("/dashboard/login").into_response()
    }
}

async fn ask_for_login(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response {
    if is_open_for(&services, &headers) { Redirect::to("/dashboard").into_response() } else { page::login("").into_response() }
}

async fn log_in(State(services): State<Arc<Services>>, Extension(origin): Extension<Origin>, request: Request) -> Response {
    let (parts, content) = request.into_parts();
    let octets = body::read(&parts.headers, content, LONGEST_LOGIN).await;
    let fields = octets.ok().and_then(|octets| body::urlencoded(&octets).ok());
    let password = fields.and_then(|fields| fields.text(&["password"]).ok().flatten()).unwrap_or_default();
    match services.dashboard.log_in(password, origin.ip, services.clock.now(), &services.entropy).await {
        Attempt::Right(cookie) => {
            let secure = if origin.https { "; Secure" } else { "" };
            let mut response = Redirect::to("/dashboard").into_response();
            if let Ok(value) = HeaderValue::try_from(format!("{cookie}{secure}")) {
                response.headers_mut().insert(header::SET_COOKIE, value);
            }
            response
        }
        Attempt::Wrong => (StatusCode::UNAUTHORIZED, page::login("That is not the password.")).into_response(),
        Attempt::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, page::login("Too many attempts. Please try again in a minute.")).into_response()
        }
    }
}

async fn log_out(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response {
    services.dashboard.log_out(&headers);
    let mut response = Redirect::to("/dashboard/login").into_response();
    response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static(session::NO_COOKIE));
    response
}

/// Reads a message, or makes the page that says why not.
async fn kept(services: &Services, id: MessageId) -> Result<(Entry, Bytes, Option<Bytes>), Response> {
    match services.archive.spool().message(id).await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => {
            let text = "Its content is not kept any more, or there never was such a message.";
            Err(page::notice(StatusCode::NOT_FOUND, "Not there", text).into_response())
        }
        Err(error) => Err(failed(&error.into())),
    }
}

/// Says that the store does not answer.
fn failed(error: &ArchiveError) -> Response {
    tracing::warn!(error = error as &dyn std::error::Error, "the dashboard could not read the store");
    page::notice(StatusCode::INTERNAL_SERVER_ERROR, "That did not work", "The store could not be read; the log says why.").into_response()
}

fn not_there() -> Response {
    page::notice(StatusCode::NOT_FOUND, "Not there", "There is no such message.").into_response()
}

/// Octets that no browser makes a page of.
fn plain_text(octets: Bytes) -> Response {
    let mut response = Response::new(Body::from(octets));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'self'"));
    response
}
