//! Fresh messages in memory, so that delivery need not read back what was just written.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::mail::message_id::{CopyId, MessageId};
use crate::store::{NewMessage, StoredMessage};

/// Most messages in the cache, whatever their size.
const MESSAGES: usize = 65_536;
/// Octets that a message takes beside its own: places in the map and the list, and what the allocator adds to each piece.
const MESSAGE_OCTETS: usize = 500;

/// Messages that came last and are not done with, up to a number of octets; the oldest go first.
pub(super) struct Cache {
    limit: u64,
    octets: u64,
    messages: HashMap<MessageId, Fresh>,
    /// In the order in which they came; those that are gone stay until they are at the front.
    order: VecDeque<MessageId>,
}

struct Fresh {
    content: StoredMessage,
    /// Sorted by recipient.
    rows: Vec<FreshRow>,
    octets: u64,
}

struct FreshRow {
    recipient: u32,
    payload: Bytes,
    state: Bytes,
}

impl Cache {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, octets: 0, messages: HashMap::new(), order: VecDeque::new() }
    }

    /// Keeps a message that was just committed.
    pub(super) fn insert(&mut self, message: NewMessage) {
        let original = message.original.as_ref().map_or(0, Bytes::len);
        let rows = message.rows.iter().map(|row| row.payload.len() + row.state.len() + size_of::<FreshRow>()).sum::<usize>();
        let octets = (MESSAGE_OCTETS + message.head.len() + message.body.len() + original + rows) as u64;
        if octets > self.limit || message.rows.is_empty() {
            self.remove(message.id);
            return;
        }
        let mut rows: Vec<_> =
            message.rows.into_iter().map(|row| FreshRow { recipient: row.recipient, payload: row.payload, state: row.state }).collect();
        rows.sort_by_key(|row| row.recipient);
        let content = StoredMessage { head: message.head, body: message.body, original: message.original };
        self.octets += octets;
        if let Some(replaced) = self.messages.insert(message.id, Fresh { content, rows, octets }) {
            self.octets -= replaced.octets;
        } else {
            self.order.push_back(message.id);
        }
        while self.octets > self.limit || self.order.len() > MESSAGES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
    }

    /// Returns a message's content.
    pub(super) fn content(&self, id: MessageId) -> Option<StoredMessage> {
        self.messages.get(&id).map(|fresh| fresh.content.clone())
    }

    /// Returns what is known about a message.
    pub(super) fn head(&self, id: MessageId) -> Option<Bytes> {
        self.messages.get(&id).map(|fresh| fresh.content.head.clone())
    }

    /// Returns payload and state of a row.
    pub(super) fn row(&self, copy: CopyId) -> Option<(Bytes, Bytes)> {
        let rows = &self.messages.get(&copy.message)?.rows;
        let place = rows.binary_search_by_key(&copy.recipient, |row| row.recipient).ok()?;
        rows.get(place).map(|row| (row.payload.clone(), row.state.clone()))
    }

    /// Puts in a row's new state.
    pub(super) fn set_state(&mut self, copy: CopyId, state: &[u8]) {
        let Some(fresh) = self.messages.get_mut(&copy.message) else { return };
        let Ok(place) = fresh.rows.binary_search_by_key(&copy.recipient, |row| row.recipient) else { return };
        if let Some(row) = fresh.rows.get_mut(place) {
            // Copied: a small piece must not keep a large buffer alive.
            row.state = Bytes::copy_from_slice(state);
        }
    }

    /// Forgets a message.
    pub(super) fn remove(&mut self, id: MessageId) {
        if let Some(fresh) = self.messages.remove(&id) {
            self.octets -= fresh.octets;
        }
        while self.order.front().is_some_and(|front| !self.messages.contains_key(front)) {
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::NewRow;

    fn message(number: u8) -> NewMessage {
        let (payload, state) = (Bytes::from_static(b"payload"), Bytes::from_static(b"state"));
        let row = |recipient| NewRow {
            recipient,
            due: Timestamp::default(),
            queue: "q".into(),
            share: "".into(),
            priority: 0,
            payload: payload.clone(),
            state: state.clone(),
        };
        NewMessage {
            id: MessageId::from_bytes([number; 16]),
            head: Bytes::new(),
            body: Bytes::from(vec![number; 1000]),
            original: None,
            rows: vec![row(1), row(0)],
        }
    }

    #[test]
    fn the_oldest_go_first_and_what_is_gone_takes_no_room() {
        let mut cache = Cache::new(7_500);
        for number in 0..10 {
            cache.insert(message(number));
        }
        assert!(cache.content(MessageId::from_bytes([5; 16])).is_none());
        assert_eq!(cache.content(MessageId::from_bytes([9; 16])).unwrap().body, vec![9; 1000]);
        let copy = CopyId { message: MessageId::from_bytes([9; 16]), recipient: 1 };
        cache.set_state(copy, b"new");
        assert_eq!(cache.row(copy).unwrap(), (Bytes::from_static(b"payload"), Bytes::from_static(b"new")));
        assert!(cache.row(CopyId { recipient: 2, ..copy }).is_none());
        for number in 0..10 {
            cache.remove(MessageId::from_bytes([number; 16]));
        }
        assert_eq!((cache.octets, cache.messages.len(), cache.order.len()), (0, 0, 0));
    }
}
