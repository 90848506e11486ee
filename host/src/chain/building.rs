//! Chains from the configuration: every name and option is checked before a message meets it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::options::options_text;
use super::{Chain, Chains, Step};
use crate::config::suggestion::did_you_mean;
use crate::config::{self, ChainStep, Shadow, When};
use crate::plugin::loading::Plugins;
use crate::plugin::manifest::ENABLED;
use crate::plugin::versions::Versions;

/// What is wrong with a step of a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: chain \"{chain}\": {reason}")]
pub struct ChainError {
    /// `file:line:column` of the step.
    pub place: String,
    /// Which chain.
    pub chain: Arc<str>,
    /// What is wrong, as a phrase.
    pub reason: String,
}

impl Chains {
    /// Builds all chains, or returns everything that is wrong with them. A copy that is rendered may have `rendered_size` octets.
    pub fn build(configured: &BTreeMap<Arc<str>, config::Chain>, plugins: Plugins, rendered_size: u64) -> Result<Self, Vec<ChainError>> {
        let mut chains = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, chain) in configured {
            let mut steps = Vec::with_capacity(chain.steps.len());
            for step in &chain.steps {
                match build_step(step, &plugins) {
                    Ok(step) => steps.push(step),
                    Err(reason) => errors.push(ChainError { place: step.place.clone(), chain: Arc::clone(name), reason }),
                }
            }
            errors.extend(chain.steps.iter().filter_map(|step| {
                let reason = shadow_fault(step, &chain.steps)?;
                Some(ChainError { place: step.place.clone(), chain: Arc::clone(name), reason })
            }));
            chains.insert(Arc::clone(name), Arc::new(Chain { steps, rendered_size }));
        }
        if errors.is_empty() {
            Ok(Self { by_name: chains, plugins, spares: BTreeMap::new(), versions: Versions::default(), rendered_size })
        } else {
            Err(errors)
        }
    }
}

/// What is wrong with what a shadow is compared with.
fn shadow_fault(step: &ChainStep, steps: &[ChainStep]) -> Option<String> {
    let Some(Shadow::Of(original)) = &step.shadow else { return None };
    let known = || steps.iter().filter(|other| other.shadow.is_none()).map(|other| &*other.plugin);
    if known().any(|name| *name == **original) {
        return None;
    }
    Some(format!(
        "plugin \"{}\": shadow_of: the chain has no plugin \"{original}\" that counts{}",
        step.plugin,
        did_you_mean(original, known())
    ))
}

fn build_step(step: &ChainStep, plugins: &Plugins) -> Result<Step, String> {
    let Some(plugin) = plugins.get(&step.plugin) else {
        let known = did_you_mean(&step.plugin, plugins.keys().map(|name| &**name));
        return Err(format!("no plugin \"{}\"{known}", step.plugin));
    };
    if step.locked && step.when == When::Requested {
        return Err(format!("plugin \"{}\" would never run: `locked` shuts out the request that it waits for", step.plugin));
    }
    plugin.manifest().check(&step.options, true).map_err(|error| format!("plugin \"{}\": {error}", step.plugin))?;
    let mut options = step.options.clone();
    let enabled = options.remove(ENABLED).as_ref().and_then(Value::as_bool);
    let config = options_text(&options).into();
    Ok(Step {
        plugin: Arc::clone(plugin),
        when: step.when,
        locked: step.locked,
        enabled,
        share: step.share,
        shadow: step.shadow.clone(),
        options,
        config,
    })
}
