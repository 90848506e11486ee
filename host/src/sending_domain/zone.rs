//! Our zone: what we publish behind the aliases of all domains, as a file for a name server (RFC 1035 §5).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::publication::Record;
use super::{Caller, SendingDomains};
use crate::dns::RecordKind;

/// Octets of one string in a TXT record.
pub(super) const STRING: usize = 255;

/// Everything below the name that we publish under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name in A-labels.
    pub name: String,
    /// The name server, which is us.
    pub server: String,
    /// Changes whenever anything else does.
    pub serial: u32,
    /// How long answers may be kept.
    pub ttl: Duration,
    /// Records by their owners, in lower case.
    pub records: BTreeMap<String, Vec<Record>>,
    /// Names without records that names with records are below: they exist (RFC 8020).
    pub between: BTreeSet<String>,
}

impl SendingDomains {
    /// Returns our zone as it is now; `None` where the configuration has none. Only what is approved is in it: the owner of a domain may have aliases to
    /// our zone from before, and whoever only claims the domain must not be able to say what stands behind them.
    pub fn zone(&self) -> Option<Zone> {
        let settings = self.settings();
        let name = settings.zone()?;
        let mut records: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for domain in self.list(&Caller::Administrator).into_iter().filter(|domain| domain.approved.is_some()) {
            for record in self.hosted(&domain) {
                records.entry(record.name.clone()).or_default().push(record);
            }
        }
        // In seconds, it grows until 2106 (RFC 1912 §2.2).
        let serial = u32::try_from(self.0.clock.now().as_seconds()).unwrap_or(u32::MAX);
        Some(Zone::new(name, settings.hostname.to_ascii(), serial, settings.config.ttl, records))
    }
}

impl Zone {
    /// Makes a zone of its records.
    pub fn new(name: String, server: String, serial: u32, ttl: Duration, records: BTreeMap<String, Vec<Record>>) -> Self {
        let mut between = BTreeSet::new();
        for owner in records.keys() {
            let mut at = owner.as_str();
            while let Some((_, above)) = at.split_once('.')
                && above.len() > name.len()
            {
                between.insert(above.to_owned());
                at = above;
            }
        }
        Self { name, server, serial, ttl, records, between }
    }

    /// Returns it as a file.
    pub fn to_file(&self) -> String {
        let (name, server, ttl) = (&self.name, &self.server, self.ttl.as_secs());
        let mut file = format!("$ORIGIN {name}.\n$TTL {ttl}\n");
        let serial = self.serial;
        let _ = writeln!(file, "@ IN SOA {server}. hostmaster.{server}. {serial} 3600 600 1209600 300");
        let _ = writeln!(file, "@ IN NS {server}.");
        for record in self.records.values().flatten() {
            let value = match record.kind {
                RecordKind::Txt => quoted(&record.value),
                RecordKind::Cname | RecordKind::Mx => format!("{}.", record.value),
                RecordKind::A | RecordKind::Aaaa | RecordKind::Caa | RecordKind::Tlsa => record.value.clone(),
            };
            let _ = writeln!(file, "{}. IN {} {value}", record.name, record.kind.as_str());
        }
        file
    }
}

/// A text as strings of at most 255 octets.
fn quoted(text: &str) -> String {
    let strings = text.as_bytes().chunks(STRING).map(|part| {
        let mut string = String::from("\"");
        for octet in part {
            match octet {
                b'"' | b'\\' => string.extend(['\\', char::from(*octet)]),
                b' '..=b'~' => string.push(char::from(*octet)),
                _ => {
                    let _ = write!(string, "\\{octet:03}");
                }
            }
        }
        string.push('"');
        string
    });
    strings.collect::<Vec<_>>().join(" ")
}
