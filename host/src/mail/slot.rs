//! Slots: values that differ by recipient, written in a message as tokens and filled in at delivery without running a plugin.
//!
//! A token is 32 ASCII letters and digits: `tp`, 22 hexadecimal digits of a nonce that is drawn for each message, 8 hexadecimal digits
//! of the slot's number. The nonce cannot be guessed, so that content cannot forge a token.

use serde::{Deserialize, Serialize};

/// Octets in a token.
pub const TOKEN_LENGTH: usize = 32;

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// The recipient's address.
    Address,
    /// A variable of the recipient's data; `a.b` looks inside objects.
    Variable(String),
    /// A signed link of this recipient.
    Link(Link),
}

/// A link on the operator's public address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Link {
    /// Leads to `url` and records a click.
    Click {
        /// Absolute http or https URL.
        url: String,
        /// Which link of the message it is, from 0.
        position: u32,
    },
    /// Records an opening; leads to an image, or is a transparent pixel.
    Open(Option<String>),
    /// Unsubscribes the recipient.
    Unsubscribe,
}
