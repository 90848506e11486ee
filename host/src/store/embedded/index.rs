//! What is queued, in memory: where each row waits, when it is due, and where on disk the rest of it lies.
//!
//! About 200 octets for a message with one recipient; address, data and state of a row stay on disk. Nothing is kept here of messages that are
//! done with. Leases live here alone: one process has the store, and when it ends all leases do. Their ends are times of
//! [`Clock::monotonic`](crate::clock::Clock::monotonic).

mod leases;
mod live;
mod order;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use self::live::Live;
use self::order::{LineNumber, Order, ReadyKey};
use super::line::LineName;
use super::record::{Meta, RowRecord, Span};
use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::QueueName;

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) span: Span,
}

/// A row without what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowView {
    pub(super) copy: CopyId,
    pub(super) due: Timestamp,
    line: LineNumber,
    pub(super) payload: Place,
    pub(super) state: Place,
}

/// A queued message as a segment's summary tells it.
#[derive(Clone, Debug)]
pub(super) struct LiveMessage {
    pub(super) content: Place,
    pub(super) rows: Vec<(RowView, LineName)>,
}

/// A message that is queued.
struct Message {
    segment: u32,
    content: Span,
    rows: Rows,
}

/// Most messages have one recipient: no allocation of its own then.
enum Rows {
    One(Row),
    /// Sorted by recipient.
    Many(Vec<Row>),
}

#[derive(Clone, Copy)]
struct Row {
    due: Timestamp,
    recipient: u32,
    line: LineNumber,
    /// In the segment of the message.
    payload: Span,
    state_segment: u32,
    state: Span,
}

impl Message {
    fn view(&self, id: MessageId, row: &Row) -> RowView {
        RowView {
            copy: CopyId { message: id, recipient: row.recipient },
            due: row.due,
            line: row.line,
            payload: Place { segment: self.segment, span: row.payload },
            state: Place { segment: row.state_segment, span: row.state },
        }
    }
}

impl Rows {
    fn new(mut rows: Vec<Row>) -> Option<Self> {
        rows.sort_by_key(|row| row.recipient);
        match rows.as_slice() {
            [] => None,
            [row] => Some(Self::One(*row)),
            _ => Some(Self::Many(rows)),
        }
    }

    fn as_slice(&self) -> &[Row] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }

    fn get(&self, recipient: u32) -> Option<&Row> {
        let rows = self.as_slice();
        rows.get(rows.binary_search_by_key(&recipient, |row| row.recipient).ok()?)
    }

    /// Takes a row out, unless it is the last one.
    fn take(&mut self, recipient: u32) {
        if let Self::Many(rows) = self {
            if let Ok(place) = rows.binary_search_by_key(&recipient, |row| row.recipient) {
                rows.remove(place);
            }
            match rows.as_slice() {
                [row] => *self = Self::One(*row),
                few if few.len() * 4 < rows.capacity() => rows.shrink_to(few.len() * 2),
                _ => {}
            }
        }
    }

    fn get_mut(&mut self, recipient: u32) -> Option<&mut Row> {
        match self {
            Self::One(row) => (row.recipient == recipient).then_some(row),
            Self::Many(rows) => {
                let place = rows.binary_search_by_key(&recipient, |row| row.recipient).ok()?;
                rows.get_mut(place)
            }
        }
    }
}

/// All rows.
#[derive(Default)]
pub(super) struct Index {
    messages: BTreeMap<MessageId, Box<Message>>,
    order: Order,
    /// Rows that are not leased.
    ready: BTreeSet<ReadyKey>,
    /// How many rows that are not leased are due at a time.
    dues: BTreeMap<Timestamp, u32>,
    leases: HashMap<CopyId, Duration>,
    expiries: BTreeSet<(Duration, CopyId)>,
    live: HashMap<u32, Live>,
    live_octets: u64,
    rows: u64,
}

impl Index {
    /// Takes in what a frame says, whose chunks start at `base` of `segment`. Returns messages that are done with now.
    pub(super) fn apply(&mut self, meta: &Meta, segment: u32, base: u32) -> Vec<MessageId> {
        for message in &meta.messages {
            let known = message.moved && self.relocate(message.id, segment, message.content.at(base), &message.rows, base);
            if !known {
                self.insert(message.id, segment, message.content.at(base), &message.rows, base);
            }
        }
        let mut gone = Vec::new();
        for change in &meta.changes {
            let again = change.again.map(|(due, state)| (due, Place { segment, span: state.at(base) }));
            if self.change(change.copy, again) {
                gone.push(change.copy.message);
            }
        }
        gone
    }

    /// Puts in a queued message as a summary has it, in place of what is known of it.
    pub(super) fn restore(&mut self, id: MessageId, message: &LiveMessage) {
        self.remove(id);
        let rows = message
            .rows
            .iter()
            .map(|(view, name)| Row {
                due: view.due,
                recipient: view.copy.recipient,
                line: self.order.line_number(name),
                payload: view.payload.span,
                state_segment: view.state.segment,
                state: view.state.span,
            })
            .collect();
        self.put(id, message.content.segment, message.content.span, rows);
    }

    fn insert(&mut self, id: MessageId, segment: u32, content: Span, rows: &[RowRecord], base: u32) {
        self.remove(id);
        let rows = rows
            .iter()
            .map(|row| Row {
                due: row.due,
                recipient: row.recipient,
                line: self.order.line_number(&row.line),
                payload: row.payload.at(base),
                state_segment: segment,
                state: row.state.at(base),
            })
            .collect();
        self.put(id, segment, content, rows);
    }

    fn put(&mut self, id: MessageId, segment: u32, content: Span, rows: Vec<Row>) {
        for row in &rows {
            self.rows += 1;
            self.order.enter(row.line);
            self.enqueue(row.line, row.due, CopyId { message: id, recipient: row.recipient });
        }
        if let Some(rows) = Rows::new(rows) {
            self.count_live(segment, content, true);
            self.messages.insert(id, Box::new(Message { segment, content, rows }));
        }
    }

    /// Notes a queued message's new place. A message that is known has the same rows there; dues and leases stay.
    fn relocate(&mut self, id: MessageId, segment: u32, content: Span, rows: &[RowRecord], base: u32) -> bool {
        let Some(message) = self.messages.get_mut(&id) else { return false };
        if message.rows.as_slice().len() != rows.len() {
            return false;
        }
        for record in rows {
            let Some(row) = message.rows.get_mut(record.recipient) else { return false };
            if row.due != record.due {
                return false;
            }
            (row.payload, row.state_segment, row.state) = (record.payload.at(base), segment, record.state.at(base));
        }
        let (old_segment, old_content) = (message.segment, message.content);
        (message.segment, message.content) = (segment, content);
        self.count_live(old_segment, old_content, false);
        self.count_live(segment, content, true);
        true
    }

    /// Removes a message with all its rows.
    fn remove(&mut self, id: MessageId) {
        let Some(message) = self.messages.remove(&id) else { return };
        self.count_live(message.segment, message.content, false);
        for row in message.rows.as_slice() {
            self.forget(id, *row);
        }
    }

    /// Removes a row from all but its message.
    fn forget(&mut self, id: MessageId, row: Row) {
        let copy = CopyId { message: id, recipient: row.recipient };
        if !self.end_lease(copy) {
            self.unready(row.line, row.due, copy);
        }
        self.rows -= 1;
        self.order.leave(row.line);
    }

    /// Removes a row; returns whether that was the message's last.
    fn finish(&mut self, copy: CopyId) -> bool {
        let Some(message) = self.messages.get_mut(&copy.message) else { return false };
        let Some(row) = message.rows.get(copy.recipient).copied() else { return false };
        if message.rows.as_slice().len() == 1 {
            self.remove(copy.message);
            return true;
        }
        message.rows.take(copy.recipient);
        self.forget(copy.message, row);
        false
    }

    /// Removes a row, or makes it due again with a new state. Returns whether its message is done with now.
    pub(super) fn change(&mut self, copy: CopyId, again: Option<(Timestamp, Place)>) -> bool {
        let Some((due, state)) = again else { return self.finish(copy) };
        self.change_due(copy, due, Some(state));
        false
    }

    fn change_due(&mut self, copy: CopyId, due: Timestamp, state: Option<Place>) {
        let Some(row) = self.messages.get_mut(&copy.message).and_then(|message| message.rows.get_mut(copy.recipient)) else { return };
        let (line, old_due) = (row.line, row.due);
        row.due = due;
        if let Some(state) = state {
            (row.state_segment, row.state) = (state.segment, state.span);
        }
        if !self.end_lease(copy) {
            self.unready(line, old_due, copy);
        }
        if due < old_due {
            self.enqueue(line, due, copy);
        } else {
            self.put_back(line, due, copy);
        }
    }

    /// Returns when there may be more to do; `passed` is the time of leases at `now`.
    pub(super) fn next_due(&self, now: Timestamp, passed: Duration) -> Option<Timestamp> {
        if now == Timestamp::NEVER {
            return None;
        }
        let row = self.dues.range((Bound::Excluded(now), Bound::Excluded(Timestamp::NEVER))).next().map(|(due, _)| *due);
        let lease = self.expiries.first().map(|(until, _)| *until);
        let first = lease.into_iter().chain(self.first_rest()).min().map(|until| now.plus(until.saturating_sub(passed)));
        row.into_iter().chain(first.filter(|until| *until != Timestamp::NEVER)).min()
    }

    fn views(id: MessageId, message: &Message) -> impl Iterator<Item = RowView> {
        message.rows.as_slice().iter().map(move |row| message.view(id, row))
    }

    /// Returns a row as it stands.
    pub(super) fn view(&self, copy: CopyId) -> Option<RowView> {
        let message = self.messages.get(&copy.message)?;
        message.rows.get(copy.recipient).map(|row| message.view(copy.message, row))
    }

    pub(super) fn name(&self, view: &RowView) -> QueueName {
        self.order.queue_of(view.line).map(|queue| Arc::clone(&queue.name)).unwrap_or_default()
    }

    fn line_name(&self, view: &RowView) -> LineName {
        self.order.line(view.line).map(|line| Arc::clone(&line.name)).unwrap_or_default()
    }

    /// Returns where a queued message is.
    pub(super) fn place(&self, id: MessageId) -> Option<Place> {
        self.messages.get(&id).map(|message| Place { segment: message.segment, span: message.content })
    }

    /// Returns a queued message as it stands.
    pub(super) fn live_message(&self, id: MessageId) -> Option<LiveMessage> {
        let message = self.messages.get(&id)?;
        let rows = Self::views(id, message).map(|view| (view, self.line_name(&view))).collect();
        Some(LiveMessage { content: Place { segment: message.segment, span: message.content }, rows })
    }

    /// Looks at up to `scan` messages from after `after` on and returns rows of them, and where to go on.
    pub(super) fn rows(&self, queue: Option<&str>, after: Option<CopyId>, limit: usize, scan: usize) -> (Vec<RowView>, Option<CopyId>) {
        let number = queue.map(|name| self.order.find_queue(name));
        if number == Some(None) {
            return (Vec::new(), None);
        }
        let wanted = number.flatten();
        let mut found = Vec::new();
        let start = after.map_or(Bound::Unbounded, |copy| Bound::Included(copy.message));
        for (scanned, (id, message)) in self.messages.range((start, Bound::Unbounded)).enumerate() {
            if scanned == scan {
                // All of the messages before this one were looked at.
                let before = CopyId { message: *id, recipient: 0 };
                let last = self.messages.range(..before.message).next_back().map(|(id, _)| CopyId { message: *id, recipient: u32::MAX });
                return (found, last);
            }
            let rows = Self::views(*id, message).filter(|view| after.is_none_or(|after| view.copy > after));
            found.extend(
                rows.filter(|view| wanted.is_none_or(|number| self.order.line(view.line).is_some_and(|line| line.queue == number)))
                    .take(limit - found.len()),
            );
            if found.len() == limit {
                break;
            }
        }
        (found, None)
    }

    pub(super) fn row_count(&self) -> u64 {
        self.rows
    }

    pub(super) fn leased(&self) -> u64 {
        self.leases.len() as u64
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.messages.first_key_value().map(|(id, _)| id.received())
    }
}

impl RowView {
    /// A row as a summary has it; its line is looked up when it is restored.
    pub(super) fn new(copy: CopyId, due: Timestamp, payload: Place, state: Place) -> Self {
        Self { copy, due, line: LineNumber::ANY, payload, state }
    }
}
