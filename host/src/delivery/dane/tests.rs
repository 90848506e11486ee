#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use proptest::prelude::*;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;
use crate::dns::zone::Zone;
use crate::dns::{Mx, Validated};

fn hex(octets: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(octets)
}

fn now() -> UnixTime {
    // 2026, when the certificates of these tests hold.
    UnixTime::since_unix_epoch(Duration::from_secs(1_795_000_000))
}

/// An authority, and a host that it signs for.
fn authority(name: &str) -> (Certificate, Certificate) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let host = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    (root, host)
}

fn spki(certificate: &Certificate) -> Vec<u8> {
    X509Certificate::from_der(certificate.der()).unwrap().1.tbs_certificate.subject_pki.raw.to_vec()
}

fn vouched(records: &[String]) -> Vouched {
    let records: Vec<Tlsa> = records.iter().filter_map(|text| Tlsa::parse(text)).collect();
    let records = strongest(&records);
    Vouched { records, texts: Vec::new(), names: vec!["mx.b.example".to_owned(), "b.example".to_owned()] }
}

/// Something that vouches.
pub(in crate::delivery) fn some() -> Arc<Vouched> {
    Arc::new(vouched(&[format!("3 1 1 {}", "ab".repeat(32))]))
}

#[test]
fn records_are_read() {
    let digest = "ab".repeat(32);
    for (text, expected) in [
        (format!("3 1 1 {digest}"), true),
        (format!("2 0 1 {}", digest.to_uppercase()), true),
        (format!("3 1 1 {} {}", &digest[..10], &digest[10..]), true),
        (format!("3 0 2 {digest}{digest}"), true),
        ("3 1 0 30".to_owned(), true),
        // Authorities of the web are nothing that a server of mail could know.
        (format!("0 1 1 {digest}"), false),
        (format!("1 1 1 {digest}"), false),
        (format!("3 2 1 {digest}"), false),
        (format!("3 1 3 {digest}"), false),
        (format!("3 1 2 {digest}"), false),
        ("3 1 1 abc".to_owned(), false),
        ("3 1 0".to_owned(), false),
        ("3 1".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(Tlsa::parse(&text).is_some(), expected, "{text}");
    }
}

#[test]
fn a_host_may_have_the_certificate_that_its_records_name() {
    // Its name and its authority say nothing.
    let (_, host) = authority("elsewhere.example");
    let (_, other) = authority("mx.b.example");
    let (der, key) = (host.der().to_vec(), spki(&host));
    for record in [
        format!("3 0 0 {}", hex(&der)),
        format!("3 1 0 {}", hex(&key)),
        format!("3 0 1 {}", hex(&Sha256::digest(&der))),
        format!("3 1 1 {}", hex(&Sha256::digest(&key))),
        format!("3 1 2 {}", hex(&Sha512::digest(&key))),
    ] {
        let vouched = vouched(&[format!("3 1 1 {}", "00".repeat(32)), record.clone()]);
        if record.starts_with("3 1 2") {
            // The stronger digest takes the place of the weaker one.
            assert_eq!(vouched.records.len(), 1);
        }
        vouched.judge(host.der(), &[], now()).unwrap();
        assert!(vouched.judge(other.der(), &[host.der().clone()], now()).is_err(), "{record}");
    }
}

#[test]
fn an_authority_vouches_for_the_names_that_it_signs() {
    let (root, host) = authority("mx.b.example");
    let (_, stranger) = authority("mx.b.example");
    let chain = [root.der().clone()];
    for record in [format!("2 0 1 {}", hex(&Sha256::digest(root.der()))), format!("2 1 1 {}", hex(&Sha256::digest(spki(&root))))] {
        let vouched = vouched(&[record]);
        vouched.judge(host.der(), &chain, now()).unwrap();
        assert!(vouched.judge(host.der(), &[], now()).is_err(), "the authority is not there");
        assert!(vouched.judge(stranger.der(), &chain, now()).is_err(), "another one has signed it");
        let late = UnixTime::since_unix_epoch(Duration::from_hours(300_000_000));
        assert!(vouched.judge(host.der(), &chain, late).is_err(), "it is no longer valid");
    }
    // All of it is in DNS.
    vouched(&[format!("2 0 0 {}", hex(root.der()))]).judge(host.der(), &[], now()).unwrap();
    let (root, host) = authority("mx.elsewhere.example");
    let other_name = vouched(&[format!("2 0 1 {}", hex(&Sha256::digest(root.der())))]);
    assert!(other_name.judge(host.der(), &[root.der().clone()], now()).is_err(), "it is for another name");
    let (root, host) = authority("b.example");
    vouched(&[format!("2 0 1 {}", hex(&Sha256::digest(root.der())))]).judge(host.der(), &[root.der().clone()], now()).unwrap();
}

/// A zone of which nobody hears where aliases are.
struct NoAliases(Zone);

impl Dns for NoAliases {
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Dns::mx(&self.0, name)
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        self.0.addresses(name)
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        self.0.records(name, kind)
    }

    fn validated<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Validated, DnsError>> {
        let withheld = || ready(Err(DnsError::Unavailable("SERVFAIL".to_owned()))).boxed();
        if kind == RecordKind::Cname { withheld() } else { self.0.validated(name, kind) }
    }
}

async fn found(zone: impl Dns) -> String {
    match look_up(&zone, "mx.b.example", "b.example", 25).await {
        Vouching::None => "none".to_owned(),
        Vouching::Unusable => "unusable".to_owned(),
        Vouching::Failed(failure) => failure.status.to_string(),
        Vouching::Records(vouched) => format!("{} for {}", vouched.records.len(), vouched.names.join(" ")),
    }
}

#[tokio::test]
async fn only_what_is_signed_counts() {
    const AT: &str = "_25._tcp.mx.b.example";
    let record = format!("3 1 1 {}", "ab".repeat(32));
    let host = || Zone::default().address("mx.b.example", "192.0.2.1");
    let with = |zone: Zone| zone.record(AT, RecordKind::Tlsa, &record);
    assert_eq!(found(with(host()).signed("mx.b.example").signed(AT)).await, "1 for mx.b.example b.example");
    assert_eq!(found(with(host()).signed(AT)).await, "none", "anybody may have made the address");
    assert_eq!(found(with(host()).signed("mx.b.example")).await, "none", "anybody may have made the records");
    assert_eq!(found(host().signed("mx.b.example")).await, "none", "there are none");
    assert_eq!(found(host().signed("mx.b.example").broken(AT)).await, "4.7.5", "forged, or withheld");
    // A name server that chokes on TLSA holds nothing up where there is no DNSSEC.
    assert_eq!(found(host().signed("other").broken(AT)).await, "none");
    let old = host().record(AT, RecordKind::Tlsa, &format!("1 1 1 {}", "ab".repeat(32)));
    assert_eq!(found(old.signed("mx.b.example").signed(AT)).await, "unusable");
    assert_eq!(found(Zone::default().signed("x").broken("mx.b.example")).await, "4.4.3");
}

#[tokio::test]
async fn aliases_of_hosts_are_followed_as_far_as_they_are_signed() {
    let record = format!("3 1 1 {}", "ab".repeat(32));
    let zone = Zone::default().cname("mx.b.example", "real.example").address("real.example", "192.0.2.1");
    let zone = zone.record("_25._tcp.real.example", RecordKind::Tlsa, &record).signed("_25._tcp.real.example");
    let signed = zone.clone().signed("mx.b.example").signed("real.example");
    assert_eq!(found(signed).await, "1 for real.example mx.b.example b.example");
    assert_eq!(found(zone.clone().signed("real.example")).await, "none");
    assert_eq!(found(NoAliases(zone.clone().signed("mx.b.example"))).await, "4.4.3", "the alias may be signed");
    let own = zone.record("_25._tcp.mx.b.example", RecordKind::Tlsa, &record).signed("_25._tcp.mx.b.example").signed("mx.b.example");
    assert_eq!(found(own).await, "1 for mx.b.example b.example");
}

proptest! {
    #[test]
    fn nothing_panics(text in "[0-4 ]{0,8}[0-9a-fA-F ]{0,140}", certificate in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(record) = Tlsa::parse(&text) {
            let _ = record.matches(&certificate);
            let exact = Tlsa { selector: Selector::Certificate, matching: Matching::Exact, data: certificate.clone(), ..record };
            prop_assert!(exact.matches(&certificate));
        }
    }
}
