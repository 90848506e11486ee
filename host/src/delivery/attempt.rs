//! Attempts: copies with equal content, and what goes over a connection for them. [`Desk`] makes them.

mod desk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::connection::Connection;
use super::destination::Job;
use super::dkim::{Occasion, Signers};
use crate::event::{Event, Via};
use crate::mail::content::Wire;
use crate::mail::envelope::ReversePath;
use crate::smtp::client::transaction::Transaction;
use crate::spool::Leased;
use crate::spool::entry::Entry;

pub(super) use desk::Desk;

/// Copies with equal content, ready to be sent together.
pub(super) struct Attempt {
    pub(super) load: Load,
    pub(super) transaction: Transaction,
}

/// What an attempt is about, apart from what is on the wire.
pub(super) struct Load {
    pub(super) entry: Arc<Entry>,
    /// As many as the transaction has forward-paths, in the same order.
    pub(super) copies: Vec<Leased>,
    /// When the lease ends ([`Clock::monotonic`](crate::clock::Clock::monotonic)).
    pub(super) until: Duration,
    /// It had a connection before that was closed before its turn.
    pub(super) again: bool,
    /// Octets of our signatures, with which the content begins.
    pub(super) signature_octets: usize,
    /// The content as it came in, without signatures, where that was not in lines.
    pub(super) binary: Option<Bytes>,
    /// The content in lines, with the octets of its signatures, while the transaction has it as it came in: for reports, and for other next hops.
    pub(super) lines: Option<(Bytes, usize)>,
    /// What plugins did, to be written down with the outcome.
    pub(super) events: Vec<Event>,
    /// How the connection goes that it was begun on.
    pub(super) via: Option<Via>,
    /// Who hears of failures. On the wire it is another address where bounces are tracked.
    pub(super) reverse_path: ReversePath,
}

impl Attempt {
    pub(super) fn new(load: Load, transaction: Transaction) -> Self {
        Self { load, transaction }
    }

    /// Puts the content into the form that goes over a connection.
    pub(super) fn suit(&mut self, connection: &Connection, signers: &Signers) {
        if connection.takes_binary() {
            return self.make_binary(signers);
        }
        self.make_lines();
        if !connection.takes_eight_bit() {
            self.make_seven_bit(signers);
        }
    }

    /// Takes the content as it came in, where that was not in lines.
    fn make_binary(&mut self, signers: &Signers) {
        let Some(binary) = self.load.binary.clone().filter(|_| !self.transaction.is_binary) else { return };
        let (content, signature_octets) = signed(signers, binary, &self.load.entry);
        let lines = std::mem::replace(&mut self.transaction.content, content);
        self.load.lines = Some((lines, std::mem::replace(&mut self.load.signature_octets, signature_octets)));
        self.transaction.is_binary = true;
    }

    /// Takes the content in lines again: it was made ready for another connection.
    fn make_lines(&mut self) {
        if let Some(lines) = self.load.lines.take() {
            (self.transaction.content, self.load.signature_octets) = lines;
            self.transaction.is_binary = false;
        }
    }

    /// Makes the content ASCII, as far as that can be done, for a server that takes nothing else; it is signed again, as the signature is of the octets.
    fn make_seven_bit(&mut self, signers: &Signers) {
        let content = &mut self.transaction.content;
        if content.is_ascii() {
            return;
        }
        let unsigned = content.slice(self.load.signature_octets.min(content.len())..);
        (*content, self.load.signature_octets) = signed(signers, Wire::SevenBit.fit(unsigned), &self.load.entry);
    }

    pub(super) fn split(self) -> (Load, Transaction) {
        (self.load, self.transaction)
    }

    /// The job that it was made of.
    pub(super) fn into_job(self) -> Job {
        let Load { entry, copies, until, .. } = self.load;
        Job { message: entry.id, copies, until }
    }
}

/// Returns content with our signatures in front of it, and how many octets these have. What came from outside and goes on gets
/// none.
fn signed(signers: &Signers, content: Bytes, entry: &Entry) -> (Bytes, usize) {
    if entry.terms.unsigned {
        return (content, 0);
    }
    let length = content.len();
    let signed = signers.sign(content, Occasion { login: &entry.login, received: entry.received.at });
    let signature_octets = signed.len().saturating_sub(length);
    (signed, signature_octets)
}

/// Puts content into lines that is binary, or has NUL in it: to a server that drops it, a line might end the message that to us does not.
fn without_nul(content: Bytes, is_binary: bool) -> Bytes {
    if !is_binary && memchr::memchr(0, &content).is_none() {
        return content;
    }
    let lines = Wire::Lines.fit(content);
    // In the header, and in what is signed, nothing is encoded.
    if memchr::memchr(0, &lines).is_none() { lines } else { lines.iter().copied().filter(|octet| *octet != 0).collect() }
}

/// Makes CRLF of every bare CR or LF: a server that takes one for the end of a line, when we do not, could be told another message.
fn line_ends(content: Bytes) -> Bytes {
    let is_bare = |at: usize| match content.get(at) {
        Some(b'\n') => at == 0 || content.get(at - 1) != Some(&b'\r'),
        _ => content.get(at + 1) != Some(&b'\n'),
    };
    if !memchr::memchr2_iter(b'\r', b'\n', &content).any(is_bare) {
        return content;
    }
    let mut clean = Vec::with_capacity(content.len() + 64);
    let mut start = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', &content).filter(|at| is_bare(*at)) {
        clean.extend_from_slice(content.get(start..at).unwrap_or_default());
        clean.extend_from_slice(b"\r\n");
        start = at + 1;
    }
    clean.extend_from_slice(content.get(start..).unwrap_or_default());
    clean.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nul_goes_out() {
        let header = "Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n";
        for (content, is_gone) in [(format!("{header}\r\nHi.\r\n\0.\r\nMAIL\r\n"), false), (format!("X: \0a\r\n{header}\r\nHi.\r\n"), true)]
        {
            let clean = without_nul(Bytes::from(content.clone()), false);
            assert!(memchr::memchr(0, &clean).is_none(), "{clean:?}");
            assert_eq!(clean == content.replace('\0', ""), is_gone, "{clean:?}");
        }
        let good = Bytes::from(format!("{header}\r\nHi.\r\n"));
        assert_eq!(without_nul(good.clone(), false).as_ptr(), good.as_ptr());
    }

    #[test]
    fn bare_line_ends_are_mended() {
        for (content, expected) in [
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\nb\rc\r\n", "a\r\nb\r\nc\r\n"),
            ("\n.\n\r", "\r\n.\r\n\r\n"),
            ("\r\r\n", "\r\n\r\n"),
            ("", ""),
        ] {
            assert_eq!(line_ends(Bytes::from(content)), expected, "{content:?}");
        }
    }
}
