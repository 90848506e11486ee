//! What domains are told of TLS towards them.

use super::*;
use crate::delivery::tls_report::sending;

fn reporting(peer: &Peer, rua: &str) -> Setup {
    let mut setup = Setup::to(peer);
    let contact = Some(EmailAddress::parse("tls@tp.example").unwrap());
    setup.limits.tls_reports = config::TlsReports { enabled: true, contact, organization: None, domains: 10 };
    setup.zone = setup.zone.txt("_smtp._tls.b.example", &format!("v=TLSRPTv1; rua={rua}"));
    setup
}

#[tokio::test]
async fn a_domain_that_asks_for_it_hears_once_how_tls_went() {
    // It offers no TLS.
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = reporting(&peer, "mailto:reports@b.example").start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_for_events(1).await;
    let hub = &running.handle.hub;
    assert_eq!(running.counted("delivery_tls_sessions_total{policy=\"no-policy-found\",result=\"starttls-not-supported\"}"), "1");
    sending::round(hub, Duration::ZERO).await;
    running.advance(Duration::from_hours(24));
    sending::round(hub, Duration::ZERO).await;
    let events = running.wait_for_events(3).await;
    assert_eq!(events[1..], ["accepted reports@b.example", "delivered reports@b.example 0 250 2.0.0 queued"]);
    let report = peer.log().messages[1].clone();
    for line in ["From: <tls@tp.example>", "TLS-Report-Domain: b.example", "TLS-Required: No"] {
        assert!(report.contains(line), "{report}");
    }
    assert_eq!(running.counted("delivery_tls_reports_total{result=\"sent\"}"), "1");
    // The mail with the report is nothing to report on.
    running.advance(Duration::from_hours(24));
    sending::round(hub, Duration::ZERO).await;
    running.wait_a_little().await;
    assert_eq!(running.events().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_report_that_cannot_be_sent_is_tried_for_a_day() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    // Nobody listens there, and whom it can be sent to does not get it twice.
    let running = reporting(&peer, "https://127.0.0.9:9/,mailto:reports@b.example").start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_for_events(1).await;
    let hub = &running.handle.hub;
    running.advance(Duration::from_hours(24));
    for _ in 0..24 {
        sending::round(hub, Duration::ZERO).await;
        running.advance(Duration::from_hours(1));
    }
    assert_eq!(running.counted("delivery_tls_reports_total{result=\"failed\"}"), "1");
    running.wait_for_events(3).await;
    sending::round(hub, Duration::ZERO).await;
    running.wait_a_little().await;
    assert_eq!(running.events().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn nobody_who_does_not_ask_is_told() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let mut setup = reporting(&peer, "mailto:reports@b.example");
    setup.zone = setup.zone.without("_smtp._tls.b.example");
    let running = setup.start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_for_events(1).await;
    running.advance(Duration::from_hours(24));
    sending::round(&running.handle.hub, Duration::ZERO).await;
    assert_eq!(running.counted("delivery_tls_reports_total{result=\"not_wanted\"}"), "1");
    assert_eq!(running.events().len(), 1);
    running.stop().await;
}
