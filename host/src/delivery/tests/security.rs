//! TLS towards next hops.

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::dns::RecordKind;
use crate::spool::entry::TransportSecurity;
use crate::spool::queue;

pub(super) fn acceptor() -> (TlsAcceptor, String) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let config = config.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
    (TlsAcceptor::from(Arc::new(config)), key.cert.pem())
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered() {
    let (acceptor, _) = acceptor();
    let peer = Peer::start(&["STARTTLS", "PIPELINING"], Some(acceptor), script(|_| None)).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(peer.log().commands[..4], ["EHLO tp.example", "STARTTLS", "<TLS>", "EHLO tp.example"]);
    running.stop().await;
}

#[tokio::test]
async fn opportunistic_tls_falls_back_once() {
    // Offers STARTTLS and then hangs up: there is no TLS behind it.
    let peer = Peer::start(&["STARTTLS", "PIPELINING"], None, script(|_| None)).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(peer.log().connections, 2);
    running.stop().await;
}

#[tokio::test]
async fn required_tls_wants_a_valid_certificate() {
    let (acceptor, pem) = acceptor();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), pem).unwrap();
    let peer = Peer::start(&["STARTTLS", "PIPELINING"], Some(acceptor), script(|_| None)).await;
    let smart_host = Some((peer.address, TlsLevel::Required));
    let verifying = crate::network::tls::verifying(Some(ca.path())).unwrap();
    let running = Setup { smart_host, verifying: Some(verifying), ..Setup::to(&peer) }.start();
    running.accept(mail("up", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    running.stop().await;

    let (_, other) = self::acceptor();
    std::fs::write(ca.path(), other).unwrap();
    let verifying = crate::network::tls::verifying(Some(ca.path())).unwrap();
    let running = Setup { smart_host, verifying: Some(verifying), ..Setup::to(&peer) }.start();
    running.accept(mail("up", &["x@b.example"])).await;
    let events = running.wait_for_events(1).await;
    assert!(events[0].starts_with("deferred x@b.example 0 TLS handshake failed: "), "{}", events[0]);
    assert_eq!(peer.log().messages.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn requiretls_goes_on_to_a_host_that_offers_it() {
    let (acceptor, pem) = acceptor();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let lacking = Peer::start(&["STARTTLS"], Some(acceptor.clone()), script(|_| None)).await;
    let port = lacking.address.port();
    let offering = SocketAddr::from(([127, 0, 0, 12], port));
    let offering = Peer::start_at(offering, &["STARTTLS", "REQUIRETLS"], Some(acceptor), script(|_| None)).await;
    let refused =
        "bounced x@b.example 0 5.7.30 the message requires TLS on all of its way (REQUIRETLS), and the next hop does not offer that";
    for (hosts, tries, expected) in [
        (["lacking", "offering"], 8, "delivered x@b.example 0 250 2.0.0 queued"),
        (["lacking", "lacking"], 8, refused),
        // It may offer it when it is there again.
        (["lacking", "dead"], 8, "deferred x@b.example 0 cannot connect: "),
        (["dead", "lacking"], 8, "deferred x@b.example 0 cannot connect: "),
        (["lacking", "offering"], 1, "deferred x@b.example 0 the message requires TLS"),
    ] {
        let mut setup = Setup::to(&lacking);
        setup.limits.host_tries = tries;
        setup.zone = setup.zone.without("b.example").signed("b.example");
        for (host, address) in [("lacking", "127.0.0.1"), ("offering", "127.0.0.12"), ("dead", "127.0.0.9")] {
            let at = format!("_{port}._tcp.{host}");
            let record = format!("3 0 0 {}", data_encoding::HEXLOWER.encode(&certificate));
            setup.zone = setup.zone.address(host, address).signed(host).record(&at, RecordKind::Tlsa, &record).signed(&at);
        }
        for (preference, host) in (1..).zip(hosts) {
            setup.zone = setup.zone.mx("b.example", preference, host);
        }
        let running = setup.start();
        let mut new = mail("direct", &["x@b.example"]);
        new.entry.terms.transport = TransportSecurity::Required;
        new.entry.reverse_path = ReversePath::Null;
        new.copies[0].1 = queue::protected(new.copies[0].1.clone(), TransportSecurity::Required);
        running.accept(new).await;
        let events = running.wait_for_events(1).await;
        assert!(events[0].starts_with(expected), "{hosts:?}: {events:?}");
        running.stop().await;
    }
    assert_eq!((lacking.log().messages.len(), offering.log().messages.len()), (0, 1));
}

#[tokio::test]
async fn a_smart_host_may_have_to_be_vouched_for() {
    use TransportSecurity::{AsConfigured, Optional, Required};
    let (acceptor, pem) = acceptor();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let record = format!("3 0 0 {}", data_encoding::HEXLOWER.encode(&certificate));
    let (good, without) = ("delivered x@b.example 0 250 2.0.0 queued", "deferred x@b.example 0 the configuration asks for DANE, ");
    for (implicit_tls, transport, is_signed, expected) in [
        (false, AsConfigured, true, good),
        (true, AsConfigured, true, good),
        // What the operator asks for, no message takes away.
        (false, Optional, true, good),
        (false, Required, true, good),
        // Name servers that say nothing of signatures.
        (false, AsConfigured, false, without),
        (false, Optional, false, without),
    ] {
        let extensions: &[&str] = if implicit_tls { &["REQUIRETLS"] } else { &["STARTTLS", "REQUIRETLS"] };
        let peer = Peer::start(extensions, Some(acceptor.clone()), script(|_| None)).await;
        let mut setup = Setup { smart_host: Some((peer.address, TlsLevel::Dane)), implicit_tls, ..Setup::to(&peer) };
        let at = format!("_{}._tcp.up.example", peer.address.port());
        setup.zone = setup.zone.address("up.example", "127.0.0.1").record(&at, RecordKind::Tlsa, &record);
        if is_signed {
            setup.zone = setup.zone.signed("up.example").signed(&at);
        }
        let running = setup.start();
        let mut new = mail("up", &["x@b.example"]);
        new.entry.terms.transport = transport;
        new.copies[0].1 = queue::protected(new.copies[0].1.clone(), transport);
        running.accept(new).await;
        let events = running.wait_for_events(1).await;
        assert!(events[0].starts_with(expected), "{implicit_tls} {transport:?} {is_signed}: {events:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_smart_host_may_want_tls_at_once_and_a_password() {
    let (acceptor, pem) = acceptor();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), pem).unwrap();
    let wrong = script(|line| (line.starts_with("AUTH") && line != "AUTH PLAIN AHUAcA==").then_some("535 5.7.8 wrong"));
    let peer = Peer::start(&["AUTH PLAIN", "PIPELINING"], Some(acceptor), wrong).await;
    for (password, expected) in [("p", "delivered x@b.example 0 250 2.0.0 queued"), ("q", "deferred x@b.example 0 535 5.7.8 wrong")] {
        let smart_host = Some((peer.address, TlsLevel::Required));
        let verifying = crate::network::tls::verifying(Some(ca.path())).unwrap();
        let credentials = Some(Credentials { user: "u".into(), password: password.into() });
        let setup = Setup { smart_host, verifying: Some(verifying), implicit_tls: true, credentials, ..Setup::to(&peer) };
        let running = setup.start();
        running.accept(mail("up", &["x@b.example"])).await;
        assert_eq!(running.wait_for_events(1).await, [expected]);
        running.stop().await;
    }
}
