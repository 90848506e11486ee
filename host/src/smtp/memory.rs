//! Memory for content that is on its way in: one budget for all sessions.
//!
//! A message takes octets as it grows, and keeps them until its submission is answered. Where nothing is left, nobody waits: the rest of the
//! content is read and dropped, and the client hears that it should come again. All of it is counting; the octets live elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Octets that a message takes at once, so that not every piece of it is counted for itself.
const STEP: u64 = 16 * 1024;

/// The budget. Clones count together.
#[derive(Clone, Debug)]
pub struct ContentMemory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: AtomicU64,
    taken: AtomicU64,
    /// Whether it was said that nothing is left, since there last was plenty.
    complained: AtomicBool,
}

impl ContentMemory {
    /// A budget of so many octets.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Budget { limit: limit.into(), taken: AtomicU64::new(0), complained: AtomicBool::new(false) }))
    }

    /// Changes the limit; what is taken stays taken.
    pub fn set_limit(&self, limit: u64) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Returns how many octets are taken.
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Returns the share of one message, of nothing yet.
    pub fn share(&self) -> Share {
        Share { memory: self.clone(), octets: 0 }
    }

    fn take(&self, octets: u64) -> bool {
        let budget = &self.0;
        let limit = budget.limit.load(Ordering::Relaxed);
        let enough = |taken: u64| taken.checked_add(octets).filter(|sum| *sum <= limit);
        budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }

    fn give_back(&self, octets: u64) {
        let budget = &self.0;
        let before = budget.taken.fetch_sub(octets, Ordering::Relaxed);
        // At the edge it would be said for every message.
        if budget.complained.load(Ordering::Relaxed) && before.saturating_sub(octets) <= budget.limit.load(Ordering::Relaxed) / 2 {
            budget.complained.store(false, Ordering::Relaxed);
        }
    }

    fn complain(&self) {
        if !self.0.complained.swap(true, Ordering::Relaxed) {
            let limit = self.0.limit.load(Ordering::Relaxed);
            tracing::warn!(limit, "the memory for incoming content is used up; messages are put off");
        }
    }
}

/// What one message has taken; dropping it gives it back.
#[derive(Debug)]
pub struct Share {
    memory: ContentMemory,
    octets: u64,
}

impl Share {
    /// Sees to it that so many octets in all are taken; `false` if there is no room for them.
    pub fn cover(&mut self, octets: u64) -> bool {
        let Some(missing) = octets.checked_sub(self.octets).filter(|missing| *missing > 0) else { return true };
        let step = missing.next_multiple_of(STEP);
        // The last octets of the budget go to whom they just suffice.
        let taken = [step, missing].into_iter().find(|octets| self.memory.take(*octets));
        self.octets += taken.unwrap_or_default();
        if taken.is_none() {
            self.memory.complain();
        }
        taken.is_some()
    }

    /// Gives back what is above so many octets.
    pub fn trim(&mut self, octets: u64) {
        if let Some(surplus) = self.octets.checked_sub(octets).filter(|surplus| *surplus > 0) {
            self.octets = octets;
            self.memory.give_back(surplus);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let memory = ContentMemory::new(40_000);
        let (mut first, mut second) = (memory.share(), memory.share());
        assert!(first.cover(1));
        assert_eq!(memory.taken(), STEP);
        assert!(first.cover(STEP));
        assert_eq!(memory.taken(), STEP);
        assert!(second.cover(20_000));
        // A whole step is not left, but enough.
        assert_eq!(memory.taken(), STEP + 20_000);
        assert!(!first.cover(STEP + 10_000));
        assert!(first.cover(STEP + 3_000));
        second.trim(100);
        assert_eq!(memory.taken(), STEP + 3_000 + 100);
        second.trim(1_000);
        assert!(first.cover(STEP + 10_000));
        drop(first);
        assert_eq!(memory.taken(), 100);
        drop(second);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn a_lower_limit_holds_for_what_comes() {
        let memory = ContentMemory::new(100_000);
        let mut share = memory.share();
        assert!(share.cover(50_000));
        memory.set_limit(1_000);
        assert!(share.cover(50_000));
        assert!(!share.cover(u64::MAX));
        assert!(!memory.share().cover(1));
        drop(share);
        assert!(memory.share().cover(1));
    }
}
