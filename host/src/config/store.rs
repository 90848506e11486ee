//! `[store]`.

use std::time::Duration;

use super::Store;
use super::document::{Section, Value};
use super::unit::ByteSize;

/// Least and most octets of a segment: places in it have 32 bits, and each one costs a start a little.
const SEGMENT_SIZES: std::ops::RangeInclusive<ByteSize> = ByteSize(64 << 10)..=ByteSize::gib(1);

pub(super) fn read(section: &Section<'_>) -> Store {
    section.or("kind", (), |value| match value.text()? {
        "embedded" => Ok(()),
        other => Err(format!("store \"{other}\" is not available in this version, only \"embedded\" is")),
    });
    Store {
        segment_size: section.or("segment_size", ByteSize::mib(64), |value| value.size_within(&SEGMENT_SIZES)),
        retention: section.or("retention", Duration::from_hours(7 * 24), Value::duration),
        archive_size: section.or("archive_size", ByteSize::gib(10), Value::size),
        cache: section.or("cache", ByteSize::mib(64), Value::size),
        commit_queue: section.or("commit_queue", 4096, Value::count),
        reserve: section.or("reserve", ByteSize::mib(64), Value::size),
    }
}
