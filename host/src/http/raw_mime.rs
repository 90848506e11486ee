//! Messages that callers made themselves and gave as text.

use std::borrow::Cow;

use bytes::Bytes;

use crate::mail::address::EmailAddress;
use crate::mail::header::Mailbox;
use crate::mail::header::raw_fields::raw_values;

/// A text that is given as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawMime {
    /// It has a header. `Bcc` was taken out of it.
    Message(Bytes),
    /// It begins with an empty line: a body for which the other fields give the header.
    BodyOnly(String),
}

/// The text is no message: it is empty, has no header field at its top, or holds NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMime;

/// Reads a message. LF and CR alone become CRLF: texts that went through JSON rarely have the line ends that mail needs.
pub fn parse(text: &str) -> Result<RawMime, InvalidMime> {
    if text.contains('\0') {
        return Err(InvalidMime);
    }
    let text = with_crlf(text);
    if let Some(body) = text.strip_prefix("\r\n") {
        return Ok(RawMime::BodyOnly(body.to_owned()));
    }
    let (header, rest) = match text.find("\r\n\r\n") {
        Some(end) => text.split_at_checked(end + 2).ok_or(InvalidMime)?,
        None => (&*text, "\r\n"),
    };
    let header = if header.ends_with("\r\n") { Cow::Borrowed(header) } else { Cow::Owned(format!("{header}\r\n")) };
    Ok(RawMime::Message(Bytes::from(without_bcc(&header)? + rest)))
}

/// Returns the text with CRLF for every line end.
pub fn with_crlf(text: &str) -> Cow<'_, str> {
    let octets = text.as_bytes();
    let mut changed: Option<String> = None;
    let mut kept = 0;
    for place in memchr::memchr2_iter(b'\r', b'\n', octets) {
        let is = |place: Option<usize>, octet: u8| place.and_then(|place| octets.get(place)) == Some(&octet);
        let alone = match octets.get(place) {
            Some(b'\r') => !is(place.checked_add(1), b'\n'),
            _ => !is(place.checked_sub(1), b'\r'),
        };
        if alone {
            let out = changed.get_or_insert_with(|| String::with_capacity(text.len() + text.len() / 32));
            out.push_str(text.get(kept..place).unwrap_or_default());
            out.push_str("\r\n");
            kept = place + 1;
        }
    }
    match changed {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(text.get(kept..).unwrap_or_default());
            Cow::Owned(out)
        }
    }
}

/// Returns the address in From, where there is exactly one that can be read.
pub fn sender(message: &[u8]) -> Option<EmailAddress> {
    let mut only = None;
    for value in raw_values(message, "From") {
        for mailbox in Mailbox::parse_field(value).ok()? {
            if only.replace(mailbox.address).is_some() {
                return None;
            }
        }
    }
    only
}

/// Checks that each line is a field or goes on with one, and leaves out the fields that name hidden recipients.
fn without_bcc(header: &str) -> Result<String, InvalidMime> {
    let mut kept = String::with_capacity(header.len());
    let mut hidden = None;
    for line in header.split_inclusive("\r\n") {
        if line.starts_with([' ', '\t']) {
            hidden = Some(hidden.ok_or(InvalidMime)?);
        } else {
            let (name, _) = line.split_once(':').ok_or(InvalidMime)?;
            let name = name.trim_end_matches([' ', '\t']);
            if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic()) {
                return Err(InvalidMime);
            }
            hidden = Some(name.eq_ignore_ascii_case("bcc") || name.eq_ignore_ascii_case("resent-bcc"));
        }
        if hidden == Some(false) {
            kept.push_str(line);
        }
    }
    if hidden.is_none() { Err(InvalidMime) } else { Ok(kept) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, InvalidMime>) {
        let parsed = parse(text).map(|mime| match mime {
            RawMime::Message(octets) => String::from_utf8(octets.into()).unwrap(),
            RawMime::BodyOnly(body) => format!("body:{body}"),
        });
        assert_eq!(parsed.as_deref().map_err(|error| *error), expected, "{text:?}");
    }

    #[test]
    fn messages_get_the_line_ends_that_mail_needs() {
        check("A: b\n\nc\nd", Ok("A: b\r\n\r\nc\r\nd"));
        check("A: b\r\n\r\nc\r\n", Ok("A: b\r\n\r\nc\r\n"));
        check("A: b\r\rc", Ok("A: b\r\n\r\nc"));
        check("A: b\r\n c\r\n\r\n", Ok("A: b\r\n c\r\n\r\n"));
        check("A: b", Ok("A: b\r\n\r\n"));
        check("\nbody\n", Ok("body:body\r\n"));
    }

    #[test]
    fn hidden_recipients_stay_hidden() {
        check("From: a@x\nBCC: b@x,\n c@x\nTo: d@x\n\nBcc: not a field\n", Ok("From: a@x\r\nTo: d@x\r\n\r\nBcc: not a field\r\n"));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "",
            "hello world",
            "hello\r\n\r\nx",
            " folded: first\r\n\r\n",
            "A: b\r\nno field\r\n\r\nx",
            ": x\n\n",
            "A: b\n\n\0",
            "Ü: x\n\n",
        ] {
            check(text, Err(InvalidMime));
        }
    }

    #[test]
    fn senders_are_read() {
        assert_eq!(sender(b"From: Ann <a@x>\r\n\r\n"), Some(EmailAddress::parse("a@x").unwrap()));
        assert_eq!(sender(b"From: a@x, b@x\r\n\r\n"), None);
        assert_eq!(sender(b"From: a@x\r\nFrom: b@x\r\n\r\n"), None);
        assert_eq!(sender(b"From: b@x: a@x;\r\n\r\n"), None);
        assert_eq!(sender(b"To: a@x\r\n\r\n"), None);
    }

    proptest! {
        #[test]
        fn line_ends_are_crlf_and_texts_stay(text in "[a\r\n]{0,40}") {
            let out = with_crlf(&text);
            prop_assert!(!out.replace("\r\n", "").contains(['\r', '\n']));
            prop_assert_eq!(with_crlf(&out), out.as_ref());
            prop_assert_eq!(out.replace(['\r', '\n'], ""), text.replace(['\r', '\n'], ""));
        }
    }
}
