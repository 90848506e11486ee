//! How much comes from one address, by the hour.
//!
//! The hour runs from the first message or unknown recipient and is not prolonged by those after it, so that addresses are forgotten in the order in
//! which they came.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::{self, IpNetwork};

const PERIOD: Duration = Duration::from_hours(1);

/// What addresses have sent; [`IpNetwork::of_client`] says what counts as one.
pub(super) struct Pace {
    clock: Clock,
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
    since: Duration,
    messages: u32,
    unknown_recipients: u32,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Message,
    UnknownRecipient,
}

impl Pace {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, table: Mutex::default() }
    }

    /// Counts something from `peer`.
    pub(super) fn count(&self, peer: IpAddr, what: Counted, limits: &config::Mx) {
        let address = IpNetwork::of_client(peer);
        let now = self.clock.monotonic();
        let mut table = self.table.lock();
        table.forget(now);
        let fresh = Count { since: now, messages: 0, unknown_recipients: 0 };
        let is_new = !table.by_address.contains_key(&address);
        let count = table.by_address.entry(address).or_insert(fresh);
        match what {
            Counted::Message => count.messages = count.messages.saturating_add(1),
            Counted::UnknownRecipient => count.unknown_recipients = count.unknown_recipients.saturating_add(1),
        }
        if is_new {
            table.order.push_back(address);
        }
        while table.order.len() > usize::try_from(limits.addresses).unwrap_or(usize::MAX) {
            table.forget_oldest();
        }
    }

    /// Returns for how long nothing more is taken from `peer`, if it has sent too much.
    pub(super) fn wait(&self, peer: IpAddr, limits: &config::Mx) -> Option<Duration> {
        let count = self.table.lock().by_address.get(&IpNetwork::of_client(peer)).copied()?;
        let left = count.since.saturating_add(PERIOD).saturating_sub(self.clock.monotonic());
        let is_too_much = count.messages >= limits.messages_per_hour || count.unknown_recipients >= limits.unknown_recipients_per_hour;
        (is_too_much && !left.is_zero()).then_some(left)
    }
}

impl Table {
    /// Forgets those whose hour is over.
    fn forget(&mut self, now: Duration) {
        let is_over = |count: &Count| count.since.saturating_add(PERIOD) <= now;
        while self.order.front().is_some_and(|address| self.by_address.get(address).is_none_or(is_over)) {
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

    fn pace() -> (Pace, Clock, config::Mx) {
        let clock = Clock::manual(Timestamp::from_millis(0));
        (
            Pace::new(clock.clone()),
            clock,
            super::super::test_limits("messages_per_hour = 2\nunknown_recipients_per_hour = 3\naddresses = 2"),
        )
    }

    #[test]
    fn an_address_waits_until_its_hour_is_over() {
        let (pace, clock, limits) = pace();
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        pace.count(peer, Counted::Message, &limits);
        clock.advance(Duration::from_mins(20));
        assert_eq!(pace.wait(peer, &limits), None);
        pace.count(peer, Counted::Message, &limits);
        assert_eq!(pace.wait("::ffff:192.0.2.1".parse().unwrap(), &limits), Some(Duration::from_mins(40)));
        assert_eq!(pace.wait("192.0.2.2".parse().unwrap(), &limits), None);
        clock.advance(Duration::from_mins(40));
        assert_eq!(pace.wait(peer, &limits), None);
        for _ in 0..3 {
            assert_eq!(pace.wait(peer, &limits), None);
            pace.count(peer, Counted::UnknownRecipient, &limits);
        }
        assert_eq!(pace.wait(peer, &limits), Some(PERIOD));
    }

    #[test]
    fn memory_is_bounded_and_what_is_over_is_forgotten() {
        let (pace, clock, limits) = pace();
        for number in 1..=9_u8 {
            pace.count(IpAddr::from([192, 0, 2, number]), Counted::Message, &limits);
            pace.count(IpAddr::from([192, 0, 2, number]), Counted::Message, &limits);
        }
        {
            let table = pace.table.lock();
            assert_eq!((table.by_address.len(), table.order.len()), (2, 2));
        }
        assert_eq!(pace.wait("192.0.2.7".parse().unwrap(), &limits), None);
        assert!(pace.wait("192.0.2.8".parse().unwrap(), &limits).is_some());
        clock.advance(PERIOD);
        pace.count("192.0.2.99".parse().unwrap(), Counted::Message, &limits);
        assert_eq!(pace.table.lock().order.len(), 1);
    }
}
