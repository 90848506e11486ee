//! Plugins of the binary that no chain uses take no memory, but mail that was taken while a chain used them still finds them.

use anyhow::Result;
use serde_json::json;
use tubepost_tests::host::Host;
use tubepost_tests::http::{get, post_json};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{TOKEN, TOKEN_HASH, config, login};
use tubepost_tests::wait::wait_for;

#[test]
fn queued_mail_is_rendered_by_plugins_that_no_chain_uses_any_more() -> Result<()> {
    let peer = Peer::start()?;
    let personal = login("personal", &format!("route = \"peer\"\nchain = \"marketing\"\ntoken = \"{TOKEN_HASH}\""));
    let with_chain = config(peer.address(), &personal).replacen(&format!("token = \"{TOKEN_HASH}\"\n"), "", 1);
    let mut host = Host::start(&with_chain, &[])?;
    peer.refuse_next("ben@example.net", "451 4.7.1 greylisted");
    let call = json!({
        // What one recipient alone gets is rendered before the answer.
        "recipients": { "ann@example.net": { "name": "Ann", "items": [] }, "ben@example.net": { "name": "Ben", "items": ["tulips", "roses"] } },
        "from": "news@example.com", "subject": "For {$name}", "text": "Dear {$name}{foreach $items as $item} {$item}{/foreach}.",
    });
    let response = post_json(host.address("http none"), &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
    assert!((200..=202).contains(&response.status), "{}", response.text());
    wait_for("the deferral", || {
        let copies = host.json(&["queue", "list"]).ok()?;
        copies.as_array()?.iter().map(|copy| &copy["attempts"]).eq([&json!(1)]).then_some(())
    })?;

    assert_eq!(host.terminate()?, Some(0), "{}", host.log());
    let start = with_chain.find("marketing = [").unwrap();
    let end = start + with_chain[start..].find("\n]").unwrap() + 2;
    host.configure(&format!("{}marketing = []{}", &with_chain[..start], &with_chain[end..]))?;
    host.launch()?;
    let loaded = |host: &Host| -> Result<bool> { Ok(get(host.address("http none"), "/metrics")?.text().contains("plugin=\"template\"")) };
    assert!(!loaded(&host)?, "nothing needs it yet");
    host.say(&["queue", "retry", "all"])?;
    let taken = peer.wait(2)?;
    let late = taken.iter().find(|mail| mail.to == ["ben@example.net"]).unwrap();
    assert_eq!(late.header("Subject").as_deref(), Some("For Ben"));
    assert!(late.text().contains("Dear Ben tulips roses."), "{}", late.text());
    assert!(loaded(&host)?);
    Ok(())
}
