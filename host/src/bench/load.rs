//! The load generator: sessions that submit one message after another.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::message::Sample;
use crate::clock::Clock;

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub server: SocketAddr,
    /// Connections at once.
    pub sessions: u32,
    /// Messages in all.
    pub messages: u64,
    /// Recipients of each.
    pub recipients: u32,
    /// What each looks like.
    pub sample: Sample,
    /// User name and password, where the server wants them.
    pub credentials: Option<(String, String)>,
    /// Messages per second, evenly spread; none given is as many as go.
    pub rate: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Messages answered 250.
    pub accepted: u64,
    /// Messages answered otherwise.
    pub refused: u64,
    /// From the first MAIL to the last answer.
    pub time: Duration,
    /// From MAIL to the answer to the data, for each message, shortest first. With a rate: from when it was due.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// Messages accepted per second.
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
        let accepted = self.accepted as f64;
        accepted / self.time.as_secs_f64().max(1e-9)
    }

    /// Returns the latency that `share` of the messages stay below: 0.99 is p99.
    pub fn percentile(&self, share: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a list")]
        let place = ((self.latencies.len() as f64 * share).ceil() as usize).saturating_sub(1);
        self.latencies.get(place).copied().unwrap_or_default()
    }
}

/// Sends the load and waits for all answers.
///
/// # Errors
/// If a session cannot be opened or breaks.
pub async fn run(load: Load, clock: &Clock) -> Result<Outcome> {
    let next = Arc::new(AtomicU64::new(0));
    let mut sessions = Vec::new();
    for _ in 0..load.sessions.max(1) {
        sessions.push(Session::open(&load).await?);
    }
    let started = clock.monotonic();
    let load = Arc::new(load);
    let mut tasks = JoinSet::new();
    for session in sessions {
        tasks.spawn(session.work(load.clone(), next.clone(), clock.clone(), started));
    }
    let mut outcome = Outcome { accepted: 0, refused: 0, time: Duration::ZERO, latencies: Vec::new() };
    while let Some(done) = tasks.join_next().await {
        let (refused, latencies) = done.context("a session ended badly")??;
        outcome.accepted += latencies.len() as u64;
        outcome.refused += refused;
        outcome.latencies.extend(latencies);
    }
    outcome.time = clock.monotonic().saturating_sub(started);
    outcome.latencies.sort_unstable();
    Ok(outcome)
}

struct Session {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Session {
    async fn open(load: &Load) -> Result<Self> {
        let stream = TcpStream::connect(load.server).await.with_context(|| format!("{} does not answer", load.server))?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream, input: Vec::with_capacity(4096) };
        session.expect(220).await?;
        session.stream.write_all(b"EHLO bench.example.com\r\n").await?;
        session.expect(250).await?;
        if let Some((username, password)) = &load.credentials {
            let response = BASE64_STANDARD.encode(format!("\0{username}\0{password}"));
            session.stream.write_all(format!("AUTH PLAIN {response}\r\n").as_bytes()).await?;
            session.expect(235).await?;
        }
        Ok(session)
    }

    async fn work(mut self, load: Arc<Load>, next: Arc<AtomicU64>, clock: Clock, started: Duration) -> Result<(u64, Vec<Duration>)> {
        let mut latencies = Vec::new();
        let mut refused = 0;
        let mut data = Vec::with_capacity(load.sample.size() + 64);
        let envelope = envelope(load.recipients);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= load.messages {
                self.stream.write_all(b"QUIT\r\n").await?;
                return Ok((refused, latencies));
            }
            let mut begin = clock.monotonic();
            if let Some(rate) = load.rate {
                #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
                let due = started + Duration::from_secs_f64(number as f64 / rate.max(0.001));
                if let Some(early) = due.checked_sub(begin) {
                    tokio::time::sleep(early).await;
                }
                // A message that had to wait for a session counts from when it was due: a slow server cannot hide behind a slow generator.
                begin = due;
            }
            self.stream.write_all(envelope.as_bytes()).await?;
            for _ in 0..=load.recipients {
                self.expect(250).await?;
            }
            self.expect(354).await?;
            data.clear();
            load.sample.write(number, &mut data);
            self.stream.write_all(&data).await?;
            match self.reply().await? {
                250 => latencies.push(clock.monotonic().saturating_sub(begin)),
                _ => refused += 1,
            }
        }
    }

    async fn expect(&mut self, code: u16) -> Result<()> {
        let heard = self.reply().await?;
        if heard != code {
            bail!("expected {code}, the server said {heard}");
        }
        Ok(())
    }

    async fn reply(&mut self) -> Result<u16> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.input) {
                let line = self.input.get(..end).unwrap_or_default();
                let last = line.get(3) != Some(&b'-');
                let code = line.get(..3).and_then(|digits| str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
                self.input.drain(..=end);
                if last {
                    return code.context("not an SMTP reply");
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// The commands before the content, in one piece.
fn envelope(recipients: u32) -> String {
    let mut commands = String::from("MAIL FROM:<sender@example.com>\r\n");
    for number in 0..recipients {
        // Writing to a String cannot fail.
        let _ = write!(commands, "RCPT TO:<reader{number}@example.net>\r\n");
    }
    commands.push_str("DATA\r\n");
    commands
}
