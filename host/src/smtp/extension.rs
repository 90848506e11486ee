//! What extensions add to SMTP: the keywords that EHLO is answered with, and the encoding of parameter values (`xtext`).

use std::fmt::Write;
use std::time::Duration;

use crate::clock::Timestamp;

/// What a server offers in its answer to EHLO, apart from what it always offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `SIZE` (RFC 1870): octets that a message may have.
    pub size_octets: u64,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// `AUTH` (RFC 4954) with these mechanisms.
    pub auth: Option<Mechanisms>,
    /// What is for who submits: `BINARYMIME` (RFC 3030), `DSN` (RFC 3461), `MT-PRIORITY` (RFC 6710).
    pub submission: bool,
    /// `LIMITS RCPTMAX` (RFC 9422): recipients that a message may have.
    pub recipients: u32,
    /// `LIMITS MAILMAX` (RFC 9422): messages that a session may have.
    pub messages: u32,
    /// `REQUIRETLS` (RFC 8689), which takes TLS.
    pub require_tls: bool,
    /// `FUTURERELEASE` (RFC 4865): how long a message may be held, and until when that is.
    pub future_release: Option<(Duration, Timestamp)>,
}

/// Mechanisms beside PLAIN (RFC 4616) and LOGIN (never standardised, spoken by all) that clients can use here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// SCRAM-SHA-256 (RFC 7677). Clients take the strongest that is offered and do not fall back: it may only be where all secrets have a verifier.
    pub scram: bool,
    /// OAUTHBEARER (RFC 7628) and XOAUTH2, for tokens.
    pub bearer: bool,
    /// SCRAM-SHA-256-PLUS beside SCRAM: the connection has something to bind it to.
    pub binding: bool,
}

impl Mechanisms {
    /// The strongest first: some clients take the first that they know.
    fn line(self) -> String {
        let plus = if self.scram && self.binding { " SCRAM-SHA-256-PLUS" } else { "" };
        let scram = if self.scram { " SCRAM-SHA-256" } else { "" };
        let bearer = if self.bearer { " OAUTHBEARER XOAUTH2" } else { "" };
        format!("\nAUTH{plus}{scram} PLAIN LOGIN{bearer}")
    }
}

impl Offer {
    /// Returns the lines of the answer to EHLO behind the first, joined by line feeds.
    pub fn lines(&self) -> String {
        // PIPELINING RFC 2920, 8BITMIME RFC 6152, SMTPUTF8 RFC 6531, CHUNKING and BINARYMIME RFC 3030, DSN RFC 3461, MT-PRIORITY RFC 6710 with its
        // standard mapping (§10), ENHANCEDSTATUSCODES RFC 2034.
        let mut lines = String::from("PIPELINING\n8BITMIME\nSMTPUTF8\nCHUNKING");
        if self.submission {
            lines.push_str("\nBINARYMIME\nDSN");
        }
        lines.push_str("\nENHANCEDSTATUSCODES");
        if self.submission {
            lines.push_str("\nMT-PRIORITY");
        }
        if self.starttls {
            lines.push_str("\nSTARTTLS");
        }
        if let Some(mechanisms) = self.auth {
            lines.push_str(&mechanisms.line());
        }
        if self.require_tls {
            lines.push_str("\nREQUIRETLS");
        }
        // Writing to a string cannot fail.
        if let Some((longest, latest)) = self.future_release {
            let _ = write!(lines, "\nFUTURERELEASE {} {}", longest.as_secs(), latest.to_rfc3339());
        }
        let _ = write!(lines, "\nSIZE {}\nLIMITS RCPTMAX={} MAILMAX={}", self.size_octets, self.recipients, self.messages);
        lines
    }
}

/// Decodes `xtext` (RFC 3461 §4): `+` and two upper-case hexadecimal digits stand for an octet. What is not ASCII stands for itself (RFC 6533).
///
/// `None` where it is malformed, or where it hides control characters or octets that are no UTF-8: such a value goes into reports and
/// into commands to the next hop.
pub fn xtext_decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => (upper_hex(rest.next()?)? << 4) | upper_hex(rest.next()?)?,
            b'=' | ..=b' ' | 0x7f => return None,
            _ => octet,
        });
    }
    let decoded = String::from_utf8(octets).ok()?;
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

/// Appends text as `xtext`, which is ASCII.
pub fn push_xtext(encoded: &mut String, text: &str) {
    for octet in text.bytes() {
        if octet.is_ascii_graphic() && octet != b'+' && octet != b'=' {
            encoded.push(char::from(octet));
        } else {
            let _ = write!(encoded, "+{octet:02X}");
        }
    }
}

/// Decodes an address of the type `utf-8` in any of its three forms (RFC 6533 §3): `\x{HEX}` stands for a character, in `xtext` or beside
/// characters that stand for themselves.
pub fn utf8_address_decode(text: &str) -> Option<String> {
    let text = xtext_decode(text)?;
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, escape)) = rest.split_once('\\') {
        decoded.push_str(before);
        let (hex, behind) = escape.strip_prefix("x{")?.split_once('}')?;
        if !(2..=6).contains(&hex.len()) || !hex.bytes().all(|digit| upper_hex(digit).is_some()) {
            return None;
        }
        decoded.push(u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?);
        rest = behind;
    }
    decoded.push_str(rest);
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

/// Appends an address of the type `utf-8` in the form that takes no SMTPUTF8 (`utf-8-addr-xtext`, RFC 6533 §3).
pub fn push_utf8_address(encoded: &mut String, text: &str) {
    for char in text.chars() {
        if char.is_ascii_graphic() && !"+=\\".contains(char) {
            encoded.push(char);
        } else {
            let _ = write!(encoded, "\\x{{{:02X}}}", u32::from(char));
        }
    }
}

fn upper_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xtext_is_decoded_strictly() {
        assert_eq!(xtext_decode("a+2Bb+3Dc").as_deref(), Some("a+b=c"));
        assert_eq!(xtext_decode("bücher").as_deref(), Some("bücher"));
        for bad in ["a b", "a=b", "+", "+2", "+2b", "+0D+0A", "+C3", "a\u{7f}", "+00"] {
            assert_eq!(xtext_decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn addresses_that_are_not_ascii_have_a_form_of_their_own() {
        for form in ["jörg@example.com", "j\\x{F6}rg@example.com", "j+5Cx{F6}rg@example.com"] {
            assert_eq!(utf8_address_decode(form).as_deref(), Some("jörg@example.com"), "{form}");
        }
        for bad in ["\\", "\\x", "\\x{F6", "\\x{}", "\\x{f6}", "\\x{D800}", "\\x{0D}", "\\x{110000}", "\\y"] {
            assert_eq!(utf8_address_decode(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn addresses_are_read_as_they_were_written(text in "\\PC*") {
            let mut encoded = String::new();
            push_utf8_address(&mut encoded, &text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(utf8_address_decode(&encoded), Some(text));
        }

        #[test]
        fn decoding_is_the_inverse_of_encoding(text in "\\PC*") {
            let mut encoded = String::new();
            push_xtext(&mut encoded, &text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(xtext_decode(&encoded), Some(text));
        }
    }
}
