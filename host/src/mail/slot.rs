//! Slots: values that differ by recipient, written in a message as tokens and filled in at delivery without running a plugin.
//!
//! A token is 32 ASCII letters and digits: `tp`, 22 hexadecimal digits of a nonce that is drawn for each message, 8 hexadecimal digits
//! of the slot's number. The nonce cannot be guessed, so that content cannot forge a token.

use std::ops::Range;

use memchr::memmem;
use serde::{Deserialize, Serialize};

/// Octets in a token.
pub const TOKEN_LENGTH: usize = 32;

/// What all tokens of a message begin with: `tp` and the nonce.
const PREFIX_LENGTH: usize = 24;

/// What makes the tokens of a message unlike those of all others.
pub type Nonce = [u8; 11];

/// Writes and finds the tokens of one message.
#[derive(Clone, Debug)]
pub struct Tokens {
    finder: memmem::Finder<'static>,
}

impl Tokens {
    /// The tokens with this nonce.
    pub fn new(nonce: &Nonce) -> Self {
        let mut prefix = String::with_capacity(PREFIX_LENGTH);
        prefix.push_str("tp");
        for octet in nonce {
            push_hex(u32::from(*octet), 2, &mut prefix);
        }
        Self { finder: memmem::Finder::new(prefix.as_bytes()).into_owned() }
    }

    /// Returns the token of slot number `index`: letters (lower case) and digits, so that it goes through HTML, CSS, URLs and header
    /// fields unchanged.
    pub fn make(&self, index: u32) -> String {
        let mut token = String::with_capacity(TOKEN_LENGTH);
        token.extend(self.finder.needle().iter().map(|octet| char::from(*octet)));
        push_hex(index, 8, &mut token);
        token
    }

    /// Returns where tokens stand in `octets`, with the numbers of their slots, in order.
    pub fn find<'a>(&'a self, octets: &'a [u8]) -> impl Iterator<Item = (Range<usize>, u32)> + 'a {
        self.finder.find_iter(octets).filter_map(|start| {
            let digits = octets.get(start + PREFIX_LENGTH..start + TOKEN_LENGTH)?;
            let index = digits.iter().try_fold(0_u32, |index, digit| match digit {
                b'0'..=b'9' => Some(index << 4 | u32::from(digit - b'0')),
                b'a'..=b'f' => Some(index << 4 | u32::from(digit - b'a' + 10)),
                _ => None,
            })?;
            Some((start..start + TOKEN_LENGTH, index))
        })
    }

    /// Whether any token stands in `octets`.
    pub fn are_in(&self, octets: &[u8]) -> bool {
        self.find(octets).next().is_some()
    }
}

fn push_hex(value: u32, digits: u32, text: &mut String) {
    for place in (0..digits).rev() {
        text.push(char::from_digit(value >> (4 * place) & 15, 16).unwrap_or('0'));
    }
}

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

impl Slot {
    /// Returns the texts that it carries: a variable's name, a URL, claims.
    pub fn texts(&self) -> [&str; 3] {
        match self {
            Self::Address | Self::Link(Link::Unsubscribe | Link::Open(None)) => [""; 3],
            Self::Variable(text) | Self::Link(Link::Click { url: text, .. } | Link::Open(Some(text))) => [text, "", ""],
            Self::Link(Link::Own { plugin, claims, url }) => [plugin, claims, url.as_deref().unwrap_or_default()],
        }
    }

    /// Returns how many octets those have.
    pub fn text_octets(&self) -> usize {
        self.texts().iter().map(|text| text.len()).sum()
    }
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
    /// Comes back to the plugin that made it.
    Own {
        /// Its name in the configuration.
        plugin: String,
        /// What it wants to hear again.
        claims: String,
        /// Where the reader is led to; nowhere is a page of ours.
        url: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_has_letters_and_digits_only() {
        let tokens = Tokens::new(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 0xab, 0xff]);
        assert_eq!(tokens.make(0x2a), "tp000102030405060708abff0000002a");
        assert_eq!(tokens.make(u32::MAX).len(), TOKEN_LENGTH);
    }

    #[test]
    fn what_is_cut_or_of_another_message_is_no_token() {
        let (tokens, other) = (Tokens::new(&[1; 11]), Tokens::new(&[2; 11]));
        let token = tokens.make(7);
        for text in [token.get(..31).unwrap_or_default(), &other.make(7), &token.to_uppercase(), &token.replace("00000007", "0000000g")] {
            assert!(!tokens.are_in(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn tokens_are_found_where_they_were_put(nonce: Nonce, parts in prop::collection::vec(("[ -~]{0,40}", any::<u32>()), 0..10)) {
            let tokens = Tokens::new(&nonce);
            let mut text = String::new();
            let mut expected = Vec::new();
            for (before, index) in parts {
                text.push_str(&before);
                expected.push((text.len()..text.len() + TOKEN_LENGTH, index));
                text.push_str(&tokens.make(index));
            }
            prop_assert_eq!(tokens.find(text.as_bytes()).collect::<Vec<_>>(), expected);
        }
    }
}
