#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::num::NonZeroU32;

use bytes::Bytes;
use parking_lot::Mutex as SyncMutex;

use super::*;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::event::search::State;
use crate::mail::message_id::CopyId;
use crate::mail::tag::Tag;
use crate::store::{Batch, LoggedEvent, QueueName, Row, StoredMessage, Usage};

/// A store that has a log and nothing else.
#[derive(Default)]
struct LogOnly(SyncMutex<Vec<Bytes>>);

impl LogOnly {
    fn append(&self, event: &Event) {
        self.0.lock().push(serde_json::to_vec(event).unwrap().into());
    }
}

impl Store for LogOnly {
    fn commit(&self, _: Batch) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn due_queues(&self, _: Timestamp, _: usize) -> BoxFuture<'_, Result<Vec<QueueName>, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn next_due(&self, _: Timestamp) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn lease<'a>(&'a self, _: &'a str, _: Timestamp, _: Timestamp, _: NonZeroU32) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn release(&self, _: Vec<CopyId>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn changed(&self) -> BoxFuture<'_, ()> {
        unreachable!("the index reads the log alone")
    }
    fn message(&self, _: MessageId) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn rows<'a>(&'a self, _: Option<&'a str>, _: Option<CopyId>, _: usize) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn rows_of(&self, _: MessageId) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn events(&self, position: u64, limit: usize) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>> {
        let log = self.0.lock();
        let from = usize::try_from(position).unwrap();
        // Less than was asked for: readers have to go on.
        let entries = (position..).zip(log.iter().skip(from).take(limit.min(2)));
        let entries = entries.map(|(position, octets)| LoggedEvent { position, octets: octets.clone() }).collect();
        Box::pin(std::future::ready(Ok(entries)))
    }
    fn events_appended(&self) -> BoxFuture<'_, ()> {
        unreachable!("the index reads the log alone")
    }
    fn value<'a>(&'a self, _: &'a str, _: &'a [u8], _: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        unreachable!("the index reads the log alone")
    }
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("the index reads the log alone")
    }
}

fn id(number: u8) -> MessageId {
    MessageId::from_bytes([0, 0, 0, 0, 0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn event(number: u8, recipient: Option<u32>, kind: EventKind) -> Event {
    let tags = vec![Tag::parse("spring").unwrap()];
    Event { at: Timestamp::from_millis(9), message: id(number), login: "news".into(), recipient, address: None, tags, kind }
}

fn accepted(number: u8, subject: &str) -> Event {
    let kind = EventKind::Accepted {
        protocol: "https".into(),
        peer: "192.0.2.1".into(),
        reverse_path: "sender@example.com".into(),
        recipients: vec!["ann@x.example".into(), "bob@y.example".into()],
        recipient_count: 2,
        subject: subject.into(),
        size: 100,
        plugins: Vec::new(),
    };
    event(number, None, kind)
}

fn delivered() -> EventKind {
    EventKind::Delivered { host: "mx".into(), reply: "250 ok".into(), attempt: 0 }
}

fn bounced() -> EventKind {
    EventKind::Bounced { host: "mx".into(), reply: "550 no".into(), status: "5.1.1".into(), attempt: 1 }
}

fn deferred() -> EventKind {
    EventKind::Deferred { host: "mx".into(), reply: "451 later".into(), attempt: 0, next: Timestamp::from_millis(20) }
}

#[tokio::test]
async fn states_follow_the_copies() {
    let store = Arc::new(LogOnly::default());
    let index = Recent::new(store.clone(), 100);
    let mut steps = vec![
        (accepted(1, "s"), State::Queued),
        (event(1, Some(0), deferred()), State::Deferred),
        (event(1, Some(0), delivered()), State::Queued),
        (event(1, Some(1), delivered()), State::Delivered),
        (accepted(2, "s"), State::Queued),
        (event(2, Some(0), delivered()), State::Queued),
        (event(2, Some(1), bounced()), State::Bounced),
        (event(3, None, EventKind::Rejected { reason: "no".into(), temporary: false, plugins: Vec::new() }), State::Rejected),
    ];
    let held = EventKind::Held { by: "quarantine".into(), reason: "odd".into() };
    steps.extend([
        (accepted(4, "s"), State::Queued),
        (event(4, None, held), State::Held),
        (event(4, Some(0), EventKind::Cancelled), State::Held),
    ]);
    steps.push((event(4, Some(1), EventKind::Cancelled), State::Cancelled));
    for (event, state) in steps {
        store.append(&event);
        let summary = index.message(event.message).await.unwrap().unwrap();
        assert_eq!(summary.state, state, "{event:?}");
    }
    let bounced = index.message(id(2)).await.unwrap().unwrap();
    assert_eq!((bounced.address(1), bounced.copies.get(&1).unwrap().attempts), (Some("bob@y.example"), 2));
    assert_eq!(index.events(id(1)).await.unwrap().len(), 4);
    assert_eq!(index.message(id(9)).await.unwrap(), None);
}

#[tokio::test]
async fn words_and_fields_are_found() {
    let store = Arc::new(LogOnly::default());
    for (number, subject) in [(1, "Grüße"), (2, "Spring offer"), (3, "Invoice 7")] {
        store.append(&accepted(number, subject));
    }
    store.append(&event(3, Some(0), bounced()));
    store.append(&event(3, Some(1), bounced()));
    let index = Recent::new(store, 100);
    for (query, found) in [
        ("", vec![3, 2, 1]),
        ("grüße", vec![1]),
        ("SPRING offer", vec![2]),
        ("subject:offer", vec![2]),
        ("tag:spring", vec![3, 2, 1]),
        ("state:bounced", vec![3]),
        ("bounced", vec![3]),
        ("to:bob@y.example login:news", vec![3, 2, 1]),
        ("from:bob", vec![]),
        ("other:word", vec![]),
    ] {
        let page = index.search(query, 0, 10).await.unwrap();
        let ids: Vec<MessageId> = page.messages.iter().map(|summary| summary.message).collect();
        assert_eq!(ids, found.iter().map(|number| id(*number)).collect::<Vec<_>>(), "{query}");
    }
    let page = index.search("", 1, 1).await.unwrap();
    assert_eq!((page.total, page.messages.len(), page.messages.first().unwrap().message), (3, 1, id(2)));
}

#[tokio::test]
async fn the_oldest_is_forgotten() {
    let store = Arc::new(LogOnly::default());
    for number in 1..=5 {
        store.append(&accepted(number, "s"));
    }
    let index = Recent::new(store, 3);
    let page = index.search("", 0, 10).await.unwrap();
    assert_eq!((page.total, page.messages.last().unwrap().message), (3, id(3)));
}
