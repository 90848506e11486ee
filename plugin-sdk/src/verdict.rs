//! What a plugin says about a message: a [`Verdict`], or a [`Failure`] where it could not do its work.

use std::fmt;

use crate::bindings::imports::tubepost::mail::{message::EditError, types};

/// What the client hears: an SMTP reply code with its enhanced status code (RFC 3463) and a short text.
///
/// The host replaces codes that do not fit the verdict, cuts the text at 400 octets and blanks what is not printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<String>,
    text: String,
}

impl Reply {
    /// Makes a reply of a code and its enhanced status code, such as 550 and "5.7.1".
    pub fn new(code: u16, enhanced: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code, enhanced: Some(enhanced.into()), text: text.into() }
    }
}

/// As a client hears it, without a line for each: "550 5.7.1 no".
impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.code)?;
        if let Some(enhanced) = &self.enhanced {
            write!(formatter, "{enhanced} ")?;
        }
        formatter.write_str(&self.text)
    }
}

/// What becomes of the message when the plugin has done its work.
///
/// The edits made in this call are kept by `Next`, `Accept` and `Hold`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on to the next plugin of the chain.
    Next,
    /// Goes on without the plugins that are left in the chain.
    Accept,
    /// Refuses the message for good. In the stage `recipient`, this recipient bounces.
    Reject(Reply),
    /// Refuses it for now. In the stage `recipient`, this recipient is tried again later.
    Defer(Reply),
    /// Says 250 to the client and keeps nothing but an event with this reason.
    Discard(String),
    /// Says 250 to the client and keeps the message, undelivered, until an operator looks at it.
    Hold(String),
}

impl Verdict {
    /// Rejects with 550 5.7.1, the code for "not by our policy".
    pub fn reject(text: impl Into<String>) -> Self {
        Self::Reject(Reply::new(550, "5.7.1", text))
    }

    /// Rejects with 550 5.6.0, the code for "the content is at fault".
    pub fn reject_content(text: impl Into<String>) -> Self {
        Self::Reject(Reply::new(550, "5.6.0", text))
    }

    /// Defers with 451 4.7.1, the code for "not now by our policy".
    pub fn defer(text: impl Into<String>) -> Self {
        Self::Defer(Reply::new(451, "4.7.1", text))
    }

    /// Drops the message silently; `reason` stands in its event.
    pub fn discard(reason: impl Into<String>) -> Self {
        Self::Discard(reason.into())
    }

    /// Holds the message for an operator; `reason` stands in its event.
    pub fn hold(reason: impl Into<String>) -> Self {
        Self::Hold(reason.into())
    }
}

impl From<Reply> for types::Reply {
    fn from(reply: Reply) -> Self {
        Self { code: reply.code, enhanced: reply.enhanced, text: reply.text }
    }
}

impl From<Verdict> for types::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Next => Self::Next,
            Verdict::Accept => Self::Accept,
            Verdict::Reject(reply) => Self::Reject(reply.into()),
            Verdict::Defer(reply) => Self::Defer(reply.into()),
            Verdict::Discard(reason) => Self::Discard(reason),
            Verdict::Hold(reason) => Self::Hold(reason),
        }
    }
}

/// Why the plugin could not do its work.
///
/// This is no opinion on the mail: the operator's `on_error` decides what happens (defer, reject or skip), as it does for a
/// panic. `?` makes one of an [`EditError`], a [`serde_json::Error`], and a [`std::str::Utf8Error`] or its owned sister.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Trying again later may help.
    Transient(String),
    /// Trying again will not help: the message itself is at fault.
    Permanent(String),
    /// The options given to the plugin make no sense.
    Config(String),
}

impl Failure {
    /// A failure that may be gone at the next try.
    pub fn transient(cause: impl fmt::Display) -> Self {
        Self::Transient(cause.to_string())
    }

    /// A failure that the same message will meet again.
    pub fn permanent(cause: impl fmt::Display) -> Self {
        Self::Permanent(cause.to_string())
    }

    /// A failure whose cause is in the options.
    pub fn config(cause: impl fmt::Display) -> Self {
        Self::Config(cause.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(cause) | Self::Permanent(cause) => formatter.write_str(cause),
            Self::Config(cause) => write!(formatter, "options: {cause}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            // Limits of the message, what it has no part for, what the stage does not allow: the same message meets the same again.
            EditError::Denied(what) => Self::Permanent(format!("the edit is not allowed: {what}")),
            EditError::Invalid(what) => Self::Permanent(format!("the edit is not valid: {what}")),
            EditError::TooLarge(limit) => Self::Permanent(format!("the edit would pass the limit of {limit} octets")),
            EditError::NoSuchPart => Self::Permanent("there is no such part, or it is no leaf".to_owned()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::permanent(error)
    }
}

impl From<std::str::Utf8Error> for Failure {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::permanent(error)
    }
}

impl From<std::string::FromUtf8Error> for Failure {
    fn from(error: std::string::FromUtf8Error) -> Self {
        Self::permanent(error)
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(cause) => Self::Transient(cause),
            Failure::Permanent(cause) => Self::Permanent(cause),
            Failure::Config(cause) => Self::Config(cause),
        }
    }
}
