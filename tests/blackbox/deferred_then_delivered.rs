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
