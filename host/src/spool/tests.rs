#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::Duration;

use super::*;
use crate::chain::Plan;
use crate::event::EventKind;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{BodyType, ReversePath};
use crate::spool::entry::Terms;
use crate::store::embedded::Embedded;
use crate::submission::{Protocol, Received};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MANY: NonZeroU32 = NonZeroU32::new(100).unwrap();

fn open(folder: &std::path::Path) -> Spool {
    let clock = Clock::manual(NOW);
    Spool::new(Arc::new(Embedded::small(folder, &clock)), clock)
}

fn id(number: u8) -> MessageId {
    MessageId::from_bytes([number; 16])
}

fn entry(number: u8, recipients: &[&str]) -> NewEntry {
    let message = id(number);
    let plan = Plan::plain("newsletter".into(), message, NOW);
    let entry = Entry {
        id: message,
        login: "newsletter".into(),
        route: "direct".into(),
        received: Received { at: NOW, peer: [127, 0, 0, 1].into(), helo: None, protocol: Protocol::Local },
        reverse_path: ReversePath::Null,
        ret: None,
        envid: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        subject: format!("subject {number}"),
        tags: Vec::new(),
        recipient_count: u32::try_from(recipients.len()).unwrap(),
        deliver_before: None,
        options: String::new(),
        plan,
        terms: Terms::default(),
    };
    let copies = recipients.iter().map(|address| {
        let address = EmailAddress::parse(address).unwrap();
        let queue = format!("direct/{}", address.domain()).into();
        (Copy { address, notify: None, original: None, variables: String::new() }, queue)
    });
    let body = Bytes::from(format!("body {number}"));
    NewEntry { entry, body, original: None, copies: copies.collect(), held: None, not_before: None, events: vec![event(number)] }
}

fn event(number: u8) -> Event {
    let kind = EventKind::Cancelled;
    Event { at: NOW, message: id(number), login: "newsletter".into(), recipient: None, address: None, tags: Vec::new(), kind }
}

#[tokio::test]
async fn a_message_is_kept_leased_and_settled_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let receipt = spool.accept(entry(1, &["a@one.example", "b@two.example", "c@one.example"])).await.unwrap();
    assert_eq!(receipt.message(), id(1));
    assert_eq!(
        receipt.recipients().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["a@one.example", "b@two.example", "c@one.example"]
    );

    let until = NOW.plus(Duration::from_mins(1));
    let end = Duration::from_millis(until.as_millis());
    let leased = spool.lease("direct/one.example", end, MANY).await.unwrap();
    assert_eq!(leased.iter().map(|leased| leased.copy.recipient).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(leased[1].recipient.address.to_string(), "c@one.example");
    assert_eq!(leased[1].state, CopyState::default());

    // One is delivered, one bounces with a DSN, all at once.
    let state = CopyState { attempts: 1, last: Some("451 later".into()), ..CopyState::default() };
    let again = Settlement::Again { copy: leased[1].copy, due: until, state: state.clone() };
    spool.settle(vec![Settlement::Done(leased[0].copy), again], vec![event(1)], vec![entry(2, &["sender@two.example"])]).await.unwrap();
    drop(spool);

    let spool = open(folder.path());
    assert!(spool.lease("direct/one.example", end, MANY).await.unwrap().is_empty());
    assert_eq!(spool.store().next_due(NOW).await.unwrap(), Some(until));
    let rows = spool.store().rows_of(id(1)).await.unwrap();
    assert_eq!(Leased::decode(rows[1].clone()).unwrap().state, state);
    assert_eq!(spool.lease("direct/two.example", end, MANY).await.unwrap().len(), 2);
    let (kept, body, original) = spool.message(id(1)).await.unwrap().unwrap();
    assert_eq!((kept, &body[..], original), (entry(1, &["", "", ""].map(|_| "x@y")).entry, &b"body 1"[..], None));
    assert_eq!(spool.store().events(0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn held_copies_wait_for_an_operator() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool.accept(NewEntry { held: Some("looks odd".into()), ..entry(1, &["a@one.example"]) }).await.unwrap();
    assert!(spool.store().due_queues(Timestamp::NEVER, 10).await.unwrap().is_empty());
    assert_eq!(spool.store().next_due(NOW).await.unwrap(), None);
    let row = spool.store().rows_of(id(1)).await.unwrap().remove(0);
    let state = Leased::decode(row).unwrap().state;
    assert_eq!(state.held.as_deref(), Some("looks odd"));

    let copy = CopyId { message: id(1), recipient: 0 };
    let again = Settlement::Again { copy, due: NOW, state: CopyState::default() };
    spool.settle(vec![again], Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(spool.store().due_queues(NOW, 10).await.unwrap()[0].queue, "direct/one.example".into());
}

#[tokio::test]
async fn what_is_discarded_leaves_only_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let receipt = spool.discard(id(1), vec![event(1)]).await.unwrap();
    assert!(receipt.recipients().is_empty());
    assert!(spool.message(id(1)).await.unwrap().is_none());
    let logged = spool.store().events(0, 10).await.unwrap().remove(0);
    assert_eq!(recorder::decode(&logged.octets).unwrap(), event(1));
}
