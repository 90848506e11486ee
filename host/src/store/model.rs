//! What a store does, in the simplest words: the yardstick for the real ones.
#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Batch, Change, NewMessage, NewRow};
use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};

/// A store that forgets nothing and never fails.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Every message that was ever committed, and when.
    pub(super) messages: BTreeMap<MessageId, (NewMessage, Timestamp)>,
    pub(super) rows: BTreeMap<CopyId, NewRow>,
    /// On a manual clock nobody sets, time of day and time of leases are the same.
    pub(super) leases: BTreeMap<CopyId, Timestamp>,
    pub(super) values: BTreeMap<Bytes, (Bytes, Timestamp)>,
    /// Every event, and when.
    pub(super) events: Vec<(Bytes, Timestamp)>,
}

impl Model {
    pub(super) fn commit(&mut self, batch: &Batch, now: Timestamp) {
        for message in &batch.messages {
            self.messages.insert(message.id, (message.clone(), now));
            for row in &message.rows {
                self.rows.insert(CopyId { message: message.id, recipient: row.recipient }, row.clone());
            }
        }
        for change in &batch.changes {
            match change {
                Change::Done(copy) => {
                    self.rows.remove(copy);
                    self.leases.remove(copy);
                }
                Change::Reschedule { copy, due, state } => {
                    if let Some(row) = self.rows.get_mut(copy) {
                        (row.due, row.state) = (*due, state.clone());
                        self.leases.remove(copy);
                    }
                }
            }
        }
        self.events.extend(batch.events.iter().map(|event| (event.clone(), now)));
        for change in &batch.values {
            match &change.value {
                Some(value) => self.values.insert(change.key.clone(), (value.clone(), change.expires)),
                None => self.values.remove(&change.key),
            };
        }
    }

    /// Rows that may be handed out at `now`, in order.
    pub(super) fn ready(&mut self, now: Timestamp) -> BTreeSet<(Timestamp, CopyId)> {
        self.leases.retain(|_, until| *until > now);
        let free = self.rows.iter().filter(|(copy, row)| row.due <= now && !self.leases.contains_key(copy));
        free.map(|(copy, row)| (row.due, *copy)).collect()
    }

    pub(super) fn lease(&mut self, queue: &str, now: Timestamp, until: Timestamp, limit: usize) -> Vec<(CopyId, NewRow)> {
        let ready = self.ready(now);
        let rows = ready.into_iter().map(|(_, copy)| (copy, self.rows[&copy].clone())).filter(|(_, row)| &*row.queue == queue);
        let rows: Vec<_> = rows.take(limit).collect();
        self.leases.extend(rows.iter().map(|(copy, _)| (*copy, until)));
        rows
    }

    pub(super) fn due_queues(&mut self, now: Timestamp) -> BTreeSet<String> {
        let ready = self.ready(now);
        ready.into_iter().map(|(_, copy)| self.rows[&copy].queue.to_string()).collect()
    }

    pub(super) fn next_due(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.ready(now);
        let rows = self.rows.iter().filter(|(copy, _)| !self.leases.contains_key(copy)).map(|(_, row)| row.due);
        rows.chain(self.leases.values().copied()).filter(|time| *time > now && *time != Timestamp::NEVER).min()
    }
}
