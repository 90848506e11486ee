//! Certificates and plugins whose files have changed. Plugins are loaded again, one by one: a version that does not load leaves the one from before in force.
//!
//! Files are looked at, not waited for: this works on every file system, and for files that are replaced, renamed or mounted. A change counts once the
//! file has looked the same twice, so that one that is still being written is left alone.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::Parts;
use super::privileges::out_of_reach;
use crate::chain::loading::{Flaw, with_version};
use crate::chain::registry::Reload;
use crate::config::{self, Config, PluginSource, WATCH_INTERVAL};
use crate::listener::tls::Certificate;
use crate::plugin::component::signature_path;
use crate::plugin::loading::{Purpose, load_trusted};

/// How a file looks from outside; `None` where there is none.
type Look = Option<(SystemTime, u64, u64, i64)>;

/// How a plugin looks from outside: component and signature.
type Looks = (Look, Look);

/// What is known about one plugin.
#[derive(Debug, Default)]
struct Watched {
    /// As it was when it was loaded, or could not be; nothing before it was looked at.
    taken: Option<Looks>,
    /// As it was at the last look.
    last: Option<Looks>,
}

/// Looks at the files until `shutdown`.
pub(super) async fn run(parts: Arc<Parts>, shutdown: CancellationToken) {
    let runtime = &parts.started.plugin_runtime;
    if !runtime.watch {
        return;
    }
    let mut watched: BTreeMap<Arc<str>, Watched> = BTreeMap::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(runtime.watch_interval) => {}
        }
        let config = Arc::clone(&parts.config.read());
        watched.retain(|name, _| config.plugins.contains_key(name));
        for (name, plugin) in &config.plugins {
            let PluginSource::File(path) = &plugin.source else { continue };
            let path = path.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || looks(&path)).await else { return };
            let known = watched.entry(Arc::clone(name)).or_default();
            let is_quiet = known.last.replace(now) == Some(now);
            if is_quiet && known.taken != Some(now) {
                known.taken = Some(now);
                reload(&parts, name, plugin).await;
            }
        }
    }
}

/// Loads the certificates again when files of theirs have changed, until `shutdown`: new connections are shown the new ones. What cannot be used leaves those
/// from before in force.
pub(super) async fn certificate(parts: Arc<Parts>, certificate: Certificate, shutdown: CancellationToken) {
    let (mut last, mut taken) = (None, None);
    loop {
        let interval = parts.config.read().tls.as_ref().map_or(WATCH_INTERVAL, |tls| tls.watch_interval);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let config = Arc::clone(&parts.config.read());
        let first = config.tls.iter().map(|tls| (&tls.certificate, &tls.key));
        let pairs = first.chain(config.certificates.iter().map(|named| (&named.certificate, &named.key)));
        let files: Vec<PathBuf> = pairs.flat_map(|(certificate, key)| [certificate.clone(), key.clone()]).collect();
        let looking = tokio::task::spawn_blocking(move || files.into_iter().map(|path| (look(&path), path)).collect::<Vec<_>>());
        let Ok(now) = looking.await else { return };
        let is_quiet = last.as_ref() == Some(&now);
        last = Some(now);
        if !is_quiet || taken == last {
            continue;
        }
        // The first time they are what the start has loaded, most likely.
        let is_first = taken.is_none();
        taken.clone_from(&last);
        match certificate.reload(config.tls.as_ref(), &config.certificates) {
            Ok(()) if is_first => debug!("the certificate is loaded"),
            Ok(()) => info!("the certificate has changed: new connections are shown the new one"),
            Err(failure) => {
                let reason = format!("{:#}", anyhow::Error::from(failure));
                let hint = out_of_reach(&parts.started, &reason);
                if is_first && !hint.is_empty() {
                    // That was said at the start.
                    debug!("the certificate cannot be looked at: {reason}");
                } else {
                    error!("the certificate is not loaded again, the one from before stays: {reason}{hint}");
                }
            }
        }
    }
}

fn looks(path: &Path) -> Looks {
    (look(path), look(&signature_path(path)))
}

fn look(path: &Path) -> Look {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len(), data.ino(), data.ctime()))
}

/// Loads one plugin again, if it is another one now.
async fn reload(parts: &Parts, name: &Arc<str>, configured: &config::Plugin) {
    let _turn = parts.reloading.lock().await;
    let config = Arc::clone(&parts.config.read());
    let Some(loaded) = parts.chains.current().plugins().get(name).cloned() else { return };
    if config.plugins.get(name) != Some(configured) {
        // All of the configuration was loaded in the meantime.
        return;
    }
    let result = match load_trusted(&parts.engine, name, configured, &config.plugin_trust, Some(Arc::clone(&loaded)), Purpose::Mail).await {
        Ok(same) if Arc::ptr_eq(&same, &loaded) => {
            // A file that is as it was again has nothing wrong with it any more.
            if parts.chains.reload_of(name).is_none_or(|last| last.result.is_ok()) {
                return debug!(plugin = %name, "the plugin's file is the version that is loaded");
            }
            Ok(same)
        }
        Ok(version) => switch(parts, &config, Arc::clone(&version)).map(|()| version),
        Err(error) => Err(Flaw::of_plugin(name, &error).text),
    };
    parts.metrics.plugin_reloaded(name, result.is_ok());
    match &result {
        Ok(version) => info!(plugin = %name, version = version.manifest().version, digest = %version.digest(), "plugin reloaded"),
        Err(failure) => error!(plugin = %name, digest = %loaded.digest(), "not reloaded, the version from before stays: {failure}"),
    }
    parts.chains.note(name, Reload { at: parts.clock.now(), result: result.map(drop) });
    super::components::tidy(parts, &config).await;
}

fn switch(parts: &Parts, config: &Config, version: Arc<crate::plugin::Plugin>) -> Result<(), String> {
    let chains = with_version(config, &parts.chains.current(), version)
        .map_err(|flaws| flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    parts.chains.replace(chains);
    Ok(())
}
