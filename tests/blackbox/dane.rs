//! DANE (RFC 7672): hosts whose own, signed records say which certificate they have; and what the operator asks for by himself.

use std::net::Ipv4Addr;

use anyhow::Result;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Protection};
use tubepost_tests::setup::{config, login};
use tubepost_tests::zone::Zone;

/// Mail for `domain` goes to a host whose name, and whose address, are signed.
fn signed(zone: Zone, domain: &str) -> Zone {
    let mx = format!("mx.{domain}");
    zone.mx(domain, 10, &mx).address_of(&mx, Ipv4Addr::LOCALHOST).signed(domain).signed(&mx)
}

fn start(peer: &Peer, zone: &Zone, more: &str) -> Result<Host> {
    let (port, nameserver) = (peer.address().port(), zone.address());
    let route = format!("[routes.direct]\nkind = \"mx\"\nport = {port}\nnameservers = [\"{nameserver}\"]\nallow_private = true\n");
    Host::start(&config(peer.address(), &format!("{route}{}{more}", login("direct", "route = \"direct\""))), &[])
}

#[test]
fn a_host_gets_mail_only_with_the_certificate_that_its_records_name() -> Result<()> {
    // Nobody has signed it, and its name is another: DANE-EE asks for neither.
    let certificate = Certificate::new()?;
    let peer = Peer::start_with(Protection::StartTls(certificate.server()?), None)?;
    let port = peer.address().port();
    let at = |domain: &str| format!("_{port}._tcp.mx.{domain}");
    let mut zone = Zone::start()?;
    for domain in ["good.example", "bad.example", "unsigned.example", "none.example", "forged.example"] {
        zone = signed(zone, domain);
    }
    let (good, bad) = (certificate.key_digest()?, [7; 32]);
    zone = zone.tlsa(&at("good.example"), &good).signed(&at("good.example")).tlsa(&at("bad.example"), &bad).signed(&at("bad.example"));
    zone = zone.tlsa(&at("unsigned.example"), &bad).broken(&at("forged.example"));
    // Without signed MX records anybody could have named the host.
    zone = zone.mx("insecure.example", 10, "mx.bad.example");
    let host = start(&peer, &zone, "")?;

    let said = host.shown(&host.send("direct", "reader@good.example")?, "delivered")?;
    assert!(said.contains("(dane)"), "{said}");
    for domain in ["unsigned.example", "none.example", "insecure.example"] {
        let said = host.shown(&host.send("direct", &format!("reader@{domain}"))?, "delivered")?;
        assert!(said.contains("(opportunistic)"), "{domain}: {said}");
    }
    let bad = host.send("direct", "reader@bad.example")?;
    let said = host.shown(&bad, "deferred")?;
    assert!(said.contains("TLS handshake failed"), "{said}");
    let forged = host.send("direct", "reader@forged.example")?;
    let said = host.shown(&forged, "deferred")?;
    assert!(said.contains("the TLSA records of mx.forged.example cannot be found out"), "{said}");
    assert_eq!(peer.count(), 4);
    for id in [bad, forged] {
        host.say(&["queue", "cancel", &id])?;
    }
    host.wait_for_empty_queue()
}

#[test]
fn a_host_with_records_gets_nothing_in_clear() -> Result<()> {
    let peer = Peer::start()?;
    let at = format!("_{}._tcp.mx.good.example", peer.address().port());
    let zone = signed(Zone::start()?, "good.example").tlsa(&at, &[7; 32]).signed(&at);
    let host = start(&peer, &zone, "")?;
    let id = host.send("direct", "reader@good.example")?;
    let said = host.shown(&id, "deferred")?;
    assert!(said.contains("STARTTLS"), "{said}");
    assert_eq!(peer.count(), 0);
    host.say(&["queue", "cancel", &id])?;
    host.wait_for_empty_queue()
}

#[test]
fn a_rule_says_the_least_that_is_done_for_a_domain() -> Result<()> {
    let certificate = Certificate::new()?;
    let peer = Peer::start_with(Protection::StartTls(certificate.server()?), None)?;
    let mut zone = Zone::start()?;
    for domain in ["clear.example", "encrypted.example", "verified.example", "dane.example", "other.example", "elsewhere.example"] {
        let mx = format!("mx.{domain}");
        zone = zone.mx(domain, 10, &mx).address_of(&mx, Ipv4Addr::LOCALHOST);
    }
    let rules = r#"
[[tls_rules]]
name = "old-machine"
domains = ["clear.example"]
tls = "none"
[[tls_rules]]
name = "partner"
domains = ["encrypted.example"]
tls = "encrypted"
hosts = ["*.encrypted.example"]
[[tls_rules]]
name = "elsewhere"
domains = ["elsewhere.example"]
tls = "encrypted"
hosts = ["mx.encrypted.example"]
[[tls_rules]]
name = "bank"
domains = ["verified.example"]
tls = "required"
[[tls_rules]]
name = "signed"
domains = ["dane.example"]
tls = "dane"
"#;
    let host = start(&peer, &zone, rules)?;
    for (domain, word) in [("clear", "without TLS"), ("encrypted", "(encrypted)"), ("other", "(opportunistic)")] {
        let said = host.shown(&host.send("direct", &format!("reader@{domain}.example"))?, "delivered")?;
        assert!(said.contains(word), "{domain}: {said}");
    }
    for (domain, word) in [
        ("verified", "TLS handshake failed"),
        ("dane", "the configuration asks for DANE"),
        ("elsewhere", "the TLS rule \"elsewhere\" does not name this host"),
    ] {
        let id = host.send("direct", &format!("reader@{domain}.example"))?;
        let said = host.shown(&id, "deferred")?;
        assert!(said.contains(word) || said.contains("certification authorities"), "{domain}: {said}");
        host.say(&["queue", "cancel", &id])?;
    }
    assert_eq!(peer.count(), 3);
    host.wait_for_empty_queue()
}

#[test]
fn a_smart_host_may_have_to_be_vouched_for() -> Result<()> {
    // Nobody has signed the certificate: an authority could not vouch for it.
    let certificate = Certificate::new()?;
    let peer = Peer::start_with(Protection::StartTls(certificate.server()?), None)?;
    let port = peer.address().port();
    let at = |host: &str| format!("_{port}._tcp.{host}");
    let (good, bad) = (certificate.key_digest()?, [7; 32]);
    let mut zone = Zone::start()?;
    for host in ["good.example", "bad.example", "none.example"] {
        zone = zone.address_of(host, Ipv4Addr::LOCALHOST).signed(host);
    }
    zone = zone.tlsa(&at("good.example"), &good).signed(&at("good.example")).tlsa(&at("bad.example"), &bad).signed(&at("bad.example"));
    let routes = ["good", "bad", "none"].map(|name| {
        let route = format!("[routes.{name}]\nkind = \"smarthost\"\nhost = \"{name}.example\"\nport = {port}\ntls = \"dane\"\n");
        route + &login(name, &format!("route = \"{name}\""))
    });
    let text = config(peer.address(), &routes.concat());
    let text = text.replacen("[server]\n", &format!("[server]\nnameservers = [\"{}\"]\n", zone.address()), 1);
    let host = Host::start(&text, &[])?;
    let said = host.shown(&host.send("good", "reader@b.example")?, "delivered")?;
    assert!(said.contains("(dane)"), "{said}");
    for (name, word) in [("bad", "TLS handshake failed"), ("none", "the configuration asks for DANE")] {
        let id = host.send(name, "reader@b.example")?;
        let said = host.shown(&id, "deferred")?;
        assert!(said.contains(word), "{name}: {said}");
        host.say(&["queue", "cancel", &id])?;
    }
    assert_eq!(peer.count(), 1);
    host.wait_for_empty_queue()
}
