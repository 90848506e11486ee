//! The components that queued mail may need: which are in use, and which nothing needs any more.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::config::Config;

/// How often components that are in use are marked so.
const INTERVAL: Duration = Duration::from_hours(1);

/// Says from time to time which components are in use, and removes those that nothing needs any more.
pub(super) async fn run(parts: Arc<Parts>, shutdown: CancellationToken) {
    loop {
        let config = Arc::clone(&parts.config.read());
        tidy(&parts, &config).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// A component is kept as long as mail may wait that it took, and as long as that can be looked at afterwards.
pub(super) async fn tidy(parts: &Parts, config: &Config) {
    let in_use: Vec<_> = parts.chains.current().plugins().values().map(|plugin| Arc::clone(plugin.digest())).collect();
    let age = config.store.retention.saturating_add(config.delivery.give_up);
    let (engine, now) = (Arc::clone(&parts.engine), parts.clock.now());
    let tidied = tokio::task::spawn_blocking(move || engine.shelf().into_iter().for_each(|shelf| shelf.tidy(&in_use, now, age)));
    // It neither panics nor is cancelled.
    drop(tidied.await);
}
