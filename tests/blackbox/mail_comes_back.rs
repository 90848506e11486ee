//! Mail that comes back, where something goes wrong: the server is killed behind its 250, a complaint is made up, what was forwarded bounces.

use anyhow::{Context as _, Result};
use serde_json::Value;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

/// A server whose login `tracked` has its bounces come back to `bounces.example.com`, and which has addresses for reports.
fn start(zone: &Zone, peer: &Peer, more: &str) -> Result<Host> {
    let sections = format!(
        r#"
[[listen]]
kind = "mx"
address = "127.0.0.1:0"
tls = "starttls"

[bounces]
domain = "bounces.example.com"

[[inbound]]
domain = "reports.example.com"
recipients = ["fbl"]
action = "complaints"

{more}
{}"#,
        login("tracked", "route = \"peer\"\nbounces = \"track\"")
    );
    let text = config(peer.address(), &sections);
    Host::start(&text.replacen("[server]\n", &format!("[server]\nnameservers = [\"{}\"]\n", zone.address()), 1), &[])
}

/// Sends a message to two recipients; returns its id, and what the second one got.
fn send(host: &Host, peer: &Peer) -> Result<(String, Taken)> {
    let mut client = Client::login(host.address("smtp none"), "tracked", PASSWORD)?;
    let id = client.deliver("news@example.com", &["one@example.net", "two@example.net"], &message("sent"))?;
    let taken = wait_for("the second copy", || peer.taken().into_iter().find(|mail| mail.to == ["two@example.net"]))?;
    host.wait_for_empty_queue()?;
    Ok((id, taken))
}

fn bring(host: &Host, from: &str, to: &str, content: &str) -> Result<String> {
    let mut client = Client::connect(host.address("mx starttls"))?;
    client.expect(220)?;
    client.command("EHLO mx.example.net", 250)?;
    client.deliver(from, &[to], content.replace('\n', "\r\n").as_bytes())
}

fn shown(host: &Host, id: &str) -> Result<Value> {
    host.json(&["message", "show", id])
}

/// The events of a kind that a message has.
fn events(host: &Host, id: &str, kind: &str) -> Result<Vec<Value>> {
    let shown = shown(host, id)?;
    let events = shown["events"].as_array().context("events")?;
    Ok(events.iter().filter(|event| event["event"] == kind).cloned().collect())
}

fn wait_for_event(host: &Host, id: &str, kind: &str) -> Result<Value> {
    wait_for(&format!("the event {kind}"), || events(host, id, kind).ok()?.pop())
}

const DSN: &str = "From: MAILER-DAEMON@mx.example.net
To: sender
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; two@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user
--b--
";

#[test]
fn f6_what_a_dsn_says_is_on_disk_with_it() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let mut host = start(&zone, &peer, "")?;
    let (id, copy) = send(&host, &peer)?;
    assert!(copy.from.starts_with("bounces+") && copy.from.ends_with("@bounces.example.com"), "{}", copy.from);
    // Servers on the way fold case.
    let report = bring(&host, "", &copy.from.to_uppercase(), DSN)?;
    // It was on disk before the 250, with what follows from it.
    host.kill()?;
    host.launch()?;
    let bounced = wait_for_event(&host, &id, "bounced")?;
    assert_eq!(&bounced["recipient"], 1, "{bounced}");
    assert_eq!(
        (&bounced["class"], &bounced["status"], &bounced["report"]),
        (&"unknown_user".into(), &"5.1.1".into(), &Value::from(report.clone()))
    );
    let summary = wait_for("the state", || {
        let shown = shown(&host, &id).ok()?;
        (shown["summary"]["state"] == "bounced").then(|| shown["summary"].clone())
    })?;
    assert_eq!(summary["copies"]["0"]["state"], "delivered", "{summary}");
    Ok(())
}

#[test]
fn f9_a_complaint_that_is_made_up_is_about_nothing() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, &peer, "")?;
    let (id, copy) = send(&host, &peer)?;
    let complaint = |return_path: &str| {
        format!(
            "From: feedback@provider.example\nTo: fbl@reports.example.com\nSubject: complaint\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: text/plain\n\nA complaint.\n\
             --b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: ProviderFBL/1.0\nVersion: 1\n\
             --b\nContent-Type: message/rfc822\n\nReturn-Path: <{return_path}>\nFrom: news@example.com\nSubject: sent\n\nHello.\n--b--\n"
        )
    };
    bring(&host, "feedback@provider.example", "fbl@reports.example.com", &complaint(&copy.from))?;
    let complained = wait_for_event(&host, &id, "complained")?;
    assert_eq!((&complained["kind"], &complained["by"], &complained["recipient"]), (&"abuse".into(), &"ProviderFBL/1.0".into(), &1.into()));
    // Anybody can say so of an address that he makes up.
    let forged = bring(&host, "x@provider.example", "fbl@reports.example.com", &complaint("bounces+aaaa@bounces.example.com"))?;
    wait_for_event(&host, &forged, "received")?;
    assert_eq!(events(&host, &id, "complained")?.len(), 1);
    Ok(())
}

#[test]
fn what_was_forwarded_bounces_to_nobody() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let forward = "[[inbound]]\ndomain = \"in.example.com\"\nrecipients = [\"info\"]\naction = \"forward\"\nto = \"desk@example.net\"\nroute = \"peer\"\n";
    let host = start(&zone, &peer, forward)?;
    for sender in ["forged@victim.example", ""] {
        bring(&host, sender, "info@in.example.com", "From: a@victim.example\nSubject: x\n\nx\n")?;
    }
    let taken = peer.wait(2)?;
    assert!(taken.iter().all(|mail| mail.from.is_empty() && mail.to == ["desk@example.net"]), "{taken:?}");
    host.wait_for_empty_queue()
}
