//! Just enough of a mail client to show the doors of the server.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::mail::message_id::MessageId;

/// Submits a message over SMTP; returns the id that the server answers with.
///
/// # Errors
/// If any step is refused.
pub(super) async fn submit(server: SocketAddr, login: (&str, &str), from: &str, to: &str, message: &[u8]) -> Result<MessageId> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    expect(&mut stream, "220").await?;
    let auth = BASE64_STANDARD.encode(format!("\0{}\0{}", login.0, login.1));
    let steps = [
        ("EHLO demo.example".to_owned(), "250"),
        (format!("AUTH PLAIN {auth}"), "235"),
        (format!("MAIL FROM:<{from}>"), "250"),
        (format!("RCPT TO:<{to}>"), "250"),
        ("DATA".to_owned(), "354"),
    ];
    for (command, code) in steps {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        expect(&mut stream, code).await?;
    }
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stream.write_all(b".").await?;
        }
        stream.write_all(line).await?;
    }
    stream.write_all(b".\r\n").await?;
    let queued = expect(&mut stream, "250").await?;
    stream.write_all(b"QUIT\r\n").await?;
    queued.split_whitespace().find_map(|word| word.parse().ok()).with_context(|| format!("no id in {queued:?}"))
}

async fn expect(stream: &mut BufReader<TcpStream>, code: &str) -> Result<String> {
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line).await? > 0, "the server closed the connection");
        if !line.starts_with(code) {
            bail!("expected {code}, the server said {}", line.trim_end());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}

/// Posts JSON; returns the JSON of the answer.
///
/// # Errors
/// If the answer is no success.
pub(super) async fn post(server: SocketAddr, target: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(server).await?;
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP response")?;
    ensure!(head.starts_with("HTTP/1.1 2"), "{}: {body}", head.lines().next().unwrap_or_default());
    Ok(serde_json::from_str(body)?)
}
