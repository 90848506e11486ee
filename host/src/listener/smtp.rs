//! The SMTP listener: accepts connections, counts them, and gives each a task that drives a [`Session`].
//!
//! On shutdown it accepts no more, idle sessions hear 421 at once, open transactions may end; what is still there after the drain time
//! hears 421 too.

mod conversation;
pub mod reception;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::clock::{Clock, Entropy};
use crate::config::{self, IpNetwork, ListenerTls};
use crate::listener::connections::{Admission, Connections, NotAdmitted};
use crate::listener::proxy;
use crate::network::address::is_local;
use crate::network::proxy_header::Behind;
use crate::smtp::memory::ContentMemory;
use crate::smtp::reply::Reply;
use crate::smtp::scram::Channel;
use crate::smtp::server::{Allowance, Connection, Role, Session, Settings, Tls};
use crate::telemetry::metric::Metrics;
use conversation::{Conversation, End, Stop};
use reception::Reception;

/// How long the handshake of TLS may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// How long to wait where accepting fails because the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sessions may take, once the drain time is over, to end what is on its way to the disk and to say their last words.
pub const LAST_WORDS_TIME: Duration = Duration::from_secs(2);
/// How much of that a commit may take.
const COMMIT_TIME: Duration = Duration::from_secs(1);

/// What all SMTP listeners share.
pub struct Service<R> {
    reception: R,
    policy: RwLock<Arc<Policy>>,
    connections: Connections,
    memory: ContentMemory,
    sessions: AtomicU64,
    clock: Clock,
    entropy: Entropy,
    metrics: Metrics,
}

/// What the configuration says, and may say otherwise after a reload.
struct Policy {
    settings: Arc<Settings>,
    drain_time: Duration,
    trusted_proxies: Arc<[IpNetwork]>,
}

impl Policy {
    fn new(server: &config::Server, smtp: &config::Smtp, memory: &ContentMemory, guest: Option<&config::Login>) -> Self {
        let allowance = |login: &config::Login| Allowance {
            message_octets: login.limits.message_size.0,
            recipients: login.limits.recipients_per_message,
            asks: true,
            highest_priority: login.treatment.highest_priority,
        };
        let settings = Settings {
            hostname: server.hostname.clone(),
            message_octets: smtp.message_size.0,
            line_octets: usize::try_from(smtp.line_size.0).unwrap_or(usize::MAX),
            recipients: smtp.recipients,
            command_time: smtp.command_time,
            session_time: smtp.session_time,
            errors: smtp.errors,
            junk_commands: smtp.junk_commands,
            auth_failures: smtp.auth_failures,
            messages: smtp.messages_per_session,
            future_release: smtp.future_release,
            memory: memory.clone(),
            role: guest.map_or(Role::Submission, |login| Role::Mx(allowance(login))),
        };
        Self { settings: Arc::new(settings), drain_time: server.drain_time, trusted_proxies: server.trusted_proxies.clone().into() }
    }
}

impl<R: Reception> Service<R> {
    /// Makes a service that hands what it is given to `reception`.
    pub fn new(reception: R, server: &config::Server, smtp: &config::Smtp, clock: Clock, entropy: Entropy, metrics: Metrics) -> Self {
        let memory = ContentMemory::new(smtp.memory.0);
        let policy = Policy::new(server, smtp, &memory, reception.guest().as_deref());
        Self {
            reception,
            policy: RwLock::new(Arc::new(policy)),
            connections: Connections::new(smtp.connections, smtp.connections_per_address),
            memory,
            sessions: AtomicU64::new(0),
            clock,
            entropy,
            metrics,
        }
    }

    /// Takes over another configuration: sessions that are open keep the limits that they started with.
    pub fn reload(&self, server: &config::Server, smtp: &config::Smtp) {
        self.connections.set_limits(smtp.connections, smtp.connections_per_address);
        self.memory.set_limit(smtp.memory.0);
        *self.policy.write() = Arc::new(Policy::new(server, smtp, &self.memory, self.reception.guest().as_deref()));
    }

    /// Returns the connections that are open.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read())
    }

    /// Lets a connection in, as far as that depends on who has opened it.
    fn admit(&self, door: &Door, peer: IpAddr) -> Result<Admission, NotAdmitted> {
        if !door.proxy_protocol {
            return self.connections.admit(peer);
        }
        let is_trusted = self.policy().trusted_proxies.iter().any(|network| network.contains(peer));
        if is_trusted { self.connections.admit_proxy() } else { Err(NotAdmitted::NoProxy) }
    }
}

/// How a listener protects its connections.
#[derive(Clone)]
pub enum Protection {
    /// `STARTTLS` is offered.
    StartTls(TlsAcceptor),
    /// TLS from the first octet.
    Implicit(TlsAcceptor),
    /// There is no TLS.
    None,
}

impl Protection {
    /// Returns what `mode` asks for; `None` if that is TLS and there is no `tls`.
    pub fn new(mode: ListenerTls, tls: Option<Arc<rustls::ServerConfig>>) -> Option<Self> {
        Some(match mode {
            ListenerTls::StartTls => Self::StartTls(tls?.into()),
            ListenerTls::Implicit => Self::Implicit(tls?.into()),
            ListenerTls::None => Self::None,
        })
    }
}

/// How connections come in through one listener.
#[derive(Clone)]
pub struct Door {
    /// How they are protected.
    pub protection: Protection,
    /// Whether AUTH and mail take TLS; not said: except from loopback.
    pub require_tls: Option<bool>,
    /// Whether they come from a balancer that says whose they are.
    pub proxy_protocol: bool,
}

impl Door {
    /// Connections from clients themselves, that need TLS except from loopback.
    pub fn new(protection: Protection) -> Self {
        Self { protection, require_tls: None, proxy_protocol: false }
    }
}

/// A socket on which SMTP is spoken.
pub struct SmtpListener<R> {
    socket: TcpListener,
    door: Door,
    service: Arc<Service<R>>,
}

impl<R: Reception> SmtpListener<R> {
    /// Takes a bound socket.
    pub fn new(socket: TcpListener, door: Door, service: Arc<Service<R>>) -> Self {
        Self { socket, door, service }
    }

    /// Serves until `shutdown`, then drains; returns when no session is left.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { socket, door, service } = self;
        let end = CancellationToken::new();
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = sessions.join_next() => log_panic(ended),
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let admission = match service.admit(&door, peer.ip()) {
                            Ok(admission) => admission,
                            Err(reason) => {
                                service.metrics.connection_refused(R::INGRESS);
                                turn_away(stream, &door.protection, reason);
                                continue;
                            }
                        };
                        let stop = Stop { drain: shutdown.child_token(), end: end.child_token() };
                        let id = service.sessions.fetch_add(1, Ordering::Relaxed);
                        sessions.spawn(welcome(stream, peer, door.clone(), Arc::clone(&service), stop, (id, admission)));
                    }
                    Err(error) if is_of_one_connection(&error) => tracing::debug!(%error, "a connection was gone before it was accepted"),
                    Err(error) => {
                        tracing::warn!(%error, "connections cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(socket);
        let drain_time = service.policy().drain_time;
        if tokio::time::timeout(drain_time, join_all(&mut sessions)).await.is_err() {
            tracing::warn!(sessions = sessions.len(), "sessions are still open after the drain time and are closed");
            end.cancel();
            // What is left after this does not even read its 421; dropping the set ends it.
            let _ = tokio::time::timeout(LAST_WORDS_TIME, join_all(&mut sessions)).await;
        }
    }
}

/// Finds out who the client is, and serves him.
async fn welcome<R: Reception>(
    mut stream: TcpStream,
    peer: SocketAddr,
    door: Door,
    service: Arc<Service<R>>,
    stop: Stop,
    (id, mut admission): (u64, Admission),
) {
    let mut client = Client { peer: peer.ip(), is_here: false, is_probe: false };
    if door.proxy_protocol {
        match stop.drain.clone().run_until_cancelled(proxy::client(&mut stream)).await {
            Some(Ok(Behind::Client(address))) => client.peer = address.ip(),
            Some(Ok(behind)) => client = Client { peer: proxy::UNKNOWN, is_probe: behind == Behind::Nobody, ..client },
            Some(Err(error)) => return tracing::info!(%peer, "a proxy's connection is closed: {error}"),
            None => return,
        }
        if let Err(reason) = admission.assign(client.peer) {
            service.metrics.connection_refused(R::INGRESS);
            return turn_away(stream, &door.protection, reason);
        }
    }
    client.peer = client.peer.to_canonical();
    client.is_here = is_local(client.peer, peer.ip());
    let span = tracing::info_span!("session", id, peer = %client.peer);
    serve(stream, client, door, service, stop, admission).instrument(span).await;
}

/// Who is at the other end.
#[derive(Clone, Copy)]
struct Client {
    peer: IpAddr,
    /// It is on this machine: nobody else reads what it says.
    is_here: bool,
    /// It is a balancer that looks whether we are there.
    is_probe: bool,
}

async fn serve<R: Reception>(stream: TcpStream, client: Client, door: Door, service: Arc<Service<R>>, stop: Stop, admission: Admission) {
    let _open = service.metrics.connection(R::INGRESS);
    let Client { peer, is_here, is_probe } = client;
    let tls_required = door.require_tls.unwrap_or(!is_here);
    // Replies are written whole, and the client waits for each.
    let _ = stream.set_nodelay(true);
    let drain = stop.drain.clone();
    let session = |tls| {
        let settings = Arc::clone(&service.policy().settings);
        let connection = Connection { tls_required, tls, since: service.clock.now() };
        let mut session = Session::new(settings, connection, service.clock.monotonic());
        session.offer(service.reception.mechanisms());
        if is_probe {
            session.take_no_mail();
        }
        Conversation::new(Arc::clone(&service), session, peer, stop)
    };
    match door.protection {
        Protection::None => {
            let mut stream = stream;
            session(Tls::Unavailable).run(&mut stream).await;
        }
        Protection::Implicit(acceptor) => {
            if let Some(mut stream) = handshake(&acceptor, stream, &drain).await {
                let mut conversation = session(Tls::Active);
                conversation.bind(channel(&stream));
                conversation.run(&mut stream).await;
            }
        }
        Protection::StartTls(acceptor) => {
            let mut stream = stream;
            let mut conversation = session(Tls::Offered);
            if conversation.run(&mut stream).await == End::StartTls
                && let Some(mut stream) = handshake(&acceptor, stream, &drain).await
            {
                conversation.tls_started();
                conversation.bind(channel(&stream));
                conversation.run(&mut stream).await;
            }
        }
    }
    drop(admission);
}

/// Returns what SCRAM-SHA-256-PLUS binds to. Before TLS 1.3 it would take an extension of the handshake that we cannot ask for (RFC 9266 §4.2).
fn channel(stream: &TlsStream<TcpStream>) -> Option<Channel> {
    let (_, tls) = stream.get_ref();
    if tls.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return None;
    }
    tls.export_keying_material([0; 32], Channel::LABEL, Some(&[])).ok().map(Channel)
}

/// Shakes hands; `None` where nothing comes of it, or we shut down: a session that has not begun leaves nothing unfinished.
async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream, drain: &CancellationToken) -> Option<Box<TlsStream<TcpStream>>> {
    let shaking = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream));
    match drain.run_until_cancelled(shaking).await? {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("the TLS handshake took too long");
            None
        }
    }
}

/// Tells a client that there is no room for it, where that can be told without waiting.
fn turn_away(stream: TcpStream, protection: &Protection, reason: NotAdmitted) {
    let text = match reason {
        NotAdmitted::Full => "too many connections, try again later",
        NotAdmitted::AddressFull => "too many connections from your address",
        NotAdmitted::NoProxy => "connections come from proxies here, and yours is none of them",
    };
    match protection {
        // It would not understand: it waits for a handshake.
        Protection::Implicit(_) => {}
        Protection::StartTls(_) | Protection::None => {
            let mut reply = Vec::new();
            Reply::new(421, 7, 0, text).write(&mut reply);
            // The socket is new, its buffer empty: this does not block, and if it fails the client is gone.
            if let Ok(mut stream) = stream.into_std() {
                let _ = stream.write(&reply);
            }
        }
    }
}

async fn join_all(sessions: &mut JoinSet<()>) {
    while let Some(ended) = sessions.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a session ended by a fault of ours");
    }
}

/// Whether accepting failed because of the one connection, and the next may be fine.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
