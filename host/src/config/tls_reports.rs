//! `[tls_reports]`.

use std::ops::RangeInclusive;
use std::sync::Arc;

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
}

/// With less there would be no room for some domains with many failures.
const MEMORY: RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::gib(1);

impl Default for TlsReports {
    /// Nobody is told.
    fn default() -> Self {
        Self { enabled: false, contact: None, organization: None, domains: 10_000, memory: ByteSize::mib(32) }
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
    }
}
