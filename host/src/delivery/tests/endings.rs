//! The end of delivery, and a store that takes nothing.

use super::*;

#[tokio::test]
async fn draining_gives_back_what_was_not_begun() {
    let peer = Peer::start(&[], None, script(|line| line.starts_with("MAIL").then_some(SILENCE))).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    setup.drain_time = Duration::from_millis(50);
    let running = setup.start();
    for _ in 0..10 {
        running.accept(mail("direct", &["x@b.example"])).await;
    }
    running.wait("the first transaction", |_| peer.log().commands.iter().any(|line| line.starts_with("MAIL")).then_some(())).await;
    let store = running.store.clone();
    running.stop().await;
    let rows = store.all_rows();
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().filter(|(_, leased)| *leased).count() <= 1, "{rows:?}");
}

#[tokio::test]
async fn a_full_store_stops_delivery_and_loses_nothing() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.store.full.store(true, Ordering::Release);
    running.wait("the message", |_| (peer.log().messages.len() == 1).then_some(())).await;
    running.store.full.store(false, Ordering::Release);
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(peer.log().messages.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_full_store_makes_no_duplicates_when_leases_run_out() {
    let full: Arc<std::sync::OnceLock<Arc<MemoryStore>>> = Arc::default();
    let seen = full.clone();
    let answers = script(move |line| {
        if line == "." {
            seen.get().unwrap().full.store(true, Ordering::Release);
        }
        None
    });
    let peer = Peer::start(&[], None, answers).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    // The next one needs a connection of its own, so that none is begun before the writer meets the full store.
    setup.limits.messages_per_connection = 1;
    let running = setup.start();
    full.set(running.store.clone()).ok().unwrap();
    for _ in 0..3 {
        running.accept(mail("direct", &["x@b.example"])).await;
    }
    running.wait("an outcome for which there is no room", |running| running.handle.hub.flow.is_stalled().then_some(())).await;
    for _ in 0..3 {
        running.advance(Duration::from_mins(16));
        running.wait_a_little().await;
    }
    assert_eq!(peer.log().messages.len(), 1, "what cannot be written down is not sent");
    assert!(running.events().is_empty());
    // Each message makes the store full again: there is room for its outcome a moment later.
    running
        .wait("all outcomes", |running| {
            running.store.full.store(false, Ordering::Release);
            (running.events().len() == 3).then_some(())
        })
        .await;
    assert_eq!(peer.log().messages.len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn outcomes_that_wait_for_the_store_survive_the_cut() {
    let peer = Peer::start(&[], None, script(|line| (line == ".").then_some(TOGETHER))).await;
    let mut setup = Setup::to(&peer);
    setup.limits.outcome_queue = 1;
    setup.drain_time = Duration::ZERO;
    for number in 0..CROWD {
        setup.zone = setup.zone.mx(&format!("d{number}.example"), 1, "mx.b.example");
    }
    let running = setup.start();
    for number in 0..CROWD {
        running.accept(mail("direct", &[&format!("x@d{number}.example")])).await;
    }
    // One outcome is with the writer, one waits for it, and one worker waits to leave his.
    running.store.full.store(true, Ordering::Release);
    running.wait("the messages", |_| (peer.log().messages.len() == CROWD).then_some(())).await;
    running.wait_a_little().await;
    let (store, events) = (running.store.clone(), running.store.clone());
    running.shutdown.cancel();
    running.cut_off.cancel();
    running.wait_a_little().await;
    store.full.store(false, Ordering::Release);
    running.stop().await;
    assert_eq!(events.events().len(), CROWD);
    assert!(store.all_rows().is_empty());
}

#[tokio::test]
async fn mail_that_comes_while_draining_waits_for_the_next_start() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    running.shutdown.cancel();
    running.accept(mail("direct", &["x@b.example"])).await;
    let store = running.store.clone();
    running.stop().await;
    assert!(peer.log().messages.is_empty());
    assert!(store.all_rows().iter().all(|(_, leased)| !leased));
    assert_eq!(store.all_rows().len(), 1);
}

/// A next hop that does whatever it likes, in an order that a seed decides: each copy is delivered or bounced, once, and none is forgotten.
#[tokio::test]
async fn no_copy_is_lost_whatever_the_next_hop_does() {
    for (seed, extensions) in [(1, &["PIPELINING"][..]), (2, &["PIPELINING", "CHUNKING"]), (3, &[]), (4, &["CHUNKING", "SIZE 1000"])] {
        let dice = Entropy::seeded(seed);
        let moody = script(move |line| match (line.get(..4), dice.array::<1>()[0]) {
            (_, 0..4) => Some(HANG_UP),
            (_, 4..8) => Some("421 4.3.2 not now"),
            (None, 8..16) if line.is_empty() => Some("554 5.3.2 go away"),
            (Some("MAIL" | "RCPT"), 8..32) | (None, 8..20) => Some("451 4.2.1 later"),
            (Some("RCPT"), 32..44) => Some("452 4.5.3 too many"),
            (Some("RCPT"), 44..60) | (None, 20..30) => Some("550 5.1.1 never"),
            (Some("DATA"), 8..20) => Some("450 4.2.1 no data now"),
            _ => None,
        });
        let peer = Peer::start(extensions, None, moody).await;
        let mut setup = Setup::to(&peer);
        setup.limits.messages_per_connection = 7;
        setup.limits.idle_time = Duration::from_millis(10);
        let running = setup.start();
        let mut expected = std::collections::BTreeSet::new();
        for number in 0..60 {
            let recipients: Vec<String> = (0..=number % 4).map(|place| format!("r{number}.{place}@b.example")).collect();
            let mut new = mail("direct", &recipients.iter().map(String::as_str).collect::<Vec<_>>());
            new.entry.reverse_path = ReversePath::Null;
            running.accept(new).await;
            expected.extend(recipients);
        }
        while !running.store.all_rows().is_empty() {
            running
                .wait("the end of all attempts", |running| {
                    let now = running.clock.now();
                    running.store.all_rows().iter().all(|(row, leased)| !leased && row.due > now).then_some(())
                })
                .await;
            running.clock.advance(Duration::from_mins(61));
            running.store.commit(crate::store::Batch::default()).await.unwrap();
        }
        let mut ends = std::collections::BTreeSet::new();
        for event in running.events() {
            let mut words = event.split(' ');
            let (what, whom) = (words.next().unwrap(), words.next().unwrap());
            assert!(["delivered", "bounced", "deferred"].contains(&what), "{event}");
            if what != "deferred" {
                assert!(ends.insert(whom.to_owned()), "{whom} ended twice");
            }
        }
        assert_eq!(ends, expected);
        running.stop().await;
    }
}
