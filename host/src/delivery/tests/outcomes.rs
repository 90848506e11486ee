//! What becomes of copies.

use super::*;

#[tokio::test]
async fn a_copy_reaches_its_mx() {
    let peer = Peer::plain(&["PIPELINING", "8BITMIME"]).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    let EventKind::Delivered { host, .. } = &running.store.events()[0].kind else { panic!() };
    assert_eq!(host, &format!("mx.b.example [127.0.0.1]:{}", peer.address.port()));
    assert_eq!(peer.log().commands, ["EHLO tp.example", "MAIL FROM:<sender@a.example>", "RCPT TO:<x@b.example>", "DATA"]);
    assert_eq!(peer.log().messages, ["From: <sender@a.example>\r\nSubject: Hello\r\n\r\nHi\r\n..\r\n"]);
    assert!(running.store.all_rows().is_empty());
    running.stop().await;
    assert_eq!(peer.log().commands.last().unwrap(), "QUIT");
}

#[tokio::test]
async fn each_recipient_has_his_own_fate() {
    let answers = script(|line| match line {
        "RCPT TO:<bad@b.example>" => Some("550 5.1.1 no such user"),
        "RCPT TO:<later@b.example>" => Some("450 4.2.2 mailbox full"),
        _ => None,
    });
    let peer = Peer::start(&["PIPELINING"], None, answers).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["good@b.example", "bad@b.example", "later@b.example"])).await;
    let events = running.wait_for_events(4).await;
    assert_eq!(
        events[..4],
        [
            "delivered good@b.example 0 250 2.0.0 queued",
            "bounced bad@b.example 0 5.1.1 550 5.1.1 no such user",
            "deferred later@b.example 0 450 4.2.2 mailbox full",
            "accepted sender@a.example",
        ]
    );
    // The report's own way is a dead end, and nothing follows from that.
    let events = running.wait_for_events(5).await;
    assert_eq!(events[4], "bounced sender@a.example 0 5.1.2 the domain a.example does not exist");
    let rows = running.store.all_rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0.due, running.clock.now().plus(Duration::from_mins(1)));
    running.clock.advance(Duration::from_secs(61));
    running.store.commit(crate::store::Batch::default()).await.unwrap();
    let events = running.wait_for_events(6).await;
    assert_eq!(events[5], "deferred later@b.example 1 450 4.2.2 mailbox full");
    assert_eq!(running.counted("delivery_reports_total"), "1");
    assert_eq!(running.counted("recipients_total{route=\"direct\",outcome=\"deferred\"}"), "2");
    running.stop().await;
}

#[tokio::test]
async fn what_is_too_old_bounces() {
    let peer = Peer::start(&["PIPELINING"], None, script(|line| line.starts_with("RCPT").then_some("451 later"))).await;
    let running = Setup::to(&peer).start();
    let mut old = mail("direct", &["x@b.example"]);
    old.entry.received.at = running.clock.now().minus(Duration::from_hours(25));
    running.accept(old).await;
    // The time counts from the first attempt.
    assert_eq!(running.wait_for_events(1).await[0], "deferred x@b.example 0 451 later");
    running.advance(Duration::from_hours(24));
    let events = running.wait_for_events(2).await;
    assert_eq!(events[1], "bounced x@b.example 1 5.4.7 451 later");
    let mut late = mail("direct", &["y@b.example"]);
    late.entry.reverse_path = ReversePath::Null;
    late.entry.deliver_before = Some(running.clock.now());
    running.accept(late).await;
    running
        .wait("the bounce", |running| {
            running.events().iter().find(|event| event.starts_with("bounced y@b.example 0 5.4.7 the time")).cloned()
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn dns_decides_between_never_and_later() {
    let peer = Peer::plain(&[]).await;
    let running = Setup::to(&peer).start();
    for (domain, expected) in [
        ("nowhere.example", "bounced x@nowhere.example 0 5.1.2 the domain nowhere.example does not exist"),
        ("null.example", "bounced x@null.example 0 5.1.10 the domain null.example takes no mail (null MX)"),
        ("dark.example", "deferred x@dark.example 0 dark.example: DNS does not answer: SERVFAIL"),
    ] {
        let mut new = mail("direct", &[&format!("x@{domain}")]);
        new.entry.reverse_path = ReversePath::Null;
        running.accept(new).await;
        running.wait(expected, |running| running.events().contains(&expected.to_owned()).then_some(())).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn too_many_recipients_are_sent_in_portions() {
    let count = AtomicUsize::new(0);
    let answers = script(move |line| match line.get(..4) {
        Some("MAIL") => {
            count.store(0, Ordering::SeqCst);
            None
        }
        Some("RCPT") if count.fetch_add(1, Ordering::SeqCst) >= 2 => Some("452 4.5.3 too many recipients"),
        _ => None,
    });
    let peer = Peer::start(&["PIPELINING"], None, answers).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    let running = setup.start();
    running.accept(mail("direct", &["a@b.example", "b@b.example", "c@b.example", "d@b.example", "e@b.example"])).await;
    let events = running.wait_for_events(5).await;
    assert!(events.iter().all(|event| event.starts_with("delivered") && event.contains(" 0 250")), "{events:?}");
    assert_eq!(peer.log().messages.len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn captured_copies_are_kept_and_not_sent() {
    let peer = Peer::plain(&[]).await;
    let running = Setup::to(&peer).start();
    let id = running.accept(mail("box", &["x@b.example", "y@b.example"])).await;
    let events = running.wait_for_events(2).await;
    assert_eq!(events[1], "delivered y@b.example 0 kept, not sent");
    let kept = running.spool.captured(CopyId { message: id, recipient: 1 }).await.unwrap().unwrap();
    assert!(kept.starts_with(b"From: <sender@a.example>"));
    assert_eq!(peer.log().connections, 0);
    running.stop().await;
}

#[tokio::test]
#[expect(clippy::wildcard_enum_match_arm, reason = "one event is looked for")]
async fn the_chain_has_its_say_at_delivery() {
    let peer = Peer::plain(&[]).await;
    let running = Setup::to(&peer).start();
    for (variables, expected) in [
        ("hold", "held x@b.example looks odd"),
        ("discard", "discarded x@b.example unwanted"),
        ("fail", "deferred x@b.example 0 the plugin template failed"),
    ] {
        let mut new = mail("direct", &["x@b.example"]);
        new.copies[0].0.variables = variables.into();
        running.accept(new).await;
        running.wait(expected, |running| running.events().contains(&expected.to_owned()).then_some(())).await;
    }
    // Once, with what plugins logged; a plugin that had nothing to say is not mentioned.
    let told: Vec<_> = running.events().into_iter().filter(|event| event.starts_with("failed") || event.starts_with("rendered")).collect();
    assert_eq!(told, ["failed x@b.example template", "rendered x@b.example log: a line"]);
    let by = running.store.events().into_iter().find_map(|event| match event.kind {
        EventKind::Held { by, .. } => Some(by),
        _ => None,
    });
    assert_eq!(by.as_deref(), Some("policy"));
    let rows = running.store.all_rows();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().any(|(row, leased)| row.due == Timestamp::NEVER && !leased));
    assert!(peer.log().messages.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn success_is_reported_where_the_next_hop_will_not() {
    for (extensions, reports) in [(&["PIPELINING"][..], 1), (&["PIPELINING", "DSN"], 0)] {
        let peer = Peer::plain(extensions).await;
        let running = Setup::to(&peer).start();
        let mut new = mail("direct", &["x@b.example"]);
        new.copies[0].0.notify = Some(Notify { success: true, failure: true, delay: false });
        new.entry.reverse_path = ReversePath::parse("sender@b.example").unwrap();
        running.accept(new).await;
        // The report itself: accepted, and delivered to the sender.
        running.wait_for_events(1 + 2 * reports).await;
        assert_eq!(running.counted("delivery_reports_total"), reports.to_string());
        let log = peer.log();
        assert_eq!(log.messages.len(), 1 + reports);
        if reports == 1 {
            assert!(log.messages[1].contains("Action: relayed\r\nStatus: 2.0.0\r\n"), "{}", log.messages[1]);
            assert!(log.commands.contains(&"MAIL FROM:<>".to_owned()));
        } else {
            assert!(log.commands.contains(&"RCPT TO:<x@b.example> NOTIFY=SUCCESS,FAILURE".to_owned()));
        }
        running.stop().await;
    }
}

#[test]
fn a_text_is_a_reply_only_where_a_server_said_it() {
    use crate::delivery::connection::Broken;
    use crate::delivery::failure::Failure;
    use crate::delivery::outcome::Verdict;
    use crate::smtp::client::ClientError;
    use crate::smtp::client::reply::Reply;
    let said = Broken::Client(ClientError::Greeting(Reply::local(554, "5.3.2 go away"))).to_failure("mx");
    let not_said = Failure::permanent((1, 2), "192.example does not exist");
    for (failure, expected) in [(said, true), (not_said, false), (Broken::TimedOut.to_failure("mx"), false)] {
        let verdict = Verdict::of_failure(&failure);
        let (Verdict::Deferred { is_reply, .. } | Verdict::Bounced { is_reply, .. }) = verdict else { panic!("{verdict:?}") };
        assert_eq!(is_reply, expected, "{failure:?}");
    }
}
