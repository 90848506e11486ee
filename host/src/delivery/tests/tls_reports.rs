//! What domains are told of TLS towards them.

use std::io::Read as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::delivery::tls_report::sending;

fn reporting(peer: &Peer, rua: &str) -> Setup {
    let mut setup = Setup::to(peer);
    let contact = Some(EmailAddress::parse("tls@tp.example").unwrap());
    setup.limits.tls_reports =
        config::TlsReports { enabled: true, contact, domains: 10, timeout: Duration::from_mins(2), ..config::TlsReports::default() };
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
async fn a_report_goes_over_https_whatever_the_certificate() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, _) = security::acceptor();
    let taking = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let length = stream.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..length]);
            let Some(end) = memchr::memmem::find(&request, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap();
            if request.len() >= end + 4 + length {
                stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                return (head, request.split_off(end + 4));
            }
        }
    });
    let running = reporting(&peer, &format!("https://{address}/v1/tlsrpt")).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait_for_events(1).await;
    running.advance(Duration::from_hours(24));
    sending::round(&running.handle.hub, Duration::ZERO).await;
    assert_eq!(running.counted("delivery_tls_reports_total{result=\"sent\"}"), "1");
    let (head, body) = taking.await.unwrap();
    assert!(head.starts_with("post /v1/tlsrpt http/1.1\r\n") && head.contains("content-type: application/tlsrpt+gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["policies"][0]["policy"]["policy-domain"], "b.example");
    assert_eq!(report["policies"][0]["failure-details"][0]["result-type"], "starttls-not-supported");
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
    sending::round(hub, Duration::ZERO).await;
    // Before the clock moves, so that no transaction runs out of time.
    running.wait_for_events(3).await;
    for _ in 1..24 {
        running.advance(Duration::from_hours(1));
        sending::round(hub, Duration::ZERO).await;
    }
    assert_eq!(running.counted("delivery_tls_reports_total{result=\"failed\"}"), "1");
    running.advance(Duration::from_hours(1));
    sending::round(hub, Duration::ZERO).await;
    running.wait_a_little().await;
    assert_eq!(running.events().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_web_server_that_never_answers_holds_up_no_other_domain() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    // Nobody takes its connections off the system.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = reporting(&peer, &format!("https://{}/", silent.local_addr().unwrap()));
    setup.zone = setup.zone.mx("c.example", 10, "mx.b.example").txt("_smtp._tls.c.example", "v=TLSRPTv1; rua=mailto:reports@c.example");
    let running = setup.start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.accept(mail("direct", &["x@c.example"])).await;
    running.wait_for_events(2).await;
    running.advance(Duration::from_hours(24));
    let handle = running.handle.clone();
    let round = tokio::spawn(async move { sending::round(&handle.hub, Duration::ZERO).await });
    let events = running.wait_for_events(4).await;
    assert_eq!(events[2..], ["accepted reports@c.example", "delivered reports@c.example 0 250 2.0.0 queued"]);
    assert!(!round.is_finished(), "the other is still waited for");
    running.stop().await;
    round.await.unwrap();
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
