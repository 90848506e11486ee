//! Hosts that did not answer a moment ago, so that thousands of copies do not each wait for them.
//!
//! What is known here counts for mail of all routes and logins that leaves from the same address: a firewall may know one address of ours and not another.
//! What a server said has no place here: that may be about a route or login.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;

use super::failure::Failure;

/// A family is remembered for so many times the time of a host: it fails for all hosts alike.
const FAMILY_TIME: u32 = 10;

/// A way to a host: the address that mail leaves from, `None` where the system chooses it, and the one that it goes to.
pub(super) type Way = (Option<IpAddr>, SocketAddr);

/// What is known about hosts that are down. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct DeadHosts {
    hosts: Mutex<BTreeMap<Way, (Duration, Failure)>>,
    /// Until when IPv6 is taken to lead nowhere from here: then its addresses come last.
    v6_dead_until: Mutex<Duration>,
}

impl DeadHosts {
    /// Returns what went wrong on `way`, if that is to be believed still.
    pub(super) fn failure(&self, way: Way, now: Duration) -> Option<Failure> {
        let mut hosts = self.hosts.lock();
        let (until, failure) = hosts.get(&way)?;
        if *until > now {
            return Some(failure.clone());
        }
        hosts.remove(&way);
        None
    }

    /// Remembers what went wrong on `way` until `until`. With `most` of them a new one is simply tried again.
    pub(super) fn remember(&self, way: Way, failure: &Failure, now: Duration, until: Duration, most: u32) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut hosts = self.hosts.lock();
        if hosts.len() >= most {
            hosts.retain(|_, (until, _)| *until > now);
        }
        if hosts.len() < most || hosts.contains_key(&way) {
            hosts.insert(way, (until, failure.clone()));
        }
    }

    /// IPv6 led nowhere, or was slower than IPv4.
    pub(super) fn remember_v6(&self, now: Duration, dead_time: Duration) {
        *self.v6_dead_until.lock() = now.saturating_add(dead_time.saturating_mul(FAMILY_TIME));
    }

    /// Whether IPv6 leads nowhere.
    pub(super) fn is_v6_dead(&self, now: Duration) -> bool {
        *self.v6_dead_until.lock() > now
    }

    /// Forgets what went wrong on `way`: the host answers again.
    pub(super) fn forget(&self, way: Way) {
        let mut hosts = self.hosts.lock();
        if !hosts.is_empty() {
            hosts.remove(&way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(from: Option<[u8; 4]>, to: u8) -> Way {
        (from.map(IpAddr::from), SocketAddr::from(([192, 0, 2, to], 25)))
    }

    #[test]
    fn hosts_are_remembered_for_a_time() {
        let (hosts, way, until) = (DeadHosts::default(), way(None, 1), Duration::from_secs(30));
        let failure = Failure::transient((4, 1), "cannot connect");
        hosts.remember(way, &failure, Duration::ZERO, until, 10);
        assert_eq!(hosts.failure(way, Duration::from_secs(29)), Some(failure.clone()));
        assert_eq!(hosts.failure(way, until), None);
        hosts.remember(way, &failure, Duration::ZERO, until, 10);
        hosts.forget(way);
        assert_eq!(hosts.failure(way, Duration::ZERO), None);
    }

    #[test]
    fn each_address_of_ours_finds_out_for_itself() {
        let (hosts, until) = (DeadHosts::default(), Duration::from_secs(30));
        let [blocked, free, any] = [Some([192, 0, 2, 8]), Some([192, 0, 2, 9]), None].map(|from| way(from, 1));
        hosts.remember(blocked, &Failure::transient((4, 1), "cannot connect"), Duration::ZERO, until, 10);
        assert_eq!([blocked, free, any].map(|way| hosts.failure(way, Duration::ZERO).is_some()), [true, false, false]);
        hosts.forget(free);
        assert!(hosts.failure(blocked, Duration::ZERO).is_some(), "what answers one does not answer the other");
    }

    #[test]
    fn no_more_are_remembered_than_the_limit() {
        let (hosts, failure, until) = (DeadHosts::default(), Failure::transient((4, 1), "cannot connect"), Duration::from_secs(30));
        for number in 1..=3 {
            hosts.remember(way(None, number), &failure, Duration::ZERO, until, 2);
        }
        let known = |now| [1, 2, 3].map(|number| hosts.failure(way(None, number), now).is_some());
        assert_eq!(known(Duration::ZERO), [true, true, false]);
        // One that is known is brought up to date, and what is over makes room.
        hosts.remember(way(None, 1), &failure, Duration::ZERO, 2 * until, 2);
        hosts.remember(way(None, 3), &failure, until, 2 * until, 2);
        assert_eq!(known(until), [true, false, true]);
    }
}
