//! Messages made of fields, as the REST dialects take them: RFC 5322 header, MIME body with as many levels as it needs.
//!
//! `mixed(related(alternative(plain, html), inline…), file…)`; a level with one thing in it is left out. No field can add a field, and
//! `Bcc` is never written.

use bytes::Bytes;

use super::edit::part_header;
use super::transfer::{Kind, TransferEncoding, normalize_line_ends};
use super::{EditError, NewPart};
use crate::clock::{Entropy, Timestamp};
use crate::mail::header::{self, AddressListError, FieldError, Mailbox, MessageIdField};

/// What a message is made of. Text has any line ends.
#[derive(Clone, Debug)]
pub struct MessageFields {
    /// At least one.
    pub from: Vec<Mailbox>,
    /// The header field; who gets the message is said by the envelope.
    pub to: Vec<Mailbox>,
    /// As `to`.
    pub cc: Vec<Mailbox>,
    /// Where answers go, if not to `from`.
    pub reply_to: Vec<Mailbox>,
    /// One line.
    pub subject: Option<String>,
    /// Body as plain text.
    pub text: Option<String>,
    /// Body as HTML.
    pub html: Option<String>,
    /// Files that the HTML shows; attachments where there is no HTML.
    pub inline: Vec<File>,
    /// Files.
    pub attachments: Vec<File>,
    /// Fields of the sender's own. Those that have a place above count only where that is empty; `Date` and `Message-ID` win; `Bcc` and
    /// `Return-Path` are left out.
    pub headers: Vec<(String, String)>,
    /// Ids of the messages that this one answers.
    pub in_reply_to: Vec<MessageIdField>,
    /// Ids of the conversation.
    pub references: Vec<MessageIdField>,
    /// `Date`.
    pub date: Timestamp,
    /// `Message-ID`.
    pub message_id: MessageIdField,
}

/// A file that goes with a message.
#[derive(Clone, Debug)]
pub struct File {
    /// As the reader sees it.
    pub name: Option<String>,
    /// `type/subtype`, parameters allowed; `application/octet-stream` if nothing is said.
    pub content_type: Option<String>,
    /// What HTML calls it by: see [`content_id`].
    pub content_id: Option<String>,
    /// Decoded.
    pub content: Bytes,
}

/// A field is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BuildError {
    /// Its name, as in [`MessageFields`]; with its place or name, where it has one: `attachments[1]`, `headers.X-Foo`.
    pub field: String,
    /// What is wrong, as a phrase.
    pub reason: String,
}

impl BuildError {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// Reads an address field that is given as one or more texts, each of them a list with commas: `["\"A, B\" <a@x>, c@x", "d@x"]` has three.
///
/// # Errors
/// One of them is no list of addresses.
pub fn address_list<'a>(elements: impl IntoIterator<Item = &'a str>) -> Result<Vec<Mailbox>, AddressListError> {
    let mut mailboxes = Vec::new();
    for element in elements {
        mailboxes.append(&mut Mailbox::parse_list(element)?);
    }
    Ok(mailboxes)
}

/// Returns a content id without what senders put around it: blanks, angle brackets, `cid:`. `None` if nothing is left.
pub fn content_id(text: &str) -> Option<&str> {
    let mut id = text;
    loop {
        let before = id.len();
        id = id.trim().trim_start_matches('<').trim_end_matches('>');
        if id.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:")) {
            id = id.get(4..).unwrap_or_default();
        }
        if id.len() == before {
            return (!id.is_empty()).then_some(id);
        }
    }
}

/// A node of the body.
enum Node {
    Leaf { header: Bytes, body: Bytes },
    Multipart { subtype: &'static str, children: Vec<Self> },
}

impl MessageFields {
    /// Returns the message: ASCII but for addresses that are not, lines of at most 998 octets that end in CRLF.
    ///
    /// The same fields and the same random numbers give the same octets.
    ///
    /// # Errors
    /// A field cannot be part of a message; the error names it.
    pub fn build(&self, entropy: &Entropy) -> Result<Bytes, BuildError> {
        let mut octets = Vec::with_capacity(self.length_estimate());
        self.write_header(&mut octets)?;
        octets.extend_from_slice(b"MIME-Version: 1.0\r\n");
        self.body()?.write(entropy, &mut octets);
        if !octets.ends_with(b"\r\n") {
            octets.extend_from_slice(b"\r\n");
        }
        Ok(octets.into())
    }

    fn length_estimate(&self) -> usize {
        let texts = [&self.text, &self.html].into_iter().flatten().map(|text| text.len() + text.len() / 10).sum::<usize>();
        let files = self.files().map(|file| TransferEncoding::Base64.encoded_length(file.content.len()) + 400).sum::<usize>();
        2_000 + texts + files
    }

    fn files(&self) -> impl Iterator<Item = &File> {
        self.inline.iter().chain(&self.attachments)
    }

    fn write_header(&self, octets: &mut Vec<u8>) -> Result<(), BuildError> {
        if self.from.is_empty() {
            return Err(BuildError::new("from", "is missing"));
        }
        let list = |mailboxes: &[Mailbox]| mailboxes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let ids = |ids: &[MessageIdField]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let known = [
            ("date", "Date", self.date.to_rfc5322()),
            ("from", "From", list(&self.from)),
            ("reply_to", "Reply-To", list(&self.reply_to)),
            ("to", "To", list(&self.to)),
            ("cc", "Cc", list(&self.cc)),
            ("subject", "Subject", self.subject.clone().unwrap_or_default()),
            ("message_id", "Message-ID", self.message_id.to_string()),
            ("in_reply_to", "In-Reply-To", ids(&self.in_reply_to)),
            ("references", "References", ids(&self.references)),
        ];
        for (field, name, value) in known {
            let own = self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
            let is_replaced = own && (value.is_empty() || is_ours_to_give(name));
            if !value.is_empty() && !is_replaced {
                octets.extend_from_slice(&header::encode(name, &value).map_err(|error| BuildError::new(field, error.to_string()))?);
            }
        }
        let mut written: Vec<&str> = Vec::new();
        for (name, value) in &self.headers {
            let known = known_field(name);
            let is_given = match known {
                Some("From") => true,
                Some("Reply-To") => !self.reply_to.is_empty(),
                Some("To") => !self.to.is_empty(),
                Some("Cc") => !self.cc.is_empty(),
                Some("Subject") => self.subject.as_deref().is_some_and(|subject| !subject.is_empty()),
                Some("In-Reply-To") => !self.in_reply_to.is_empty(),
                Some("References") => !self.references.is_empty(),
                _ => false,
            };
            let is_private = ["Bcc", "Resent-Bcc", "Return-Path"].iter().any(|private| private.eq_ignore_ascii_case(name));
            let is_double = known.is_some_and(|known| written.contains(&known));
            let error = |error: FieldError| BuildError::new(format!("headers.{}", printable(name)), error.to_string());
            let field = header::encode(name, value).map_err(error)?;
            if is_of_body(name) {
                return Err(BuildError::new(format!("headers.{name}"), "is made by the server"));
            }
            if !is_given && !is_private && !is_double {
                octets.extend_from_slice(&field);
                written.extend(known);
            }
        }
        Ok(())
    }

    /// Puts the parts together, with as few levels as there can be.
    fn body(&self) -> Result<Node, BuildError> {
        let mut texts = Vec::with_capacity(2);
        if let Some(text) = &self.text {
            texts.push(leaf("text/plain", text));
        }
        if let Some(html) = &self.html {
            texts.push(leaf("text/html", html));
        }
        let mut inline = Vec::with_capacity(self.inline.len());
        for (place, file) in self.inline.iter().enumerate() {
            inline.push(file.node(self.html.is_some(), &format!("inline[{place}]"))?);
        }
        let mut files = Vec::with_capacity(self.attachments.len());
        for (place, file) in self.attachments.iter().enumerate() {
            files.push(file.node(false, &format!("attachments[{place}]"))?);
        }
        if texts.is_empty() && inline.is_empty() && files.is_empty() {
            texts.push(leaf("text/plain", ""));
        }
        let mut shown: Vec<Node> = join("alternative", texts).into_iter().collect();
        shown.append(&mut inline);
        // What is shown in no HTML is a file as any other.
        let mut mixed = if self.html.is_some() { join("related", shown).into_iter().collect() } else { shown };
        mixed.append(&mut files);
        join("mixed", mixed).ok_or_else(|| BuildError::new("text", "is missing"))
    }
}

/// Returns how a field is written that has a place of its own in [`MessageFields`].
fn known_field(name: &str) -> Option<&'static str> {
    let known = ["Date", "From", "Reply-To", "To", "Cc", "Subject", "Message-ID", "In-Reply-To", "References"];
    known.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

/// Fields that always have a value, which gives way to the sender's own.
fn is_ours_to_give(name: &str) -> bool {
    name == "Date" || name == "Message-ID"
}

/// Fields that say how the body is built.
fn is_of_body(name: &str) -> bool {
    name.eq_ignore_ascii_case("MIME-Version") || name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("Content-"))
}

/// What can be shown of a name that may hold anything.
fn printable(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(40).collect()
}

/// Returns nothing of nothing, the only one of one, and a multipart of several.
fn join(subtype: &'static str, mut nodes: Vec<Node>) -> Option<Node> {
    if nodes.len() < 2 { nodes.pop() } else { Some(Node::Multipart { subtype, children: nodes }) }
}

fn leaf(content_type: &str, text: &str) -> Node {
    let content = normalize_line_ends(text);
    let encoding = TransferEncoding::SevenBit.for_content(&content, Kind::Text);
    let header = format!("Content-Type: {content_type}; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n", encoding.as_str());
    Node::Leaf { header: header.into(), body: encoding.encode(&content, Kind::Text) }
}

impl File {
    fn node(&self, inline: bool, field: &str) -> Result<Node, BuildError> {
        let part = NewPart {
            content_type: self.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned()),
            filename: self.name.clone(),
            content_id: self.content_id.as_deref().and_then(content_id).map(str::to_owned),
            inline,
            content: self.content.clone(),
        };
        if self.name.as_deref().is_some_and(|name| !header::is_field_value(name)) {
            return Err(BuildError::new(field, "a file name holds no control characters"));
        }
        let (header, entity) = part_header(&part).map_err(|error| match error {
            EditError::Invalid(reason) | EditError::Denied(reason) => BuildError::new(field, reason),
            EditError::NoSuchPart => BuildError::new(field, error.to_string()),
        })?;
        Ok(Node::Leaf { header, body: entity.encoding.encode(&self.content, entity.kind()) })
    }
}

impl Node {
    /// Writes header and body.
    fn write(self, entropy: &Entropy, octets: &mut Vec<u8>) {
        match self {
            Self::Leaf { header, body } => {
                octets.extend_from_slice(&header);
                octets.extend_from_slice(&body);
            }
            Self::Multipart { subtype, children } => {
                // 128 random bits stand in no part.
                let boundary = format!("{:032x}", u128::from_be_bytes(entropy.array()));
                octets.extend_from_slice(format!("Content-Type: multipart/{subtype}; boundary=\"{boundary}\"\r\n").as_bytes());
                for child in children {
                    octets.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
                    child.write(entropy, octets);
                }
                octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
