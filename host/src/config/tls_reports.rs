//! `[tls_reports]`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Section, Value};
use super::unit::ByteSize;
use crate::mail::address::EmailAddress;

/// The login under whose name reports on TLS stand in the spool and in events. Nobody can log in as it.
pub const TLS_REPORTER: &str = "tls-reports";

/// `[tls_reports]`: what other domains are told of TLS towards them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsReports {
    /// `enabled`: default whether there is a `contact`.
    pub enabled: bool,
    /// `contact`: who can be asked about reports; they come from there.
    pub contact: Option<EmailAddress>,
    /// `organization`: who reports. Default `server.hostname`.
    pub organization: Option<Arc<str>>,
    /// `domains`: domains that are counted at one time. Default 10,000.
    pub domains: u32,
    /// `memory`: what all that is counted may have. Default 32 MiB.
    pub memory: ByteSize,
    /// `at_once`: domains that are told at one moment: a web server that does not answer holds up no other. Default 16.
    pub at_once: u32,
    /// `timeout`: how long DNS and all web servers of a domain may take together. Default 30 s.
    pub timeout: Duration,
    /// `tries`: how often a report is tried, an hour apart. Default 24: for a day (RFC 8460 §5.4).
    pub tries: u32,
    /// `per_destination`: reports that one mail address, or one host of HTTPS, gets on a day, of all domains together: whoever has many domains could
    /// name somebody else's. Default 20.
    pub per_destination: u32,
}

/// With less there would be no room for some domains with many failures.
const MEMORY: RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::gib(1);

/// Each of them may have a connection.
const AT_ONCE: RangeInclusive<u32> = 1..=1000;
/// A round of reports waits for all of them: longer than that for each, and those behind may be forgotten before their turn.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(2);
/// Counts are kept for two days behind their own; a report is tried first some four hours into them, and once an hour.
const TRIES: RangeInclusive<u32> = 1..=40;

impl Default for TlsReports {
    /// Nobody is told.
    fn default() -> Self {
        Self {
            enabled: false,
            contact: None,
            organization: None,
            domains: 10_000,
            memory: ByteSize::mib(32),
            at_once: 16,
            timeout: Duration::from_secs(30),
            tries: 24,
            per_destination: 20,
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> TlsReports {
    let contact = section.optional("contact", |value| {
        let address: EmailAddress = value.parsed()?;
        if address.is_ascii() { Ok(address) } else { Err("must be an address in ASCII".to_owned()) }
    });
    let enabled = section.or("enabled", contact.is_some(), Value::boolean);
    if enabled && contact.is_none() && section.has("enabled") {
        section.report("\"enabled\" needs a \"contact\"");
    }
    let organization = section.optional("organization", |value| {
        let text = value.text()?;
        let is_printable = !text.is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
        if is_printable { Ok(text.into()) } else { Err("must be one line of 1 to 200 octets".to_owned()) }
    });
    let nothing = TlsReports::default();
    TlsReports {
        enabled,
        contact,
        organization,
        domains: section.or("domains", nothing.domains, Value::count),
        memory: section.or("memory", nothing.memory, |value| value.size_within(&MEMORY)),
        at_once: section.or("at_once", nothing.at_once, |value| value.number(AT_ONCE)),
        timeout: section.or("timeout", nothing.timeout, |value| {
            let time = value.duration()?;
            if TIMEOUT.contains(&time) { Ok(time) } else { Err("must be from 1 second to 2 minutes".to_owned()) }
        }),
        tries: section.or("tries", nothing.tries, |value| value.number(TRIES)),
        per_destination: section.or("per_destination", nothing.per_destination, Value::count),
    }
}
