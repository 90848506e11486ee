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
    /// When to try again after `attempts` attempts (at least one), or `None` once the message is too old to go on (RFC 5321 §4.5.4.1).
    pub fn next_attempt(&self, received: Timestamp, attempts: u32, now: Timestamp) -> Option<Timestamp> {
        let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let next = now.plus(self.first.saturating_mul(factor).min(self.longest));
        (next < received.plus(self.give_up)).then_some(next)
    }
}
