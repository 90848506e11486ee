//! Message content on the wire: taken out of `DATA` (RFC 5321 §4.5.2, dots) or `BDAT` (RFC 3030, counted octets), checked on the way.
//!
//! - Only `<CRLF>.<CRLF>` ends `DATA`. A CR without LF, or an LF without CR, spoils the message wherever it stands, and ends nothing:
//!   where two servers disagree about the end of a message, one can be smuggled inside another.
//! - Faults are found while octets stream by; from the first one on nothing is kept, and the rest is read only to find the end. So
//!   memory is bounded: of one message by the size limit, of all together by a [`ContentMemory`](super::memory::ContentMemory).
//! - A line may be longer than the 998 octets of RFC 5322 §2.1.1, up to a limit: HTML on one line is common in practice, and delivery
//!   encodes such parts again.
//!
//! Content that is good is copied once, in runs that are as long as the absence of dots at line starts allows.

use bytes::Bytes;
use memchr::memchr3;

use super::memory::Share;
use crate::mail::content::Wire;

/// Most octets that are reserved because a client announced them: an announcement costs it nothing.
const LARGEST_RESERVATION: u64 = 1024 * 1024;

/// What content may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentLimits {
    /// Octets, counted as RFC 1870 counts them: with CRLFs, without dot-stuffing.
    pub size_octets: u64,
    /// Octets in a line, without its CRLF.
    pub line_octets: usize,
}

/// Why content is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// CR without LF, or LF without CR.
    #[error("the message has a bare CR or LF: lines must end with CRLF")]
    BareLineEnd,
    /// A NUL octet (RFC 5322 §3.5 has none, RFC 6152 neither).
    #[error("the message has a NUL octet")]
    Nul,
    /// A line above the limit.
    #[error("the message has a line of more than {limit_octets} octets")]
    LineTooLong {
        /// The limit.
        limit_octets: usize,
    },
    /// Content above the limit.
    #[error("the message is larger than {limit_octets} octets")]
    TooLarge {
        /// The limit.
        limit_octets: u64,
    },
    /// Too much content of all sessions is under way at this moment.
    #[error("there is no memory for the message now, try again later")]
    NoMemory,
    /// Binary content that cannot be put into lines: its header is broken, or what is binary in it is signed.
    #[error("the binary content of the message cannot be encoded")]
    NotEncodable,
}

impl ContentFault {
    /// Of several faults the one of the highest rank is said. Which is found first depends on how the content is cut into pieces, as those
    /// on a line are seen before octets are counted.
    const fn rank(self) -> u8 {
        match self {
            Self::NoMemory => 0,
            Self::TooLarge { .. } => 1,
            Self::LineTooLong { .. } => 2,
            Self::Nul => 3,
            Self::BareLineEnd => 4,
            Self::NotEncodable => 5,
        }
    }

    /// Whether the same content may be taken later.
    pub const fn is_temporary(self) -> bool {
        match self {
            Self::NoMemory => true,
            Self::BareLineEnd | Self::Nul | Self::LineTooLong { .. } | Self::TooLarge { .. } | Self::NotEncodable => false,
        }
    }
}

/// Content that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Lines with CRLF, the last one too, without dot-stuffing.
    pub octets: Bytes,
    /// Whether any octet is above 127.
    pub eight_bit: bool,
}

/// How the end of content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// `DATA`: a line with a dot alone; dots at line starts are doubled.
    Dots,
    /// `BDAT`: somebody else counts.
    Counted,
    /// `BDAT` of what is not in lines (`BODY=BINARYMIME`).
    Binary,
}

/// Where the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    Line,
    /// Behind a CR.
    Cr,
    /// Behind a dot that starts a line.
    Dot,
    /// Behind a dot that starts a line, and CR.
    DotCr,
    /// Behind `<CRLF>.<CRLF>`.
    End,
}

/// Takes content out of what a client sends, piece by piece; how it is cut into pieces makes no difference.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    limits: ContentLimits,
    place: Place,
    line_octets: usize,
    octets: Vec<u8>,
    /// As large as `octets`. What these have room for beyond that was not written yet, so that the system has not given it.
    share: Share,
    eight_bit: bool,
    fault: Option<ContentFault>,
}

impl Decoder {
    /// For `DATA`. `announced` is the client's `SIZE`; memory is taken by `share`.
    pub fn dots(limits: ContentLimits, announced: Option<u64>, share: Share) -> Self {
        Self::new(Framing::Dots, limits, announced, share)
    }

    /// For the chunks of `BDAT`, one after the other. `announced` is the client's `SIZE`; memory is taken by `share`.
    pub fn counted(limits: ContentLimits, announced: Option<u64>, share: Share) -> Self {
        Self::new(Framing::Counted, limits, announced, share)
    }

    /// For the chunks of `BDAT` behind `BODY=BINARYMIME` (RFC 3030 §3): any octets. What comes of it goes through [`to_lines`].
    pub fn binary(limits: ContentLimits, announced: Option<u64>, share: Share) -> Self {
        Self::new(Framing::Binary, limits, announced, share)
    }

    fn new(framing: Framing, limits: ContentLimits, announced: Option<u64>, share: Share) -> Self {
        let expected = announced.unwrap_or(0).min(limits.size_octets).min(LARGEST_RESERVATION);
        Self {
            framing,
            limits,
            place: Place::LineStart,
            line_octets: 0,
            octets: Vec::with_capacity(usize::try_from(expected).unwrap_or(0)),
            share,
            eight_bit: false,
            fault: None,
        }
    }

    /// Takes octets, up to the end of `DATA` if it is among them; returns how many.
    pub fn push(&mut self, input: &[u8]) -> usize {
        if self.framing == Framing::Binary {
            self.keep(Some(input));
            return input.len();
        }
        // The octets from `kept` to `at` were looked at, and are content that is not yet copied.
        let (mut kept, mut at) = (0, 0);
        while let Some(&octet) = input.get(at) {
            match self.place {
                Place::LineStart if octet == b'.' && self.framing == Framing::Dots => {
                    self.keep(input.get(kept..at));
                    at += 1;
                    kept = at;
                    self.place = Place::Dot;
                }
                Place::LineStart | Place::Line => at += self.scan_line(input.get(at..).unwrap_or_default()),
                Place::Cr if octet == b'\n' => {
                    at += 1;
                    self.line_octets = 0;
                    self.place = Place::LineStart;
                }
                Place::Dot if octet == b'\r' => {
                    at += 1;
                    kept = at;
                    self.place = Place::DotCr;
                }
                Place::DotCr if octet == b'\n' => {
                    self.place = Place::End;
                    return at + 1;
                }
                Place::Dot => self.place = Place::Line,
                Place::Cr | Place::DotCr => {
                    self.spoil(ContentFault::BareLineEnd);
                    self.place = Place::Line;
                }
                Place::End => return at,
            }
        }
        self.keep(input.get(kept..at));
        at
    }

    /// Whether the end of `DATA` was reached.
    pub fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// Returns what is wrong so far.
    pub fn fault(&self) -> Option<ContentFault> {
        self.fault
    }

    /// Returns the content once all of it was pushed, and its share of the memory, to be kept as long as the content. A last line of `BDAT`
    /// that lacks its CRLF gets it.
    pub fn finish(mut self) -> Result<(Content, Share), ContentFault> {
        match self.place {
            Place::Cr | Place::DotCr => self.spoil(ContentFault::BareLineEnd),
            Place::Line => self.keep(Some(b"\r\n")),
            Place::LineStart | Place::Dot | Place::End => {}
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        // The message may stay in memory until it is delivered: what growing reserved above need is given back.
        if self.octets.capacity() - self.octets.len() > self.octets.len() / 4 {
            self.octets.shrink_to_fit();
        }
        self.share.trim(self.octets.len() as u64);
        Ok((Content { octets: self.octets.into(), eight_bit: self.eight_bit }, self.share))
    }

    /// Looks at octets of one line, up to something that may end it; returns how many.
    fn scan_line(&mut self, input: &[u8]) -> usize {
        let found = memchr3(b'\r', b'\n', 0, input);
        self.line_octets = self.line_octets.saturating_add(found.unwrap_or(input.len()));
        if self.line_octets > self.limits.line_octets {
            self.spoil(ContentFault::LineTooLong { limit_octets: self.limits.line_octets });
        }
        self.place = Place::Line;
        let Some(found) = found else { return input.len() };
        match input.get(found) {
            Some(b'\r') => self.place = Place::Cr,
            Some(b'\n') => self.spoil(ContentFault::BareLineEnd),
            _ => self.spoil(ContentFault::Nul),
        }
        found + 1
    }

    fn keep(&mut self, run: Option<&[u8]>) {
        let run = run.unwrap_or_default();
        if self.fault.is_some() || run.is_empty() {
            return;
        }
        let length = (self.octets.len() as u64).saturating_add(run.len() as u64);
        if length > self.limits.size_octets {
            self.spoil(ContentFault::TooLarge { limit_octets: self.limits.size_octets });
            return;
        }
        if !self.share.cover(length) {
            self.spoil(ContentFault::NoMemory);
            return;
        }
        self.eight_bit |= !run.is_ascii();
        self.octets.extend_from_slice(run);
    }

    fn spoil(&mut self, fault: ContentFault) {
        if self.fault.is_none_or(|known| known.rank() < fault.rank()) {
            self.fault = Some(fault);
        }
        self.octets = Vec::new();
        self.share.trim(0);
    }
}

/// Content in lines, and as it came where that was not in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Both {
    /// For all who need lines.
    pub lines: Content,
    /// For next hops that take it.
    pub binary: Option<Bytes>,
}

/// Puts binary content into lines too: parts that are not in lines are encoded (RFC 3030 §3 has gateways do it), and then it is looked at like any
/// other.
///
/// # Errors
/// It cannot be done, or is too large then.
pub fn to_lines(content: Content, share: Share, limits: &ContentLimits) -> Result<(Both, Share), ContentFault> {
    let binary = content.octets;
    let octets = Wire::Lines.fit(binary.clone());
    if octets.len() as u64 > limits.size_octets {
        return Err(ContentFault::TooLarge { limit_octets: limits.size_octets });
    }
    let mut check = Decoder::counted(*limits, None, share);
    check.push(&octets);
    let (lines, mut share) = check.finish().map_err(|fault| if fault.is_temporary() { fault } else { ContentFault::NotEncodable })?;
    let binary = (lines.octets != binary).then_some(binary);
    let both = lines.octets.len().saturating_add(binary.as_ref().map_or(0, Bytes::len));
    if !share.cover(both as u64) {
        return Err(ContentFault::NoMemory);
    }
    Ok((Both { lines, binary }, share))
}

#[cfg(test)]
mod tests;
