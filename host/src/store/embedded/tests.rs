#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::Duration;

use super::disk::FileName;
use super::faulty::{Fault, FaultyDisk};
use super::*;
use crate::config::unit::ByteSize;
use crate::store::{Change, NewMessage, NewRow, ValueChange};

mod failures;
mod order;
mod room;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn config() -> config::Store {
    config::Store {
        segment_size: ByteSize(1 << 16),
        retention: Duration::from_hours(7 * 24),
        archive_size: ByteSize(10 << 30),
        cache: ByteSize(1 << 20),
        commit_queue: 64,
        reserve: ByteSize(0),
        table_size: ByteSize::mib(64),
    }
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, &config(), Clock::manual(NOW), Entropy::seeded(1), Metrics::new()).unwrap()
}

/// The end of a lease of some seconds, on a clock that nobody sets.
fn end(now: Timestamp, seconds: u64) -> Duration {
    Duration::from_millis(now.as_millis()) + Duration::from_secs(seconds)
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
        share: "".into(),
        priority: 0,
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
    let again = Change::Reschedule { copy: copy(150, 1), due: NOW.plus(Duration::from_mins(1)), state: "again".into() };
    let value = ValueChange { table: "t".into(), key: "k".into(), value: Some("v".into()), expires: Timestamp::NEVER };
    store.commit(Batch { changes: vec![again], values: vec![value], ..Batch::default() }).await.unwrap();
    for _ in 0..2 {
        store.close().await.unwrap();
    }
    assert!(matches!(store.commit(Batch::default()).await, Err(StoreError::Poisoned(_))));
    drop(store);

    let store = open(folder.path());
    assert!(matches!(
        Embedded::open(folder.path(), &config(), Clock::manual(NOW), Entropy::seeded(1), Metrics::new()),
        Err(OpenError::InUse)
    ));
    assert_eq!(store.usage().await.unwrap().rows, 300);
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(NOW.plus(Duration::from_mins(1))));
    let rows = store.lease("q", NOW, end(NOW, 1), MANY).await.unwrap();
    assert_eq!(rows.len(), 299);
    assert_eq!(rows[0].copy, copy(0, 1));
    assert_eq!(rows[0].payload, "payload 0-1");
    let row = &store.rows_of(id(150)).await.unwrap()[1];
    assert_eq!(row.state, "again");
    for number in [0, 150, 199] {
        let stored = store.message(id(number)).await.unwrap().unwrap();
        assert_eq!((stored.head, stored.body), (message(number, 0, 0).head, message(number, 0, 1000).body));
        assert_eq!(store.head(id(number)).await.unwrap().unwrap(), message(number, 0, 0).head);
    }
    assert_eq!(store.value("t", b"k", NOW).await.unwrap().unwrap(), "v");
    assert_eq!(store.values("t", None, NOW, 9).await.unwrap(), [("k".into(), "v".into())]);
    assert_eq!(store.values("t", Some(b"k"), NOW, 9).await.unwrap(), []);
    assert_eq!(store.events(0, 1000).await.unwrap().len(), 200);
}

// --- over a disk in memory

fn settings() -> Settings {
    Settings::new(&config())
}

fn on(disk: &FaultyDisk) -> Embedded {
    on_at(disk, &Clock::manual(NOW), settings())
}

fn on_at(disk: &FaultyDisk, clock: &Clock, settings: Settings) -> Embedded {
    Embedded::open_on(Arc::new(disk.clone()), settings, clock.clone(), Entropy::seeded(1), Metrics::new()).unwrap()
}

async fn ids(store: &Embedded) -> Vec<CopyId> {
    store.rows(None, None, usize::MAX).await.unwrap().into_iter().map(|row| row.copy).collect()
}

fn end_of(store: &Embedded) -> usize {
    store.shared.state.lock().active.end as usize
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    store.commit(mail(message(1, 1, 30))).await.unwrap();
    let first = end_of(&store);
    store.commit(mail(message(2, 2, 30))).await.unwrap();
    let second = end_of(&store);
    drop(store);
    for cut in first..second {
        for zeros in [false, true] {
            let disk = disk.killed();
            disk.edit(FileName::Segment(1), |octets| {
                octets.truncate(cut);
                if zeros {
                    octets.resize(second + 100, 0);
                }
            });
            let store = on(&disk);
            assert_eq!(ids(&store).await, [copy(1, 0)], "cut at {cut}");
            store.commit(mail(message(3, 1, 30))).await.unwrap();
            drop(store);
            let store = on(&disk.killed());
            let expected = [copy(1, 0), copy(3, 0)];
            assert_eq!(ids(&store).await, expected, "cut at {cut}");
            assert_eq!(store.events(0, 10).await.unwrap().len(), 2);
        }
    }
}

#[tokio::test]
async fn damage_before_what_was_synced_is_reported() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    store.commit(mail(message(1, 1, 30))).await.unwrap();
    let first = end_of(&store);
    store.commit(mail(message(2, 1, 30))).await.unwrap();
    drop(store);
    for offset in record::SEGMENT_HEADER..first {
        let disk = disk.killed();
        disk.edit(FileName::Segment(1), |octets| octets[offset] ^= 1);
        let opened = Embedded::open_on(Arc::new(disk), settings(), Clock::manual(NOW), Entropy::seeded(1), Metrics::new());
        assert!(matches!(opened.err(), Some(OpenError::Damaged(_))), "offset {offset}");
    }
}

#[tokio::test]
async fn content_that_looks_like_a_frame_is_none() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    store.commit(mail(message(1, 1, 30))).await.unwrap();
    let end = end_of(&store);
    drop(store);
    // A mail that holds the octets of a frame, in a batch that is torn.
    disk.edit(FileName::Segment(1), |octets| {
        let frame = octets[record::SEGMENT_HEADER..end].to_vec();
        octets[end + 200..end + 200 + frame.len()].copy_from_slice(&frame);
        octets[end] = 1;
    });
    assert_eq!(ids(&on(&disk.killed())).await, [copy(1, 0)]);
}

#[tokio::test]
async fn without_room_nothing_is_kept_and_settling_goes_on() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let mut settings = settings();
    settings.limits.reserve = 1 << 20;
    let store = on_at(&disk, &clock, settings);
    store.commit(mail(message(1, 1, 30))).await.unwrap();
    disk.set_free(1 << 20);
    clock.advance(Duration::from_millis(100));
    assert_eq!(store.commit(mail(message(2, 1, 30))).await, Err(StoreError::Full));
    store.commit(Batch { changes: vec![Change::Done(copy(1, 0))], ..Batch::default() }).await.unwrap();
    disk.set_free(u64::MAX);
    clock.advance(Duration::from_millis(100));
    store.commit(mail(message(3, 1, 30))).await.unwrap();
    assert_eq!(ids(&store).await, [copy(3, 0)]);

    // The disk says so itself, in the middle of a write.
    disk.arm(0, Fault::Full);
    assert_eq!(store.commit(mail(message(4, 1, 30))).await, Err(StoreError::Full));
    store.commit(mail(message(5, 1, 30))).await.unwrap();
    assert_eq!(store.events(0, 10).await.unwrap().len(), 3);
    drop(store);
    assert_eq!(ids(&on(&disk.killed())).await, [copy(3, 0), copy(5, 0)]);
}

#[tokio::test]
async fn what_is_admitted_counts_against_the_room_that_is_known() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let mut settings = settings();
    settings.limits.reserve = 1 << 20;
    let store = on_at(&disk, &clock, settings);
    disk.set_free((1 << 20) + 5_000);
    store.commit(mail(message(1, 1, 4_000))).await.unwrap();
    assert_eq!(store.commit(mail(message(2, 1, 4_000))).await, Err(StoreError::Full));
    clock.advance(Duration::from_millis(100));
    store.commit(mail(message(2, 1, 4_000))).await.unwrap();
}

#[tokio::test]
async fn rows_come_in_the_order_of_due_time_and_leases_end() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let store = on_at(&disk, &clock, settings());
    let second = Duration::from_secs(1);
    let mut late = message(1, 1, 10);
    late.rows[0].due = NOW.plus(second);
    let mut held = message(4, 1, 10);
    held.rows[0].due = Timestamp::NEVER;
    for message in [late, held, message(3, 1, 10), message(2, 2, 10)] {
        store.commit(mail(message)).await.unwrap();
    }
    clock.advance(10 * second);
    let later = clock.now();
    let lease = async |now| {
        let rows = store.lease("q", now, clock.monotonic() + 5 * second, MANY).await.unwrap();
        rows.into_iter().map(|row| row.copy).collect::<Vec<_>>()
    };
    assert_eq!(lease(later).await, [copy(2, 0), copy(2, 1), copy(3, 0), copy(1, 0)]);
    assert!(store.due_queues(later, 9).await.unwrap().is_empty());
    assert_eq!(store.next_due(later).await.unwrap(), Some(later.plus(5 * second)));

    // One is cancelled while it is leased, one is given back, one runs out, and the worker who was late finds nothing left to change.
    store.commit(Batch { changes: vec![Change::Done(copy(2, 0))], ..Batch::default() }).await.unwrap();
    store.release(vec![copy(3, 0), copy(2, 0), copy(9, 9)]).await.unwrap();
    assert_eq!(store.due_queues(later, 9).await.unwrap().into_iter().map(|due| due.queue).collect::<Vec<_>>(), ["q".into()]);
    assert_eq!(lease(later).await, [copy(3, 0)]);
    clock.advance(5 * second);
    assert_eq!(lease(clock.now()).await, [copy(2, 1), copy(3, 0), copy(1, 0)]);
    let again = Change::Reschedule { copy: copy(2, 0), due: NOW, state: "late".into() };
    store.commit(Batch { changes: vec![again], ..Batch::default() }).await.unwrap();
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.rows, usage.leased, usage.oldest), (4, 3, Some(id(1).received())));
    assert!(store.lease("q", Timestamp::NEVER, Duration::MAX, MANY).await.unwrap().iter().all(|row| row.copy != copy(4, 0)));
}

#[tokio::test]
async fn a_clock_that_is_set_ends_no_lease() {
    let clock = Clock::manual(NOW);
    let store = on_at(&FaultyDisk::new(), &clock, settings());
    store.commit(mail(message(1, 1, 10))).await.unwrap();
    assert_eq!(store.lease("q", NOW, end(NOW, 60), MANY).await.unwrap().len(), 1);
    let hour = Duration::from_hours(1);
    for now in [NOW.plus(hour), NOW.minus(hour)] {
        clock.step_to(now);
        assert!(store.due_queues(Timestamp::NEVER, 9).await.unwrap().is_empty());
        assert_eq!(store.next_due(now).await.unwrap(), Some(now.plus(Duration::from_mins(1))));
    }
    clock.advance(Duration::from_mins(1));
    assert_eq!(store.due_queues(Timestamp::NEVER, 9).await.unwrap().into_iter().map(|due| due.queue).collect::<Vec<_>>(), ["q".into()]);
}

#[tokio::test]
async fn what_is_leased_is_not_claimed_and_what_is_claimed_is_not_leased() {
    let store = on(&FaultyDisk::new());
    let mut held = message(2, 1, 10);
    held.rows[0].due = Timestamp::NEVER;
    for message in [message(1, 2, 10), held] {
        store.commit(mail(message)).await.unwrap();
    }
    assert_eq!(store.lease("q", NOW, end(NOW, 60), NonZeroU32::MIN).await.unwrap().len(), 1);
    let all = vec![copy(1, 0), copy(1, 1), copy(2, 0), copy(9, 0)];
    let claimed: Vec<_> = store.claim(all.clone(), end(NOW, 60)).await.unwrap().into_iter().map(|row| row.copy).collect();
    assert_eq!(claimed, [copy(1, 1), copy(2, 0)]);
    assert!(store.claim(all, end(NOW, 60)).await.unwrap().is_empty());
    assert!(store.lease("q", Timestamp::NEVER, end(NOW, 60), MANY).await.unwrap().is_empty());
    let again = Change::Reschedule { copy: copy(2, 0), due: NOW, state: "released".into() };
    store.commit(Batch { changes: vec![again], ..Batch::default() }).await.unwrap();
    store.release(vec![copy(1, 1)]).await.unwrap();
    assert_eq!(store.lease("q", NOW, end(NOW, 60), MANY).await.unwrap().len(), 2);
}

#[tokio::test]
async fn leased_rows_are_put_into_other_queues() {
    let store = on(&FaultyDisk::new());
    store.commit(mail(message(1, 3, 10))).await.unwrap();
    assert_eq!(store.lease("q", NOW, end(NOW, 60), NonZeroU32::new(2).unwrap()).await.unwrap().len(), 2);
    let moves = [(copy(1, 0), "q/a".into()), (copy(1, 1), "q/b".into()), (copy(1, 2), "q/b".into())];
    store.requeue(moves.to_vec()).await.unwrap();
    // The third one was not leased: it is where it was.
    assert_eq!(store.due_queues(NOW, 9).await.unwrap().len(), 3);
    for (queue, expected) in [("q/a", copy(1, 0)), ("q/b", copy(1, 1)), ("q", copy(1, 2))] {
        let rows = store.lease(queue, NOW, end(NOW, 60), MANY).await.unwrap();
        assert_eq!(rows.iter().map(|row| (row.copy, &*row.queue)).collect::<Vec<_>>(), [(expected, queue)]);
    }
    let changes = (0..3).map(|recipient| Change::Done(copy(1, recipient))).collect();
    store.commit(Batch { changes, ..Batch::default() }).await.unwrap();
    assert_eq!(store.usage().await.unwrap().rows, 0);
}

#[tokio::test]
async fn rows_from_a_clock_that_was_ahead_are_hastened() {
    let store = on(&FaultyDisk::new());
    let hour = Duration::from_hours(1);
    for (number, due) in [(1, NOW.plus(100 * hour)), (2, Timestamp::NEVER), (3, NOW.plus(hour / 2))] {
        let mut message = message(number, 1, 10);
        message.rows[0].due = due;
        store.commit(mail(message)).await.unwrap();
    }
    store.hasten(NOW.plus(hour)).await.unwrap();
    let dues: Vec<_> = store.rows(None, None, 9).await.unwrap().into_iter().map(|row| row.due).collect();
    assert_eq!(dues, [NOW.plus(hour), Timestamp::NEVER, NOW.plus(hour / 2)]);
    assert_eq!(store.lease("q", NOW.plus(hour), end(NOW, 60), MANY).await.unwrap().len(), 2);
}

#[tokio::test]
async fn old_segments_go_but_queued_mail_stays() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let store = on_at(&disk, &clock, settings());
    store.commit(mail(message(0, 3, 1000))).await.unwrap();
    let state = Change::Reschedule { copy: copy(0, 1), due: NOW, state: "tried".into() };
    let value = ValueChange { table: "t".into(), key: "k".into(), value: Some("v".into()), expires: Timestamp::NEVER };
    store.commit(Batch { changes: vec![state, Change::Done(copy(0, 2))], values: vec![value], ..Batch::default() }).await.unwrap();
    for number in 1..300 {
        store.commit(mail(message(number, 1, 1000))).await.unwrap();
        store.commit(Batch { changes: vec![Change::Done(copy(number, 0))], ..Batch::default() }).await.unwrap();
    }
    assert!(store.message(id(1)).await.unwrap().is_some());
    let before = store.usage().await.unwrap();
    assert!(before.octets > 300_000 && before.rows == 2);
    assert_eq!(store.events(0, 1000).await.unwrap().len(), 300);

    // The time of the last segment begins when it is sealed.
    for _ in 0..2 {
        clock.advance(config().retention);
        store.maintain().await;
    }
    let after = store.usage().await.unwrap();
    assert!(after.octets < 10_000 && after.rows == 2, "{after:?}");
    assert!(disk.names().len() <= 6, "{:?}", disk.names());
    assert_eq!(store.message(id(1)).await.unwrap().map(|message| message.head), None);
    for store in [&store, &on(&disk.killed())] {
        let rows = store.rows_of(id(0)).await.unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (row.copy, &row.payload[..], &row.state[..])).collect();
        assert_eq!(rows, [(copy(0, 0), &b"payload 0-0"[..], &b"new"[..]), (copy(0, 1), b"payload 0-1", b"tried")]);
        assert_eq!(store.message(id(0)).await.unwrap().unwrap().body, message(0, 1, 1000).body);
        assert_eq!(store.value("t", b"k", NOW).await.unwrap().unwrap(), "v");
    }
}

#[tokio::test]
async fn a_head_of_any_length_is_read_alone() {
    let store = on(&FaultyDisk::new());
    for (number, length) in [(0, 0), (1, 1), (2, 4084), (3, 4085), (4, 10_000)] {
        let head = Bytes::from(vec![b'h'; length]);
        // Without rows it is not in the cache.
        let new = NewMessage { head: head.clone(), original: Some("original".into()), ..message(number, 0, 1000) };
        store.commit(mail(new)).await.unwrap();
        assert_eq!(store.head(id(number)).await.unwrap().unwrap(), head, "{length}");
    }
    assert_eq!(store.head(id(9)).await.unwrap(), None);
}

#[tokio::test]
async fn of_a_damaged_message_the_head_can_be_had() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    let whole = message(1, 1, 1000);
    store.commit(mail(whole.clone())).await.unwrap();
    drop(store);
    let disk = disk.killed();
    let store = on(&disk);
    disk.edit(FileName::Segment(1), |octets| {
        let place = memchr::memmem::find(octets, &whole.body).unwrap();
        octets[place + 500] ^= 1;
    });
    assert!(matches!(store.message(id(1)).await, Err(StoreError::Damaged(_))));
    assert_eq!(store.head(id(1)).await.unwrap(), Some(whole.head));
    assert_eq!(store.head(id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn limits_are_told() {
    let store = on(&FaultyDisk::new());
    let change = |key: usize, value: usize| ValueChange {
        table: "t".into(),
        key: vec![0; key].into(),
        value: Some(vec![0; value].into()),
        expires: Timestamp::NEVER,
    };
    for change in [change(513, 0), change(0, (1 << 20) + 1)] {
        let batch = Batch { values: vec![change], ..Batch::default() };
        assert!(matches!(store.commit(batch).await, Err(StoreError::TooLarge(_))));
    }
    for key in 1..64 {
        store.commit(Batch { values: vec![change(key, 1 << 20)], ..Batch::default() }).await.unwrap();
    }
    assert_eq!(store.commit(Batch { values: vec![change(100, 1 << 20)], ..Batch::default() }).await, Err(StoreError::Full));
}

#[tokio::test]
async fn a_listing_goes_on_where_it_stopped() {
    let store = on(&FaultyDisk::new());
    let messages = (0..50).map(|number| {
        let mut message = message(number, 3, 10);
        message.rows[1].queue = "other".into();
        message
    });
    store.commit(Batch { messages: messages.collect(), ..Batch::default() }).await.unwrap();
    for (queue, expected) in [(None, 150), (Some("q"), 100), (Some("other"), 50), (Some("none"), 0)] {
        let mut all = Vec::new();
        loop {
            let rows = store.rows(queue, all.last().copied(), 7).await.unwrap();
            if rows.is_empty() {
                break;
            }
            all.extend(rows.iter().map(|row| row.copy));
        }
        assert!(all.is_sorted() && all.len() == expected, "{queue:?}: {all:?}");
    }
}

#[tokio::test]
async fn readers_hear_of_events() {
    let store = on(&FaultyDisk::new());
    let (one, other) = (store.events_appended(), store.events_appended());
    store.commit(mail(message(1, 1, 10))).await.unwrap();
    one.await;
    other.await;
    store.changed().await;
    let first = store.events(0, 1).await.unwrap().remove(0);
    assert_eq!(store.events(first.position, 1).await.unwrap(), std::slice::from_ref(&first));
    assert!(store.events(first.position + 1, 1).await.unwrap().is_empty());
}
