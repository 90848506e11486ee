//! What delivery takes from the configuration, checked and ready for use.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::dkim::{DkimError, Signers};
use super::mx::Host;
use super::policies::Fetching;
use super::route::{MxRoute, Route, SmartHostRoute};
use crate::chain::Plan;
use crate::chain::rendering::{Recipient, RenderError, Rendered, Renderer};
use crate::chain::trace::Trace;
use crate::clock::Timestamp;
use crate::config::{self, Config, TlsLevel};
use crate::dns::network::NetworkDns;
use crate::dns::{Dns, DnsError, Mx, RecordKind};
use crate::mail::domain::Domain;
use crate::mail::envelope::ReversePath;
use crate::network::http_client::HttpClient;
use crate::network::tls::{self, TlsError};
use crate::plugin::LONGEST_WAIT;
use crate::sending_domain::SendingDomains;
use crate::smtp::client::Credentials;
use crate::spool::Leased;
use crate::spool::backoff::Backoff;
use crate::spool::entry::Entry;
use crate::verp::Verp;
use bytes::Bytes;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;

/// Why delivery cannot start with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// TLS of a route.
    #[error("route {route:?}: {error}")]
    Tls {
        /// Which route.
        route: Arc<str>,
        /// Why.
        #[source]
        error: TlsError,
    },
    /// The system does not say which name servers to ask.
    #[error("route {route:?}: no name servers: {reason}; name them with `nameservers`")]
    Dns {
        /// Which route.
        route: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A signing key.
    #[error(transparent)]
    Dkim(#[from] DkimError),
}

/// Renders copies: the chain's renderer, or one that a test stands for.
pub(super) trait Render: Send + Sync + 'static {
    /// See [`Renderer::render`].
    fn render<'a>(
        &'a self,
        plan: &'a Plan,
        body: Bytes,
        recipient: Recipient<'a>,
        trace: &'a mut Trace,
    ) -> BoxFuture<'a, Result<Rendered, RenderError>>;
}

impl Render for Renderer {
    fn render<'a>(
        &'a self,
        plan: &'a Plan,
        body: Bytes,
        recipient: Recipient<'a>,
        trace: &'a mut Trace,
    ) -> BoxFuture<'a, Result<Rendered, RenderError>> {
        Renderer::render(self, plan, body, recipient, trace).boxed()
    }
}

/// Everything that may change when the configuration is loaded again.
pub struct Settings {
    /// EHLO name, in A-labels.
    pub(super) name: Arc<str>,
    pub(super) limits: config::Delivery,
    pub(super) backoff: Backoff,
    pub(super) routes: BTreeMap<Arc<str>, Route>,
    /// The same routes as they are written, for the names of queues.
    pub(super) kinds: BTreeMap<Arc<str>, config::Route>,
    pub(super) sources: config::Sources,
    pub(super) signers: Signers,
    pub(super) renderer: Arc<dyn Render>,
    /// Where bounces of tracked mail come back to; without it nothing is tracked.
    pub(super) returns: Option<ReturnPaths>,
    /// How long mail may be put off before its first attempt.
    pub(super) longest_hold: Duration,
}

/// Makes the return paths of tracked mail.
#[derive(Clone)]
pub struct ReturnPaths {
    /// Makes and reads the addresses.
    pub verp: Verp,
    /// The host of addresses where the sender's domain has none of its own.
    pub host: Domain,
    /// Gives the host of a sender's domain that has one of its own, if the login may use it, so that SPF is aligned.
    pub host_of: HostOf,
}

/// Gives the host of return paths that a sender's domain has of its own, for mail of a login.
pub type HostOf = Arc<dyn Fn(&str, &Domain) -> Option<Domain> + Send + Sync>;

impl Settings {
    /// Tracks bounces, or does it no more.
    #[must_use]
    pub fn with_return_paths(self, returns: Option<ReturnPaths>) -> Self {
        Self { returns, ..self }
    }

    /// Returns the reverse-path that stands for one copy of a tracked message; `None` where that is the sender's.
    pub(super) fn return_path(&self, entry: &Entry, reverse_path: &ReversePath, leased: &Leased, now: Timestamp) -> Option<ReversePath> {
        let returns = self.returns.as_ref().filter(|_| entry.terms.track_bounces)?;
        let own = reverse_path.mailbox().and_then(|sender| (returns.host_of)(&entry.login, sender.domain()));
        let host = own.as_ref().unwrap_or(&returns.host);
        Some(ReversePath::Mailbox(returns.verp.address(leased.copy, leased.recipient.notify(), &entry.login, host, now)))
    }

    /// Reads keys, certificates and name servers that `config` speaks of. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load(config: &Config, renderer: Renderer, domains: Option<SendingDomains>) -> Result<Self, Vec<SettingsError>> {
        let mut errors = Vec::new();
        let mut routes = BTreeMap::new();
        for (name, kind) in &config.routes {
            match load_route(name, kind, &config.server.nameservers, &config.delivery) {
                Ok(route) => drop(routes.insert(name.clone(), route)),
                Err(error) => errors.push(error),
            }
        }
        let signers = Signers::load(&config.dkim, domains).map_err(|failures| errors.extend(failures.into_iter().map(SettingsError::from)));
        match signers {
            Ok(signers) if errors.is_empty() => {
                let renderer = Arc::new(renderer);
                let mut settings =
                    Self::assemble(&config.server.hostname, config.delivery.clone(), routes, config.routes.clone(), signers, renderer);
                settings.sources = config.sources.clone();
                settings.longest_hold = config.smtp.future_release.max(LONGEST_WAIT);
                Ok(settings)
            }
            _ => Err(errors),
        }
    }

    /// Finds everything that is wrong with routes and keys, without a renderer. Must be called inside a tokio runtime.
    pub fn check(config: &Config) -> Vec<SettingsError> {
        let mut errors: Vec<_> = config
            .routes
            .iter()
            .filter_map(|(name, kind)| load_route(name, kind, &config.server.nameservers, &config.delivery).err())
            .collect();
        if let Err(failures) = Signers::load(&config.dkim, None) {
            errors.extend(failures.into_iter().map(SettingsError::from));
        }
        errors
    }

    pub(super) fn assemble(
        hostname: &Domain,
        limits: config::Delivery,
        routes: BTreeMap<Arc<str>, Route>,
        kinds: BTreeMap<Arc<str>, config::Route>,
        signers: Signers,
        renderer: Arc<dyn Render>,
    ) -> Self {
        let backoff = Backoff::doubling(limits.retry_first, limits.retry_longest, limits.give_up);
        let backoff = backoff.with(&limits.retry, None).with_jitter(limits.retry_jitter, limits.retry_greylisted);
        let sources = config::Sources::default();
        Self {
            name: hostname.to_ascii().into(),
            limits,
            backoff,
            routes,
            kinds,
            sources,
            signers,
            renderer,
            returns: None,
            longest_hold: Duration::ZERO,
        }
    }
}

/// What a route hears that asks for what it cannot have.
const NO_DANE: &str = "tls = \"dane\" takes name servers that validate and are believed: until then the mail waits. Ask such servers, on this machine, or \
                       say `delivery.dns_trust_ad = true` if the way to them is safe";

fn load_route(
    name: &Arc<str>,
    kind: &config::Route,
    nameservers: &[SocketAddr],
    limits: &config::Delivery,
) -> Result<Route, SettingsError> {
    // A message, or the recipient's domain, may ask for more than the route does. A system without authorities can still have a route that asks for none.
    let verifier = |level: TlsLevel, ca: Option<&Path>| match tls::verifier(ca) {
        Ok(verifier) => Ok(Some(verifier)),
        Err(TlsError::NoRoots) if level != TlsLevel::Required => Ok(None),
        Err(error) => Err(SettingsError::Tls { route: name.clone(), error }),
    };
    let verifying = |verifier: Option<Arc<dyn ServerCertVerifier>>| {
        let connector = verifier.map(tls::connector).transpose();
        connector.map_err(|error| SettingsError::Tls { route: name.clone(), error })
    };
    let anyone = || tls::opportunistic().map_err(|error| SettingsError::Tls { route: name.clone(), error });
    let dns = |servers: &[SocketAddr]| -> Result<Arc<dyn Dns>, SettingsError> {
        let servers = if servers.is_empty() { nameservers } else { servers };
        let dns =
            NetworkDns::new(servers, &limits.dns).map_err(|error| SettingsError::Dns { route: name.clone(), reason: error.to_string() })?;
        Ok(Arc::new(dns))
    };
    Ok(match kind {
        config::Route::Mx(route) => {
            let verifier = verifier(route.tls, route.ca.as_deref())?;
            let verifying = verifying(verifier.clone())?;
            let fetching = verifying.as_ref().filter(|_| route.mta_sts).map(|tls| Fetching {
                client: HttpClient::new(Some(tls.clone())),
                port: route.mta_sts_port,
                private: route.allow_private,
                memory: limits.mta_sts_memory,
            });
            if warns_of_authorities(route) {
                tracing::warn!(
                    route = %name,
                    "`ca` stands in the place of the system's authorities for the web servers of MTA-STS policies too: policies of domains that have no \
                     certificate of these do not count. Leave `ca` out, or say `mta_sts = false`"
                );
            }
            if fetching.is_none() && route.mta_sts {
                tracing::warn!(route = %name, "the system has no certification authorities to trust: MTA-STS policies of domains do not count");
            }
            let dns = dns(&route.nameservers)?;
            let rules = limits.tls_rules.iter().filter(|rule| rule.route.as_ref().is_none_or(|route| route == name));
            if !dns.validates() && rules.map(|rule| rule.tls).chain([route.tls]).any(|level| level == TlsLevel::Dane) {
                tracing::warn!(route = %name, "{NO_DANE}");
            }
            Route::Mx(MxRoute {
                dns,
                port: route.port,
                allow_private: route.allow_private,
                tls: route.tls,
                verifying,
                verifier,
                anyone: anyone()?,
                fetching,
                dane: route.dane,
            })
        }
        config::Route::SmartHost(route) => {
            let literal = route.host.parse().ok().or_else(|| Domain::parse(&route.host).ok()?.literal());
            // An address needs no name servers, and a machine without them can still have a smart host.
            let dns = if literal.is_some() { Arc::new(NoDns) } else { dns(&[])? };
            if !dns.validates() && route.tls == TlsLevel::Dane {
                tracing::warn!(route = %name, "{NO_DANE}");
            }
            Route::SmartHost(SmartHostRoute {
                verifying: verifying(verifier(route.tls, route.ca.as_deref())?)?,
                anyone: anyone()?,
                dns,
                host: literal.map_or_else(|| Host::Name(route.host.clone()), Host::Address),
                port: route.port,
                tls: route.tls,
                implicit_tls: route.implicit_tls,
                credentials: route
                    .credentials
                    .as_ref()
                    .map(|(user, password)| Credentials { user: user.clone(), password: password.expose().to_owned() }),
            })
        }
        config::Route::Capture => Route::Capture,
    })
}

/// Whether a route believes its own authorities alone, and shall fetch policies from the web servers of everybody, whom these will not know. Were policies
/// fetched with the system's authorities, mail would wait for hosts whose certificates the route does not believe.
fn warns_of_authorities(route: &config::MxRoute) -> bool {
    route.mta_sts && route.ca.is_some() && route.mta_sts_port == config::MxRoute::default().mta_sts_port
}

/// For routes that are addresses: nothing to ask.
pub(crate) struct NoDns;

impl Dns for NoDns {
    fn mx<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        ready(Err(DnsError::NoSuchName)).boxed()
    }
    fn addresses<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        ready(Err(DnsError::NoSuchName)).boxed()
    }
    fn records<'a>(&'a self, _name: &'a str, _kind: RecordKind) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        ready(Err(DnsError::NoSuchName)).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn smart_host(host: &str, ca: Option<&str>) -> Result<Route, SettingsError> {
        let route = config::SmartHostRoute {
            host: host.into(),
            port: 587,
            tls: TlsLevel::Required,
            implicit_tls: false,
            ca: ca.map(Into::into),
            credentials: None,
        };
        load_route(&"up".into(), &config::Route::SmartHost(route), &[], &crate::delivery::tests::limits())
    }

    #[tokio::test]
    async fn a_smart_host_may_be_an_address() {
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), rcgen::generate_simple_self_signed(["up".to_owned()]).unwrap().cert.pem()).unwrap();
        for text in ["192.0.2.1", "[192.0.2.1]", "2001:db8::1", "[IPv6:2001:db8::1]"] {
            let Route::SmartHost(SmartHostRoute { host, .. }) = smart_host(text, ca.path().to_str()).unwrap() else { panic!() };
            assert!(matches!(host, Host::Address(_)), "{text}");
        }
    }

    #[test]
    fn a_route_with_authorities_of_its_own_is_told_of_policies() {
        let route = config::MxRoute { ca: Some("ca.pem".into()), ..config::MxRoute::default() };
        assert!(warns_of_authorities(&route));
        for quiet in [
            config::MxRoute { ca: None, ..route.clone() },
            config::MxRoute { mta_sts: false, ..route.clone() },
            config::MxRoute { mta_sts_port: 8443, ..route },
        ] {
            assert!(!warns_of_authorities(&quiet));
        }
    }

    #[tokio::test]
    async fn a_file_of_authorities_that_is_none_is_an_error() {
        let error = smart_host("192.0.2.1", Some("/nonexistent.pem")).err().unwrap().to_string();
        assert!(error.starts_with("route \"up\": /nonexistent.pem: "), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = smart_host("192.0.2.1", empty.path().to_str()).err().unwrap().to_string();
        assert!(error.ends_with(": no certificate in it"), "{error}");
    }
}
