//! One connection out of many hosts and addresses.
//!
//! Hosts are tried in the order of their preference. The addresses of one host race (RFC 8305, "happy eyeballs"): the next one starts when the one before
//! has failed or has had its head start, and the first that answers wins. A host or address that fails leads to the next one.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Broken, Connection, Target};
use super::failure::Failure;
use super::mx::{self, Host, Reach};
use super::protection::Guard;
use super::route::{Surroundings, dead_time};
use super::tls_report::{Fault, Seen};
use crate::config::Source;
use crate::dns::Dns;
use crate::smtp::client::{Options, Security};
use crate::spool::entry::TransportSecurity;

/// How long an address has to answer before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// What is dialled.
pub(super) struct Dial<'a> {
    pub(super) dns: &'a dyn Dns,
    pub(super) port: u16,
    pub(super) reach: Reach<'a>,
    pub(super) options: Options,
    pub(super) source: Option<(&'a Arc<str>, &'a Source)>,
    pub(super) around: Surroundings<'a>,
}

/// Why there is no connection.
pub(super) enum NotDialled {
    /// No host answers; the failure of the last one.
    Failed(Failure),
    /// Our own address cannot be used.
    Unbound(Failure),
}

/// Where dialling is.
#[derive(Default)]
struct Progress {
    /// Connections that were tried.
    tries: u32,
    last: Option<Failure>,
    /// An address of ours could not be used.
    unbound: Option<Failure>,
    /// Another one could.
    bound: bool,
}

impl Progress {
    /// "Later" of one host outweighs "never" of another.
    fn note(&mut self, failure: Failure) {
        self.last = Some(match self.last.take() {
            Some(last) if !last.is_permanent() && failure.is_permanent() => last,
            _ => failure,
        });
    }

    fn into_failure(self) -> NotDialled {
        match self.unbound {
            Some(failure) if !self.bound => NotDialled::Unbound(failure),
            // The hosts that could not be dialled may be better.
            Some(unbound) => NotDialled::Failed(self.last.unwrap_or(unbound).softened()),
            None => NotDialled::Failed(self.last.unwrap_or_else(|| Failure::transient((4, 1), "no host answers"))),
        }
    }
}

impl Dial<'_> {
    /// Connects to the best host that answers.
    pub(super) async fn any(&self, hosts: &[Host], guard: &Guard<'_>) -> Result<Connection, NotDialled> {
        let mut progress = Progress::default();
        for (position, host) in hosts.iter().enumerate() {
            let vouching = guard.vouching(self.dns, host, self.port).await;
            let seen = guard.seen(host, &vouching).map(Arc::new);
            let protection = guard.protection(host, &vouching);
            if let (Err(failure), Some(seen)) = (&protection, &seen)
                && let Some((result, reason)) = guard.fault(seen, &vouching, failure)
            {
                self.note(seen, Err(Fault { result, from: None, to: None, reason }));
            }
            let protected = match protection {
                Ok(protection) => mx::addresses(self.dns, host, self.reach).await.map(|addresses| (protection, addresses)),
                Err(failure) => Err(failure),
            };
            let (protection, addresses) = match protected {
                Ok(protected) => protected,
                Err(failure) => {
                    progress.note(failure.at(&host.to_text()));
                    continue;
                }
            };
            let mut options = self.options.clone();
            options.security = protection.security;
            let target = Target {
                address: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), self.port),
                name: host.to_text(),
                options,
                tls: protection.connector,
                tls_name: protection.name,
                // A smart host is the only one: what it cannot take comes back without asking.
                wants_require_tls: guard.transport == TransportSecurity::Required && guard.by_mx,
                seen,
                observed: protection.observed,
                policy: protection.policy,
                connect_time: self.around.limits.connect_time,
                source: self.source.map(|(name, _)| name.clone()),
                bind: None,
            };
            if let Some(connection) = self.host(&target, addresses, &mut progress).await {
                return Ok(connection);
            }
            if progress.tries >= self.around.limits.host_tries {
                if position + 1 < hosts.len() {
                    // Those behind have not been asked.
                    progress.last = progress.last.take().map(Failure::softened);
                }
                break;
            }
        }
        Err(progress.into_failure())
    }

    /// Addresses that may be tried, in order.
    fn reachable(&self, target: &Target, addresses: Vec<IpAddr>, progress: &mut Progress) -> VecDeque<Target> {
        let now = self.around.clock.monotonic();
        let mut targets = VecDeque::new();
        for ip in addresses {
            let address = SocketAddr::new(ip, self.port);
            let bind = self.source.and_then(|(_, source)| source.address_for(ip));
            let target = Target { address, bind, ..target.clone() };
            if let (Some((name, _)), None) = (self.source, bind) {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                let text = format!("the source \"{name}\" has no {family} address");
                progress.note(Failure::transient((4, 1), text).at(&target.to_text()));
            } else if let (Some((name, _)), Some(failure)) =
                (self.source, bind.and_then(|address| self.around.book.address_failure(address, now)))
            {
                tracing::trace!(source = %name, "an address that could not be used a moment ago is passed over");
                progress.unbound = Some(failure);
            } else if let Some(failure) = self.around.dead_hosts.failure((bind, address), now) {
                progress.note(failure);
            } else {
                targets.push_back(target);
            }
        }
        if self.around.dead_hosts.is_v6_dead(now) {
            let (v4, v6): (Vec<_>, Vec<_>) = targets.drain(..).partition(|target| target.address.is_ipv4());
            targets.extend(v4.into_iter().chain(v6));
        }
        targets
    }

    /// Tries the addresses of one host; `None` where none of them answers.
    async fn host(&self, target: &Target, addresses: Vec<IpAddr>, progress: &mut Progress) -> Option<Connection> {
        let mut waiting = self.reachable(target, addresses, progress);
        let mut racing = FuturesUnordered::new();
        let mut under_way: Vec<Target> = Vec::new();
        let mut may_start = true;
        loop {
            if may_start
                && progress.tries < self.around.limits.host_tries
                && let Some(target) = waiting.pop_front()
            {
                progress.tries += 1;
                under_way.push(target.clone());
                racing.push(async move { (Connection::reach(&target).await, target) });
            }
            if racing.is_empty() {
                return None;
            }
            let is_last = waiting.is_empty() || progress.tries >= self.around.limits.host_tries;
            let next = if is_last { Ok(racing.next().await) } else { timeout(HEAD_START, racing.next()).await };
            let Ok(next) = next else {
                may_start = true;
                continue;
            };
            let (reached, target) = next?;
            under_way.retain(|other| other.address != target.address);
            match reached {
                Err(broken) => {
                    self.failed(&target, &broken, progress);
                    may_start = true;
                }
                Ok(stream) => {
                    progress.bound = true;
                    if target.address.is_ipv4() && under_way.iter().any(|other| other.address.is_ipv6()) {
                        self.around.dead_hosts.remember_v6(self.around.clock.monotonic(), dead_time(self.around.limits));
                    }
                    // The others are given up; should this one not speak SMTP, they have their turn again.
                    racing.clear();
                    progress.tries = progress.tries.saturating_sub(u32::try_from(under_way.len()).unwrap_or(u32::MAX));
                    for other in under_way.drain(..).rev() {
                        waiting.push_front(other);
                    }
                    let way = (target.bind, target.address);
                    match self.open(target.clone(), stream).await {
                        Ok(connection) if target.wants_require_tls && !connection.offers_require_tls() => {
                            connection.quit().await;
                            self.failed(&target, &Broken::Unpromised, progress);
                        }
                        Ok(connection) => {
                            self.opened(&target, &connection);
                            self.around.dead_hosts.forget(way);
                            return Some(connection);
                        }
                        Err(broken) => self.failed(&target, &broken, progress),
                    }
                    may_start = true;
                }
            }
        }
    }

    fn failed(&self, target: &Target, broken: &Broken, progress: &mut Progress) {
        let host = target.to_text();
        let failure = broken.to_failure(&host);
        tracing::debug!(host = %host, "next hop failed: {broken}");
        self.note_broken(target, broken);
        let now = self.around.clock.monotonic();
        if let Broken::Bind(_) = broken {
            // The other family has an address of its own, and another source has others. No connection was tried.
            if let (Some((name, _)), Some(address)) = (self.source, target.bind) {
                self.around.book.address_unusable(address, &failure.clone().at(""), now, now + dead_time(self.around.limits));
                self.around.metrics.delivery().source_failed(name);
            }
            progress.unbound = Some(failure.at(""));
            progress.tries = progress.tries.saturating_sub(1);
            return;
        }
        progress.bound = true;
        if matches!(broken, Broken::NoWay(_)) && target.address.is_ipv6() {
            self.around.dead_hosts.remember_v6(now, dead_time(self.around.limits));
        }
        // The table is that of all routes and logins.
        if self.around.remember && broken.is_of_all() {
            let (way, limits) = ((target.bind, target.address), self.around.limits);
            self.around.dead_hosts.remember(way, &failure, now, now + dead_time(limits), limits.dead_hosts);
        }
        progress.note(failure);
    }

    /// Speaks SMTP; where TLS is opportunistic and its handshake fails, once more without it (RFC 7435).
    async fn open(&self, target: Target, stream: TcpStream) -> Result<Connection, Broken> {
        let may_fall_back =
            target.options.security == Security::Opportunistic && !target.options.implicit_tls && target.options.credentials.is_none();
        match Connection::open(target.clone(), stream).await {
            Err(broken @ Broken::Handshake { .. }) if may_fall_back => {
                self.note_broken(&target, &broken);
                let options = Options { security: Security::None, ..target.options.clone() };
                let target = Target { options, tls: None, seen: None, ..target };
                let stream = Connection::reach(&target).await?;
                Connection::open(target, stream).await
            }
            result => result,
        }
    }

    /// Counts a connection, as reports on TLS do.
    fn note(&self, seen: &Seen, outcome: Result<(), Fault>) {
        let around = self.around;
        around.metrics.delivery().tls_session(seen.kind.word(), outcome.as_ref().err().map_or("good", |fault| fault.result));
        let reports = &around.limits.tls_reports;
        if reports.enabled {
            let noted = around.tallies.note(around.route, seen, outcome, reports, around.clock.now());
            around.metrics.delivery().tls_reported("no_room", noted.given_up);
            if !noted.has_room {
                around.metrics.delivery().tls_uncounted();
            }
        }
    }

    /// Counts a connection that is open.
    fn opened(&self, target: &Target, connection: &Connection) {
        // One that fell back was counted.
        let Some(seen) = connection.seen() else { return };
        let fault = |result, reason| Fault { result, from: target.bind, to: Some(target.address.ip()), reason };
        let observed = target.observed.as_ref().and_then(|observed| observed.lock().clone());
        self.note(
            seen,
            match observed {
                _ if !connection.is_secured() => Err(fault("starttls-not-supported", "it does not offer STARTTLS".to_owned())),
                Some((result, reason)) => Err(fault(result, reason)),
                None => Ok(()),
            },
        );
    }

    /// Counts a connection that TLS was the end of.
    fn note_broken(&self, target: &Target, broken: &Broken) {
        if let (Some(seen), Some(result)) = (&target.seen, broken.tls_result()) {
            let (from, to) = (target.bind, Some(target.address.ip()));
            self.note(seen, Err(Fault { result, from, to, reason: broken.to_string() }));
        }
    }
}
