#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::config::AcmeChallenge;

const DAY: Duration = Duration::from_hours(24);

fn acme() -> Acme {
    Acme {
        directory: "https://acme.example/".parse().unwrap(),
        domains: Vec::new(),
        contact: None,
        challenge: AcmeChallenge::Http,
        ca: None,
        renew_before: 30 * DAY,
        retry: Duration::from_mins(10),
        external_account: None,
    }
}

fn certificate(days: u32) -> Fetched {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["mail.example.com".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2026, 11, 1);
    parameters.not_after = parameters.not_before + DAY * days;
    let made = parameters.self_signed(&key).unwrap();
    Fetched::from_pem(format!("{}{}", key.serialize_pem(), made.pem()).as_bytes()).unwrap()
}

fn age_at_renewal(days: u32, domain: &str) -> u64 {
    let fetched = certificate(days);
    fetched.renewal(&acme(), &[domain.to_owned()]).since(fetched.begins).as_secs() / DAY.as_secs()
}

#[test]
fn certificates_are_renewed_in_the_last_third_of_their_life() {
    assert_eq!(age_at_renewal(90, "mail.example.com"), 60);
    assert_eq!(age_at_renewal(365, "mail.example.com"), 335);
    // Six days are renewed after four, whatever is configured.
    assert_eq!(age_at_renewal(6, "mail.example.com"), 4);
}

#[test]
fn a_certificate_for_other_names_is_renewed_at_once() {
    assert_eq!(age_at_renewal(90, "other.example.com"), 0);
}

#[test]
fn a_certificate_of_another_authority_is_renewed_at_once() {
    let days = |directory: Option<&str>| {
        let fetched = Fetched { directory: directory.map(str::to_owned), ..certificate(90) };
        fetched.renewal(&acme(), &["mail.example.com".to_owned()]).since(fetched.begins).as_secs() / DAY.as_secs()
    };
    // What was written before that was written down is of whatever authority.
    assert_eq!([None, Some("https://acme.example/"), Some("https://staging.example/")].map(days), [60, 60, 0]);
}

#[test]
fn who_has_little_time_left_is_not_left_waiting() {
    let minutes = Duration::from_mins;
    let now = Timestamp::from_millis(1_800_000_000_000);
    let waits = |ends: Option<Timestamp>| [0, 1, 5, 20].map(|failures| retry(&acme(), failures, now, ends).as_secs() / 60);
    assert_eq!(waits(None), [10, 20, 320, 24 * 60]);
    assert_eq!(waits(Some(now.plus(30 * DAY))), [10, 20, 320, 24 * 60]);
    assert_eq!(waits(Some(now.plus(minutes(480)))), [10, 20, 120, 120]);
    assert_eq!(waits(Some(now.plus(minutes(20)))), [10, 10, 10, 10]);
    assert_eq!(waits(Some(now)), [10, 20, 320, 24 * 60], "it has ended already");
}

#[test]
fn what_is_in_use_and_on_no_disk_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["mail.example.com".to_owned()]).unwrap();
    let pem = format!("{ORIGIN}https://acme.example/\n{}{}", made.signing_key.serialize_pem(), made.cert.pem());
    let mut unwritten = Some(pem);
    // No folder can be made where a file is.
    fs::write(folder.path().join("acme"), "").unwrap();
    assert!(write_what_is_not(folder.path(), &mut unwritten).is_err() && unwritten.is_some());
    fs::remove_file(folder.path().join("acme")).unwrap();
    write_what_is_not(folder.path(), &mut unwritten).unwrap();
    assert!(unwritten.is_none());
    assert_eq!(read(folder.path()).unwrap().unwrap().directory.as_deref(), Some("https://acme.example/"));
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read(folder.path()).unwrap().is_none());
    let made = rcgen::generate_simple_self_signed(["mail.example.com".to_owned()]).unwrap();
    write(folder.path(), format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem()).as_bytes()).unwrap();
    assert_eq!(read(folder.path()).unwrap().unwrap().names, ["mail.example.com"]);
    write(folder.path(), b"no certificate").unwrap();
    assert!(read(folder.path()).is_err());
}
