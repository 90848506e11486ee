//! From the fields of a call to an RFC 5322 message: the one place where the dialects' content meets MIME.
//!
//! Header fields are written by [`header`], as those are that plugins edit; the MIME structure and its bodies by `mail-builder`.

use std::borrow::Cow;

use bytes::Bytes;
use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::{BodyPart, MimePart};
use percent_encoding::{AsciiSet, utf8_percent_encode};

use super::address_list::Element;
use super::raw_mime;
use crate::clock::{Entropy, Timestamp};
use crate::mail::domain::Domain;
use crate::mail::header::message_id_field::MessageIdFieldError;
use crate::mail::header::{self, FieldError, MAX_LINE, MessageIdField};
use crate::mail::message_id::MessageId;

/// What a call asks to send.
#[derive(Clone, Debug)]
pub enum Content {
    /// A message as the caller made it, line ends and header in order.
    Raw(Bytes),
    /// Fields to make one of.
    Letter(Box<Letter>),
}

/// The parts of a message. All texts that go into header fields are without line breaks.
#[derive(Clone, Debug, Default)]
pub struct Letter {
    /// `From`.
    pub from: Option<Element>,
    /// `To`; none is "undisclosed recipients".
    pub to: Vec<Element>,
    /// `Cc`.
    pub cc: Vec<Element>,
    /// `Reply-To`.
    pub reply_to: Vec<Element>,
    /// `Subject`.
    pub subject: Option<String>,
    /// Other fields, in order.
    pub headers: Vec<HeaderField>,
    /// What stands below the header.
    pub body: Body,
}

/// A field that the caller names, ready to stand in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    name: String,
    value: String,
    octets: Vec<u8>,
}

/// Why a field cannot stand in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFieldError {
    /// Name or value.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The field is made of ids of messages, and this is none.
    #[error(transparent)]
    Id(#[from] MessageIdFieldError),
}

impl HeaderField {
    /// Writes a field.
    ///
    /// Encoded words have no place in ids and URIs (RFC 2047 §5): ids get the angle brackets that some clients forget, and what is not
    /// ASCII in a URI is percent-encoded.
    pub fn new(name: &str, value: &str) -> Result<Self, HeaderFieldError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let written = if ["Message-ID", "In-Reply-To", "References"].into_iter().any(is) {
            Cow::Owned(MessageIdField::parse_list(value)?.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        } else if is("List-Unsubscribe") {
            ascii_uris(value)
        } else {
            Cow::Borrowed(value)
        };
        let octets = header::encode(name, &written)?;
        Ok(Self { name: name.to_owned(), value: value.to_owned(), octets })
    }

    /// Whether the field has this name.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Returns the name as the caller wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value as the caller wrote it.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Percent-encodes what is not ASCII (RFC 3986 §2.1); in the host of a web address, it becomes what DNS has.
fn ascii_uris(list: &str) -> Cow<'_, str> {
    if list.is_ascii() {
        return Cow::Borrowed(list);
    }
    let one = |piece: &str| match url::Url::parse(piece) {
        Ok(url) if !piece.is_ascii() && matches!(url.scheme(), "http" | "https") => url.to_string(),
        Ok(_) | Err(_) => utf8_percent_encode(piece, &AsciiSet::EMPTY).to_string(),
    };
    let mut uris = String::with_capacity(list.len() * 2);
    for piece in list.split_inclusive(['<', '>']) {
        match piece.strip_suffix('>') {
            Some(uri) => uris.extend([&one(uri), ">"]),
            None => uris.push_str(&one(piece)),
        }
    }
    Cow::Owned(uris)
}

/// What stands below the header of a [`Letter`].
#[derive(Clone, Debug)]
pub enum Body {
    /// Parts, from which the MIME structure follows: mixed(related(alternative(text, html), inline files), files).
    Parts {
        /// text/plain.
        text: Option<String>,
        /// text/html.
        html: Option<String>,
        /// Files, inline ones among them.
        files: Vec<Attachment>,
    },
    /// Text, line ends in order; as it is where mail can be so.
    Bare(String),
}

impl Default for Body {
    fn default() -> Self {
        Self::Parts { text: None, html: None, files: Vec::new() }
    }
}

/// A file in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What readers see.
    pub name: Option<String>,
    /// `type/subtype`; never a multipart or message, which may not be encoded.
    pub content_type: String,
    /// What HTML names it by, without `<>`: makes it inline.
    pub content_id: Option<String>,
    /// Its octets.
    pub content: Bytes,
}

/// What a message gets from us: its id, its time, our name.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Left side of the Message-ID field.
    pub id: MessageId,
    /// `Date`.
    pub now: Timestamp,
    /// Right side of the Message-ID field.
    pub hostname: &'a Domain,
    /// For MIME boundaries.
    pub entropy: &'a Entropy,
}

impl Content {
    /// Returns the octets of the message.
    pub fn into_octets(self, stamp: Stamp<'_>) -> Bytes {
        match self {
            Self::Raw(octets) => octets,
            Self::Letter(letter) => letter.into_octets(stamp),
        }
    }

    /// Whether the header holds addresses that only SMTPUTF8 (RFC 6531) can carry.
    pub fn needs_smtputf8(&self) -> bool {
        match self {
            Self::Raw(_) => false,
            Self::Letter(letter) => {
                let mut all = letter.from.iter().chain(&letter.to).chain(&letter.cc).chain(&letter.reply_to);
                all.any(|element| element.address().is_some_and(|address| !address.is_ascii()))
            }
        }
    }
}

impl Letter {
    fn into_octets(self, stamp: Stamp<'_>) -> Bytes {
        let boundary = u128::from_be_bytes(stamp.entropy.array());
        let root = match self.body {
            Body::Parts { text, html, files } => structure(text, html, files, boundary),
            Body::Bare(text) if is_plain_mail(&text) => MimePart::raw(format!("\r\n{text}").into_bytes()),
            Body::Bare(text) => leaf("text/plain", &text),
        };
        // Files are encoded already; texts may grow a little.
        let mut octets = Vec::with_capacity(4096 + root.size() + root.size() / 8);
        if let Some(from) = self.from {
            octets.extend_from_slice(&address_field("From", &[from]));
        }
        if self.to.is_empty() {
            octets.extend_from_slice(b"To: undisclosed-recipients:;\r\n");
        }
        for (name, list) in [("To", self.to), ("Cc", self.cc), ("Reply-To", self.reply_to)] {
            if !list.is_empty() {
                octets.extend_from_slice(&address_field(name, &list));
            }
        }
        let mut put = |name: &str, value: &str| octets.extend_from_slice(&header::encode_lossy(name, value));
        if let Some(subject) = self.subject {
            put("Subject", &subject);
        }
        let has = |name: &str| self.headers.iter().any(|field| field.is(name));
        if !has("Date") {
            put("Date", &stamp.now.to_rfc5322());
        }
        if !has("Message-ID") {
            put("Message-ID", &format!("<{}@{}>", stamp.id, stamp.hostname.to_ascii()));
        }
        for field in &self.headers {
            octets.extend_from_slice(&field.octets);
        }
        octets.extend_from_slice(b"MIME-Version: 1.0\r\n");
        root.write_part(&mut octets);
        octets.into()
    }
}

/// Whether a text is mail without being encoded (RFC 5322 §2.1).
fn is_plain_mail(text: &str) -> bool {
    text.is_ascii() && text.split("\r\n").all(|line| line.len() <= MAX_LINE)
}

/// Writes a field of addresses, each on a line of its own.
///
/// One by one, because a placeholder may look like a part of the list; it stands as it was written, for the plugin to find.
pub fn address_field(name: &str, list: &[Element]) -> Vec<u8> {
    let mut octets = format!("{name}: ").into_bytes();
    for (place, element) in list.iter().enumerate() {
        if place > 0 {
            octets.extend_from_slice(b",\r\n ");
        }
        let field = header::encode_lossy(name, &element.to_string());
        octets.extend_from_slice(field.get(name.len() + 2..).unwrap_or_default().trim_ascii_end());
    }
    octets.extend_from_slice(b"\r\n");
    octets
}

/// A part of text, its line ends in order.
fn leaf(content_type: &'static str, text: &str) -> MimePart<'static> {
    MimePart::new(content_type, raw_mime::with_crlf(text).into_owned())
}

fn structure(text: Option<String>, html: Option<String>, files: Vec<Attachment>, boundary: u128) -> MimePart<'static> {
    let (inline, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.content_id.is_some() && html.is_some());
    let mut root = match (text, html) {
        (Some(text), Some(html)) => multipart("alternative", boundary, vec![leaf("text/plain", &text), leaf("text/html", &html)]),
        (None, Some(html)) => leaf("text/html", &html),
        (text, None) => leaf("text/plain", &text.unwrap_or_default()),
    };
    if !inline.is_empty() {
        root = multipart("related", boundary, std::iter::once(root).chain(inline.into_iter().map(file)).collect());
    }
    if !files.is_empty() {
        root = multipart("mixed", boundary, std::iter::once(root).chain(files.into_iter().map(file)).collect());
    }
    root
}

/// The boundary cannot occur in a part: it begins with what neither base64 nor quoted-printable writes.
fn multipart(kind: &str, boundary: u128, parts: Vec<MimePart<'static>>) -> MimePart<'static> {
    let content_type = ContentType::new(format!("multipart/{kind}")).attribute("boundary", format!("=_{kind}_{boundary:032x}"));
    MimePart::new(content_type, BodyPart::Multipart(parts))
}

fn file(file: Attachment) -> MimePart<'static> {
    let disposition = ContentType::new(if file.content_id.is_some() { "inline" } else { "attachment" });
    let (content_type, disposition) = match file.name {
        Some(name) => {
            // The old `name` parameter beside RFC 2183's `filename`: there are readers that know only that.
            (ContentType::new(file.content_type).attribute("name", name.clone()), disposition.attribute("filename", name))
        }
        None => (ContentType::new(file.content_type), disposition),
    };
    // A file's octets are its own: base64 for text too, as line ends would change otherwise.
    let encoded = wrapped_base64(&file.content);
    let mut part = MimePart::new(content_type, encoded).header("Content-Disposition", disposition).transfer_encoding("base64");
    if let Some(content_id) = file.content_id {
        part = part.cid(content_id);
    }
    part
}

/// Base64 in lines of 76 characters (RFC 2045 §6.8).
fn wrapped_base64(octets: &[u8]) -> Vec<u8> {
    use base64::Engine;
    let mut encoded = Vec::with_capacity(octets.len().div_ceil(57) * 78);
    for line in octets.chunks(57) {
        encoded.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(line).as_bytes());
        encoded.extend_from_slice(b"\r\n");
    }
    encoded
}

#[cfg(test)]
mod tests;
