//! `[http]`.

use std::time::Duration;

use super::JSON_VALUES;
use super::document::{Section, Value};
use super::unit::ByteSize;

/// `[http]`: limits of every HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `connections`: default 1000.
    pub connections: u32,
    /// `connections_per_address`: default 100.
    pub connections_per_address: u32,
    /// `header_time`: how long a request's header may take, and how long a connection may be idle. Default 30 s.
    pub header_time: Duration,
    /// `request_time`: the longest request. Default 60 s.
    pub request_time: Duration,
    /// `body_size`: of a request. Default: 1.5 times `smtp.message_size`, as base64 swells.
    pub body_size: ByteSize,
    /// `json_values`: values that a JSON body may have, elements and members included. Default 100,000.
    pub json_values: u32,
}

/// Reads the section. `message_size` is that of `[smtp]`.
pub(super) fn read(section: &Section<'_>, message_size: ByteSize) -> Http {
    Http {
        connections: section.or("connections", 1000, Value::count),
        connections_per_address: section.or("connections_per_address", 100, Value::count),
        header_time: section.or("header_time", Duration::from_secs(30), Value::duration),
        request_time: section.or("request_time", Duration::from_mins(1), Value::duration),
        body_size: section.or("body_size", ByteSize(message_size.0.saturating_add(message_size.0 / 2)), Value::size),
        json_values: section.or("json_values", JSON_VALUES, Value::count),
    }
}
