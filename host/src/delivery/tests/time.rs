//! Leases, clocks that are set, and content that is gone.

use std::sync::OnceLock;

use super::*;
use crate::spool::Settlement;
use crate::spool::entry::CopyState;

#[tokio::test]
async fn what_there_is_no_time_for_is_leased_anew() {
    let clock: Arc<OnceLock<Clock>> = Arc::default();
    let (seen, messages) = (clock.clone(), AtomicUsize::new(0));
    // The first message takes more than half of the lease.
    let slow = script(move |line| {
        if line == "." && messages.fetch_add(1, Ordering::SeqCst) == 0 {
            seen.get().unwrap().advance(Duration::from_secs(12));
        }
        None
    });
    let peer = Peer::start(&[], None, slow).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    (setup.limits.command_time, setup.limits.lease) = (Duration::from_secs(10), Duration::from_secs(20));
    let running = setup.start();
    clock.set(running.clock.clone()).unwrap();
    for _ in 0..3 {
        running.accept(mail("direct", &["x@b.example"])).await;
    }
    let events = running.wait_for_events(3).await;
    assert!(events.iter().all(|event| event == "delivered x@b.example 0 250 2.0.0 queued"), "{events:?}");
    assert_eq!(peer.log().messages.len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_clock_that_was_ahead_strands_no_mail() {
    let first = AtomicUsize::new(0);
    let later = script(move |line| (line.starts_with("RCPT") && first.fetch_add(1, Ordering::SeqCst) == 0).then_some("451 later"));
    let peer = Peer::start(&["PIPELINING"], None, later).await;
    let running = Setup::to(&peer).start();
    let now = running.clock.now();
    running.clock.step_to(now.plus(Duration::from_hours(20)));
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_for_events(1).await;
    running.clock.step_to(now);
    running.store.ring();
    running
        .wait("the row to be hastened", |running| {
            running.store.all_rows().iter().all(|(row, _)| row.due == now.plus(Duration::from_hours(1))).then_some(())
        })
        .await;
    running.advance(Duration::from_mins(61));
    assert_eq!(running.wait_for_events(2).await[1], "delivered x@b.example 1 250 2.0.0 queued");
    running.stop().await;
}

#[tokio::test]
async fn content_that_cannot_be_read_ends_in_a_report() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    let mut new = mail("direct", &["x@b.example"]);
    new.entry.reverse_path = ReversePath::parse("sender@b.example").unwrap();
    new.held = Some("until the disk is bad".into());
    let id = running.accept(new).await;
    running.store.damage(id);
    let (copy, due) = (CopyId { message: id, recipient: 0 }, running.clock.now());
    let again = Settlement::Again { copy, due, state: CopyState::default() };
    running.spool.settle(vec![again], Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(running.wait_for_events(1).await, ["deferred x@b.example 0 what was kept of the message cannot be read"]);
    running.advance(Duration::from_hours(25));
    let events = running.wait_for_events(4).await;
    assert_eq!(events[1], "bounced x@b.example 1 5.4.7 what was kept of the message cannot be read");
    assert_eq!(events[3], "delivered sender@b.example 0 250 2.0.0 queued");
    assert!(peer.log().messages[0].contains("Subject: Hello\r\n"), "{}", peer.log().messages[0]);
    running.stop().await;
}
