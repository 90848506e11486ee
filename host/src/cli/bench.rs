//! `tubepost bench`: the table of figures.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::Format;
use super::output::{announce, json, line, table};
use crate::bench::queue::{self, Plan};
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
    /// Measures a queue of so many recipients that cannot be delivered instead: memory, other mail beside it, a start with it. Two servers take turns,
    /// with the queue and without, a pair of rounds for each of `--rounds`. Fails where other mail is slower by more than a tenth, memory is above 1 GiB,
    /// or the start takes 10 s.
    #[arg(long, value_name = "RECIPIENTS")]
    queue: Option<u64>,
    /// Recipients of each message of that queue.
    #[arg(long, default_value_t = 1, requires = "queue")]
    queue_recipients: u32,
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
    if let Some(recipients) = options.queue {
        return measure_queue(&options, recipients, &clock).await;
    }
    let peers = options.peer.iter().map(|text| peer(text)).collect::<Result<Vec<_>>>()?;
    let mut lines = Vec::new();
    let all = scenario::all();
    for scenario in &all {
        // What others are measured by half of is measured with them.
        let is_wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
        if !is_wanted(scenario.name) && !all.iter().any(|other| other.half_of == Some(scenario.name) && is_wanted(other.name)) {
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
                let mut effort = effort(&options, scenario);
                if let Some(of) = scenario.half_of {
                    let full = find(&lines, of, server.name()).with_context(|| format!("{of:?} must be measured first"))?;
                    effort.rate = Some(full.accepted_per_second / 2.0);
                }
                let round = scenario::round(server, scenario, effort, &clock).await;
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

fn find(lines: &[Line], scenario: &str, server: &str) -> Option<Figures> {
    lines.iter().find(|line| line.scenario == scenario && line.server == server).map(|line| line.figures)
}

async fn measure_queue(options: &Options, recipients: u64, clock: &Clock) -> Result<ExitCode> {
    let Options { queue_recipients: per_message, messages, sessions, rounds, .. } = *options;
    let f = queue::run(Plan { recipients, per_message, messages, sessions, rounds }, clock).await?;
    let faults = f.faults();
    if options.format.json {
        json(&f)?;
    } else {
        let row = vec![
            f.recipients.to_string(),
            f.per_message.to_string(),
            format!("{:.0}", f.queued_per_second),
            format!("{:.0}", f.memory_before_mb),
            format!("{:.0}", f.memory_mb),
            format!("{:.0}", f.peak_memory_mb),
            format!("{:.0}", f.delivered_without),
            format!("{:.0}", f.delivered_with),
            format!("{:.2} x ({:.2} to {:.2})", f.delivered_ratio, f.delivered_ratio_low, f.delivered_ratio_high),
            format!("{:.2} x", f.accepted_ratio),
            format!("{:.1}", f.restart_s),
            format!("{:.0}", f.memory_after_restart_mb),
        ];
        line("");
        let head = [
            "QUEUED",
            "PER MESSAGE",
            "QUEUED/S",
            "MEMORY BEFORE MB",
            "WITH IT MB",
            "PEAK MB",
            "OTHERS DELIVERED/S WITHOUT",
            "WITH IT",
            "RATIO (HALF OF THE PAIRS)",
            "ACCEPTED RATIO",
            "START S",
            "MEMORY AFTER IT MB",
        ];
        table(&head, &[row]);
        for fault in &faults {
            line(format!("not good: {fault}"));
        }
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(lines: &[Line]) {
    let own = |scenario: &str| find(lines, scenario, "tubepost");
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
                format!("{:.3}", f.processor_ms),
                if f.plugins_ms > 0.0 { format!("{:.3}", f.plugins_ms) } else { String::new() },
                format!("{:.0}", f.memory_mb),
                ratio,
            ]
        })
        .collect();
    line("");
    table(
        &[
            "SCENARIO",
            "SERVER",
            "ACCEPTED/S",
            "DELIVERED/S",
            "P50 MS",
            "P99 MS",
            "CPU MS",
            "IN PLUGINS MS",
            "MEMORY MB",
            "TUBEPOST AGAINST IT",
        ],
        &rows,
    );
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
