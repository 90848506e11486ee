//! Routes: how mail of a login leaves.

use std::sync::Arc;

use tokio_rustls::TlsConnector;

use super::connection::{Broken, Connection, Target};
use super::dead_hosts::DeadHosts;
use super::failure::Failure;
use super::mx::{self, Host, Reach};
use crate::clock::{Clock, Entropy};
use crate::config;
use crate::dns::Dns;
use crate::mail::domain::Domain;
use crate::smtp::client::{Credentials, Options, Security};

use std::net::SocketAddr;
use std::time::Duration;

/// A route that is ready for use.
pub(super) enum Route {
    Mx { dns: Arc<dyn Dns>, port: u16, allow_private: bool, tls: TlsPolicy },
    SmartHost { dns: Arc<dyn Dns>, host: Host, port: u16, tls: TlsPolicy, implicit_tls: bool, credentials: Option<Credentials> },
    Capture,
}

/// TLS of a route.
#[derive(Clone)]
pub(super) enum TlsPolicy {
    /// With a certificate that is valid.
    Required(TlsConnector),
    /// Where it works.
    Opportunistic(TlsConnector),
    /// Never.
    None,
}

impl TlsPolicy {
    fn security(&self) -> Security {
        match self {
            Self::Required(_) => Security::Required,
            Self::Opportunistic(_) => Security::Opportunistic,
            Self::None => Security::None,
        }
    }

    fn connector(&self) -> Option<TlsConnector> {
        match self {
            Self::Required(connector) | Self::Opportunistic(connector) => Some(connector.clone()),
            Self::None => None,
        }
    }
}

/// What connecting needs from its surroundings.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) limits: &'a config::Delivery,
    pub(super) dead_hosts: &'a DeadHosts,
    pub(super) clock: &'a Clock,
    pub(super) entropy: &'a Entropy,
    /// Whether to remember hosts that fail. Where we have connections already, a failure may only mean that these are enough.
    pub(super) remember: bool,
}

/// How long a host that failed is left alone: not longer than half of the wait before the next attempt, so that this one is real.
pub(super) fn dead_time(limits: &config::Delivery) -> Duration {
    limits.dead_time.min(limits.retry_first / 2)
}

impl Route {
    /// Returns names of hosts that take mail for `domain`, in A-labels, the preferred ones first: none where the route does not go by that.
    pub(super) async fn host_names(&self, domain: &str) -> Vec<String> {
        match self {
            Self::Mx { dns, .. } => {
                let mut records = dns.mx(domain).await.unwrap_or_default();
                records.sort_by_key(|record| record.preference);
                records.into_iter().map(|record| record.host).collect()
            }
            Self::SmartHost { .. } | Self::Capture => Vec::new(),
        }
    }

    /// Connects to the best host that answers. The failure is that of the last host.
    pub(super) async fn connect(&self, domain: Option<&str>, around: Surroundings<'_>) -> Result<Connection, Failure> {
        match self {
            Self::Mx { dns, port, allow_private, tls } => {
                let reach = Reach { own_name: around.name, allow_private: *allow_private };
                let domain = domain.and_then(|domain| Domain::parse(domain).ok());
                let domain = domain.ok_or_else(|| Failure::transient((3, 5), "the queue names no domain"))?;
                let hosts = mx::hosts(&**dns, &domain, reach, around.entropy).await?;
                let options = options(tls, false, None, around);
                connect_any(&**dns, &hosts, *port, reach, tls, &options, around).await
            }
            Self::SmartHost { dns, host, port, tls, implicit_tls, credentials } => {
                let reach = Reach { own_name: "", allow_private: true };
                let options = options(tls, *implicit_tls, credentials.clone(), around);
                let connected = connect_any(&**dns, std::slice::from_ref(host), *port, reach, tls, &options, around).await;
                // Whatever is wrong with our own smart host, the recipient cannot help it.
                connected.map_err(Failure::softened)
            }
            Self::Capture => Err(Failure::transient((3, 5), "this route sends nothing")),
        }
    }
}

fn options(tls: &TlsPolicy, implicit_tls: bool, credentials: Option<Credentials>, around: Surroundings<'_>) -> Options {
    Options { name: around.name.clone(), security: tls.security(), implicit_tls, credentials, command_time: around.limits.command_time }
}

async fn connect_any(
    dns: &dyn Dns,
    hosts: &[Host],
    port: u16,
    reach: Reach<'_>,
    tls: &TlsPolicy,
    options: &Options,
    around: Surroundings<'_>,
) -> Result<Connection, Failure> {
    let mut tries = 0;
    let mut last: Option<Failure> = None;
    for host in hosts {
        let addresses = match mx::addresses(dns, host, reach).await {
            Ok(addresses) => addresses,
            Err(failure) => {
                // "Later" of one host outweighs "never" of another.
                last = Some(match last {
                    Some(last) if !last.is_permanent() && failure.is_permanent() => last,
                    _ => failure.at(&host.to_text()),
                });
                continue;
            }
        };
        for ip in addresses {
            let address = SocketAddr::new(ip, port);
            let now = around.clock.monotonic();
            if let Some(failure) = around.dead_hosts.failure(address, now) {
                last = Some(failure);
                continue;
            }
            if tries == around.limits.host_tries {
                return Err(last.unwrap_or_else(|| Failure::transient((4, 1), "no host answers")));
            }
            tries += 1;
            let target = Target {
                address,
                name: host.to_text(),
                options: options.clone(),
                tls: tls.connector(),
                connect_time: around.limits.connect_time,
            };
            match open(target.clone()).await {
                Ok(connection) => {
                    around.dead_hosts.forget(address);
                    return Ok(connection);
                }
                Err(broken) => {
                    let failure = broken.to_failure(&target.to_text());
                    tracing::debug!(host = %target.to_text(), "next hop failed: {broken}");
                    if around.remember {
                        let until = around.clock.monotonic() + dead_time(around.limits);
                        around.dead_hosts.remember(address, &failure, now, until);
                    }
                    last = Some(failure);
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::transient((4, 1), "no host answers")))
}

/// Connects; where TLS is opportunistic and its handshake fails, once more without it (RFC 7435).
async fn open(target: Target) -> Result<Connection, Broken> {
    let may_fall_back =
        target.options.security == Security::Opportunistic && !target.options.implicit_tls && target.options.credentials.is_none();
    match Connection::open(target.clone()).await {
        Err(Broken::Handshake(_)) if may_fall_back => {
            let options = Options { security: Security::None, ..target.options.clone() };
            Connection::open(Target { options, tls: None, ..target }).await
        }
        result => result,
    }
}
