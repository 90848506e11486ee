//! `[search]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Search;
use super::document::{Section, Value};
use super::unit::ByteSize;

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
