//! Delivery status notifications (RFC 3461, RFC 3464): what the sender hears of it.
//!
//! ```text
//! multipart/report; report-type=delivery-status
//! ├── text/plain                                   for people
//! ├── message/delivery-status                      for programs
//! └── text/rfc822-headers or message/rfc822        what came back (RET)
//! ```
//!
//! A report has the null reverse-path and asks for no report itself, so that no loop can begin.

use std::fmt::Write as _;

use bytes::Bytes;

use super::failure::TEXT_LENGTH;
use crate::bounce::Action;
use crate::clock::Timestamp;
use crate::config::unit::ByteSize;
use crate::mail::address::EmailAddress;
use crate::mail::enhanced_status::EnhancedStatus;
use crate::mail::envelope::Return;
use crate::mail::message_id::MessageId;

const EIGHT_BIT: &str = "Content-Transfer-Encoding: 8bit\r\n";

/// A header larger than this is cut.
const RETURNED_HEADER: usize = 32 * 1024;

/// One recipient's part of a report.
#[derive(Clone, Debug)]
pub struct Reported {
    /// Where the copy went.
    pub address: EmailAddress,
    /// `ORCPT` as the sender gave it.
    pub original: Option<String>,
    /// What happened.
    pub action: Action,
    /// Enhanced status code.
    pub status: EnhancedStatus,
    /// The next hop, where one was reached; else "".
    pub host: String,
    /// What the next hop said, or what went wrong.
    pub text: String,
    /// Whether `text` is an SMTP reply.
    pub is_reply: bool,
    /// Until when it is tried, where it is.
    pub until: Option<Timestamp>,
}

/// Everything that a report is made of.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The report's own id.
    pub id: MessageId,
    /// When it is made.
    pub now: Timestamp,
    /// Our name, in A-labels.
    pub hostname: &'a str,
    /// The sender of the message: who gets the report.
    pub sender: &'a EmailAddress,
    /// When the message arrived.
    pub arrived: Timestamp,
    /// `ENVID` of the envelope.
    pub envid: Option<&'a str>,
    /// `RET` of the envelope.
    pub ret: Option<Return>,
    /// The message as it was sent, or its header.
    pub content: &'a Bytes,
    /// A message larger than this comes back as its header alone, whatever RET says.
    pub returned_size: ByteSize,
    /// All of one action.
    pub recipients: &'a [Reported],
}

/// Writes the report as a message.
pub fn compose(report: &Report<'_>) -> Bytes {
    let action = report.recipients.first().map_or(Action::Failed, |recipient| recipient.action);
    let failed = action == Action::Failed;
    // Whoever has such an address reads such a report (RFC 6533 §4).
    let is_international = !report.sender.is_ascii();
    let header = header_of(report.content);
    let small = u64::try_from(report.content.len()).is_ok_and(|length| length <= report.returned_size.0);
    let full = failed && report.ret == Some(Return::Full) && small;
    let returned = if full { &**report.content } else { header };
    let boundary = format!("=_{}", report.id);
    let mut text = String::with_capacity(2048);
    let subject = match action {
        Action::Failed => "Your message could not be delivered",
        Action::Delayed => "Your message has not been delivered yet",
        Action::Delivered => "Your message was delivered",
        Action::Relayed | Action::Expanded => "Your message was passed on",
    };
    let _ = write!(
        text,
        "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\nTo: <{sender}>\r\nSubject: {subject}\r\nDate: {date}\r\n\
         Message-ID: <{id}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n{encoding}\r\n",
        host = report.hostname,
        sender = report.sender.to_ascii_domain(),
        date = report.now.to_rfc5322(),
        id = report.id,
        encoding = if returned.is_ascii() && !is_international { "" } else { EIGHT_BIT },
    );
    let _ = write!(text, "--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
    push_for_people(&mut text, report, action, full);
    let (status, encoding) = if is_international { ("message/global-delivery-status", EIGHT_BIT) } else { ("message/delivery-status", "") };
    let _ = write!(text, "\r\n--{boundary}\r\nContent-Type: {status}\r\n{encoding}\r\n");
    push_for_programs(&mut text, report, is_international);
    let kind = match (is_international && !header.is_ascii(), full) {
        (true, true) => "message/global",
        (true, false) => "message/global-headers",
        (false, true) => "message/rfc822",
        (false, false) => "text/rfc822-headers",
    };
    let encoding = if returned.is_ascii() { "" } else { EIGHT_BIT };
    let _ = write!(text, "\r\n--{boundary}\r\nContent-Type: {kind}\r\n{encoding}\r\n");
    let mut octets = text.into_bytes();
    octets.extend_from_slice(returned);
    if !octets.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    octets.into()
}

fn header_of(content: &Bytes) -> &[u8] {
    let end = memchr::memmem::find(content, b"\r\n\r\n").map_or(content.len(), |end| end + 2);
    let header = content.get(..end).unwrap_or_default();
    if header.len() <= RETURNED_HEADER {
        return header;
    }
    let cut = header.get(..RETURNED_HEADER).unwrap_or_default();
    let end = memchr::memmem::rfind(cut, b"\r\n").map_or(cut.len(), |end| end + 2);
    cut.get(..end).unwrap_or_default()
}

fn push_for_people(text: &mut String, report: &Report<'_>, action: Action, full: bool) {
    let host = report.hostname;
    let _ = write!(text, "This is the mail system at {host}.\r\n\r\n");
    text.push_str(match action {
        Action::Failed => "Your message could not be delivered to the recipients below. It will not be\r\ntried again.\r\n",
        Action::Delayed => {
            "Your message has not been delivered to the recipients below yet. It is tried\r\nagain; you need not send it again.\r\n"
        }
        Action::Delivered => "Your message was delivered to the recipients below.\r\n",
        Action::Relayed | Action::Expanded => {
            "Your message was given to the mail servers below, which do not report\r\nwhether it arrives.\r\n"
        }
    });
    for recipient in report.recipients {
        let _ = write!(text, "\r\n<{}>\r\n", ascii_address(&recipient.address));
        if !recipient.host.is_empty() {
            let _ = write!(text, "    {} {}:\r\n", recipient.host, if recipient.is_reply { "said" } else { "was tried" });
        }
        push_wrapped(text, &ascii(&recipient.text));
    }
    if action == Action::Failed {
        let returned = if full { "The message itself is attached." } else { "The header of the message is attached." };
        let _ = write!(text, "\r\n{returned}\r\n");
    }
}

/// Lines of at most 76 characters, four blanks in front.
fn push_wrapped(text: &mut String, sentence: &str) {
    let mut width = 0;
    for word in sentence.split(' ').filter(|word| !word.is_empty()) {
        if width > 0 && width + 1 + word.len() > 76 {
            text.push_str("\r\n");
            width = 0;
        }
        text.push_str(if width == 0 { "    " } else { " " });
        text.push_str(word);
        width += word.len() + if width == 0 { 4 } else { 1 };
    }
    text.push_str("\r\n");
}

/// `message/delivery-status` (RFC 3464 §2): a group of fields for the message, one for each recipient.
fn push_for_programs(text: &mut String, report: &Report<'_>, is_international: bool) {
    let mut field = |name: &str, value: &str| {
        let value = if is_international { printable(value) } else { ascii(value) };
        let _ = write!(text, "{name}: {}\r\n", value.get(..value.floor_char_boundary(TEXT_LENGTH)).unwrap_or(&value));
    };
    if let Some(envid) = report.envid {
        field("Original-Envelope-Id", envid);
    }
    field("Reporting-MTA", &format!("dns; {}", report.hostname));
    field("Arrival-Date", &report.arrived.to_rfc5322());
    for recipient in report.recipients {
        let address = if is_international { recipient.address.to_string() } else { ascii_address(&recipient.address) };
        field("\r\nFinal-Recipient", &format!("{}; {address}", address_type(&recipient.address)));
        if let Some(original) = &recipient.original {
            let (kind, address) = original.split_once(';').unwrap_or(("rfc822", original));
            let address = address.trim();
            field("Original-Recipient", &format!("{kind}; {}", if is_international { address.to_owned() } else { utf8_xtext(address) }));
        }
        field("Action", recipient.action.name());
        field("Status", &recipient.status.to_string());
        if let Some(name) = recipient.host.split(' ').next().filter(|name| !name.is_empty()) {
            field("Remote-MTA", &format!("dns; {name}"));
        }
        field("Diagnostic-Code", &format!("{}; {}", if recipient.is_reply { "smtp" } else { "x-tubepost" }, recipient.text));
        field("Last-Attempt-Date", &report.now.to_rfc5322());
        if let Some(until) = recipient.until {
            field("Will-Retry-Until", &until.to_rfc5322());
        }
    }
}

fn address_type(address: &EmailAddress) -> &'static str {
    if address.is_ascii() { "rfc822" } else { "utf-8" }
}

/// The address in ASCII: domain in A-labels, the rest as `utf-8-addr-xtext` (RFC 6533 §3), so that a report is ASCII whatever it reports.
fn ascii_address(address: &EmailAddress) -> String {
    utf8_xtext(&address.to_ascii_domain())
}

fn utf8_xtext(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            ascii.push(c);
        } else {
            let _ = write!(ascii, "\\x{{{:X}}}", u32::from(c));
        }
    }
    ascii
}

/// Text of others without control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\r' && c != '\n' { '?' } else { c }).collect()
}

/// Text of others as printable ASCII.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' || c == '\r' || c == '\n' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests;
