//! What extensions add to SMTP: the keywords that EHLO is answered with, and the encoding of parameter values (`xtext`).

use std::fmt::Write;

/// What a server offers in its answer to EHLO, apart from what it always offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `SIZE` (RFC 1870): octets that a message may have.
    pub size_octets: u64,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// `AUTH` (RFC 4954) with the mechanisms PLAIN (RFC 4616) and LOGIN (never standardised, spoken by all).
    pub auth: bool,
    /// `DSN` (RFC 3461): who offers it must report.
    pub dsn: bool,
    /// `LIMITS RCPTMAX` (RFC 9422): recipients that a message may have.
    pub recipients: u32,
    /// `LIMITS MAILMAX` (RFC 9422): messages that a session may have.
    pub messages: u32,
}

impl Offer {
    /// Returns the lines of the answer to EHLO behind the first, joined by line feeds.
    pub fn lines(&self) -> String {
        // PIPELINING RFC 2920, 8BITMIME RFC 6152, SMTPUTF8 RFC 6531, CHUNKING RFC 3030, DSN RFC 3461, ENHANCEDSTATUSCODES RFC 2034.
        let mut lines = String::from("PIPELINING\n8BITMIME\nSMTPUTF8\nCHUNKING");
        if self.dsn {
            lines.push_str("\nDSN");
        }
        lines.push_str("\nENHANCEDSTATUSCODES");
        if self.starttls {
            lines.push_str("\nSTARTTLS");
        }
        if self.auth {
            lines.push_str("\nAUTH PLAIN LOGIN");
        }
        // Writing to a string cannot fail.
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

    proptest! {
        #[test]
        fn decoding_is_the_inverse_of_encoding(text in "\\PC*") {
            let mut encoded = String::new();
            push_xtext(&mut encoded, &text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(xtext_decode(&encoded), Some(text));
        }
    }
}
