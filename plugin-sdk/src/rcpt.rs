//! The stage `rcpt`: a word on each forward-path, while the client is still talking.
//!
//! ```
//! use tubepost_plugin_sdk::{Answer, Failure, Plugin, Transaction, ensure, register};
//!
//! /// Takes mail for one domain only.
//! struct Inside;
//!
//! impl Plugin for Inside {
//!     type Config = ();
//!
//!     fn rcpt(forward_path: &str, _: &Transaction, _: &()) -> Result<Answer, Failure> {
//!         ensure!(forward_path.ends_with("@example.com"), "mail leaves this house through another door");
//!         Ok(Answer::Accept)
//!     }
//! }
//!
//! register!(Inside: rcpt);
//!
//! let transaction = Transaction::default();
//! assert_eq!(Inside::rcpt("ann@example.com", &transaction, &()), Ok(Answer::Accept));
//! assert!(matches!(Inside::rcpt("ann@example.net", &transaction, &()), Ok(Answer::Reject(_))));
//! ```

use crate::{Reply, Timestamp, bindings::rcpt::exports::tubepost::mail::rcpt as wire};

/// What is known when a forward-path is looked at.
///
/// `Transaction::default()` is one of nobody at 1970, for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The reverse-path; "" is the null sender.
    pub reverse_path: String,
    /// Forward-paths that were accepted before this one.
    pub accepted: u32,
    /// "login", "protocol", "peer", "helo" and what else [`Message::context`](crate::Message::context) has.
    pub context: Vec<(String, String)>,
    /// When this is.
    pub now: Timestamp,
}

impl Transaction {
    /// One thing of the context.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::Transaction;
    /// let transaction = Transaction { context: vec![("login".into(), "shop".into())], ..Transaction::default() };
    /// assert_eq!(transaction.context_value("login"), Some("shop"));
    /// ```
    pub fn context_value(&self, name: &str) -> Option<&str> {
        self.context.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl From<wire::Transaction> for Transaction {
    fn from(wire: wire::Transaction) -> Self {
        Self { reverse_path: wire.reverse_path, accepted: wire.accepted, context: wire.context, now: Timestamp::from_millis(wire.now_ms) }
    }
}

/// What is said about a forward-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Goes on to the next plugin that has a word on forward-paths.
    Accept,
    /// Refuses this forward-path for good; the transaction goes on with the others.
    Reject(Reply),
    /// Refuses it for now.
    Defer(Reply),
    /// Takes this address in its place; plugins behind see that one.
    Rewrite(String),
}

impl Answer {
    /// Rejects with 550 5.7.1, the code for "not by our policy".
    ///
    /// ```
    /// # use tubepost_plugin_sdk::{Answer, Reply};
    /// assert_eq!(Answer::reject("no"), Answer::Reject(Reply::new(550, "5.7.1", "no")));
    /// ```
    pub fn reject(text: impl Into<String>) -> Self {
        Self::Reject(Reply::new(550, "5.7.1", text))
    }

    /// Defers with 451 4.7.1, the code for "not now by our policy".
    pub fn defer(text: impl Into<String>) -> Self {
        Self::Defer(Reply::new(451, "4.7.1", text))
    }

    /// Takes another address, which must be valid.
    pub fn rewrite(address: impl Into<String>) -> Self {
        Self::Rewrite(address.into())
    }
}

impl From<Answer> for wire::Answer {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Accept => Self::Accept,
            Answer::Reject(reply) => Self::Reject(reply.into()),
            Answer::Defer(reply) => Self::Defer(reply.into()),
            Answer::Rewrite(address) => Self::Rewrite(address),
        }
    }
}
