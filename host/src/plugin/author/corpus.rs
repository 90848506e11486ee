//! The robustness corpus: messages as they should not be, and as they are.
//!
//! All of them are made here, by code that gives the same octets every time. A plugin that is run on a mail server meets every one of these:
//! broken MIME, octets that belong to no charset, a thousand header fields, HTML that no browser wrote. It may say what it likes to them, but it may
//! not trap, run out of what it was given, or lose the message. What is asked of it stands in [`super::robustness`].

mod address;
mod body;
mod charset;
mod data;
mod header;
mod html;
mod mime;
mod mutation;
mod parameter;

use bytes::Bytes;
use serde_json::{Map, Value};

/// One message of the corpus, with whom it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `group/what-is-odd`: unique, and fit for a file's name but for the slash.
    pub name: String,
    /// The message; line ends are as it has them.
    pub octets: Bytes,
    /// It keeps the rules of RFC 5322 and MIME, or breaks only those of HTML, as mail does every day; it is no template, and not so large that an
    /// edit would meet a limit of the host: a plugin has no reason to call it broken.
    pub is_sound: bool,
    /// Data for all recipients.
    pub variables: Map<String, Value>,
    /// Addresses, each with data of its own.
    pub recipients: Vec<(&'static str, Map<String, Value>)>,
}

/// Adds the samples of a group.
type Fill = fn(&mut Group);

/// Returns the whole corpus, always in the same order.
pub fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let groups: [(&'static str, Fill); 9] = [
        ("header", header::fill),
        ("address", address::fill),
        ("mime", mime::fill),
        ("parameter", parameter::fill),
        ("body", body::fill),
        ("charset", charset::fill),
        ("html", html::fill),
        ("data", data::fill),
        ("mutation", mutation::fill),
    ];
    for (name, fill) in groups {
        let mut group = Group { name, samples: Vec::new() };
        fill(&mut group);
        all.append(&mut group.samples);
    }
    all
}

/// The samples of one kind, as they are collected.
struct Group {
    name: &'static str,
    samples: Vec<Sample>,
}

impl Group {
    /// Adds a message that keeps the rules.
    fn sound(&mut self, name: impl AsRef<str>, octets: impl Into<Vec<u8>>) {
        self.add(name.as_ref(), octets.into(), true);
    }

    /// Adds a message that breaks them.
    fn broken(&mut self, name: impl AsRef<str>, octets: impl Into<Vec<u8>>) {
        self.add(name.as_ref(), octets.into(), false);
    }

    fn add(&mut self, name: &str, octets: Vec<u8>, is_sound: bool) {
        let ann = Map::from_iter([("name".to_owned(), Value::from("Ann"))]);
        self.samples.push(Sample {
            name: format!("{}/{name}", self.name),
            octets: octets.into(),
            is_sound,
            variables: Map::new(),
            recipients: vec![("ann@example.net", ann), ("bob@example.org", Map::new())],
        });
    }
}

/// Header fields that every mail has.
const USUAL: &str = "From: News <news@example.com>\r\nTo: Ann <ann@example.net>\r\nSubject: November\r\n\
                     Date: Mon, 02 Nov 2026 09:00:00 +0000\r\nMessage-ID: <november@example.com>\r\nMIME-Version: 1.0\r\n";

/// Returns a message with the usual header fields, those of `header` behind them (each with its CRLF), and a body.
fn message(header: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut octets = Vec::from(USUAL);
    octets.extend_from_slice(header.as_bytes());
    octets.extend_from_slice(b"\r\n");
    octets.extend_from_slice(body.as_ref());
    octets
}

/// Returns a message that is one text/plain of UTF-8.
fn text(body: impl AsRef<[u8]>) -> Vec<u8> {
    message("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", body)
}

/// Returns a newsletter: text, HTML, a picture in the HTML, an attachment.
fn newsletter() -> Vec<u8> {
    message(
        "Content-Type: multipart/mixed; boundary=mixed\r\n",
        "This is MIME.\r\n--mixed\r\nContent-Type: multipart/alternative; boundary=\"alt\"\r\n\r\n\
         --alt\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         What=E2=80=99s new: https://example.com/november\r\n\r\n\
         --alt\r\nContent-Type: multipart/related; boundary=rel\r\n\r\n\
         --rel\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         <html><head><style>h1 { color: #036 } a:hover { color: red }</style></head>\r\n\
         <body><h1>What=E2=80=99s new</h1><img src=3D\"cid:logo@example.com\" alt=3D\"\">\r\n\
         <p>Go to <a href=3D\"https://example.com/november?a=3D1&amp;b=3D2\">the news</a></p></body></html>\r\n\r\n\
         --rel\r\nContent-Type: image/gif\r\nContent-ID: <logo@example.com>\r\nContent-Disposition: inline\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nR0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7\r\n\r\n\
         --rel--\r\n\r\n--alt--\r\n\r\n\
         --mixed\r\nContent-Type: application/pdf; name=\"price list.pdf\"\r\nContent-Disposition: attachment; filename=\"price list.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSPj4K\r\n\r\n--mixed--\r\n",
    )
}

/// Returns a message of about `octets`, most of them an attachment: a small mail with text and HTML where there is no room for one.
pub(super) fn mail_of(octets: usize) -> Vec<u8> {
    let small = |lines: usize| {
        let text = "Read more: https://example.com/november\r\n".repeat(lines);
        message(
            "Content-Type: multipart/alternative; boundary=alt\r\n",
            format!(
                "--alt\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--alt\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
                 <html><head><style>p {{ color: #036 }}</style></head>\r\n\
                 <body><p>Read <a href=\"https://example.com/november\">more</a></p></body></html>\r\n\r\n--alt--\r\n"
            ),
        )
    };
    let whole = newsletter();
    let Some(missing) = octets.checked_sub(whole.len()) else {
        let (one, two) = (small(1).len(), small(2).len());
        return small(1 + octets.saturating_sub(one) / (two - one));
    };
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAx\r\n";
    let text = String::from_utf8(whole).unwrap_or_default();
    text.replace("JVBERi0x", &format!("{}JVBERi0x", line.repeat(missing / line.len()))).into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::BTreeSet;

    use super::*;
    use crate::mail::address::EmailAddress;

    #[test]
    fn it_is_large_and_always_the_same() {
        let corpus = samples();
        assert!(corpus.len() >= 300, "{}", corpus.len());
        assert_eq!(corpus, samples());
        let names: BTreeSet<_> = corpus.iter().map(|sample| sample.name.as_str()).collect();
        assert_eq!(names.len(), corpus.len(), "names are unique");
        let fit = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
        assert_eq!(names.iter().find(|name| !name.chars().all(fit)), None);
        let octets: usize = corpus.iter().map(|sample| sample.octets.len()).sum();
        assert!(octets < 24 << 20, "it takes {octets} octets");
        let distinct: BTreeSet<_> =
            corpus.iter().map(|sample| (&sample.octets, format!("{:?}{:?}", sample.variables, sample.recipients))).collect();
        assert_eq!(distinct.len(), corpus.len(), "no message is there twice");
    }

    #[test]
    fn it_has_messages_of_both_kinds_and_recipients_that_exist() {
        let corpus = samples();
        let sound = corpus.iter().filter(|sample| sample.is_sound).count();
        assert!(sound > 100 && corpus.len() - sound > 100, "{sound} of {}", corpus.len());
        for (address, _) in corpus.iter().flat_map(|sample| &sample.recipients) {
            assert!(EmailAddress::parse(address).is_ok(), "{address}");
        }
    }
}
