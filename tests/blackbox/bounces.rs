//! Mail that does not arrive: whose address bounces come back to, and what the sender hears.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::post_json;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, config, login, message};
use tubepost_tests::wait::wait_for;

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
    let found = host.json(&["message", "search", "state:bounced"])?;
    ensure!(found["total"] == 5, "{found}");
    Ok(())
}

#[test]
fn f5_a_failure_comes_back_in_full_or_as_its_header() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    for (ret, kind, has_body) in
        [("", "text/rfc822-headers", false), (" RET=HDRS", "text/rfc822-headers", false), (" RET=FULL", "message/rfc822", true)]
    {
        let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
        peer.refuse_next("gone@example.net", "550 5.1.1 no such user");
        let before = peer.count();
        client.command(&format!("MAIL FROM:<sender@example.com>{ret} ENVID=order-7"), 250)?;
        client.command("RCPT TO:<gone@example.net> ORCPT=rfc822;old@example.net", 250)?;
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
            "Final-Recipient: rfc822; gone@example.net",
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
