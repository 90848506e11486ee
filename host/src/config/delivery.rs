//! `[delivery]`.

use std::time::Duration;

use super::document::{Section, Value};
use super::unit::ByteSize;
use super::{Delivery, Dns};

/// `rendered_size` is the default of the key of this name.
pub(super) fn read(section: &Section<'_>, rendered_size: ByteSize) -> Delivery {
    let connections = section.or("connections", 500, Value::count);
    let delivery = Delivery {
        connections,
        failing_connections: section.or("failing_connections", (connections / 2).max(1), Value::count),
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
        dead_time: section.or("dead_time", Duration::from_secs(30), Value::duration_from_zero),
        host_tries: section.or("host_tries", 8, Value::count),
        outcome_queue: section.or("outcome_queue", 1024, Value::count),
        returned_size: section.or("returned_size", ByteSize(64 << 10), Value::size),
        copy_log: section.or("copy_log", ByteSize(16 << 10), Value::size),
        dns: Dns {
            cache: section.or("dns_cache", 16_384, Value::count),
            time: section.or("dns_time", Duration::from_secs(5), Value::duration),
            tries: section.or("dns_tries", 3, Value::count),
            negative_time: section.or("dns_negative_time", Duration::from_mins(5), Value::duration_from_zero),
        },
        rendered_size: section.or("rendered_size", rendered_size, Value::size),
    };
    if delivery.retry_first > delivery.retry_longest {
        section.report("retry_first is longer than retry_longest");
    }
    if delivery.give_up <= delivery.retry_first {
        section.report("give_up is not longer than retry_first: there would be no second attempt");
    }
    if delivery.lease <= delivery.command_time {
        section.report("lease is not longer than command_time: a copy could be taken again while a server is still to answer");
    }
    delivery
}
