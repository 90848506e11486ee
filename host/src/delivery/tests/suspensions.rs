//! Mail that is suspended is left alone, and goes on when it is not any more.

use super::*;
use crate::spool::Settlement;
use crate::spool::entry::CopyState;
use crate::spool::selector::Selector;
use crate::spool::suspension::{NewSuspension, Suspension};

async fn suspend(running: &Running, selector: Selector, until: Option<Timestamp>) -> Suspension {
    let new = NewSuspension { selector, reason: "bad list".into(), by: "a test".into(), owner: None, until };
    running.spool.suspend(new).await.unwrap()
}

fn domain(pattern: &str) -> Selector {
    Selector { domain: Some(pattern.parse().unwrap()), ..Selector::default() }
}

fn login(name: &str) -> Selector {
    Selector { login: Some(name.into()), ..Selector::default() }
}

/// What is kept of the only copy that waits.
fn waiting(running: &Running) -> Option<(Timestamp, CopyState)> {
    let rows = running.store.all_rows();
    let [(row, false)] = rows.as_slice() else { return None };
    Some((row.due, Spool::read(row)?.1))
}

#[tokio::test]
async fn a_queue_that_is_suspended_is_left_as_it_is_and_goes_on_at_once() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    let suspension = suspend(&running, domain("*.example"), None).await;
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_a_little().await;
    assert_eq!(waiting(&running), Some((running.clock.now(), CopyState::default())), "nothing is written, and it is due");
    assert!(peer.log().commands.is_empty(), "nobody connects for it");
    let ended = running.spool.resume(suspension.number, |_| true).await.unwrap();
    assert_eq!(ended, Some(suspension));
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    running.stop().await;
}

#[tokio::test]
async fn a_suspension_ends_with_its_time() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    let until = running.clock.now().plus(Duration::from_mins(10));
    suspend(&running, domain("b.example"), Some(until)).await;
    running.accept(mail("direct", &["x@b.example"])).await;
    running.advance(Duration::from_mins(9));
    running.wait_a_little().await;
    assert!(peer.log().commands.is_empty());
    running.advance(Duration::from_mins(1));
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    running.stop().await;
}

#[tokio::test]
async fn copies_of_a_login_are_put_off_without_an_attempt_and_made_due_again() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    let suspension = suspend(&running, login("other"), None).await;
    let mut others = mail("direct", &["x@b.example"]);
    others.entry.login = "other".into();
    running.accept(others).await;
    running.accept(mail("direct", &["y@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered y@b.example 0 250 2.0.0 queued"]);
    let put_off = |running: &Running| waiting(running).filter(|(_, state)| state.suspended.is_some());
    let (due, state) = running.wait("the mark", put_off).await;
    assert_eq!(due, running.clock.now().plus(Duration::from_hours(24)), "it is looked at again in any case");
    assert_eq!(state, CopyState { suspended: Some(suspension.number), ..CopyState::default() });
    assert!(running.spool.resume(suspension.number, |_| true).await.unwrap().is_some());
    assert_eq!(running.wait_for_events(2).await[1], "delivered x@b.example 0 250 2.0.0 queued");
    running.wait("the note to go", |running| running.spool.suspensions().ended(running.clock.now()).is_empty().then_some(())).await;
    running.stop().await;
}

#[tokio::test]
async fn a_mark_of_a_route_goes_with_its_suspension() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    let suspension = suspend(&running, Selector { route: Some("direct".into()), ..Selector::default() }, None).await;
    running.accept(mail("direct", &["x@b.example"])).await;
    // As if a worker had had it already, and looked at it for another suspension.
    let copy = running.store.all_rows()[0].0.copy;
    let state = CopyState { suspended: Some(suspension.number), ..CopyState::default() };
    let due = running.clock.now().plus(Duration::from_hours(24));
    running.spool.settle(vec![Settlement::Again { copy, due, state }], Vec::new(), Vec::new()).await.unwrap();
    assert!(running.spool.resume(suspension.number, |_| true).await.unwrap().is_some());
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    running.wait("the note to go", |running| running.spool.suspensions().ended(running.clock.now()).is_empty().then_some(())).await;
    running.stop().await;
}

#[tokio::test]
async fn what_waits_for_another_reason_goes_on_to_wait() {
    let first = AtomicUsize::new(0);
    let later = script(move |line| (line.starts_with("RCPT") && first.fetch_add(1, Ordering::SeqCst) == 0).then_some("451 later"));
    let peer = Peer::start(&["PIPELINING"], None, later).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_for_events(1).await;
    let before = running.wait("the deferral", waiting).await;
    let suspension = suspend(&running, login("login"), None).await;
    assert!(running.spool.resume(suspension.number, |_| true).await.unwrap().is_some());
    running.wait("the note to go", |running| running.spool.suspensions().ended(running.clock.now()).is_empty().then_some(())).await;
    assert_eq!(waiting(&running), Some(before), "nobody has looked at it, so nothing put it off");
    running.advance(Duration::from_mins(1));
    assert_eq!(running.wait_for_events(2).await[1], "delivered x@b.example 1 250 2.0.0 queued");
    running.stop().await;
}

#[tokio::test]
async fn what_is_leased_of_a_queue_is_given_back_when_it_is_suspended() {
    let spool: Arc<std::sync::OnceLock<Spool>> = Arc::default();
    let (known, messages) = (spool.clone(), AtomicUsize::new(0));
    // While the second message is on its way, an operator has seen enough.
    let enough = script(move |line| {
        if line.starts_with("MAIL") && messages.fetch_add(1, Ordering::SeqCst) == 1 {
            let spool = known.get().unwrap().clone();
            let new = NewSuspension { selector: domain("b.example"), reason: String::new(), by: String::new(), owner: None, until: None };
            let suspending = std::thread::spawn(move || suspend_aside(&spool, new));
            suspending.join().unwrap();
        }
        None
    });
    let peer = Peer::start(&[], None, enough).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    let running = setup.start();
    spool.set(running.spool.clone()).unwrap_or_else(|_| panic!("it is set once"));
    for _ in 0..8 {
        running.accept(mail("direct", &["x@b.example"])).await;
    }
    let given_back = |running: &Running| {
        (peer.log().messages.len() >= 2).then_some(())?;
        let rows = running.store.all_rows();
        rows.iter().all(|(_, leased)| !leased).then_some(rows.len()).filter(|left| *left < 8)
    };
    let left = running.wait("the rest to be given back", given_back).await;
    // What was under way was sent, and what was made ready at that moment.
    assert!((5..=6).contains(&left), "{left} are left");
    running.stop().await;
}

/// Suspends on a thread of its own, which has a runtime of its own.
fn suspend_aside(spool: &Spool, new: NewSuspension) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(spool.suspend(new)).unwrap();
}
