//! Which senders a rule is about: a whole address, a pattern with stars, or a regular expression.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mail::address::EmailAddress;

/// Octets of a rule.
const LONGEST: usize = 256;
/// Octets that a compiled rule may take.
const LARGEST: usize = 256 * 1024;

/// A condition on the address in From.
#[derive(Clone)]
pub struct SenderRule {
    kind: SenderRuleKind,
    text: String,
    compiled: Regex,
}

/// How a rule is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SenderRuleKind {
    /// `name`: a whole address.
    Name,
    /// `pattern`: an address in which `*` stands for any characters and `?` for one.
    Pattern,
    /// `regex`: a regular expression that is looked for in the address.
    Regex,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SenderRuleError(String);

impl SenderRuleKind {
    /// Returns the key that it is written under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Pattern => "pattern",
            Self::Regex => "regex",
        }
    }
}

impl SenderRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// The text is no rule of this kind, or too long.
    pub fn new(kind: SenderRuleKind, text: &str) -> Result<Self, SenderRuleError> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(SenderRuleError(format!("must have 1 to {LONGEST} octets")));
        }
        let expression = match kind {
            SenderRuleKind::Name => {
                let address = EmailAddress::parse(text).map_err(|error| SenderRuleError(format!("must be an address: {error}")))?;
                format!("^{}$", regex::escape(&canonical(&address)))
            }
            SenderRuleKind::Pattern => {
                let text = ascii_domain(text);
                let parts = text.chars().map(|c| match c {
                    '*' => ".*".to_owned(),
                    '?' => ".".to_owned(),
                    c => regex::escape(&c.to_string()),
                });
                format!("^{}$", parts.collect::<String>())
            }
            SenderRuleKind::Regex => text.to_owned(),
        };
        let compiled = RegexBuilder::new(&expression)
            .case_insensitive(true)
            .size_limit(LARGEST)
            .build()
            .map_err(|error| SenderRuleError(format!("is no regular expression that can be used: {error}")))?;
        Ok(Self { kind, text: text.to_owned(), compiled })
    }

    /// Whether mail from this address is meant. Case is of no matter, and U-labels are like their A-labels.
    pub fn fits(&self, address: &EmailAddress) -> bool {
        self.compiled.is_match(&canonical(address))
    }

    /// Returns how it is written.
    pub fn kind(&self) -> SenderRuleKind {
        self.kind
    }

    /// Returns it as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for SenderRule {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text) == (other.kind, &other.text)
    }
}

impl fmt::Debug for SenderRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenderRule({} {:?})", self.kind.as_str(), self.text)
    }
}

impl Serialize for SenderRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.kind, &self.text).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SenderRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (kind, text) = <(SenderRuleKind, String)>::deserialize(deserializer)?;
        Self::new(kind, &text).map_err(serde::de::Error::custom)
    }
}

fn canonical(address: &EmailAddress) -> String {
    format!("{}@{}", address.local_part(), address.domain().to_ascii())
}

/// A domain that stands behind the last `@` in A-labels, where it can be read; stars are left alone.
fn ascii_domain(pattern: &str) -> String {
    let Some((local, domain)) = pattern.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii()) else { return pattern.to_owned() };
    let labels = domain.split('.').map(|label| idna::domain_to_ascii(label).unwrap_or_else(|_| label.to_owned()));
    format!("{local}@{}", labels.collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn senders_fit_their_rules() {
        for (kind, text, address, fits) in [
            (SenderRuleKind::Name, "News@example.com", "news@EXAMPLE.com", true),
            (SenderRuleKind::Name, "news@example.com", "xnews@example.com", false),
            (SenderRuleKind::Name, "a.b@example.com", "axb@example.com", false),
            (SenderRuleKind::Name, "a@bücher.example", "a@xn--bcher-kva.example", true),
            (SenderRuleKind::Pattern, "*@example.com", "a.b@example.com", true),
            (SenderRuleKind::Pattern, "*@example.com", "a@example.com.evil.example", false),
            (SenderRuleKind::Pattern, "shop-?@example.com", "shop-1@example.com", true),
            (SenderRuleKind::Pattern, "shop-?@example.com", "shop-11@example.com", false),
            (SenderRuleKind::Pattern, "*@*.bücher.example", "a@b.xn--bcher-kva.example", true),
            (SenderRuleKind::Regex, r"^invoice-\d+@", "Invoice-17@example.com", true),
            (SenderRuleKind::Regex, r"^invoice-\d+@", "my-invoice-17@example.com", false),
        ] {
            let rule = SenderRule::new(kind, text).unwrap();
            assert_eq!(rule.fits(&EmailAddress::parse(address).unwrap()), fits, "{text} {address}");
        }
        for (kind, text) in [
            (SenderRuleKind::Name, "example.com"),
            (SenderRuleKind::Regex, "("),
            (SenderRuleKind::Regex, r"\w{500}{500}"),
            (SenderRuleKind::Pattern, ""),
        ] {
            assert!(SenderRule::new(kind, text).is_err(), "{text}");
        }
        assert!(SenderRule::new(SenderRuleKind::Pattern, &"*".repeat(LONGEST + 1)).is_err());
    }
}
