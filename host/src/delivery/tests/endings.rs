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
    running.shutdown.cancel();
    running.task.await.unwrap();
    let rows = store.all_rows();
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().filter(|(_, leased)| *leased).count() <= 1, "{rows:?}");
}

#[tokio::test]
async fn a_full_store_stops_delivery_and_loses_nothing() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.store.full.store(true, std::sync::atomic::Ordering::Release);
    running.wait("the message", |_| (peer.log().messages.len() == 1).then_some(())).await;
    running.store.full.store(false, std::sync::atomic::Ordering::Release);
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(peer.log().messages.len(), 1);
    running.stop().await;
}
