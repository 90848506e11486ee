//! The sending calls of all dialects: who is it, what does he want, submit, answer. Success is said of a [`Receipt`] and of nothing else.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::ExtensionRejection;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use super::body::Room;
use super::compose::Stamp;
use super::fields::Fields;
use super::idempotency::{Taken, Turn};
use super::order::{Order, Stations};
use super::origin::Origin;
use super::problem::{Dialect, Flaw, Problem};
use super::{Services, body, mailpace, turbosmtp, v1};
use crate::mail::message_id::{CopyId, MessageId};
use crate::mail::refusal::Refusal;
use crate::spool::receipt::Receipt;
use crate::submission::login::{Door, Login, LoginError, Principal};
use crate::submission::{Received, Submission};

/// Names the fields of a call that mean nothing here.
const IGNORED: &str = "x-ignored-fields";
/// How many are named.
const MOST_IGNORED: usize = 20;

/// Names the message in answers whose body cannot.
const MESSAGE_ID: &str = "x-tubepost-message-id";

/// A sending call, its body not read yet.
pub(super) struct Call {
    services: Arc<Services>,
    origin: Origin,
    room: Room,
    parts: Parts,
    body: Body,
}

impl FromRequest<Arc<Services>> for Call {
    type Rejection = ExtensionRejection;

    async fn from_request(request: Request, services: &Arc<Services>) -> Result<Self, ExtensionRejection> {
        let (mut parts, body) = request.into_parts();
        let Extension(origin) = Extension::from_request_parts(&mut parts, services).await?;
        let Extension(room) = Extension::from_request_parts(&mut parts, services).await?;
        Ok(Self { services: services.clone(), origin, room, parts, body })
    }
}

/// What calls that manage things are about.
impl Call {
    /// Who makes the call, by his token.
    pub(super) fn principal(&self) -> Result<Principal, Problem> {
        let token = query(&self.parts, "access_token").or_else(|| bearer(&self.parts.headers)).ok_or(Problem::MissingCredentials)?;
        self.services.logins.principal(&token, self.origin.ip).map_err(credentials_problem)
    }

    pub(super) fn method(&self) -> &Method {
        &self.parts.method
    }

    pub(super) fn services(&self) -> Arc<Services> {
        Arc::clone(&self.services)
    }

    /// The parameters behind the question mark, as fields.
    pub(super) fn query(&self) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in form_urlencoded::parse(self.parts.uri.query().unwrap_or_default().as_bytes()) {
            fields.add_text(&name, value.into_owned());
        }
        fields
    }

    /// Reads the body; none has no fields.
    pub(super) async fn fields(self) -> Result<Fields, Problem> {
        let Self { services, room, parts, body, .. } = self;
        let (octets, _room) = room.read(&parts.headers, body, true).await?;
        if octets.is_empty() {
            return Ok(Fields::default());
        }
        body::fields(&parts.headers, octets, services.limits.json_values).await
    }
}

/// `POST /v1/send`.
pub(super) async fn v1_send(call: Call) -> Response {
    answer(Dialect::V1, call.v1().await)
}

/// `POST /api/mail/send`.
pub(super) async fn turbosmtp_send(call: Call) -> Response {
    answer(Dialect::TurboSmtp, call.turbosmtp().await)
}

/// `POST /api/v1/send`.
pub(super) async fn mailpace_send(call: Call) -> Response {
    answer(Dialect::MailPace, call.mailpace().await)
}

impl Call {
    async fn v1(self) -> Result<Taken, Problem> {
        only_post(&self.parts)?;
        let token = token(&self.parts.headers, &self.parts.uri).ok_or(Problem::MissingCredentials)?;
        let login = self.services.logins.by_token(&token, self.origin.ip).map_err(credentials_problem)?;
        let Self { services, origin, room, parts, body } = self;
        let (octets, _room) = room.read(&parts.headers, body, true).await?;
        let turn = services.idempotency.turn(&parts.headers, &login.name, Dialect::V1, &octets).await?;
        let fields = body::fields(&parts.headers, octets, services.limits.json_values).await?;
        let stations = Stations::of(&login, &services.chains);
        let moment = v1::timing::Moment { now: services.clock.now(), longest_hold: services.longest_hold };
        carry_out(services, Dialect::V1, turn, login, origin, || v1::send::parse(&fields, &stations, moment).map_err(Problem::from)).await
    }

    async fn turbosmtp(self) -> Result<Taken, Problem> {
        only_post(&self.parts)?;
        let Self { services, origin, room, parts, body } = self;
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let credentials = header("authuser").zip(header("authpass")).or_else(|| query(&parts, "authuser").zip(query(&parts, "authpass")));
        let check = async |(user, password): (String, String)| {
            services.logins.by_password(&user, &password, origin.ip, Door::Rest).await.map_err(credentials_problem)
        };
        let known = match credentials {
            Some(credentials) => Some(check(credentials).await?),
            None => None,
        };
        let (octets, _room) = room.read(&parts.headers, body, known.is_some()).await?;
        let login = if let Some(login) = known {
            login
        } else {
            let credentials = body::pair(&parts.headers, &octets, ["authuser", "authpass"]).await?;
            check(credentials.ok_or(Problem::MissingCredentials)?).await?
        };
        let turn = services.idempotency.turn(&parts.headers, &login.name, Dialect::TurboSmtp, &octets).await?;
        let fields = body::fields(&parts.headers, octets, services.limits.json_values).await?;
        carry_out(services, Dialect::TurboSmtp, turn, login, origin, || turbosmtp::parse(&fields).map_err(Problem::Flaws)).await
    }

    async fn mailpace(self) -> Result<Taken, Problem> {
        let Self { services, origin, room, parts, body } = self;
        only_post(&parts)?;
        only_json(&parts.headers)?;
        let token = ["mailpace-server-token", "ohmysmtp-server-token"].iter().find_map(|name| parts.headers.get(*name));
        let token = token.and_then(|value| value.to_str().ok()).filter(|token| !token.is_empty()).ok_or(Problem::MissingCredentials)?;
        let login = services.logins.by_token(token, origin.ip).map_err(credentials_problem)?;
        let (octets, _room) = room.read(&parts.headers, body, true).await?;
        let turn = match services.idempotency.turn(&parts.headers, &login.name, Dialect::MailPace, &octets).await? {
            Turn::Again(taken) => return Ok(taken),
            turn @ (Turn::Free | Turn::First(_)) => turn,
        };
        let order = mailpace::parse(&body::json(&octets, services.limits.json_values)?)?;
        // The other dialects take the message, and drop the copy: their clients know no such answer.
        match services.archive.intake().blocked(&login, &order.envelope).await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(Flaw::new("to", "contains a blocked address").into()),
            Err(error) => {
                warn!(%error, "the suppression list cannot be asked");
                return Err(Problem::Refused(Refusal::StorageFailed));
            }
        }
        carry_out(services, Dialect::MailPace, turn, login, origin, || Ok(order)).await
    }
}

/// Answers a call that was made before as then; carries out every other.
async fn carry_out(
    services: Arc<Services>,
    dialect: Dialect,
    turn: Turn,
    login: Arc<Login>,
    origin: Origin,
    order: impl FnOnce() -> Result<Order, Problem>,
) -> Result<Taken, Problem> {
    let running = match turn {
        Turn::Again(taken) => return Ok(taken),
        Turn::Free => return submit(&services, dialect, login, &origin, order()?).await,
        Turn::First(running) => running,
    };
    let order = order()?;
    running.check(&order.envelope)?;
    // Who has a key may go away and ask again: what was begun goes on without him, and he gets its answer then.
    let tracker = services.background.clone();
    let submitted = tracker.spawn(async move {
        let taken = submit(&services, dialect, login, &origin, order).await?;
        running.keep(&taken).await;
        Ok(taken)
    });
    submitted.await.unwrap_or(Err(Problem::Refused(Refusal::StorageFailed)))
}

async fn submit(services: &Services, dialect: Dialect, login: Arc<Login>, origin: &Origin, order: Order) -> Result<Taken, Problem> {
    let now = services.clock.now();
    let id = MessageId::new(now, &services.entropy);
    let stamp = Stamp { id, now, hostname: &services.hostname, entropy: &services.entropy };
    let submission = Submission {
        id,
        login,
        received: Received { at: now, peer: origin.ip, helo: None, protocol: origin.protocol() },
        envelope: order.envelope,
        content: order.content.into_octets(stamp),
        binary: None,
        options: order.options,
        checked: None,
    };
    let receipt = services.archive.intake().submit(submission).await.map_err(Problem::from)?;
    Ok(taken(dialect, &receipt, order.ignored))
}

/// `{"<id>":"<recipient>"}`, in the order of the recipients.
fn copies(receipt: &Receipt) -> Value {
    let pairs = (0..).zip(receipt.recipients()).map(|(recipient, address)| {
        let copy = CopyId { message: receipt.message(), recipient };
        (copy.to_string(), Value::from(address.to_string()))
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn answer(dialect: Dialect, outcome: Result<Taken, Problem>) -> Response {
    match outcome {
        Ok(taken) => response(taken),
        Err(problem) => {
            debug!(?dialect, status = problem.status(dialect).as_u16(), "call refused");
            problem.response(dialect)
        }
    }
}

/// The answer that a message was taken, which nothing but its receipt makes.
fn taken(dialect: Dialect, receipt: &Receipt, ignored: Vec<String>) -> Taken {
    let body = match dialect {
        Dialect::V1 | Dialect::Plain => copies(receipt),
        Dialect::TurboSmtp => json!({ "message": "OK" }),
        Dialect::MailPace => json!({ "id": receipt.message().to_number(), "status": "pending" }),
    };
    Taken { body: body.to_string(), message: receipt.message().to_string(), ignored }
}

fn response(taken: Taken) -> Response {
    let mut response = Response::new(Body::from(taken.body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend(HeaderValue::from_str(&taken.message).ok().map(|id| (HeaderName::from_static(MESSAGE_ID), id)));
    headers.extend(ignored_names(&taken.ignored).map(|names| (HeaderName::from_static(IGNORED), names)));
    response
}

fn ignored_names(names: &[String]) -> Option<HeaderValue> {
    let printable =
        |name: &&String| !name.is_empty() && name.len() <= 64 && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',');
    let told: Vec<&str> = names.iter().filter(printable).take(MOST_IGNORED).map(String::as_str).collect();
    (!told.is_empty()).then(|| HeaderValue::from_str(&told.join(", ")).ok()).flatten()
}

fn only_post(parts: &Parts) -> Result<(), Problem> {
    if parts.method == Method::POST { Ok(()) } else { Err(Problem::MethodNotAllowed("POST")) }
}

/// MailPace wants JSON in and out, and says 406 to everything else.
fn only_json(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let essence = |entry: &str| entry.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let sends_json = text(header::CONTENT_TYPE).is_some_and(|value| essence(value) == "application/json");
    let takes_json = text(header::ACCEPT)
        .is_none_or(|value| value.split(',').any(|entry| ["application/json", "application/*", "*/*"].contains(&essence(entry).as_str())));
    if sends_json && takes_json { Ok(()) } else { Err(Problem::MediaType) }
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    query_of(&parts.uri, name)
}

/// Returns what a query string says.
pub(super) fn query_of(uri: &Uri, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.into_iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
}

/// Returns the token of a call to the native API.
pub(super) fn token(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    query_of(uri, "access_token").or_else(|| bearer(headers))
}

/// `Authorization: Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

pub(super) fn credentials_problem(error: LoginError) -> Problem {
    match error {
        LoginError::Wrong => Problem::WrongCredentials,
        LoginError::Busy => Problem::Refused(Refusal::Overloaded),
        LoginError::TooManyFailures { retry_after } => Problem::TooManyFailures { retry_after },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn mailpace_speaks_json_alone() {
        let json = ("content-type", "application/json; charset=utf-8");
        for (pairs, fine) in [
            (vec![json], true),
            (vec![json, ("accept", "application/json")], true),
            (vec![json, ("accept", "text/html, */*;q=0.1")], true),
            (vec![json, ("accept", "text/html")], false),
            (vec![("content-type", "text/plain")], false),
            (vec![], false),
        ] {
            assert_eq!(only_json(&headers(&pairs)).is_ok(), fine, "{pairs:?}");
        }
    }

    #[test]
    fn tokens_are_found() {
        assert_eq!(bearer(&headers(&[("authorization", "bearer  abc ")])).as_deref(), Some("abc"));
        for value in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(bearer(&headers(&[("authorization", value)])), None, "{value}");
        }
        let (parts, ()) = Request::get("/v1/send?x=1&access_token=a%2Bb").body(()).unwrap().into_parts();
        assert_eq!(query(&parts, "access_token").as_deref(), Some("a+b"));
        assert_eq!(query(&parts, "access"), None);
    }

    #[test]
    fn names_that_mean_nothing_are_told() {
        let names = ["a".to_owned(), "b\r\nc".to_owned(), String::new(), "d".to_owned()];
        assert_eq!(ignored_names(&names).unwrap(), "a, d");
        assert_eq!(ignored_names(&[]), None);
    }
}
