//! Queues: one for each plugin and login that has something to hear.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Stand;
use crate::event::Event;

/// Events that wait in one queue; with more, it goes on from the log.
const QUEUE: usize = 1_000;
/// Events that wait in all of them.
const QUEUES: usize = 20_000;

/// Who is told of whose events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) plugin: Arc<str>,
    pub(super) login: Arc<str>,
}

/// An event that waits.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) position: u64,
    pub(super) event: Arc<Event>,
}

/// All queues.
#[derive(Debug)]
pub(super) struct Board {
    /// Everything before this was put in queues, or is left to those who are behind.
    pub(super) read: u64,
    /// Since which position each plugin is told.
    pub(super) since: BTreeMap<Arc<str>, u64>,
    /// Those who have something to hear; each has a task.
    lines: BTreeMap<Pair, Line>,
    waiting: usize,
}

/// One queue.
#[derive(Debug, Default)]
struct Line {
    queue: VecDeque<Told>,
    /// What is before this is in the queue, or done.
    next: u64,
    /// The reader leaves it alone: it goes on from the log, from `next` on.
    is_behind: bool,
    /// First position of what the plugin is being told.
    under_way: Option<u64>,
}

impl Line {
    /// Where it goes on after a restart.
    fn position(&self) -> Option<u64> {
        let waiting = self.queue.front().map(|told| told.position);
        self.under_way.or(waiting).or(self.is_behind.then_some(self.next))
    }
}

/// What a queue has for its task.
#[derive(Debug)]
pub(super) enum Work {
    /// To be told.
    Batch(Vec<Told>),
    /// More is on the log, from here on.
    Reread(u64),
    /// Nothing: the queue is gone.
    Nothing,
}

impl Board {
    pub(super) fn new(read: u64) -> Self {
        Self { read, since: BTreeMap::new(), lines: BTreeMap::new(), waiting: 0 }
    }

    /// Other plugins are told from now on. Those who were not told before begin where the reader is.
    pub(super) fn admit(&mut self, observing: &BTreeSet<Arc<str>>) {
        let read = self.read;
        self.since.retain(|plugin, _| observing.contains(plugin));
        for plugin in observing {
            self.since.entry(Arc::clone(plugin)).or_insert(read);
        }
    }

    /// Notes that a plugin has not heard of a login's events from `position` on.
    pub(super) fn fall_behind(&mut self, pair: &Pair, position: u64) {
        let line = self.lines.entry(pair.clone()).or_default();
        (line.next, line.is_behind) = (position, true);
    }

    /// Takes in what the reader has found before `end`; returns whose queues need a task now.
    pub(super) fn take_in(&mut self, told: Vec<(Pair, Told)>, end: u64) -> Vec<Pair> {
        let mut woken = Vec::new();
        for (pair, told) in told {
            if self.since.get(&pair.plugin).is_none_or(|since| told.position < *since) {
                continue;
            }
            if !self.lines.contains_key(&pair) {
                woken.push(pair.clone());
            }
            let line = self.lines.entry(pair).or_default();
            if line.is_behind || told.position < line.next {
                continue;
            }
            if line.queue.len() >= QUEUE || self.waiting >= QUEUES {
                (line.next, line.is_behind) = (told.position, true);
                continue;
            }
            line.next = told.position + 1;
            line.queue.push_back(told);
            self.waiting += 1;
        }
        self.read = self.read.max(end);
        woken
    }

    /// Takes in what a queue has found on the log by itself, before `end`. Where that is as far as the reader is, it follows him again.
    pub(super) fn take_in_reread(&mut self, pair: &Pair, told: Vec<Told>, end: u64) {
        let since = self.since.get(&pair.plugin).copied();
        let Some(line) = self.lines.get_mut(pair) else { return };
        let told = told.into_iter().filter(|told| since.is_some_and(|since| told.position >= since));
        for told in told {
            line.queue.push_back(told);
            self.waiting += 1;
        }
        line.next = line.next.max(end);
        line.is_behind = line.next < self.read;
    }

    /// Whether there is nothing to wait for: a queue has as much as goes into one call, or is behind.
    pub(super) fn is_ready(&self, pair: &Pair, batch: usize) -> bool {
        self.lines.get(pair).is_none_or(|line| line.is_behind || line.queue.len() >= batch)
    }

    /// Notes that what was under way is done with.
    pub(super) fn done(&mut self, pair: &Pair) {
        if let Some(line) = self.lines.get_mut(pair) {
            line.under_way = None;
        }
    }

    /// Returns what is to be done for a queue next. A queue without anything is removed.
    pub(super) fn work(&mut self, pair: &Pair, batch: usize) -> Work {
        let Some(line) = self.lines.get_mut(pair) else { return Work::Nothing };
        let count = line.queue.len().min(batch);
        let batch: Vec<Told> = line.queue.drain(..count).collect();
        self.waiting -= count;
        if let Some(first) = batch.first() {
            line.under_way = Some(first.position);
            return Work::Batch(batch);
        }
        if line.is_behind {
            return Work::Reread(line.next);
        }
        self.lines.remove(pair);
        Work::Nothing
    }

    /// Forgets a queue: its plugin is not in the login's chain any more.
    pub(super) fn forget(&mut self, pair: &Pair) {
        if let Some(line) = self.lines.remove(pair) {
            self.waiting -= line.queue.len();
        }
    }

    /// Returns where everybody stands.
    pub(super) fn stand(&self) -> Stand {
        let behind = self.lines.iter().filter_map(|(pair, line)| Some((pair.clone(), line.position()?))).collect();
        Stand { read: self.read, since: self.since.clone(), behind }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::EventKind;
    use crate::mail::message_id::MessageId;

    fn told(position: u64) -> Told {
        let event = Event {
            at: Timestamp::default(),
            message: MessageId::from_bytes([1; 16]),
            login: "a".into(),
            recipient: None,
            address: None,
            tags: Vec::new(),
            kind: EventKind::Cancelled,
        };
        Told { position, event: Arc::new(event) }
    }

    fn pair(login: &str) -> Pair {
        Pair { plugin: "p".into(), login: login.into() }
    }

    fn positions(work: Work) -> Vec<u64> {
        match work {
            Work::Batch(batch) => batch.iter().map(|told| told.position).collect(),
            Work::Reread(_) | Work::Nothing => panic!("{work:?}"),
        }
    }

    #[test]
    fn a_full_queue_falls_behind_and_comes_back() {
        let mut board = Board::new(10);
        board.admit(&BTreeSet::from(["p".into()]));
        let many = (5..2_000).map(|position| (pair("a"), told(position))).chain([(pair("b"), told(2_000))]);
        assert_eq!(board.take_in(many.collect(), 2_001), [pair("a"), pair("b")]);
        // Before the plugin was there, nothing is told; beyond the queue, the log is read again.
        assert_eq!(board.stand().behind, BTreeMap::from([(pair("a"), 10), (pair("b"), 2_000)]));
        assert_eq!(positions(board.work(&pair("a"), 600)), (10..610).collect::<Vec<_>>());
        assert_eq!(board.stand().behind.get(&pair("a")), Some(&10), "it is not done yet");
        board.done(&pair("a"));
        assert_eq!(board.stand().behind.get(&pair("a")), Some(&610));
        assert_eq!(positions(board.work(&pair("a"), 600)), (610..1_010).collect::<Vec<_>>());
        board.done(&pair("a"));
        let Work::Reread(1_010) = board.work(&pair("a"), 600) else { panic!() };
        assert_eq!(board.stand().behind.get(&pair("a")), Some(&1_010));
        // Meanwhile the reader leaves it alone.
        assert!(board.take_in(vec![(pair("a"), told(2_001))], 2_002).is_empty());
        board.take_in_reread(&pair("a"), (1_010..1_500).map(told).collect(), 1_500);
        assert_eq!(positions(board.work(&pair("a"), 600)), (1_010..1_500).collect::<Vec<_>>());
        board.done(&pair("a"));
        let Work::Reread(1_500) = board.work(&pair("a"), 600) else { panic!() };
        // It read further than the reader has, who then passes over what it had.
        board.take_in_reread(&pair("a"), (1_500..2_003).map(told).collect(), 2_003);
        board.take_in(vec![(pair("a"), told(2_002)), (pair("a"), told(2_003))], 2_004);
        assert_eq!(positions(board.work(&pair("a"), 600)), (1_500..2_004).collect::<Vec<_>>());
        board.done(&pair("a"));
        assert!(matches!(board.work(&pair("a"), 600), Work::Nothing));
        assert_eq!(board.stand().behind, BTreeMap::from([(pair("b"), 2_000)]));
        board.forget(&pair("b"));
        assert_eq!((board.waiting, board.stand().read), (0, 2_004));
        // Who leaves and comes back begins anew.
        board.admit(&BTreeSet::new());
        assert!(board.take_in(vec![(pair("a"), told(2_004))], 2_005).is_empty());
        board.admit(&BTreeSet::from(["p".into()]));
        assert_eq!(board.stand().since, BTreeMap::from([("p".into(), 2_005)]));
    }
}
