//! Ids of messages as header fields hold them (`msg-id`, RFC 5322 §3.6.4): in Message-ID, In-Reply-To, References.

use std::fmt;

use crate::clock::Entropy;
use crate::mail::domain::Domain;

/// Longest id that is taken.
const MAX_LENGTH: usize = 900;

/// `id-left@id-right`, without the angle brackets that stand around it in a field.
///
/// Not our id of a message: that is [`MessageId`](crate::mail::message_id::MessageId).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageIdField(Box<str>);

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has the form <id@example.com>")]
pub struct MessageIdFieldError;

impl MessageIdField {
    /// Reads one id, with angle brackets or without.
    ///
    /// More is taken than the grammar allows, an id without `@` for one, as long as a reader cannot take it for something else: printable
    /// ASCII without blanks and angle brackets.
    pub fn parse(text: &str) -> Result<Self, MessageIdFieldError> {
        let text = text.trim();
        let bare = match (text.strip_prefix('<'), text.strip_suffix('>')) {
            (Some(_), Some(_)) => text.get(1..text.len() - 1).unwrap_or_default(),
            (None, None) => text,
            _ => return Err(MessageIdFieldError),
        };
        let is_valid = !bare.is_empty()
            && bare.len() <= MAX_LENGTH
            && bare.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'<' && octet != b'>');
        if is_valid { Ok(Self(bare.into())) } else { Err(MessageIdFieldError) }
    }

    /// Reads ids with blanks or commas between them, as References holds them and callers over HTTP give them.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, MessageIdFieldError> {
        text.replace("><", "> <").split([' ', '\t', ',', '\r', '\n']).filter(|id| !id.is_empty()).map(Self::parse).collect()
    }

    /// Makes a new id: 128 random bits, and a domain of ours so that nobody else makes the same.
    pub fn random(domain: &Domain, entropy: &Entropy) -> Self {
        let number = u128::from_be_bytes(entropy.array());
        Self(format!("{number:032x}@{}", domain.to_ascii()).into())
    }

    /// Returns the id without angle brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// With angle brackets, as fields hold it.
impl fmt::Display for MessageIdField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn ids_are_read_with_and_without_brackets() {
        for text in ["<a@b>", "a@b", " <a@b> "] {
            assert_eq!(MessageIdField::parse(text).unwrap().to_string(), "<a@b>");
        }
        for bad in ["", "<>", "<a@b", "a@b>", "<a b@c>", "<a@b>\r\nBcc: x@y", "<a@b><c@d>", "é@b", ">", "<"] {
            assert_eq!(MessageIdField::parse(bad), Err(MessageIdFieldError), "{bad:?}");
        }
        let ids = MessageIdField::parse_list("<a@b><c@d>\r\n e@f, <g@h>").unwrap();
        assert_eq!(ids.iter().map(MessageIdField::as_str).collect::<Vec<_>>(), ["a@b", "c@d", "e@f", "g@h"]);
    }

    #[test]
    fn random_ids_differ() {
        let (domain, entropy) = (Domain::parse("Example.com").unwrap(), Entropy::seeded(1));
        let (one, other) = (MessageIdField::random(&domain, &entropy), MessageIdField::random(&domain, &entropy));
        assert!(one != other && one.as_str().ends_with("@example.com") && MessageIdField::parse(one.as_str()).is_ok());
    }
}
