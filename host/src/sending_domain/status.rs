//! What is found in DNS of what should be there.

use serde::{Serialize, Serializer};

use super::dmarc;
use super::publication::{Publication, Record};
use super::spf::is_spf;
use crate::dns::{Dns, DnsError, RecordKind};

/// How one part of a domain stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What should be there.
    pub required: Vec<Record>,
    /// What is there.
    pub found: Vec<String>,
    /// What is wrong, and what to do about it; none is well.
    pub fault: Option<String>,
}

impl Finding {
    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        self.fault.is_none()
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_ok() { "ok" } else { "error" })
    }
}

/// How a domain stands: as JSON each part is `ok` or `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The policy is the one that was ordered, and reports come to us.
    pub dmarc: Finding,
    /// Every key that may sign is there.
    pub dkim: Finding,
    /// SPF lets us send.
    pub spf: Finding,
    /// Bounces come to us.
    pub mx: Finding,
    /// Links lead to us.
    pub a: Finding,
    /// Certificates for the click host may be issued.
    pub caa: Finding,
    /// The owner has shown that he is.
    pub validation: Finding,
}

impl Status {
    /// Returns all parts with their names.
    pub fn parts(&self) -> [(&'static str, &Finding); 7] {
        [
            ("dkim", &self.dkim),
            ("spf", &self.spf),
            ("dmarc", &self.dmarc),
            ("mx", &self.mx),
            ("a", &self.a),
            ("caa", &self.caa),
            ("validation", &self.validation),
        ]
    }
}

/// Records that are there: none where there is no such name.
async fn find(dns: &dyn Dns, name: &str, kind: RecordKind) -> Result<Vec<String>, String> {
    match dns.records(name, kind).await {
        Ok(records) => Ok(records),
        Err(DnsError::NoSuchName | DnsError::NoRecords) => Ok(Vec::new()),
        Err(error @ DnsError::Unavailable(_)) => Err(format!("{name} {}: {error}; try again later", kind.as_str())),
    }
}

pub(super) struct Checking<'a> {
    pub(super) publication: Publication<'a>,
    pub(super) dns: &'a dyn Dns,
}

impl Checking<'_> {
    pub(super) async fn status(&self) -> Status {
        let (dmarc, dkim, spf, mx, a, caa, validation) =
            tokio::join!(self.dmarc(), self.dkim(), self.spf(), self.mx(), self.a(), self.caa(), self.validation());
        Status { dmarc, dkim, spf, mx, a, caa, validation }
    }

    /// What the owner is told to add, of one part.
    fn required(&self, fits: impl Fn(&Record) -> bool) -> Vec<Record> {
        self.publication.recommended().into_iter().filter(fits).collect()
    }

    pub(super) async fn validation(&self) -> Finding {
        let wanted = self.publication.validation();
        let (found, fault) = match find(self.dns, &wanted.name, RecordKind::Txt).await {
            Ok(found) if found.iter().any(|text| text.trim() == wanted.value) => (found, None),
            Ok(found) => (found, Some(format!("add the TXT record {}", wanted.name))),
            Err(error) => (Vec::new(), Some(error)),
        };
        Finding { required: vec![wanted], found, fault }
    }

    async fn dkim(&self) -> Finding {
        let name = self.publication.domain.name.to_ascii();
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for (label, wanted) in self.publication.keys() {
            let owner = format!("{label}.{name}");
            match find(self.dns, &owner, RecordKind::Txt).await {
                Ok(texts) => {
                    if !texts.iter().any(|text| is_same_key(text, &wanted)) {
                        faults.push(if texts.is_empty() { format!("add {owner}") } else { format!("{owner} has another key") });
                    }
                    found.extend(texts);
                }
                Err(error) => faults.push(error),
            }
        }
        let required = self.required(|record| record.name.contains("._domainkey."));
        Finding { required, found, fault: joined(&faults) }
    }

    /// Whether the public part of a key is in DNS.
    pub(super) async fn has_key(&self, selector: &str, wanted: &str) -> Result<bool, String> {
        let owner = format!("{selector}._domainkey.{}", self.publication.domain.name.to_ascii());
        Ok(find(self.dns, &owner, RecordKind::Txt).await?.iter().any(|text| is_same_key(text, wanted)))
    }

    async fn spf(&self) -> Finding {
        let domain = self.publication.domain;
        let mut finding = Finding { required: Vec::new(), found: Vec::new(), fault: None };
        let mut faults = Vec::new();
        for name in [domain.name.to_ascii(), domain.bounces.to_ascii()] {
            let (found, fault) = self.spf_of(&name).await;
            finding.found.extend(found);
            faults.extend(fault);
        }
        finding.required = self.required(|record| record.kind == RecordKind::Txt && is_spf(&record.value));
        finding.fault = joined(&faults);
        finding
    }

    /// SPF records of one name, and what is wrong with them.
    async fn spf_of(&self, name: &str) -> (Vec<String>, Option<String>) {
        let texts = match find(self.dns, name, RecordKind::Txt).await {
            Ok(texts) => texts,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let records: Vec<String> = texts.into_iter().filter(|text| is_spf(text)).collect();
        let fault = match records.as_slice() {
            [] => Some(format!("{name} has no SPF record: add it")),
            [record] => self.spf_fault(name, record),
            _ => Some(format!("{name} has several SPF records, which counts as none: put them together (RFC 7208 §4.5)")),
        };
        (records, fault)
    }

    fn spf_fault(&self, name: &str, record: &str) -> Option<String> {
        let record = record.to_ascii_lowercase();
        let terms: Vec<&str> = record.split_ascii_whitespace().map(|term| term.strip_prefix('+').unwrap_or(term)).collect();
        // What stands behind "all" is never looked at.
        let counted: Vec<&str> = terms.iter().copied().take_while(|term| !matches!(*term, "all" | "-all" | "~all" | "?all")).collect();
        let include = self.publication.spf_include();
        if include.as_deref().is_some_and(|include| counted.contains(&include)) {
            return None;
        }
        let missing: Vec<String> =
            self.publication.mechanisms().iter().map(ToString::to_string).filter(|text| !counted.contains(&text.as_str())).collect();
        if missing.is_empty() {
            return None;
        }
        let add = include.unwrap_or_else(|| missing.join(" "));
        Some(format!("the SPF record of {name} does not let us send: put \"{add}\" in front of \"all\""))
    }

    pub(super) async fn mx(&self) -> Finding {
        let host = self.publication.settings.hostname.to_ascii();
        let name = self.publication.domain.bounces.to_ascii();
        let required = self.required(|record| record.kind == RecordKind::Mx);
        let (found, fault) = match find(self.dns, &name, RecordKind::Mx).await {
            Ok(found) if found.iter().any(|mx| mx.rsplit(' ').next() == Some(host.as_str())) => (found, None),
            Ok(found) => (found, Some(format!("add the MX record of {name}: bounces do not come to {host}"))),
            Err(error) => (Vec::new(), Some(error)),
        };
        Finding { required, found, fault }
    }

    /// Whether mail may be sent from the bounce host: bounces would come to us, and its SPF record lets us.
    ///
    /// # Errors
    /// DNS does not say.
    pub(super) async fn has_bounce_host(&self) -> Result<bool, String> {
        let name = self.publication.domain.bounces.to_ascii();
        let host = self.publication.settings.hostname.to_ascii();
        let exchangers = find(self.dns, &name, RecordKind::Mx).await?;
        let texts = find(self.dns, &name, RecordKind::Txt).await?;
        let records: Vec<&String> = texts.iter().filter(|text| is_spf(text)).collect();
        let lets_us = matches!(records.as_slice(), [record] if self.spf_fault(&name, record).is_none());
        Ok(lets_us && exchangers.iter().any(|mx| mx.rsplit(' ').next() == Some(host.as_str())))
    }

    async fn a(&self) -> Finding {
        let name = self.publication.domain.tracking.to_ascii();
        let wanted = self.publication.settings.public_host.record(name.clone());
        let (found, fault) = match self.leads_to(&name, &wanted).await {
            Ok((found, true)) => (found, None),
            Ok((found, false)) => {
                (found, Some(format!("add the {} record of {name}: links do not lead to {}", wanted.kind.as_str(), wanted.value)))
            }
            Err(error) => (Vec::new(), Some(error)),
        };
        Finding { required: vec![wanted], found, fault }
    }

    /// An alias to the host, or addresses that are among its own.
    async fn leads_to(&self, name: &str, wanted: &Record) -> Result<(Vec<String>, bool), String> {
        let mut found = find(self.dns, name, wanted.kind).await?;
        if found.contains(&wanted.value) {
            return Ok((found, true));
        }
        if wanted.kind != RecordKind::Cname {
            return Ok((found, false));
        }
        let (mut addresses, mut own) = (Vec::new(), Vec::new());
        for kind in [RecordKind::A, RecordKind::Aaaa] {
            addresses.extend(find(self.dns, name, kind).await?);
            own.extend(find(self.dns, &wanted.value, kind).await?);
        }
        let leads = !addresses.is_empty() && addresses.iter().all(|address| own.contains(address));
        found.extend(addresses);
        Ok((found, leads))
    }

    /// The nearest name with CAA records says who may issue (RFC 8659 §3).
    async fn caa(&self) -> Finding {
        let name = self.publication.domain.tracking.to_ascii();
        let mut finding = Finding { required: Vec::new(), found: Vec::new(), fault: None };
        let mut at = name.as_str();
        while at.contains('.') {
            match find(self.dns, at, RecordKind::Caa).await {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    let allowed = &self.publication.settings.config.certificate_authorities;
                    let issuers: Vec<String> = found.iter().filter_map(|caa| issuer(caa)).collect();
                    let has_tag = found.iter().any(|caa| caa.split(' ').nth(1) == Some("issue"));
                    if has_tag && !issuers.iter().any(|issuer| allowed.contains(issuer)) {
                        let first = allowed.first().map(String::as_str).unwrap_or_default();
                        finding.fault =
                            Some(format!("add the CAA record {at} 0 issue \"{first}\": no certificate can be issued for {name}"));
                    }
                    finding.found = found;
                    return finding;
                }
                Err(error) => {
                    finding.fault = Some(error);
                    return finding;
                }
            }
            at = at.split_once('.').map_or("", |(_, rest)| rest);
        }
        finding
    }

    async fn dmarc(&self) -> Finding {
        let name = format!("_dmarc.{}", self.publication.domain.name.to_ascii());
        let required = self.required(|record| record.name == name);
        let texts = match find(self.dns, &name, RecordKind::Txt).await {
            Ok(texts) => texts,
            Err(error) => return Finding { required, found: Vec::new(), fault: Some(error) },
        };
        let mut policies = texts.iter().filter_map(|text| dmarc::tags(text));
        let fault = match (policies.next(), policies.next()) {
            (None, _) => Some(format!("add {name}")),
            (Some(_), Some(_)) => Some(format!("{name} has several DMARC records, which counts as none")),
            (Some(tags), None) => self.dmarc_fault(&name, &tags),
        };
        Finding { required, found: texts, fault }
    }

    fn dmarc_fault(&self, name: &str, found: &[(String, String)]) -> Option<String> {
        let wanted = dmarc::tags(&self.publication.dmarc()).unwrap_or_default();
        let value = |tags: &[(String, String)], tag: &str| {
            tags.iter().find(|(name, _)| name == tag).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        if value(found, "p") != value(&wanted, "p") {
            return Some(format!("the policy at {name} should be \"p={}\"", value(&wanted, "p")));
        }
        let reports = value(found, "rua");
        let reports: Vec<&str> = reports.split(',').map(str::trim).collect();
        let missing = value(&wanted, "rua").split(',').find(|wanted| !reports.contains(wanted)).map(str::to_owned);
        missing.map(|address| format!("put {address} into the rua= of {name}"))
    }
}

/// The authority that a record of kind `issue` names.
fn issuer(caa: &str) -> Option<String> {
    let value = caa.split_once(" issue ")?.1.trim_matches('"');
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Whether two key records have the same key; what else stands in them may differ.
fn is_same_key(found: &str, wanted: &str) -> bool {
    let key = |text: &str| {
        text.split(';').find_map(|tag| {
            let (name, value) = tag.split_once('=')?;
            (name.trim() == "p").then(|| value.chars().filter(|c| !c.is_whitespace()).collect::<String>())
        })
    };
    key(found).is_some_and(|found| !found.is_empty() && Some(found) == key(wanted))
}

fn joined(faults: &[String]) -> Option<String> {
    (!faults.is_empty()).then(|| faults.join("; "))
}
