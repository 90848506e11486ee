//! The queue is looked at and steered by what mail is and what it waits for, from the command line and over REST.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::request;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, login, message};
use tubepost_tests::wait::wait_for;

/// Retries come so late that nothing happens by itself.
const LATE: &str = "[delivery]\nretry_first = \"1h\"\n";

/// A server with copies that wait: `later@example.net` and `late@sub.example.org` of `plain` are deferred, and `tagged@example.net` of `other`.
fn start(peer: &Peer) -> Result<(Host, Vec<String>)> {
    let administrator = format!("[[administrators]]\nname = \"root\"\ntoken = \"{SECOND_TOKEN_HASH}\"\n");
    let other = login("other", "route = \"peer\"\nchain = \"marked\"");
    let config = config(peer.address(), &format!("{LATE}{administrator}{other}")).replace("[chains]\n", "[chains]\nmarked = [\"tags\"]\n");
    let host = Host::start(&config, &[])?;
    let mut ids = Vec::new();
    for (login, to, tag) in
        [("plain", "later@example.net", ""), ("plain", "late@sub.example.org", ""), ("other", "tagged@example.net", "spring")]
    {
        peer.refuse_next(to, "451 4.2.1 mailbox is busy");
        let mut content = if tag.is_empty() { Vec::new() } else { format!("X-Tubepost-Tags: {tag}\r\n").into_bytes() };
        content.extend(message("waiting"));
        ids.push(Client::login(host.address("smtp none"), login, PASSWORD)?.deliver("sender@example.com", &[to], &content)?);
    }
    wait_for("the deferrals", || (host.json(&["queue", "list", "--status", "deferred"]).ok()?.as_array()?.len() == 3).then_some(()))?;
    Ok((host, ids))
}

fn recipients(copies: &Value) -> Vec<&str> {
    copies.as_array().unwrap().iter().map(|copy| copy["recipient"].as_str().unwrap()).collect()
}

/// What an id is in octets: it is written in Crockford's base32.
fn octets(id: &str) -> [u8; 16] {
    let digit = |digit| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars().position(|own| own == digit).unwrap() as u128;
    id.chars().fold(0_u128, |value, next| (value << 5) | digit(next)).to_be_bytes()
}

fn call(host: &Host, method: &str, target: &str, token: &str, body: &Value) -> Result<(u16, Value)> {
    let bearer = format!("Bearer {token}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let response = request(host.address("http none"), method, target, &headers, body.as_bytes())?;
    Ok((response.status, response.json()?))
}

#[test]
fn copies_are_found_by_what_they_are_and_what_they_wait_for() -> Result<()> {
    let peer = Peer::start()?;
    let (host, ids) = start(&peer)?;
    for (choice, expected) in [
        (&["--domain", "example.net"][..], &["later@example.net", "tagged@example.net"][..]),
        (&["--domain", "*.example.org"], &["late@sub.example.org"]),
        (&["--login", "other"], &["tagged@example.net"]),
        (&["--tag", "spring"], &["tagged@example.net"]),
        (&["--login", "plain", "--domain", "example.net"], &["later@example.net"]),
        (&["--route", "peer", "--status", "deferred", "--limit", "2"], &["later@example.net", "late@sub.example.org"]),
        (&["--queue", "peer", "--after", &ids[0]], &["late@sub.example.org", "tagged@example.net"]),
        (&["--status", "held"], &[]),
        (&["--route", "sandbox"], &[]),
    ] {
        let found = host.json(&[&["queue", "list"], choice].concat())?;
        assert_eq!(recipients(&found), expected, "{choice:?}");
        assert!(found.as_array().unwrap().iter().all(|copy| copy["last"] == "451 4.2.1 mailbox is busy"), "{found}");
    }
    let output = host.command(&["queue", "list", "--limit", "1"])?;
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains(&format!("go on with --after {}", ids[0])), "{said}");
    assert!(!host.command(&["queue", "list", "--status", "odd"])?.status.success());

    let summary = host.json(&["queue", "summary", "--by", "domain"])?;
    let group = &summary["groups"][0];
    assert_eq!((&group["name"], &group["copies"], &group["deferred"]), (&json!("example.net"), &json!(2), &json!(2)), "{summary}");
    assert_eq!((&group["last"], &summary["cut"]), (&json!("451 4.2.1 mailbox is busy"), &json!(false)), "{summary}");
    assert!(group["next"].as_u64() > group["oldest"].as_u64(), "{summary}");
    for (by, names) in [("login", vec!["plain", "other"]), ("route", vec!["peer"]), ("queue", vec!["peer"]), ("tag", vec!["", "spring"])] {
        let summary = host.json(&["queue", "summary", "--by", by])?;
        let found: Vec<_> = summary["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
        assert_eq!((found, &summary["total"]["copies"]), (names, &json!(3)), "{by}");
    }
    let said = host.say(&["queue", "summary", "--by", "login", "--domain", "example.net"])?;
    assert!(said.contains("other") && said.contains("mailbox is busy") && said.contains("total"), "{said}");
    Ok(())
}

#[test]
fn a_choice_of_copies_is_made_due_or_taken_out() -> Result<()> {
    let peer = Peer::start()?;
    let (host, ids) = start(&peer)?;
    for wrong in [
        &["queue", "retry"][..],
        &["queue", "cancel"],
        &["queue", "cancel", "all", &ids[0]],
        &["queue", "cancel", &ids[0], "--reason", "x"],
    ] {
        assert!(!host.command(wrong)?.status.success(), "{wrong:?}");
    }
    assert!(host.say(&["queue", "retry", "all", "--after", &ids[2]])?.contains("0 copies due now"));
    assert!(host.say(&["queue", "retry", "--domain", "example.net", "--login", "plain"])?.contains("1 copy due now"));
    assert_eq!(peer.wait(1)?.remove(0).to, ["later@example.net"]);
    // The sender hears of it, in a report that goes the way of the message.
    assert!(host.say(&["queue", "cancel", "--tag", "spring", "--bounce", "--reason", "a wrong list"])?.contains("1 copy cancelled"));
    let report = peer.wait(2)?.remove(1);
    assert_eq!((report.from.as_str(), report.to.as_slice()), ("", &["sender@example.com".to_owned()][..]));
    for expected in ["Final-Recipient: rfc822; tagged@example.net", "Action: failed", "Status: 5.7.1", "a wrong list"] {
        assert!(report.text().contains(expected), "{expected:?} is missing in\n{}", report.text());
    }
    assert!(host.say(&["message", "show", &ids[2]])?.contains("a wrong list"));
    assert_eq!(host.json(&["suppression", "list"])?["count"], 0, "nobody is to blame");
    assert!(host.say(&["queue", "cancel", "all", "--after", &ids[1]])?.contains("0 copies cancelled"));
    assert!(host.say(&["queue", "cancel", "all", "--after", &ids[0]])?.contains("1 copy cancelled"));
    host.wait_for_empty_queue()?;
    assert_eq!(peer.count(), 2, "without --bounce nobody is told");
    Ok(())
}

#[test]
fn a_login_sees_and_steers_its_own_queue_over_rest() -> Result<()> {
    let peer = Peer::start()?;
    let (host, ids) = start(&peer)?;
    let get = |target: &str, token| call(&host, "GET", target, token, &Value::Null);
    let (status, own) = get("/v1/queue", TOKEN)?;
    assert_eq!((status, recipients(&own["copies"])), (200, vec!["later@example.net", "late@sub.example.org"]), "{own}");
    let (_, page) = get("/v1/queue?limit=1", SECOND_TOKEN)?;
    let (_, rest) = get(&format!("/v1/queue?after={}", page["next"].as_str().unwrap()), SECOND_TOKEN)?;
    assert_eq!(recipients(&rest["copies"]), ["late@sub.example.org", "tagged@example.net"], "{page} {rest}");
    // A login is not told where a look was cut: that may be at another's copy.
    let (_, page) = get("/v1/queue?limit=1", TOKEN)?;
    let next = page["next"].as_str().unwrap();
    let sealed = URL_SAFE_NO_PAD.decode(next)?;
    let shows = |id: &String| next.contains(id) || sealed.windows(16).any(|some| some == octets(id));
    assert!(!ids.iter().any(shows), "{page}");
    let (_, rest) = get(&format!("/v1/queue?after={next}"), TOKEN)?;
    assert_eq!((recipients(&rest["copies"]), &rest["next"]), (vec!["late@sub.example.org"], &Value::Null), "{page} {rest}");
    assert_eq!(get(&format!("/v1/queue?after={next}"), SECOND_TOKEN)?.0, 400);
    let (_, rest) = get(&format!("/v1/queue?after={}", ids[0]), TOKEN)?;
    assert_eq!(recipients(&rest["copies"]), ["late@sub.example.org"], "an id of its own will do too: {rest}");
    let (_, summary) = get("/v1/queue/summary?by=login", TOKEN)?;
    assert_eq!((&summary["group_count"], &summary["groups"][0]["copies"]), (&json!(1), &json!(2)), "{summary}");
    for (target, token, expected) in [
        ("/v1/queue?login=other", TOKEN, 400),
        ("/v1/queue?status=odd", TOKEN, 400),
        ("/v1/queue?domian=x", TOKEN, 400),
        ("/v1/queue?limit=0", TOKEN, 400),
        ("/v1/queue/summary?by=odd", TOKEN, 400),
        ("/v1/queue", "nobody", 401),
        ("/v1/queue/retry", TOKEN, 405),
    ] {
        assert_eq!(get(target, token)?.0, expected, "{target}");
    }
    let post = |target: &str, token, body: Value| call(&host, "POST", target, token, &body);
    assert_eq!(post("/v1/queue/cancel", TOKEN, json!({}))?.0, 400, "all must be said");
    assert_eq!(post("/v1/queue/cancel", TOKEN, json!({ "ids": [ids[2]] }))?.1["copies"], 0, "it is another's");
    assert_eq!(post("/v1/queue/retry", TOKEN, json!({ "domain": "sub.example.org" }))?.1, json!({ "copies": 1, "next": null }));
    assert_eq!(peer.wait(1)?.remove(0).to, ["late@sub.example.org"]);
    let (_, cancelled) = post("/v1/queue/cancel", TOKEN, json!({ "all": true, "bounce": true, "reason": "no more" }))?;
    assert_eq!(cancelled["copies"], 1, "{cancelled}");
    assert!(peer.wait(2)?.remove(1).text().contains("no more"));
    assert_eq!(post("/v1/queue/cancel", SECOND_TOKEN, json!({ "ids": [ids[2]] }))?.1["copies"], 1);
    host.wait_for_empty_queue()
}
