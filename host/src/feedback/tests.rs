#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use super::*;
use crate::bounce::BounceClass;
use crate::bounce::complaint::ComplaintKind;
use crate::chain::Plan;
use crate::clock::Timestamp;
use crate::config;
use crate::mail::content::Composition;
use crate::mail::envelope::{BodyType, ReversePath};
use crate::mail::slot::Link;
use crate::mail::tag::Tag;
use crate::network::http_client::HttpClient;
use crate::spool::entry::{Copy, Terms};
use crate::store::embedded::Embedded;
use crate::store::{Batch, Store};
use crate::submission::{Protocol, Received};
use crate::telemetry::metric::Metrics;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

struct Bench {
    _folder: tempfile::TempDir,
    feedback: Feedback,
    store: Arc<dyn Store>,
    verp: Verp,
    links: LinkSigner,
    clock: Clock,
}

impl Bench {
    fn new(management: Option<BounceManagement>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, metrics) = (Clock::manual(NOW), Metrics::new());
        let text = format!(
            "[server]\nhostname = \"mail.example.com\"\ndata = \"{}\"\npublic_url = \"http://127.0.0.1\"\n[[listen]]\nkind = \"smtp\"\n\
             address = \"127.0.0.1:0\"\ntls = \"none\"\n[[logins]]\nname = \"news\"\ntoken = \"sha256:{}\"\nroute = \"out\"\nbounces = \"track\"\n\
             [routes.out]\nkind = \"capture\"\n[bounces]\ndomain = \"b.example\"\ncallback_tries = 2\ncallback_private = true\ncallbacks = 8\n",
            folder.path().display(),
            "ab".repeat(32),
        );
        let mut config = config::parse(&text, "test.toml", std::path::Path::new("."), &|_| None).unwrap();
        config.logins[0].bounce_management = management;
        let store: Arc<dyn Store> =
            Arc::new(Embedded::open(folder.path(), &config.store, clock.clone(), Entropy::seeded(1), metrics.clone()).unwrap());
        let (verp, links) = (Verp::new([7; 32], config.returns.period), LinkSigner::new([8; 32], "https://t.example.com".into()));
        let feedback = Feedback::new(FeedbackParts {
            spool: Spool::new(store.clone(), clock.clone()),
            index: SearchIndex::open(&folder.path().join("index")).unwrap(),
            logins: Logins::new(config.logins.clone(), &config.authentication, &Entropy::seeded(2), &clock, metrics.clone()),
            verp: verp.clone(),
            links: links.clone(),
            metrics,
            clock: clock.clone(),
            entropy: Entropy::seeded(3),
            settings: FeedbackSettings::new(&config),
        });
        Self { _folder: folder, feedback, store, verp, links, clock }
    }

    /// A message that was sent, from `desk@example.com`.
    async fn sent(&self) -> CopyId {
        let id = MessageId::new(NOW, &Entropy::seeded(4));
        let entry = Entry {
            id,
            login: "news".into(),
            route: "out".into(),
            received: Received { at: NOW, peer: "192.0.2.9".parse().unwrap(), helo: None, protocol: Protocol::Esmtpsa },
            reverse_path: ReversePath::parse("desk@example.com").unwrap(),
            ret: None,
            envid: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            subject: "Hello".into(),
            tags: vec![Tag::parse("spring").unwrap()],
            recipient_count: 1,
            deliver_before: None,
            options: String::new(),
            plan: Plan::plain("news".into(), id, NOW),
            terms: Terms { track_bounces: true, ..Terms::default() },
        };
        let copy = Copy { address: "anna@receiver.example".parse().unwrap(), notify: None, original: None, variables: String::new() };
        let body = Composition::plain(Bytes::from_static(b"From: <desk@example.com>\r\n\r\nHi\r\n")).encode();
        let new =
            NewEntry { entry, body, original: None, copies: vec![(copy, "out".into())], held: None, not_before: None, events: Vec::new() };
        self.feedback.0.spool.accept(new).await.unwrap();
        CopyId { message: id, recipient: 0 }
    }

    fn address(&self, copy: CopyId, notify: Notify) -> EmailAddress {
        self.verp.address(copy, notify, "news", &Domain::parse("b.example").unwrap(), NOW)
    }

    async fn take(&self, purpose: Purpose, to: &EmailAddress, content: &str) -> Consequences {
        let content = Bytes::from(content.replace('\n', "\r\n"));
        let reverse_path = ReversePath::Null;
        let arrival = Arrival { recipient: to, reverse_path: &reverse_path, at: NOW };
        let mail = ReturnedMail {
            purpose,
            id: MessageId::from_bytes([5; 16]),
            login: &"@inbound".into(),
            content: &content,
            arrival,
            peer: IpAddr::from([192, 0, 2, 1]),
        };
        self.feedback.consequences(mail).await.unwrap()
    }
}

const DSN: &str = include_str!("../bounce/tests/postfix_dsn.eml");
const AWAY: &str = include_str!("../bounce/tests/auto_rfc3834.eml");
const HUMAN: &str = include_str!("../bounce/tests/human.eml");

#[tokio::test]
async fn f6_a_dsn_to_a_return_path_is_a_failure_of_its_copy() {
    let bench = Bench::new(None);
    let copy = bench.sent().await;
    let Consequences { events, follow_up, .. } = bench.take(Purpose::Bounces, &bench.address(copy, Notify::default()), DSN).await;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.message, event.recipient, &*event.login), (copy.message, Some(0), "news"));
    assert_eq!((event.address.as_deref(), event.tags.len()), (None, 1), "what is not known is not believed");
    let EventKind::Bounced { status, class, report, host, .. } = &event.kind else { panic!("{event:?}") };
    assert_eq!((status.as_str(), *class, host.as_str()), ("5.1.1", BounceClass::UnknownUser, "store.receiver.example"));
    assert_eq!(*report, Some(MessageId::from_bytes([5; 16])));
    // It goes on to the sender of the envelope, from nobody, as it came.
    let [forwarded] = &follow_up[..] else { panic!("{follow_up:?}") };
    assert_eq!(forwarded.entry.reverse_path, ReversePath::Null);
    let (to, queue) = &forwarded.copies[0];
    assert_eq!((to.address.to_string().as_str(), to.notify, &**queue), ("desk@example.com", Some(Notify::NEVER), "out"));
    assert!(!forwarded.entry.terms.track_bounces);
    assert!(forwarded.entry.terms.unsigned, "whoever knows the address would get a signature");
}

#[tokio::test]
async fn f4_only_what_notify_allows_goes_on() {
    let bench = Bench::new(None);
    let copy = bench.sent().await;
    let delayed = DSN.replace("Action: failed", "Action: delayed");
    let success = DSN.replace("Action: failed", "Action: delivered").replace("Action: delayed", "Action: delivered");
    let all = Notify { success: true, failure: true, delay: true };
    for (notify, content, kind, goes_on) in [
        (Notify::default(), DSN, "bounced", true),
        (Notify::NEVER, DSN, "bounced", false),
        (Notify::default(), &delayed, "reported", false),
        (Notify { delay: true, ..Notify::NEVER }, &delayed, "reported", true),
        (Notify::default(), &success, "reported", false),
        (all, &success, "reported", true),
        // Answers and what is not known go on also where no DSN is wanted.
        (Notify::NEVER, AWAY, "responded", true),
        (Notify::NEVER, HUMAN, "responded", true),
    ] {
        let consequences = bench.take(Purpose::Bounces, &bench.address(copy, notify), content).await;
        let event = serde_json::to_value(&consequences.events[0]).unwrap();
        assert_eq!((event["event"].as_str(), consequences.follow_up.len() == 1), (Some(kind), goes_on), "{notify:?} {event}");
    }
}

#[tokio::test]
async fn f7_an_answer_that_was_sent_by_itself_is_no_failure() {
    let bench = Bench::new(None);
    let copy = bench.sent().await;
    let consequences = bench.take(Purpose::Bounces, &bench.address(copy, Notify::default()), AWAY).await;
    let [Event { kind: EventKind::Responded { kind, subject, report }, .. }] = &consequences.events[..] else { panic!("{consequences:?}") };
    assert_eq!((*kind, subject.as_str()), (Some(ResponseKind::AutoReply), "Re: Hello"));
    assert_eq!(*report, MessageId::from_bytes([5; 16]), "whose content is the mail itself");
}

#[tokio::test]
async fn f3_what_nobody_signed_is_nobodys() {
    let bench = Bench::new(None);
    let copy = bench.sent().await;
    let address = bench.address(copy, Notify::default());
    let forged: EmailAddress = address.to_string().replace(&address.local_part()[8..12], "aaaa").parse().unwrap();
    let consequences = bench.take(Purpose::Bounces, &forged, DSN).await;
    assert!(consequences.events.is_empty() && consequences.follow_up.is_empty(), "{consequences:?}");
    bench.clock.advance(Duration::from_hours(24 * 40));
    let consequences = bench.take(Purpose::Bounces, &address, DSN).await;
    assert!(consequences.events.is_empty(), "{consequences:?}");
}

#[tokio::test]
async fn f9_complaints_find_their_message_by_what_is_signed_or_by_our_id() {
    let bench = Bench::new(None);
    let copy = bench.sent().await;
    let loop_address: EmailAddress = "fbl@b.example".parse().unwrap();
    let arf = include_str!("../bounce/tests/arf.eml");
    let hidden = include_str!("../bounce/tests/arf_hidden.eml");
    let by_address = arf.replace("bounces+abc@b.example", &bench.address(copy, Notify::default()).to_string());
    let by_link = arf.replace("https://t.example.com/u/abc", &bench.links.url(copy, &Link::Unsubscribe));
    let by_received = hidden.replace("bounces+abc@b.example", &bench.address(copy, Notify::default()).to_string());
    let by_id = hidden.replace("42@mail.example.com", &format!("{}@mail.example.com", copy.message));
    for content in [by_address, by_link, by_received, by_id] {
        let consequences = bench.take(Purpose::Complaints, &loop_address, &content).await;
        let [event] = &consequences.events[..] else { panic!("{content}") };
        assert_eq!((event.message, event.recipient), (copy.message, Some(0)));
        let EventKind::Complained { kind, by, .. } = &event.kind else { panic!("{event:?}") };
        assert!(*kind == ComplaintKind::Abuse && !by.is_empty());
        assert!(consequences.follow_up.is_empty(), "nobody answers a complaint");
    }
    let kind = |kind: &str| {
        arf.replace("bounces+abc@b.example", &bench.address(copy, Notify::default()).to_string()).replace("Feedback-Type: abuse", kind)
    };
    for content in [arf, hidden, &kind("Feedback-Type: not-spam"), &kind("Feedback-Type: auth-failure")] {
        assert!(bench.take(Purpose::Complaints, &loop_address, content).await.events.is_empty());
    }
    // At such an address nothing else has consequences.
    assert!(bench.take(Purpose::Complaints, &loop_address, DSN).await.events.is_empty());
}

#[tokio::test]
async fn f8_management_ignores_forwards_or_calls() {
    let ignoring = Bench::new(Some(BounceManagement::Ignore));
    let copy = ignoring.sent().await;
    let consequences = ignoring.take(Purpose::Bounces, &ignoring.address(copy, Notify::default()), DSN).await;
    assert_eq!((consequences.events.len(), consequences.follow_up.len(), consequences.values.len()), (1, 0, 1));

    let forwarding = Bench::new(Some(BounceManagement::Forward("ops@example.com".parse().unwrap())));
    let copy = forwarding.sent().await;
    // The account's own wish is for everything.
    let consequences = forwarding.take(Purpose::Bounces, &forwarding.address(copy, Notify::NEVER), DSN).await;
    assert_eq!(consequences.follow_up[0].copies[0].0.address.to_string(), "ops@example.com");
}

/// Answers `count` requests with `status`, and gives what was posted.
fn receiver(status: &'static str, count: usize) -> (url::Url, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/bounces", listener.local_addr().unwrap()).parse().unwrap();
    let served = std::thread::spawn(move || {
        let serve = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut octets = [0; 4096];
            loop {
                let length = stream.read(&mut octets).unwrap();
                request.extend_from_slice(&octets[..length]);
                if length == 0 || request.ends_with(b"}") {
                    break;
                }
            }
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8(request).unwrap()
        };
        (0..count).map(serve).collect()
    });
    (url, served)
}

#[tokio::test]
async fn f8_a_call_has_the_fields_of_a_bounce_webhook_and_is_tried_again() {
    let (url, failing) = receiver("500 No", 1);
    let bench = Bench::new(Some(BounceManagement::Callback(url)));
    let copy = bench.sent().await;
    let address = bench.address(copy, Notify::default());
    let Consequences { values, .. } = bench.take(Purpose::Bounces, &address, DSN).await;
    bench.store.commit(Batch { values, ..Batch::default() }).await.unwrap();
    let client = HttpClient::new(None);
    callback::round(&bench.feedback, &client).await.unwrap();
    let request = failing.join().unwrap().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /bounces HTTP/1.1\r\n") && head.contains("application/json"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["id"], copy.message.to_string());
    assert_eq!((body["type"].as_str(), body["time"].as_u64()), (Some("bounce"), Some(1_790_000_000)));
    assert_eq!((body["envelope"].as_str(), body["tags"][0].as_str()), (Some("desk@example.com"), Some("spring")));
    assert_eq!(body["timestamp"].as_str().map(str::len), Some(19));
    // It waits, and is not due at once; the second try is the last.
    let waiting = |bench: &Bench| bench.store.clone();
    assert_eq!(waiting(&bench).values(callback::TABLE, None, NOW, 10).await.unwrap().len(), 1);
    callback::round(&bench.feedback, &client).await.unwrap();
    bench.clock.advance(Duration::from_secs(61));
    callback::round(&bench.feedback, &client).await.unwrap();
    assert_eq!(waiting(&bench).values(callback::TABLE, None, bench.clock.now(), 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn f8_one_mail_on_two_copies_is_two_calls() {
    let bench = Bench::new(Some(BounceManagement::Callback("http://127.0.0.1:9/".parse().unwrap())));
    let first = bench.sent().await;
    for copy in [first, CopyId { recipient: 1, ..first }] {
        let Consequences { values, .. } = bench.take(Purpose::Bounces, &bench.address(copy, Notify::default()), DSN).await;
        bench.store.commit(Batch { values, ..Batch::default() }).await.unwrap();
    }
    assert_eq!(bench.store.values(callback::TABLE, None, NOW, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn f3_a_return_path_cannot_be_used_without_end() {
    let bench = Bench::new(None);
    let copy = bench.sent().await;
    let address = bench.address(copy, Notify::default());
    for number in 0..repetition::REPORTS + 3 {
        let Consequences { events, follow_up, values } = bench.take(Purpose::Bounces, &address, DSN).await;
        let expected = usize::from(number < repetition::REPORTS);
        assert_eq!((events.len(), follow_up.len(), values.len()), (expected, expected, expected), "{number}");
        bench.store.commit(Batch { values, ..Batch::default() }).await.unwrap();
    }
    // Each kind is counted by itself, and so is each copy.
    assert_eq!(bench.take(Purpose::Bounces, &address, AWAY).await.events.len(), 1);
    let other = bench.address(CopyId { recipient: 1, ..copy }, Notify::default());
    assert_eq!(bench.take(Purpose::Bounces, &other, DSN).await.events.len(), 1);
}

#[tokio::test]
async fn f8_calls_that_wait_have_a_limit() {
    let bench = Bench::new(Some(BounceManagement::Callback("http://127.0.0.1:9/".parse().unwrap())));
    let copy = bench.sent().await;
    for number in 0..4_u8 {
        let Consequences { values, .. } = bench.take(Purpose::Bounces, &bench.address(copy, Notify::default()), DSN).await;
        let mut values: Vec<_> = values.into_iter().filter(|value| &*value.table == callback::TABLE).collect();
        // One login has a quarter of all places.
        assert_eq!(values.len(), usize::from(number < 2));
        for value in &mut values {
            value.key = [&value.key[..], &[number]].concat().into();
        }
        bench.store.commit(Batch { values, ..Batch::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn g14_a_dmarc_report_is_an_event_with_its_counts() {
    let bench = Bench::new(None);
    let xml = "<feedback><report_metadata><org_name>R</org_name><email>d@r.example</email><report_id>1</report_id><date_range><begin>1764028800</begin>\
               <end>1764115199</end></date_range></report_metadata><policy_published><domain>example.com</domain></policy_published><record><row>\
               <source_ip>192.0.2.1</source_ip><count>7</count><policy_evaluated><dkim>fail</dkim><spf>pass</spf></policy_evaluated></row></record></feedback>";
    let content = format!("Subject: Report Domain: example.com\nContent-Type: text/xml; name=\"a.xml\"\n\n{xml}\n");
    let address: EmailAddress = "dmarc@b.example".parse().unwrap();
    let consequences = bench.take(Purpose::Dmarc, &address, &content).await;
    let [event] = &consequences.events[..] else { panic!("{consequences:?}") };
    let EventKind::DmarcReported { domain, messages, failed_dkim, failed_spf, .. } = &event.kind else { panic!("{event:?}") };
    assert_eq!((domain.as_str(), *messages, *failed_dkim, *failed_spf), ("example.com", 7, 7, 0));
    assert_eq!(event.message, MessageId::from_bytes([5; 16]));
    let key = dmarc::DmarcKey { date: "2025-11-25".into(), from: "r.example".into(), domain: "example.com".into() };
    assert!(bench.feedback.dmarc_reports().await.unwrap().is_empty());
    bench.store.commit(Batch { values: consequences.values, ..Batch::default() }).await.unwrap();
    assert_eq!(bench.feedback.dmarc_reports().await.unwrap(), std::collections::BTreeSet::from([key.clone()]));
    assert_eq!(bench.feedback.dmarc_xml(&key, 0).await.unwrap(), None, "its mail is gone");
    for refused in [content.replace("<feedback>", "<!DOCTYPE a><feedback>"), "Subject: hi\n\nhello\n".to_owned()] {
        assert!(bench.take(Purpose::Dmarc, &address, &refused).await.events.is_empty());
    }
}
