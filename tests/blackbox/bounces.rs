//! Mail that does not arrive: whose address bounces come back to, and what the sender hears.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{get, post_json};
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

const RETURNS: &str = "[bounces]\ndomain = \"bounces.example.com\"\n";

/// A login that tracks bounces, beside the one that does not.
fn tracking(peer: &Peer, more: &str) -> String {
    let fields = format!("route = \"peer\"\ntoken = \"{SECOND_TOKEN_HASH}\"\nbounces = \"track\"\n{more}");
    config(peer.address(), &format!("{}{RETURNS}", login("second", &fields)))
}

fn call(host: &Host, fields: &Value) -> Result<()> {
    let mut call = json!({ "from": "info@example.com", "subject": "s", "text": "t" });
    call.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let response = post_json(host.address("http none"), &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], &call)?;
    ensure!(response.status == 200, "{call}: {} {}", response.status, response.text());
    Ok(())
}

/// Waits for the mail that went to an address.
fn mail_to(peer: &Peer, address: &str) -> Result<Taken> {
    wait_for(&format!("mail to {address}"), || peer.taken().into_iter().find(|mail| mail.to.iter().any(|to| to == address)))
}

#[test]
fn f3_the_sender_on_the_wire_is_unique_at_the_bounce_host() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&tracking(&peer, ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "second", PASSWORD)?;
    client.deliver("sender@example.com", &["one@example.net", "two@example.net"], &message("tracked"))?;
    let (one, two) = (mail_to(&peer, "one@example.net")?, mail_to(&peer, "two@example.net")?);
    for mail in [&one, &two] {
        ensure!(mail.from.starts_with("bounces+") && mail.from.ends_with("@bounces.example.com"), "{}", mail.from);
        ensure!(mail.from.split('@').next().unwrap().len() <= 64, "{}", mail.from);
        ensure!(mail.to.len() == 1, "{:?}", mail.to);
    }
    ensure!(one.from != two.from);
    // Another login of the same server has its own sender on the wire.
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.deliver("sender@example.com", &["three@example.net"], &message("not tracked"))?;
    ensure!(mail_to(&peer, "three@example.net")?.from == "sender@example.com");
    // The field in the message goes before what the login has, and no reader sees it.
    let mut client = Client::login(host.address("smtp none"), "second", PASSWORD)?;
    let content = [b"X-SMTPeter-TrackBounces: false\r\n", message("steered").as_slice()].concat();
    client.deliver("sender@example.com", &["four@example.net"], &content)?;
    let four = mail_to(&peer, "four@example.net")?;
    ensure!(four.from == "sender@example.com" && four.header("X-SMTPeter-TrackBounces").is_none(), "{}", four.text());
    host.wait_for_empty_queue()
}

/// The four rows of table 1.11: who is the sender on the wire, and who hears of a failure.
#[test]
fn f4_envelope_and_trackbounces_decide_who_hears_of_a_failure() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&tracking(&peer, ""), &[])?;
    let rows = [
        (json!({ "trackbounces": true }), true, None),
        (json!({ "trackbounces": true, "envelope": "desk@example.com" }), true, Some("desk@example.com")),
        (json!({ "trackbounces": true, "envelope": "mute@example.com", "dsn": { "notify": "NEVER" } }), true, None),
        (json!({ "trackbounces": false, "envelope": "other@example.com" }), false, Some("other@example.com")),
        (json!({ "trackbounces": false }), false, None),
    ];
    for (number, (fields, is_ours, hears)) in rows.into_iter().enumerate() {
        let (good, bad) = (format!("good{number}@example.net"), format!("bad{number}@example.net"));
        peer.refuse_next(&bad, "550 5.1.1 no such user");
        let before = peer.count();
        let mut fields = fields;
        fields["recipients"] = json!([good, bad]);
        call(&host, &fields)?;
        let sent = mail_to(&peer, &good)?;
        ensure!(sent.from.ends_with("@bounces.example.com") == is_ours, "{fields}: {}", sent.from);
        ensure!(is_ours || sent.from == hears.unwrap_or_default(), "{fields}: {}", sent.from);
        if let Some(address) = hears {
            let report = mail_to(&peer, address)?;
            ensure!(report.from.is_empty() && report.text().contains(&format!("Final-Recipient: rfc822; {bad}")), "{}", report.text());
        }
        host.wait_for_empty_queue()?;
        ensure!(peer.count() - before == if hears.is_some() { 2 } else { 1 }, "{fields}: {:?}", peer.taken().split_off(before));
    }
    wait_for("five bounces", || (host.json(&["message", "search", "state:bounced"]).ok()?["total"] == 5).then_some(()))
}

#[test]
fn f5_a_failure_comes_back_in_full_or_as_its_header() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    for (ret, kind, has_body) in
        [("", "text/rfc822-headers", false), (" RET=HDRS", "text/rfc822-headers", false), (" RET=FULL", "message/rfc822", true)]
    {
        let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
        // Nobody gets mail twice at an address that does not exist.
        let gone = format!("gone{}@example.net", ret.len() + usize::from(has_body));
        peer.refuse_next(&gone, "550 5.1.1 no such user");
        let before = peer.count();
        client.command(&format!("MAIL FROM:<sender@example.com>{ret} ENVID=order-7"), 250)?;
        client.command(&format!("RCPT TO:<{gone}> ORCPT=rfc822;old@example.net"), 250)?;
        client.command("DATA", 354)?;
        client.send(message("comes back"))?;
        client.send(".\r\n")?;
        client.expect(250)?;
        let report = peer.wait(before + 1)?.remove(before);
        let text = report.text();
        ensure!(report.from.is_empty() && report.to == ["sender@example.com"], "{report:?}");
        for expected in [
            "multipart/report; report-type=delivery-status",
            "Auto-Submitted: auto-replied",
            "Original-Envelope-Id: order-7",
            &format!("Final-Recipient: rfc822; {gone}"),
            "Original-Recipient: rfc822; old@example.net",
            "Action: failed",
            "Status: 5.1.1",
            kind,
            "Subject: comes back",
        ] {
            ensure!(text.contains(expected), "{expected:?} is missing in:\n{text}");
        }
        ensure!(text.contains("\r\nHello.\r\n") == has_body, "{text}");
        host.wait_for_empty_queue()?;
    }
    Ok(())
}

/// `relayed` where the next hop does not know DSN and so will not say more (RFC 3461 §5.2.2), `delivered` where we are the last hop, `delayed` once.
#[test]
fn f5_success_and_delay_are_told_to_who_asked() -> Result<()> {
    let peer = Peer::start()?;
    let more = "[delivery]\nretry_first = \"50ms\"\nretry_longest = \"100ms\"\ndelay_report = \"50ms\"\n";
    let host = Host::start(&config(peer.address(), more), &[])?;
    for _ in 0..5 {
        peer.refuse_next("later@example.net", "451 4.7.1 greylisted");
    }
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.command("MAIL FROM:<sender@example.com>", 250)?;
    client.command("RCPT TO:<good@example.net> NOTIFY=SUCCESS,FAILURE", 250)?;
    client.command("RCPT TO:<later@example.net> NOTIFY=DELAY", 250)?;
    client.command("RCPT TO:<quiet@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send(message("told"))?;
    client.send(".\r\n")?;
    client.expect(250)?;
    mail_to(&peer, "later@example.net")?;
    host.wait_for_empty_queue()?;
    let reports: Vec<String> = peer.taken().iter().filter(|mail| mail.from.is_empty()).map(Taken::text).collect();
    let of = |action: &str| reports.iter().filter(|text| text.contains(&format!("\r\nAction: {action}\r\n"))).count();
    ensure!((reports.len(), of("relayed"), of("delayed")) == (2, 1, 1), "{reports:#?}");
    let delayed = reports.iter().find(|text| text.contains("Action: delayed")).unwrap();
    for expected in ["Final-Recipient: rfc822; later@example.net", "Status: 4.7.1", "Will-Retry-Until: ", "451 4.7.1 greylisted"] {
        ensure!(delayed.contains(expected), "{expected:?} is missing in:\n{delayed}");
    }
    Ok(())
}

const BOXES: &str = r#"
[[listen]]
kind = "mx"
address = "127.0.0.1:0"
tls = "starttls"

[[inbound]]
domain = "in.example.com"
recipients = ["fbl"]
action = "complaints"

[[inbound]]
domain = "in.example.com"
recipients = ["dmarc"]
action = "dmarc"
"#;

/// A server that takes in what comes back.
fn taking(zone: &Zone, peer: &Peer, login: &str, more: &str) -> Result<Host> {
    let text = tracking(peer, login) + more + BOXES;
    Host::start(&text.replacen("[server]\n", &format!("[server]\nnameservers = [\"{}\"]\n", zone.address()), 1), &[])
}

/// Sends one tracked message, and returns its id and the reverse-path that the next hop saw.
fn send_tracked(host: &Host, peer: &Peer, sender: &str, recipient: &str, parameters: &str) -> Result<(String, String)> {
    let mut client = Client::login(host.address("smtp none"), "second", PASSWORD)?;
    client.command(&format!("MAIL FROM:<{sender}>"), 250)?;
    client.command(&format!("RCPT TO:<{recipient}>{parameters}"), 250)?;
    client.command("DATA", 354)?;
    client.send(message("tracked"))?;
    client.send(".\r\n")?;
    let reply = client.expect(250)?.text();
    let id = reply.split_whitespace().find(|word| word.len() == 26).unwrap_or_default().to_owned();
    let reverse_path = mail_to(peer, recipient)?.from;
    event(host, &id, "delivered")?;
    Ok((id, reverse_path))
}

/// Hands mail to the MX listener; returns the reply to the content.
fn hand_in(host: &Host, sender: &str, recipient: &str, content: &str) -> Result<()> {
    let mut client = Client::connect(host.address("mx starttls"))?;
    client.expect(220)?;
    client.command("EHLO mx.receiver.example", 250)?;
    client.command(&format!("MAIL FROM:<{sender}>"), 250)?;
    client.command(&format!("RCPT TO:<{recipient}>"), 250)?;
    client.command("DATA", 354)?;
    client.send(content.replace('\n', "\r\n"))?;
    client.send(".\r\n")?;
    client.expect(250)?;
    Ok(())
}

fn dsn(action: &str, status: &str, recipient: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.receiver.example\nTo: <bounces@example.com>\nSubject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: text/plain\n\nSorry.\n--b\n\
         Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.receiver.example\n\nFinal-Recipient: rfc822; {recipient}\nAction: {action}\n\
         Status: {status}\nDiagnostic-Code: smtp; 550 {status} no such user\n--b--\n"
    )
}

/// Waits for an event of a message, and returns it.
fn event(host: &Host, message: &str, name: &str) -> Result<Value> {
    wait_for(&format!("the event {name}"), || {
        let shown = host.json(&["message", "show", message]).ok()?;
        shown["events"].as_array()?.iter().find(|event| event["event"] == name).cloned()
    })
}

#[test]
fn f3_forged_return_paths_are_refused() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = taking(&zone, &peer, "", "")?;
    let (_, reverse_path) = send_tracked(&host, &peer, "sender@example.com", "anna@receiver.example", "")?;
    let mut client = Client::connect(host.address("mx starttls"))?;
    client.expect(220)?;
    client.command("EHLO mx.receiver.example", 250)?;
    client.command("MAIL FROM:<>", 250)?;
    let forged = reverse_path.replacen(&reverse_path[20..22], if &reverse_path[20..22] == "aa" { "bb" } else { "aa" }, 1);
    for other in [forged.as_str(), "bounces+aaaa@bounces.example.com", "anybody@bounces.example.com"] {
        client.command(&format!("RCPT TO:<{other}>"), 550)?;
    }
    // Servers fold case.
    client.command(&format!("RCPT TO:<{}>", reverse_path.to_uppercase()), 250)?;
    Ok(())
}

#[test]
fn f6_a_dsn_that_comes_later_makes_a_failure_of_what_was_delivered() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = taking(&zone, &peer, "", "")?;
    let (id, reverse_path) = send_tracked(&host, &peer, "sender@example.com", "anna@receiver.example", "")?;
    hand_in(&host, "", &reverse_path, &dsn("failed", "5.1.1", "anna@receiver.example"))?;
    let bounced = event(&host, &id, "bounced")?;
    ensure!(
        bounced["status"] == "5.1.1" && bounced["class"] == "unknown_user" && bounced["address"] == "anna@receiver.example",
        "{bounced}"
    );
    ensure!(bounced["report"].is_string(), "{bounced}");
    wait_for("the state", || (host.json(&["message", "search", "state:bounced"]).ok()?["total"] == 1).then_some(()))?;
    // It goes on to the sender of the envelope, from nobody.
    let forwarded = mail_to(&peer, "sender@example.com")?;
    ensure!(
        forwarded.from.is_empty() && forwarded.text().contains("Final-Recipient: rfc822; anna@receiver.example"),
        "{}",
        forwarded.text()
    );
    host.wait_for_empty_queue()
}

#[test]
fn f4_a_dsn_goes_on_only_where_notify_allows_it() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = taking(&zone, &peer, "", "")?;
    let (id, reverse_path) = send_tracked(&host, &peer, "mute@example.com", "anna@receiver.example", " NOTIFY=NEVER")?;
    hand_in(&host, "", &reverse_path, &dsn("failed", "5.1.1", "anna@receiver.example"))?;
    event(&host, &id, "bounced")?;
    // What is no DSN goes on all the same.
    hand_in(&host, "anna@receiver.example", &reverse_path, "From: anna@receiver.example\nSubject: Re: tracked\n\nThank you.\n")?;
    let forwarded = mail_to(&peer, "mute@example.com")?;
    ensure!(forwarded.text().contains("Thank you."), "{}", forwarded.text());
    host.wait_for_empty_queue()?;
    ensure!(peer.taken().iter().filter(|mail| mail.to == ["mute@example.com"]).count() == 1);
    Ok(())
}

#[test]
fn f7_out_of_office_is_a_response_and_no_failure() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = taking(&zone, &peer, "bounce_management = \"ignore\"\n", "")?;
    let (id, reverse_path) = send_tracked(&host, &peer, "sender@example.com", "anna@receiver.example", "")?;
    hand_in(
        &host,
        "",
        &reverse_path,
        "From: anna@receiver.example\nSubject: Out of office: tracked\nAuto-Submitted: auto-replied\n\nI am away.\n",
    )?;
    let responded = event(&host, &id, "responded")?;
    ensure!(responded["kind"] == "auto_reply" && responded["subject"] == "Out of office: tracked", "{responded}");
    // The mail itself is kept under its own id.
    let kept = host.json(&["message", "show", responded["report"].as_str().unwrap()])?;
    ensure!(kept.to_string().contains("Out of office: tracked"), "{kept}");
    let shown = host.json(&["message", "show", &id])?;
    ensure!(shown["events"].as_array().unwrap().iter().all(|event| event["event"] != "bounced"), "{shown}");
    host.wait_for_empty_queue()?;
    ensure!(peer.count() == 1, "management ignores what comes back");
    Ok(())
}

#[test]
fn f8_mail_that_comes_back_is_forwarded_or_posted() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = taking(&zone, &peer, "bounce_management = { forward = \"ops@example.com\" }\n", "")?;
    let (_, reverse_path) = send_tracked(&host, &peer, "sender@example.com", "anna@receiver.example", "")?;
    hand_in(&host, "", &reverse_path, &dsn("failed", "5.1.1", "anna@receiver.example"))?;
    ensure!(mail_to(&peer, "ops@example.com")?.from.is_empty());
    host.wait_for_empty_queue()?;

    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let management = format!("bounce_management = {{ callback = \"http://{}/hook\" }}\n", listener.local_addr()?);
    let peer = Peer::start()?;
    let host = Host::start(
        &(tracking(&peer, &management) + "callback_private = true\n" + BOXES).replacen(
            "[server]\n",
            &format!("[server]\nnameservers = [\"{}\"]\n", zone.address()),
            1,
        ),
        &[],
    )?;
    let (id, reverse_path) = send_tracked(&host, &peer, "sender@example.com", "anna@receiver.example", "")?;
    hand_in(&host, "", &reverse_path, &dsn("failed", "5.1.1", "anna@receiver.example"))?;
    let body = posted(&listener)?;
    ensure!(body["id"] == *id && body["type"] == "bounce" && body["recipient"] == "anna@receiver.example", "{body}");
    ensure!(body["envelope"] == "sender@example.com" && body["time"].is_u64() && body["tags"].is_array(), "{body}");
    ensure!(body["mime"].as_str().is_some_and(|mime| mime.contains("Final-Recipient: rfc822; anna@receiver.example")), "{body}");
    host.wait_for_empty_queue()
}

/// Takes one POST, and returns its JSON.
fn posted(listener: &std::net::TcpListener) -> Result<Value> {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(tubepost_tests::wait::PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    Ok(serde_json::from_slice(&body)?)
}

#[test]
fn f9_a_complaint_finds_its_message() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = taking(&zone, &peer, "", "")?;
    let (id, reverse_path) = send_tracked(&host, &peer, "sender@example.com", "anna@receiver.example", "")?;
    let report = format!(
        "From: fbl@receiver.example\nSubject: complaint\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\n\
         Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: Loop/1.0\nVersion: 1\nOriginal-Mail-From: <{reverse_path}>\n--b\n\
         Content-Type: text/rfc822-headers\n\nSubject: tracked\n--b--\n"
    );
    hand_in(&host, "fbl@receiver.example", "fbl@in.example.com", &report)?;
    let complained = event(&host, &id, "complained")?;
    ensure!(
        complained["kind"] == "abuse" && complained["by"] == "Loop/1.0" && complained["address"] == "anna@receiver.example",
        "{complained}"
    );
    Ok(())
}

#[test]
fn g14_a_dmarc_report_by_mail_is_read() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = taking(&zone, &peer, "senders = [\"*@example.com\"]", "")?;
    let xml = "<feedback><report_metadata><org_name>Receiver</org_name><email>dmarc@receiver.example</email><report_id>1</report_id><date_range>\
               <begin>1764028800</begin><end>1764115199</end></date_range></report_metadata><policy_published><domain>example.com</domain></policy_published>\
               <record><row><source_ip>192.0.2.1</source_ip><count>7</count><policy_evaluated><dkim>fail</dkim><spf>pass</spf></policy_evaluated></row></record></feedback>";
    let subject = "Report Domain: example.com Submitter: receiver.example Report-ID: 1";
    let mail = |xml: &str| format!("From: dmarc@receiver.example\nSubject: {subject}\nContent-Type: text/xml; name=\"r.xml\"\n\n{xml}\n");
    hand_in(&host, "dmarc@receiver.example", "dmarc@in.example.com", &mail(&format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{xml}")))?;
    hand_in(&host, "dmarc@receiver.example", "dmarc@in.example.com", &mail(xml))?;
    let ids = wait_for("both mails", || {
        let found = host.json(&["message", "search", "login:@inbound"]).ok()?;
        let ids: Vec<String> = found["messages"]
            .as_array()?
            .iter()
            .filter_map(|found| found["message"].as_str().or(found["id"].as_str()).map(str::to_owned))
            .collect();
        (ids.len() == 2).then_some(ids)
    })?;
    let reports: Vec<Value> = ids
        .iter()
        .flat_map(|id| host.json(&["message", "show", id]).unwrap()["events"].as_array().unwrap().clone())
        .filter(|event| event["event"] == "dmarc_reported")
        .collect();
    let [report] = &reports[..] else { anyhow::bail!("{reports:?}") };
    ensure!(report["organisation"] == "Receiver" && report["domain"] == "example.com" && report["messages"] == 7, "{report}");
    ensure!(report["failed_dkim"] == 7 && report["failed_spf"] == 0, "{report}");
    // The days, and the XML as it came, for logins that may send from the domain.
    let asked = |path: &str| get(host.address("http none"), &format!("{path}?access_token={SECOND_TOKEN}"));
    let days = asked("/v1/dmarc")?;
    ensure!(days.status == 200 && days.text() == "[\"2025-11-25\"]", "{}", days.text());
    let found = asked("/v1/dmarc/2025-11-25/receiver.example/example.com")?;
    ensure!(found.status == 200 && found.text().trim() == xml, "{}", found.text());
    ensure!(asked("/v1/dmarc/2025-11-25/receiver.example/example.com/1")?.status == 404);
    ensure!(asked("/v1/dmarc/2025-11-25/receiver.example/other.example")?.status == 404);
    ensure!(get(host.address("http none"), "/v1/dmarc")?.status == 401);
    Ok(())
}
