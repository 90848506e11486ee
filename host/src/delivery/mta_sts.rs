//! MTA-STS (RFC 8461): what a domain publishes about the protection of its mail, as text. Where it is fetched is [`policies`](super::policies)' business.
//!
//! ```text
//! _mta-sts.example.net.  TXT  "v=STSv1; id=20261126T000000;"
//!
//! https://mta-sts.example.net/.well-known/mta-sts.txt
//! version: STSv1
//! mode: enforce
//! mx: mail.example.net
//! mx: *.example.org
//! max_age: 604800
//! ```
//!
//! A policy has at most [`SIZE`] octets and [`PATTERNS`] patterns of at most [`PATTERN`] octets.

use std::time::Duration;

/// Octets of a policy (RFC 8461 §3.3 proposes this limit).
pub const SIZE: usize = 64 * 1024;
/// Patterns of a policy; those behind are left out.
pub const PATTERNS: usize = 100;
/// Octets of a pattern: longer ones name no host that there can be (RFC 1035 §2.3.4), and are left out.
pub const PATTERN: usize = 255;
/// The longest time that a policy is kept: a year (RFC 8461 §3.2).
const LONGEST_AGE: u64 = 31_557_600;

/// What a domain wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is to be done.
    pub mode: Mode,
    /// How long it holds from when it was fetched.
    pub max_age: Duration,
    /// Hosts, in lower case: `mail.example.net`, or `*.example.net` for one label more.
    pub mx: Vec<String>,
}

/// What to do about hosts that do not comply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They get no mail.
    Enforce,
    /// They get it; the domain only wants to know.
    Testing,
    /// There is no policy any more.
    None,
}

impl Mode {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// Why a text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It has more than [`SIZE`] octets, or is no text.
    #[error("it is no text of at most 64 KiB")]
    Text,
    /// `version` is not `STSv1`.
    #[error("it is not of version STSv1")]
    Version,
    /// `mode` is missing or none.
    #[error("it has no mode")]
    Mode,
    /// `max_age` is missing or none.
    #[error("it has no max_age")]
    MaxAge,
    /// There are no hosts, or none whose name is not too long.
    #[error("it names no mx")]
    Mx,
}

impl Policy {
    /// Reads the file (RFC 8461 §3.2). Of a key that stands there more than once the first counts, but for `mx`; unknown ones are passed over.
    ///
    /// # Errors
    /// It is no policy: as good as none.
    pub fn parse(octets: &[u8]) -> Result<Self, PolicyError> {
        let text = str::from_utf8(octets).ok().filter(|text| text.len() <= SIZE).ok_or(PolicyError::Text)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match key.trim() {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" if mx.len() < PATTERNS && (1..=PATTERN).contains(&value.trim_end_matches('.').len()) => {
                    mx.push(value.trim_end_matches('.').to_ascii_lowercase());
                }
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            Some(_) | None => return Err(PolicyError::Mode),
        };
        let is_number = |text: &&str| (1..=10).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        let max_age = max_age.filter(is_number).and_then(|text| text.parse::<u64>().ok()).ok_or(PolicyError::MaxAge)?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Mx);
        }
        Ok(Self { mode, max_age: Duration::from_secs(max_age.min(LONGEST_AGE)), mx })
    }

    /// Returns the policy as it would be published.
    pub fn to_text(&self) -> String {
        let head = ["version: STSv1".to_owned(), format!("mode: {}", self.mode.as_str())];
        let mx = self.mx.iter().map(|pattern| format!("mx: {pattern}"));
        let lines: Vec<String> = head.into_iter().chain(mx).chain([format!("max_age: {}\n", self.max_age.as_secs())]).collect();
        lines.join("\n")
    }

    /// Whether a host is one of the policy's (RFC 8461 §4.1): an asterisk stands for exactly one label, the first.
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => *pattern == host,
        })
    }
}

/// Returns the id of the policy that a domain publishes (RFC 8461 §3.1): of the one TXT record that begins with `v=STSv1;`. More than one are none.
pub fn policy_id(texts: &[String]) -> Option<&str> {
    let mut records = texts.iter().filter_map(|text| text.strip_prefix("v=STSv1").map(str::trim_start)?.strip_prefix(';'));
    let record = records.next().filter(|_| records.next().is_none())?;
    let id = record.split(';').find_map(|field| field.trim().strip_prefix("id").map(str::trim_start)?.strip_prefix('=')).map(str::trim)?;
    ((1..=32).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric())).then_some(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net.\r\nmax_age: 604800\r\nmode: none\r\nnew: 1\r\n";

    #[test]
    fn a_policy_is_read() {
        let policy = Policy::parse(GOOD.as_bytes()).unwrap();
        let mx = vec!["mail.example.com".to_owned(), "*.example.net".to_owned()];
        assert_eq!(policy, Policy { mode: Mode::Enforce, max_age: Duration::from_hours(7 * 24), mx });
        for (host, expected) in [
            ("mail.example.com", true),
            ("MAIL.example.com.", true),
            ("other.example.com", false),
            ("mx.example.net", true),
            ("a.mx.example.net", false),
            ("example.net", false),
            (".example.net", false),
            ("evil.example", false),
        ] {
            assert_eq!(policy.names(host), expected, "{host}");
        }
    }

    #[test]
    fn what_is_no_policy_is_none() {
        for (text, expected) in [
            ("", PolicyError::Version),
            ("version: STSv2\nmode: none\nmax_age: 1\n", PolicyError::Version),
            ("version: STSv1\nmode: maybe\nmax_age: 1\nmx: a\n", PolicyError::Mode),
            ("version: STSv1\nmode: enforce\nmx: a\n", PolicyError::MaxAge),
            ("version: STSv1\nmode: enforce\nmx: a\nmax_age: -1\n", PolicyError::MaxAge),
            ("version: STSv1\nmode: enforce\nmax_age: 1\n", PolicyError::Mx),
        ] {
            assert_eq!(Policy::parse(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(Policy::parse(&[0xff]), Err(PolicyError::Text));
        assert_eq!(Policy::parse(&vec![b' '; SIZE + 1]), Err(PolicyError::Text));
        let with = |mx: &str| Policy::parse(format!("version: STSv1\nmode: enforce\nmax_age: 1\n{mx}").as_bytes()).map(|policy| policy.mx);
        let long = "a".repeat(PATTERN + 1);
        assert_eq!(with(&format!("mx: {long}\n")), Err(PolicyError::Mx));
        assert_eq!(with(&format!("mx: {long}\nmx: b\n")), Ok(vec!["b".to_owned()]));
        let none = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 9999999999\n").unwrap();
        assert_eq!((none.mode, none.max_age), (Mode::None, Duration::from_secs(LONGEST_AGE)));
    }

    #[test]
    fn the_id_is_that_of_the_only_record() {
        for (texts, expected) in [
            (&["v=STSv1; id=20160831085700Z;"][..], Some("20160831085700Z")),
            (&["v=spf1 -all", "v=STSv1;id=a"], Some("a")),
            (&["v=STSv1; x=1; id = b ;"], Some("b")),
            (&["v=STSv1; id=a;", "v=STSv1; id=b;"], None),
            (&["v=STSv1; id=not/one;"], None),
            (&["v=STSv1; id=;"], None),
            (&["v=STSv10; id=a;"], None),
            (&[], None),
        ] {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(policy_id(&texts), expected, "{texts:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_holds(octets in proptest::collection::vec(any::<u8>(), 0..300), text in "(v=STSv1;?)?[ -~]{0,60}") {
            if let Ok(policy) = Policy::parse(&octets) {
                prop_assert!(policy.mx.len() <= PATTERNS);
                prop_assert_eq!(Policy::parse(policy.to_text().as_bytes()), Ok(policy));
            }
            let _ = policy_id(&[text]);
        }
    }
}
