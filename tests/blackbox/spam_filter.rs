//! A plugin that is a spam filter: what it refuses shows as spam.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::post_json;
use tubepost_tests::peer::Peer;
use tubepost_tests::plugins::plugin;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, config, login, message};
use tubepost_tests::wait::wait_for;

#[test]
fn f19_what_the_spam_filter_refuses_shows_as_spam() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/cookbook/spam-filter");
    let component = folder.path().join("spam-filter.wasm");
    plugin(folder.path(), &["build", &source.to_string_lossy(), "--output", &component.to_string_lossy()])?;
    let peer = Peer::start()?;
    let keys = format!("token = \"{SECOND_TOKEN_HASH}\"\nchain = \"filtered\"\nroute = \"peer\"\n");
    let filter = "[plugins.spam-filter]\nsource = \"spam-filter.wasm\"\nrefusals = \"spam\"\nlimits = { time = \"20s\" }\n";
    let more = format!("{}\n{filter}", login("filtered", &keys));
    let config = config(peer.address(), &more).replace("[chains]\n", "[chains]\nfiltered = [\"spam-filter\"]\n");
    let host = Host::start(&config, &[("spam-filter.wasm", &std::fs::read(&component)?)])?;

    let gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
    let mut spam = message("a test");
    spam.extend_from_slice(format!("{gtube}\r\n").as_bytes());
    let mut client = Client::login(host.address("smtp none"), "filtered", PASSWORD)?;
    let refused = client.submit("sender@example.com", &["reader@example.net"], &spam)?;
    assert_eq!(refused.code, 550, "{}", refused.text());
    assert!(refused.text().contains("5.7.1 this message is spam"), "{}", refused.text());
    let letter = json!({ "from": "sender@example.com", "to": "reader@example.net", "subject": "s", "textbody": gtube });
    let refused = post_json(host.address("http none"), "/api/v1/send", &[("MailPace-Server-Token", SECOND_TOKEN)], &letter)?;
    assert_eq!(refused.status, 400, "{}", refused.text());

    let found = wait_for("both to be found", || {
        let found = host.json(&["message", "search", "state:spam"]).ok()?;
        (found["total"] == 2).then_some(found)
    })?;
    let id = found["messages"][0]["message"].as_str().unwrap_or_default();
    let shown = host.json(&["message", "show", id])?;
    assert_eq!((&shown["summary"]["state"], &shown["events"][0]["event"]), (&json!("spam"), &json!("spam")));
    assert_eq!(shown["events"][0]["plugin"], "spam-filter");

    let mut client = Client::login(host.address("smtp none"), "filtered", PASSWORD)?;
    client.deliver("sender@example.com", &["reader@example.net"], &message("no spam"))?;
    assert_eq!(peer.wait(1)?.len(), 1, "nothing but this was sent");
    host.wait_for_empty_queue()
}
