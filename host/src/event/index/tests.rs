#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use super::*;
use crate::event::{EventKind, Visitor};
use crate::mail::tag::Tag;

const MEMORY: usize = 15_000_000;

fn event(number: u8, recipient: Option<u32>, kind: EventKind) -> Event {
    let mut id = [0; 16];
    // Message ids hold their time: 2026-11-21, one second for each number.
    id[..6].copy_from_slice(&(1_795_219_200_000_u64 + u64::from(number) * 1000).to_be_bytes()[2..]);
    id[15] = number;
    let message = MessageId::from_bytes(id);
    Event {
        at: message.received(),
        message,
        login: "News".into(),
        recipient,
        address: None,
        tags: vec![Tag::parse("Big Sale").unwrap()],
        kind,
    }
}

fn accepted(number: u8, subject: &str) -> Event {
    let kind = EventKind::Accepted {
        protocol: "esmtpsa".to_owned(),
        peer: "192.0.2.1".to_owned(),
        reverse_path: "news@example.com".to_owned(),
        recipients: vec![format!("Reader{number}@example.net")],
        recipient_count: 1,
        subject: subject.to_owned(),
        size: 100,
        plugins: Vec::new(),
    };
    event(number, None, kind)
}

fn subjects(index: &SearchIndex, query: &str) -> Vec<String> {
    index.search(query, 0, 10).unwrap().messages.into_iter().map(|summary| summary.subject).collect()
}

#[test]
fn messages_are_found_by_everything_that_is_known_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    assert_eq!(index.position(), 0);
    let mut writer = index.writer(MEMORY).unwrap();
    let events = [(1, accepted(1, "Spring letter")), (2, accepted(2, "Summer letter")), (3, accepted(3, "Invoice 17"))];
    let third = events[2].1.message;
    writer.add(&events, 70, &mut |id| (id == third).then(|| "Please pay the amount due".to_owned())).unwrap();

    assert_eq!(subjects(&index, ""), ["Invoice 17", "Summer letter", "Spring letter"]);
    assert_eq!(subjects(&index, "letter"), ["Summer letter", "Spring letter"]);
    assert_eq!(subjects(&index, "\"amount due\""), ["Invoice 17"]);
    assert_eq!(subjects(&index, "\"due amount\""), Vec::<String>::new());
    assert_eq!(subjects(&index, "reader2@example.net"), ["Summer letter"]);
    assert_eq!(subjects(&index, "to:example.net -letter"), ["Invoice 17"]);
    assert_eq!(subjects(&index, "tag:\"big sale\" login:news subject:spring"), ["Spring letter"]);
    assert_eq!(subjects(&index, &format!("id:{third}")), ["Invoice 17"]);
    assert_eq!(subjects(&index, "after:2026-11-21 before:2026-11-22").len(), 3);
    assert_eq!(subjects(&index, "before:2026-11-21").len(), 0);
    assert!(matches!(index.search("nosuch:x", 0, 1), Err(IndexError::Query(QueryError::UnknownField(_)))));
    assert!(matches!(index.search("after:tomorrow", 0, 1), Err(IndexError::Query(QueryError::Date(_)))));
    let found = |offset, limit| index.search("letter", offset, limit).map(|found| (found.total, found.messages.len())).unwrap();
    assert_eq!((found(1, 1), found(1, usize::MAX), found(2, 1)), ((2, 1), (2, 1), (2, 0)));
    assert_eq!((found(usize::MAX, 1), found(usize::MAX, usize::MAX), found(0, 0)), ((2, 0), (2, 0), (2, 1)));
}

#[test]
fn states_follow_the_log_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let delivered = EventKind::Delivered { host: "mx".to_owned(), reply: "250".to_owned(), attempt: 0, via: None };
    {
        let index = SearchIndex::open(folder.path()).unwrap();
        let mut writer = index.writer(MEMORY).unwrap();
        writer.add(&[(1, accepted(1, "One")), (2, accepted(2, "Two"))], 10, &mut |_| None).unwrap();
        writer.add(&[(11, event(1, Some(0), delivered))], 20, &mut |_| None).unwrap();
    }
    let index = SearchIndex::open(folder.path()).unwrap();
    assert_eq!(index.position(), 20);
    assert_eq!(subjects(&index, "state:delivered"), ["One"]);
    assert_eq!(subjects(&index, "state:queued"), ["Two"]);
    let mut writer = index.writer(MEMORY).unwrap();
    writer.add(&[(21, event(2, Some(0), EventKind::Opened { visitor: Visitor::default() }))], 30, &mut |_| None).unwrap();
    assert_eq!(subjects(&index, "state:opened"), ["Two"]);
    assert_eq!(index.search("", 0, 10).unwrap().total, 2);
    assert_eq!(index.message(accepted(2, "").message).unwrap().unwrap().summary.opens, 1);
}

#[test]
fn what_is_older_than_the_log_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    let mut writer = index.writer(MEMORY).unwrap();
    writer.add(&[(1, accepted(1, "One")), (2, accepted(2, "Two"))], 10, &mut |_| None).unwrap();
    writer.forget(accepted(2, "").at).unwrap();
    writer.add(&[], 10, &mut |_| None).unwrap();
    assert_eq!((subjects(&index, ""), index.position()), (vec!["Two".to_owned()], 10));
    assert_eq!(subjects(&index, "reader1@example.net"), Vec::<String>::new());
    assert_eq!(index.message(accepted(1, "").message).unwrap(), None);
}

#[test]
fn a_damaged_index_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    {
        let index = SearchIndex::open(folder.path()).unwrap();
        index.writer(MEMORY).unwrap().add(&[(1, accepted(1, "One"))], 10, &mut |_| None).unwrap();
    }
    std::fs::write(folder.path().join("meta.json"), "{").unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    assert_eq!((index.position(), subjects(&index, "")), (0, Vec::new()));
    index.writer(MEMORY).unwrap().add(&[(1, accepted(1, "One"))], 10, &mut |_| None).unwrap();
    assert_eq!(subjects(&index, ""), ["One"]);

    // Parts of it are gone.
    drop(index);
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "store" || extension == "idx") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(SearchIndex::open(folder.path()).unwrap().position(), 0);
}

#[test]
fn an_event_counts_once_however_many_there_are() {
    let mut indexed = Indexed::new(&accepted(1, "One"));
    indexed.add(1, &accepted(1, "One"));
    let opened = event(1, Some(0), EventKind::Opened { visitor: Visitor::default() });
    for position in 2..=MOST_POSITIONS as u64 + 10 {
        for _ in 0..2 {
            indexed.add(position, &opened);
        }
    }
    assert_eq!((indexed.positions.len(), indexed.summary.opens as usize), (MOST_POSITIONS, MOST_POSITIONS + 9));
}
