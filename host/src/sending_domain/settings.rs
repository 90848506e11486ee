//! What sender domains take of the configuration.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::publication::Record;
use super::spf::{Mechanism, SpfError};
use crate::config::{self, Config};
use crate::dns::RecordKind;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;

/// How long a key stays published after the last message that it signed may have been sent: name servers remember.
const GRACE: Duration = Duration::from_hours(48);
/// Octets of the two parts of a validation record.
const LABEL: usize = 8;
const VALUE: usize = 20;

/// Where links lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicHost {
    Name(String),
    Address(IpAddr),
}

impl PublicHost {
    /// The record that makes `name` lead there.
    pub(super) fn record(&self, name: String) -> Record {
        let (kind, value) = match self {
            Self::Name(host) => (RecordKind::Cname, host.clone()),
            Self::Address(address @ IpAddr::V4(_)) => (RecordKind::A, address.to_string()),
            Self::Address(address @ IpAddr::V6(_)) => (RecordKind::Aaaa, address.to_string()),
        };
        Record { name, kind, value }
    }
}

/// What sender domains take of the configuration, and the key of validation records.
pub struct Settings {
    pub(super) hostname: Domain,
    pub(super) public_host: PublicHost,
    pub(super) dmarc_reports: EmailAddress,
    /// Reverse-path and Sender of what is re-enveloped.
    pub(super) envelope: EmailAddress,
    pub(super) mechanisms: Vec<Mechanism>,
    pub(super) config: config::Domains,
    /// How long a key stays published after its turn.
    pub(super) retain: Duration,
    secret: [u8; 32],
}

impl Settings {
    /// Reads them. Values of validation records are made with `secret`: they stay the same as long as it does.
    ///
    /// # Errors
    /// What is wrong with `domains.spf`, or with the names that addresses are made of.
    pub fn new(config: &Config, secret: [u8; 32]) -> Result<Self, String> {
        let hostname = config.server.hostname.clone();
        let own = |local: &str| EmailAddress::parse(&format!("{local}@{hostname}")).map_err(|error| error.to_string());
        let dmarc_reports = config.domains.dmarc_reports.clone().map_or_else(|| own("dmarc"), Ok)?;
        let envelope = config.domains.envelope.clone().map_or_else(|| own("mailer"), Ok)?;
        let spf = &config.domains.spf;
        let mechanisms: Result<Vec<Mechanism>, SpfError> = if spf.is_empty() {
            // A host without a dot in its name is nobody whom others could look up.
            Ok(Mechanism::new("a", &hostname.to_ascii()).into_iter().collect())
        } else {
            spf.iter().map(|text| text.parse()).collect()
        };
        let public_host = match config.server.public_url.host() {
            Some(url::Host::Domain(name)) => PublicHost::Name(name.to_ascii_lowercase()),
            Some(url::Host::Ipv4(address)) => PublicHost::Address(address.into()),
            Some(url::Host::Ipv6(address)) => PublicHost::Address(address.into()),
            None => PublicHost::Name(hostname.to_ascii()),
        };
        Ok(Self {
            public_host,
            dmarc_reports,
            envelope,
            mechanisms: mechanisms.map_err(|error| format!("domains.spf: {error}"))?,
            config: config.domains.clone(),
            retain: config.delivery.give_up.saturating_add(GRACE),
            hostname,
            secret,
        })
    }

    /// The zone in A-labels.
    pub(super) fn zone(&self) -> Option<String> {
        self.config.zone.as_ref().map(Domain::to_ascii)
    }

    /// Label and value of the record that proves that `owner` is the owner of a name. They follow from both: whoever claims the name beside him gets
    /// others, and cannot make him change his.
    pub(super) fn validation(&self, owner: Option<&str>, name: &str) -> (String, String) {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("a key of any length will do");
        mac.update(name.as_bytes());
        mac.update(if owner.is_some() { b"\0login\0" } else { b"\0administrator\0" });
        mac.update(owner.unwrap_or_default().as_bytes());
        let octets = mac.finalize().into_bytes();
        let hexadecimal = |octets: &[u8]| {
            octets.iter().fold(String::new(), |mut text, octet| {
                let _ = write!(text, "{octet:02x}");
                text
            })
        };
        let (label, rest) = octets.split_at(LABEL);
        (hexadecimal(label), hexadecimal(rest.get(..VALUE).unwrap_or(rest)))
    }

    pub(super) fn secret(&self) -> [u8; 32] {
        self.secret
    }
}
