//! How connections are used, and what happens when they break.

use super::*;

#[tokio::test]
async fn copies_of_one_message_share_a_transaction_and_connections_are_reused() {
    let peer = Peer::plain(&["PIPELINING", "CHUNKING"]).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example", "y@b.example", "z@b.example"])).await;
    running.wait_for_events(3).await;
    running.accept(mail("direct", &["w@b.example"])).await;
    running.wait_for_events(4).await;
    assert_eq!(peer.log().messages.len(), 2);
    assert_eq!(peer.log().connections, 1);
    running.stop().await;
}

#[tokio::test]
async fn thousands_flow_over_a_few_connections() {
    for extensions in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"], &[]] {
        let peer = Peer::plain(extensions).await;
        let running = Setup::to(&peer).start();
        for _ in 0..500 {
            running.accept(mail("direct", &["x@b.example"])).await;
        }
        running.wait_for_events(500).await;
        assert!(running.events().iter().all(|event| event.starts_with("delivered")));
        assert!(running.store.all_rows().is_empty());
        assert_eq!(peer.log().messages.len(), 500);
        assert!(peer.log().connections <= 4, "{}", peer.log().connections);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_dead_host_leads_to_the_next_one() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let mut setup = Setup::to(&peer);
    // Nothing listens on 127.0.0.2.
    setup.zone = setup.zone.mx("c.example", 5, "dead.c.example").address("dead.c.example", "127.0.0.2");
    setup.zone = setup.zone.mx("c.example", 9, "mx.b.example").mx("d.example", 5, "dead.c.example");
    let running = setup.start();
    running.accept(mail("direct", &["x@c.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@c.example 0 250 2.0.0 queued"]);
    running.accept(mail("direct", &["x@d.example"])).await;
    let events = running.wait_for_events(2).await;
    assert!(events[1].starts_with("deferred x@d.example 0 cannot connect: "), "{}", events[1]);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_defers_what_was_begun() {
    let peer = Peer::start(&["PIPELINING"], None, script(|line| (line == ".").then_some(HANG_UP))).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["deferred x@b.example 0 the server closed the connection"]);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_attempt() {
    let mails = AtomicUsize::new(0);
    let second = script(move |line| {
        let is_second = line.starts_with("MAIL") && mails.fetch_add(1, Ordering::SeqCst) == 1;
        is_second.then_some(HANG_UP)
    });
    let peer = Peer::start(&["PIPELINING"], None, second).await;
    let running = Setup::to(&peer).start();
    for count in 1..=3 {
        running.accept(mail("direct", &["x@b.example"])).await;
        let events = running.wait_for_events(count).await;
        assert_eq!(events[count - 1], "delivered x@b.example 0 250 2.0.0 queued");
    }
    assert_eq!(peer.log().connections, 2);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_hangs_does_not_hold_up_what_comes_later() {
    let mails = AtomicUsize::new(0);
    let first = script(move |line| {
        let is_first = line.starts_with("MAIL") && mails.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then_some(SILENCE)
    });
    let peer = Peer::start(&["PIPELINING"], None, first).await;
    let mut setup = Setup::to(&peer);
    setup.drain_time = Duration::from_millis(50);
    let running = setup.start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait("the first transaction", |_| peer.log().commands.iter().any(|line| line.starts_with("MAIL")).then_some(())).await;
    for count in 1..=5 {
        running.accept(mail("direct", &["y@b.example"])).await;
        running.wait("the copy", |running| (running.events().len() >= count).then_some(())).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_goes_away_says_why() {
    let peer = Peer::start(&[], None, script(|line| line.is_empty().then_some("421 4.3.2 too busy"))).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["deferred x@b.example 0 421 4.3.2 too busy"]);
    running.stop().await;
}

#[tokio::test]
async fn destinations_share_connections_that_are_few() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections = 2;
    for number in 0..10 {
        setup.zone = setup.zone.mx(&format!("d{number}.example"), 1, "mx.b.example");
    }
    let running = setup.start();
    for number in 0..10 {
        running.accept(mail("direct", &[&format!("x@d{number}.example")])).await;
    }
    // An idle connection would be kept for 5 s: it gives way at once.
    running.wait_for_events(10).await;
    running.stop().await;
}

#[tokio::test]
async fn slow_servers_of_one_login_leave_connections_to_others() {
    let slow = Peer::start(&[], None, script(|line| line.starts_with("MAIL").then_some(SILENCE))).await;
    let quick = Peer::start_at(SocketAddr::from(([127, 0, 0, 2], slow.address.port())), &[], None, script(|_| None)).await;
    let mut setup = Setup::to(&slow);
    (setup.limits.connections, setup.limits.login_connections) = (4, 3);
    setup.drain_time = Duration::from_millis(50);
    setup.zone = setup.zone.mx("z.example", 1, "mx.z.example").address("mx.z.example", "127.0.0.2");
    for number in 0..10 {
        setup.zone = setup.zone.mx(&format!("d{number}.example"), 1, "mx.b.example");
    }
    let running = setup.start();
    let of = |login: &str, address: &str| {
        let new = mail("direct", &[address]);
        NewEntry { entry: Entry { login: login.into(), ..new.entry }, ..new }
    };
    for number in 0..10 {
        running.accept(of("many", &format!("x@d{number}.example"))).await;
    }
    running.wait("three connections", |_| (slow.log().connections == 3).then_some(())).await;
    running.accept(of("many", "x@z.example")).await;
    running.wait_a_little().await;
    assert_eq!((slow.log().connections, quick.log().connections), (3, 0), "no login has all connections");
    running.accept(of("few", "y@z.example")).await;
    let mut events = running.wait_for_events(2).await;
    events.sort();
    assert_eq!(
        events,
        ["delivered x@z.example 0 250 2.0.0 queued", "delivered y@z.example 0 250 2.0.0 queued"],
        "it waits for neither alone"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_next_hop_that_wants_few_connections_gets_few() {
    let greetings = AtomicUsize::new(0);
    let crowded = script(move |line| {
        let is_surplus = line.is_empty() && greetings.fetch_add(1, Ordering::SeqCst) > 0;
        is_surplus.then_some("421 4.7.0 too many connections from you")
    });
    let peer = Peer::start(&[], None, crowded).await;
    let running = Setup::to(&peer).start();
    for _ in 0..200 {
        running.accept(mail("direct", &["x@b.example"])).await;
    }
    let events = running.wait_for_events(200).await;
    assert!(events.iter().all(|event| event.starts_with("delivered x@b.example 0 ")), "{events:?}");
    assert!(peer.log().connections <= 3, "{}", peer.log().connections);
    running.stop().await;
}
