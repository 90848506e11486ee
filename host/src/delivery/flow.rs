//! Whether outcomes can be written down. While they cannot, nothing new is leased or begun: what is sent then would be sent once more after its lease.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Outcomes on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Outcomes that are not written down yet.
    waiting: AtomicUsize,
    stalled: AtomicBool,
    resumed: Notify,
}

impl Flow {
    /// An outcome sets out.
    pub(super) fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// The store has no room.
    pub(super) fn stall(&self) {
        self.stalled.store(true, Ordering::Release);
    }

    /// Outcomes are written down, or lost. Once none waits any more, those that stood still go on: a lease that has run out meanwhile, of a copy whose
    /// outcome still waits, finds nobody.
    pub(super) fn leave(&self, count: usize) {
        if self.waiting.fetch_sub(count, Ordering::AcqRel) == count && self.stalled.swap(false, Ordering::AcqRel) {
            self.resumed.notify_waiters();
        }
    }

    /// Whether nothing may be begun.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Completes when something may be begun.
    pub(super) async fn resumed(&self) {
        loop {
            let resumed = self.resumed.notified();
            if !self.is_stalled() {
                return;
            }
            resumed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_on_when_nothing_waits_any_more() {
        let flow = Flow::default();
        flow.enter();
        flow.stall();
        flow.enter();
        flow.leave(1);
        assert!(flow.is_stalled(), "one outcome still waits");
        flow.leave(1);
        flow.resumed().await;
    }
}
