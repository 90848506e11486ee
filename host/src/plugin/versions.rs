//! Versions of plugins that are not the configured ones any more, and that queued mail and traces still need.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::warn;

use super::Plugin;
use super::loading::load_component;

/// Versions that are loaded, the one that was used last at the end. Of a name that is not in the configuration any more there is none: what it
/// was granted was taken from it.
#[derive(Debug, Default)]
pub struct Versions(Mutex<VecDeque<Arc<Plugin>>>);

impl Versions {
    /// Returns the version of `current` with this digest, or whose digest begins with these digits: loaded now where it was not yet. `None` where it is not kept
    /// any more, or cannot be loaded any more, which is logged.
    pub async fn of(&self, current: &Arc<Plugin>, digest: &str) -> Option<Arc<Plugin>> {
        if current.digest().starts_with(digest) {
            return Some(Arc::clone(current));
        }
        // Whoever comes while one is loaded waits: it may be the one that he wants.
        let mut loaded = self.0.lock().await;
        let place = loaded.iter().position(|plugin| plugin.name() == current.name() && plugin.digest().starts_with(digest));
        let found = match place.and_then(|place| loaded.remove(place)) {
            Some(plugin) => plugin,
            None => load(current, digest).await?,
        };
        loaded.push_back(Arc::clone(&found));
        while loaded.len() > current.engine.old_versions() {
            loaded.pop_front();
        }
        Some(found)
    }
}

/// Loads a version that was kept, with the limits that the plugin has now.
async fn load(current: &Arc<Plugin>, digest: &str) -> Option<Arc<Plugin>> {
    let (engine, wanted) = (Arc::clone(&current.engine), digest.to_owned());
    let found = tokio::task::spawn_blocking(move || engine.shelf().and_then(|shelf| shelf.find(&wanted))).await;
    let component = found.ok().flatten()?;
    match load_component(&current.engine, &current.name, component, None, &current.configured()).await {
        Ok(plugin) => Some(Arc::new(plugin)),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            warn!(plugin = %current.name, plugin.digest = digest, error, "a version that queued mail needs cannot be loaded any more");
            None
        }
    }
}
