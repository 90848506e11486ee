//! The envelope: where a message comes back to, and where it goes (RFC 5321 §2.3.1), with what DSN (RFC 3461) adds.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::address::{AddressError, EmailAddress};
use crate::clock::Timestamp;

/// Where failures are reported: the argument of `MAIL FROM`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: reports come from here, and nothing may ever bounce to it.
    Null,
    /// An address.
    Mailbox(EmailAddress),
}

impl ReversePath {
    /// Parses an address; the empty text is the null reverse-path.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() { Ok(Self::Null) } else { EmailAddress::parse(text).map(Self::Mailbox) }
    }

    /// Returns the address, if there is one.
    pub fn mailbox(&self) -> Option<&EmailAddress> {
        match self {
            Self::Null => None,
            Self::Mailbox(address) => Some(address),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(address) => address.fmt(f),
        }
    }
}

/// One recipient: the argument of `RCPT TO`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForwardPath {
    /// Where the message goes.
    pub address: EmailAddress,
    /// `NOTIFY`: when the sender wants to hear of it; `None` where he did not say, which is not the same to the next hop (RFC 3461 §5.2.1).
    pub notify: Option<Notify>,
    /// `ORCPT`: the address that the sender knows, as `type;xtext` was decoded (`rfc822;a@example.com`).
    pub original: Option<String>,
}

impl ForwardPath {
    /// A recipient without parameters.
    pub fn new(address: EmailAddress) -> Self {
        Self { address, notify: None, original: None }
    }

    /// Puts another address in the place of this one. The one that the sender knows stays with it (RFC 3461 §5.2.1).
    #[must_use]
    pub fn led_to(self, address: EmailAddress) -> Self {
        if self.address == address {
            return self;
        }
        let known = self.address.is_ascii().then(|| format!("rfc822;{}", self.address));
        Self { address, notify: self.notify, original: self.original.or(known) }
    }
}

/// When a DSN is wanted (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notify {
    /// When the message was delivered.
    pub success: bool,
    /// When it could not be delivered.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

impl Notify {
    /// `NOTIFY=NEVER`.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

impl Default for Notify {
    /// What RFC 3461 §4.1 leaves open: failures are reported, delays too; we report failures only, as peers do.
    fn default() -> Self {
        Self { success: false, failure: true, delay: false }
    }
}

/// How much of the message a DSN returns (`RET`, RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header.
    #[default]
    Headers,
}

/// What the content may hold (`BODY`, RFC 6152; RFC 3030 for binary).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyType {
    /// Lines of ASCII.
    #[default]
    SevenBit,
    /// Lines of octets.
    EightBitMime,
    /// Octets, not in lines. It is so on the way in alone: what is taken is put into lines.
    BinaryMime,
}

/// How well a message is to be protected on the way (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransportSecurity {
    /// As route and recipient domain have it.
    #[default]
    AsConfigured,
    /// `REQUIRETLS`: TLS with a certificate that is valid, to servers that keep to it too; else it is not delivered.
    Required,
    /// `TLS-Required: No`: it shall arrive, whatever policies say.
    Optional,
}

/// Reverse-path, forward-paths, and the parameters that were given with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Where the message goes; at least one once a submission is complete.
    pub forward_paths: Vec<ForwardPath>,
    /// `RET`.
    pub ret: Option<Return>,
    /// `ENVID`, decoded from xtext.
    pub envid: Option<String>,
    /// `BODY`.
    pub body: BodyType,
    /// `SMTPUTF8` (RFC 6531): addresses or header fields may hold UTF-8.
    pub smtputf8: bool,
    /// `MT-PRIORITY` (RFC 6710), from -9 to 9, where the sender gave one.
    pub priority: Option<i8>,
    /// `REQUIRETLS` (RFC 8689).
    pub transport: TransportSecurity,
    /// `HOLDFOR` or `HOLDUNTIL` (RFC 4865): not delivered before this time.
    pub not_before: Option<Timestamp>,
}

impl Envelope {
    /// An envelope without recipients and parameters.
    pub fn new(reverse_path: ReversePath) -> Self {
        Self {
            reverse_path,
            forward_paths: Vec::new(),
            ret: None,
            envid: None,
            body: BodyType::default(),
            smtputf8: false,
            priority: None,
            transport: TransportSecurity::default(),
            not_before: None,
        }
    }
}
