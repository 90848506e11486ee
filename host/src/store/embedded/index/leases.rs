//! Rows that are handed out, and until when.

use std::ops::Bound;
use std::time::Duration;

use super::order::ReadyKey;
use super::{Index, QueueNumber, RowView};
use crate::clock::Timestamp;
use crate::mail::message_id::CopyId;
use crate::store::QueueName;

impl Index {
    /// Makes rows whose lease has run out ready again.
    pub(in super::super) fn expire(&mut self, passed: Duration) {
        while let Some((_, copy)) = self.expiries.first().copied().filter(|(until, _)| *until <= passed) {
            self.give_back(copy);
        }
    }

    pub(super) fn end_lease(&mut self, copy: CopyId) -> bool {
        self.leases.remove(&copy).is_some_and(|until| self.expiries.remove(&(until, copy)))
    }

    /// Ends a lease; the row is due as before. Returns whether it was leased.
    pub(in super::super) fn give_back(&mut self, copy: CopyId) -> bool {
        let leased = self.end_lease(copy);
        if leased && let Some(row) = self.messages.get_mut(&copy.message).and_then(|message| message.rows.get_mut(copy.recipient)) {
            let (queue, due) = (row.queue, row.due);
            self.make_ready(queue, due, copy);
        }
        leased
    }

    /// Makes the lease of a row, which cannot be read, last until `until`. Its due time stays, so that a summary does not hold it for ever.
    pub(in super::super) fn set_aside(&mut self, copy: CopyId, until: Duration) {
        if self.end_lease(copy) {
            self.leases.insert(copy, until);
            self.expiries.insert((until, copy));
        }
    }

    pub(super) fn hand_out(&mut self, queue: QueueNumber, due: Timestamp, copy: CopyId, until: Duration) {
        self.unready(queue, due, copy);
        self.leases.insert(copy, until);
        self.expiries.insert((until, copy));
    }

    /// Takes rows that are due.
    pub(in super::super) fn lease(&mut self, queue: &str, now: Timestamp, until: Duration, limit: usize) -> Vec<RowView> {
        let Some(number) = self.names.get(queue).copied() else { return Vec::new() };
        let first = ReadyKey { queue: number, due: Timestamp::default(), message: [0; 16], recipient: 0 };
        let due = self.ready.range(first..).take_while(|key| key.queue == number && key.due <= now && key.due != Timestamp::NEVER);
        let keys: Vec<_> = due.take(limit).copied().collect();
        let mut views = Vec::with_capacity(keys.len());
        for key in keys {
            let copy = key.copy();
            self.hand_out(number, key.due, copy, until);
            views.extend(self.view(copy));
        }
        views
    }

    /// Takes a row that nobody has, whenever it is due.
    pub(in super::super) fn claim(&mut self, copy: CopyId, until: Duration) -> Option<RowView> {
        let view = self.view(copy).filter(|_| !self.leases.contains_key(&copy))?;
        self.hand_out(view.queue, view.due, copy, until);
        Some(view)
    }

    /// Puts a leased row into another queue and ends its lease. Returns whether it was leased.
    pub(in super::super) fn requeue(&mut self, copy: CopyId, name: &QueueName) -> bool {
        if !self.end_lease(copy) {
            return false;
        }
        let number = self.queue_number(name);
        let Some(row) = self.messages.get_mut(&copy.message).and_then(|message| message.rows.get_mut(copy.recipient)) else { return false };
        let (old, due) = (std::mem::replace(&mut row.queue, number), row.due);
        if let Some(queue) = self.queue_mut(number) {
            queue.rows += 1;
        }
        self.leave_queue(old);
        self.make_ready(number, due, copy);
        true
    }

    /// Makes rows that are due after `latest`, and not held, due then. Returns whether there were any.
    pub(in super::super) fn hasten(&mut self, latest: Timestamp) -> bool {
        if self.dues.range((Bound::Excluded(latest), Bound::Excluded(Timestamp::NEVER))).next().is_none() {
            return false;
        }
        let late = self.ready.iter().filter(|key| key.due > latest && key.due != Timestamp::NEVER);
        let late: Vec<_> = late.map(ReadyKey::copy).collect();
        for copy in late {
            self.change_due(copy, latest, None);
        }
        true
    }
}
