//! `[http]`.

use std::time::Duration;

use super::document::{Section, Value};
use super::unit::ByteSize;
use super::{Http, JSON_VALUES};

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
