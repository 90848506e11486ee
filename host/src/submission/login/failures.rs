//! Wrong passwords, counted by where they come from: whoever has guessed too often is not listened to for a while.
//!
//! The time runs from the first failure and is not prolonged by those after it, so that addresses are forgotten in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::{Authentication, IpNetwork};

/// Failures by address.
pub(super) struct Failures {
    /// How many are forgiven, for how long they count, and of how many addresses we know.
    limit: u32,
    period: Duration,
    addresses: usize,
    clock: Clock,
    /// How many addresses are in the table: mostly none, and then nobody is looked up.
    known: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_address: HashMap<IpNetwork, Count>,
    /// The oldest first.
    order: VecDeque<IpNetwork>,
}

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    since: Duration,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Clean,
    /// Some passwords were wrong.
    Suspect,
    /// Too many were.
    Barred {
        /// How long that is held against it.
        left: Duration,
    },
}

impl Failures {
    pub(super) fn new(limits: &Authentication, clock: Clock) -> Self {
        Self {
            limit: limits.failures,
            period: limits.period,
            addresses: usize::try_from(limits.addresses).unwrap_or(usize::MAX),
            clock,
            known: AtomicUsize::new(0),
            table: Mutex::default(),
        }
    }

    /// Returns what is known of the client at `peer`.
    pub(super) fn standing(&self, peer: IpAddr) -> Standing {
        if self.known.load(Ordering::Relaxed) == 0 {
            return Standing::Clean;
        }
        let count = self.table.lock().by_address.get(&IpNetwork::of_client(peer)).copied();
        let Some(count) = count else { return Standing::Clean };
        let left = count.since.saturating_add(self.period).saturating_sub(self.clock.monotonic());
        if left.is_zero() {
            Standing::Clean
        } else if count.failures < self.limit {
            Standing::Suspect
        } else {
            Standing::Barred { left }
        }
    }

    /// Counts a failure of the client at `peer`.
    pub(super) fn count(&self, peer: IpAddr) {
        let address = IpNetwork::of_client(peer);
        let now = self.clock.monotonic();
        let mut table = self.table.lock();
        table.forget(|count| count.since.saturating_add(self.period) <= now);
        let failures = if let Some(count) = table.by_address.get_mut(&address) {
            count.failures = count.failures.saturating_add(1);
            count.failures
        } else {
            table.by_address.insert(address, Count { failures: 1, since: now });
            table.order.push_back(address);
            1
        };
        if table.order.len() > self.addresses {
            table.forget_oldest();
        }
        self.known.store(table.order.len(), Ordering::Relaxed);
        drop(table);
        // Nothing is counted beyond it, so this is said once in each period.
        if failures == self.limit {
            tracing::info!(%address, failures, "too many wrong passwords from there: no more are checked for a while");
        }
    }
}

impl Table {
    /// Forgets the oldest for as long as they are `old`.
    fn forget(&mut self, old: impl Fn(&Count) -> bool) {
        while self.order.front().is_some_and(|address| self.by_address.get(address).is_none_or(&old)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.by_address.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Timestamp;

    const LIMITS: Authentication = Authentication { failures: 2, period: Duration::from_mins(10), addresses: 3, waiting: 1, remembered: 1 };

    fn failures() -> (Failures, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(0));
        (Failures::new(&LIMITS, clock.clone()), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_barred_for_a_while() {
        let (failures, clock) = failures();
        let address = ip("192.0.2.1");
        assert_eq!(failures.standing(address), Standing::Clean);
        failures.count(address);
        assert_eq!(failures.standing(address), Standing::Suspect);
        clock.advance(Duration::from_mins(4));
        failures.count(address);
        assert_eq!(failures.standing(ip("::ffff:192.0.2.1")), Standing::Barred { left: Duration::from_mins(6) });
        assert_eq!(failures.standing(ip("192.0.2.2")), Standing::Clean);
        clock.advance(Duration::from_mins(6));
        assert_eq!(failures.standing(address), Standing::Clean);
        failures.count(address);
        assert_eq!(failures.standing(address), Standing::Suspect);
    }

    #[test]
    fn ipv6_counts_by_network() {
        let (failures, _) = failures();
        failures.count(ip("2001:db8::1"));
        failures.count(ip("2001:db8::2"));
        assert!(matches!(failures.standing(ip("2001:db8::3")), Standing::Barred { .. }));
        assert_eq!(failures.standing(ip("2001:db8:0:1::1")), Standing::Clean);
    }

    #[test]
    fn memory_is_bounded() {
        let (failures, clock) = failures();
        for number in 1..=10_u8 {
            failures.count(IpAddr::from([192, 0, 2, number]));
            failures.count(IpAddr::from([192, 0, 2, number]));
        }
        {
            let table = failures.table.lock();
            assert_eq!((table.by_address.len(), table.order.len()), (3, 3));
        }
        assert_eq!(failures.standing(ip("192.0.2.7")), Standing::Clean);
        assert!(matches!(failures.standing(ip("192.0.2.8")), Standing::Barred { .. }));
        clock.advance(Duration::from_mins(10));
        failures.count(ip("192.0.2.99"));
        assert_eq!(failures.table.lock().order.len(), 1);
    }
}
