//! A scripted next hop: takes mail, keeps it for the test to look at, and answers what the test says.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

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

/// A listening peer; it goes on until the test ends.
#[derive(Clone)]
pub struct Peer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Peer {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// If there is none.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let peer = Self { address: listener.local_addr()?, state: Arc::default() };
        let accepting = peer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let session = accepting.clone();
                std::thread::spawn(move || {
                    // The other side may go away at any time, also by being killed: that is the test's business.
                    let _ = session.serve(stream);
                });
            }
        });
        Ok(peer)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says `reply` the next time that somebody names `recipient`; several are said in order, then it is accepted.
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

    fn serve(&self, stream: TcpStream) -> Result<()> {
        self.lock().connections += 1;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut output = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        output.write_all(b"220 peer.example ESMTP\r\n")?;
        let (mut from, mut to) = (String::new(), Vec::new());
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let command = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.lock().transcript.push(command.clone());
            let upper = command.to_ascii_uppercase();
            let reply = match upper.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => "250-peer.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES".to_owned(),
                "HELO" | "NOOP" => "250 ok".to_owned(),
                "MAIL" => {
                    from = path(&command);
                    to.clear();
                    "250 2.1.0 ok".to_owned()
                }
                "RCPT" => {
                    let recipient = path(&command);
                    let refusal =
                        self.lock().rcpt.get_mut(&recipient).filter(|replies| !replies.is_empty()).map(|replies| replies.remove(0));
                    refusal.unwrap_or_else(|| {
                        to.push(recipient);
                        "250 2.1.5 ok".to_owned()
                    })
                }
                "DATA" if to.is_empty() => "503 5.5.1 no recipients".to_owned(),
                "DATA" => {
                    output.write_all(b"354 go on\r\n")?;
                    let content = read_content(&mut input)?;
                    self.lock().taken.push(Taken { from: from.clone(), to: std::mem::take(&mut to), content });
                    "250 2.0.0 taken".to_owned()
                }
                "RSET" => {
                    to.clear();
                    "250 2.0.0 ok".to_owned()
                }
                "QUIT" => {
                    output.write_all(b"221 2.0.0 bye\r\n")?;
                    return Ok(());
                }
                _ => "502 5.5.2 what?".to_owned(),
            };
            output.write_all(format!("{reply}\r\n").as_bytes())?;
        }
    }
}

fn path(command: &str) -> String {
    let inner = command.split_once('<').map_or("", |(_, rest)| rest);
    inner.split_once('>').map_or("", |(path, _)| path).to_owned()
}

fn read_content(input: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        anyhow::ensure!(input.read_until(b'\n', &mut line)? > 0, "the client left in the middle of a message");
        if line == b".\r\n" {
            return Ok(content);
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
