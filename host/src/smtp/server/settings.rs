//! What holds for all sessions.

use std::time::Duration;

use super::Allowance;
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
    /// Memory for the content of all sessions together.
    pub memory: ContentMemory,
    /// Whom the sessions are with.
    pub role: Role,
}

/// Whom sessions are with, and so which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Users who hand over their mail (RFC 6409): nothing without a login.
    Submission,
    /// Other mail servers that bring mail for our own domains (RFC 5321): nobody logs in, somebody has a word on each recipient, and no reports are
    /// promised, as we send none to strangers.
    Mx(Allowance),
}

impl Role {
    /// Returns what a client may that has not logged in.
    pub(super) const fn guest(self) -> Option<Allowance> {
        match self {
            Self::Submission => None,
            Self::Mx(allowance) => Some(allowance),
        }
    }
}
