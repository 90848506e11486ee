//! Why a session ends before its time.

use super::reply::{Reply, ReplyError};

/// Why the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// 421: the server goes away.
    #[error("{0}")]
    Unavailable(Reply),
    /// The server does not greet with 220.
    #[error("{0}")]
    Greeting(Reply),
    /// Neither EHLO nor HELO is taken.
    #[error("{0}")]
    Hello(Reply),
    /// TLS is required and not offered.
    #[error("the server does not offer STARTTLS, which this route requires")]
    TlsMissing,
    /// TLS is required and refused.
    #[error("{0}")]
    TlsRefused(Reply),
    /// There are octets between the answer to STARTTLS and the handshake: somebody may have put them there.
    #[error("the server sent more before the TLS handshake")]
    TlsInjection,
    /// Credentials are given and the server takes none that we know.
    #[error("the server does not offer AUTH PLAIN or LOGIN")]
    AuthMissing,
    /// The password would go over an open line.
    #[error("the password is not sent without TLS")]
    AuthInClear,
    /// Wrong credentials.
    #[error("{0}")]
    AuthRefused(Reply),
    /// What arrives is not SMTP.
    #[error("{0}")]
    Garbage(#[from] ReplyError),
    /// A reply that does not fit the command.
    #[error("unexpected reply: {0}")]
    Unexpected(Reply),
}

impl ClientError {
    /// Returns the reply that it comes from.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Unavailable(reply)
            | Self::Greeting(reply)
            | Self::Hello(reply)
            | Self::TlsRefused(reply)
            | Self::AuthRefused(reply)
            | Self::Unexpected(reply) => Some(reply),
            Self::TlsMissing | Self::TlsInjection | Self::AuthMissing | Self::AuthInClear | Self::Garbage(_) => None,
        }
    }
}
