//! `tubepost explain`: why mail to somebody goes as it does.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::request;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

const MORE: &str = r#"
[[shaping]]
name = "careful"
mx = ["*.provider.example"]
connections = 3
rate = "600/m"

[sources.second]
address = "127.0.0.2"

[[source_rules]]
login = "direct"
source = "second"
"#;

fn start(peer: &Peer) -> Result<Host> {
    let here = Ipv4Addr::LOCALHOST;
    let zone = Zone::start()?.mx("far.example", 20, "mx2.provider.example").mx("far.example", 10, "mx1.provider.example");
    let zone = zone.address_of("mx1.provider.example", here).address_of("mx2.provider.example", here).null_mx("null.example");
    let (port, nameserver) = (peer.address().port(), zone.address());
    let route =
        format!("[routes.direct]\nkind = \"mx\"\nport = {port}\nnameservers = [\"{nameserver}\"]\nallow_private = true\nmta_sts = false\n");
    let administrator = format!("[[administrators]]\nname = \"root\"\ntoken = \"{SECOND_TOKEN_HASH}\"\n");
    let late = "[delivery]\nretry_first = \"1h\"\n";
    let login = login("direct", "route = \"direct\"");
    Host::start(&config(peer.address(), &format!("{late}{route}{login}{administrator}{MORE}")), &[])
}

fn explained(host: &Host, target: &str, token: &str) -> Result<(u16, Value)> {
    let bearer = format!("Bearer {token}");
    let response = request(host.address("http none"), "GET", target, &[("Authorization", bearer.as_str())], b"")?;
    Ok((response.status, response.json()?))
}

#[test]
fn what_holds_for_a_recipient_is_explained() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    peer.refuse_next("late@far.example", "451 4.2.1 mailbox is busy");
    let mut client = Client::login(host.address("smtp none"), "direct", PASSWORD)?;
    client.deliver("sender@example.com", &["fine@far.example"], &message("fine"))?;
    client.deliver("sender@example.com", &["late@far.example"], &message("late"))?;
    host.say(&["queue", "pause", "--domain", "far.example", "--tag", "spring", "--reason", "too early"])?;
    host.say(&["suppression", "add", "gone@far.example", "--reason", "asked us"])?;
    let said = wait_for("both outcomes to be known", || {
        let said = host.say(&["explain", "any@far.example", "--login", "direct"]).ok()?;
        (said.contains("delivered, attempts: 1") && said.contains("deferred, attempts: 1")).then_some(said)
    })?;
    for expected in [
        "route direct (logins: direct)",
        "direct/far.example#second",
        "mx1.provider.example (TLS opportunistic)",
        "second 127.0.0.2 (weight 1)",
        "rule careful, shared by careful",
        "of 3",
        "600 in a minute",
        "number 1: domain far.example, tag spring, by the command line, until it is resumed: too early",
        "1: deferred 1",
        "451 4.2.1 mailbox is busy",
        "fine@far.example",
    ] {
        assert!(said.contains(expected), "{expected:?} is missing in\n{said}");
    }
    let found = host.json(&["explain", "gone@far.example", "--login", "direct"])?;
    let way = &found["ways"][0];
    assert_eq!(way["suppressed"]["reason"], "asked us", "{found}");
    let hosts: Vec<_> = way["destination"]["hosts"].as_array().unwrap().iter().map(|host| host["name"].clone()).collect();
    assert_eq!(hosts, ["mx1.provider.example", "mx2.provider.example"], "{found}");
    assert!(way["waiting"]["next"].is_u64() && way["waiting"]["cut"] == false, "{found}");
    assert_eq!(found["recent"].as_array().unwrap().len(), 2, "{found}");

    // Without a login, every way that there is.
    let said = host.say(&["explain", "x@null.example"])?;
    for expected in ["route direct", "route peer (logins: marketing, plain)", "takes no mail (null MX)", "no mail to the domain is known"] {
        assert!(said.contains(expected), "{expected:?} is missing in\n{said}");
    }
    assert!(!host.command(&["explain", "x@null.example", "--login", "nobody"])?.status.success());
    assert!(!host.command(&["explain", "no address"])?.status.success());

    // A login hears of its own mail alone.
    let (status, found) = explained(&host, "/v1/explain?address=any%40far.example", TOKEN)?;
    assert_eq!((status, &found["ways"][0]["logins"], &found["recent"]), (200, &json!(["plain"]), &json!([])), "{found}");
    let (_, found) = explained(&host, "/v1/explain?address=any%40far.example&login=direct", SECOND_TOKEN)?;
    assert_eq!(found["recent"].as_array().unwrap().len(), 2, "{found}");
    for (target, token, expected) in [
        ("/v1/explain?address=any%40far.example&login=direct", TOKEN, 400),
        ("/v1/explain?address=any%40far.example&login=nobody", SECOND_TOKEN, 400),
        ("/v1/explain?address=any", SECOND_TOKEN, 400),
        ("/v1/explain", SECOND_TOKEN, 400),
        ("/v1/explain?address=any%40far.example", "wrong", 401),
    ] {
        assert_eq!(explained(&host, target, token)?.0, expected, "{target}");
    }
    host.say(&["queue", "cancel", "all"])?;
    Ok(())
}
