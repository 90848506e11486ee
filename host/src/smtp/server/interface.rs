//! What a session and the owner of its socket tell each other.

use std::fmt;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{Envelope, ReversePath};
use crate::mail::refusal::Refusal;
use crate::smtp::data::Content;

/// What a session stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whether nothing but TLS will do for passwords and mail.
    pub tls_required: bool,
    /// TLS.
    pub tls: Tls,
    /// When it began.
    pub since: Timestamp,
}

/// TLS of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Spoken already.
    Active,
    /// `STARTTLS` is offered.
    Offered,
    /// There is none.
    Unavailable,
}

/// What the session needs from outside.
#[derive(Debug)]
pub enum Action {
    /// The input is used up, or holds no complete line: send the replies and read on.
    Read,
    /// Send the replies, then go on with the input that is left.
    Send,
    /// Send the replies, then shake hands, then call [`Session::tls_started`](super::Session::tls_started). Input that is left was discarded.
    StartTls,
    /// Find the verifier of the user with this name, or one that looks like it, and call [`Session::verifier_found`](super::Session::verifier_found).
    FindVerifier(String),
    /// Check a login and call [`Session::login_checked`](super::Session::login_checked).
    Authenticate(Proof),
    /// Check whether the login may send with this reverse-path, and call [`Session::sender_checked`](super::Session::sender_checked).
    CheckSender(ReversePath),
    /// Ask whether a forward-path may stay, and call [`Session::recipient_checked`](super::Session::recipient_checked).
    CheckRecipient(Box<Candidate>),
    /// Take a message and call [`Session::submitted`](super::Session::submitted).
    Submit(Box<Message>),
    /// Send the replies and close the connection.
    Close,
}

/// What came of input.
#[derive(Debug)]
pub struct Step {
    /// Octets of the input that were used; the rest is to be pushed again, before anything that is read later.
    pub used: usize,
    /// What to do now.
    pub action: Action,
}

/// User name and secret of a login.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The secret.
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Shows nothing: where a token is the login, the user name is the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// How a client shows that he is who he says.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a password.
    Password(Credentials),
    /// By a token; the user name is "" where none was given.
    Token {
        /// The user name.
        username: String,
        /// The token.
        token: String,
    },
    /// By an exchange of SCRAM that is over.
    Scram {
        /// The user name.
        username: String,
        /// What the proof fits; `None` where it fits nothing.
        stored_key: Option<[u8; 32]>,
    },
}

impl fmt::Debug for Proof {
    /// Shows nothing, as [`Credentials`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Token { .. } => "Token",
            Self::Scram { .. } => "Scram",
        })
    }
}

/// What a login is allowed in one message, as far as the protocol must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Octets; that of [`Settings`](super::Settings) if it is lower.
    pub message_octets: u64,
    /// Recipients; that of [`Settings`](super::Settings) if it is lower.
    pub recipients: u32,
    /// Whether somebody has a word on each of them.
    pub asks: bool,
    /// The highest priority that a message may ask for (RFC 6710).
    pub highest_priority: i8,
}

/// A forward-path that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Of the transaction.
    pub reverse_path: ReversePath,
    /// Who it would be.
    pub address: EmailAddress,
    /// Forward-paths that were taken before it.
    pub accepted: u32,
}

/// Why a login is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefused {
    /// User name or password are wrong.
    Wrong,
    /// Not now.
    Busy,
    /// Not from here: too many passwords that came from there were wrong.
    TooManyFailures,
}

/// Why a reverse-path is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderRefused {
    /// The login may not use it, or not now.
    Refused(Refusal),
    /// There is no such login any more: the session is closed.
    LoginRevoked,
}

/// A message that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Envelope, with at least one recipient.
    pub envelope: Envelope,
    /// Content, in lines.
    pub content: Content,
    /// As it came, where that was not in lines (`BODY=BINARYMIME`).
    pub binary: Option<Bytes>,
}
