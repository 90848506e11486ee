#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use serde_json::json;

use super::dry_run::{Content, DryResult};
use super::*;
use crate::chain::Chains;
use crate::chain::test_store::CommitLog;
use crate::clock::Timestamp;
use crate::config::unit::ByteSize;
use crate::config::{self, Bounces, ChainStep, LoginLimits, OnError, When};
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::Composition;
use crate::mail::envelope::{Envelope, ForwardPath, ReversePath};
use crate::mail::message_id::MessageId;
use crate::plugin::loading::Plugins;
use crate::plugin::test_guest::{Guest, LIMITS, engine, try_load_with};
use crate::spool::NewEntry;
use crate::submission::{Options, Protocol, Received};

const NOW: Timestamp = Timestamp::from_millis(1_533_081_600_000);
const MESSAGE: &str = "From: a@example.com\r\nDate: x\r\nMessage-ID: <x@y>\r\nSubject: =?utf-8?Q?J=C3=B6rg?=\r\n\r\nbody\r\n";

/// Octets of a copy.
const RENDERED_SIZE: u64 = 20_000;

async fn intake(guests: Vec<(&str, Guest, OnError)>) -> Intake {
    let engine = engine();
    let mut plugins = Plugins::new();
    let mut steps = Vec::new();
    for (name, guest, on_error) in guests {
        let plugin = try_load_with(&engine, name, &guest.component(), LIMITS, on_error).await.unwrap();
        plugins.insert(name.into(), Arc::new(plugin));
        let (options, place) = (serde_json::Map::new(), String::new());
        steps.push(ChainStep { plugin: name.into(), when: When::Always, locked: false, options, place });
    }
    let chains = BTreeMap::from([("c".into(), config::Chain { steps })]);
    let chains = ChainRegistry::new(Chains::build(&chains, plugins, RENDERED_SIZE).unwrap());
    let store = Arc::new(CommitLog::default());
    let (clock, recorder) = (Clock::manual(NOW), Recorder::new(store.clone()));
    let links = LinkSigner::new([0; 32], "https://t.example.com".to_owned());
    Intake::new(IntakeParts {
        clock: clock.clone(),
        entropy: Entropy::seeded(1),
        spool: Spool::new(store, clock.clone()),
        recorder: recorder.clone(),
        chains: chains.clone(),
        renderer: Renderer::new(chains, links, recorder, clock.clone()),
        metrics: Metrics::new(),
        rates: Arc::new(Rates::new(clock)),
        settings: IntakeSettings {
            hostname: Domain::parse("mail.example.com").unwrap(),
            routes_by_domain: BTreeSet::from(["direct".into()]),
            tags: 100,
        },
    })
}

fn submission(message: &str, recipients: &[&str], chain: Option<&str>) -> Submission {
    let mut envelope = Envelope::new(ReversePath::parse("a@example.com").unwrap());
    envelope.forward_paths = recipients.iter().map(|text| ForwardPath::new(EmailAddress::parse(text).unwrap())).collect();
    let login = Login {
        name: "news".into(),
        username: None,
        password: None,
        token: None,
        senders: Vec::new(),
        chain: chain.map(Arc::from),
        route: "direct".into(),
        limits: LoginLimits { messages_per_hour: None, recipients_per_message: 3, message_size: ByteSize(10_000) },
        bounces: Bounces::Return,
    };
    Submission {
        id: MessageId::from_bytes([7; 16]),
        login: Arc::new(login),
        received: Received {
            at: NOW,
            peer: "192.0.2.1".parse().unwrap(),
            helo: Some("client.example".to_owned()),
            protocol: Protocol::Esmtpsa,
        },
        envelope,
        content: Bytes::copy_from_slice(message.as_bytes()),
        options: Options::default(),
    }
}

async fn compose(intake: &Intake, submission: &Submission) -> Result<Composed, Refusal> {
    let facts = HeaderFacts::read(&submission.content);
    check(submission, &facts)?;
    let settings = intake.0.settings();
    let content = trace_header::prepend(submission, &facts, &settings.hostname);
    intake.0.compose(submission, &facts, content, &settings, &mut Trace::default()).await
}

async fn kept(intake: &Intake, submission: &Submission) -> NewEntry {
    match compose(intake, submission).await {
        Ok(Composed::Kept(entry)) => *entry,
        Ok(Composed::Discarded { plugin, reason }) => panic!("discarded by {plugin}: {reason}"),
        Err(refusal) => panic!("{refusal}"),
    }
}

/// The final octets of an entry without slots.
fn octets(entry: &NewEntry) -> String {
    assert!(entry.entry.plan.is_plain());
    let composition = Composition::decode(entry.body.clone()).unwrap();
    String::from_utf8(composition.fill(&[0; 11], &[], &mut |_| String::new()).to_vec()).unwrap()
}

const TRACE: &str = "Received: from client.example ([192.0.2.1])\r\n\tby mail.example.com with ESMTPSA id 0704R70A1H18GC3GR70W40G72GE\r\n";

fn trace(submission: &Submission, one: &str) -> String {
    let id = submission.id;
    let first = TRACE.replace("0704R70A1H18GC3GR70W40G72GE", &id.to_string());
    format!("{first}{one};\r\n\tWed, 1 Aug 2018 00:00:00 +0000\r\n").replace("\r\n;", ";")
}

#[tokio::test]
async fn a_plain_message_keeps_every_octet_behind_its_trace() {
    let intake = intake(Vec::new()).await;
    let one = submission(MESSAGE, &["b@one.example"], None);
    let entry = kept(&intake, &one).await;
    assert_eq!(octets(&entry), format!("{}{MESSAGE}", trace(&one, "\tfor <b@one.example>")));
    assert_eq!((entry.original, entry.held, entry.entry.subject.as_str()), (None, None, "Jörg"));
    // With an empty chain too; and nobody hears of the others.
    let many = submission(MESSAGE, &["b@one.example", "c@two.example", "d@one.example"], Some("c"));
    let entry = kept(&intake, &many).await;
    assert_eq!(octets(&entry), format!("{}{MESSAGE}", trace(&many, "")));
    let queues: Vec<_> = entry.copies.iter().map(|(_, queue)| &**queue).collect();
    assert_eq!(queues, ["direct/one.example", "direct/two.example", "direct/one.example"]);
    let EventKind::Accepted { recipient_count: 3, protocol, .. } = &entry.events[0].kind else { panic!("{:?}", entry.events) };
    assert_eq!(protocol, "esmtpsa");
}

#[tokio::test]
async fn what_is_missing_is_added() {
    let intake = intake(Vec::new()).await;
    let bare = submission("Subject: x\r\n\r\nbody\r\n", &["b@one.example"], None);
    let id = bare.id;
    let text = octets(&kept(&intake, &bare).await);
    let added = format!("Date: Wed, 1 Aug 2018 00:00:00 +0000\r\nMessage-ID: <{id}@mail.example.com>\r\nSubject: x\r\n\r\nbody\r\n");
    assert!(text.ends_with(&added), "{text}");
    // A message without any header is all body.
    let text = octets(&kept(&intake, &submission("just words\r\nand: more\r\n", &["b@one.example"], None)).await);
    assert!(text.ends_with("example.com>\r\n\r\njust words\r\nand: more\r\n"), "{text}");
    let text = octets(&kept(&intake, &submission("\r\nbody\r\n", &["b@one.example"], None)).await);
    assert!(text.ends_with("example.com>\r\n\r\nbody\r\n"), "{text}");
}

#[tokio::test]
async fn a_client_cannot_write_the_trace() {
    let intake = intake(Vec::new()).await;
    let mut odd = submission(MESSAGE, &["b@one.example"], None);
    odd.received.helo = Some("x\r\nBcc: y (comment".to_owned());
    odd.received.peer = "2001:db8::1".parse().unwrap();
    let text = octets(&kept(&intake, &odd).await);
    assert!(text.starts_with("Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"), "{text}");
    odd.envelope.smtputf8 = true;
    odd.received.peer = "::ffff:192.0.2.9".parse().unwrap();
    let text = octets(&kept(&intake, &odd).await);
    assert!(text.starts_with("Received: from [192.0.2.9] ([192.0.2.9])\r\n\tby mail.example.com with UTF8SMTPSA id"), "{text}");
}

#[tokio::test]
async fn limits_are_kept() {
    let intake = intake(Vec::new()).await;
    let refused = |message: String, recipients: Vec<&'static str>| {
        let intake = &intake;
        async move { compose(intake, &submission(&message, &recipients, None)).await.err() }
    };
    let four = vec!["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(refused(MESSAGE.to_owned(), four).await, Some(Refusal::TooManyRecipients { limit: 3 }));
    let large = format!("{MESSAGE}{}", "x".repeat(10_000));
    assert_eq!(refused(large, vec!["a@x.example"]).await, Some(Refusal::MessageTooLarge { limit: 10_000 }));
    let hops = |count| format!("{}{MESSAGE}", "Received: from a by b;\r\n now\r\n".repeat(count));
    assert!(matches!(refused(hops(HOPS), vec!["a@x.example"]).await, Some(Refusal::InvalidContent(_))));
    assert_eq!(refused(hops(HOPS - 1), vec!["a@x.example"]).await, None);
    assert!(matches!(refused(MESSAGE.to_owned(), Vec::new()).await, Some(Refusal::InvalidContent(_))));
}

#[test]
fn every_from_counts() {
    let from = |message: &str| {
        let facts = HeaderFacts::read(message.as_bytes());
        facts.senders().into_iter().map(|address| address.map(|a| a.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(from("From: A <a@x.example>\r\nSubject: s\r\nfrom: b@y.example,\r\n c@z.example\r\n\r\nFrom: d@d.example\r\n").len(), 3);
    assert_eq!(from("Subject: s\r\n\r\n"), []);
    assert!(from("From: not an address\r\n\r\n").iter().all(Result::is_err));
}

/// Adds `X-Copy` with the recipient's address, once for each.
fn copying(verdict: &str) -> (&'static str, Guest, OnError) {
    let mut guest = Guest::new("copy");
    let field = guest.text("X-Copy");
    let body = format!(
        "(call $slot (local.get $message) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
        (drop (call $add_header (local.get $message) {field} (i32.load (i32.const 520)) (i32.load (i32.const 524))))
        {verdict}"
    );
    ("copy", guest.recipient("(call $answer (i32.const 1))", body), OnError::Reject)
}

const NEXT: &str = "(call $verdict (i32.const 0))";

#[tokio::test]
async fn the_only_copy_takes_the_place_of_the_plan() {
    let intake = intake(vec![copying(NEXT)]).await;
    let one = submission(MESSAGE, &["b@one.example"], Some("c"));
    let entry = kept(&intake, &one).await;
    let with_trace = format!("{}{MESSAGE}", trace(&one, "\tfor <b@one.example>"));
    assert_eq!(octets(&entry), format!("X-Copy: b@one.example\r\n{with_trace}"));
    assert_eq!(entry.original.unwrap(), with_trace.as_bytes());
    let EventKind::Accepted { plugins, .. } = &entry.events[0].kind else { panic!("{:?}", entry.events) };
    assert_eq!((plugins[0].plugin.as_str(), plugins[0].stage.as_str()), ("copy", "recipient"));
}

#[tokio::test]
async fn several_copies_are_rendered_later_with_their_own_data() {
    let intake = intake(vec![copying(NEXT)]).await;
    let mut two = submission(MESSAGE, &["b@one.example", "c@one.example"], Some("c"));
    two.options.recipient_variables.insert(1, json!({"n": 1}).as_object().unwrap().clone());
    let entry = kept(&intake, &two).await;
    assert_eq!(entry.entry.plan.steps.len(), 1);
    let variables: Vec<_> = entry.copies.iter().map(|(copy, _)| copy.variables.as_str()).collect();
    assert_eq!(variables, ["", r#"{"n":1}"#]);
    let dry = intake.dry_run(two, Content::Submitted).await;
    let DryResult::Kept { copies, .. } = dry.result else { panic!("{:?}", dry.result) };
    for copy in &copies {
        let content = copy.content.as_ref().unwrap().as_ref().unwrap();
        assert!(content.starts_with(format!("X-Copy: {}\r\n", copy.address).as_bytes()));
        assert_eq!((copy.steps.len(), copy.steps[0].after == *content), (1, true));
    }
}

#[tokio::test]
async fn a_copy_that_cannot_be_made_is_an_answer_and_not_a_bounce() {
    let two = || submission(MESSAGE, &["b@one.example", "c@one.example"], Some("c"));
    let trapping = intake(vec![copying("(unreachable)")]).await;
    let refusal = compose(&trapping, &two()).await.err();
    assert_eq!(refusal, Some(Refusal::PluginFailed { plugin: "copy".to_owned(), permanent: true }));
    let dry = trapping.dry_run(two(), Content::Submitted).await;
    assert_eq!(dry.failures.len(), 2);
    // What a plugin decides about one recipient is no decision about the others.
    let discarding = "(call $saying (i32.const 4) (i32.const 0) (i32.const 0))";
    let entry = kept(&intake(vec![copying(discarding)]).await, &two()).await;
    assert_eq!(entry.copies.len(), 2);
    let one = submission(MESSAGE, &["b@one.example"], Some("c"));
    assert!(matches!(compose(&intake(vec![copying(discarding)]).await, &one).await, Ok(Composed::Discarded { .. })));
}

#[tokio::test]
async fn a_copy_that_would_be_too_large_is_refused_before_it_is_accepted() {
    let mut guest = Guest::new("greet");
    let (field, name) = (guest.text("X-Greet"), guest.text("name"));
    let body = format!(
        "(call $slot (local.get $message) (i32.const 1) {name} (i32.const 0) (i32.const 0) (i32.const 512))
        (drop (call $add_header (local.get $message) {field} (i32.load (i32.const 520)) (i32.load (i32.const 524))))
        (call $verdict (i32.const 0))"
    );
    let intake = intake(vec![("greet", guest.submit(body), OnError::Defer)]).await;
    // The second is near enough to be looked at closely, and fits.
    for (words, fits) in [(10, true), (7_500, true), (12_500, false)] {
        let mut two = submission(MESSAGE, &["b@one.example", "c@one.example"], Some("c"));
        two.options.variables = json!({"name": "all"}).as_object().unwrap().clone();
        two.options.recipient_variables.insert(1, json!({"name": "x ".repeat(words)}).as_object().unwrap().clone());
        match compose(&intake, &two).await {
            Ok(_) => assert!(fits, "{words}"),
            Err(refusal) => assert_eq!((fits, refusal), (false, Refusal::MessageTooLarge { limit: RENDERED_SIZE })),
        }
    }
}

#[tokio::test]
#[expect(clippy::wildcard_enum_match_arm, reason = "no other event is made here")]
async fn holds_and_failures_are_told() {
    let mut guest = Guest::new("hold");
    let text = guest.text("look");
    let hold = ("hold", guest.submit(format!("(call $saying (i32.const 5) {text})")), OnError::Defer);
    let trap = ("trap", Guest::new("trap").submit("(unreachable)"), OnError::Skip);
    let entry = kept(&intake(vec![trap, hold]).await, &submission(MESSAGE, &["b@one.example"], Some("c"))).await;
    assert_eq!(entry.held.as_deref(), Some("look"));
    let kinds: Vec<_> = entry
        .events
        .iter()
        .map(|event| match &event.kind {
            EventKind::PluginFailed { plugin, .. } => plugin.as_str(),
            EventKind::Accepted { .. } => "accepted",
            EventKind::Held { by, .. } => by.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["trap", "accepted", "hold"]);
}

#[tokio::test]
async fn plugins_may_leave_no_recipient() {
    let guest = Guest::new("none")
        .submit("(call $remove_recipient (local.get $message) (i32.const 0) (i32.const 512)) (call $verdict (i32.const 0))");
    let intake = intake(vec![("none", guest, OnError::Defer)]).await;
    let composed = compose(&intake, &submission(MESSAGE, &["b@one.example"], Some("c"))).await;
    assert!(matches!(composed, Ok(Composed::Discarded { plugin, .. }) if plugin == "none"));
}

#[tokio::test]
async fn a_chain_that_is_gone_defers() {
    let intake = intake(Vec::new()).await;
    let refusal = compose(&intake, &submission(MESSAGE, &["b@one.example"], Some("gone"))).await.err();
    assert_eq!(refusal, Some(Refusal::PluginFailed { plugin: "gone".to_owned(), permanent: false }));
}
