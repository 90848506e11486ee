//! A long queue for a destination that does not answer: what it takes of memory, whether other mail is slower beside it, and how long a start takes with it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::load::{self, Load};
use super::message::Sample;
use super::own_server::{CREDENTIALS, OwnServer, PARKED};
use super::process::Used;
use super::sink::Sink;
use crate::clock::Clock;

/// How long a round of other mail may take to be delivered.
const PATIENCE: Duration = Duration::from_mins(5);
/// Octets of a message.
const SIZE: usize = 1024;

/// How much to queue, and how to measure beside it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Recipients in the queue, none of which can be delivered.
    pub recipients: u64,
    /// Recipients of each queued message.
    pub per_message: u32,
    /// Messages of each round of other mail.
    pub messages: u64,
    /// Connections at once.
    pub sessions: u32,
    /// Rounds before, and with the queue.
    pub rounds: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Recipients in the queue.
    pub recipients: u64,
    /// Recipients of each queued message.
    pub per_message: u32,
    /// Resident memory before, in MB.
    pub memory_before_mb: f64,
    /// Resident memory with the queue, in MB.
    pub memory_mb: f64,
    /// The most that was resident, in MB.
    pub peak_memory_mb: f64,
    /// Other messages delivered per second, before.
    pub delivered_before: f64,
    /// The same with the queue, while its copies are tried and put off.
    pub delivered: f64,
    /// Other messages accepted per second, before.
    pub accepted_before: f64,
    /// The same with the queue.
    pub accepted: f64,
    /// Recipients accepted for the queue, per second.
    pub queued_per_second: f64,
    /// From the start of a process that was killed to its readiness, with the queue, in seconds.
    pub restart_s: f64,
    /// Resident memory after that start, in MB.
    pub memory_after_restart_mb: f64,
}

impl Figures {
    /// Returns what is not as it should be: other mail is slower by more than a tenth, the memory is more than 1 GiB, or a start takes 10 s.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let ratio = self.delivered / self.delivered_before;
        if ratio < 0.9 {
            faults.push(format!("other mail is delivered at {ratio:.2} of its speed; wanted: 0.9 at least"));
        }
        if self.peak_memory_mb > 1073.7 {
            faults.push(format!("{:.0} MB of memory; wanted: 1074 (1 GiB) at most", self.peak_memory_mb));
        }
        if self.restart_s >= 10.0 {
            faults.push(format!("a start takes {:.1} s; wanted: less than 10", self.restart_s));
        }
        faults
    }
}

/// Measures a server of our own.
///
/// # Errors
/// If it does not come up, or refuses mail.
pub async fn run(plan: Plan, clock: &Clock) -> Result<Figures> {
    let sink = Sink::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let mut own = OwnServer::start("", sink.address)?;
    let messages = plan.recipients.div_ceil(u64::from(plan.per_message.max(1)));
    let load = |server, (user, password): (&str, &str), messages, recipients| Load {
        server,
        sessions: plan.sessions,
        messages,
        recipients,
        sample: Sample::text(SIZE),
        credentials: Some((user.to_owned(), password.to_owned())),
        rate: None,
    };
    let address = own.smtp;
    // (delivered, accepted) per second.
    let other = async || -> Result<(f64, f64)> {
        let (mut delivered, mut accepted) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds.max(1) {
            let wanted = sink.counts.messages.load(Ordering::Acquire) + plan.messages;
            let started = clock.monotonic();
            let outcome = load::run(load(address, CREDENTIALS, plan.messages, 1), clock).await?;
            ensure!(outcome.refused == 0, "{} messages were refused", outcome.refused);
            let waited = tokio::time::timeout(PATIENCE, sink.counts.wait(wanted)).await;
            waited.context("other mail is not delivered beside the queue")?;
            accepted.push(outcome.rate());
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            delivered.push(plan.messages as f64 / clock.monotonic().saturating_sub(started).as_secs_f64().max(1e-9));
        }
        let median = |rates: &mut Vec<f64>| {
            rates.sort_by(f64::total_cmp);
            rates.get(rates.len() / 2).copied().context("one round at least")
        };
        Ok((median(&mut delivered)?, median(&mut accepted)?))
    };
    // Once for nothing: caches and connections are warm then.
    other().await?;
    let (delivered_before, accepted_before) = other().await?;
    let memory_before = Used::resident(own.process());
    let queued = load::run(load(address, PARKED, messages, plan.per_message), clock).await?;
    ensure!(queued.refused == 0, "{} messages of the queue were refused", queued.refused);
    let (delivered, accepted) = other().await?;
    let memory = Used::resident(own.process());
    let peak = Used::by_tree(own.process()).peak_memory;
    let restart = own.restart(clock)?;
    #[expect(clippy::cast_precision_loss, reason = "counts of recipients are far below 2^52")]
    let (left, all) = (own.metric("tubepost_queue_recipients", "").await?, (messages * u64::from(plan.per_message)) as f64);
    ensure!(left >= all, "{left} of {all} recipients are in the queue after the start");
    #[expect(clippy::cast_precision_loss, reason = "octets are far below 2^52")]
    let megabytes = |octets: u64| octets as f64 / 1e6;
    Ok(Figures {
        recipients: plan.recipients,
        per_message: plan.per_message,
        memory_before_mb: megabytes(memory_before),
        memory_mb: megabytes(memory),
        peak_memory_mb: megabytes(peak.max(Used::by_tree(own.process()).peak_memory)),
        delivered_before,
        delivered,
        accepted_before,
        accepted,
        queued_per_second: queued.rate() * f64::from(plan.per_message),
        restart_s: restart.as_secs_f64(),
        memory_after_restart_mb: megabytes(Used::resident(own.process())),
    })
}
