//! Includes turned into the address ranges behind them, and the record that says all of it.
//!
//! A receiver makes at most ten look-ups for a domain (RFC 7208 §4.6.4). One is our own include; what is included costs none where it is published as ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Mechanism, SpfError, are_prefix_lengths, host, is_spf};
use crate::dns::{Dns, DnsError, RecordKind};

/// Ranges that an include is turned into; more stay an include, or the answer would not fit into a packet.
const MOST_RANGES: usize = 100;
/// Hosts of one `mx` (§4.6.4).
const MOST_EXCHANGERS: usize = 10;
/// Questions that we ask for one domain: its includes are what others have written.
pub(super) const MOST_QUESTIONS: u32 = 100;
/// Octets of all ranges in one record; includes whose ranges do not fit stay includes, or the answer would grow with each of them.
const MOST_OCTETS: usize = 4096;
/// Look-ups that a receiver makes for one domain (§4.6.4).
pub const MOST_LOOKUPS: u32 = 10;

/// What stands behind includes, by the domain that is included: its ranges, or the look-ups that it takes where it cannot be turned into ranges.
pub type Flattened = BTreeMap<String, Behind>;

/// What stands behind one include.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Behind {
    /// These ranges, as mechanisms.
    Ranges(Vec<Mechanism>),
    /// More than ranges: receivers have to look, so often.
    Lookups(u32),
}

/// The record for these mechanisms; includes are turned into ranges where `flattened` knows them.
pub fn record(mechanisms: &[Mechanism], flattened: &Flattened) -> String {
    let mut record = "v=spf1".to_owned();
    let mut seen = BTreeSet::new();
    for mechanism in mechanisms {
        match mechanism.included().and_then(|domain| flattened.get(domain)) {
            Some(Behind::Ranges(ranges)) => {
                for range in ranges {
                    push(&mut record, &mut seen, range);
                }
            }
            Some(Behind::Lookups(_)) | None => push(&mut record, &mut seen, mechanism),
        }
    }
    record.push_str(" -all");
    record
}

fn push(record: &mut String, seen: &mut BTreeSet<String>, mechanism: &Mechanism) {
    let text = mechanism.to_string();
    if !seen.contains(&text) {
        record.push(' ');
        record.push_str(&text);
        seen.insert(text);
    }
}

/// Checks that receivers can follow all of it, our own include counted.
///
/// # Errors
/// [`SpfError::TooManyLookups`].
pub fn check_lookups(mechanisms: &[Mechanism], flattened: &Flattened) -> Result<(), SpfError> {
    let lookups = mechanisms.iter().map(|mechanism| match mechanism.included().and_then(|domain| flattened.get(domain)) {
        Some(Behind::Ranges(_)) => 0,
        Some(Behind::Lookups(lookups)) => lookups + 1,
        None => u32::from(mechanism.is_looked_up()),
    });
    if lookups.sum::<u32>() + 1 > MOST_LOOKUPS { Err(SpfError::TooManyLookups) } else { Ok(()) }
}

/// Looks up what stands behind each include.
///
/// # Errors
/// Of one that cannot be included, or that DNS does not answer for now.
pub async fn flatten(mechanisms: &[Mechanism], dns: &dyn Dns) -> Result<Flattened, SpfError> {
    let mut flattened = Flattened::new();
    let (mut questions, mut room) = (0, MOST_OCTETS);
    for domain in mechanisms.iter().filter_map(Mechanism::included) {
        if !flattened.contains_key(domain) {
            let mut walk = Walk { questions, ..Walk::default() };
            walk.through(domain, dns).await?;
            questions = walk.questions;
            flattened.insert(domain.to_owned(), walk.behind(&mut room));
        }
    }
    Ok(flattened)
}

/// A walk through what is included.
#[derive(Default)]
struct Walk {
    /// Asked so far, before this walk too.
    questions: u32,
    pending: Vec<String>,
    seen: BTreeSet<String>,
    ranges: BTreeSet<Mechanism>,
    lookups: u32,
    /// Something was there that no list of ranges says.
    is_more: bool,
}

impl Walk {
    async fn through(&mut self, domain: &str, dns: &dyn Dns) -> Result<(), SpfError> {
        self.pending.push(domain.to_owned());
        while let Some(domain) = self.pending.pop() {
            // A circle is an endless way, and has too many look-ups.
            if !self.seen.insert(domain.clone()) {
                continue;
            }
            let failed = |error| SpfError::Dns { domain: domain.clone(), error };
            self.ask()?;
            let texts = match dns.records(&domain, RecordKind::Txt).await {
                Ok(texts) => texts,
                Err(DnsError::NoSuchName | DnsError::NoRecords) => return Err(SpfError::NoRecord(domain)),
                Err(error) => return Err(failed(error)),
            };
            let mut records = texts.iter().filter(|text| is_spf(text));
            let (Some(record), None) = (records.next(), records.next()) else { return Err(SpfError::NoRecord(domain)) };
            let terms: Vec<String> = record.split_ascii_whitespace().skip(1).map(str::to_ascii_lowercase).collect();
            // RFC 7208 §5.1: what is behind "all" is never looked at, nor is "redirect", wherever it is.
            let end = terms.iter().position(|term| term.trim_start_matches(['+', '-', '~', '?']) == "all");
            let looked_at = terms.iter().take(end.map_or(terms.len(), |end| end + 1));
            for term in looked_at.filter(|term| end.is_none() || !term.starts_with("redirect=")) {
                self.take(&domain, term, dns).await?;
            }
        }
        Ok(())
    }

    /// What the walk has found: ranges only where they say it all, and fit into `room`.
    fn behind(self, room: &mut usize) -> Behind {
        let octets: usize = self.ranges.iter().map(|range| range.to_string().len() + 1).sum();
        match room.checked_sub(octets) {
            Some(left) if !self.is_more => {
                *room = left;
                Behind::Ranges(self.ranges.into_iter().collect())
            }
            Some(_) | None => Behind::Lookups(self.lookups),
        }
    }

    /// Counts what costs receivers a look-up.
    fn count(&mut self) -> Result<(), SpfError> {
        self.lookups += 1;
        if self.lookups > MOST_LOOKUPS { Err(SpfError::TooManyLookups) } else { Ok(()) }
    }

    /// Counts a question of ours, before it is asked.
    fn ask(&mut self) -> Result<(), SpfError> {
        self.questions += 1;
        if self.questions > MOST_QUESTIONS { Err(SpfError::TooManyQuestions) } else { Ok(()) }
    }

    fn add(&mut self, range: Mechanism) {
        self.ranges.insert(range);
        if self.ranges.len() > MOST_RANGES {
            self.is_more = true;
        }
        // It stays an include, of which no range is needed.
        if self.is_more {
            self.ranges.clear();
        }
    }

    async fn take(&mut self, domain: &str, term: &str, dns: &dyn Dns) -> Result<(), SpfError> {
        if let Some(target) = term.strip_prefix("redirect=") {
            return self.follow(target);
        }
        if term.split(':').next().is_some_and(|name| name.contains('=')) {
            return Ok(());
        }
        let (qualifier, mechanism) = match term.chars().next() {
            Some(sign @ ('+' | '-' | '~' | '?')) => (sign, term.get(1..).unwrap_or_default()),
            Some(_) | None => ('+', term),
        };
        if mechanism == "all" {
            // Whoever is not in the ranges does not pass; more is only said by the one who includes.
            self.is_more |= qualifier == '+';
            return Ok(());
        }
        // Exceptions from what comes behind them are nothing that a list of ranges can say.
        self.is_more |= qualifier != '+';
        let (name, value) = mechanism.split_at(mechanism.find([':', '/']).unwrap_or(mechanism.len()));
        let value = value.strip_prefix(':').unwrap_or(value);
        match name {
            "ip4" | "ip6" => {
                self.add(Mechanism::new(name, value)?);
            }
            "include" => return self.follow(value),
            "a" | "mx" => {
                self.count()?;
                let (host, lengths) = value.split_at(value.find('/').unwrap_or(value.len()));
                let host = if host.is_empty() { domain } else { host };
                if host.contains('%') || !are_prefix_lengths(lengths) {
                    self.is_more = true;
                } else if self.is_more {
                    // It stays an include: nobody needs to know what is behind this.
                } else if name == "a" {
                    self.addresses(host, lengths, dns).await?;
                } else {
                    self.exchangers(host, lengths, dns).await?;
                }
            }
            // "exists", "ptr", and what nobody knows yet.
            _ => {
                self.count()?;
                self.is_more = true;
            }
        }
        Ok(())
    }

    fn follow(&mut self, target: &str) -> Result<(), SpfError> {
        self.count()?;
        match host(target) {
            Some(target) => self.pending.push(target),
            None => self.is_more = true,
        }
        Ok(())
    }

    async fn exchangers(&mut self, domain: &str, lengths: &str, dns: &dyn Dns) -> Result<(), SpfError> {
        self.ask()?;
        let hosts = match dns.mx(domain).await {
            Ok(hosts) => hosts,
            Err(DnsError::NoSuchName | DnsError::NoRecords) => return Ok(()),
            Err(error) => return Err(SpfError::Dns { domain: domain.to_owned(), error }),
        };
        for host in hosts.iter().filter(|host| !host.host.is_empty()).take(MOST_EXCHANGERS) {
            self.addresses(&host.host, lengths, dns).await?;
        }
        Ok(())
    }

    async fn addresses(&mut self, host: &str, lengths: &str, dns: &dyn Dns) -> Result<(), SpfError> {
        self.ask()?;
        let addresses = match dns.addresses(host).await {
            Ok(addresses) => addresses,
            Err(DnsError::NoSuchName | DnsError::NoRecords) => return Ok(()),
            Err(error) => return Err(SpfError::Dns { domain: host.to_owned(), error }),
        };
        let (four, six) = lengths.split_once("//").unwrap_or((lengths, ""));
        for address in addresses {
            let (kind, length) = match address {
                IpAddr::V4(_) => ("ip4", four.trim_start_matches('/')),
                IpAddr::V6(_) => ("ip6", six),
            };
            let value = if length.is_empty() { address.to_string() } else { format!("{address}/{length}") };
            self.add(Mechanism::new(kind, &value)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::dns::zone::Zone;

    fn list(texts: &[&str]) -> Vec<Mechanism> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// A record that somebody includes.
    fn terms(terms: impl Iterator<Item = String>) -> String {
        format!("v=spf1 {} -all", terms.collect::<Vec<_>>().join(" "))
    }

    async fn flat(zone: &Zone, include: &str) -> Result<String, SpfError> {
        let mechanisms = list(&[&format!("include:{include}")]);
        let flattened = flatten(&mechanisms, zone).await?;
        check_lookups(&mechanisms, &flattened)?;
        Ok(record(&mechanisms, &flattened))
    }

    #[tokio::test]
    async fn what_is_included_becomes_ranges() {
        let zone = Zone::default()
            .txt("spf.example", "v=spf1 ip4:192.0.2.0/24 include:more.example a:host.example mx ~all")
            .txt("spf.example", "other text")
            .txt("more.example", "v=spf1 ip6:2001:db8::/32 exp=explain.example redirect=rest.example")
            .txt("rest.example", "V=SPF1 ip4:192.0.2.0/24 ip4:198.51.100.7 -all")
            .address("host.example", "203.0.113.1")
            .mx("spf.example", 10, "mx.example")
            .address("mx.example", "2001:db9::1");
        let expected = "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.7 ip4:203.0.113.1 ip6:2001:db8::/32 ip6:2001:db9::1 -all";
        assert_eq!(flat(&zone, "spf.example").await.unwrap(), expected);
    }

    #[tokio::test]
    async fn what_is_behind_all_is_not_looked_at() {
        for record in [
            "v=spf1 ip4:192.0.2.0/24 -all ip4:198.51.100.0/24 include:nowhere.example",
            "v=spf1 ip4:192.0.2.0/24 -ALL redirect=_spf.old.example",
            "v=spf1 redirect=_spf.old.example ip4:192.0.2.0/24 ~all",
            "v=spf1 ip4:192.0.2.0/24 ?all ip4:198.51.100.0/24",
        ] {
            let zone = Zone::default().txt("relay.example", record).txt("_spf.old.example", "v=spf1 ip4:203.0.113.0/24 -all");
            assert_eq!(flat(&zone, "relay.example").await.unwrap(), "v=spf1 ip4:192.0.2.0/24 -all", "{record}");
        }
    }

    #[tokio::test]
    async fn what_no_ranges_say_stays_an_include() {
        for term in ["exists:%{i}.example", "ptr", "-ip4:192.0.2.1", "+all", "include:%{d}.example", "a:%{d}"] {
            let zone = Zone::default().txt("spf.example", &format!("v=spf1 {term} ip4:192.0.2.0/24 -all"));
            assert_eq!(flat(&zone, "spf.example").await.unwrap(), "v=spf1 include:spf.example -all", "{term}");
        }
    }

    #[tokio::test]
    async fn more_look_ups_than_receivers_make_are_refused() {
        let hosts: Vec<String> = (0..10).map(|n| format!("a:h{n}.example")).collect();
        let mechanisms = list(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(check_lookups(&mechanisms, &Flattened::new()), Err(SpfError::TooManyLookups));
        assert_eq!(check_lookups(mechanisms.get(1..).unwrap(), &Flattened::new()), Ok(()));
        let mut chain = Zone::default();
        for n in 0..12 {
            chain = chain.txt(&format!("s{n}.example"), &format!("v=spf1 include:s{}.example", n + 1));
        }
        assert_eq!(flat(&chain, "s0.example").await, Err(SpfError::TooManyLookups));
        let circle = Zone::default().txt("c.example", "v=spf1 include:c.example ip4:192.0.2.1 -all");
        assert_eq!(flat(&circle, "c.example").await.unwrap(), "v=spf1 ip4:192.0.2.1 -all");
        let none = Zone::default().txt("n.example", "hello").broken("b.example");
        assert_eq!(flat(&none, "n.example").await, Err(SpfError::NoRecord("n.example".to_owned())));
        assert_eq!(flat(&none, "x.example").await, Err(SpfError::NoRecord("x.example".to_owned())));
        assert!(matches!(flat(&none, "b.example").await, Err(SpfError::Dns { .. })));
    }

    #[tokio::test]
    async fn no_more_is_asked_than_receivers_would_ask() {
        // Terms of one record count before they are asked for.
        let hosts = terms((0..11).map(|n| format!("a:h{n}.example")));
        let zone = Zone::default().txt("spf.example", &hosts).broken("h10.example");
        assert_eq!(flat(&zone, "spf.example").await, Err(SpfError::TooManyLookups));
        // Each exchanger is a question of ours.
        let mut zone = Zone::default();
        for n in 0..10 {
            let exchangers = terms((0..10).map(|m| format!("mx:m{m}.example")));
            zone = zone.txt(&format!("s{n}.example"), &exchangers).mx(&format!("m{n}.example"), 10, "h.example");
        }
        let includes: Vec<String> = (0..10).map(|n| format!("include:s{n}.example")).collect();
        let mechanisms = list(&includes.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(flatten(&mechanisms, &zone).await, Err(SpfError::TooManyQuestions));
    }

    #[tokio::test]
    async fn ranges_that_do_not_fit_stay_includes() {
        let mut zone = Zone::default();
        for n in 0..9 {
            let ranges = terms((0..100).map(|m| format!("ip4:192.0.{n}.{m}")));
            zone = zone.txt(&format!("s{n}.example"), &ranges);
        }
        let includes: Vec<String> = (0..9).map(|n| format!("include:s{n}.example")).collect();
        let mechanisms = list(&includes.iter().map(String::as_str).collect::<Vec<_>>());
        let flattened = flatten(&mechanisms, &zone).await.unwrap();
        let record = record(&mechanisms, &flattened);
        assert!(record.contains("ip4:192.0.0.99 ") && record.contains(" include:s8.example") && record.len() < 5000, "{record}");
        let many = terms((0..=100).map(|m| format!("ip4:192.0.2.{m}")));
        let zone = Zone::default().txt("spf.example", &many);
        assert_eq!(flat(&zone, "spf.example").await.unwrap(), "v=spf1 include:spf.example -all");
    }
}
