//! Certificates that are loaded, replaced and refused.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use std::path::Path;

use super::*;

/// Writes a certificate for `name` and its key.
fn write_pair(folder: &Path, name: &str) -> config::Tls {
    let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let files = config::Tls {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
        watch_interval: std::time::Duration::from_secs(1),
    };
    std::fs::write(&files.certificate, pair.cert.pem()).unwrap();
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    files
}

fn shown(certificate: &Certificate) -> Vec<u8> {
    certificate.0.key.read().cert.first().unwrap().to_vec()
}

#[test]
fn a_pair_is_loaded_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (write_pair(folder.path(), "one.example"), write_pair(folder.path(), "other.example"));
    let certificate = Certificate::load(&one).unwrap();
    certificate.server_config(&[b"http/1.1"]).unwrap();
    let before = shown(&certificate);
    certificate.reload(&other).unwrap();
    assert_ne!(shown(&certificate), before);
}

#[test]
fn what_is_no_pair_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (write_pair(folder.path(), "one.example"), write_pair(folder.path(), "other.example"));
    let certificate = Certificate::load(&one).unwrap();
    let before = shown(&certificate);
    let missing = config::Tls { certificate: folder.path().join("none.pem"), ..one.clone() };
    assert!(matches!(certificate.reload(&missing), Err(TlsError::File { path, .. }) if path == missing.certificate));
    let empty = config::Tls { certificate: one.key.clone(), ..one.clone() };
    assert!(matches!(certificate.reload(&empty), Err(TlsError::NoCertificate { .. })));
    let no_key = config::Tls { key: one.certificate.clone(), ..one.clone() };
    assert!(matches!(certificate.reload(&no_key), Err(TlsError::File { .. })));
    let mixed = config::Tls { key: other.key, ..one };
    assert!(matches!(certificate.reload(&mixed), Err(TlsError::Mismatch { .. })));
    assert_eq!(shown(&certificate), before);
}
