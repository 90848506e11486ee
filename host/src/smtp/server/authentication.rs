//! The exchanges of `AUTH` (RFC 4954): PLAIN (RFC 4616) and LOGIN.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Credentials, answer};
use crate::smtp::reply::Reply;

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
}

impl fmt::Debug for Exchange {
    /// Shows no user name: where a token is the login, it is the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::LoginUsername => "LoginUsername",
            Self::LoginPassword { .. } => "LoginPassword",
        })
    }
}

/// What comes next in an exchange.
pub(super) enum Turn {
    /// A prompt and another line.
    Prompt(Exchange, Reply),
    /// A check of these.
    Check(Credentials),
    /// Nothing: the exchange is over.
    Over(Reply),
}

impl Exchange {
    /// Starts an exchange with what the AUTH command says.
    pub(super) fn start(mechanism: &str, initial_response: Option<&str>) -> Turn {
        let (exchange, prompt) = if mechanism.eq_ignore_ascii_case("PLAIN") {
            (Self::Plain, answer::CHALLENGE)
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            (Self::LoginUsername, answer::USERNAME)
        } else {
            return Turn::Over(answer::UNKNOWN_MECHANISM);
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
            Self::LoginPassword { username } => Turn::Check(Credentials { username, password: response }),
            Self::Plain => {
                let mut parts = response.split('\0');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    // Nobody acts for somebody else here: an authorization identity can only repeat the user name.
                    (Some(authorization), Some(username), Some(password), None)
                        if authorization.is_empty() || authorization == username =>
                    {
                        Turn::Check(Credentials { username: username.to_owned(), password: password.to_owned() })
                    }
                    (Some(_), Some(_), Some(_), None) => Turn::Over(answer::AUTHENTICATION_FAILED),
                    _ => Turn::Over(answer::AUTHENTICATION_MALFORMED),
                }
            }
        }
    }
}
