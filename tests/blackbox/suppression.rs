//! The suppression list and the allow list: what puts addresses there, and that no way in knows less of them than another.

use anyhow::Result;
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{post_json, request};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, config, message};
use tubepost_tests::wait::wait_for;

const GONE: &str = "550 5.1.1 no such user here";

/// Sends a message as `plain` to `to` over SMTP; returns its id.
fn send(host: &Host, to: &[&str]) -> Result<String> {
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.deliver("sender@example.com", to, &message("listed"))
}

/// How often somebody was named to the peer.
fn named(peer: &Peer, address: &str) -> usize {
    peer.transcript().iter().filter(|line| line.contains(&format!("RCPT TO:<{address}>"))).count()
}

/// Waits until an address is on the suppression list; returns its entry.
fn wait_for_entry(host: &Host, address: &str) -> Result<Value> {
    wait_for(&format!("{address} on the list"), || {
        let listed = host.json(&["suppression", "list", "--filter", address]).ok()?;
        listed["results"].get(0).cloned()
    })
}

/// Waits until a message has come to a state; returns it.
fn wait_for_state(host: &Host, id: &str, state: &str) -> Result<Value> {
    wait_for(&format!("{id} {state}"), || {
        let shown = host.json(&["message", "show", id]).ok()?;
        (shown["summary"]["state"] == state).then_some(shown)
    })
}

#[test]
fn f10_a_hard_bounce_suppresses_the_next_mail_over_every_way_in() -> Result<()> {
    let peer = Peer::start()?;
    let mut host = Host::start(&config(peer.address(), ""), &[])?;
    peer.refuse_next("ann@example.net", GONE);
    let first = send(&host, &["ann@example.net"])?;
    let entry = wait_for_entry(&host, "ann@example.net")?;
    assert_eq!(
        (&entry["scope"], &entry["source"], &entry["sender"], &entry["subject"]),
        (&json!("login:plain"), &json!("bounce"), &json!("sender@example.com"), &json!("listed"))
    );
    assert!(entry["reason"].as_str().is_some_and(|reason| reason.contains(GONE)), "{entry}");
    assert_eq!(wait_for_state(&host, &first, "bounced")?["summary"]["recipient_count"], 1);
    assert_eq!(named(&peer, "ann@example.net"), 1);

    // SMTP: taken, dropped for her and for nobody else, and found as such. Case is no way around.
    let second = send(&host, &["Ann@Example.net", "bob@example.net"])?;
    let shown = wait_for_state(&host, &second, "delivered")?;
    let events = shown["events"].as_array().cloned().unwrap_or_default();
    let dropped = events.iter().find(|event| event["event"] == "suppressed").unwrap();
    assert_eq!((&dropped["recipient"], &dropped["source"]), (&json!(0), &json!("bounce")));
    wait_for("the search to find it", || {
        let found = host.json(&["message", "search", "state:suppressed"]).ok()?;
        (found["total"] == 1).then_some(())
    })?;
    // A message that goes to nobody else is dropped as a whole.
    let third = send(&host, &["ann@example.net"])?;
    wait_for_state(&host, &third, "suppressed")?;

    // REST: as each dialect says it.
    let http = host.address("http none");
    let letter = json!({ "from": "sender@example.com", "to": "ann@example.net", "subject": "s", "textbody": "t" });
    let refused = post_json(http, "/api/v1/send", &[("MailPace-Server-Token", TOKEN)], &letter)?;
    assert_eq!((refused.status, refused.json()?), (400, json!({ "errors": { "to": ["contains a blocked address"] } })));
    let letter = json!({ "from": "sender@example.com", "to": "ann@example.net", "subject": "s", "content": "t" });
    let taken = post_json(http, "/api/mail/send", &[("authuser", "plain"), ("authpass", PASSWORD)], &letter)?;
    assert_eq!((taken.status, taken.json()?), (200, json!({ "message": "OK" })));
    wait_for_state(&host, taken.header("x-tubepost-message-id").unwrap_or_default(), "suppressed")?;
    let letter = json!({ "envelope": "sender@example.com", "recipient": "ann@example.net", "from": "sender@example.com", "subject": "s", "text": "t" });
    let taken = post_json(http, &format!("/v1/send?access_token={TOKEN}"), &[], &letter)?;
    assert_eq!(taken.status, 200, "{}", taken.text());
    wait_for_state(&host, taken.header("x-tubepost-message-id").unwrap_or_default(), "suppressed")?;
    let metrics = request(http, "GET", "/metrics", &[], b"")?.text();
    assert!(metrics.lines().any(|line| line.contains("outcome=\"suppressed\"") && line.ends_with(" 4")), "{metrics}");

    // It outlives the process, and another login has a list of its own.
    host.kill()?;
    host.launch()?;
    let fourth = send(&host, &["ann@example.net"])?;
    wait_for_state(&host, &fourth, "suppressed")?;
    assert_eq!(named(&peer, "ann@example.net"), 1, "nobody has named her again");
    let mut client = Client::login(host.address("smtp none"), "marketing", PASSWORD)?;
    client.deliver("news@example.com", &["ann@example.net"], &message("another login"))?;
    wait_for("her mail from another login", || (named(&peer, "ann@example.net") == 2).then_some(()))?;
    host.wait_for_empty_queue()
}

#[test]
fn an_entry_that_comes_while_a_copy_waits_stops_it() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), "[delivery]\nretry_first = \"1h\"\nretry_longest = \"1h\"\n"), &[])?;
    peer.refuse_next("ann@example.net", "451 4.2.1 later");
    let id = send(&host, &["ann@example.net", "bob@example.net"])?;
    wait_for_state(&host, &id, "deferred")?;
    host.say(&["suppression", "add", "--scope", "domain:example.com", "--reason", "asked on the phone", "ann@example.net"])?;
    host.say(&["queue", "retry", &id])?;
    let shown = wait_for_state(&host, &id, "delivered")?;
    assert_eq!(shown["summary"]["copies"]["0"]["state"], "suppressed");
    let reply = shown["summary"]["copies"]["0"]["reply"].as_str().unwrap_or_default();
    assert!(reply.contains("domain:example.com") && reply.contains("asked on the phone"), "{reply}");
    assert_eq!(named(&peer, "ann@example.net"), 1);
    host.wait_for_empty_queue()
}

#[test]
fn f11_who_is_allowed_gets_mail_and_no_bounce_blocks_him() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    host.say(&["suppression", "allow", "add", "--scope", "login:plain", "ann@example.net"])?;
    peer.refuse_next("ann@example.net", GONE);
    peer.refuse_next("bob@example.net", GONE);
    let id = send(&host, &["ann@example.net", "bob@example.net"])?;
    wait_for_state(&host, &id, "bounced")?;
    // The log is read in order: she stands before him or in the same commit.
    wait_for_entry(&host, "bob@example.net")?;
    let listed = host.json(&["suppression", "list"])?;
    assert_eq!(listed["count"], 1, "{listed}");
    // A block that there is already counts no more than one that comes.
    host.say(&["suppression", "add", "ann@example.net"])?;
    let id = send(&host, &["ann@example.net"])?;
    wait_for_state(&host, &id, "delivered")?;
    let check = host.json(&["suppression", "check", "--login", "plain", "ann@example.net"])?;
    assert_eq!(check, json!({ "suppressed_by": null, "allowed": true }));
    host.say(&["suppression", "allow", "remove", "--scope", "login:plain", "ann@example.net"])?;
    let id = send(&host, &["ann@example.net"])?;
    wait_for_state(&host, &id, "suppressed")?;
    assert_eq!(named(&peer, "ann@example.net"), 2);
    host.wait_for_empty_queue()
}

#[test]
fn what_fills_the_list_is_the_logins_choice() -> Result<()> {
    let peer = Peer::start()?;
    let keys = "route = \"peer\"\nsuppress = [\"unsubscribe\"]\n";
    let host = Host::start(&config(peer.address(), &tubepost_tests::setup::login("choosy", keys)), &[])?;
    peer.refuse_next("ann@example.net", GONE);
    peer.refuse_next("bob@example.net", GONE);
    let mut client = Client::login(host.address("smtp none"), "choosy", PASSWORD)?;
    client.deliver("sender@example.com", &["ann@example.net"], &message("not on the list"))?;
    wait_for("the bounce", || (named(&peer, "ann@example.net") == 1).then_some(()))?;
    send(&host, &["bob@example.net"])?;
    wait_for_entry(&host, "bob@example.net")?;
    assert_eq!(host.json(&["suppression", "list"])?["count"], 1);
    host.wait_for_empty_queue()
}

#[test]
fn who_unsubscribes_gets_no_more() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let newsletter = || -> Result<String> {
        let mut client = Client::login(host.address("smtp none"), "marketing", PASSWORD)?;
        client.deliver("news@example.com", &["ann@example.net"], include_bytes!("messages/newsletter.eml"))
    };
    newsletter()?;
    let mail = peer.wait(1)?.remove(0);
    let header = mail.header("List-Unsubscribe").unwrap();
    let link = header.split("http://links.example.com").nth(1).and_then(|rest| rest.split('>').next()).unwrap();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let done = request(host.address("http none"), "POST", link, &form, b"List-Unsubscribe=One-Click")?;
    assert_eq!(done.status, 200, "{}", done.text());
    let entry = wait_for_entry(&host, "ann@example.net")?;
    assert_eq!((&entry["scope"], &entry["source"]), (&json!("login:marketing"), &json!("unsubscribe")));
    let id = newsletter()?;
    wait_for_state(&host, &id, "suppressed")?;
    assert_eq!(peer.count(), 1);
    host.wait_for_empty_queue()
}
