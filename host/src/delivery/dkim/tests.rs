#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};

use super::*;
use crate::config::unit::Secret;

const RSA_PUBLIC: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApTFfnH6QvpxnK8AoSMLzWkbfDyasjlJ+YrZ35c0maR3n86ofcd323+w8UAw9UvXfRw+c11qEqr8FMWKC3zOdjUEWLHRkcEM+GI8YoYvOXFAmZliHoQiWbtBXJyHM3Mw2II6hYra7tUkh4QgslmDbSaN/TzXUNStlCFdJ5GWbav2i+i8XnNkN4PICNgKNetLy0nlRivZ4PY+1W4TJIATghCNCYJq4/OrkmkpS8ipneodYjt2AzHj5BJONAEdL8CudG0iEhK3Df3bY9pM/mWINQKBHNjLwIQhMPIG5JXmPt2L2HdwR7BezprmWG049oITXx7NB7rVo3Nig8MfnLSenBwIDAQAB";
const ED25519_PUBLIC: &str = "v=DKIM1; k=ed25519; p=Rsm4QqYEKg5C0jT2U32WgpsSXL98mhrI8VXFyHLn9qU=";

const OCCASION: Occasion<'static> = Occasion { login: "a", received: Timestamp::from_millis(1_800_000_000_000) };

fn key(domain: &str, selector: &str, pem: &str) -> config::Dkim {
    config::Dkim {
        domain: Domain::parse(domain).unwrap(),
        selector: selector.into(),
        key: Secret::new(pem.into()),
        senders: Vec::new(),
        always: false,
        fallback: false,
    }
}

fn signers() -> Signers {
    let keys = [
        key("example.com", "rsa", include_str!("rsa_pkcs8.pem")),
        key("example.com", "ed", include_str!("ed25519.pem")),
        key("news.example.com", "old", include_str!("rsa_pkcs1.pem")),
    ];
    Signers::load(&keys, None).unwrap()
}

/// TXT records that the verifier finds.
struct Records(HashMap<Box<str>, Txt>);

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        self.0.get(name).cloned()
    }
    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }
    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

/// Returns what an independent verifier says of each signature.
async fn verify(message: &[u8]) -> Vec<bool> {
    let mut records = HashMap::new();
    for (name, text) in [("rsa", RSA_PUBLIC), ("ed", ED25519_PUBLIC)] {
        let key = Txt::DomainKey(Arc::new(DomainKey::parse(text.as_bytes()).unwrap()));
        records.insert(format!("{name}._domainkey.example.com.").into_boxed_str(), key);
    }
    let key = Txt::DomainKey(Arc::new(DomainKey::parse(RSA_PUBLIC.as_bytes()).unwrap()));
    records.insert("old._domainkey.news.example.com.".into(), key);
    let records = Records(records);
    let authenticator = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).unwrap();
    let message = AuthenticatedMessage::parse(message).unwrap();
    let parameters = Parameters::new(&message).with_txt_cache(&records);
    authenticator.verify_dkim(parameters).await.iter().map(|output| output.result() == &DkimResult::Pass).collect()
}

fn sign(text: &str) -> Bytes {
    signers().sign(Bytes::copy_from_slice(text.replace('\n', "\r\n").as_bytes()), OCCASION)
}

#[tokio::test]
async fn signatures_verify() {
    for text in [
        "From: Bill <bill@example.com>\nTo: jdoe@example.org,\n  x@example.org\nSubject: TPS \t Report\nList-Unsubscribe: <https://t.example.com/u/1>\n\nBody  with   blanks \n\n\n",
        "Subject: x\nFrom: bill@example.com\nX-Other: 1\n\n",
        "From: bill@example.com\nSubject: no body\n",
        "From: =?utf-8?q?B=C3=BCll?= <bill@example.com>\nSubject: two\nSubject: subjects\n\n.\nno end",
    ] {
        let signed = sign(text);
        assert!(signed.starts_with(b"DKIM-Signature: v=1; a=rsa-sha256;"));
        assert_eq!(verify(&signed).await, [true, true], "{text}");
        assert!(signed.split(|octet| *octet == b'\n').take(20).all(|line| line.len() <= 79), "{signed:?}");
    }
}

/// The same in the words of the RFC, one after the other.
fn by_the_book(body: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in body.split("\r\n") {
        let mut line = line.replace('\t', " ");
        while line.contains("  ") {
            line = line.replace("  ", " ");
        }
        lines.push(line.trim_end_matches(' ').to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

proptest::proptest! {
    #[test]
    fn the_relaxed_body_is_that_of_the_rfc(body in "([a.]|[ \t]{1,3}|\r\n|\r|\n|\0){0,24}") {
        proptest::prop_assert_eq!(String::from_utf8(relaxed(body.as_bytes())).unwrap(), by_the_book(&body));
    }
}

#[test]
fn crlf_alone_ends_a_line_and_empty_ones_at_the_end_are_none() {
    for (body, expected) in [
        ("", ""),
        (" \t\r\n\r\n \r\n", ""),
        ("a\r\n \r\n\t\r\n", "a\r\n"),
        ("\n", "\n\r\n"),
        ("a \nb\t\r\n", "a \nb\r\n"),
        ("a\r\r\n\r\n", "a\r\r\n"),
        (" \t\0 \t \r\n \r\n\r\nx", " \0\r\n\r\n\r\nx\r\n"),
    ] {
        assert_eq!(String::from_utf8(relaxed(body.as_bytes())).unwrap(), expected, "{body:?}");
    }
}

#[tokio::test]
async fn a_second_from_breaks_the_signature() {
    let signed = sign("From: bill@example.com\nSubject: a\n\nb\n");
    let forged = [&b"From: evil@example.com\r\n"[..], &signed].concat();
    assert_eq!(verify(&forged).await, [false, false]);
    let forged = String::from_utf8(signed.to_vec()).unwrap().replace("\r\nb\r\n", "\r\nc\r\n");
    assert_eq!(verify(forged.as_bytes()).await, [false, false]);
}

#[tokio::test]
async fn the_nearest_domain_signs() {
    assert_eq!(verify(&sign("From: a@news.example.com\n\nb\n")).await, [true]);
    let signed = sign("From: a@deep.shop.example.com\n\nb\n");
    assert!(String::from_utf8_lossy(&signed).contains("d=example.com;"));
    assert_eq!(verify(&signed).await, [true, true]);
    for text in ["From: a@other.example\n\nb\n", "From: a@badexample.com\n\nb\n", "Subject: no from\n\nb\n", "", "\n\n"] {
        assert_eq!(sign(text), text.replace('\n', "\r\n"), "{text}");
    }
}

#[test]
fn both_forms_of_a_domain_are_signed() {
    let signers = Signers::load(&[key("bücher.example", "s", include_str!("ed25519.pem"))], None).unwrap();
    for from in ["a@bücher.example", "a@xn--bcher-kva.example", "a@shop.xn--bcher-kva.example"] {
        let signed = signers.sign(Bytes::from(format!("From: {from}\r\n\r\nb\r\n")), OCCASION);
        assert!(String::from_utf8_lossy(&signed).contains("d=xn--bcher-kva.example;"), "{from}");
    }
}

#[test]
fn what_is_no_list_of_addresses_is_not_signed() {
    for from in [
        "ceo@example.com: me@other.example;",
        "\"CEO\" <ceo@example.com>: <me@other.example>;",
        "ceo@example.com <",
        "<@other.example:ceo@example.com>",
        "ceo@example .com",
        "ceo@example.com\x01",
    ] {
        let text = format!("From: {from}\n\nb\n");
        assert_eq!(sign(&text), text.replace('\n', "\r\n"), "{from}");
    }
    let many = format!("From:{} <bill@example.com>\n\nb\n", " =?aa?Q?\n".repeat(20_000));
    assert!(sign(&many).starts_with(b"DKIM-Signature"));
}

#[test]
fn a_retry_sends_the_same_octets() {
    let text = "From: bill@example.com\nSubject: a\n\nb\n";
    assert_eq!(sign(text), sign(text));
    let golden = String::from_utf8(sign(text).to_vec()).unwrap();
    insta::assert_snapshot!("signed", golden.replace("\r\n", "\n"));
}

#[test]
fn broken_keys_are_told_apart() {
    let error = |pem: &str| Signers::load(&[key("example.com", "s", pem)], None).err().unwrap().remove(0).to_string();
    assert!(error("nonsense").starts_with("dkim key of example.com (selector \"s\"): no private key in PEM: "));
    let ec = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(error(ec).starts_with("dkim key of example.com (selector \"s\"): neither an RSA nor an Ed25519 key: "));
}

#[test]
fn g7_the_right_key_signs_each_sender() {
    let pem = include_str!("ed25519.pem");
    let rule = |kind, text| vec![config::SenderRule::new(kind, text).unwrap()];
    let keys = [
        config::Dkim { senders: rule(config::SenderRuleKind::Name, "news@example.com"), ..key("example.com", "name", pem) },
        config::Dkim { senders: rule(config::SenderRuleKind::Pattern, "*@shop.example.com"), ..key("example.com", "pattern", pem) },
        config::Dkim { senders: rule(config::SenderRuleKind::Regex, r"^invoice-\d+@"), ..key("example.com", "regex", pem) },
        config::Dkim { fallback: true, ..key("provider.example", "fallback", pem) },
    ];
    let selectors = |keys: &[config::Dkim], from: &str| {
        let signed = Signers::load(keys, None).unwrap().sign(Bytes::from(format!("From: {from}\r\n\r\nb\r\n")), OCCASION);
        let text = String::from_utf8(signed.to_vec()).unwrap();
        text.split("\ts=").skip(1).map(|rest| rest.split(';').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (from, expected) in [
        ("news@example.com", "name"),
        ("a@shop.example.com", "pattern"),
        ("invoice-17@example.com", "regex"),
        ("other@example.com", "fallback"),
        ("a@other.example", "fallback"),
    ] {
        assert_eq!(selectors(&keys, from), [expected], "{from}");
    }
    // The provider's key beside the sender's, and a key without conditions that gives way to one with them.
    let more = [
        keys[0].clone(),
        key("example.com", "all", pem),
        config::Dkim { always: true, ..key("provider.example", "always", pem) },
        keys[3].clone(),
    ];
    assert_eq!(selectors(&more, "news@example.com"), ["name", "always"]);
    assert_eq!(selectors(&more, "other@example.com"), ["all", "always"]);
    assert_eq!(selectors(&more, "a@other.example"), ["always"]);
}
