//! Which hosts take mail for a domain, and in which order (RFC 5321 §5.1).

use std::net::IpAddr;

use super::dane;
use super::failure::Failure;
use crate::clock::Entropy;
use crate::dns::{Dns, DnsError, Mx, RecordKind};
use crate::mail::domain::Domain;
use crate::network::address::is_public;

/// Hosts of one domain that are looked at.
pub const HOSTS: usize = 10;
/// Addresses of one host that are tried.
pub const ADDRESSES: usize = 4;

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By name; its addresses are looked up when its turn comes.
    Name(String),
    /// By address, without a name.
    Address(IpAddr),
}

impl Host {
    /// Returns the name or the address as text.
    pub fn to_text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Address(address) => address.to_string(),
        }
    }
}

/// Where mail may go.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Our own name: hosts of that name, and all that are not preferred to it, are left out.
    pub own_name: &'a str,
    /// Whether loopback and private addresses, and our own name, are fine.
    pub allow_private: bool,
}

/// Hosts that take mail for a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchangers {
    /// Best first; equals in random order.
    pub hosts: Vec<Host>,
    /// Whether it is sure that the domain names them: its MX records are signed, or it has none and its own records are.
    pub secure: bool,
}

/// Returns the hosts that take mail for `domain`; whether they are sure is only asked where `dane` says so.
pub async fn hosts(dns: &dyn Dns, domain: &Domain, reach: Reach<'_>, entropy: &Entropy, dane: bool) -> Result<Exchangers, Failure> {
    if let Some(address) = domain.literal() {
        return Ok(Exchangers { hosts: vec![Host::Address(address)], secure: false });
    }
    let name = domain.to_ascii();
    let answer = if dane { signed_mx(dns, &name).await } else { dns.mx(&name).await.map(|records| (records, false)) };
    let (mut records, secure) = match answer {
        Ok(answer) => answer,
        // No MX: the domain is its own host (the "implicit MX").
        Err(DnsError::NoRecords) if !reach.allow_private && name.eq_ignore_ascii_case(reach.own_name) => return Err(loops_back(&name)),
        // Whether the answer that there are no MX records is signed, is not known; it is where its addresses, or the alias that it is, are.
        Err(DnsError::NoRecords) => {
            let secure = dane && !dane::bases(dns, &name).await?.is_empty();
            return Ok(Exchangers { hosts: vec![Host::Name(name)], secure });
        }
        Err(DnsError::NoSuchName) => return Err(Failure::permanent((1, 2), format!("the domain {name} does not exist"))),
        Err(error @ DnsError::Unavailable(_)) => return Err(Failure::transient((4, 3), format!("{name}: {error}"))),
    };
    if records.iter().all(|record| record.host.is_empty()) {
        return Err(Failure::permanent((1, 10), format!("the domain {name} takes no mail (null MX)")));
    }
    records.retain(|record| !record.host.is_empty());
    sort(&mut records, entropy);
    if !reach.allow_private
        && let Some(own) = records.iter().find(|record| record.host.eq_ignore_ascii_case(reach.own_name))
    {
        let preference = own.preference;
        records.retain(|record| record.preference < preference);
        if records.is_empty() {
            return Err(loops_back(&name));
        }
    }
    // RFC 5321 §5.1: an MX record names a host. What names an address leads nowhere else than a mistake.
    records.retain(|record| record.host.parse::<IpAddr>().is_err());
    if records.is_empty() {
        return Err(Failure::permanent((4, 4), format!("the MX records of {name} name addresses in the place of hosts")));
    }
    records.truncate(HOSTS);
    Ok(Exchangers { hosts: records.into_iter().map(|record| Host::Name(record.host)).collect(), secure })
}

/// Returns MX records, and whether they are signed.
async fn signed_mx(dns: &dyn Dns, name: &str) -> Result<(Vec<Mx>, bool), DnsError> {
    let found = dns.validated(name, RecordKind::Mx).await?;
    let records = found.records.iter().filter_map(|text| {
        let (preference, host) = text.split_once(' ')?;
        Some(Mx { preference: preference.parse().ok()?, host: host.trim_end_matches('.').to_owned() })
    });
    Ok((records.collect(), found.secure))
}

fn loops_back(name: &str) -> Failure {
    Failure::permanent((4, 6), format!("mail for {name} would loop back to this host"))
}

/// Sorts by preference; equals in random order, so that load is spread (RFC 5321 §5.1).
fn sort(records: &mut [Mx], entropy: &Entropy) {
    records.sort_by_cached_key(|record| (record.preference, u64::from_be_bytes(entropy.array())));
}

/// Returns the addresses of `host` that mail may go to; at least one.
pub async fn addresses(dns: &dyn Dns, host: &Host, reach: Reach<'_>) -> Result<Vec<IpAddr>, Failure> {
    let mut addresses = match host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match dns.addresses(name).await {
            Ok(addresses) => addresses,
            Err(error @ (DnsError::NoSuchName | DnsError::NoRecords)) => {
                let text = format!("the host {name} has no address: {error}");
                return Err(Failure::permanent((4, 4), text));
            }
            Err(error @ DnsError::Unavailable(_)) => return Err(Failure::transient((4, 3), format!("{name}: {error}"))),
        },
    };
    if !reach.allow_private {
        addresses.retain(|address| is_public(*address));
        if addresses.is_empty() {
            let text = format!("the host {} has no public address", host.to_text());
            return Err(Failure::permanent((4, 4), text));
        }
    }
    let mut addresses = interleaved(addresses);
    addresses.truncate(ADDRESSES);
    Ok(addresses)
}

/// Both families by turns, IPv6 first (RFC 8305 §4): where one of them leads nowhere, the other is still tried.
fn interleaved(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    std::iter::from_fn(|| Some([first.next(), second.next()]).filter(|pair| pair.iter().any(Option::is_some))).flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::dns::zone::Zone;

    const STRICT: Reach<'_> = Reach { own_name: "mail.tubepost.example", allow_private: false };

    async fn names(zone: &Zone, domain: &str, seed: u64) -> Result<Vec<String>, String> {
        let domain = Domain::parse(domain).unwrap();
        let found = hosts(zone, &domain, STRICT, &Entropy::seeded(seed), false).await.map_err(|failure| failure.to_string())?;
        assert_eq!(hosts(zone, &domain, STRICT, &Entropy::seeded(seed), true).await.unwrap().hosts, found.hosts);
        Ok(found.hosts.iter().map(Host::to_text).collect())
    }

    #[tokio::test]
    async fn preference_comes_first_and_equals_are_shuffled() {
        let zone = Zone::default().mx("a.example", 20, "c").mx("a.example", 10, "x").mx("a.example", 10, "y");
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            seen.insert(names(&zone, "a.example", seed).await.unwrap());
        }
        let orders: Vec<String> = seen.into_iter().map(|names| names.join(" ")).collect();
        assert_eq!(orders, ["x y c", "y x c"]);
    }

    #[tokio::test]
    async fn each_answer_of_dns_has_its_meaning() {
        let zone = Zone::default()
            .address("plain.example", "192.0.2.1")
            .mx("null.example", 0, "")
            .broken("broken.example")
            .mx("loop.example", 10, "mail.tubepost.example")
            .mx("loop.example", 20, "other")
            .mx("backup.example", 5, "first")
            .mx("backup.example", 10, "mail.tubepost.example")
            .mx("backup.example", 10, "beside")
            .address("mail.tubepost.example", "192.0.2.1");
        assert_eq!(names(&zone, "plain.example", 0).await.unwrap(), ["plain.example"]);
        assert_eq!(names(&zone, "[192.0.2.7]", 0).await.unwrap(), ["192.0.2.7"]);
        assert_eq!(names(&zone, "backup.example", 0).await.unwrap(), ["first"]);
        let addresses = Zone::default().mx("literal.example", 10, "192.0.2.1");
        let error = names(&addresses, "literal.example", 0).await.unwrap_err();
        assert_eq!(error, "5.4.4 the MX records of literal.example name addresses in the place of hosts");
        assert_eq!(names(&zone, "null.example", 0).await.unwrap_err(), "5.1.10 the domain null.example takes no mail (null MX)");
        assert_eq!(names(&zone, "nowhere.example", 0).await.unwrap_err(), "5.1.2 the domain nowhere.example does not exist");
        assert_eq!(names(&zone, "loop.example", 0).await.unwrap_err(), "5.4.6 mail for loop.example would loop back to this host");
        let own = names(&zone, "mail.tubepost.example", 0).await.unwrap_err();
        assert_eq!(own, "5.4.6 mail for mail.tubepost.example would loop back to this host");
        assert_eq!(names(&zone, "broken.example", 0).await.unwrap_err(), "4.4.3 broken.example: DNS does not answer: SERVFAIL");
    }

    #[tokio::test]
    async fn a_domain_without_mx_records_is_sure_where_its_addresses_are_signed() {
        let zone = Zone::default().address("plain.example", "192.0.2.1").address("signed.example", "192.0.2.2").signed("signed.example");
        for (name, dane, expected) in [("signed.example", true, true), ("plain.example", true, false), ("signed.example", false, false)] {
            let domain = Domain::parse(name).unwrap();
            let found = hosts(&zone, &domain, STRICT, &Entropy::seeded(0), dane).await.unwrap();
            assert_eq!(found, Exchangers { hosts: vec![Host::Name(name.to_owned())], secure: expected }, "{name} {dane}");
        }
    }

    #[tokio::test]
    async fn private_addresses_are_left_out() {
        let zone = Zone::default().address("mixed", "127.0.0.1").address("mixed", "198.51.100.1").address("private", "10.0.0.1");
        let mixed = Host::Name("mixed".into());
        assert_eq!(addresses(&zone, &mixed, STRICT).await.unwrap(), ["198.51.100.1".parse::<IpAddr>().unwrap()]);
        let private = Host::Name("private".into());
        assert_eq!(addresses(&zone, &private, STRICT).await.unwrap_err().to_string(), "5.4.4 the host private has no public address");
        assert_eq!(addresses(&zone, &private, Reach { allow_private: true, ..STRICT }).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn both_families_have_their_turn() {
        let mut zone = Zone::default();
        for text in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:4860::1", "2001:4860::2"] {
            zone = zone.address("host", text);
        }
        let found = addresses(&zone, &Host::Name("host".into()), STRICT).await.unwrap();
        assert_eq!(found, ["2001:4860::1", "192.0.2.1", "2001:4860::2", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap()));
    }
}
