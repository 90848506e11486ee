//! The MX listener: takes mail for mailboxes of its own domains from other servers, finds out who has sent it, and is nobody's relay.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

const MAILBOXES: &str = r#"
[[inbound]]
domain = "in.example.com"
recipients = ["Info", "list+*"]
action = "forward"
to = "desk@example.net"

[[inbound]]
domain = "in.example.com"
recipients = ["kept"]
action = "keep"

[[inbound]]
domain = "all.example.com"
recipients = ["*"]
action = "keep"

[[inbound]]
domain = "strict.example.com"
recipients = ["*"]
action = "keep"
dmarc = "reject"
"#;

/// A configuration with a listener for other servers; `mx` are keys of `[mx]`, `more` is put behind all.
fn with_mx(zone: &Zone, peer: SocketAddr, mx: &str, more: &str) -> String {
    let listen = "[[listen]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
    let text = config(peer, &format!("{listen}[mx]\nroute = \"peer\"\npostmaster = \"ops@example.net\"\n{mx}\n{MAILBOXES}\n{more}"));
    text.replacen("[server]\n", &format!("[server]\nnameservers = [\"{}\"]\n", zone.address()), 1)
}

fn start(zone: &Zone, peer: &Peer, mx: &str, more: &str) -> Result<Host> {
    Host::start(&with_mx(zone, peer.address(), mx, more), &[])
}

/// A session of another mail server.
fn greet(host: &Host, name: &str) -> Result<Client> {
    let mut client = Client::connect(host.address("mx starttls"))?;
    client.expect(220)?;
    client.command(&format!("EHLO {name}"), 250)?;
    Ok(client)
}

/// Every way that relays were ever talked into: other domains, directions inside the local part, routes, literals, our own names.
#[test]
fn it_is_no_relay_however_it_is_asked() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, &peer, "", "")?;
    let mut client = greet(&host, "relay-test.example")?;
    client.command("AUTH PLAIN AHNhbmRib3gAc2VjcmV0", 503)?;
    let victim = "victim@elsewhere.example";
    let senders = [
        "<spam@elsewhere.example>",
        "<>",
        "<info@in.example.com>",
        "<postmaster@mail.example.com>",
        "<root@[127.0.0.1]>",
        "<spam@localhost>",
    ];
    for sender in senders {
        client.command(&format!("MAIL FROM:{sender}"), 250)?;
        client.command(&format!("RCPT TO:<{victim}>"), 550)?;
        client.command("DATA", 554)?;
        client.command("RSET", 250)?;
    }
    let recipients = [
        "victim%elsewhere.example@in.example.com",
        "victim%elsewhere.example@all.example.com",
        "victim%elsewhere.example@mail.example.com",
        "victim%elsewhere.example@[127.0.0.1]",
        "\"victim@elsewhere.example\"@all.example.com",
        "\"victim%elsewhere.example\"@all.example.com",
        "\"victim@elsewhere.example\"@[127.0.0.1]",
        "elsewhere.example!victim@all.example.com",
        "elsewhere.example!victim@[127.0.0.1]",
        "all.example.com!victim@elsewhere.example",
        "@all.example.com:victim@elsewhere.example",
        "@all.example.com,@in.example.com:victim@elsewhere.example",
        "@[127.0.0.1]:victim@elsewhere.example",
        "@elsewhere.example:victim%elsewhere.example@all.example.com",
        "victim@elsewhere.example.",
        "victim@[192.0.2.1]",
        "victim@[127.0.0.1]",
        "victim@localhost",
        "victim@127.0.0.1",
        "victim@sub.in.example.com",
        "victim@example.com",
        "victim@xin.example.com",
    ];
    for recipient in recipients {
        client.command("MAIL FROM:<spam@elsewhere.example>", 250)?;
        let reply = client.command(&format!("RCPT TO:<{recipient}>"), 550)?;
        assert!(reply.text().starts_with("5.7.1") || reply.text().starts_with("5.1.1"), "{recipient}: {}", reply.text());
        client.command("RSET", 250)?;
    }
    client.command("MAIL FROM:<spam@elsewhere.example>", 250)?;
    for nonsense in ["victim", "victim@elsewhere.example@all.example.com", "elsewhere.example!victim", "victim%elsewhere.example"] {
        client.send(format!("RCPT TO:<{nonsense}>\r\n"))?;
        let code = client.reply()?.code;
        assert!((500..=553).contains(&code), "{nonsense}: {code}");
    }
    assert_eq!((peer.count(), host.json(&["queue", "list"])?), (0, serde_json::json!([])));
    Ok(())
}

#[test]
fn unknown_recipients_are_refused_and_the_postmaster_is_always_there() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, &peer, "", "")?;
    let mut client = greet(&host, "mx.example.org")?;
    client.command("MAIL FROM:<a@example.org>", 250)?;
    let refused = client.command("RCPT TO:<nobody@in.example.com>", 550)?;
    assert!(refused.text().starts_with("5.1.1 there is no mailbox nobody@in.example.com here"), "{}", refused.text());
    let refused = client.command("RCPT TO:<a@example.org>", 550)?;
    assert!(refused.text().starts_with("5.7.1 mail for example.org is not relayed"), "{}", refused.text());
    client.command("RSET", 250)?;
    for postmaster in
        ["postmaster", "PostMaster@in.example.com", "abuse@All.example.com", "postmaster@mail.example.com", "abuse@mail.example.com"]
    {
        client.deliver("", &[postmaster], &message(postmaster))?;
    }
    let taken = peer.wait(5)?;
    assert!(taken.iter().all(|mail| mail.to == ["ops@example.net"] && mail.from.is_empty()), "{taken:?}");
    Ok(())
}

#[test]
fn mail_is_forwarded_with_what_was_found_out_and_without_our_signature() -> Result<()> {
    let zone = Zone::start()?.txt("example.com", "v=spf1 -all").txt("mx.example.com", "v=spf1 ip4:127.0.0.1 -all");
    let peer = Peer::start()?;
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().context("a new key")?;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(&ed25519));
    let key = "[[dkim]]\ndomain = \"example.com\"\nselector = \"ed\"\nkey = \"file:ed25519.pem\"\n";
    let host = Host::start(&with_mx(&zone, peer.address(), "", key), &[("ed25519.pem", pem.as_bytes())])?;
    let mut client = greet(&host, "mx.example.com")?;
    // From is our own, and nobody but a stranger says so.
    let forged = [b"Authentication-Results: MAIL.example.com; spf=pass\r\nAuthentication-Results: other.example; spf=pass\r\nReturn-Path: <x@y.example>\r\n".as_slice(), &message("forged")].concat();
    let id = client.deliver("sender@example.com", &["info@in.example.com", "List+a@in.example.com", "kept@in.example.com"], &forged)?;
    let taken = peer.wait(2)?;
    for mail in &taken {
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("", ["desk@example.net".to_owned()].as_slice()));
        assert_eq!(mail.header("DKIM-Signature"), None, "{}", mail.text());
        assert!(
            mail.header("Received").unwrap().starts_with("from mx.example.com ([127.0.0.1]) by mail.example.com with ESMTP id"),
            "{}",
            mail.text()
        );
        let results = mail.header("Authentication-Results").unwrap();
        assert!(results.starts_with("mail.example.com; spf=pass ") && results.contains("smtp.helo=mx.example.com; spf=fail "), "{results}");
        assert!(
            results.contains("smtp.mailfrom=sender@example.com") && results.contains("dkim=none") && results.contains("dmarc=none"),
            "{results}"
        );
        assert!(
            mail.header("Received-SPF")
                .unwrap()
                .starts_with("fail (mail.example.com: domain of sender@example.com does not designate 127.0.0.1"),
            "{}",
            mail.text()
        );
        assert!(
            !mail.text().contains("MAIL.example.com")
                && !mail.text().contains("Return-Path")
                && mail.text().contains("other.example; spf=pass")
        );
        assert!(mail.text().ends_with("\r\n\r\nHello.\r\n"), "{}", mail.text());
    }
    let mut mailboxes: Vec<_> = taken.iter().filter_map(|mail| mail.header("Delivered-To")).collect();
    mailboxes.sort();
    assert_eq!(mailboxes, ["List+a@in.example.com", "info@in.example.com"], "no copy names the other's");
    host.wait_for_empty_queue()?;
    let history = || host.json(&["message", "show", &id]).ok().map(|shown| shown.to_string());
    let shown = wait_for("the history", || history().filter(|shown| shown.contains("\"event\":\"delivered\"")))?;
    for expected in ["info@in.example.com", "kept@in.example.com", "\"action\":\"keep\"", "\"spf\":\"fail\"", "\"action\":\"forward as "] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    // It comes back to where it was forwarded before.
    let circling = [b"Delivered-To: INFO@in.example.com\r\n".as_slice(), &message("again")].concat();
    let reply = client.submit("sender@example.com", &["info@in.example.com"], &circling)?;
    assert!(reply.code == 554 && reply.text().starts_with("5.4.6"), "{reply:?}");
    let circling = ["Received: from a by b; x\r\n".repeat(100).as_bytes(), &message("on and on")].concat();
    assert_eq!(client.submit("sender@example.com", &["kept@in.example.com"], &circling)?.code, 554);
    Ok(())
}

#[test]
fn what_cannot_be_forwarded_is_reported_to_nobody() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, &peer, "", "")?;
    peer.refuse_next("desk@example.net", "550 5.1.1 gone");
    let id = greet(&host, "mx.example.org")?.deliver("forged@victim.example", &["info@in.example.com"], &message("no backscatter"))?;
    host.wait_for_empty_queue()?;
    wait_for("the end", || host.say(&["message", "show", &id]).ok().filter(|shown| shown.contains("bounced")))?;
    assert_eq!(peer.count(), 0, "{:?}", peer.transcript());
    Ok(())
}

#[test]
fn mail_that_is_kept_survives_a_kill_and_can_be_found() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let mut host = start(&zone, &peer, "", "")?;
    let id = greet(&host, "mx.example.org")?.deliver("a@example.org", &["Anybody@all.example.com"], &message("still here"))?;
    host.kill()?;
    host.launch()?;
    let found = wait_for("the message in a search", || {
        let found = host.json(&["message", "search", "still"]).ok()?;
        found.to_string().contains(&id).then_some(found)
    })?;
    assert!(found.to_string().contains("Anybody@all.example.com") && found.to_string().contains("delivered"), "{found}");
    let shown = host.json(&["message", "show", &id])?.to_string();
    assert!(shown.contains("\"received\"") && shown.contains("@inbound") && shown.contains("\"protocol\":\"esmtp\""), "{shown}");
    Ok(())
}

/// What a `DNS` record says of an Ed25519 key, and the key as a file.
fn key_pair() -> Result<(String, String)> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().context("a new key")?;
    let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).ok().context("an Ed25519 key")?;
    let record = format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(key.public_key().as_ref()));
    Ok((record, format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(&document))))
}

#[test]
fn senders_are_authenticated_and_disowned_mail_is_refused() -> Result<()> {
    let (record, pem) = key_pair()?;
    let zone = Zone::start()?
        .txt("example.com", "v=spf1 ip4:192.0.2.0/24 -all")
        .txt("ed._domainkey.example.com", &record)
        .txt("_dmarc.example.com", "v=DMARC1; p=reject")
        .txt("relaxed.example", "v=spf1 ip4:127.0.0.1 -all")
        .txt("_dmarc.relaxed.example", "v=DMARC1; p=none");
    let nowhere = Peer::start()?;
    let host = start(&zone, &nowhere, "", "")?;
    // Another Tubepost, which signs, brings the mail.
    let key = "[[dkim]]\ndomain = \"example.com\"\nselector = \"ed\"\nkey = \"file:ed25519.pem\"\n";
    let sending = Host::start(&config(host.address("mx starttls"), key), &[("ed25519.pem", pem.as_bytes())])?;
    Client::login(sending.address("smtp none"), "plain", PASSWORD)?.deliver(
        "sender@example.com",
        &["a@strict.example.com"],
        // Lines of blanks at the end are none, to who signs and to who verifies.
        &[message("signed").as_slice(), b" \r\n\t \r\n"].concat(),
    )?;
    sending.wait_for_empty_queue()?;
    let found = wait_for("the signed message", || {
        let found = host.json(&["message", "search", "signed"]).ok()?;
        found.to_string().contains("a@strict.example.com").then_some(found)
    })?;
    let id = found["messages"][0]["message"].as_str().with_context(|| found.to_string())?.to_owned();
    let shown = host.json(&["message", "show", &id])?.to_string();
    for expected in ["\"spf\":\"fail\"", "\"dkim\":\"pass\"", "\"dmarc\":\"pass\"", "\"domain\":\"example.com\""] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }

    let mut client = greet(&host, "mx.relaxed.example")?;
    let reply = client.submit("sender@example.com", &["a@strict.example.com"], &message("unsigned"))?;
    assert!(reply.code == 550 && reply.text().starts_with("5.7.1 example.com wants mail refused"), "{reply:?}");
    // A mailbox that only reports takes it.
    client.deliver("sender@example.com", &["a@all.example.com"], &message("unsigned"))?;
    let from = |address: &str| format!("From: {address}\r\nSubject: x\r\n\r\nx\r\n").into_bytes();
    client.deliver("news@relaxed.example", &["a@strict.example.com"], &from("news@relaxed.example"))?;
    client.deliver("news@relaxed.example", &["a@strict.example.com"], &from("somebody@example.org"))?;
    // Two authors, of whom DMARC would see none.
    let twice = [b"From: news@relaxed.example\r\n".as_slice(), &from("sender@example.com")].concat();
    assert_eq!(client.submit("news@relaxed.example", &["a@strict.example.com"], &twice)?.code, 550);
    // A line that is no field hides the author from nobody.
    for hidden in ["Subject: x\r\nno field\r\nFrom: sender@example.com\r\n\r\nx\r\n", "no field\r\nFrom: sender@example.com\r\n\r\nx\r\n"] {
        assert_eq!(client.submit("news@relaxed.example", &["a@strict.example.com"], hidden.as_bytes())?.code, 550, "{hidden:?}");
    }
    // More signatures than anybody makes: none is looked at.
    let flood = [
        format!("DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=x; h=from; bh=; b=; l={}\r\n", 1).repeat(500).as_bytes(),
        &from("a@example.org"),
    ]
    .concat();
    let id = client.deliver("news@relaxed.example", &["a@all.example.com"], &flood)?;
    let shown = wait_for("the message", || host.json(&["message", "show", &id]).ok())?.to_string();
    assert!(shown.contains("\"dkim\":\"policy\"") && shown.contains("\"spf\":\"pass\""), "{shown}");
    Ok(())
}

#[test]
fn one_address_brings_no_more_than_it_may() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let limits = "messages_per_hour = 3\nmessage_size = \"64KiB\"\nrecipients = 2\nconnections_per_address = 3\nconnections = 5";
    let host = start(&zone, &peer, limits, "")?;
    let mut client = greet(&host, "mx.example.org")?;
    client.command("MAIL FROM:<a@example.org> SIZE=70000", 552)?;
    let reply = client.submit(
        "a@example.org",
        &["a@all.example.com"],
        &vec![b'x'; 60_000].chunks(70).collect::<Vec<_>>().join(b"\r\n".as_slice()).repeat(2),
    )?;
    assert_eq!(reply.code, 552, "{reply:?}");
    client.command("MAIL FROM:<a@example.org>", 250)?;
    for (recipient, code) in [("a", 250), ("b", 250), ("c", 452)] {
        client.command(&format!("RCPT TO:<{recipient}@all.example.com>"), code)?;
    }
    client.command("RSET", 250)?;
    // A flood of connections from one address leaves those that are there alone.
    let more: Vec<_> = (0..10).map(|_| Client::connect(host.address("mx starttls"))).collect::<Result<_>>()?;
    let codes: Vec<_> = more.into_iter().map(|mut client| client.reply().map(|reply| (reply.code, client))).collect::<Result<_>>()?;
    assert_eq!(codes.iter().filter(|(code, _)| *code == 220).count(), 2);
    assert_eq!(codes.iter().filter(|(code, _)| *code == 421).count(), 8);
    drop(codes);
    // Users who submit have limits of their own.
    Client::login(host.address("smtp none"), "sandbox", PASSWORD)?;
    for subject in ["one", "two", "three"] {
        client.deliver("a@example.org", &["a@all.example.com"], &message(subject))?;
    }
    client.command("MAIL FROM:<a@example.org>", 250)?;
    let reply = client.command("RCPT TO:<a@all.example.com>", 451)?;
    assert!(reply.text().starts_with("4.7.1 too much mail from your address; try again in "), "{}", reply.text());
    Ok(())
}

#[test]
fn who_tries_many_names_hears_no_more_of_them() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, &peer, "unknown_recipients_per_hour = 5", "")?;
    let mut client = greet(&host, "harvest.example")?;
    client.command("MAIL FROM:<>", 250)?;
    for number in 0..5 {
        client.command(&format!("RCPT TO:<user{number}@in.example.com>"), 550)?;
    }
    client.command("RCPT TO:<kept@in.example.com>", 451)?;
    Ok(())
}

#[test]
fn tls_is_offered_and_a_reload_opens_and_closes_mailboxes() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, &peer, "", "")?;
    let mut client = greet(&host, "mx.example.org")?;
    client.command("STARTTLS", 220)?;
    client.start_tls(host.certificate.client()?)?;
    client.command("EHLO mx.example.org", 250)?;
    let id = client.deliver("a@example.org", &["kept@in.example.com"], &message("over TLS"))?;
    let shown = wait_for("the message", || host.json(&["message", "show", &id]).ok())?.to_string();
    assert!(shown.contains("\"protocol\":\"esmtps\""), "{shown}");

    let text = std::fs::read_to_string(host.config_path())?;
    host.configure(&text.replace("recipients = [\"kept\"]", "recipients = [\"fresh\"]"))?;
    host.signal("HUP")?;
    host.wait_for_log("reloaded")?;
    client.command("MAIL FROM:<a@example.org>", 250)?;
    client.command("RCPT TO:<kept@in.example.com>", 550)?;
    client.command("RCPT TO:<fresh@in.example.com>", 250)?;
    Ok(())
}
