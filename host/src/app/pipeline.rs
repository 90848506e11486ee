//! What a configuration becomes, apart from sockets: checked as a whole, so that a reload switches to all of it or to none.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use crate::chain::rendering::Renderer;
use crate::chain::{Chains, loading};
use crate::clock::{Clock, Entropy};
use crate::config::{Config, ListenerKind};
use crate::delivery::settings::{HostOf, ReturnPaths, Settings};
use crate::dns::network::NetworkDns;
use crate::event::recorder::Recorder;
use crate::feedback::Feedback;
use crate::inbound::{Inbound, InboundParts, InboundSettings};
use crate::listener::tls::Certificate;
use crate::network;
use crate::network::http_client::HttpClient;
use crate::plugin::engine::{Engine, EngineOptions, Insight};
use crate::plugin::loading::Purpose;
use crate::sending_domain::{self, SendingDomains};
use crate::spool::Spool;
use crate::store::Store;
use crate::telemetry::metric::Metrics;
use crate::verp::Verp;

/// Makes the engine that compiles and runs the plugins of a server; `store` keeps their tables.
pub(crate) fn engine(config: &Config, clock: &Clock, metrics: Metrics, store: Arc<dyn Store>) -> Result<Arc<Engine>> {
    let shelf = Some(config.server.data.join("plugins"));
    engine_with(
        config,
        EngineOptions { cache: compiled_plugins(config), shelf, store: Some(store), ..EngineOptions::new(clock.clone(), metrics) },
    )
}

/// Where compiled plugins are kept, unless they shall not be.
fn compiled_plugins(config: &Config) -> Option<PathBuf> {
    config.plugin_runtime.cache.then(|| config.server.data.join("compiled"))
}

fn engine_with(config: &Config, options: EngineOptions) -> Result<Arc<Engine>> {
    let options = EngineOptions { runtime: config.plugin_runtime.clone(), http: http_client(), insight: Insight::None, ..options };
    Ok(Arc::new(Engine::new(options)?))
}

/// Makes what asks others over HTTP. Without authorities to trust there is no https; nothing else depends on it.
pub(super) fn http_client() -> HttpClient {
    HttpClient::new(network::tls::verifying(None).ok())
}

/// Loads the plugins and builds the chains of a configuration; see [`loading::load`].
///
/// # Errors
/// Everything that is wrong, a line each.
pub(crate) async fn chains(config: &Config, engine: &Arc<Engine>) -> Result<Chains> {
    loading::load(config, engine, None, Purpose::Mail).await.map_err(|flaws| anyhow!(lines(flaws.iter().map(ToString::to_string))))
}

/// Reads what delivery needs of files: keys, certificates, name servers.
///
/// # Errors
/// Everything that is wrong, a line each.
pub(crate) fn delivery(config: &Config, renderer: Renderer, verp: &Verp, domains: &SendingDomains) -> Result<Settings> {
    let settings = Settings::load(config, renderer, Some(domains.clone()));
    let settings = settings.map(|settings| settings.with_return_paths(return_paths(config, verp, domains)));
    settings.map_err(|errors| anyhow!(lines(errors.iter().map(ToString::to_string))))
}

/// Makes what makes the return paths of tracked mail; `None` where there is no host for them.
fn return_paths(config: &Config, verp: &Verp, domains: &SendingDomains) -> Option<ReturnPaths> {
    let host = config.returns.domain.clone()?;
    let domains = domains.clone();
    let host_of: HostOf = Arc::new(move |login, from| domains.return_path_host(login, from));
    Some(ReturnPaths { verp: verp.lasting(config.returns.period), host, host_of })
}

/// Makes what takes mail for our own domains. Must be called inside a tokio runtime.
///
/// # Errors
/// The system does not say which name servers to ask about senders, and there is a listener for such mail.
pub(super) fn inbound(
    config: &Config,
    spool: &Spool,
    recorder: &Recorder,
    metrics: &Metrics,
    feedback: &Feedback,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Inbound> {
    let is_asked = config.listeners.iter().any(|listener| listener.kind == ListenerKind::Mx);
    let dns = is_asked.then(|| NetworkDns::new(&config.server.nameservers, &config.delivery.dns)).transpose();
    let dns = dns.context("no name servers to ask about senders of incoming mail; name them with `server.nameservers`")?;
    Ok(Inbound::new(InboundParts {
        clock: clock.clone(),
        entropy: entropy.clone(),
        spool: spool.clone(),
        recorder: recorder.clone(),
        metrics: metrics.clone(),
        feedback: feedback.clone(),
        dns,
        settings: InboundSettings::new(config),
    }))
}

/// Finds everything that is wrong with a configuration that reads well: plugins, chains, keys, certificates. Starts nothing, and makes
/// no folder: it may run as another user than the server, who could not work in it.
///
/// # Errors
/// Everything that is wrong, a line each.
pub async fn check(config: &Config, clock: &Clock) -> Result<Checked> {
    let mut wrong = Vec::new();
    let cache = compiled_plugins(config).filter(|folder| folder.is_dir());
    let engine = engine_with(config, EngineOptions { cache, ..EngineOptions::new(clock.clone(), Metrics::new()) })?;
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
    wrong.extend(sending_domain::settings::Settings::new(config, [0; 32]).err());
    match built {
        Some(chains) if wrong.is_empty() => {
            let used = loading::used(config);
            let plugins = chains.plugins().values().filter(|plugin| used.contains(plugin.name()));
            Ok(Checked {
                plugins: plugins
                    .map(|plugin| CheckedPlugin {
                        name: plugin.name().to_string(),
                        version: plugin.manifest().version.clone(),
                        sha256: plugin.digest().to_string(),
                        signed_by: plugin.signer().map(ToString::to_string),
                    })
                    .collect(),
            })
        }
        _ => Err(anyhow!(wrong.join("\n"))),
    }
}

/// What a configuration that is good has in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Plugins that chains use.
    pub plugins: Vec<CheckedPlugin>,
}

/// A plugin that loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedPlugin {
    /// Its name in the configuration.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its digest, in hexadecimal digits.
    pub sha256: String,
    /// The trusted key that signed it.
    pub signed_by: Option<String>,
}

fn lines(errors: impl Iterator<Item = String>) -> String {
    errors.collect::<Vec<_>>().join("\n")
}
