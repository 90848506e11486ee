//! What the host does for plugins beside the message: tables, requests, counters. All of it is granted by name, counted per call, and
//! shared out among logins.

pub mod desk;
pub mod share;
pub(super) mod table;
pub mod turn;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::PluginRuntime;
use crate::network::http_client::HttpClient;
use crate::store::Store;
use crate::telemetry::metric::Metrics;
use share::Shares;
use table::Tables;
use turn::Turns;

/// The services of one server.
pub struct Services {
    tables: Tables,
    http: HttpClient,
    metrics: Metrics,
    shares: Shares,
    turns: Turns,
    clock: Clock,
    /// Places of the pool whose calls may wait for answers.
    waiting: Semaphore,
    runtime: PluginRuntime,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// Services that keep tables in `store`; without one there are only those of rehearsals.
    pub fn new(store: Option<Arc<dyn Store>>, http: HttpClient, clock: &Clock, metrics: Metrics, runtime: &PluginRuntime) -> Self {
        Self {
            tables: Tables::new(store, clock.clone(), runtime.logins),
            http,
            metrics,
            shares: Shares::new(clock.clone(), runtime),
            turns: Turns::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get), clock.clone()),
            clock: clock.clone(),
            waiting: Semaphore::new(usize::try_from(runtime.instances / 2).unwrap_or(1).max(1)),
            runtime: runtime.clone(),
        }
    }

    /// Returns what shares the machine out among logins.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Returns what shares the processors out among logins.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }
}
