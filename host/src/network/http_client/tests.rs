#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(20), size: 1_000, private: true };

/// Answers one request with `answer`, and returns what was asked.
async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") && !asked.ends_with(b"ping") {
            let mut octets = [0; 1024];
            let length = stream.read(&mut octets).await.unwrap();
            if length == 0 {
                break;
            }
            asked.extend_from_slice(octets.get(..length).unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    (port, asked)
}

fn outgoing(url: &str) -> Outgoing {
    let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
    Outgoing { method: "POST".to_owned(), url: Url::parse(url).unwrap(), headers, body: Bytes::from_static(b"ping") }
}

#[tokio::test]
async fn a_request_is_answered() {
    let (port, asked) = server("HTTP/1.1 201 Created\r\nX-Id: 7\r\nContent-Length: 4\r\n\r\npong").await;
    let answer = HttpClient::new(None).send(outgoing(&format!("http://127.0.0.1:{port}/a?b=c")), BOUNDS).await.unwrap();
    assert_eq!((answer.status, answer.body.as_ref()), (201, &b"pong"[..]));
    assert!(answer.headers.contains(&("x-id".to_owned(), "7".to_owned())));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: 127.0.0.1:{port}\r\n")) && asked.ends_with("\r\n\r\nping"), "{asked}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (port, _asked) = server("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n").await;
    let answer = HttpClient::new(None).send(outgoing(&format!("http://127.0.0.1:{port}/")), BOUNDS).await.unwrap();
    assert_eq!(answer.status, 302);
}

#[tokio::test]
async fn answers_have_an_end() {
    let (port, _asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789").await;
    let bounds = Bounds { size: 8, ..BOUNDS };
    let answer = HttpClient::new(None).send(outgoing(&format!("http://127.0.0.1:{port}/")), bounds).await;
    assert_eq!(answer.unwrap_err(), HttpError::TooLarge(8));
}

#[tokio::test]
async fn who_does_not_answer_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let bounds = Bounds { time: Duration::from_millis(20), ..BOUNDS };
    assert_eq!(HttpClient::new(None).send(outgoing(&url), bounds).await.unwrap_err(), HttpError::Timeout);
    drop(listener);
    assert!(matches!(HttpClient::new(None).send(outgoing(&url), BOUNDS).await.unwrap_err(), HttpError::Unreachable(_)));
}

#[tokio::test]
async fn private_addresses_are_not_reached() {
    let bounds = Bounds { private: false, ..BOUNDS };
    for url in [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1:8080/",
    ] {
        let error = HttpClient::new(None).send(outgoing(url), bounds).await.unwrap_err();
        assert!(matches!(error, HttpError::Private(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_not_sent() {
    for (name, value) in [("Host", "a"), ("content-length", "3"), ("Transfer-Encoding", "chunked"), ("X\r\nY", "a"), ("X", "a\r\nY: b")] {
        let mut what = outgoing("http://127.0.0.1/");
        what.headers.push((name.to_owned(), value.to_owned()));
        assert!(matches!(HttpClient::new(None).send(what, BOUNDS).await.unwrap_err(), HttpError::Invalid(_)), "{name}");
    }
    for (method, url) in [("CONNECT", "http://a/"), ("G ET", "http://a/"), ("GET", "ftp://a/"), ("GET", "http://u:p@a/")] {
        let what = Outgoing { method: method.to_owned(), ..outgoing(url) };
        assert!(matches!(HttpClient::new(None).send(what, BOUNDS).await.unwrap_err(), HttpError::Invalid(_)), "{method} {url}");
    }
}
