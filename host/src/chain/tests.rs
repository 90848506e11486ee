#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::processing::{Kept, Processed};
use super::rendering::{Recipient, RenderError, Renderer};
use super::trace::Trace;
use super::{ChainRegistry, Chains, Plan, PlannedStep};
use crate::clock::{Clock, Timestamp};
use crate::config::{self, ChainStep, OnError, PluginSource, When};
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::Draft;
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::mail::refusal::Refusal;
use crate::plugin::Stage;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::lease::Circumstances;
use crate::plugin::letter::Letter;
use crate::plugin::loading::{Plugins, Spare};
use crate::plugin::service::desk::Effects;
use crate::plugin::test_guest::{Guest, LIMITS, engine, try_load_with};
use crate::plugin::verdict::Failure;
use crate::submission::Options;
use crate::telemetry::metric::Metrics;

const MESSAGE: &str = "From: a@example.com\r\nSubject: hello\r\n\r\nbody\r\n";

/// A chain of these plugins, each under its own name.
struct Bench {
    chains: Chains,
}

fn step(plugin: &str, options: &Value) -> ChainStep {
    let mut options = options.as_object().unwrap().clone();
    let when = if options.remove("when") == Some(json!("requested")) { When::Requested } else { When::Always };
    let locked = options.remove("locked") == Some(json!(true));
    ChainStep { plugin: plugin.into(), when, locked, share: None, shadow: None, options, place: "t.toml:1:1".to_owned() }
}

async fn plugins(guests: Vec<(&str, Guest, OnError)>) -> Plugins {
    let engine = engine();
    let mut plugins = Plugins::new();
    for (name, guest, on_error) in guests {
        let plugin = try_load_with(&engine, name, &guest.component(), LIMITS, on_error).await.unwrap();
        plugins.insert(name.into(), Arc::new(plugin));
    }
    plugins
}

async fn bench(guests: Vec<(&str, Guest, OnError)>, steps: &[(&str, Value)]) -> Bench {
    let steps = steps.iter().map(|(plugin, options)| step(plugin, options)).collect();
    let chains = BTreeMap::from([("c".into(), config::Chain { steps })]);
    Bench { chains: Chains::build(&chains, plugins(guests).await, 1 << 20).unwrap() }
}

impl Bench {
    async fn process(&self, message: &str, options: &Options) -> (Result<Processed, Refusal>, Trace) {
        let content = Bytes::copy_from_slice(message.as_bytes());
        let recipients = ["b@example.com", "c@example.com"].map(|text| ForwardPath::new(EmailAddress::parse(text).unwrap()));
        let letter = Letter::new(Draft::new(content.clone()), ReversePath::Null, recipients.into(), Vec::new(), [1; 11]);
        let circumstances = Arc::new(Circumstances {
            login: "login".into(),
            deliver_before: None,
            id: MessageId::from_bytes([7; 16]),
            received: Timestamp::from_millis(1_000),
            context: Vec::new(),
            variables: String::new(),
            original: content,
            recipient_limit: 10,
            links: LinkSigner::new([0; 32], "https://t.example.com".to_owned()),
            effects: Effects::Live,
        });
        let mut trace = Trace::default();
        let processed = self.chains.chain("c").unwrap().process(letter, &circumstances, options, &mut trace).await;
        (processed, trace)
    }

    async fn kept(&self, message: &str, options: &Options) -> (Kept, Trace) {
        match self.process(message, options).await {
            (Ok(Processed::Kept(kept)), trace) => (*kept, trace),
            (other, _) => panic!("{other:?}"),
        }
    }

    /// The plan and the body that a queue would keep.
    fn planned(kept: Kept) -> (Plan, Bytes) {
        let slots = kept.letter.slots().clone();
        let plan = Plan {
            login: "l".into(),
            message: MessageId::from_bytes([7; 16]),
            received: Timestamp::from_millis(1_000),
            context: Vec::new(),
            nonce: *slots.nonce(),
            slots: slots.as_slice().to_vec(),
            variables: String::new(),
            reverse_path: ReversePath::Null,
            tags: Vec::new(),
            steps: kept.steps,
            senders: Vec::new(),
        };
        (plan, kept.letter.draft.into_composition(Some(slots.nonce())).encode())
    }

    async fn render(self, plan: &Plan, body: &Bytes, address: &str) -> Result<String, RenderError> {
        let links = LinkSigner::new([0; 32], "https://t.example.com".to_owned());
        let renderer = Renderer::new(ChainRegistry::new(self.chains), links);
        let address = EmailAddress::parse(address).unwrap();
        let recipient = Recipient { copy: CopyId { message: plan.message, recipient: 0 }, address: &address, variables: "" };
        let rendered = renderer.render(plan, body.clone(), recipient, &mut Trace::default()).await?;
        match rendered.held {
            Some((_, reason)) => Err(RenderError::Held { reason }),
            None => Ok(String::from_utf8(rendered.content.to_vec()).unwrap()),
        }
    }
}

fn adding(name: &'static str) -> (&'static str, Guest, OnError) {
    (name, Guest::adding(name, &format!("X-{name}"), "1"), OnError::Defer)
}

const SCHEMA: &str = r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"},"c":{"type":"integer"}}}"#;

fn showing() -> (&'static str, Guest, OnError) {
    let guest = Guest::showing_config("show").schema(SCHEMA).header_option("X-Opt-C", "c").header_option("X-Opt-On", "enabled");
    ("show", guest, OnError::Defer)
}

fn overriding(options: &Value) -> Options {
    let mut message = Options::default();
    message.overrides.insert("show".to_owned(), options.as_object().unwrap().clone());
    message
}

#[tokio::test]
async fn plugins_run_in_the_order_that_is_written() {
    let bench =
        bench(vec![adding("one"), adding("two"), adding("three")], &[("two", json!({})), ("one", json!({})), ("three", json!({}))]).await;
    let (kept, trace) = bench.kept(MESSAGE, &Options::default()).await;
    // Each adds its field in front.
    assert_eq!(kept.letter.draft.header_names(), ["X-three", "X-one", "X-two", "From", "Subject"]);
    let runs: Vec<_> = trace.runs.iter().map(|run| run.plugin.as_str()).collect();
    assert_eq!(runs, ["two", "one", "three"]);
    assert!(kept.steps.is_empty() && kept.held.is_none());
}

#[tokio::test]
async fn header_beats_call_beats_chain() {
    let bench = bench(vec![showing()], &[("show", json!({"a": 1, "b": 1, "c": 1}))]).await;
    let message = format!("x-OPT-c: 3\r\n{MESSAGE}");
    let (kept, _) = bench.kept(&message, &overriding(&json!({"b": 2, "c": 2}))).await;
    let shown: Value = serde_json::from_str(&kept.letter.draft.header("X-show").unwrap()).unwrap();
    assert_eq!(shown, json!({"a": 1, "b": 2, "c": 3}));
    assert_eq!(kept.letter.draft.header("X-Opt-C"), None, "the field was for us");
}

#[tokio::test]
async fn a_locked_step_hears_the_chain_alone() {
    let bench = bench(vec![showing()], &[("show", json!({"a": 1, "locked": true}))]).await;
    let message = format!("X-Opt-C: nonsense\r\nX-Opt-On: no\r\n{MESSAGE}");
    let (kept, _) = bench.kept(&message, &overriding(&json!({"a": 2, "enabled": false}))).await;
    assert_eq!(kept.letter.draft.header("X-show").as_deref(), Some(r#"{"a":1}"#));
    assert_eq!((kept.letter.draft.header("X-Opt-C"), kept.letter.draft.header("X-Opt-On")), (None, None));
}

#[tokio::test]
async fn a_message_switches_plugins_on_and_off() {
    let always = bench(vec![showing()], &[("show", json!({}))]).await;
    let requested = bench(vec![showing()], &[("show", json!({"when": "requested"}))]).await;
    let mut asking = Options::default();
    asking.requested.insert("show".to_owned());
    let on = format!("X-Opt-On: yes\r\n{MESSAGE}");
    let off = format!("X-Opt-On: 0\r\n{MESSAGE}");
    for (bench, message, options, runs) in [
        (&always, MESSAGE, Options::default(), true),
        (&always, off.as_str(), Options::default(), false),
        (&always, MESSAGE, overriding(&json!({"enabled": false})), false),
        (&always, on.as_str(), overriding(&json!({"enabled": false})), true),
        (&requested, MESSAGE, Options::default(), false),
        (&requested, MESSAGE, asking.clone(), true),
        (&requested, on.as_str(), Options::default(), true),
        (&requested, off.as_str(), asking.clone(), false),
        (&requested, MESSAGE, overriding(&json!({"a": 1})), false),
    ] {
        let (kept, _) = bench.kept(message, &options).await;
        assert_eq!(kept.letter.draft.header("X-show").is_some(), runs, "{message} {options:?}");
        assert_eq!(kept.letter.draft.header("X-Opt-On"), None);
    }
}

#[tokio::test]
async fn options_that_there_are_not_are_refused() {
    let bench = bench(vec![showing()], &[("show", json!({}))]).await;
    let (result, _) = bench.process(MESSAGE, &overriding(&json!({"delta": 1}))).await;
    assert_eq!(result.unwrap_err().to_string(), "show.delta: no such option");
    let (result, _) = bench.process(&format!("X-Opt-C: many\r\n{MESSAGE}"), &Options::default()).await;
    assert_eq!(result.unwrap_err(), Refusal::InvalidContent("header field x-opt-c: cannot be \"many\"".to_owned()));
}

#[tokio::test]
async fn service_fields_do_not_leave() {
    let bench = bench(vec![adding("one")], &[("one", json!({}))]).await;
    let (kept, _) = bench.kept(&format!("X-SMTPeter-Unknown: 1\r\nx-smtpeter-other: 2\r\n{MESSAGE}"), &Options::default()).await;
    assert_eq!(kept.letter.draft.header_names(), ["X-one", "From", "Subject"]);
}

#[tokio::test]
async fn verdicts_steer_the_chain() {
    let saying = |name: &'static str, body: &str| (name, Guest::new(name).submit(body), OnError::Defer);
    let mut guest = Guest::new("hold");
    let text = guest.text("look at this");
    let guests = vec![
        adding("one"),
        saying("accept", "(call $verdict (i32.const 1))"),
        ("hold", guest.submit(format!("(call $saying (i32.const 5) {text})")), OnError::Defer),
    ];
    let bench = bench(guests, &[("hold", json!({})), ("one", json!({})), ("accept", json!({})), ("one", json!({}))]).await;
    let (kept, trace) = bench.kept(MESSAGE, &Options::default()).await;
    assert_eq!(kept.held, Some(("hold".to_owned(), "look at this".to_owned())));
    let outcomes: Vec<_> = trace.runs.iter().map(|run| run.outcome.as_str()).collect();
    assert_eq!(outcomes, ["hold", "next", "accept"]);

    let mut guest = Guest::new("no");
    let reject = guest.text("no");
    let body = format!("(call $reply (i32.const 2) (i32.const 550) (i32.const 0) (i32.const 0) {reject})");
    let bench = self::bench(vec![("no", guest.submit(body), OnError::Skip)], &[("no", json!({}))]).await;
    let (result, _) = bench.process(MESSAGE, &Options::default()).await;
    let Err(Refusal::Plugin { plugin, code: 550, text, .. }) = result else { panic!("{result:?}") };
    assert_eq!((plugin.as_str(), text.as_str()), ("no", "no"));
}

#[tokio::test]
async fn on_error_decides_what_a_failure_does() {
    for (on_error, permanent) in [(OnError::Skip, None), (OnError::Defer, Some(false)), (OnError::Reject, Some(true))] {
        let bench = bench(
            vec![("trap", Guest::new("trap").submit("(unreachable)"), on_error), adding("one")],
            &[("trap", json!({})), ("one", json!({}))],
        )
        .await;
        let (result, trace) = bench.process(MESSAGE, &Options::default()).await;
        assert_eq!((trace.failures.len(), trace.runs[0].outcome.as_str()), (1, "failed"));
        match (result, permanent) {
            (Ok(Processed::Kept(kept)), None) => assert!(kept.letter.draft.header("X-one").is_some()),
            (Err(Refusal::PluginFailed { plugin, permanent: is }), Some(expected)) => assert_eq!((plugin.as_str(), is), ("trap", expected)),
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// Writes what the slot `address` gives in a field; wanted or not.
fn per_recipient(name: &'static str, wanted: u32) -> (&'static str, Guest, OnError) {
    let mut guest = Guest::new(name);
    let field = guest.text(&format!("X-{name}"));
    let body = addressing(&field);
    (name, guest.recipient(format!("(call $answer (i32.const {wanted}))"), body), OnError::Defer)
}

fn addressing(field: &str) -> String {
    format!(
        "(call $slot (local.get $message) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
        (drop (call $add_header (local.get $message) {field} (i32.load (i32.const 520)) (i32.load (i32.const 524))))
        (call $verdict (i32.const 0))"
    )
}

fn slotting(name: &'static str) -> (&'static str, Guest, OnError) {
    let mut guest = Guest::new(name);
    let field = guest.text(&format!("X-{name}"));
    (name, guest.submit(addressing(&field)), OnError::Defer)
}

#[tokio::test]
async fn slots_are_filled_at_delivery() {
    let bench = bench(vec![slotting("slot")], &[("slot", json!({}))]).await;
    let (kept, _) = bench.kept(MESSAGE, &Options::default()).await;
    assert_eq!(kept.letter.draft.header("X-slot").unwrap().len(), crate::mail::slot::TOKEN_LENGTH);
    let (plan, body) = Bench::planned(kept);
    let rendered = bench.render(&plan, &body, "b@example.com").await.unwrap();
    assert_eq!(rendered, format!("X-slot: b@example.com\r\n{MESSAGE}"));
}

#[tokio::test]
async fn from_the_first_that_wants_to_the_rest_runs_per_recipient() {
    let guests = || vec![adding("one"), per_recipient("copy", 1), slotting("slot"), per_recipient("idle", 0)];
    let steps = [("one", json!({})), ("idle", json!({})), ("copy", json!({})), ("slot", json!({})), ("idle", json!({}))];
    let bench = bench(guests(), &steps).await;
    let message = format!("X-SMTPeter-Left: 1\r\n{MESSAGE}");
    let (kept, trace) = bench.kept(&message, &Options::default()).await;
    assert_eq!(trace.runs.iter().map(|run| run.outcome.as_str()).collect::<Vec<_>>(), ["next", "not wanted"]);
    let planned: Vec<_> = kept.steps.iter().map(|step| (&*step.plugin, step.per_recipient)).collect();
    assert_eq!(planned, [("copy", true), ("slot", false), ("idle", true)]);
    assert!(kept.letter.draft.header("X-SMTPeter-Left").is_some(), "plugins that are left may want it");
    let (plan, body) = Bench::planned(kept);
    let other = self::bench(guests(), &steps).await;
    let first = bench.render(&plan, &body, "b@example.com").await.unwrap();
    let field = "b@example.com";
    assert_eq!(first, format!("X-idle: {field}\r\nX-slot: {field}\r\nX-copy: {field}\r\nX-one: 1\r\n{MESSAGE}"));
    // Another process, another attempt: the same octets.
    assert_eq!(other.render(&plan, &body, "b@example.com").await.unwrap(), first);
}

#[tokio::test]
async fn a_copy_is_held_refused_or_missing_its_plugin() {
    let mut guest = Guest::new("hold");
    let text = guest.text("look");
    let holding = ("hold", guest.recipient("(call $answer (i32.const 1))", format!("(call $saying (i32.const 5) {text})")), OnError::Defer);
    let bench = bench(vec![holding], &[("hold", json!({}))]).await;
    let (plan, body) = Bench::planned(bench.kept(MESSAGE, &Options::default()).await.0);
    let held = bench.render(&plan, &body, "b@example.com").await;
    assert_eq!(held, Err(RenderError::Held { reason: "look".to_owned() }));
    let without = Bench { chains: Chains::default() };
    let links = LinkSigner::new([0; 32], String::new());
    let renderer = Renderer::new(ChainRegistry::new(without.chains), links);
    let address = EmailAddress::parse("b@example.com").unwrap();
    let recipient = Recipient { copy: CopyId { message: plan.message, recipient: 0 }, address: &address, variables: "" };
    let mut trace = Trace::default();
    let missing = renderer.render(&plan, body, recipient, &mut trace).await.unwrap_err();
    assert_eq!(missing, RenderError::Failed { plugin: "hold".to_owned(), permanent: false });
    assert_eq!(trace.failures.len(), 1);
}

#[tokio::test]
async fn mistakes_in_chains_are_told_all_at_once() {
    let steps = vec![
        step("shwo", &json!({})),
        step("show", &json!({"e": 1})),
        step("show", &json!({"a": "x"})),
        step("show", &json!({"when": "requested", "locked": true})),
    ];
    let chains = BTreeMap::from([("c".into(), config::Chain { steps })]);
    let errors = Chains::build(&chains, plugins(vec![showing()]).await, 1 << 20).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4);
    assert_eq!(texts[0], "t.toml:1:1: chain \"c\": no plugin \"shwo\"; did you mean \"show\"?");
    assert!(texts[1].starts_with("t.toml:1:1: chain \"c\": plugin \"show\": e: no such option"), "{}", texts[1]);
    assert_eq!(texts[2], "t.toml:1:1: chain \"c\": plugin \"show\": a: must be a whole number");
    assert!(texts[3].contains("would never run"), "{}", texts[3]);
}

#[tokio::test]
async fn a_plugin_that_no_chain_uses_is_loaded_when_a_message_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.wasm");
    let guest = || Guest::adding("late", "X-Late", "1");
    let bench = bench(vec![("late", guest(), OnError::Defer)], &[]).await;
    let (mut plan, body) = Bench::planned(bench.kept(MESSAGE, &Options::default()).await.0);
    plan.steps.push(PlannedStep { plugin: "late".into(), config: "{}".to_owned(), per_recipient: false, digest: None });

    let configured = config::Plugin {
        source: PluginSource::File(path.clone()),
        limits: LIMITS,
        on_error: OnError::Defer,
        allow: config::Grants::default(),
        sha256: None,
        refusals: config::Refusals::default(),
    };
    let name = "late".into();
    let chains = Chains::default().with_spares(BTreeMap::from([(Arc::clone(&name), Spare::new(&engine(), &name, &configured).into())]));
    assert!(chains.plugin("late").await.is_none(), "there is no such file yet");
    assert!(chains.plugin("other").await.is_none());
    std::fs::write(&path, guest().component()).unwrap();
    let (one, other) = tokio::join!(chains.plugin("late"), chains.plugin("late"));
    assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()), "it is loaded once");
    assert!(chains.plugins().is_empty());
    let rendered = Bench { chains }.render(&plan, &body, "b@example.com").await.unwrap();
    assert!(rendered.contains("X-Late: 1\r\n"), "{rendered}");
}

#[tokio::test]
async fn a_copy_is_made_by_the_version_that_took_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = folder.path().join("plugins");
    let options = EngineOptions { shelf: Some(shelf.clone()), ..EngineOptions::new(Clock::system(), Metrics::new()) };
    let engine = Arc::new(Engine::new(options).unwrap());
    let chains = async |version: &str| {
        let mut guest = Guest::new("v");
        let (field, value) = (guest.text("X-Version"), guest.text(version));
        let body = format!("(drop (call $add_header (local.get $message) {field} {value})) (call $verdict (i32.const 0))");
        let guest = guest.recipient("(call $answer (i32.const 1))", body);
        let plugin = try_load_with(&engine, "v", &guest.component(), LIMITS, OnError::Defer).await.unwrap();
        let chains = BTreeMap::from([("c".into(), config::Chain { steps: vec![step("v", &json!({}))] })]);
        Bench { chains: Chains::build(&chains, Plugins::from([("v".into(), Arc::new(plugin))]), 1 << 20).unwrap() }
    };
    let (plan, body) = Bench::planned(chains("one").await.kept(MESSAGE, &Options::default()).await.0);
    let kept = plan.steps[0].digest.clone().unwrap();
    let render = async |bench: Bench, plan: &Plan| {
        let renderer = Renderer::new(ChainRegistry::new(bench.chains), LinkSigner::new([0; 32], String::new()));
        let address = EmailAddress::parse("b@example.com").unwrap();
        let recipient = Recipient { copy: CopyId { message: plan.message, recipient: 0 }, address: &address, variables: "" };
        let mut trace = Trace::default();
        let content = renderer.render(plan, body.clone(), recipient, &mut trace).await.unwrap().content;
        (String::from_utf8(content.to_vec()).unwrap(), trace)
    };
    let (content, trace) = render(chains("two").await, &plan).await;
    assert!(content.contains("X-Version: one\r\n"), "{content}");
    assert!(kept.starts_with(&trace.runs[0].digest) && trace.failures.is_empty());
    // An earlier release did not write down which version it was.
    let mut old = plan.clone();
    old.steps[0].digest = None;
    assert!(render(chains("two").await, &old).await.0.contains("X-Version: two\r\n"));
    // Where it is gone, that of now makes the copy, and says so.
    std::fs::remove_file(shelf.join(format!("{kept}.wasm"))).unwrap();
    let (content, trace) = render(chains("two").await, &plan).await;
    assert!(content.contains("X-Version: two\r\n"), "{content}");
    assert!(matches!(&trace.failures[..], [(plugin, Failure::OtherVersion { .. })] if plugin == "v"), "{:?}", trace.failures);
}

#[tokio::test]
async fn no_message_has_a_say_before_there_is_one() {
    let guest = || ("list", Guest::noting("list").rcpt("(call $verdict (i32.const 0))"), OnError::Defer);
    // What became of a message is told to whom that message may have asked for.
    for (options, asked, told) in [
        (json!({}), true, true),
        (json!({ "enabled": false }), false, true),
        (json!({ "when": "requested" }), false, true),
        (json!({ "when": "requested", "enabled": true }), true, true),
        (json!({ "enabled": false, "locked": true }), false, false),
    ] {
        let bench = bench(vec![guest(), adding("one")], &[("one", json!({})), ("list", options.clone())]).await;
        let chain = bench.chains.chain("c").unwrap();
        assert_eq!((chain.has(Stage::Rcpt), chain.has(Stage::Event)), (asked, told), "{options}");
        assert_eq!(chain.standing(Stage::Rcpt).count(), usize::from(asked));
        // A message passes it by.
        let (kept, trace) = bench.kept(MESSAGE, &Options::default()).await;
        assert!(kept.steps.is_empty() && trace.runs.len() == 1);
    }
}
