//! The `mx` route: DNS says which hosts take the mail of a domain, in which order, or that none does.

use std::net::Ipv4Addr;

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Protection, Taken};
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Loopback, but no peer listens there.
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A server whose login `direct` sends by MX records of `zone`, to the port of `peer`.
fn start(zone: &Zone, peer: &Peer) -> Result<Host> {
    let (port, nameserver) = (peer.address().port(), zone.address());
    let route = format!("[routes.direct]\nkind = \"mx\"\nport = {port}\nnameservers = [\"{nameserver}\"]\nallow_private = true\n");
    Host::start(&config(peer.address(), &format!("{route}{}", login("direct", "route = \"direct\""))), &[])
}

fn send(host: &Host, to: &[&str], subject: &str) -> Result<String> {
    Client::login(host.address("smtp none"), "direct", PASSWORD)?.deliver("sender@origin.example", to, &message(subject))
}

#[test]
fn a_dead_host_is_passed_over_and_a_domain_without_mx_is_its_own_host() -> Result<()> {
    let zone = Zone::start()?
        .mx("two.example", 10, "first.two.example")
        .mx("two.example", 20, "second.two.example")
        .address_of("first.two.example", DEAD)
        .address_of("second.two.example", HERE)
        .address_of("bare.example", HERE);
    let peer = Peer::start()?;
    let host = start(&zone, &peer)?;
    let two = send(&host, &["reader@two.example"], "two hosts")?;
    let bare = send(&host, &["reader@bare.example"], "no mx")?;
    peer.wait(2)?;
    host.wait_for_empty_queue()?;
    for (id, name) in [(two, "second.two.example"), (bare, "bare.example")] {
        let shown = host.say(&["message", "show", &id])?;
        assert!(shown.contains("delivered") && shown.contains(name) && !shown.contains("deferred"), "{name}: {shown}");
    }
    Ok(())
}

#[test]
fn domains_that_take_no_mail_are_reported_to_the_sender() -> Result<()> {
    let zone = Zone::start()?.null_mx("null.example").address_of("origin.example", HERE);
    let peer = Peer::start()?;
    let host = start(&zone, &peer)?;
    for (recipient, status) in [("reader@null.example", "5.1.10"), ("reader@nowhere.example", "5.1.2")] {
        send(&host, &[recipient], status)?;
        let report = wait_for("the report", || peer.taken().into_iter().find(|mail| mail.text().contains(recipient)))?;
        assert_eq!((report.from.as_str(), report.to.as_slice()), ("", ["sender@origin.example".to_owned()].as_slice()));
        for expected in [format!("Final-Recipient: rfc822; {recipient}"), format!("Status: {status}"), "Action: failed".to_owned()] {
            assert!(report.text().contains(&expected), "{expected:?} is missing in:\n{}", report.text());
        }
    }
    assert_eq!(peer.count(), 2, "only reports were sent");
    host.wait_for_empty_queue()
}

#[test]
fn tls_is_used_where_it_is_offered_whatever_the_certificate() -> Result<()> {
    let zone = Zone::start()?.address_of("tls.example", HERE);
    // Nobody but this test knows the authority of this certificate: between mail servers that is usual (RFC 7435).
    let certificate = tubepost_tests::certificate::Certificate::new()?;
    let peer = Peer::start_with(Protection::StartTls(certificate.server()?), None)?;
    let host = start(&zone, &peer)?;
    send(&host, &["reader@tls.example"], "opportunistic")?;
    let taken = peer.wait(1)?.remove(0);
    assert!(taken.tls, "{:?}", peer.transcript());
    host.wait_for_empty_queue()
}

#[test]
fn recipients_of_one_domain_share_a_transaction() -> Result<()> {
    let zone = Zone::start()?.address_of("one.example", HERE).address_of("other.example", HERE);
    let peer = Peer::start()?;
    let host = start(&zone, &peer)?;
    send(&host, &["a@one.example", "x@other.example", "b@one.example", "c@one.example"], "shared")?;
    let mut recipients: Vec<Vec<String>> = peer.wait(2)?.into_iter().map(|Taken { to, .. }| to).collect();
    recipients.sort();
    assert_eq!(recipients, [vec!["a@one.example", "b@one.example", "c@one.example"], vec!["x@other.example"]]);
    host.wait_for_empty_queue()?;
    assert_eq!(peer.count(), 2);
    Ok(())
}

/// The acceptance of F2 in one: two hosts of which one is dead, STARTTLS where it is offered, no MX, null MX.
#[test]
fn f2_the_living_host_of_two_gets_the_mail_over_tls() -> Result<()> {
    let zone = Zone::start()?
        .mx("two.example", 10, "first.two.example")
        .mx("two.example", 20, "second.two.example")
        .address_of("first.two.example", DEAD)
        .address_of("second.two.example", HERE)
        .address_of("bare.example", HERE)
        .mx("literal.example", 10, "127.0.0.1")
        .null_mx("null.example");
    let certificate = tubepost_tests::certificate::Certificate::new()?;
    let peer = Peer::start_with(Protection::StartTls(certificate.server()?), None)?;
    let host = start(&zone, &peer)?;
    let two = send(&host, &["reader@two.example"], "two hosts")?;
    send(&host, &["reader@bare.example"], "no mx")?;
    let taken = peer.wait(2)?;
    assert!(taken.iter().all(|mail| mail.tls), "{:?}", peer.transcript());
    let shown = host.say(&["message", "show", &two])?;
    assert!(
        shown.contains("second.two.example") && shown.contains("TLS 1.3 TLS13") && shown.contains("(opportunistic), from 127.0.0.1"),
        "{shown}"
    );
    for (recipient, reason) in
        [("reader@null.example", "takes no mail (null MX)"), ("reader@literal.example", "name addresses in the place of hosts")]
    {
        let id = send(&host, &[recipient], "refused")?;
        let shown = wait_for("the bounce", || {
            let shown = host.say(&["message", "show", &id]).ok()?;
            shown.contains("bounced").then_some(shown)
        })?;
        assert!(shown.contains(reason), "{shown}");
    }
    Ok(())
}
