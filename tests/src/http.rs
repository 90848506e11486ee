//! A small HTTP/1.1 client: one request, one connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::ServerName;

use crate::wait::PATIENCE;

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// First value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }
}

/// Sends a request with these header fields.
///
/// # Errors
/// If nobody answers.
pub fn request(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    converse(connect(address)?, address, method, target, headers, body)
}

/// Sends a request over TLS.
///
/// # Errors
/// If nobody answers, or with another certificate than expected.
pub fn request_tls(
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let connection = rustls::ClientConnection::new(tls, ServerName::try_from("localhost")?)?;
    converse(rustls::StreamOwned::new(connection, connect(address)?), address, method, target, headers, body)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn converse(
    mut stream: impl Read + Write,
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut octets = Vec::new();
    match stream.read_to_end(&mut octets) {
        // Some close a TLS connection without a word; the length of the body tells whether all of it came.
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
        _ => {}
    }
    parse(&octets).with_context(|| format!("a broken response to {method} {target}"))
}

/// GET without more.
///
/// # Errors
/// If nobody answers.
pub fn get(address: SocketAddr, target: &str) -> Result<Response> {
    request(address, "GET", target, &[], b"")
}

/// POST of JSON.
///
/// # Errors
/// If nobody answers.
pub fn post_json(address: SocketAddr, target: &str, headers: &[(&str, &str)], body: &serde_json::Value) -> Result<Response> {
    let mut all = vec![("Content-Type", "application/json"), ("Accept", "application/json")];
    all.extend_from_slice(headers);
    request(address, "POST", target, &all, body.to_string().as_bytes())
}

fn parse(octets: &[u8]) -> Option<Response> {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = octets.split_at_checked(end + 4)?;
    let head = String::from_utf8_lossy(head);
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.eq_ignore_ascii_case("chunked"));
    let body = if chunked { dechunk(body)? } else { body.to_vec() };
    Some(Response { status, headers, body })
}

fn dechunk(mut octets: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = octets.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(octets.get(..line_end)?).ok()?, 16).ok()?;
        let rest = octets.get(line_end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        octets = rest.get(size + 2..)?;
    }
}
