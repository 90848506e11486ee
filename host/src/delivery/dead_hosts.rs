//! Hosts that did not answer a moment ago, so that thousands of copies do not each wait for them.
//!
//! What is known here counts for mail of all routes, sources and logins. So what a server said to one of them has no place here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::failure::Failure;

/// Hosts that are remembered; with more, new ones are simply tried.
const HOSTS: usize = 10_000;
/// A family is remembered for so many times the time of a host: it fails for all hosts alike.
const FAMILY_TIME: u32 = 10;

/// What is known about hosts that are down. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct DeadHosts {
    hosts: Mutex<BTreeMap<SocketAddr, (Duration, Failure)>>,
    /// Until when IPv6 is taken to lead nowhere from here: then its addresses come last.
    v6_dead_until: Mutex<Duration>,
}

impl DeadHosts {
    /// Returns what went wrong with `address`, if that is to be believed still.
    pub(super) fn failure(&self, address: SocketAddr, now: Duration) -> Option<Failure> {
        let mut hosts = self.hosts.lock();
        let (until, failure) = hosts.get(&address)?;
        if *until > now {
            return Some(failure.clone());
        }
        hosts.remove(&address);
        None
    }

    /// Remembers what went wrong with `address` until `until`.
    pub(super) fn remember(&self, address: SocketAddr, failure: &Failure, now: Duration, until: Duration) {
        let mut hosts = self.hosts.lock();
        if hosts.len() >= HOSTS {
            hosts.retain(|_, (until, _)| *until > now);
        }
        if hosts.len() < HOSTS {
            hosts.insert(address, (until, failure.clone()));
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

    /// Forgets what went wrong with `address`: it answers again.
    pub(super) fn forget(&self, address: SocketAddr) {
        let mut hosts = self.hosts.lock();
        if !hosts.is_empty() {
            hosts.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_remembered_for_a_time() {
        let hosts = DeadHosts::default();
        let address = SocketAddr::from(([192, 0, 2, 1], 25));
        let failure = Failure::transient((4, 1), "cannot connect");
        hosts.remember(address, &failure, Duration::ZERO, Duration::from_secs(30));
        assert_eq!(hosts.failure(address, Duration::from_secs(29)), Some(failure.clone()));
        assert_eq!(hosts.failure(address, Duration::from_secs(30)), None);
        hosts.remember(address, &failure, Duration::ZERO, Duration::from_secs(30));
        hosts.forget(address);
        assert_eq!(hosts.failure(address, Duration::ZERO), None);
    }
}
