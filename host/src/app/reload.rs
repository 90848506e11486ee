//! Reloading: everything is read, compiled and checked first; only then anything is switched, and switching cannot fail.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};

use super::sockets::Sockets;
use super::{Parts, pipeline};
use crate::config::{self, Config, Listener};
use crate::http::Services;
use crate::intake::IntakeSettings;

/// Switches to the configuration as it is in its file now; says what was not switched because it needs a restart.
pub(super) async fn reload(parts: &Parts, sockets: &Sockets) -> Result<String> {
    let path = parts.path.as_ref().context("this configuration is not in a file")?;
    let new = config::load(path, &|name| std::env::var(name).ok()).map_err(|errors| anyhow!("{errors}"))?;
    let old = parts.config.read().clone();
    if new.server.data != old.server.data {
        bail!("server.data cannot change while the server runs");
    }
    let chains = pipeline::chains(&new, &parts.engine).await?;
    let delivery = pipeline::delivery(&new, parts.renderer.clone())?;
    if let (Some(certificate), Some(files)) = (&sockets.certificate, &new.tls) {
        certificate.reload(files).context("[tls]")?;
    }
    for warning in &new.warnings {
        tracing::warn!("{warning}");
    }
    let chain_count = new.chains.len();
    parts.chains.replace(chains);
    parts.delivery.reconfigure(delivery);
    parts.logins.replace(new.logins.clone());
    parts.intake.reconfigure(IntakeSettings::new(&new));
    sockets.smtp.reload(&new.server, &new.smtp);
    sockets.replace_services(Services {
        hostname: new.server.hostname.clone(),
        trusted_proxies: new.server.trusted_proxies.clone().into(),
        chains: Arc::new(new.chains.clone()),
        limits: new.http.clone(),
        ..parts.services.clone()
    });
    let mut said = format!("{} logins, {chain_count} chains, {} routes", new.logins.len(), new.routes.len());
    let restart = needs_restart(&old, &new);
    if !restart.is_empty() {
        said.extend(["; changes of ", &restart.join(", "), " take a restart"]);
    }
    *parts.config.write() = Arc::new(new);
    Ok(said)
}

/// Sections that changed and are only read at the start.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let listeners = |config: &Config| -> Vec<String> {
        let text = |listener: &Listener| format!("{listener:?}");
        config.listeners.iter().map(text).collect()
    };
    let mut sections = Vec::new();
    if listeners(old) != listeners(new) {
        sections.push("[[listen]]");
    }
    if format!("{:?}", old.store) != format!("{:?}", new.store) {
        sections.push("[store]");
    }
    if format!("{:?}", old.plugin_runtime) != format!("{:?}", new.plugin_runtime) {
        sections.push("[plugin_runtime]");
    }
    if format!("{:?}", old.search) != format!("{:?}", new.search) {
        sections.push("[search]");
    }
    if format!("{:?}", old.dashboard) != format!("{:?}", new.dashboard) {
        sections.push("[dashboard]");
    }
    if old.server.public_url != new.server.public_url {
        sections.push("server.public_url");
    }
    sections
}
