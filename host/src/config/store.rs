//! `[store]`.

use std::time::Duration;

use super::document::{Section, Value};
use super::unit::ByteSize;

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `segment_size`: octets of a file of the spool, from 64 KiB to 1 GiB. Default 64 MiB.
    pub segment_size: ByteSize,
    /// `retention`: how long messages that are done with, and events, can be looked at. Default 7 days.
    pub retention: Duration,
    /// `archive_size`: octets on disk above which the oldest messages that are done with go before their time. Default 10 GiB.
    pub archive_size: ByteSize,
    /// `cache`: octets of fresh messages kept in memory, so that delivery need not read them back. Default 64 MiB.
    pub cache: ByteSize,
    /// `commit_queue`: submissions that may wait for one sync; more wait outside. Default 4096.
    pub commit_queue: u32,
    /// `reserve`: octets of the disk that are left free: below, mail is answered 452. Default 64 MiB.
    pub reserve: ByteSize,
    /// `table_size`: octets of memory for the key-value table: suppression lists, tables of plugins, and what else is looked up. From 64 MiB on. Default
    /// 256 MiB.
    pub table_size: ByteSize,
}

/// Octets of the table that there are at least: a quarter of them is kept for what is not of plugins.
const TABLE_SIZES: std::ops::RangeInclusive<ByteSize> = ByteSize::mib(64)..=ByteSize(u64::MAX);

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
        table_size: section.or("table_size", ByteSize::mib(256), |value| value.size_within(&TABLE_SIZES)),
    }
}
