//! Sockets, TLS and limits around the router. HTTP/2 where a client chooses it by ALPN, which takes TLS; else HTTP/1.1.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::origin::Connection;
use super::problem::{Dialect, Problem};
use crate::config::{Http, IpNetwork};
use crate::listener::connections::{Admission, Connections, NotAdmitted};
use crate::listener::proxy;
use crate::network::proxy_header::Behind;
use crate::telemetry::metric::{Ingress, Metrics};

/// How long a TLS handshake may take: a few round trips and a signature. Not for operators: who is slower than this is not there, and a place
/// is held meanwhile.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Octets of a request's header.
const LONGEST_HEADER: u32 = 64 * 1024;
/// Fields of a request's header.
const MOST_HEADER_FIELDS: usize = 100;
/// Requests at once on one HTTP/2 connection. RFC 9113 §6.5.2 recommends not to allow less, and clients expect this many; what requests may take
/// together is limited elsewhere: memory by the room for bodies, time by `http.request_time`.
const MOST_STREAMS: u32 = 100;
/// A silent HTTP/2 peer is asked after this time whether it is still there, and has as long to answer.
const PING_TIME: Duration = Duration::from_secs(20);
/// Rest after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is spoken below HTTP.
#[derive(Clone)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS from the first octet, with the configuration of the moment. Its ALPN names are `h2` and `http/1.1`.
    Tls(watch::Receiver<Arc<rustls::ServerConfig>>),
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// What is served, and within which limits. A reload puts another one in its place.
#[derive(Clone)]
pub struct Serving {
    /// Answers requests.
    pub router: Router,
    /// Limits.
    pub limits: Http,
    /// Whose connections are those of many clients.
    pub trusted_proxies: Arc<[IpNetwork]>,
}

/// All HTTP listeners of the server: they share limits and drain together.
#[derive(Clone)]
pub struct Server {
    serving: watch::Receiver<Serving>,
    places: Arc<Semaphore>,
    /// Counts by address alone; all together are limited by `places`, for which they wait.
    by_address: Connections,
    connections: TaskTracker,
    draining: CancellationToken,
    metrics: Metrics,
}

impl Server {
    /// Makes a server. Each request is answered by what is served at that moment; `connections` is taken from what is served now. Cancelling
    /// `draining` ends accepting, and each connection after its request.
    pub fn new(serving: watch::Receiver<Serving>, draining: CancellationToken, metrics: Metrics) -> Self {
        let places = usize::try_from(serving.borrow().limits.connections).unwrap_or(Semaphore::MAX_PERMITS);
        let by_address = Connections::new(u32::MAX, u32::MAX);
        Self { serving, places: Arc::new(Semaphore::new(places)), by_address, connections: TaskTracker::new(), draining, metrics }
    }

    /// Accepts connections until the server drains. More than the limit wait in the listener's backlog; more from one address than its own limit
    /// are closed at once. With the PROXY protocol connections come from trusted proxies alone, which say whose they are.
    pub async fn accept(&self, listener: TcpListener, transport: Transport, proxy_protocol: bool) {
        loop {
            let next = async {
                let place = self.places.clone().acquire_owned().await.ok()?;
                Some((place, listener.accept().await))
            };
            let accepted = tokio::select! {
                () = self.draining.cancelled() => return,
                accepted = next => accepted,
            };
            match accepted {
                None => return,
                Some((place, Ok((stream, peer)))) => {
                    let is_stranger = proxy_protocol && !self.is_proxy(peer.ip());
                    let admitted = if is_stranger { Err(NotAdmitted::NoProxy) } else { self.admit(peer.ip()) };
                    let admission = match admitted {
                        Ok(admission) => admission,
                        Err(reason) => {
                            self.metrics.connection_refused(Ingress::Http);
                            debug!(%peer, "refused: {reason}");
                            continue;
                        }
                    };
                    let (server, transport) = (self.clone(), transport.clone());
                    let open = self.metrics.connection(Ingress::Http);
                    self.connections.spawn(async move {
                        if proxy_protocol {
                            server.proxied(stream, peer, transport).await;
                        } else {
                            server.connection(stream, peer, peer, transport).await;
                        }
                        drop((place, admission, open));
                    });
                }
                Some((_, Err(error))) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Completes when all connections have ended, once the server drains.
    pub async fn drained(&self) {
        self.draining.cancelled().await;
        self.connections.close();
        self.connections.wait().await;
    }

    /// Lets a connection in, as far as its address goes. Trusted proxies are not counted: theirs are the connections of many.
    fn admit(&self, peer: IpAddr) -> Result<Option<Admission>, NotAdmitted> {
        if self.is_proxy(peer) {
            return Ok(None);
        }
        let limit = self.serving.borrow().limits.connections_per_address;
        self.by_address.set_limits(u32::MAX, limit);
        self.by_address.admit(peer).map(Some)
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.serving.borrow().trusted_proxies.iter().any(|network| network.contains(peer))
    }

    /// Serves the client for whom a proxy has opened a connection.
    async fn proxied(&self, mut stream: TcpStream, balancer: SocketAddr, transport: Transport) {
        let peer = match self.draining.run_until_cancelled(proxy::client(&mut stream)).await {
            Some(Ok(Behind::Client(client))) => client,
            // The rights of the proxy are not theirs, nor those of a request that it makes without saying so.
            Some(Ok(Behind::Unknown | Behind::Nobody)) => SocketAddr::new(proxy::UNKNOWN, 0),
            Some(Err(error)) => return info!(peer = %balancer, "a proxy's connection is closed: {error}"),
            None => return,
        };
        match self.admit(peer.ip()) {
            Ok(_admission) => self.connection(stream, peer, balancer, transport).await,
            Err(reason) => {
                self.metrics.connection_refused(Ingress::Http);
                debug!(%peer, "refused: {reason}");
            }
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, socket: SocketAddr, transport: Transport) {
        // Answers are small and should not wait for more.
        stream.set_nodelay(true).ok();
        match transport {
            Transport::Plain => self.speak(stream, Connection { peer, socket, tls: false }, Version::Http1).await,
            Transport::Tls(config) => {
                let acceptor = TlsAcceptor::from(config.borrow().clone());
                match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let chosen = stream.get_ref().1.alpn_protocol();
                        let version = if chosen == Some(b"h2") { Version::Http2 } else { Version::Http1 };
                        self.speak(stream, Connection { peer, socket, tls: true }, version).await;
                    }
                    Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => debug!(%peer, "TLS handshake took too long"),
                }
            }
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, connection: Connection, version: Version) {
        let limits = self.serving.borrow().limits.clone();
        let (serving, requests) = (self.serving.clone(), watch::Sender::new(Requests::default()));
        let mut under_way = requests.subscribe();
        let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(connection);
            let (router, limit) = {
                let serving = serving.borrow();
                (serving.router.clone(), serving.limits.request_time)
            };
            let under_way = UnderWay::new(&requests);
            async move {
                let response = answer(router, request, connection.peer, limit).await;
                drop(under_way);
                response
            }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_time).max_headers(MOST_HEADER_FIELDS);
        builder.http1().max_buf_size(usize::try_from(LONGEST_HEADER).unwrap_or(usize::MAX));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(LONGEST_HEADER)
            .keep_alive_interval(PING_TIME)
            .keep_alive_timeout(PING_TIME);
        // Chosen here: to find out by itself the builder would wait for the first octets without a limit.
        let builder = match version {
            Version::Http1 => builder.http1_only(),
            Version::Http2 => builder.http2_only(),
        };
        let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut served = std::pin::pin!(served);
        let silence = async {
            match version {
                // The time for the header is that from one request to the next, too.
                Version::Http1 => std::future::pending().await,
                Version::Http2 => silence(&mut under_way, limits.header_time).await,
            }
        };
        let ended = tokio::select! {
            ended = served.as_mut() => Some(ended),
            () = self.draining.cancelled() => None,
            () = silence => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            // It may not even have begun to speak, and would not hear a farewell.
            None if version == Version::Http2 && !under_way.borrow().any => return,
            None => {
                served.as_mut().graceful_shutdown();
                // What is still being sent may go on for as long as a request may take.
                let Ok(ended) = timeout(limits.request_time, served).await else { return };
                ended
            }
        };
        if let Err(error) = ended {
            debug!(peer = %connection.peer, %error, "HTTP connection ended early");
        }
    }
}

/// Requests of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    open: u32,
    /// There was one.
    any: bool,
}

/// A request that has no response yet.
struct UnderWay(watch::Sender<Requests>);

impl UnderWay {
    fn new(requests: &watch::Sender<Requests>) -> Self {
        requests.send_modify(|requests| *requests = Requests { open: requests.open.saturating_add(1), any: true });
        Self(requests.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.open = requests.open.saturating_sub(1));
    }
}

/// Completes when there was no request for `time`.
async fn silence(requests: &mut watch::Receiver<Requests>, time: Duration) {
    loop {
        let is_silent = requests.borrow_and_update().open == 0;
        let changed = requests.changed();
        let changed = if is_silent {
            match timeout(time, changed).await {
                Ok(changed) => changed,
                Err(_) => return,
            }
        } else {
            changed.await
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn answer(router: Router, request: Request, peer: SocketAddr, limit: Duration) -> Result<Response, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match timeout(limit, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => Problem::TimedOut.response(Dialect::of(&path)),
    };
    // The path alone: tokens stand in the query.
    debug!(%peer, %method, path, status = response.status().as_u16(), "answered");
    Ok(response)
}

#[cfg(test)]
mod tests;
