//! Requests to origins that the operator lists in `allow.http`.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tubepost_plugin_sdk::{Failure, http::{Request, Response}, testing::Host};
//!
//! #[derive(Serialize)]
//! struct Question { address: String }
//! #[derive(Deserialize)]
//! struct Score { score: u8 }
//!
//! fn score(address: String) -> Result<u8, Failure> {
//!     let response = Request::post("https://score.example/v1").bearer("secret").json(&Question { address })?.send()?;
//!     Ok(response.ok()?.json::<Score>()?.score)
//! }
//!
//! let host = Host::new().answer(Response::new(200).with_body(r#"{"score":7}"#));
//! assert_eq!(score("ann@example.com".to_owned()), Ok(7));
//! assert_eq!(host.requests()[0].body, br#"{"address":"ann@example.com"}"#);
//! // Nothing answers any more: a test scripts each answer.
//! assert!(matches!(score("ann@example.com".to_owned()), Err(Failure::Config(_))));
//! ```
//!
//! Redirects are not followed and cookies not kept. In the stage `recipient` all requests are denied. `?` makes a [`Failure`] of an
//! [`enum@Error`]: time-outs, servers that cannot be reached and answers of 429 and 5xx are transient; what is not granted, and what the server does not
//! know or allow (401, 403, 404, 405, 410), is a mistake in the configuration; the rest is permanent.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, bindings::imports::tubepost::mail::http_client as wire};

/// A request, as it is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// "GET", "POST", ...
    pub method: String,
    /// Where it goes: absolute, http or https.
    pub url: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Vec<u8>,
    /// Less than the operator's own limit, if that is wanted.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A request of any method.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self { method: method.to_owned(), url: url.into(), headers: Vec::new(), body: Vec::new(), timeout: None }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A POST.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// A PUT.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// A DELETE.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds `Authorization: Bearer` with a token, such as one of [`secrets`](crate::secrets).
    #[must_use]
    pub fn bearer(self, token: impl fmt::Display) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Sets the body to a value as JSON, with its content type.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the value cannot be JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self, Error> {
        self.body = serde_json::to_vec(value).map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(self.header("Content-Type", "application/json"))
    }

    /// Sets the body to the fields of a form, with its content type.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::http::Request;
    /// let request = Request::post("https://example.com/").form([("to", "ann@example.com"), ("text", "a b")]);
    /// assert_eq!(request.body, b"to=ann%40example.com&text=a+b");
    /// ```
    #[must_use]
    pub fn form<'a>(mut self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut body = String::new();
        for (name, value) in fields {
            if !body.is_empty() {
                body.push('&');
            }
            form_encode(name, &mut body);
            body.push('=');
            form_encode(value, &mut body);
        }
        self.body = body.into_bytes();
        self.header("Content-Type", "application/x-www-form-urlencoded")
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits no longer than this, if the operator's own limit is not shorter.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Sends it and waits for the response, whatever its status; see [`Response::ok`].
    ///
    /// # Errors
    /// See [`enum@Error`].
    pub fn send(self) -> Result<Response, Error> {
        #[cfg(target_arch = "wasm32")]
        return Ok(wire::send(&wire::Request {
            method: self.method,
            url: self.url,
            headers: self.headers,
            body: self.body,
            timeout_ms: self.timeout.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
        })?
        .into());
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::host(|host| host.send(self))
    }
}

/// As `application/x-www-form-urlencoded` has it.
fn form_encode(text: &str, into: &mut String) {
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => into.push(char::from(octet)),
            b' ' => into.push('+'),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(into, "%{octet:02X}");
            }
        }
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200, 404, ...
    pub status: u16,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// What came.
    pub body: Vec<u8>,
}

impl Response {
    /// A response without header and body, for tests.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Sets the body, for tests.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header field, for tests.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The response, if its status is 2xx.
    ///
    /// # Errors
    /// [`Error::Status`] if it is not.
    pub fn ok(self) -> Result<Self, Error> {
        if self.is_success() { Ok(self) } else { Err(Error::Status(self.status)) }
    }

    /// The first header field of this name, compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, from JSON.
    ///
    /// # Errors
    /// [`Error::Body`] where it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::Body(error.to_string()))
    }

    /// The body, as text.
    ///
    /// # Errors
    /// [`Error::Body`] where it is no UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|error| Error::Body(error.to_string()))
    }
}

/// Why there is no response, or not the one that was hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The origin is not granted, it leads to a private address, or not in this stage.
    Denied(String),
    /// The request makes no sense.
    Invalid(String),
    /// Nothing came in time.
    Timeout,
    /// Request or response has more octets than this.
    TooLarge(u64),
    /// There is no way to the server, or it broke off.
    Unreachable(String),
    /// The server answered with this status; see [`Response::ok`].
    Status(u16),
    /// The body is not what it must be; see [`Response::json`].
    Body(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(reason) => write!(formatter, "the request is denied: {reason}"),
            Self::Invalid(reason) => write!(formatter, "the request is not valid: {reason}"),
            Self::Timeout => formatter.write_str("the server did not answer in time"),
            Self::TooLarge(limit) => write!(formatter, "request or response has more than {limit} octets"),
            Self::Unreachable(reason) => write!(formatter, "the server cannot be reached: {reason}"),
            Self::Status(status) => write!(formatter, "the server answered {status}"),
            Self::Body(reason) => write!(formatter, "the server's answer is not understood: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::Denied(reason) => Self::Denied(reason),
            wire::Error::Invalid(reason) => Self::Invalid(reason),
            wire::Error::Timeout => Self::Timeout,
            wire::Error::TooLarge(limit) => Self::TooLarge(limit),
            wire::Error::Unreachable(reason) => Self::Unreachable(reason),
        }
    }
}

impl From<wire::Response> for Response {
    fn from(response: wire::Response) -> Self {
        Self { status: response.status, headers: response.headers, body: response.body }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout | Error::Unreachable(_) | Error::Status(408 | 425 | 429 | 500..) => Self::transient(error),
            Error::Denied(_) | Error::Invalid(_) | Error::Status(401 | 403 | 404 | 405 | 410) => Self::config(error),
            Error::TooLarge(_) | Error::Body(_) | Error::Status(_) => Self::permanent(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whose_fault_it_is() {
        let failure = |status| Failure::from(Response::new(status).ok().err().unwrap_or(Error::Timeout));
        assert!(matches!((failure(503), failure(429)), (Failure::Transient(_), Failure::Transient(_))));
        assert!(matches!((failure(403), failure(404)), (Failure::Config(_), Failure::Config(_))));
        assert!(matches!((failure(301), failure(422)), (Failure::Permanent(_), Failure::Permanent(_))));
        assert_eq!(Response::new(204).ok(), Ok(Response::new(204)));
    }
}
