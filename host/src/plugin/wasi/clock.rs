//! Time as a plugin sees it: that of the message, moved by nothing but its own sleep.

use crate::clock::Timestamp;

const NANOSECONDS: u64 = 1_000_000_000;

/// Both clocks of one call, and what waits for them.
pub(super) struct Clock {
    /// Nanoseconds since 1970.
    now: u64,
    /// When the pollables that were made become ready.
    deadlines: Vec<u64>,
}

/// Something to wait for. Most is ready at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pollable(u32);

impl Pollable {
    /// What never has to be waited for.
    pub(super) const READY: Self = Self(0);

    pub(super) fn from_rep(rep: u32) -> Self {
        Self(rep)
    }

    pub(super) fn rep(self) -> u32 {
        self.0
    }
}

impl Clock {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now: now.as_millis().saturating_mul(1_000_000), deadlines: Vec::new() }
    }

    /// Returns nanoseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Returns seconds since 1970 and the nanoseconds beyond them.
    pub(super) fn wall(&self) -> (u64, u32) {
        (self.now / NANOSECONDS, u32::try_from(self.now % NANOSECONDS).unwrap_or_default())
    }

    /// Makes something that is ready at `when`. The caller bounds how many there are.
    pub(super) fn at(&mut self, when: u64) -> Pollable {
        self.deadlines.push(when);
        Pollable(u32::try_from(self.deadlines.len()).unwrap_or_default())
    }

    /// Makes something that is ready in `nanoseconds`.
    pub(super) fn after(&mut self, nanoseconds: u64) -> Pollable {
        self.at(self.now.saturating_add(nanoseconds))
    }

    fn deadline(&self, pollable: Pollable) -> u64 {
        let index = pollable.0.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.deadlines.get(index)).copied().unwrap_or_default()
    }

    pub(super) fn is_ready(&self, pollable: Pollable) -> bool {
        self.deadline(pollable) <= self.now
    }

    /// Sleeps until the first of them is ready, and returns the places of all that are: it is later at once.
    pub(super) fn wait(&mut self, pollables: &[Pollable]) -> Vec<u32> {
        if let Some(first) = pollables.iter().map(|pollable| self.deadline(*pollable)).min() {
            self.now = self.now.max(first);
        }
        (0..).zip(pollables).filter(|(_, pollable)| self.is_ready(**pollable)).map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_moves_the_clock_and_nothing_else_does() {
        let mut clock = Clock::new(Timestamp::from_millis(1_500));
        assert_eq!((clock.now(), clock.wall()), (1_500_000_000, (1, 500_000_000)));
        let [later, soon] = [clock.after(2 * NANOSECONDS), clock.after(NANOSECONDS)];
        assert!(!clock.is_ready(soon) && clock.is_ready(Pollable::READY));
        assert_eq!(clock.wait(&[later, Pollable::READY]), [1]);
        assert_eq!(clock.wait(&[later, soon]), [1]);
        assert_eq!(clock.wall(), (2, 500_000_000));
        assert_eq!(clock.wait(&[later, soon]), [1], "what is ready stays ready");
        assert_eq!(clock.wait(&[later]), [0]);
        let never = clock.after(u64::MAX);
        assert_eq!(clock.wait(&[never]), [0]);
        assert!(clock.is_ready(Pollable::from_rep(u32::MAX)), "what was never made does not block");
    }
}
