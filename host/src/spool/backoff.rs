//! When to try again.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Entropy, Timestamp};

/// Waits of a schedule that was doubled up to its longest one, at most.
const DOUBLINGS: usize = 64;

/// A schedule of attempts with an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after each deferral; the last one is repeated. At least one.
    waits: Arc<[Duration]>,
    /// Age at which there is no next attempt.
    give_up: Duration,
    /// How much a wait may be longer or shorter, in percent of it, so that what was deferred together does not come again together.
    jitter: u32,
    /// The longest first wait where a server greylists.
    greylisted: Duration,
}

impl Backoff {
    /// Waits `first`, then twice as long each time, up to `longest`.
    pub fn doubling(first: Duration, longest: Duration, give_up: Duration) -> Self {
        let waits = std::iter::successors(Some(first.min(longest)), |wait| (*wait < longest).then(|| wait.saturating_mul(2).min(longest)));
        Self { waits: waits.take(DOUBLINGS).collect(), give_up, jitter: 0, greylisted: Duration::MAX }
    }

    /// The same with waits of its own, where there are any, and another end, where there is one.
    #[must_use]
    pub fn with(&self, waits: &[Duration], give_up: Option<Duration>) -> Self {
        let waits = if waits.is_empty() { self.waits.clone() } else { waits.into() };
        Self { waits, give_up: give_up.unwrap_or(self.give_up), ..self.clone() }
    }

    /// The same with waits that are up to `percent` longer or shorter, and a first wait of at most `greylisted` where a server greylists.
    #[must_use]
    pub fn with_jitter(self, percent: u32, greylisted: Duration) -> Self {
        Self { jitter: percent.min(100), greylisted, ..self }
    }

    /// When to try again after `attempts` attempts (at least one), or `None` once it is too late to go on (RFC 5321 §4.5.4.1). The time counts from
    /// `born`. The last attempt is at its end, so that nobody hears of a failure earlier than he was told.
    pub fn next_attempt(&self, born: Timestamp, attempts: u32, now: Timestamp) -> Option<Timestamp> {
        let end = self.end(born);
        (now < end).then(|| now.plus(self.wait(attempts)).min(end))
    }

    /// Returns the time from which on there is no next attempt.
    pub fn end(&self, born: Timestamp) -> Timestamp {
        born.plus(self.give_up)
    }

    /// The same as [`Backoff::next_attempt`] where an attempt is sure to follow, with some chance in it; `greylisted` says that the server wants to be asked once more.
    pub fn spread(&self, next: Timestamp, now: Timestamp, attempts: u32, greylisted: bool, entropy: &Entropy) -> Timestamp {
        let wait = next.since(now);
        let wait = if greylisted && attempts == 1 { wait.min(self.greylisted) } else { wait };
        let part = wait.saturating_mul(self.jitter) / 100;
        // From 0 to 255: as far as that from the shortest wait to the longest one.
        let [chance] = entropy.array::<1>();
        now.plus(wait.saturating_sub(part).saturating_add(part.saturating_mul(2).saturating_mul(u32::from(chance)) / 255))
    }

    fn wait(&self, attempts: u32) -> Duration {
        let place = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        self.waits.get(place).or(self.waits.last()).copied().unwrap_or(Duration::from_mins(5))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn f01_waits_follow_the_schedule_and_its_last_one_repeats() {
        let minutes = Duration::from_mins;
        let default = Backoff::doubling(minutes(5), minutes(60), minutes(200));
        let backoff = default.with(&[minutes(1), minutes(30), minutes(10)], Some(minutes(60)));
        let now = Timestamp::from_millis(1_700_000_000_000);
        let waits: Vec<_> = (1..6).map(|attempts| backoff.next_attempt(now, attempts, now).unwrap().since(now).as_secs() / 60).collect();
        assert_eq!(waits, [1, 30, 10, 10, 10]);
        assert_eq!(backoff.next_attempt(now, 1, now.plus(minutes(60))), None);
        assert_eq!(default.with(&[], None), default);
    }

    #[test]
    fn what_was_deferred_together_is_spread() {
        let minutes = Duration::from_mins;
        let backoff = Backoff::doubling(minutes(10), minutes(60), minutes(200)).with_jitter(10, minutes(2));
        let (now, entropy) = (Timestamp::from_millis(1_700_000_000_000), Entropy::seeded(1));
        let next = now.plus(minutes(10));
        let spread: Vec<_> = (0..100).map(|_| backoff.spread(next, now, 1, false, &entropy).since(now)).collect();
        assert!(spread.iter().all(|wait| (minutes(9)..=minutes(11)).contains(wait)));
        assert!(spread.iter().any(|wait| *wait < minutes(10)) && spread.iter().any(|wait| *wait > minutes(10)));
        assert!(backoff.spread(next, now, 1, true, &entropy).since(now) < minutes(3), "greylisted");
        assert!(backoff.spread(next, now, 2, true, &entropy).since(now) > minutes(8), "only at first");
    }

    #[test]
    fn waits_grow_up_to_the_longest_and_the_last_attempt_is_at_the_end() {
        let minutes = Duration::from_mins;
        let backoff = Backoff::doubling(minutes(5), minutes(60), minutes(200));
        let received = Timestamp::from_millis(1_700_000_000_000);
        let (mut now, mut attempts, mut seen) = (received, 0, Vec::new());
        while let Some(next) = backoff.next_attempt(received, attempts + 1, now) {
            seen.push(next.since(received).as_secs() / 60);
            (now, attempts) = (next, attempts + 1);
        }
        assert_eq!(seen, [5, 15, 35, 75, 135, 195, 200]);
    }
}
