//! SPF (RFC 7208): the mechanisms that a domain adds to ours.

mod flattening;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::IpNetwork;
use crate::dns::DnsError;
use crate::mail::domain::Domain;
use flattening::MOST_QUESTIONS;
pub use flattening::{Behind, Flattened, MOST_LOOKUPS, check_lookups, flatten, record};

/// Mechanisms that one domain may add.
pub const MOST_MECHANISMS: usize = 30;

/// What lets a host send.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mechanism {
    kind: &'static str,
    value: String,
}

/// Keys of the REST call, which are the names of mechanisms.
pub const KINDS: [&str; 7] = ["include", "a", "mx", "ip4", "ip6", "exists", "ptr"];

/// Why a mechanism, or a list of them, cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpfError {
    /// It is none.
    #[error("\"{0}\" is no mechanism such as \"ip4:192.0.2.0/24\" or \"include:spf.example.com\"")]
    Invalid(String),
    /// More than a receiver follows.
    #[error("needs more than {MOST_LOOKUPS} look-ups: receivers follow no more")]
    TooManyLookups,
    /// More than we ask.
    #[error("what is included takes more than {MOST_QUESTIONS} questions to DNS")]
    TooManyQuestions,
    /// What is included has no SPF record, or several.
    #[error("{0} has no SPF record that can be included")]
    NoRecord(String),
    /// DNS does not say.
    #[error("{domain}: {error}")]
    Dns {
        /// Of which domain.
        domain: String,
        /// Why.
        error: DnsError,
    },
}

impl Mechanism {
    /// Reads the value of a mechanism.
    ///
    /// # Errors
    /// [`SpfError::Invalid`].
    pub fn new(kind: &str, value: &str) -> Result<Self, SpfError> {
        let invalid = || SpfError::Invalid(format!("{kind}:{value}"));
        let kind = KINDS.into_iter().find(|known| *known == kind).ok_or_else(invalid)?;
        let value = match kind {
            "ip4" | "ip6" => {
                let network: IpNetwork = value.parse().map_err(|_| invalid())?;
                let whole = if network.address.is_ipv4() { 32 } else { 128 };
                if network.address.is_ipv4() != (kind == "ip4") {
                    return Err(invalid());
                }
                if network.prefix == whole { network.address.to_string() } else { network.to_string() }
            }
            "include" | "exists" | "ptr" => host(value).ok_or_else(invalid)?,
            _ => {
                let (name, lengths) = value.split_at(value.find('/').unwrap_or(value.len()));
                if !are_prefix_lengths(lengths) {
                    return Err(invalid());
                }
                host(name).ok_or_else(invalid)? + lengths
            }
        };
        Ok(Self { kind, value })
    }

    /// The domain that is included, if this includes one.
    fn included(&self) -> Option<&str> {
        (self.kind == "include").then_some(&self.value)
    }

    /// Whether receivers ask DNS for it.
    fn is_looked_up(&self) -> bool {
        !matches!(self.kind, "ip4" | "ip6")
    }
}

/// A name in A-labels. Macros are not for us to publish.
fn host(text: &str) -> Option<String> {
    let domain = Domain::parse(text).ok()?;
    (domain.literal().is_none() && domain.as_str().contains('.')).then(|| domain.to_ascii())
}

/// `""`, `/24`, `//64`, `/24//64`.
fn are_prefix_lengths(text: &str) -> bool {
    let (four, six) = text.split_once("//").map_or((text, None), |(four, six)| (four, Some(six)));
    let in_range =
        |text: &str, most: u8| text.len() <= 3 && text.bytes().all(|c| c.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|n| n <= most);
    let four = four.is_empty() || four.strip_prefix('/').is_some_and(|digits| in_range(digits, 32));
    four && six.is_none_or(|digits| in_range(digits, 128))
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

impl FromStr for Mechanism {
    type Err = SpfError;
    fn from_str(text: &str) -> Result<Self, SpfError> {
        let (kind, value) = text.split_once(':').ok_or_else(|| SpfError::Invalid(text.to_owned()))?;
        Self::new(&kind.to_ascii_lowercase(), value)
    }
}

impl Serialize for Mechanism {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mechanism {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a text is an SPF record (§4.5).
pub(super) fn is_spf(text: &str) -> bool {
    let version = text.split(' ').next().unwrap_or_default();
    version.eq_ignore_ascii_case("v=spf1")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mechanisms_have_one_form() {
        for (text, expected) in [
            ("IP4:192.0.2.1/32", "ip4:192.0.2.1"),
            ("ip6:2001:DB8::/32", "ip6:2001:db8::/32"),
            ("include:BÜCHER.example", "include:xn--bcher-kva.example"),
            ("a:mail.example.com/24//64", "a:mail.example.com/24//64"),
            ("mx:example.com//64", "mx:example.com//64"),
        ] {
            assert_eq!(text.parse::<Mechanism>().unwrap().to_string(), expected);
        }
        for text in [
            "",
            "all",
            "ip4",
            "ip4:2001:db8::1",
            "ip6:192.0.2.1",
            "ip4:192.0.2.0/33",
            "include:",
            "include:a b",
            "include:x",
            "a:x.example/",
            "a:x.example/33",
            "a:x.example//129",
            "exists:%{i}.example",
            "mx:x.example -all",
            "redirect:x.example",
            "+all:x.example",
        ] {
            assert!(text.parse::<Mechanism>().is_err(), "{text}");
        }
    }

    proptest! {
        /// Whatever is written: what is taken is published as one term, and read again as the same.
        #[test]
        fn no_mechanism_is_more_than_one_term(text in "(include|a|mx|ip4|ip6|exists|ptr):[ -~]{0,20}") {
            if let Ok(mechanism) = text.parse::<Mechanism>() {
                let shown = mechanism.to_string();
                prop_assert!(!shown.contains([' ', '"', '%']), "{}", shown);
                prop_assert_eq!(shown.parse::<Mechanism>(), Ok(mechanism));
            }
        }
    }
}
