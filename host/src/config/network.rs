//! Address ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address range such as `192.0.2.0/24`; a single address is the range that holds it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    /// Some address in it.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

/// Why a text is no address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address range is an address, or an address and a number of bits, such as \"192.0.2.0/24\"")]
pub struct NetworkError;

impl IpNetwork {
    /// Returns what counts as one client where clients are counted: an IPv4 address, and of IPv6 the first 64 bits, as whoever has one of those addresses
    /// has them all.
    pub fn of_client(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let network = address.to_bits() & (u128::MAX << 64);
                Self { address: IpAddr::V6(Ipv6Addr::from_bits(network)), prefix: 64 }
            }
            address @ IpAddr::V6(_) => Self { address, prefix: 128 },
            address @ IpAddr::V4(_) => Self { address, prefix: 32 },
        }
    }

    /// Returns what counts as one site: 256 addresses of IPv4, a /48 of IPv6, which is what a site is given.
    pub fn of_site(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self { address: Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(), prefix: 24 },
            IpAddr::V6(address) => Self { address: Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).into(), prefix: 48 },
        }
    }

    /// Whether `address` is in the range. An IPv4 address that came in through an IPv6 socket counts as the IPv4 address; the unspecified address stands for
    /// one that nobody knows, and is in no range.
    pub fn contains(&self, address: IpAddr) -> bool {
        if address.to_canonical().is_unspecified() {
            return false;
        }
        let prefix = u32::from(self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(Ipv4Addr::BITS.saturating_sub(prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(Ipv6Addr::BITS.saturating_sub(prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for IpNetwork {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().map_err(|_| NetworkError)?,
            Some(_) => return Err(NetworkError),
        };
        if prefix > bits {
            return Err(NetworkError);
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn ranges_hold_their_addresses() {
        for (range, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/31", "::ffff:192.0.2.6", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "127.0.0.1"),
            ("::/0", "fe80::1", "127.0.0.1"),
            ("0.0.0.0/0", "0.0.0.1", "0.0.0.0"),
            ("0.0.0.0/0", "0.0.0.1", "::ffff:0.0.0.0"),
            ("::/0", "::1", "::"),
        ] {
            let network: IpNetwork = range.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{range} {outside}");
        }
        for text in ["", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/+8", "192.0.2", "example.com", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<IpNetwork>(), Err(NetworkError), "{text}");
        }
    }
}
