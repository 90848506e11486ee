//! A scripted next hop: takes mail, keeps it for the test to look at, and answers what the test says.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::wait::{PATIENCE, wait_for};

/// A message as the peer took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Argument of MAIL FROM, without brackets.
    pub from: String,
    /// Arguments of RCPT TO that were accepted, without brackets.
    pub to: Vec<String>,
    /// Content without dot-stuffing.
    pub content: Vec<u8>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Who was logged in, "" for nobody.
    pub user: String,
    /// Argument of EHLO.
    pub helo: String,
    /// From which address it came.
    pub client: IpAddr,
}

impl Taken {
    /// The content as text, as far as it is.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    /// First value of a header field, as it stands, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let header = text.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
        header.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

#[derive(Default)]
struct State {
    taken: Vec<Taken>,
    /// Replies to give, in order, to RCPT of an address, before it is accepted.
    rcpt: HashMap<String, Vec<String>>,
    connections: u32,
    transcript: Vec<String>,
}

/// How a peer is protected.
#[derive(Clone, Default)]
pub enum Protection {
    /// Not at all.
    #[default]
    None,
    /// STARTTLS is offered.
    StartTls(Arc<rustls::ServerConfig>),
    /// TLS from the first octet.
    Implicit(Arc<rustls::ServerConfig>),
}

/// A listening peer; it goes on until the test ends.
#[derive(Clone)]
pub struct Peer {
    address: SocketAddr,
    protection: Protection,
    /// User name and password without which no mail is taken.
    credentials: Option<(&'static str, &'static str)>,
    /// Extensions in the answer to EHLO, beside those of TLS and AUTH.
    offers: &'static [&'static str],
    state: Arc<Mutex<State>>,
}

/// What a peer offers where the test says nothing else.
const OFFERS: &[&str] = &["8BITMIME", "SMTPUTF8"];

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One connection.
struct Session {
    stream: BufReader<Box<dyn Stream>>,
    plain: TcpStream,
    tls: bool,
    user: String,
    helo: String,
    from: String,
    to: Vec<String>,
    /// What came with BDAT so far.
    chunks: Vec<u8>,
}

impl Peer {
    /// Listens on a free port of loopback, without TLS.
    ///
    /// # Errors
    /// If there is none.
    pub fn start() -> Result<Self> {
        Self::start_with(Protection::None, None)
    }

    /// Listens on a free port of loopback. With `credentials` no mail is taken before AUTH PLAIN with these.
    ///
    /// # Errors
    /// If there is none.
    pub fn start_with(protection: Protection, credentials: Option<(&'static str, &'static str)>) -> Result<Self> {
        Self::open(protection, credentials, OFFERS)
    }

    /// Listens on a free port of loopback and offers these extensions, beside PIPELINING and ENHANCEDSTATUSCODES.
    ///
    /// # Errors
    /// If there is none.
    pub fn offering(protection: Protection, offers: &'static [&'static str]) -> Result<Self> {
        Self::open(protection, None, offers)
    }

    fn open(protection: Protection, credentials: Option<(&'static str, &'static str)>, offers: &'static [&'static str]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let peer = Self { address: listener.local_addr()?, protection, credentials, offers, state: Arc::default() };
        let accepting = peer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let peer = accepting.clone();
                std::thread::spawn(move || {
                    // The other side may go away at any time, also by being killed: that is the test's business.
                    let _ = peer.serve(stream);
                });
            }
        });
        Ok(peer)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says `reply` the next time that somebody names `recipient`, or sends the last chunk where that is `BDAT`; several are said in order, then it is
    /// accepted.
    pub fn refuse_next(&self, recipient: &str, reply: &str) {
        self.lock().rcpt.entry(recipient.to_owned()).or_default().push(reply.to_owned());
    }

    /// All messages taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.lock().taken.clone()
    }

    /// How many messages were taken so far.
    pub fn count(&self) -> usize {
        self.lock().taken.len()
    }

    /// How many connections there were.
    pub fn connections(&self) -> u32 {
        self.lock().connections
    }

    /// Every command line heard.
    pub fn transcript(&self) -> Vec<String> {
        self.lock().transcript.clone()
    }

    /// Waits until `count` messages are there, and returns them.
    ///
    /// # Errors
    /// If they do not come.
    pub fn wait(&self, count: usize) -> Result<Vec<Taken>> {
        wait_for(&format!("{count} messages at the peer"), || (self.count() >= count).then(|| self.taken()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, plain: TcpStream) -> Result<()> {
        self.lock().connections += 1;
        plain.set_read_timeout(Some(PATIENCE))?;
        plain.set_nodelay(true)?;
        let mut session = Session::new(plain)?;
        if let Protection::Implicit(config) = &self.protection {
            session.start_tls(config)?;
        }
        session.say("220 peer.example ESMTP")?;
        while let Some(command) = session.line()? {
            self.lock().transcript.push(command.clone());
            let reply = self.answer(&mut session, &command)?;
            session.say(&reply)?;
            match (reply.get(..3), &self.protection) {
                (Some("221"), _) => return Ok(()),
                (Some("220"), Protection::StartTls(config)) => session.start_tls(config)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn next_refusal(&self, of: &str) -> Option<String> {
        self.lock().rcpt.get_mut(of).filter(|replies| !replies.is_empty()).map(|replies| replies.remove(0))
    }

    /// Keeps a message.
    fn take(&self, session: &mut Session, content: Vec<u8>) -> Result<String> {
        let client = session.plain.peer_addr()?.ip();
        let (from, to) = (session.from.clone(), std::mem::take(&mut session.to));
        let (user, helo) = (session.user.clone(), session.helo.clone());
        self.lock().taken.push(Taken { from, to, content, tls: session.tls, user, helo, client });
        Ok("250 2.0.0 taken".to_owned())
    }

    fn answer(&self, session: &mut Session, command: &str) -> Result<String> {
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let offers_tls = matches!(self.protection, Protection::StartTls(_)) && !session.tls;
        let may_send = self.credentials.is_none() || !session.user.is_empty();
        Ok(match verb.as_str() {
            "EHLO" => {
                command.get(5..).unwrap_or_default().trim().clone_into(&mut session.helo);
                let tls = if offers_tls { "250-STARTTLS\r\n" } else { "" };
                let auth = if self.credentials.is_some() { "250-AUTH PLAIN\r\n" } else { "" };
                let offers = self.offers.iter().fold(String::new(), |offers, offer| offers + "250-" + offer + "\r\n");
                format!("250-peer.example\r\n250-PIPELINING\r\n{offers}{tls}{auth}250 ENHANCEDSTATUSCODES")
            }
            "HELO" | "NOOP" => "250 ok".to_owned(),
            "STARTTLS" if offers_tls => "220 2.0.0 go on".to_owned(),
            "AUTH" => {
                let (user, password) = self.credentials.unwrap_or_default();
                if command == format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0{user}\0{password}"))) {
                    user.clone_into(&mut session.user);
                    "235 2.7.0 welcome".to_owned()
                } else {
                    "535 5.7.8 who?".to_owned()
                }
            }
            "MAIL" if !may_send => "530 5.7.0 log in first".to_owned(),
            "MAIL" => {
                session.from = path(command);
                session.to.clear();
                "250 2.1.0 ok".to_owned()
            }
            "RCPT" => {
                let recipient = path(command);
                self.next_refusal(&recipient).unwrap_or_else(|| {
                    session.to.push(recipient);
                    "250 2.1.5 ok".to_owned()
                })
            }
            "DATA" if session.to.is_empty() => "503 5.5.1 no recipients".to_owned(),
            "DATA" => {
                session.say("354 go on")?;
                let content = session.content()?;
                self.take(session, content)?
            }
            "BDAT" => {
                let mut words = command.split(' ').skip(1);
                let length: usize = words.next().and_then(|word| word.parse().ok()).context("the size of a chunk")?;
                let start = session.chunks.len();
                session.chunks.resize(start + length, 0);
                session.stream.read_exact(session.chunks.get_mut(start..).unwrap_or_default())?;
                let is_last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
                if session.to.is_empty() {
                    session.chunks.clear();
                    return Ok("503 5.5.1 no recipients".to_owned());
                }
                if !is_last {
                    return Ok("250 2.0.0 go on".to_owned());
                }
                let content = std::mem::take(&mut session.chunks);
                match self.next_refusal("BDAT") {
                    Some(refusal) => refusal,
                    None => self.take(session, content)?,
                }
            }
            "RSET" => {
                session.chunks.clear();
                session.to.clear();
                "250 2.0.0 ok".to_owned()
            }
            "QUIT" => "221 2.0.0 bye".to_owned(),
            _ => "502 5.5.2 what?".to_owned(),
        })
    }
}

impl Session {
    fn new(plain: TcpStream) -> Result<Self> {
        let stream: Box<dyn Stream> = Box::new(plain.try_clone()?);
        Ok(Self {
            stream: BufReader::new(stream),
            plain,
            tls: false,
            user: String::new(),
            helo: String::new(),
            from: String::new(),
            to: Vec::new(),
            chunks: Vec::new(),
        })
    }

    /// Turns the connection to TLS; the handshake is part of the next read or write.
    fn start_tls(&mut self, config: &Arc<rustls::ServerConfig>) -> Result<()> {
        let connection = rustls::ServerConnection::new(config.clone())?;
        self.stream = BufReader::new(Box::new(rustls::StreamOwned::new(connection, self.plain.try_clone()?)));
        self.tls = true;
        Ok(())
    }

    fn say(&mut self, reply: &str) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
        Ok(stream.flush()?)
    }

    /// Reads a command, or the end.
    fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        let length = self.stream.read_until(b'\n', &mut line)?;
        Ok((length > 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    fn content(&mut self) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            ensure!(self.stream.read_until(b'\n', &mut line)? > 0, "the client left in the middle of a message");
            if line == b".\r\n" {
                return Ok(content);
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
}

fn path(command: &str) -> String {
    let inner = command.split_once('<').map_or("", |(_, rest)| rest);
    inner.split_once('>').map_or("", |(path, _)| path).to_owned()
}
