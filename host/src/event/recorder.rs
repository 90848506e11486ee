//! Puts events on the log: those that belong to a change of the queue with that change, others on their own.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::Event;
use crate::store::{Batch, Store, StoreError};

/// Appends events that stand alone: clicks, opens, rejections.
#[derive(Clone)]
pub struct Recorder {
    store: Arc<dyn Store>,
}

impl Recorder {
    /// Writes to `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
    /// Appends `events` durably.
    pub async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let events = events.iter().map(encode).collect();
        self.store.commit(Batch { events, ..Batch::default() }).await
    }
}

/// Encodes an event for the log: one JSON object.
///
/// # Panics
/// Never: the keys of an event are texts, and all of its values have a form in JSON.
pub fn encode(event: &Event) -> Bytes {
    serde_json::to_vec(event).expect("an event has a form in JSON").into()
}

/// Decodes an event of the log.
pub fn decode(octets: &[u8]) -> Result<Event, serde_json::Error> {
    serde_json::from_slice(octets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{EventKind, Visitor};
    use crate::mail::message_id::MessageId;

    #[test]
    fn events_are_json_and_come_back() {
        let visitor = Visitor { ip: "192.0.2.1".into(), user_agent: String::new() };
        let event = Event {
            at: Timestamp::from_millis(1_700_000_000_000),
            message: MessageId::from_bytes([7; 16]),
            login: "newsletter".into(),
            recipient: Some(2),
            address: Some("a@example.com".into()),
            tags: Vec::new(),
            kind: EventKind::Clicked { url: "https://example.com/".into(), position: 3, visitor },
        };
        let octets = encode(&event);
        let expected = r#"{"at":1700000000000,"message":"070W3GE1R70W3GE1R70W3GE1R7","login":"newsletter","recipient":2,"address":"a@example.com","event":"clicked","url":"https://example.com/","position":3,"ip":"192.0.2.1"}"#;
        assert_eq!(str::from_utf8(&octets).unwrap(), expected);
        assert_eq!(decode(&octets).unwrap(), event);
    }
}
