//! MTA-STS (RFC 8461): domains that publish how their mail is to be protected.

use std::net::Ipv4Addr;

use anyhow::Result;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::host::Host;
use tubepost_tests::http;
use tubepost_tests::peer::{Peer, Protection};
use tubepost_tests::policy_server::PolicyServer;
use tubepost_tests::setup::{config, login};
use tubepost_tests::zone::Zone;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The names that the certificate of all servers has; `mx.stranger.example` is not among them.
const NAMES: [&str; 6] = [
    "mx.enforced.example",
    "mta-sts.enforced.example",
    "mta-sts.testing.example",
    "mta-sts.unlisted.example",
    "mta-sts.stranger.example",
    "mta-sts.missing.example",
];

fn policy(host: &str) -> Option<String> {
    let (mode, mx) = match host {
        "mta-sts.enforced.example" => ("enforce", "mx.enforced.example"),
        "mta-sts.testing.example" => ("testing", "mx.elsewhere.example"),
        "mta-sts.unlisted.example" => ("enforce", "*.elsewhere.example"),
        "mta-sts.stranger.example" => ("enforce", "mx.stranger.example"),
        _ => return None,
    };
    Some(format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n"))
}

fn zone() -> Result<Zone> {
    let mut zone = Zone::start()?.mx("enforced.example", 10, "mx.evil.example").mx("enforced.example", 20, "mx.enforced.example");
    zone = zone.address_of("mx.evil.example", HERE).address_of("mx.enforced.example", HERE);
    for domain in ["testing.example", "unlisted.example", "stranger.example", "missing.example"] {
        let mx = format!("mx.{domain}");
        zone = zone.mx(domain, 10, &mx).address_of(&mx, HERE);
    }
    for domain in ["enforced.example", "testing.example", "unlisted.example", "stranger.example", "missing.example"] {
        zone = zone.address_of(&format!("mta-sts.{domain}"), HERE).txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=1;");
    }
    Ok(zone)
}

fn start(peer: &Peer, certificate: &Certificate, zone: &Zone, web: &PolicyServer) -> Result<Host> {
    Host::start(&configuration(peer, zone, web), &[("ca.pem", certificate.pem().as_bytes())])
}

fn configuration(peer: &Peer, zone: &Zone, web: &PolicyServer) -> String {
    let (port, nameserver, web) = (peer.address().port(), zone.address(), web.address().port());
    let route = format!(
        "[routes.direct]\nkind = \"mx\"\nport = {port}\nnameservers = [\"{nameserver}\"]\nallow_private = true\nca = \"ca.pem\"\n\
         mta_sts_port = {web}\n"
    );
    config(peer.address(), &format!("{route}{}", login("direct", "route = \"direct\"")))
}

#[test]
fn an_enforced_policy_chooses_the_host_and_wants_its_certificate() -> Result<()> {
    let certificate = Certificate::for_names(&NAMES)?;
    let (zone, web) = (zone()?, PolicyServer::start(certificate.server()?, policy)?);
    let peer = Peer::start_with(Protection::StartTls(certificate.server()?), None)?;
    let host = start(&peer, &certificate, &zone, &web)?;

    let enforced = host.shown(&host.send("direct", "reader@enforced.example")?, "delivered")?;
    // The host that DNS prefers is not the policy's.
    assert!(enforced.contains("mx.enforced.example [127.0.0.1]") && enforced.contains("(mta-sts)"), "{enforced}");
    let testing = host.shown(&host.send("direct", "reader@testing.example")?, "delivered")?;
    assert!(testing.contains("(opportunistic)"), "{testing}");
    let missing = host.shown(&host.send("direct", "reader@missing.example")?, "delivered")?;
    assert!(missing.contains("(opportunistic)"), "{missing}");

    let unlisted = host.send("direct", "reader@unlisted.example")?;
    let said = host.shown(&unlisted, "deferred")?;
    assert!(said.contains("the MTA-STS policy of the domain does not name this host"), "{said}");
    let stranger = host.send("direct", "reader@stranger.example")?;
    let said = host.shown(&stranger, "deferred")?;
    assert!(said.contains("TLS handshake failed"), "{said}");
    assert_eq!(peer.count(), 3);
    // What a report on TLS would say: also of a policy that is only tested.
    let page = http::get(host.address("http none"), "/metrics")?.text();
    for (policy, result) in
        [("sts", "good"), ("sts", "validation-failure"), ("sts", "certificate-host-mismatch"), ("sts", "sts-policy-fetch-error")]
    {
        let line = format!("tubepost_delivery_tls_sessions_total{{policy=\"{policy}\",result=\"{result}\"}} ");
        assert!(page.contains(&line), "no {line}in\n{page}");
    }
    for id in [unlisted, stranger] {
        host.say(&["queue", "cancel", &id])?;
    }
    host.wait_for_empty_queue()
}

#[test]
fn an_enforced_policy_is_never_delivered_in_clear() -> Result<()> {
    let certificate = Certificate::for_names(&NAMES)?;
    let (zone, web) = (zone()?, PolicyServer::start(certificate.server()?, policy)?);
    let peer = Peer::start()?;
    let host = start(&peer, &certificate, &zone, &web)?;
    let id = host.send("direct", "reader@enforced.example")?;
    let said = host.shown(&id, "deferred")?;
    assert!(said.contains("STARTTLS"), "{said}");
    let testing = host.shown(&host.send("direct", "reader@testing.example")?, "delivered")?;
    assert!(testing.contains("without TLS"), "{testing}");
    host.say(&["queue", "cancel", &id])?;
    host.wait_for_empty_queue()
}

#[test]
fn a_restart_forgets_no_policy() -> Result<()> {
    let certificate = Certificate::for_names(&NAMES)?;
    let (zone, web) = (zone()?, PolicyServer::start(certificate.server()?, policy)?);
    let peer = Peer::start_with(Protection::StartTls(certificate.server()?), None)?;
    let mut host = start(&peer, &certificate, &zone, &web)?;
    let before = host.shown(&host.send("direct", "reader@enforced.example")?, "delivered")?;
    assert!(before.contains("(mta-sts)"), "{before}");
    host.terminate()?;

    // Whoever can hide the record, and stands in the place of the host, gets nothing.
    let zone = zone.without("_mta-sts.enforced.example");
    let stranger = Peer::start()?;
    host.configure(&configuration(&stranger, &zone, &web))?;
    host.launch()?;
    let id = host.send("direct", "reader@enforced.example")?;
    let said = host.shown(&id, "deferred")?;
    assert!(said.contains("STARTTLS"), "{said}");
    assert_eq!(stranger.count(), 0);
    host.say(&["queue", "cancel", &id])?;
    host.wait_for_empty_queue()
}
