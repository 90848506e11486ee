//! The URIs of a `List-Unsubscribe` field (RFC 2369 §2): in angle brackets, separated by commas, comments in parentheses.
//!
//! Services also accept bare URIs, so these are read too.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// Why some text is no URI that a mail reader could unsubscribe with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InvalidUri {
    /// Neither mailto nor http nor https.
    Scheme(String),
    /// Nothing behind the scheme, or no address where one is meant.
    Incomplete,
}

impl fmt::Display for InvalidUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => {
                write!(formatter, "{scheme:?} is none of mailto, http and https")
            }
            Self::Incomplete => formatter.write_str("it names no address or host"),
        }
    }
}

/// A mailto, http or https URI of visible ASCII characters without angle brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uri(String);

impl Uri {
    /// Parses a URI. Blanks inside it, which folding leaves behind, are dropped (RFC 2369 §2); what is not ASCII is percent-encoded.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidUri> {
        let text: String = text.chars().filter(|character| !character.is_whitespace() && !character.is_control()).collect();
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(InvalidUri::Scheme(text));
        };
        let scheme = scheme.to_ascii_lowercase();
        let complete = match scheme.as_str() {
            "mailto" => rest.split('?').next().is_some_and(|address| address.contains('@')),
            "http" | "https" => rest.strip_prefix("//").is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#'])),
            _ => return Err(InvalidUri::Scheme(scheme)),
        };
        if !complete {
            return Err(InvalidUri::Incomplete);
        }
        let mut uri = scheme;
        uri.push(':');
        for character in rest.chars() {
            if character.is_ascii() && !matches!(character, '<' | '>' | '"') {
                uri.push(character);
            } else {
                let mut buffer = [0; 4];
                for octet in character.encode_utf8(&mut buffer).bytes() {
                    // Writing to a string cannot fail.
                    let _ = write!(uri, "%{octet:02X}");
                }
            }
        }
        Ok(Self(uri))
    }

    /// Parses a mailto URI, or an address to make one of.
    pub(crate) fn mailto(text: &str) -> Result<Self, InvalidUri> {
        let text = text.trim();
        let is_uri = text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("mailto:"));
        if is_uri { Self::parse(text) } else { Self::parse(&format!("mailto:{text}")) }
    }

    /// Parses an http or https URI.
    pub(crate) fn web(text: &str) -> Result<Self, InvalidUri> {
        let uri = Self::parse(text)?;
        if uri.0.starts_with("mailto:") { Err(InvalidUri::Scheme("mailto".to_owned())) } else { Ok(uri) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether a web address is one of the machine itself.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let host = match host.strip_prefix('[').and_then(|literal| literal.split_once(']')) {
            Some((literal, _)) => literal,
            None => host.split(':').next().unwrap_or_default(),
        };
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// The URIs of a field value, with or without angle brackets.
pub(crate) fn parse_list(value: &str) -> Vec<Result<Uri, InvalidUri>> {
    let mut uris = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|character: char| character.is_whitespace() || character == ',');
        if rest.is_empty() {
            return uris;
        }
        let (uri, after) = if let Some(inside) = rest.strip_prefix('<') {
            inside.split_once('>').unwrap_or((inside, ""))
        } else if let Some(comment) = rest.strip_prefix('(') {
            rest = comment.split_once(')').map_or("", |(_, after)| after);
            continue;
        } else {
            rest.split_at(bare_end(rest))
        };
        uris.push(Uri::parse(uri));
        rest = after;
    }
}

/// Where a bare URI ends: at white space, at an angle bracket, or at a comma that another URI follows.
///
/// A comma is a legal character of a URI, so it ends one only where what follows cannot belong to it.
fn bare_end(text: &str) -> usize {
    let starts_uri = |rest: &str| {
        let rest = rest.trim_start();
        let lower = rest.get(..8).unwrap_or(rest).to_ascii_lowercase();
        rest.is_empty() || rest.starts_with('<') || ["mailto:", "http:", "https:"].iter().any(|scheme| lower.starts_with(scheme))
    };
    text.char_indices()
        .find(|&(index, character)| match character {
            '<' => true,
            ',' => text.get(index + 1..).is_none_or(starts_uri),
            _ => character.is_whitespace(),
        })
        .map_or(text.len(), |(index, _)| index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn list(value: &str) -> Vec<String> {
        parse_list(value).into_iter().map(|uri| uri.unwrap().0).collect()
    }

    #[test]
    fn brackets_are_optional() {
        assert_eq!(list("<mailto:u@x>, <https://x/u>"), ["mailto:u@x", "https://x/u"]);
        assert_eq!(list("https://x/u"), ["https://x/u"]);
        assert_eq!(list("mailto:u@x,https://x/u?a=1,2"), ["mailto:u@x", "https://x/u?a=1,2"]);
        assert_eq!(list("https://x/u, <mailto:u@x> (by mail)"), ["https://x/u", "mailto:u@x"]);
    }

    #[test]
    fn loopback_is_the_machine_itself() {
        for (url, expected) in [
            ("http://localhost", true),
            ("http://LOCALHOST:8025/mail", true),
            ("http://127.0.0.1:8025", true),
            ("http://[::1]:8025/", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://192.0.2.1", false),
        ] {
            assert_eq!(Uri::web(url).unwrap().is_loopback(), expected, "{url}");
        }
    }

    #[test]
    fn folding_leaves_no_blanks() {
        assert_eq!(list("<https://x/\t very/long>"), ["https://x/very/long"]);
    }

    #[test]
    fn only_what_unsubscribes_is_taken() {
        assert_eq!(parse_list("<javascript:alert(1)>"), [Err(InvalidUri::Scheme("javascript".to_owned()))]);
        assert_eq!(parse_list("nothing"), [Err(InvalidUri::Scheme("nothing".to_owned()))]);
        assert_eq!(parse_list("<mailto:>"), [Err(InvalidUri::Incomplete)]);
        assert_eq!(parse_list("<https://>"), [Err(InvalidUri::Incomplete)]);
        assert!(parse_list(" , ").is_empty());
        assert_eq!(list("<https://x/ü>"), ["https://x/%C3%BC"]);
    }
}
