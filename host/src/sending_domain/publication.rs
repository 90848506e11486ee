//! What is to be published for a domain: the records its owner adds, and those that we publish behind his aliases.

use serde::Serialize;

use super::dmarc::Day;
use super::record::SendingDomain;
use super::settings::Settings;
use super::spf::{self, Flattened, Mechanism};
use crate::dns::RecordKind;

/// Preference of our mail exchanger.
const PREFERENCE: u16 = 10;

/// A DNS record in the form of zone files: names without the final dot, texts without quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Whose.
    pub name: String,
    /// Of which kind.
    #[serde(rename = "type")]
    pub kind: RecordKind,
    /// What it says.
    pub value: String,
}

impl Record {
    fn new(name: impl Into<String>, kind: RecordKind, value: impl Into<String>) -> Self {
        Self { name: name.into(), kind, value: value.into() }
    }
}

/// What is published for one domain on one day.
#[derive(Clone, Copy)]
pub(super) struct Publication<'a> {
    pub(super) settings: &'a Settings,
    pub(super) domain: &'a SendingDomain,
    pub(super) today: Day,
}

impl Publication<'_> {
    /// The domain in A-labels.
    fn name(&self) -> String {
        self.domain.name.to_ascii()
    }

    /// Proves who the owner is.
    pub(super) fn validation(&self) -> Record {
        let (label, value) = self.settings.validation(self.domain.owner.as_deref(), &self.name());
        Record::new(format!("tubepost-{label}.{}", self.name()), RecordKind::Txt, value)
    }

    /// What the owner adds, so that keys and policies change without him; where we have no zone, the same as [`Self::self_hosted`].
    pub(super) fn recommended(&self) -> Vec<Record> {
        let Some(zone) = self.settings.zone() else { return self.self_hosted() };
        let name = self.name();
        let behind = |label: &str| format!("{label}.{name}.{zone}");
        let keys = self.domain.keys.all().map(|(selector, _)| selector.to_owned());
        let custom = self.domain.custom.iter().map(|key| key.selector.clone());
        let keys = keys.chain(custom).map(|selector| {
            let label = format!("{selector}._domainkey");
            Record::new(format!("{label}.{name}"), RecordKind::Cname, behind(&label))
        });
        let spf = format!("v=spf1 include:{} -all", behind("_spf"));
        let mut records: Vec<Record> = keys.collect();
        records.extend(self.hosts(&spf));
        records.push(Record::new(format!("_dmarc.{name}"), RecordKind::Cname, behind("_dmarc")));
        records.push(self.validation());
        records
    }

    /// The same without aliases to what we publish: to be changed by hand when keys or policies change.
    pub(super) fn self_hosted(&self) -> Vec<Record> {
        let name = self.name();
        let mut records: Vec<Record> =
            self.keys().into_iter().map(|(label, value)| Record::new(format!("{label}.{name}"), RecordKind::Txt, value)).collect();
        // Includes as they are: ranges would be out of date soon.
        records.extend(self.hosts(&spf::record(&self.mechanisms(), &Flattened::new())));
        records.push(Record::new(format!("_dmarc.{name}"), RecordKind::Txt, self.dmarc()));
        records.push(self.validation());
        records
    }

    /// Bounce host, click host, and SPF of whatever may stand in the envelope.
    fn hosts(&self, spf: &str) -> Vec<Record> {
        let (bounces, tracking) = (self.domain.bounces.to_ascii(), self.domain.tracking.to_ascii());
        let exchanger = format!("{PREFERENCE} {}", self.settings.hostname.to_ascii());
        vec![
            Record::new(&bounces, RecordKind::Mx, exchanger),
            self.settings.public_host.record(tracking),
            Record::new(self.name(), RecordKind::Txt, spf),
            Record::new(bounces, RecordKind::Txt, spf),
        ]
    }

    /// What we publish in our zone; their names end in it.
    pub(super) fn hosted(&self) -> Vec<Record> {
        let Some(zone) = self.settings.zone() else { return Vec::new() };
        let behind = |label: &str| format!("{label}.{}.{zone}", self.name());
        let mut records: Vec<Record> =
            self.keys().into_iter().map(|(label, value)| Record::new(behind(&label), RecordKind::Txt, value)).collect();
        records.push(Record::new(behind("_spf"), RecordKind::Txt, spf::record(&self.mechanisms(), &self.domain.flattened)));
        records.push(Record::new(behind("_dmarc"), RecordKind::Txt, self.dmarc()));
        records
    }

    /// `SELECTOR._domainkey` and what stands there.
    pub(super) fn keys(&self) -> Vec<(String, String)> {
        let rotated = self.domain.keys.all().map(|(selector, key)| (selector.to_owned(), key));
        let custom = self.domain.custom.iter().map(|custom| (custom.selector.clone(), &custom.key));
        rotated.chain(custom).map(|(selector, key)| (format!("{selector}._domainkey"), key.record())).collect()
    }

    /// Ours and its own.
    pub(super) fn mechanisms(&self) -> Vec<Mechanism> {
        self.settings.mechanisms.iter().chain(&self.domain.spf).cloned().collect()
    }

    /// The DMARC record of the day.
    pub(super) fn dmarc(&self) -> String {
        let addresses = std::iter::once(&self.settings.dmarc_reports).chain(&self.domain.addresses);
        self.domain.dmarc.record(self.today, addresses)
    }

    /// The SPF record that a domain has which does without our zone, and the include that it has otherwise.
    pub(super) fn spf_include(&self) -> Option<String> {
        self.settings.zone().map(|zone| format!("include:_spf.{}.{zone}", self.name()))
    }
}
