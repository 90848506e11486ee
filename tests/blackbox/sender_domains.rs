//! Sender domains over REST: proven, published, signed, and what is done with mail from others.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::dkim::verify;
use tubepost_tests::host::Host;
use tubepost_tests::http::{post_json, request};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");

/// A server that publishes below `dns.mail.example.com` and asks `zone`.
fn start(zone: &Zone, peer: SocketAddr, more: &str) -> Result<Host> {
    let server = format!("nameservers = [\"{}\"]\npublic_url", zone.address());
    let more = format!(
        "[domains]\nzone = \"dns.mail.example.com\"\n[dns_server]\naddress = \"127.0.0.1:0\"\n[delivery]\ndns_negative_time = \"1ms\"\ndns_cache = 1\n\
         [[administrators]]\nname = \"root\"\ntoken = \"{SECOND_TOKEN_HASH}\"\n{more}"
    );
    // The name is not that of the test's own domain, so that links lead to a host of ours.
    Host::start(&config(peer, &more).replacen("public_url", &server, 1), &[])
}

struct Rest<'a> {
    host: &'a Host,
    token: &'a str,
}

impl Rest<'_> {
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let target = format!("/v1/{path}?access_token={}", self.token);
        let address = self.host.address("http none");
        let response = match method {
            "POST" => post_json(address, &target, &[], body)?,
            method => request(address, method, &target, &[], b"")?,
        };
        let value = response.json().unwrap_or_else(|_| Value::from(response.text()));
        Ok((response.status, value))
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.fine("GET", path, &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.fine("POST", path, body)
    }

    fn fine(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, value) = self.call(method, path, body)?;
        ensure!(status == 200, "{method} {path}: {status} {value}");
        Ok(value)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Puts records as they are shown into the zone.
fn load(zone: &Zone, records: &Value) {
    for record in records.as_array().into_iter().flatten() {
        let (name, value) = (text(record, "name"), text(record, "value"));
        match text(record, "type") {
            "TXT" => drop(zone.clone().txt(name, value)),
            "CNAME" => drop(zone.clone().cname(name, value)),
            "MX" => {
                let (preference, host) = value.split_once(' ').unwrap_or_default();
                drop(zone.clone().mx(name, preference.parse().unwrap_or_default(), host));
            }
            other => panic!("{other} in {record}"),
        }
    }
}

/// Takes them out again.
fn unload(zone: &Zone, records: &Value) {
    for record in records.as_array().into_iter().flatten() {
        drop(zone.clone().without(text(record, "name")));
    }
}

/// Creates a domain, puts its records into DNS, and waits until it is approved.
fn approve(rest: &Rest<'_>, zone: &Zone, domain: &str) -> Result<Value> {
    rest.post(&format!("domain/{domain}"), &json!({}))?;
    load(zone, &rest.get(&format!("dns/{domain}/selfhosted"))?);
    wait_for("an approved domain", || {
        let object = rest.post(&format!("domain/{domain}"), &json!({})).ok()?;
        (object["approved"] == true).then_some(object)
    })
}

/// The public key of a domain as PKCS#1, in which `verify` wants it.
fn public_key(pem: &str) -> Result<Vec<u8>> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(base64)?;
    // SubjectPublicKeyInfo of an RSA key of 2048 bits: 24 octets, then PKCS#1.
    Ok(der.get(24..).context("a public key")?.to_vec())
}

#[test]
fn g1_a_domain_is_approved_when_its_record_is_in_dns() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let mut host = start(&zone, peer.address(), "")?;
    let rest = Rest { host: &host, token: TOKEN };
    let record = rest.post("domain/sender.example", &json!({}))?;
    assert!(text(&record, "name").starts_with("tubepost-") && text(&record, "name").ends_with(".sender.example"), "{record}");
    assert_eq!(text(&record, "type"), "TXT");
    assert_eq!(rest.post("domain/sender.example", &json!({}))?, record, "not yet in DNS");
    drop(zone.clone().txt(text(&record, "name"), text(&record, "value")));
    let object = wait_for("an approved domain", || {
        let object = rest.post("domain/sender.example", &json!({ "policy": "quarantine" })).ok()?;
        (object["approved"] == true).then_some(object)
    })?;
    assert_eq!(object["policy"], "quarantine");

    // It survives.
    host.kill()?;
    host.launch()?;
    assert_eq!(Rest { host: &host, token: TOKEN }.get("domain/sender.example")?, object);
    Ok(())
}

#[test]
fn g2_domains_are_listed_changed_and_removed() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let (rest, root) = (Rest { host: &host, token: TOKEN }, Rest { host: &host, token: SECOND_TOKEN });
    assert_eq!(rest.get("domains")?, json!([]));
    let object = approve(&rest, &zone, "sender.example")?;
    let expected = json!({
        "name": "sender.example", "approved": true, "bounces": "bounces.sender.example", "tracking": "clicks.sender.example", "https": true,
        "ips": [], "policy": "none", "percentage": 100, "startdate": null, "enddate": null, "addresses": ["dmarc@mail.example.com"],
    });
    assert_eq!(object, expected);
    let changes = json!({
        "bounces": "b.sender.example", "tracking": "t.sender.example", "https": false, "policy": "reject", "percentage": 60,
        "startdate": "2026-12-01", "enddate": "2026-12-31",
    });
    rest.post("domain/sender.example", &changes)?;
    let object = rest.get("domain/sender.example")?;
    for (key, value) in changes.as_object().context("an object")? {
        assert_eq!(&object[key], value, "{key}");
    }
    assert_eq!((rest.get("domains")?, root.get("domains")?), (json!([object]), json!([object])));

    let (status, error) = rest.call("POST", "domain/sender.example", &json!({ "bounces": "bounces.foreign.example" }))?;
    assert_eq!((status, text(&error["error"], "field")), (400, "bounces"));
    assert_eq!(rest.get("domain/sender.example")?, object, "nothing was changed");
    let (status, _) = Rest { host: &host, token: "wrong" }.call("GET", "domains", &Value::Null)?;
    assert_eq!(status, 401);
    // What an administrator has is not shown to a login.
    root.post("domain/other.example", &json!({}))?;
    assert_eq!(rest.call("GET", "domain/other.example", &Value::Null)?.0, 404);
    assert_eq!(rest.call("PUT", "domain/sender.example", &Value::Null)?.0, 405);

    rest.fine("DELETE", "domain/sender.example", &Value::Null)?;
    assert_eq!(rest.call("GET", "domain/sender.example", &Value::Null)?.0, 404);
    Ok(())
}

#[test]
fn g3_mail_is_signed_after_inlining_and_tracking() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let root = Rest { host: &host, token: SECOND_TOKEN };
    approve(&root, &zone, "example.com")?;
    let key = root.get("dkimkey/example.com")?;
    Client::login(host.address("smtp none"), "marketing", PASSWORD)?.deliver("news@example.com", &["one@example.net"], NEWSLETTER)?;
    let mail = peer.wait(1)?.remove(0);
    assert!(mail.text().contains("/t/"), "links are tracked");
    let signature = verify(&mail.content, text(&key, "selector"), &public_key(text(&key, "public"))?)?;
    assert_eq!((signature.domain.as_str(), signature.algorithm.as_str()), ("example.com", "rsa-sha256"));
    for field in ["from", "to", "subject", "date", "message-id"] {
        assert_eq!(signature.fields.iter().filter(|signed| *signed == field).count(), 2, "another {field} can be added: {signature:?}");
    }
    Ok(())
}

#[test]
fn g5_keys_are_brought_or_made_and_never_shown() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let rest = Rest { host: &host, token: TOKEN };
    approve(&rest, &zone, "sender.example")?;
    let private = include_str!("keys/rsa.pem");
    let brought = rest.post(
        "dkimkey/sender.example/own",
        &json!({ "privatekey": private, "start": "2020-01-01 00:00:00", "end": "2100-01-01 00:00:00" }),
    )?;
    rest.post("dkimkey/sender.example/late", &json!({ "privatekey": private, "start": "2100-01-01 00:00:00" }))?;
    let made = rest.post("dkimkey/sender.example/made", &json!({ "always": true }))?;
    assert!(text(&made, "public").starts_with("-----BEGIN PUBLIC KEY-----"), "{made}");
    let shown = format!("{}{}{}", rest.get("dkimkeys")?, rest.get("dkimkeys/sender.example/own")?, rest.get("domain/sender.example")?);
    assert!(!shown.contains("PRIVATE") && !host.log().contains("PRIVATE"), "{shown}");
    let selectors: Vec<String> =
        rest.get("dkimkeys/sender.example")?.as_array().into_iter().flatten().map(|key| text(key, "selector").to_owned()).collect();
    assert_eq!(selectors, ["zero", "one", "two", "own", "late", "made"]);

    Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver(
        "s@sender.example",
        &["r@example.net"],
        &from("a@sender.example"),
    )?;
    let mail = peer.wait(1)?.remove(0);
    verify(&mail.content, "own", &public_key(text(&brought, "public"))?)?;
    verify(&mail.content, "made", &public_key(text(&made, "public"))?)?;
    assert!(!mail.text().contains("s=late;"), "{}", mail.text());
    // The key that signs always is also for mail of others' domains.
    Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver(
        "s@other.example",
        &["r@example.net"],
        &from("a@other.example"),
    )?;
    let mail = peer.wait(2)?.remove(1);
    assert!(mail.text().contains("s=made;") && !mail.text().contains("s=own;"), "{}", mail.text());
    rest.fine("DELETE", "dkimkey/sender.example/own", &Value::Null)?;
    assert_eq!(rest.call("GET", "dkimkeys/sender.example/own", &Value::Null)?.0, 404);
    Ok(())
}

#[test]
fn g6_parts_of_a_key_are_texts() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let rest = Rest { host: &host, token: TOKEN };
    rest.post("domain/sender.example", &json!({}))?;
    let key = rest.get("dkimkey/sender.example")?;
    assert_eq!((text(&key, "selector"), text(&key, "algorithm")), ("zero", "sha256"));
    for (path, member) in [("publickey", "public"), ("algorithm", "algorithm"), ("selector", "selector")] {
        let target = format!("/v1/dkimkey/sender.example/{path}?access_token={TOKEN}");
        let response = request(host.address("http none"), "GET", &target, &[], b"")?;
        assert_eq!(response.text(), text(&key, member));
        assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{response:?}");
    }
    Ok(())
}

#[test]
fn g8_either_list_of_records_makes_all_well() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let rest = Rest { host: &host, token: TOKEN };
    rest.post("domain/sender.example", &json!({}))?;
    let recommended = rest.get("dns/sender.example/recommended")?;
    let kinds: Vec<(&str, &str)> =
        recommended.as_array().into_iter().flatten().map(|record| (text(record, "type"), text(record, "name"))).collect();
    for wanted in [
        ("CNAME", "zero._domainkey.sender.example"),
        ("CNAME", "one._domainkey.sender.example"),
        ("CNAME", "two._domainkey.sender.example"),
        ("MX", "bounces.sender.example"),
        ("CNAME", "clicks.sender.example"),
        ("TXT", "sender.example"),
        ("CNAME", "_dmarc.sender.example"),
    ] {
        assert!(kinds.contains(&wanted), "{wanted:?} in {recommended}");
    }
    let all_well = |what: &str| {
        let ok = json!({ "dmarc": "ok", "dkim": "ok", "spf": "ok", "mx": "ok", "a": "ok", "caa": "ok", "validation": "ok" });
        wait_for(what, || (rest.get("dns/sender.example/status").ok()? == ok).then_some(()))
    };
    load(&zone, &recommended);
    wait_for("an approved domain", || (rest.post("domain/sender.example", &json!({})).ok()?["approved"] == true).then_some(()))?;
    // Behind the aliases is what our own name server says, or the exported zone.
    let exported = host.say(&["domain", "export"])?;
    for line in exported.lines().filter(|line| line.contains(" IN TXT ")) {
        let (name, value) = line.split_once(". IN TXT ").context("a record")?;
        drop(zone.clone().txt(name, &value.replace("\" \"", "").replace('"', "")));
    }
    all_well("all well with the recommended records")?;
    unload(&zone, &recommended);
    let literal = rest.get("dns/sender.example/selfhosted")?;
    assert!(!literal.to_string().contains("dns.mail.example.com"), "{literal}");
    load(&zone, &literal);
    all_well("all well with literal records")
}

#[test]
fn g9_a_wrong_record_is_told_from_the_others() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let rest = Rest { host: &host, token: TOKEN };
    approve(&rest, &zone, "sender.example")?;
    drop(zone.clone().without("sender.example").txt("sender.example", "v=spf1 ip4:192.0.2.1 -all"));
    let expected = json!({ "dmarc": "ok", "dkim": "ok", "spf": "error", "mx": "ok", "a": "ok", "caa": "ok", "validation": "ok" });
    wait_for("an error of SPF alone", || (rest.get("dns/sender.example/status").ok()? == expected).then_some(()))?;
    let checked = host.command(&["domain", "check", "sender.example"])?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success() && said.contains("in front of \"all\""), "{said}");
    Ok(())
}

#[test]
fn g11_our_name_server_answers_what_aliases_lead_to() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let rest = Rest { host: &host, token: TOKEN };
    approve(&rest, &zone, "sender.example")?;
    rest.post("spf/sender.example", &json!({ "ip4": "192.0.2.0/24", "mx": "mail.sender.example" }))?;
    assert_eq!(rest.get("spf/sender.example")?, json!(["a:mail.example.com", "mx:mail.sender.example", "ip4:192.0.2.0/24"]));
    let server = host.address("dns none");
    let answer = |name: &str| tubepost_tests::zone::ask_txt(server, name);
    let below = |label: &str| format!("{label}.sender.example.dns.mail.example.com");
    let spf = "v=spf1 a:mail.example.com mx:mail.sender.example ip4:192.0.2.0/24 -all";
    wait_for("the record served", || (answer(&below("_spf")).ok()? == [spf]).then_some(()))?;
    assert_eq!(answer(&below("_dmarc"))?, ["v=DMARC1; p=none; rua=mailto:dmarc@mail.example.com"]);
    let literal = rest.get("dns/sender.example/selfhosted")?;
    for selector in ["zero", "one", "two"] {
        let label = format!("{selector}._domainkey");
        let records = literal.as_array().into_iter().flatten();
        let wanted = records.into_iter().find(|record| text(record, "name") == format!("{label}.sender.example")).context("a key")?;
        assert_eq!(answer(&below(&label))?, [text(wanted, "value")]);
    }
    assert!(answer("sender.example").is_err(), "we answer for our own names alone");
    // The same is in the export.
    let exported = host.say(&["domain", "export"])?;
    assert!(exported.starts_with("$ORIGIN dns.mail.example.com.\n") && exported.contains(spf), "{exported}");
    Ok(())
}

#[test]
fn g13_reports_go_to_more_addresses() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let host = start(&zone, peer.address(), "")?;
    let rest = Rest { host: &host, token: TOKEN };
    rest.post("domain/sender.example", &json!({}))?;
    let (status, _) = rest.call("POST", "domain/sender.example", &json!({ "address": "a@sender.example" }))?;
    assert_eq!(status, 400, "before it is validated");
    approve(&rest, &zone, "sender.example")?;
    let object = rest.post("domain/sender.example", &json!({ "address": ["a@sender.example", "b@sender.example"] }))?;
    assert_eq!(object["addresses"], json!(["dmarc@mail.example.com", "a@sender.example", "b@sender.example"]));
    let record = || -> Result<String> {
        let literal = rest.get("dns/sender.example/selfhosted")?;
        let found = literal.as_array().into_iter().flatten().find(|record| text(record, "name") == "_dmarc.sender.example").cloned();
        Ok(text(&found.context("a record")?, "value").to_owned())
    };
    let own = "v=DMARC1; p=none; rua=mailto:dmarc@mail.example.com";
    assert_eq!(record()?, format!("{own},mailto:a@sender.example,mailto:b@sender.example"));
    let object = rest.fine("DELETE", "domain/sender.example/a@sender.example", &Value::Null)?;
    assert_eq!(object["addresses"], json!(["dmarc@mail.example.com", "b@sender.example"]));
    assert_eq!(record()?, format!("{own},mailto:b@sender.example"));
    assert_eq!(rest.call("DELETE", "domain/sender.example/dmarc@mail.example.com", &Value::Null)?.0, 404, "ours stays");
    Ok(())
}

#[test]
fn f20_unverified_senders_are_re_enveloped_or_refused() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let logins = [
        login("mixed", "route = \"peer\"\nunverified_senders = \"re-envelope\""),
        login("strict", "route = \"peer\"\nunverified_senders = \"refuse\""),
    ];
    let host = start(&zone, peer.address(), &logins.concat())?;
    approve(&Rest { host: &host, token: SECOND_TOKEN }, &zone, "sender.example")?;
    let address = host.address("smtp none");
    let mut client = Client::login(address, "mixed", PASSWORD)?;
    client.deliver("me@freemail.example", &["r@example.net"], &from("me@freemail.example"))?;
    client.deliver("me@sender.example", &["r@example.net"], &from("me@sender.example"))?;
    let taken = peer.wait(2)?;
    let other = taken.iter().find(|mail| mail.text().contains("<me@freemail.example>")).context("the unverified one")?;
    assert_eq!((other.from.as_str(), other.header("Sender").as_deref()), ("mailer@mail.example.com", Some("mailer@mail.example.com")));
    let verified = taken.iter().find(|mail| mail.text().contains("<me@sender.example>")).context("the verified one")?;
    assert_eq!((verified.from.as_str(), verified.header("Sender")), ("me@sender.example", None));

    let refused =
        Client::login(address, "strict", PASSWORD)?.deliver("me@sender.example", &["r@example.net"], &from("me@freemail.example"));
    assert!(format!("{refused:?}").contains("550 5.7.1"), "{refused:?}");
    Client::login(address, "strict", PASSWORD)?.deliver("me@sender.example", &["r@example.net"], &from("me@sender.example"))?;

    // What is another's is refused to whoever may send as anybody else.
    approve(&Rest { host: &host, token: TOKEN }, &zone, "own.example")?;
    Client::login(address, "plain", PASSWORD)?.deliver("me@own.example", &["r@example.net"], &from("me@own.example"))?;
    for (reverse_path, author) in [("me@free.example", "me@own.example"), ("me@sub.own.example", "me@free.example")] {
        let refused = Client::login(address, "marketing", PASSWORD)?.deliver(reverse_path, &["r@example.net"], &from(author));
        assert!(format!("{refused:?}").contains("550 5.7.1"), "{refused:?}");
    }
    // Also where only a lenient reader finds it, or nobody can say what he finds.
    for author in ["<@x.example:me@own.example>", "me@own .example", "Me", "me@own.example: me@free.example;"] {
        let content = [format!("From: {author}\r\n").as_bytes(), b"Subject: s\r\n\r\nb\r\n"].concat();
        let refused = Client::login(address, "marketing", PASSWORD)?.deliver("me@free.example", &["r@example.net"], &content);
        assert!(format!("{refused:?}").contains("550 5.7.1"), "{author} {refused:?}");
    }
    Ok(())
}

#[test]
fn f20_a_from_that_is_made_for_each_recipient_is_held_against_approved_domains() -> Result<()> {
    const TEMPLATED: &str = "third-token-of-the-test-suite";
    let hash = "sha256:d8e023622b57b0c4265e49dbbdac9f3ccb91a0d1fa0ec7da12dd04586cc96de3";
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let login = login("templated", &format!("route = \"peer\"\nchain = \"marketing\"\ntoken = \"{hash}\""));
    let host = start(&zone, peer.address(), &login)?;
    approve(&Rest { host: &host, token: TOKEN }, &zone, "own.example")?;
    let rest = Rest { host: &host, token: TEMPLATED };
    let call = |recipients: Value| json!({ "from": "{$who}", "subject": "s", "text": "t", "envelope": "me@free.example", "recipients": recipients });
    let (free, theirs) = (json!({ "who": "ann@free.example" }), json!({ "who": "boss@own.example" }));
    // Of several copies the one is sent, and the other comes back.
    rest.post("send", &call(json!({ "one@example.net": free, "two@example.net": theirs })))?;
    let taken = peer.wait(2)?;
    assert!(
        taken.iter().any(|mail| mail.to == ["one@example.net"] && mail.header("From").is_some_and(|from| from.contains("ann@"))),
        "{taken:?}"
    );
    let report = taken.iter().find(|mail| mail.to == ["me@free.example"]).context("a report")?.text();
    assert!(report.contains("two@example.net") && report.contains("this login may not send as boss@own.example"), "{report}");
    // Where it is the first, the caller hears of it.
    let (status, answer) = rest.call("POST", "send", &call(json!({ "two@example.net": theirs })))?;
    assert!(status == 422 && answer.to_string().contains("boss@own.example"), "{status} {answer}");
    host.wait_for_empty_queue()
}

#[test]
fn f21_mail_is_sent_from_the_bounce_host_of_its_domain() -> Result<()> {
    let (zone, peer) = (Zone::start()?, Peer::start()?);
    let more = login("tracked", "route = \"peer\"\nbounces = \"track\"") + "[bounces]\ndomain = \"bounces.example.com\"\n";
    let host = start(&zone, peer.address(), &more)?;
    let rest = Rest { host: &host, token: SECOND_TOKEN };
    approve(&rest, &zone, "sender.example")?;
    // SPF of the bounce host lets us send, and it is of the domain in From: the two align (RFC 7489 §3.1.2).
    wait_for("well SPF", || (rest.get("dns/sender.example/status").ok()?["spf"] == "ok").then_some(()))?;
    let mut client = Client::login(host.address("smtp none"), "tracked", PASSWORD)?;
    client.deliver("a@sender.example", &["r@example.net"], &from("a@sender.example"))?;
    client.deliver("a@other.example", &["r@example.net"], &from("a@other.example"))?;
    let taken = peer.wait(2)?;
    let of = |domain: &str| taken.iter().find(|mail| mail.text().contains(&format!("<a@{domain}>"))).context("the mail");
    assert!(of("sender.example")?.from.ends_with("@bounces.sender.example"), "{taken:?}");
    assert!(of("other.example")?.from.ends_with("@bounces.example.com"), "{taken:?}");
    Ok(())
}

fn from(address: &str) -> Vec<u8> {
    String::from_utf8_lossy(&message("from somebody")).replace("sender@example.com", address).into_bytes()
}
