//! What a login may not: send as others, to too many, too much, too often. SMTP and REST say so in their own words.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::post_json;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, TOKEN_HASH, config, login, message};

/// A server whose login `limited` has these keys, and the token.
fn start(peer: &Peer, keys: &str) -> Result<Host> {
    let limited = login("limited", &format!("route = \"peer\"\ntoken = \"{TOKEN_HASH}\"\n{keys}"));
    let text = config(peer.address(), &limited).replacen(&format!("token = \"{TOKEN_HASH}\"\n"), "", 1);
    Host::start(&text, &[])
}

fn post(host: &Host, from: &str, recipients: &[&str], text: &str) -> Result<tubepost_tests::http::Response> {
    let call = json!({ "recipients": recipients, "from": from, "subject": "limits", "text": text });
    post_json(host.address("http none"), &format!("/v1/send?access_token={TOKEN}"), &[], &call)
}

#[test]
fn messages_per_hour_are_counted_over_both_ways_in() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "limits = { messages_per_hour = 3 }")?;
    let mut client = Client::login(host.address("smtp none"), "limited", PASSWORD)?;
    client.deliver("s@example.com", &["r@example.net"], &message("one"))?;
    client.deliver("s@example.com", &["r@example.net"], &message("two"))?;
    assert_eq!(post(&host, "s@example.com", &["r@example.net"], "three")?.status / 100, 2);
    let reply = client.submit("s@example.com", &["r@example.net"], &message("four"))?;
    assert_eq!(reply.code / 10, 45, "{reply:?}");
    let response = post(&host, "s@example.com", &["r@example.net"], "four")?;
    assert_eq!(response.status, 429, "{}", response.text());
    assert!(response.header("retry-after").is_some_and(|seconds| seconds.parse().is_ok_and(|seconds: u32| seconds > 0)), "{response:?}");
    // Others are not concerned, and the session goes on.
    Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message("other"))?;
    client.command("NOOP", 250)?;
    assert_eq!(peer.wait(4)?.len(), 4);
    Ok(())
}

#[test]
fn senders_are_those_of_the_patterns_in_envelope_and_from() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "senders = [\"*@example.com\", \"boss@example.org\"]")?;
    let by_smtp = |from: &str, header: &str| -> Result<u16> {
        let mut client = Client::login(host.address("smtp none"), "limited", PASSWORD)?;
        client.send(format!("MAIL FROM:<{from}>\r\n"))?;
        let reply = client.reply()?;
        if reply.code != 250 {
            return Ok(reply.code);
        }
        let text = String::from_utf8_lossy(&message("senders")).replace("sender@example.com", header);
        client.command("RSET", 250)?;
        Ok(client.submit(from, &["r@example.net"], text.as_bytes())?.code)
    };
    assert_eq!(by_smtp("any@example.com", "other@EXAMPLE.com")?, 250);
    assert_eq!(by_smtp("boss@example.org", "boss@example.org")?, 250);
    assert_eq!(by_smtp("clerk@example.org", "boss@example.org")?, 550);
    assert_eq!(by_smtp("any@example.com", "clerk@example.org")?, 550);
    assert_eq!(by_smtp("any@sub.example.com", "any@example.com")?, 550);
    assert_eq!(post(&host, "any@example.com", &["r@example.net"], "x")?.status / 100, 2);
    let response = post(&host, "clerk@example.org", &["r@example.net"], "x")?;
    assert_eq!(response.status, 403, "{}", response.text());
    assert_eq!(peer.wait(3)?.len(), 3);
    Ok(())
}

#[test]
fn recipients_and_size_have_limits_of_their_own() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "limits = { recipients_per_message = 2, message_size = \"4KiB\" }")?;
    let mut client = Client::login(host.address("smtp none"), "limited", PASSWORD)?;
    client.command("MAIL FROM:<s@example.com>", 250)?;
    client.command("RCPT TO:<one@example.net>", 250)?;
    client.command("RCPT TO:<two@example.net>", 250)?;
    client.send("RCPT TO:<three@example.net>\r\n")?;
    let third = client.reply()?;
    client.command("DATA", 354)?;
    client.send(message("recipients"))?;
    client.send(".\r\n")?;
    let end = client.reply()?;
    // Either the third is told to come in another transaction, or the message is refused: it never goes to all three.
    assert!((third.code == 452 && end.code == 250) || (third.code == 250 && end.code / 100 == 5), "{third:?} {end:?}");
    let response = post(&host, "s@example.com", &["a@example.net", "b@example.net", "c@example.net"], "x")?;
    assert_eq!(response.status, 400, "{}", response.text());

    let large = "x".repeat(70) + "\r\n";
    let reply = client.submit("s@example.com", &["r@example.net"], &[message("size"), large.repeat(80).into_bytes()].concat())?;
    assert_eq!(reply.code, 552, "{reply:?}");
    let response = post(&host, "s@example.com", &["a@example.net"], &large.repeat(80))?;
    assert_eq!(response.status, 413, "{}", response.text());
    Ok(())
}

#[test]
fn guessing_is_limited_by_address_over_both_ways_in() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), "[authentication]\nfailures = 4\n"), &[])?;
    let guess = |password: &str| -> Result<u16> {
        let mut client = Client::connect(host.address("smtp none"))?;
        client.expect(220)?;
        client.command("EHLO client.example", 250)?;
        client.send(format!("AUTH PLAIN {}\r\n", BASE64_STANDARD.encode(format!("\0plain\0{password}"))))?;
        Ok(client.reply()?.code)
    };
    let call = json!({ "recipients": ["r@example.net"], "from": "s@example.com", "subject": "x", "text": "x" });
    let post = |token: &str| post_json(host.address("http none"), &format!("/v1/send?access_token={token}"), &[], &call);
    assert_eq!(guess(PASSWORD)?, 235);
    for _ in 0..2 {
        assert_eq!(guess("wrong")?, 535);
        assert_eq!(post("wrong")?.status, 401);
    }
    // From now on nothing tells right from wrong.
    assert_eq!((guess("wrong")?, guess(PASSWORD)?), (454, 454));
    for token in ["wrong", TOKEN] {
        let response = post(token)?;
        assert_eq!(response.status, 429, "{}", response.text());
        assert!(
            response.header("retry-after").is_some_and(|seconds| seconds.parse().is_ok_and(|seconds: u32| seconds > 0)),
            "{response:?}"
        );
    }
    assert_eq!(host.log().matches("too many wrong passwords from there").count(), 1, "{}", host.log());
    Ok(())
}
