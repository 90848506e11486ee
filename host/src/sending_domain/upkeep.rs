//! What is to be done for domains as time passes: keys take their turns, includes are looked up again, bounce hosts looked for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::record::SendingDomain;
use super::rotation::{Rotation, Turn};
use super::spf;
use super::status::Checking;
use super::{Caller, DomainError, SendingDomains};
use crate::clock::Timestamp;
use crate::mail::domain::Domain;

/// How often keys are looked after.
const KEYS: Duration = Duration::from_mins(10);

impl SendingDomains {
    /// Looks after all domains until `shutdown`.
    pub async fn run_upkeep(self, shutdown: CancellationToken) {
        let mut looked_up = None;
        loop {
            let pause = self.settings().config.spf_refresh.min(KEYS);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.look_after(&mut looked_up) => {}
            }
        }
    }

    /// One round; `looked_up` is when DNS was asked last.
    pub(super) async fn look_after(&self, looked_up: &mut Option<Timestamp>) {
        let now = self.0.clock.now();
        let settings = self.settings();
        let is_time = looked_up.is_none_or(|last| last.plus(settings.config.spf_refresh) <= now || now < last);
        if is_time {
            *looked_up = Some(now);
        }
        for domain in self.list(&Caller::Administrator).into_iter().filter(|domain| domain.approved.is_some()) {
            if let Err(error) = self.rotate(&domain.name).await {
                tracing::warn!(domain = %domain.name, "the keys of a sender domain could not be looked after: {error}");
            }
            if is_time && let Err(error) = self.refresh(&domain.name).await {
                tracing::warn!(domain = %domain.name, "a sender domain could not be looked after: {error}");
            }
        }
    }

    /// Lets the next key sign when it is time and it can be found in DNS; makes a new one in the place of a spent one.
    pub(super) async fn rotate(&self, name: &Domain) -> Result<(), DomainError> {
        let settings = self.settings();
        let Ok(domain) = self.get(&Caller::Administrator, name) else { return Ok(()) };
        let now = self.0.clock.now();
        match domain.keys.turn(now, settings.config.rotation, settings.retain) {
            Turn::None => Ok(()),
            Turn::Switch => {
                let Some((selector, key)) = domain.keys.next() else { return Ok(()) };
                let checking = Checking { publication: self.publication(&settings, &domain), dns: self.0.dns.as_ref() };
                match checking.has_key(selector, &key.record()).await {
                    Ok(true) => {
                        tracing::info!(domain = %domain.name, selector, "the next key signs");
                        self.change_keys(&domain, |keys| keys.switch(now)).await
                    }
                    // A signature that nobody can check is worth less than one with an old key.
                    Ok(false) => {
                        tracing::warn!(domain = %domain.name, selector, "the next key is not in DNS: the old one goes on signing");
                        Ok(())
                    }
                    Err(error) => {
                        tracing::debug!(domain = %domain.name, selector, "whether the next key is in DNS is not known: {error}");
                        Ok(())
                    }
                }
            }
            Turn::Renew(place) => {
                let key = self.make_key().await?;
                self.change_keys(&domain, |keys| keys.renew(place, key)).await
            }
        }
    }

    /// Changes the keys of a domain, unless they have changed since it was looked at: then it is for the next round.
    async fn change_keys(&self, before: &SendingDomain, change: impl FnOnce(&mut Rotation)) -> Result<(), DomainError> {
        let _turn = self.0.changing.lock().await;
        let Ok(domain) = self.get(&Caller::Administrator, &before.name) else { return Ok(()) };
        if domain.keys != before.keys {
            return Ok(());
        }
        let mut domain = SendingDomain::clone(&domain);
        change(&mut domain.keys);
        self.keep(domain).await.map(drop)
    }

    /// Looks again at what is included, and for the bounce host. What DNS does not say stays as it is.
    pub(super) async fn refresh(&self, name: &Domain) -> Result<(), DomainError> {
        let Ok(before) = self.get(&Caller::Administrator, name) else { return Ok(()) };
        let seen = self.seen(SendingDomain::clone(&before)).await;
        let mechanisms = self.mechanisms(&before);
        let flattened = spf::flatten(&mechanisms, self.0.dns.as_ref()).await;
        let flattened = match flattened.and_then(|flattened| spf::check_lookups(&mechanisms, &flattened).map(|()| flattened)) {
            Ok(flattened) => flattened,
            Err(error) => {
                tracing::warn!(domain = %name, "what SPF includes cannot be published, the ranges from before stay: {error}");
                before.flattened.clone()
            }
        };
        if seen.bounces_seen == before.bounces_seen && flattened == before.flattened {
            return Ok(());
        }
        let _turn = self.0.changing.lock().await;
        let Ok(domain) = self.get(&Caller::Administrator, name) else { return Ok(()) };
        // Somebody has changed it in the meantime: what was looked up may be about something else.
        if domain.spf != before.spf || domain.bounces != before.bounces {
            return Ok(());
        }
        let mut domain = SendingDomain::clone(&domain);
        (domain.bounces_seen, domain.flattened) = (seen.bounces_seen, flattened);
        self.keep(domain).await.map(drop)
    }
}
