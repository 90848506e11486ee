//! A disk without room: clients are told to come back (4xx, 503), nothing is promised, and all is well once there is room.

use anyhow::Result;
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{get, post_json};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, config, message};

#[test]
fn mail_is_refused_for_now_and_taken_when_there_is_room() -> Result<()> {
    let peer = Peer::start()?;
    // More is to be left free than any disk has.
    let mut host = Host::start(&config(peer.address(), "[store]\nreserve = \"1000TiB\"\n"), &[])?;
    let call = json!({ "recipient": "rest@example.net", "from": "s@example.com", "subject": "full", "text": "x" });
    for _ in 0..3 {
        let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
        let reply = client.submit("s@example.com", &["smtp@example.net"], &message("full"))?;
        assert_eq!((reply.code, reply.text().starts_with("4.3.1")), (452, true), "{reply:?}");
        client.command("NOOP", 250)?;
        let response = post_json(host.address("http none"), &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
        assert_eq!(response.status, 503, "{}", response.text());
    }
    // It lives, says that it is not ready, and what needs no room goes on.
    assert_eq!(get(host.address("http none"), "/healthz")?.status, 200);
    let ready = get(host.address("http none"), "/readyz")?;
    assert_eq!((ready.status, ready.text().trim()), (503, "no room in the store"));
    assert_eq!(host.json(&["queue", "list"])?, json!([]));
    assert_eq!(host.terminate()?, Some(0), "{}", host.log());
    assert_eq!(peer.count(), 0);

    host.configure(&config(peer.address(), ""))?;
    host.launch()?;
    assert_eq!(get(host.address("http none"), "/readyz")?.status, 200);
    Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver("s@example.com", &["smtp@example.net"], &message("room"))?;
    let response = post_json(host.address("http none"), &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
    assert!((200..=202).contains(&response.status), "{}", response.text());
    let taken = peer.wait(2)?;
    assert!(taken.iter().all(|mail| mail.header("Subject").as_deref() != Some("full") || mail.to == ["rest@example.net"]), "{taken:?}");
    Ok(())
}
