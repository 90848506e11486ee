//! What is kept of a message and of each recipient's copy.
//!
//! Encoded as one octet with the version, then postcard. What was written is readable for ever: a change of these types, or of a type
//! inside them, makes a new version and keeps the old one for reading (`fixtures` beside this file has one of each).

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chain::Plan;
use crate::clock::Timestamp;
use crate::config::SenderPattern;
use crate::mail::address::EmailAddress;
pub use crate::mail::envelope::TransportSecurity;
use crate::mail::envelope::{BodyType, Notify, Return, ReversePath};
use crate::mail::message_id::MessageId;
use crate::mail::tag::Tag;
use crate::submission::Received;

/// A message, without its content and its recipients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub id: MessageId,
    /// Whose it is.
    pub login: Arc<str>,
    /// Name of the route it takes.
    pub route: Arc<str>,
    /// How it came in.
    pub received: Received,
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// `RET` of the envelope.
    pub ret: Option<Return>,
    /// `ENVID` of the envelope.
    pub envid: Option<String>,
    /// `BODY` of the envelope.
    pub body: BodyType,
    /// `SMTPUTF8` of the envelope.
    pub smtputf8: bool,
    /// Decoded Subject, cut at 998 octets.
    pub subject: String,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// How many recipients it has.
    pub recipient_count: u32,
    /// Not delivered after this time.
    pub deliver_before: Option<Timestamp>,
    /// What the sender asked for ([`crate::submission::Options`] as JSON), to show later what plugins made of it; "" where nothing was asked for.
    pub options: String,
    /// What is done for each recipient.
    pub plan: Plan,
    /// What was agreed beside that; written behind the rest, and only where anything was.
    #[serde(skip)]
    pub terms: Terms,
}

impl Entry {
    /// Returns what comes back with reports: never the content of a message that requires TLS on all of its way (RFC 8689 §5), as a report does not.
    pub fn returned(&self) -> Option<Return> {
        if self.terms.transport == TransportSecurity::Required { Some(Return::Headers) } else { self.ret }
    }
}

/// What was agreed about the delivery of one message, beside what every message has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// From -9 to 9; higher ones first (RFC 6710).
    pub priority: i8,
    /// How well it is to be protected on the way.
    pub transport: TransportSecurity,
    /// Not tried before this time (RFC 4865); its time to live begins then.
    pub not_before: Option<Timestamp>,
    /// Bounces come back to us: the reverse-path on the wire is an address of ours that stands for the copy (VERP).
    pub track_bounces: bool,
    /// It came from outside and only goes on: it gets no signature of ours, as From is a stranger's word, and we would vouch for it.
    pub unsigned: bool,
}

/// One recipient's copy: what never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// Where it goes.
    pub address: EmailAddress,
    /// When a DSN is wanted, where the sender said so.
    pub notify: Option<Notify>,
    /// `ORCPT`.
    pub original: Option<String>,
    /// Data of this recipient as one JSON object; "" where there is none.
    pub variables: String,
}

impl Copy {
    /// Returns when a DSN is sent.
    pub fn notify(&self) -> Notify {
        self.notify.unwrap_or_default()
    }
}

/// Version 1 of [`Copy`], which did not know whether the sender had said when he wants a DSN.
#[derive(Deserialize)]
struct CopyV1 {
    address: EmailAddress,
    notify: Notify,
    original: Option<String>,
    variables: String,
}

impl From<CopyV1> for Copy {
    fn from(CopyV1 { address, notify, original, variables }: CopyV1) -> Self {
        Self { address, notify: (notify != Notify::default()).then_some(notify), original, variables }
    }
}

/// One recipient's copy: what changes with each attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyState {
    /// Attempts made.
    pub attempts: u32,
    /// Why the last one failed.
    pub last: Option<String>,
    /// Why it is held, and by whom; held copies are due never.
    pub held: Option<String>,
    /// An operator has let it go: plugins that would hold it are not heard again.
    pub released: bool,
    /// When its turn came first, be it that it was tried, or that it had to wait for other mail: the time to live counts from then.
    pub first_attempt: Option<Timestamp>,
    /// The sender was told that it takes long.
    pub delay_told: bool,
    /// The suspension that put it off, by its number.
    pub suspended: Option<u64>,
}

/// Version 1 of [`CopyState`], which knew neither the first attempt nor reports of delay.
#[derive(Deserialize)]
struct CopyStateV1 {
    attempts: u32,
    last: Option<String>,
    held: Option<String>,
    released: bool,
}

impl From<CopyStateV1> for CopyState {
    fn from(CopyStateV1 { attempts, last, held, released }: CopyStateV1) -> Self {
        Self { attempts, last, held, released, first_attempt: None, delay_told: false, suspended: None }
    }
}

/// Version 2 of [`CopyState`], which knew no suspensions.
#[derive(Deserialize)]
struct CopyStateV2 {
    attempts: u32,
    last: Option<String>,
    held: Option<String>,
    released: bool,
    first_attempt: Option<Timestamp>,
    delay_told: bool,
}

impl From<CopyStateV2> for CopyState {
    fn from(CopyStateV2 { attempts, last, held, released, first_attempt, delay_told }: CopyStateV2) -> Self {
        Self { attempts, last, held, released, first_attempt, delay_told, suspended: None }
    }
}

/// The version of an [`Entry`] whose plan says whom From may name: that list follows the entry. Others are written as they always were.
const WITH_SENDERS: u8 = 2;

/// The version of an [`Entry`] whose plan says which version of each plugin is to run: senders and digests follow the entry.
const WITH_DIGESTS: u8 = 3;

/// The version of an [`Entry`] with [`Terms`] of its own: senders, digests and terms follow the entry.
const WITH_TERMS: u8 = 4;

/// Why a record of the spool cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A later release wrote it.
    #[error("version {0} of the format is not known: a later release wrote it")]
    Version(u8),
    /// It is not what its version says.
    #[error("the record is broken: {0}")]
    Broken(postcard::Error),
}

/// What the spool keeps, and how. Public for the fuzz targets alone.
#[doc(hidden)]
pub trait Record: Serialize + DeserializeOwned {
    /// The version that is written.
    const VERSION: u8 = 1;

    /// Encodes in the newest version.
    fn encode(&self) -> Bytes {
        encode_as(Self::VERSION, self)
    }

    /// Decodes any version.
    fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        match octets.split_first() {
            Some((version, rest)) if *version == Self::VERSION => postcard::from_bytes(rest).map_err(RecordError::Broken),
            Some((version, rest)) => Self::decode_old(*version, rest),
            None => Err(RecordError::Broken(postcard::Error::DeserializeUnexpectedEnd)),
        }
    }

    /// Decodes another version.
    fn decode_old(version: u8, _octets: &[u8]) -> Result<Self, RecordError> {
        Err(RecordError::Version(version))
    }
}

fn encode_as(version: u8, value: &impl Serialize) -> Bytes {
    let mut octets = Vec::with_capacity(256);
    octets.push(version);
    let mut octets = postcard::to_extend(value, octets).expect("records are plain values in memory");
    // It may be kept in memory for long, and so would be what it does not need.
    octets.shrink_to_fit();
    octets.into()
}

impl Record for Entry {
    fn encode(&self) -> Bytes {
        let senders = &self.plan.senders;
        let digests = || self.plan.steps.iter().map(|step| step.digest.as_deref().unwrap_or_default()).collect::<Vec<&str>>();
        if self.terms != Terms::default() {
            return encode_as(WITH_TERMS, &(self, senders, digests(), &self.terms));
        }
        if self.plan.steps.iter().any(|step| step.digest.is_some()) {
            return encode_as(WITH_DIGESTS, &(self, senders, digests()));
        }
        if senders.is_empty() { encode_as(Self::VERSION, self) } else { encode_as(WITH_SENDERS, &(self, senders)) }
    }

    fn decode_old(version: u8, octets: &[u8]) -> Result<Self, RecordError> {
        let read = |result: Result<_, postcard::Error>| result.map_err(RecordError::Broken);
        let (mut entry, senders, digests, terms): (Self, Vec<SenderPattern>, Vec<Arc<str>>, Terms) = match version {
            WITH_SENDERS => read(postcard::from_bytes(octets).map(|(entry, senders)| (entry, senders, Vec::new(), Terms::default())))?,
            WITH_DIGESTS => {
                read(postcard::from_bytes(octets).map(|(entry, senders, digests)| (entry, senders, digests, Terms::default())))?
            }
            WITH_TERMS => read(postcard::from_bytes(octets))?,
            _ => return Err(RecordError::Version(version)),
        };
        entry.plan.senders = senders;
        for (step, digest) in entry.plan.steps.iter_mut().zip(digests) {
            step.digest = (!digest.is_empty()).then_some(digest);
        }
        entry.terms = terms;
        Ok(entry)
    }
}

impl Record for CopyState {
    const VERSION: u8 = 3;

    fn decode_old(version: u8, octets: &[u8]) -> Result<Self, RecordError> {
        match version {
            1 => postcard::from_bytes::<CopyStateV1>(octets).map(Self::from).map_err(RecordError::Broken),
            2 => postcard::from_bytes::<CopyStateV2>(octets).map(Self::from).map_err(RecordError::Broken),
            _ => Err(RecordError::Version(version)),
        }
    }
}

impl Record for Copy {
    const VERSION: u8 = 2;

    fn decode_old(version: u8, octets: &[u8]) -> Result<Self, RecordError> {
        match version {
            1 => postcard::from_bytes::<CopyV1>(octets).map(Self::from).map_err(RecordError::Broken),
            _ => Err(RecordError::Version(version)),
        }
    }
}

#[cfg(test)]
mod tests;
