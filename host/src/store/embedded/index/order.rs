//! Queues and shares, and the order in which their rows are handed out.
//!
//! ```text
//! queue ──┬── line (share a, priority 4) ── rows by due time
//!         ├── line (share a, priority 0) ── rows by due time
//!         └── line (share b, priority 0) ── rows by due time
//! ```
//!
//! Shares take turns: within a queue when rows are leased, and among queues when they are listed. Within a share the higher priority comes first, then
//! what is due first. So a share with a million rows delays nobody else's, and a share's priorities are its own affair.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::super::line::{self, LineName};
use super::Index;
use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::{DueQueue, QueueName, Sharers};

/// Lines of one queue, due first, that one lease takes from.
const LINES: usize = 1024;
/// Lines that are looked at for each queue that is to be listed.
const LOOKS: usize = 16;
/// Rows of one share that a lease takes before the next share has its turn: copies of one message stay together.
const TURN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LineNumber(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct QueueNumber(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ShareNumber(u32);

impl LineNumber {
    /// That of no line in particular.
    pub(super) const ANY: Self = Self(0);
}

/// Things by number; numbers of what is gone are given again.
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn add(&mut self, item: T) -> u32 {
        if let Some(number) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(number as usize) {
                *slot = Some(item);
            }
            return number;
        }
        self.slots.push(Some(item));
        u32::try_from(self.slots.len() - 1).expect("each has a row in memory: fewer than 2^32")
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize).and_then(Option::as_ref)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize).and_then(Option::as_mut)
    }

    fn take(&mut self, number: u32) -> Option<T> {
        let item = self.slots.get_mut(number as usize).and_then(Option::take);
        if item.is_some() {
            self.free.push(number);
        }
        item
    }
}

/// Place of a row in the order in which rows are handed out. The id is kept as octets: as a number it would be aligned to 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadyKey {
    pub(super) line: LineNumber,
    pub(super) due: Timestamp,
    pub(super) message: [u8; 16],
    pub(super) recipient: u32,
}

impl ReadyKey {
    pub(super) fn new(line: LineNumber, due: Timestamp, copy: CopyId) -> Self {
        Self { line, due, message: copy.message.to_bytes(), recipient: copy.recipient }
    }

    fn first(line: LineNumber) -> Self {
        Self { line, due: Timestamp::default(), message: [0; 16], recipient: 0 }
    }

    pub(super) fn copy(&self) -> CopyId {
        CopyId { message: MessageId::from_bytes(self.message), recipient: self.recipient }
    }
}

/// Rows of one queue that belong to one share and have one priority.
pub(super) struct Line {
    pub(super) name: LineName,
    pub(super) queue: QueueNumber,
    share: ShareNumber,
    priority: i8,
    /// Rows in it, leased ones included.
    rows: u64,
    /// When its first row that is not leased is due.
    head: Option<Timestamp>,
}

pub(super) struct Queue {
    pub(super) name: QueueName,
    lines: u32,
    /// Its lines by the due time of their first row.
    heads: BTreeSet<(Timestamp, LineNumber)>,
    /// Whose turn was the last.
    turn: Option<ShareNumber>,
    /// It is not listed before this time.
    rests: Option<Duration>,
}

/// Those who take turns with each other.
pub(super) struct Share {
    name: Arc<str>,
    lines: u32,
    /// Its lines in queues that do not rest, by the due time of their first row.
    heads: BTreeSet<(Timestamp, LineNumber)>,
}

/// All lines, queues and shares.
#[derive(Default)]
pub(super) struct Order {
    lines: Slots<Line>,
    line_names: HashMap<LineName, LineNumber>,
    queues: Slots<Queue>,
    queue_names: HashMap<QueueName, QueueNumber>,
    shares: Slots<Share>,
    share_names: HashMap<Arc<str>, ShareNumber>,
    /// Shares by the due time of their first row.
    share_heads: BTreeSet<(Timestamp, ShareNumber)>,
    /// Queues that rest, by the end of that.
    rests: BTreeSet<(Duration, QueueNumber)>,
}

impl Order {
    /// Returns the number of the line called `name`, which it makes where there is none.
    pub(super) fn line_number(&mut self, name: &LineName) -> LineNumber {
        if let Some(number) = self.line_names.get(name) {
            return *number;
        }
        let (queue_name, share_name, priority) = line::split(name);
        let queue = if let Some(number) = self.queue_names.get(queue_name) {
            *number
        } else {
            let name = QueueName::from(queue_name);
            let queue = Queue { name: Arc::clone(&name), lines: 0, heads: BTreeSet::new(), turn: None, rests: None };
            let number = QueueNumber(self.queues.add(queue));
            self.queue_names.insert(name, number);
            number
        };
        let share = if let Some(number) = self.share_names.get(share_name) {
            *number
        } else {
            let name: Arc<str> = share_name.into();
            let number = ShareNumber(self.shares.add(Share { name: Arc::clone(&name), lines: 0, heads: BTreeSet::new() }));
            self.share_names.insert(name, number);
            number
        };
        if let Some(queue) = self.queues.get_mut(queue.0) {
            queue.lines += 1;
        }
        if let Some(share) = self.shares.get_mut(share.0) {
            share.lines += 1;
        }
        let number = LineNumber(self.lines.add(Line { name: Arc::clone(name), queue, share, priority, rows: 0, head: None }));
        self.line_names.insert(Arc::clone(name), number);
        number
    }

    pub(super) fn line(&self, number: LineNumber) -> Option<&Line> {
        self.lines.get(number.0)
    }

    pub(super) fn queue_of(&self, line: LineNumber) -> Option<&Queue> {
        self.queues.get(self.line(line)?.queue.0)
    }

    pub(super) fn find_queue(&self, name: &str) -> Option<QueueNumber> {
        self.queue_names.get(name).copied()
    }

    /// Counts a row into its line.
    pub(super) fn enter(&mut self, line: LineNumber) {
        if let Some(line) = self.lines.get_mut(line.0) {
            line.rows += 1;
        }
    }

    /// Counts a row out of its line; an empty one is none, and so are an empty queue and share. Its row is not ready any more.
    pub(super) fn leave(&mut self, number: LineNumber) {
        let emptied = self.lines.get_mut(number.0).is_some_and(|line| {
            line.rows -= 1;
            line.rows == 0
        });
        let Some(line) = emptied.then(|| self.lines.take(number.0)).flatten() else { return };
        self.line_names.remove(&line.name);
        let queue_emptied = self.queues.get_mut(line.queue.0).is_some_and(|queue| {
            queue.lines -= 1;
            queue.lines == 0
        });
        if queue_emptied && let Some(queue) = self.queues.take(line.queue.0) {
            self.queue_names.remove(&queue.name);
            if let Some(until) = queue.rests {
                self.rests.remove(&(until, line.queue));
            }
        }
        let share_emptied = self.shares.get_mut(line.share.0).is_some_and(|share| {
            share.lines -= 1;
            share.lines == 0
        });
        if share_emptied && let Some(share) = self.shares.take(line.share.0) {
            self.share_names.remove(&share.name);
        }
    }

    /// Notes when the first row of a line is due.
    fn set_head(&mut self, number: LineNumber, head: Option<Timestamp>) {
        let Some(line) = self.lines.get_mut(number.0) else { return };
        let old = std::mem::replace(&mut line.head, head);
        if old == head {
            return;
        }
        let (queue, share) = (line.queue, line.share);
        let Some(queue) = self.queues.get_mut(queue.0) else { return };
        if let Some(old) = old {
            queue.heads.remove(&(old, number));
        }
        if let Some(head) = head {
            queue.heads.insert((head, number));
        }
        if queue.rests.is_none() {
            self.list(share, number, old, head);
        }
    }

    /// Notes for what a share is listed.
    fn list(&mut self, number: ShareNumber, line: LineNumber, old: Option<Timestamp>, new: Option<Timestamp>) {
        let Some(share) = self.shares.get_mut(number.0) else { return };
        let before = share.heads.first().map(|(due, _)| *due);
        if let Some(old) = old {
            share.heads.remove(&(old, line));
        }
        if let Some(new) = new {
            share.heads.insert((new, line));
        }
        let after = share.heads.first().map(|(due, _)| *due);
        if before != after {
            if let Some(before) = before {
                self.share_heads.remove(&(before, number));
            }
            if let Some(after) = after {
                self.share_heads.insert((after, number));
            }
        }
    }

    /// Lists `queue` no more before `until`.
    fn rest(&mut self, queue: &str, until: Duration) {
        let Some(number) = self.find_queue(queue) else { return };
        let Some(queue) = self.queues.get_mut(number.0) else { return };
        let old = queue.rests.replace(until);
        self.rests.insert((until, number));
        match old {
            Some(old) if old != until => drop(self.rests.remove(&(old, number))),
            Some(_) => {}
            None => self.list_queue(number, false),
        }
    }

    /// Ends the rest of a queue. Returns whether it rested.
    fn rouse(&mut self, number: QueueNumber) -> bool {
        let Some(until) = self.queues.get_mut(number.0).and_then(|queue| queue.rests.take()) else { return false };
        self.rests.remove(&(until, number));
        self.list_queue(number, true);
        true
    }

    /// Shares of lines of a queue with rows that are due, the longest waiting first; one of several lines comes several times.
    fn due_shares(&self, queue: &Queue, now: Timestamp) -> impl Iterator<Item = ShareNumber> {
        let due = queue.heads.iter().take_while(move |(due, _)| *due <= now && *due != Timestamp::NEVER);
        due.take(LINES).filter_map(|(_, line)| Some(self.line(*line)?.share))
    }

    fn list_queue(&mut self, number: QueueNumber, listed: bool) {
        let heads: Vec<_> = self.queues.get(number.0).map(|queue| queue.heads.iter().copied().collect()).unwrap_or_default();
        for (due, line) in heads {
            let Some(share) = self.line(line).map(|line| line.share) else { continue };
            let due = Some(due);
            let (old, new) = if listed { (None, due) } else { (due, None) };
            self.list(share, line, old, new);
        }
    }
}

impl Index {
    /// A row may be handed out when it is due. Where it is new, or due earlier than before, and no other of its share and priority is due as early, that ends the
    /// rest of its queue: what the queue waits for may be there for this one.
    pub(super) fn enqueue(&mut self, line: LineNumber, due: Timestamp, copy: CopyId) {
        let rests = self.order.line(line).filter(|line| line.head.is_none_or(|head| due < head)).map(|line| line.queue);
        if let Some(queue) = rests {
            self.order.rouse(queue);
        }
        self.put_back(line, due, copy);
    }

    /// The same for a row that was handed out, or is due later than before: a rest of its queue goes on, as whoever puts it back may be the one that found
    /// nothing to have for it.
    pub(super) fn put_back(&mut self, line: LineNumber, due: Timestamp, copy: CopyId) {
        if self.ready.insert(ReadyKey::new(line, due, copy)) {
            *self.dues.entry(due).or_default() += 1;
            if self.order.line(line).is_some_and(|line| line.head.is_none_or(|head| due < head)) {
                self.order.set_head(line, Some(due));
            }
        }
    }

    pub(super) fn unready(&mut self, line: LineNumber, due: Timestamp, copy: CopyId) {
        if self.ready.remove(&ReadyKey::new(line, due, copy)) {
            if let Some(count) = self.dues.get_mut(&due) {
                *count -= 1;
                if *count == 0 {
                    self.dues.remove(&due);
                }
            }
            if self.order.line(line).is_some_and(|line| line.head == Some(due)) {
                let head = self.ready.range(ReadyKey::first(line)..).next().filter(|key| key.line == line).map(|key| key.due);
                self.order.set_head(line, head);
            }
        }
    }

    /// Returns queues that do not rest and have rows that are due: those of each share the longest waiting first, and the shares in turn.
    pub(in super::super) fn due_queues(&self, now: Timestamp, limit: usize) -> Vec<DueQueue> {
        let is_due = |due: Timestamp| due <= now && due != Timestamp::NEVER;
        let shares = self.order.share_heads.iter().take_while(|(due, _)| is_due(*due)).take(limit);
        let mut turns: Vec<_> = shares
            .filter_map(|(_, number)| self.order.shares.get(number.0))
            .map(|share| (&share.name, share.heads.iter().take_while(|(due, _)| is_due(*due))))
            .collect();
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        // Where many shares have the same queues, most lines say nothing new.
        let mut looks = limit.saturating_mul(LOOKS);
        while !turns.is_empty() && found.len() < limit && looks > 0 {
            turns.retain_mut(|(share, heads)| {
                for (_, line) in heads {
                    looks = looks.saturating_sub(1);
                    if looks == 0 {
                        return false;
                    }
                    let Some(number) = self.order.line(*line).map(|line| line.queue) else { continue };
                    if seen.insert(number)
                        && let Some(queue) = self.order.queues.get(number.0)
                    {
                        found.push(DueQueue { queue: Arc::clone(&queue.name), share: Arc::clone(share) });
                        return true;
                    }
                }
                false
            });
        }
        found.truncate(limit);
        found
    }

    /// Picks up to `limit` rows of a queue that are due: the shares in turn, of each the highest priority first.
    pub(super) fn pick(&mut self, number: QueueNumber, now: Timestamp, limit: usize) -> Vec<ReadyKey> {
        let Some(queue) = self.order.queues.get(number.0) else { return Vec::new() };
        let due = queue.heads.iter().take_while(|(due, _)| *due <= now && *due != Timestamp::NEVER).take(LINES);
        let mut shares: BTreeMap<ShareNumber, Vec<(i8, LineNumber)>> = BTreeMap::new();
        for (_, number) in due {
            if let Some(line) = self.order.line(*number) {
                shares.entry(line.share).or_default().push((line.priority, *number));
            }
        }
        // Whoever comes after the one that was last begins.
        let mut turns: Vec<_> = shares.into_iter().collect();
        let next = turns.partition_point(|(share, _)| queue.turn.is_some_and(|turn| *share <= turn));
        turns.rotate_left(next);
        let turn = (limit / turns.len().max(1)).max(TURN);
        let mut turns: Vec<_> = turns
            .into_iter()
            .map(|(share, mut lines)| {
                lines.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
                let keys = lines.into_iter().flat_map(|(_, line)| {
                    let rows = self.ready.range(ReadyKey::first(line)..);
                    rows.take_while(move |key| key.line == line && key.due <= now && key.due != Timestamp::NEVER)
                });
                (share, keys)
            })
            .collect();
        let (mut picked, mut last) = (Vec::new(), queue.turn);
        while !turns.is_empty() && picked.len() < limit {
            turns.retain_mut(|(share, keys)| {
                let before = picked.len();
                picked.extend(keys.by_ref().take(turn.min(limit - before)));
                if picked.len() > before {
                    last = Some(*share);
                }
                picked.len() == before + turn
            });
        }
        drop(turns);
        if let Some(queue) = self.order.queues.get_mut(number.0) {
            queue.turn = last;
        }
        picked
    }

    /// Lists `queue` no more before `until`, whatever is due in it.
    pub(in super::super) fn rest(&mut self, queue: &str, until: Duration) {
        self.order.rest(queue, until);
    }

    /// Returns shares with rows of a queue that are due, at most `limit` of them, and when others have some.
    pub(in super::super) fn sharers(&self, queue: &str, now: Timestamp, limit: usize) -> Sharers {
        let queue = self.order.find_queue(queue).and_then(|number| self.order.queues.get(number.0));
        let Some(queue) = queue else { return Sharers::default() };
        let mut seen = HashSet::new();
        let shares = self.order.due_shares(queue, now).filter(|share| seen.insert(*share)).take(limit);
        let due = shares.filter_map(|share| self.order.shares.get(share.0).map(|share| Arc::clone(&share.name))).collect();
        let next = queue.heads.range((Bound::Excluded((now, LineNumber(u32::MAX))), Bound::Unbounded)).next();
        Sharers { due, next: next.map(|(due, _)| *due).filter(|due| *due != Timestamp::NEVER) }
    }

    /// Whether a share is one of those.
    pub(in super::super) fn has_due(&self, queue: &str, share: &str, now: Timestamp) -> bool {
        let queue = self.order.find_queue(queue).and_then(|number| self.order.queues.get(number.0));
        let is_named = |number: ShareNumber| self.order.shares.get(number.0).is_some_and(|found| *found.name == *share);
        queue.is_some_and(|queue| self.order.due_shares(queue, now).any(is_named))
    }

    /// Ends the rest of one queue, or of all. Returns whether there was any.
    pub(in super::super) fn rouse(&mut self, queue: Option<&str>) -> bool {
        match queue {
            Some(name) => self.order.find_queue(name).is_some_and(|number| self.order.rouse(number)),
            None => self.end_rests(Duration::MAX),
        }
    }

    /// Ends rests that last until `passed` at most. Returns whether there were any.
    pub(super) fn end_rests(&mut self, passed: Duration) -> bool {
        let mut any = false;
        while let Some((_, queue)) = self.order.rests.first().copied().filter(|(until, _)| *until <= passed) {
            any |= self.order.rouse(queue);
        }
        any
    }

    /// When the first rest ends.
    pub(super) fn first_rest(&self) -> Option<Duration> {
        self.order.rests.first().map(|(until, _)| *until)
    }
}
