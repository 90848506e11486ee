//! The WebAssembly engine: configured once, shared by all plugins.
//!
//! Instances come from a pool whose memories are mapped copy-on-write, so that a fresh instance for each call costs microseconds and no call
//! finds anything of an earlier one. Where the system refuses the pool's address space (a few hundred GiB, none of it touched), instances are
//! made on demand: slower, and otherwise the same.

pub mod cache;
pub mod ticker;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tracing::{info, warn};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::clock::Clock;
use crate::config::{CallLimits, PluginRuntime};
use crate::network::http_client::HttpClient;
use crate::plugin::binding;
use crate::plugin::sandbox::State;
use crate::plugin::service::Services;
use crate::plugin::service::share::Share;
use crate::plugin::shelf::Shelf;
use crate::store::Store;
use crate::telemetry::metric::Metrics;
use cache::Cache;
use ticker::{Running, Ticker};

/// Octets of stack that WebAssembly may use; deeper recursion traps.
const WASM_STACK: usize = 1 << 20;
/// Octets of stack of a call: WebAssembly and the host functions that it calls.
const CALL_STACK: usize = 2 << 20;
/// Core instances of one component: the plugin's own, and the adapters that componentizing adds.
pub(super) const CORE_INSTANCES: u32 = 16;
/// Memories of one component.
pub(super) const MEMORIES: u32 = 2;
/// Tables of one component.
pub(super) const TABLES: u32 = 4;
/// Elements of one table.
pub(super) const TABLE_ELEMENTS: usize = 20_000;
/// Octets of an instance's own data, without its memory.
const INSTANCE_DATA: usize = 1 << 20;

/// What the engine is made for.
#[derive(Clone)]
pub struct EngineOptions {
    /// How many plugins run at one moment, what is kept for them, and what a call may do.
    pub runtime: PluginRuntime,
    /// Folder for compiled plugins.
    pub cache: Option<PathBuf>,
    /// Folder for components that queued mail may need.
    pub shelf: Option<PathBuf>,
    /// Measures the time of calls.
    pub clock: Clock,
    /// Counts calls.
    pub metrics: Metrics,
    /// Keeps the tables of plugins; without it they have none but in rehearsals.
    pub store: Option<Arc<dyn Store>>,
    /// Asks over HTTP for plugins.
    pub http: HttpClient,
    /// What is told beyond what a server needs.
    pub insight: Insight,
}

/// What an engine tells the author of a plugin, and a server does not pay for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insight {
    /// Nothing.
    #[default]
    None,
    /// File and line of a trap, where the component has debug information.
    Source,
    /// The same, and how many instructions ran: fuel. Counting takes time.
    Fuel,
}

impl EngineOptions {
    /// The usual limits, and no cache.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        Self {
            runtime: PluginRuntime::default(),
            cache: None,
            shelf: None,
            clock,
            metrics,
            store: None,
            http: HttpClient::new(None),
            insight: Insight::None,
        }
    }
}

/// No engine could be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Neither with a pool nor without.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// No thread.
    #[error("the thread that ends plugins in time does not start")]
    Thread(#[source] std::io::Error),
}

/// Compiles plugins and runs them.
pub struct Engine {
    wasm: wasmtime::Engine,
    linker: Linker<State>,
    ticker: Ticker,
    permits: Semaphore,
    cache: Option<Cache>,
    shelf: Option<Shelf>,
    old_versions: u32,
    clock: Clock,
    metrics: Metrics,
    calls: CallLimits,
    services: Arc<Services>,
    pooled: bool,
    counts_fuel: bool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("pooled", &self.pooled).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine and its ticker.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let instances = options.runtime.instances.max(1);
        let (wasm, pooled) = match wasmtime::Engine::new(&config(Some(&options.runtime), options.insight)) {
            Ok(engine) => (engine, true),
            Err(error) => {
                info!(%error, "no address space for a pool of plugin instances: they are made on demand");
                let engine =
                    wasmtime::Engine::new(&config(None, options.insight)).map_err(|error| EngineError::Engine(format!("{error:#}")))?;
                (engine, false)
            }
        };
        let mut linker = Linker::new(&wasm);
        binding::add_to_linker(&mut linker).map_err(|error| EngineError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(wasm.clone()).map_err(EngineError::Thread)?;
        let cache = options.cache.and_then(|folder| Cache::open(folder, &wasm));
        let shelf = options.shelf.and_then(|folder| {
            let unusable = |error: &std::io::Error| warn!(folder = %folder.display(), %error, "plugins cannot be kept for queued mail");
            Shelf::open(folder.clone()).inspect_err(unusable).ok()
        });
        let permits = Semaphore::new(usize::try_from(instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        let services = Services::new(options.store, options.http, &options.clock, options.metrics.clone(), &options.runtime);
        Ok(Self {
            wasm,
            linker,
            ticker,
            permits,
            cache,
            shelf,
            old_versions: options.runtime.old_versions,
            clock: options.clock,
            metrics: options.metrics,
            calls: options.runtime.calls,
            services: Arc::new(services),
            pooled,
            counts_fuel: options.insight == Insight::Fuel,
        })
    }

    /// Whether instances come from a pool.
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// Returns the compiled component: from the cache, else compiled now, which takes up to a second of all cores.
    pub(super) fn component(&self, digest: &str, octets: &[u8]) -> wasmtime::Result<Component> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(&self.wasm, digest)) {
            return Ok(component);
        }
        let component = Component::from_binary(&self.wasm, octets)?;
        if let Some(cache) = &self.cache {
            cache.store(digest, &component);
        }
        Ok(component)
    }

    /// Removes compiled plugins that nobody asked for.
    pub(super) fn tidy_cache(&self, digests: &[&str]) {
        if let Some(cache) = &self.cache {
            cache.tidy(digests, self.clock.now());
        }
    }

    /// Returns the folder of components that queued mail may need, where there is one.
    pub fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref()
    }

    /// Returns how many versions that only queued mail needs are kept loaded.
    pub(super) fn old_versions(&self) -> usize {
        usize::try_from(self.old_versions).unwrap_or(usize::MAX)
    }

    pub(super) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns what each call may do.
    pub(super) fn calls(&self) -> &CallLimits {
        &self.calls
    }

    /// Whether instructions are counted.
    pub(super) fn counts_fuel(&self) -> bool {
        self.counts_fuel
    }

    /// Returns what measures the time of calls.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns what the host does for plugins beside the message.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Waits for one of the login's places and for a free slot, and holds both and the ticker while the guard lives.
    pub(super) async fn slot(&self, share: &Share) -> Slot<'_> {
        let place = share.call().await;
        // The semaphore lives as long as the engine and is never closed.
        let permit = self.permits.acquire().await.ok();
        Slot { _place: place, _permit: permit, _running: self.ticker.running() }
    }
}

/// A place in the pool.
pub(super) struct Slot<'a> {
    _place: Option<OwnedSemaphorePermit>,
    _permit: Option<SemaphorePermit<'a>>,
    _running: Running<'a>,
}

/// The configuration of wasmtime, with a pool, or without.
fn config(pool: Option<&PluginRuntime>, insight: Insight) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(CALL_STACK)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        // A plugin's panic is told with the names of its functions; file and line need the plugin's debug information.
        .generate_address_map(true)
        .wasm_backtrace_details(if insight == Insight::None { WasmBacktraceDetails::Disable } else { WasmBacktraceDetails::Enable })
        .consume_fuel(insight == Insight::Fuel)
        // NaNs of one form: the same message gives the same octets on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    if let Some(runtime) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(runtime)));
    }
    config
}

fn pooling(runtime: &PluginRuntime) -> PoolingAllocationConfig {
    let instances = runtime.instances.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_memories(instances.saturating_mul(MEMORIES))
        .total_tables(instances.saturating_mul(TABLES))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_component_instance_size(INSTANCE_DATA)
        .max_core_instance_size(INSTANCE_DATA)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(runtime.warm_slots)
        .pagemap_scan(Enabled::Auto);
    // Without PAGEMAP_SCAN (Linux 6.7) what is kept would have to be cleared page by page, touched or not.
    let kept = if PoolingAllocationConfig::is_pagemap_scan_available() { runtime.kept_memory.0 } else { 0 };
    let kept = usize::try_from(kept).unwrap_or(usize::MAX);
    pool.linear_memory_keep_resident(kept).table_keep_resident(kept.min(TABLE_ELEMENTS * size_of::<usize>()));
    pool
}
