//! What differs by recipient: templates are rendered for each, links are slots in one rewrite; a retry sends the same octets.

use anyhow::Result;
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::post_json;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, TOKEN, TOKEN_HASH, config, login};
use tubepost_tests::wait::wait_for;

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");

/// A server whose token is that of a login with all plugins.
fn start(peer: &Peer) -> Result<Host> {
    let personal = login("personal", &format!("route = \"peer\"\nchain = \"marketing\"\ntoken = \"{TOKEN_HASH}\""));
    Host::start(&config(peer.address(), &personal).replacen(&format!("token = \"{TOKEN_HASH}\"\n"), "", 1), &[])
}

/// Who got which mail.
fn of<'a>(taken: &'a [Taken], address: &str) -> &'a Taken {
    taken.iter().find(|mail| mail.to == [address]).unwrap_or_else(|| panic!("nothing for {address} in {taken:?}"))
}

#[test]
fn each_recipient_gets_a_text_of_his_own_and_the_same_again_after_a_deferral_and_a_crash() -> Result<()> {
    let peer = Peer::start()?;
    let mut host = start(&peer)?;
    peer.refuse_next("ben@example.net", "451 4.7.1 greylisted");
    let call = json!({
        "recipients": {
            "ann@example.net": { "name": "Ann", "items": ["tulips", "roses"] },
            "ben@example.net": { "name": "Ben", "items": [] },
        },
        "from": "news@example.com", "subject": "For {$name}",
        "text": "Dear {$name},{foreach $items as $item} {$item}{foreachelse} nothing{/foreach}.",
        "html": "<p style=\"color:red\">Dear {$name} <a href=\"https://shop.example.com/{$name}\">shop</a></p>",
    });
    let response = post_json(host.address("http none"), &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
    assert!((200..=202).contains(&response.status), "{}", response.text());
    let ids = response.json()?;
    let id = ids.as_object().and_then(|ids| ids.keys().next()).map(|id| id.chars().take(26).collect::<String>()).unwrap_or_default();

    wait_for("the deferral", || {
        let copies = host.json(&["queue", "list"]).ok()?;
        (copies.as_array()?.iter().map(|copy| &copy["attempts"]).eq([&json!(1)])).then_some(())
    })?;
    let before = host.json(&["message", "trace", &id])?;
    host.kill()?;
    host.launch()?;
    assert_eq!(host.say(&["queue", "retry", &id])?.trim(), "1 copy due now");

    let taken = peer.wait(2)?;
    for (address, name, text) in [("ann@example.net", "Ann", "Dear Ann, tulips roses."), ("ben@example.net", "Ben", "Dear Ben, nothing.")] {
        let mail = of(&taken, address);
        assert_eq!(mail.header("Subject"), Some(format!("For {name}")));
        assert!(mail.text().contains(text) && !mail.text().contains("{$"), "{}", mail.text());
    }
    // The first attempt for Ann and the second for Ben: as the chain renders them, to the octet, before the crash and after it.
    for trace in [before, host.json(&["message", "trace", &id])?] {
        for copy in trace["copies"].as_array().unwrap() {
            let address = copy["address"].as_str().unwrap_or_default();
            assert_eq!(copy["content"].as_str(), Some(of(&taken, address).text().as_str()), "{address}");
        }
    }
    // What happened before the crash is indexed again behind it.
    wait_for("the first attempt in the history", || host.say(&["message", "show", &id]).ok()?.contains("greylisted").then_some(()))
}

#[test]
fn a_broken_template_is_an_answer_and_not_a_bounce() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    let call = json!({
        "recipients": { "ann@example.net": { "name": "Ann" } }, "from": "news@example.com", "subject": "Broken",
        "text": "Dear {if $name}{$name}",
    });
    let response = post_json(host.address("http none"), &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
    assert!((400..500).contains(&response.status), "{} {}", response.status, response.text());
    assert_eq!(host.json(&["queue", "list"])?, json!([]));
    assert_eq!(peer.count(), 0);
    Ok(())
}

#[test]
fn links_of_a_tracked_mail_differ_and_its_html_is_rewritten_once() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    let recipients = ["one@example.net", "two@example.net", "three@example.net"];
    let id = Client::login(host.address("smtp none"), "marketing", PASSWORD)?.deliver("news@example.com", &recipients, NEWSLETTER)?;
    let taken = peer.wait(3)?;
    let link = |mail: &Taken, kind: &str| {
        let text = mail.text().replace("=\r\n", "");
        let rest = text.split(&format!("http://links.example.com/{kind}/")).nth(1).unwrap_or_default().to_owned();
        rest.split(['"', '>', '\r']).next().unwrap_or_default().to_owned()
    };
    for kind in ["t", "u"] {
        let links: std::collections::BTreeSet<String> = recipients.iter().map(|address| link(of(&taken, address), kind)).collect();
        assert_eq!(links.len(), 3, "{kind}: {links:?}");
        assert!(!links.contains(""));
    }
    let accepted = wait_for("the event", || {
        let message = host.json(&["message", "show", &id]).ok()?;
        message["events"].as_array()?.iter().find(|event| event["event"] == "accepted").cloned()
    })?;
    let runs: Vec<(&str, &str)> =
        accepted["plugins"].as_array().unwrap().iter().map(|run| (text(run, "plugin"), text(run, "stage"))).collect();
    for plugin in ["inline-css", "tracking", "list-unsubscribe"] {
        let of_plugin: Vec<_> = runs.iter().filter(|(name, _)| *name == plugin).collect();
        assert_eq!(of_plugin, [&(plugin, "submit")], "{runs:?}");
    }
    let trace = host.json(&["message", "trace", &id])?;
    assert!(trace["copies"].as_array().unwrap().iter().all(|copy| copy["steps"] == json!([])), "no plugin runs for a recipient: {trace}");
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
