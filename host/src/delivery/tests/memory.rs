//! A store in memory: what delivery needs of one, without disk and recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::{Batch, Change, DueQueue, LoggedEvent, QueueName, Row, Sharers, Store, StoreError, StoredMessage, TableUsage, Usage};

pub(in crate::delivery) struct MemoryStore {
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
    /// Woken after every commit and release.
    pub(super) committed: Notify,
    /// Commits fail for want of room.
    pub(super) full: AtomicBool,
    /// The messages that were asked for.
    pub(super) fetched: AtomicUsize,
}

#[derive(Default)]
struct State {
    messages: BTreeMap<MessageId, StoredMessage>,
    rows: BTreeMap<CopyId, (Row, Option<Duration>)>,
    damaged: BTreeSet<MessageId>,
    shares: BTreeMap<CopyId, Arc<str>>,
    rests: BTreeMap<QueueName, Duration>,
    events: Vec<Bytes>,
    values: BTreeMap<(Arc<str>, Bytes), (Bytes, Timestamp)>,
}

impl State {
    fn due(&self, now: Timestamp, passed: Duration) -> impl Iterator<Item = &Row> {
        let due = move |(row, leased): &&(Row, Option<Duration>)| {
            row.due <= now && row.due != Timestamp::NEVER && leased.is_none_or(|until| until <= passed)
        };
        self.rows.values().filter(due).map(|(row, _)| row)
    }
}

impl MemoryStore {
    pub(in crate::delivery) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            changed: Notify::new(),
            committed: Notify::new(),
            full: AtomicBool::new(false),
            fetched: AtomicUsize::new(0),
        }
    }

    /// The content of a message cannot be read from now on, but its head can.
    pub(super) fn damage(&self, id: MessageId) {
        self.state.lock().damaged.insert(id);
    }

    /// Tells the dispatcher that something may have changed.
    pub(super) fn ring(&self) {
        self.changed.notify_one();
        self.committed.notify_waiters();
    }

    pub(super) fn events(&self) -> Vec<crate::event::Event> {
        self.state.lock().events.iter().map(|octets| serde_json::from_slice(octets).unwrap()).collect()
    }

    pub(super) fn all_rows(&self) -> Vec<(Row, bool)> {
        self.state.lock().rows.values().map(|(row, leased)| (row.clone(), leased.is_some())).collect()
    }
}

fn at_once<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StoreError>> {
    ready(Ok(value)).boxed()
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.full.load(Ordering::Acquire) {
            self.committed.notify_waiters();
            return ready(Err(StoreError::Full)).boxed();
        }
        let mut state = self.state.lock();
        for message in batch.messages {
            let stored = StoredMessage { head: message.head, body: message.body, original: message.original };
            state.messages.insert(message.id, stored);
            for row in message.rows {
                let copy = CopyId { message: message.id, recipient: row.recipient };
                let is_known = state.rows.iter().any(|(copy, (known, _))| known.queue == row.queue && state.shares[copy] == row.share);
                if !is_known {
                    state.rests.remove(&row.queue);
                }
                state.shares.insert(copy, row.share);
                let row = Row { copy, due: row.due, queue: row.queue, payload: row.payload, state: row.state };
                state.rows.insert(copy, (row, None));
            }
        }
        for change in batch.changes {
            match change {
                Change::Done(copy) => drop(state.rows.remove(&copy)),
                Change::Reschedule { copy, due, state: octets } => {
                    if let Some((row, leased)) = state.rows.get_mut(&copy) {
                        (row.due, row.state, *leased) = (due, octets, None);
                    }
                }
            }
        }
        state.events.extend(batch.events);
        for change in batch.values {
            let key = (change.table, change.key);
            match change.value {
                Some(value) => drop(state.values.insert(key, (value, change.expires))),
                None => drop(state.values.remove(&key)),
            }
        }
        drop(state);
        self.changed.notify_one();
        self.committed.notify_waiters();
        at_once(())
    }

    fn due_queues(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<DueQueue>, StoreError>> {
        let passed = self.clock.monotonic();
        let mut state = self.state.lock();
        state.rests.retain(|_, until| *until > passed);
        let rows = state.due(now, passed).filter(|row| !state.rests.contains_key(&row.queue));
        let mut queues: BTreeMap<_, _> = rows.map(|row| (row.queue.clone(), row.copy)).collect();
        let queues = std::iter::from_fn(|| queues.pop_first()).take(limit);
        at_once(queues.map(|(queue, copy)| DueQueue { queue, share: state.shares[&copy].clone() }).collect())
    }

    fn next_due(&self, now: Timestamp) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        let state = self.state.lock();
        let passed = self.clock.monotonic();
        let rests = state.rests.values().filter(|until| **until > passed).map(|until| now.plus(until.saturating_sub(passed)));
        at_once(state.rows.values().map(|(row, _)| row.due).filter(|due| *due > now && *due != Timestamp::NEVER).chain(rests).min())
    }

    fn lease<'a>(
        &'a self,
        queue: &'a str,
        now: Timestamp,
        until: Duration,
        limit: NonZeroU32,
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        let mut state = self.state.lock();
        let mut rows: Vec<Row> = state.due(now, self.clock.monotonic()).filter(|row| &*row.queue == queue).cloned().collect();
        rows.sort_by_key(|row| (row.due, row.copy));
        rows.truncate(usize::try_from(limit.get()).unwrap());
        for row in &rows {
            state.rows.get_mut(&row.copy).unwrap().1 = Some(until);
        }
        at_once(rows)
    }

    fn claim(&self, copies: Vec<CopyId>, until: Duration) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        let mut state = self.state.lock();
        let now = self.clock.monotonic();
        let claim = |copy| {
            let (row, leased) = state.rows.get_mut(&copy).filter(|(_, leased)| leased.is_none_or(|until| until <= now))?;
            *leased = Some(until);
            Some(row.clone())
        };
        at_once(copies.into_iter().filter_map(claim).collect())
    }

    fn requeue(&self, moves: Vec<(CopyId, QueueName)>) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut state = self.state.lock();
        for (copy, queue) in moves {
            if let Some((row, leased)) = state.rows.get_mut(&copy) {
                (row.queue, *leased) = (queue, None);
            }
        }
        drop(state);
        self.ring();
        at_once(())
    }

    fn hasten(&self, latest: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        for (row, _) in self.state.lock().rows.values_mut().filter(|(row, _)| row.due != Timestamp::NEVER) {
            row.due = row.due.min(latest);
        }
        at_once(())
    }

    fn release(&self, copies: Vec<CopyId>) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut state = self.state.lock();
        for copy in copies {
            if let Some((_, leased)) = state.rows.get_mut(&copy) {
                *leased = None;
            }
        }
        drop(state);
        self.changed.notify_one();
        self.committed.notify_waiters();
        at_once(())
    }

    fn rest(&self, queue: &str, until: Duration) {
        self.state.lock().rests.insert(queue.into(), until);
    }

    fn has_due(&self, queue: &str, share: &str, now: Timestamp) -> bool {
        self.sharers(queue, now, usize::MAX).due.iter().any(|found| **found == *share)
    }

    fn sharers(&self, queue: &str, now: Timestamp, limit: usize) -> Sharers {
        let state = self.state.lock();
        let rows = state.due(now, self.clock.monotonic()).filter(|row| &*row.queue == queue);
        let shares: BTreeSet<_> = rows.map(|row| state.shares[&row.copy].clone()).collect();
        let later =
            state.rows.values().map(|(row, _)| row).filter(|row| &*row.queue == queue && row.due > now && row.due != Timestamp::NEVER);
        Sharers { due: shares.into_iter().take(limit).collect(), next: later.map(|row| row.due).min() }
    }

    fn rouse(&self, queue: Option<&str>) {
        self.state.lock().rests.retain(|name, _| queue.is_some_and(|queue| queue != &**name));
        self.changed.notify_one();
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.changed.notified().boxed()
    }

    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        self.fetched.fetch_add(1, Ordering::AcqRel);
        let state = self.state.lock();
        if state.damaged.contains(&id) {
            return ready(Err(StoreError::Damaged("the checksum is wrong".into()))).boxed();
        }
        at_once(state.messages.get(&id).cloned())
    }

    fn head(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        at_once(self.state.lock().messages.get(&id).map(|message| message.head.clone()))
    }

    fn rows<'a>(&'a self, queue: Option<&'a str>, after: Option<CopyId>, limit: usize) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        let state = self.state.lock();
        let wanted = |row: &&Row| after.is_none_or(|after| row.copy > after) && queue.is_none_or(|queue| queue == &*row.queue);
        at_once(state.rows.values().map(|(row, _)| row).filter(wanted).take(limit).cloned().collect())
    }

    fn rows_of(&self, id: MessageId) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        at_once(self.state.lock().rows.values().map(|(row, _)| row.clone()).filter(|row| row.copy.message == id).collect())
    }

    fn events(&self, position: u64, limit: usize) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>> {
        let state = self.state.lock();
        let events = (0_u64..).zip(&state.events).map(|(position, octets)| LoggedEvent { position, octets: octets.clone() });
        at_once(events.filter(|event| event.position >= position).take(limit).collect())
    }

    fn events_appended(&self) -> BoxFuture<'_, ()> {
        self.committed.notified().boxed()
    }

    fn value<'a>(&'a self, _: &'a str, _: &'a [u8], _: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        at_once(None)
    }

    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a [u8]>,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>, StoreError>> {
        let state = self.state.lock();
        let fits = |((name, key), (_, expires)): &(&(Arc<str>, Bytes), &(Bytes, Timestamp))| {
            **name == *table && *expires > now && after.is_none_or(|after| **key > *after)
        };
        let values = state.values.iter().filter(fits).map(|((_, key), (value, _))| (key.clone(), value.clone()));
        at_once(values.take(limit).collect())
    }

    fn table_usage<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<TableUsage, StoreError>> {
        at_once(TableUsage::default())
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        at_once(Usage::default())
    }

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        at_once(())
    }
}
