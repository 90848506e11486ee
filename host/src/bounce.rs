//! Mail that comes back: what a message says that arrived at a bounce address, or at the address of a feedback loop.
//!
//! | kind | how it is known | module |
//! |---|---|---|
//! | report of an aggregate (DMARC) | an archive whose name or subject RFC 7489 §7.2.1.1 gives | [`aggregate`] |
//! | complaint (ARF, RFC 5965) | a part `message/feedback-report` | [`complaint`] |
//! | DSN (RFC 3464, RFC 6533) | a part `message/delivery-status` or `message/global-delivery-status` | [`notification`] |
//! | bounce in free text | who sent it, and the phrases of the software that wrote it | [`free_text`] |
//! | automatic answer (RFC 3834) | `Auto-Submitted` and its elders, subjects in some languages | [`response`] |
//!
//! Octets in, a [`Report`] out: nothing is looked up, nothing is believed. Who made the address that it came to is for [`crate::verp`] to say. Every
//! step takes time linear in the message, and what is kept of it has limits. What each failure means is [`BounceClass`], the same for replies of servers.

pub mod aggregate;
pub mod class;
pub mod complaint;
mod free_text;
mod notification;
mod response;
pub mod trail;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use class::BounceClass;
pub use complaint::Complaint;
use trail::Trail;

use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::content::{Draft, PartInfo};
use crate::mail::enhanced_status::EnhancedStatus;
use crate::mail::envelope::ReversePath;

/// Recipients of one report that are told apart; further ones are left out.
pub const RECIPIENTS: usize = 100;
/// Octets of a text that are kept: diagnostics, names.
pub const TEXT: usize = 512;
/// Octets of a part that are read as a report, or as text.
const PART: u32 = 256 * 1024;
/// Parts of a message that are looked at.
const PARTS: usize = 50;

/// How a message came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// To which address of ours.
    pub recipient: &'a EmailAddress,
    /// From whom: reports have the null reverse-path.
    pub reverse_path: &'a ReversePath,
    /// When.
    pub at: Timestamp,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// What became of mail to some recipients.
    Delivery(DeliveryReport),
    /// A recipient calls it spam.
    Complaint(Complaint),
    /// Something answered by itself.
    Response(ResponseKind),
    /// A receiver's report on mail of a domain; it is read by [`aggregate::Aggregate::read`].
    Aggregate(Attachment),
    /// A human being, or what is not known.
    Unrecognised,
}

/// What kind of answer came by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseKind {
    /// Absence, receipt of a letter, thanks.
    AutoReply,
    /// The sender shall prove that he is a human being.
    Challenge,
    /// A receipt that the mail was read or thrown away (RFC 8098).
    Disposition,
}

/// A file of a message, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// As the message has it; "" where it has none.
    pub filename: String,
    /// Its octets.
    pub content: Bytes,
}

/// What became of mail to some recipients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliveryReport {
    /// It has the standard form; else it was made out of text.
    pub is_standard: bool,
    /// `Original-Envelope-Id`.
    pub envelope_id: Option<String>,
    /// `Reporting-MTA`, without its type.
    pub reporting_mta: Option<String>,
    /// At most [`RECIPIENTS`]; empty where a text names none.
    pub recipients: Vec<RecipientReport>,
    /// What leads to the message that it is about.
    pub trail: Trail,
}

/// What became of mail to one recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct RecipientReport {
    /// `Final-Recipient`, without its type.
    pub address: Option<String>,
    /// `Original-Recipient`, without its type.
    pub original: Option<String>,
    /// What happened.
    pub action: Action,
    /// Enhanced status code.
    pub status: Option<EnhancedStatus>,
    /// What the server said, one line.
    pub diagnostic: String,
    /// Who said it, where that is known.
    pub remote_mta: Option<String>,
    /// What it means.
    pub class: BounceClass,
}

/// What happened to mail (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It will not arrive.
    Failed,
    /// It has not arrived yet.
    Delayed,
    /// It arrived.
    Delivered,
    /// It was given to a server that will not say more.
    Relayed,
    /// It was given to a list.
    Expanded,
}

impl Action {
    /// Returns its name in a DSN.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

/// Reads a message that arrived at an address for reports. `content` has CRLF line ends.
pub fn read(content: &Bytes, arrival: &Arrival<'_>) -> Report {
    let mut letter = Letter::open(content);
    if let Some(attachment) = aggregate::find(&mut letter) {
        return Report::Aggregate(attachment);
    }
    if let Some(complaint) = complaint::read(&mut letter) {
        return Report::Complaint(complaint);
    }
    if let Some(report) = notification::read(&mut letter) {
        return Report::Delivery(report);
    }
    // What says of itself that it answers is no bounce, whatever words it uses; but some servers call their bounces answers.
    let is_report = *arrival.reverse_path == ReversePath::Null || free_text::is_from_server(&letter);
    if is_report && let Some(report) = free_text::read(&mut letter, arrival.recipient) {
        return Report::Delivery(report);
    }
    match response::read(&mut letter) {
        Some(kind) => Report::Response(kind),
        None => Report::Unrecognised,
    }
}

/// A message taken apart.
struct Letter {
    draft: Draft,
    parts: Vec<PartInfo>,
}

impl Letter {
    fn open(content: &Bytes) -> Self {
        let mut draft = Draft::new(content.clone());
        let mut parts = draft.parts();
        parts.truncate(PARTS);
        Self { draft, parts }
    }

    fn header(&self, name: &str) -> Option<String> {
        self.draft.header(name)
    }

    fn header_all(&self, name: &str) -> Vec<String> {
        self.draft.header_all(name)
    }

    fn subject(&self) -> String {
        self.header("Subject").unwrap_or_default()
    }

    /// Returns the decoded content of the parts of some types, in order.
    fn contents(&mut self, types: &[&str]) -> Vec<Bytes> {
        let ids: Vec<u32> = self.parts.iter().filter(|part| types.contains(&part.content_type.as_str())).map(|part| part.id).collect();
        ids.into_iter().filter_map(|id| self.draft.read_part(id, 0, PART).ok()).collect()
    }

    /// Returns what a reader sees, as text; HTML is stripped of its tags.
    fn text(&mut self) -> String {
        let text = self.draft.text().filter(|text| !text.trim().is_empty());
        let mut text = text.or_else(|| self.draft.html().map(|html| without_tags(&html))).unwrap_or_default();
        text.truncate(text.floor_char_boundary(usize::try_from(PART).unwrap_or(usize::MAX)));
        text
    }
}

/// Makes text of HTML, as far as that serves to find addresses and phrases: block tags are line ends, others nothing.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some((before, behind)) = rest.split_once('<') {
        push_entities(&mut text, before);
        let Some((tag, behind)) = behind.split_once('>') else {
            rest = "";
            break;
        };
        let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if ["br", "p", "div", "tr", "td", "li", "h1", "h2", "h3", "table"].iter().any(|block| block.eq_ignore_ascii_case(name)) {
            text.push('\n');
        }
        rest = behind;
    }
    push_entities(&mut text, rest);
    text
}

fn push_entities(text: &mut String, piece: &str) {
    let mut rest = piece;
    while let Some((before, behind)) = rest.split_once('&') {
        text.push_str(before);
        let known = [("lt;", '<'), ("gt;", '>'), ("amp;", '&'), ("quot;", '"'), ("#39;", '\''), ("nbsp;", ' ')];
        let entity = known.iter().find_map(|(name, c)| behind.strip_prefix(name).map(|behind| (behind, *c)));
        let (behind, c) = entity.unwrap_or((behind, '&'));
        text.push(c);
        rest = behind;
    }
    text.push_str(rest);
}

/// One line of at most [`TEXT`] octets.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > TEXT {
            break;
        }
    }
    line.truncate(line.floor_char_boundary(TEXT));
    line
}

#[cfg(test)]
mod tests;
