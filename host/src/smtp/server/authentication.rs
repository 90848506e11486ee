//! The exchanges of `AUTH` (RFC 4954): PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 with and without channel binding (RFC 7677, RFC 9266), OAUTHBEARER (RFC 7628) and XOAUTH2.

mod bearer;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Allowance, Credentials, Proof, answer};
use crate::smtp::reply::{PROMPT, Reply};
use crate::smtp::scram::{Binding, Challenge, Channel, ClientFirst, ScramError};
pub(super) use bearer::Bearer;

/// An exchange that waits for the client's next line.
pub(super) enum Exchange {
    /// For user name and password in one.
    Plain,
    /// For the user name.
    LoginUsername,
    /// For the password.
    LoginPassword {
        /// What was said before.
        username: String,
    },
    /// For a token.
    Bearer(Bearer),
    /// For the end of an exchange whose token was refused.
    BearerRefused,
    /// For the first message of SCRAM.
    ScramFirst(Binding),
    /// For its proof.
    ScramProof(Box<Challenge>),
    /// For the client's consent to our own proof: he is let in already.
    ScramProven(Allowance),
}

impl fmt::Debug for Exchange {
    /// Shows no user name: where a token is the login, it is the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::LoginUsername => "LoginUsername",
            Self::LoginPassword { .. } => "LoginPassword",
            Self::Bearer(_) => "Bearer",
            Self::BearerRefused => "BearerRefused",
            Self::ScramFirst(_) => "ScramFirst",
            Self::ScramProof(_) => "ScramProof",
            Self::ScramProven(_) => "ScramProven",
        })
    }
}

/// What comes next in an exchange.
pub(super) enum Turn {
    /// A prompt and another line.
    Prompt(Exchange, Reply),
    /// The verifier of the user who is named.
    FindVerifier(Box<ClientFirst>),
    /// A check of this.
    Check(Proof),
    /// A check of this; where it holds, this proof of our own is for the client, and for nobody else.
    Prove(Proof, String),
    /// Nothing: the client is let in, and believes that it is we.
    LoggedIn(Allowance),
    /// Nothing: the exchange is over.
    Over(Reply),
    /// Nothing: the secret was wrong, and that was known before.
    Refused,
}

impl Exchange {
    /// Starts an exchange with what the AUTH command says.
    /// `channel` is what SCRAM-SHA-256-PLUS binds to, where that is offered.
    pub(super) fn start(mechanism: &str, initial_response: Option<&str>, channel: Option<&Channel>) -> Turn {
        let (exchange, prompt) = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => (Self::Plain, answer::CHALLENGE),
            "LOGIN" => (Self::LoginUsername, answer::USERNAME),
            "SCRAM-SHA-256" => {
                let binding = if channel.is_some() { Binding::Unused } else { Binding::Impossible };
                (Self::ScramFirst(binding), answer::CHALLENGE)
            }
            "SCRAM-SHA-256-PLUS" => match channel {
                Some(channel) => (Self::ScramFirst(Binding::To(channel.clone())), answer::CHALLENGE),
                None => return Turn::Over(answer::UNKNOWN_MECHANISM),
            },
            "OAUTHBEARER" => (Self::Bearer(Bearer::OAuthBearer), answer::CHALLENGE),
            "XOAUTH2" => (Self::Bearer(Bearer::XOAuth2), answer::CHALLENGE),
            _ => return Turn::Over(answer::UNKNOWN_MECHANISM),
        };
        match initial_response {
            None => Turn::Prompt(exchange, prompt),
            // RFC 4954 §4: a response of no octets, which nothing at all could not tell from none.
            Some("=") => exchange.respond(Vec::new()),
            Some(response) => exchange.next(response.as_bytes()),
        }
    }

    /// Goes on with a line of the client.
    pub(super) fn next(self, line: &[u8]) -> Turn {
        // Whatever a client says whose token was refused, with that it has heard why.
        if matches!(self, Self::BearerRefused) {
            return Turn::Refused;
        }
        if line == b"*" {
            return Turn::Over(answer::AUTHENTICATION_CANCELLED);
        }
        match STANDARD.decode(line) {
            Ok(response) => self.respond(response),
            Err(_) => Turn::Over(answer::AUTHENTICATION_MALFORMED),
        }
    }

    fn respond(self, response: Vec<u8>) -> Turn {
        let Ok(response) = String::from_utf8(response) else { return Turn::Over(answer::AUTHENTICATION_MALFORMED) };
        match self {
            Self::LoginUsername => Turn::Prompt(Self::LoginPassword { username: response }, answer::PASSWORD),
            Self::LoginPassword { username } => Turn::Check(Proof::Password(Credentials { username, password: response })),
            Self::Plain => plain(&response),
            Self::Bearer(bearer) => match bearer.parse(&response) {
                Some((username, token)) => Turn::Check(Proof::Token { username, token }),
                None => Turn::Over(answer::AUTHENTICATION_MALFORMED),
            },
            Self::BearerRefused => Turn::Refused,
            Self::ScramFirst(binding) => match ClientFirst::parse(&response, &binding) {
                Ok(first) => Turn::FindVerifier(Box::new(first)),
                Err(ScramError::Malformed) => Turn::Over(answer::AUTHENTICATION_MALFORMED),
                Err(ScramError::Downgraded) => Turn::Over(answer::AUTHENTICATION_DOWNGRADED),
            },
            Self::ScramProof(challenge) => match challenge.check(&response) {
                // Whether he may come in from there is found out first: our own proof would tell him that his is right.
                Ok(Some(proven)) => {
                    let username = challenge.username().to_owned();
                    Turn::Prove(Proof::Scram { username, stored_key: Some(proven.stored_key) }, proven.server_final)
                }
                Ok(None) => Turn::Check(Proof::Scram { username: challenge.username().to_owned(), stored_key: None }),
                Err(_) => Turn::Over(answer::AUTHENTICATION_MALFORMED),
            },
            Self::ScramProven(allowance) if response.is_empty() => Turn::LoggedIn(allowance),
            Self::ScramProven(_) => Turn::Over(answer::AUTHENTICATION_MALFORMED),
        }
    }
}

fn plain(response: &str) -> Turn {
    let mut parts = response.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        // Nobody acts for somebody else here: an authorization identity can only repeat the user name.
        (Some(authorization), Some(username), Some(password), None) if authorization.is_empty() || authorization == username => {
            Turn::Check(Proof::Password(Credentials { username: username.to_owned(), password: password.to_owned() }))
        }
        (Some(_), Some(_), Some(_), None) => Turn::Over(answer::AUTHENTICATION_FAILED),
        _ => Turn::Over(answer::AUTHENTICATION_MALFORMED),
    }
}

/// A message of ours, for the client to answer.
pub(super) fn prompt(message: &str) -> Reply {
    Reply::bare(PROMPT, STANDARD.encode(message).into())
}

/// What a client is told whose token was refused.
pub(super) fn refused_token() -> (Exchange, Reply) {
    (Exchange::BearerRefused, prompt(bearer::REFUSED))
}
