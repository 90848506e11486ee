//! Addresses that are nobody else's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one that names in the internet's DNS may lead us to (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = embedded(v6) {
                return is_public(IpAddr::V4(v4));
            }
            let [a, b, c, ..] = v6.segments();
            !(v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                // Site-local, abolished and still routed in places (RFC 3879).
                || a & 0xffc0 == 0xfec0
                // Teredo, which ends at an IPv4 address that is not seen here, and discard.
                || (a, b) == (0x2001, 0)
                || (a, b) == (0x100, 0)
                // NAT64 of a network of its own (RFC 8215).
                || (a, b, c) == (0x64, 0xff9b, 1)
                // Unspecified, loopback, and IPv4-compatible addresses, which lead nowhere (RFC 4291 §2.5.5.1).
                || v6.octets().iter().take(12).all(|octet| *octet == 0))
        }
    }
}

/// Returns the IPv4 address at which a translator or a relay would end: that of IPv4-mapped addresses, of NAT64 (RFC 6052), of 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Whether a client is on this machine, so that nobody else reads what it says. `socket` is the other end of the socket: what a balancer elsewhere calls its
/// loopback comes over the network.
pub fn is_local(client: IpAddr, socket: IpAddr) -> bool {
    client.to_canonical().is_loopback() && socket.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn private_addresses_are_not_public() {
        for text in
            ["::1", "::ffff:10.0.0.1", "fe80::1", "fd00::1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "192.168.1.1", "169.254.1.1"]
        {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::1", "2002:a00:1::", "::8.8.8.8", "::", "fec0::1", "ff02::1"] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["2001:4860:4860::8888", "8.8.8.8", "100.128.0.1", "172.32.0.1", "64:ff9b::8.8.8.8", "2002:808:808::1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
