//! Mail that is suspended waits, also over a restart, and goes out when somebody says so.

use anyhow::Result;
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::request;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, message};
use tubepost_tests::wait::wait_for;

fn start(peer: &Peer) -> Result<Host> {
    let administrator = format!("[[administrators]]\nname = \"root\"\ntoken = \"{SECOND_TOKEN_HASH}\"\n");
    Host::start(&config(peer.address(), &administrator), &[])
}

fn send(host: &Host, login: &str, to: &str) -> Result<String> {
    Client::login(host.address("smtp none"), login, PASSWORD)?.deliver("sender@example.com", &[to], &message("paused"))
}

fn call(host: &Host, method: &str, target: &str, token: &str, body: &Value) -> Result<(u16, Value)> {
    let bearer = format!("Bearer {token}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let response = request(host.address("http none"), method, target, &headers, body.as_bytes())?;
    Ok((response.status, response.json()?))
}

/// Waits until so many copies are suspended; returns them.
fn suspended(host: &Host, count: usize) -> Result<Value> {
    wait_for("what is suspended to be put off", || {
        let shown = host.json(&["queue", "list", "--status", "suspended"]).ok()?;
        (shown.as_array()?.len() == count).then_some(shown)
    })
}

#[test]
fn what_is_suspended_waits_over_a_restart_until_it_is_resumed() -> Result<()> {
    let peer = Peer::start()?;
    let mut host = start(&peer)?;
    let said = host.say(&["queue", "pause", "--login", "plain", "--reason", "bad list"])?;
    assert!(said.contains("login plain") && said.contains("bad list"), "{said}");
    let timed = host.json(&["queue", "pause", "--domain", "*.paused.example", "--for", "1h"])?;
    assert!(timed[0]["until"].is_u64() && timed[0]["number"] == 2, "{timed}");
    let first = send(&host, "plain", "one@example.net")?;
    send(&host, "marketing", "two@mail.paused.example")?;
    send(&host, "marketing", "three@example.net")?;
    assert_eq!(peer.wait(1)?.remove(0).to, ["three@example.net"], "others are not suspended");
    let shown = suspended(&host, 2)?;
    assert!(shown.to_string().contains("suspended by the command line: bad list"), "{shown}");
    assert!(shown.as_array().unwrap().iter().all(|copy| copy["attempts"] == 0 && copy["last"].is_null()), "{shown}");

    host.kill()?;
    host.launch()?;
    // Retrying changes nothing: it is suspended.
    host.say(&["queue", "retry", &first])?;
    send(&host, "plain", "four@example.net")?;
    send(&host, "marketing", "five@example.net")?;
    assert_eq!(peer.wait(2)?.remove(1).to, ["five@example.net"]);
    suspended(&host, 3)?;
    assert!(host.say(&["queue", "pause"])?.contains("domain *.paused.example"));
    let said = host.say(&["queue", "resume", "1", "2"])?;
    assert!(said.contains("resumed 1: login plain") && said.contains("resumed 2: domain *.paused.example"), "{said}");
    let taken = peer.wait(5)?;
    assert!(["one@example.net", "two@mail.paused.example", "four@example.net"].iter().all(|to| taken.iter().any(|mail| mail.to == [*to])));
    assert_eq!(host.json(&["queue", "pause"])?, json!([]));
    host.wait_for_empty_queue()
}

#[test]
fn a_route_and_a_message_are_suspended_too() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    host.say(&["queue", "pause", "--route", "peer"])?;
    let first = send(&host, "plain", "one@example.net")?;
    let second = send(&host, "plain", "two@example.net")?;
    let shown = suspended(&host, 2)?;
    assert!(shown.as_array().unwrap().iter().all(|copy| copy["queue"] == "peer"), "{shown}");
    // The second one waits for a reason of its own beside that.
    host.say(&["queue", "pause", "--message", &second])?;
    host.say(&["queue", "resume", "1"])?;
    assert_eq!(peer.wait(1)?.remove(0).to, ["one@example.net"]);
    assert!(host.say(&["message", "show", &first])?.contains("delivered"));
    assert!(suspended(&host, 1)?[0]["id"].as_str().unwrap().starts_with(&second));
    host.say(&["queue", "resume", "2"])?;
    peer.wait(2)?;
    host.wait_for_empty_queue()
}

#[test]
fn a_suspension_says_which_mail() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    assert!(host.say(&["queue", "pause"])?.contains("nothing is suspended"));
    for wrong in [
        &["queue", "pause", "--message", "no-id"][..],
        &["queue", "pause", "--domain", "*"],
        &["queue", "pause", "--for", "1h"],
        &["queue", "pause", "--login", "plain", "--for", "soon"],
        &["queue", "resume", "7"],
    ] {
        assert!(!host.command(wrong)?.status.success(), "{wrong:?}");
    }
    Ok(())
}

#[test]
fn a_login_suspends_its_own_mail_alone_over_rest() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer)?;
    let suspensions = "/v1/queue/suspensions";
    // All domains, but of its own mail.
    let (status, made) =
        call(&host, "POST", suspensions, TOKEN, &json!({ "domain": "example.net", "for": "2h", "reason": "wait for the price" }))?;
    assert_eq!((status, &made["login"], &made["by"]), (201, &json!("plain"), &json!("login plain")), "{made}");
    let (status, of_operator) = call(&host, "POST", suspensions, SECOND_TOKEN, &json!({ "login": "marketing" }))?;
    assert_eq!((status, &of_operator["by"]), (201, &json!("administrator root")), "{of_operator}");
    for (body, field) in [
        (json!({ "login": "marketing" }), "login"),
        (json!({ "domian": "example.net" }), "domian"),
        (json!({ "domain": "exa mple" }), "domain"),
        (json!({ "domain": "example.net", "for": "soon" }), "for"),
        (json!({ "message": "x" }), "message"),
        (json!({ "tag": "x".repeat(129) }), "tag"),
        (json!({ "route": "x".repeat(256) }), "route"),
    ] {
        let (status, said) = call(&host, "POST", suspensions, TOKEN, &body)?;
        assert_eq!((status, &said["error"]["field"]), (400, &json!(field)), "{body}: {said}");
    }
    assert_eq!(call(&host, "POST", suspensions, SECOND_TOKEN, &json!({}))?.0, 400, "everything is no choice");

    send(&host, "plain", "one@example.net")?;
    send(&host, "plain", "two@example.org")?;
    let id_of_other = send(&host, "marketing", "three@example.net")?;
    assert_eq!(peer.wait(1)?.remove(0).to, ["two@example.org"]);
    suspended(&host, 2)?;
    let (_, own) = call(&host, "GET", "/v1/queue?status=suspended", TOKEN, &Value::Null)?;
    assert_eq!((own["copies"].as_array().unwrap().len(), &own["copies"][0]["recipient"]), (1, &json!("one@example.net")), "{own}");
    assert!(own["copies"][0]["suspended"].as_str().unwrap().contains("wait for the price"), "{own}");
    let (_, all) = call(&host, "GET", "/v1/queue", SECOND_TOKEN, &Value::Null)?;
    assert_eq!(all["copies"].as_array().unwrap().len(), 2, "{all}");

    let listed = |token| Ok::<_, anyhow::Error>(call(&host, "GET", suspensions, token, &Value::Null)?.1["suspensions"].clone());
    assert_eq!((listed(TOKEN)?.as_array().unwrap().len(), listed(SECOND_TOKEN)?.as_array().unwrap().len()), (1, 2));
    // What an operator says of a domain is for all, and what he says of another's message is not.
    host.say(&["queue", "pause", "--domain", "paused.example", "--reason", "they are down"])?;
    host.say(&["queue", "pause", "--message", &id_of_other, "--reason", "ask legal"])?;
    host.say(&["queue", "pause", "--tag", "spring", "--domain", "paused.example", "--reason", "ask marketing"])?;
    let told =
        |token| Ok::<_, anyhow::Error>(call(&host, "GET", "/v1/explain?address=x@paused.example", token, &Value::Null)?.1.to_string());
    let heard = |said: &str| ["they are down", "ask legal", "ask marketing"].map(|reason| said.contains(reason));
    assert_eq!((heard(&told(TOKEN)?), heard(&told(SECOND_TOKEN)?)), ([true, false, false], [true; 3]));
    let end = |suspension: &Value, token| call(&host, "DELETE", &format!("{suspensions}/{}", suspension["number"]), token, &Value::Null);
    assert_eq!(end(&of_operator, TOKEN)?.0, 404, "what an operator suspends only he lets go");
    assert_eq!(end(&made, TOKEN)?.0, 200);
    assert_eq!(end(&of_operator, SECOND_TOKEN)?.0, 200);
    host.say(&["queue", "resume", "3", "4", "5"])?;
    peer.wait(3)?;
    host.wait_for_empty_queue()
}
