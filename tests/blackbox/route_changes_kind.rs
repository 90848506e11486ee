//! A route that was a smart host goes by MX after a reload: what waited for the smart host goes the new way.

use std::net::Ipv4Addr;

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

#[test]
fn mail_for_a_dead_smart_host_is_delivered_by_mx() -> Result<()> {
    let zone = Zone::start()?.address_of("one.example", Ipv4Addr::LOCALHOST).address_of("other.example", Ipv4Addr::LOCALHOST);
    let peer = Peer::start()?;
    let port = peer.address().port();
    let rest = format!("{}[delivery]\nretry_first = \"500ms\"\n", login("out", "route = \"out\""));
    // Nobody listens there.
    let dead = format!("[routes.out]\nkind = \"smarthost\"\nhost = \"127.0.0.9\"\nport = {port}\ntls = \"none\"\n{rest}");
    let host = Host::start(&config(peer.address(), &dead), &[])?;
    Client::login(host.address("smtp none"), "out", PASSWORD)?.deliver(
        "sender@example.com",
        &["reader@one.example", "reader@other.example"],
        &message("a new way"),
    )?;
    wait_for("the deferral", || {
        let copies = host.json(&["queue", "list"]).ok()?;
        let copies = copies.as_array()?;
        (copies.len() == 2 && copies.iter().all(|copy| copy["attempts"].as_u64() >= Some(1))).then_some(())
    })?;
    let nameserver = zone.address();
    let mx = format!("[routes.out]\nkind = \"mx\"\nport = {port}\nnameservers = [\"{nameserver}\"]\nallow_private = true\n{rest}");
    host.configure(&config(peer.address(), &mx))?;
    host.signal("HUP")?;
    host.wait_for_log("reloaded")?;
    let mut to: Vec<_> = peer.wait(2)?.into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, ["reader@one.example", "reader@other.example"]);
    host.wait_for_empty_queue()
}
