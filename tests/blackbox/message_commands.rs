//! `send`, `message` and `queue`: what an operator hands over, finds and steers.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};
use tubepost_tests::wait::wait_for;

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");
const PLUGINS: [&str; 5] = ["tags", "template", "inline-css", "tracking", "list-unsubscribe"];

#[test]
fn send_delivers_a_file_through_a_chain_and_a_dry_run_shows_it_first() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[("letter.eml", NEWSLETTER)])?;
    let file = host.folder().join("letter.eml").display().to_string();
    let shown = host.say(&["send", "--login", "marketing", "--dry-run", &file])?;
    for plugin in PLUGINS {
        assert!(shown.lines().any(|line| line.starts_with(plugin)), "{plugin} is not in the table:\n{shown}");
    }
    for expected in ["-X-OMS-Tags: spring, big sale", "+List-Unsubscribe: ", "style=\"color: #336699", "to <ann@example.net>: "] {
        assert!(shown.contains(expected), "{expected:?} is missing in:\n{shown}");
    }
    let trace = host.json(&["send", "--login", "marketing", "--dry-run", "--to", "one@example.net", "--to", "two@example.net", &file])?;
    assert_eq!(trace["copies"].as_array().map(Vec::len), Some(2), "{trace}");
    let content = trace["copies"][0]["content"].as_str().unwrap_or_default();
    assert!(content.contains("http://links.example.com/t/"), "the copy is shown as it would be sent:\n{content}");
    assert_eq!(host.json(&["message", "search"])?["total"], 0, "nothing was kept");
    assert_eq!(peer.count(), 0, "nothing was sent");

    let said = host.say(&["send", "--login", "marketing", &file])?;
    let id = said.trim().strip_prefix("queued as ").unwrap_or_default();
    assert_eq!(id.len(), 26, "{said}");
    let taken = peer.wait(1)?.remove(0);
    assert_eq!((taken.from.as_str(), taken.to.as_slice()), ("news@example.com", ["ann@example.net".to_owned()].as_slice()));
    assert!(taken.text().contains("http://links.example.com/t/"), "{}", taken.text());

    let trace = host.say(&["message", "trace", id])?;
    for expected in PLUGINS.iter().copied().chain(["-X-OMS-Tags: spring, big sale", "style=\"color: #336699"]) {
        assert!(trace.contains(expected), "{expected:?} is missing in:\n{trace}");
    }
    let refused = host.command(&["send", "--login", "nobody", &file])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nobody"));
    assert_eq!(peer.count(), 1);
    Ok(())
}

#[test]
fn messages_are_found_by_words_and_fields() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    peer.refuse_next("gone@example.net", "550 5.1.1 no such user");
    let smtp = host.address("smtp none");
    let letter = Client::login(smtp, "marketing", PASSWORD)?.deliver("news@example.com", &["ann@example.net"], NEWSLETTER)?;
    let mut client = Client::login(smtp, "plain", PASSWORD)?;
    let hello = client.deliver("s@example.com", &["bob@example.net"], &message("A quarterly report"))?;
    let bounced = client.deliver("s@example.com", &["gone@example.net"], &message("To nobody"))?;

    let found = |query: &str| -> Option<Vec<String>> {
        let found = host.json(&["message", "search", query]).ok()?;
        let ids = found["messages"].as_array()?.iter().map(|message| message["message"].as_str().unwrap_or_default().to_owned());
        Some(ids.collect())
    };
    for (query, expected) in [
        ("quarterly", &hello),
        ("subject:spring", &letter),
        // A word of the text, in the HTML part alone.
        ("shop -quarterly", &letter),
        ("tag:spring", &letter),
        ("to:bob@example.net", &hello),
        ("ann@example.net", &letter),
        ("login:marketing", &letter),
        ("state:bounced", &bounced),
        ("state:delivered login:marketing", &letter),
        (&format!("id:{hello}"), &hello),
    ] {
        wait_for(&format!("{query:?} to find {expected}"), || (found(query)? == [expected.clone()]).then_some(()))?;
    }
    assert_eq!(found("state:delivered quarterly ann@example.net"), Some(Vec::new()), "all words must fit");
    let table = host.say(&["message", "search", "login:marketing"])?;
    assert!(table.contains(&letter) && table.contains("The spring letter") && table.contains("1 of 1"), "{table}");
    let output = host.command(&["message", "search", "colour:red"])?;
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("colour"), "an unknown field is named");

    // The index is made again from the log.
    let mut host = host;
    assert_eq!(host.terminate()?, Some(0));
    std::fs::remove_dir_all(host.folder().join("data/index"))?;
    host.launch()?;
    wait_for("the index to be built again", || {
        let found = host.json(&["message", "search", "quarterly"]).ok()?;
        (found["messages"][0]["message"] == *hello).then_some(())
    })
}

#[test]
fn a_deferred_copy_is_listed_shown_retried_and_cancelled() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    for recipient in ["later@example.net", "never@example.net"] {
        peer.refuse_next(recipient, "451 4.7.1 not now");
    }
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    let id = client.deliver("s@example.com", &["later@example.net", "never@example.net"], &message("queued"))?;
    let copies = wait_for("two deferred copies", || {
        let copies = host.json(&["queue", "list"]).ok()?;
        let deferred = copies.as_array()?.iter().filter(|copy| copy["attempts"] == 1).count();
        (deferred == 2).then_some(copies)
    })?;
    for copy in copies.as_array().unwrap() {
        assert_eq!((&copy["queue"], &copy["login"], &copy["subject"]), (&"peer".into(), &"plain".into(), &"queued".into()));
        assert!(copy["last"].as_str().is_some_and(|reason| reason.contains("not now")) && copy["due"].is_u64(), "{copy}");
    }
    let table = host.say(&["queue", "list"])?;
    assert!(table.contains("later@example.net") && table.contains("not now"), "{table}");
    assert_eq!(host.json(&["queue", "show", &id])?.as_array().map(Vec::len), Some(2));

    let copy_of = |address: &str| {
        let copy = copies.as_array().unwrap().iter().find(|copy| copy["recipient"] == address);
        copy.and_then(|copy| copy["id"].as_str()).unwrap_or_default().to_owned()
    };
    let never = copy_of("never@example.net");
    assert_eq!(never, format!("{id}-2"), "the second copy has a name of its own");
    assert_eq!(host.say(&["queue", "cancel", &never])?.trim(), "1 copy cancelled");
    assert_eq!(host.say(&["queue", "retry", &id])?.trim(), "1 copy due now");
    let taken = peer.wait(1)?;
    assert_eq!(taken[0].to, ["later@example.net"]);
    host.wait_for_empty_queue()?;
    let shown = host.say(&["message", "show", &id])?;
    for event in ["accepted", "deferred", "cancelled", "delivered"] {
        assert!(shown.contains(event), "{event} is missing in:\n{shown}");
    }
    assert_eq!(peer.count(), 1, "who was cancelled gets nothing");
    Ok(())
}
