//! Routes: how mail of a login leaves.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;

use super::connection::Connection;
use super::dead_hosts::DeadHosts;
use super::dial::{Dial, NotDialled};
use super::failure::Failure;
use super::mx::{self, Exchangers, Host, Reach};
use super::policies::{Fetching, Policies, Standing};
use super::protection::Guard;
use super::source::{NoSource, SourceBook};
use super::tls_report::Tallies;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::{self, TlsLevel};
use crate::dns::Dns;
use crate::mail::domain::Domain;
use crate::smtp::client::{Credentials, Options, Security};
use crate::spool::entry::TransportSecurity;
use crate::spool::queue::Lane;
use crate::telemetry::metric::Metrics;

use std::time::Duration;

/// A route that is ready for use.
pub(super) enum Route {
    Mx(MxRoute),
    SmartHost(SmartHostRoute),
    Capture,
}

/// To the recipients' own servers.
pub(super) struct MxRoute {
    pub(super) dns: Arc<dyn Dns>,
    pub(super) port: u16,
    pub(super) allow_private: bool,
    /// The least that is done.
    pub(super) tls: TlsLevel,
    /// Takes only valid certificates; `None` where there is no certification authority to trust.
    pub(super) verifying: Option<TlsConnector>,
    /// What that goes by.
    pub(super) verifier: Option<Arc<dyn ServerCertVerifier>>,
    /// Takes any certificate.
    pub(super) anyone: TlsConnector,
    /// How policies are fetched; `None` where they do not count.
    pub(super) fetching: Option<Fetching>,
    /// TLSA records of hosts count.
    pub(super) dane: bool,
}

/// To one server for all.
pub(super) struct SmartHostRoute {
    pub(super) dns: Arc<dyn Dns>,
    pub(super) host: Host,
    pub(super) port: u16,
    /// The least that is done; TLSA records of the host count where it asks for that.
    pub(super) tls: TlsLevel,
    /// As in [`MxRoute`].
    pub(super) verifying: Option<TlsConnector>,
    /// As in [`MxRoute`].
    pub(super) anyone: TlsConnector,
    pub(super) implicit_tls: bool,
    pub(super) credentials: Option<Credentials>,
}

/// What connecting needs from its surroundings.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) name: &'a Arc<str>,
    /// Which route it is.
    pub(super) route: &'a str,
    pub(super) limits: &'a config::Delivery,
    pub(super) dead_hosts: &'a DeadHosts,
    pub(super) sources: &'a config::Sources,
    pub(super) book: &'a SourceBook,
    pub(super) policies: &'a Policies,
    pub(super) tallies: &'a Tallies,
    pub(super) metrics: &'a Metrics,
    /// What keeps the queue apart from others of the same way.
    pub(super) lane: &'a Lane,
    pub(super) clock: &'a Clock,
    pub(super) entropy: &'a Entropy,
    /// Whether to remember hosts that fail. Where we have connections already, a failure may only mean that these are enough.
    pub(super) remember: bool,
}

/// How long a host that failed is left alone: not longer than half of the wait before the next attempt, so that this one is real.
pub(super) fn dead_time(limits: &config::Delivery) -> Duration {
    limits.dead_time.min(limits.retry_first / 2)
}

/// Why there is no connection.
pub(super) enum NotConnected {
    /// It did not work.
    Failed(Failure),
    /// It was not tried: mail waits until then.
    Waits {
        /// Why, for people.
        text: String,
        /// Until when.
        until: Timestamp,
    },
}

impl From<Failure> for NotConnected {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Route {
    /// Returns names of hosts that take mail for `domain`, in A-labels, the preferred ones first: none where the route does not go by that.
    pub(super) async fn host_names(&self, domain: &str) -> Vec<String> {
        match self {
            Self::Mx(MxRoute { dns, .. }) => {
                let mut records = dns.mx(domain).await.unwrap_or_default();
                records.sort_by_key(|record| record.preference);
                records.into_iter().map(|record| record.host).collect()
            }
            Self::SmartHost(_) | Self::Capture => Vec::new(),
        }
    }

    /// Connects to the best host that answers. The failure is that of the last host.
    pub(super) async fn connect(&self, domain: Option<&str>, around: Surroundings<'_>) -> Result<Connection, NotConnected> {
        let Way { hosts, guard, dns, port, reach, options } = self.way(domain, around).await?;
        let dialled = dial(Dial { dns, port, reach, options, source: None, around }, &hosts, &guard).await;
        dialled.map_err(|why| match (self, why) {
            // Whatever is wrong with our own smart host, the recipient cannot help it.
            (Self::SmartHost(_), NotConnected::Failed(failure)) => NotConnected::Failed(failure.softened()),
            (Self::Mx(_) | Self::SmartHost(_) | Self::Capture, why) => why,
        })
    }

    /// Returns the hosts that would be tried, each with what asks for its TLS (see [`Protection`](super::protection::Protection)), or why it gets no mail.
    pub(super) async fn protections(
        &self,
        domain: Option<&str>,
        around: Surroundings<'_>,
    ) -> Result<Vec<(Host, Result<&'static str, Failure>)>, Failure> {
        let Way { hosts, guard, dns, port, .. } = self.way(domain, around).await?;
        let mut found = Vec::with_capacity(hosts.len());
        for host in hosts {
            let vouching = guard.vouching(dns, &host, port).await;
            let protection = guard.protection(&host, &vouching).map(|protection| protection.policy);
            found.push((host, protection));
        }
        Ok(found)
    }

    /// Finds out where mail goes, and what is asked for on the way.
    async fn way<'a>(&'a self, domain: Option<&str>, around: Surroundings<'a>) -> Result<Way<'a>, Failure> {
        let transport = around.lane.transport;
        match self {
            Self::Mx(MxRoute { dns, port, allow_private, tls, verifying, verifier, anyone, fetching, dane }) => {
                let reach = Reach { own_name: around.name, allow_private: *allow_private };
                let domain = domain.and_then(|domain| Domain::parse(domain).ok());
                let domain = domain.ok_or_else(|| Failure::transient((3, 5), "the queue names no domain"))?;
                let (name, by_mx) = (domain.to_ascii(), domain.literal().is_none());
                let rule = around.limits.tls_rules.iter().find(|rule| rule.matches(around.route, &name));
                let level = rule.map_or(*tls, |rule| rule.tls);
                let dane = (*dane || level == TlsLevel::Dane) && dns.validates() && by_mx;
                let Exchangers { hosts, secure } = mx::hosts(&**dns, &domain, reach, around.entropy, dane).await?;
                // A message that shall arrive whatever policies say needs none.
                let fetching = fetching.as_ref().filter(|_| transport != TransportSecurity::Optional && by_mx);
                let policy = match fetching {
                    Some(fetching) => around.policies.policy(&**dns, fetching, &name, around.clock.monotonic()).await,
                    None => Standing::None,
                };
                let guard = Guard {
                    level,
                    rule,
                    verifying: verifying.as_ref(),
                    verifier: verifier.as_ref(),
                    anyone,
                    transport,
                    policy,
                    by_mx,
                    secure,
                    reported: (transport == TransportSecurity::AsConfigured && by_mx).then(|| name.clone()),
                    dane: dane.then_some(name),
                };
                Ok(Way { hosts, guard, dns: &**dns, port: *port, reach, options: options(false, None, around) })
            }
            Self::SmartHost(SmartHostRoute { dns, host, port, tls, verifying, anyone, implicit_tls, credentials }) => {
                let dane = match host {
                    Host::Name(name) if *tls == TlsLevel::Dane && dns.validates() => Some(name.clone()),
                    Host::Name(_) | Host::Address(_) => None,
                };
                let guard = Guard {
                    level: *tls,
                    rule: None,
                    verifying: verifying.as_ref(),
                    verifier: None,
                    anyone,
                    transport,
                    policy: Standing::None,
                    by_mx: false,
                    // The configuration names the host, and nobody else can.
                    secure: true,
                    reported: None,
                    dane,
                };
                let reach = Reach { own_name: "", allow_private: true };
                let options = options(*implicit_tls, credentials.clone(), around);
                Ok(Way { hosts: vec![host.clone()], guard, dns: &**dns, port: *port, reach, options })
            }
            Self::Capture => Err(Failure::transient((3, 5), "this route sends nothing")),
        }
    }
}

/// Where mail goes, and what is asked for on the way.
struct Way<'a> {
    hosts: Vec<Host>,
    guard: Guard<'a>,
    dns: &'a dyn Dns,
    port: u16,
    reach: Reach<'a>,
    options: Options,
}

/// Dials from the sources of the lane, one after the other while their addresses cannot be used.
async fn dial(mut dial: Dial<'_>, hosts: &[Host], guard: &Guard<'_>) -> Result<Connection, NotConnected> {
    let around = dial.around;
    let Some(pool) = &around.lane.source else {
        return dial.any(hosts, guard).await.map_err(|why| match why {
            NotDialled::Failed(failure) | NotDialled::Unbound(failure) => failure.into(),
        });
    };
    let order = around.book.order(around.sources, pool, around.clock, around.entropy).map_err(|none| match none {
        NoSource::Failed(failure) => NotConnected::Failed(failure),
        NoSource::Waits { text, until } => NotConnected::Waits { text, until },
    })?;
    let mut last = None;
    for (name, source) in &order {
        let attempt = Dial {
            options: Options { name: source.hostname.clone().unwrap_or_else(|| around.name.clone()), ..dial.options.clone() },
            source: Some((name, source)),
            ..dial
        };
        match attempt.any(hosts, guard).await {
            Ok(connection) => return Ok(connection),
            Err(NotDialled::Failed(failure)) => return Err(failure.into()),
            Err(NotDialled::Unbound(failure)) => {
                let now = around.clock.monotonic();
                around.book.unusable(name, &failure, now, now + dead_time(around.limits));
                last = Some(failure);
            }
        }
        dial.options = attempt.options;
    }
    Err(last.unwrap_or_else(|| Failure::transient((3, 5), "no source can be used")).into())
}

fn options(implicit_tls: bool, credentials: Option<Credentials>, around: Surroundings<'_>) -> Options {
    // What is done about TLS is said for each host.
    Options { name: around.name.clone(), security: Security::Required, implicit_tls, credentials, command_time: around.limits.command_time }
}
