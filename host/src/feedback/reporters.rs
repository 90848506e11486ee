//! How many DMARC reports are listed of those that come from one network, by the day: anybody can write reports, and one who writes many must not take the
//! places of all others.
//!
//! A day runs from the first report and is not prolonged by those after it. After a restart the count begins again.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::IpNetwork;

const PERIOD: Duration = Duration::from_hours(24);

/// Networks that are counted at a time; the one that came first is forgotten first.
const NETWORKS: usize = 10_000;

/// Counts reports by network; [`IpNetwork::of_site`] says what counts as one.
#[derive(Debug, Default)]
pub(super) struct Reporters(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_network: HashMap<IpNetwork, Count>,
    /// The oldest first.
    order: VecDeque<IpNetwork>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Duration,
    reports: u32,
}

impl Reporters {
    /// Counts a report from `peer`; `false` where that is one more than `limit`.
    pub(super) fn count(&self, peer: IpAddr, now: Duration, limit: u32) -> bool {
        let network = IpNetwork::of_site(peer);
        let mut table = self.0.lock();
        table.forget(now);
        if let Some(count) = table.by_network.get_mut(&network) {
            count.reports = count.reports.saturating_add(1);
            return count.reports <= limit;
        }
        table.by_network.insert(network, Count { since: now, reports: 1 });
        table.order.push_back(network);
        if table.order.len() > NETWORKS {
            table.forget_oldest();
        }
        limit > 0
    }
}

impl Table {
    fn forget(&mut self, now: Duration) {
        let is_over = |count: &Count| count.since.saturating_add(PERIOD) <= now;
        while self.order.front().is_some_and(|network| self.by_network.get(network).is_none_or(is_over)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.by_network.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_share_of_a_day() {
        let reporters = Reporters::default();
        let count = |last: u8, third: u8, hours| reporters.count(IpAddr::from([192, 0, third, last]), Duration::from_hours(hours), 2);
        assert!(count(1, 2, 0) && count(2, 2, 1));
        assert!(!count(3, 2, 2) && !count(1, 2, 23));
        assert!(count(1, 3, 2), "another network");
        assert!(count(1, 2, 24), "another day");
        assert_eq!(reporters.0.lock().order.len(), 2);
    }

    #[test]
    fn memory_is_bounded() {
        let reporters = Reporters::default();
        for number in 0..20_000_u16 {
            let [high, low] = number.to_be_bytes();
            reporters.count(IpAddr::from([10, high, low, 1]), Duration::ZERO, 2);
        }
        let table = reporters.0.lock();
        assert_eq!((table.order.len(), table.by_network.len()), (NETWORKS, NETWORKS));
    }
}
