//! Tells plugins what became of messages: follows the event log and hands each event to the plugins of its login's chain that have the stage
//! `event`. At least once and in order, off the way of mail.
//!
//! One reader goes through the log and puts events into queues, one for each plugin and login that has any. Each queue has a task of its own, so
//! that a plugin that is slow, or fails and is tried again, is in nobody else's way. A queue that is full is not waited for: it goes on from the log
//! by its own position when there is room. Where all of them stand is written down about once a second, and a restart goes on from there.

mod ledger;
mod line;
mod teller;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::archive::follower;
use crate::chain::{ChainRegistry, Chains, Standing};
use crate::clock::Clock;
use crate::config::EventTelling;
use crate::event::recorder::Recorder;
use crate::event::{Event, EventKind};
use crate::plugin::Stage;
use crate::store::{LoggedEvent, Store, StoreError};
use crate::submission::login::Logins;
use crate::telemetry::metric::Metrics;
use ledger::Ledger;
use line::{Board, Pair, Told};

/// Events read from the log at a time.
const PAGE: usize = 500;
/// How long the reader rests behind a page: what is appended meanwhile is read at once.
const REST: Duration = Duration::from_millis(20);
/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often it is written down where everybody stands.
const SAVE: Duration = Duration::from_secs(1);

/// What the observer works with.
#[derive(Clone)]
pub struct ObserverParts {
    /// Where the log is, and what is known of it.
    pub store: Arc<dyn Store>,
    /// Takes what plugins log and how they fail.
    pub recorder: Recorder,
    /// The chains in force.
    pub chains: ChainRegistry,
    /// Whose chain is which.
    pub logins: Logins,
    /// Tells the time of events.
    pub clock: Clock,
    /// Counts events.
    pub metrics: Metrics,
    /// What comes of the configuration.
    pub settings: EventTelling,
}

/// Follows the log.
pub struct Observer {
    shared: Arc<Shared>,
    /// The chains that were looked at last, and which of their plugins are told of events.
    known: Option<(Arc<Chains>, BTreeSet<Arc<str>>)>,
    ledger: Ledger,
}

/// What the reader and the tasks of the queues share.
struct Shared {
    parts: ObserverParts,
    board: Mutex<Board>,
    /// One queue at a time goes through the log by itself.
    rereading: Semaphore,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Observer {
    /// Finds out where everybody stood. From the moment when this returns, no event is missed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn open(parts: ObserverParts, shutdown: CancellationToken) -> Result<Self, StoreError> {
        let ledger = Ledger::open(Arc::clone(&parts.store), parts.clock.clone()).await?;
        let end = parts.store.usage().await?.log_ends;
        let mut board = Board::new(ledger.read().unwrap_or(end));
        let observing = observing(&parts.chains.current());
        // Who is new, or was away for a while, begins with what happens from now on.
        board.since = observing.iter().map(|name| (Arc::clone(name), ledger.since(name).unwrap_or(end))).collect();
        if observing.is_empty() {
            board.read = end;
        }
        let shared =
            Arc::new(Shared { parts, board: Mutex::new(board), rereading: Semaphore::new(1), tasks: TaskTracker::new(), shutdown });
        let mut observer = Self { shared, known: None, ledger };
        observer.resume().await?;
        // Who is new begins here, also if the process ends at once.
        observer.save().await;
        Ok(observer)
    }

    /// Lets those go on that were behind.
    async fn resume(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        for login in shared.parts.logins.all() {
            for standing in shared.audience(&login.name) {
                let pair = Pair { plugin: Arc::clone(standing.plugin.name()), login: Arc::clone(&login.name) };
                if let Some(position) = self.ledger.behind(&pair).await? {
                    shared.board.lock().fall_behind(&pair, position);
                    shared.begin(pair);
                }
            }
        }
        Ok(())
    }

    /// Tells until the shutdown; then ends what is under way, or leaves it for the next start.
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut saved = shared.parts.clock.monotonic();
        loop {
            let appended = shared.parts.store.events_appended();
            let rest = match self.step().await {
                Ok(true) => REST,
                Ok(false) => {
                    // What the queues have done meanwhile is to be written down too.
                    tokio::select! {
                        () = shared.shutdown.cancelled() => {}
                        () = appended => {}
                        () = tokio::time::sleep(SAVE) => {}
                    }
                    REST
                }
                Err(failure) => {
                    error!(error = &failure as &dyn std::error::Error, "plugins do not hear of events: the log cannot be read");
                    AFTER_FAILURE
                }
            };
            if shared.parts.clock.monotonic().saturating_sub(saved) >= SAVE {
                self.save().await;
                saved = shared.parts.clock.monotonic();
            }
            tokio::select! {
                () = shared.shutdown.cancelled() => break,
                () = tokio::time::sleep(rest) => {}
            }
        }
        shared.tasks.close();
        shared.tasks.wait().await;
        self.save().await;
    }

    async fn save(&mut self) {
        let stand = self.shared.board.lock().stand();
        if let Err(failure) = self.ledger.save(stand).await {
            error!(error = &failure as &dyn std::error::Error, "where plugins stand on the event log cannot be written down");
        }
    }

    /// Puts one page of the log into queues; `false` if there was nothing.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let shared = &self.shared;
        let store = &shared.parts.store;
        let chains = shared.parts.chains.current();
        let is_same = self.known.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &chains));
        if !is_same {
            let observing = observing(&chains);
            shared.board.lock().admit(&observing);
            self.known = Some((chains, observing));
        }
        if self.known.as_ref().is_none_or(|(_, observing)| observing.is_empty()) {
            let end = store.usage().await?.log_ends;
            shared.board.lock().read = end;
            return Ok(false);
        }
        let from = shared.board.lock().read;
        let page = store.events(from, PAGE).await?;
        let Some(last) = page.last() else { return Ok(false) };
        let end = last.position + 1;
        let mut audiences: HashMap<Arc<str>, Vec<Standing>> = HashMap::new();
        let mut told = Vec::new();
        for logged in &page {
            let Some((position, event)) = read(logged) else { continue };
            let audience = audiences.entry(Arc::clone(&event.login)).or_insert_with(|| shared.audience(&event.login));
            if audience.is_empty() {
                continue;
            }
            let event = Arc::new(event);
            for standing in audience.iter().filter(|standing| standing.hears_of(&event)) {
                let pair = Pair { plugin: Arc::clone(standing.plugin.name()), login: Arc::clone(&event.login) };
                told.push((pair, Told { position, event: Arc::clone(&event) }));
            }
        }
        let woken = shared.board.lock().take_in(told, end);
        for pair in woken {
            shared.begin(pair);
        }
        Ok(page.len() == PAGE)
    }
}

impl Shared {
    /// The plugins that hear of a login's events now.
    fn audience(&self, login: &str) -> Vec<Standing> {
        let chain = self.parts.logins.by_name(login).and_then(|login| login.chain.clone());
        let chains = self.parts.chains.current();
        chain.and_then(|name| chains.chain(&name).map(|chain| chain.standing(Stage::Event).collect())).unwrap_or_default()
    }

    /// Starts the task of a queue that has got something to do.
    fn begin(self: &Arc<Self>, pair: Pair) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move { shared.tell_all(pair).await });
    }
}

/// Names of the plugins that hear of events of any login.
fn observing(chains: &Chains) -> BTreeSet<Arc<str>> {
    chains.all().flat_map(|chain| chain.standing(Stage::Event)).map(|standing| Arc::clone(standing.plugin.name())).collect()
}

/// Reads an event off the log, without what plugins are not told of it.
fn read(logged: &LoggedEvent) -> Option<(u64, Event)> {
    let (position, mut event) = follower::read(logged)?;
    if let EventKind::Accepted { plugins, .. } | EventKind::Rejected { plugins, .. } | EventKind::Spam { plugins, .. } = &mut event.kind {
        *plugins = Vec::new();
    }
    Some((position, event))
}

/// Where everybody stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stand {
    /// Everything before this was told, but to those who are behind.
    read: u64,
    /// Since which position each plugin is told.
    since: BTreeMap<Arc<str>, u64>,
    /// What is not told yet, from where on.
    behind: BTreeMap<Pair, u64>,
}

#[cfg(test)]
mod tests;
