//! What a configuration becomes, apart from sockets: checked as a whole, so that a reload switches to all of it or to none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};

use crate::chain::Chains;
use crate::chain::rendering::Renderer;
use crate::clock::Clock;
use crate::config::{Config, PluginSource};
use crate::delivery::settings::Settings;
use crate::listener::tls::Certificate;
use crate::network;
use crate::network::http_client::HttpClient;
use crate::plugin::engine::{Engine, EngineOptions, Insight};
use crate::plugin::loading::{self, LoadError, Spare};
use crate::store::Store;
use crate::telemetry::metric::Metrics;

/// Makes the engine that compiles and runs plugins; `store` keeps their tables.
pub(crate) fn engine(config: &Config, clock: &Clock, metrics: Metrics, store: Arc<dyn Store>) -> Result<Arc<Engine>> {
    engine_with(config, clock, compiled_plugins(config), metrics, Some(store))
}

/// Where compiled plugins are kept, unless they shall not be.
fn compiled_plugins(config: &Config) -> Option<PathBuf> {
    config.plugin_runtime.cache.then(|| config.server.data.join("compiled"))
}

fn engine_with(
    config: &Config,
    clock: &Clock,
    cache: Option<PathBuf>,
    metrics: Metrics,
    store: Option<Arc<dyn Store>>,
) -> Result<Arc<Engine>> {
    // Without authorities to trust there is no https for plugins; nothing else depends on it.
    let http = HttpClient::new(network::tls::verifying(None).ok());
    let options =
        EngineOptions { runtime: config.plugin_runtime.clone(), cache, clock: clock.clone(), metrics, store, http, insight: Insight::None };
    Ok(Arc::new(Engine::new(options)?))
}

/// Loads the plugins and builds the chains of a configuration. Plugins of the binary that no chain uses are only noted, but those of the operator are
/// loaded all, so that he hears of what is wrong with them.
///
/// # Errors
/// Everything that is wrong, a line each.
pub(crate) async fn chains(config: &Config, engine: &Arc<Engine>) -> Result<Chains> {
    let used = used(config);
    let (needed, spare): (BTreeMap<_, _>, BTreeMap<_, _>) = config
        .plugins
        .iter()
        .map(|(name, plugin)| (Arc::clone(name), plugin.clone()))
        .partition(|(name, plugin)| used.contains(name) || matches!(plugin.source, PluginSource::File(_)));
    let plugins = loading::load_all(engine, &needed).await.map_err(|errors| anyhow!(lines(errors.iter().map(plugin_error))))?;
    let spares = spare.iter().map(|(name, plugin)| (Arc::clone(name), Spare::new(engine, name, plugin))).collect();
    let chains = Chains::build(&config.chains, plugins, config.delivery.rendered_size.0)
        .map_err(|errors| anyhow!(lines(errors.iter().map(ToString::to_string))))?;
    Ok(chains.with_spares(spares))
}

/// Returns names of the plugins that chains use.
fn used(config: &Config) -> BTreeSet<&Arc<str>> {
    config.chains.values().flat_map(|chain| &chain.steps).map(|step| &step.plugin).collect()
}

fn plugin_error((name, error): &(Arc<str>, LoadError)) -> String {
    let mut text = format!("plugin {name:?}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Reads what delivery needs of files: keys, certificates, name servers.
///
/// # Errors
/// Everything that is wrong, a line each.
pub(crate) fn delivery(config: &Config, renderer: Renderer) -> Result<Settings> {
    Settings::load(config, renderer).map_err(|errors| anyhow!(lines(errors.iter().map(ToString::to_string))))
}

/// Finds everything that is wrong with a configuration that reads well: plugins, chains, keys, certificates. Starts nothing, and makes
/// no folder: it may run as another user than the server, who could not work in it.
///
/// # Errors
/// Everything that is wrong, a line each.
pub async fn check(config: &Config, clock: &Clock) -> Result<Checked> {
    let mut wrong = Vec::new();
    let engine = engine_with(config, clock, compiled_plugins(config).filter(|folder| folder.is_dir()), Metrics::new(), None)?;
    let built = match chains(config, &engine).await {
        Ok(chains) => Some(chains),
        Err(error) => {
            wrong.push(error.to_string());
            None
        }
    };
    if let Some(tls) = &config.tls
        && let Err(error) = Certificate::load(tls)
    {
        wrong.push(format!("{:#}", anyhow::Error::new(error)));
    }
    wrong.extend(Settings::check(config).iter().map(ToString::to_string));
    match built {
        Some(chains) if wrong.is_empty() => {
            let used = used(config);
            let plugins = chains.plugins().values().filter(|plugin| used.contains(plugin.name()));
            Ok(Checked {
                plugins: plugins
                    .map(|plugin| (plugin.name().to_string(), plugin.manifest().version.clone(), plugin.digest().to_owned()))
                    .collect(),
            })
        }
        _ => Err(anyhow!(wrong.join("\n"))),
    }
}

/// What a configuration that is good has in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Plugins that chains use: name, version, digest.
    pub plugins: Vec<(String, String, String)>,
}

fn lines(errors: impl Iterator<Item = String>) -> String {
    errors.collect::<Vec<_>>().join("\n")
}
