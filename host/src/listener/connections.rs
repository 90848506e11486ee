//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::IpNetwork;

/// Counts connections. Clones count together.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    limit: u32,
    limit_per_address: u32,
    open: u32,
    by_address: HashMap<IpNetwork, u32>,
    /// Whether it was said that the limit is reached, since it last was far from it.
    complained: bool,
}

/// A connection that was let in; dropping it makes room for another.
#[derive(Debug)]
pub struct Admission {
    connections: Connections,
    /// `None` while it is not known for whom a proxy has opened it.
    address: Option<IpNetwork>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// There are as many as there may be.
    #[error("too many connections, try again later")]
    Full,
    /// There are as many from this address as there may be.
    #[error("too many connections from your address")]
    AddressFull,
    /// Connections come from trusted proxies here, and this one does not.
    #[error("connections come from proxies here, and yours is none of them")]
    NoProxy,
}

impl Connections {
    /// None yet.
    pub fn new(limit: u32, limit_per_address: u32) -> Self {
        Self(Arc::new(Mutex::new(Counts { limit, limit_per_address, open: 0, by_address: HashMap::new(), complained: false })))
    }

    /// Changes the limits; connections that are open stay.
    pub fn set_limits(&self, limit: u32, limit_per_address: u32) {
        let mut counts = self.0.lock();
        counts.limit = limit;
        counts.limit_per_address = limit_per_address;
    }

    /// Lets a connection in, if there is room; [`IpNetwork::of_client`] says what counts as one address.
    pub fn admit(&self, peer: IpAddr) -> Result<Admission, NotAdmitted> {
        let mut admission = self.admit_proxy()?;
        admission.assign(peer)?;
        Ok(admission)
    }

    /// Lets a connection in whose client is not known yet; [`Admission::assign`] says who it is.
    pub fn admit_proxy(&self) -> Result<Admission, NotAdmitted> {
        let mut counts = self.0.lock();
        if counts.open >= counts.limit {
            if !std::mem::replace(&mut counts.complained, true) {
                tracing::warn!(limit = counts.limit, "all connections are taken; more are turned away");
            }
            return Err(NotAdmitted::Full);
        }
        counts.open += 1;
        // At the limit connections come and go, and it would be said for each.
        if u64::from(counts.open) * 10 < u64::from(counts.limit) * 9 {
            counts.complained = false;
        }
        Ok(Admission { connections: self.clone(), address: None })
    }

    /// Returns how many are open.
    pub fn open(&self) -> u32 {
        self.0.lock().open
    }
}

impl Admission {
    /// Counts the connection as one of this client's, once it is known.
    pub fn assign(&mut self, peer: IpAddr) -> Result<(), NotAdmitted> {
        let address = IpNetwork::of_client(peer);
        let mut counts = self.connections.0.lock();
        let limit = counts.limit_per_address;
        let from_address = counts.by_address.entry(address).or_default();
        if *from_address >= limit {
            // A limit of none at all would leave an entry of zero behind.
            if *from_address == 0 {
                counts.by_address.remove(&address);
            }
            return Err(NotAdmitted::AddressFull);
        }
        *from_address += 1;
        drop(counts);
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.connections.0.lock();
        counts.open = counts.open.saturating_sub(1);
        if let Some(address) = self.address
            && let Some(from_address) = counts.by_address.get_mut(&address)
        {
            *from_address = from_address.saturating_sub(1);
            if *from_address == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn room_is_limited_and_given_back() {
        let connections = Connections::new(3, 2);
        let near: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let first = connections.admit(near).unwrap();
        let _second = connections.admit(mapped).unwrap();
        assert_eq!(connections.admit(near).unwrap_err(), NotAdmitted::AddressFull);
        let _other = connections.admit("192.0.2.2".parse().unwrap()).unwrap();
        assert_eq!(connections.admit("192.0.2.3".parse().unwrap()).unwrap_err(), NotAdmitted::Full);
        drop(first);
        assert_eq!(connections.open(), 2);
        let _third = connections.admit(near).unwrap();
    }

    #[test]
    fn that_there_is_no_room_is_said_once_until_there_is_much() {
        let connections = Connections::new(20, 20);
        let near: IpAddr = "192.0.2.1".parse().unwrap();
        let mut open: Vec<_> = (0..20).map(|_| connections.admit(near).unwrap()).collect();
        assert!(connections.admit(near).is_err());
        open.pop();
        open.push(connections.admit(near).unwrap());
        assert!(connections.0.lock().complained);
        open.truncate(15);
        open.push(connections.admit(near).unwrap());
        assert!(!connections.0.lock().complained);
    }

    #[test]
    fn ipv6_counts_by_network() {
        let connections = Connections::new(10, 1);
        let _one = connections.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(connections.admit("2001:db8::2".parse().unwrap()).is_err());
        let _other = connections.admit("2001:db8:0:1::1".parse().unwrap()).unwrap();
    }

    #[test]
    fn nothing_is_remembered_of_who_is_gone() {
        let connections = Connections::new(10, 0);
        assert!(connections.admit("192.0.2.1".parse().unwrap()).is_err());
        connections.set_limits(10, 1);
        drop(connections.admit("192.0.2.1".parse().unwrap()).unwrap());
        assert!(connections.0.lock().by_address.is_empty());
    }
}
