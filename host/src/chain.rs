//! The chain: a login's plugins, in the order that the configuration says.
//!
//! A message goes through in up to two parts. [`Chain::process`](processing) runs once, before the client hears 250, and ends with a
//! [`Plan`]: the message as far as it is common to all recipients, and what is left to do for each. [`rendering`] carries the plan out
//! for one recipient: it runs the plugins that are left, if any, and fills in the slots. Rendering is a function of plan and recipient: the
//! same octets at every attempt.

pub mod options;
pub mod processing;
pub mod rendering;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::mail::message_id::MessageId;
use crate::mail::slot::Slot;

/// What is left to do when a message is rendered for one recipient. The content that it starts from is kept beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose message.
    pub login: Arc<str>,
    /// Which message: with the recipient it seeds the plugins' random numbers.
    pub message: MessageId,
    /// The message's own clock.
    pub received: Timestamp,
    /// `login`, `protocol`, `peer` and the like, as plugins see them.
    pub context: Vec<(String, String)>,
    /// Nonce of the slots' tokens.
    pub nonce: [u8; 11],
    /// What the tokens stand for, by number.
    pub slots: Vec<Slot>,
    /// Data for all recipients, as one JSON object.
    pub variables: String,
    /// Plugins that run for each recipient, in order.
    pub steps: Vec<PlannedStep>,
}

/// A plugin that is still to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name in the configuration.
    pub plugin: Arc<str>,
    /// Its options, complete, as one JSON object.
    pub config: String,
    /// Run its stage `recipient`; else its stage `submit`, which comes after a plugin that runs per recipient.
    pub per_recipient: bool,
}

impl Plan {
    /// Whether every recipient gets the same octets: those of the content as it is.
    pub fn is_plain(&self) -> bool {
        self.steps.is_empty() && self.slots.is_empty()
    }
}
