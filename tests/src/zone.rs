//! A name server for the `mx` route: what the test says, on UDP and TCP, in the wire format of RFC 1035 §4.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::wait::PATIENCE;

const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;
const TXT: u16 = 16;
const TLSA: u16 = 52;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
/// The bit AD (RFC 4035 §3.2.3).
const AUTHENTIC: u8 = 0x20;
const HEADER: usize = 12;
/// Ports that are tried until one is free for both UDP and TCP.
const TRIES: usize = 20;

/// Records by name, in lower case.
type Records = BTreeMap<String, Vec<(u16, Vec<u8>)>>;

/// A name server with one zone; it goes on until the test ends. A name without any record does not exist.
#[derive(Clone)]
pub struct Zone {
    address: SocketAddr,
    records: Arc<Mutex<Records>>,
    /// Names that are signed, and names of which no answer is to be had.
    signed: Arc<Mutex<BTreeSet<String>>>,
    broken: Arc<Mutex<BTreeSet<String>>>,
}

impl Zone {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// If there is none.
    pub fn start() -> Result<Self> {
        let (udp, tcp) = bind()?;
        let zone = Self { address: tcp.local_addr()?, records: Arc::default(), signed: Arc::default(), broken: Arc::default() };
        let (by_udp, by_tcp) = (zone.clone(), zone.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = udp.recv_from(&mut buffer) {
                if let Some(answer) = buffer.get(..length).and_then(|question| by_udp.answer(question)) {
                    let _ = udp.send_to(&answer, client);
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                let zone = by_tcp.clone();
                std::thread::spawn(move || zone.serve(stream));
            }
        });
        Ok(zone)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Mail for `name` goes to `host`.
    #[must_use]
    pub fn mx(self, name: &str, preference: u16, host: &str) -> Self {
        let data = [preference.to_be_bytes().as_slice(), &encode(host)].concat();
        self.with(name, MX, data)
    }

    /// `name` takes no mail (RFC 7505).
    #[must_use]
    pub fn null_mx(self, name: &str) -> Self {
        self.mx(name, 0, "")
    }

    /// The address of `name`.
    #[must_use]
    pub fn address_of(self, name: &str, address: Ipv4Addr) -> Self {
        self.with(name, A, address.octets().to_vec())
    }

    /// A text of `name`.
    #[must_use]
    pub fn txt(self, name: &str, text: &str) -> Self {
        let mut data = Vec::new();
        for part in text.as_bytes().chunks(255) {
            data.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            data.extend_from_slice(part);
        }
        self.with(name, TXT, data)
    }

    /// `name` is another name of `target`.
    #[must_use]
    pub fn cname(self, name: &str, target: &str) -> Self {
        self.with(name, CNAME, encode(target))
    }

    /// The certificate of a service, by the SHA-256 of its public key (TLSA 3 1 1).
    #[must_use]
    pub fn tlsa(self, name: &str, digest: &[u8; 32]) -> Self {
        self.with(name, TLSA, [&[3, 1, 1], digest.as_slice()].concat())
    }

    /// Answers about `name` are signed (DNSSEC), and found to be so: whoever asks for that is told.
    #[must_use]
    pub fn signed(self, name: &str) -> Self {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        self
    }

    /// What is asked of `name` is answered SERVFAIL, as where a signature is wrong.
    #[must_use]
    pub fn broken(self, name: &str) -> Self {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        self
    }

    /// Takes away everything that `name` has.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self
    }

    fn with(self, name: &str, kind: u16, data: Vec<u8>) -> Self {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().push((kind, data));
        self
    }

    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question)?;
            let answer = self.answer(&question).context("no question")?;
            stream.write_all(&u16::try_from(answer.len())?.to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }

    /// Returns the answer to one question; `None` to what is none.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let id = question.get(..2)?;
        let (name, end) = decode(question)?;
        let kind = u16::from_be_bytes(*question.get(end..end + 2)?.first_chunk()?);
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let known = records.get(&name);
        // Aliases are followed inside the zone, as a resolver does.
        let (mut owner, mut aliases) = (name.clone(), Vec::new());
        while kind != CNAME
            && let Some((_, target)) = records.get(&owner).into_iter().flatten().find(|(other, _)| *other == CNAME)
            && aliases.len() < 8
        {
            aliases.push((owner.clone(), CNAME, target.as_slice()));
            owner = read_labels(target, 0)?.0;
        }
        let of_kind = records.get(&owner).into_iter().flatten().filter(|(other, _)| *other == kind);
        let mut fitting: Vec<(String, u16, &[u8])> = aliases;
        fitting.extend(of_kind.map(|(_, data)| (owner.clone(), kind, data.as_slice())));
        let is_broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).contains(&name);
        if is_broken {
            fitting.clear();
        }
        let code = match (is_broken, known) {
            (true, _) => SERVER_FAILURE,
            (false, Some(_)) => 0,
            (false, None) => NO_SUCH_NAME,
        };
        let signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = question.get(3)? & AUTHENTIC != 0;
        let is_signed = is_asked && !is_broken && signed.contains(&name) && signed.contains(&owner);
        // A response to a question that wanted recursion, which is available; name error where nothing has this name.
        let flags = [0x81, 0x80 | if is_signed { AUTHENTIC } else { 0 } | code];
        let mut answer = [id, &flags, &[0, 1], &u16::try_from(fitting.len()).ok()?.to_be_bytes(), &[0; 4]].concat();
        answer.extend_from_slice(question.get(HEADER..end + 4)?);
        for (name, kind, data) in fitting {
            // Class IN, 60 seconds.
            answer.extend_from_slice(&encode(&name));
            answer.extend_from_slice(&kind.to_be_bytes());
            answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            answer.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
            answer.extend_from_slice(data);
        }
        Some(answer)
    }
}

/// Asks a name server for the texts of a name, over TCP.
///
/// # Errors
/// If it has none, or refuses to say.
pub fn ask_txt(server: SocketAddr, name: &str) -> Result<Vec<String>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], encode(name).as_slice(), &TXT.to_be_bytes(), &[0, 1]].concat();
    stream.write_all(&[&u16::try_from(question.len())?.to_be_bytes(), question.as_slice()].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    texts_in(&answer, question.len()).with_context(|| format!("no answer about {name}: {answer:?}"))
}

/// The texts of an answer whose question ends at `at`.
fn texts_in(answer: &[u8], mut at: usize) -> Option<Vec<String>> {
    let count = u16::from_be_bytes(*answer.get(6..8)?.first_chunk()?);
    let mut texts = Vec::new();
    for _ in 0..count {
        // A name that ends with a pointer, or with the root.
        at = loop {
            match *answer.get(at)? {
                0 => break at + 1,
                length if length >= 0xc0 => break at + 2,
                length => at += 1 + usize::from(length),
            }
        };
        let length = usize::from(u16::from_be_bytes(*answer.get(at + 8..at + 10)?.first_chunk()?));
        let mut data = answer.get(at + 10..at + 10 + length)?;
        let mut text = Vec::new();
        while let Some((&part, rest)) = data.split_first() {
            text.extend_from_slice(rest.get(..usize::from(part))?);
            data = rest.get(usize::from(part)..)?;
        }
        texts.push(String::from_utf8(text).ok()?);
        at += 10 + length;
    }
    (answer.get(3)? % 16 == 0 && !texts.is_empty()).then_some(texts)
}

fn bind() -> Result<(UdpSocket, TcpListener)> {
    let both = || {
        let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
        Some((UdpSocket::bind(tcp.local_addr().ok()?).ok()?, tcp))
    };
    (0..TRIES).find_map(|_| both()).context("no port is free for both UDP and TCP")
}

/// The name as labels.
fn encode(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// Reads the name of the first question, in lower case; also returns where it ends.
fn decode(question: &[u8]) -> Option<(String, usize)> {
    read_labels(question, HEADER)
}

/// Reads labels from `at` on, in lower case; also returns where they end.
fn read_labels(question: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}
