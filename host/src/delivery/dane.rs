//! DANE for SMTP (RFC 7672): certificates that a host's own, signed TLSA records (RFC 6698) vouch for, in the place of certification authorities.
//!
//! ```text
//! _25._tcp.mail.example.net.  TLSA  3 1 1 8CB0FC6C527506A053F4F14C8464BEBBD6DEDE2738D11468DD953D7D6A3021F1
//! ```
//!
//! - Nothing counts that is not signed all the way from the root: the MX records of the domain, unless the configuration names the host, the addresses of the host, the TLSA records. Whether it is,
//!   [`Dns::validated`] says. What a host without signed addresses says of TLSA is not even asked for (RFC 7672 §2.1.3): name servers that choke on it would hold mail up.
//! - A host with signed records gets mail only over TLS. Where none of them can be used, any certificate will do; else it must match, and nothing falls back.
//! - Of usages, 2 (DANE-TA) and 3 (DANE-EE) are usable. At most [`RECORDS`] records of a host are looked at.

use std::sync::Arc;

use sha2::{Digest as _, Sha256, Sha512};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::failure::Failure;
use crate::dns::{Dns, DnsError, RecordKind};
use crate::network::tls::{self, TlsError};

/// TLSA records of a host that are looked at; those behind are left out.
pub const RECORDS: usize = 32;

/// A TLSA record that can be used (RFC 6698 §2.1, RFC 7672 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// Whose certificate it is.
    pub usage: Usage,
    /// What of it is compared.
    pub selector: Selector,
    /// As what.
    pub matching: Matching,
    /// With what.
    pub data: Vec<u8>,
}

/// Whose certificate a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// 2, DANE-TA: of an authority that signs for the host.
    Authority,
    /// 3, DANE-EE: of the host itself; its names and dates say nothing.
    Host,
}

/// What of a certificate is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// 0: all of it.
    Certificate,
    /// 1: its public key.
    Key,
}

/// As what it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matching {
    /// 0: as it is.
    Exact,
    /// 1: its SHA-256.
    Sha256,
    /// 2: its SHA-512.
    Sha512,
}

impl Tlsa {
    /// Reads a record as it stands in zone files: `3 1 1 8cb0…`. `None` where it is none, or cannot be used for SMTP.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace();
        let usage = match fields.next()? {
            "2" => Usage::Authority,
            "3" => Usage::Host,
            _ => return None,
        };
        let selector = match fields.next()? {
            "0" => Selector::Certificate,
            "1" => Selector::Key,
            _ => return None,
        };
        let (matching, length) = match fields.next()? {
            "0" => (Matching::Exact, None),
            "1" => (Matching::Sha256, Some(32)),
            "2" => (Matching::Sha512, Some(64)),
            _ => return None,
        };
        // The digits may be written in groups.
        let digits: String = fields.collect();
        let data = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok().filter(|data| !data.is_empty())?;
        if length.is_some_and(|length| data.len() != length) {
            return None;
        }
        Some(Self { usage, selector, matching, data })
    }

    /// Whether a certificate is the one that is meant.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let selected = match self.selector {
            Selector::Certificate => certificate,
            Selector::Key => match X509Certificate::from_der(certificate) {
                Ok((_, read)) => read.tbs_certificate.subject_pki.raw,
                Err(_) => return false,
            },
        };
        match self.matching {
            Matching::Exact => *selected == *self.data,
            Matching::Sha256 => *Sha256::digest(selected) == *self.data,
            Matching::Sha512 => *Sha512::digest(selected) == *self.data,
        }
    }
}

/// Returns the records that count (RFC 7671 §9): where there are digests of one kind that are stronger, the weaker ones of the same usage and selector do not.
pub fn strongest(records: &[Tlsa]) -> Vec<Tlsa> {
    let has_stronger = |record: &Tlsa| {
        record.matching == Matching::Sha256
            && records
                .iter()
                .any(|other| other.matching == Matching::Sha512 && (other.usage, other.selector) == (record.usage, record.selector))
    };
    records.iter().filter(|record| !has_stronger(record)).cloned().collect()
}

/// What DNS says of the certificates of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Vouching {
    /// Nothing that can be believed.
    None,
    /// There are signed records, none of which can be used: TLS, with any certificate (RFC 7672 §2.2).
    Unusable,
    /// It must have one of these.
    Records(Arc<Vouched>),
    /// It cannot be found out now.
    Failed(Failure),
}

/// What vouches for a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Vouched {
    records: Vec<Tlsa>,
    /// All records as they stand in DNS.
    texts: Vec<String>,
    /// Names of which the certificate of an authority's host must have one; the first is where the records are, and what the host is asked for (RFC 7672 §3.2).
    names: Vec<String>,
}

/// Finds out what DNS says of the certificates of `host`, which signed MX records of `domain` name, or the configuration: then `domain` is the host too.
pub(super) async fn look_up(dns: &dyn Dns, host: &str, domain: &str, port: u16) -> Vouching {
    let bases = match bases(dns, host).await {
        Ok(bases) => bases,
        Err(failure) => return Vouching::Failed(failure),
    };
    for base in bases {
        let texts = match dns.validated(&format!("_{port}._tcp.{base}"), RecordKind::Tlsa).await {
            Ok(found) if found.secure => found.records,
            Ok(_) | Err(DnsError::NoSuchName | DnsError::NoRecords) => continue,
            Err(error @ DnsError::Unavailable(_)) => {
                return Vouching::Failed(Failure::transient((7, 5), format!("the TLSA records of {base} cannot be found out: {error}")));
            }
        };
        let records: Vec<Tlsa> = texts.iter().take(RECORDS).filter_map(|text| Tlsa::parse(text)).collect();
        if records.is_empty() {
            return Vouching::Unusable;
        }
        let mut names = vec![base];
        for name in [host, domain] {
            if !names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
        return Vouching::Records(Arc::new(Vouched { records: strongest(&records), texts, names }));
    }
    Vouching::None
}

/// Returns the names at which TLSA records of a host may be (RFC 7672 §2.2.2): where its addresses really are, if every step there is signed, then its own;
/// none where nothing is signed.
pub(super) async fn bases(dns: &dyn Dns, host: &str) -> Result<Vec<String>, Failure> {
    let mut unavailable = None;
    for kind in [RecordKind::A, RecordKind::Aaaa] {
        match dns.validated(host, kind).await {
            Ok(found) if found.owner.eq_ignore_ascii_case(host) => return Ok(Vec::from_iter(found.secure.then_some(found.owner))),
            Ok(found) if found.secure => return Ok(vec![found.owner, host.to_owned()]),
            // Somewhere behind the alias is what is not signed; the alias itself may be.
            Ok(_) => {
                return match dns.validated(host, RecordKind::Cname).await {
                    Ok(alias) => Ok(Vec::from_iter(alias.secure.then(|| host.to_owned()))),
                    Err(DnsError::NoSuchName | DnsError::NoRecords) => Ok(Vec::new()),
                    // Whoever withholds the answer must not get rid of DANE by that.
                    Err(error @ DnsError::Unavailable(_)) => Err(Failure::transient((4, 3), format!("the alias {host}: {error}"))),
                };
            }
            Err(DnsError::NoSuchName | DnsError::NoRecords) => {}
            Err(error @ DnsError::Unavailable(_)) => unavailable = Some(Failure::transient((4, 3), format!("{host}: {error}"))),
        }
    }
    // Without addresses, which is said elsewhere, there is nothing to vouch for.
    unavailable.map_or(Ok(Vec::new()), Err)
}

impl Vouched {
    /// Returns the records as they stand in DNS.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Returns the name that the host is asked for (SNI; RFC 7672 §8.1).
    pub(super) fn asked_for(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Takes the certificates that these records vouch for, and no others.
    pub(super) fn connector(self: &Arc<Self>) -> Result<TlsConnector, TlsError> {
        let vouched = Arc::clone(self);
        tls::judging(Arc::new(move |host, chain, now| vouched.judge(host, chain, now)))
    }

    fn judge(&self, host: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let by = |usage: Usage| self.records.iter().filter(move |record| record.usage == usage);
        if by(Usage::Host).any(|record| record.matches(host)) {
            return Ok(());
        }
        let mut roots = RootCertStore::empty();
        for record in by(Usage::Authority) {
            roots.add_parsable_certificates(
                chain.iter().filter(|certificate| record.matches(certificate)).map(|one| one.clone().into_owned()),
            );
            if (record.selector, record.matching) == (Selector::Certificate, Matching::Exact) {
                // The authority's certificate is in DNS: the host need not send it.
                roots.add_parsable_certificates([CertificateDer::from(record.data.clone())]);
            }
        }
        let mismatch = || Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        if roots.is_empty() {
            return Err(mismatch());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        let mut last = mismatch();
        for name in &self.names {
            let Ok(name) = ServerName::try_from(name.as_str()) else { continue };
            match verifier.verify_server_cert(host, chain, &name, &[], now) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
pub(super) mod tests;
