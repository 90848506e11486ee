//! How to speak to a server: names, TLS, credentials, patience.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How to speak to a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// What we call ourselves in EHLO.
    pub name: Arc<str>,
    /// Whether to ask for TLS.
    pub security: Security,
    /// The connection is in TLS from its first octet.
    pub implicit_tls: bool,
    /// They go over TLS, or in the clear where `security` is [`Security::None`].
    pub credentials: Option<Credentials>,
    /// How long a reply may take; the end of the content may take twice as long.
    pub command_time: Duration,
}

/// What to do about STARTTLS (RFC 3207).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// No mail without it.
    Required,
    /// Where it is offered.
    Opportunistic,
    /// Never.
    None,
}

/// Who we are to the server (RFC 4954).
#[derive(Clone)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Shows nothing: services that give tokens take them as user names too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
