//! A message in short: what its events add up to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Event, EventKind};
use crate::clock::Timestamp;
use crate::mail::message_id::MessageId;
use crate::mail::tag::Tag;

/// Copies whose state a summary knows; of a message to more recipients it counts the rest as queued.
const MOST_COPIES: usize = 1_000;
/// Events that a summary leads to; of a message to very many recipients the later ones are found only on the log.
pub const MOST_POSITIONS: usize = 2_000;

/// What is known of a message from its events alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Which message.
    pub message: MessageId,
    /// Whose.
    pub login: Arc<str>,
    /// When it came in.
    pub at: Timestamp,
    /// The envelope's sender, "" for the null reverse-path.
    pub reverse_path: String,
    /// The first 100 forward-paths.
    pub recipients: Vec<String>,
    /// How many there are.
    pub recipient_count: u32,
    /// Decoded Subject.
    pub subject: String,
    /// Octets as received.
    pub size: u64,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// State of the whole message where it never got a copy: rejected or discarded.
    pub whole: Option<State>,
    /// State of each copy that something happened to.
    pub copies: BTreeMap<u32, State>,
    /// How often images were loaded.
    pub opens: u32,
    /// How often links were followed.
    pub clicks: u32,
    /// How many recipients unsubscribed.
    pub unsubscribes: u32,
    /// Where its events stand on the log, at most [`MOST_POSITIONS`].
    pub positions: Vec<u64>,
}

/// Where a copy, or a message, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its first attempt, or for an answer.
    Queued,
    /// Waits for an operator.
    Held,
    /// Waits for its next attempt.
    Deferred,
    /// Was taken by the next hop.
    Delivered,
    /// Could not be delivered.
    Bounced,
    /// Was taken out by an operator.
    Cancelled,
    /// Was thrown away by a plugin.
    Discarded,
    /// Was never taken.
    Rejected,
}

impl State {
    /// All states, in the order in which they are shown.
    pub const ALL: [Self; 8] =
        [Self::Queued, Self::Held, Self::Deferred, Self::Delivered, Self::Bounced, Self::Cancelled, Self::Discarded, Self::Rejected];

    /// Returns the word that searches and pages use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Deferred => "deferred",
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Summary {
    /// A message of which nothing is known but one of its events.
    pub fn new(event: &Event) -> Self {
        Self {
            message: event.message,
            login: event.login.clone(),
            at: event.message.received(),
            reverse_path: String::new(),
            recipients: Vec::new(),
            recipient_count: 0,
            subject: String::new(),
            size: 0,
            tags: Vec::new(),
            whole: None,
            copies: BTreeMap::new(),
            opens: 0,
            clicks: 0,
            unsubscribes: 0,
            positions: Vec::new(),
        }
    }

    /// Adds what an event tells; `position` is its place on the log. The same event twice counts once.
    pub fn add(&mut self, position: u64, event: &Event) {
        if self.positions.last().is_some_and(|last| *last >= position) {
            return;
        }
        if self.positions.len() < MOST_POSITIONS {
            self.positions.push(position);
        }
        for tag in &event.tags {
            if !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
        match &event.kind {
            EventKind::Accepted { reverse_path, recipients, recipient_count, subject, size, .. } => {
                self.reverse_path.clone_from(reverse_path);
                self.recipients.clone_from(recipients);
                self.recipient_count = *recipient_count;
                self.subject.clone_from(subject);
                self.size = *size;
            }
            EventKind::Rejected { .. } => self.whole = Some(State::Rejected),
            EventKind::Discarded { .. } => self.put(event.recipient, State::Discarded),
            EventKind::Held { .. } => self.put(event.recipient, State::Held),
            EventKind::Delivered { .. } => self.put(event.recipient, State::Delivered),
            EventKind::Deferred { .. } => self.put(event.recipient, State::Deferred),
            EventKind::Bounced { .. } => self.put(event.recipient, State::Bounced),
            EventKind::Cancelled => self.put(event.recipient, State::Cancelled),
            EventKind::Opened { .. } => self.opens = self.opens.saturating_add(1),
            EventKind::Clicked { .. } => self.clicks = self.clicks.saturating_add(1),
            EventKind::Unsubscribed { .. } => self.unsubscribes = self.unsubscribes.saturating_add(1),
            EventKind::PluginFailed { .. } => {}
        }
    }

    fn put(&mut self, recipient: Option<u32>, state: State) {
        match recipient {
            Some(recipient) if self.copies.len() < MOST_COPIES || self.copies.contains_key(&recipient) => {
                self.copies.insert(recipient, state);
            }
            Some(_) => {}
            None => self.whole = Some(state),
        }
    }

    /// Returns each state that some copy is in, with how many are.
    pub fn states(&self) -> BTreeMap<State, u32> {
        let mut states = BTreeMap::new();
        for state in self.copies.values() {
            *states.entry(*state).or_insert(0) += 1;
        }
        let counted = u32::try_from(self.copies.len()).unwrap_or(u32::MAX);
        let rest = self.recipient_count.saturating_sub(counted);
        if rest > 0 || states.is_empty() {
            *states.entry(self.whole.unwrap_or(State::Queued)).or_insert(0) += rest.max(1);
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(recipient: Option<u32>, kind: EventKind) -> Event {
        Event {
            at: Timestamp::from_millis(1),
            message: MessageId::from_bytes([1; 16]),
            login: "news".into(),
            recipient,
            address: None,
            tags: Vec::new(),
            kind,
        }
    }

    fn accepted(recipient_count: u32) -> Event {
        let kind = EventKind::Accepted {
            protocol: "esmtpsa".to_owned(),
            peer: "192.0.2.1".to_owned(),
            reverse_path: "a@example.com".to_owned(),
            recipients: vec!["b@example.net".to_owned()],
            recipient_count,
            subject: "News".to_owned(),
            size: 100,
            plugins: Vec::new(),
        };
        event(None, kind)
    }

    #[test]
    fn copies_are_counted_by_their_last_state() {
        let mut summary = Summary::new(&accepted(3));
        summary.add(1, &accepted(3));
        assert_eq!(summary.states(), BTreeMap::from([(State::Queued, 3)]));
        let deferred = EventKind::Deferred { host: String::new(), reply: "451".to_owned(), attempt: 0, next: Timestamp::from_millis(9) };
        summary.add(2, &event(Some(0), deferred));
        let delivered = EventKind::Delivered { host: String::new(), reply: "250".to_owned(), attempt: 1 };
        summary.add(3, &event(Some(1), delivered.clone()));
        assert_eq!(summary.states(), BTreeMap::from([(State::Queued, 1), (State::Deferred, 1), (State::Delivered, 1)]));
        summary.add(4, &event(Some(0), delivered));
        assert_eq!(summary.states(), BTreeMap::from([(State::Queued, 1), (State::Delivered, 2)]));
    }

    #[test]
    fn a_message_that_was_never_taken_has_one_state() {
        let rejected = event(None, EventKind::Rejected { reason: "no".to_owned(), temporary: false, plugins: Vec::new() });
        let mut summary = Summary::new(&rejected);
        summary.add(1, &rejected);
        assert_eq!(summary.states(), BTreeMap::from([(State::Rejected, 1)]));
    }
}
