//! `[authentication]`.

use std::time::Duration;

use super::Authentication;
use super::document::{Section, Value};

pub(super) fn read(section: &Section<'_>) -> Authentication {
    Authentication {
        failures: section.or("failures", 20, Value::count),
        period: section.or("period", Duration::from_mins(10), Value::duration),
        addresses: section.or("addresses", 10_000, Value::count),
        waiting: section.or("waiting", 256, Value::count),
        remembered: section.or("remembered", 1024, Value::count),
    }
}
