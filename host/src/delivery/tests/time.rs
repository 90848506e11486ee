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
async fn the_last_attempt_is_at_the_end_and_there_is_one() {
    let peer = Peer::start(&["PIPELINING"], None, script(|line| line.starts_with("RCPT").then_some("451 later"))).await;
    let mut setup = Setup::to(&peer);
    let minutes = Duration::from_mins;
    (setup.limits.retry_first, setup.limits.retry_longest, setup.limits.retry_jitter) = (minutes(60), minutes(60), 50);
    setup.limits.give_up = minutes(150);
    let running = setup.start();
    let begin = running.clock.now();
    for _ in 0..20 {
        let mut new = mail("direct", &["x@b.example"]);
        new.entry.reverse_path = ReversePath::Null;
        running.accept(new).await;
    }
    running.wait_for_events(20).await;
    while let Some(due) = running
        .wait("all to wait", |running| {
            let rows = running.store.all_rows();
            let waits = rows.iter().all(|(row, leased)| !leased && row.due > running.clock.now());
            waits.then(|| rows.iter().map(|(row, _)| row.due).min())
        })
        .await
    {
        assert!(due <= begin.plus(minutes(150)));
        running.advance(due.since(running.clock.now()));
    }
    // From one and a half hour to half an hour apart: the end is the fifth at the latest.
    let attempts = peer.log().commands.iter().filter(|line| line.starts_with("RCPT")).count();
    assert!((3 * 20..=6 * 20).contains(&attempts), "{attempts}");
    assert_eq!(running.clock.now(), begin.plus(minutes(150)));
    running.stop().await;
}

#[tokio::test]
async fn who_greylists_is_asked_again_soon_also_where_little_time_is_left() {
    let peer = Peer::start(&[], None, script(|line| line.starts_with("RCPT").then_some("450 4.2.0 greylisted, try again later"))).await;
    let mut setup = Setup::to(&peer);
    let minutes = Duration::from_mins;
    (setup.limits.retry_first, setup.limits.retry_longest, setup.limits.give_up) = (minutes(10), minutes(10), minutes(10));
    let running = setup.start();
    let begin = running.clock.now();
    running.accept(mail("direct", &["x@b.example"])).await;
    for due in [1, 10] {
        let rows = running.wait("the deferral", |running| {
            let rows = running.store.all_rows();
            rows.iter().all(|(row, leased)| !leased && row.due > running.clock.now()).then_some(rows)
        });
        assert_eq!(rows.await[0].0.due, begin.plus(minutes(due)));
        running.clock.step_to(begin.plus(minutes(due)));
        running.store.ring();
    }
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

/// Mail leaves from an address that may send to nobody more today.
fn warming_up(peer: &Peer) -> Setup {
    Setup { sources: warm_source(0), ..Setup::to(peer) }
}

fn warm_source(plan: u32) -> config::Sources {
    let day = Timestamp::from_millis(1_800_000_000_000).as_seconds() / 86_400;
    let warm_up = Some(config::WarmUp { start: day, plan: vec![plan; 366] });
    let source = config::Source { v4: Some("127.0.0.1".parse().unwrap()), v6: None, hostname: None, warm_up };
    config::Sources { sources: BTreeMap::from([("new".into(), source)]), ..config::Sources::default() }
}

fn from_source(mut mail: NewEntry) -> NewEntry {
    for (_, queue) in &mut mail.copies {
        *queue = format!("{queue}#new").into();
    }
    mail
}

#[tokio::test]
async fn f17_mail_that_waits_for_a_plan_ends_with_its_time_to_live() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = warming_up(&peer).start();
    let mut new = from_source(mail("direct", &["x@b.example"]));
    new.entry.reverse_path = ReversePath::parse("sender@b.example").unwrap();
    running.accept(new).await;
    let said = "the warm-up plan of source \"new\" has 0 recipients for today, and 0 had their turn";
    assert_eq!(running.wait_for_events(1).await, [format!("deferred x@b.example 0 {said}")]);
    // It gives up after 24 hours, though the plan goes on.
    let mut count = 1;
    while !running.events().iter().any(|event| event.starts_with("bounced")) {
        // Not while it is worked on: its lease would be over.
        let later =
            |running: &Running| running.store.all_rows().iter().all(|(row, leased)| !leased && row.due > running.clock.now()).then_some(());
        running.wait("all to wait", later).await;
        running.advance(Duration::from_hours(8));
        count += 1;
        assert!(count < 9, "{:?}", running.events());
        running.wait_a_little().await;
    }
    let events = running.wait("the report", |running| Some(running.events()).filter(|events| events.len() >= 4)).await;
    let bounced = events.iter().find(|event| event.starts_with("bounced")).unwrap();
    assert_eq!(*bounced, format!("bounced x@b.example 0 5.4.7 {said}"));
    assert!(events.iter().any(|event| event == "delivered sender@b.example 0 250 2.0.0 queued"), "{events:?}");
    assert!(peer.log().messages[0].contains("Subject: Hello\r\n"), "{}", peer.log().messages[0]);
    running.stop().await;
}

#[tokio::test]
async fn f17_a_plan_does_not_outlast_the_deadline_of_a_message() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = warming_up(&peer).start();
    let mut new = from_source(mail("direct", &["x@b.example"]));
    new.entry.deliver_before = Some(running.clock.now().plus(Duration::from_mins(10)));
    new.entry.reverse_path = ReversePath::Null;
    running.accept(new).await;
    running.wait_for_events(1).await;
    running.advance(Duration::from_mins(11));
    assert!(running.wait_for_events(2).await[1].starts_with("bounced x@b.example 0 5.4.7 the warm-up plan"));
    running.stop().await;
}

#[tokio::test]
async fn what_was_told_to_wait_is_not_sent_before_whatever_makes_it_due() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    let time = running.clock.now().plus(Duration::from_hours(48));
    let mut new = mail("direct", &["x@b.example"]);
    new.entry.terms.not_before = Some(time);
    // The configuration allows less than it did: its time is taken for one of a clock that was ahead.
    new.not_before = Some(running.clock.now().plus(Duration::from_hours(1)));
    running.accept(new).await;
    running.advance(Duration::from_mins(61));
    running.wait("its own time", |running| running.store.all_rows().iter().all(|(row, _)| row.due == time).then_some(())).await;
    assert_eq!(running.events(), [""; 0]);
    running.advance(Duration::from_hours(48));
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    running.stop().await;
}

#[tokio::test]
async fn a_family_whose_address_is_not_ours_leaves_the_other() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let mut setup = Setup { sources: warm_source(10), ..Setup::to(&peer) };
    setup.zone = setup.zone.address("mx.b.example", "::1");
    let source = setup.sources.sources.get_mut("new").unwrap();
    // Nobody has it (RFC 3849).
    source.v6 = Some("2001:db8::9".parse().unwrap());
    let running = setup.start();
    running.accept(from_source(mail("direct", &["x@b.example"]))).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(running.counted("delivery_source_failures_total{source=\"new\"}"), "1");
    // It is not tried again for every connection, and does no harm to others.
    running.accept(from_source(mail("direct", &["y@b.example"]))).await;
    assert_eq!(running.wait_for_events(2).await[1], "delivered y@b.example 0 250 2.0.0 queued");
    running.stop().await;
}
