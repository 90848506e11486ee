//! The chain: a login's plugins, in the order that the configuration says.
//!
//! A message goes through in up to two parts. [`Chain::process`](processing) runs once, before the client hears 250, and ends with a
//! [`Plan`]: the message as far as it is common to all recipients, and what is left to do for each. [`rendering`] carries the plan out
//! for one recipient: it runs the plugins that are left, if any, and fills in the slots. Rendering is a function of plan and recipient: the
//! same octets at every attempt.

pub mod building;
pub mod checking;
pub mod loading;
pub mod options;
pub mod processing;
pub mod registry;
pub mod rendering;
pub mod shadow;
mod share;
mod size;
pub mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::{SenderPattern, Shadow, Share, When};
use crate::event::Event;
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::MessageId;
use crate::mail::slot::Slot;
use crate::mail::tag::Tag;
use crate::plugin::loading::{Plugins, Spares};
use crate::plugin::versions::Versions;
use crate::plugin::{Plugin, Stage};
pub use registry::ChainRegistry;

/// All chains and plugins of one configuration. First-party plugins that no chain uses are loaded when a message needs one.
#[derive(Debug)]
pub struct Chains {
    by_name: BTreeMap<Arc<str>, Arc<Chain>>,
    plugins: Plugins,
    spares: Spares,
    /// Versions that are not the configured ones any more.
    versions: Versions,
    /// Octets of a copy.
    rendered_size: u64,
}

impl Default for Chains {
    /// No chains, and copies of any size.
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            plugins: Plugins::new(),
            spares: Spares::default(),
            versions: Versions::default(),
            rendered_size: u64::MAX,
        }
    }
}

impl Chains {
    /// Returns a chain by its name.
    pub fn chain(&self, name: &str) -> Option<&Arc<Chain>> {
        self.by_name.get(name)
    }

    /// Returns all chains.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.by_name.values()
    }

    /// Adds plugins that no chain uses.
    #[must_use]
    pub fn with_spares(self, spares: Spares) -> Self {
        Self { spares, ..self }
    }

    /// Returns a plugin by its name in the configuration, whether a chain uses it or not: messages in the queue may.
    pub async fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        match (self.plugins.get(name), self.spares.get(name)) {
            (Some(plugin), _) => Some(Arc::clone(plugin)),
            (None, Some(spare)) => Box::pin(spare.get()).await,
            (None, None) => None,
        }
    }

    /// Returns the version of a plugin that a step was planned with, and whether it is that: where it is not kept any more, it is the one that is
    /// configured now.
    pub async fn version(&self, step: &PlannedStep) -> Option<(Arc<Plugin>, bool)> {
        let current = self.plugin(&step.plugin).await?;
        let Some(digest) = &step.digest else { return Some((current, true)) };
        Some(match Box::pin(self.versions.of(&current, digest)).await {
            Some(plugin) => (plugin, true),
            None => (current, false),
        })
    }

    /// Returns these chains with one of them as it was for a message: each plugin in the version that had it, by the first digits of its digest. Names those
    /// whose version is not kept any more; they are as they are now.
    pub async fn as_of(&self, name: &str, versions: &[(String, String)]) -> (Self, Vec<Arc<str>>) {
        let mut past = Self {
            by_name: self.by_name.clone(),
            plugins: self.plugins.clone(),
            spares: self.spares.clone(),
            versions: Versions::default(),
            rendered_size: self.rendered_size,
        };
        let mut gone = Vec::new();
        let Some(chain) = self.by_name.get(name) else { return (past, gone) };
        let mut steps = chain.steps.clone();
        for step in &mut steps {
            let known =
                versions.iter().find(|(plugin, digest)| **plugin == **step.plugin.name() && !step.plugin.digest().starts_with(digest));
            let Some((_, digest)) = known else { continue };
            match Box::pin(self.versions.of(&step.plugin, digest)).await {
                Some(version) => {
                    past.plugins.insert(Arc::clone(version.name()), Arc::clone(&version));
                    step.plugin = version;
                }
                None => gone.push(Arc::clone(step.plugin.name())),
            }
        }
        past.by_name.insert(Arc::from(name), Arc::new(Chain { steps, rendered_size: chain.rendered_size }));
        (past, gone)
    }

    /// Returns how many octets a copy may have once its slots are filled in.
    pub fn rendered_size(&self) -> u64 {
        self.rendered_size
    }

    /// Returns the plugins that were loaded with the chains, by name.
    pub fn plugins(&self) -> &Plugins {
        &self.plugins
    }
}

/// Plugins in the order in which they run.
#[derive(Debug)]
pub struct Chain {
    steps: Vec<Step>,
    /// Octets of a copy.
    rendered_size: u64,
}

/// One plugin of a chain, with what the configuration says to it.
#[derive(Clone, Debug)]
struct Step {
    plugin: Arc<Plugin>,
    when: When,
    locked: bool,
    /// Whether it runs, where the chain says so.
    enabled: Option<bool>,
    /// Which part of the messages it gets; all where it says nothing.
    share: Option<Share>,
    /// It runs beside the chain.
    shadow: Option<Shadow>,
    options: Map<String, Value>,
    /// The options as one JSON object, for stages in which no message has a say.
    config: Arc<str>,
}

impl Step {
    /// Whether the plugin takes part in a stage in which no message has a say. Of events it hears wherever a message may have asked for it; one that gets a
    /// part of the messages has no word on forward-paths, as there is no message yet that would be in it; one that runs beside the chain takes part in none.
    fn takes_part(&self, stage: Stage) -> bool {
        let may_run = match stage {
            Stage::Event => !self.locked || self.enabled != Some(false),
            Stage::Rcpt => self.share.is_none() && self.enabled.unwrap_or(self.when == When::Always),
            Stage::Submit | Stage::Recipient => self.enabled.unwrap_or(self.when == When::Always),
        };
        may_run && self.shadow.is_none() && self.plugin.has(stage)
    }
}

/// A plugin of a chain as it runs where no message has a say.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which.
    pub plugin: Arc<Plugin>,
    /// Its options as one JSON object.
    pub config: Arc<str>,
    share: Option<Share>,
}

impl Standing {
    /// Whether the plugin is told of an event: one that is for it, of a message that it gets.
    pub fn hears_of(&self, event: &Event) -> bool {
        self.plugin.observes(event) && self.share.is_none_or(|share| share::takes(share, event.message, self.plugin.name()))
    }
}

impl Chain {
    /// Whether there is no plugin in it.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the plugins that take part in a stage in which no message has a say, in their order.
    pub fn standing(&self, stage: Stage) -> impl Iterator<Item = Standing> {
        let those = self.steps.iter().filter(move |step| step.takes_part(stage));
        those.map(|step| Standing { plugin: Arc::clone(&step.plugin), config: Arc::clone(&step.config), share: step.share })
    }

    /// Whether any plugin takes part in such a stage.
    pub fn has(&self, stage: Stage) -> bool {
        self.steps.iter().any(|step| step.takes_part(stage))
    }
}

/// What is left to do when a message is rendered for one recipient. The content that it starts from is kept beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose message.
    pub login: Arc<str>,
    /// Which message: with the recipient it seeds the plugins' random numbers.
    pub message: MessageId,
    /// The message's own clock.
    pub received: Timestamp,
    /// `login`, `protocol`, `peer` and the like, as plugins see them.
    pub context: Vec<(String, String)>,
    /// Nonce of the slots' tokens.
    pub nonce: [u8; 11],
    /// What the tokens stand for, by number.
    pub slots: Vec<Slot>,
    /// Data for all recipients, as one JSON object.
    pub variables: String,
    /// The reverse-path, as plugins see it.
    pub reverse_path: ReversePath,
    /// Tags, as plugins see them.
    pub tags: Vec<Tag>,
    /// Plugins that run for each recipient, in order.
    pub steps: Vec<PlannedStep>,
    /// Whom From may name, where a copy's own is still to be made; none is anybody. The spool keeps it beside the rest of the plan.
    #[serde(skip)]
    pub senders: Vec<SenderPattern>,
}

/// A plugin that is still to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name in the configuration.
    pub plugin: Arc<str>,
    /// Its options, complete, as one JSON object.
    pub config: String,
    /// Run its stage `recipient`; else its stage `submit`, which comes after a plugin that runs per recipient.
    pub per_recipient: bool,
    /// SHA-256 of the component that took the message, in hexadecimal digits; absent where an earlier release planned it. The spool keeps it beside the
    /// rest of the plan.
    #[serde(skip)]
    pub digest: Option<Arc<str>>,
}

impl Plan {
    /// A plan with nothing to do: every recipient gets the content as it is.
    pub fn plain(login: Arc<str>, message: MessageId, received: Timestamp) -> Self {
        Self {
            login,
            message,
            received,
            context: Vec::new(),
            nonce: [0; 11],
            slots: Vec::new(),
            variables: String::new(),
            reverse_path: ReversePath::Null,
            tags: Vec::new(),
            steps: Vec::new(),
            senders: Vec::new(),
        }
    }

    /// Whether anything of it looks at a recipient's data.
    pub fn needs_variables(&self) -> bool {
        !self.steps.is_empty() || self.slots.iter().any(|slot| matches!(slot, Slot::Variable(_)))
    }

    /// Whether every recipient gets the same octets: those of the content as it is.
    pub fn is_plain(&self) -> bool {
        self.steps.is_empty() && self.slots.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod test_store;
#[cfg(test)]
mod tests;
