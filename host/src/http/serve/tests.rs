#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use axum::Extension;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::unit::ByteSize;
use crate::http::body;

const LIMIT: u64 = 1000;

async fn start(limits: Http) -> (SocketAddr, Server, CancellationToken) {
    let router = Router::new()
        .route(
            "/peer",
            get(|Extension(connection): Extension<Connection>| async move { format!("{} {}", connection.peer.ip(), connection.tls) }),
        )
        .route("/never", get(std::future::pending::<()>))
        .route(
            "/v1/body",
            post(|request: Request| async move {
                let (parts, content) = request.into_parts();
                match body::read(&parts.headers, content, LIMIT).await {
                    Ok(octets) => Response::new(Body::from(octets.len().to_string())),
                    Err(problem) => problem.response(Dialect::V1),
                }
            }),
        );
    let draining = CancellationToken::new();
    let serving = Serving { router, limits, trusted_proxies: Arc::new([]) };
    let server = Server::new(watch::channel(serving).1, draining.clone(), Metrics::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = server.clone();
    tokio::spawn(async move { accepting.accept(listener, Transport::Plain, false).await });
    (address, server, draining)
}

fn limits(request_time: Duration) -> Http {
    Http {
        connections: 10,
        connections_per_address: 10,
        header_time: Duration::from_secs(30),
        request_time,
        body_size: ByteSize(LIMIT),
        json_values: 1000,
    }
}

/// Sends octets, returns everything up to the end of the connection.
async fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn requests_know_their_connection() {
    let (address, _, _) = start(limits(Duration::from_mins(1))).await;
    let answer = talk(address, "GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("127.0.0.1 false"), "{answer}");
}

#[tokio::test]
async fn large_bodies_are_refused_when_they_are_announced() {
    let (address, _, _) = start(limits(Duration::from_mins(1))).await;
    let answer = talk(address, "POST /v1/body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1001\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let head = "POST /v1/body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked";
    let chunked = format!("{head}\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    assert!(talk(address, &chunked).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn requests_end_in_time() {
    let (address, _, _) = start(limits(Duration::from_millis(1))).await;
    let answer = talk(address, "GET /never HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn draining_ends_idle_connections() {
    let (address, server, draining) = start(limits(Duration::from_mins(1))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    draining.cancel();
    server.drained().await;
    assert!(stream.read_to_end(&mut Vec::new()).await.is_ok());
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let limits = Http { header_time: Duration::from_millis(10), ..limits(Duration::from_mins(1)) };
    let (address, server, _) = start(limits).await;
    assert_eq!(talk(address, "").await, "");
    // HTTP/2, before and after the preface with its empty SETTINGS.
    for said in ["", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let (mut client, stream) = tokio::io::duplex(1 << 16);
        client.write_all(said.as_bytes()).await.unwrap();
        server.speak(stream, Connection { peer: address, socket: address, tls: true }, Version::Http2).await;
        assert!(client.read_to_end(&mut Vec::new()).await.is_ok());
    }
}

#[tokio::test]
async fn draining_does_not_wait_for_who_says_nothing() {
    let (address, server, draining) = start(limits(Duration::from_mins(1))).await;
    draining.cancel();
    let (client, stream) = tokio::io::duplex(1 << 16);
    server.speak(stream, Connection { peer: address, socket: address, tls: true }, Version::Http2).await;
    drop(client);
}

#[tokio::test]
async fn one_address_has_a_limit_of_its_own() {
    let (address, server, _) = start(Http { connections_per_address: 1, ..limits(Duration::from_mins(1)) }).await;
    let request = "GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    first.read_exact(&mut [0; 12]).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(!matches!(second.read(&mut [0]).await, Ok(1..)));
    drop(first);
    while server.by_address.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(talk(address, request).await.starts_with("HTTP/1.1 200 "));
    // A proxy speaks for many.
    let network = IpNetwork { address: address.ip(), prefix: 32 };
    let serving = Serving { trusted_proxies: Arc::new([network]), ..server.serving.borrow().clone() };
    let server = Server { serving: watch::channel(serving).1, ..server };
    assert!((0..3).all(|_| server.admit(address.ip()).is_ok_and(|admission| admission.is_none())));
}
