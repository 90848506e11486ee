//! What the disk, the system or we ourselves do wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use super::*;

#[tokio::test]
async fn a_file_that_cannot_be_made_is_no_damage() {
    for refused in [FileName::Summary(1), FileName::Events(2), FileName::Segment(2)] {
        let disk = FaultyDisk::new();
        let store = on(&disk);
        store.commit(mail(message(1, 1, 40_000))).await.unwrap();
        disk.refuse(Some(refused));
        // The segment is full; there cannot be another one.
        assert_eq!(store.commit(mail(message(2, 1, 40_000))).await, Err(StoreError::Full), "{refused:?}");
        assert_eq!(store.health(), Ok(()));
        disk.refuse(None);
        store.commit(mail(message(3, 1, 40_000))).await.unwrap();
        drop(store);
        assert_eq!(ids(&on(&disk.killed())).await, [copy(1, 0), copy(3, 0)], "{refused:?}");
    }
}

#[tokio::test]
async fn what_the_system_does_not_let_us_read_comes_again() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    drop({
        let store = on_at(&disk, &clock, settings());
        store.commit(mail(message(1, 1, 10))).await.unwrap();
        store
    });
    let store = on_at(&disk, &clock, settings());
    let minute = Duration::from_mins(1);
    disk.refuse(Some(FileName::Segment(1)));
    assert!(store.lease("q", NOW, end(NOW, 900), MANY).await.unwrap().is_empty());
    assert!(matches!(store.message(id(1)).await, Err(StoreError::Unreadable(_))));
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(NOW.plus(minute)));
    disk.refuse(None);
    clock.advance(minute);
    assert_eq!(store.lease("q", NOW.plus(minute), end(NOW, 900), MANY).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_bad_sector_keeps_nobody_from_the_other_rows() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    for number in 0..3 {
        store.commit(mail(message(number, 1, 10))).await.unwrap();
    }
    drop(store);
    let store = on(&disk);
    disk.spoil(b"payload 1-0");
    assert_eq!(ids(&store).await, [copy(0, 0), copy(2, 0)]);
    assert!(store.rows_of(id(1)).await.unwrap().is_empty());
    drop(store);
    // Where the system lets us read none, nobody is told that there are none.
    let disk = disk.killed();
    let store = on(&disk);
    disk.refuse(Some(FileName::Segment(1)));
    assert!(matches!(store.rows(None, None, 9).await, Err(StoreError::Unreadable(_))));
}

#[tokio::test]
async fn what_was_set_aside_is_due_at_the_next_start() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    drop({
        let store = on_at(&disk, &clock, settings());
        store.commit(mail(message(1, 1, 10))).await.unwrap();
        store
    });
    let store = on_at(&disk, &clock, settings());
    let flip = |octets: &mut Vec<u8>| {
        let place = memchr::memmem::find(octets, b"ayload 1-0").unwrap() - 1;
        octets[place] ^= 1;
    };
    disk.edit(FileName::Segment(1), flip);
    assert!(store.lease("q", NOW, end(NOW, 1), MANY).await.unwrap().is_empty());
    // Its segment is sealed meanwhile, and the fault was one of the cable.
    store.commit(mail(message(2, 0, 60_000))).await.unwrap();
    store.commit(mail(message(3, 0, 60_000))).await.unwrap();
    disk.edit(FileName::Segment(1), flip);
    drop(store);
    let store = on_at(&disk.killed(), &clock, settings());
    assert_eq!(store.lease("q", NOW, end(NOW, 1), MANY).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_panic_of_the_writer_leaves_nobody_waiting() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    store.commit(mail(message(1, 1, 30))).await.unwrap();
    disk.arm(0, Fault::Panic);
    for number in 2..4 {
        assert!(matches!(store.commit(mail(message(number, 1, 30))).await, Err(StoreError::Poisoned(_))));
    }
    assert!(matches!(store.health(), Err(StoreError::Poisoned(_))));
    assert!(matches!(store.close().await, Err(StoreError::Poisoned(_))));
    drop(store);
    assert!(ids(&on(&disk.killed())).await.contains(&copy(1, 0)));
}

#[tokio::test]
async fn a_failed_sync_ends_all_writing_until_the_next_start() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    store.commit(mail(message(1, 1, 30))).await.unwrap();
    // The change after the writes of segment and event log.
    disk.arm(2, Fault::Broken);
    assert!(matches!(store.commit(mail(message(2, 1, 30))).await, Err(StoreError::Poisoned(_))));
    assert!(matches!(store.commit(mail(message(3, 1, 30))).await, Err(StoreError::Poisoned(_))));
    assert_eq!(ids(&store).await, [copy(1, 0)]);
    drop(store);
    let store = on(&disk.killed());
    assert_eq!(ids(&store).await, [copy(1, 0)]);
    store.commit(mail(message(4, 1, 30))).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_does_not_stop_the_rest() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    for number in 0..3 {
        store.commit(mail(message(number, 1, 10))).await.unwrap();
    }
    store.commit(mail(message(3, 2, 10))).await.unwrap();
    drop(store);
    let disk = disk.killed();
    let store = on(&disk);
    disk.edit(FileName::Segment(1), |octets| {
        let place = memchr::memmem::find(octets, b"payload 3-0").unwrap();
        octets[place] ^= 1;
        let place = memchr::memmem::find(octets, b"payload 1-0").unwrap();
        octets[place] ^= 1;
    });
    let rows = store.lease("q", NOW, end(NOW, 1), MANY).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.copy).collect::<Vec<_>>(), [copy(0, 0), copy(2, 0), copy(3, 1)]);
    assert_eq!(ids(&store).await, [copy(0, 0), copy(2, 0), copy(3, 1)]);
    let rows = store.rows_of(id(3)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.copy).collect::<Vec<_>>(), [copy(3, 1)]);
    assert!(store.due_queues(Timestamp::NEVER, 9).await.unwrap().is_empty());
}
