//! Reloading: everything is read, compiled and checked first; only then anything is switched, and switching cannot fail.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};

use super::sockets::Sockets;
use super::{Parts, pipeline};
use crate::chain::Chains;
use crate::chain::loading::{self, Before};
use crate::chain::registry::Reload;
use crate::config::{self, Config};
use crate::feedback::FeedbackSettings;
use crate::http::Services;
use crate::inbound::InboundSettings;
use crate::intake::IntakeSettings;
use crate::plugin::loading::Purpose;
use crate::sending_domain;

/// Switches to the configuration as it is in its file now; says what was not switched because it needs a restart.
pub(super) async fn reload(parts: &Parts, sockets: &Sockets) -> Result<String> {
    // First of all: who waits reads what is in the file when it is his turn.
    let _turn = parts.reloading.lock().await;
    let path = parts.path.as_ref().context("this configuration is not in a file")?;
    let new = config::load(path, &|name| std::env::var(name).ok()).map_err(|errors| anyhow!("{errors}"))?;
    if new.server.data != parts.started.server.data {
        bail!("server.data cannot change while the server runs");
    }
    let chains = chains(parts, &new).await?;
    let domains = sending_domain::settings::Settings::new(&new, parts.services.domains.secret()).map_err(|error| anyhow!(error))?;
    let delivery = pipeline::delivery(&new, parts.renderer.clone(), &parts.verp, &parts.services.domains)?;
    if let Some(certificate) = &sockets.certificate {
        certificate.reload(new.tls.as_ref(), &new.certificates).context("[tls] and [[certificates]]")?;
    }
    for warning in &new.warnings {
        tracing::warn!("{warning}");
    }
    let chain_count = new.chains.len();
    parts.chains.replace(chains);
    parts.delivery.reconfigure(delivery);
    parts.services.domains.reconfigure(domains);
    parts.logins.reconfigure(&Arc::new(new.clone()));
    parts.archive.spool().suspensions().reconfigure(new.queue);
    parts.intake.reconfigure(IntakeSettings::new(&new));
    parts.feedback.reconfigure(FeedbackSettings::new(&new));
    parts.inbound.reconfigure(InboundSettings::new(&new));
    sockets.smtp.reload(&new.server, &new.smtp);
    sockets.mx.reload(&new.server, &new.mx.sessions);
    parts.services.dashboard.replace(&new.dashboard);
    sockets.replace_services(Services {
        hostname: new.server.hostname.clone(),
        trusted_proxies: new.server.trusted_proxies.clone().into(),
        chains: Arc::new(new.chains.clone()),
        limits: new.http.clone(),
        longest_hold: new.smtp.future_release,
        ..parts.services.clone()
    });
    let mut said = format!("{} logins, {chain_count} chains, {} routes", new.logins.len(), new.routes.len());
    let restart = needs_restart(&parts.started, &new);
    if !restart.is_empty() {
        said.extend(["; changes of ", &restart.join(", "), " take a restart"]);
    }
    let new = Arc::new(new);
    *parts.config.write() = Arc::clone(&new);
    super::components::tidy(parts, &new).await;
    Ok(said)
}

/// Loads what has changed, and notes what came of it.
async fn chains(parts: &Parts, new: &Config) -> Result<Chains> {
    let (config, before) = (Arc::clone(&parts.config.read()), parts.chains.current());
    let loaded = loading::load(new, &parts.engine, Some(Before { config: &config, chains: &before }), Purpose::Mail).await;
    let at = parts.clock.now();
    match loaded {
        Ok(chains) => {
            for (name, plugin) in chains.plugins() {
                let known = before.plugins().get(name);
                let has_failed = parts.chains.reload_of(name).is_some_and(|last| last.result.is_err());
                if has_failed || known.is_some_and(|known| !Arc::ptr_eq(known, plugin)) {
                    parts.metrics.plugin_reloaded(name, true);
                    parts.chains.note(name, Reload { at, result: Ok(()) });
                }
            }
            Ok(chains)
        }
        Err(flaws) => {
            for flaw in &flaws {
                if let Some(name) = &flaw.plugin {
                    parts.metrics.plugin_reloaded(name, false);
                    parts.chains.note(name, Reload { at, result: Err(flaw.text.clone()) });
                }
            }
            Err(anyhow!(flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
        }
    }
}

/// Sections and keys that are other than at the start, and only read there.
fn needs_restart(started: &Config, new: &Config) -> Vec<&'static str> {
    let differences = [
        ("[[listen]]", started.listeners != new.listeners),
        ("[acme]", started.acme.is_some() != new.acme.is_some()),
        ("[store]", started.store != new.store),
        ("[plugin_runtime]", started.plugin_runtime != new.plugin_runtime),
        ("[dns_server]", started.dns_server != new.dns_server),
        ("server.nameservers", started.server.nameservers != new.server.nameservers),
        ("queue.walks", started.queue.walks != new.queue.walks),
        ("[search]", started.search != new.search),
        ("server.user", (&started.server.user, &started.server.group) != (&new.server.user, &new.server.group)),
        ("server.public_url", started.server.public_url != new.server.public_url),
        ("server.submissions", started.server.submissions != new.server.submissions),
        ("[authentication]", started.authentication != new.authentication),
        ("mx.messages_at_once", started.mx.messages_at_once != new.mx.messages_at_once),
        ("http.connections", started.http.connections != new.http.connections),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
