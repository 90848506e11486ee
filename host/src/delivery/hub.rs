//! What dispatcher and workers share: destinations, the count of connections, the way to the spool.
//!
//! A destination begins with one worker. One more is added whenever leased work waits, nobody is idle, and the last one that was added has its
//! connection; so a destination gets as many connections as it can use, up to its limit, without a burst of them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::DeliveryParts;
use super::connection::Connection;
use super::crowded::Crowded;
use super::dead_hosts::DeadHosts;
use super::destination::{Destination, Job, jobs};
use super::failing::Failing;
use super::flow::Flow;
use super::outcome::Settled;
use super::place::Place;
use super::policies::Policies;
use super::route::Surroundings;
use super::settings::Settings;
use super::shaping::group::Wait;
use super::shaping::{Allowance, Shaping, Slot};
use super::source::SourceBook;
use super::tls_report::Tallies;
use super::waiting::{FAILING, Waiting};
use super::worker::Worker;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config;
use crate::mail::message_id::CopyId;
use crate::spool::queue::{self, Lane};
use crate::spool::suspension::Suspension;
use crate::spool::{Leased, Spool};
use crate::store::{QueueName, StoreError};
use crate::suppression::Suppressions;
use crate::telemetry::metric::Metrics;

/// Rows that one lease takes, at least.
const LEASE_ROWS: u32 = 64;
/// What must be left of a lease for its copies to be given back: with less, others could have them already.
const HAND_BACK_TIME: Duration = Duration::from_secs(1);

/// What must be left of a lease when the last word of a server comes: what became of its copies is written down before others may have them.
const WRITE_TIME: Duration = Duration::from_secs(5);

pub(super) struct Hub {
    pub(super) spool: Spool,
    pub(super) suppressions: Suppressions,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) settings: RwLock<Arc<Settings>>,
    pub(super) metrics: Metrics,
    pub(super) dead_hosts: DeadHosts,
    pub(super) sources: SourceBook,
    pub(super) policies: Policies,
    pub(super) tallies: Tallies,
    pub(super) failing: Failing,
    pub(super) flow: Arc<Flow>,
    pub(super) shaping: Arc<Shaping>,
    /// Queues that wait for their group.
    pub(super) waiting: Waiting,
    /// No new work: running transactions end, the rest is given back.
    pub(super) draining: CancellationToken,
    /// The drain is over: workers end where they stand.
    pub(super) cut_off: CancellationToken,
    /// All connections are in use and a destination waits for one.
    pub(super) pressure: AtomicBool,
    /// Logins whose mail waits because they have all the connections that they may have.
    pub(super) crowded: Crowded,
    /// Wakes idle workers when there is pressure.
    pub(super) give_way: Notify,
    /// A connection is free again.
    pub(super) freed: Notify,
    pub(super) workers: TaskTracker,
    settled: mpsc::Sender<Settled>,
    pub(super) registry: Mutex<Registry>,
}

/// Who takes care of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// A worker was woken or added.
    Taken,
    /// Its workers are at work and come for more when they are done; it is worth to look soon whether they did.
    Busy,
    /// Nobody: no connection is left for it.
    LeftOut,
    /// Nobody: the login that it was to be worked on for has all the connections that it may have.
    Crowded,
    /// Nobody: the group that it belongs to has all that it may have now. Those that could not be reached the last time are such a group too.
    HeldBack {
        /// Which group; `None` where it is the queue alone.
        group: Option<Arc<str>>,
        wait: Wait,
    },
    /// Nobody: an operator wants nothing of it to be tried, until then or until he says so.
    Suspended(Option<Timestamp>),
}

#[derive(Default)]
pub(super) struct Registry {
    pub(super) destinations: BTreeMap<QueueName, Arc<Destination>>,
    pub(super) connections: u32,
    /// How many of them are there for the mail of each login, those with none excepted.
    pub(super) logins: BTreeMap<Arc<str>, u32>,
    /// Those of them that are on the way to a destination that could not be reached the last time.
    pub(super) failing: u32,
}

impl Registry {
    /// How many connections there are for the mail of a login.
    fn of_login(&self, share: &str) -> u32 {
        self.logins.get(share).copied().unwrap_or_default()
    }

    /// One connection less for the mail of a login.
    pub(super) fn leave_login(&mut self, share: &str) {
        if let Some(count) = self.logins.get_mut(share) {
            *count -= 1;
            if *count == 0 {
                self.logins.remove(share);
            }
        }
    }
}

impl Hub {
    pub(super) fn new(parts: DeliveryParts, settled: mpsc::Sender<Settled>) -> Arc<Self> {
        let DeliveryParts { spool, settings, clock, entropy, metrics } = parts;
        Arc::new(Self {
            suppressions: Suppressions::new(Arc::clone(spool.store()), clock.clone()),
            spool,
            clock,
            entropy,
            settings: RwLock::new(Arc::new(settings)),
            metrics,
            dead_hosts: DeadHosts::default(),
            sources: SourceBook::default(),
            policies: Policies::default(),
            tallies: Tallies::default(),
            failing: Failing::default(),
            flow: Arc::default(),
            shaping: Arc::default(),
            waiting: Waiting::default(),
            draining: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            pressure: AtomicBool::new(false),
            crowded: Crowded::default(),
            give_way: Notify::new(),
            freed: Notify::new(),
            workers: TaskTracker::new(),
            settled,
            registry: Mutex::default(),
        })
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.read().clone()
    }

    /// Returns what connecting needs, over a route of this name.
    pub(super) fn surroundings<'a>(&'a self, settings: &'a Settings, route: &'a str, lane: &'a Lane) -> Surroundings<'a> {
        Surroundings {
            name: &settings.name,
            route,
            limits: &settings.limits,
            dead_hosts: &self.dead_hosts,
            sources: &settings.sources,
            book: &self.sources,
            policies: &self.policies,
            tallies: &self.tallies,
            metrics: &self.metrics,
            lane,
            clock: &self.clock,
            entropy: &self.entropy,
            remember: false,
        }
    }

    /// Returns what holds for `queue`.
    pub(super) fn plan(&self, settings: &Settings, queue: &QueueName) -> Allowance {
        self.shaping.plan(&settings.limits.shaping, &settings.limits, &settings.backoff, queue)
    }

    /// How many connections are in use, idle, or being made.
    pub(super) fn connections(&self) -> u32 {
        self.registry.lock().connections
    }

    /// How many destinations are worked on.
    pub(super) fn destinations(&self) -> usize {
        self.registry.lock().destinations.len()
    }

    /// Says that `queue` has due rows, those of the login `share` among them.
    pub(super) fn wake(self: &Arc<Self>, queue: &QueueName, share: &Arc<str>) -> Woken {
        if let Some(suspension) = self.suspension(queue) {
            return Woken::Suspended(suspension.until);
        }
        let limits = self.settings();
        let plan = self.plan(&limits, queue);
        let mut registry = self.registry.lock();
        if let Some(destination) = registry.destinations.get(queue).cloned() {
            let (stalled, idle) = {
                let mut board = destination.board.lock();
                // Nobody has come for more since the last look.
                let stalled = std::mem::replace(&mut board.may_have_more, true) && board.idle == 0 && board.connecting == 0;
                let stalled = stalled && board.full_until <= self.clock.monotonic();
                if board.idle > 0 {
                    destination.work.notify_one();
                }
                (stalled && board.workers < plan.limits.connections, board.idle > 0)
            };
            let limits = &limits.limits;
            if stalled
                && registry.connections < limits.connections
                && !self.pressure.load(Ordering::Relaxed)
                && registry.of_login(&destination.share) < limits.login_connections
                && self.may_try(&registry, queue, limits)
                && let Ok(slot) = self.shaping.take(&plan, self.clock.monotonic())
            {
                self.add_worker(&mut registry, &destination, slot);
                return Woken::Taken;
            }
            return if idle { Woken::Taken } else { Woken::Busy };
        }
        if registry.connections >= limits.limits.connections {
            return Woken::LeftOut;
        }
        if registry.of_login(share) >= limits.limits.login_connections {
            self.crowded.add(share);
            return Woken::Crowded;
        }
        if !self.may_try(&registry, queue, &limits.limits) {
            return Woken::HeldBack { group: Some(FAILING.into()), wait: Wait::Connection };
        }
        // Taken here and not by the worker: one connection that is free wakes one queue, not all that wait for it.
        let slot = match self.shaping.take(&plan, self.clock.monotonic()) {
            Ok(slot) => slot,
            Err(wait) => {
                if wait == Wait::Connection {
                    self.shaping.want(&plan);
                    self.give_way.notify_waiters();
                }
                return Woken::HeldBack { group: (plan.group != *queue).then_some(plan.group), wait };
            }
        };
        let destination = Destination::new(queue.clone(), share.clone());
        destination.board.lock().may_have_more = true;
        registry.destinations.insert(queue.clone(), destination.clone());
        self.metrics.delivery().set_destinations(registry.destinations.len());
        self.add_worker(&mut registry, &destination, slot);
        Woken::Taken
    }

    /// Whether others wait for a connection that a worker with `plan` has, for the mail of `share`.
    pub(super) fn is_pressed(&self, plan: &Allowance, share: &str) -> bool {
        self.pressure.load(Ordering::Relaxed) || self.shaping.is_wanted(plan) || self.crowded.contains(share)
    }

    /// Waits until others need that connection.
    pub(super) async fn pressed(&self, plan: &Allowance, share: &str) {
        loop {
            self.give_way.notified().await;
            if self.is_pressed(plan, share) {
                return;
            }
        }
    }

    /// Returns why nothing of `queue` is tried now, if somebody wants that.
    pub(super) fn suspension(&self, queue: &str) -> Option<Suspension> {
        let (route, domain) = queue::split(queue);
        self.spool.suspensions().of_queue(route, domain, self.clock.now())
    }

    /// Adds a worker where work waits and one more may be had.
    pub(super) fn add_worker_if_needed(self: &Arc<Self>, destination: &Arc<Destination>) {
        if self.pressure.load(Ordering::Relaxed) || self.draining.is_cancelled() {
            return;
        }
        {
            let board = destination.board.lock();
            if board.jobs.is_empty() && !board.may_have_more {
                return;
            }
            if board.idle > 0 {
                destination.work.notify_one();
                return;
            }
            if board.connecting > 0 || board.full_until > self.clock.monotonic() {
                return;
            }
        }
        let settings = self.settings();
        let plan = self.plan(&settings, &destination.queue);
        let mut registry = self.registry.lock();
        let workers = destination.board.lock().workers;
        // With none left the destination is out of the registry: whoever asks is the last one and goes himself.
        if registry.connections < settings.limits.connections
            && registry.of_login(&destination.share) < settings.limits.login_connections
            && (1..plan.limits.connections).contains(&workers)
            && self.may_try(&registry, &destination.queue, &settings.limits)
            && let Ok(slot) = self.shaping.take(&plan, self.clock.monotonic())
        {
            self.add_worker(&mut registry, destination, slot);
        }
    }

    /// Whether a connection may be tried: to a destination that failed the last time only if not too many do that already.
    fn may_try(&self, registry: &Registry, queue: &str, limits: &config::Delivery) -> bool {
        registry.failing < limits.failing_connections || !self.failing.contains(queue, self.clock.monotonic())
    }

    fn add_worker(self: &Arc<Self>, registry: &mut Registry, destination: &Arc<Destination>, slot: Slot) {
        registry.connections += 1;
        *registry.logins.entry(Arc::clone(&destination.share)).or_default() += 1;
        let failing = self.failing.contains(&destination.queue, self.clock.monotonic());
        registry.failing += u32::from(failing);
        {
            let mut board = destination.board.lock();
            board.workers += 1;
            board.connecting += 1;
        }
        let place = Place::new(self.clone(), destination.clone(), failing);
        let cut_off = self.cut_off.clone();
        self.workers.spawn(async move { cut_off.run_until_cancelled(Box::pin(Worker::new(place, slot).run())).await });
    }

    /// Takes the next job of `destination`, leasing more where none waits. `None`: nothing is due.
    pub(super) async fn next_job(self: &Arc<Self>, destination: &Arc<Destination>) -> Option<Job> {
        if let Some(job) = self.pop(destination) {
            return Some(job);
        }
        let _leasing = destination.leasing.lock().await;
        loop {
            if let Some(job) = self.pop(destination) {
                return Some(job);
            }
            if self.draining.is_cancelled() || self.flow.is_stalled() || !std::mem::take(&mut destination.board.lock().may_have_more) {
                return None;
            }
            let settings = self.settings();
            let recipients = self.plan(&settings, &destination.queue).recipients_per_transaction;
            let rows = NonZeroU32::MIN.saturating_add(LEASE_ROWS.max(recipients) - 1);
            let until = self.clock.monotonic().saturating_add(settings.limits.lease);
            match self.spool.lease(&destination.queue, until, rows).await {
                Ok(leased) => {
                    let full = leased.len() >= usize::try_from(rows.get()).unwrap_or(usize::MAX);
                    let size = usize::try_from(recipients).unwrap_or(usize::MAX);
                    let mut board = destination.board.lock();
                    board.may_have_more |= full;
                    board.jobs.extend(jobs(leased, size, until));
                }
                Err(error) => {
                    // The dispatcher meets the same store and says it once.
                    tracing::debug!(queue = %destination.queue, "cannot lease: {error}");
                    return None;
                }
            }
        }
    }

    fn pop(self: &Arc<Self>, destination: &Arc<Destination>) -> Option<Job> {
        let (job, more) = {
            let mut board = destination.board.lock();
            (board.jobs.pop_front(), !board.jobs.is_empty())
        };
        if more {
            self.add_worker_if_needed(destination);
        }
        job
    }

    /// Hands over what is to be written down; waits where the store is behind.
    pub(super) async fn settle(&self, settled: Settled) {
        if settled.is_empty() {
            return;
        }
        self.flow.enter();
        let is_sent = match self.settled.try_send(settled) {
            Ok(()) => true,
            Err(TrySendError::Full(settled)) => {
                let sender = self.settled.clone();
                // In a task of its own: a worker that is cut off while it waits takes no outcome with it.
                let sending = self.workers.spawn(async move { sender.send(settled).await.is_ok() });
                sending.await.unwrap_or(false)
            }
            Err(TrySendError::Closed(_)) => false,
        };
        if !is_sent {
            self.flow.leave(1);
            tracing::debug!("outcomes are lost at the end of the drain: their leases run out and they are due again");
        }
    }

    /// Whether the source of a connection may send to so many more recipients today; if so, they are counted.
    pub(super) fn may_send(&self, connection: &Connection, settings: &Settings, recipients: usize) -> bool {
        let source = connection.source().and_then(|name| settings.sources.sources.get_key_value(name));
        source.is_none_or(|(name, source)| self.sources.take(name, source, recipients, self.clock.now()))
    }

    /// How long a server is waited for with copies whose lease ends at `until`: nobody else may have them before it is written down what became of them.
    pub(super) fn answers_until(until: Duration) -> Duration {
        until.saturating_sub(WRITE_TIME)
    }

    /// Whether there is time to begin an attempt whose lease ends at `until`. It is given up shortly before that end; what is begun too late is cut off while
    /// the server is about to answer, for which it has twice the time of a command (RFC 5321 §4.5.3.2.6). One that is `chained` behind another waits for that
    /// one's answer too.
    pub(super) fn is_in_time(&self, until: Duration, limits: &config::Delivery, chained: bool) -> bool {
        let answers = limits.command_time.saturating_mul(4).saturating_add(WRITE_TIME);
        let margin = if chained { answers.max(limits.lease / 2) } else { limits.lease / 2 };
        self.clock.monotonic().saturating_add(margin) < until
    }

    /// Whether a lease is not over: what became of its copies can be written down.
    pub(super) fn is_leased(&self, until: Duration) -> bool {
        self.clock.monotonic() + HAND_BACK_TIME < until
    }

    /// Gives back copies for which there is no time any more, unless others may have them.
    pub(super) async fn hand_back(&self, copies: Vec<Leased>, until: Duration) {
        if self.is_leased(until) {
            self.release(copies.into_iter().map(|leased| leased.copy).collect()).await;
        }
    }

    /// Gives copies back that were not tried.
    pub(super) async fn release(&self, copies: Vec<CopyId>) {
        if copies.is_empty() {
            return;
        }
        if let Err(error) = self.spool.store().release(copies).await {
            tracing::debug!("cannot give copies back, their leases run out: {error}");
        }
    }

    /// Gives back all that was leased and that no worker has taken yet.
    pub(super) async fn give_back_all(&self) {
        let destinations: Vec<_> = self.registry.lock().destinations.values().cloned().collect();
        self.release(destinations.iter().flat_map(|destination| destination.take_all()).collect()).await;
    }

    /// Keeps what a capture route would have sent.
    pub(super) async fn capture(&self, captures: Vec<(CopyId, Bytes)>) -> Result<(), StoreError> {
        self.spool.capture(captures).await
    }
}
