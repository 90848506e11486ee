//! Destinations that could not be reached the last time: so that those of them that never answer do not take all connections.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::store::QueueName;

/// Destinations that are remembered; with more, new ones are taken for good ones.
const DESTINATIONS: usize = 10_000;

/// What is known. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// Until when each is remembered.
    queues: Mutex<BTreeMap<QueueName, Duration>>,
}

impl Failing {
    /// Whether the last attempt to reach a destination failed.
    pub(super) fn contains(&self, queue: &str, now: Duration) -> bool {
        self.queues.lock().get(queue).is_some_and(|until| *until > now)
    }

    /// How many there are, at most.
    pub(super) fn count(&self) -> usize {
        self.queues.lock().len()
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
        failing.forget(&queue);
        assert_eq!(failing.count(), 0);
    }
}
