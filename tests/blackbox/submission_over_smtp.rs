//! TLS modes, AUTH mechanisms, and content that passes untouched.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, config, message};

#[test]
fn starttls_and_implicit_tls_with_both_mechanisms() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let tls = host.certificate.client()?;

    let mut client = Client::connect(host.address("smtp starttls"))?;
    client.expect(220)?;
    let ehlo = client.command("EHLO client.example", 250)?;
    assert!(ehlo.lines.iter().any(|line| line == "STARTTLS"), "{ehlo:?}");
    client.command("STARTTLS", 220)?;
    client.start_tls(tls.clone())?;
    let ehlo = client.command("EHLO client.example", 250)?;
    for keyword in ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2"] {
        assert!(ehlo.lines.iter().any(|line| line == keyword), "{keyword} is missing in {ehlo:?}");
    }
    assert!(ehlo.lines.iter().any(|line| line.starts_with("SIZE ")) && !ehlo.lines.iter().any(|line| line == "STARTTLS"), "{ehlo:?}");
    client.auth_plain("plain", PASSWORD)?;
    client.deliver("sender@example.com", &["one@example.net"], &message("over starttls"))?;

    let mut client = Client::connect_tls(host.address("smtp implicit"), tls)?;
    client.expect(220)?;
    client.command("EHLO client.example", 250)?;
    client.auth_login("plain", PASSWORD)?;
    client.deliver("sender@example.com", &["two@example.net"], &message("over implicit tls"))?;

    let taken = peer.wait(2)?;
    assert!(taken.iter().all(|mail| mail.header("Received").is_some_and(|field| field.contains("with ESMTPSA"))), "{taken:?}");
    Ok(())
}

#[test]
fn wrong_secrets_and_missing_authentication_are_refused() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::connect(host.address("smtp none"))?;
    client.expect(220)?;
    client.command("EHLO client.example", 250)?;
    client.command("MAIL FROM:<sender@example.com>", 530)?;
    client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode("\0plain\0wrong")), 535)?;
    client.command("AUTH LOGIN", 334)?;
    client.command("*", 501)?;
    // A token is user name and password at once; with another password it is nobody's.
    client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0{TOKEN}\0{PASSWORD}"))), 535)?;
    client.auth_plain(TOKEN, TOKEN)?;
    client.deliver("sender@example.com", &["reader@example.net"], &message("with a token"))?;
    assert_eq!(peer.wait(1)?.len(), 1);
    Ok(())
}

#[test]
fn a_signed_message_passes_octet_for_octet() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let signed = include_bytes!("messages/signed.eml");
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.deliver("", &["reader@example.net"], signed)?;
    let taken = peer.wait(1)?.remove(0);
    assert_eq!(taken.from, "");
    let content = taken.content.as_slice();
    assert!(content.starts_with(b"Received: "));
    assert!(content.ends_with(signed), "what follows the trace header is not what was sent:\n{}", taken.text());
    Ok(())
}

#[test]
fn bare_line_ends_are_refused_and_smuggle_nothing() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    for end in
        ["\n.\n", "\n.\r\n", "\n.\r", "\r.\n", "\r.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r\r\n.\r\r\n", "\r\n\0.\r\n", "\r\n.\0\r\n"]
    {
        let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
        client.command("MAIL FROM:<sender@example.com>", 250)?;
        client.command("RCPT TO:<reader@example.net>", 250)?;
        client.command("DATA", 354)?;
        client.send(format!("Subject: outer\r\n\r\ntext{end}MAIL FROM:<forged@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: inner\r\n\r\nforged"))?;
        client.send("\r\n.\r\n")?;
        let reply = client.reply()?;
        assert!((500..600).contains(&reply.code), "{end:?}: {reply:?}");
        client.command("NOOP", 250)?;
    }
    assert_eq!(peer.count(), 0);
    Ok(())
}

#[test]
fn limits_are_announced_and_kept() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), "[smtp]\nmessage_size = \"10KiB\"\nrecipients = 2\n"), &[])?;
    let mut client = Client::connect(host.address("smtp none"))?;
    client.expect(220)?;
    let ehlo = client.command("EHLO client.example", 250)?;
    assert!(ehlo.lines.iter().any(|line| line == "SIZE 10240"), "{ehlo:?}");
    client.auth_plain("plain", PASSWORD)?;
    client.command("MAIL FROM:<sender@example.com> SIZE=10241", 552)?;
    client.command("MAIL FROM:<sender@example.com>", 250)?;
    client.command("RCPT TO:<one@example.net>", 250)?;
    client.command("RCPT TO:<two@example.net>", 250)?;
    client.command("RCPT TO:<three@example.net>", 452)?;
    client.command("DATA", 354)?;
    client.send("x".repeat(70).as_bytes().iter().copied().chain(*b"\r\n").collect::<Vec<_>>().repeat(200))?;
    client.send(".\r\n")?;
    client.expect(552)?;
    assert_eq!(peer.count(), 0);
    Ok(())
}

#[test]
fn a_whole_transaction_may_come_in_one_packet_and_content_in_chunks() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    let pipelined = "MAIL FROM:<s@example.com>\r\nRCPT TO:<one@example.net>\r\nRCPT TO:<not an address>\r\nDATA\r\n";
    client.send(pipelined)?;
    for code in [250, 250, 501, 354] {
        client.expect(code)?;
    }
    let content = message("pipelined");
    client.send([&content, b".\r\nMAIL FROM:<s@example.com>\r\nRCPT TO:<two@example.net>\r\n".as_slice()].concat())?;
    for _ in 0..3 {
        client.expect(250)?;
    }
    // Chunks may hold what would end DATA, and be cut anywhere.
    let content = [message("chunked"), b"\r\n.\r\nthe end\r\n".to_vec()].concat();
    let (first, last) = content.split_at(content.len() - 12);
    client.send([format!("BDAT {}\r\n", first.len()).as_bytes(), first].concat())?;
    client.expect(250)?;
    client.send([format!("BDAT {} LAST\r\n", last.len()).as_bytes(), last].concat())?;
    client.expect(250)?;
    let taken = peer.wait(2)?;
    let chunked = taken.iter().find(|mail| mail.to == ["two@example.net"]).unwrap();
    assert!(chunked.content.ends_with(&content), "{}", chunked.text());
    Ok(())
}

#[test]
fn addresses_and_headers_may_be_in_any_script() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.command("MAIL FROM:<s@example.com> BODY=8BITMIME SMTPUTF8", 250)?;
    client.command("RCPT TO:<größe@bücher.example>", 250)?;
    client.command("DATA", 354)?;
    let content =
        "From: s@example.com\r\nSubject: Grüße\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <g@example.com>\r\n\r\nÄÖÜ\r\n";
    client.send(content)?;
    client.send(".\r\n")?;
    client.expect(250)?;
    let taken = peer.wait(1)?.remove(0);
    assert_eq!(taken.to.len(), 1);
    assert!(taken.to[0].starts_with("größe@"), "{taken:?}");
    assert!(taken.content.ends_with(content.as_bytes()), "{}", taken.text());
    let mail = peer.transcript().into_iter().find(|line| line.starts_with("MAIL")).unwrap();
    assert!(mail.contains("SMTPUTF8") && mail.contains("BODY=8BITMIME"), "{mail}");
    Ok(())
}
