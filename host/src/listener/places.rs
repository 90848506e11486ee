//! Places of connections that are short: where there is none left, the one that has been silent for longest makes room.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::IpNetwork;

/// Connections that are open. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    limit: usize,
    limit_per_address: usize,
    /// A number for each sign of life, so that the first has been silent for longest.
    next: u64,
    by_age: BTreeMap<u64, (IpNetwork, CancellationToken)>,
    by_address: HashMap<IpNetwork, usize>,
}

/// A place that is taken; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    age: u64,
    given_up: CancellationToken,
}

impl Places {
    /// At most `limit`, and `limit_per_address` for each address; [`IpNetwork::of_client`] says what counts as one.
    pub(super) fn new(limit: u32, limit_per_address: u32) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let (limit, limit_per_address) = (count(limit), count(limit_per_address));
        Self(Arc::new(Mutex::new(Taken { limit, limit_per_address, next: 0, by_age: BTreeMap::new(), by_address: HashMap::new() })))
    }

    /// Takes a place for a connection from `peer`; `None` where that address has as many as it may.
    pub(super) fn take(&self, peer: IpAddr) -> Option<Place> {
        let address = IpNetwork::of_client(peer);
        let mut taken = self.0.lock();
        if taken.by_address.get(&address).copied().unwrap_or_default() >= taken.limit_per_address {
            return None;
        }
        if taken.by_age.len() >= taken.limit
            && let Some((_, (address, silent))) = taken.by_age.pop_first()
        {
            silent.cancel();
            taken.forget(address);
        }
        let given_up = CancellationToken::new();
        let age = taken.insert(address, given_up.clone());
        *taken.by_address.entry(address).or_default() += 1;
        Some(Place { places: self.clone(), age, given_up })
    }
}

impl Taken {
    fn insert(&mut self, address: IpNetwork, given_up: CancellationToken) -> u64 {
        let age = self.next;
        self.next += 1;
        self.by_age.insert(age, (address, given_up));
        age
    }

    fn forget(&mut self, address: IpNetwork) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Place {
    /// Completes when another connection needs the place.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// The connection has done what it is there for: from now on others are silent for longer.
    pub(super) fn used(&mut self) {
        let mut taken = self.places.0.lock();
        if let Some((address, given_up)) = taken.by_age.remove(&self.age) {
            self.age = taken.insert(address, given_up);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        if let Some((address, _)) = taken.by_age.remove(&self.age) {
            taken.forget(address);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_holds_all_places_keeps_nobody_out() {
        let places = Places::new(3, 2);
        let mut first = places.take(ip("192.0.2.1")).unwrap();
        let second = places.take(ip("192.0.2.1")).unwrap();
        assert!(places.take(ip("192.0.2.1")).is_none(), "as many as an address may have");
        let third = places.take(ip("192.0.2.2")).unwrap();
        first.used();
        let _fourth = places.take(ip("192.0.2.3")).unwrap();
        assert!(second.given_up.is_cancelled() && !first.given_up.is_cancelled() && !third.given_up.is_cancelled());
        // What was given up counts for nobody any more, and its end makes no room a second time.
        assert!(places.take(ip("192.0.2.1")).is_some());
        drop(second);
        assert!(third.given_up.is_cancelled());
        drop((first, third));
        assert_eq!(places.0.lock().by_age.len(), 1);
        assert_eq!(places.0.lock().by_address.len(), 1);
    }
}
