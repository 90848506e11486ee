//! What is measured, and how: a server of our own as a child process, or a peer that somebody else has started.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::load::{self, Load};
use super::message::Sample;
use super::own_server::{CREDENTIALS, OwnServer};
use super::process::Used;
use super::sink::Sink;
use crate::clock::Clock;

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// As it stands in the table.
    pub name: &'static str,
    /// What the messages look like.
    pub sample: Sample,
    /// The chain of the login that sends them, as TOML; "" is none.
    pub chain: &'static str,
    /// Messages come evenly spread, half as many per second as each server accepted in the scenario of this name: for latencies.
    pub half_of: Option<&'static str>,
}

/// The scenarios, in the order of the table.
pub fn all() -> Vec<Scenario> {
    const SMALL: &str = "no plugins, 1 KB";
    const HEADERS: &str =
        r#"["tags", { use = "list-unsubscribe", generate = false }, "tags", { use = "list-unsubscribe", generate = false }, "tags"]"#;
    const FULL: &str = r#"["tags", "template", "inline-css", "tracking", "list-unsubscribe"]"#;
    let text = |name, octets| Scenario { name, sample: Sample::text(octets), chain: "", half_of: None };
    let full = |name, octets| Scenario { name, sample: Sample::newsletter(octets), chain: FULL, half_of: None };
    vec![
        text(SMALL, 1024),
        Scenario { name: "no plugins, 1 KB, at half of that", half_of: Some(SMALL), ..text("", 1024) },
        text("no plugins, 10 KB", 10 * 1024),
        text("no plugins, 100 KB", 100 * 1024),
        Scenario { name: "five header-only plugins, 1 KB", chain: HEADERS, ..text("", 1024) },
        full("full chain, 10 KB HTML", 10 * 1024),
        full("full chain, 50 KB newsletter", 50 * 1024),
        full("full chain, 60 KB newsletter", 60 * 1024),
    ]
}

/// A server to measure.
#[derive(Clone, Debug)]
pub enum Server {
    /// This binary, started anew for each round.
    Tubepost,
    /// Somebody else's, running, relaying all mail to `sink` without plugins.
    Peer {
        /// As it stands in the table.
        name: String,
        /// Where it takes mail without authentication.
        address: SocketAddr,
        /// Where it sends all mail.
        sink: SocketAddr,
        /// Its first process.
        process: u32,
    },
}

impl Server {
    /// Returns the name in the table.
    pub fn name(&self) -> &str {
        match self {
            Self::Tubepost => "tubepost",
            Self::Peer { name, .. } => name,
        }
    }
}

/// What one round gave.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// Messages answered 250, per second.
    pub accepted_per_second: f64,
    /// Messages at the sink, per second, from the first MAIL on.
    pub delivered_per_second: f64,
    /// Half of the messages were answered within this, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
    /// Processor time of the server for each message, in milliseconds.
    pub processor_ms: f64,
    /// Time in calls of plugins for each message, with what the host does on their behalf, in milliseconds; our own server only.
    pub plugins_ms: f64,
    /// The most memory that the server had, in MB.
    pub memory_mb: f64,
}

impl Figures {
    /// Takes the median of each figure over `rounds`.
    pub fn median(rounds: &[Self]) -> Self {
        let middle = |figure: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            accepted_per_second: middle(|f| f.accepted_per_second),
            delivered_per_second: middle(|f| f.delivered_per_second),
            p50_ms: middle(|f| f.p50_ms),
            p99_ms: middle(|f| f.p99_ms),
            processor_ms: middle(|f| f.processor_ms),
            plugins_ms: middle(|f| f.plugins_ms),
            memory_mb: middle(|f| f.memory_mb),
        }
    }
}

/// How hard to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Connections at once.
    pub sessions: u32,
    /// Messages in a round.
    pub messages: u64,
    /// Messages per second; none given is as many as go.
    pub rate: Option<f64>,
}

/// Runs one round.
///
/// # Errors
/// If the server does not come up, refuses mail, or does not deliver all of it within five minutes.
pub async fn round(server: &Server, scenario: &Scenario, effort: Effort, clock: &Clock) -> Result<Figures> {
    match server {
        Server::Tubepost => {
            let sink = Sink::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
            let own = OwnServer::start("own", scenario.chain, sink.address)?;
            measure(Subject { address: own.smtp, process: own.process(), own: Some(&own) }, &sink, scenario, effort, clock).await
        }
        Server::Peer { address, sink, process, .. } => {
            let sink = Sink::start(*sink).await?;
            let figures = measure(Subject { address: *address, process: *process, own: None }, &sink, scenario, effort, clock).await;
            sink.stop();
            figures
        }
    }
}

/// Whom a round measures.
struct Subject<'a> {
    address: SocketAddr,
    process: u32,
    own: Option<&'a OwnServer>,
}

impl Subject<'_> {
    /// Seconds in calls of plugins so far.
    async fn in_plugins(&self) -> Result<f64> {
        match self.own {
            Some(own) => own.metric("tubepost_plugin_time_seconds_sum", "").await,
            None => Ok(0.0),
        }
    }
}

async fn measure(subject: Subject<'_>, sink: &Sink, scenario: &Scenario, effort: Effort, clock: &Clock) -> Result<Figures> {
    let load = |messages| Load {
        server: subject.address,
        sessions: effort.sessions,
        messages,
        recipients: 1,
        sample: scenario.sample.clone(),
        credentials: subject.own.map(|_| (CREDENTIALS.0.to_owned(), CREDENTIALS.1.to_owned())),
        rate: None,
    };
    // Connections, caches and compiled plugins are warm before anything is counted.
    let warm = u64::from(effort.sessions) * 2;
    load::run(load(warm), clock).await?;
    delivered(sink, warm).await?;
    let (before, plugins) = (Used::by_tree(subject.process), subject.in_plugins().await?);
    let started = clock.monotonic();
    let outcome = load::run(Load { rate: effort.rate, ..load(effort.messages) }, clock).await?;
    if outcome.refused > 0 {
        bail!("{} of {} messages were refused", outcome.refused, effort.messages);
    }
    delivered(sink, warm + effort.messages).await?;
    let time = clock.monotonic().saturating_sub(started);
    let used = Used::by_tree(subject.process).since(before);
    let plugins = subject.in_plugins().await? - plugins;
    #[expect(clippy::cast_precision_loss, reason = "counts and octets are far below 2^52")]
    let (messages, memory) = (effort.messages as f64, used.peak_memory as f64);
    Ok(Figures {
        accepted_per_second: outcome.rate(),
        delivered_per_second: messages / time.as_secs_f64().max(1e-9),
        p50_ms: outcome.percentile(0.5).as_secs_f64() * 1e3,
        p99_ms: outcome.percentile(0.99).as_secs_f64() * 1e3,
        processor_ms: used.processor.as_secs_f64() * 1e3 / messages,
        plugins_ms: plugins * 1e3 / messages,
        memory_mb: memory / 1e6,
    })
}

async fn delivered(sink: &Sink, messages: u64) -> Result<()> {
    let patience = Duration::from_mins(5);
    let waited = tokio::time::timeout(patience, sink.counts.wait(messages)).await;
    waited.with_context(|| format!("{} of {messages} messages reached the sink", sink.counts.messages.load(Ordering::Acquire)))
}
