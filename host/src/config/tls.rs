//! `[tls]` and `[[certificates]]`, and whether PEM files hold what they should.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::document::{Fault, Section, Value};
use crate::mail::domain::Domain;

/// `[tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `certificate`: PEM file, leaf first.
    pub certificate: PathBuf,
    /// `key`: PEM file.
    pub key: PathBuf,
    /// `watch_interval`: how often the files are looked at, and loaded again where they have changed. Default 5 s.
    pub watch_interval: Duration,
}

/// `[[certificates]]`: what clients are shown that ask for one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertificate {
    /// `names`: lower case, in A-labels; `*.example.com` is for each name below with one label more. None given: those that the certificate has.
    pub names: Vec<String>,
    /// `certificate`: PEM file, leaf first.
    pub certificate: PathBuf,
    /// `key`: PEM file.
    pub key: PathBuf,
}

/// How often files are looked at where nobody says otherwise.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Certificates beside the first.
const MOST: usize = 1000;

/// Reads the section; `None` also where it is not there.
pub(super) fn read(section: &Section<'_>) -> Option<Tls> {
    if !section.is_present() {
        return None;
    }
    let watch_interval = section.or("watch_interval", WATCH_INTERVAL, Value::duration);
    let (certificate, key) = pair(section)?;
    Some(Tls { certificate, key, watch_interval })
}

/// Reads the certificates beside it. `has_first` is whether there is a `[tls]` or an `[acme]`.
pub(super) fn named(file: &Section<'_>, has_first: bool) -> Vec<NamedCertificate> {
    let mut taken: Vec<String> = Vec::new();
    let all = file.sections("certificates", |section, _| {
        let names = section.list("names", name);
        for name in &names {
            if taken.contains(name) {
                section.report(&format!("another certificate is for \"{name}\""));
            }
        }
        taken.extend(names.iter().cloned());
        let (certificate, key) = pair(section)?;
        Some(NamedCertificate { names, certificate, key })
    });
    if !all.is_empty() && !has_first {
        file.report(
            "[[certificates]] are beside that of [tls] or [acme], and there is neither: who asks for no name, or another, would get none",
        );
    }
    if all.len() > MOST {
        file.report(&format!("there are more than {MOST} [[certificates]]"));
    }
    all
}

fn name(value: &Value<'_>) -> Result<String, Fault> {
    let text = value.text()?;
    let (star, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
    let domain: Domain =
        rest.parse().map_err(|error| format!("must be a name, such as \"mail.example.com\" or \"*.example.com\": {error}"))?;
    if domain.literal().is_some() {
        return Err("must be a name: clients do not ask for addresses".to_owned());
    }
    Ok(format!("{star}{}", domain.to_ascii().to_ascii_lowercase()))
}

/// Reads `certificate` and `key`, which must go together.
fn pair(section: &Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let certificate = section.required("certificate", |value| {
        let path = value.readable_file()?;
        Ok((certificates(&path)?, path))
    });
    let key = section.required("key", |value| {
        let path = value.readable_file()?;
        let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| format!("{}: {}", path.display(), key_fault(&error)))?;
        Ok((key, path))
    });
    let ((chain, certificate), (key_der, key)) = (certificate?, key?);
    if let Err(error) = CertifiedKey::from_der(chain, key_der, &rustls::crypto::ring::default_provider()) {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            section.report("the key is not that of the certificate");
        } else {
            section.report(&format!("certificate or key cannot be used: {error}"));
        }
    }
    Some((certificate, key))
}

/// Reads the path of a PEM file with at least one certificate.
pub(super) fn authorities(value: &Value<'_>) -> Result<PathBuf, Fault> {
    let path = value.readable_file()?;
    certificates(&path).map(|_| path)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| fault(&error))?;
    if certificates.is_empty() { Err(fault(&"no PEM certificate in it")) } else { Ok(certificates) }
}

/// Says why a private key could not be read.
pub(super) fn key_fault(error: &pem::Error) -> Fault {
    if matches!(error, pem::Error::NoItemsFound) { "no PEM private key in it".to_owned() } else { error.to_string() }
}
