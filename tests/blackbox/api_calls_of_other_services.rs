//! The example calls of the three services whose users come to us, corrected where their pages have errors.

use anyhow::Result;
use serde_json::json;
use tubepost_tests::host::Host;
use tubepost_tests::http::{post_json, request};
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, config};

#[test]
fn smtpeter_send() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let http = host.address("http none");
    let call = json!({
        "envelope": "info@example.com", "recipient": "john@doe.com", "from": "\"Info\" <info@example.com>", "to": "\"John Doe\" <john@doe.com>",
        "subject": "This is the subject", "text": "This is example text", "html": "<p>This is example <b>text</b></p>",
    });
    let response = post_json(http, &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
    assert!((200..=202).contains(&response.status), "{} {}", response.status, response.text());
    let ids = response.json()?;
    assert_eq!(ids.as_object().map(|map| map.values().cloned().collect::<Vec<_>>()), Some(vec![json!("john@doe.com")]));
    let mail = peer.wait(1)?.remove(0);
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("info@example.com", ["john@doe.com".to_owned()].as_slice()));
    assert_eq!(mail.header("Subject").as_deref(), Some("This is the subject"));
    assert!(mail.text().contains("multipart/alternative") && mail.text().contains("This is example <b>text</b>"), "{}", mail.text());

    let form = "recipient=john%40doe.com&from=info%40example.com&to=john%40doe.com&subject=By+form&text=Hello";
    let response = request(
        http,
        "POST",
        &format!("/v1/send?access_token={TOKEN}"),
        &[("Content-Type", "application/x-www-form-urlencoded")],
        form.as_bytes(),
    )?;
    assert!((200..=202).contains(&response.status), "{} {}", response.status, response.text());
    assert_eq!(peer.wait(2)?[1].header("Subject").as_deref(), Some("By form"));

    let response = post_json(http, "/v1/send?access_token=wrong", &[], &call)?;
    assert_eq!(response.status, 401, "{}", response.text());
    assert!(response.json()?["error"]["message"].is_string());
    let response = post_json(
        http,
        &format!("/v1/send?access_token={TOKEN}"),
        &[],
        &json!({"recipient": "not an address", "from": "info@example.com", "text": "x"}),
    )?;
    assert_eq!(response.status, 400, "{}", response.text());
    assert!(response.text().contains("recipient"), "the field is named: {}", response.text());
    assert!(!host.log().contains(TOKEN), "the token is in the log");
    Ok(())
}

#[test]
fn smtpeter_many_recipients_and_raw_mime() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let http = host.address("http none");
    let call = json!({ "recipients": ["one@example.net", "two@example.net, three@example.net"], "from": "info@example.com", "subject": "three", "text": "x" });
    let response = post_json(http, &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
    let ids = response.json()?;
    assert_eq!(ids.as_object().map(serde_json::Map::len), Some(3), "{ids}");
    let mime = "From: info@example.com\r\nTo: t@other.example\r\nSubject: raw\r\n\r\nraw\r\n";
    let response = post_json(
        http,
        &format!("/v1/send?access_token={TOKEN}"),
        &[],
        &json!({ "recipient": "four@example.net", "mime": mime, "subject": "ignored" }),
    )?;
    assert!((200..=202).contains(&response.status), "{}", response.text());
    let taken = tubepost_tests::wait::wait_for("four recipients", || {
        let taken = peer.taken();
        (taken.iter().map(|mail| mail.to.len()).sum::<usize>() == 4).then_some(taken)
    })?;
    assert!(taken.iter().any(|mail| mail.to == ["four@example.net"] && mail.header("Subject").as_deref() == Some("raw")), "{taken:?}");
    Ok(())
}

#[test]
fn turbosmtp_send() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let http = host.address("http none");
    let form = format!(
        "authuser=plain&authpass={PASSWORD}&from=user%40example.com&to=recipient%40example.net&subject=Subject&content=Text&html_content=%3Cb%3EText%3C%2Fb%3E&custom_headers=%7B%22X-key1%22%3A%22value1%22%7D"
    );
    let urlencoded = [("Content-Type", "application/x-www-form-urlencoded")];
    let response = request(http, "POST", "/api/mail/send", &urlencoded, form.as_bytes())?;
    assert_eq!((response.status, response.json()?["message"].clone()), (200, json!("OK")), "{}", response.text());
    let mail = peer.wait(1)?.remove(0);
    assert_eq!(mail.header("X-key1").as_deref(), Some("value1"));
    let wrong = form.replace(PASSWORD, "nonsense");
    let response = request(http, "POST", "/api/mail/send", &urlencoded, wrong.as_bytes())?;
    assert_eq!(response.status, 401);
    assert_eq!(response.json()?["message"], "Wrong credentials specified");
    Ok(())
}

#[test]
fn mailpace_send() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let http = host.address("http none");
    let call = json!({ "from": "test@example.com", "to": "test@example.net", "subject": "Hello", "textbody": "Hi", "htmlbody": "<p>Hi</p>", "tags": ["a tag"] });
    for name in ["MailPace-Server-Token", "OhMySMTP-Server-Token"] {
        let response = post_json(http, "/api/v1/send", &[(name, TOKEN)], &call)?;
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(response.json()?["id"].is_u64() && response.json()?["status"] == "pending", "{}", response.text());
    }
    peer.wait(2)?;
    let response = post_json(http, "/api/v1/send", &[], &call)?;
    assert_eq!((response.status, response.json()?), (401, json!({ "error": "Missing API Token" })));
    let response = post_json(http, "/api/v1/send", &[("MailPace-Server-Token", "x")], &call)?;
    assert_eq!((response.status, response.json()?), (400, json!({ "error": "Invalid API Token" })));
    Ok(())
}
