#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use tokio::task::JoinHandle;

use super::*;
use crate::chain::Chains;
use crate::clock::Entropy;
use crate::config::unit::ByteSize;
use crate::config::{self, Bounces, ChainStep, Grants, Login, LoginLimits, OnError, PluginRuntime, When};
use crate::event::{PluginRun, Visitor};
use crate::mail::message_id::MessageId;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::loading::Plugins;
use crate::plugin::test_guest::{Guest, LIMITS, NOTING, try_load_granted};
use crate::store::embedded::Embedded;

const SETTINGS: EventTelling = EventTelling { batch: 10, gather: Duration::from_millis(1), tries: 3, retry: Duration::from_millis(1) };

const AUTHENTICATION: config::Authentication =
    config::Authentication { failures: 1, period: Duration::from_mins(1), addresses: 1, waiting: 1, remembered: 1 };

struct Bench {
    _folder: tempfile::TempDir,
    parts: ObserverParts,
}

/// An observer that runs.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

fn login(name: &str) -> Login {
    Login {
        name: name.into(),
        username: None,
        password: None,
        token: None,
        senders: Vec::new(),
        chain: Some(name.into()),
        route: "direct".into(),
        limits: LoginLimits { messages_per_hour: None, recipients_per_message: 3, message_size: ByteSize(10_000) },
        bounces: Bounces::Return,
        unverified_senders: None,
        suppress: Vec::new(),
        bounce_management: None,
    }
}

impl Bench {
    /// Logins, each with a chain of the plugins that are named behind it.
    async fn new(guests: Vec<(&'static str, Guest)>, chains: &[(&str, &[&str])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, metrics) = (Clock::system(), Metrics::new());
        let config = config::Store {
            segment_size: ByteSize::mib(64),
            retention: Duration::from_hours(1),
            archive_size: ByteSize::gib(1),
            cache: ByteSize::mib(1),
            commit_queue: 64,
            reserve: ByteSize(1),
            table_size: ByteSize::mib(64),
        };
        let store: Arc<dyn Store> =
            Arc::new(Embedded::open(folder.path(), &config, clock.clone(), Entropy::seeded(1), metrics.clone()).unwrap());
        let runtime = PluginRuntime { instances: 4, ..PluginRuntime::default() };
        let options = EngineOptions { runtime, store: Some(Arc::clone(&store)), ..EngineOptions::new(clock.clone(), metrics.clone()) };
        let engine = Arc::new(Engine::new(options).unwrap());
        let mut plugins = Plugins::new();
        for (name, guest) in guests {
            let mut allow = Grants::default();
            allow.kv = true;
            let plugin = try_load_granted(&engine, name, &guest.component(), LIMITS, OnError::Defer, allow).await.unwrap();
            plugins.insert(name.into(), Arc::new(plugin));
        }
        let logins: Vec<Login> = chains.iter().map(|(name, _)| login(name)).collect();
        let parts = ObserverParts {
            recorder: Recorder::new(Arc::clone(&store)),
            store,
            chains: ChainRegistry::new(built(plugins, chains)),
            logins: Logins::new(logins, &AUTHENTICATION, &Entropy::seeded(1), &clock, metrics.clone()),
            clock,
            metrics,
            settings: SETTINGS,
        };
        Self { _folder: folder, parts }
    }

    async fn start(&self) -> Running {
        let shutdown = CancellationToken::new();
        let observer = Observer::open(self.parts.clone(), shutdown.clone()).await.unwrap();
        Running { shutdown, task: tokio::spawn(observer.run()) }
    }

    /// Appends an event about the message `number`.
    async fn append(&self, login: &str, number: u8, kind: EventKind) {
        let event = Event {
            at: self.parts.clock.now(),
            message: MessageId::from_bytes([number; 16]),
            login: login.into(),
            recipient: None,
            address: None,
            tags: Vec::new(),
            kind,
        };
        self.parts.recorder.record(vec![event]).await.unwrap();
    }

    async fn cancelled(&self, login: &str, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            self.append(login, number, EventKind::Cancelled).await;
        }
    }

    async fn log(&self) -> Vec<Event> {
        let page = self.parts.store.events(0, 10_000).await.unwrap();
        page.iter().filter_map(follower::read).map(|(_, event)| event).collect()
    }

    /// Messages of the events that `plugin` was told of `login`, in order, with those that came again.
    async fn told(&self, plugin: &str, login: &str) -> Vec<u8> {
        let mut seen: Vec<(u128, PluginRun)> = Vec::new();
        for event in self.log().await {
            if let EventKind::Observed { plugins } = &event.kind
                && event.login.as_ref() == login
            {
                let runs = plugins.iter().filter(|run| run.plugin == plugin).cloned();
                seen.extend(runs.map(|run| (u128::from_be_bytes(event.message.to_bytes()), run)));
            }
        }
        // A call is kept with each message that it was about.
        seen.dedup_by(|(_, one), (_, other)| one.log == other.log && one.micros == other.micros);
        let lines = seen.iter().flat_map(|(_, run)| &run.log);
        let message = |line: &String| line.strip_prefix("info: ").and_then(|id| id.split('-').next()).map(str::to_owned);
        lines.filter_map(message).map(|id| id.parse::<MessageId>().unwrap().to_bytes()[0]).collect()
    }

    async fn wait_told(&self, plugin: &str, login: &str, expected: &[u8]) {
        for _ in 0..3_000 {
            if self.told(plugin, login).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.told(plugin, login).await, expected, "{plugin} of {login}");
    }
}

fn built(plugins: Plugins, chains: &[(&str, &[&str])]) -> Chains {
    let step = |plugin: &&str| ChainStep {
        plugin: Arc::from(*plugin),
        when: When::Always,
        locked: false,
        share: None,
        shadow: None,
        options: serde_json::Map::new(),
        place: String::new(),
    };
    let chains = chains.iter().map(|(name, steps)| (Arc::from(*name), config::Chain { steps: steps.iter().map(step).collect() }));
    Chains::build(&chains.collect(), plugins, 1 << 20).unwrap()
}

/// Notes events, and fails in the first `failures` calls.
fn flaky(name: &'static str, failures: u32) -> (&'static str, Guest) {
    let mut guest = Guest::new(name).granted("kv");
    let (key, text) = (guest.text("calls"), guest.text("not yet"));
    let body = format!(
        "{NOTING} (if (result i32) (i64.le_s (call $increment {key}) (i64.const {failures}))
          (then (call $failure (i32.const 0) {text})) (else (call $verdict (i32.const 0))))"
    );
    (name, guest.event(body))
}

#[tokio::test]
async fn each_plugin_hears_of_the_logins_whose_chain_names_it() {
    let guests = vec![("a", Guest::noting("a")), ("b", Guest::noting("b")), ("deaf", Guest::adding("deaf", "X", "1"))];
    let bench = Bench::new(guests, &[("one", &["a", "deaf"]), ("two", &["b", "a"]), ("none", &[])]).await;
    bench.cancelled("one", 1..=3).await;
    let running = bench.start().await;
    // What was before it was there is not told.
    bench.cancelled("one", 4..=5).await;
    bench.cancelled("two", 6..=6).await;
    bench.cancelled("none", 7..=7).await;
    let visitor = Visitor::default();
    let followed = |plugin: &str| EventKind::Followed { plugin: plugin.into(), claims: "c".into(), url: None, visitor: visitor.clone() };
    bench.append("two", 8, followed("a")).await;
    bench.append("two", 9, EventKind::Rendered { plugins: Vec::new() }).await;
    bench.append("two", 10, followed("b")).await;
    bench.wait_told("a", "one", &[4, 5]).await;
    bench.wait_told("a", "two", &[6, 8]).await;
    bench.wait_told("b", "two", &[6, 10]).await;
    running.stop().await;
    assert!(bench.told("a", "none").await.is_empty());
    assert!(bench.parts.metrics.encode().contains("tubepost_plugin_events_total{plugin=\"a\"} 4"));
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let bench = Bench::new(vec![("a", Guest::noting("a"))], &[("one", &["a"])]).await;
    let running = bench.start().await;
    bench.cancelled("one", 1..=2).await;
    bench.wait_told("a", "one", &[1, 2]).await;
    running.stop().await;
    bench.cancelled("one", 3..=40).await;
    let running = bench.start().await;
    bench.cancelled("one", 41..=42).await;
    bench.wait_told("a", "one", &(1..=42).collect::<Vec<_>>()).await;
    // Whose plugin is in no chain any more hears nothing, and begins anew when it is in one again.
    let plugins = bench.parts.chains.current().plugins().clone();
    bench.parts.chains.replace(built(plugins.clone(), &[("one", &[])]));
    bench.cancelled("one", 43..=44).await;
    // It is written down that nobody listens.
    let listens = async || Ledger::open(Arc::clone(&bench.parts.store), bench.parts.clock.clone()).await.unwrap().since("a").is_some();
    while listens().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.parts.chains.replace(built(plugins, &[("one", &["a"])]));
    bench.cancelled("one", 45..=46).await;
    bench.wait_told("a", "one", &(1..=42).chain(45..=46).collect::<Vec<_>>()).await;
    running.stop().await;
}

#[tokio::test]
async fn who_fails_is_told_again_and_holds_nobody_up() {
    let guests = vec![flaky("flaky", 2), flaky("never", u32::MAX >> 1), ("a", Guest::noting("a"))];
    let bench = Bench::new(guests, &[("one", &["flaky", "never", "a"])]).await;
    let running = bench.start().await;
    bench.cancelled("one", 1..=1).await;
    bench.wait_told("a", "one", &[1]).await;
    // Its first failure is kept, and the call that succeeded.
    bench.wait_told("flaky", "one", &[1, 1]).await;
    // The first failure, and the last.
    bench.wait_told("never", "one", &[1, 1]).await;
    bench.cancelled("one", 2..=2).await;
    bench.wait_told("a", "one", &[1, 2]).await;
    bench.wait_told("flaky", "one", &[1, 1, 2]).await;
    bench.wait_told("never", "one", &[1, 1, 2, 2]).await;
    running.stop().await;
    let mut given_up = Vec::new();
    for event in bench.log().await {
        if let EventKind::PluginFailed { plugin, failure } = event.kind {
            given_up.push((plugin, failure));
        }
    }
    assert_eq!(given_up.len(), 2);
    assert!(
        given_up.iter().all(|(plugin, failure)| plugin == "never" && failure.contains("not yet") && failure.contains("given up")),
        "{given_up:?}"
    );
    assert!(bench.parts.metrics.encode().contains("tubepost_plugin_events_given_up_total{plugin=\"never\"} 2"));
}

#[tokio::test]
async fn what_was_cut_off_is_told_again() {
    let guests = vec![flaky("never", u32::MAX >> 1), ("a", Guest::noting("a"))];
    let mut bench = Bench::new(guests, &[("one", &["never", "a"])]).await;
    // It waits for its second try when the server ends.
    bench.parts.settings.retry = Duration::from_hours(1);
    let running = bench.start().await;
    bench.cancelled("one", 1..=30).await;
    bench.wait_told("a", "one", &(1..=30).collect::<Vec<_>>()).await;
    bench.wait_told("never", "one", &bench.told("never", "one").await).await;
    running.stop().await;
    bench.parts.settings.retry = Duration::from_millis(1);
    let running = bench.start().await;
    for _ in 0..3_000 {
        if bench.parts.metrics.encode().contains("tubepost_plugin_events_given_up_total{plugin=\"never\"} 30") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
    assert!(bench.parts.metrics.encode().contains("tubepost_plugin_events_given_up_total{plugin=\"never\"} 30"), "each came to its end");
    assert_eq!(bench.told("a", "one").await, (1..=30).collect::<Vec<_>>(), "the other one is told nothing twice");
}
