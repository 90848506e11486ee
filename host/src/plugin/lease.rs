//! What is lent to a plugin for one call: the letter, what it may know about it, and what it may do to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::CallLimits;
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::message_id::{CopyId, MessageId};
use crate::mail::slot::Slot;
use crate::mail::tag::Tag;
use crate::plugin::letter::{Letter, SLOT_TEXT};
use crate::plugin::service::desk::Effects;

/// Names of header fields that are told of one call.
const NAMES: usize = 100;
/// Octets that an edit may cost beyond its value: names, folding, boundaries.
const EDIT_OVERHEAD: u64 = 256;

/// What is known about a message and never changes.
#[derive(Clone)]
pub struct Circumstances {
    /// Which message.
    pub id: MessageId,
    /// Whose.
    pub login: Arc<str>,
    /// The message's own clock.
    pub received: Timestamp,
    /// `login`, `protocol`, `peer` and the like.
    pub context: Vec<(String, String)>,
    /// Data for all recipients, as one JSON object.
    pub variables: String,
    /// As it was received, or, for one recipient's copy, as it was queued.
    pub original: Bytes,
    /// Recipients that the message may have.
    pub recipient_limit: u32,
    /// After this it is not delivered.
    pub deliver_before: Option<Timestamp>,
    /// Signs links, and knows which are ours.
    pub links: LinkSigner,
    /// Whether what plugins do with it, and ask of the host's services, counts. For one recipient's copy only what is repeatable can be asked for, whatever
    /// this says.
    pub effects: Effects,
}

/// For whom the plugin runs.
#[derive(Clone, Debug)]
pub enum Occasion {
    /// For the message as a whole.
    Message,
    /// For one recipient.
    Copy(Arc<CopyFacts>),
}

/// One recipient's copy.
#[derive(Clone, Debug)]
pub struct CopyFacts {
    /// Which.
    pub copy: CopyId,
    /// Where it goes.
    pub address: EmailAddress,
    /// The message's data with the recipient's own laid over it.
    pub variables: Map<String, Value>,
}

impl CopyFacts {
    /// Returns what stands in the place of `slot` in this copy.
    pub fn value(&self, slot: &Slot, links: &LinkSigner) -> String {
        match slot {
            Slot::Address => self.address.to_string(),
            Slot::Variable(path) => self.variable(path),
            Slot::Link(link) => links.url(self.copy, link),
        }
    }

    fn variable(&self, path: &str) -> String {
        let mut steps = path.split('.');
        let mut found = steps.next().and_then(|name| self.variables.get(name));
        for name in steps {
            found = found.and_then(|value| value.get(name));
        }
        match found {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// A message lent to one call.
#[derive(Clone)]
pub struct Lease {
    /// The message itself.
    pub letter: Letter,
    /// What is known about it.
    pub circumstances: Arc<Circumstances>,
    /// For whom.
    pub occasion: Occasion,
    /// What the stage gives for a slot: a value where this is set and the occasion a copy, else a token.
    pub direct_slots: bool,
}

/// A lease in the hands of a plugin, with what it did so far.
pub(super) struct Lent {
    pub(super) lease: Lease,
    output_limit: u64,
    limits: CallLimits,
    /// At least the octets of the message; `None` until the first edit.
    size_at_most: Option<u64>,
    edits: u32,
    headers: BTreeSet<String>,
    /// Edits of fields that are not among `headers`, because there were too many.
    more_headers: u32,
    parts: BTreeSet<PartChange>,
    /// Whether it was given a slot.
    has_slots: bool,
    /// The message as it stands, put together, until the next edit.
    content: Option<Bytes>,
}

/// What of the body was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PartChange {
    Text,
    Html,
    Part(u32),
    Whole,
}

/// Why an edit is not allowed.
#[derive(Debug)]
pub(super) enum Denial {
    TooLarge(u64),
    TooMany,
}

impl Lent {
    pub(super) fn new(lease: Lease, output_limit: u64, limits: CallLimits) -> Self {
        Self {
            lease,
            output_limit,
            limits,
            size_at_most: None,
            edits: 0,
            headers: BTreeSet::new(),
            more_headers: 0,
            parts: BTreeSet::new(),
            has_slots: false,
            content: None,
        }
    }

    pub(super) fn limits(&self) -> &CallLimits {
        &self.limits
    }

    /// Asks whether an edit that adds up to `octets` may be made.
    pub(super) fn allow(&mut self, octets: u64) -> Result<(), Denial> {
        self.edits = self.edits.saturating_add(1);
        self.content = None;
        if self.edits > self.limits.edits {
            return Err(Denial::TooMany);
        }
        let added = octets.saturating_add(EDIT_OVERHEAD);
        // The sum of all that was written is never less than the size, and costs nothing; the size itself is asked for only where it matters.
        let mut size = self.size_at_most.unwrap_or_else(|| self.size()).saturating_add(added);
        if size > self.output_limit {
            size = self.size().saturating_add(added);
        }
        if size > self.output_limit {
            return Err(Denial::TooLarge(self.output_limit));
        }
        self.size_at_most = Some(size);
        Ok(())
    }

    /// Asks whether a message of `octets` may take the place of the whole.
    pub(super) fn allow_whole(&mut self, octets: u64) -> Result<(), Denial> {
        if octets > self.output_limit {
            return Err(Denial::TooLarge(self.output_limit));
        }
        self.size_at_most = Some(octets);
        Ok(())
    }

    /// Returns the octets of the message with the texts of its slots.
    fn size(&self) -> u64 {
        let letter = &self.lease.letter;
        letter.draft.size().saturating_add(u64::try_from(letter.slots().text_octets()).unwrap_or(u64::MAX))
    }

    /// Returns the message as it stands. Slots are tokens in it.
    pub(super) fn content(&mut self) -> &Bytes {
        let draft = &self.lease.letter.draft;
        self.content.get_or_insert_with(|| {
            if draft.is_edited() {
                draft.clone().into_composition(None).fill(&[0; 11], &[], &mut |_| String::new())
            } else {
                draft.original().clone()
            }
        })
    }

    pub(super) fn header_changed(&mut self, name: &str) {
        if self.headers.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return;
        }
        if self.headers.len() < NAMES {
            self.headers.insert(name.to_owned());
        } else {
            self.more_headers = self.more_headers.saturating_add(1);
        }
    }

    pub(super) fn part_changed(&mut self, change: PartChange) {
        self.parts.insert(change);
    }

    /// Returns the token of a slot; `None` where the message has too many.
    pub(super) fn token(&mut self, slot: Slot) -> Option<String> {
        self.has_slots = true;
        self.lease.letter.token(slot, usize::try_from(self.limits.slots).unwrap_or(usize::MAX))
    }

    /// Adds a tag; returns whether there was room.
    pub(super) fn add_tag(&mut self, tag: Tag) -> bool {
        self.lease.letter.add_tag(tag, usize::try_from(self.limits.tags).unwrap_or(usize::MAX))
    }

    /// Whether the message is larger now than it may be.
    pub(super) fn is_too_large(&self) -> bool {
        let edited = !self.headers.is_empty() || !self.parts.is_empty() || self.has_slots;
        edited && self.size() > self.output_limit
    }

    /// Whether texts of a slot are short enough.
    pub(super) fn slot_fits(slot: &Slot) -> bool {
        slot.text_octets() <= SLOT_TEXT
    }

    /// Whether nothing was tried that could have changed the message.
    pub(super) fn is_untouched(&self) -> bool {
        self.edits == 0
    }

    /// Ends the loan: the lease, the header fields touched, and how many parts of the body were.
    pub(super) fn end(self) -> (Lease, Vec<String>, u32) {
        let parts = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let mut headers: Vec<String> = self.headers.into_iter().collect();
        if self.more_headers > 0 {
            headers.push(format!("({} more edits of others)", self.more_headers));
        }
        (self.lease, headers, parts)
    }
}

/// Returns the octets that texts have at most once they are in the message: base64 makes three octets of two, line ends included, and
/// quoted-printable three of each that needs an escape.
pub(super) fn encoded_at_most(texts: &[&[u8]]) -> u64 {
    let octets = texts.iter().map(|text| {
        let escapes = text.iter().filter(|octet| !octet.is_ascii() || **octet == b'=').count();
        text.len().saturating_add((text.len() / 2).max(escapes.saturating_mul(2).saturating_add(text.len() / 8)))
    });
    u64::try_from(octets.fold(0, usize::saturating_add)).unwrap_or(u64::MAX)
}

/// Lays a recipient's data over those of the message. Texts that are no JSON objects count as empty ones.
pub fn merged_variables(message: &str, recipient: &str) -> Map<String, Value> {
    let mut merged: Map<String, Value> = serde_json::from_str(message).unwrap_or_default();
    if !recipient.is_empty() {
        merged.extend(serde_json::from_str::<Map<String, Value>>(recipient).unwrap_or_default());
    }
    merged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::mail::slot::Link;

    #[test]
    fn variables_are_found_inside_objects() {
        let facts = CopyFacts {
            copy: CopyId { message: MessageId::from_bytes([1; 16]), recipient: 0 },
            address: EmailAddress::parse("a@example.com").unwrap(),
            variables: merged_variables(r#"{"a":{"b":"deep"},"name":"all","n":1,"gone":null}"#, r#"{"name":"Ann"}"#),
        };
        let links = LinkSigner::new([0; 32], "https://t.example.com".to_owned());
        let value = |path: &str| facts.value(&Slot::Variable(path.to_owned()), &links);
        assert_eq!((value("a.b").as_str(), value("name").as_str(), value("n").as_str()), ("deep", "Ann", "1"));
        assert_eq!((value("gone"), value("missing.x"), value("name.x"), value("")), Default::default());
        assert_eq!(value("a"), r#"{"b":"deep"}"#);
        assert_eq!(facts.value(&Slot::Address, &links), "a@example.com");
    }

    #[test]
    fn escapes_are_counted() {
        assert_eq!(encoded_at_most(&[b"plain", b"text"]), 13);
        assert!(encoded_at_most(&["é".repeat(500).as_bytes()]) >= 3_000);
        assert!(encoded_at_most(&[&[b'='; 1_000]]) >= 3_000);
    }

    #[test]
    fn long_slots_do_not_fit() {
        assert!(Lent::slot_fits(&Slot::Variable("x".repeat(SLOT_TEXT))));
        assert!(!Lent::slot_fits(&Slot::Link(Link::Open(Some("x".repeat(SLOT_TEXT + 1))))));
    }
}
