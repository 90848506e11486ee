//! Plugins that run beside a chain, or for a part of the messages: counted, shown, and in nobody's way.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{get, request};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, PASSWORD_HASH, config, login};
use tubepost_tests::versioned;
use tubepost_tests::wait::wait_for;

const MESSAGES: u32 = 200;

#[test]
fn they_are_counted_and_shown_and_change_nothing_that_they_should_not() -> Result<()> {
    let peer = Peer::start()?;
    let more = format!(
        "[plugins.old]\nsource = \"old.wasm\"\n[plugins.new]\nsource = \"new.wasm\"\n[dashboard]\npassword = \"{PASSWORD_HASH}\"\n{}{}",
        login("shadowed", "route = \"peer\"\nchain = \"shadowed\""),
        login("shared", "route = \"peer\"\nchain = \"shared\""),
    );
    let chains = "[chains]\nshadowed = [ \"old\", { use = \"new\", shadow_of = \"old\" } ]\nshared = [ { use = \"new\", percent = 25 } ]\n";
    let text = config(peer.address(), &more).replace("[chains]\n", chains);
    let host = Host::start(&text, &[("old.wasm", &versioned::version(1)?), ("new.wasm", &versioned::version(2)?)])?;
    for login in ["shadowed", "shared"] {
        let mut client = Client::login(host.address("smtp none"), login, PASSWORD)?;
        for number in 0..MESSAGES {
            // The two builds differ in what they do to one kind only.
            let kind = if number.is_multiple_of(4) { "odd" } else { "even" };
            let kind = if login == "shared" { "odd" } else { kind };
            let text = format!("From: s@example.com\r\nSubject: {login} {number}\r\nX-Kind: {kind}\r\n\r\nHello.\r\n");
            client.deliver("s@example.com", &[&format!("{login}@example.net")], text.as_bytes())?;
        }
    }
    let taken = peer.wait(2 * MESSAGES as usize)?;
    let with = |login: &str, version: u32| {
        let of_login = taken.iter().filter(|mail| mail.to == [format!("{login}@example.net")]);
        of_login.filter(|mail| mail.header("X-Submit") == Some(versioned::name(version))).count()
    };
    assert_eq!((with("shadowed", 1), with("shadowed", 2)), (MESSAGES as usize / 4, 0));
    let in_part = with("shared", 2);
    assert!((20..90).contains(&in_part), "a quarter of {MESSAGES}: {in_part}");

    let http = host.address("http none");
    let expected = [
        format!("tubepost_plugin_shadow_total{{plugin=\"new\",login=\"shadowed\",result=\"same\"}} {}", MESSAGES * 3 / 4),
        format!("tubepost_plugin_shadow_total{{plugin=\"new\",login=\"shadowed\",result=\"different\"}} {}", MESSAGES / 4),
        format!("tubepost_plugin_share_total{{plugin=\"new\",login=\"shared\",taken=\"yes\"}} {in_part}"),
        format!("tubepost_plugin_share_total{{plugin=\"new\",login=\"shared\",taken=\"no\"}} {}", MESSAGES as usize - in_part),
    ];
    for line in expected {
        wait_for(&line, || get(http, "/metrics").ok()?.text().lines().any(|known| known == line).then_some(()))?;
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = request(http, "POST", "/dashboard/login", &form, format!("password={PASSWORD}").as_bytes())?;
    let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned();
    let page = request(http, "GET", "/dashboard/plugins", &[("Cookie", &cookie)], b"")?.text();
    for shown in
        ["shadow of old".to_owned(), "shared (25 %)".to_owned(), format!("{in_part} of {MESSAGES}"), "150 same, 50 different".to_owned()]
    {
        assert!(page.contains(&shown), "{shown:?} is missing in:\n{page}");
    }
    Ok(())
}
