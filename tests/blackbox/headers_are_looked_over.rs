//! What the header of a submission may not do: name others than the login may be, show hidden recipients, mean one thing to us and another to a reader.

use anyhow::Result;
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::post_json;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, TOKEN_HASH, config, login};
use tubepost_tests::wait::wait_for;

/// A server with a login that is somebody at example.com and has plugins, and its token.
fn start(peer: &Peer) -> Result<Host> {
    let keys = format!("route = \"peer\"\ntoken = \"{TOKEN_HASH}\"\nsenders = [\"*@example.com\"]\nchain = \"marketing\"");
    let text = config(peer.address(), &login("limited", &keys));
    Host::start(&text.replacen(&format!("token = \"{TOKEN_HASH}\"\n"), "", 1), &[])
}

fn submit(host: &Host, login: &str, message: &str) -> Result<String> {
    let mut client = Client::login(host.address("smtp none"), login, PASSWORD)?;
    let reply = client.submit("me@example.com", &["r@example.net"], message.as_bytes())?;
    Ok(format!("{} {}", reply.code, reply.text()))
}

#[test]
fn from_is_the_logins_own_whatever_is_put_into_it() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    for header in [
        "From: \"a{if 0}\" <ok@example.com> ( {/if}\" <ceo@victim.example>{if 0} ){/if}",
        "From: \"CEO\" <ceo@victim.example>: <me@example.com>;",
        "From: ceo@victim.example: me@example.com;",
        "From: ok@example.com\r\njunk\r\n \r\nFrom: ceo@victim.example",
        "From: ok@example.com\r\nFrom: ceo@victim.example",
    ] {
        let reply = submit(&host, "limited", &format!("{header}\r\nSubject: forged\r\n\r\nx\r\n"))?;
        assert!(reply.starts_with("550 "), "{header}: {reply}");
    }
    let call = |from: &str, data: serde_json::Value| {
        let recipients = json!({ "r@example.net": data.clone(), "s@example.net": data });
        let call = json!({ "recipients": recipients, "data": { "shop": "x" }, "from": from, "subject": "x", "text": "x" });
        post_json(host.address("http none"), &format!("/v1/send?access_token={TOKEN}"), &[], &call)
    };
    let response = call("{$f} <ok@example.com>", json!({ "f": "CEO <ceo@victim.example>," }))?;
    assert_eq!(response.status / 100, 2, "{}", response.text());
    let response = call("{$f} <ok@example.com>", json!({ "f": "Ann \"Jo\" B" }))?;
    assert_eq!(response.status / 100, 2, "{}", response.text());
    let reply = submit(&host, "limited", "From: \"john doe\"@example.com\r\nSubject: fine\r\n\r\nx\r\n")?;
    assert!(reply.starts_with("250 "), "{reply}");
    let taken = peer.wait(5)?;
    let from: Vec<String> = taken.iter().filter_map(|mail| mail.header("From")).collect();
    let count = |value: &str| from.iter().filter(|from| *from == value).count();
    assert_eq!(count("\"CEO <ceo@victim.example>,\" <ok@example.com>"), 2, "{from:?}");
    assert_eq!(count("\"Ann \\\"Jo\\\" B\" <ok@example.com>"), 2, "{from:?}");
    Ok(())
}

#[test]
fn hidden_recipients_and_switches_reach_nobody() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    let message = "From someone Sat Nov 21 10:00:00 2026\r\nFrom: me@example.com\r\nTo: r@example.net\r\nBcc: hidden@example.net,\r\n more@example.net\r\n\
                   Return-Path: <x@example.com>\r\nX-SMTPeter-TrackClicks: true\r\nSubject: fine\r\n\r\nBcc: this is text\r\n";
    for login in ["plain", "limited"] {
        let reply = submit(&host, login, message)?;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    std::fs::write(host.folder().join("letter.eml"), message)?;
    host.say(&["send", "--login", "plain", &host.folder().join("letter.eml").display().to_string()])?;
    let taken = wait_for("all mail", || {
        let taken = peer.taken();
        (taken.iter().map(|mail| mail.to.len()).sum::<usize>() == 5).then_some(taken)
    })?;
    assert!(taken.iter().any(|mail| mail.to.contains(&"more@example.net".to_owned())), "{taken:?}");
    for mail in &taken {
        let text = mail.text();
        let header = text.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
        for hidden in ["bcc:", "return-path", "x-smtpeter", "hidden@", "more@", "from someone"] {
            assert!(!header.contains(hidden), "{hidden}: {text}");
        }
        assert!(text.contains("Bcc: this is text"), "{text}");
    }
    Ok(())
}

#[test]
fn a_header_has_a_size_and_costs_no_time() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    let with = |words: usize| format!("From:{} <me@example.com>\r\n\r\nx\r\n", " =?aa?Q?\r\n".repeat(words));
    // What took longer by the square would be minutes, for which the client does not wait.
    let reply = submit(&host, "limited", &with(24_000))?;
    assert!(reply.starts_with("250 "), "{reply}");
    let reply = submit(&host, "limited", &with(30_000))?;
    assert!(reply.starts_with("552 ") && reply.contains("5.3.4"), "{reply}");
    peer.wait(1)?;
    Ok(())
}
