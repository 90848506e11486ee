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

/// Counts answers by network.
///
/// Those who asked of late are remembered in two generations: when the young one is full, the old one is forgotten. So there is always room for who has not asked
/// yet, however many networks somebody pretends to ask from; to be forgotten before his time, a network has to be followed by half as many others as are
/// remembered, each of which gets an answer of its own.
#[derive(Debug)]
pub struct AnswerRate {
    per_second: u64,
    /// Networks in one generation.
    most: usize,
    young: BTreeMap<IpAddr, Bucket>,
    old: BTreeMap<IpAddr, Bucket>,
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
    /// At most `per_second` to each network; the last `most` are remembered.
    pub fn new(per_second: u32, most: u32) -> Self {
        let most = usize::try_from(most / 2).unwrap_or(usize::MAX).max(1);
        Self { per_second: per_second.into(), most, young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// Says how a question from `peer` is to be answered; `None` is not at all. `now` is of [`Clock::monotonic`](crate::clock::Clock::monotonic).
    ///
    /// Of those too many, every other one is told to come over TCP, where nobody can come from an address that is not his.
    pub fn take(&mut self, peer: IpAddr, now: Duration) -> Option<Transport> {
        let network = network(peer);
        let full = self.per_second.saturating_mul(1000 * BURST);
        if !self.young.contains_key(&network) {
            let known = self.old.remove(&network);
            if self.young.len() >= self.most {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(network, known.unwrap_or(Bucket { left: full, at: now, was_cut: false }));
        }
        let bucket = self.young.get_mut(&network)?;
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
        let mut rate = AnswerRate::new(5, 4);
        let take = |rate: &mut AnswerRate, peer: &str, seconds| rate.take(peer.parse().unwrap(), Duration::from_secs(seconds));
        for last in 0..10 {
            assert_eq!(take(&mut rate, &format!("192.0.2.{last}"), 1), Some(Transport::Udp));
        }
        let more: Vec<_> = (0..4).map(|_| take(&mut rate, "192.0.2.77", 1)).collect();
        assert_eq!(more, [Some(Transport::UdpCut), None, Some(Transport::UdpCut), None]);
        assert_eq!(take(&mut rate, "2001:db8::1", 1), Some(Transport::Udp));
        // Who is new has his share, however many there are.
        assert_eq!(take(&mut rate, "198.51.100.1", 1), Some(Transport::Udp));
        assert_eq!(take(&mut rate, "203.0.113.1", 1), Some(Transport::Udp));
    }

    #[test]
    fn nobody_fills_the_memory_or_keeps_others_out() {
        let mut rate = AnswerRate::new(1, 10);
        let now = Duration::from_secs(1);
        let stranger = |number: u16| IpAddr::V4(Ipv4Addr::new(10, number.to_be_bytes()[0], number.to_be_bytes()[1], 1));
        let victim: IpAddr = "192.0.2.1".parse().unwrap();
        let mut answered = 0;
        for number in 0..1000 {
            assert_eq!(rate.take(stranger(number), now), Some(Transport::Udp), "{number}");
            assert!(rate.young.len() + rate.old.len() <= 10);
            // Who goes on asking is remembered, whoever comes beside him.
            answered += u32::from(rate.take(victim, now) == Some(Transport::Udp));
        }
        assert_eq!(answered, 2);
    }
}
