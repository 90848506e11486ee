//! Logins: made and revoked while the server runs, what they may, and how they prove who they are.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{post_json, request};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, login, message};

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");

/// A server with an administrator whose token is [`SECOND_TOKEN`]; `more` is put behind its configuration.
fn start(peer: &Peer, more: &str) -> Result<Host> {
    Host::start(&configuration(peer, more), &[])
}

fn configuration(peer: &Peer, more: &str) -> String {
    let administrator = format!("[[administrators]]\nname = \"root\"\ntoken = \"{SECOND_TOKEN_HASH}\"\n");
    config(peer.address(), &format!("{administrator}{more}"))
}

fn call(host: &Host, method: &str, target: &str, token: &str, body: &Value) -> Result<(u16, Value)> {
    let bearer = format!("Bearer {token}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let response = request(host.address("http none"), method, target, &headers, body.as_bytes())?;
    Ok((response.status, response.json()?))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn refused(host: &Host, username: &str, password: &str) -> Result<()> {
    let Err(error) = Client::login(host.address("smtp none"), username, password) else { anyhow::bail!("{username} was let in") };
    ensure!(format!("{error:#}").contains("535 5.7.8") || format!("{error:#}").contains("heard 535"), "{error:#}");
    Ok(())
}

fn sent(host: &Host, token: &str) -> Result<u16> {
    let mail = json!({ "recipient": "r@example.net", "from": "s@example.com", "subject": "x", "text": "x" });
    Ok(call(host, "POST", "/v1/send", token, &mail)?.0)
}

#[test]
fn a7_logins_are_made_and_revoked_without_a_restart() -> Result<()> {
    let peer = Peer::start()?;
    let mut host = start(&peer, "")?;
    let smtp = host.address("smtp none");
    let one = host.json(&["login", "create", "one", "--route", "peer"])?;
    let (status, two) =
        call(&host, "POST", "/v1/logins", SECOND_TOKEN, &json!({ "name": "two", "route": "peer", "senders": ["*@example.com"] }))?;
    ensure!(status == 201, "{status} {two}");
    let mut open = Client::login(smtp, "one", &text(&one, "password"))?;
    open.deliver("s@example.com", &["r@example.net"], &message("one"))?;
    Client::login(smtp, "two", &text(&two, "password"))?.deliver("s@example.com", &["r@example.net"], &message("two"))?;
    Client::login(smtp, "two", &text(&two, "password"))?.command("MAIL FROM:<s@other.example>", 550)?;
    ensure!(sent(&host, &text(&two, "token"))? == 200);

    // What cannot be is said, and nothing is made.
    for (body, status) in [
        (json!({ "name": "two", "route": "peer" }), 400),
        (json!({ "name": "plain", "route": "peer" }), 400),
        (json!({ "name": "tls-reports", "route": "peer" }), 400),
        (json!({ "name": "three", "route": "per" }), 400),
        (json!({ "name": "three", "route": "peer", "chian": "marketing" }), 400),
        (json!({ "name": "three", "route": "peer", "password": "mine" }), 400),
        (json!({ "route": "peer" }), 400),
    ] {
        let (said, answer) = call(&host, "POST", "/v1/logins", SECOND_TOKEN, &body)?;
        ensure!(said == status, "{body}: {said} {answer}");
    }
    let reporter = host.command(&["login", "create", "tls-reports", "--route", "peer"])?;
    let said = String::from_utf8_lossy(&reporter.stderr);
    ensure!(!reporter.status.success() && said.contains("is the name of reports on TLS"), "{said}");
    ensure!(call(&host, "GET", "/v1/logins/three", SECOND_TOKEN, &Value::Null)?.0 == 404);
    ensure!(call(&host, "GET", "/v1/logins", TOKEN, &Value::Null)?.0 == 403, "a login is no administrator");
    ensure!(call(&host, "GET", "/v1/logins", "other", &Value::Null)?.0 == 401);
    let names =
        |list: &Value| list.as_array().map(|list| list.iter().map(|login| text(login, "name")).collect::<Vec<_>>()).unwrap_or_default();
    assert_eq!(names(&call(&host, "GET", "/v1/logins", SECOND_TOKEN, &Value::Null)?.1), ["marketing", "one", "plain", "sandbox", "two"]);

    // A reload changes nothing about them; a kill neither.
    host.signal("HUP")?;
    host.wait_for_log("reloaded: ")?;
    host.kill()?;
    host.launch()?;
    let smtp = host.address("smtp none");
    let mut open = Client::login(smtp, "one", &text(&one, "password"))?;
    host.say(&["login", "revoke", "one"])?;
    open.command("NOOP", 421)?;
    refused(&host, "one", &text(&one, "password"))?;
    Client::login(smtp, "two", &text(&two, "password"))?;
    ensure!(call(&host, "DELETE", "/v1/logins/two", SECOND_TOKEN, &Value::Null)?.0 == 200);
    refused(&host, "two", &text(&two, "password"))?;
    ensure!(sent(&host, &text(&two, "token"))? == 401);
    ensure!(call(&host, "DELETE", "/v1/logins/plain", SECOND_TOKEN, &Value::Null)?.0 == 400, "it is in the file");
    Ok(())
}

#[test]
fn a7_a_login_whose_route_is_gone_hears_why() -> Result<()> {
    let peer = Peer::start()?;
    let other = "[routes.other]\nkind = \"capture\"\n";
    let host = start(&peer, other)?;
    let made = host.json(&["login", "create", "lost", "--route", "other"])?;
    host.configure(&configuration(&peer, ""))?;
    host.signal("HUP")?;
    host.wait_for_log("reloaded: ")?;
    let mut client = Client::login(host.address("smtp none"), "lost", &text(&made, "password"))?;
    let reply = client.command("MAIL FROM:<s@example.com>", 451)?;
    ensure!(reply.text().contains("no route \"other\""), "{reply:?}");
    ensure!(text(&host.json(&["login", "show", "lost"])?, "defect").contains("no route"));
    host.say(&["login", "change", "lost", "--route", "sandbox"])?;
    Client::login(host.address("smtp none"), "lost", &text(&made, "password"))?.deliver(
        "s@example.com",
        &["r@example.net"],
        &message("x"),
    )?;
    // One in the file with the same name counts.
    host.configure(&configuration(&peer, &login("lost", "route = \"peer\"")))?;
    host.signal("HUP")?;
    host.wait_for_log("the one in the configuration counts")?;
    Client::login(host.address("smtp none"), "lost", PASSWORD)?;
    refused(&host, "lost", &text(&made, "password"))
}

#[test]
fn a8_a_password_is_shown_once_and_kept_as_a_hash() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "")?;
    let made = host.json(&["login", "create", "new", "--route", "peer"])?;
    let (password, token) = (text(&made, "password"), text(&made, "token"));
    ensure!(password.len() >= 32 && token.starts_with("tp_"), "{made}");
    let shown = call(&host, "GET", "/v1/logins/new", SECOND_TOKEN, &Value::Null)?.1.to_string();
    let cli = host.say(&["login", "show", "new"])?;
    let listed = host.say(&["login", "list", "--json"])?;
    let on_disk = files(&host.folder().join("data"))?;
    for secret in [&password, &token] {
        for place in [shown.as_bytes(), cli.as_bytes(), listed.as_bytes(), &on_disk, host.log().as_bytes()] {
            ensure!(!place.windows(secret.len()).any(|window| window == secret.as_bytes()), "a secret is readable somewhere");
        }
    }
    ensure!(on_disk.windows(9).any(|window| window == b"$argon2id"), "the hash is kept");
    let mut open = Client::login(host.address("smtp none"), "new", &password)?;
    let again = call(&host, "POST", "/v1/logins/new/regenerate", SECOND_TOKEN, &Value::Null)?.1;
    open.command("NOOP", 421)?;
    refused(&host, "new", &password)?;
    ensure!(sent(&host, &token)? == 401);
    Client::login(host.address("smtp none"), "new", &text(&again, "password"))?;
    ensure!(sent(&host, &text(&again, "token"))? == 200);
    Ok(())
}

fn files(folder: &std::path::Path) -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("compiled") {
            octets.extend(files(&path)?);
        } else if path.is_file() {
            octets.extend(std::fs::read(&path)?);
        }
    }
    Ok(octets)
}

#[test]
fn a9_clicks_are_tracked_for_the_login_that_has_it() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "")?;
    let one = host.json(&["login", "create", "one", "--route", "peer", "--chain", "marketing"])?;
    let two = host.json(&["login", "create", "two", "--route", "peer"])?;
    for (login, to) in [(&one, "one@example.net"), (&two, "two@example.net")] {
        Client::login(host.address("smtp none"), &text(login, "username"), &text(login, "password"))?.deliver(
            "news@example.com",
            &[to],
            NEWSLETTER,
        )?;
    }
    let taken = peer.wait(2)?;
    let of = |to: &str| taken.iter().find(|mail| mail.to == [to]).unwrap().text();
    ensure!(of("one@example.net").contains("http://links.example.com/t/"));
    ensure!(!of("two@example.net").contains("http://links.example.com/t/"));
    Ok(())
}

#[test]
fn a10_an_account_with_extras_off_sends_mail_as_it_is() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "")?;
    let account = host.json(&["login", "create", "me@example.com", "--route", "peer"])?;
    Client::login(host.address("smtp none"), "me@example.com", &text(&account, "password"))?.deliver(
        "news@example.com",
        &["r@example.net"],
        NEWSLETTER,
    )?;
    let taken = peer.wait(1)?;
    let html = taken[0].text();
    ensure!(!html.contains("links.example.com") && !html.contains("style=\"color: #336699"), "nothing is tracked or inlined:\n{html}");
    Ok(())
}

#[test]
fn a11_a_token_is_user_name_and_password() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "")?;
    Client::login(host.address("smtp none"), TOKEN, TOKEN)?.deliver("s@example.com", &["r@example.net"], &message("x"))?;
    refused(&host, TOKEN, PASSWORD)
}

#[test]
fn a12_a_pair_without_the_permission_is_not_let_in() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, &login("file", "route = \"peer\"\npermissions = [\"rest\"]"))?;
    refused(&host, "file", PASSWORD)?;
    let made = host.json(&["login", "create", "key", "--route", "peer", "--permissions", "rest"])?;
    let (password, token) = (text(&made, "password"), text(&made, "token"));
    refused(&host, "key", &password)?;
    refused(&host, &token, &token)?;
    ensure!(sent(&host, &token)? == 200);
    let (status, changed) = call(&host, "POST", "/v1/logins/key", SECOND_TOKEN, &json!({ "permissions": ["smtp"] }))?;
    ensure!(status == 200 && changed["permissions"] == json!(["smtp"]), "{changed}");
    Client::login(host.address("smtp none"), "key", &password)?;
    ensure!(sent(&host, &token)? == 401);
    Ok(())
}

#[test]
fn a13_a_key_works_from_its_addresses_alone() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, &login("file", "route = \"peer\"\nips = [\"192.0.2.1\"]"))?;
    refused(&host, "file", PASSWORD)?;
    let made = host.json(&["login", "create", "key", "--route", "peer", "--ips", "192.0.2.1"])?;
    let (password, token) = (text(&made, "password"), text(&made, "token"));
    refused(&host, "key", &password)?;
    ensure!(sent(&host, &token)? == 401);
    let send =
        json!({ "authuser": "key", "authpass": password, "from": "s@example.com", "to": "r@example.net", "subject": "x", "content": "x" });
    ensure!(post_json(host.address("http none"), "/api/mail/send", &[], &send)?.status == 401);
    host.say(&["login", "change", "key", "--ips", "192.0.2.1,127.0.0.0/8"])?;
    Client::login(host.address("smtp none"), "key", &password)?;
    ensure!(sent(&host, &token)? == 200);
    host.say(&["login", "change", "key", "--set", "ips="])?;
    Client::login(host.address("smtp none"), "key", &password).map(drop)
}

#[test]
fn a15_tags_in_headers_are_kept_and_the_headers_are_not() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "")?;
    let mut client = Client::login(host.address("smtp none"), "marketing", PASSWORD)?;
    for (number, name) in ["X-OMS-Tags", "X-OhMySMTP-Tags", "X-MailPace-Tags", "x-smtpeter-tags"].into_iter().enumerate() {
        let mail = [format!("{name}: a b, c\r\n").as_bytes(), &message(name)].concat();
        let id = client.deliver("s@example.com", &["r@example.net"], &mail)?;
        let taken = peer.wait(number + 1)?;
        ensure!(taken.last().context("a mail")?.header(name).is_none(), "{name} is stripped");
        let shown = host.json(&["message", "show", &id])?;
        ensure!(shown["events"][0]["tags"] == json!(["a b", "c"]), "{name}: {shown}");
    }
    Ok(())
}

#[test]
fn a20_the_id_of_the_250_finds_the_events() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "")?;
    let id = Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message("x"))?;
    peer.wait(1)?;
    host.wait_for_empty_queue()?;
    let target = format!("/v1/events/messageid/{id}");
    for token in [TOKEN, SECOND_TOKEN] {
        let found = tubepost_tests::wait::wait_for("the delivery", || {
            let (status, events) = call(&host, "GET", &target, token, &Value::Null).ok()?;
            let names: Vec<String> = events.as_array()?.iter().map(|event| text(event, "event")).collect();
            (status == 200 && names == ["accepted", "delivery"]).then_some(events)
        })?;
        ensure!(found[1]["data"]["recipient"] == "r@example.net", "{found}");
    }
    // Of others, it does not even say whether there is one.
    let made = host.json(&["login", "create", "other", "--route", "peer"])?;
    ensure!(call(&host, "GET", &target, &text(&made, "token"), &Value::Null)?.0 == 404);
    ensure!(call(&host, "GET", &target, "nobody", &Value::Null)?.0 == 401);
    ensure!(call(&host, "GET", "/v1/events/messageid/nonsense", TOKEN, &Value::Null)?.0 == 404);
    Ok(())
}

#[test]
fn a21_mailpace_wants_from_and_to() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, &login("pace", "route = \"peer\"\ndialect = \"mailpace\""))?;
    let mut client = Client::login(host.address("smtp none"), "pace", PASSWORD)?;
    for (mail, code) in [
        (&b"From: s@example.com\r\nSubject: x\r\n\r\nx\r\n"[..], 550),
        (b"To: r@example.net\r\nSubject: x\r\n\r\nx\r\n", 550),
        (b"From: s@example.com\r\nTo: r@example.net\r\nSubject: x\r\n\r\nx\r\n", 250),
    ] {
        ensure!(client.submit("s@example.com", &["r@example.net"], mail)?.code == code, "{}", String::from_utf8_lossy(mail));
    }
    let mut native = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    ensure!(native.submit("s@example.com", &["r@example.net"], b"From: s@example.com\r\nSubject: x\r\n\r\nx\r\n")?.code == 250);
    Ok(())
}

/// A server on which all secrets have verifiers; returns password and token of its login `new`.
fn with_scram(peer: &Peer) -> Result<(Host, String, String)> {
    let plain = configuration(peer, "");
    let (before, rest) = plain.split_once("[[logins]]").context("logins")?;
    let (_, after) = rest.split_once("[routes.peer]").context("routes")?;
    // Nobody logs in over SMTP with what stands in the file.
    let file = login("file", "route = \"sandbox\"\npermissions = [\"rest\"]");
    let host = Host::start(&format!("{before}{file}[routes.peer]{after}"), &[])?;
    let made = host.json(&["login", "create", "new", "--route", "peer"])?;
    Ok((host, text(&made, "password"), text(&made, "token")))
}

#[test]
fn mechanisms_are_offered_where_logins_can_use_them() -> Result<()> {
    let peer = Peer::start()?;
    let (host, password, token) = with_scram(&peer)?;
    let greet = || -> Result<(Client, String)> {
        let mut client = Client::connect(host.address("smtp none"))?;
        client.expect(220)?;
        let said = client.command("EHLO client.example", 250)?.text();
        Ok((client, said))
    };
    let (mut client, said) = greet()?;
    ensure!(said.contains("AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2"), "{said}");
    scram(&mut client, "new", &password)?;
    client.deliver("s@example.com", &["r@example.net"], &message("scram"))?;
    let (mut client, _) = greet()?;
    scram(&mut client, &token, &token)?;
    let (mut client, _) = greet()?;
    ensure!(scram(&mut client, "new", "wrong").is_err());
    ensure!(scram(&mut client, "nobody", "wrong").is_err());
    scram(&mut client, "new", &password)?;
    for (mechanism, response) in [
        ("OAUTHBEARER", format!("n,a=new,\u{1}host=x\u{1}auth=Bearer {token}\u{1}\u{1}")),
        ("XOAUTH2", format!("user=new\u{1}auth=Bearer {token}\u{1}\u{1}")),
    ] {
        let (mut client, _) = greet()?;
        client.command(&format!("AUTH {mechanism} {}", BASE64_STANDARD.encode(response.replace("tp_", "xx_"))), 334)?;
        client.command("", 535)?;
        client.command(&format!("AUTH {mechanism} {}", BASE64_STANDARD.encode(response.replace("new", "old"))), 334)?;
        client.command("AQ==", 535)?;
        client.command(&format!("AUTH {mechanism} {}", BASE64_STANDARD.encode(response)), 235)?;
    }
    Ok(())
}

#[test]
fn a13_scram_tells_nobody_that_his_password_is_right_who_may_not_come_in() -> Result<()> {
    let peer = Peer::start()?;
    let (host, password, _) = with_scram(&peer)?;
    for (key, closed, open) in [("--ips", "192.0.2.1", "192.0.2.1,127.0.0.0/8"), ("--permissions", "rest", "rest,smtp")] {
        host.say(&["login", "change", "new", key, closed])?;
        // The last message of the client is answered the same, whatever it proves, and nothing of ours comes before.
        let answers = [&password, "wrong"].map(|password| {
            let mut client = Client::connect(host.address("smtp none"))?;
            client.expect(220)?;
            client.command("EHLO client.example", 250)?;
            let proof = scram_proof(&mut client, &Bound::Not("n"), "new", password)?;
            client.send(format!("{}\r\n", proof.last))?;
            client.reply()
        });
        let [right, wrong] = answers;
        let (right, wrong) = (right?, wrong?);
        ensure!(right.code == 535 && right == wrong, "{right:?} {wrong:?}");
        host.say(&["login", "change", "new", key, open])?;
        let mut client = Client::connect(host.address("smtp none"))?;
        client.expect(220)?;
        client.command("EHLO client.example", 250)?;
        scram(&mut client, "new", &password)?;
    }
    Ok(())
}

#[test]
fn a_login_can_be_bound_to_the_tls_that_it_goes_over() -> Result<()> {
    let peer = Peer::start()?;
    let (host, password, _) = with_scram(&peer)?;
    let greet = || -> Result<Client> {
        let mut client = Client::connect_tls(host.address("smtp implicit"), host.certificate.client()?)?;
        client.expect(220)?;
        let said = client.command("EHLO client.example", 250)?.text();
        ensure!(said.contains("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"), "{said}");
        Ok(client)
    };
    let mut client = greet()?;
    let channel = client.channel().context("TLS")?;
    scram_bound(&mut client, &Bound::To(channel), "new", &password)?;
    client.deliver("s@example.com", &["r@example.net"], &message("bound"))?;
    // Who passes a proof on from another connection has none of ours.
    let mut between = greet()?;
    ensure!(scram_bound(&mut between, &Bound::To(channel), "new", &password).is_err());
    // A client that does without is let in; one that believes it has to is told that it was lied to.
    scram(&mut between, "new", &password)?;
    let mut lied_to = greet()?;
    lied_to.command(&format!("AUTH SCRAM-SHA-256 {}", BASE64_STANDARD.encode("y,,n=new,r=abcdef")), 535)?;
    // In the clear there is nothing to bind to, and nobody is lied to.
    let mut clear = Client::connect(host.address("smtp none"))?;
    clear.expect(220)?;
    ensure!(!clear.command("EHLO client.example", 250)?.text().contains("PLUS"));
    clear.command(&format!("AUTH SCRAM-SHA-256-PLUS {}", BASE64_STANDARD.encode("p=tls-exporter,,n=new,r=abcdef")), 504)?;
    scram_bound(&mut clear, &Bound::Not("y"), "new", &password)
}

/// What a client binds its login to.
enum Bound {
    /// Nothing; the flag says whether it could.
    Not(&'static str),
    To([u8; 32]),
}

/// A client's last message, and what the server must answer to prove itself.
struct ScramProof {
    last: String,
    expected: String,
}

/// The client's side of SCRAM-SHA-256.
fn scram(client: &mut Client, username: &str, password: &str) -> Result<()> {
    scram_bound(client, &Bound::Not("n"), username, password)
}

fn scram_bound(client: &mut Client, bound: &Bound, username: &str, password: &str) -> Result<()> {
    let proof = scram_proof(client, bound, username, password)?;
    let answer = client.command(&proof.last, 334)?.text();
    ensure!(BASE64_STANDARD.decode(answer)? == proof.expected.as_bytes(), "the server proves nothing");
    client.command("", 235).map(drop)
}

/// Asks for the challenge, and computes what answers it (RFC 5802 §3).
fn scram_proof(client: &mut Client, bound: &Bound, username: &str, password: &str) -> Result<ScramProof> {
    let (mechanism, header, channel) = match bound {
        Bound::Not(flag) => ("SCRAM-SHA-256", format!("{flag},,"), &[][..]),
        Bound::To(channel) => ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,".to_owned(), &channel[..]),
    };
    let bare = format!("n={username},r=abcdef");
    let first = client.command(&format!("AUTH {mechanism} {}", BASE64_STANDARD.encode(format!("{header}{bare}"))), 334)?.text();
    let first = String::from_utf8(BASE64_STANDARD.decode(first)?)?;
    let value =
        |name: &str| first.split(',').find_map(|part| part.strip_prefix(name)).map(str::to_owned).context("a part of the challenge");
    let (nonce, salt, iterations) = (value("r=")?, BASE64_STANDARD.decode(value("s=")?)?, value("i=")?.parse::<u32>()?);
    let mac = |key: &[u8], octets: &[u8]| -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(octets);
        mac.finalize().into_bytes().into()
    };
    let xor = |one: [u8; 32], other: [u8; 32]| -> [u8; 32] { std::array::from_fn(|index| one[index] ^ other[index]) };
    let mut block = mac(password.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
    let mut salted = block;
    for _ in 1..iterations {
        block = mac(password.as_bytes(), &block);
        salted = xor(salted, block);
    }
    let client_key = mac(&salted, b"Client Key");
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let unproven = format!("c={},r={nonce}", BASE64_STANDARD.encode([header.as_bytes(), channel].concat()));
    let authentication = format!("{bare},{first},{unproven}");
    let proof = xor(client_key, mac(&stored_key, authentication.as_bytes()));
    let last = BASE64_STANDARD.encode(format!("{unproven},p={}", BASE64_STANDARD.encode(proof)));
    let expected = format!("v={}", BASE64_STANDARD.encode(mac(&mac(&salted, b"Server Key"), authentication.as_bytes())));
    Ok(ScramProof { last, expected })
}
