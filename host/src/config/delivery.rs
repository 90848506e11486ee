//! `[delivery]`.

use std::time::Duration;

use super::Delivery;
use super::document::{Section, Value};
use super::unit::ByteSize;

/// `rendered_size` is the default of the key of this name.
pub(super) fn read(section: &Section<'_>, rendered_size: ByteSize) -> Delivery {
    let delivery = Delivery {
        connections: section.or("connections", 500, Value::count),
        connections_per_destination: section.or("connections_per_destination", 20, Value::count),
        messages_per_connection: section.or("messages_per_connection", 1000, Value::count),
        recipients_per_transaction: section.or("recipients_per_transaction", 50, Value::count),
        idle_time: section.or("idle_time", Duration::from_secs(5), Value::duration_from_zero),
        connect_time: section.or("connect_time", Duration::from_secs(30), Value::duration),
        command_time: section.or("command_time", Duration::from_mins(5), Value::duration),
        retry_first: section.or("retry_first", Duration::from_mins(5), Value::duration),
        retry_longest: section.or("retry_longest", Duration::from_hours(4), Value::duration),
        give_up: section.or("give_up", Duration::from_hours(5 * 24), Value::duration),
        lease: section.or("lease", Duration::from_mins(15), Value::duration),
        rendered_size: section.or("rendered_size", rendered_size, Value::size),
    };
    if delivery.retry_first > delivery.retry_longest {
        section.report("retry_first is longer than retry_longest");
    }
    delivery
}
