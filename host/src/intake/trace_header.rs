//! What a submission server adds to a header: the trace field (RFC 5321 §4.4), and Date and Message-ID where they are missing (RFC 6409 §8).

use std::fmt::Write;

use bytes::Bytes;

use super::joined;
use crate::mail::address::EmailAddress;
use crate::mail::content::Draft;
use crate::mail::domain::Domain;
use crate::mail::message_id::MessageId;
use crate::submission::{Protocol, Submission};

/// Octets of a subject that are kept in events.
const SUBJECT: usize = 998;

/// What one look over the header tells.
#[derive(Debug)]
pub(super) struct HeaderFacts<'a> {
    /// The header, without the empty line that ends it.
    header: &'a [u8],
    /// How many fields there are.
    pub(super) fields: usize,
    /// How many Received fields there are.
    pub(super) received: usize,
    has_date: bool,
    has_message_id: bool,
    /// The first Subject as it stands.
    subject: Option<&'a [u8]>,
    /// Whether the message begins with a field, or with the empty line.
    begins_as_header: bool,
}

impl<'a> HeaderFacts<'a> {
    /// Looks at the header of a message; at its body not at all.
    pub(super) fn read(content: &'a [u8]) -> Self {
        let mut facts =
            Self { header: content, fields: 0, received: 0, has_date: false, has_message_id: false, subject: None, begins_as_header: true };
        let mut start = 0;
        while let Some(rest) = content.get(start..).filter(|rest| !rest.is_empty()) {
            let end = field_length(rest);
            let (field, _) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if field.starts_with(b"\r\n") {
                break;
            }
            let name = memchr::memchr(b':', field).and_then(|colon| Some((field.get(..colon)?, field.get(colon + 1..)?)));
            match name {
                Some((name, value)) if is_name(name) => facts.field(name.trim_ascii_end(), value),
                _ if start == 0 => {
                    // No header at all: everything is body.
                    facts.begins_as_header = false;
                    break;
                }
                _ => {}
            }
            start += end;
        }
        facts.header = content.get(..start).unwrap_or_default();
        facts
    }

    fn field(&mut self, name: &[u8], value: &'a [u8]) {
        self.fields += 1;
        if name.eq_ignore_ascii_case(b"Received") {
            self.received += 1;
        } else if name.eq_ignore_ascii_case(b"Date") {
            self.has_date = true;
        } else if name.eq_ignore_ascii_case(b"Message-ID") {
            self.has_message_id = true;
        } else if name.eq_ignore_ascii_case(b"Subject") && self.subject.is_none() {
            self.subject = Some(value);
        }
    }

    /// Returns the decoded subject, cut at 998 octets.
    pub(super) fn subject(&self) -> String {
        let Some(raw) = self.subject else { return String::new() };
        let raw = raw.trim_ascii();
        let plain = raw.is_ascii() && !raw.contains(&b'\r') && memchr::memmem::find(raw, b"=?").is_none();
        let text = if plain {
            String::from_utf8_lossy(raw).into_owned()
        } else {
            Draft::new(Bytes::copy_from_slice(self.header)).header("Subject").unwrap_or_default()
        };
        super::cut(text, SUBJECT)
    }

    /// Returns the addresses of all From fields; an error is a text that is no address.
    pub(super) fn senders(&self) -> Vec<Result<EmailAddress, String>> {
        let Some(message) = mail_parser::MessageParser::default().parse_headers(self.header) else { return Vec::new() };
        let from = message.headers().iter().filter(|header| header.name == mail_parser::HeaderName::From);
        let mut addresses = Vec::new();
        for header in from {
            let Some(list) = header.value.as_address() else {
                addresses.push(Err(String::new()));
                continue;
            };
            for mailbox in list.iter() {
                let text = mailbox.address.as_deref().unwrap_or_default().trim();
                addresses.push(EmailAddress::parse(text).map_err(|_| text.to_owned()));
            }
        }
        addresses
    }
}

/// Octets of the first field, its folded lines and line end included.
fn field_length(rest: &[u8]) -> usize {
    for newline in memchr::memchr_iter(b'\n', rest) {
        match rest.get(newline + 1) {
            // A folded line goes on; the empty line is a field of its own.
            Some(b' ' | b'\t') if newline > 1 => {}
            _ => return newline + 1,
        }
    }
    rest.len()
}

fn is_name(name: &[u8]) -> bool {
    let name = name.trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Returns the message with our fields in front of it.
pub(super) fn prepend(submission: &Submission, facts: &HeaderFacts<'_>, hostname: &Domain) -> Bytes {
    let mut fields = String::with_capacity(512);
    received_field(submission, hostname, &mut fields);
    // Writing to a String cannot fail.
    if !facts.has_date {
        let _ = write!(fields, "Date: {}\r\n", submission.received.at.to_rfc5322());
    }
    if !facts.has_message_id {
        message_id_field(submission.id, hostname, &mut fields);
    }
    if !facts.begins_as_header {
        fields.push_str("\r\n");
    }
    joined(&fields, &submission.content)
}

fn message_id_field(id: MessageId, hostname: &Domain, fields: &mut String) {
    let _ = write!(fields, "Message-ID: <{id}@{}>\r\n", hostname.to_ascii());
}

/// `Received: from helo ([address]) by hostname with protocol id id for <recipient>; date` (RFC 5321 §4.4).
fn received_field(submission: &Submission, hostname: &Domain, fields: &mut String) {
    let received = &submission.received;
    // An IPv4 client on an IPv6 socket is an IPv4 client.
    let literal = match received.peer.to_canonical() {
        std::net::IpAddr::V4(address) => format!("[{address}]"),
        std::net::IpAddr::V6(address) => format!("[IPv6:{address}]"),
    };
    // What the client calls itself is its own invention: only what is a domain goes into a header.
    let helo = received.helo.as_deref().and_then(|helo| Domain::parse(helo).ok()).map(|domain| domain.to_ascii());
    let _ = write!(
        fields,
        "Received: from {} ({literal})\r\n\tby {} with {} id {}",
        helo.as_deref().unwrap_or(&literal),
        hostname.to_ascii(),
        keyword(received.protocol, submission.envelope.smtputf8),
        submission.id,
    );
    // More than one would tell each recipient of the others (RFC 5321 §7.6).
    if let [only] = submission.envelope.forward_paths.as_slice() {
        let _ = write!(fields, "\r\n\tfor <{}>", only.address);
    }
    let _ = write!(fields, ";\r\n\t{}\r\n", received.at.to_rfc5322());
}

/// The `with` of the trace field: RFC 3848, and RFC 6531 §4.3 where SMTPUTF8 was asked for.
fn keyword(protocol: Protocol, smtputf8: bool) -> &'static str {
    match protocol {
        Protocol::Esmtpa if smtputf8 => "UTF8SMTPA",
        Protocol::Esmtpsa if smtputf8 => "UTF8SMTPSA",
        Protocol::Esmtpa | Protocol::Esmtpsa | Protocol::Http | Protocol::Https | Protocol::Local => protocol.keyword(),
    }
}
