#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::fmt::Write as _;

use super::*;
use crate::chain::PlannedStep;
use crate::mail::domain::Domain;
use crate::mail::slot::{Link, Slot};
use crate::submission::Protocol;

fn entry() -> Entry {
    let (id, received) = (MessageId::from_bytes([7; 16]), Timestamp::from_millis(1_700_000_000_000));
    let click = Link::Click { url: "https://example.com/?a=1".into(), position: 2 };
    let plan = Plan {
        login: "newsletter".into(),
        message: id,
        received,
        context: vec![("protocol".into(), "ESMTPSA".into())],
        nonce: [9; 11],
        slots: vec![
            Slot::Address,
            Slot::Variable("user.name".into()),
            Slot::Link(click),
            Slot::Link(Link::Open(None)),
            Slot::Link(Link::Unsubscribe),
        ],
        variables: r#"{"a":1}"#.into(),
        reverse_path: ReversePath::Null,
        tags: vec![Tag::parse("spring sale").unwrap()],
        steps: vec![PlannedStep { plugin: "template".into(), config: "{}".into(), per_recipient: true, digest: None }],
        senders: Vec::new(),
    };
    Entry {
        id,
        login: "newsletter".into(),
        route: "direct".into(),
        received: Received {
            at: received,
            peer: "2001:db8::1".parse().unwrap(),
            helo: Some("client.example.com".into()),
            protocol: Protocol::Esmtpsa,
        },
        reverse_path: ReversePath::parse("jörg@bücher.example").unwrap(),
        ret: Some(Return::Full),
        envid: Some("QQ314159".into()),
        body: BodyType::EightBitMime,
        smtputf8: true,
        subject: "Grüße".into(),
        tags: vec![Tag::parse("spring sale").unwrap()],
        recipient_count: 3,
        deliver_before: Some(Timestamp::from_millis(1_700_000_100_000)),
        options: r#"{"tags":["spring sale"]}"#.into(),
        plan,
        terms: Terms::default(),
    }
}

fn copy() -> Copy {
    Copy {
        address: EmailAddress::parse("a@example.com").unwrap(),
        notify: Some(Notify { success: true, failure: false, delay: true }),
        original: Some("rfc822;b@example.com".into()),
        variables: r#"{"name":"Ann"}"#.into(),
    }
}

fn state() -> CopyState {
    CopyState {
        attempts: 300,
        last: Some("451 later".into()),
        held: Some("operator".into()),
        released: true,
        first_attempt: Some(Timestamp::from_millis(1_700_000_050_000)),
        delay_told: true,
        suspended: Some(7),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn check<T: Record + PartialEq + std::fmt::Debug>(value: &T, fixture: &str) {
    assert_eq!(
        hex(&value.encode()),
        fixture.replace(char::is_whitespace, ""),
        "the format has changed: it needs a new version, and the old one stays readable"
    );
    assert_eq!(T::decode(&unhex(fixture)).as_ref(), Ok(value));
    for cut in 0..value.encode().len() {
        assert!(T::decode(&value.encode()[..cut]).is_err());
    }
}

#[test]
fn what_was_written_loads_for_ever() {
    check(&entry(), include_str!("fixtures/entry.v1.hex"));
    check(&copy(), include_str!("fixtures/copy.v2.hex"));
    check(&state(), include_str!("fixtures/state.v3.hex"));
    let unsuspended = CopyState { suspended: None, ..state() };
    assert_eq!(CopyState::decode(&unhex(include_str!("fixtures/state.v2.hex"))), Ok(unsuspended));
    let old = CopyState { first_attempt: None, delay_told: false, suspended: None, ..state() };
    assert_eq!(CopyState::decode(&unhex(include_str!("fixtures/state.v1.hex"))), Ok(old));
    assert_eq!(Copy::decode(&unhex(include_str!("fixtures/copy.v1.hex"))), Ok(copy()));
}

#[test]
fn a_sender_who_did_not_say_is_told_from_one_who_did() {
    for notify in [None, Some(Notify::default()), Some(Notify::NEVER)] {
        let copy = Copy { notify, ..copy() };
        assert_eq!(Copy::decode(&copy.encode()), Ok(copy));
    }
    // What version 1 has is the default: nobody is known to have said it.
    let octets = unhex(&include_str!("fixtures/copy.v1.hex").replacen("010001", "000100", 1));
    assert_eq!(Copy::decode(&octets), Ok(Copy { notify: None, ..copy() }));
}

#[test]
fn version_2_of_an_entry_loads_for_ever() {
    let mut entry = entry();
    let domain = |text: &str| Domain::parse(text).unwrap();
    entry.plan.senders = vec![
        SenderPattern::Address(EmailAddress::parse("a@example.com").unwrap()),
        SenderPattern::Domain(domain("example.com")),
        SenderPattern::Subdomains(domain("bücher.example")),
    ];
    check(&entry, include_str!("fixtures/entry.v2.hex"));
}

#[test]
fn version_3_of_an_entry_loads_for_ever() {
    let mut entry = entry();
    entry.plan.steps[0].digest = Some("0123456789abcdef".repeat(4).into());
    let plain = PlannedStep { plugin: "tags".into(), config: "{}".into(), per_recipient: false, digest: None };
    entry.plan.steps.push(plain);
    entry.plan.senders = vec![SenderPattern::Domain(Domain::parse("example.com").unwrap())];
    check(&entry, include_str!("fixtures/entry.v3.hex"));
}

#[test]
fn version_4_of_an_entry_loads_for_ever() {
    let mut entry = entry();
    entry.plan.steps[0].digest = Some("0123456789abcdef".repeat(4).into());
    entry.plan.senders = vec![SenderPattern::Domain(Domain::parse("example.com").unwrap())];
    entry.terms = Terms {
        priority: -3,
        transport: TransportSecurity::Required,
        not_before: Some(Timestamp::from_millis(1_700_000_060_000)),
        track_bounces: true,
        unsigned: true,
    };
    check(&entry, include_str!("fixtures/entry.v4.hex"));
}

#[test]
fn what_a_later_release_wrote_is_told_apart_from_damage() {
    let mut octets = state().encode().to_vec();
    octets[0] = 4;
    assert_eq!(CopyState::decode(&octets), Err(RecordError::Version(4)));
    octets[0] = 5;
    assert_eq!(Entry::decode(&octets), Err(RecordError::Version(5)));
    assert!(matches!(CopyState::decode(&[]), Err(RecordError::Broken(_))));
}
