#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::dry_run::{Content, DryResult};
use super::*;
use crate::chain::Chains;
use crate::chain::rendering::RenderError;
use crate::chain::test_store::CommitLog;
use crate::clock::Timestamp;
use crate::config::unit::ByteSize;
use crate::config::{self, Access, Bounces, ChainStep, LoginLimits, OnError, SenderPattern, Treatment, When};
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::{Composition, Draft};
use crate::mail::envelope::{Envelope, ForwardPath, ReversePath};
use crate::mail::message_id::MessageId;
use crate::plugin::loading::Plugins;
use crate::plugin::test_guest::{Guest, LIMITS, engine, try_load_with};
use crate::spool::NewEntry;
use crate::submission::{Options, Protocol, Received};

const NOW: Timestamp = Timestamp::from_millis(1_533_081_600_000);
pub(super) const MESSAGE: &str = "From: a@example.com\r\nDate: x\r\nMessage-ID: <x@y>\r\nSubject: =?utf-8?Q?J=C3=B6rg?=\r\n\r\nbody\r\n";

/// Octets of a copy.
const RENDERED_SIZE: u64 = 20_000;

pub(super) async fn intake(guests: Vec<(&str, Guest, OnError)>) -> Intake {
    let engine = engine();
    let mut plugins = Plugins::new();
    let mut steps = Vec::new();
    for (name, guest, on_error) in guests {
        let plugin = try_load_with(&engine, name, &guest.component(), LIMITS, on_error).await.unwrap();
        plugins.insert(name.into(), Arc::new(plugin));
        let (options, place) = (serde_json::Map::new(), String::new());
        steps.push(ChainStep { plugin: name.into(), when: When::Always, locked: false, share: None, shadow: None, options, place });
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
        renderer: Renderer::new(chains, links),
        metrics: Metrics::new(),
        rates: Arc::new(Rates::new(clock)),
        shadows: crate::chain::shadow::queue(ByteSize::mib(1)).0,
        domains: None,
        submissions: 2,
        settings: IntakeSettings {
            hostname: Domain::parse("mail.example.com").unwrap(),
            routes: BTreeMap::from([("direct".into(), direct())]),
            sources: Sources::default(),
            header_size: ByteSize(5_000),
            tags: 100,
            takes_bounces: false,
            spam_filters: BTreeSet::new(),
        },
    })
}

fn direct() -> Route {
    Route::Mx(config::MxRoute { tls: config::TlsLevel::None, port: 25, allow_private: false, ..config::MxRoute::default() })
}

pub(super) fn submission(message: &str, recipients: &[&str], chain: Option<&str>) -> Submission {
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
        treatment: Treatment::default(),
        unverified_senders: None,
        suppress: Vec::new(),
        bounce_management: None,
        access: Access::default(),
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
        binary: None,
        options: Options::default(),
        checked: None,
    }
}

pub(super) async fn compose(intake: &Intake, submission: &Submission) -> Result<Composed, Refusal> {
    let settings = intake.0.settings();
    let facts = settings.facts(submission);
    check(submission, &facts, &settings)?;
    intake.0.compose(submission, &facts, &settings, &mut Trace::default()).await
}

pub(super) async fn kept(intake: &Intake, submission: &Submission) -> NewEntry {
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
    let text = octets(&kept(&intake, &submission("From now on\r\nwords\r\n\r\nand: more\r\n", &["b@one.example"], None)).await);
    assert!(text.ends_with("example.com>\r\n\r\nFrom now on\r\nwords\r\n\r\nand: more\r\n"), "{text}");
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
    assert_eq!(refused(hops(HOPS), vec!["a@x.example"]).await, Some(Refusal::Loop { hops: HOPS }));
    assert_eq!(refused(hops(HOPS - 1), vec!["a@x.example"]).await, None);
    assert!(matches!(refused(MESSAGE.to_owned(), Vec::new()).await, Some(Refusal::InvalidContent(_))));
    let header = |size: usize| format!("A: {}\r\n\r\nbody\r\n", "x".repeat(size - 5));
    assert_eq!(refused(header(5_000), vec!["a@x.example"]).await, None);
    assert_eq!(refused(header(5_001), vec!["a@x.example"]).await, Some(Refusal::HeaderTooLarge { limit: 5_000 }));
    let fields = |count| format!("{}\r\n", "A:\r\n".repeat(count));
    assert_eq!(refused(fields(FIELDS), vec!["a@x.example"]).await, None);
    assert!(matches!(refused(fields(FIELDS + 1), vec!["a@x.example"]).await, Some(Refusal::InvalidContent(_))));
}

#[tokio::test]
async fn a_line_that_is_no_field_is_refused() {
    let intake = intake(Vec::new()).await;
    for message in [
        "From: a@example.com\r\njunk\r\n \r\nFrom: b@y.example\r\n\r\nbody\r\n",
        "\u{feff}From: a@example.com\r\nSubject: x\r\n\r\nbody\r\n",
        " folded: first\r\nFrom: a@example.com\r\n\r\n",
        "From a@example.com now\r\njunk\r\nFrom: a@example.com\r\n\r\n",
        "just words\r\nand: more\r\n",
    ] {
        let refusal = compose(&intake, &submission(message, &["b@one.example"], None)).await.err();
        assert!(matches!(refusal, Some(Refusal::InvalidContent(_))), "{message:?}: {refusal:?}");
    }
}

#[tokio::test]
async fn the_envelope_of_a_mailbox_file_goes() {
    let intake = intake(Vec::new()).await;
    for first in ["From a@example.com Wed Aug  1 00:00:00 2018\r\n", ">From a@example.com\r\n"] {
        let one = submission(&format!("{first}{MESSAGE}"), &["b@one.example"], None);
        let text = octets(&kept(&intake, &one).await);
        assert_eq!(text, format!("{}{MESSAGE}", trace(&one, "\tfor <b@one.example>")));
    }
    // With a blank before its colon, this is the field.
    let one = submission("From : a@example.com\r\n\r\n", &["b@one.example"], None);
    assert!(octets(&kept(&intake, &one).await).contains("\r\nFrom : a@example.com\r\n"));
}

#[tokio::test]
async fn what_is_not_for_the_recipient_is_left_out() {
    let header = "bcc: x@one.example,\r\n y@one.example\r\nA: 1\r\nReturn-Path: <z@one.example>\r\nX-SMTPeter-Tags: t\r\nResent-Bcc: x@y\r\nB: 2\r\n";
    let message = format!("{header}{MESSAGE}");
    let left = format!("A: 1\r\nB: 2\r\n{MESSAGE}");
    // Without a chain, with one that is empty, and with one that has plugins.
    for (guests, chain) in
        [(Vec::new(), None), (Vec::new(), Some("c")), (vec![("n", Guest::new("n").submit(NEXT), OnError::Defer)], Some("c"))]
    {
        let intake = intake(guests).await;
        let one = submission(&message, &["b@one.example"], chain);
        let text = octets(&kept(&intake, &one).await);
        assert_eq!(text, format!("{}{left}", trace(&one, "\tfor <b@one.example>")), "{chain:?}");
    }
}

/// A login that may only send as somebody at example.com.
fn restricted(message: &str, recipients: &[&str], chain: Option<&str>) -> Submission {
    let mut submission = submission(message, recipients, chain);
    let mut login = (*submission.login).clone();
    login.senders = vec![SenderPattern::Domain(Domain::parse("example.com").unwrap())];
    submission.login = Arc::new(login);
    submission
}

#[tokio::test]
async fn every_from_counts() {
    let intake = intake(Vec::new()).await;
    for (header, is_taken) in [
        ("From: A <a@example.com>, b@EXAMPLE.com", true),
        ("From: \"john doe\"@example.com", true),
        ("From: Us: a@example.com;", true),
        ("From: A <a@example.com>\r\nSubject: s\r\nfrom: b@y.example", false),
        ("From: a@example.com,\r\n b@y.example", false),
        ("From: a@example.com\r\n \r\nFrom: b@y.example", false),
        ("From: \"CEO\" <ceo@y.example>: <a@example.com>;", false),
        ("From: ceo@y.example: a@example.com;", false),
        ("From: ceo@y.example (x) .example.com", false),
        ("From: not an address", false),
        ("Subject: s", false),
    ] {
        let refusal = compose(&intake, &restricted(&format!("{header}\r\n\r\n"), &["b@one.example"], None)).await.err();
        assert_eq!(refusal.is_none(), is_taken, "{header}: {refusal:?}");
    }
    let long = format!("From: {}\r\n\r\n", "not an address".repeat(100));
    let Some(Refusal::SenderNotAllowed { address }) = compose(&intake, &restricted(&long, &["b@one.example"], None)).await.err() else {
        panic!("taken")
    };
    assert_eq!(address.len(), LONGEST_ADDRESS);
}

/// Adds another From: once for all recipients, or for each.
fn renaming(from: &'static str, per_recipient: bool) -> Vec<(&'static str, Guest, OnError)> {
    let mut guest = Guest::new("rename");
    let (name, value) = (guest.text("From"), guest.text(from));
    let body = format!("(drop (call $add_header (local.get $message) {name} {value})) {NEXT}");
    let guest = if per_recipient { guest.recipient("(call $answer (i32.const 1))", body) } else { guest.submit(body) };
    vec![("rename", guest, OnError::Defer)]
}

#[tokio::test]
async fn from_is_checked_again_where_plugins_change_it() {
    let two = |login: fn(&str, &[&str], Option<&str>) -> Submission| login(MESSAGE, &["b@one.example", "c@one.example"], Some("c"));
    let evil = intake(renaming("b@y.example", false)).await;
    let refusal = compose(&evil, &two(restricted)).await.err();
    assert_eq!(refusal, Some(Refusal::SenderNotAllowed { address: "b@y.example".to_owned() }));
    assert!(kept(&evil, &two(submission)).await.entry.plan.senders.is_empty());
    let good = intake(renaming("b@example.com", false)).await;
    assert!(kept(&good, &two(restricted)).await.entry.plan.senders.is_empty());

    let evil = intake(renaming("b@y.example", true)).await;
    let one = restricted(MESSAGE, &["b@one.example"], Some("c"));
    let Some(Refusal::Plugin { code: 550, enhanced, .. }) = compose(&evil, &one).await.err() else { panic!("taken") };
    assert_eq!(enhanced.to_string(), "5.7.1");
    let good = intake(renaming("b@example.com", true)).await;
    let entry = kept(&good, &two(restricted)).await.entry;
    assert_eq!(entry.plan.senders, restricted("", &[], None).login.senders);
}

/// Writes a variable of the recipient's data into From.
fn naming_by_slot() -> Vec<(&'static str, Guest, OnError)> {
    let mut guest = Guest::new("slot");
    let (name, variable) = (guest.text("From"), guest.text("from"));
    let body = format!(
        "(call $slot (local.get $message) (i32.const 1) {variable} (i32.const 0) (i32.const 0) (i32.const 512))
        (drop (call $add_header (local.get $message) {name} (i32.load (i32.const 520)) (i32.load (i32.const 524))))
        {NEXT}"
    );
    vec![("slot", guest.submit(body), OnError::Defer)]
}

#[tokio::test]
async fn a_from_that_differs_by_recipient_is_checked_for_each() {
    let intake = intake(naming_by_slot()).await;
    let with = |values: [&str; 2]| {
        let mut two = restricted(MESSAGE, &["b@one.example", "c@one.example"], Some("c"));
        for (place, value) in (0..).zip(values) {
            two.options.recipient_variables.insert(place, json!({ "from": value }).as_object().unwrap().clone());
        }
        two
    };
    // Of several copies, each is refused when its turn comes.
    let mut one = with(["x@y.example", ""]);
    one.envelope.forward_paths.truncate(1);
    let Some(Refusal::Plugin { code: 550, .. }) = compose(&intake, &one).await.err() else { panic!("taken") };
    let dry = intake.dry_run(with(["a@example.com", "x@y.example"]), Content::Submitted).await;
    let DryResult::Kept { copies, .. } = dry.result else { panic!("{:?}", dry.result) };
    assert!(copies[0].content.as_ref().unwrap().is_ok());
    assert!(matches!(copies[1].content, Some(Err(RenderError::Rejected { code: 550, .. }))), "{copies:?}");
    let mut tagged = with(["a@example.com", "x@y.example"]);
    tagged.options.tags = vec![crate::mail::tag::Tag::parse("t").unwrap()];
    let entry = kept(&intake, &tagged).await;
    assert_eq!((entry.copies.len(), entry.entry.plan.senders.len(), entry.entry.tags.len()), (2, 1, 1));
}

proptest! {
    /// Whatever is handed in: plugins see the fields that the look over the header saw, and nothing of the content is lost but what is dropped.
    #[test]
    fn the_look_over_the_header_is_that_of_the_draft(
        content in "((From|To|Bcc|X-SMTPeter-A|Date|Return-Path) ?: ?[a@x:;<> ]{0,6}(\r\n|\r\n [a:]{0,3}\r\n)|From a\r\n|[a: ]{0,3}\r\n){0,8}",
    ) {
        let facts = HeaderFacts::read(content.as_bytes(), 1_000, false);
        if facts.flaw.is_some() {
            return Ok(());
        }
        let submission = submission(&content, &["b@one.example"], None);
        let hostname = Domain::parse("mail.example.com").unwrap();
        let whole = prepend(&submission, &submission.content, &facts, &hostname, true);
        let draft = Draft::new(whole.clone());
        let values: Vec<_> = draft.header_all_raw("From").collect();
        prop_assert_eq!(values, facts.from.clone());
        let names = draft.header_names();
        let seen = names.iter().filter(|name| !["received", "message-id"].contains(&name.to_ascii_lowercase().as_str())).count();
        let hidden = |name: &String| ["bcc", "return-path"].contains(&name.to_ascii_lowercase().as_str());
        prop_assert!(!names.iter().any(hidden));
        prop_assert!(seen <= facts.fields + 1);
        let stripped = prepend(&submission, &submission.content, &facts, &hostname, false);
        prop_assert!(!Draft::new(stripped).header_names().iter().any(|name| name.starts_with("X-SMTPeter")));
        if let Some(end) = content.find("\r\n\r\n") {
            prop_assert!(whole.ends_with(&content.as_bytes()[end..]));
        }
        if !content.contains("Bcc") && !content.contains("Return-Path") && !content.contains("From a") {
            prop_assert!(whole.ends_with(content.as_bytes()));
        }
    }
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
async fn the_first_recipient_does_not_decide_for_the_others() {
    let refusing = |code: u16, enhanced: &str| {
        let mut guest = Guest::new("policy");
        let (enhanced, text) = (guest.text(enhanced), guest.text("no"));
        let body = format!("(call $reply (i32.const {}) (i32.const {code}) {enhanced} {text})", if code < 500 { 3 } else { 2 });
        ("policy", guest.recipient("(call $answer (i32.const 1))", body), OnError::Defer)
    };
    for (code, enhanced, for_all) in [(550, "5.7.1", false), (450, "4.2.1", false), (554, "5.6.0", true), (451, "4.6.0", true)] {
        let intake = intake(vec![refusing(code, enhanced)]).await;
        for (recipients, refused) in [(&["b@one.example"][..], true), (&["b@one.example", "c@one.example"][..], for_all)] {
            match compose(&intake, &submission(MESSAGE, recipients, Some("c"))).await {
                Ok(Composed::Kept(entry)) => {
                    assert!(!refused, "{code} {enhanced}");
                    assert_eq!((entry.copies.len(), entry.entry.plan.steps.len()), (2, 1), "delivery asks the plugin again");
                }
                Err(Refusal::Plugin { code: said, .. }) => assert_eq!((refused, said), (true, code), "{enhanced}"),
                Ok(Composed::Discarded { .. }) | Err(_) => panic!("{code} {enhanced}"),
            }
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
