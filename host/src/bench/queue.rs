//! A long queue: what it takes of memory, and whether other mail is slower beside it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::load::{self, Load};
use super::message::Sample;
use super::own_server::{CREDENTIALS, OwnServer, PARKED};
use super::process::Used;
use super::sink::Sink;
use crate::clock::Clock;

/// How long a queue may take to build.
const PATIENCE: Duration = Duration::from_mins(20);
/// Octets of a message.
const SIZE: usize = 1024;

/// How much to queue, and how to measure beside it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Recipients in the queue, all deferred.
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
    /// Other messages accepted per second, before.
    pub accepted_before: f64,
    /// The same with the queue.
    pub accepted: f64,
}

/// Measures a server of our own.
///
/// # Errors
/// If it does not come up, or refuses mail.
pub async fn run(plan: Plan, clock: &Clock) -> Result<Figures> {
    let sink = Sink::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let own = OwnServer::start("", sink.address)?;
    let messages = plan.recipients.div_ceil(u64::from(plan.per_message.max(1)));
    let load = |(user, password): (&str, &str), messages, recipients| Load {
        server: own.smtp,
        sessions: plan.sessions,
        messages,
        recipients,
        sample: Sample::text(SIZE),
        credentials: Some((user.to_owned(), password.to_owned())),
        rate: None,
    };
    let other = async || -> Result<f64> {
        let mut rates = Vec::new();
        for _ in 0..plan.rounds.max(1) {
            rates.push(load::run(load(CREDENTIALS, plan.messages, 1), clock).await?.rate());
        }
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().context("one round at least")
    };
    let accepted_before = other().await?;
    let memory_before = Used::resident(own.process());
    load::run(load(PARKED, messages, plan.per_message), clock).await?;
    let deadline = clock.monotonic() + PATIENCE;
    #[expect(clippy::cast_precision_loss, reason = "counts of recipients are far below 2^52")]
    let all = (messages * u64::from(plan.per_message)) as f64;
    while own.metric("tubepost_recipients_total", "route=\"closed\",outcome=\"deferred\"").await? < all {
        anyhow::ensure!(clock.monotonic() < deadline, "the queue does not come to rest");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let memory = Used::resident(own.process());
    let accepted = other().await?;
    #[expect(clippy::cast_precision_loss, reason = "octets are far below 2^52")]
    let megabytes = |octets: u64| octets as f64 / 1e6;
    Ok(Figures {
        recipients: plan.recipients,
        per_message: plan.per_message,
        memory_before_mb: megabytes(memory_before),
        memory_mb: megabytes(memory),
        peak_memory_mb: megabytes(Used::by_tree(own.process()).peak_memory),
        accepted_before,
        accepted,
    })
}
