//! Mail addresses as they stand in envelopes (RFC 5321 §4.1.2, with RFC 6531 for what is not ASCII).
//!
//! Display names, groups and comments belong to header fields and are parsed there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::domain::{Domain, DomainError};

/// `local-part@domain`: the local part as it was written, the domain in lower case.
///
/// The local part is a dot-string or a quoted string of at most 64 octets. Two addresses are equal if the local parts are equal to the
/// letter (RFC 5321 §2.4: only the receiving host may fold case) and the domains are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress {
    local: Box<str>,
    domain: Domain,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@` with something before it.
    #[error("an address has the form user@example.com")]
    NoAt,
    /// The local part has a character that is not allowed, or more than 64 octets.
    #[error("the part before the @ is not valid")]
    Local,
    /// What stands behind the `@` is no domain.
    #[error("the part behind the @: {0}")]
    Domain(#[from] DomainError),
}

impl EmailAddress {
    /// Parses a pure address: no display name, no angle brackets, no blanks around it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = split(text).ok_or(AddressError::NoAt)?;
        if local.len() > 64 || !is_local_part(local) {
            return Err(AddressError::Local);
        }
        Ok(Self { local: local.into(), domain: Domain::parse(domain)? })
    }

    /// Returns the part before the `@`, in its quotes where it was quoted.
    pub fn local_part(&self) -> &str {
        &self.local
    }

    /// Returns the part behind the `@`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether the address can be sent to a server without SMTPUTF8 (RFC 6531), once its domain is put in A-labels.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }

    /// Returns the address with its domain in A-labels.
    pub fn to_ascii_domain(&self) -> String {
        format!("{}@{}", self.local, self.domain.to_ascii())
    }
}

/// Splits at the `@` that ends the local part: the last one outside of quotes.
fn split(text: &str) -> Option<(&str, &str)> {
    let at = if text.starts_with('"') { text.rfind("\"@").map(|quote| quote + 1)? } else { text.rfind('@')? };
    let (local, rest) = text.split_at_checked(at)?;
    (!local.is_empty()).then_some((local, rest.get(1..)?))
}

fn is_local_part(local: &str) -> bool {
    if let Some(quoted) = local.strip_prefix('"') {
        return quoted.strip_suffix('"').is_some_and(is_quoted_content);
    }
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// `qtextSMTP` and `quoted-pairSMTP` (RFC 5321 §4.1.2): printable, quotes and backslashes escaped.
fn is_quoted_content(content: &str) -> bool {
    let mut chars = content.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(' '..='~') => {}
                _ => return false,
            },
            '"' => return false,
            c if c.is_control() => return false,
            _ => {}
        }
    }
    true
}

/// `atext` (RFC 5322 §3.2.3), plus what is not ASCII (RFC 6531 §3.3).
fn is_atext(c: char) -> bool {
    if !c.is_ascii() {
        return !c.is_control() && !c.is_whitespace();
    }
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

impl FromStr for EmailAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmailAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_addresses_keep_their_local_part() {
        for text in
            ["a@b", "First.Last+tag@Example.com", "\"a b\\\"@c\"@example.com", "jörg@bücher.example", "x@[192.0.2.1]", "a/b=c@example.com"]
        {
            let address = EmailAddress::parse(text).unwrap();
            assert_eq!(address.to_string().to_lowercase(), text.to_lowercase());
            assert_eq!(EmailAddress::parse(&address.to_string()).unwrap(), address);
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in [
            "",
            "@",
            "a",
            "@b",
            "a@",
            ".a@b",
            "a..b@c",
            "a b@c",
            "<a@b>",
            "a@b\r\nRCPT TO:<x@y>",
            "\"a\"b@c",
            "\"\"\"@c",
            "a@b@c",
            "a\u{7f}@b",
            "broken@@@Address.@@",
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(EmailAddress::parse(&format!("{}@b", "a".repeat(65))), Err(AddressError::Local));
    }

    proptest! {
        #[test]
        fn parsing_is_the_inverse_of_display(text in "\\PC{0,80}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert_eq!(EmailAddress::parse(&address.to_string()).unwrap(), address);
            }
        }
    }
}
