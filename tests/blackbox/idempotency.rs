//! `Idempotency-Key`: a call that is made again is carried out once.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tubepost_tests::host::Host;
use tubepost_tests::http::{Response, post_json};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, login};

fn v1(host: &Host, token: &str, key: &str, call: &Value) -> Result<Response> {
    post_json(host.address("http none"), &format!("/v1/send?access_token={token}"), &[("Idempotency-Key", key)], call)
}

fn call(subject: &str) -> Value {
    json!({ "recipient": "r@example.net", "from": "s@example.com", "subject": subject, "text": "t", "unknown": "x" })
}

/// What a caller sees of an answer.
fn seen(answer: &Response) -> (u16, String, Option<String>, Option<String>) {
    let header = |name| answer.header(name).map(str::to_owned);
    (answer.status, answer.text(), header("x-tubepost-message-id"), header("x-ignored-fields"))
}

#[test]
fn a_call_that_is_made_again_is_carried_out_once() -> Result<()> {
    let peer = Peer::start()?;
    let second = login("second", &format!("route = \"peer\"\ntoken = \"{SECOND_TOKEN_HASH}\""));
    let mut host = Host::start(&config(peer.address(), &second), &[])?;
    let first = v1(&host, TOKEN, "order-7", &call("one"))?;
    ensure!(first.status == 200 && first.header("x-ignored-fields") == Some("unknown"), "{}", first.text());
    for _ in 0..3 {
        let again = v1(&host, TOKEN, "order-7", &call("one"))?;
        ensure!(seen(&again) == seen(&first), "{again:?} {first:?}");
    }
    // Another call with the key of the first is a mistake; another login has keys of its own, and another key is another call.
    ensure!(v1(&host, TOKEN, "order-7", &call("two"))?.status == 422);
    ensure!(seen(&v1(&host, SECOND_TOKEN, "order-7", &call("one"))?).2 != seen(&first).2);
    ensure!(seen(&v1(&host, TOKEN, "order-8", &call("one"))?).2 != seen(&first).2);
    // What fails leaves nothing.
    ensure!(v1(&host, TOKEN, "order-9", &json!({ "recipient": "nobody" }))?.status == 400);
    ensure!(v1(&host, TOKEN, "order-9", &call("nine"))?.status == 200);
    for key in [String::new(), "k".repeat(256)] {
        ensure!(v1(&host, TOKEN, &key, &call("none"))?.status == 400, "{} characters", key.len());
    }
    ensure!(v1(&host, TOKEN, &"k".repeat(255), &call("long"))?.status == 200);
    // A crash makes nobody forget.
    peer.wait(5)?;
    host.wait_for_empty_queue()?;
    host.kill()?;
    host.launch()?;
    ensure!(seen(&v1(&host, TOKEN, "order-7", &call("one"))?) == seen(&first));
    host.wait_for_empty_queue()?;
    ensure!(peer.count() == 5, "{:?}", peer.taken());
    Ok(())
}

#[test]
fn each_dialect_has_keys() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let http = host.address("http none");
    let mailpace = |subject: &str| {
        let call = json!({ "from": "s@example.com", "to": "r@example.net", "subject": subject, "textbody": "t" });
        post_json(http, "/api/v1/send", &[("MailPace-Server-Token", TOKEN), ("Idempotency-Key", "k")], &call)
    };
    // MailPace gives the first answer to whatever comes with the key.
    let first = mailpace("one")?;
    ensure!(first.status == 200 && seen(&mailpace("two")?) == seen(&first), "{}", first.text());
    let turbosmtp = |subject: &str| {
        let call = json!({ "from": "s@example.com", "to": "r@example.net", "subject": subject, "content": "t" });
        post_json(http, "/api/mail/send", &[("authuser", "plain"), ("authpass", PASSWORD), ("Idempotency-Key", "k")], &call)
    };
    let first = turbosmtp("one")?;
    ensure!(first.status == 200 && seen(&turbosmtp("one")?) == seen(&first), "{}", first.text());
    ensure!(turbosmtp("two")?.status == 422);
    ensure!(v1(&host, TOKEN, "k", &call("one"))?.status == 200);
    peer.wait(3)?;
    host.wait_for_empty_queue()?;
    ensure!(peer.count() == 3, "{:?}", peer.taken());
    Ok(())
}

#[test]
fn of_many_calls_at_once_one_is_carried_out() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| v1(&host, TOKEN, "same", &call("race")))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect::<Result<_>>()
    })?;
    let taken: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    ensure!(!taken.is_empty() && taken.iter().all(|answer| seen(answer) == seen(taken[0])), "{answers:?}");
    ensure!(answers.iter().all(|answer| [200, 409].contains(&answer.status)), "{answers:?}");
    peer.wait(1)?;
    host.wait_for_empty_queue()?;
    ensure!(peer.count() == 1, "{:?}", peer.taken());
    Ok(())
}
