#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::lease::{Circumstances, CopyFacts, Lease, Occasion};
use super::letter::Letter;
use super::service::desk::Effects;
use super::test_guest::{Guest, LIMITS, engine, try_load, try_load_with};
use super::verdict::{Failure, Verdict};
use super::{Call, Plugin, Stage};
use crate::clock::Timestamp;
use crate::config::unit::ByteSize;
use crate::config::{CallLimits, OnError, PluginLimits, PluginRuntime};
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::Draft;
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::loading::LoadError;
use crate::telemetry::metric::Metrics;

mod compatibility;
mod loading;
mod services;
mod whole_message;

const MESSAGE: &[u8] = b"From: a@example.com\r\nSubject: hello\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>hello</p>\r\n";

fn lease() -> Lease {
    let id = MessageId::from_bytes([7; 16]);
    let content = Bytes::from_static(MESSAGE);
    let recipient = ForwardPath::new(EmailAddress::parse("b@example.com").unwrap());
    Lease {
        letter: Letter::new(Draft::new(content.clone()), ReversePath::Null, vec![recipient], Vec::new(), [1; 11]),
        circumstances: Arc::new(Circumstances {
            login: "login".into(),
            deliver_before: None,
            id,
            received: Timestamp::from_millis(1_000),
            context: Vec::new(),
            variables: String::new(),
            original: content,
            recipient_limit: 2,
            links: LinkSigner::new([0; 32], "https://t.example.com".to_owned()),
            effects: Effects::Live,
        }),
        occasion: Occasion::Message,
        direct_slots: false,
    }
}

fn copy_lease(address: &str) -> Lease {
    let facts = CopyFacts {
        copy: CopyId { message: MessageId::from_bytes([7; 16]), recipient: 0 },
        address: EmailAddress::parse(address).unwrap(),
        variables: serde_json::Map::new(),
    };
    Lease { occasion: Occasion::Copy(Arc::new(facts)), direct_slots: true, ..lease() }
}

pub(super) async fn submit(plugin: &Plugin) -> Call {
    plugin.process(Stage::Submit, lease(), "{}").await
}

fn header(call: &Call, name: &str) -> Option<String> {
    call.edited.as_ref().unwrap().draft.header(name)
}

#[tokio::test]
async fn an_edit_is_kept_and_told() {
    let plugin = Guest::adding("one", "X-One", "1").load(&engine()).await;
    assert_eq!((plugin.manifest().name.as_str(), plugin.manifest().version.as_str()), ("one", "1.2.3"));
    assert!(plugin.has(Stage::Submit) && !plugin.has(Stage::Recipient));
    let call = submit(&plugin).await;
    assert_eq!(call.result, Ok(Verdict::Next));
    assert_eq!(header(&call, "x-one").as_deref(), Some("1"));
    assert_eq!((call.run.headers_changed, call.run.parts_changed), (vec!["X-One".to_owned()], 0));
    assert_eq!(call.run.memory, 4 << 16);
}

#[tokio::test]
async fn a_verdict_that_ends_a_message_drops_edits() {
    let mut guest = Guest::new("no");
    let (field, value, enhanced, text) = (guest.text("X-One"), guest.text("1"), guest.text("5.6.0"), guest.text("no\r\nway"));
    let guest = guest.submit(format!(
        "(drop (call $add_header (local.get $message) {field} {value}))
        (call $reply (i32.const 2) (i32.const 554) {enhanced} {text})"
    ));
    let call = submit(&guest.load(&engine()).await).await;
    let Ok(Verdict::Reject(reply)) = call.result else { panic!("{:?}", call.result) };
    assert_eq!((reply.code, reply.enhanced.to_string(), reply.text), (554, "5.6.0".to_owned(), "no  way".to_owned()));
    assert!(call.edited.is_none() && call.run.headers_changed.is_empty());
}

#[tokio::test]
async fn a_reply_of_the_wrong_class_is_put_right() {
    let mut guest = Guest::new("no");
    let (enhanced, text) = (guest.text("2.0.0"), guest.text("fine"));
    let call = submit(&guest.submit(format!("(call $reply (i32.const 3) (i32.const 250) {enhanced} {text})")).load(&engine()).await).await;
    let Ok(Verdict::Defer(reply)) = call.result else { panic!("{:?}", call.result) };
    assert_eq!((reply.code, reply.enhanced.to_string()), (451, "4.7.1".to_owned()));
}

#[tokio::test]
async fn a_plugin_that_never_ends_is_ended_and_holds_nobody_up() {
    let limits = PluginLimits { time: Duration::from_millis(400), ..LIMITS };
    let engine = engine();
    let endless = Guest::new("loop").submit("(loop $again (br $again)) (unreachable)");
    let endless = Arc::new(endless.load_with(&engine, limits, OnError::Defer).await);
    let honest = Guest::adding("one", "X-One", "1").load(&engine).await;
    // One thread for all: the others get their turns only if the endless plugin yields.
    let running = tokio::spawn(async move { submit(&endless).await });
    let beside = tokio::spawn(async move {
        let mut finished = 0;
        while !running.is_finished() {
            assert_eq!(submit(&honest).await.result, Ok(Verdict::Next));
            finished += 1;
            tokio::task::yield_now().await;
        }
        (running.await.unwrap(), finished)
    });
    let (call, finished) = beside.await.unwrap();
    assert_eq!(call.result, Err(Failure::OutOfTime { limit: limits.time }));
    assert!(finished > 2, "only {finished} messages passed beside it");
}

#[tokio::test]
async fn memory_has_an_end() {
    let guest =
        Guest::new("bomb").submit("(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)");
    let call = submit(&guest.load(&engine()).await).await;
    assert_eq!(call.result, Err(Failure::OutOfMemory { limit: LIMITS.memory.0 }));
    assert!(call.run.memory <= LIMITS.memory.0);
}

#[tokio::test]
async fn a_trap_is_a_failure_that_names_the_function() {
    let guest = Guest::new("trap").submit("(unreachable)");
    let call = submit(&guest.load(&engine()).await).await;
    let Err(Failure::Trapped(text)) = call.result else { panic!("{:?}", call.result) };
    assert!(text.contains("unreachable") && text.ends_with(" in submit"), "{text}");
    assert_eq!((call.run.outcome.as_str(), call.edited.is_none()), ("failed", true));
}

#[tokio::test]
async fn deep_recursion_is_a_failure() {
    let body = "(i32.add (call $submit (local.get $message) (local.get $config) (local.get $i)) (i32.const 1))";
    let call = submit(&Guest::new("deep").submit(body).load(&engine()).await).await;
    let Err(Failure::Trapped(text)) = call.result else { panic!("{:?}", call.result) };
    assert!(text.contains("stack"), "{text}");
}

#[tokio::test]
async fn output_has_an_end() {
    let large = PluginLimits { memory: ByteSize(256 << 20), ..LIMITS };
    let engine = engine();
    // 100 MB as the content of the one part: refused, and the message is as it was.
    let guest = Guest::new("large").submit(
        "(drop (memory.grow (i32.const 1600)))
        (call $write_part (local.get $message) (i32.const 0) (i32.const 65536) (i32.const 100000000) (i32.const 256))
        (if (i32.ne (i32.load8_u (i32.const 264)) (i32.const 2)) (then (unreachable)))
        (call $verdict (i32.const 0))",
    );
    let call = submit(&guest.load_with(&engine, large, OnError::Defer).await).await;
    assert_eq!(call.result, Ok(Verdict::Next));
    assert!(!call.edited.unwrap().draft.is_edited());
    // The same in small pieces.
    let mut guest = Guest::new("many");
    let field = guest.text("X-Many");
    let guest = guest.submit(format!(
        "(loop $again (br_if $again (i32.eqz (call $add_header (local.get $message) {field} (i32.const 65536) (i32.const 0)))))
        (call $verdict (i32.const 0))"
    ));
    let small = PluginLimits { output: ByteSize(64 << 10), ..LIMITS };
    let call = submit(&guest.load_with(&engine, small, OnError::Defer).await).await;
    assert_eq!(call.result, Ok(Verdict::Next));
    assert!(call.edited.unwrap().draft.size() <= small.output.0);
    // As a reason: longer than anything that is taken from a plugin at once.
    let guest = Guest::new("reason")
        .submit("(drop (memory.grow (i32.const 3200))) (call $saying (i32.const 4) (i32.const 65536) (i32.const 200000000))");
    let call = submit(&guest.load_with(&engine, large, OnError::Defer).await).await;
    assert!(matches!(call.result, Err(Failure::Trapped(_))), "{:?}", call.result);
}

#[tokio::test]
async fn a_header_cannot_be_split() {
    let mut guest = Guest::new("inject");
    let (field, value, name) = (guest.text("X-One"), guest.text("1\r\nBcc: x@example.com"), guest.text("Bcc: x@example.com\r\nX"));
    let guest = guest.submit(format!(
        "(if (i32.eqz (call $add_header (local.get $message) {field} {value})) (then (unreachable)))
        (if (i32.eqz (call $add_header (local.get $message) {name} {field})) (then (unreachable)))
        (call $verdict (i32.const 0))"
    ));
    let call = submit(&guest.load(&engine()).await).await;
    assert_eq!(call.result, Ok(Verdict::Next));
    assert!(!call.edited.unwrap().draft.is_edited());
}

#[tokio::test]
async fn nothing_crosses_from_one_message_to_the_next() {
    let mut guest = Guest::new("leak");
    let (field, value) = (guest.text("X-Leak"), guest.text("1"));
    // The memory far above what it was given is that of whoever had the slot before.
    let guest = guest.submit(format!(
        "(if (i32.or (i32.load (i32.const 2048)) (i32.load (i32.const 200000)))
          (then (drop (call $add_header (local.get $message) {field} {value}))))
        (i32.store (i32.const 2048) (i32.const 1)) (i32.store (i32.const 200000) (i32.const 1))
        (call $verdict (i32.const 0))"
    ));
    let plugin = guest.load(&engine()).await;
    for _ in 0..50 {
        assert_eq!(header(&submit(&plugin).await, "X-Leak"), None);
    }
}

#[tokio::test]
async fn a_lease_that_was_given_back_cannot_be_used() {
    let guest = Guest::new("late")
        .submit("(call $drop_message (local.get $message)) (call $id (local.get $message) (i32.const 256)) (call $verdict (i32.const 0))");
    let call = submit(&guest.load(&engine()).await).await;
    assert!(matches!(call.result, Err(Failure::Trapped(_))), "{:?}", call.result);
}

#[tokio::test]
async fn a_description_needs_no_host() {
    let asking = Guest::new("asks").describe("(call $random (i32.const 8) (i32.const 256))").component();
    let error = try_load(&engine(), "asks", &asking).await.unwrap_err();
    assert!(matches!(error, LoadError::Describe(Failure::Trapped(_))), "{error}");
    let endless = Guest::new("loop").describe("(loop $again (br $again))").component();
    let limits = PluginLimits { time: Duration::from_millis(10), ..LIMITS };
    let error = try_load_with(&engine(), "loop", &endless, limits, OnError::Defer).await.unwrap_err();
    assert!(matches!(error, LoadError::Describe(Failure::OutOfTime { .. })), "{error}");
}

#[tokio::test]
async fn randomness_is_that_of_message_recipient_and_plugin() {
    let mut guest = Guest::new("random");
    let field = guest.text("X-Random");
    // Every octet becomes a letter.
    let body = format!(
        "(call $random (i32.const 16) (i32.const 256)) (local.set $p (i32.load (i32.const 256)))
        (loop $again
          (i32.store8 (i32.add (local.get $p) (local.get $i))
            (i32.add (i32.const 97) (i32.rem_u (i32.load8_u (i32.add (local.get $p) (local.get $i))) (i32.const 26))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $i) (i32.const 16))))
        (drop (call $add_header (local.get $message) {field} (local.get $p) (i32.const 16))) (call $verdict (i32.const 0))"
    );
    let plugin = guest.submit(body.clone()).recipient("(call $answer (i32.const 1))", body).load(&engine()).await;
    let mut values = Vec::new();
    for address in ["a@example.com", "b@example.com", "a@example.com"] {
        let call = plugin.process(Stage::Recipient, copy_lease(address), "{}").await;
        values.push(header(&call, "X-Random").unwrap());
    }
    values.push(header(&submit(&plugin).await, "X-Random").unwrap());
    assert_eq!(values[0], values[2]);
    assert_ne!(values[0], values[1]);
    assert_ne!(values[0], values[3]);
}

#[tokio::test]
async fn recipients_are_the_chain_s_and_not_a_copy_s() {
    let mut guest = Guest::new("recipients");
    let (one, other) = (guest.text("c@example.com"), guest.text("d@example.com"));
    let body = format!(
        "(call $add_recipient (local.get $message) {one} (i32.const 256))
        (call $add_recipient (local.get $message) {other} (i32.const 512))
        (if (result i32) (i32.and (i32.eqz (i32.load8_u (i32.const 256))) (i32.load8_u (i32.const 512)))
          (then (call $verdict (i32.const 0))) (else (call $verdict (i32.const 1))))"
    );
    let plugin = guest.submit(body.clone()).recipient("(call $answer (i32.const 1))", body).load(&engine()).await;
    let call = submit(&plugin).await;
    // The limit of two is reached by the first that is added.
    assert_eq!(call.result, Ok(Verdict::Next));
    assert_eq!(call.edited.unwrap().recipients().len(), 2);
    let call = plugin.process(Stage::Recipient, copy_lease("b@example.com"), "{}").await;
    assert_eq!((call.result, call.edited.unwrap().recipients().len()), (Ok(Verdict::Accept), 1));
}

#[tokio::test]
async fn a_plugin_may_talk_only_so_much() {
    let mut guest = Guest::new("talks");
    let text = guest.text(&"x".repeat(2_000));
    let guest = guest.submit(format!(
        "(loop $again (call $log (i32.const 2) {text}) (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $i) (i32.const 150)))) (call $verdict (i32.const 0))"
    ));
    let log = submit(&guest.load(&engine()).await).await.run.log;
    assert_eq!((log.len(), log[0].len(), log[100].as_str()), (101, 1_006, "50 more lines were dropped"));
}

#[tokio::test]
async fn a_plugin_s_own_failure_is_told_as_such() {
    let mut guest = Guest::new("fails");
    let text = guest.text("no colours");
    let call = submit(&guest.submit(format!("(call $failure (i32.const 2) {text})")).load(&engine()).await).await;
    assert_eq!(call.result, Err(Failure::Config("no colours".to_owned())));
}

/// Asks for a link to `url`, and traps unless it is refused as not valid.
fn linking(url: &str) -> Guest {
    let mut guest = Guest::new("links");
    let url = guest.text(url);
    guest.submit(format!(
        "(call $slot (local.get $message) (i32.const 2) (i32.const 0) {url} (i32.const 0) (i32.const 512))
        (if (i32.or (i32.ne (i32.load8_u (i32.const 512)) (i32.const 1)) (i32.ne (i32.load8_u (i32.const 520)) (i32.const 1)))
          (then (unreachable)))
        (call $verdict (i32.const 0))"
    ))
}

#[tokio::test]
async fn only_what_stays_as_it_is_becomes_a_link() {
    let engine = engine();
    let token = format!("tp{}00000000", "01".repeat(11));
    let of_another_message = format!("tp{}00000000", "02".repeat(11));
    for (url, refused) in [
        (format!("https://shop.example/?e={token}"), true),
        (format!("https://shop.example/?e={of_another_message}"), false),
        ("https://t.example.com/u/abc".to_owned(), true),
        ("https://t.example.com/shop".to_owned(), false),
        ("mailto:a@example.com".to_owned(), true),
    ] {
        let call = submit(&linking(&url).load(&engine).await).await;
        assert_eq!(call.result.is_ok(), refused, "{url}: {:?}", call.result);
    }
}

#[tokio::test]
async fn texts_of_slots_count_as_output() {
    let mut guest = Guest::new("slots");
    let url = guest.text(&format!("https://shop.example/?{}", "x".repeat(8_000)));
    // As many as there may be: links differ by their position.
    let guest = guest.submit(format!(
        "(loop $again
          (call $slot (local.get $message) (i32.const 2) (i32.const 0) {url} (local.get $i) (i32.const 512))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $again (i32.and (i32.eqz (i32.load8_u (i32.const 512))) (i32.lt_u (local.get $i) (i32.const 9000)))))
        (call $verdict (i32.const 0))"
    ));
    let call = submit(&guest.load(&engine()).await).await;
    assert_eq!(call.result, Ok(Verdict::Next));
    let letter = call.edited.unwrap();
    assert!(u64::try_from(letter.slots().text_octets()).unwrap() <= LIMITS.output.0);
    assert!(letter.slots().as_slice().len() > 50);
}

#[tokio::test]
async fn the_operator_says_how_much_a_call_may_do() {
    let calls = CallLimits { log_lines: 2, log_line_length: 5, edits: 3, ..CallLimits::default() };
    let runtime = PluginRuntime { instances: 1, calls, ..PluginRuntime::default() };
    let options = EngineOptions { runtime, ..EngineOptions::new(crate::clock::Clock::system(), Metrics::new()) };
    let mut guest = Guest::new("talks");
    let text = guest.text("long line");
    let guest = guest.submit(format!(
        "(loop $again
          (call $log (i32.const 2) {text})
          (drop (call $add_header (local.get $message) (i32.const 4096) (i32.const 1) (i32.const 4096) (i32.const 1)))
          (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const 9))))
        (call $verdict (i32.const 0))"
    ));
    let call = submit(&guest.load(&Arc::new(Engine::new(options).unwrap())).await).await;
    assert_eq!(call.run.log, ["warn: long", "warn: long", "7 more lines were dropped"]);
    assert_eq!(call.edited.unwrap().draft.header_all("t").len(), 3);
}

#[tokio::test]
async fn names_of_changed_fields_have_an_end() {
    let mut guest = Guest::new("names");
    let name = guest.text(&"x".repeat(126));
    let address = name.split(") ").next().unwrap().to_owned() + ")";
    let guest = guest.submit(format!(
        "(loop $again
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (drop (call $add_header (local.get $message) {address} (local.get $i) {address} (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $i) (i32.const 120))))
        (call $verdict (i32.const 0))"
    ));
    let run = submit(&guest.load(&engine()).await).await.run;
    assert_eq!((run.headers_changed.len(), run.headers_changed[100].as_str()), (101, "(20 more edits of others)"));
}

#[tokio::test]
async fn the_same_octets_cannot_be_handed_over_again_and_again() {
    let guest = Guest::new("twice").submit(
        "(drop (memory.grow (i32.const 44)))
        (drop (call $add_header (local.get $message) (i32.const 0) (i32.const 3000000) (i32.const 0) (i32.const 3000000)))
        (call $verdict (i32.const 0))",
    );
    let limits = PluginLimits { memory: ByteSize(4 << 20), ..LIMITS };
    let call = submit(&guest.load_with(&engine(), limits, OnError::Defer).await).await;
    assert!(matches!(call.result, Err(Failure::Trapped(_))), "{:?}", call.result);
}

#[tokio::test]
async fn who_only_looked_gives_the_letter_back() {
    let looking = Guest::new("looks").recipient("(call $answer (i32.const 1))", "(call $verdict (i32.const 0))");
    let wanted = looking.load(&engine()).await.wanted(lease(), "{}").await;
    assert_eq!((wanted.result, wanted.letter.is_some()), (Ok(true), true));
    let editing = Guest::new("edits").recipient(
        "(drop (call $add_header (local.get $message) (i32.const 4096) (i32.const 1) (i32.const 4096) (i32.const 1))) (call $answer (i32.const 0))",
        "(call $verdict (i32.const 0))",
    );
    let wanted = editing.load(&engine()).await.wanted(lease(), "{}").await;
    assert_eq!((wanted.result, wanted.letter.is_some()), (Ok(false), false));
}
