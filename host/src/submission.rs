//! What comes in: a message, who hands it over, and what he wants done with it. SMTP and REST make the same of it.

pub mod checked_paths;
pub mod login;
pub mod permission;
pub mod sender_domain;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::mail::envelope::Envelope;
use crate::mail::message_id::MessageId;
use crate::mail::tag::Tag;
pub use checked_paths::CheckedPaths;
use login::Login;

/// A message that somebody who may hand it over has handed over.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The id that replies and events will name.
    pub id: MessageId,
    /// Who.
    pub login: Arc<Login>,
    /// When and how.
    pub received: Received,
    /// At least one forward-path.
    pub envelope: Envelope,
    /// An RFC 5322 message with CRLF line ends and without dot-stuffing; the trace header field is not in it yet.
    pub content: Bytes,
    /// The same as it came in, where that was not in lines (`BODY=BINARYMIME`).
    pub binary: Option<Bytes>,
    /// What the sender wants done.
    pub options: Options,
    /// What plugins said of the forward-paths; `None` where they have not been asked yet.
    pub checked: Option<CheckedPaths>,
}

/// How a message came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// When.
    pub at: Timestamp,
    /// From which address.
    pub peer: IpAddr,
    /// What the client called itself in EHLO, unverified.
    pub helo: Option<String>,
    /// Over which protocol.
    pub protocol: Protocol,
}

/// The `with` of a Received field (RFC 3848), and the word that plugins see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// ESMTP with AUTH in the clear, from loopback only.
    Esmtpa,
    /// ESMTP with TLS and AUTH.
    Esmtpsa,
    /// REST in the clear, from loopback or a trusted proxy.
    Http,
    /// REST over TLS.
    Https,
    /// The command line.
    Local,
    /// ESMTP in the clear, from another mail server.
    Esmtp,
    /// ESMTP with TLS, from another mail server.
    Esmtps,
}

impl Protocol {
    /// Returns the keyword of the `with` clause.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Esmtpa => "ESMTPA",
            Self::Esmtpsa => "ESMTPSA",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Local => "LOCAL",
            Self::Esmtp => "ESMTP",
            Self::Esmtps => "ESMTPS",
        }
    }
}

/// What the sender of one message wants done with it, as far as the chain lets him.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Tags given with the call.
    pub tags: Vec<Tag>,
    /// Plugin → its options: laid over those of the chain. The option `enabled` switches the plugin on or off.
    pub overrides: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Plugins that this message asks for where the chain says `when = "requested"`.
    pub requested: BTreeSet<String>,
    /// Data for all recipients: a JSON object.
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// Data of single recipients, by their place in the envelope; laid over `variables`.
    pub recipient_variables: BTreeMap<u32, serde_json::Map<String, serde_json::Value>>,
    /// Not delivered after this time.
    pub deliver_before: Option<Timestamp>,
    /// Whether bounces come back to us, where the sender says so; else as the login has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track_bounces: Option<bool>,
    /// The call names no sender of the envelope: where bounces are tracked, nobody hears of them but us.
    #[serde(skip)]
    pub has_no_envelope: bool,
}
