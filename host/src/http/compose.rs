//! From the fields of a call to an RFC 5322 message: the one place where the dialects' content meets MIME.

use bytes::Bytes;
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::message_id::MessageId as MessageIdField;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::{BodyPart, MimePart};

use super::address_list::Mailbox;
use super::raw_mime;
use crate::clock::{Entropy, Timestamp};
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
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
    pub from: Option<Mailbox>,
    /// `To`; none is "undisclosed recipients".
    pub to: Vec<Mailbox>,
    /// `Cc`.
    pub cc: Vec<Mailbox>,
    /// `Reply-To`.
    pub reply_to: Vec<Mailbox>,
    /// `Subject`.
    pub subject: Option<String>,
    /// Other fields, in order. Names are valid; what is not ASCII in values is encoded.
    pub headers: Vec<(String, String)>,
    /// What stands below the header.
    pub body: Body,
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
    /// Text as it is, line ends in order.
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
                all.any(|mailbox| !mailbox.address.is_ascii())
            }
        }
    }
}

impl Letter {
    fn into_octets(self, stamp: Stamp<'_>) -> Bytes {
        let boundary = u128::from_be_bytes(stamp.entropy.array());
        let to = if self.to.is_empty() { HeaderType::Raw(Raw::new("undisclosed-recipients:;")) } else { addresses(self.to) };
        let mut builder = MessageBuilder::new();
        if let Some(from) = self.from {
            builder = builder.header("From", addresses(vec![from]));
        }
        builder = builder.header("To", to);
        for (name, list) in [("Cc", self.cc), ("Reply-To", self.reply_to)] {
            if !list.is_empty() {
                builder = builder.header(name, addresses(list));
            }
        }
        if let Some(subject) = self.subject {
            builder = builder.header("Subject", Text::new(subject));
        }
        let has = |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if !has("Date") {
            builder = builder.header("Date", Raw::new(stamp.now.to_rfc5322()));
        }
        if !has("Message-ID") {
            builder = builder.header("Message-ID", MessageIdField::new(format!("{}@{}", stamp.id, stamp.hostname.to_ascii())));
        }
        for (name, value) in self.headers {
            let name = canonical(name);
            builder = builder.header(name, Text::new(value));
        }
        builder = builder.header("MIME-Version", Raw::new("1.0"));
        let root = match self.body {
            Body::Parts { text, html, files } => structure(text, html, files, boundary),
            Body::Bare(text) => MimePart::raw(format!("\r\n{text}").into_bytes()),
        };
        let mut octets = Vec::new();
        builder.body(root).serialize(&mut octets);
        octets.into()
    }
}

/// mail-builder looks for these two by this spelling before it makes its own.
fn canonical(name: String) -> String {
    ["Date", "Message-ID"].into_iter().find(|known| known.eq_ignore_ascii_case(&name)).map_or(name, str::to_owned)
}

fn addresses(list: Vec<Mailbox>) -> HeaderType<'static> {
    let written = |address: &EmailAddress| address.to_ascii_domain();
    let list = list.into_iter().map(|mailbox| Address::new_address(mailbox.name.clone(), written(&mailbox.address)));
    HeaderType::Address(Address::new_list(list.collect()))
}

fn structure(text: Option<String>, html: Option<String>, files: Vec<Attachment>, boundary: u128) -> MimePart<'static> {
    let leaf = |kind: &'static str, content: String| MimePart::new(kind, raw_mime::with_crlf(&content).into_owned());
    let (inline, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.content_id.is_some() && html.is_some());
    let mut root = match (text, html) {
        (Some(text), Some(html)) => multipart("alternative", boundary, vec![leaf("text/plain", text), leaf("text/html", html)]),
        (None, Some(html)) => leaf("text/html", html),
        (text, None) => leaf("text/plain", text.unwrap_or_default()),
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
