//! What is known of a message: the sum of its events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{Event, EventKind, FORWARD, PluginRun};
use crate::mail::message_id::MessageId;
use crate::mail::tag::Tag;

/// What is known of one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Which.
    pub message: MessageId,
    /// When it arrived, or was refused.
    pub at: Timestamp,
    /// Whose it is.
    pub login: String,
    /// Over which protocol it came.
    pub protocol: String,
    /// From where.
    pub peer: String,
    /// The envelope's sender, "" for the null reverse-path.
    pub reverse_path: String,
    /// The first 100 forward-paths, in order.
    pub recipients: Vec<String>,
    /// How many there are.
    pub recipient_count: u32,
    /// Decoded Subject.
    pub subject: String,
    /// Octets as received.
    pub size: u64,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What the plugins did when it came in.
    pub plugins: Vec<PluginRun>,
    /// What has become of each copy of which anything is known, by place.
    pub copies: BTreeMap<u32, CopySummary>,
    /// How many of the other copies have ended in each state, where there are very many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<State, u32>,
    /// What has become of all of it.
    pub state: State,
    /// Why, where the message itself was refused, held or discarded.
    pub reason: String,
    /// Clicks, in all copies.
    pub clicks: u32,
    /// Openings, in all copies.
    pub opens: u32,
    /// Recipients who unsubscribed.
    pub unsubscribes: u32,
}

/// Copies of one message of which a summary knows what became of them; of more recipients only the numbers are known.
const MOST_COPIES: usize = 1_000;

/// What is known of one recipient's copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopySummary {
    /// Its recipient, where an event names him.
    pub address: Option<String>,
    /// What has become of it.
    pub state: State,
    /// Attempts that have an outcome.
    pub attempts: u32,
    /// When the last thing happened.
    pub at: Timestamp,
    /// What the next hop said last.
    pub reply: String,
    /// When it is tried again.
    pub next: Option<Timestamp>,
}

/// Where a message, or a copy, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its first attempt.
    Queued,
    /// Waits for another attempt.
    Deferred,
    /// Waits for an operator.
    Held,
    /// The next hop has it; for a message: it has all of it.
    Delivered,
    /// Will not be delivered; for a message: some of it will not be.
    Bounced,
    /// Taken out of the queue by an operator.
    Cancelled,
    /// Refused at the door.
    Rejected,
    /// Taken and thrown away by a plugin.
    Discarded,
    /// Dropped, as the recipient is on a suppression list.
    Suppressed,
}

impl State {
    /// Returns the word for it, in lower case.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Discarded => "discarded",
            Self::Suppressed => "suppressed",
        }
    }

    /// Whether nothing more will happen by itself.
    const fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Deferred | Self::Held => false,
            Self::Delivered | Self::Bounced | Self::Cancelled | Self::Rejected | Self::Discarded | Self::Suppressed => true,
        }
    }
}

impl Summary {
    /// A message of which `event` is the first that is known.
    pub fn new(event: &Event) -> Self {
        Self {
            message: event.message,
            at: event.message.received(),
            login: event.login.to_string(),
            protocol: String::new(),
            peer: String::new(),
            reverse_path: String::new(),
            recipients: Vec::new(),
            recipient_count: 0,
            subject: String::new(),
            size: 0,
            tags: event.tags.clone(),
            plugins: Vec::new(),
            copies: BTreeMap::new(),
            others: BTreeMap::new(),
            state: State::Queued,
            reason: String::new(),
            clicks: 0,
            opens: 0,
            unsubscribes: 0,
        }
    }

    /// Takes in the next event of this message.
    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Accepted { protocol, peer, reverse_path, recipients, recipient_count, subject, size, plugins } => {
                self.at = event.at;
                self.protocol.clone_from(protocol);
                self.peer.clone_from(peer);
                self.reverse_path.clone_from(reverse_path);
                self.recipients.clone_from(recipients);
                self.recipient_count = *recipient_count;
                self.subject.clone_from(subject);
                self.size = *size;
                self.plugins.clone_from(plugins);
                self.tags.clone_from(&event.tags);
            }
            // What is forwarded goes on, and what became of it is told by others.
            EventKind::Received { action, .. } if action != FORWARD => {
                self.settle(event, State::Delivered, None, format!("taken in: {action}"), None);
            }
            EventKind::Rejected { reason, plugins, .. } => {
                self.at = event.at;
                self.state = State::Rejected;
                self.reason.clone_from(reason);
                self.plugins.clone_from(plugins);
            }
            EventKind::Discarded { plugin, reason } => self.withhold(event, State::Discarded, plugin, reason),
            EventKind::Held { by, reason } => self.withhold(event, State::Held, by, reason),
            EventKind::Delivered { host, reply, attempt, .. } => {
                self.settle(event, State::Delivered, Some(*attempt), said_by(host, reply), None);
            }
            EventKind::Deferred { host, reply, attempt, next, .. } => {
                self.settle(event, State::Deferred, Some(*attempt), said_by(host, reply), Some(*next));
            }
            EventKind::Bounced { host, reply, attempt, .. } => {
                self.settle(event, State::Bounced, Some(*attempt), said_by(host, reply), None);
            }
            EventKind::Cancelled => self.settle(event, State::Cancelled, None, "cancelled by an operator".to_owned(), None),
            EventKind::Suppressed { source, scope, reason } => {
                let text = format!("on the suppression list ({source}, {scope})");
                let text = if reason.is_empty() { text } else { format!("{text}: {reason}") };
                self.settle(event, State::Suppressed, None, text, None);
            }
            EventKind::Clicked { .. } => {
                self.clicks = self.clicks.saturating_add(1);
                self.was_read();
            }
            EventKind::Followed { .. } | EventKind::Complained { .. } | EventKind::Responded { .. } => self.was_read(),
            EventKind::Opened { .. } => {
                self.opens = self.opens.saturating_add(1);
                self.was_read();
            }
            EventKind::Unsubscribed { .. } => {
                self.unsubscribes = self.unsubscribes.saturating_add(1);
                self.was_read();
            }
            EventKind::Received { .. }
            | EventKind::PluginFailed { .. }
            | EventKind::Rendered { .. }
            | EventKind::Observed { .. }
            | EventKind::Reported { .. }
            | EventKind::DmarcReported { .. } => {}
        }
    }

    /// A plugin or an operator took the message, or one copy, off the way.
    fn withhold(&mut self, event: &Event, state: State, by: &str, reason: &str) {
        let reason = said_by(by, reason);
        if event.recipient.is_some() {
            self.settle(event, state, None, reason, None);
        } else {
            self.state = state;
            self.reason = reason;
        }
    }

    /// Somebody has seen a message. Where the log has forgotten all that came before, this much is known: it was delivered.
    fn was_read(&mut self) {
        if self.recipient_count == 0 && self.copies.is_empty() && self.state == State::Queued {
            self.state = State::Delivered;
        }
    }

    /// Returns each state that some copy is in, with how many are; that of the message where nothing is known of its copies.
    pub fn states(&self) -> BTreeMap<State, u32> {
        let mut states = BTreeMap::new();
        for copy in self.copies.values() {
            *states.entry(copy.state).or_insert(0) += 1;
        }
        for (state, count) in &self.others {
            *states.entry(*state).or_insert(0) += count;
        }
        let known = u32::try_from(self.copies.len()).unwrap_or(u32::MAX).saturating_add(self.others.values().sum());
        let rest = self.recipient_count.saturating_sub(known);
        if rest > 0 || states.is_empty() {
            let state = if states.is_empty() { self.state } else { State::Queued };
            *states.entry(state).or_insert(0) += rest.max(1);
        }
        states
    }

    /// Returns the address of a copy.
    pub fn address(&self, recipient: u32) -> Option<&str> {
        let known = self.copies.get(&recipient).and_then(|copy| copy.address.as_deref());
        let listed = || self.recipients.get(usize::try_from(recipient).ok()?).map(String::as_str);
        known.or_else(listed)
    }

    /// Notes what became of one copy, with the number of the attempt that ended so, if one did.
    fn settle(&mut self, event: &Event, state: State, attempt: Option<u32>, reply: String, next: Option<Timestamp>) {
        if let Some(recipient) = event.recipient {
            let known = self.copies.get(&recipient);
            if known.is_some() || self.copies.len() < MOST_COPIES {
                let before = known.map_or(0, |copy| copy.attempts);
                let attempts = attempt.map_or(before, |attempt| attempt.saturating_add(1));
                let copy = CopySummary { address: event.address.clone(), state, attempts, at: event.at, reply, next };
                self.copies.insert(recipient, copy);
            } else if state.is_final() {
                *self.others.entry(state).or_insert(0) += 1;
            }
        }
        if attempt.is_some() && self.state == State::Held {
            // It was released.
            self.state = State::Queued;
        }
        self.state = self.overall();
    }

    fn overall(&self) -> State {
        let any = |state: State| self.others.contains_key(&state) || self.copies.values().any(|copy| copy.state == state);
        let settled = self.copies.values().filter(|copy| copy.state.is_final()).count();
        let settled = u32::try_from(settled).unwrap_or(u32::MAX).saturating_add(self.others.values().sum());
        if any(State::Deferred) {
            State::Deferred
        } else if any(State::Held) {
            State::Held
        } else if settled < self.recipient_count {
            if self.state == State::Held && !any(State::Delivered) && !any(State::Bounced) { State::Held } else { State::Queued }
        } else if any(State::Bounced) {
            State::Bounced
        } else if any(State::Delivered) {
            State::Delivered
        } else if any(State::Suppressed) {
            State::Suppressed
        } else if any(State::Discarded) {
            State::Discarded
        } else {
            State::Cancelled
        }
    }
}

/// Puts who said it before what was said, if he is known.
fn said_by(who: &str, what: &str) -> String {
    if who.is_empty() { what.to_owned() } else { format!("{who}: {what}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::bounce::BounceClass;

    fn event(recipient: Option<u32>, kind: EventKind) -> Event {
        let (at, message) = (Timestamp::from_millis(9), MessageId::from_bytes([1; 16]));
        Event { at, message, login: "news".into(), recipient, address: None, tags: vec![Tag::parse("spring").unwrap()], kind }
    }

    fn accepted() -> Event {
        let kind = EventKind::Accepted {
            protocol: "https".into(),
            peer: "192.0.2.1".into(),
            reverse_path: "sender@example.com".into(),
            recipients: vec!["ann@x.example".into(), "bob@y.example".into()],
            recipient_count: 2,
            subject: "s".into(),
            size: 100,
            plugins: Vec::new(),
        };
        event(None, kind)
    }

    fn states(events: &[Event]) -> Vec<State> {
        let mut summary = Summary::new(events.first().unwrap());
        let apply = |event| {
            summary.apply(event);
            summary.state
        };
        events.iter().map(apply).collect()
    }

    #[test]
    fn states_follow_the_copies() {
        let delivered =
            |place| event(Some(place), EventKind::Delivered { host: "mx".into(), reply: "250 ok".into(), attempt: 0, via: None });
        let next = Timestamp::from_millis(20);
        let deferred = |place| {
            event(
                Some(place),
                EventKind::Deferred { host: "mx".into(), reply: "451 later".into(), attempt: 0, next, class: BounceClass::Soft },
            )
        };
        let failure = EventKind::Bounced {
            host: "mx".into(),
            reply: "550 no".into(),
            status: "5.1.1".into(),
            attempt: 1,
            class: BounceClass::UnknownUser,
            report: None,
        };
        let bounced = event(Some(1), failure);
        assert_eq!(
            states(&[accepted(), deferred(0), delivered(0), delivered(1)]),
            [State::Queued, State::Deferred, State::Queued, State::Delivered]
        );
        assert_eq!(states(&[accepted(), delivered(0), bounced.clone()]), [State::Queued, State::Queued, State::Bounced]);
        let held = event(None, EventKind::Held { by: "quarantine".into(), reason: "odd".into() });
        let cancelled = |place| event(Some(place), EventKind::Cancelled);
        assert_eq!(states(&[accepted(), held, cancelled(0), cancelled(1)]), [State::Queued, State::Held, State::Held, State::Cancelled]);
        let held_copy = event(Some(0), EventKind::Held { by: String::new(), reason: "odd".into() });
        assert_eq!(
            states(&[accepted(), held_copy.clone(), delivered(1), delivered(0)]),
            [State::Queued, State::Held, State::Held, State::Delivered]
        );
        let thrown_away = |place| event(Some(place), EventKind::Discarded { plugin: String::new(), reason: "odd".into() });
        assert_eq!(
            states(&[accepted(), thrown_away(0), delivered(1)]),
            [State::Queued, State::Queued, State::Delivered],
            "one copy is not the message"
        );
        assert_eq!(states(&[accepted(), thrown_away(0), thrown_away(1)]).last(), Some(&State::Discarded));
        let rejected = event(None, EventKind::Rejected { reason: "no".into(), temporary: false, plugins: Vec::new() });
        assert_eq!(states(&[rejected]), [State::Rejected]);

        let mut summary = Summary::new(&accepted());
        summary.apply(&accepted());
        summary.apply(&bounced);
        assert_eq!((summary.address(1), summary.copies.get(&1).unwrap().attempts), (Some("bob@y.example"), 2));
        summary.apply(&held_copy);
        assert_eq!((summary.state, summary.reason.as_str()), (State::Held, ""));
        assert_eq!((summary.copies.get(&0).unwrap().attempts, summary.copies.get(&0).unwrap().reply.as_str()), (0, "odd"));
    }

    #[test]
    fn a_message_to_very_many_ends_too() {
        let many = u32::try_from(MOST_COPIES).unwrap() + 500;
        let mut summary = Summary::new(&accepted());
        summary.apply(&accepted());
        summary.recipient_count = many;
        for place in 0..many {
            assert_eq!(summary.state, State::Queued, "{place}");
            let reply = || ("mx".to_owned(), "ok".to_owned());
            let kind = if place == many - 1 {
                EventKind::Bounced {
                    host: reply().0,
                    reply: reply().1,
                    status: "5.1.1".into(),
                    attempt: 0,
                    class: BounceClass::UnknownUser,
                    report: None,
                }
            } else {
                EventKind::Delivered { host: reply().0, reply: reply().1, attempt: 0, via: None }
            };
            summary.apply(&event(Some(place), kind));
        }
        assert_eq!((summary.state, summary.copies.len()), (State::Bounced, MOST_COPIES));
        assert_eq!(summary.states(), BTreeMap::from([(State::Delivered, many - 1), (State::Bounced, 1)]));
    }

    #[test]
    fn who_clicks_has_the_message() {
        use crate::event::Visitor;
        let clicked = event(Some(0), EventKind::Clicked { url: String::new(), position: 0, visitor: Visitor::default() });
        assert_eq!(states(std::slice::from_ref(&clicked)), [State::Delivered]);
        assert_eq!(states(&[accepted(), clicked.clone()]), [State::Queued, State::Queued], "what is known counts more");
        let opened = event(None, EventKind::Opened { visitor: Visitor::default() });
        assert_eq!(states(&[opened, clicked]), [State::Delivered, State::Delivered]);
    }
}
