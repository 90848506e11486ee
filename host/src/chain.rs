//! The chain: a login's plugins, in the order that the configuration says.
//!
//! A message goes through in up to two parts. [`Chain::process`](processing) runs once, before the client hears 250, and ends with a
//! [`Plan`]: the message as far as it is common to all recipients, and what is left to do for each. [`rendering`] carries the plan out
//! for one recipient: it runs the plugins that are left, if any, and fills in the slots. Rendering is a function of plan and recipient: the
//! same octets at every attempt.

pub mod building;
pub mod checking;
pub mod options;
pub mod processing;
pub mod rendering;
mod size;
pub mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::{SenderPattern, When};
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::MessageId;
use crate::mail::slot::Slot;
use crate::mail::tag::Tag;
use crate::plugin::loading::{Plugins, Spares};
use crate::plugin::{Plugin, Stage};

/// All chains and plugins of one configuration. First-party plugins that no chain uses are loaded when a message needs one.
#[derive(Debug)]
pub struct Chains {
    by_name: BTreeMap<Arc<str>, Arc<Chain>>,
    plugins: Plugins,
    spares: Spares,
    /// Octets of a copy.
    rendered_size: u64,
}

impl Default for Chains {
    /// No chains, and copies of any size.
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), plugins: Plugins::new(), spares: Spares::default(), rendered_size: u64::MAX }
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

    /// Returns how many octets a copy may have once its slots are filled in.
    pub fn rendered_size(&self) -> u64 {
        self.rendered_size
    }

    /// Returns the plugins that were loaded with the chains, by name.
    pub fn plugins(&self) -> &Plugins {
        &self.plugins
    }
}

/// The chains in force. Cloning is cheap; all clones see a replacement at once, and messages under way keep what they began with.
#[derive(Clone, Debug, Default)]
pub struct ChainRegistry(Arc<RwLock<Arc<Chains>>>);

impl ChainRegistry {
    /// Starts with `chains`.
    pub fn new(chains: Chains) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(chains))))
    }

    /// Returns the chains in force.
    pub fn current(&self) -> Arc<Chains> {
        Arc::clone(&self.0.read())
    }

    /// Puts other chains in force, which were built before: this cannot fail half way.
    pub fn replace(&self, chains: Chains) {
        *self.0.write() = Arc::new(chains);
    }
}

/// Plugins in the order in which they run.
#[derive(Debug)]
pub struct Chain {
    steps: Vec<Step>,
}

/// One plugin of a chain, with what the configuration says to it.
#[derive(Debug)]
struct Step {
    plugin: Arc<Plugin>,
    when: When,
    locked: bool,
    /// Whether it runs, where the chain says so.
    enabled: Option<bool>,
    options: Map<String, Value>,
    /// The options as one JSON object, for stages in which no message has a say.
    config: Arc<str>,
}

impl Step {
    /// Whether the plugin takes part in a stage in which no message has a say. Of events it hears wherever a message may have asked for it.
    fn takes_part(&self, stage: Stage) -> bool {
        let may_run = match stage {
            Stage::Event => !self.locked || self.enabled != Some(false),
            Stage::Submit | Stage::Recipient | Stage::Rcpt => self.enabled.unwrap_or(self.when == When::Always),
        };
        may_run && self.plugin.has(stage)
    }
}

/// A plugin of a chain as it runs where no message has a say.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which.
    pub plugin: Arc<Plugin>,
    /// Its options as one JSON object.
    pub config: Arc<str>,
}

impl Chain {
    /// Whether there is no plugin in it.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the plugins that take part in a stage in which no message has a say, in their order.
    pub fn standing(&self, stage: Stage) -> impl Iterator<Item = Standing> {
        let those = self.steps.iter().filter(move |step| step.takes_part(stage));
        those.map(|step| Standing { plugin: Arc::clone(&step.plugin), config: Arc::clone(&step.config) })
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
