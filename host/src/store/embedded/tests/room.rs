//! What goes, and when, to make room.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use super::*;

/// Fills three segments with mail that is done with.
async fn fill(store: &Embedded) {
    for number in 0..6 {
        store.commit(mail(message(number, 1, 30_000))).await.unwrap();
        store.commit(Batch { changes: vec![Change::Done(copy(number, 0))], ..Batch::default() }).await.unwrap();
    }
}

fn files(disk: &FaultyDisk, kind: fn(u32) -> FileName) -> Vec<FileName> {
    (0..10).map(kind).filter(|name| disk.names().contains(name)).collect()
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_given_room_by_what_is_done_with() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let mut settings = settings();
    settings.limits.reserve = 1 << 20;
    let store = on_at(&disk, &clock, settings);
    fill(&store).await;
    assert_eq!(files(&disk, FileName::Segment).len(), 3);
    store.maintain().await;
    assert_eq!(files(&disk, FileName::Segment).len(), 3, "there is room");
    // What is missing is less than one segment.
    disk.set_free((2 << 20) - 20_000);
    store.maintain().await;
    assert_eq!(files(&disk, FileName::Segment), [FileName::Segment(2), FileName::Segment(3)]);
    disk.set_free(0);
    store.maintain().await;
    assert_eq!(files(&disk, FileName::Segment), [FileName::Segment(3)]);
    assert_eq!(files(&disk, FileName::Events), [FileName::Events(3)]);
}

#[tokio::test]
async fn what_is_old_goes_where_a_segment_cannot_be_sealed_for_want_of_room() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let store = on_at(&disk, &clock, settings());
    fill(&store).await;
    clock.advance(2 * config().retention);
    disk.refuse(Some(FileName::Summary(3)));
    store.maintain().await;
    assert_eq!(files(&disk, FileName::Segment), [FileName::Segment(3)]);
}

#[tokio::test]
async fn messages_and_events_share_the_size_of_the_archive() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let mut settings = settings();
    settings.limits.archive_size = 100_000;
    let store = on_at(&disk, &clock, settings);
    let note = Bytes::from(vec![b'x'; 20_000]);
    for _ in 0..12 {
        store.commit(Batch { events: vec![note.clone()], ..Batch::default() }).await.unwrap();
        store.maintain().await;
    }
    let usage = store.usage().await.unwrap();
    assert!(usage.octets <= 100_000 + 2 * (1 << 16), "{usage:?}");
    assert!(!store.events(0, 100).await.unwrap().is_empty());
}
