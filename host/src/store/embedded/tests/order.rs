//! Who comes first: shares in turn, priorities within a share, and queues that rest not at all.

use super::*;
use crate::store::Sharers;

fn row(number: u64, queue: &str, share: &str, priority: i8, due: u64) -> NewMessage {
    let mut message = message(number, 1, 10);
    for row in &mut message.rows {
        (row.queue, row.share, row.priority) = (queue.into(), share.into(), priority);
        row.due = NOW.plus(Duration::from_secs(due));
    }
    message
}

async fn put(store: &Embedded, messages: impl IntoIterator<Item = NewMessage>) {
    store.commit(Batch { messages: messages.into_iter().collect(), ..Batch::default() }).await.unwrap();
}

async fn leased(store: &Embedded, now: Timestamp, limit: u32) -> Vec<u64> {
    let rows = store.lease("q", now, end(now, 60), NonZeroU32::new(limit).unwrap()).await.unwrap();
    rows.into_iter().map(|row| u64::from_be_bytes(row.copy.message.to_bytes()[8..].try_into().unwrap())).collect()
}

async fn due(store: &Embedded, limit: usize) -> Vec<(String, String)> {
    let due = store.due_queues(NOW, limit).await.unwrap();
    due.into_iter().map(|due| (due.queue.to_string(), due.share.to_string())).collect()
}

#[tokio::test]
async fn the_many_of_one_share_do_not_delay_the_few_of_another() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    put(&store, (0..1000).map(|number| row(number, "q", "many", 0, 0))).await;
    put(&store, (1000..1003).map(|number| row(number, "q", "few", 0, 0))).await;
    let first = leased(&store, NOW, 64).await;
    assert_eq!(first.len(), 64);
    assert_eq!(first.iter().filter(|number| **number >= 1000).count(), 3);
    put(&store, (2000..2200).map(|number| row(number, "q", "other", 0, 0))).await;
    let both = leased(&store, NOW, 64).await;
    assert_eq!(both.iter().filter(|number| **number >= 2000).count(), 32, "{both:?}");
    // Whose turn it was last does not begin, where there is not room for all.
    let turns: Vec<_> = [leased(&store, NOW, 8).await, leased(&store, NOW, 8).await].iter().map(|turn| turn[0] >= 2000).collect();
    assert_ne!(turns[0], turns[1]);
}

#[tokio::test]
async fn higher_priorities_come_first_within_a_share_and_after_a_restart() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    let rows = [(1, 0, 0), (2, -4, 0), (3, 4, 0), (4, 4, 5), (5, 9, 900)];
    put(&store, rows.map(|(number, priority, due)| row(number, "q", "one", priority, due))).await;
    drop(store);
    let store = on_at(&disk.killed(), &Clock::manual(NOW), settings());
    let now = NOW.plus(Duration::from_secs(10));
    assert_eq!(leased(&store, now, 10).await, [3, 4, 1, 2], "what is not due has to wait");
}

#[tokio::test]
async fn shares_and_priorities_move_with_their_rows() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    put(&store, [row(1, "old", "one", 0, 0), row(2, "old", "one", 4, 0), row(3, "q", "two", 0, 0)]).await;
    let rows = store.lease("old", NOW, end(NOW, 60), MANY).await.unwrap();
    store.requeue(rows.into_iter().map(|row| (row.copy, "q".into())).collect()).await.unwrap();
    assert!(store.lease("old", NOW, end(NOW, 60), MANY).await.unwrap().is_empty());
    let mut order = leased(&store, NOW, 10).await;
    let third = order.iter().position(|number| *number == 3).unwrap();
    order.remove(third);
    assert_eq!(order, [2, 1]);
}

#[tokio::test]
async fn queues_are_listed_by_shares_in_turn() {
    let disk = FaultyDisk::new();
    let store = on(&disk);
    put(&store, (0..100).map(|number| row(number, &format!("direct/{number:03}.example"), "many", 0, 0))).await;
    put(&store, [row(200, "direct/few.example", "few", 0, 0), row(201, "direct/000.example", "few", 0, 0)]).await;
    put(&store, [row(202, "direct/later.example", "few", 0, 60)]).await;
    let first = due(&store, 4).await;
    assert_eq!(first.len(), 4);
    assert!(first.contains(&("direct/few.example".to_owned(), "few".to_owned())), "{first:?}");
    assert_eq!(due(&store, 1000).await.len(), 101, "each queue once");
}

#[tokio::test]
async fn queues_that_rest_are_not_listed() {
    let disk = FaultyDisk::new();
    let clock = Clock::manual(NOW);
    let store = on_at(&disk, &clock, settings());
    put(&store, [row(1, "a", "one", 0, 0), row(2, "b", "one", 0, 0), row(3, "a", "two", 0, 0)]).await;
    store.rest("a", end(NOW, 10));
    store.rest("nobody", end(NOW, 10));
    assert_eq!(due(&store, 10).await, [("b".to_owned(), "one".to_owned())]);
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(NOW.plus(Duration::from_secs(10))), "there is more to do when it ends");
    assert_eq!(store.lease("a", NOW, end(NOW, 1), MANY).await.unwrap().len(), 2, "whoever asks gets rows");
    store.release(vec![copy(1, 0), copy(3, 0)]).await.unwrap();
    assert_eq!(due(&store, 10).await.len(), 1, "rows that come back do not end it");
    clock.advance(Duration::from_secs(10));
    assert_eq!(due(&store, 10).await.len(), 2);

    store.rest("a", end(clock.now(), 10));
    store.rest("a", end(clock.now(), 20));
    store.rest("b", end(clock.now(), 20));
    clock.advance(Duration::from_secs(10));
    assert!(due(&store, 10).await.is_empty(), "the last word counts");
    store.rouse(Some("a"));
    assert_eq!(due(&store, 10).await.len(), 1);
    store.rouse(None);
    assert_eq!(due(&store, 10).await.len(), 2);
    // A new row ends it that is due before all others of its share; one that comes behind them does not.
    put(&store, [row(5, "a", "three", 0, 3600)]).await;
    for (number, share, count) in [(6, "one", 1), (7, "three", 2), (8, "four", 2)] {
        store.rest("a", end(clock.now(), 20));
        put(&store, [row(number, "a", share, 0, 15)]).await;
        assert_eq!(due(&store, 10).await.len(), count, "{share}");
    }
    // A queue that becomes empty forgets it.
    store.rest("b", end(clock.now(), 20));
    store.commit(Batch { changes: vec![Change::Done(copy(2, 0))], ..Batch::default() }).await.unwrap();
    put(&store, [row(4, "b", "one", 0, 0)]).await;
    assert_eq!(due(&store, 10).await.len(), 2);
}

#[tokio::test]
async fn those_who_share_a_queue_are_known() {
    let store = on(&FaultyDisk::new());
    put(&store, [row(1, "a", "one", 0, 5), row(2, "a", "two", 0, 0), row(3, "a", "one", 4, 0), row(4, "a", "later", 0, 60)]).await;
    put(&store, [row(5, "b", "other", 0, 0)]).await;
    store.rest("a", end(NOW, 100));
    let now = NOW.plus(Duration::from_secs(5));
    let mut shares = store.sharers("a", now, 10);
    shares.due.sort();
    assert_eq!(shares, Sharers { due: vec!["one".into(), "two".into()], next: Some(NOW.plus(Duration::from_mins(1))) });
    assert_eq!(store.sharers("a", now, 1).due.len(), 1);
    assert_eq!(store.sharers("nobody", now, 10), Sharers::default());
    let has_due = [("a", "one"), ("a", "two"), ("a", "later"), ("a", "other"), ("nobody", "one")]
        .map(|(queue, share)| store.has_due(queue, share, now));
    assert_eq!(has_due, [true, true, false, false, false]);
}
