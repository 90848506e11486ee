//! The stage `event`: what became of messages.
//!
//! ```
//! use tubepost_plugin_sdk::{Event, EventKind, Failure, Plugin, metrics, register};
//!
//! /// Counts bounces by the host that sent them.
//! struct Count;
//!
//! impl Plugin for Count {
//!     type Config = ();
//!
//!     fn event(events: &[Event], _: &()) -> Result<(), Failure> {
//!         for event in events.iter().filter(|event| event.kind == EventKind::Bounced) {
//!             metrics::add("bounces", 1);
//!             if event.detail("status").is_some_and(|status| status.starts_with("5.1.")) {
//!                 metrics::add("unknown_recipients", 1);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! register!(Count: event);
//!
//! use tubepost_plugin_sdk::testing::Host;
//! let host = Host::new();
//! Count::event(&[Event::new(EventKind::Bounced).with("status", "5.1.1")], &())?;
//! assert_eq!((host.counter("bounces"), host.counter("unknown_recipients")), (1, 1));
//! # Ok::<(), Failure>(())
//! ```

use crate::{Timestamp, bindings::event::exports::tubepost::mail::event as wire};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum EventKind {
    Accepted,
    Rejected,
    Discarded,
    Held,
    Delivered,
    Deferred,
    Bounced,
    Cancelled,
    Opened,
    Clicked,
    Unsubscribed,
    Complained,
    /// A link was followed that this plugin made with [`Message::own_link`](crate::Message::own_link); `claims` is in the detail.
    Followed,
}

/// Something that happened to a message, or to one recipient of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same whenever the same event comes.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Id of the message.
    pub message: String,
    /// Login that the message came by.
    pub login: String,
    /// Id of the recipient in the message, where the event is about one.
    pub recipient: Option<u32>,
    /// That recipient's address.
    pub address: Option<String>,
    /// Tags of the message.
    pub tags: Vec<String>,
    /// What else is known, by kind: "subject", "reverse-path", "host", "reply", "status", "attempt", "reason", "url", "position", "claims", "ip".
    pub details: Vec<(String, String)>,
}

impl Event {
    /// An event of nothing in particular, for tests.
    pub fn new(kind: EventKind) -> Self {
        Self {
            id: "event-1".to_owned(),
            at: Timestamp::default(),
            kind,
            message: "0000000000000000".to_owned(),
            login: "login".to_owned(),
            recipient: None,
            address: None,
            tags: Vec::new(),
            details: Vec::new(),
        }
    }

    /// Adds something that is known, for tests.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.details.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes it an event of a recipient, for tests.
    #[must_use]
    pub fn of(mut self, address: &str) -> Self {
        self.recipient = Some(0);
        self.address = Some(address.to_owned());
        self
    }

    /// One of the details.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl From<wire::Event> for Event {
    fn from(wire: wire::Event) -> Self {
        Self {
            id: wire.id,
            at: Timestamp::from_millis(wire.at_ms),
            kind: wire.kind.into(),
            message: wire.message,
            login: wire.login,
            recipient: wire.recipient,
            address: wire.address,
            tags: wire.tags,
            details: wire.detail,
        }
    }
}

impl From<wire::Kind> for EventKind {
    fn from(wire: wire::Kind) -> Self {
        match wire {
            wire::Kind::Accepted => Self::Accepted,
            wire::Kind::Rejected => Self::Rejected,
            wire::Kind::Discarded => Self::Discarded,
            wire::Kind::Held => Self::Held,
            wire::Kind::Delivered => Self::Delivered,
            wire::Kind::Deferred => Self::Deferred,
            wire::Kind::Bounced => Self::Bounced,
            wire::Kind::Cancelled => Self::Cancelled,
            wire::Kind::Opened => Self::Opened,
            wire::Kind::Clicked => Self::Clicked,
            wire::Kind::Unsubscribed => Self::Unsubscribed,
            wire::Kind::Complained => Self::Complained,
            wire::Kind::Followed => Self::Followed,
        }
    }
}
