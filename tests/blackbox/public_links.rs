//! Clicks, opens and unsubscribing: signed, recorded, and useless when changed.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{get, request};
use tubepost_tests::mime::Part;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config};
use tubepost_tests::wait::wait_for;

#[test]
fn links_lead_where_they_should_and_nowhere_else() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let mut client = Client::login(host.address("smtp none"), "marketing", PASSWORD)?;
    let id = client.deliver("news@example.com", &["ann@example.net"], include_bytes!("messages/newsletter.eml"))?;
    let mail = peer.wait(1)?.remove(0);
    let parts = Part::read(&mail.text());
    let text: String = parts.leaves().iter().map(|leaf| leaf.text()).collect();
    let http = host.address("http none");

    let click = text.split("href=\"http://links.example.com").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let response = get(http, click)?;
    assert_eq!((response.status, response.header("location")), (302, Some("https://shop.example.com/spring?from=letter&id=7#top")));
    // Somewhere in the token, one letter becomes another.
    let place = click.len().min(40) - 10;
    let forged: String = click.char_indices().map(|(at, c)| if at == place { if c == 'A' { 'B' } else { 'A' } } else { c }).collect();
    assert_eq!(get(http, &forged)?.status, 404);
    assert_eq!(get(http, "/t/https://evil.example/")?.status, 404);

    let pixel = text.split("src=\"http://links.example.com").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let response = get(http, pixel)?;
    assert_eq!((response.status, response.header("content-type")), (200, Some("image/gif")));
    assert!(response.body.starts_with(b"GIF89a"));

    let header = mail.header("List-Unsubscribe").unwrap();
    let unsubscribe = header.split("http://links.example.com").nth(1).and_then(|rest| rest.split('>').next()).unwrap();
    let asked = get(http, unsubscribe)?;
    assert_eq!(asked.status, 200);
    assert!(
        asked.text().contains("<form") && asked.header("content-type").is_some_and(|kind| kind.starts_with("text/html")),
        "{}",
        asked.text()
    );
    let before = host.command(&["message", "show", &id])?;
    assert!(!String::from_utf8_lossy(&before.stdout).to_lowercase().contains("unsubscribed"), "a GET changes nothing");
    let done = request(http, "POST", unsubscribe, &[("Content-Type", "application/x-www-form-urlencoded")], b"List-Unsubscribe=One-Click")?;
    assert_eq!(done.status, 200, "{}", done.text());

    wait_for("the three events", || {
        let shown = host.command(&["message", "show", &id]).ok()?;
        let shown = String::from_utf8_lossy(&shown.stdout).to_lowercase();
        ["clicked", "opened", "unsubscribed"].iter().all(|event| shown.contains(event)).then_some(())
    })
}
