//! `[search]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Section, Value};
use super::unit::ByteSize;

/// `[search]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// `text`: octets of a message's text that can be found. Default 8 KiB.
    pub text: ByteSize,
    /// `gather`: how long events gather before they are indexed: what is sent and delivered within it is written once. Default 500 ms.
    pub gather: Duration,
    /// `rest`: how long indexing rests after work, in times of the work. Default 3: it takes a quarter of one processor at most.
    /// Its threads give way to those that serve, besides.
    pub rest: u32,
    /// `memory`: octets in which new entries gather before they are written. Default 15 MB.
    pub memory: ByteSize,
}

/// Octets of text of one message.
const TEXT: RangeInclusive<ByteSize> = ByteSize(1)..=ByteSize::mib(1);
/// Octets that the writer of the index takes: the engine wants no less, and more than this makes it no faster.
const MEMORY: RangeInclusive<ByteSize> = ByteSize(15_000_000)..=ByteSize::gib(1);

pub(super) fn read(section: &Section<'_>) -> Search {
    Search {
        text: section.or("text", ByteSize(8 << 10), |value| value.size_within(&TEXT)),
        gather: section.or("gather", Duration::from_millis(500), Value::duration),
        rest: section.or("rest", 3, |value| value.number(0..=1_000)),
        memory: section.or("memory", *MEMORY.start(), |value| value.size_within(&MEMORY)),
    }
}
