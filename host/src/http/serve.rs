//! Sockets, TLS and limits around the router; HTTP/1.1 and HTTP/2 on the same port.

use std::convert::Infallible;
use std::net::SocketAddr;
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
use tracing::{debug, warn};

use super::origin::Connection;
use super::problem::{Dialect, Problem};
use crate::config::Http;
use crate::telemetry::metric::{Ingress, Metrics};

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a request's header may take, and how long a connection may be idle.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// Octets of a request's header.
const LONGEST_HEADER: u32 = 64 * 1024;
/// Fields of a request's header.
const MOST_HEADER_FIELDS: usize = 100;
/// Requests at once on one HTTP/2 connection.
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

/// All HTTP listeners of the server: they share limits and drain together.
#[derive(Clone)]
pub struct Server {
    router: watch::Receiver<Router>,
    places: Arc<Semaphore>,
    request_time: Duration,
    connections: TaskTracker,
    draining: CancellationToken,
    metrics: Metrics,
}

impl Server {
    /// Makes a server. Each connection takes the router of the moment; cancelling `draining` ends accepting, and each connection after its
    /// request.
    pub fn new(router: watch::Receiver<Router>, limits: &Http, draining: CancellationToken, metrics: Metrics) -> Self {
        let places = Arc::new(Semaphore::new(usize::try_from(limits.connections).unwrap_or(Semaphore::MAX_PERMITS)));
        Self { router, places, request_time: limits.request_time, connections: TaskTracker::new(), draining, metrics }
    }

    /// Accepts connections until the server drains. More than the limit wait in the listener's backlog.
    pub async fn accept(&self, listener: TcpListener, transport: Transport) {
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
                    let (server, transport) = (self.clone(), transport.clone());
                    let open = self.metrics.connection(Ingress::Http);
                    self.connections.spawn(async move {
                        server.connection(stream, peer, transport).await;
                        drop((place, open));
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

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, transport: Transport) {
        // Answers are small and should not wait for more.
        stream.set_nodelay(true).ok();
        match transport {
            Transport::Plain => self.speak(stream, Connection { peer, tls: false }).await,
            Transport::Tls(config) => {
                let acceptor = TlsAcceptor::from(config.borrow().clone());
                match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.speak(stream, Connection { peer, tls: true }).await,
                    Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => debug!(%peer, "TLS handshake took too long"),
                }
            }
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, connection: Connection) {
        let router = self.router.borrow().clone();
        let request_time = self.request_time;
        let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(connection);
            answer(router.clone(), request, connection.peer, request_time)
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_headers(MOST_HEADER_FIELDS);
        builder.http1().max_buf_size(usize::try_from(LONGEST_HEADER).unwrap_or(usize::MAX));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(LONGEST_HEADER)
            .keep_alive_interval(PING_TIME)
            .keep_alive_timeout(PING_TIME);
        let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = self.draining.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            debug!(peer = %connection.peer, %error, "HTTP connection ended early");
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
