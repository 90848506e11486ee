//! Mail leaves from the addresses that the configuration says: by sender, by login, by share, by the plan of a day.

use std::net::Ipv4Addr;

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

/// Sources on loopback, all of which exists on Linux; the last is of nobody here (RFC 5737).
const SOURCES: &str = r#"
[sources.second]
address = "127.0.0.2"
hostname = "out2.example.com"
[sources.third]
address = "127.0.0.3"
[sources.absent]
address = "192.0.2.1"
"#;

fn start(peer: &Peer, more: &str) -> Result<Host> {
    let zone = Zone::start()?.address_of("far.example", Ipv4Addr::LOCALHOST).address_of("near.example", Ipv4Addr::LOCALHOST);
    let (port, nameserver) = (peer.address().port(), zone.address());
    let route = format!("[routes.direct]\nkind = \"mx\"\nport = {port}\nnameservers = [\"{nameserver}\"]\nallow_private = true\n");
    let logins = format!("{}{}", login("direct", "route = \"direct\""), login("other", "route = \"direct\""));
    Host::start(&config(peer.address(), &format!("{route}{logins}{SOURCES}{more}")), &[])
}

fn send(host: &Host, user: &str, from: &str, to: &str, subject: &str) -> Result<String> {
    Client::login(host.address("smtp none"), user, PASSWORD)?.deliver(from, &[to], &message(subject))
}

fn came(taken: &[Taken], from: &str) -> (String, String) {
    taken.iter().find(|mail| mail.from == from).map(|mail| (mail.client.to_string(), mail.helo.clone())).unwrap_or_default()
}

#[test]
fn f18_two_domains_leave_from_two_addresses() -> Result<()> {
    let peer = Peer::start()?;
    let rules = r#"
[[source_rules]]
sender = "two.example"
source = "second"
[[source_rules]]
sender = "three.example"
source = "third"
"#;
    let host = start(&peer, rules)?;
    let id = send(&host, "direct", "news@two.example", "reader@far.example", "two")?;
    send(&host, "direct", "news@three.example", "reader@far.example", "three")?;
    send(&host, "direct", "news@four.example", "reader@far.example", "four")?;
    // A smart host is reached from them too.
    send(&host, "plain", "smart@two.example", "reader@far.example", "smart")?;
    let taken = peer.wait(4)?;
    let expected = |address: &str, helo: &str| (address.to_owned(), helo.to_owned());
    assert_eq!(came(&taken, "news@two.example"), expected("127.0.0.2", "out2.example.com"));
    assert_eq!(came(&taken, "news@three.example"), expected("127.0.0.3", "mail.example.com"));
    assert_eq!(came(&taken, "news@four.example"), expected("127.0.0.1", "mail.example.com"));
    assert_eq!(came(&taken, "smart@two.example"), expected("127.0.0.2", "out2.example.com"));
    host.wait_for_empty_queue()?;
    let shown = host.say(&["message", "show", &id])?;
    assert!(shown.contains("(without TLS, from 127.0.0.2)"), "{shown}");
    Ok(())
}

#[test]
fn f18_a_login_has_its_own_address() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "[[source_rules]]\nlogin = \"other\"\nroute = \"direct\"\nsource = \"third\"\n")?;
    send(&host, "other", "news@two.example", "reader@far.example", "other")?;
    send(&host, "direct", "news@three.example", "reader@far.example", "direct")?;
    let taken = peer.wait(2)?;
    assert_eq!(
        (came(&taken, "news@two.example").0, came(&taken, "news@three.example").0),
        ("127.0.0.3".to_owned(), "127.0.0.1".to_owned())
    );
    host.wait_for_empty_queue()
}

#[test]
fn an_address_that_cannot_be_bound_is_passed_over_in_a_pool_and_else_a_deferral() -> Result<()> {
    let peer = Peer::start()?;
    let rules = r#"
[pools]
mixed = [{ source = "absent", weight = 1000000 }, { source = "second" }]
[[source_rules]]
sender = "pool.example"
source = "mixed"
[[source_rules]]
sender = "absent.example"
source = "absent"
"#;
    let host = start(&peer, rules)?;
    send(&host, "direct", "news@pool.example", "reader@far.example", "pool")?;
    assert_eq!(came(&peer.wait(1)?, "news@pool.example").0, "127.0.0.2");
    let id = send(&host, "direct", "news@absent.example", "reader@near.example", "absent")?;
    let shown = wait_for("the deferral", || {
        let shown = host.say(&["message", "show", &id]).ok()?;
        shown.contains("deferred").then_some(shown)
    })?;
    assert!(shown.contains("the address 192.0.2.1 of source \"absent\" cannot be used"), "{shown}");
    assert_eq!(peer.count(), 1);
    host.say(&["queue", "cancel", &id])?;
    host.wait_for_empty_queue()
}

#[test]
fn f17_the_surplus_of_the_day_leaves_from_another_address_or_waits() -> Result<()> {
    let peer = Peer::start()?;
    // The plan began long ago, so that today is one of its days.
    let plan = vec!["2"; 366].join(", ");
    let today = today()?;
    let start_day = date(today - 100);
    let rules = format!(
        r#"
[sources.fresh]
address = "127.0.0.4"
warm_up = {{ start = {start_day}, plan = [{plan}] }}
[sources.tender]
address = "127.0.0.5"
warm_up = {{ start = {start_day}, plan = [{plan}] }}
[pools]
mixed = [{{ source = "fresh", weight = 1000000 }}, {{ source = "third" }}]
[[source_rules]]
sender = "pool.example"
source = "mixed"
[[source_rules]]
sender = "alone.example"
source = "tender"
"#
    );
    let host = start(&peer, &rules)?;
    for number in 1..=4 {
        send(&host, "direct", "news@pool.example", "reader@far.example", &format!("pool {number}"))?;
        peer.wait(number)?;
    }
    let mut clients: Vec<String> = peer.taken().iter().map(|mail| mail.client.to_string()).collect();
    clients.sort();
    assert_eq!(clients, ["127.0.0.3", "127.0.0.3", "127.0.0.4", "127.0.0.4"]);

    let mut last = String::new();
    for number in 1..=3 {
        last = send(&host, "direct", "news@alone.example", "reader@near.example", &format!("alone {number}"))?;
        peer.wait(4 + number.min(2))?;
    }
    let shown = wait_for("the surplus waits", || {
        let shown = host.say(&["message", "show", &last]).ok()?;
        shown.contains("deferred").then_some(shown)
    })?;
    let expected = "the warm-up plan of source \"tender\" has 2 recipients for today, and 2 had their turn";
    assert!(shown.contains(expected) && shown.contains("T00:00:00"), "{shown}");
    assert_eq!(peer.count(), 6);
    host.say(&["queue", "cancel", &last])?;
    host.wait_for_empty_queue()
}

/// Days since 1970-01-01.
#[expect(clippy::disallowed_methods, reason = "the server that is tested has the clock of the system")]
fn today() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() / 86_400)
}

/// The date of a day since 1970-01-01, as TOML has it.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year + era * 400) } else { (month - 9, year + era * 400 + 1) };
    format!("{year:04}-{month:02}-{day:02}")
}
