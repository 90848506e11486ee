//! Destinations that could not be reached the last time: so that those of them that never answer do not take all connections.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::Rate;
use crate::store::QueueName;

/// Destinations that are remembered; with more, new ones are taken for good ones.
const DESTINATIONS: usize = 10_000;

/// The longest pause of a destination: others like it may be many, and it may answer again.
const LONGEST: Duration = Duration::from_mins(1);

/// What the rate allows in this time may be put off at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What is known. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// Until when each is remembered.
    queues: Mutex<BTreeMap<QueueName, Duration>>,
    /// When the next copies may be put off.
    next: Mutex<Duration>,
}

impl Failing {
    /// Whether the last attempt to reach a destination failed.
    pub(super) fn contains(&self, queue: &str, now: Duration) -> bool {
        self.queues.lock().get(queue).is_some_and(|until| *until > now)
    }

    /// So many copies were put off, or given up, as their destination could not be reached. Returns when the next ones of the same destination may be,
    /// where that is not now: a million of them must not hold up what can be delivered. Some may be at once.
    pub(super) fn pace(&self, copies: usize, rate: Rate, now: Duration) -> Option<Duration> {
        let mut next = self.next.lock();
        let copies = u32::try_from(copies).unwrap_or(u32::MAX);
        let end = (*next).max(now).saturating_add(rate.interval().saturating_mul(copies));
        *next = end.min(now.saturating_add(LONGEST));
        let until = next.saturating_sub(AT_ONCE);
        (until > now).then_some(until)
    }

    /// A destination could not be reached.
    pub(super) fn remember(&self, queue: &QueueName, now: Duration, until: Duration) {
        let mut queues = self.queues.lock();
        if queues.len() >= DESTINATIONS {
            queues.retain(|_, until| *until > now);
        }
        if queues.len() < DESTINATIONS || queues.contains_key(queue) {
            queues.insert(queue.clone(), until);
        }
    }

    /// A destination answers.
    pub(super) fn forget(&self, queue: &str) {
        let mut queues = self.queues.lock();
        if !queues.is_empty() {
            queues.remove(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_remembered_for_a_time() {
        let (failing, queue) = (Failing::default(), QueueName::from("direct/b.example"));
        let second = Duration::from_secs(1);
        failing.remember(&queue, Duration::ZERO, 30 * second);
        assert!(failing.contains(&queue, 29 * second));
        assert!(!failing.contains(&queue, 30 * second));
        failing.remember(&queue, 30 * second, 60 * second);
        failing.forget(&queue);
        assert!(!failing.contains(&queue, 30 * second));
    }

    #[test]
    fn copies_that_lead_nowhere_are_put_off_at_a_pace() {
        let (failing, rate) = (Failing::default(), Rate { count: 1000, period: Duration::from_secs(1) });
        let second = Duration::from_secs(1);
        assert_eq!(failing.pace(1000, rate, second), None, "a few may be at once");
        assert_eq!(failing.pace(500, rate, second), Some(second * 3 / 2), "all such destinations share it");
        assert_eq!(failing.pace(1_000_000, rate, second), Some(60 * second), "no pause is long");
        assert_eq!(failing.pace(1, rate, 61 * second), None);
    }
}
