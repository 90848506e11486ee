//! What is kept of a message and of each recipient's copy. Encoded with a version in front: what was written is readable for ever.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::Plan;
use crate::clock::Timestamp;
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
    /// When a DSN is wanted.
    pub notify: Notify,
    /// `ORCPT`.
    pub original: Option<String>,
    /// Data of this recipient as one JSON object; "" where there is none.
    pub variables: String,
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
}
