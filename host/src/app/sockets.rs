//! Sockets: bound before anything is started, served when everything is.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::inherited::Inherited;
use super::{Parts, keys};
use crate::acme;
use crate::archive::Archive;
use crate::clock::{Clock, Entropy};
use crate::config::{Config, Listener, ListenerKind, ListenerTls};
use crate::event::recorder::Recorder;
use crate::feedback::Feedback;
use crate::http::challenge::Challenges;
use crate::http::idempotency::Keys;
use crate::http::queue::place::Places;
use crate::http::serve::{Server, Serving, Transport};
use crate::http::{self, Services, dashboard};
use crate::link::LinkSigner;
use crate::listener::dns::{DnsListener, DnsPorts};
use crate::listener::mx::MxDesk;
use crate::listener::port::Port;
use crate::listener::smtp::reception::FrontDesk;
use crate::listener::smtp::{Door, Protection, Service, SmtpListener};
use crate::listener::tls::{CHALLENGE_PROTOCOL, Certificate};
use crate::sending_domain::SendingDomains;
use crate::store::Store;
use crate::submission::login::Logins;
use crate::telemetry::metric::Metrics;

/// ALPN names of HTTP over TLS.
const HTTP_PROTOCOLS: [&[u8]; 3] = [b"h2", b"http/1.1", CHALLENGE_PROTOCOL];

/// A listener that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// `smtp`, `mx`, `http` or `dns`.
    pub kind: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// `starttls`, `implicit` or `none`.
    pub tls: &'static str,
}

/// All listeners at work.
pub(super) struct Sockets {
    listening: Vec<Listening>,
    tasks: TaskTracker,
    http: Server,
    serving: watch::Sender<Serving>,
    pub(super) smtp: Arc<Service<FrontDesk>>,
    pub(super) mx: Arc<Service<MxDesk>>,
    pub(super) certificate: Option<Certificate>,
}

/// What the HTTP side works with, beside the configuration.
pub(super) struct Doors {
    pub(super) archive: Archive,
    pub(super) logins: Logins,
    pub(super) feedback: Feedback,
    pub(super) domains: SendingDomains,
    pub(super) recorder: Recorder,
    pub(super) links: LinkSigner,
    pub(super) metrics: Metrics,
    pub(super) store: Arc<dyn Store>,
    /// Cancelled when the server takes nothing new any more.
    pub(super) ingress: CancellationToken,
}

/// What is bound, and not listened on yet.
pub(super) struct Bound {
    ports: Vec<(Listener, Port)>,
    dns: Option<DnsPorts>,
}

/// What is listened on, and not served yet: who comes now waits.
pub(super) struct Open {
    listeners: Vec<(Listener, TcpListener)>,
    dns: Option<DnsListener>,
}

/// Binds all listeners, so that an address that is taken ends the start before anything else happens. What is inherited is taken in the place of new ones.
pub(super) fn bind(config: &Config, mut inherited: Inherited) -> Result<Bound> {
    let mut ports = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let port = match inherited.stream(listener.address) {
            Some(socket) => Port::of(socket),
            None => Port::bind(listener.address).with_context(|| format!("{} cannot be bound", listener.address))?,
        };
        ports.push((listener.clone(), port));
    }
    let dns = match &config.dns_server {
        Some(server) => {
            let passed = inherited.packets(server.address).zip(inherited.stream(server.address));
            Some(match passed {
                Some((udp, tcp)) => DnsPorts { udp, tcp: Port::of(tcp) },
                None => DnsPorts::bind(server.address).with_context(|| format!("dns_server: {} cannot be bound", server.address))?,
            })
        }
        None => None,
    };
    inherited.finish();
    Ok(Bound { ports, dns })
}

impl Bound {
    /// Listens on all of it. To be called on the runtime.
    pub(super) fn listen(self) -> Result<Open> {
        let mut listeners = Vec::with_capacity(self.ports.len());
        for (listener, port) in self.ports {
            let socket = port.listen().with_context(|| format!("{} cannot be listened on", listener.address))?;
            listeners.push((listener, socket));
        }
        let dns = self.dns.map(DnsPorts::listen).transpose().context("dns_server")?;
        Ok(Open { listeners, dns })
    }
}

/// Loads the certificates, where there are any.
pub(super) fn certificate(config: &Config) -> Result<Option<Certificate>> {
    let certificate = match (&config.tls, &config.acme) {
        (Some(tls), _) => Certificate::load(tls).context("[tls]")?,
        (None, Some(_)) => acme::at_hand(config).context("[acme]")?,
        (None, None) => return Ok(None),
    };
    certificate.reload(None, &config.certificates).context("[[certificates]]")?;
    Ok(Some(certificate))
}

/// Puts together what the HTTP side works with.
pub(super) fn services(config: &Config, doors: Doors, clock: &Clock, entropy: &Entropy, open_dashboard: bool) -> Result<Services> {
    let Doors { metrics, store, ingress, .. } = doors;
    Ok(Services {
        archive: doors.archive,
        logins: doors.logins,
        feedback: doors.feedback,
        domains: doors.domains,
        recorder: doors.recorder,
        links: doors.links,
        idempotency: Keys::new(Arc::clone(&store), clock.clone()),
        clock: clock.clone(),
        places: Places::new(keys::queue_key(&config.server.data, entropy)?, entropy),
        entropy: entropy.clone(),
        hostname: config.server.hostname.clone(),
        trusted_proxies: config.server.trusted_proxies.clone().into(),
        chains: Arc::new(config.chains.clone()),
        limits: config.http.clone(),
        longest_hold: config.smtp.future_release,
        dashboard: dashboard::Access::new(&config.dashboard, open_dashboard),
        metrics: Arc::new(move || metrics.encode()),
        ready: Arc::new(move || {
            if ingress.is_cancelled() {
                return Err("the server is draining".to_owned());
            }
            store.health().map_err(|error| error.to_string())
        }),
        challenges: Challenges::default(),
        background: TaskTracker::new(),
    })
}

/// Serves what is listened on.
pub(super) fn serve(
    Open { listeners: open, dns }: Open,
    certificate: Option<Certificate>,
    parts: &Parts,
    entropy: &Entropy,
    shutdown: &CancellationToken,
) -> Result<Sockets> {
    let config = parts.config.read().clone();
    let desk = FrontDesk::new(parts.logins.clone(), parts.intake.clone());
    let smtp = Arc::new(Service::new(desk, &config.server, &config.smtp, parts.clock.clone(), entropy.clone(), parts.metrics.clone()));
    let desk = MxDesk::new(parts.inbound.clone());
    let limits = &config.mx.sessions;
    let mx = Arc::new(Service::new(desk, &config.server, limits, parts.clock.clone(), entropy.clone(), parts.metrics.clone()));
    let (serving, served) = watch::channel(http::serving(parts.services.clone()));
    let server = Server::new(served, shutdown.clone(), parts.metrics.clone());
    let smtp_tls = certificate.as_ref().map(|certificate| certificate.server_config(&[])).transpose()?;
    let http_tls = certificate.as_ref().map(|certificate| certificate.server_config(&HTTP_PROTOCOLS)).transpose()?;
    let tasks = TaskTracker::new();
    let mut listening = Vec::with_capacity(open.len());
    for (listener, socket) in open {
        let address = socket.local_addr()?;
        let (kind, tls) = (kind_word(listener.kind), tls_word(listener.tls));
        match listener.kind {
            ListenerKind::Smtp => {
                let protection = Protection::new(listener.tls, smtp_tls.clone()).with_context(|| format!("{address}: TLS needs [tls]"))?;
                let door = Door { protection, require_tls: listener.require_tls, proxy_protocol: listener.proxy_protocol };
                tasks.spawn(SmtpListener::new(socket, door, smtp.clone()).run(shutdown.clone()));
            }
            ListenerKind::Mx => {
                let protection = Protection::new(listener.tls, smtp_tls.clone()).with_context(|| format!("{address}: TLS needs [tls]"))?;
                let door = Door { protection, require_tls: None, proxy_protocol: listener.proxy_protocol };
                tasks.spawn(SmtpListener::new(socket, door, mx.clone()).run(shutdown.clone()));
            }
            ListenerKind::Http => {
                let transport = match listener.tls {
                    ListenerTls::None => Transport::Plain,
                    ListenerTls::Implicit | ListenerTls::StartTls => {
                        let config = http_tls.clone().with_context(|| format!("{address}: TLS needs [tls]"))?;
                        Transport::Tls(watch::channel(config).1)
                    }
                };
                let server = server.clone();
                tasks.spawn(async move { server.accept(socket, transport, listener.proxy_protocol).await });
            }
        }
        tracing::info!("listening on {kind} {address} ({tls})");
        listening.push(Listening { kind, address, tls });
    }
    if let (Some(dns), Some(settings)) = (dns, config.dns_server.clone()) {
        let address = dns.address()?;
        tracing::info!("listening on dns {address} (none)");
        listening.push(Listening { kind: "dns", address, tls: "none" });
        tasks.spawn(dns.run(settings, parts.services.domains.clone(), parts.clock.clone(), shutdown.clone()));
    }
    Ok(Sockets { listening, tasks, http: server, serving, smtp, mx, certificate })
}

impl Sockets {
    pub(super) fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Serves HTTP with other services from the next request on.
    pub(super) fn replace_services(&self, services: Services) {
        drop(self.serving.send_replace(http::serving(services)));
    }

    /// Completes when no session and no request is left, once the server drains.
    pub(super) async fn drained(&self) {
        self.tasks.close();
        tokio::join!(self.tasks.wait(), self.http.drained());
    }
}

fn kind_word(kind: ListenerKind) -> &'static str {
    match kind {
        ListenerKind::Smtp => "smtp",
        ListenerKind::Mx => "mx",
        ListenerKind::Http => "http",
    }
}

fn tls_word(tls: ListenerTls) -> &'static str {
    match tls {
        ListenerTls::StartTls => "starttls",
        ListenerTls::Implicit => "implicit",
        ListenerTls::None => "none",
    }
}
