//! Stored messages through a new build of a plugin, or another chain: exactly those are listed that would be different.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::versioned;
use tubepost_tests::wait::wait_for;

const MESSAGES: u32 = 1_000;

/// Every seventh message is of the kind that the plugin changes.
fn is_odd(number: u32) -> bool {
    number.is_multiple_of(7)
}

fn start() -> Result<Host> {
    let more =
        format!("[plugins.versioned]\nsource = \"versioned.wasm\"\n{}", login("versioned", "route = \"sandbox\"\nchain = \"versioned\""));
    let text = config("127.0.0.1:9".parse()?, &more).replace("[chains]\n", "[chains]\nempty = []\nversioned = [ \"versioned\" ]\n");
    Host::start(&text, &[("versioned.wasm", &versioned::version(1)?), ("new.wasm", &versioned::version(2)?)])
}

/// Runs a replay; returns its lines and its exit code.
fn replay(host: &Host, arguments: &[&str]) -> Result<(Vec<Value>, Option<i32>)> {
    let output = host.command(&[&["replay", "--json"], arguments].concat())?;
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    let lines = lines.with_context(|| format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((lines, output.status.code()))
}

#[test]
fn exactly_the_messages_that_would_differ_are_listed() -> Result<()> {
    let host = start()?;
    let mut odd = BTreeSet::new();
    let mut client = Client::login(host.address("smtp none"), "versioned", PASSWORD)?;
    for number in 0..MESSAGES {
        let kind = if is_odd(number) { "odd" } else { "even" };
        let attachment = if number.is_multiple_of(5) { "x".repeat(70) + "\r\n" } else { String::new() };
        let text = String::from_utf8(message(&format!("number {number}")))?
            .replace("\r\n\r\n", &format!("\r\nX-Kind: {kind}\r\n\r\n{}", attachment.repeat(100)));
        let to: &[&str] = if number.is_multiple_of(3) { &["a@example.net", "b@example.net"] } else { &["a@example.net"] };
        client.deliver("s@example.com", to, text.as_bytes())?;
        if is_odd(number) {
            odd.insert(format!("number {number}"));
        }
    }
    wait_for("the index", || (host.json(&["message", "search", "--limit", "1"]).ok()?["total"] == MESSAGES).then_some(()))?;
    let metrics = || -> Result<String> {
        let page = tubepost_tests::http::request(host.address("http none"), "GET", "/metrics", &[], b"")?.text();
        Ok(page.lines().filter(|line| line.contains("plugin_calls") || line.contains("messages_accepted")).collect::<Vec<_>>().join("\n"))
    };
    let before = metrics()?;

    let new = host.folder().join("new.wasm");
    let (lines, code) = replay(&host, &["--plugin", &format!("versioned={}", new.display()), "--diff"])?;
    let (last, listed) = lines.split_last().context("no answer")?;
    assert_eq!(last, &json!({ "messages": MESSAGES, "different": odd.len(), "skipped": 0 }));
    assert_eq!(code, Some(3));
    let subjects: BTreeSet<String> = listed.iter().map(|line| line["subject"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(subjects, odd);
    for line in listed {
        assert_eq!(line["different"], json!(["copies"]), "{line}");
        let difference = line["copies"][0]["difference"].as_str().unwrap_or_default();
        assert!(difference.contains("-X-Submit: version-0001") && difference.contains("+X-Submit: version-0002"), "{line}");
    }
    assert_eq!(metrics()?, before, "nothing was counted");

    // The same build makes no difference; a chain without the plugin makes the same one.
    let same = host.folder().join("versioned.wasm");
    let (lines, code) = replay(&host, &["--plugin", &format!("versioned={}", same.display()), "--limit", "50"])?;
    assert_eq!((lines, code), (vec![json!({ "messages": 50, "different": 0, "skipped": 0 })], Some(0)));
    let (lines, code) = replay(&host, &["--chain", "empty", "subject:7"])?;
    assert_eq!(code, Some(3));
    assert_eq!(lines.first().map(|line| &line["subject"]), Some(&json!("number 7")), "{lines:?}");

    // By id, and with another configuration.
    let id = lines[0]["message"].as_str().context("an id")?.to_owned();
    let text = std::fs::read_to_string(host.config_path())?.replace("versioned = [ \"versioned\" ]", "versioned = []");
    std::fs::write(host.folder().join("new.toml"), text)?;
    let other = host.folder().join("new.toml").display().to_string();
    let (lines, code) = replay(&host, &["--with-config", &other, "--id", &id])?;
    assert_eq!((lines.len(), &lines[0]["message"], code), (2, &json!(id), Some(3)));
    let output = host.command(&["replay", "--plugin", "versoned=x.wasm"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no plugin \"versoned\""), "{output:?}");
    Ok(())
}
