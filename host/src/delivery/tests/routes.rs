//! Routes that change under their queues, and destinations that cannot be reached.

use super::*;

/// Where nobody listens.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9)), 9);

fn two_domains(peer: &Peer) -> Setup {
    let mut setup = Setup::to(peer);
    setup.zone = setup.zone.mx("c.example", 10, "mx.b.example");
    setup
}

#[tokio::test]
async fn mail_for_a_smart_host_that_is_no_more_goes_by_mx() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup { smart_host: Some((NOWHERE, TlsLevel::None)), ..two_domains(&peer) }.start();
    running.accept(mail("up", &["x@b.example", "y@c.example"])).await;
    let events = running.wait_for_events(2).await;
    assert!(events.iter().all(|event| event.contains("cannot connect")), "{events:?}");

    running.handle.reconfigure(Setup { up_by_mx: true, ..two_domains(&peer) }.settings(Arc::default()));
    running.advance(Duration::from_secs(61));
    let mut events = running.wait_for_events(4).await.split_off(2);
    events.sort();
    assert_eq!(events, ["delivered x@b.example 1 250 2.0.0 queued", "delivered y@c.example 1 250 2.0.0 queued"]);
    running.stop().await;
}

#[tokio::test]
async fn mail_that_was_to_go_by_mx_goes_to_a_new_smart_host() {
    let (peer, smart_host) = (Peer::plain(&["PIPELINING"]).await, Peer::plain(&["PIPELINING"]).await);
    let mut setup = Setup { up_by_mx: true, ..two_domains(&peer) };
    setup.zone = setup.zone.broken("dark.example");
    let running = setup.start();
    let mut new = mail("up", &["x@dark.example"]);
    new.copies[0].1 = "up/dark.example".into();
    running.accept(new).await;
    running.wait_for_events(1).await;
    let smart = Setup { smart_host: Some((smart_host.address, TlsLevel::None)), ..two_domains(&peer) };
    running.handle.reconfigure(smart.settings(Arc::default()));
    running.advance(Duration::from_secs(61));
    assert_eq!(running.wait_for_events(2).await[1], "delivered x@dark.example 1 250 2.0.0 queued");
    assert_eq!((peer.log().messages.len(), smart_host.log().messages.len()), (0, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_reload_ends_connections_that_are_open() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    for (count, reload, expected) in [(1, false, 1), (2, false, 1), (3, true, 2)] {
        if reload {
            running.handle.reconfigure(Setup::to(&peer).settings(Arc::default()));
        }
        running.accept(mail("direct", &["x@b.example"])).await;
        assert_eq!(running.wait_for_events(count).await.last().unwrap(), "delivered x@b.example 0 250 2.0.0 queued");
        assert_eq!(peer.log().connections, expected, "connections after message {count}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_report_for_a_route_that_is_gone_waits_until_it_is_back() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = two_domains(&peer).start();
    let mut old = mail("up", &["x@b.example"]);
    old.entry.deliver_before = Some(running.clock.now().plus(Duration::from_secs(30)));
    old.entry.reverse_path = ReversePath::parse("sender@c.example").unwrap();
    running.accept(old).await;
    let events = running.wait_for_events(3).await;
    assert_eq!(events[0], "bounced x@b.example 0 5.4.7 the configuration has no such route");
    assert_eq!(events[2], "deferred sender@c.example 0 the configuration has no such route");
    running.handle.reconfigure(Setup { up_by_mx: true, ..two_domains(&peer) }.settings(Arc::default()));
    running.advance(Duration::from_secs(61));
    assert_eq!(running.wait_for_events(4).await[3], "delivered sender@c.example 1 250 2.0.0 queued");
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_rendered_for_a_host_that_is_dead() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let mut setup = Setup::to(&peer);
    setup.zone = setup.zone.mx("d.example", 5, "dead.d.example").address("dead.d.example", "127.0.0.9");
    let running = setup.start();
    for _ in 0..100 {
        running.accept(mail("direct", &["x@d.example"])).await;
    }
    let events = running.wait_for_events(100).await;
    assert!(events.iter().all(|event| event.starts_with("deferred x@d.example 0 cannot connect: ")), "{events:?}");
    assert_eq!(running.rendered.load(Ordering::Acquire), 0);

    // Who gets a report sees what it is about.
    let mut old = mail("direct", &["y@d.example"]);
    old.entry.deliver_before = Some(running.clock.now().plus(Duration::from_secs(30)));
    old.entry.reverse_path = ReversePath::parse("sender@b.example").unwrap();
    running.accept(old).await;
    let events = running.wait_for_events(103).await.split_off(100);
    assert!(events[0].starts_with("bounced y@d.example 0 5.4.7 cannot connect: "), "{events:?}");
    assert_eq!(events[2], "delivered sender@b.example 0 250 2.0.0 queued");
    assert!(peer.log().messages[0].contains("Subject: Hello\r\n"), "{}", peer.log().messages[0]);
    running.stop().await;
}

#[tokio::test]
async fn what_a_host_says_to_one_holds_back_nobody_else() {
    let greetings = AtomicUsize::new(0);
    let moody =
        script(move |line| (line.is_empty() && greetings.fetch_add(1, Ordering::SeqCst) == 0).then_some("554 5.7.1 you are listed"));
    let peer = Peer::start(&["PIPELINING"], None, moody).await;
    let running = two_domains(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["deferred x@b.example 0 554 5.7.1 you are listed"]);
    running.accept(mail("direct", &["y@c.example"])).await;
    assert_eq!(running.wait_for_events(2).await[1], "delivered y@c.example 0 250 2.0.0 queued");
    running.stop().await;
}

#[tokio::test]
async fn a_host_that_one_address_of_ours_does_not_reach_is_tried_from_others() {
    let mut setup = Setup::to(&Peer::plain(&[]).await);
    let port = setup.port;
    setup.zone = setup.zone.mx("d.example", 5, "far").address("far", "127.0.0.21");
    let source = |last| {
        let v4 = Some(std::net::Ipv4Addr::new(127, 0, 0, last));
        (format!("s{last}").into(), config::Source { v4, v6: None, hostname: None, warm_up: None })
    };
    setup.sources.sources = BTreeMap::from([source(22), source(23)]);
    let running = setup.start();
    let from = |source: &str, whom: &str| {
        let mut new = mail("direct", &[whom]);
        new.copies[0].1 = format!("direct/d.example#{source}").into();
        new
    };
    running.accept(from("s22", "x@d.example")).await;
    assert!(running.wait_for_events(1).await[0].starts_with("deferred x@d.example 0 cannot connect: "));
    // Now it is there. Who has not tried it does not have to wait until the other may try it again.
    let far = Peer::start_at(SocketAddr::from(([127, 0, 0, 21], port)), &[], None, script(|_| None)).await;
    running.accept(from("s23", "y@d.example")).await;
    assert_eq!(running.wait_for_events(2).await[1], "delivered y@d.example 0 250 2.0.0 queued");
    running.accept(from("s22", "z@d.example")).await;
    assert!(running.wait_for_events(3).await[2].starts_with("deferred z@d.example 0 cannot connect: "));
    assert_eq!(far.log().connections, 1);
    running.stop().await;
}

#[tokio::test]
async fn retries_to_dead_hosts_leave_connections_to_fresh_mail() {
    const DEAD: usize = 6;
    let peer = Peer::plain(&["PIPELINING"]).await;
    // The first time it hangs up at once; later it makes everybody wait.
    let greetings = AtomicUsize::new(0);
    let dead = script(move |line| {
        let greeting = line.is_empty().then(|| greetings.fetch_add(1, Ordering::SeqCst));
        greeting.map(|count| if count < DEAD { HANG_UP } else { SILENCE })
    });
    let address = SocketAddr::from(([127, 0, 0, 2], peer.address.port()));
    let dead = Peer::start_at(address, &[], None, dead).await;
    let mut setup = Setup::to(&peer);
    (setup.limits.connections, setup.limits.failing_connections) = (4, 2);
    (setup.limits.command_time, setup.limits.dead_time) = (Duration::from_mins(5), Duration::ZERO);
    setup.drain_time = Duration::from_millis(50);
    for number in 0..DEAD {
        setup.zone = setup.zone.mx(&format!("d{number}.example"), 1, "dead");
    }
    setup.zone = setup.zone.address("dead", "127.0.0.2").mx("z.example", 1, "mx.b.example");
    let running = setup.start();
    for number in 0..DEAD {
        running.accept(mail("direct", &[&format!("x@d{number}.example")])).await;
    }
    running.wait_for_events(DEAD).await;
    running.advance(Duration::from_secs(61));
    running.wait("retries", |_| (dead.log().connections >= DEAD + 2).then_some(())).await;
    running.wait_a_little().await;
    assert_eq!(dead.log().connections, DEAD + 2, "half of the connections are for those that failed");
    running.accept(mail("direct", &["x@z.example"])).await;
    assert_eq!(running.wait_for_events(DEAD + 1).await[DEAD], "delivered x@z.example 0 250 2.0.0 queued");
    running.stop().await;
}

#[tokio::test]
async fn what_was_chained_and_never_begun_costs_no_attempt() {
    let mails = AtomicUsize::new(0);
    let second = script(move |line| (line.starts_with("MAIL") && mails.fetch_add(1, Ordering::SeqCst) % 4 == 1).then_some(HANG_UP));
    let peer = Peer::start(&["PIPELINING"], None, second).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    let running = setup.start();
    for _ in 0..12 {
        running.accept(mail("direct", &["x@b.example"])).await;
    }
    let events = running.wait_for_events(12).await;
    assert!(events.iter().all(|event| event == "delivered x@b.example 0 250 2.0.0 queued"), "{events:?}");
    running.stop().await;
}

#[tokio::test]
async fn what_the_next_hop_cannot_take_is_known_without_asking() {
    let peer = Peer::plain(&["PIPELINING", "SIZE 10"]).await;
    let running = Setup::to(&peer).start();
    let mut new = mail("direct", &["x@b.example"]);
    new.entry.reverse_path = ReversePath::Null;
    running.accept(new).await;
    let events = running.wait_for_events(1).await;
    assert!(events[0].starts_with("bounced x@b.example 0 5.3.4 "), "{events:?}");
    running.stop().await;
}
