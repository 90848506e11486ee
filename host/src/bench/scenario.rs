//! What is measured, and how: a server of our own as a child process, or a peer that somebody else has started.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::load::{self, Load};
use super::message::Sample;
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
}

/// The scenarios, in the order of the table.
pub fn all() -> Vec<Scenario> {
    const HEADERS: &str =
        r#"["tags", { use = "list-unsubscribe", generate = false }, "tags", { use = "list-unsubscribe", generate = false }, "tags"]"#;
    const FULL: &str = r#"["tags", "template", "inline-css", "tracking", "list-unsubscribe"]"#;
    let text = |name, octets| Scenario { name, sample: Sample::text(octets), chain: "" };
    vec![
        text("no plugins, 1 KB", 1024),
        text("no plugins, 10 KB", 10 * 1024),
        text("no plugins, 100 KB", 100 * 1024),
        Scenario { name: "five header-only plugins, 1 KB", sample: Sample::text(1024), chain: HEADERS },
        Scenario { name: "full chain, 10 KB HTML", sample: Sample::newsletter(10 * 1024), chain: FULL },
        Scenario { name: "full chain, 50 KB newsletter", sample: Sample::newsletter(50 * 1024), chain: FULL },
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
            let own = OwnServer::start(scenario.chain, sink.address)?;
            let credentials = Some(("bench".to_owned(), "bench".to_owned()));
            measure(own.address, own.child.id(), credentials, &sink, scenario, effort, clock).await
        }
        Server::Peer { address, sink, process, .. } => {
            let sink = Sink::start(*sink).await?;
            let figures = measure(*address, *process, None, &sink, scenario, effort, clock).await;
            sink.stop();
            figures
        }
    }
}

async fn measure(
    server: SocketAddr,
    process: u32,
    credentials: Option<(String, String)>,
    sink: &Sink,
    scenario: &Scenario,
    effort: Effort,
    clock: &Clock,
) -> Result<Figures> {
    let load = |messages| Load {
        server,
        sessions: effort.sessions,
        messages,
        sample: scenario.sample.clone(),
        credentials: credentials.clone(),
        rate: None,
    };
    // Connections, caches and compiled plugins are warm before anything is counted.
    let warm = u64::from(effort.sessions) * 2;
    load::run(load(warm), clock).await?;
    delivered(sink, warm).await?;
    let before = Used::by_tree(process);
    let started = clock.monotonic();
    let outcome = load::run(Load { rate: effort.rate, ..load(effort.messages) }, clock).await?;
    if outcome.refused > 0 {
        bail!("{} of {} messages were refused", outcome.refused, effort.messages);
    }
    delivered(sink, warm + effort.messages).await?;
    let time = clock.monotonic().saturating_sub(started);
    let used = Used::by_tree(process).since(before);
    #[expect(clippy::cast_precision_loss, reason = "counts and octets are far below 2^52")]
    let (messages, memory) = (effort.messages as f64, used.peak_memory as f64);
    Ok(Figures {
        accepted_per_second: outcome.rate(),
        delivered_per_second: messages / time.as_secs_f64().max(1e-9),
        p50_ms: outcome.percentile(0.5).as_secs_f64() * 1e3,
        p99_ms: outcome.percentile(0.99).as_secs_f64() * 1e3,
        processor_ms: used.processor.as_secs_f64() * 1e3 / messages,
        memory_mb: memory / 1e6,
    })
}

async fn delivered(sink: &Sink, messages: u64) -> Result<()> {
    let patience = Duration::from_mins(5);
    let waited = tokio::time::timeout(patience, sink.counts.wait(messages)).await;
    waited.with_context(|| format!("{} of {messages} messages reached the sink", sink.counts.messages.load(Ordering::Acquire)))
}

/// A server of our own with a folder of its own; gone when dropped.
struct OwnServer {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl OwnServer {
    fn start(chain: &str, sink: SocketAddr) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tubepost-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("tubepost.toml");
        std::fs::write(&config, configuration(chain, sink))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--log", "warn", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let address = bound_address(&mut child);
        let mut own = Self { child, address: sink, folder };
        own.address = address?;
        Ok(own)
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}

fn bound_address(child: &mut Child) -> Result<SocketAddr> {
    let output = child.stdout.take().context("standard output is piped")?;
    let mut address = None;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("listening on smtp ") {
            address = rest.split(' ').next().and_then(|text| text.parse().ok());
        }
        if line == "ready" {
            return address.context("no SMTP listener");
        }
    }
    bail!("the server did not come up")
}

fn configuration(chain: &str, sink: SocketAddr) -> String {
    // The hash of "bench" with the least parameters: hashing a password is not what is measured.
    const PASSWORD: &str = "$argon2id$v=19$m=64,t=1,p=1$dHViZXBvc3RiZW5jaA$BtIKJcuYU83sbEiiBoIaW9R85G1LKA7kmc2uzO2TiIE";
    let (chains, of_login) =
        if chain.is_empty() { (String::new(), "") } else { (format!("[chains]\nbench = {chain}\n"), "chain = \"bench\"\n") };
    format!(
        "[server]\nhostname = \"bench.example.com\"\ndata = \"data\"\npublic_url = \"https://links.example.com\"\n\
         [[listen]]\nkind = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [smtp]\nconnections_per_address = 1000\nmessages_per_session = 1000000\n\
         {chains}[[logins]]\nname = \"bench\"\nusername = \"bench\"\npassword = \"{PASSWORD}\"\nroute = \"sink\"\n{of_login}\
         [routes.sink]\nkind = \"smarthost\"\nhost = \"{}\"\nport = {}\ntls = \"none\"\n",
        sink.ip(),
        sink.port()
    )
}
