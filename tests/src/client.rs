//! A raw SMTP client: says what the test says, and shows every reply.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::ServerName;

use crate::wait::PATIENCE;

/// A connection to an SMTP server.
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
    plain: TcpStream,
}

trait Stream: Read + Write + Send {
    /// What both ends of TLS have (RFC 9266).
    fn channel(&self) -> Option<[u8; 32]>;
    /// Shakes hands, where that is not done yet.
    fn handshake(&mut self) -> std::io::Result<()>;
}

impl Stream for TcpStream {
    fn channel(&self) -> Option<[u8; 32]> {
        None
    }

    fn handshake(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stream for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn channel(&self) -> Option<[u8; 32]> {
        self.conn.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()
    }

    fn handshake(&mut self) -> std::io::Result<()> {
        self.conn.complete_io(&mut self.sock).map(drop)
    }
}

/// A reply: its code and its lines without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// Text of each line.
    pub lines: Vec<String>,
}

impl Reply {
    /// All lines in one.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Client {
    /// Connects and reads nothing yet.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let plain = TcpStream::connect(address)?;
        plain.set_read_timeout(Some(PATIENCE))?;
        plain.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(Box::new(plain.try_clone()?)), plain })
    }

    /// Connects, speaks TLS from the first octet.
    ///
    /// # Errors
    /// If nobody listens, or TLS fails.
    pub fn connect_tls(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> Result<Self> {
        let mut client = Self::connect(address)?;
        client.start_tls(tls)?;
        Ok(client)
    }

    /// Connects to a listener that takes AUTH in the clear, greets and logs in.
    ///
    /// # Errors
    /// If any step is refused.
    pub fn login(address: SocketAddr, username: &str, password: &str) -> Result<Self> {
        let mut client = Self::connect(address)?;
        client.expect(220)?;
        client.command("EHLO client.example", 250)?;
        client.auth_plain(username, password)?;
        Ok(client)
    }

    /// Turns the connection to TLS.
    ///
    /// # Errors
    /// If the handshake fails.
    pub fn start_tls(&mut self, tls: Arc<rustls::ClientConfig>) -> Result<()> {
        self.start_tls_with(tls, "localhost")
    }

    /// Turns the connection to TLS with the server of this name.
    ///
    /// # Errors
    /// If it is no name, or the handshake fails.
    pub fn start_tls_with(&mut self, tls: Arc<rustls::ClientConfig>, name: &str) -> Result<()> {
        let connection = rustls::ClientConnection::new(tls, ServerName::try_from(name.to_owned())?)?;
        let stream = rustls::StreamOwned::new(connection, self.plain.try_clone()?);
        self.stream = BufReader::new(Box::new(stream));
        Ok(())
    }

    /// What a login can be bound to, once TLS is spoken.
    pub fn channel(&self) -> Option<[u8; 32]> {
        self.stream.get_ref().channel()
    }

    /// Shakes hands at once, and not with the first command.
    ///
    /// # Errors
    /// If the handshake fails.
    pub fn handshake(&mut self) -> Result<()> {
        Ok(self.stream.get_mut().handshake()?)
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(octets.as_ref())?;
        stream.flush()?;
        Ok(())
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// If the connection ends, or what comes is no reply.
    pub fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the server closed the connection");
            let line = line.strip_suffix("\r\n").context("a reply ends with CRLF")?;
            let code = line.get(..3).and_then(|code| code.parse().ok()).with_context(|| format!("no reply code: {line:?}"))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Reads a reply that must have this code.
    ///
    /// # Errors
    /// If it has another.
    pub fn expect(&mut self, code: u16) -> Result<Reply> {
        let reply = self.reply()?;
        if reply.code != code {
            bail!("expected {code}, heard {} {}", reply.code, reply.text());
        }
        Ok(reply)
    }

    /// Sends a line and reads the reply, which must have this code.
    ///
    /// # Errors
    /// If it has another.
    pub fn command(&mut self, line: &str, code: u16) -> Result<Reply> {
        self.send(format!("{line}\r\n"))?;
        self.expect(code).with_context(|| format!("after {line:?}"))
    }

    /// AUTH PLAIN with an initial response.
    ///
    /// # Errors
    /// If it is refused.
    pub fn auth_plain(&mut self, username: &str, password: &str) -> Result<()> {
        let response = BASE64_STANDARD.encode(format!("\0{username}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}"), 235).map(drop)
    }

    /// AUTH LOGIN, asked step by step.
    ///
    /// # Errors
    /// If it is refused.
    pub fn auth_login(&mut self, username: &str, password: &str) -> Result<()> {
        self.command("AUTH LOGIN", 334)?;
        self.command(&BASE64_STANDARD.encode(username), 334)?;
        self.command(&BASE64_STANDARD.encode(password), 235).map(drop)
    }

    /// Sends one message; returns the reply to its end, whatever it is.
    ///
    /// # Errors
    /// If the envelope is refused.
    pub fn submit(&mut self, from: &str, to: &[&str], message: &[u8]) -> Result<Reply> {
        self.command(&format!("MAIL FROM:<{from}>"), 250)?;
        for recipient in to {
            self.command(&format!("RCPT TO:<{recipient}>"), 250)?;
        }
        self.command("DATA", 354)?;
        self.send(dot_stuffed(message))?;
        self.send(b".\r\n")?;
        self.reply()
    }

    /// Sends one message that must be taken; returns its id.
    ///
    /// # Errors
    /// If it is refused.
    pub fn deliver(&mut self, from: &str, to: &[&str], message: &[u8]) -> Result<String> {
        let reply = self.submit(from, to, message)?;
        ensure!(reply.code == 250, "expected 250, heard {} {}", reply.code, reply.text());
        let id = reply.text().split_whitespace().find(|word| word.len() == 26).map(str::to_owned);
        id.with_context(|| format!("no message id in {:?}", reply.text()))
    }
}

/// The message with its lines that begin with a dot stuffed, and CRLF at the end.
pub fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    if !stuffed.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed
}
