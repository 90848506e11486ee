//! Return paths of tracked mail, and what senders hear: failure, delay, success.

use super::*;
use crate::bounce::BounceClass;
use crate::verp::Verp;

const KNOWS_DSN: [&str; 3] = ["PIPELINING", "8BITMIME", "DSN"];

fn verp() -> Verp {
    Verp::new([7; 32], Duration::from_hours(24 * 30))
}

fn returns() -> ReturnPaths {
    let own = |_: &str, domain: &Domain| (domain.as_str() == "own.example").then(|| Domain::parse("b.own.example").unwrap());
    ReturnPaths { verp: verp(), host: Domain::parse("bounces.example").unwrap(), host_of: Arc::new(own) }
}

fn tracked(recipients: &[&str]) -> NewEntry {
    let mut new = mail("direct", recipients);
    new.entry.terms.track_bounces = true;
    new
}

fn set_notify(new: &mut NewEntry, notify: Notify) {
    new.copies.iter_mut().for_each(|(copy, _)| copy.notify = Some(notify));
}

/// The addresses of `MAIL FROM`, as `peer` heard them.
fn reverse_paths(peer: &Peer) -> Vec<EmailAddress> {
    let commands = peer.log().commands;
    let addresses = commands.iter().filter_map(|line| line.strip_prefix("MAIL FROM:<")?.split('>').next().map(str::to_owned));
    addresses.map(|address| address.parse().unwrap()).collect()
}

#[tokio::test]
async fn f3_each_copy_has_a_reverse_path_of_its_own() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup { returns: Some(returns()), ..Setup::to(&peer) }.start();
    let id = running.accept(tracked(&["x@b.example", "y@b.example"])).await;
    running.wait_for_events(2).await;
    let paths = reverse_paths(&peer);
    let mut copies: Vec<_> = paths.iter().filter_map(|path| verp().read(path.local_part(), running.clock.now())).collect();
    copies.sort_by_key(|returned| returned.copy);
    let wanted: Vec<_> = [0, 1].map(|recipient| CopyId { message: id, recipient }).to_vec();
    assert_eq!(copies.iter().map(|returned| returned.copy).collect::<Vec<_>>(), wanted);
    assert!(copies.iter().all(|returned| returned.is_of("login") && returned.notify == Notify::default()));
    assert!(paths.iter().all(|path| path.domain().as_str() == "bounces.example"));
    running.stop().await;
}

#[tokio::test]
async fn a_senders_domain_may_have_a_host_of_its_own() {
    let peer = Peer::plain(&[]).await;
    let running = Setup { returns: Some(returns()), ..Setup::to(&peer) }.start();
    let mut new = tracked(&["x@b.example"]);
    new.entry.reverse_path = ReversePath::parse("news@own.example").unwrap();
    running.accept(new).await;
    running.wait_for_events(1).await;
    assert_eq!(reverse_paths(&peer)[0].domain().as_str(), "b.own.example");
    // What is not tracked keeps its sender, and so does everything where nothing can come back.
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_for_events(2).await;
    assert_eq!(reverse_paths(&peer)[1].to_string(), "sender@a.example");
    running.stop().await;
}

#[tokio::test]
async fn f4_we_hear_of_failures_also_where_the_sender_wants_to_hear_nothing() {
    let peer = Peer::plain(&KNOWS_DSN).await;
    let running = Setup { returns: Some(returns()), ..Setup::to(&peer) }.start();
    let mut new = tracked(&["x@b.example"]);
    set_notify(&mut new, Notify::NEVER);
    new.copies[0].0.original = Some("rfc822;old@b.example".into());
    new.entry.envid = Some("order-7".into());
    running.accept(new).await;
    running.wait_for_events(1).await;
    let commands = peer.log().commands;
    assert!(commands.iter().any(|line| line == "RCPT TO:<x@b.example> NOTIFY=FAILURE ORCPT=rfc822;old@b.example"), "{commands:?}");
    assert!(commands.iter().any(|line| line.starts_with("MAIL FROM:<bounces+") && line.ends_with(" ENVID=order-7")), "{commands:?}");
    let returned = verp().read(reverse_paths(&peer)[0].local_part(), running.clock.now()).unwrap();
    assert_eq!(returned.notify, Notify::NEVER);
    running.stop().await;
}

#[tokio::test]
async fn f4_a_failure_of_tracked_mail_is_told_to_the_sender_of_the_envelope() {
    let peer = Peer::start(&["PIPELINING"], None, script(|line| line.starts_with("RCPT").then_some("550 5.1.1 no such user"))).await;
    let running = Setup { returns: Some(returns()), ..Setup::to(&peer) }.start();
    running.accept(tracked(&["x@b.example"])).await;
    let events = running.wait_for_events(2).await;
    assert_eq!(events[..2], ["bounced x@b.example 0 5.1.1 550 5.1.1 no such user", "accepted sender@a.example"]);
    let EventKind::Bounced { class, report, .. } = running.store.events()[0].kind.clone() else { panic!() };
    assert_eq!((class, report), (BounceClass::UnknownUser, None));
    // Where the call named no sender, nobody is told.
    let mut silent = tracked(&["y@b.example"]);
    silent.entry.reverse_path = ReversePath::Null;
    running.accept(silent).await;
    running.wait("the second bounce", |running| running.events().iter().any(|event| event.starts_with("bounced y@")).then_some(())).await;
    assert_eq!(running.events().iter().filter(|event| event.starts_with("accepted")).count(), 1);
    running.stop().await;
}

#[tokio::test]
async fn f5_a_delay_is_told_once_and_only_who_asked() {
    let peer = Peer::start(&["PIPELINING"], None, script(|line| line.starts_with("RCPT").then_some("452 4.2.2 mailbox full"))).await;
    let mut setup = Setup::to(&peer);
    setup.limits.delay_report = Duration::from_mins(30);
    let running = setup.start();
    let mut new = mail("direct", &["asked@b.example"]);
    set_notify(&mut new, Notify { success: false, failure: true, delay: true });
    running.accept(new).await;
    running.accept(mail("direct", &["silent@b.example"])).await;
    running.wait_for_events(2).await;
    // The first report comes with the first attempt after half an hour, none with those after it.
    for round in 0..4 {
        running.advance(Duration::from_mins(61));
        running.wait_for_events(6 + 2 * round).await;
    }
    let reports = running.events().iter().filter(|event| event.starts_with("accepted")).count();
    assert_eq!((reports, running.counted("delivery_reports_total")), (1, "1".to_owned()));
    let EventKind::Deferred { class, .. } = running.store.events()[0].kind.clone() else { panic!() };
    assert_eq!(class, BounceClass::MailboxFull);
    running.stop().await;
}

#[tokio::test]
async fn f5_delivery_into_the_box_is_told_to_who_asked() {
    let peer = Peer::plain(&[]).await;
    let running = Setup::to(&peer).start();
    let mut new = mail("box", &["x@b.example"]);
    set_notify(&mut new, Notify { success: true, failure: true, delay: false });
    new.entry.envid = Some("order-7".into());
    running.accept(new).await;
    let events = running.wait_for_events(2).await;
    assert!(events.contains(&"accepted sender@a.example".to_owned()), "{events:?}");
    // The report is kept in the box too, and nothing follows from it.
    running.wait("the report", |running| running.events().iter().any(|event| event.starts_with("delivered sender@")).then_some(())).await;
    running.wait_a_little().await;
    assert_eq!(running.counted("delivery_reports_total"), "1");
    running.stop().await;
}
