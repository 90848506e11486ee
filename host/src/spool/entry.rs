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
}

/// The version of an [`Entry`] whose plan says whom From may name: that list follows the entry. Others are written as they always were.
const WITH_SENDERS: u8 = 2;

/// The version of an [`Entry`] whose plan says which version of each plugin is to run: senders and digests follow the entry.
const WITH_DIGESTS: u8 = 3;

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
        if self.plan.steps.iter().any(|step| step.digest.is_some()) {
            let digests: Vec<&str> = self.plan.steps.iter().map(|step| step.digest.as_deref().unwrap_or_default()).collect();
            return encode_as(WITH_DIGESTS, &(self, senders, digests));
        }
        if senders.is_empty() { encode_as(Self::VERSION, self) } else { encode_as(WITH_SENDERS, &(self, senders)) }
    }

    fn decode_old(version: u8, octets: &[u8]) -> Result<Self, RecordError> {
        match version {
            WITH_SENDERS => {
                let (mut entry, senders): (Self, Vec<SenderPattern>) = postcard::from_bytes(octets).map_err(RecordError::Broken)?;
                entry.plan.senders = senders;
                Ok(entry)
            }
            WITH_DIGESTS => {
                let (mut entry, senders, digests): (Self, Vec<SenderPattern>, Vec<Arc<str>>) =
                    postcard::from_bytes(octets).map_err(RecordError::Broken)?;
                entry.plan.senders = senders;
                for (step, digest) in entry.plan.steps.iter_mut().zip(digests) {
                    step.digest = (!digest.is_empty()).then_some(digest);
                }
                Ok(entry)
            }
            _ => Err(RecordError::Version(version)),
        }
    }
}

impl Record for CopyState {}

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
