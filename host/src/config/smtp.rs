//! `[smtp]`.

use std::time::Duration;

use super::Smtp;
use super::document::{Section, Value};
use super::unit::ByteSize;

/// Octets of a line that every message may have (RFC 5322 §2.1.1).
const LEAST_LINE: ByteSize = ByteSize(998);

pub(super) fn read(section: &Section<'_>) -> Smtp {
    let smtp = Smtp {
        message_size: section.or("message_size", ByteSize::mib(25), Value::size),
        header_size: section.or("header_size", ByteSize::kib(256), Value::size),
        line_size: section.or("line_size", ByteSize::kib(64), Value::size),
        memory: section.or("memory", ByteSize::mib(256), Value::size),
        recipients: section.or("recipients", 1000, Value::count),
        connections: section.or("connections", 1000, Value::count),
        connections_per_address: section.or("connections_per_address", 100, Value::count),
        command_time: section.or("command_time", Duration::from_mins(5), Value::duration),
        session_time: section.or("session_time", Duration::from_hours(1), Value::duration),
        errors: section.or("errors", 20, Value::count),
        junk_commands: section.or("junk_commands", 100, Value::count),
        auth_failures: section.or("auth_failures", 3, Value::count),
        messages_per_session: section.or("messages_per_session", 10_000, Value::count),
    };
    if smtp.line_size < LEAST_LINE {
        section.report("line_size is less than the 998 octets that every message may have");
    }
    if smtp.memory < smtp.message_size {
        section.report("memory is less than message_size: no message of that size could come in");
    }
    smtp
}
