//! The time that a call takes: only while it is being polled, so that a busy server does not count against a plugin.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::Clock;

/// "Not being polled".
const RESTING: u64 = u64::MAX;

/// Adds up the time of polls.
#[derive(Debug)]
pub(super) struct Meter {
    clock: Clock,
    /// Nanoseconds of polls that are over.
    spent: AtomicU64,
    /// When the poll that is under way began.
    since: AtomicU64,
}

impl Meter {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, spent: AtomicU64::new(0), since: AtomicU64::new(RESTING) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(RESTING - 1)
    }

    /// Returns the time so far, the poll that is under way included.
    pub(super) fn spent(&self) -> Duration {
        let since = self.since.load(Ordering::Relaxed);
        let running = if since == RESTING { 0 } else { self.now().saturating_sub(since) };
        Duration::from_nanos(self.spent.load(Ordering::Relaxed).saturating_add(running))
    }

    fn begin(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    fn end(&self) {
        let since = self.since.swap(RESTING, Ordering::Relaxed);
        self.spent.fetch_add(self.now().saturating_sub(since), Ordering::Relaxed);
    }
}

/// A future whose polls are counted.
pub(super) struct Metered<'a, F> {
    meter: &'a Meter,
    work: Pin<&'a mut F>,
}

impl<'a, F> Metered<'a, F> {
    pub(super) fn new(meter: &'a Meter, work: Pin<&'a mut F>) -> Self {
        Self { meter, work }
    }
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let result = self.work.as_mut().poll(context);
        self.meter.end();
        result
    }
}
