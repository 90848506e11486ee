//! How many answers a network gets: a name server whose questions come over UDP must not be a lever against whoever is written on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::answer::Transport;

/// Bits of an address that make a network.
const V4_BITS: u32 = 24;
const V6_BITS: u32 = 56;
/// Answers that are saved up, in seconds of the rate.
const BURST: u64 = 2;
/// After so long without a question a network is forgotten.
const MEMORY: Duration = Duration::from_secs(2);

/// Counts answers by network.
#[derive(Debug)]
pub struct AnswerRate {
    per_second: u64,
    most: usize,
    networks: BTreeMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Thousandths of answers.
    left: u64,
    at: Duration,
    /// Whether the last answer too many was cut, or left out.
    was_cut: bool,
}

impl AnswerRate {
    /// At most `per_second` to each of at most `most` networks.
    pub fn new(per_second: u32, most: u32) -> Self {
        Self { per_second: per_second.into(), most: usize::try_from(most).unwrap_or(usize::MAX), networks: BTreeMap::new() }
    }

    /// Says how a question from `peer` is to be answered; `None` is not at all. `now` is of [`Clock::monotonic`](crate::clock::Clock::monotonic).
    ///
    /// Of those too many, every other one is told to come over TCP, where nobody can come from an address that is not his.
    pub fn take(&mut self, peer: IpAddr, now: Duration) -> Option<Transport> {
        let network = network(peer);
        if !self.networks.contains_key(&network) && self.networks.len() >= self.most {
            self.networks.retain(|_, bucket| now.saturating_sub(bucket.at) < MEMORY);
            if self.networks.len() >= self.most {
                return Some(Transport::UdpCut);
            }
        }
        let full = self.per_second.saturating_mul(1000 * BURST);
        let bucket = self.networks.entry(network).or_insert(Bucket { left: full, at: now, was_cut: false });
        let passed = u64::try_from(now.saturating_sub(bucket.at).as_millis()).unwrap_or(u64::MAX);
        bucket.left = bucket.left.saturating_add(passed.saturating_mul(self.per_second)).min(full);
        bucket.at = now;
        if let Some(left) = bucket.left.checked_sub(1000) {
            bucket.left = left;
            return Some(Transport::Udp);
        }
        bucket.was_cut = !bucket.was_cut;
        bucket.was_cut.then_some(Transport::UdpCut)
    }
}

fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (Ipv4Addr::BITS - V4_BITS)))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (Ipv6Addr::BITS - V6_BITS)))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_network_has_its_share() {
        let mut rate = AnswerRate::new(5, 2);
        let take = |rate: &mut AnswerRate, peer: &str, seconds| rate.take(peer.parse().unwrap(), Duration::from_secs(seconds));
        for last in 0..10 {
            assert_eq!(take(&mut rate, &format!("192.0.2.{last}"), 1), Some(Transport::Udp));
        }
        let more: Vec<_> = (0..4).map(|_| take(&mut rate, "192.0.2.77", 1)).collect();
        assert_eq!(more, [Some(Transport::UdpCut), None, Some(Transport::UdpCut), None]);
        assert_eq!(take(&mut rate, "2001:db8::1", 1), Some(Transport::Udp));
        // Whom there is no room to count is told to come over TCP, until others are forgotten.
        assert_eq!(take(&mut rate, "198.51.100.1", 1), Some(Transport::UdpCut));
        assert_eq!(take(&mut rate, "198.51.100.1", 10), Some(Transport::Udp));
        assert_eq!(take(&mut rate, "192.0.2.77", 11), Some(Transport::Udp));
    }
}
