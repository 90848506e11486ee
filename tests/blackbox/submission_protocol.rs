//! What a postmaster looks at first in a submission server: ports and their TLS, who may send, what extensions promise.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Protection};
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;

fn listener(tls: &str, more: &str) -> String {
    format!("[[listen]]\nkind = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n{more}\n")
}

/// A server whose only SMTP listener is this one.
fn start_with(peer: &Peer, listener: &str, more: &str) -> Result<Host> {
    let text = config(peer.address(), more);
    let start = text.find("[[listen]]\nkind = \"smtp\"").context("listeners")?;
    let end = text.find("[[listen]]\nkind = \"http\"").context("the HTTP listener")?;
    Host::start(&format!("{}{listener}{}", &text[..start], &text[end..]), &[])
}

/// The login `secure`, whose mail goes to the peer over TLS alone.
fn secure(peer: &Peer) -> String {
    let port = peer.address().port();
    let route =
        format!("[routes.secure]\nkind = \"smarthost\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"required\"\nca = \"ca.pem\"\n");
    route + &login("secure", "route = \"secure\"\nlimits = { priority = 4 }")
}

fn greet(client: &mut Client) -> Result<Vec<String>> {
    client.expect(220)?;
    Ok(client.command("EHLO client.example", 250)?.lines)
}

fn has(lines: &[String], keyword: &str) -> bool {
    lines.iter().any(|line| line.split(' ').next() == Some(keyword))
}

#[test]
fn a1_starttls_is_offered_on_every_listener_that_has_it() -> Result<()> {
    let peer = Peer::start()?;
    // Port 25, 587 and 2525 are three listeners with a configuration of their own; here they are on ports that are free.
    let three = listener("starttls", "").repeat(3);
    let host = start_with(&peer, &three, "")?;
    let addresses = host.addresses("smtp starttls");
    assert_eq!(addresses.len(), 3);
    for address in addresses {
        let mut client = Client::connect(address)?;
        assert!(has(&greet(&mut client)?, "STARTTLS"));
        client.command("STARTTLS", 220)?;
        client.start_tls(host.certificate.client()?)?;
        assert!(!has(&client.command("EHLO client.example", 250)?.lines, "STARTTLS"));
        client.auth_plain("plain", PASSWORD)?;
        client.deliver("s@example.com", &["r@example.net"], &message("over starttls"))?;
    }
    assert_eq!(peer.wait(3)?.len(), 3);
    Ok(())
}

#[test]
fn a2_implicit_tls_greets_inside_of_tls_alone() -> Result<()> {
    let peer = Peer::start()?;
    let host = start_with(&peer, &listener("implicit", "").repeat(2), "")?;
    let addresses = host.addresses("smtp implicit");
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        let mut client = Client::connect_tls(address, host.certificate.client()?)?;
        greet(&mut client)?;
        client.auth_login("plain", PASSWORD)?;
        client.deliver("s@example.com", &["r@example.net"], &message("over implicit tls"))?;
        // Who speaks in the clear hears no SMTP: the first octet is no handshake.
        let mut plain = Client::connect(address)?;
        plain.send("EHLO client.example\r\n")?;
        assert!(plain.reply().is_err(), "there is a dialogue in the clear");
    }
    assert_eq!(peer.wait(2)?.len(), 2);
    Ok(())
}

#[test]
fn a3_tls_is_mandatory_or_not_by_listener() -> Result<()> {
    let peer = Peer::start()?;
    let host = start_with(&peer, &listener("starttls", "require_tls = true"), "")?;
    let mut client = Client::connect(host.address("smtp starttls"))?;
    assert!(!has(&greet(&mut client)?, "AUTH"), "AUTH is offered in the clear");
    client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0plain\0{PASSWORD}"))), 530)?;
    client.command("MAIL FROM:<s@example.com>", 530)?;
    client.command("STARTTLS", 220)?;
    client.start_tls(host.certificate.client()?)?;
    assert!(has(&client.command("EHLO client.example", 250)?.lines, "AUTH"));
    client.auth_plain("plain", PASSWORD)?;
    client.deliver("s@example.com", &["r@example.net"], &message("mandatory"))?;
    peer.wait(1)?;
    drop(host);

    let host = start_with(&peer, &listener("starttls", "require_tls = false").replace("127.0.0.1", "0.0.0.0"), "")?;
    assert!(host.say(&["check"])?.contains("require_tls: passwords and mail may cross the network in the clear"));
    let mut client = Client::connect(host.address("smtp starttls"))?;
    assert!(has(&greet(&mut client)?, "AUTH"));
    client.auth_plain("plain", PASSWORD)?;
    client.deliver("s@example.com", &["r@example.net"], &message("optional"))?;
    assert_eq!(peer.wait(2)?.len(), 2);
    Ok(())
}

#[test]
fn a4_auth_plain_with_and_without_an_initial_response() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::connect(host.address("smtp none"))?;
    greet(&mut client)?;
    client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode("\0plain\0wrong")), 535)?;
    client.command("AUTH PLAIN", 334)?;
    client.command(&BASE64_STANDARD.encode("\0plain\0wrong"), 535)?;
    client.command("AUTH PLAIN", 334)?;
    client.command(&BASE64_STANDARD.encode(format!("\0plain\0{PASSWORD}")), 235)?;
    Client::login(host.address("smtp none"), "plain", PASSWORD)?.command("NOOP", 250)?;
    Ok(())
}

#[test]
fn a5_auth_login_asks_and_can_be_cancelled() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::connect(host.address("smtp none"))?;
    greet(&mut client)?;
    let question = client.command("AUTH LOGIN", 334)?;
    assert_eq!(BASE64_STANDARD.decode(question.text())?, b"Username:");
    let question = client.command(&BASE64_STANDARD.encode("plain"), 334)?;
    assert_eq!(BASE64_STANDARD.decode(question.text())?, b"Password:");
    client.command(&BASE64_STANDARD.encode("wrong"), 535)?;
    client.command("AUTH LOGIN", 334)?;
    client.command("*", 501)?;
    client.auth_login("plain", PASSWORD)?;
    Ok(())
}

#[test]
fn a6_nobody_sends_without_a_login() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::connect(host.address("smtp none"))?;
    greet(&mut client)?;
    client.command("MAIL FROM:<s@example.com>", 530)?;
    client.command("RCPT TO:<r@example.net>", 503)?;
    client.command("DATA", 503)?;
    assert_eq!(host.json(&["queue", "list"])?, serde_json::json!([]));
    assert_eq!(peer.count(), 0);
    Ok(())
}

#[test]
fn a15_tags_in_the_header_are_stored_and_taken_out() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "marketing", PASSWORD)?;
    for field in ["X-OMS-Tags", "X-OhMySMTP-Tags", "X-MailPace-Tags", "x-smtpeter-tags"] {
        let text = format!("From: s@example.com\r\nTo: r@example.net\r\nSubject: tags\r\n{field}: a b, c\r\n\r\nHello.\r\n");
        let id = client.deliver("s@example.com", &["r@example.net"], text.as_bytes())?;
        let shown = host.json(&["message", "show", &id])?.to_string();
        assert!(shown.contains("\"a b\"") && shown.contains("\"c\""), "{field}: {shown}");
    }
    let taken = peer.wait(4)?;
    assert!(!taken.iter().any(|mail| mail.text().to_lowercase().contains("-tags:")), "{taken:?}");
    Ok(())
}

#[test]
fn a16_x_list_unsubscribe_becomes_the_real_field() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(
        &config(peer.address(), &login("list", "route = \"peer\"\nchain = \"list\"")).replacen(
            "[chains]\n",
            "[chains]\nlist = [ \"list-unsubscribe\" ]\n",
            1,
        ),
        &[],
    )?;
    let mut client = Client::login(host.address("smtp none"), "list", PASSWORD)?;
    let text =
        "From: s@example.com\r\nTo: r@example.net\r\nSubject: list\r\nX-List-Unsubscribe: <mailto:u@x>, <https://x/u>\r\n\r\nHello.\r\n";
    client.deliver("s@example.com", &["r@example.net"], text.as_bytes())?;
    let taken = peer.wait(1)?.remove(0);
    assert_eq!(taken.header("List-Unsubscribe").as_deref(), Some("<mailto:u@x>, <https://x/u>"), "{}", taken.text());
    assert_eq!(taken.text().matches("List-Unsubscribe:").count(), 1, "{}", taken.text());
    assert_eq!(taken.header("X-List-Unsubscribe"), None);
    Ok(())
}

#[test]
fn a17_the_null_envelope_goes_on_as_it_is() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.deliver("", &["r@example.net"], &message("null"))?;
    assert_eq!(peer.wait(1)?.remove(0).from, "");
    let transcript = peer.transcript();
    assert!(transcript.iter().any(|line| line.starts_with("MAIL FROM:<>")), "{transcript:?}");
    Ok(())
}

#[test]
fn a18_dsn_parameters_are_carried_on() -> Result<()> {
    let peer = Peer::offering(Protection::None, &["DSN", "8BITMIME", "SMTPUTF8"])?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::connect(host.address("smtp none"))?;
    assert!(has(&greet(&mut client)?, "DSN"));
    client.auth_plain("plain", PASSWORD)?;
    for bad in ["RET=SOME", "RET", "ENVID=a+zz", "ENVID=a+0D", "ENVID=a ENVID=b", "NOTIFY"] {
        let reply = client.command(&format!("MAIL FROM:<s@example.com> {bad}"), if bad == "NOTIFY" { 555 } else { 501 })?;
        assert!(reply.text().contains("5.5.4"), "{bad}: {reply:?}");
    }
    client.command("MAIL FROM:<s@example.com> RET=HDRS ENVID=order+2B1", 250)?;
    for bad in [
        "NOTIFY=SOMETIMES",
        "NOTIFY=NEVER,FAILURE",
        "NOTIFY=",
        "ORCPT=rfc822",
        "ORCPT=rfc822;",
        "ORCPT=rfc822;+zz",
        "ORCPT=utf-8;\\x{D800}",
    ] {
        client.command(&format!("RCPT TO:<r@example.net> {bad}"), 501)?;
    }
    client.command("RCPT TO:<one@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2B1@example.net", 250)?;
    client.command("RCPT TO:<two@example.net> NOTIFY=NEVER ORCPT=utf-8;j\\x{F6}rg@example.net", 250)?;
    client.command("RCPT TO:<three@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send([&message("dsn"), b".\r\n".as_slice()].concat())?;
    client.expect(250)?;
    peer.wait(1)?;
    let transcript = peer.transcript();
    let line = |start: &str| transcript.iter().find(|line| line.starts_with(start)).with_context(|| format!("{start} in {transcript:?}"));
    let mail = line("MAIL FROM:<s@example.com>")?;
    assert!(mail.contains(" RET=HDRS") && mail.contains(" ENVID=order+2B1"), "{mail}");
    let one = line("RCPT TO:<one@example.net>")?;
    assert!(one.contains(" NOTIFY=SUCCESS,DELAY") && one.contains(" ORCPT=rfc822;first+2B1@example.net"), "{one}");
    let two = line("RCPT TO:<two@example.net>")?;
    assert!(two.contains(" NOTIFY=NEVER") && two.contains(" ORCPT=utf-8;j\\x{F6}rg@example.net"), "{two}");
    assert_eq!(line("RCPT TO:<three@example.net>")?, "RCPT TO:<three@example.net>");
    Ok(())
}

#[test]
fn a18_a_next_hop_without_dsn_makes_a_report_of_ours() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    peer.refuse_next("gone@example.net", "550 5.1.1 no such user");
    client.command("MAIL FROM:<s@example.com> ENVID=order1 RET=HDRS", 250)?;
    client.command("RCPT TO:<gone@example.net> NOTIFY=FAILURE ORCPT=rfc822;first@example.net", 250)?;
    client.command("DATA", 354)?;
    client.send([&message("a report"), b".\r\n".as_slice()].concat())?;
    client.expect(250)?;
    let report = peer.wait(1)?.remove(0);
    assert_eq!((report.from.as_str(), &*report.to), ("", ["s@example.com".to_owned()].as_slice()));
    let text = report.text();
    for expected in ["multipart/report", "Original-Envelope-Id: order1", "Original-Recipient: rfc822; first@example.net", "Status: 5.1.1"] {
        assert!(text.to_lowercase().contains(&expected.to_lowercase()), "{expected} is missing in\n{text}");
    }
    Ok(())
}

#[test]
fn a19_what_is_refused_is_refused_while_the_client_waits() -> Result<()> {
    let peer = Peer::start()?;
    let keys = "route = \"peer\"\nsenders = [\"*@example.com\"]\nlimits = { recipients_per_message = 1 }";
    let host = Host::start(&config(peer.address(), &login("limited", keys)), &[])?;
    let mut client = Client::login(host.address("smtp none"), "limited", PASSWORD)?;
    // At MAIL, at RCPT, and behind the final dot.
    client.command("MAIL FROM:<boss@elsewhere.example>", 550)?;
    client.command("MAIL FROM:<s@example.com>", 250)?;
    client.command("RCPT TO:<not an address>", 501)?;
    client.command("RCPT TO:<one@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send("From: boss@elsewhere.example\r\nSubject: forged\r\n\r\nx\r\n.\r\n")?;
    client.expect(550)?;
    assert_eq!(host.json(&["queue", "list"])?, serde_json::json!([]));
    assert_eq!(peer.count(), 0);
    Ok(())
}

#[test]
fn a22_rebuilt_mail_has_known_fields_and_a_message_id_of_ours() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), &login("rebuilt", "route = \"peer\"\nrebuild = true")), &[])?;
    let text = "From: s@example.com\r\nTo: r@example.net\r\nSubject: rebuild\r\nMessage-ID: <theirs@example.com>\r\nX-Foo: bar\r\n\
                X-Folded: a\r\n\tb\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nList-Id: <l.example.com>\r\nReply-To: s@example.com\r\n\r\n\
                X-Foo: this is text\r\n";
    for (login, kept) in [("rebuilt", false), ("plain", true)] {
        let mut client = Client::login(host.address("smtp none"), login, PASSWORD)?;
        client.deliver("s@example.com", &["r@example.net"], text.as_bytes())?;
        let taken = wait_for("the mail", || peer.taken().into_iter().find(|mail| mail.text().contains("X-Foo: bar") == kept))?;
        assert_eq!(taken.header("X-Foo").is_some(), kept, "{}", taken.text());
        assert_eq!(taken.header("X-Folded").is_some(), kept, "{}", taken.text());
        let id = taken.header("Message-ID").context("a Message-ID")?;
        assert_eq!(id == "<theirs@example.com>", kept, "{id}");
        for field in ["From", "To", "Subject", "Date", "MIME-Version", "Content-Type", "List-Id", "Reply-To"] {
            assert!(taken.header(field).is_some(), "{field} is missing in\n{}", taken.text());
        }
        assert!(taken.text().ends_with("\r\n\r\nX-Foo: this is text\r\n"), "{}", taken.text());
        assert_eq!(taken.text().matches("Message-ID:").count(), 1);
    }
    Ok(())
}

#[test]
fn a23_a_mail_server_relays_through_us_and_one_received_field_is_added() -> Result<()> {
    let sink = Peer::start()?;
    let ours = Host::start(&config(sink.address(), ""), &[])?;
    // Another server of the same kind stands for the MTA, whose smart host with AUTH over STARTTLS is ours.
    let submission = ours.address("smtp starttls");
    let relay = format!(
        "[routes.relay]\nkind = \"smarthost\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"required\"\nca = \"ca.pem\"\nusername = \"plain\"\npassword = \"{PASSWORD}\"\n{}",
        submission.port(),
        login("local", "route = \"relay\"")
    );
    let mta = Host::start(
        &config(sink.address(), &relay).replace("mail.example.com", "mta.example.org"),
        &[("ca.pem", ours.certificate.pem().as_bytes())],
    )?;
    Client::login(mta.address("smtp none"), "local", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message("relayed"))?;
    let taken = sink.wait(1)?.remove(0);
    let text = taken.text();
    let by = |name: &str| text.matches(&format!("by {name} with")).count();
    assert_eq!((by("mta.example.org"), by("mail.example.com")), (1, 1), "{text}");
    assert!(text.starts_with("Received: from ") && text.contains("by mail.example.com with ESMTPSA"), "{text}");
    Ok(())
}

#[test]
fn a24_limits_of_size_and_recipients_are_said_and_kept() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), "[smtp]\nmessage_size = \"25MiB\"\nrecipients = 100\n"), &[])?;
    let mut client = Client::connect(host.address("smtp none"))?;
    let ehlo = greet(&mut client)?;
    assert!(ehlo.iter().any(|line| line == "SIZE 26214400"), "{ehlo:?}");
    assert!(ehlo.iter().any(|line| line == "LIMITS RCPTMAX=100 MAILMAX=10000"), "{ehlo:?}");
    client.auth_plain("plain", PASSWORD)?;
    client.command("MAIL FROM:<s@example.com> SIZE=26214401", 552)?;
    client.command("MAIL FROM:<s@example.com>", 250)?;
    for number in 0..100 {
        client.command(&format!("RCPT TO:<r{number}@example.net>"), 250)?;
    }
    client.command("RCPT TO:<r100@example.net>", 452)?;
    client.command("DATA", 354)?;
    let line = [vec![b'x'; 998], b"\r\n".to_vec()].concat();
    for _ in 0..27 {
        client.send(line.repeat(1000))?;
    }
    client.send(".\r\n")?;
    client.expect(552)?;
    assert_eq!(host.json(&["queue", "list"])?, serde_json::json!([]));
    Ok(())
}

#[test]
fn what_a_message_asks_for_goes_on_with_it() -> Result<()> {
    let certificate = Certificate::new()?;
    let peer = Peer::offering(Protection::StartTls(certificate.server()?), &["MT-PRIORITY", "REQUIRETLS", "8BITMIME"])?;
    let host = Host::start(&config(peer.address(), &secure(&peer)), &[("ca.pem", certificate.pem().as_bytes())])?;
    let mut client = Client::connect_tls(host.address("smtp implicit"), host.certificate.client()?)?;
    let ehlo = greet(&mut client)?;
    for keyword in ["MT-PRIORITY", "REQUIRETLS", "FUTURERELEASE", "BINARYMIME", "CHUNKING"] {
        assert!(has(&ehlo, keyword), "{keyword} is missing in {ehlo:?}");
    }
    client.auth_plain("secure", PASSWORD)?;
    let lowered = client.command("MAIL FROM:<s@example.com> REQUIRETLS MT-PRIORITY=6", 250)?;
    assert!(lowered.text().starts_with("2.3.6 4 "), "{lowered:?}");
    client.command("RCPT TO:<r@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send([&message("secure"), b".\r\n".as_slice()].concat())?;
    client.expect(250)?;
    assert!(peer.wait(1)?.remove(0).tls);
    let mail = peer.transcript().into_iter().find(|line| line.starts_with("MAIL")).context("MAIL")?;
    assert!(mail.contains(" MT-PRIORITY=4") && mail.contains(" REQUIRETLS"), "{mail}");
    // In the clear nobody can promise it.
    assert!(!has(&greet(&mut Client::connect(host.address("smtp none"))?)?, "REQUIRETLS"));
    Ok(())
}

#[test]
fn mail_that_requires_tls_comes_back_where_the_next_hop_does_not_keep_to_it() -> Result<()> {
    let certificate = Certificate::new()?;
    // It has TLS, and promises nothing for the way behind it.
    let peer = Peer::offering(Protection::StartTls(certificate.server()?), &["8BITMIME"])?;
    let host = Host::start(&config(peer.address(), &secure(&peer)), &[("ca.pem", certificate.pem().as_bytes())])?;
    let mut client = Client::connect_tls(host.address("smtp implicit"), host.certificate.client()?)?;
    greet(&mut client)?;
    client.auth_plain("secure", PASSWORD)?;
    client.command("MAIL FROM:<s@example.com> REQUIRETLS", 250)?;
    client.command("RCPT TO:<r@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send([&message("secret"), b".\r\n".as_slice()].concat())?;
    client.expect(250)?;
    let report = peer.wait(1)?.remove(0);
    assert_eq!((report.from.as_str(), &*report.to), ("", ["s@example.com".to_owned()].as_slice()));
    assert!(report.text().contains("5.7.30"), "{}", report.text());
    Ok(())
}

#[test]
fn mail_for_an_address_that_is_not_ascii_comes_back_where_the_next_hop_takes_none() -> Result<()> {
    let peer = Peer::offering(Protection::None, &["8BITMIME"])?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.command("MAIL FROM:<s@example.com> SMTPUTF8", 250)?;
    client.command("RCPT TO:<jörg@example.net>", 250)?;
    client.command("RCPT TO:<ascii@bücher.example>", 250)?;
    client.command("DATA", 354)?;
    client.send([&message("scripts"), b".\r\n".as_slice()].concat())?;
    client.expect(250)?;
    let taken = peer.wait(2)?;
    assert!(taken.iter().any(|mail| mail.to == ["ascii@xn--bcher-kva.example"]), "{taken:?}");
    let report = taken.iter().find(|mail| mail.from.is_empty()).context("a report")?;
    assert!(report.text().contains("5.6.7"), "{}", report.text());
    Ok(())
}

#[test]
fn a_message_is_held_for_as_long_as_it_asks() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), "[smtp]\nfuture_release = \"1d\"\n"), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.command("MAIL FROM:<s@example.com> HOLDFOR=86401", 501)?;
    client.command("MAIL FROM:<s@example.com> HOLDUNTIL=2999-01-01T00:00:00Z", 501)?;
    client.command("MAIL FROM:<s@example.com> HOLDFOR=3600", 250)?;
    client.command("RCPT TO:<later@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send([&message("later"), b".\r\n".as_slice()].concat())?;
    client.expect(250)?;
    client.command("MAIL FROM:<s@example.com> HOLDFOR=1", 250)?;
    client.command("RCPT TO:<soon@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send([&message("soon"), b".\r\n".as_slice()].concat())?;
    client.expect(250)?;
    assert_eq!(peer.wait(1)?.remove(0).to, ["soon@example.net"]);
    let queue = host.json(&["queue", "list"])?;
    assert!(queue.to_string().contains("later@example.net"), "{queue}");
    assert_eq!(peer.count(), 1);
    Ok(())
}

#[test]
fn binary_content_arrives_with_its_octets() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    let octets: Vec<u8> = (0..=255).chain(*b"\n.\r\n.\n\r.\r\n.\r\n").collect();
    let header = "From: s@example.com\r\nTo: r@example.net\r\nSubject: binary\r\nMIME-Version: 1.0\r\n\
                  Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n";
    let content = [header.as_bytes(), &octets].concat();
    client.command("MAIL FROM:<s@example.com> BODY=BINARYMIME", 250)?;
    client.command("RCPT TO:<r@example.net>", 250)?;
    client.command("DATA", 503)?;
    let (first, last) = content.split_at(content.len() - 7);
    client.send([format!("BDAT {}\r\n", first.len()).as_bytes(), first].concat())?;
    client.expect(250)?;
    client.send([format!("BDAT {} LAST\r\n", last.len()).as_bytes(), last].concat())?;
    client.expect(250)?;
    let taken = peer.wait(1)?.remove(0);
    assert_eq!(taken.header("Content-Transfer-Encoding").as_deref(), Some("base64"), "{}", taken.text());
    let body: String = taken.text().split_once("\r\n\r\n").context("a body")?.1.split_whitespace().collect();
    assert_eq!(BASE64_STANDARD.decode(body)?, octets);
    Ok(())
}

#[test]
fn the_client_behind_a_balancer_is_who_counts() -> Result<()> {
    let peer = Peer::start()?;
    let listener = listener("none", "proxy_protocol = true\nrequire_tls = false");
    let text = |proxies: &str| -> Result<String> {
        let text = config(peer.address(), "");
        let start = text.find("[[listen]]\nkind = \"smtp\"").context("listeners")?;
        let end = text.find("[[listen]]\nkind = \"http\"").context("the HTTP listener")?;
        let text = format!("{}{listener}{}", &text[..start], &text[end..]);
        Ok(text.replacen("[server]\n", &format!("[server]\ntrusted_proxies = [\"{proxies}\"]\n"), 1))
    };
    let host = Host::start(&text("127.0.0.1")?, &[])?;
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\xdc\x04\x02\x4b";
    for header in [b"PROXY TCP4 203.0.113.7 127.0.0.1 56324 587\r\n".as_slice(), binary] {
        let mut client = Client::connect(host.address("smtp none"))?;
        client.send(header)?;
        greet(&mut client)?;
        client.auth_plain("plain", PASSWORD)?;
        client.deliver("s@example.com", &["r@example.net"], &message("from afar"))?;
    }
    for mail in peer.wait(2)? {
        assert!(mail.header("Received").is_some_and(|field| field.contains("([203.0.113.7])")), "{}", mail.text());
    }
    // Without a header there is no greeting.
    let mut client = Client::connect(host.address("smtp none"))?;
    client.send("EHLO client.example\r\n")?;
    assert!(client.reply().is_err());
    drop(host);
    // What the balancer may, as it is on loopback, is not for whom it does not know; and what looks whether we are there sends nothing.
    let host = Host::start(&text("127.0.0.1")?.replace("require_tls = false", ""), &[])?;
    let unknown = b"\r\n\r\n\0\r\nQUIT\n\x21\x00\0\0";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
    for (header, code) in
        [(b"PROXY UNKNOWN\r\n".as_slice(), 530), (unknown, 530), (local, 550), (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 235)]
    {
        let mut client = Client::connect(host.address("smtp none"))?;
        client.send(header)?;
        let offer = greet(&mut client)?;
        assert_eq!(has(&offer, "AUTH"), code == 235, "{offer:?}");
        client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0plain\0{PASSWORD}"))), code)?;
        client.command("MAIL FROM:<s@example.com>", if code == 235 { 250 } else { code })?;
        client.command("QUIT", 221)?;
    }
    drop(host);
    // Who is no trusted proxy is told so, whatever header he has.
    let host = Host::start(&text("192.0.2.1")?, &[])?;
    Client::connect(host.address("smtp none"))?.expect(421)?;
    Ok(())
}
