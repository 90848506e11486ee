//! Rows that are handed out, and until when.

use std::ops::Bound;
use std::time::Duration;

use super::super::line::{self, LineName};
use super::order::{LineNumber, ReadyKey};
use super::{Index, RowView};
use crate::clock::Timestamp;
use crate::mail::message_id::CopyId;
use crate::store::QueueName;

impl Index {
    /// Makes rows whose lease has run out ready again, and ends rests of queues.
    pub(in super::super) fn expire(&mut self, passed: Duration) {
        self.end_rests(passed);
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
            let (line, due) = (row.line, row.due);
            self.put_back(line, due, copy);
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

    pub(super) fn hand_out(&mut self, line: LineNumber, due: Timestamp, copy: CopyId, until: Duration) {
        self.unready(line, due, copy);
        self.leases.insert(copy, until);
        self.expiries.insert((until, copy));
    }

    /// Takes rows that are due.
    pub(in super::super) fn lease(&mut self, queue: &str, now: Timestamp, until: Duration, limit: usize) -> Vec<RowView> {
        let Some(number) = self.order.find_queue(queue) else { return Vec::new() };
        let keys = self.pick(number, now, limit);
        let mut views = Vec::with_capacity(keys.len());
        for key in keys {
            let copy = key.copy();
            self.hand_out(key.line, key.due, copy, until);
            views.extend(self.view(copy));
        }
        views
    }

    /// Takes a row that nobody has, whenever it is due.
    pub(in super::super) fn claim(&mut self, copy: CopyId, until: Duration) -> Option<RowView> {
        let view = self.view(copy).filter(|_| !self.leases.contains_key(&copy))?;
        self.hand_out(view.line, view.due, copy, until);
        Some(view)
    }

    /// Puts a leased row into another queue and ends its lease. Returns whether it was leased.
    pub(in super::super) fn requeue(&mut self, copy: CopyId, name: &QueueName) -> bool {
        if !self.end_lease(copy) {
            return false;
        }
        let Some(old) = self.view(copy).map(|view| view.line) else { return false };
        let old_name = self.order.line(old).map(|line| LineName::clone(&line.name)).unwrap_or_default();
        let (_, share, priority) = line::split(&old_name);
        let number = self.order.line_number(&line::name(name, share, priority));
        self.order.enter(number);
        let Some(row) = self.messages.get_mut(&copy.message).and_then(|message| message.rows.get_mut(copy.recipient)) else { return false };
        row.line = number;
        let due = row.due;
        self.order.leave(old);
        self.enqueue(number, due, copy);
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
