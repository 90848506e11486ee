//! What delivery has done since the start, for whoever shows numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts that only grow, and gauges; all of this process.
#[derive(Debug, Default)]
pub struct DeliveryCounters {
    /// Copies that next hops took.
    pub delivered: AtomicU64,
    /// Attempts after which a copy waits.
    pub deferred: AtomicU64,
    /// Copies that will not arrive.
    pub bounced: AtomicU64,
    /// Copies kept by capture routes.
    pub captured: AtomicU64,
    /// Copies that the chain took off the way or held when it rendered them.
    pub withheld: AtomicU64,
    /// Reports made.
    pub reports: AtomicU64,
    /// Connections made.
    pub connected: AtomicU64,
    /// Connections that could not be made: every host of a destination failed.
    pub connect_failures: AtomicU64,
    /// Transactions begun.
    pub transactions: AtomicU64,
    /// Gauge: connections in use or idle, those being made included.
    pub connections: AtomicU64,
    /// Gauge: destinations that are worked on.
    pub destinations: AtomicU64,
}

impl DeliveryCounters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
