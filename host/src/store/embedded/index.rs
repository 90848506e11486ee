//! What is queued, in memory: where each row waits, when it is due, and where on disk the rest of it lies.
//!
//! About 200 octets for a message with one recipient; address, data and state of a row stay on disk. Nothing is kept here of messages that are
//! done with. Leases live here alone: one process has the store, and when it ends all leases do. Their ends are times of
//! [`Clock::monotonic`](crate::clock::Clock::monotonic).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

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
    queue: QueueNumber,
    pub(super) payload: Place,
    pub(super) state: Place,
}

/// A queued message as a segment's summary tells it.
#[derive(Clone, Debug)]
pub(super) struct LiveMessage {
    pub(super) content: Place,
    pub(super) rows: Vec<(RowView, QueueName)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct QueueNumber(NonZeroU32);

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
    queue: QueueNumber,
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
            queue: row.queue,
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

/// Place of a row in the order in which rows are handed out. The id is kept as octets: as a number it would be aligned to 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ReadyKey {
    queue: QueueNumber,
    due: Timestamp,
    message: [u8; 16],
    recipient: u32,
}

impl ReadyKey {
    fn new(queue: QueueNumber, due: Timestamp, copy: CopyId) -> Self {
        Self { queue, due, message: copy.message.to_bytes(), recipient: copy.recipient }
    }

    fn copy(&self) -> CopyId {
        CopyId { message: MessageId::from_bytes(self.message), recipient: self.recipient }
    }
}

struct Queue {
    name: QueueName,
    /// Rows in it, leased ones included.
    rows: u64,
    /// When its first row that is not leased is due.
    head: Option<Timestamp>,
}

/// What queued messages take in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) messages: u32,
    pub(super) octets: u64,
}

/// All rows.
#[derive(Default)]
pub(super) struct Index {
    messages: BTreeMap<MessageId, Box<Message>>,
    queues: Vec<Option<Queue>>,
    free_queues: Vec<QueueNumber>,
    names: HashMap<QueueName, QueueNumber>,
    /// Rows that are not leased.
    ready: BTreeSet<ReadyKey>,
    /// Queues by the due time of their first row.
    heads: BTreeSet<(Timestamp, QueueNumber)>,
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
                queue: self.queue_number(name),
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
                queue: self.queue_number(&row.queue),
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
            if let Some(queue) = self.queue_mut(row.queue) {
                queue.rows += 1;
            }
            self.make_ready(row.queue, row.due, CopyId { message: id, recipient: row.recipient });
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
            self.unready(row.queue, row.due, copy);
        }
        self.rows -= 1;
        self.leave_queue(row.queue);
    }

    /// Counts a row out of its queue; an empty queue is none.
    fn leave_queue(&mut self, number: QueueNumber) {
        let emptied = self.queue_mut(number).is_some_and(|queue| {
            queue.rows -= 1;
            queue.rows == 0
        });
        if emptied && let Some(queue) = self.queues.get_mut(number.0.get() as usize - 1).and_then(Option::take) {
            self.names.remove(&queue.name);
            self.free_queues.push(number);
        }
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
        let (queue, old_due) = (row.queue, row.due);
        row.due = due;
        if let Some(state) = state {
            (row.state_segment, row.state) = (state.segment, state.span);
        }
        if !self.end_lease(copy) {
            self.unready(queue, old_due, copy);
        }
        self.make_ready(queue, due, copy);
    }

    // --- queues and the order of rows

    fn queue_number(&mut self, name: &QueueName) -> QueueNumber {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let queue = Some(Queue { name: Arc::clone(name), rows: 0, head: None });
        let number = if let Some(number) = self.free_queues.pop() {
            if let Some(place) = self.queues.get_mut(number.0.get() as usize - 1) {
                *place = queue;
            }
            number
        } else {
            self.queues.push(queue);
            let count = u32::try_from(self.queues.len()).ok().and_then(NonZeroU32::new);
            QueueNumber(count.expect("each queue has a row in memory: fewer than 2^32"))
        };
        self.names.insert(Arc::clone(name), number);
        number
    }

    fn queue(&self, number: QueueNumber) -> Option<&Queue> {
        self.queues.get(number.0.get() as usize - 1).and_then(Option::as_ref)
    }

    fn queue_mut(&mut self, number: QueueNumber) -> Option<&mut Queue> {
        self.queues.get_mut(number.0.get() as usize - 1).and_then(Option::as_mut)
    }

    fn make_ready(&mut self, queue: QueueNumber, due: Timestamp, copy: CopyId) {
        if self.ready.insert(ReadyKey::new(queue, due, copy)) {
            *self.dues.entry(due).or_default() += 1;
            if self.queue(queue).is_some_and(|queue| queue.head.is_none_or(|head| due < head)) {
                self.update_head(queue);
            }
        }
    }

    fn unready(&mut self, queue: QueueNumber, due: Timestamp, copy: CopyId) {
        if self.ready.remove(&ReadyKey::new(queue, due, copy)) {
            if let Some(count) = self.dues.get_mut(&due) {
                *count -= 1;
                if *count == 0 {
                    self.dues.remove(&due);
                }
            }
            if self.queue(queue).is_some_and(|queue| queue.head == Some(due)) {
                self.update_head(queue);
            }
        }
    }

    fn update_head(&mut self, number: QueueNumber) {
        let first = ReadyKey { queue: number, due: Timestamp::default(), message: [0; 16], recipient: 0 };
        let head = self.ready.range(first..).next().filter(|key| key.queue == number).map(|key| key.due);
        let Some(queue) = self.queue_mut(number) else { return };
        let old = std::mem::replace(&mut queue.head, head);
        if old != head {
            if let Some(old) = old {
                self.heads.remove(&(old, number));
            }
            if let Some(head) = head {
                self.heads.insert((head, number));
            }
        }
    }

    // --- leases

    /// Makes rows whose lease has run out ready again.
    pub(super) fn expire(&mut self, passed: Duration) {
        while let Some((_, copy)) = self.expiries.first().copied().filter(|(until, _)| *until <= passed) {
            self.give_back(copy);
        }
    }

    fn end_lease(&mut self, copy: CopyId) -> bool {
        self.leases.remove(&copy).is_some_and(|until| self.expiries.remove(&(until, copy)))
    }

    /// Ends a lease; the row is due as before. Returns whether it was leased.
    pub(super) fn give_back(&mut self, copy: CopyId) -> bool {
        let leased = self.end_lease(copy);
        if leased && let Some(row) = self.messages.get_mut(&copy.message).and_then(|message| message.rows.get_mut(copy.recipient)) {
            let (queue, due) = (row.queue, row.due);
            self.make_ready(queue, due, copy);
        }
        leased
    }

    /// Makes the lease of a row, which cannot be read, last until `until`. Its due time stays, so that a summary does not hold it for ever.
    pub(super) fn set_aside(&mut self, copy: CopyId, until: Duration) {
        if self.end_lease(copy) {
            self.leases.insert(copy, until);
            self.expiries.insert((until, copy));
        }
    }

    fn hand_out(&mut self, queue: QueueNumber, due: Timestamp, copy: CopyId, until: Duration) {
        self.unready(queue, due, copy);
        self.leases.insert(copy, until);
        self.expiries.insert((until, copy));
    }

    /// Takes rows that are due.
    pub(super) fn lease(&mut self, queue: &str, now: Timestamp, until: Duration, limit: usize) -> Vec<RowView> {
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
    pub(super) fn claim(&mut self, copy: CopyId, until: Duration) -> Option<RowView> {
        let view = self.view(copy).filter(|_| !self.leases.contains_key(&copy))?;
        self.hand_out(view.queue, view.due, copy, until);
        Some(view)
    }

    /// Puts a leased row into another queue and ends its lease. Returns whether it was leased.
    pub(super) fn requeue(&mut self, copy: CopyId, name: &QueueName) -> bool {
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
    pub(super) fn hasten(&mut self, latest: Timestamp) -> bool {
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

    // --- questions

    pub(super) fn due_queues(&self, now: Timestamp, limit: usize) -> Vec<QueueName> {
        let due = self.heads.iter().take_while(|(due, _)| *due <= now && *due != Timestamp::NEVER).take(limit);
        due.filter_map(|(_, number)| Some(Arc::clone(&self.queue(*number)?.name))).collect()
    }

    /// Returns when there may be more to do; `passed` is the time of leases at `now`.
    pub(super) fn next_due(&self, now: Timestamp, passed: Duration) -> Option<Timestamp> {
        if now == Timestamp::NEVER {
            return None;
        }
        let row = self.dues.range((Bound::Excluded(now), Bound::Excluded(Timestamp::NEVER))).next().map(|(due, _)| *due);
        let lease = self.expiries.first().map(|(until, _)| now.plus(until.saturating_sub(passed)));
        row.into_iter().chain(lease.filter(|until| *until != Timestamp::NEVER)).min()
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
        self.queue(view.queue).map(|queue| Arc::clone(&queue.name)).unwrap_or_default()
    }

    /// Returns where a queued message is.
    pub(super) fn place(&self, id: MessageId) -> Option<Place> {
        self.messages.get(&id).map(|message| Place { segment: message.segment, span: message.content })
    }

    /// Returns a queued message as it stands.
    pub(super) fn live_message(&self, id: MessageId) -> Option<LiveMessage> {
        let message = self.messages.get(&id)?;
        let rows = Self::views(id, message).map(|view| (view, self.name(&view))).collect();
        Some(LiveMessage { content: Place { segment: message.segment, span: message.content }, rows })
    }

    /// Looks at up to `scan` messages from after `after` on and returns rows of them, and where to go on.
    pub(super) fn rows(&self, queue: Option<&str>, after: Option<CopyId>, limit: usize, scan: usize) -> (Vec<RowView>, Option<CopyId>) {
        let number = queue.map(|name| self.names.get(name).copied());
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
            found.extend(rows.filter(|view| wanted.is_none_or(|number| view.queue == number)).take(limit - found.len()));
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

    // --- what queued messages take

    fn count_live(&mut self, segment: u32, content: Span, more: bool) {
        let octets = u64::from(content.length);
        let live = self.live.entry(segment).or_default();
        if more {
            live.messages += 1;
            live.octets += octets;
            self.live_octets += octets;
        } else {
            live.messages -= 1;
            live.octets -= octets;
            self.live_octets -= octets;
            if live.messages == 0 {
                self.live.remove(&segment);
            }
        }
    }

    pub(super) fn live(&self, segment: u32) -> Live {
        self.live.get(&segment).copied().unwrap_or_default()
    }

    pub(super) fn live_octets(&self) -> u64 {
        self.live_octets
    }
}

impl RowView {
    /// A row as a summary has it; its queue is looked up when it is restored.
    pub(super) fn new(copy: CopyId, due: Timestamp, payload: Place, state: Place) -> Self {
        Self { copy, due, queue: QueueNumber(NonZeroU32::MIN), payload, state }
    }
}
