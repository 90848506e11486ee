//! What dispatcher and workers share: destinations, the count of connections, the way to the spool.
//!
//! A destination begins with one worker. One more is added whenever leased work waits, nobody is idle, and the last one that was added has its
//! connection; so a destination gets as many connections as it can use, up to its limit, without a burst of them.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::DeliveryParts;
use super::dead_hosts::DeadHosts;
use super::destination::{Board, Destination, Job, jobs};
use super::outcome::Settled;
use super::settings::Settings;
use super::worker::Worker;
use crate::clock::{Clock, Entropy};
use crate::mail::message_id::CopyId;
use crate::spool::Spool;
use crate::store::{QueueName, StoreError};
use crate::telemetry::metric::Metrics;

/// Rows that one lease takes, at least.
const LEASE_ROWS: u32 = 64;
/// An attempt is not begun when less than this is left of its lease, and is given up at its end: nobody else may have the copy meanwhile.
pub(super) const LEASE_MARGIN: Duration = Duration::from_secs(5);

pub(super) struct Hub {
    pub(super) spool: Spool,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) settings: RwLock<Arc<Settings>>,
    pub(super) metrics: Metrics,
    pub(super) dead_hosts: DeadHosts,
    /// No new work: running transactions end, the rest is given back.
    pub(super) draining: CancellationToken,
    /// The drain is over: workers end where they stand.
    pub(super) cut_off: CancellationToken,
    /// All connections are in use and a destination waits for one.
    pub(super) pressure: AtomicBool,
    /// Wakes idle workers when there is pressure.
    pub(super) give_way: Notify,
    /// A connection is free again.
    pub(super) freed: Notify,
    pub(super) workers: TaskTracker,
    settled: mpsc::Sender<Settled>,
    registry: Mutex<Registry>,
}

/// Who takes care of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// A worker was woken or added.
    Taken,
    /// Its workers are at work and come for more when they are done; it is worth to look soon whether they did.
    Busy,
    /// Nobody: no connection is left for it.
    LeftOut,
}

#[derive(Default)]
struct Registry {
    destinations: BTreeMap<QueueName, Arc<Destination>>,
    connections: u32,
}

impl Hub {
    pub(super) fn new(parts: DeliveryParts, settled: mpsc::Sender<Settled>) -> Arc<Self> {
        let DeliveryParts { spool, settings, clock, entropy, metrics } = parts;
        Arc::new(Self {
            spool,
            clock,
            entropy,
            settings: RwLock::new(Arc::new(settings)),
            metrics,
            dead_hosts: DeadHosts::default(),
            draining: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            pressure: AtomicBool::new(false),
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

    /// How many connections are in use, idle, or being made.
    pub(super) fn connections(&self) -> u32 {
        self.registry.lock().connections
    }

    /// How many destinations are worked on.
    pub(super) fn destinations(&self) -> usize {
        self.registry.lock().destinations.len()
    }

    /// Says that `queue` has due rows.
    pub(super) fn wake(self: &Arc<Self>, queue: &QueueName) -> Woken {
        let limits = self.settings();
        let mut registry = self.registry.lock();
        if let Some(destination) = registry.destinations.get(queue).cloned() {
            let (stalled, idle) = {
                let mut board = destination.board.lock();
                // Nobody has come for more since the last look.
                let stalled = std::mem::replace(&mut board.may_have_more, true) && board.idle == 0 && board.connecting == 0;
                let stalled = stalled && board.crowded_until <= self.clock.monotonic();
                if board.idle > 0 {
                    destination.work.notify_one();
                }
                (stalled && board.workers < limits.limits.connections_per_destination, board.idle > 0)
            };
            if stalled && registry.connections < limits.limits.connections && !self.pressure.load(Ordering::Relaxed) {
                self.add_worker(&mut registry, &destination);
                return Woken::Taken;
            }
            return if idle { Woken::Taken } else { Woken::Busy };
        }
        if registry.connections >= limits.limits.connections {
            return Woken::LeftOut;
        }
        let destination = Destination::new(queue.clone());
        destination.board.lock().may_have_more = true;
        registry.destinations.insert(queue.clone(), destination.clone());
        self.metrics.set_destinations(registry.destinations.len());
        self.add_worker(&mut registry, &destination);
        Woken::Taken
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
            if board.connecting > 0 || board.crowded_until > self.clock.monotonic() {
                return;
            }
        }
        let settings = self.settings();
        let mut registry = self.registry.lock();
        let workers = destination.board.lock().workers;
        // With none left the destination is out of the registry: whoever asks is the last one and goes himself.
        if registry.connections < settings.limits.connections && (1..settings.limits.connections_per_destination).contains(&workers) {
            self.add_worker(&mut registry, destination);
        }
    }

    fn add_worker(self: &Arc<Self>, registry: &mut Registry, destination: &Arc<Destination>) {
        registry.connections += 1;
        {
            let mut board = destination.board.lock();
            board.workers += 1;
            board.connecting += 1;
        }
        let place = Place { hub: self.clone(), destination: destination.clone(), state: State::Connecting, given_up: false };
        let cut_off = self.cut_off.clone();
        self.workers.spawn(async move { cut_off.run_until_cancelled(Worker::new(place).run()).await });
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
            if self.draining.is_cancelled() || !std::mem::take(&mut destination.board.lock().may_have_more) {
                return None;
            }
            let limits = self.settings().limits.clone();
            let rows = NonZeroU32::MIN.saturating_add(LEASE_ROWS.max(limits.recipients_per_transaction) - 1);
            let until = self.clock.now().plus(limits.lease);
            match self.spool.lease(&destination.queue, until, rows).await {
                Ok(leased) => {
                    let full = leased.len() >= usize::try_from(rows.get()).unwrap_or(usize::MAX);
                    let size = usize::try_from(limits.recipients_per_transaction.max(1)).unwrap_or(usize::MAX);
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
        if !settled.is_empty() && self.settled.send(settled).await.is_err() {
            tracing::debug!("outcomes are lost at the end of the drain: their leases run out and they are due again");
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

/// A worker's place at its destination; gives it back when dropped, whatever ended the worker.
pub(super) struct Place {
    pub(super) hub: Arc<Hub>,
    pub(super) destination: Arc<Destination>,
    state: State,
    given_up: bool,
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is new and has not tried, or is trying.
    Connecting,
    /// It has a connection.
    Connected,
    /// It has none.
    Apart,
}

impl Place {
    /// The worker has its connection, or knows that it gets none.
    pub(super) fn connected(&mut self, success: bool) {
        let state = if success { State::Connected } else { State::Apart };
        if self.state == state {
            return;
        }
        {
            let mut board = self.destination.board.lock();
            self.uncount(&mut board);
            if success {
                board.connected += 1;
            }
        }
        self.state = state;
        self.hub.add_worker_if_needed(&self.destination);
    }

    fn uncount(&self, board: &mut Board) {
        match self.state {
            State::Connecting => board.connecting -= 1,
            State::Connected => board.connected -= 1,
            State::Apart => {}
        }
    }

    /// Whether other workers of the destination have connections.
    pub(super) fn has_company(&self) -> bool {
        self.destination.board.lock().connected > u32::from(self.state == State::Connected)
    }

    /// The next hop takes no more connections than there are.
    pub(super) fn crowded(&self, until: Duration) {
        self.destination.board.lock().crowded_until = until;
    }

    /// Leaves for good, unless work has come meanwhile: then returns `false`.
    pub(super) fn give_up(&mut self) -> bool {
        let mut registry = self.hub.registry.lock();
        let mut board = self.destination.board.lock();
        let work = !board.jobs.is_empty() || board.may_have_more;
        // Others can do it, if there are any; while draining nobody does.
        if work && board.workers == 1 && !self.hub.draining.is_cancelled() {
            return false;
        }
        self.leave(&mut registry, &mut board);
        self.given_up = true;
        true
    }

    /// Leaves although there is work: others wait for a connection longer. Returns what was leased and not taken; the queue itself comes back to us.
    pub(super) fn give_way(&mut self) -> Vec<CopyId> {
        let mut registry = self.hub.registry.lock();
        let mut board = self.destination.board.lock();
        let jobs = if board.workers == 1 { std::mem::take(&mut board.jobs) } else { VecDeque::new() };
        self.leave(&mut registry, &mut board);
        self.given_up = true;
        jobs.into_iter().flat_map(|job| job.copies).map(|leased| leased.copy).collect()
    }

    fn leave(&self, registry: &mut Registry, board: &mut Board) {
        board.workers -= 1;
        self.uncount(board);
        registry.connections -= 1;
        if board.workers == 0 {
            registry.destinations.remove(&self.destination.queue);
        }
        self.hub.metrics.set_destinations(registry.destinations.len());
        self.hub.freed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.given_up {
            let mut registry = self.hub.registry.lock();
            let mut board = self.destination.board.lock();
            self.leave(&mut registry, &mut board);
        }
    }
}
