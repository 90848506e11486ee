//! The durable seam: everything that must survive a crash goes through [`Store`].
//!
//! Three shapes: a *queue* of rows (one per recipient) that are due at a time, a *log* of events, a *key-value* table (for
//! what plugins keep, and for suppressions, templates and idempotency keys); and the messages that rows point to. Nothing above knows which engine it is. Octets are opaque here: `spool` and `event` give them meaning.
//!
//! Promise: when [`Store::commit`] returns `Ok`, all of the batch is on disk, synced; when it returns an error, none of it will be
//! seen, now or after a restart. Rows are handed out at least once.

pub mod embedded;
#[cfg(test)]
mod model;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};

/// Name of a queue: one per destination, such as `direct/example.com`. Rows of one queue are leased together.
pub type QueueName = Arc<str>;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room: nothing was written; later it may work.
    #[error("no room in the store")]
    Full,
    /// More than the named limit: it will never work.
    #[error("too large for the store: more than {0}")]
    TooLarge(&'static str),
    /// A write or a sync failed; what is on disk stays unknown until the next start, and the store takes nothing more.
    #[error("the store failed: {0}")]
    Poisoned(Arc<str>),
    /// What was read back is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(Arc<str>),
    /// The system does not let us read; later it may.
    #[error("the store cannot be read now: {0}")]
    Unreadable(Arc<str>),
    /// The disk does not give back what was written: a bad sector, or a cable.
    #[error("the disk of the store fails: {0}")]
    BadDisk(Arc<str>),
}

/// Things that become durable together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// New messages with their rows.
    pub messages: Vec<NewMessage>,
    /// Changes of rows.
    pub changes: Vec<Change>,
    /// Events to append to the log, in order.
    pub events: Vec<Bytes>,
    /// Changes of the key-value table.
    pub values: Vec<ValueChange>,
}

/// A message and those who shall have it.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Unique.
    pub id: MessageId,
    /// What is known about it.
    pub head: Bytes,
    /// Its content, in the form that delivery works from.
    pub body: Bytes,
    /// Its content as it came in, where that is not what `body` says.
    pub original: Option<Bytes>,
    /// One for each recipient; may be empty (a message that is only kept).
    pub rows: Vec<NewRow>,
}

/// A recipient's place in the queue.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// Place in the envelope.
    pub recipient: u32,
    /// When to try first.
    pub due: Timestamp,
    /// Where it waits.
    pub queue: QueueName,
    /// Whose it is: shares take turns, so that the many rows of one do not delay the few of another.
    pub share: Arc<str>,
    /// Within its share the higher one comes first.
    pub priority: i8,
    /// What never changes: address and data.
    pub payload: Bytes,
    /// What changes with each attempt.
    pub state: Bytes,
}

/// A queue that has something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueQueue {
    /// Which.
    pub queue: QueueName,
    /// Whose turn it is that it was listed for; others may have rows in it too.
    pub share: Arc<str>,
}

/// Whose rows wait in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharers {
    /// Those who have rows that are due.
    pub due: Vec<Arc<str>>,
    /// When the next one has; perhaps one of those, with rows of another priority.
    pub next: Option<Timestamp>,
}

/// A row as it was handed out, or as it stands.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose copy.
    pub copy: CopyId,
    /// When it is due.
    pub due: Timestamp,
    /// Where it waits.
    pub queue: QueueName,
    /// Address and data.
    pub payload: Bytes,
    /// Attempts so far.
    pub state: Bytes,
}

/// What becomes of a row.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is done with: delivered, bounced or cancelled. Unknown rows are ignored.
    Done(CopyId),
    /// It waits again; this also ends its lease. Unknown rows are ignored.
    Reschedule {
        /// Which.
        copy: CopyId,
        /// Until when; [`Timestamp::NEVER`] holds it.
        due: Timestamp,
        /// What is known by now.
        state: Bytes,
    },
}

/// A change of the key-value table.
#[derive(Clone, Debug)]
pub struct ValueChange {
    /// Which table.
    pub table: Arc<str>,
    /// Which key, at most 512 octets.
    pub key: Bytes,
    /// The new value, at most 1 MiB; `None` removes it.
    pub value: Option<Bytes>,
    /// When it goes away by itself.
    pub expires: Timestamp,
}

/// A message as it was kept.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// As given to [`NewMessage`].
    pub head: Bytes,
    /// As given to [`NewMessage`].
    pub body: Bytes,
    /// As given to [`NewMessage`].
    pub original: Option<Bytes>,
}

/// An event on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its place: larger for later ones, not dense.
    pub position: u64,
    /// What was appended.
    pub octets: Bytes,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Rows in all queues, held and leased ones included.
    pub rows: u64,
    /// Rows that are handed out.
    pub leased: u64,
    /// Octets on disk.
    pub octets: u64,
    /// Since when the log is whole: what happened before is forgotten.
    pub log_begins: Timestamp,
    /// Where the next event will be on the log, or before.
    pub log_ends: u64,
    /// When the oldest row's message arrived.
    pub oldest: Option<Timestamp>,
}

/// How much one table of the key-value table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUsage {
    /// Keys with a value.
    pub keys: u64,
    /// Octets of keys and values.
    pub octets: u64,
}

/// An engine that keeps what must not be lost.
pub trait Store: Send + Sync + 'static {
    /// Makes all of `batch` durable, or nothing of it. Batches of concurrent callers share one sync.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns queues with rows due at `now` and not leased, but those that [rest](Store::rest): shares in turn, of each the longest waiting first; at
    /// most `limit`.
    fn due_queues(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<DueQueue>, StoreError>>;

    /// Leaves a queue alone until `until`, a time of [`Clock::monotonic`](crate::clock::Clock::monotonic): it is not listed before, so that looking for
    /// due queues costs nothing for those that have to wait anyway. No promise and no commit: whoever leases gets rows, a queue that becomes empty
    /// forgets it, and a row that is new, or due earlier than before, and due before all others of its share ends it.
    fn rest(&self, queue: &str, until: Duration);

    /// Ends the rest of a queue, or of all where none is named.
    fn rouse(&self, queue: Option<&str>);

    /// Returns shares that have rows in `queue` that are due at `now`, whether it rests or not: the longest waiting first, at most `limit`. And when
    /// others become due there.
    fn sharers(&self, queue: &str, now: Timestamp, limit: usize) -> Sharers;

    /// Whether `share` is one of the [`sharers`](Store::sharers) of `queue` with rows that are due at `now`.
    fn has_due(&self, queue: &str, share: &str, now: Timestamp) -> bool;

    /// Returns when the next row that is not due yet becomes due, or a rest ends.
    fn next_due(&self, now: Timestamp) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>>;

    /// Takes at most `limit` rows of `queue` that are due at `now`: shares in turn, of each the highest priority first, then in the order of due time and
    /// id. Nobody else gets them until they are changed or `until` has passed. That is a time of [`Clock::monotonic`](crate::clock::Clock::monotonic): whoever sets the time of day
    /// ends no lease.
    fn lease<'a>(
        &'a self,
        queue: &'a str,
        now: Timestamp,
        until: Duration,
        limit: NonZeroU32,
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>>;

    /// Takes those of `copies` that nobody has, whenever they are due, held ones too. As for [`Store::lease`], nobody else gets them until they are
    /// changed or `until` has passed.
    fn claim(&self, copies: Vec<CopyId>, until: Duration) -> BoxFuture<'_, Result<Vec<Row>, StoreError>>;

    /// Gives leased rows back unchanged: they are due as before.
    fn release(&self, copies: Vec<CopyId>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Puts leased rows into other queues and gives them back. Not a commit: after a restart a row may be where it was.
    fn requeue(&self, moves: Vec<(CopyId, QueueName)>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Makes rows that are due after `latest` due then, those that are held excepted. Not a commit: after a restart a row may be due when it was.
    fn hasten(&self, latest: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Completes when rows may have become due since the last call: a hint to look again, for one scheduler.
    fn changed(&self) -> BoxFuture<'_, ()>;

    /// Returns a message, while it is queued and for the time of retention after that.
    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>>;

    /// Returns what is known about a message, as [`Store::message`] does, without its content: where an engine can, it reads only that. Damage
    /// may then pass unseen; for what mail is made of, ask for the message.
    fn head(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move { Ok(self.message(id).await?.map(|message| message.head)) })
    }

    /// Returns rows in the order of ids, from after `after` on, of one queue or of all; at most `limit`. Those that are damaged, or that a disk does
    /// not give, are left out.
    fn rows<'a>(&'a self, queue: Option<&'a str>, after: Option<CopyId>, limit: usize) -> BoxFuture<'a, Result<Vec<Row>, StoreError>>;

    /// Returns the rows of one message; left out are those that [`Store::rows`] leaves out.
    fn rows_of(&self, id: MessageId) -> BoxFuture<'_, Result<Vec<Row>, StoreError>>;

    /// Returns events from `position` on, in order; at most `limit`, less where they are large. A reader begins with 0 and goes on from the last position
    /// that it had, plus one.
    fn events(&self, position: u64, limit: usize) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>>;

    /// Completes when events may have been appended since the call: ask for it, then read the log, then wait for it.
    fn events_appended(&self) -> BoxFuture<'_, ()>;

    /// Returns a value that has not expired.
    fn value<'a>(&'a self, table: &'a str, key: &'a [u8], now: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;

    /// Returns entries of a table that have not expired, in the order of their keys, from after `after` on; at most `limit`.
    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a [u8]>,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>, StoreError>>;

    /// Counts what one table of the key-value table holds, what has expired and was not cleared away included.
    fn table_usage<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<TableUsage, StoreError>>;

    /// Whether new mail would be taken now.
    ///
    /// # Errors
    /// What [`Store::commit`] would say: [`StoreError::Full`], or [`StoreError::Poisoned`], also where the store is closed.
    fn health(&self) -> Result<(), StoreError>;

    /// Counts.
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>>;

    /// Writes what waits, and ends. Commits after it fail.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
