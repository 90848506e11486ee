//! Suppression list and allow list over REST: our own calls, and those of turboSMTP.
//!
//! A login sees and changes what is its own; an administrator sees everything, and writes for everybody unless he names a scope.

pub mod native;
pub mod parameters;
pub mod turbosmtp;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::ExtensionRejection;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use serde_json::Value;

use super::Services;
use super::body::{Place, Room};
use super::origin::Origin;
use super::problem::Problem;
use crate::store::StoreError;
use crate::submission::login::{Door, LoginError, Principal};
use crate::suppression::entry::{Entry, Recipient, Scope};
use crate::suppression::query::{MOST_ON_PAGE, Query};
use crate::suppression::{Suppressions, csv};

/// A call, its body not read yet.
pub(super) struct Call {
    services: Arc<Services>,
    origin: Origin,
    room: Room,
    parts: Parts,
    /// Nobody locks it: it makes a call something that may be looked at while somebody waits.
    body: Mutex<Body>,
}

impl FromRequest<Arc<Services>> for Call {
    type Rejection = ExtensionRejection;

    async fn from_request(request: Request, services: &Arc<Services>) -> Result<Self, ExtensionRejection> {
        let (mut parts, body) = request.into_parts();
        let Extension(origin) = Extension::from_request_parts(&mut parts, services).await?;
        let Extension(room) = Extension::from_request_parts(&mut parts, services).await?;
        Ok(Self { services: Arc::clone(services), origin, room, parts, body: Mutex::new(body) })
    }
}

impl Call {
    fn lists(&self) -> Suppressions {
        self.services.archive.suppressions()
    }

    /// Reads the body.
    async fn octets(&mut self) -> Result<(Bytes, Place), Problem> {
        let body = std::mem::take(self.body.get_mut());
        self.room.read(&self.parts.headers, body, true).await
    }

    /// The parameters behind the question mark, in order.
    fn query(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
    }

    /// Who calls, by the token in `Authorization` (with `Bearer` or without), or by turboSMTP's pair of header fields.
    async fn principal(&self) -> Result<Option<Principal>, LoginError> {
        let header = |name: &str| self.parts.headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        if let Some((key, secret)) = header("consumerkey").zip(header("consumersecret")) {
            return self
                .services
                .logins
                .by_password(key, secret, self.origin.ip, Door::Rest)
                .await
                .map(|login| Some(Principal::Login(login)));
        }
        let token = header(header::AUTHORIZATION.as_str()).map(|value| bearer(value).unwrap_or(value).trim());
        token.map(|token| self.services.logins.principal(token, self.origin.ip)).transpose()
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Whose entries somebody sees; none is everybody's.
fn visible(principal: &Principal) -> Option<Scope> {
    match principal {
        Principal::Login(login) => Some(Scope::Login(Arc::clone(&login.name))),
        Principal::Administrator(_) => None,
    }
}

/// A JSON answer.
fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What a query finds, as a file. Up to [`MOST_ON_PAGE`] lines come in its order; more come in that of addresses, page by page, so that they
/// need not be in memory together.
async fn csv_file(lists: Suppressions, query: Query) -> Result<Response, StoreError> {
    let query = Query { offset: 0, limit: MOST_ON_PAGE, ..query };
    let found = lists.find(&query).await?;
    let body = if found.count <= MOST_ON_PAGE {
        let mut text = csv::HEADING.to_owned();
        for entry in &found.entries {
            csv::push_line(&mut text, entry);
        }
        Body::from(text)
    } else {
        drop(found);
        Body::from_stream(stream::try_unfold(Some((lists, query, None, csv::HEADING.to_owned())), |state| async move {
            let Some((lists, query, after, mut text)) = state else { return Ok::<_, StoreError>(None) };
            let (page, next) = lists.page(after).await?;
            for entry in page.iter().filter(|entry| query.matches(entry)) {
                csv::push_line(&mut text, entry);
            }
            Ok(Some((Bytes::from(text), next.map(|next| (lists, query, Some(next), String::new())))))
        }))
    };
    let mut response = Response::new(body);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"suppressions.csv\""));
    Ok(response)
}

/// Entries of the same kind for many.
fn entries(template: &Entry, recipients: &[Recipient]) -> Vec<Entry> {
    recipients.iter().map(|recipient| Entry { recipient: recipient.clone(), ..template.clone() }).collect()
}
