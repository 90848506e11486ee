#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::chain::Chains;
use crate::chain::processing::Processed;
use crate::chain::trace::Trace;
use crate::clock::{Clock, Timestamp};
use crate::config::{self, ChainStep, OnError, Shadow, Share, When};
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ForwardPath;
use crate::mail::message_id::MessageId;
use crate::mail::refusal::Refusal;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::loading::Plugins;
use crate::plugin::test_guest::{Guest, LIMITS, try_load_with};
use crate::submission::Options;
use crate::telemetry::metric::Metrics;

const MESSAGE: &[u8] = b"From: a@example.com\r\nSubject: hello\r\n\r\nbody\r\n";

struct Bench {
    metrics: Metrics,
    chains: Chains,
}

fn step(name: &str, shadow: Option<Shadow>, share: Option<Share>) -> ChainStep {
    let options = serde_json::Map::new();
    ChainStep { plugin: name.into(), when: When::Always, locked: false, share, shadow, options, place: String::new() }
}

/// A plugin that refuses everything.
fn refusing() -> Guest {
    let mut guest = Guest::new("no");
    let (enhanced, text) = (guest.text("5.7.1"), guest.text("no"));
    guest.submit(format!("(call $reply (i32.const 2) (i32.const 550) {enhanced} {text})"))
}

/// A plugin that makes each copy another.
fn copying(value: &str) -> Guest {
    let mut guest = Guest::new("copy");
    let (field, value) = (guest.text("X-Copy"), guest.text(value));
    let body = format!("(drop (call $add_header (local.get $message) {field} {value})) (call $verdict (i32.const 0))");
    guest.recipient("(call $answer (i32.const 1))", body)
}

async fn bench(guests: Vec<(&str, Guest)>, steps: Vec<ChainStep>) -> Bench {
    let metrics = Metrics::new();
    let engine = Arc::new(Engine::new(EngineOptions::new(Clock::system(), metrics.clone())).unwrap());
    let mut plugins = Plugins::new();
    for (name, guest) in guests {
        let plugin = try_load_with(&engine, name, &guest.component(), LIMITS, OnError::Defer).await.unwrap();
        plugins.insert(name.into(), Arc::new(plugin));
    }
    let chains = BTreeMap::from([("c".into(), config::Chain { steps })]);
    Bench { metrics, chains: Chains::build(&chains, plugins, 1 << 20).unwrap() }
}

impl Bench {
    async fn process(&self, number: u128, effects: Effects) -> (std::result::Result<Processed, Refusal>, Trace) {
        let content = Bytes::from_static(MESSAGE);
        let recipients = vec![ForwardPath::new(EmailAddress::parse("b@example.com").unwrap())];
        let letter = Letter::new(Draft::new(content.clone()), ReversePath::Null, recipients, Vec::new(), [1; 11]);
        let circumstances = Arc::new(Circumstances {
            login: "login".into(),
            deliver_before: None,
            id: MessageId::from_bytes(number.to_be_bytes()),
            received: Timestamp::from_millis(1_000),
            context: vec![("login".to_owned(), "news".to_owned())],
            variables: String::new(),
            original: content,
            recipient_limit: 10,
            links: LinkSigner::new([0; 32], "https://t.example.com".to_owned()),
            effects: effects.clone(),
        });
        let mut trace = Trace { effects, ..Trace::default() };
        let processed = self.chains.chain("c").unwrap().process(letter, &circumstances, &Options::default(), &mut trace).await;
        (processed, trace)
    }

    /// What was counted of a plugin's shadows, after all that the messages left to do is done.
    async fn shadows(&self, plugin: &str) -> Value {
        for number in 0..2 {
            let (_, trace) = self.process(number, Effects::Live).await;
            let (offered, worker) = queue(ByteSize::mib(1));
            offered.offer(trace.shadows);
            drop(offered);
            worker.run(CancellationToken::new()).await;
        }
        let usage = self.metrics.plugin(plugin).usage();
        usage[0].1.shadows.iter().map(|(result, count)| (result.word().to_owned(), json!(count))).collect::<serde_json::Map<_, _>>().into()
    }
}

#[tokio::test]
async fn a_shadow_is_compared_and_changes_nothing() {
    for (guest, expected) in [
        (Guest::new("idle"), json!({"same": 2})),
        (Guest::adding("add", "X-Add", "1"), json!({"different": 2})),
        (refusing(), json!({"refused": 2})),
        (Guest::new("trap").submit("unreachable"), json!({"failed": 2})),
        (copying("1"), json!({"different": 2})),
    ] {
        let real = Guest::adding("real", "X-Real", "1");
        let steps = vec![step("shadow", Some(Shadow::Nothing), None), step("real", None, None)];
        let bench = bench(vec![("shadow", guest), ("real", real)], steps).await;
        let (processed, trace) = bench.process(9, Effects::Live).await;
        let Ok(Processed::Kept(kept)) = processed else { panic!("{processed:?}") };
        assert_eq!((kept.steps.len(), trace.runs.len(), trace.failures.len(), trace.shadows.len()), (0, 1, 0, 1));
        let content = String::from_utf8(crate::chain::rendering::finish(kept.letter.draft).to_vec()).unwrap();
        assert_eq!(content, format!("X-Real: 1\r\n{}", String::from_utf8_lossy(MESSAGE)));
        assert_eq!(bench.shadows("shadow").await, expected);
        // Calls of shadows are not among those of the plugin.
        assert!(bench.metrics.plugin("shadow").usage()[0].1.calls.is_empty());
        assert!(bench.process(9, Effects::rehearsal()).await.1.shadows.is_empty());
    }
}

#[tokio::test]
async fn a_new_build_is_compared_with_the_old_one() {
    let adding = |value: &str| Guest::adding("add", "X-Add", value);
    for (new, expected) in [(adding("1"), json!({"same": 2})), (adding("2"), json!({"different": 2})), (refusing(), json!({"refused": 2}))]
    {
        // It sees the message as the old one does, wherever it stands.
        let steps = vec![step("old", None, None), step("new", Some(Shadow::Of("old".into())), None)];
        let bench = bench(vec![("old", adding("1")), ("new", new)], steps).await;
        assert_eq!(bench.shadows("new").await, expected);
    }
    for (new, expected) in [(copying("1"), json!({"same": 2})), (copying("2"), json!({"different": 2}))] {
        let steps = vec![step("old", None, None), step("new", Some(Shadow::Of("old".into())), None)];
        let bench = bench(vec![("old", copying("1")), ("new", new)], steps).await;
        assert_eq!(bench.shadows("new").await, expected);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let bench = bench(vec![("idle", Guest::new("idle"))], vec![step("idle", Some(Shadow::Nothing), None)]).await;
    let (small, _worker) = queue(ByteSize(10 << 10));
    for number in 0..5 {
        small.offer(bench.process(number, Effects::Live).await.1.shadows);
    }
    let usage = bench.metrics.plugin("idle").usage();
    assert_eq!(usage[0].1.shadows, [(ShadowResult::Dropped, 3)]);
}

#[tokio::test]
async fn a_part_of_the_messages_is_the_same_every_time() {
    let bench = bench(vec![("add", Guest::adding("add", "X-Add", "1"))], vec![step("add", None, Some(Share(200_000)))]).await;
    let mut taken = [0_u64; 2];
    for number in 0..100 {
        let runs = bench.process(number, Effects::Live).await.1.runs.len();
        assert_eq!(bench.process(number, Effects::rehearsal()).await.1.runs.len(), runs);
        taken[runs] += 1;
    }
    let usage = bench.metrics.plugin("add").usage();
    assert_eq!(usage[0].1.shares, taken);
    assert!((5..40).contains(&taken[1]), "{taken:?}");
    assert_eq!(usage[0].1.calls.iter().map(|(_, count)| count).sum::<u64>(), taken[1], "rehearsals are not counted");
}

#[tokio::test]
async fn a_shadow_needs_something_to_be_compared_with() {
    let engine = Arc::new(Engine::new(EngineOptions::new(Clock::system(), Metrics::new())).unwrap());
    let idle = || async { try_load_with(&engine, "idle", &Guest::new("idle").component(), LIMITS, OnError::Defer).await.unwrap() };
    let plugins = Plugins::from([("idle".into(), Arc::new(idle().await)), ("other".into(), Arc::new(idle().await))]);
    let steps = vec![step("idle", Some(Shadow::Of("othr".into())), None), step("other", None, None)];
    let errors = Chains::build(&BTreeMap::from([("c".into(), config::Chain { steps })]), plugins, 1 << 20).unwrap_err();
    assert!(errors[0].reason.contains("no plugin \"othr\" that counts; did you mean \"other\"?"), "{errors:?}");
}
