//! The message as plugins see and edit it: content, envelope, tags and slots.
//!
//! Cloning is cheap, and the clone that is made before each call is the journal: a verdict that keeps the edits takes the plugin's letter,
//! every other outcome goes on with the one from before.

use std::fmt::Write;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::content::Draft;
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::mail::slot::{Slot, TOKEN_LENGTH};
use crate::mail::tag::Tag;

/// Octets of a slot's text: a variable's name, or a URL.
pub const SLOT_TEXT: usize = 8_192;

/// A message in the chain.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Header and body.
    pub draft: Draft,
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Its tags, each once.
    pub tags: Vec<Tag>,
    /// Over which route it goes, where a plugin chose one.
    pub route: Option<Arc<str>>,
    /// When delivery is tried first, where a plugin chose that.
    pub not_before: Option<Timestamp>,
    recipients: Arc<Vec<Addressee>>,
    next_recipient: u32,
    slots: Slots,
}

/// One forward-path. Its id is its place in the submission; plugins' own come after those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// Not changed by edits.
    pub id: u32,
    /// Where the message goes.
    pub path: ForwardPath,
}

impl Letter {
    /// A letter to `recipients`, without slots.
    pub fn new(draft: Draft, reverse_path: ReversePath, recipients: Vec<ForwardPath>, tags: Vec<Tag>, nonce: [u8; 11]) -> Self {
        let recipients: Vec<_> = (0..).zip(recipients).map(|(id, path)| Addressee { id, path }).collect();
        let next_recipient = u32::try_from(recipients.len()).unwrap_or(u32::MAX);
        Self {
            draft,
            reverse_path,
            tags,
            route: None,
            not_before: None,
            recipients: Arc::new(recipients),
            next_recipient,
            slots: Slots::new(nonce),
        }
    }

    /// Returns the recipients as the plugins left them.
    pub fn recipients(&self) -> &[Addressee] {
        &self.recipients
    }

    /// Adds a recipient and returns its id; one that is there already keeps its own.
    pub fn add_recipient(&mut self, address: EmailAddress) -> u32 {
        if let Some(known) = self.recipients.iter().find(|known| known.path.address == address) {
            return known.id;
        }
        let id = self.next_recipient;
        self.next_recipient = id.saturating_add(1);
        Arc::make_mut(&mut self.recipients).push(Addressee { id, path: ForwardPath::new(address) });
        id
    }

    /// Removes a recipient; returns whether it was there.
    pub fn remove_recipient(&mut self, id: u32) -> bool {
        let Some(place) = self.recipients.iter().position(|known| known.id == id) else { return false };
        Arc::make_mut(&mut self.recipients).remove(place);
        true
    }

    /// Adds a tag unless it is there; returns whether there was room among `limit`.
    pub fn add_tag(&mut self, tag: Tag, limit: usize) -> bool {
        if self.tags.contains(&tag) {
            return true;
        }
        if self.tags.len() >= limit {
            return false;
        }
        self.tags.push(tag);
        true
    }

    /// Returns the slots that were asked for.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Returns the token of a slot, `None` where the message has `limit` others already.
    pub fn token(&mut self, slot: Slot, limit: usize) -> Option<String> {
        self.slots.token(slot, limit)
    }

    /// Forgets the slots, once their values stand in the draft.
    pub fn clear_slots(&mut self) {
        self.slots = Slots::new(self.slots.nonce);
    }
}

/// The slots of one message, and the nonce that makes their tokens unguessable.
#[derive(Clone, Debug)]
pub struct Slots {
    nonce: [u8; 11],
    by_number: Arc<Vec<Slot>>,
    /// Octets of their texts: they are kept with the message, and go out with each copy.
    text_octets: usize,
}

impl Slots {
    fn new(nonce: [u8; 11]) -> Self {
        Self { nonce, by_number: Arc::default(), text_octets: 0 }
    }

    /// Returns the nonce.
    pub fn nonce(&self) -> &[u8; 11] {
        &self.nonce
    }

    /// Returns the slots by number.
    pub fn as_slice(&self) -> &[Slot] {
        &self.by_number
    }

    /// Returns how many octets the texts of all slots have.
    pub fn text_octets(&self) -> usize {
        self.text_octets
    }

    fn token(&mut self, slot: Slot, limit: usize) -> Option<String> {
        // Links differ by their position and are many; addresses and variables come again and are few.
        let known = match &slot {
            Slot::Link(_) => None,
            Slot::Address | Slot::Variable(_) => self.by_number.iter().position(|known| *known == slot),
        };
        let number = match known {
            Some(number) => number,
            None if self.by_number.len() >= limit => return None,
            None => {
                self.text_octets += slot.text_octets();
                Arc::make_mut(&mut self.by_number).push(slot);
                self.by_number.len() - 1
            }
        };
        let mut token = String::with_capacity(TOKEN_LENGTH);
        token.push_str("tp");
        for octet in self.nonce {
            // Writing to a String cannot fail.
            let _ = write!(token, "{octet:02x}");
        }
        let _ = write!(token, "{number:08x}");
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use bytes::Bytes;

    use super::*;

    fn letter() -> Letter {
        let path = |text: &str| ForwardPath::new(EmailAddress::parse(text).unwrap());
        Letter::new(Draft::new(Bytes::new()), ReversePath::Null, vec![path("a@example.com"), path("b@example.com")], Vec::new(), [0xab; 11])
    }

    #[test]
    fn a_token_is_the_same_for_the_same_variable() {
        let mut letter = letter();
        let mut token = |slot| letter.token(slot, 10).unwrap();
        let first = token(Slot::Variable("name".to_owned()));
        assert_eq!((first.len(), first.as_str()), (TOKEN_LENGTH, "tpababababababababababab00000000"));
        assert_eq!(token(Slot::Address), "tpababababababababababab00000001");
        assert_eq!(token(Slot::Variable("name".to_owned())), first);
        assert_eq!((letter.slots().as_slice().len(), letter.slots().text_octets()), (2, "name".len()));
    }

    #[test]
    fn slots_have_an_end() {
        let mut letter = letter();
        for number in 0..8 {
            assert!(letter.token(Slot::Variable(number.to_string()), 8).is_some());
        }
        assert_eq!(letter.token(Slot::Address, 8), None);
        assert!(letter.token(Slot::Variable("7".to_owned()), 8).is_some(), "what is known needs no room");
    }

    #[test]
    fn ids_of_recipients_stay() {
        let mut letter = letter();
        assert!(letter.remove_recipient(0) && !letter.remove_recipient(0));
        assert_eq!(letter.add_recipient(EmailAddress::parse("c@example.com").unwrap()), 2);
        assert_eq!(letter.add_recipient(EmailAddress::parse("b@example.com").unwrap()), 1);
        assert_eq!(letter.recipients().iter().map(|r| r.id).collect::<Vec<_>>(), [1, 2]);
    }
}
