//! The spool: accepted messages and what has become of each recipient's copy.
//!
//! It gives the octets of `store` their meaning. Only the spool makes a [`Receipt`](receipt::Receipt), after the store has synced; 250 and 200 are built
//! from nothing else.

pub mod backoff;
pub mod entry;
pub mod local;
pub mod queue;
pub mod receipt;
pub mod selector;
pub mod suspension;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Clock, Timestamp};
use crate::event::{Event, recorder};
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::{Batch, Change, NewMessage, NewRow, QueueName, Row, Store, StoreError, ValueChange};
use entry::{Copy, CopyState, Entry, Record, RecordError};
use receipt::Receipt;
use suspension::{NewSuspension, Suspension, SuspensionError, Suspensions};

/// Accepted messages on their way out.
#[derive(Clone)]
pub struct Spool {
    store: Arc<dyn Store>,
    clock: Clock,
    suspensions: Arc<Suspensions>,
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
    /// When copies are due first, if not at once.
    pub not_before: Option<Timestamp>,
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
        Self { store, clock, suspensions: Arc::default() }
    }
    /// Keeps a message: when this returns, it is on disk and synced. Copies are due at once, unless they are held.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was kept, answer 452. Any other: answer 451.
    pub async fn accept(&self, new: NewEntry) -> Result<Receipt, StoreError> {
        self.accept_without(new, &BTreeSet::new()).await
    }
    /// Keeps a message as [`Spool::accept`] does, but for some of its copies, by place: of those only the events tell.
    ///
    /// # Errors
    /// As for [`Spool::accept`].
    pub async fn accept_without(&self, new: NewEntry, dropped: &BTreeSet<u32>) -> Result<Receipt, StoreError> {
        let id = new.entry.id;
        let recipients = new.copies.iter().map(|(copy, _)| copy.address.clone()).collect();
        let mut batch = Batch::default();
        self.add(&mut batch, new, dropped);
        self.store.commit(batch).await?;
        Ok(Receipt::new(id, recipients))
    }
    /// Keeps a message, and others that follow from it, all at once: as [`Spool::accept`], and with its errors.
    pub async fn accept_with(&self, new: NewEntry, others: Vec<NewEntry>, values: Vec<ValueChange>) -> Result<Receipt, StoreError> {
        let id = new.entry.id;
        let recipients = new.copies.iter().map(|(copy, _)| copy.address.clone()).collect();
        let mut batch = Batch { values, ..Batch::default() };
        for new in std::iter::once(new).chain(others) {
            self.add(&mut batch, new, &BTreeSet::new());
        }
        self.store.commit(batch).await?;
        Ok(Receipt::new(id, recipients))
    }
    /// Records that a message was taken and thrown away on purpose.
    pub async fn discard(&self, id: MessageId, events: Vec<Event>) -> Result<Receipt, StoreError> {
        let events = events.iter().map(recorder::encode).collect();
        self.store.commit(Batch { events, ..Batch::default() }).await?;
        Ok(Receipt::new(id, Arc::default()))
    }
    /// Takes due copies of one queue for an attempt; see [`Store::lease`].
    pub async fn lease(&self, queue: &str, until: Duration, limit: NonZeroU32) -> Result<Vec<Leased>, StoreError> {
        let rows = self.store.lease(queue, self.clock.now(), until, limit).await?;
        let leased = rows.into_iter().filter_map(|row| {
            let copy = row.copy;
            // It stays leased, so that it is in nobody's way until its lease is over.
            let unreadable = |error| tracing::error!(message.id = %copy, %error, "a queued copy cannot be read");
            let mut leased = Leased::decode(row).map_err(unreadable).ok()?;
            // Whoever has it now finds out himself whether it is.
            leased.state.suspended = None;
            Some(leased)
        });
        Ok(leased.collect())
    }
    /// Writes down what became of copies, with the events that tell it, and new messages that follow from it (DSNs), all at once.
    pub async fn settle(&self, settlements: Vec<Settlement>, events: Vec<Event>, follow_up: Vec<NewEntry>) -> Result<(), StoreError> {
        self.store.commit(self.settling(settlements, &events, follow_up)).await
    }
    /// Makes the batch that [`Spool::settle`] commits: for who may have to commit it more than once.
    pub fn settling(&self, settlements: Vec<Settlement>, events: &[Event], follow_up: Vec<NewEntry>) -> Batch {
        let changes = settlements.into_iter().map(|settlement| match settlement {
            Settlement::Done(copy) => Change::Done(copy),
            Settlement::Again { copy, due, state } => Change::Reschedule { copy, due, state: state.encode() },
        });
        let events = events.iter().map(recorder::encode).collect();
        let mut batch = Batch { changes: changes.collect(), events, ..Batch::default() };
        for new in follow_up {
            self.add(&mut batch, new, &BTreeSet::new());
        }
        batch
    }
    /// Returns a message with its content, while it is kept: `(entry, body, original)`.
    pub async fn message(&self, id: MessageId) -> Result<Option<(Entry, Bytes, Option<Bytes>)>, StoreError> {
        let Some(message) = self.store.message(id).await? else { return Ok(None) };
        Ok(Some((decode_entry(id, &message.head)?, message.body, message.original)))
    }
    /// Returns what is known about a message, while it is kept, without reading its content.
    pub async fn entry(&self, id: MessageId) -> Result<Option<Entry>, StoreError> {
        self.store.head(id).await?.map(|head| decode_entry(id, &head)).transpose()
    }
    /// Returns what can be made out of a message whose content is damaged: enough to tell its sender. `None` where even that makes no sense.
    pub async fn salvage(&self, id: MessageId) -> Option<Entry> {
        self.entry(id).await.ok().flatten().filter(|entry| entry.id == id)
    }
    fn add(&self, batch: &mut Batch, new: NewEntry, dropped: &BTreeSet<u32>) {
        let now = self.clock.now();
        let due = if new.held.is_some() { Timestamp::NEVER } else { new.not_before.map_or(now, |time| time.max(now)) };
        // All copies begin alike and share the octets.
        let state = CopyState { held: new.held, ..CopyState::default() }.encode();
        let kept = new.copies.into_iter().zip(0..).filter(|(_, recipient)| !dropped.contains(recipient));
        // Whatever way it came in: what it asks for keeps it apart from other mail.
        let transport = new.entry.terms.transport;
        let (share, priority) = (&new.entry.login, new.entry.terms.priority);
        let rows = kept.map(|((copy, queue), recipient)| {
            let queue = queue::protected(queue, transport);
            NewRow { recipient, due, queue, share: Arc::clone(share), priority, payload: copy.encode(), state: state.clone() }
        });
        batch.messages.push(NewMessage {
            id: new.entry.id,
            head: new.entry.encode(),
            body: new.body,
            original: new.original,
            rows: rows.collect(),
        });
        batch.events.extend(new.events.iter().map(recorder::encode));
    }
    /// Reads what a row says of its copy; `None` if a later release wrote it.
    pub fn read(row: &Row) -> Option<(Copy, CopyState)> {
        Some((Copy::decode(&row.payload).ok()?, CopyState::decode(&row.state).ok()?))
    }

    /// Keeps what a capture route would have sent, to be looked at; of a copy that was captured twice, the last one counts.
    pub async fn capture(&self, captures: Vec<(CopyId, Bytes)>) -> Result<(), StoreError> {
        let kept = |(copy, body)| NewMessage { id: capture_id(copy), head: Bytes::new(), body, original: None, rows: Vec::new() };
        self.store.commit(Batch { messages: captures.into_iter().map(kept).collect(), ..Batch::default() }).await
    }

    /// Returns what a capture route kept of a copy.
    pub async fn captured(&self, copy: CopyId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.store.message(capture_id(copy)).await?.map(|message| message.body))
    }

    /// Reads which mail is suspended; once, before anything is delivered.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn load_suspensions(&self) -> Result<(), StoreError> {
        self.suspensions.load(&*self.store, self.clock.now()).await
    }

    /// Suspends mail from now on, for a time or until somebody ends it. What has begun is done to the end, whatever becomes of the caller.
    ///
    /// # Errors
    /// If it is not said which mail, there are too many suspensions, or the store fails.
    pub async fn suspend(&self, new: NewSuspension) -> Result<Suspension, SuspensionError> {
        let spool = self.clone();
        to_the_end(async move { spool.suspensions.add(&*spool.store, new, spool.clock.now()).await }).await
    }

    /// Ends a suspension, if `may_end` lets the caller; `None` if there is none of that number. What it put off is due soon. What has begun is done to
    /// the end, whatever becomes of the caller.
    ///
    /// # Errors
    /// If the store fails: it holds on.
    pub async fn resume(
        &self,
        number: u64,
        may_end: impl Fn(&Suspension) -> bool + Send + 'static,
    ) -> Result<Option<Suspension>, StoreError> {
        let spool = self.clone();
        to_the_end(async move { spool.suspensions.end(&*spool.store, number, may_end, spool.clock.now()).await }).await
    }

    /// All copies that bear the mark of a suspension that has ended are due again.
    ///
    /// # Errors
    /// If the store fails: they are looked for again.
    pub async fn forget_suspension(&self, number: u64) -> Result<(), StoreError> {
        self.suspensions.forget(&*self.store, number).await
    }

    /// Returns what is suspended.
    pub fn suspensions(&self) -> &Suspensions {
        &self.suspensions
    }

    /// Returns the store, for what the spool adds nothing to: due queues, listing, usage.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

impl Leased {
    /// Reads what a row of the store says.
    pub fn decode(row: Row) -> Result<Self, RecordError> {
        let (recipient, state) = (Copy::decode(&row.payload)?, CopyState::decode(&row.state)?);
        Ok(Self { copy: row.copy, recipient, state, queue: row.queue })
    }
}

/// Carries out a change in a task of its own: who asked may go away, and what is on disk must be in force all the same.
pub(crate) async fn to_the_end<T, E>(change: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    tokio::spawn(change).await.unwrap_or_else(|error| Err(StoreError::Poisoned(format!("something broke: {error}").into()).into()))
}

fn decode_entry(id: MessageId, head: &[u8]) -> Result<Entry, StoreError> {
    Entry::decode(head).map_err(|error| StoreError::Damaged(format!("message {id}: {error}").into()))
}

/// Under which id a captured copy is kept: one that no message has, as it is a hash of the copy's.
fn capture_id(copy: CopyId) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key("tubepost 2026-11-21 id of a captured copy");
    hasher.update(&copy.message.to_bytes());
    hasher.update(&copy.recipient.to_be_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    MessageId::from_bytes(id)
}

#[cfg(test)]
mod tests;
