//! `[tls]`, and whether PEM files hold what they should.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::document::{Fault, Section, Value};

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

/// Reads the section; `None` also where it is not there.
pub(super) fn read(section: &Section<'_>) -> Option<Tls> {
    if !section.is_present() {
        return None;
    }
    let certificate = section.required("certificate", |value| {
        let path = value.readable_file()?;
        Ok((certificates(&path)?, path))
    });
    let key = section.required("key", |value| {
        let path = value.readable_file()?;
        let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| format!("{}: {}", path.display(), key_fault(&error)))?;
        Ok((key, path))
    });
    let watch_interval = section.or("watch_interval", Duration::from_secs(5), Value::duration);
    let ((chain, certificate), (key_der, key)) = (certificate?, key?);
    if let Err(error) = CertifiedKey::from_der(chain, key_der, &rustls::crypto::ring::default_provider()) {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            section.report("the key is not that of the certificate");
        } else {
            section.report(&format!("certificate or key cannot be used: {error}"));
        }
    }
    Some(Tls { certificate, key, watch_interval })
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
