#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io::Read as _;

use super::document::Report;
use super::*;
use crate::clock::Clock;
use crate::config::unit::ByteSize;
use crate::delivery::tests::memory::MemoryStore;
use crate::mail::address::EmailAddress;
use crate::mail::message_id::MessageId;

const HOUR: Duration = Duration::from_hours(1);

fn seen(domain: &str, kind: PolicyKind) -> Seen {
    let strings = if kind == PolicyKind::Sts { vec!["version: STSv1".to_owned(), "mode: testing".to_owned()] } else { Vec::new() };
    let mx = if kind == PolicyKind::Sts { vec!["*.mail.b.example".to_owned()] } else { Vec::new() };
    Seen { domain: domain.to_owned(), kind, strings, mx, host: "mx.b.example".to_owned() }
}

fn fault(result: &'static str) -> Result<(), Fault> {
    Err(Fault { result, from: None, to: Some("192.0.2.1".parse().unwrap()), reason: "for some reason".to_owned() })
}

fn limits(domains: u32) -> config::TlsReports {
    config::TlsReports { domains, ..config::TlsReports::default() }
}

#[tokio::test]
async fn counts_outlive_a_restart_and_are_due_when_their_day_is_over() {
    // 2027-01-15T08:00:00Z.
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let (store, before) = (MemoryStore::new(clock.clone()), Tallies::default());
    for outcome in [Ok(()), Ok(()), fault("certificate-expired"), fault("certificate-expired"), fault("starttls-not-supported")] {
        before.note("direct", &seen("b.example", PolicyKind::Sts), outcome, &limits(2), clock.now());
    }
    before.note("direct", &seen("b.example", PolicyKind::None), Ok(()), &limits(2), clock.now());
    before.note("direct", &seen("c.example", PolicyKind::None), Ok(()), &limits(2), clock.now());
    before.note("direct", &seen("d.example", PolicyKind::None), Ok(()), &limits(2), clock.now());
    before.save(&store).await.unwrap();
    let after = Tallies::default();
    after.load(&store, clock.now(), 100).await.unwrap();
    assert_eq!(after.due(clock.now(), Duration::ZERO).len(), 0, "the day goes on");
    clock.advance(16 * HOUR);
    assert_eq!(after.due(clock.now(), HOUR).len(), 0, "not all at midnight");
    clock.advance(2 * HOUR);
    let due = after.due(clock.now(), HOUR);
    let domains: Vec<_> = due.iter().map(|(_, domain)| domain.as_str()).collect();
    assert_eq!(domains, ["b.example", "c.example"], "no more than the limit");
    let policies = after.tally(due[0].0, "b.example").unwrap().policies;
    assert_eq!(policies.len(), 2);
    assert_eq!((policies[0].good, policies[0].bad), (2, 3));
    let failures: Vec<_> = policies[0].failures.iter().map(|failure| (failure.result.as_str(), failure.count)).collect();
    assert_eq!(failures, [("certificate-expired", 2), ("starttls-not-supported", 1)]);
    // What was tried in vain comes behind what was not.
    let tally = after.tally(due[0].0, "b.example").unwrap();
    after.again(due[0].0, "b.example".to_owned(), Tally { tries: 1, ..tally });
    let domains: Vec<_> = after.due(clock.now(), HOUR).into_iter().map(|(_, domain)| domain).collect();
    assert_eq!(domains, ["c.example", "b.example"]);
    after.end(due[0].0, "b.example", &store, clock.now()).await.unwrap();
    let later = Tallies::default();
    later.load(&store, clock.now(), 100).await.unwrap();
    assert_eq!(later.due(clock.now(), HOUR).len(), 1);
    clock.advance(72 * HOUR);
    later.forget(clock.now());
    assert_eq!(later.due(clock.now(), HOUR).len(), 0);
}

#[test]
fn a_report_has_the_form_of_the_rfc() {
    let mut tally = Tally::default();
    for outcome in [Ok(()), fault("certificate-host-mismatch")] {
        tally.note(&seen("b.example", PolicyKind::Sts), outcome, true);
    }
    let contact = EmailAddress::parse("tls@tp.example").unwrap();
    let report = Report {
        id: MessageId::from_bytes([1; 16]),
        organization: "Tubepost \"Example\"",
        contact: &contact,
        hostname: "mail.tp.example",
        domain: "b.example",
        begins: Timestamp::from_millis(1_799_971_200_000),
        ends: Timestamp::from_millis(1_800_057_599_999),
        tally: &tally,
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*report.packed().unwrap()).read_to_string(&mut text).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json, report.to_json());
    let id = format!("{}@mail.tp.example", report.id);
    let expected = serde_json::json!({
        "organization-name": "Tubepost \"Example\"",
        "date-range": { "start-datetime": "2027-01-15T00:00:00Z", "end-datetime": "2027-01-15T23:59:59Z" },
        "contact-info": "tls@tp.example",
        "report-id": id,
        "policies": [{
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: testing"],
                "policy-domain": "b.example",
                "mx-host": ["*.mail.b.example"],
            },
            "summary": { "total-successful-session-count": 1, "total-failure-session-count": 1 },
            "failure-details": [{
                "result-type": "certificate-host-mismatch",
                "receiving-mx-hostname": "mx.b.example",
                "failed-session-count": 1,
                "failure-reason-code": "for some reason",
                "receiving-ip": "192.0.2.1",
            }],
        }],
    });
    assert_eq!(json, expected);
    let to = EmailAddress::parse("reports@b.example").unwrap();
    let mail = report.mail(MessageId::from_bytes([2; 16]), &to, &report.packed().unwrap(), Timestamp::from_millis(1_800_060_000_000));
    let mail = str::from_utf8(&mail).unwrap();
    assert!(mail.contains(&format!("Report-ID: <{}@mail.tp.example>", report.id)), "{mail}");
    assert!(mail.contains(&format!("Message-ID: <{}@mail.tp.example>", MessageId::from_bytes([2; 16]))), "{mail}");
    for line in ["From: <tls@tp.example>", "TLS-Required: No", "TLS-Report-Domain: b.example", "TLS-Report-Submitter: mail.tp.example"] {
        assert!(mail.contains(&format!("\r\n{line}\r\n")) || mail.starts_with(&format!("{line}\r\n")), "{mail}");
    }
    assert!(mail.contains("filename=\"mail.tp.example!b.example!1799971200!1800057599!001.json.gz\""), "{mail}");
    assert!(mail.lines().all(|line| line.len() <= 998) && mail.is_ascii());
}

#[test]
fn a_policy_of_many_octets_is_cut() {
    let long = |count| vec!["a".repeat(1000); count];
    let cut = Seen { strings: long(3), mx: long(100), ..seen("b.example", PolicyKind::Sts) }.bounded();
    assert_eq!((cut.strings.len(), cut.mx.len()), (3, 1));
    let cut =
        Seen { strings: vec![String::new(); 100], mx: vec!["a".repeat(STRINGS_SIZE)], ..seen("b.example", PolicyKind::Sts) }.bounded();
    assert_eq!((cut.strings.len(), cut.mx.len()), (STRINGS, 1));
}

#[tokio::test]
async fn what_was_tried_in_vain_makes_room_and_nothing_else_does() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let (store, tallies) = (MemoryStore::new(clock.clone()), Tallies::default());
    let limits = config::TlsReports { memory: ByteSize(100 * 1024), ..config::TlsReports::default() };
    let note = |domain: &str, outcome| tallies.note("direct", &seen(domain, PolicyKind::Sts), outcome, &limits, clock.now());
    let all = |has_room| Noted { has_room, given_up: 0 };
    // Each is a failure of another host.
    let failure = |number: u8| {
        Err(Fault { result: "certificate-expired", from: None, to: Some([192, 0, 2, number].into()), reason: "r".repeat(500) })
    };
    let mut domains = 0_u16;
    while note(&format!("{domains}.example"), failure(0)) == all(true) {
        for number in 1..50 {
            note(&format!("{domains}.example"), failure(number));
        }
        domains += 1;
    }
    assert!((4..10).contains(&domains), "{domains}");
    let bound = |tallies: &Tallies| {
        let table = tallies.known.lock();
        let sum: usize = table.tallies.iter().map(|(key, tally)| tally.octets(key)).sum();
        let counted = table.tallies.octets();
        assert!(counted == sum && sum <= 100 * 1024, "{counted} is not {sum}");
        table.tallies.len()
    };
    let count = bound(&tallies);
    // What is known goes on to be counted, in the sum at least.
    assert_eq!(note("0.example", failure(77)), all(false));
    assert_eq!(note("0.example", Ok(())), all(false));
    let today = day(clock.now());
    let policy = tallies.tally(today, "0.example").unwrap().policies.remove(0);
    assert_eq!((policy.good, policy.bad, policy.failures.len()), (1, 51, 50));
    tallies.save(&store).await.unwrap();
    // A report that was tried in vain is given up for what is new, in the store too.
    let tally = tallies.tally(today, "1.example").unwrap();
    tallies.again(today, "1.example".to_owned(), Tally { tries: 1, ..tally.clone() });
    assert_eq!(note("new.example", failure(0)), Noted { has_room: true, given_up: 1 });
    tallies.again(today, "1.example".to_owned(), Tally { tries: 2, ..tally });
    assert!(tallies.tally(today, "1.example").is_none(), "it is not back once it has been sent in vain again");
    assert_eq!(bound(&tallies), count);
    tallies.save(&store).await.unwrap();
    let after = Tallies::default();
    after.load(&store, clock.now(), 1000).await.unwrap();
    assert_eq!(bound(&after), count);
    assert!(after.tally(today, "1.example").is_none() && after.tally(today, "new.example").is_some());
    clock.advance(96 * HOUR);
    after.forget(clock.now());
    assert_eq!((bound(&after), after.known.lock().tallies.octets()), (0, 0));
}

#[test]
fn one_connection_adds_no_more_than_is_kept_free() {
    let long = |count: usize, size: usize| vec!["a".repeat(size); count];
    let mut worst = 0;
    for (strings, mx) in [(long(STRINGS, 1), long(STRINGS, 1)), (long(4, 1000), long(STRINGS, 1)), (long(STRINGS, 30), long(STRINGS, 30))] {
        let host = "h".repeat(255);
        let seen = Seen { domain: "d".repeat(255), strings, mx, host, kind: PolicyKind::Sts }.bounded();
        let mut tally = Tally { route: "r".repeat(255), ..Tally::default() };
        tally.note(&seen, Err(Fault { result: "certificate-host-mismatch", from: None, to: None, reason: "r".repeat(5000) }), true);
        worst = worst.max(tally.octets(&(0, seen.domain)));
    }
    assert!(worst <= MOST_ADDED, "{worst}");
}

#[test]
fn nobody_gets_more_reports_on_a_day_than_the_limit() {
    let (tallies, now) = (Tallies::default(), Timestamp::from_millis(1_800_000_000_000));
    for number in 0..20 {
        assert!(tallies.may_tell("victim@x.example", (7, &format!("{number}.b.example")), 20, now));
    }
    assert!(!tallies.may_tell("Victim@x.example", (7, "more.b.example"), 20, now));
    assert!(tallies.may_tell("victim@x.example", (7, "0.b.example"), 20, now), "it is tried again");
    assert!(tallies.may_tell("other@x.example", (7, "more.b.example"), 20, now));
    assert!(tallies.may_tell("victim@x.example", (7, "more.b.example"), 20, now.plus(24 * HOUR)));
}
