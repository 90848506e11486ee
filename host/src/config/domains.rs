//! `[domains]` and `[dns_server]`: domains that mail is sent from, and what is published for them.

use std::net::SocketAddr;
use std::time::Duration;

use super::document::{Fault, Section, Value};
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;

/// `[domains]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains {
    /// `zone`: below this name we publish keys, SPF and DMARC of all domains; it is delegated to us, or its export is served elsewhere. Without it
    /// domains get literal records, to be changed by hand.
    pub zone: Option<Domain>,
    /// `unverified_senders`: what is done with mail whose From is of no approved domain. Default accept; a login may say otherwise. What is another's is refused always.
    pub unverified_senders: UnverifiedSenders,
    /// `envelope`: reverse-path and Sender of mail that is re-enveloped. Default `mailer@HOSTNAME`.
    pub envelope: Option<EmailAddress>,
    /// `dmarc_reports`: where DMARC reports are to be sent. Default `dmarc@HOSTNAME`.
    pub dmarc_reports: Option<EmailAddress>,
    /// `spf`: mechanisms that say from where we send. Default `a:HOSTNAME`.
    pub spf: Vec<String>,
    /// `spf_refresh`: how often what SPF records include is looked up again. Default 1 h.
    pub spf_refresh: Duration,
    /// `rotation`: how long a DKIM key signs. Default 30 d.
    pub rotation: Duration,
    /// `key_bits`: of new RSA keys. Default 2048.
    pub key_bits: u32,
    /// `certificate_authorities`: whose certificates we use for click hosts, as CAA records name them. Default `letsencrypt.org`.
    pub certificate_authorities: Vec<String>,
    /// `ttl`: how long answers about our zone may be kept. Default 1 h.
    pub ttl: Duration,
    /// `most`: domains in all. Default 10,000.
    pub most: u32,
    /// `most_per_login`: domains that one login may create. Default 100.
    pub most_per_login: u32,
}

/// What is done with mail whose From is of no approved domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnverifiedSenders {
    /// `accept`: nothing.
    #[default]
    Accept,
    /// `refuse`.
    Refuse,
    /// `re-envelope`: it is sent from our address, and says so in Sender.
    ReEnvelope,
}

impl UnverifiedSenders {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Fault> {
        value.choice(&[("accept", Self::Accept), ("refuse", Self::Refuse), ("re-envelope", Self::ReEnvelope)])
    }
}

/// `[dns_server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsServer {
    /// `address`: where questions are taken, over UDP and TCP.
    pub address: SocketAddr,
    /// `answers_per_second`: to one network, over UDP; more are told to come by TCP, or nothing. Default 20.
    pub answers_per_second: u32,
    /// `networks`: how many networks are remembered at a time, at least half of which asked last. Default 10,000.
    pub networks: u32,
    /// `connections`: over TCP, at a time; beyond them, the one that has been silent for longest is closed. Default 100.
    pub connections: u32,
    /// `connections_per_address`: of them from one address. Default 10.
    pub connections_per_address: u32,
    /// `connection_time`: how long a TCP connection may say nothing. Default 10 s.
    pub connection_time: Duration,
}

pub(super) fn read(section: &Section<'_>) -> Domains {
    let authorities = section.list("certificate_authorities", |value| Ok(value.text()?.to_ascii_lowercase()));
    Domains {
        zone: section.optional("zone", |value| {
            let zone: Domain = value.parsed()?;
            if zone.literal().is_some() { Err("must be a name, not an address".to_owned()) } else { Ok(zone) }
        }),
        unverified_senders: section.or("unverified_senders", UnverifiedSenders::default(), UnverifiedSenders::read),
        envelope: section.optional("envelope", Value::parsed),
        dmarc_reports: section.optional("dmarc_reports", Value::parsed),
        spf: section.list("spf", |value| Ok(value.text()?.to_owned())),
        spf_refresh: section.or("spf_refresh", Duration::from_hours(1), Value::duration),
        rotation: section.or("rotation", Duration::from_hours(30 * 24), Value::duration),
        key_bits: section.or("key_bits", 2048, |value| value.number(2048..=4096)),
        certificate_authorities: if authorities.is_empty() { vec!["letsencrypt.org".to_owned()] } else { authorities },
        ttl: section.or("ttl", Duration::from_hours(1), Value::duration),
        most: section.or("most", 10_000, Value::count),
        most_per_login: section.or("most_per_login", 100, Value::count),
    }
}

/// Reads `[dns_server]`; `zone` is whether there is one.
pub(super) fn read_server(section: &Section<'_>, has_zone: bool) -> Option<DnsServer> {
    if !section.is_present() {
        return None;
    }
    let address = section.required("address", Value::parsed);
    let server = DnsServer {
        address: address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 53))),
        answers_per_second: section.or("answers_per_second", 20, Value::count),
        networks: section.or("networks", 10_000, Value::count),
        connections: section.or("connections", 100, Value::count),
        connections_per_address: section.or("connections_per_address", 10, Value::count),
        connection_time: section.or("connection_time", Duration::from_secs(10), Value::duration),
    };
    if !has_zone {
        section.report("needs \"zone\" in [domains]: without it there is nothing to serve");
    }
    address.map(|_| server)
}
