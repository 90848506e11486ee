//! Certificates that are loaded, replaced and refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
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
    certificate.reload(Some(&other), &[]).unwrap();
    assert_ne!(shown(&certificate), before);
}

#[test]
fn names_are_asked_for_in_any_case_and_with_a_final_dot() {
    for name in ["own.example", "OWN.Example", "own.example."] {
        assert_eq!(asked_name(name), "own.example");
    }
}

#[test]
fn what_is_no_pair_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (write_pair(folder.path(), "one.example"), write_pair(folder.path(), "other.example"));
    let certificate = Certificate::load(&one).unwrap();
    let before = shown(&certificate);
    let missing = config::Tls { certificate: folder.path().join("none.pem"), ..one.clone() };
    assert!(matches!(certificate.reload(Some(&missing), &[]), Err(TlsError::File { path, .. }) if path == missing.certificate));
    let empty = config::Tls { certificate: one.key.clone(), ..one.clone() };
    assert!(matches!(certificate.reload(Some(&empty), &[]), Err(TlsError::NoCertificate { .. })));
    let no_key = config::Tls { key: one.certificate.clone(), ..one.clone() };
    assert!(matches!(certificate.reload(Some(&no_key), &[]), Err(TlsError::File { .. })));
    let mixed = config::Tls { key: other.key, ..one };
    assert!(matches!(certificate.reload(Some(&mixed), &[]), Err(TlsError::Mismatch { .. })));
    assert_eq!(shown(&certificate), before);
}

#[test]
fn the_name_that_is_asked_for_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::load(&write_pair(folder.path(), "first.example")).unwrap();
    let named = |name: &str, names: &[&str]| {
        let files = write_pair(folder.path(), name);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        NamedCertificate { names, certificate: files.certificate, key: files.key }
    };
    let others =
        [named("own.example", &[]), named("other.example", &["a.other.example", "*.other.example"]), named("b.other.example", &[])];
    certificate.reload(None, &others).unwrap();
    let chosen = |name: &str| certificate.0.named(name).map(|key| names_of(&key).concat());
    for (asked, expected) in [
        ("own.example", Some("own.example")),
        ("a.other.example", Some("other.example")),
        ("x.other.example", Some("other.example")),
        ("b.other.example", Some("b.other.example")),
        ("x.y.other.example", None),
        ("other.example", None),
        ("example", None),
    ] {
        assert_eq!(chosen(asked).as_deref(), expected, "{asked}");
    }
    // One that cannot be used leaves all as they were.
    let broken = NamedCertificate { key: folder.path().join("none.key"), ..others[0].clone() };
    assert!(certificate.reload(None, &[others[1].clone(), broken]).is_err());
    assert!(chosen("own.example").is_some());
    certificate.reload(None, &others[1..]).unwrap();
    assert!(chosen("own.example").is_none());
}
