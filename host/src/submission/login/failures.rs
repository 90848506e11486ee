//! Wrong passwords, counted by where they come from and by whose they should be: whoever has guessed too often is not listened to for a while.
//!
//! Three counts, each with a limit of its own: by address, by the network around it, and by user name. The last would let anybody keep a user out whose
//! name he knows; so a user who has logged in from some network is let in from there all the same.
//!
//! The time runs from the first failure and is not prolonged by those after it, so that all are forgotten in the order in which they came.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::config::{Authentication, IpNetwork};

/// Failures by address, network and user name.
pub(super) struct Failures {
    clock: Clock,
    addresses: Counter<IpNetwork>,
    networks: Counter<IpNetwork>,
    users: Counter<User>,
    familiar: Mutex<Familiar>,
}

/// A user name, of which we keep a hash: strangers choose how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct User([u8; 32]);

impl User {
    fn new(name: &str) -> Self {
        Self(Sha256::digest(name.as_bytes()).into())
    }
}

/// Users and the networks that they have logged in from.
struct Familiar {
    limit: usize,
    known: HashSet<(User, IpNetwork)>,
    /// The oldest first.
    order: VecDeque<(User, IpNetwork)>,
}

/// Failures of one kind.
struct Counter<K> {
    /// How many are forgiven, for how long they count, and how many keys we know.
    limit: u32,
    period: Duration,
    keys: usize,
    /// How many keys are in the table: mostly none, and then nobody is looked up.
    known: AtomicUsize,
    table: Mutex<Table<K>>,
}

struct Table<K> {
    by_key: HashMap<K, Count>,
    /// The oldest first.
    order: VecDeque<K>,
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

impl Standing {
    /// Returns the worse of two.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Barred { left }, Self::Barred { left: other }) => Self::Barred { left: left.max(other) },
            (barred @ Self::Barred { .. }, _) | (_, barred @ Self::Barred { .. }) => barred,
            (Self::Suspect, _) | (_, Self::Suspect) => Self::Suspect,
            (Self::Clean, Self::Clean) => Self::Clean,
        }
    }
}

impl Failures {
    pub(super) fn new(limits: &Authentication, clock: Clock) -> Self {
        let keys = usize::try_from(limits.addresses).unwrap_or(usize::MAX);
        Self {
            clock,
            addresses: Counter::new(limits.failures, limits.period, keys),
            networks: Counter::new(limits.network_failures, limits.period, keys),
            users: Counter::new(limits.user_failures, limits.period, keys),
            familiar: Mutex::new(Familiar { limit: keys, known: HashSet::new(), order: VecDeque::new() }),
        }
    }

    /// Returns what is known of the client at `peer`.
    pub(super) fn standing(&self, peer: IpAddr) -> Standing {
        let now = self.clock.monotonic();
        let of_network = match self.networks.standing(&IpNetwork::of_site(peer), now) {
            // Neighbours are no reason for suspicion.
            Standing::Suspect => Standing::Clean,
            standing @ (Standing::Clean | Standing::Barred { .. }) => standing,
        };
        self.addresses.standing(&IpNetwork::of_client(peer), now).and(of_network)
    }

    /// Returns what is known of a user name, for a client at `peer`.
    pub(super) fn standing_of_user(&self, username: &str, peer: IpAddr) -> Standing {
        let user = User::new(username);
        let standing = self.users.standing(&user, self.clock.monotonic());
        match standing {
            Standing::Barred { .. } if self.familiar.lock().known.contains(&(user, IpNetwork::of_site(peer))) => Standing::Suspect,
            // That others guess is nothing against him.
            Standing::Suspect => Standing::Clean,
            Standing::Clean | Standing::Barred { .. } => standing,
        }
    }

    /// Counts a failure of the client at `peer`, and of the user that it named.
    pub(super) fn count(&self, peer: IpAddr, username: Option<&str>) {
        let now = self.clock.monotonic();
        let address = IpNetwork::of_client(peer);
        // Nothing is counted beyond a limit, so each is said once in each period.
        if self.addresses.count(address, now) {
            tracing::info!(%address, "too many wrong passwords from there: no more are checked for a while");
        }
        let network = IpNetwork::of_site(peer);
        if self.networks.count(network, now) {
            tracing::info!(%network, "too many wrong passwords from this network: no more are checked for a while");
        }
        if username.is_some_and(|name| self.users.count(User::new(name), now)) {
            tracing::info!("too many wrong passwords for one user: it is let in only from where it was before, for a while");
        }
    }

    /// Notes that a user has logged in from where `peer` is.
    pub(super) fn succeeded(&self, peer: IpAddr, username: &str) {
        let pair = (User::new(username), IpNetwork::of_site(peer));
        let mut familiar = self.familiar.lock();
        if familiar.known.insert(pair) {
            familiar.order.push_back(pair);
            if familiar.order.len() > familiar.limit
                && let Some(oldest) = familiar.order.pop_front()
            {
                familiar.known.remove(&oldest);
            }
        }
    }
}

impl<K: Copy + Eq + Hash> Counter<K> {
    fn new(limit: u32, period: Duration, keys: usize) -> Self {
        let table = Mutex::new(Table { by_key: HashMap::new(), order: VecDeque::new() });
        Self { limit, period, keys, known: AtomicUsize::new(0), table }
    }

    fn standing(&self, key: &K, now: Duration) -> Standing {
        if self.known.load(Ordering::Relaxed) == 0 {
            return Standing::Clean;
        }
        let count = self.table.lock().by_key.get(key).copied();
        let Some(count) = count else { return Standing::Clean };
        let left = count.since.saturating_add(self.period).saturating_sub(now);
        if left.is_zero() {
            Standing::Clean
        } else if count.failures < self.limit {
            Standing::Suspect
        } else {
            Standing::Barred { left }
        }
    }

    /// Counts a failure; returns whether the limit is reached with it.
    fn count(&self, key: K, now: Duration) -> bool {
        let mut table = self.table.lock();
        table.forget(|count| count.since.saturating_add(self.period) <= now);
        let failures = if let Some(count) = table.by_key.get_mut(&key) {
            count.failures = count.failures.saturating_add(1);
            count.failures
        } else {
            table.by_key.insert(key, Count { failures: 1, since: now });
            table.order.push_back(key);
            1
        };
        if table.order.len() > self.keys {
            table.forget_oldest();
        }
        self.known.store(table.order.len(), Ordering::Relaxed);
        failures == self.limit
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    /// Forgets the oldest for as long as they are `old`.
    fn forget(&mut self, old: impl Fn(&Count) -> bool) {
        while self.order.front().is_some_and(|key| self.by_key.get(key).is_none_or(&old)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.by_key.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Timestamp;

    const LIMITS: Authentication = Authentication {
        failures: 2,
        network_failures: 5,
        user_failures: 3,
        period: Duration::from_mins(10),
        addresses: 3,
        waiting: 1,
        logins: 1,
        remembered: 1,
    };

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
        failures.count(address, None);
        assert_eq!(failures.standing(address), Standing::Suspect);
        clock.advance(Duration::from_mins(4));
        failures.count(address, None);
        assert_eq!(failures.standing(ip("::ffff:192.0.2.1")), Standing::Barred { left: Duration::from_mins(6) });
        assert_eq!(failures.standing(ip("192.0.2.2")), Standing::Clean);
        clock.advance(Duration::from_mins(6));
        assert_eq!(failures.standing(address), Standing::Clean);
        failures.count(address, None);
        assert_eq!(failures.standing(address), Standing::Suspect);
    }

    #[test]
    fn ipv6_counts_by_network() {
        let (failures, _) = failures();
        failures.count(ip("2001:db8::1"), None);
        failures.count(ip("2001:db8::2"), None);
        assert!(matches!(failures.standing(ip("2001:db8::3")), Standing::Barred { .. }));
        assert_eq!(failures.standing(ip("2001:db8:0:1::1")), Standing::Clean);
    }

    #[test]
    fn memory_is_bounded() {
        let (failures, clock) = failures();
        for number in 1..=10_u8 {
            failures.count(IpAddr::from([192, number, 2, number]), None);
            failures.count(IpAddr::from([192, number, 2, number]), None);
        }
        {
            let table = failures.addresses.table.lock();
            assert_eq!((table.by_key.len(), table.order.len()), (3, 3));
        }
        assert_eq!(failures.standing(ip("192.7.2.7")), Standing::Clean);
        assert!(matches!(failures.standing(ip("192.8.2.8")), Standing::Barred { .. }));
        clock.advance(Duration::from_mins(10));
        failures.count(ip("192.0.2.99"), None);
        assert_eq!(failures.addresses.table.lock().order.len(), 1);
    }

    #[test]
    fn a_network_is_barred_when_its_addresses_take_turns() {
        let (failures, _) = failures();
        for number in 1..=5 {
            assert_ne!(failures.standing(IpAddr::from([192, 0, 2, 99])), Standing::Barred { left: LIMITS.period });
            failures.count(IpAddr::from([192, 0, 2, number]), None);
        }
        assert_eq!(failures.standing(ip("192.0.2.99")), Standing::Barred { left: LIMITS.period });
        assert_eq!(failures.standing(ip("192.0.3.99")), Standing::Clean);
    }

    #[test]
    fn nobody_is_kept_out_by_those_who_guess_his_password() {
        let (failures, _) = failures();
        failures.succeeded(ip("203.0.113.5"), "ann");
        for number in 1..=3 {
            failures.count(IpAddr::from([198, number, 100, 1]), Some("ann"));
        }
        assert_eq!(failures.standing_of_user("ann", ip("198.9.100.1")), Standing::Barred { left: LIMITS.period });
        assert_eq!(failures.standing_of_user("ann", ip("203.0.113.77")), Standing::Suspect, "from there she has logged in before");
        assert_eq!(failures.standing_of_user("bob", ip("198.9.100.1")), Standing::Clean);
    }
}
