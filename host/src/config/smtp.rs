//! `[smtp]`.

use std::time::Duration;

use super::document::{Section, Value};
use super::unit::ByteSize;

/// `[smtp]`: limits of every SMTP listener.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// `message_size`: default 25 MiB; shown in EHLO.
    pub message_size: ByteSize,
    /// `header_size`: of what is handed in; default 256 KiB.
    pub header_size: ByteSize,
    /// `line_size`: octets of a line of a message. RFC 5322 §2.1.1 has 998, but HTML in one line is common, and refusing it would help nobody: delivery
    /// encodes it again. Default 64 KiB.
    pub line_size: ByteSize,
    /// `memory`: for content that is on its way in, of all sessions together; what is above it hears 452. Default 256 MiB.
    pub memory: ByteSize,
    /// `recipients`: in one message; default 1000.
    pub recipients: u32,
    /// `connections`: on all SMTP listeners; more hear 421. Default 1000.
    pub connections: u32,
    /// `connections_per_address`: default 100.
    pub connections_per_address: u32,
    /// `command_time`: silence after which a session is closed. Default 5 min.
    pub command_time: Duration,
    /// `session_time`: the longest session. Default 1 h.
    pub session_time: Duration,
    /// `errors`: wrong commands after which a session is closed. Default 20.
    pub errors: u32,
    /// `junk_commands`: commands that bring no message any nearer, before each more counts as an error. Default 100.
    pub junk_commands: u32,
    /// `auth_failures`: wrong passwords after which a session is closed. Default 3.
    pub auth_failures: u32,
    /// `messages_per_session`: default 10,000.
    pub messages_per_session: u32,
}

/// Octets of a line that every message may have (RFC 5322 §2.1.1).
const LEAST_LINE: ByteSize = ByteSize(998);

/// What is wrong with memory that holds no message.
pub(super) const TOO_LITTLE_MEMORY: &str = "memory is less than message_size: no message of that size could come in";

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
        section.report(TOO_LITTLE_MEMORY);
    }
    smtp
}
