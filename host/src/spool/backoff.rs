//! When to try again.

use std::time::Duration;

use crate::clock::Timestamp;

/// Exponential backoff with an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first deferral.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// Age at which there is no next attempt.
    pub give_up: Duration,
}

impl Backoff {
    /// When to try again after `attempts` attempts (at least one), or `None` once the message is too old to go on (RFC 5321 §4.5.4.1). The last attempt is
    /// at that age, so that nobody hears of a failure earlier than he was told.
    pub fn next_attempt(&self, received: Timestamp, attempts: u32, now: Timestamp) -> Option<Timestamp> {
        let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let next = now.plus(self.first.saturating_mul(factor).min(self.longest));
        let end = received.plus(self.give_up);
        (now < end).then_some(next.min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_the_last_attempt_is_at_the_end() {
        let minutes = Duration::from_mins;
        let backoff = Backoff { first: minutes(5), longest: minutes(60), give_up: minutes(200) };
        let received = Timestamp::from_millis(1_700_000_000_000);
        let (mut now, mut attempts, mut seen) = (received, 0, Vec::new());
        while let Some(next) = backoff.next_attempt(received, attempts + 1, now) {
            seen.push(next.since(received).as_secs() / 60);
            (now, attempts) = (next, attempts + 1);
        }
        assert_eq!(seen, [5, 15, 35, 75, 135, 195, 200]);
    }
}
