//! The sink: takes all mail, keeps none, counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What has come in.
#[derive(Debug, Default)]
pub struct Counts {
    /// Recipients of messages that were taken.
    pub recipients: AtomicU64,
    /// Messages that were taken.
    pub messages: AtomicU64,
    /// Connections that were opened.
    pub connections: AtomicU64,
    changed: Notify,
}

impl Counts {
    /// Waits until `messages` have come in.
    pub async fn wait(&self, messages: u64) {
        loop {
            let changed = self.changed.notified();
            if self.messages.load(Ordering::Acquire) >= messages {
                return;
            }
            changed.await;
        }
    }
}

/// A listening sink; ends with the runtime.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    /// What has come in.
    pub counts: Arc<Counts>,
    accepting: tokio::task::AbortHandle,
}

impl Sink {
    /// Stops listening and closes all connections: the address is free again, and nobody delivers over an old connection what the next sink on it
    /// waits for.
    pub fn stop(&self) {
        self.accepting.abort();
    }

    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn start(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let counts: Arc<Counts> = Arc::default();
        let counting = counts.clone();
        let accepting = tokio::spawn(async move {
            // Ends with this task, and all connections with it.
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while open.try_join_next().is_some() {}
                counting.connections.fetch_add(1, Ordering::Relaxed);
                let counts = counting.clone();
                open.spawn(async move {
                    // Whoever goes away in the middle has not delivered: there is nothing to count.
                    let _ = serve(stream, &counts).await;
                });
            }
        })
        .abort_handle();
        Ok(Self { address, counts, accepting })
    }
}

async fn serve(mut stream: TcpStream, counts: &Counts) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 sink.example.com ESMTP\r\n").await?;
    let mut input = Vec::with_capacity(128 * 1024);
    let mut output = Vec::new();
    let mut recipients = 0;
    let mut in_data = false;
    let mut at_start = false;
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if in_data {
                // Content always ends its last line, so that the final dot stands behind CRLF, or at the very beginning.
                let is_empty = at_start && rest.starts_with(b".\r\n");
                let end = if is_empty { Some(3) } else { memchr::memmem::find(rest, b"\r\n.\r\n").map(|at| at + 5) };
                let Some(end) = end else {
                    // What may be the beginning of the end stays. Behind it, a dot is at the start of a line only where a line end is before it.
                    let gone = rest.len().saturating_sub(4);
                    at_start &= gone == 0;
                    used += gone;
                    break;
                };
                used += end;
                in_data = false;
                counts.messages.fetch_add(1, Ordering::AcqRel);
                counts.recipients.fetch_add(std::mem::take(&mut recipients), Ordering::AcqRel);
                counts.changed.notify_waiters();
                output.extend_from_slice(b"250 2.0.0 taken\r\n");
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else { break };
            let line = rest.get(..end).unwrap_or_default();
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            used += end + 1;
            let reply: &[u8] = match verb.as_slice() {
                b"EHLO" => b"250-sink.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 52428800\r\n250 ENHANCEDSTATUSCODES\r\n",
                b"DATA" => {
                    (in_data, at_start) = (true, true);
                    b"354 go on\r\n"
                }
                b"RCPT" => {
                    recipients += 1;
                    b"250 2.1.5 ok\r\n"
                }
                b"QUIT" => {
                    output.extend_from_slice(b"221 2.0.0 bye\r\n");
                    stream.write_all(&output).await?;
                    return Ok(());
                }
                _ => b"250 2.0.0 ok\r\n",
            };
            output.extend_from_slice(reply);
        }
        input.drain(..used);
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn content_ends_at_its_dot_however_it_is_cut() {
        let sink = Sink::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let mut stream = TcpStream::connect(sink.address).await.unwrap();
        let (mut input, content) = (Vec::new(), "To the woods.\r\n".repeat(3));
        let heard = async |stream: &mut TcpStream, input: &mut Vec<u8>, reply: &str| {
            while !String::from_utf8_lossy(input).ends_with(reply) {
                assert_ne!(stream.read_buf(input).await.unwrap(), 0, "closed");
            }
        };
        for (number, cut) in (1..).zip(0..content.len()) {
            stream.write_all(b"DATA\r\n").await.unwrap();
            heard(&mut stream, &mut input, "354 go on\r\n").await;
            let (first, rest) = content.split_at(cut);
            stream.write_all(first.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
            stream.write_all(format!("{rest}.\r\n").as_bytes()).await.unwrap();
            heard(&mut stream, &mut input, "250 2.0.0 taken\r\n").await;
            tokio::time::timeout(Duration::from_secs(10), sink.counts.wait(number)).await.unwrap();
        }
    }
}
