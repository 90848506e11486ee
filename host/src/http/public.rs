//! The links in mail: clicks, openings, unsubscribing. Every one is signed; what is not ours is 404, so that nothing here is an open redirect.
//!
//! Readers do not wait for the disk: clicks and openings are written after the response, a bounded number at once. An unsubscription is
//! written before it is confirmed. Links outlive their message: then the event names the message alone.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Uri;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::warn;

use super::origin::Origin;
use super::problem::{Dialect, Problem};
use super::{Services, body};
use crate::event::{Event, EventKind, Visitor};
use crate::link::SignedLink;
use crate::mail::message_id::CopyId;
use crate::mail::slot::Link;
use crate::store::StoreError;

/// A transparent image of one by one.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;";
/// Events of clicks and openings that may wait for the disk at once; further visitors wait for theirs.
const MOST_WAITING: usize = 256;
/// Octets of a confirmation that are read.
const LONGEST_CONFIRMATION: u64 = 8 * 1024;
/// Values of a confirmation in JSON that are read.
const MOST_VALUES: u32 = 100;
/// Octets of `User-Agent` that are kept.
const LONGEST_USER_AGENT: usize = 512;
/// Nothing is loaded, nothing runs; the form goes back to where it came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// `GET /t/…`: leads on and records it.
pub(super) async fn follow(
    State(services): State<Arc<Services>>,
    Extension(origin): Extension<Origin>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(SignedLink { copy, link }) = services.links.verify(uri.path()) else { return not_ours() };
    let visitor = visitor(&origin, &headers);
    let (kind, response) = match link {
        Link::Click { url, position } => {
            let Some(response) = redirect(&url) else { return not_ours() };
            (EventKind::Clicked { url, position, visitor }, response)
        }
        Link::Open(Some(url)) => {
            let Some(response) = redirect(&url) else { return not_ours() };
            (EventKind::Opened { visitor }, response)
        }
        Link::Open(None) => {
            let response = ([(header::CONTENT_TYPE, "image/gif")], PIXEL).into_response();
            (EventKind::Opened { visitor }, response)
        }
        Link::Own { plugin, claims, url } => {
            let response = match &url {
                Some(url) => redirect(url),
                None => Some(page(StatusCode::OK, "Thank you", "<p>This is noted. You can close this page.</p>")),
            };
            let Some(response) = response else { return not_ours() };
            (EventKind::Followed { plugin, claims, url, visitor }, response)
        }
        Link::Unsubscribe => return not_ours(),
    };
    // HEAD is what link checkers do, and prefetching what readers' programs do on their own: nobody has read anything.
    if method == Method::GET && !is_prefetch(&headers) {
        record_later(&services, copy, kind).await;
    }
    with_public_headers(response)
}

/// `GET /u/…`: asks. Mail scanners follow links, so nothing changes here.
pub(super) async fn ask(State(services): State<Arc<Services>>, uri: Uri) -> Response {
    match services.links.verify(uri.path()) {
        Some(SignedLink { link: Link::Unsubscribe, .. }) => page(
            StatusCode::OK,
            "Unsubscribe",
            "<p>Do you want to stop receiving these mails?</p>\
             <form method=\"post\"><input type=\"hidden\" name=\"confirm\" value=\"yes\"><button>Unsubscribe</button></form>",
        ),
        Some(_) | None => not_ours(),
    }
}

/// `POST /u/…`: unsubscribes, by RFC 8058 (`List-Unsubscribe=One-Click`) or from the page.
pub(super) async fn unsubscribe(State(services): State<Arc<Services>>, Extension(origin): Extension<Origin>, request: Request) -> Response {
    let (parts, content) = request.into_parts();
    let Some(SignedLink { copy, link: Link::Unsubscribe }) = services.links.verify(parts.uri.path()) else { return not_ours() };
    let Some(one_click) = confirmation(&parts.headers, content).await else {
        return page(StatusCode::BAD_REQUEST, "Unsubscribe", "<p>This request does not say what it wants.</p>");
    };
    let kind = EventKind::Unsubscribed { one_click, visitor: visitor(&origin, &parts.headers) };
    let address = services.archive.address(copy).await.unwrap_or_else(|error| {
        warn!(%error, message.id = %copy.message, "who unsubscribes cannot be found out");
        None
    });
    match record(&services, copy, address, kind).await {
        Ok(()) => page(StatusCode::OK, "Done", "<p>This is recorded, and passed on to the sender.</p>"),
        Err(error) => {
            warn!(%error, message.id = %copy.message, "an unsubscription could not be stored");
            page(StatusCode::SERVICE_UNAVAILABLE, "Try again", "<p>This did not work. Please try again in a few minutes.</p>")
        }
    }
}

/// Whether the body is a one-click confirmation (`true`) or that of our page; `None` for others.
async fn confirmation(headers: &HeaderMap, content: Body) -> Option<bool> {
    let octets = body::read(headers, content, LONGEST_CONFIRMATION).await.ok()?;
    let fields = body::fields(headers, octets, MOST_VALUES).await.ok()?;
    let says = |name: &str, value: &str| fields.text(&[name]).ok().flatten().is_some_and(|text| text.trim().eq_ignore_ascii_case(value));
    if says("list-unsubscribe", "One-Click") {
        return Some(true);
    }
    says("confirm", "yes").then_some(false)
}

/// Records after the response, or, when too many do that already, before it.
async fn record_later(services: &Arc<Services>, copy: CopyId, kind: EventKind) {
    let write = {
        let services = services.clone();
        async move {
            if let Err(error) = record(&services, copy, None, kind).await {
                warn!(%error, message.id = %copy.message, "a visit could not be stored");
            }
        }
    };
    if services.background.len() < MOST_WAITING {
        services.background.spawn(write);
    } else {
        write.await;
    }
}

async fn record(services: &Services, copy: CopyId, address: Option<String>, kind: EventKind) -> Result<(), StoreError> {
    let entry = match services.archive.spool().entry(copy.message).await {
        Ok(found) => found,
        Err(StoreError::Damaged(_)) => None,
        Err(
            error @ (StoreError::Full
            | StoreError::TooLarge(_)
            | StoreError::Poisoned(_)
            | StoreError::Unreadable(_)
            | StoreError::BadDisk(_)),
        ) => {
            return Err(error);
        }
    };
    let (login, tags) = entry.map_or_else(|| ("".into(), Vec::new()), |entry| (entry.login, entry.tags));
    let recipient = Some(copy.recipient);
    let event = Event { at: services.clock.now(), message: copy.message, login, recipient, address, tags, kind };
    services.recorder.record(vec![event]).await
}

/// Whether a browser only makes ready for a visit: `Sec-Purpose` by the Fetch standard, the others are what older ones say.
fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz"].iter().flat_map(|name| headers.get_all(*name)).any(|value| {
        let token = value.as_bytes().split(|octet| matches!(octet, b';' | b',')).next().unwrap_or_default();
        token.trim_ascii().eq_ignore_ascii_case(b"prefetch")
    })
}

fn visitor(origin: &Origin, headers: &HeaderMap) -> Visitor {
    let agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    let end = agent.floor_char_boundary(LONGEST_USER_AGENT);
    Visitor { ip: origin.ip.to_string(), user_agent: agent.get(..end).unwrap_or_default().to_owned() }
}

/// 302 to exactly `url`; `None` where that is no header value.
fn redirect(url: &str) -> Option<Response> {
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_bytes(url.as_bytes()).ok()?);
    Some(response)
}

fn not_ours() -> Response {
    with_public_headers(Problem::NotFound.response(Dialect::Plain))
}

fn page(status: StatusCode, title: &str, content: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>\
         :root{{color-scheme:light dark}}body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:30rem;margin:20vh auto;padding:0 1.5rem}}\
         button{{font:inherit;padding:.5rem 1.25rem;border-radius:.5rem;border:0;background:#2557a7;color:#fff;cursor:pointer}}\
         </style></head><body><h1>{title}</h1>{content}</body></html>\n"
    );
    let mut response = (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    with_public_headers(response)
}

/// No cache keeps it, no page learns where the reader came from, no browser guesses another type.
fn with_public_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    async fn confirmed(content_type: &str, content: &str) -> Option<bool> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        confirmation(&headers, Body::from(content.to_owned())).await
    }

    #[tokio::test]
    async fn one_click_comes_in_two_forms() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(confirmed(form, "List-Unsubscribe=One-Click").await, Some(true));
        let part = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
        assert_eq!(confirmed("multipart/form-data; boundary=b", part).await, Some(true));
        assert_eq!(confirmed(form, "confirm=yes").await, Some(false));
        for content in ["", "confirm=no", "List-Unsubscribe=Maybe"] {
            assert_eq!(confirmed(form, content).await, None, "{content}");
        }
        assert_eq!(confirmed(form, &"x".repeat(9000)).await, None);
    }

    #[test]
    fn prefetching_is_no_visit() {
        let is_prefetch =
            |name: &'static str, value: &str| is_prefetch(&[(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect());
        for (name, value) in
            [("sec-purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("purpose", "Prefetch"), ("x-moz", "prefetch")]
        {
            assert!(is_prefetch(name, value), "{name}: {value}");
        }
        for (name, value) in [("sec-purpose", ""), ("sec-purpose", "prefetching"), ("purpose", "visit"), ("x-purpose", "prefetch")] {
            assert!(!is_prefetch(name, value), "{name}: {value}");
        }
    }

    #[test]
    fn redirects_are_exact() {
        for url in ["https://x/p?q=1#f", "https://x/é%20ü", "HTTP://x"] {
            let response = redirect(url).unwrap();
            assert_eq!(response.status(), StatusCode::FOUND);
            assert_eq!(response.headers().get(header::LOCATION).unwrap().as_bytes(), url.as_bytes());
        }
        assert!(redirect("https://x/\r\nSet-Cookie: a=b").is_none());
    }

    #[test]
    fn the_pixel_is_a_gif_of_one_by_one() {
        assert!(PIXEL.starts_with(b"GIF89a\x01\0\x01\0") && PIXEL.ends_with(b";"));
    }
}
