//! Replies of servers (RFC 5321 §4.2), read from whatever octets arrive.

use std::fmt;

use crate::mail::enhanced_status::EnhancedStatus;

/// The longest line that is read. RFC 5321 §4.5.3.1.5 says 512; some say more.
pub const LINE_LENGTH: usize = 4096;
/// The most lines that one reply may have: EHLO of the most talkative servers has 30.
pub const LINES: usize = 256;
/// The most text that is kept of one reply; the rest is read and dropped.
pub const TEXT_LENGTH: usize = 8192;

/// What a server answered.
///
/// ```abnf
/// Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// Lines without their codes, control characters turned into blanks, joined with `\n`.
    text: String,
}

/// What arrived is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not begin with a code between 200 and 599.
    #[error("the server does not speak SMTP")]
    NotAReply,
    /// A line is longer than [`LINE_LENGTH`].
    #[error("a line of a reply is longer than {LINE_LENGTH} octets")]
    LineTooLong,
    /// A reply has more than [`LINES`] lines.
    #[error("a reply has more than {LINES} lines")]
    TooManyLines,
}

impl Reply {
    /// Makes a reply that we give in the place of a server, where we know what it would have to say.
    pub fn local(code: u16, text: &str) -> Self {
        Self { code, text: text.to_owned() }
    }

    /// Returns the code, between 200 and 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether the command did what it was told (2yz).
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether the same may work later (4yz).
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Whether it will never work (5yz).
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Returns the enhanced status code (RFC 2034) that the text begins with, if it is of the code's class.
    pub fn enhanced(&self) -> Option<EnhancedStatus> {
        let word = self.text.split([' ', '\n']).next()?;
        word.parse::<EnhancedStatus>().ok().filter(|status| u16::from(status.class) == self.code / 100)
    }

    /// Returns the lines without their codes. There is at least one, possibly empty.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// Returns the reply as one line of at most `limit` octets, for logs and events.
    pub fn to_line(&self, limit: usize) -> String {
        let mut line = self.to_string();
        if line.len() > limit {
            let end = (0..=limit).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
            line.truncate(end);
        }
        line
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for line in self.lines().filter(|line| !line.is_empty()) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// Puts replies together from octets as they arrive. Memory is bounded by the limits above.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// A line that has no end yet.
    line: Vec<u8>,
    /// Lines of a reply that has no end yet.
    text: String,
    lines: usize,
}

impl ReplyReader {
    /// Reads at most one reply from the front of `input` and moves `input` behind what was read. `None` means that all was read
    /// and more is needed.
    ///
    /// # Errors
    /// After an error the connection is of no use.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while !input.is_empty() {
            let (piece, complete) = match memchr::memchr(b'\n', input) {
                Some(end) => (
                    input.split_at_checked(end + 1).map_or(*input, |(piece, rest)| {
                        *input = rest;
                        piece
                    }),
                    true,
                ),
                None => (std::mem::take(input), false),
            };
            if self.line.len() + piece.len() > LINE_LENGTH {
                return Err(ReplyError::LineTooLong);
            }
            if !complete {
                self.line.extend_from_slice(piece);
                return Ok(None);
            }
            let reply = if self.line.is_empty() {
                self.take_line(piece)?
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                let reply = self.take_line(&line)?;
                line.clear();
                self.line = line;
                reply
            };
            if reply.is_some() {
                return Ok(reply);
            }
        }
        Ok(None)
    }

    /// Whether part of a reply was read.
    pub fn is_amid_reply(&self) -> bool {
        !self.line.is_empty() || self.lines > 0
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        // A bare LF ends a line too: there are such servers, and nothing can be smuggled towards us.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, last, text) = match line {
            [a, b, c, rest @ ..] => (number(*a, *b, *c)?, rest.first() != Some(&b'-'), rest.get(1..).unwrap_or_default()),
            _ => return Err(ReplyError::NotAReply),
        };
        if !matches!(line.get(3), None | Some(b' ' | b'-' | b'\t')) {
            return Err(ReplyError::NotAReply);
        }
        self.lines += 1;
        if self.lines > LINES {
            return Err(ReplyError::TooManyLines);
        }
        if self.lines > 1 && self.text.len() < TEXT_LENGTH {
            self.text.push('\n');
        }
        let room = TEXT_LENGTH.saturating_sub(self.text.len()).min(text.len());
        let text = String::from_utf8_lossy(text.get(..room).unwrap_or_default());
        self.text.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        if !last {
            return Ok(None);
        }
        self.lines = 0;
        Ok(Some(Reply { code, text: std::mem::take(&mut self.text) }))
    }
}

fn number(a: u8, b: u8, c: u8) -> Result<u16, ReplyError> {
    let digit = |octet: u8| octet.is_ascii_digit().then(|| u16::from(octet - b'0')).ok_or(ReplyError::NotAReply);
    let code = digit(a)? * 100 + digit(b)? * 10 + digit(c)?;
    if (200..600).contains(&code) { Ok(code) } else { Err(ReplyError::NotAReply) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn read_all(mut input: &[u8]) -> Result<Vec<Reply>, ReplyError> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        while let Some(reply) = reader.read(&mut input)? {
            replies.push(reply);
        }
        Ok(replies)
    }

    #[test]
    fn replies_of_all_shapes_are_read() {
        let replies = read_all(b"220 mx ESMTP\r\n250-a\r\n250-b c\r\n250 d\r\n354\r\n250 \r\n550 5.1.1 no\x1b[2Jbody\n").unwrap();
        let lines: Vec<String> = replies.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["220 mx ESMTP", "250 a b c d", "354", "250", "550 5.1.1 no [2Jbody"]);
        assert_eq!(replies[1].lines().collect::<Vec<_>>(), ["a", "b c", "d"]);
        assert_eq!(replies[4].enhanced(), Some(EnhancedStatus::new(5, 1, 1)));
        assert_eq!(read_all(b"450 5.1.1 x\r\n").unwrap()[0].enhanced(), None);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert_eq!(read_all(b"HTTP/1.1 400 Bad Request\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(read_all(b"\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(read_all(b"2500 x\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(read_all(b"150 x\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(read_all(&[b'2'; 5000]), Err(ReplyError::LineTooLong));
        assert_eq!(read_all(&b"250-x\r\n".repeat(LINES + 1)), Err(ReplyError::TooManyLines));
    }

    #[test]
    fn a_line_for_an_event_is_bounded() {
        let reply = Reply::local(550, &"ü".repeat(400));
        assert!(reply.to_line(511).len() <= 511);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(input in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_all(&input);
        }

        #[test]
        fn pieces_do_not_matter(
            replies in proptest::collection::vec((200_u16..600, proptest::collection::vec("[ -~]{0,40}", 1..4)), 1..5),
            size in 1_usize..40,
        ) {
            let mut octets = Vec::new();
            for (code, lines) in &replies {
                for (place, line) in lines.iter().enumerate() {
                    let mark = if place + 1 == lines.len() { ' ' } else { '-' };
                    octets.extend_from_slice(format!("{code}{mark}{line}\r\n").as_bytes());
                }
            }
            let whole = read_all(&octets).unwrap();
            let mut reader = ReplyReader::default();
            let mut pieces = Vec::new();
            for mut piece in octets.chunks(size) {
                while let Some(reply) = reader.read(&mut piece).unwrap() {
                    pieces.push(reply);
                }
            }
            prop_assert!(!reader.is_amid_reply());
            prop_assert_eq!(&whole, &pieces);
            prop_assert_eq!(whole.len(), replies.len());
            for (reply, (code, lines)) in whole.iter().zip(&replies) {
                prop_assert_eq!(reply.code(), *code);
                prop_assert_eq!(reply.lines().collect::<Vec<_>>(), lines.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
    }
}
