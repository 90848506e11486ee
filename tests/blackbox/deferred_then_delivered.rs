//! 4xx comes again, 5xx becomes a report, each recipient for itself.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};
use tubepost_tests::wait::wait_for;

#[test]
fn each_recipient_has_its_own_fate() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), "[delivery]\nretry_first = \"100ms\"\n"), &[])?;
    peer.refuse_next("later@example.net", "451 4.7.1 greylisted, come back");
    peer.refuse_next("gone@example.net", "550 5.1.1 no such user");
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    let id = client.deliver("sender@example.com", &["good@example.net", "later@example.net", "gone@example.net"], &message("fates"))?;

    let taken = wait_for("the copies and the report", || {
        let taken = peer.taken();
        let reached = |address: &str| taken.iter().any(|mail| mail.to.iter().any(|to| to == address));
        (reached("good@example.net") && reached("later@example.net") && reached("sender@example.com")).then_some(taken)
    })?;
    assert_eq!(taken.iter().filter(|mail| mail.to.iter().any(|to| to == "later@example.net")).count(), 1);
    let report = taken.iter().find(|mail| mail.to == ["sender@example.com"]).unwrap();
    assert_eq!(report.from, "", "a report comes from the null reverse-path");
    let text = report.text();
    for expected in [
        "multipart/report",
        "report-type=delivery-status",
        "Final-Recipient: rfc822; gone@example.net",
        "Action: failed",
        "Status: 5.1.1",
        "550 5.1.1 no such user",
        "Subject: fates",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    assert!(!text.contains("good@example.net") || !text.contains("Final-Recipient: rfc822; good@example.net"), "{text}");

    let shown = wait_for("an empty queue", || {
        let output = host.command(&["queue", "list", "--json"]).ok()?;
        (String::from_utf8_lossy(&output.stdout).trim() == "[]").then(|| host.command(&["message", "show", &id]))
    })??;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for expected in ["good@example.net", "later@example.net", "gone@example.net", "greylisted", "no such user"] {
        assert!(shown.contains(expected), "{expected:?} is missing in:\n{shown}");
    }
    Ok(())
}

#[test]
fn what_stays_deferred_is_given_up_and_reported() -> Result<()> {
    let peer = Peer::start()?;
    let more = "[delivery]\nretry_first = \"50ms\"\nretry_longest = \"100ms\"\ngive_up = \"1s\"\n";
    let host = Host::start(&config(peer.address(), more), &[])?;
    for _ in 0..1000 {
        peer.refuse_next("never@example.net", "451 4.7.1 not today");
    }
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    let id = client.deliver("sender@example.com", &["never@example.net"], &message("given up"))?;
    let report = peer.wait(1)?.remove(0);
    assert_eq!((report.from.as_str(), report.to.as_slice()), ("", ["sender@example.com".to_owned()].as_slice()));
    for expected in ["Final-Recipient: rfc822; never@example.net", "Action: failed", "not today"] {
        assert!(report.text().contains(expected), "{expected:?} is missing in:\n{}", report.text());
    }
    let attempts = peer.transcript().iter().filter(|line| line.contains("RCPT TO:<never@example.net>")).count();
    assert!(attempts > 1, "it was tried again before");
    let events = host.json(&["message", "show", &id])?["events"].clone();
    let names: Vec<&str> = events.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap_or_default()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"accepted"), Some(&"bounced")), "{names:?}");
    host.wait_for_empty_queue()
}

#[test]
fn who_wants_no_report_gets_none() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    // A null reverse-path has nobody to report to (RFC 5321 §4.5.5); NOTIFY=NEVER says so in words (RFC 3461 §4.1).
    for (number, (sender, notify)) in [("", ""), ("sender@example.com", " NOTIFY=NEVER")].into_iter().enumerate() {
        // Another one each time: who was gone once is on the suppression list.
        let gone = format!("gone{number}@example.net");
        peer.refuse_next(&gone, "550 5.1.1 no such user");
        client.command(&format!("MAIL FROM:<{sender}>"), 250)?;
        client.command(&format!("RCPT TO:<{gone}>{notify}"), 250)?;
        client.command("DATA", 354)?;
        client.send(message("unreported"))?;
        client.send(".\r\n")?;
        client.expect(250)?;
        wait_for("the bounce", || {
            let found = host.json(&["message", "search", "state:bounced"]).ok()?;
            (found["total"] == number + 1).then_some(())
        })?;
    }
    host.wait_for_empty_queue()?;
    assert_eq!(peer.count(), 0);
    Ok(())
}

#[test]
fn f1_what_is_deferred_survives_a_kill_and_is_delivered_at_the_second_attempt() -> Result<()> {
    let peer = Peer::start()?;
    let mut host = Host::start(&config(peer.address(), "[delivery]\nretry = [\"8s\", \"1m\"]\nretry_jitter = 0\n"), &[])?;
    peer.refuse_next("later@example.net", "451 4.3.0 come back");
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    let id = client.deliver("sender@example.com", &["later@example.net"], &message("twice"))?;
    wait_for("the deferral", || {
        let shown = host.json(&["message", "show", &id]).ok()?;
        shown["events"].as_array()?.iter().any(|event| event["event"] == "deferred").then_some(())
    })?;
    host.kill()?;
    host.launch()?;
    assert_eq!(peer.wait(1)?.remove(0).to, ["later@example.net"]);
    host.wait_for_empty_queue()?;
    let attempts = peer.transcript().iter().filter(|line| line.contains("RCPT TO:<later@example.net>")).count();
    assert_eq!(attempts, 2);
    Ok(())
}
