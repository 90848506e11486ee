//! The spool: accepted messages and what has become of each recipient's copy.
//!
//! It gives the octets of `store` their meaning. Only the spool makes a [`Receipt`](receipt::Receipt), after the store has synced; 250 and 202 are built
//! from nothing else.

pub mod backoff;
pub mod entry;
pub mod receipt;

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::{Clock, Timestamp};
use crate::event::Event;
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::{QueueName, Store, StoreError};
use entry::{Copy, CopyState, Entry};
use receipt::Receipt;

/// Accepted messages on their way out.
#[derive(Clone)]
pub struct Spool {
    store: Arc<dyn Store>,
    clock: Clock,
}

/// A message to keep.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What is known about it.
    pub entry: Entry,
    /// Content to work from: an encoded `mail::content::Composition`.
    pub body: Bytes,
    /// Content as it came into the chain, where the chain changed it.
    pub original: Option<Bytes>,
    /// Its recipients with the name of the queue where each waits.
    pub copies: Vec<(Copy, QueueName)>,
    /// Why it is held, if it is: then no copy is due before an operator says so.
    pub held: Option<String>,
    /// Events to append with it.
    pub events: Vec<Event>,
}

/// A copy that was handed out for an attempt.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Which.
    pub copy: CopyId,
    /// Where it goes.
    pub recipient: Copy,
    /// Attempts so far.
    pub state: CopyState,
    /// Where it waits.
    pub queue: QueueName,
}

/// What became of a copy.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// Nothing is left to do: delivered, bounced or cancelled.
    Done(CopyId),
    /// Again at `due` ([`Timestamp::NEVER`] holds it).
    Again {
        /// Which.
        copy: CopyId,
        /// When.
        due: Timestamp,
        /// What is known by now.
        state: CopyState,
    },
}

impl Spool {
    /// A spool in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }
    /// Keeps a message: when this returns, it is on disk and synced. Copies are due at once.
    pub async fn accept(&self, new: NewEntry) -> Result<Receipt, StoreError> {
        let _ = (new, &self.clock, Receipt::new);
        todo!()
    }
    /// Records that a message was taken and thrown away on purpose.
    pub async fn discard(&self, id: MessageId, events: Vec<Event>) -> Result<Receipt, StoreError> {
        let _ = (id, events);
        todo!()
    }
    /// Takes due copies of one queue for an attempt; see [`Store::lease`].
    pub async fn lease(&self, queue: &str, until: Timestamp, limit: NonZeroU32) -> Result<Vec<Leased>, StoreError> {
        let _ = (queue, until, limit);
        todo!()
    }
    /// Writes down what became of copies, with the events that tell it, and new messages that follow from it (DSNs), all at once.
    pub async fn settle(&self, settlements: Vec<Settlement>, events: Vec<Event>, follow_up: Vec<NewEntry>) -> Result<(), StoreError> {
        let _ = (settlements, events, follow_up);
        todo!()
    }
    /// Returns a message with its content, while it is kept: `(entry, body, original)`.
    pub async fn message(&self, id: MessageId) -> Result<Option<(Entry, Bytes, Option<Bytes>)>, StoreError> {
        let _ = id;
        todo!()
    }
    /// Returns the store, for what the spool adds nothing to: due queues, listing, usage.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}
