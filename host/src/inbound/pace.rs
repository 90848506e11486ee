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
