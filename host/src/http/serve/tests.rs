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
    let (_, routers) = watch::channel(router);
    let draining = CancellationToken::new();
    let server = Server::new(routers, &limits, draining.clone(), Metrics::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = server.clone();
    tokio::spawn(async move { accepting.accept(listener, Transport::Plain).await });
    (address, server, draining)
}

fn limits(request_time: Duration) -> Http {
    Http { connections: 10, request_time, body_size: ByteSize(LIMIT), json_values: 1000 }
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
