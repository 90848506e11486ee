//! A next hop for tests: a small SMTP server on loopback that answers as it is told and remembers what it got.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

/// What to answer to a command line, where it is not the usual.
pub(super) type Script = Arc<dyn Fn(&str) -> Option<&'static str> + Send + Sync>;

/// As an answer: closes the connection.
pub(super) const HANG_UP: &str = "hang up";
/// As an answer: says nothing, ever.
pub(super) const SILENCE: &str = "silence";
/// As an answer: yes, but only once [`CROWD`] of them are due.
pub(super) const TOGETHER: &str = "together";
/// How many are answered together.
pub(super) const CROWD: usize = 3;

pub(super) struct Peer {
    pub(super) address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

#[derive(Clone, Default)]
pub(super) struct Log {
    pub(super) connections: usize,
    pub(super) commands: Vec<String>,
    pub(super) messages: Vec<String>,
}

impl Peer {
    /// Listens. "." asks the script about the end of data, "" about the greeting.
    pub(super) async fn start(extensions: &'static [&'static str], tls: Option<TlsAcceptor>, script: Script) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), extensions, tls, script).await
    }

    /// As [`Peer::start`], at an address that the test says.
    pub(super) async fn start_at(at: SocketAddr, extensions: &'static [&'static str], tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let crowd = Arc::new(Barrier::new(CROWD));
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = log.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().connections += 1;
                let implicit_tls = tls.is_some() && !extensions.contains(&"STARTTLS");
                let session = Session {
                    extensions,
                    tls: tls.clone(),
                    implicit_tls,
                    script: script.clone(),
                    log: shared.clone(),
                    crowd: crowd.clone(),
                };
                tokio::spawn(session.serve(stream));
            }
        });
        Self { address, log }
    }

    pub(super) async fn plain(extensions: &'static [&'static str]) -> Self {
        Self::start(extensions, None, Arc::new(|_| None)).await
    }

    pub(super) fn log(&self) -> Log {
        self.log.lock().clone()
    }
}

struct Session {
    extensions: &'static [&'static str],
    tls: Option<TlsAcceptor>,
    /// It is there, and STARTTLS is not offered.
    implicit_tls: bool,
    script: Script,
    log: Arc<Mutex<Log>>,
    crowd: Arc<Barrier>,
}

impl Session {
    async fn serve(self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        if self.implicit_tls {
            if let Some(acceptor) = &self.tls
                && let Ok(stream) = acceptor.accept(stream).await
            {
                self.converse(&mut BufReader::new(stream), true).await;
            }
            return;
        }
        let mut stream = BufReader::new(stream);
        if self.converse(&mut stream, true).await == Some(true)
            && let Some(acceptor) = &self.tls
            && let Ok(stream) = acceptor.accept(stream.into_inner()).await
        {
            self.log.lock().commands.push("<TLS>".to_owned());
            self.converse(&mut BufReader::new(stream), false).await;
        }
    }

    /// Returns `Some(true)` for STARTTLS, `None` when the connection is over.
    async fn converse<S: AsyncBufRead + AsyncWrite + Unpin>(&self, stream: &mut S, greet: bool) -> Option<bool> {
        if greet {
            self.answer(stream, (self.script)("").unwrap_or("220 peer ESMTP")).await?;
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            self.log.lock().commands.push(line.clone());
            let scripted = (self.script)(&line);
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" if scripted.is_none() => {
                    let lines: Vec<&str> = [&["250-peer"], self.extensions, &["250 HELP"]].concat();
                    self.answer(stream, &lines.join("\r\n250-").replace("250-250", "250")).await?;
                }
                "STARTTLS" if scripted.is_none() => {
                    self.answer(stream, "220 go").await?;
                    return Some(true);
                }
                "DATA" if scripted.is_none() => {
                    self.answer(stream, "354 go").await?;
                    let mut message = String::new();
                    while !message.ends_with("\r\n.\r\n") && message != ".\r\n" {
                        if stream.read_line(&mut message).await.ok()? == 0 {
                            return None;
                        }
                    }
                    message.truncate(message.len() - 3);
                    self.log.lock().messages.push(message);
                    self.answer(stream, (self.script)(".").unwrap_or("250 2.0.0 queued")).await?;
                }
                "BDAT" => {
                    let size: usize = line.split(' ').nth(1)?.parse().ok()?;
                    let mut message = vec![0; size];
                    stream.read_exact(&mut message).await.ok()?;
                    self.log.lock().messages.push(String::from_utf8(message).ok()?);
                    self.answer(stream, (self.script)(".").unwrap_or("250 2.0.0 queued")).await?;
                }
                "QUIT" => {
                    self.answer(stream, "221 bye").await?;
                    return None;
                }
                _ => self.answer(stream, scripted.unwrap_or("250 ok")).await?,
            }
        }
    }

    async fn answer<S: AsyncBufRead + AsyncWrite + Unpin>(&self, stream: &mut S, reply: &str) -> Option<()> {
        match reply {
            HANG_UP => {
                // With octets left unread, what was answered before would be lost.
                stream.shutdown().await.ok()?;
                tokio::io::copy(stream, &mut tokio::io::sink()).await.ok()?;
                None
            }
            SILENCE => std::future::pending().await,
            TOGETHER => {
                self.crowd.wait().await;
                stream.write_all(b"250 2.0.0 queued\r\n").await.ok()
            }
            _ => stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok(),
        }
    }
}
