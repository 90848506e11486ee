//! `tubepost bench`: the table of figures.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::Format;
use super::output::{announce, json, line, table};
use crate::bench::scenario::{self, Effort, Figures, Scenario, Server};
use crate::clock::Clock;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    format: Format,
    /// Connections at once.
    #[arg(long, default_value_t = 50)]
    sessions: u32,
    /// Messages in a round; a tenth of it for messages of 50 KB and more.
    #[arg(long, default_value_t = 5000)]
    messages: u64,
    /// Rounds; the medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Messages per second, evenly spread; as many as go where not given.
    #[arg(long)]
    rate: Option<f64>,
    /// Only scenarios whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Measures a running peer in the same run: `NAME,SUBMISSION_ADDRESS,SINK_ADDRESS,PROCESS_ID`. It must take mail without authentication and relay
    /// all of it to the sink's address.
    #[arg(long, value_name = "PEER")]
    peer: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    scenario: &'static str,
    server: String,
    #[serde(flatten)]
    figures: Figures,
}

pub(super) fn run(options: Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: Options) -> Result<ExitCode> {
    let clock = Clock::system();
    let peers = options.peer.iter().map(|text| peer(text)).collect::<Result<Vec<_>>>()?;
    let mut lines = Vec::new();
    for scenario in scenario::all() {
        if options.only.as_ref().is_some_and(|only| !scenario.name.contains(only.as_str())) {
            continue;
        }
        let mut servers = vec![Server::Tubepost];
        // Peers run no plugins: a scenario with a chain is compared with their bare relaying of the same message.
        servers.extend(peers.iter().cloned());
        let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); servers.len()];
        for number in 0..options.rounds.max(1) {
            for (server, figures) in servers.iter().zip(&mut rounds) {
                if !options.format.json {
                    announce(format!("{}: {}, round {} of {}", scenario.name, server.name(), number + 1, options.rounds));
                }
                let round = scenario::round(server, &scenario, effort(&options, &scenario), &clock).await;
                figures.push(round.with_context(|| format!("{}: {}", scenario.name, server.name()))?);
            }
        }
        for (server, figures) in servers.iter().zip(&rounds) {
            lines.push(Line { scenario: scenario.name, server: server.name().to_owned(), figures: Figures::median(figures) });
        }
    }
    if options.format.json {
        json(&lines)?;
    } else {
        print(&lines);
    }
    Ok(ExitCode::SUCCESS)
}

fn effort(options: &Options, scenario: &Scenario) -> Effort {
    let messages = if scenario.sample.size() >= 50_000 { options.messages / 10 } else { options.messages };
    Effort { sessions: options.sessions, messages: messages.max(u64::from(options.sessions)), rate: options.rate }
}

fn print(lines: &[Line]) {
    let own = |scenario: &str| lines.iter().find(|line| line.scenario == scenario && line.server == "tubepost").map(|line| line.figures);
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let f = line.figures;
            let ratio = match own(line.scenario) {
                Some(own) if line.server != "tubepost" => format!(
                    "{:.2} x accepted, {:.2} x delivered, {:.2} x CPU",
                    own.accepted_per_second / f.accepted_per_second,
                    own.delivered_per_second / f.delivered_per_second,
                    own.processor_ms / f.processor_ms
                ),
                _ => String::new(),
            };
            vec![
                line.scenario.to_owned(),
                line.server.clone(),
                format!("{:.0}", f.accepted_per_second),
                format!("{:.0}", f.delivered_per_second),
                format!("{:.1}", f.p50_ms),
                format!("{:.1}", f.p99_ms),
                format!("{:.2}", f.processor_ms),
                format!("{:.0}", f.memory_mb),
                ratio,
            ]
        })
        .collect();
    line("");
    table(&["SCENARIO", "SERVER", "ACCEPTED/S", "DELIVERED/S", "P50 MS", "P99 MS", "CPU MS", "MEMORY MB", "TUBEPOST AGAINST IT"], &rows);
}

fn peer(text: &str) -> Result<Server> {
    let parts: Vec<&str> = text.split(',').collect();
    let [name, address, sink, process] = parts.as_slice() else {
        anyhow::bail!("a peer is NAME,SUBMISSION_ADDRESS,SINK_ADDRESS,PROCESS_ID, not {text:?}");
    };
    let parsed = |text: &str| -> Result<SocketAddr> { text.parse().with_context(|| format!("{text:?} is no address with a port")) };
    Ok(Server::Peer {
        name: (*name).to_owned(),
        address: parsed(address)?,
        sink: parsed(sink)?,
        process: process.parse().context("a process id")?,
    })
}
