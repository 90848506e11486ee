//! The suppression list and the allow list: what puts addresses there, and that no way in knows less of them than another.

use anyhow::Result;
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{Response, post_json, request};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, config, message};
use tubepost_tests::wait::wait_for;

const GONE: &str = "550 5.1.1 no such user here";

/// What turboSMTP's clients send with each call.
const PAIR: [(&str, &str); 2] = [("consumerKey", "plain"), ("consumerSecret", PASSWORD)];
/// An administrator, for the end of a configuration.
const ADMINISTRATOR: &str =
    "[[administrators]]\nname = \"boss\"\ntoken = \"sha256:cd6826d9c3f753b87805a82cea292ec4c7ec4ca3d6de18baa6452553e02dfedd\"\n";

/// One of turboSMTP's calls.
fn turbosmtp(host: &Host, method: &str, path: &str, body: &Value) -> Result<Response> {
    let octets = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let headers = [PAIR[0], PAIR[1], ("Content-Type", "application/json")];
    request(host.address("http none"), method, &format!("/api/v2/suppressions{path}"), &headers, &octets)
}

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

#[test]
fn f12_addresses_are_imported_over_rest_and_by_command() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let content = json!(["User1@example.net", "user2@example.net", "invalid@email@", "user1@example.net"]);
    let order = json!({ "type": "manual", "reason": "support tickets", "content": content });
    let done = turbosmtp(&host, "POST", "/import", &order)?;
    let expected = json!({ "status": "success", "valid": ["user1@example.net", "user2@example.net"], "invalid": ["invalid@email@"] });
    assert_eq!((done.status, done.json()?), (200, expected));

    let upload = |name: &str, file: &str| -> Result<Response> {
        let part = |head: &str, content: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n");
        let file = if name.is_empty() { String::new() } else { part(&format!("name=\"file\"; filename=\"{name}\""), file) };
        let body = format!("{}{}{file}--b--\r\n", part("name=\"type\"", "file"), part("name=\"reason\"", "a file"));
        let headers = [PAIR[0], PAIR[1], ("Content-Type", "multipart/form-data; boundary=b")];
        request(host.address("http none"), "POST", "/api/v2/suppressions/import", &headers, body.as_bytes())
    };
    let done = upload("list.csv", "Name;Address\r\n\"Three; Mr\";user3@example.net\r\nFour;nobody\r\n")?;
    assert_eq!(done.json()?, json!({ "status": "success", "valid": ["user3@example.net"], "invalid": ["Four"] }));
    let done = upload("list.txt", "user4@example.net\nuser5@example.net\n")?;
    assert_eq!(done.json()?["valid"], json!(["user4@example.net", "user5@example.net"]));
    for (answer, text) in [
        (upload("", "")?, "missing_upload_file"),
        (turbosmtp(&host, "POST", "/import", &json!({ "type": "manual", "reason": "none", "content": [] }))?, "invalid_mail_address_list"),
        (turbosmtp(&host, "POST", "/import", &json!({ "type": "manual", "reason": "none" }))?, "invalid_mail_address_list"),
    ] {
        assert_eq!((answer.status, answer.json()?), (400, json!({ "message": text })));
    }
    let listed = host.json(&["suppression", "list", "--scope", "login:plain"])?;
    assert_eq!((&listed["count"], &listed["results"][0]["source"]), (&json!(5), &json!("manual")), "{listed}");

    // The same by command, with a file that takes more than one question; what is no address is told, and not stored.
    let mut lines: String = (0..20_000).fold(String::new(), |lines, number| lines + &format!("reader{number}@example.org\n"));
    lines.push_str("no address\n");
    std::fs::write(host.folder().join("lines.txt"), lines)?;
    let file = host.folder().join("lines.txt");
    let output = host.command(&["suppression", "import", "--scope", "domain:example.com", "--json", &file.to_string_lossy()])?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((told, output.status.code()), (json!({ "valid": 20_000, "invalid": ["no address"] }), Some(1)));
    assert_eq!(host.json(&["suppression", "list", "--limit", "1"])?["count"], 20_005);
    let exported = host.say(&["suppression", "export", "--scope", "domain:example.com"])?;
    assert_eq!(exported.lines().count(), 20_001);
    let id = send(&host, &["user3@example.net", "reader19999@example.org"])?;
    wait_for_state(&host, &id, "suppressed")?;
    assert_eq!(peer.count(), 0);
    host.wait_for_empty_queue()
}

#[test]
fn f13_the_list_is_queried() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ADMINISTRATOR), &[])?;
    let http = host.address("http none");
    let boss = ("Authorization", tubepost_tests::setup::SECOND_TOKEN);
    for (source, numbers) in [("manual", 0..15), ("bounce", 15..25), ("spam", 25..30)] {
        let addresses: Vec<String> =
            numbers.map(|number| format!("r{number:02}@{}.example", if number % 2 == 0 { "even" } else { "odd" })).collect();
        let order = json!({ "scope": "login:plain", "source": source, "reason": format!("because of {source}"), "addresses": addresses });
        let added = post_json(http, "/v1/suppressions", &[boss], &order)?;
        assert_eq!(added.status, 200, "{}", added.text());
    }
    host.say(&["suppression", "add", "--scope", "login:marketing", "of.another@even.example"])?;
    let years = "from=2020-01-01&to=2090-12-31";
    let get = |more: &str| turbosmtp(&host, "GET", &format!("?{years}&{more}"), &Value::Null)?.json();
    let names = |page: &Value| -> String {
        let results = page["results"].as_array().cloned().unwrap_or_default();
        results.iter().map(|entry| entry["recipient"].as_str().unwrap_or_default()[..3].to_owned()).collect::<Vec<_>>().join(" ")
    };
    let page = get("orderby=recipient&ordertype=asc&page=2&limit=4&tz=-07:00")?;
    assert_eq!((&page["count"], names(&page).as_str()), (&json!(30), "r04 r05 r06 r07"));
    let mut keys: Vec<&String> = page["results"][0].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["date", "reason", "recipient", "sender", "source", "subject"]);
    let date = page["results"][0]["date"].as_str().unwrap_or_default();
    assert!(date.len() == 19 && date.as_bytes()[10] == b' ', "{date}");
    assert_eq!(get("")?["results"].as_array().map(Vec::len), Some(10), "ten rows where nobody says otherwise");
    assert_eq!(get("filter_by=bounce")?["count"], 10);
    assert_eq!(get("filter_by[]=bounce&filter_by[]=spam")?["count"], 15);
    assert_eq!(get("filter=ODD.example")?["count"], 15);
    assert_eq!(get("filter=spam%20even&smart_search=true")?["count"], 2);
    assert_eq!(turbosmtp(&host, "GET", "?from=2020-01-01&to=2020-12-31", &Value::Null)?.json()?["count"], 0);
    let post = |restrict: Value| -> Result<Value> {
        let order = json!({ "from": "2020-01-01", "to": "2090-12-31", "filter_by": ["manual"], "limit": 3, "orderby": "recipient", "restrict": restrict });
        turbosmtp(&host, "POST", "", &order)?.json()
    };
    let found = post(json!([{ "by": "recipient", "operator": "exclude", "filter": "@even" }]))?;
    assert_eq!((&found["count"], names(&found).as_str()), (&json!(7), "r13 r11 r09"));
    assert_eq!(post(json!([{ "by": "recipient", "operator": "include", "filter": "@even" }]))?["count"], 8);
    assert_eq!(post(json!([{ "by": "reason", "operator": "include", "filter": "bounce" }]))?["count"], 0);
    for (parameters, text) in [
        ("to=2026-01-01", "missing_required_parameter_from"),
        ("from=2026-01-01", "missing_required_parameter_to"),
        ("from=1.1.2026&to=2026-01-01", "from_format_should_be_yyyy-mm-dd"),
        ("from=2026-01-01&to=2026-01-01&page=x", "page_should_be_integer"),
        ("from=2026-01-01&to=2026-01-01&page=0", "page_should_be_greater_than_0"),
        ("from=2026-01-01&to=2026-01-01&limit=0", "limit_should_be_greater_than_0"),
        ("from=2026-01-01&to=2026-01-01&smart_search=2", "smart_search_should_be_true_or_false"),
        ("from=2026-01-01&to=2026-01-01&ordertype=x", "ordertype_should_be_asc_or_desc"),
    ] {
        let answer = turbosmtp(&host, "GET", &format!("?{parameters}"), &Value::Null)?;
        assert_eq!((answer.status, answer.json()?), (400, json!({ "message": text })), "{parameters}");
    }
    let path = format!("/api/v2/suppressions?{years}");
    for (headers, text) in [(vec![], "missing_authorization_key"), (vec![("Authorization", "wrong")], "invalid_authorization_key")] {
        let answer = request(http, "GET", &path, &headers, b"")?;
        assert_eq!((answer.status, answer.json()?), (401, json!({ "message": text })));
    }
    // A token of the login shows the same; an administrator sees what is another's too, in our own words.
    assert_eq!(request(http, "GET", &path, &[("Authorization", TOKEN)], b"")?.json()?["count"], 30);
    assert_eq!(request(http, "GET", &path, &[boss], b"")?.json()?["count"], 31);
    let own = request(http, "GET", &format!("/v1/suppressions?source=spam&limit=2&access_token={TOKEN}"), &[], b"")?.json()?;
    assert_eq!((&own["count"], &own["results"][1]["scope"]), (&json!(5), &json!("login:plain")));
    let other = request(http, "GET", &format!("/v1/suppressions?scope=login:marketing&access_token={TOKEN}"), &[], b"")?;
    assert_eq!((other.status, &other.json()?["error"]["field"]), (400, &json!("scope")));
    Ok(())
}

#[test]
fn f14_who_is_deleted_gets_mail_again() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let http = host.address("http none");
    let addresses = ["ann@example.net", "bob@example.net", "cid@example.net", "dan@example.net"];
    turbosmtp(&host, "POST", "/import", &json!({ "type": "manual", "reason": "test", "content": addresses }))?;
    wait_for_state(&host, &send(&host, &addresses)?, "suppressed")?;
    let empty = turbosmtp(&host, "POST", "/bulk_delete", &json!([]))?;
    assert_eq!((empty.status, empty.json()?), (400, json!({ "message": "no_contacts_were_provided" })));
    let done = turbosmtp(&host, "POST", "/bulk_delete", &json!(["Ann@example.net", "nobody@example.net"]))?;
    assert_eq!((done.status, done.json()?), (200, json!({ "success": true })));
    let filter =
        json!({ "from": "2020-01-01", "to": "2090-01-01", "restrict": [{ "by": "recipient", "operator": "include", "filter": "bob@" }] });
    assert_eq!(turbosmtp(&host, "POST", "/delete", &filter)?.json()?, json!({ "success": true }));
    let wrong = turbosmtp(&host, "POST", "/delete", &json!({ "to": "2090-01-01" }))?;
    assert_eq!((wrong.status, wrong.json()?), (400, json!({ "message": "missing_required_parameter_from" })));
    let target = format!("/v1/suppressions/cid%40example.net?access_token={TOKEN}");
    assert_eq!(request(http, "GET", &target, &[], b"")?.json()?["count"], 1);
    assert_eq!(request(http, "DELETE", &target, &[], b"")?.json()?, json!({ "removed": 1 }));
    assert_eq!(request(http, "DELETE", &target, &[], b"")?.status, 404);
    wait_for_state(&host, &send(&host, &addresses)?, "delivered")?;
    let mut reached: Vec<String> = peer.taken().into_iter().flat_map(|mail| mail.to).collect();
    reached.sort();
    assert_eq!(reached, ["ann@example.net", "bob@example.net", "cid@example.net"]);
    // The allow list is reached over REST as well.
    let allowed = post_json(http, &format!("/v1/allowances?access_token={TOKEN}"), &[], &json!({ "addresses": ["dan@example.net"] }))?;
    assert_eq!(allowed.json()?, json!({ "valid": ["dan@example.net"], "invalid": [] }));
    wait_for_state(&host, &send(&host, &["dan@example.net"])?, "delivered")?;
    host.wait_for_empty_queue()
}

#[test]
fn f15_the_list_is_a_csv_file() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    peer.refuse_next("ann@example.net", GONE);
    send(&host, &["ann@example.net"])?;
    wait_for_entry(&host, "ann@example.net")?;
    let order = json!({ "type": "manual", "reason": "=cmd|' /C calc'!A1", "content": ["=bob@example.net"] });
    turbosmtp(&host, "POST", "/import", &order)?;
    let check = |answer: Response| {
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")));
        let text = answer.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Status;Subject;From;To;Date;Reason");
        assert!(lines[1].starts_with("MANUAL;;;\"'=bob@example.net\";20") && lines[1].ends_with(";\"'=cmd|' /C calc'!A1\""), "{text}");
        assert!(lines[2].starts_with("FAIL;\"listed\";sender@example.com;ann@example.net;20"), "{text}");
        assert!(lines[2].contains("Z;\"") && lines[2].contains(GONE), "{text}");
        assert_eq!(lines.len(), 3);
    };
    check(turbosmtp(&host, "GET", "/csv?from=2020-01-01&to=2090-01-01", &Value::Null)?);
    check(turbosmtp(&host, "POST", "/csv", &json!({ "from": "2020-01-01", "to": "2090-01-01" }))?);
    let own = request(host.address("http none"), "GET", &format!("/v1/suppressions?format=csv&access_token={TOKEN}"), &[], b"")?;
    check(own);
    let none = turbosmtp(&host, "GET", "/csv?from=2020-01-01", &Value::Null)?;
    assert_eq!((none.status, none.json()?), (400, json!({ "message": "missing_required_parameter_to" })));
    Ok(())
}
