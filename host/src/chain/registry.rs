//! The chains in force, and what came of loading their plugins again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Chains;
use crate::clock::Timestamp;

/// The chains in force. Cloning is cheap; all clones see a replacement at once, and messages under way keep what they began with.
#[derive(Clone, Debug, Default)]
pub struct ChainRegistry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    chains: RwLock<Arc<Chains>>,
    /// By plugin; there are no more of them than the configuration has had plugins since the last time that all of it was loaded.
    reloads: RwLock<BTreeMap<Arc<str>, Reload>>,
}

/// What came of the last try to load a plugin again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When it was tried.
    pub at: Timestamp,
    /// Why the version from before goes on, if it does.
    pub result: Result<(), String>,
}

impl ChainRegistry {
    /// Starts with `chains`.
    pub fn new(chains: Chains) -> Self {
        Self(Arc::new(Inner { chains: RwLock::new(Arc::new(chains)), reloads: RwLock::default() }))
    }

    /// Returns the chains in force.
    pub fn current(&self) -> Arc<Chains> {
        Arc::clone(&self.0.chains.read())
    }

    /// Puts other chains in force, which were built before: this cannot fail half way.
    pub fn replace(&self, chains: Chains) {
        let chains = Arc::new(chains);
        self.0.reloads.write().retain(|name, _| chains.plugins().contains_key(name));
        *self.0.chains.write() = chains;
    }

    /// Notes what came of loading a plugin again.
    pub fn note(&self, plugin: &Arc<str>, reload: Reload) {
        if self.current().plugins().contains_key(plugin) {
            self.0.reloads.write().insert(Arc::clone(plugin), reload);
        }
    }

    /// Returns what came of the last try to load a plugin again; `None` where there was none.
    pub fn reload_of(&self, plugin: &str) -> Option<Reload> {
        self.0.reloads.read().get(plugin).cloned()
    }
}
