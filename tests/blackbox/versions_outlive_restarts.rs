//! A message that waits is finished by the version of a plugin that took it, and its trace shows that one: over a replacement and a crash.

use anyhow::{Context as _, Result};
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, login};
use tubepost_tests::versioned;
use tubepost_tests::wait::wait_for;

const MESSAGE: &[u8] = b"From: s@example.com\r\nSubject: kept\r\nX-Kind: odd\r\nX-Copies: yes\r\n\r\nHello.\r\n";

#[test]
fn a_copy_and_a_trace_are_made_by_the_version_of_then() -> Result<()> {
    let peer = Peer::start()?;
    let more =
        format!("[plugins.versioned]\nsource = \"versioned.wasm\"\n{}", login("versioned", "route = \"peer\"\nchain = \"versioned\""));
    let text = config(peer.address(), &more).replace("[chains]\n", "[chains]\nversioned = [ \"versioned\" ]\n");
    let (one, two) = (versioned::version(1)?, versioned::version(2)?);
    let mut host = Host::start(&text, &[("versioned.wasm", &one)])?;
    peer.refuse_next("ben@example.net", "451 4.7.1 later");
    let mut client = Client::login(host.address("smtp none"), "versioned", PASSWORD)?;
    client.deliver("s@example.com", &["ann@example.net", "ben@example.net"], MESSAGE)?;
    wait_for("the deferral", || {
        let copies = host.json(&["queue", "list"]).ok()?;
        (copies.as_array()?.iter().map(|copy| &copy["attempts"]).eq([&json!(1)])).then_some(())
    })?;

    host.kill()?;
    std::fs::write(host.folder().join("versioned.wasm"), &two)?;
    host.launch()?;
    host.say(&["queue", "retry", "all"])?;
    for mail in peer.wait(2)? {
        assert_eq!(
            (mail.header("X-Submit"), mail.header("X-Copy")),
            (Some(versioned::name(1)), Some(versioned::name(1))),
            "{}",
            mail.text()
        );
    }
    // What comes now is the new one's.
    Client::login(host.address("smtp none"), "versioned", PASSWORD)?.deliver("s@example.com", &["cid@example.net"], MESSAGE)?;
    let taken = peer.wait(3)?;
    assert_eq!(taken.last().and_then(|mail| mail.header("X-Submit")), Some(versioned::name(2)));

    wait_for("the index", || (host.json(&["message", "search"]).ok()?["total"] == 2).then_some(()))?;
    let found = host.json(&["message", "search"])?;
    let messages = found["messages"].as_array().context("messages")?;
    for (message, (component, number)) in messages.iter().zip([(&two, 2), (&one, 1)]) {
        let id = message["message"].as_str().unwrap_or_default();
        let trace = host.json(&["message", "trace", id])?;
        assert_eq!(trace["steps"][0]["digest"], json!(versioned::digest(component)[..12]), "{trace}");
        assert!(trace["copies"][0]["content"].as_str().is_some_and(|content| content.contains(&versioned::name(number))), "{trace}");
        assert_eq!(trace["notes"], json!(null), "{trace}");
    }
    let folder = host.folder().join("data/plugins");
    assert!(
        folder.join(format!("{}.wasm", versioned::digest(&one))).exists()
            && folder.join(format!("{}.wasm", versioned::digest(&two))).exists()
    );
    // Where it is gone, the trace says so.
    std::fs::remove_file(folder.join(format!("{}.wasm", versioned::digest(&one))))?;
    host.kill()?;
    host.launch()?;
    let id = messages[1]["message"].as_str().unwrap_or_default();
    let trace = host.say(&["message", "trace", id])?;
    assert!(trace.contains("note: the version of versioned that had the message is not kept any more"), "{trace}");
    Ok(())
}
