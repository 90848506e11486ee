//! What holds for all sessions.

use std::time::Duration;

use crate::mail::domain::Domain;
use crate::smtp::memory::ContentMemory;

/// What holds for all sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How we call ourselves.
    pub hostname: Domain,
    /// Octets that a message may have.
    pub message_octets: u64,
    /// Octets that a line of a message may have, without CRLF.
    pub line_octets: usize,
    /// Recipients that a message may have.
    pub recipients: u32,
    /// How long a client may say nothing, and how long it may take to log in.
    pub command_time: Duration,
    /// How long a session may last.
    pub session_time: Duration,
    /// Errors after which a session is closed; a message that is taken forgives those before it.
    pub errors: u32,
    /// Commands that bring no message any nearer (NOOP, RSET, EHLO and the like) before each of them counts as an error; a message that is taken forgives
    /// those before it.
    pub junk_commands: u32,
    /// Wrong passwords after which a session is closed.
    pub auth_failures: u32,
    /// Messages that a session may have.
    pub messages: u32,
    /// How long a message may be held (RFC 4865); where that is no time at all, it is not offered.
    pub future_release: Duration,
    /// Memory for the content of all sessions together.
    pub memory: ContentMemory,
}
