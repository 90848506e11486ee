//! From a configuration to chains that run: plugins are loaded, or kept where they are still the same, and every step is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Chains;
use crate::config::{Config, PluginSource};
use crate::plugin::Plugin;
use crate::plugin::engine::Engine;
use crate::plugin::loading::{self, LoadError, Plugins, Purpose, Spare, Spares};

/// Something that is wrong with the plugins and chains of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Flaw {
    /// Which plugin does not load, if it is that.
    pub plugin: Option<Arc<str>>,
    /// What is wrong, complete.
    pub text: String,
}

/// What was loaded before, and by which configuration.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// By which it was loaded.
    pub config: &'a Config,
    /// What was loaded.
    pub chains: &'a Chains,
}

/// Loads the plugins and builds the chains of a configuration. Plugins of the binary that no chain uses are only noted, but those of the operator are
/// loaded all, so that he hears of what is wrong with them. What was loaded before and has not changed goes on as it is.
///
/// # Errors
/// Everything that is wrong.
pub async fn load(config: &Config, engine: &Arc<Engine>, before: Option<Before<'_>>, purpose: Purpose) -> Result<Chains, Vec<Flaw>> {
    let used = used(config);
    let (needed, spare): (BTreeMap<_, _>, BTreeMap<_, _>) = config
        .plugins
        .iter()
        .map(|(name, plugin)| (Arc::clone(name), plugin.clone()))
        .partition(|(name, plugin)| used.contains(name) || matches!(plugin.source, PluginSource::File(_)));
    let is_same = |name: &Arc<str>| before.is_some_and(|before| before.config.plugins.get(name) == config.plugins.get(name));
    let loaded: Plugins = before
        .iter()
        .flat_map(|before| before.chains.plugins())
        .filter(|(name, _)| is_same(name))
        .map(|(name, plugin)| (Arc::clone(name), Arc::clone(plugin)))
        .collect();
    let plugins = loading::load_all(engine, &needed, &config.plugin_trust, &loaded, purpose)
        .await
        .map_err(|errors| errors.iter().map(|(name, error)| Flaw::of_plugin(name, error)).collect::<Vec<_>>())?;
    let spares: Spares = spare.iter().map(|(name, plugin)| (Arc::clone(name), Arc::new(Spare::new(engine, name, plugin)))).collect();
    build(config, plugins, spares)
}

/// Builds the chains with another version of one plugin.
///
/// # Errors
/// Everything that is wrong: the chains say something to the plugin that this version does not know.
pub fn with_version(config: &Config, current: &Chains, version: Arc<Plugin>) -> Result<Chains, Vec<Flaw>> {
    let mut plugins = current.plugins().clone();
    plugins.insert(Arc::clone(version.name()), version);
    build(config, plugins, current.spares.clone())
}

fn build(config: &Config, plugins: Plugins, spares: Spares) -> Result<Chains, Vec<Flaw>> {
    let built = Chains::build(&config.chains, plugins, config.delivery.rendered_size.0);
    let flaws = |errors: Vec<super::building::ChainError>| {
        errors.into_iter().map(|error| Flaw { plugin: None, text: error.to_string() }).collect::<Vec<_>>()
    };
    built.map(|chains| chains.with_spares(spares)).map_err(flaws)
}

/// Returns names of the plugins that chains use.
pub fn used(config: &Config) -> BTreeSet<&Arc<str>> {
    config.chains.values().flat_map(|chain| &chain.steps).map(|step| &step.plugin).collect()
}

impl Flaw {
    /// A plugin that does not load, with all causes.
    pub fn of_plugin(name: &Arc<str>, error: &LoadError) -> Self {
        let mut text = format!("plugin {name:?}: {error}");
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { plugin: Some(Arc::clone(name)), text }
    }
}
