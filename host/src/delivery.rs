//! Delivery: from a copy that is due in the spool to the next hop, and what follows from it.
//!
//! ```text
//! dispatcher ─ due queues ─▶ destination ─▶ worker ─┬─ desk: lease, fetch, render, sign
//!                            (one per queue)        ├─ route: MX or smart host, TLS ─▶ connection ─▶ smtp::client
//!                                                   └─ outcome: settlement, events, DSN ─▶ writer ─▶ spool
//! ```
//!
//! - A worker is a task with one connection. It keeps the connection and pulls the next copies as long as there are any, pipelined where the server
//!   allows it. There is no task and no timer per message.
//! - Work that waits in memory is bounded: one lease per destination, and a bounded queue of outcomes that the writer commits together. When the store is
//!   behind, workers wait; when it has no room, nothing is begun until all outcomes are written down.
//! - What goes to one provider shares limits of connections and speed ([`shaping`]). What has to wait for them stays in the store and takes no connection.
//! - Connections to destinations that failed the last time are a bounded share of all, and what is put off for them has a pace: mail that was just accepted
//!   does not wait for them. Logins take turns: the mail of one does not wait behind a million of another.
//! - A copy is only sent under a lease, and never after its end; it leaves the queue only when the next hop has taken it or it is over. A crash between
//!   the next hop's 250 and our commit sends it twice; nothing else does.
//! - What is suspended is left alone: a whole queue in the store, a single copy when its turn comes, without a connection and without an attempt.
//! - A failure of one host leads to the next one; a failure of all defers the copy. Only what a server, DNS or the chain says for good is a bounce.

pub mod dane;
pub mod dkim;
pub mod dsn;
pub mod failure;
pub mod mta_sts;
pub mod mx;
mod notes;
pub mod route;
pub mod settings;
pub mod shaping;
pub mod tls_report;
pub mod view;

mod attempt;
mod connection;
mod crowded;
mod dead_hosts;
mod destination;
mod dial;
mod failing;
mod flow;
mod hub;
mod outcome;
mod place;
mod policies;
mod protection;
mod sieve;
mod source;
mod suspended;
mod waiting;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::spool::Spool;
use crate::store::{DueQueue, StoreError};
use crate::telemetry::metric::Metrics;
use hub::{Hub, Woken};
use settings::Settings;
use shaping::group::Wait;
use tls_report::sending;
use waiting::{CONNECTIONS, of_login};
use writer::Writer;

/// Queues that one look at the store brings, beside those that are worked on.
const QUEUES: usize = 128;
/// The longest time between two looks at the store.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The same while workers are busy and more is due for them: where none comes for it, one is added.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// The shortest time between two looks at the store: changes that come together are seen together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// With how many logins that have mail in it a queue waits.
const SHARERS: usize = 8;
/// For how long a queue that waits for its group is left alone in the store, unless it is called.
const WAIT: Duration = Duration::from_mins(10);
/// How often it is written down what shall outlast a restart, beside mail.
const COUNT_PAUSE: Duration = Duration::from_secs(5);
/// The counts for reports on TLS are many: they are written down each time that so many have passed.
const TALLY_ROUNDS: u32 = 12;
/// How long to leave a store alone that fails.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Delivers what is due. Made once, then [run](Delivery::run).
pub struct Delivery {
    hub: Arc<Hub>,
    writer: Writer,
}

/// What delivery works with.
pub struct DeliveryParts {
    /// Where mail comes from, and outcomes go.
    pub spool: Spool,
    /// Routes, limits, keys.
    pub settings: Settings,
    /// Tells the time.
    pub clock: Clock,
    /// For ids of reports, and the order of equal hosts.
    pub entropy: Entropy,
    /// Counts what becomes of copies.
    pub metrics: Metrics,
}

/// Steers a running delivery. Cloning is cheap.
#[derive(Clone)]
pub struct DeliveryHandle {
    hub: Arc<Hub>,
}

impl DeliveryHandle {
    /// Uses other settings from the next transaction on; connections stay as they are until they end.
    pub fn reconfigure(&self, settings: Settings) {
        *self.hub.settings.write() = Arc::new(settings);
        // Other limits may hold, and other groups.
        self.hub.waiting.clear();
        self.hub.spool.store().rouse(None);
    }
}

impl Delivery {
    /// Sets everything up; nothing happens before [`Delivery::run`].
    pub fn new(parts: DeliveryParts) -> Self {
        let outcomes = usize::try_from(parts.settings.limits.outcome_queue).unwrap_or(usize::MAX);
        let (sender, receiver) = mpsc::channel(outcomes.clamp(1, tokio::sync::Semaphore::MAX_PERMITS));
        let hub = Hub::new(parts, sender);
        let writer = Writer::new(&hub, receiver);
        Self { hub, writer }
    }

    /// Returns a handle to steer it.
    pub fn handle(&self) -> DeliveryHandle {
        DeliveryHandle { hub: self.hub.clone() }
    }

    /// Delivers until `shutdown`; then drains: takes nothing new, lets running transactions end until `cut_off`, gives back what was not begun, and writes
    /// down all outcomes. What was cut off then is due again after the next start.
    pub async fn run(self, shutdown: CancellationToken, cut_off: CancellationToken) {
        let Self { hub, writer } = self;
        let (done, counted) = (CancellationToken::new(), CancellationToken::new());
        let counting = tokio::spawn(keep_notes(Arc::clone(&hub), counted.clone()));
        if let Err(error) = hub.sources.load(&**hub.spool.store(), hub.clock.now()).await {
            tracing::error!("cannot read what was sent from sources that are warmed up, it counts from 0: {error}");
        }
        if let Err(error) = hub.policies.load(&**hub.spool.store(), hub.clock.now(), hub.clock.monotonic()).await {
            tracing::error!("cannot read the MTA-STS policies that were kept, they are fetched again: {error}");
        }
        let most = hub.settings().limits.tls_reports.domains;
        if let Err(error) = hub.tallies.load(&**hub.spool.store(), hub.clock.now(), most).await {
            tracing::error!("cannot read what was counted for reports on TLS, it counts from 0: {error}");
        }
        let reporting = tokio::spawn(report_on_tls(Arc::clone(&hub)));
        let writing = tokio::spawn(writer.run(done.clone()));
        let releasing = tokio::spawn(suspended::release_ended(Arc::clone(&hub), shutdown.clone()));
        dispatch(&hub, &shutdown).await;
        hub.draining.cancel();
        hub.workers.close();
        hub.give_back_all().await;
        tokio::select! {
            () = hub.workers.wait() => {}
            () = cut_off.cancelled() => {
                tracing::warn!(connections = hub.connections(), "transactions were cut off at the end of the drain");
                hub.cut_off.cancel();
                hub.workers.wait().await;
            }
        }
        if let Err(error) = releasing.await {
            tracing::error!("the release of mail that was suspended ended badly: {error}");
        }
        if let Err(error) = reporting.await {
            tracing::error!("the reporter on TLS ended badly: {error}");
        }
        counted.cancel();
        if let Err(error) = counting.await {
            tracing::error!("the keeper of notes ended badly: {error}");
        }
        done.cancel();
        if let Err(error) = writing.await {
            tracing::error!("the writer of outcomes ended badly: {error}");
        }
    }
}

/// Writes down from time to time what shall outlast a restart: what was sent from sources that are warmed up, and the policies of domains; a last time when
/// `counted` says so.
async fn keep_notes(hub: Arc<Hub>, counted: CancellationToken) {
    let mut rounds = 0_u32;
    loop {
        let is_over = tokio::select! {
            () = tokio::time::sleep(COUNT_PAUSE) => false,
            () = counted.cancelled() => true,
        };
        if let Err(error) = hub.sources.save(&**hub.spool.store(), hub.clock.now()).await {
            tracing::debug!("cannot write down what was sent from sources, it is tried again: {error}");
        }
        if let Err(error) = hub.policies.save(&**hub.spool.store(), hub.clock.now(), hub.clock.monotonic()).await {
            tracing::debug!("cannot write down MTA-STS policies, it is tried again: {error}");
        }
        rounds = (rounds + 1) % TALLY_ROUNDS;
        if (rounds == 0 || is_over)
            && let Err(error) = hub.tallies.save(&**hub.spool.store()).await
        {
            tracing::debug!("cannot write down what was counted for reports on TLS, it is tried again: {error}");
        }
        if is_over {
            return;
        }
    }
}

/// Tells domains from time to time how TLS towards their hosts went, until the drain.
async fn report_on_tls(hub: Arc<Hub>) {
    let spread = u32::from_be_bytes(hub.entropy.array());
    let delay = sending::SPREAD.mul_f64(f64::from(spread) / f64::from(u32::MAX));
    loop {
        tokio::select! {
            () = tokio::time::sleep(sending::ROUND) => {}
            () = hub.draining.cancelled() => return,
        }
        sending::round(&hub, delay).await;
    }
}

/// Looks for due queues and wakes their destinations, until `shutdown`.
async fn dispatch(hub: &Arc<Hub>, shutdown: &CancellationToken) {
    let mut failing = false;
    let mut last = None;
    loop {
        let Look { pause, waiting } = match look(hub, &mut last).await {
            Ok(look) => {
                failing = false;
                look
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("cannot look for due mail: {error}");
                }
                Look { pause: STORE_PAUSE, waiting: false }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            // The store is gone: there is nothing to do until the next start.
            () = hub.draining.cancelled() => return shutdown.cancelled().await,
            () = hub.spool.store().changed(), if !failing => {}
            () = tokio::time::sleep(pause) => {}
            () = hub.freed.notified(), if waiting => {}
            () = hub.spool.suspensions().changed() => hub.spool.store().rouse(None),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = async {
                tokio::time::sleep(SHORTEST_PAUSE).await;
                hub.flow.resumed().await;
            } => {}
            () = hub.draining.cancelled() => {}
        }
    }
}

/// What comes after a look at the store.
struct Look {
    /// How long to wait for the next one at the latest.
    pause: Duration,
    /// A destination waits for a connection.
    waiting: bool,
}

/// What a look has seen so far.
#[derive(Default)]
struct Seen {
    /// A destination waits for a connection.
    left_out: bool,
    /// Workers are at work, and more is due for them.
    busy: bool,
    /// When the first group may have something again.
    earliest: Option<Duration>,
}

impl Seen {
    fn note(&mut self, woken: Woken) -> Woken {
        match &woken {
            Woken::Taken | Woken::Crowded | Woken::Suspended(_) | Woken::HeldBack { wait: Wait::Connection, .. } => {}
            Woken::Busy => self.busy = true,
            Woken::LeftOut => self.left_out = true,
            Woken::HeldBack { wait: Wait::Until(until), .. } => {
                self.earliest = Some(self.earliest.map_or(*until, |earliest| earliest.min(*until)));
            }
        }
        woken
    }
}

/// Calls those that wait for a group, until it has nothing more to have. Logins that have all connections that they may have are passed over.
fn call_group(hub: &Arc<Hub>, name: &Arc<str>, now: Timestamp, seen: &mut Seen) {
    let store = hub.spool.store();
    loop {
        let first = hub.crowded.with(|logins| hub.waiting.first(name, logins));
        let Some(due) = first else { return };
        if !store.has_due(&due.queue, &due.share, now) {
            // Others have sent it meanwhile, it was cancelled, or somebody has claimed it and may give it back: the store lists it again if there is anything.
            hub.waiting.take(name, &due.share);
            store.rouse(Some(&due.queue));
            continue;
        }
        match seen.note(hub.wake(&due.queue, &due.share)) {
            // No other group has anything more to have either.
            Woken::LeftOut => return,
            Woken::Crowded => {}
            Woken::HeldBack { group: Some(group), .. } if group == *name => return,
            // It belongs to another one by now, or to none: the store lists it again.
            Woken::Taken | Woken::Busy | Woken::Suspended(_) | Woken::HeldBack { .. } => {
                hub.waiting.take(name, &due.share);
                store.rouse(Some(&due.queue));
            }
        }
    }
}

/// Wakes a queue for the login that it was listed for, or for another one that has mail in it where that one has all that it may have.
fn wake_for_any(hub: &Arc<Hub>, due: &DueQueue, now: Timestamp) -> Woken {
    let woken = hub.wake(&due.queue, &due.share);
    if woken != Woken::Crowded {
        return woken;
    }
    let others = hub.spool.store().sharers(&due.queue, now, SHARERS).due.into_iter().filter(|share| *share != due.share);
    others.map(|share| hub.wake(&due.queue, &share)).find(|woken| *woken != Woken::Crowded).unwrap_or(Woken::Crowded)
}

/// A queue waits, in `group` or with the connections of each login; it may be called for any that has mail in it. Returns for how long at most: until there is
/// somebody else's.
fn wait(hub: &Hub, due: &DueQueue, now: Timestamp, group: Option<&Arc<str>>) -> Duration {
    let sharers = hub.spool.store().sharers(&due.queue, now, SHARERS);
    for share in std::iter::once(&due.share).chain(&sharers.due) {
        match group {
            Some(group) => hub.waiting.add(group, &due.queue, share),
            None => hub.waiting.add(&of_login(share), &due.queue, share),
        }
    }
    sharers.next.map_or(WAIT, |next| next.since(now).min(WAIT))
}

/// One look at the store; `last` is when the last one was.
async fn look(hub: &Arc<Hub>, last: &mut Option<Timestamp>) -> Result<Look, StoreError> {
    let store = hub.spool.store();
    let now = hub.clock.now();
    if last.replace(now).is_none_or(|last| now < last) {
        // Nothing waits longer than that: what seems to was written by a clock that was ahead.
        let settings = hub.settings();
        store.hasten(now.plus(settings.limits.retry_longest.max(settings.longest_hold))).await?;
    }
    let mut seen = Seen::default();
    hub.crowded.clear();
    for group in hub.waiting.groups() {
        call_group(hub, &group, now, &mut seen);
    }
    let most = hub.destinations() + QUEUES;
    let listed = store.due_queues(now, most).await?;
    let is_full = listed.len() >= most;
    for due in listed {
        let passed = hub.clock.monotonic();
        let until = match seen.note(wake_for_any(hub, &due, now)) {
            Woken::Taken | Woken::Busy => continue,
            Woken::LeftOut => passed + wait(hub, &due, now, Some(&CONNECTIONS.into())),
            Woken::Crowded => passed + wait(hub, &due, now, None),
            Woken::HeldBack { group: Some(group), .. } => passed + wait(hub, &due, now, Some(&group)),
            Woken::HeldBack { group: None, wait: Wait::Until(until) } => until,
            Woken::HeldBack { group: None, wait: Wait::Connection } => passed + BUSY_PAUSE,
            // Whoever changes what is suspended ends all rests.
            Woken::Suspended(until) => until.map_or(Duration::MAX, |until| passed.saturating_add(until.since(now))),
        };
        store.rest(&due.queue, until);
    }
    let Seen { left_out, busy, earliest } = seen;
    hub.pressure.store(left_out, Ordering::Relaxed);
    if left_out || !hub.crowded.is_empty() {
        hub.give_way.notify_waiters();
    }
    // What became due while we looked is seen by the next look: that is asked for as of when this one began.
    let next = store.next_due(now).await?;
    let now = hub.clock.now();
    // All that were listed are taken, or rest: there may be more behind them.
    let longest = if is_full { SHORTEST_PAUSE } else { LONGEST_PAUSE };
    let longest = if busy { BUSY_PAUSE.min(longest) } else { longest };
    let longest = earliest.map_or(longest, |time| time.saturating_sub(hub.clock.monotonic()).min(longest));
    Ok(Look { pause: next.map_or(longest, |due| due.since(now).min(longest)), waiting: left_out || hub.waiting.is_needed() })
}
