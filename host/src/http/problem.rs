//! What went wrong, as each dialect says it. A [`Refusal`] becomes an HTTP response here and nowhere else.
//!
//! | dialect | body |
//! |---|---|
//! | [`Dialect::V1`] | `{"error":{"message":"…","field":"…"}}` |
//! | [`Dialect::TurboSmtp`] | `{"message":"error","errors":["…"]}`; credentials: `{"errorCode":3,"error":3,"message":"…"}` |
//! | [`Dialect::MailPace`] | `{"error":"…"}`; fields: `{"errors":{"field":["…"]}}` |
//! | [`Dialect::Plain`] | one line of text |

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::mail::refusal::Refusal;

/// Whose clients are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The native API, and SMTPeter's.
    V1,
    /// turboSMTP's.
    TurboSmtp,
    /// MailPace's, once OhMySMTP's.
    MailPace,
    /// No API: people and orchestrators.
    Plain,
}

impl Dialect {
    /// Returns a word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::TurboSmtp => "turbosmtp",
            Self::MailPace => "mailpace",
            Self::Plain => "plain",
        }
    }

    /// Returns the dialect that clients of this path expect, of paths that do not exist too.
    pub fn of(path: &str) -> Self {
        let versioned = |path: &str| path.strip_prefix("/v").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        match path.strip_prefix("/api") {
            Some(rest) if rest == "/v1" || rest.starts_with("/v1/") => Self::MailPace,
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::TurboSmtp,
            Some(_) | None if versioned(path) => Self::V1,
            Some(_) | None => Self::Plain,
        }
    }
}

/// A field that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Its name, as the caller wrote it.
    pub field: String,
    /// What is wrong: a phrase, for turboSMTP the whole text.
    pub reason: String,
}

impl Flaw {
    /// Makes a flaw of `field`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// Why a request is not answered as its sender would like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The message is not taken.
    Refused(Refusal),
    /// Fields are missing or wrong; at least one.
    Flaws(Vec<Flaw>),
    /// MailPace's own word for a From that is no address.
    SenderUnreadable,
    /// No token, no user name.
    MissingCredentials,
    /// A token or password that nobody has.
    WrongCredentials,
    /// Too many of them came from the client's address: none is looked at now.
    TooManyFailures {
        /// When to come back.
        retry_after: Duration,
    },
    /// Good credentials, of somebody who may not do this.
    Forbidden,
    /// Credentials or mail in the clear.
    Unprotected,
    /// There is nothing at this path.
    NotFound,
    /// Not with this method; the ones that go.
    MethodNotAllowed(&'static str),
    /// Content-Type or Accept do not fit.
    MediaType,
    /// More octets than we read.
    BodyTooLarge {
        /// How many are read.
        limit: u64,
    },
    /// The body is not what its type says.
    BodyUnreadable(String),
    /// The request took too long.
    TimedOut,
    /// A call with the same `Idempotency-Key` is being carried out.
    KeyInUse,
    /// The `Idempotency-Key` was that of another call.
    KeyOfAnother,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::InvalidField { field, reason } = refusal { Self::from(Flaw { field, reason }) } else { Self::Refused(refusal) }
    }
}

impl From<Flaw> for Problem {
    fn from(flaw: Flaw) -> Self {
        Self::Flaws(vec![flaw])
    }
}

impl Problem {
    /// Returns the answer in the words of `dialect`.
    pub fn response(&self, dialect: Dialect) -> Response {
        let mut response = match self.body(dialect) {
            Some(Answer::Json(body)) => {
                let mut response = Response::new(Body::from(body.to_string()));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Some(Answer::Text(text)) => format!("{text}\n").into_response(),
            None => Response::new(Body::empty()),
        };
        *response.status_mut() = self.status(dialect);
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if dialect == Dialect::V1 && matches!(self, Self::MissingCredentials | Self::WrongCredentials) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::MethodNotAllowed(allowed) = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }

    /// Returns the status code.
    pub fn status(&self, dialect: Dialect) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal_status(refusal, dialect),
            Self::Flaws(_) | Self::SenderUnreadable | Self::Unprotected | Self::BodyUnreadable(_) => StatusCode::BAD_REQUEST,
            // MailPace tells no token from a wrong one by the status.
            Self::WrongCredentials if dialect == Dialect::MailPace => StatusCode::BAD_REQUEST,
            Self::MissingCredentials | Self::WrongCredentials => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType if dialect == Dialect::MailPace => StatusCode::NOT_ACCEPTABLE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::KeyInUse => StatusCode::CONFLICT,
            Self::KeyOfAnother => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyFailures { .. } => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// When the same call may work.
    fn retry_after(&self) -> Option<Duration> {
        /// For what has no time of its own.
        const SOON: Duration = Duration::from_mins(1);
        match self {
            Self::Refused(Refusal::RateLimited { retry_after } | Refusal::TooMuchFromAddress { retry_after })
            | Self::TooManyFailures { retry_after } => Some(*retry_after),
            Self::Refused(refusal) if refusal.is_temporary() => Some(SOON),
            Self::Refused(_)
            | Self::Flaws(_)
            | Self::SenderUnreadable
            | Self::MissingCredentials
            | Self::WrongCredentials
            | Self::Forbidden
            | Self::Unprotected
            | Self::NotFound
            | Self::MethodNotAllowed(_)
            | Self::MediaType
            | Self::BodyTooLarge { .. }
            | Self::BodyUnreadable(_)
            | Self::TimedOut
            | Self::KeyOfAnother => None,
            Self::KeyInUse => Some(Duration::from_secs(1)),
        }
    }

    fn body(&self, dialect: Dialect) -> Option<Answer> {
        match dialect {
            Dialect::V1 => Some(Answer::Json(self.v1())),
            Dialect::TurboSmtp => Some(Answer::Json(self.turbosmtp())),
            Dialect::MailPace => self.mailpace().map(Answer::Json),
            Dialect::Plain => Some(Answer::Text(self.text())),
        }
    }

    fn v1(&self) -> Value {
        let mut error = Map::new();
        error.insert("message".into(), self.text().into());
        match self {
            Self::Flaws(flaws) => {
                if let Some(first) = flaws.first() {
                    error.insert("field".into(), first.field.clone().into());
                }
            }
            Self::Refused(Refusal::Plugin { plugin, code, enhanced, .. }) => {
                error.insert("plugin".into(), plugin.clone().into());
                error.insert("code".into(), (*code).into());
                error.insert("status".into(), enhanced.to_string().into());
            }
            Self::Refused(Refusal::PluginFailed { plugin, .. }) => {
                error.insert("plugin".into(), plugin.clone().into());
            }
            Self::Refused(_)
            | Self::SenderUnreadable
            | Self::MissingCredentials
            | Self::WrongCredentials
            | Self::TooManyFailures { .. }
            | Self::Forbidden
            | Self::Unprotected
            | Self::NotFound
            | Self::MethodNotAllowed(_)
            | Self::MediaType
            | Self::BodyTooLarge { .. }
            | Self::BodyUnreadable(_)
            | Self::TimedOut
            | Self::KeyInUse
            | Self::KeyOfAnother => {}
        }
        json!({ "error": error })
    }

    fn turbosmtp(&self) -> Value {
        match self {
            Self::MissingCredentials => json!({
                "errorCode": 3,
                "error": 3,
                "message": "Invalid authorization token",
                "details": "No authorization key was specified for request: POST /api/mail/send",
            }),
            Self::WrongCredentials => json!({ "errorCode": 3, "error": 3, "message": "Wrong credentials specified" }),
            Self::NotFound => json!({ "errorCode": 4, "error": 4, "message": "Not found" }),
            Self::Flaws(flaws) => {
                let errors: Vec<&str> = flaws.iter().map(|flaw| flaw.reason.as_str()).collect();
                json!({ "message": "error", "errors": errors })
            }
            Self::Refused(Refusal::InvalidContent(_)) => json!({ "message": "error", "errors": ["Invalid Mime"] }),
            Self::Refused(_)
            | Self::SenderUnreadable
            | Self::TooManyFailures { .. }
            | Self::Forbidden
            | Self::Unprotected
            | Self::MethodNotAllowed(_)
            | Self::MediaType
            | Self::BodyTooLarge { .. }
            | Self::BodyUnreadable(_)
            | Self::TimedOut
            | Self::KeyInUse
            | Self::KeyOfAnother => json!({ "message": "error", "errors": [self.text()] }),
        }
    }

    fn mailpace(&self) -> Option<Value> {
        let text = match self {
            Self::Flaws(flaws) => {
                let mut fields = Map::new();
                for Flaw { field, reason } in flaws {
                    let reasons = fields.entry(field.clone()).or_insert_with(|| json!([]));
                    if let Some(reasons) = reasons.as_array_mut() {
                        reasons.push(reason.clone().into());
                    }
                }
                return Some(json!({ "errors": fields }));
            }
            // "500: no content" is all that MailPace's clients know of our own failures.
            Self::Refused(Refusal::StorageFailed) => return None,
            Self::SenderUnreadable => "Email from address not parseable".to_owned(),
            Self::MissingCredentials => "Missing API Token".to_owned(),
            Self::WrongCredentials => "Invalid API Token".to_owned(),
            Self::MediaType | Self::BodyUnreadable(_) => "Invalid request format or content type".to_owned(),
            Self::Refused(Refusal::RateLimited { .. }) => "You are sending emails too quickly".to_owned(),
            Self::Refused(Refusal::SenderNotAllowed { .. }) => "Verified domain does not match domain in From address of email".to_owned(),
            Self::Refused(Refusal::TooManyRecipients { .. }) => {
                return Some(json!({ "errors": { "to": ["number of email addresses exceeds maximum volume"] } }));
            }
            Self::Refused(_)
            | Self::TooManyFailures { .. }
            | Self::Forbidden
            | Self::Unprotected
            | Self::NotFound
            | Self::MethodNotAllowed(_)
            | Self::BodyTooLarge { .. }
            | Self::TimedOut
            | Self::KeyInUse
            | Self::KeyOfAnother => self.text(),
        };
        Some(json!({ "error": text }))
    }

    fn text(&self) -> String {
        match self {
            Self::Refused(Refusal::SenderNotAllowed { address }) => {
                let domain = address.rsplit_once('@').map_or(address.as_str(), |(_, domain)| domain);
                format!("You cannot send mailings from {domain} without configuring it as sender domain")
            }
            Self::Refused(refusal) => refusal.to_string(),
            Self::Flaws(flaws) => match flaws.first() {
                Some(first) => format!("{}: {}", first.field, first.reason),
                None => "a field is wrong".to_owned(),
            },
            Self::SenderUnreadable => "from: not an address".to_owned(),
            Self::MissingCredentials => "Missing access token".to_owned(),
            Self::WrongCredentials => "Invalid access token".to_owned(),
            Self::TooManyFailures { .. } => "Too many wrong credentials from your address, try again later".to_owned(),
            Self::Forbidden => "These credentials do not allow this".to_owned(),
            Self::Unprotected => "This address is served over HTTPS only".to_owned(),
            Self::NotFound => "There is nothing at this address".to_owned(),
            Self::MethodNotAllowed(allowed) => format!("This address takes {allowed} only"),
            Self::MediaType => {
                "The content type is not known: application/json, application/x-www-form-urlencoded and multipart/form-data are".to_owned()
            }
            Self::BodyTooLarge { limit } => format!("The request is larger than {limit} octets"),
            Self::BodyUnreadable(reason) => reason.clone(),
            Self::TimedOut => "The request took too long".to_owned(),
            Self::KeyInUse => "A call with this Idempotency-Key is being carried out".to_owned(),
            Self::KeyOfAnother => "This Idempotency-Key was used for another call".to_owned(),
        }
    }
}

enum Answer {
    Json(Value),
    Text(String),
}

fn refusal_status(refusal: &Refusal, dialect: Dialect) -> StatusCode {
    match refusal {
        Refusal::SenderNotAllowed { .. } if dialect == Dialect::TurboSmtp => StatusCode::BAD_REQUEST,
        // Who comes over HTTP hears of the first of them alone.
        Refusal::SenderNotAllowed { .. }
        | Refusal::UnknownRecipient { .. }
        | Refusal::RelayDenied { .. }
        | Refusal::NotAuthentic { .. } => StatusCode::FORBIDDEN,
        Refusal::MessageTooLarge { .. } | Refusal::HeaderTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::RateLimited { .. } | Refusal::TooMuchFromAddress { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Plugin { .. } | Refusal::PluginFailed { .. } if refusal.is_temporary() => StatusCode::SERVICE_UNAVAILABLE,
        // Clients of SMTPeter, turboSMTP and MailPace know 400 alone for a message that nobody wants.
        Refusal::Plugin { .. } | Refusal::PluginFailed { .. } | Refusal::Suppressed { .. } if dialect == Dialect::V1 => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Refusal::Plugin { .. }
        | Refusal::PluginFailed { .. }
        | Refusal::Suppressed { .. }
        | Refusal::TooManyRecipients { .. }
        | Refusal::Loop { .. }
        | Refusal::InvalidContent(_)
        | Refusal::InvalidField { .. } => StatusCode::BAD_REQUEST,
        Refusal::StorageFailed => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::StorageFull | Refusal::Overloaded | Refusal::NotAuthenticatedYet | Refusal::LoginDefect { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

#[cfg(test)]
mod tests;
