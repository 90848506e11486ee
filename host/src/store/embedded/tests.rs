#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::unit::ByteSize;
use crate::store::{Change, NewMessage, NewRow, ValueChange};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn config() -> config::Store {
    config::Store {
        segment_size: ByteSize(1 << 16),
        retention: Duration::from_secs(7 * 24 * 3600),
        archive_size: ByteSize(10 << 30),
        cache: ByteSize(1 << 20),
        commit_queue: 64,
        reserve: ByteSize(0),
    }
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, &config(), Clock::manual(NOW), Entropy::seeded(1)).unwrap()
}

fn id(number: u64) -> MessageId {
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&(NOW.as_millis() + number).to_be_bytes()[2..]);
    octets[8..].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(octets)
}

fn copy(number: u64, recipient: u32) -> CopyId {
    CopyId { message: id(number), recipient }
}

/// A message for `recipients` in queue `q`, due at [`NOW`]; everything in it tells its number.
fn message(number: u64, recipients: u32, body: usize) -> NewMessage {
    let rows = (0..recipients).map(|recipient| NewRow {
        recipient,
        due: NOW,
        queue: "q".into(),
        payload: format!("payload {number}-{recipient}").into(),
        state: "new".into(),
    });
    let body = format!("{number} ").repeat(body / 2)[..body].to_owned();
    NewMessage { id: id(number), head: format!("head {number}").into(), body: body.into(), original: None, rows: rows.collect() }
}

fn mail(message: NewMessage) -> Batch {
    let events = vec![format!("accepted {}", message.id).into()];
    Batch { messages: vec![message], events, ..Batch::default() }
}

const MANY: NonZeroU32 = NonZeroU32::new(1000).unwrap();

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for number in 0..200 {
        store.commit(mail(message(number, 2, 1000))).await.unwrap();
    }
    let done = (0..100).map(|number| Change::Done(copy(number, 0))).collect();
    store.commit(Batch { changes: done, ..Batch::default() }).await.unwrap();
    let again = Change::Reschedule { copy: copy(150, 1), due: NOW.plus(Duration::from_secs(60)), state: "again".into() };
    let value = ValueChange { table: "t".into(), key: "k".into(), value: Some("v".into()), expires: Timestamp::NEVER };
    store.commit(Batch { changes: vec![again], values: vec![value], ..Batch::default() }).await.unwrap();
    for _ in 0..2 {
        store.close().await.unwrap();
    }
    assert!(matches!(store.commit(Batch::default()).await, Err(StoreError::Poisoned(_))));
    drop(store);

    let store = open(folder.path());
    assert!(matches!(Embedded::open(folder.path(), &config(), Clock::manual(NOW), Entropy::seeded(1)), Err(OpenError::InUse)));
    assert_eq!(store.usage().await.unwrap().rows, 300);
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(NOW.plus(Duration::from_secs(60))));
    let rows = store.lease("q", NOW, NOW.plus(Duration::from_secs(1)), MANY).await.unwrap();
    assert_eq!(rows.len(), 299);
    assert_eq!(rows[0].copy, copy(0, 1));
    assert_eq!(rows[0].payload, "payload 0-1");
    let row = &store.rows_of(id(150)).await.unwrap()[1];
    assert_eq!(row.state, "again");
    for number in [0, 150, 199] {
        let stored = store.message(id(number)).await.unwrap().unwrap();
        assert_eq!((stored.head, stored.body), (message(number, 0, 0).head, message(number, 0, 1000).body));
    }
    assert_eq!(store.value("t", b"k", NOW).await.unwrap().unwrap(), "v");
    assert_eq!(store.events(0, 1000).await.unwrap().len(), 200);
}
