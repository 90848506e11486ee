//! The header of what is handed in: what one look over it tells, and what a submission server makes of it. We add the trace field (RFC 5321
//! §4.4), and Date and Message-ID where they are missing (RFC 6409 §8); we leave out what is not for the recipient.

use std::fmt::Write;
use std::ops::Range;

use bytes::Bytes;

use crate::chain::options::is_service_field;
use crate::mail::domain::Domain;
use crate::mail::header;
use crate::mail::header::raw_fields::RawFields;
use crate::mail::message_id::MessageId;
use crate::submission::{Protocol, Submission};

/// Octets of a subject that are kept in events.
pub(super) const SUBJECT: usize = 998;

/// Fields that we add at most: Received, Date, Message-ID.
pub(super) const ADDED_FIELDS: usize = 3;

/// Fields that are left out: those that name hidden recipients (RFC 5322 §3.6.3; who they are says the envelope), and the one that is only the
/// last host's to write (RFC 5321 §4.4).
const HIDDEN: [&[u8]; 3] = [b"Bcc", b"Resent-Bcc", b"Return-Path"];

/// Fields that stay where a message is rebuilt, beside those that are looked for.
const KNOWN: [&str; 11] =
    ["Sender", "Reply-To", "To", "Cc", "In-Reply-To", "References", "Comments", "Keywords", "MIME-Version", "TLS-Required", "Received"];

/// What others that stay begin with.
const KNOWN_BEGINNINGS: [&str; 3] = ["Resent-", "Content-", "List-"];

/// Fields that the first-party plugins read, apart from those that steer a service.
const READ_BY_PLUGINS: [&[u8]; 5] = [b"X-Tubepost-Tags", b"X-OMS-Tags", b"X-OhMySMTP-Tags", b"X-MailPace-Tags", b"X-List-Unsubscribe"];

/// Says whether bounces come back to us; goes before what the call says and what the login has.
const TRACK_BOUNCES: &[u8] = b"X-SMTPeter-TrackBounces";

/// What one look over the header tells.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct HeaderFacts<'a> {
    /// How many fields there are.
    pub(super) fields: usize,
    /// How many Received fields there are.
    pub(super) received: usize,
    /// All From fields, as they stand.
    pub(super) from: Vec<&'a [u8]>,
    /// Why nobody should take it.
    pub(super) flaw: Option<Flaw>,
    /// How many To fields there are.
    pub(super) to: usize,
    /// Whether it says `TLS-Required: No` (RFC 8689 §3).
    pub(super) tls_not_required: bool,
    has_date: bool,
    has_message_id: bool,
    /// What `X-SMTPeter-TrackBounces` says, where it says anything.
    pub(super) track_bounces: Option<bool>,
    /// The first Subject as it stands.
    subject: Option<&'a [u8]>,
    /// Whether the message begins with a field, or with the empty line; else all of it is body.
    begins_as_header: bool,
    /// Whether fields that are not known are left out.
    rebuild: bool,
    /// What is left out, in order.
    dropped: Vec<Dropped>,
}

/// Why a header cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It has more octets than were looked at.
    TooLarge,
    /// There are fields, and a line that is none: readers differ in where such a header ends.
    Junk,
}

/// Lines that are left out.
#[derive(Debug)]
struct Dropped {
    place: Range<usize>,
    /// It steers a service: a chain reads it first.
    is_option: bool,
}

impl<'a> HeaderFacts<'a> {
    /// Looks at the header of a message, of `limit` octets at most; at its body not at all. `rebuild` is whether to keep what is known alone.
    pub(super) fn read(content: &'a [u8], limit: usize, rebuild: bool) -> Self {
        let mut facts = Self {
            fields: 0,
            received: 0,
            from: Vec::new(),
            flaw: None,
            to: 0,
            tls_not_required: false,
            has_date: false,
            has_message_id: false,
            track_bounces: None,
            subject: None,
            begins_as_header: true,
            rebuild,
            dropped: Vec::new(),
        };
        // With the empty line behind a header that is as large as it may be.
        let seen = content.get(..limit.saturating_add(2)).unwrap_or(content);
        let mut lines = RawFields::of(seen);
        for line in lines.by_ref() {
            match line.field {
                Some((name, value)) => facts.field(name, value, line.place),
                // The envelope of a mailbox file, which its readers write in front of a message, or have quoted.
                None if line.place.start == 0 && (seen.starts_with(b"From ") || seen.starts_with(b">From ")) => {
                    facts.dropped.push(Dropped { place: line.place, is_option: false });
                }
                None => facts.flaw = Some(Flaw::Junk),
            }
        }
        if facts.fields == 0 && lines.place() > 0 {
            // No header at all: everything is body.
            facts.begins_as_header = false;
            facts.flaw = None;
            facts.dropped.clear();
        } else if seen.len() < content.len() && lines.place() >= seen.len() {
            facts.flaw = Some(Flaw::TooLarge);
        }
        facts
    }

    fn field(&mut self, name: &[u8], value: &'a [u8], place: Range<usize>) {
        self.fields += 1;
        self.to += usize::from(name.eq_ignore_ascii_case(b"To"));
        if name.eq_ignore_ascii_case(b"Received") {
            self.received += 1;
        } else if name.eq_ignore_ascii_case(b"From") {
            self.from.push(value);
        } else if name.eq_ignore_ascii_case(b"Date") {
            self.has_date = true;
        } else if name.eq_ignore_ascii_case(b"Message-ID") {
            if self.rebuild {
                self.dropped.push(Dropped { place, is_option: false });
            }
            self.has_message_id = !self.rebuild;
        } else if name.eq_ignore_ascii_case(b"TLS-Required") {
            self.tls_not_required |= value.trim_ascii().eq_ignore_ascii_case(b"No");
        } else if name.eq_ignore_ascii_case(b"Subject") {
            self.subject.get_or_insert(value);
        } else if HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)) {
            self.dropped.push(Dropped { place, is_option: false });
        } else if is_service_field(name) {
            if name.eq_ignore_ascii_case(TRACK_BOUNCES) {
                self.track_bounces = switch(value);
            }
            self.dropped.push(Dropped { place, is_option: true });
        } else if self.rebuild && !is_known(name) {
            let is_option = READ_BY_PLUGINS.iter().any(|read| name.eq_ignore_ascii_case(read));
            self.dropped.push(Dropped { place, is_option });
        }
    }

    /// Returns the decoded subject, cut at 998 octets.
    pub(super) fn subject(&self) -> String {
        super::cut(header::decode("Subject", self.subject.unwrap_or_default()), SUBJECT)
    }
}

/// Whether a field is one of RFC 5322 §3.6, of MIME, of a list (RFC 2369, RFC 2919, RFC 8058), or the one that RFC 8689 has.
fn is_known(name: &[u8]) -> bool {
    let begins = |start: &str| name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()));
    KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) || KNOWN_BEGINNINGS.iter().any(|start| begins(start))
}

/// Returns the `content` of a submission, which `facts` are about, with our fields in front of it, and without what is not for the recipient. Where a chain comes that reads the fields
/// that steer a service, these stay.
pub(super) fn prepend(submission: &Submission, content: &[u8], facts: &HeaderFacts<'_>, hostname: &Domain, has_chain: bool) -> Bytes {
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
    let mut octets = Vec::with_capacity(fields.len() + content.len());
    octets.extend_from_slice(fields.as_bytes());
    let mut kept = 0;
    for Dropped { place, .. } in facts.dropped.iter().filter(|dropped| !(dropped.is_option && has_chain)) {
        octets.extend_from_slice(content.get(kept..place.start).unwrap_or_default());
        kept = place.end;
    }
    octets.extend_from_slice(content.get(kept..).unwrap_or_default());
    octets.into()
}

/// Reads `true` and `false`, and their likes; anything else says nothing.
fn switch(value: &[u8]) -> Option<bool> {
    let is = |words: &[&[u8]]| words.iter().any(|word| value.trim_ascii().eq_ignore_ascii_case(word));
    if is(&[b"true", b"yes", b"on", b"1"]) {
        return Some(true);
    }
    is(&[b"false", b"no", b"off", b"0"]).then_some(false)
}

fn message_id_field(id: MessageId, hostname: &Domain, fields: &mut String) {
    let _ = write!(fields, "Message-ID: <{id}@{}>\r\n", hostname.to_ascii());
}

/// `Received: from helo ([address]) by hostname with protocol id id for <recipient>; date` (RFC 5321 §4.4).
pub(crate) fn received_field(submission: &Submission, hostname: &Domain, fields: &mut String) {
    let received = &submission.received;
    // An IPv4 client on an IPv6 socket is an IPv4 client.
    let literal = match received.peer.to_canonical() {
        address if address.is_unspecified() => "unknown".to_owned(),
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
        Protocol::Esmtp if smtputf8 => "UTF8SMTP",
        Protocol::Esmtps if smtputf8 => "UTF8SMTPS",
        Protocol::Esmtpa | Protocol::Esmtpsa | Protocol::Http | Protocol::Https | Protocol::Local | Protocol::Esmtp | Protocol::Esmtps => {
            protocol.keyword()
        }
    }
}
