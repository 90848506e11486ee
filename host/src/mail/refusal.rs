//! Why a message, or a recipient, is not taken.
//!
//! A refusal becomes an SMTP reply in `smtp::reply` and an HTTP response in `http::problem`, and nowhere else. The text that a stranger
//! sees is short and true; causes go to the log.

use std::time::Duration;

use super::enhanced_status::EnhancedStatus;
use crate::telemetry::metric::RefusalClass;

/// Why we do not take a message. Nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The login may not send from this address.
    #[error("this login may not send as {address}")]
    SenderNotAllowed {
        /// The address that was given, in the envelope or in From.
        address: String,
    },
    /// Nobody has this address at a domain of ours.
    #[error("there is no mailbox {address} here")]
    UnknownRecipient {
        /// The address.
        address: String,
    },
    /// The address is on the suppression list, and the login wants to hear of that.
    #[error("{address} is on the suppression list: {reason}")]
    Suppressed {
        /// The address.
        address: String,
        /// What put it there.
        reason: &'static str,
    },
    /// Mail for another domain, from somebody who is not logged in.
    #[error("mail for {domain} is not relayed")]
    RelayDenied {
        /// The domain, or what stands in its place.
        domain: String,
    },
    /// Neither SPF nor DKIM speaks for the domain in From, and that domain asks that such mail be refused.
    #[error("{domain} wants mail refused that neither SPF nor DKIM vouches for (DMARC)")]
    NotAuthentic {
        /// The domain.
        domain: String,
    },
    /// More than this server takes from one address in an hour.
    #[error("too much mail from your address")]
    TooMuchFromAddress {
        /// When to come back.
        retry_after: Duration,
    },
    /// More recipients than the login, or the server, allows in one message.
    #[error("more than {limit} recipients")]
    TooManyRecipients {
        /// How many are allowed.
        limit: u32,
    },
    /// Bigger than the login, or the server, allows.
    #[error("the message is larger than {limit} octets")]
    MessageTooLarge {
        /// How many octets are allowed.
        limit: u64,
    },
    /// The header is bigger than the server allows.
    #[error("the header is larger than {limit} octets")]
    HeaderTooLarge {
        /// How many octets are allowed.
        limit: u64,
    },
    /// The message has passed so many hosts that it must be going in circles.
    #[error("the message has passed {hops} hosts: it goes in circles")]
    Loop {
        /// As many as are too many.
        hops: usize,
    },
    /// Bare CR or LF, NUL or other octets that no message has, a header that cannot be read.
    #[error("{0}")]
    InvalidContent(String),
    /// What the domain in From says of its mail cannot be found out for now.
    #[error("the sender cannot be authenticated for now")]
    NotAuthenticatedYet,
    /// A field of an API call is missing or wrong.
    #[error("{field}: {reason}")]
    InvalidField {
        /// Name of the field, as the caller wrote it.
        field: String,
        /// What is wrong, as a phrase.
        reason: String,
    },
    /// The login cannot send as things are: an operator has to put that right.
    #[error("this login cannot send now: {reason}")]
    LoginDefect {
        /// What is wrong.
        reason: String,
    },
    /// The login has sent too much; the same call succeeds later.
    #[error("this login has reached its limit of messages")]
    RateLimited {
        /// When to come back.
        retry_after: Duration,
    },
    /// A plugin of the login's chain refuses the message: for good (5xx) or for now (4xx).
    #[error("{text}")]
    Plugin {
        /// Which plugin.
        plugin: String,
        /// SMTP reply code, 4xx or 5xx.
        code: u16,
        /// Of the same class as `code`.
        enhanced: EnhancedStatus,
        /// What the plugin says, one printable line.
        text: String,
    },
    /// A plugin failed and its `on_error` says defer or reject.
    #[error("the message could not be processed")]
    PluginFailed {
        /// Which plugin.
        plugin: String,
        /// `on_error = "reject"`: do not come back.
        permanent: bool,
    },
    /// No room on the disk: nothing was written, come back later.
    #[error("no room to store the message")]
    StorageFull,
    /// The store failed and takes nothing until it is looked at.
    #[error("the message could not be stored")]
    StorageFailed,
    /// More work at once than the server takes on, or it is shutting down.
    #[error("too busy, try again later")]
    Overloaded,
}

impl Refusal {
    /// Whether the same message may be taken later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::TooMuchFromAddress { .. }
            | Self::StorageFull
            | Self::StorageFailed
            | Self::Overloaded
            | Self::NotAuthenticatedYet
            | Self::LoginDefect { .. } => true,
            Self::Plugin { code, .. } => *code < 500,
            Self::PluginFailed { permanent, .. } => !permanent,
            Self::SenderNotAllowed { .. }
            | Self::UnknownRecipient { .. }
            | Self::Suppressed { .. }
            | Self::RelayDenied { .. }
            | Self::NotAuthentic { .. }
            | Self::TooManyRecipients { .. }
            | Self::MessageTooLarge { .. }
            | Self::HeaderTooLarge { .. }
            | Self::Loop { .. }
            | Self::InvalidContent(_)
            | Self::InvalidField { .. } => false,
        }
    }

    /// Under what the refusal is counted.
    pub fn class(&self) -> RefusalClass {
        match self {
            Self::SenderNotAllowed { .. } | Self::NotAuthenticatedYet | Self::LoginDefect { .. } => RefusalClass::Sender,
            Self::TooManyRecipients { .. } | Self::MessageTooLarge { .. } | Self::HeaderTooLarge { .. } => RefusalClass::Size,
            Self::Loop { .. } | Self::InvalidContent(_) | Self::InvalidField { .. } => RefusalClass::Invalid,
            Self::UnknownRecipient { .. } | Self::Suppressed { .. } | Self::RelayDenied { .. } => RefusalClass::Recipient,
            Self::NotAuthentic { .. } => RefusalClass::Authenticity,
            Self::RateLimited { .. } | Self::TooMuchFromAddress { .. } => RefusalClass::Rate,
            Self::Plugin { .. } => RefusalClass::Plugin,
            Self::PluginFailed { .. } => RefusalClass::PluginFailed,
            Self::StorageFull | Self::StorageFailed => RefusalClass::Store,
            Self::Overloaded => RefusalClass::Overloaded,
        }
    }
}
