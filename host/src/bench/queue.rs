//! A long queue for a destination that does not answer: what it takes of memory, whether other mail is slower beside it, and how long a start takes with it.
//!
//! Two servers take turns, one with the queue and one without, and the one whose turn it is not stands still: a machine whose speed changes from one
//! second to the next tells nothing by what it did a minute ago. Time goes on for it meanwhile: copies that became due are put off in its next turn (no more of
//! them than a second's worth), which counts against the queue.

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
/// The share of its speed that other mail must keep.
const LEAST_RATIO: f64 = 0.9;
/// The most that may be resident: 1 GiB, in MB.
const MOST_MEMORY_MB: f64 = 1073.7;
/// The longest that a start may take, in seconds.
const LONGEST_START_S: f64 = 10.0;

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
    /// Pairs of rounds: one without, and one with the queue.
    pub rounds: u32,
}

/// What came of it. Speeds are medians over the rounds; ratios are medians over the pairs of rounds, of what was with the queue to what was without.
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
    /// Other messages delivered per second, without the queue.
    pub delivered_without: f64,
    /// The same with the queue, while its copies are tried and put off.
    pub delivered_with: f64,
    /// Of the pairs: other messages delivered.
    pub delivered_ratio: f64,
    /// A quarter of the pairs had less than this.
    pub delivered_ratio_low: f64,
    /// A quarter of the pairs had more than this.
    pub delivered_ratio_high: f64,
    /// Of the pairs: other messages accepted.
    pub accepted_ratio: f64,
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
        if self.delivered_ratio < LEAST_RATIO {
            faults.push(format!("other mail is delivered at {:.2} of its speed; wanted: {LEAST_RATIO} at least", self.delivered_ratio));
        }
        if self.peak_memory_mb > MOST_MEMORY_MB {
            faults.push(format!("{:.0} MB of memory; wanted: {MOST_MEMORY_MB:.0} (1 GiB) at most", self.peak_memory_mb));
        }
        if self.restart_s >= LONGEST_START_S {
            faults.push(format!("a start takes {:.1} s; wanted: less than {LONGEST_START_S:.0}", self.restart_s));
        }
        faults
    }
}

/// What can be asked of a server.
struct Course<'a> {
    plan: Plan,
    sink: &'a Sink,
    clock: &'a Clock,
}

/// A round of other mail, in messages per second.
#[derive(Clone, Copy)]
struct Round {
    delivered: f64,
    accepted: f64,
}

impl Course<'_> {
    fn load(&self, server: SocketAddr, (user, password): (&str, &str), messages: u64, recipients: u32) -> Load {
        Load {
            server,
            sessions: self.plan.sessions,
            messages,
            recipients,
            sample: Sample::text(SIZE),
            credentials: Some((user.to_owned(), password.to_owned())),
            rate: None,
        }
    }

    /// Sends mail that can be delivered, until all of it is; the server stands still before and after.
    async fn round(&self, own: &OwnServer) -> Result<Round> {
        own.resume()?;
        let Plan { messages, .. } = self.plan;
        let wanted = self.sink.counts.messages.load(Ordering::Acquire) + messages;
        let started = self.clock.monotonic();
        let outcome = load::run(self.load(own.smtp, CREDENTIALS, messages, 1), self.clock).await?;
        ensure!(outcome.refused == 0, "{} messages were refused", outcome.refused);
        let waited = tokio::time::timeout(PATIENCE, self.sink.counts.wait(wanted)).await;
        waited.context("other mail is not delivered beside the queue")?;
        let time = self.clock.monotonic().saturating_sub(started);
        own.pause()?;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let delivered = messages as f64 / time.as_secs_f64().max(1e-9);
        Ok(Round { delivered, accepted: outcome.rate() })
    }

    /// Queues what cannot be delivered; returns recipients per second, and how many they are.
    async fn queue(&self, own: &OwnServer) -> Result<(f64, u64)> {
        own.resume()?;
        let Plan { recipients, per_message, .. } = self.plan;
        let messages = recipients.div_ceil(u64::from(per_message.max(1)));
        let queued = load::run(self.load(own.smtp, PARKED, messages, per_message), self.clock).await?;
        ensure!(queued.refused == 0, "{} messages of the queue were refused", queued.refused);
        own.pause()?;
        Ok((queued.rate() * f64::from(per_message), messages * u64::from(per_message)))
    }
}

/// Measures two servers of our own, in turns.
///
/// # Errors
/// If one does not come up, or refuses mail.
pub async fn run(plan: Plan, clock: &Clock) -> Result<Figures> {
    let sink = Sink::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let (without, mut with) = (OwnServer::start("without", "", sink.address)?, OwnServer::start("with", "", sink.address)?);
    let course = Course { plan, sink: &sink, clock };
    for own in [&without, &with] {
        own.pause()?;
    }
    // For nothing: caches and connections are warm then.
    for _ in 0..plan.rounds.max(1) {
        course.round(&without).await?;
        course.round(&with).await?;
    }
    let memory_before = Used::resident(with.process());
    let (queued_per_second, queued) = course.queue(&with).await?;
    let (mut rounds_without, mut rounds_with) = (Vec::new(), Vec::new());
    for number in 0..plan.rounds.max(1) {
        // Neither is always the first.
        if number % 2 == 0 {
            rounds_with.push(course.round(&with).await?);
            rounds_without.push(course.round(&without).await?);
        } else {
            rounds_without.push(course.round(&without).await?);
            rounds_with.push(course.round(&with).await?);
        }
    }
    let memory = Used::resident(with.process());
    let peak = Used::by_tree(with.process()).peak_memory;
    let restart = with.restart(clock)?;
    #[expect(clippy::cast_precision_loss, reason = "counts of recipients are far below 2^52")]
    let (left, all) = (with.metric("tubepost_queue_recipients", "").await?, queued as f64);
    ensure!(left >= all, "{left} of {all} recipients are in the queue after the start");
    #[expect(clippy::cast_precision_loss, reason = "octets are far below 2^52")]
    let megabytes = |octets: u64| octets as f64 / 1e6;
    let ratios =
        |of: fn(&Round) -> f64| rounds_with.iter().zip(&rounds_without).map(|(with, without)| of(with) / of(without)).collect::<Vec<_>>();
    let delivered_ratios = ratios(|round| round.delivered);
    Ok(Figures {
        recipients: plan.recipients,
        per_message: plan.per_message,
        memory_before_mb: megabytes(memory_before),
        memory_mb: megabytes(memory),
        peak_memory_mb: megabytes(peak.max(Used::by_tree(with.process()).peak_memory)),
        delivered_without: quantile(rounds_without.iter().map(|round| round.delivered), 0.5)?,
        delivered_with: quantile(rounds_with.iter().map(|round| round.delivered), 0.5)?,
        delivered_ratio: quantile(delivered_ratios.iter().copied(), 0.5)?,
        delivered_ratio_low: quantile(delivered_ratios.iter().copied(), 0.25)?,
        delivered_ratio_high: quantile(delivered_ratios.iter().copied(), 0.75)?,
        accepted_ratio: quantile(ratios(|round| round.accepted), 0.5)?,
        queued_per_second,
        restart_s: restart.as_secs_f64(),
        memory_after_restart_mb: megabytes(Used::resident(with.process())),
    })
}

/// Returns the value that `share` of all are not above; the mean of two where it lies between them.
fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> Result<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "counts of rounds are far below 2^52")]
    let place = share * sorted.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a list")]
    let at = |place: f64| sorted.get(place as usize).copied().context("one round at least");
    let (below, above) = (at(place.floor())?, at(place.ceil())?);
    Ok(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests fail by panicking, and these numbers are exact")]
    use super::quantile;

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        assert_eq!(quantile([3.0, 1.0, 2.0], 0.5).unwrap(), 2.0);
        assert_eq!(quantile([4.0, 1.0, 2.0, 3.0], 0.5).unwrap(), 2.5);
        assert_eq!(quantile([5.0, 1.0, 2.0, 3.0, 4.0], 0.25).unwrap(), 2.0);
        assert_eq!(quantile([7.0], 0.75).unwrap(), 7.0);
        assert!(quantile([], 0.5).is_err());
    }
}
