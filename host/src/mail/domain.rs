//! Domain names and address literals as they stand behind the `@` of an address or in EHLO (RFC 5321 §4.1.2, RFC 6531).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A domain name in lower case, possibly internationalised, or an address literal such as `[192.0.2.1]`.
///
/// At most 255 octets; labels of letters, digits, hyphens, underscores (which exist in practice) and, by
/// RFC 6531, what is not ASCII; in the form that DNS knows, a label has at most 63 octets (RFC 5890 §2.3.2.1). Equality is that of the names, without case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

/// Why a text is no domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing there.
    #[error("a domain name is missing")]
    Empty,
    /// More than 255 octets, or a label of more than 63.
    #[error("a domain name is too long")]
    TooLong,
    /// A character that no domain name has, or an empty label.
    #[error("not a domain name")]
    Invalid,
}

impl Domain {
    /// Parses a domain name or an address literal. A final dot is dropped.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if let Some(literal) = text.strip_prefix('[') {
            let inner = literal.strip_suffix(']').ok_or(DomainError::Invalid)?;
            return parse_literal(inner).map(|ip| Self(literal_text(ip).into())).ok_or(DomainError::Invalid);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(DomainError::Empty);
        }
        if name.len() > 255 {
            return Err(DomainError::TooLong);
        }
        check_labels(name)?;
        if name.is_ascii() {
            check_lengths(name)?;
            return Ok(Self(name.to_ascii_lowercase().into()));
        }
        let lower = name.to_lowercase();
        // A name that DNS could not ask for is no domain name, whatever RFC 6531 lets through.
        let ascii = idna::domain_to_ascii(&lower).map_err(|_| DomainError::Invalid)?;
        if ascii.is_empty() || ascii.len() > 255 || lower.len() > 255 {
            return Err(DomainError::TooLong);
        }
        // Characters that are mapped to a dot, or to nothing, make other labels than those that were seen.
        check_labels(&ascii)?;
        check_lengths(&ascii)?;
        Ok(Self(lower.into()))
    }

    /// Returns the name as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as DNS knows it: A-labels in the place of U-labels (RFC 5890).
    pub fn to_ascii(&self) -> String {
        if self.0.is_ascii() {
            return self.0.to_string();
        }
        idna::domain_to_ascii(&self.0).unwrap_or_else(|_| self.0.to_string())
    }

    /// Returns the address, where this is an address literal.
    pub fn literal(&self) -> Option<IpAddr> {
        parse_literal(self.0.strip_prefix('[')?.strip_suffix(']')?)
    }
}

/// At most 63 octets in each label.
fn check_lengths(ascii: &str) -> Result<(), DomainError> {
    if ascii.split('.').any(|label| label.len() > 63) { Err(DomainError::TooLong) } else { Ok(()) }
}

/// Labels of what domain names are made of.
fn check_labels(name: &str) -> Result<(), DomainError> {
    for label in name.split('.') {
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
            return Err(DomainError::Invalid);
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && !c.is_control() && !c.is_whitespace());
        if !label.chars().all(valid) {
            return Err(DomainError::Invalid);
        }
    }
    Ok(())
}

fn parse_literal(inner: &str) -> Option<IpAddr> {
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn literal_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[ipv6:{v6}]"),
    }
}

impl FromStr for Domain {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;
    fn try_from(text: String) -> Result<Self, DomainError> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0.to_string()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn names_are_compared_without_case() {
        assert_eq!(Domain::parse("Example.COM.").unwrap(), Domain::parse("example.com").unwrap());
    }

    #[test]
    fn international_names_have_an_ascii_form() {
        let domain = Domain::parse("BÜCHER.example").unwrap();
        assert_eq!((domain.as_str(), domain.to_ascii().as_str()), ("bücher.example", "xn--bcher-kva.example"));
    }

    #[test]
    fn literals_are_addresses() {
        assert_eq!(Domain::parse("[192.0.2.1]").unwrap().literal(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(Domain::parse("[IPv6:2001:db8::1]").unwrap().literal(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(Domain::parse("example.com").unwrap().literal(), None);
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for text in ["", ".", "a..b", "-a.example", "a b", "a\r\nb", "[300.1.1.1]", "[::1]", "a@b", "exa\u{0}mple"] {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Domain::parse(&"a".repeat(64)), Err(DomainError::TooLong));
        // 44 letters of two octets: the label that DNS knows has 51. With 100, 107.
        assert!(Domain::parse(&format!("{}.example", "ü".repeat(44))).is_ok());
        assert_eq!(Domain::parse(&format!("{}.example", "ü".repeat(100))), Err(DomainError::TooLong));
        // Dots and nothings in other scripts, which DNS would read as labels that are not there.
        for text in ["\u{3002}.example", "a.\u{ad}.example", "\u{ff0e}"] {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
    }
}
