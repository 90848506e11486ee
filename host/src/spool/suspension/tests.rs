#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::clock::Clock;
use crate::spool::Spool;
use crate::store::embedded::Embedded;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

async fn open(folder: &std::path::Path, clock: &Clock) -> Spool {
    let spool = Spool::new(Arc::new(Embedded::small(folder, clock)), clock.clone());
    spool.load_suspensions().await.unwrap();
    spool
}

fn new(selector: Selector, until: Option<Timestamp>) -> NewSuspension {
    NewSuspension { selector, reason: "a\r\nreason".to_owned(), by: "ann".to_owned(), owner: None, until }
}

fn domain(pattern: &str) -> Selector {
    Selector { domain: Some(pattern.parse().unwrap()), ..Selector::default() }
}

fn login(name: &str) -> Selector {
    Selector { login: Some(name.to_owned()), ..Selector::default() }
}

#[tokio::test]
async fn they_survive_a_restart_and_so_do_notes_of_their_end() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let until = NOW.plus(Duration::from_hours(1));
    let spool = open(folder.path(), &clock).await;
    let first = spool.suspend(new(login("news"), None)).await.unwrap();
    let second = spool.suspend(new(domain("*.b.example"), Some(until))).await.unwrap();
    assert_eq!(second.to_text(), "suspended by ann until 2023-11-14T23:13:20Z: a  reason");
    assert_eq!((first.number, second.number), (1, 2));
    drop(spool);

    let spool = open(folder.path(), &clock).await;
    assert_eq!(spool.suspensions().at(NOW), [first.clone(), second.clone()]);
    assert!(spool.resume(1, |suspension| suspension.owner.is_some()).await.unwrap().is_none(), "it is not the caller's");
    assert_eq!(spool.resume(1, |_| true).await.unwrap(), Some(first));
    assert!(spool.resume(1, |_| true).await.unwrap().is_none());
    drop(spool);

    // Until its marks are found, it is known, and nobody else has its number.
    let spool = open(folder.path(), &clock).await;
    assert_eq!((spool.suspensions().at(NOW), spool.suspensions().ended(NOW)), (vec![second], vec![1]));
    spool.forget_suspension(1).await.unwrap();
    drop(spool);
    let spool = open(folder.path(), &clock).await;
    assert!(spool.suspensions().ended(NOW).is_empty());
    clock.advance(Duration::from_hours(1));
    assert!(spool.suspensions().at(clock.now()).is_empty(), "its time is over");
    drop(spool);

    // Nothing is left of both but their numbers, which nobody gets again.
    let spool = open(folder.path(), &clock).await;
    assert_eq!(spool.suspend(new(login("news"), None)).await.unwrap().number, 3);
}

#[tokio::test]
async fn the_end_of_a_route_alone_is_noted_too() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let spool = open(folder.path(), &clock).await;
    let route = Selector { route: Some("direct".to_owned()), ..Selector::default() };
    let suspension = spool.suspend(new(route, None)).await.unwrap();
    assert!(!spool.suspensions().any_of_copies(NOW), "no copy is looked at for it");
    spool.resume(suspension.number, |_| true).await.unwrap();
    drop(spool);
    let spool = open(folder.path(), &clock).await;
    assert_eq!(spool.suspensions().ended(NOW), [suspension.number]);
    // Whatever keeps its marks from being found: what bears them is due by itself then.
    let look = config::Queue::default().suspension_look;
    assert!(spool.suspensions().ended(NOW.plus(look)).is_empty());
    clock.advance(look);
    drop(spool);
    assert!(open(folder.path(), &clock).await.suspensions().ended(NOW).is_empty(), "nor is it kept");
}

#[tokio::test]
async fn a_change_is_made_though_its_caller_goes_away() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let spool = open(folder.path(), &clock).await;
    let holds = async |wanted: bool| {
        while spool.suspensions().at(NOW).is_empty() == wanted {
            tokio::task::yield_now().await;
        }
    };
    // Each is asked for once, which begins it, and then dropped.
    assert!(spool.suspend(new(domain("b.example"), None)).now_or_never().is_none());
    holds(true).await;
    assert!(spool.resume(1, |_| true).now_or_never().is_none());
    holds(false).await;
    assert_eq!(spool.suspensions().ended(NOW), [1]);
    spool.suspensions().changed().await;
    spool.suspensions().one_ended().await;
}

#[tokio::test]
async fn whole_queues_are_told_from_copies() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let spool = open(folder.path(), &clock).await;
    let suspensions = spool.suspensions();
    let held = |route: &str, domain: Option<&str>| suspensions.of_queue(route, domain, NOW).is_some();
    spool.suspend(new(login("news"), None)).await.unwrap();
    assert!(!held("direct", Some("b.example")) && suspensions.any_of_copies(NOW));
    spool.suspend(new(domain("*.example"), None)).await.unwrap();
    assert!(held("direct", Some("b.example")) && !held("direct", Some("example")) && !held("up", None));
    let message = crate::mail::message_id::MessageId::from_bytes([1; 16]);
    let copy = |domain| Selected { route: "up", domain, message, entry: None };
    assert!(suspensions.of_copy(copy("b.example"), NOW).is_some() && suspensions.of_copy(copy("example"), NOW).is_none());
    spool.suspend(new(Selector { route: Some("up".to_owned()), ..Selector::default() }, None)).await.unwrap();
    assert!(held("up", None));
}

#[tokio::test]
async fn there_is_no_end_of_nothing_and_an_end_of_many() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let spool = open(folder.path(), &clock).await;
    let long = Selector { route: Some("x".repeat(256)), ..Selector::default() };
    let wrong = [new(Selector::default(), None), new(long, None), new(login(&"x".repeat(256)), None), new(login("news"), Some(NOW))];
    let mut said = Vec::new();
    for new in wrong {
        said.push(spool.suspend(new).await.unwrap_err().to_string());
    }
    spool.suspensions().reconfigure(config::Queue { suspensions: 3, suspensions_per_login: 2, ..config::Queue::default() });
    let of = |owner: Option<&str>| NewSuspension { owner: owner.map(str::to_owned), ..new(login("x"), None) };
    for owner in [Some("news"), Some("news"), Some("other"), None, None] {
        spool.suspend(of(owner)).await.unwrap();
    }
    for owner in [Some("news"), Some("other")] {
        said.push(spool.suspend(of(owner)).await.unwrap_err().to_string());
    }
    // What a login has ended takes its room until the marks are found, also over a restart, but none of operators.
    spool.resume(1, |_| true).await.unwrap();
    spool.load_suspensions().await.unwrap();
    for owner in [Some("news"), Some("other")] {
        said.push(spool.suspend(of(owner)).await.unwrap_err().to_string());
    }
    spool.suspend(of(None)).await.unwrap();
    said.push(spool.suspend(of(None)).await.unwrap_err().to_string());
    spool.forget_suspension(1).await.unwrap();
    spool.suspend(of(Some("news"))).await.unwrap();
    // That of operators counts for itself.
    for _ in 0..3 {
        let own = spool.suspensions().at(NOW).into_iter().find(|suspension| suspension.owner.is_none()).unwrap();
        spool.resume(own.number, |_| true).await.unwrap();
        said.extend(spool.suspend(of(None)).await.err().map(|error| error.to_string()));
    }
    let expected = [
        "say which mail: a route, a domain, a login, a tag or a message",
        "the name of a route has at most 255 octets",
        "the name of a login has at most 255 octets",
        "the time is over already",
        "there are 2 suspensions already",
        "there are 3 suspensions already",
        "there are 2 suspensions already",
        "there are 3 suspensions already",
        "there are 3 suspensions already",
        "mail of 3 suspensions that have ended is looked for: try again in a while",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn all_of_them_are_read_and_reasons_are_cut() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let spool = open(folder.path(), &clock).await;
    spool.suspensions().reconfigure(config::Queue { suspension_reason: 3, ..config::Queue::default() });
    let first = spool.suspend(new(login("x"), None)).await.unwrap();
    let kept = |number: u64| {
        let kept = Kept::Suspension(Box::new(Suspension { number, ..first.clone() }));
        kept_as(number, Some(&kept), Timestamp::NEVER)
    };
    let last = u64::try_from(PAGE).unwrap() + 1;
    spool.store().commit(Batch { values: (2..=last).map(kept).collect(), ..Batch::default() }).await.unwrap();
    drop(spool);
    let read = open(folder.path(), &clock).await.suspensions().at(NOW);
    assert_eq!((read.len(), read.first().unwrap().reason.as_str()), (PAGE + 1, "a  "));
}
