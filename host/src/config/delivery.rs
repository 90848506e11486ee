//! `[delivery]`.

use std::time::Duration;

use super::Delivery;
use super::document::{Section, Value};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn read(section: &Section<'_>) -> Delivery {
    let delivery = Delivery {
        connections: section.or("connections", 500, Value::count),
        connections_per_destination: section.or("connections_per_destination", 20, Value::count),
        messages_per_connection: section.or("messages_per_connection", 1000, Value::count),
        recipients_per_transaction: section.or("recipients_per_transaction", 50, Value::count),
        idle_time: section.or("idle_time", Duration::from_secs(5), Value::duration_from_zero),
        connect_time: section.or("connect_time", Duration::from_secs(30), Value::duration),
        command_time: section.or("command_time", 5 * MINUTE, Value::duration),
        retry_first: section.or("retry_first", 5 * MINUTE, Value::duration),
        retry_longest: section.or("retry_longest", 4 * HOUR, Value::duration),
        give_up: section.or("give_up", 5 * DAY, Value::duration),
        lease: section.or("lease", 15 * MINUTE, Value::duration),
    };
    if delivery.retry_first > delivery.retry_longest {
        section.report("retry_first is longer than retry_longest");
    }
    delivery
}
