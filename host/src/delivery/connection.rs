//! One connection to one next hop: the socket around [`smtp::client`](crate::smtp::client).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::event::Via;
use crate::mail::enhanced_status::EnhancedStatus;
use crate::smtp::client::transaction::Conclusion;
use crate::smtp::client::{Client, ClientError, Event, Options};

use super::failure::{Failure, TEXT_LENGTH};
use super::protection::Observed;
use super::tls_report::{Seen, result_of};

/// Octets of replies that are read at once.
const READ_SIZE: usize = 4096;
/// Pieces that are written at once.
const SLICES: usize = 32;
/// How long a server may take to answer QUIT: it is a courtesy.
const QUIT_TIME: Duration = Duration::from_secs(2);

/// How to reach a host.
#[derive(Clone)]
pub(super) struct Target {
    /// Where.
    pub(super) address: SocketAddr,
    /// The host's name, which its certificate is checked against, or its address as text.
    pub(super) name: String,
    /// How to speak.
    pub(super) options: Options,
    /// How to do TLS, where it is done.
    pub(super) tls: Option<TlsConnector>,
    /// What the host is asked for in the handshake, where that is not its name.
    pub(super) tls_name: Option<String>,
    /// What asks for that TLS: see [`Protection`](super::protection::Protection).
    pub(super) policy: &'static str,
    /// What goes there requires TLS on all of its way (`REQUIRETLS`): a host that does not offer that is passed over.
    pub(super) wants_require_tls: bool,
    /// What was in force, for reports on TLS.
    pub(super) seen: Option<Arc<Seen>>,
    /// What is found wrong with a certificate that is taken all the same.
    pub(super) observed: Option<Observed>,
    /// The source from which the connection is made, where the configuration says so.
    pub(super) source: Option<Arc<str>>,
    /// Its address.
    pub(super) bind: Option<IpAddr>,
    /// How long connecting and the TLS handshake may take, each.
    pub(super) connect_time: Duration,
}

impl Target {
    /// Names the host in events: `mx.example.com [192.0.2.1]:25`.
    pub(super) fn to_text(&self) -> String {
        format!("{} [{}]:{}", self.name, self.address.ip(), self.address.port())
    }
}

/// Why a connection is gone.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Our own address cannot be used.
    #[error("{0}")]
    Bind(String),
    /// From here no way leads there: there is no such network.
    #[error("cannot connect: {0}")]
    NoWay(String),
    /// The TCP connection was not made.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server did not greet in time.
    #[error("the server did not answer in time")]
    Mute,
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {text}")]
    Handshake {
        /// Why.
        text: String,
        /// The same in the words of RFC 8460.
        result: &'static str,
    },
    /// The server does not offer REQUIRETLS, which the message asks for (RFC 8689 §4.2.1).
    #[error("the message requires TLS on all of its way (REQUIRETLS), and the next hop does not offer that")]
    Unpromised,
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// Reading or writing failed.
    #[error("connection lost: {0}")]
    Io(String),
    /// What the server said.
    #[error("{0}")]
    Client(#[from] ClientError),
}

impl Broken {
    /// Whether nobody is there, for all that leaves from the same address. All that a server says or does may be about the login or TLS.
    pub(super) fn is_of_all(&self) -> bool {
        match self {
            Self::NoWay(_) | Self::Connect(_) | Self::Mute => true,
            Self::Bind(_) | Self::Handshake { .. } | Self::Unpromised | Self::Closed | Self::TimedOut | Self::Io(_) | Self::Client(_) => {
                false
            }
        }
    }

    /// Returns what was wrong with TLS, in the words of RFC 8460 §4.3, if that is what failed.
    pub(super) fn tls_result(&self) -> Option<&'static str> {
        match self {
            Self::Handshake { result, .. } => Some(result),
            Self::Client(ClientError::TlsMissing | ClientError::TlsRefused(_)) => Some("starttls-not-supported"),
            Self::Client(ClientError::TlsInjection) => Some("validation-failure"),
            Self::Client(_)
            | Self::Bind(_)
            | Self::NoWay(_)
            | Self::Connect(_)
            | Self::Mute
            | Self::Unpromised
            | Self::Closed
            | Self::TimedOut
            | Self::Io(_) => None,
        }
    }

    /// Returns what it means for mail that had no answer yet: it may work later, if the host can ever be asked.
    pub(super) fn to_failure(&self, host: &str) -> Failure {
        let (code, text) = match self {
            Self::Client(error) => {
                let said = error.reply().and_then(crate::smtp::client::reply::Reply::enhanced);
                let detail = match error {
                    ClientError::TlsMissing | ClientError::TlsRefused(_) | ClientError::TlsInjection => (7, 4),
                    ClientError::AuthMissing | ClientError::AuthInClear | ClientError::AuthRefused(_) => (7, 8),
                    ClientError::Garbage(_) | ClientError::Unexpected(_) => (5, 0),
                    ClientError::Unavailable(_) | ClientError::Greeting(_) | ClientError::Hello(_) => {
                        said.map_or((4, 2), |status| (status.subject, status.detail))
                    }
                };
                (detail, error.reply().map_or_else(|| error.to_string(), |reply| reply.to_line(TEXT_LENGTH)))
            }
            Self::Bind(_) => ((3, 5), self.to_string()),
            Self::Connect(_) | Self::NoWay(_) => ((4, 1), self.to_string()),
            Self::Handshake { .. } => ((7, 5), self.to_string()),
            Self::Unpromised => ((7, 30), self.to_string()),
            Self::Mute | Self::Closed | Self::TimedOut | Self::Io(_) => ((4, 2), self.to_string()),
        };
        let is_reply = matches!(self, Self::Client(error) if error.reply().is_some());
        let class = if matches!(self, Self::Unpromised) { 5 } else { 4 };
        Failure { status: EnhancedStatus::new(class, code.0, code.1), host: host.to_owned(), text, is_reply }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Between the two.
    Gone,
}

/// A session with a next hop.
pub(super) struct Connection {
    target: Target,
    host: String,
    stream: Stream,
    client: Client,
    buffer: Box<[u8]>,
    /// Writing failed; what the server still has to say is read all the same.
    write_failure: Option<String>,
    /// Transactions that were started.
    started: u32,
    /// The server takes its time.
    slow: bool,
}

impl Connection {
    /// Makes the TCP connection.
    pub(super) async fn reach(target: &Target) -> Result<TcpStream, Broken> {
        let failed = |error: io::Error| {
            let is_no_way = matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable);
            if is_no_way { Broken::NoWay(error.to_string()) } else { Broken::Connect(error.to_string()) }
        };
        let socket = if target.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        // The system has no such family.
        let socket = socket.map_err(|error| Broken::NoWay(error.to_string()))?;
        if let Some(address) = target.bind {
            let name = target.source.as_deref().unwrap_or_default();
            let unbound = |error: io::Error| Broken::Bind(format!("the address {address} of source \"{name}\" cannot be used: {error}"));
            socket.bind(SocketAddr::new(address, 0)).map_err(unbound)?;
        }
        let stream = timeout(target.connect_time, socket.connect(target.address)).await;
        stream.map_err(|_| Broken::Connect("timed out".to_owned()))?.map_err(failed)
    }

    /// Speaks SMTP until transactions can be started.
    pub(super) async fn open(target: Target, stream: TcpStream) -> Result<Self, Broken> {
        // Every write is a whole group of commands: waiting for more only costs time.
        stream.set_nodelay(true).map_err(|error| Broken::Connect(error.to_string()))?;
        let mut connection = Self {
            host: target.to_text(),
            client: Client::new(target.options.clone()),
            stream: Stream::Plain(stream),
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
            write_failure: None,
            started: 0,
            slow: false,
            target,
        };
        if connection.target.options.implicit_tls {
            connection.handshake().await?;
        }
        loop {
            match connection.client.event() {
                Some(Event::StartTls) => {
                    connection.handshake().await?;
                    connection.client.secured();
                }
                Some(Event::Ready) => return Ok(connection),
                Some(Event::Concluded(_)) => {}
                None => match connection.receive().await {
                    Err(Broken::TimedOut) if !connection.client.is_greeted() => return Err(Broken::Mute),
                    received => received?,
                },
            }
        }
    }

    async fn handshake(&mut self) -> Result<(), Broken> {
        let failed = |text: String| Broken::Handshake { text, result: "validation-failure" };
        let (Stream::Plain(stream), Some(connector)) = (std::mem::replace(&mut self.stream, Stream::Gone), &self.target.tls) else {
            return Err(failed("TLS is not set up".to_owned()));
        };
        let name = self.target.tls_name.as_ref().unwrap_or(&self.target.name);
        let name = match name.parse() {
            Ok(address) => ServerName::IpAddress(IpAddr::into(address)),
            Err(_) => ServerName::try_from(name.clone()).map_err(|error| failed(error.to_string()))?,
        };
        let stream = timeout(self.target.connect_time, connector.connect(name, stream)).await;
        let stream = stream.map_err(|_| failed("timed out".to_owned()))?.map_err(|error| Broken::Handshake {
            text: error.to_string(),
            result: error.get_ref().and_then(|error| error.downcast_ref()).map_or("validation-failure", result_of),
        })?;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Names the host.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the source that it comes from, where the configuration says so.
    pub(super) fn source(&self) -> Option<&Arc<str>> {
        self.target.source.as_ref()
    }

    /// Says how it goes, for events.
    pub(super) fn via(&self) -> Via {
        let (stream, session) = match &self.stream {
            Stream::Plain(stream) => (Some(stream), None),
            Stream::Tls(stream) => (Some(stream.get_ref().0), Some(stream.get_ref().1)),
            Stream::Gone => (None, None),
        };
        let text = |text: Option<String>| text.unwrap_or_default();
        let version = session.and_then(|session| session.protocol_version()).and_then(|version| version.as_str());
        let cipher = session.and_then(|session| session.negotiated_cipher_suite()).and_then(|suite| suite.suite().as_str());
        Via {
            tls: version.map(|version| version.replace('_', ".").replace("TLSv", "TLS ")).unwrap_or_default(),
            cipher: text(cipher.map(str::to_owned)),
            policy: if session.is_some() { self.target.policy.to_owned() } else { "none".to_owned() },
            source: text(stream.and_then(|stream| stream.local_addr().ok()).map(|address| address.ip().to_canonical().to_string())),
        }
    }

    /// Returns what was in force, where it counts for reports on TLS.
    pub(super) fn seen(&self) -> Option<&Arc<Seen>> {
        self.target.seen.as_ref()
    }

    /// Whether it is over TLS.
    pub(super) fn is_secured(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Whether the server keeps to `REQUIRETLS`.
    pub(super) fn offers_require_tls(&self) -> bool {
        self.client.offers_require_tls()
    }

    /// Transactions that were started on it.
    pub(super) fn started(&self) -> u32 {
        self.started
    }

    /// Whether a transaction can be started.
    pub(super) fn can_start(&self) -> bool {
        self.client.can_start()
    }

    /// Whether the server takes content that is not ASCII.
    pub(super) fn takes_eight_bit(&self) -> bool {
        self.client.takes_eight_bit()
    }

    /// Whether the server takes content that is not in lines.
    pub(super) fn takes_binary(&self) -> bool {
        self.client.takes_binary()
    }

    /// Whether the server is still to say something.
    pub(super) fn awaits_reply(&self) -> bool {
        self.client.reply_time().is_some()
    }

    /// Whether it is worth to have the next transaction ready before the one that runs is over.
    pub(super) fn takes_next(&self) -> bool {
        self.client.chains() && !self.slow
    }

    /// Remembers that the server takes its time.
    pub(super) fn set_slow(&mut self) {
        self.slow = true;
    }

    /// Starts a transaction; see [`Client::start`].
    pub(super) fn start(&mut self, transaction: crate::smtp::client::transaction::Transaction) {
        self.started += 1;
        self.client.start(transaction);
    }

    /// Returns a transaction that is over.
    pub(super) fn conclusion(&mut self) -> Option<Conclusion> {
        while let Some(event) = self.client.event() {
            if let Event::Concluded(conclusion) = event {
                return Some(*conclusion);
            }
        }
        None
    }

    /// Returns what was running when the connection broke.
    pub(super) fn abandon(&mut self) -> Vec<Conclusion> {
        let mut conclusions: Vec<_> = std::iter::from_fn(|| self.conclusion()).collect();
        conclusions.extend(self.client.abandon());
        conclusions
    }

    /// Writes what the socket takes without waiting.
    pub(super) async fn push(&mut self) {
        poll_fn(|cx| {
            let _ = self.poll_write(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Writes all that waits, and takes one portion of what the server says.
    pub(super) async fn receive(&mut self) -> Result<(), Broken> {
        loop {
            let patience = self.client.reply_time().unwrap_or(self.target.options.command_time);
            match timeout(patience, poll_fn(|cx| self.poll_exchange(cx))).await {
                Err(_) => return Err(Broken::TimedOut),
                Ok(Progress::Written) => {}
                Ok(Progress::Read(Ok(0))) => return Err(self.write_failure.take().map_or(Broken::Closed, Broken::Io)),
                Ok(Progress::Read(Err(error))) => {
                    return Err(Broken::Io(self.write_failure.take().unwrap_or_else(|| error.to_string())));
                }
                Ok(Progress::Read(Ok(count))) => {
                    return Ok(self.client.receive(self.buffer.get(..count).unwrap_or_default())?);
                }
            }
        }
    }

    /// Completes when an idle connection is of no use any more: the server says something or closes it.
    pub(super) async fn spoilt(&mut self) {
        poll_fn(|cx| self.poll_read(cx).map(drop)).await;
    }

    /// Says good-bye.
    pub(super) async fn quit(mut self) {
        self.client.quit();
        let _ = timeout(QUIT_TIME, self.receive()).await;
        if let Stream::Tls(stream) = &mut self.stream {
            let _ = timeout(QUIT_TIME, tokio::io::AsyncWriteExt::shutdown(stream)).await;
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let written = self.poll_write(cx);
        match self.poll_read(cx) {
            Poll::Ready(result) => Poll::Ready(Progress::Read(result)),
            // More is to be written and some of it was: the patience begins anew.
            Poll::Pending if written && !self.client.output().is_empty() => Poll::Ready(Progress::Written),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Stream::Gone => Poll::Ready(Ok(())),
        };
        result.map_ok(|()| buffer.filled().len())
    }

    /// Writes as much as the socket takes; returns whether it took anything.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while !self.client.output().is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.client.output().fill(&mut slices);
            let slices = slices.get(..used).unwrap_or_default();
            let written = match (&mut self.stream, slices) {
                (Stream::Plain(stream), [one]) => Pin::new(stream).poll_write(cx, one),
                (Stream::Plain(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
                (Stream::Tls(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
                (Stream::Gone, _) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
            match written {
                Poll::Ready(Ok(count)) if count > 0 => {
                    progress = true;
                    self.client.output().advance(count);
                }
                Poll::Ready(result) => {
                    // The server may have said why it went away: that is read before the connection is given up.
                    self.write_failure = Some(result.err().map_or_else(|| "nothing written".to_owned(), |error| error.to_string()));
                    self.client.output().clear();
                }
                Poll::Pending => return progress,
            }
        }
        if let Stream::Tls(stream) = &mut self.stream
            && let Poll::Ready(Err(error)) = Pin::new(stream).poll_flush(cx)
        {
            self.write_failure = Some(error.to_string());
        }
        progress
    }
}

enum Progress {
    Written,
    Read(io::Result<usize>),
}
