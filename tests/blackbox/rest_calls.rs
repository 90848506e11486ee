//! How REST calls are made and answered: tokens, credentials, forms of body, answers; links below a path; who opened what.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tubepost_tests::host::Host;
use tubepost_tests::http::{get, post_json, request};
use tubepost_tests::mime::Part;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, login};
use tubepost_tests::wait::wait_for;

/// A server whose login `second` has a token and the chain `marketing`.
fn start(peer: &Peer, public_url: &str) -> Result<Host> {
    let second = login("second", &format!("route = \"peer\"\nchain = \"marketing\"\ntoken = \"{SECOND_TOKEN_HASH}\""));
    Host::start(&config(peer.address(), &second).replace("http://links.example.com", public_url), &[])
}

fn call() -> Value {
    json!({
        "recipient": "ann@example.net", "from": "news@example.com", "subject": "Letter",
        "html": "<p><a href=\"https://shop.example.com/\">To the shop</a></p>",
    })
}

#[test]
fn each_token_has_its_own_chain() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "https://links.example.com")?;
    let mut htmls = Vec::new();
    for (token, count) in [(TOKEN, 1), (SECOND_TOKEN, 2)] {
        let response = post_json(host.address("http none"), &format!("/v1/send?access_token={token}"), &[], &call())?;
        ensure!(response.status == 200, "{}", response.text());
        let mail = Part::read(&peer.wait(count)?.remove(count - 1).text());
        htmls.push((mail.text(), mail.fields("List-Unsubscribe").len()));
    }
    assert_eq!((htmls[0].0.trim_end(), htmls[0].1), (call()["html"].as_str().unwrap_or_default(), 0));
    assert!(htmls[1].0.contains("href=\"https://links.example.com/t/") && htmls[1].1 == 1, "{htmls:?}");
    // What the first has no plugin for is said.
    let switches = json!({ "recipient": "ann@example.net", "from": "news@example.com", "text": "t", "inlinecss": true, "colour": "red" });
    for (token, ignored) in [(TOKEN, "colour, inlinecss"), (SECOND_TOKEN, "colour")] {
        let response = post_json(host.address("http none"), &format!("/v1/send?access_token={token}"), &[], &switches)?;
        assert_eq!(response.header("x-ignored-fields"), Some(ignored), "{}", response.text());
    }
    Ok(())
}

#[test]
fn turbosmtp_credentials_stand_anywhere() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "https://links.example.com")?;
    let http = host.address("http none");
    let call = json!({ "from": "user@example.com", "to": "a@example.net", "subject": "s", "content": "t" });
    let with = |password: &str| {
        let mut all = call.clone();
        all["authuser"] = "plain".into();
        all["authpass"] = password.into();
        all
    };
    let form =
        |password: &str| format!("authuser=plain&authpass={password}&from=user%40example.com&to=a%40example.net&subject=s&content=t");
    let urlencoded = [("Content-Type", "application/x-www-form-urlencoded")];
    for (password, status, message) in [(PASSWORD, 200, "OK"), ("wrong", 401, "Wrong credentials specified")] {
        let query = format!("/api/mail/send?authuser=plain&authpass={password}");
        for response in [
            post_json(http, "/api/mail/send", &[], &with(password))?,
            post_json(http, &query, &[], &call)?,
            post_json(http, "/api/mail/send", &[("authuser", "plain"), ("authpass", password)], &call)?,
            request(http, "POST", "/api/mail/send", &urlencoded, form(password).as_bytes())?,
        ] {
            assert_eq!((response.status, &response.json()?["message"]), (status, &json!(message)), "{}", response.text());
        }
    }
    assert_eq!(peer.wait(4)?.len(), 4);
    assert!(!host.log().contains(PASSWORD), "the password is in the log");
    Ok(())
}

#[test]
fn all_forms_of_body_make_the_same_mail() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "https://links.example.com")?;
    let http = host.address("http none");
    let turbosmtp = [
        ("from", "\"Info, Ltd\" <user@example.com>"),
        ("to", "a@example.net"),
        ("subject", "Grüße & mehr"),
        ("content", "Zeile 1\nZeile 2"),
        ("html_content", "<p>Grüße</p>"),
        ("custom_headers", "{\"X-key1\":\"value1\"}"),
    ];
    let v1 = [("recipient", "a@example.net"), ("from", "user@example.com"), ("subject", "Grüße & mehr"), ("text", "Zeile 1")];
    let credentials = [("authuser", "plain"), ("authpass", PASSWORD)];
    let by_token = format!("/v1/send?access_token={TOKEN}");
    for (target, pairs) in [("/api/mail/send", &turbosmtp[..]), (&by_token, &v1)] {
        let mut mails = Vec::new();
        for (content_type, body) in forms(pairs)? {
            let count = peer.count();
            let headers = [&credentials[..], &[("Content-Type", content_type)]].concat();
            let response = request(http, "POST", target, &headers, &body)?;
            ensure!(response.status == 200, "{target} {content_type}: {}", response.text());
            let mail = peer.wait(count + 1)?.remove(count);
            mails.push((mail.from.clone(), mail.to.clone(), essence(&mail.text())));
        }
        assert_eq!(mails[0], mails[1], "{target}");
        assert_eq!(mails[0], mails[2], "{target}");
    }

    // A file of a form is attached, also where turboSMTP's own clients send none.
    let (content_type, mut body) = forms(&turbosmtp)?.remove(2);
    body.truncate(body.len() - "--b--\r\n".len());
    body.extend_from_slice(b"--b\r\nContent-Disposition: form-data; name=\"attachments[]\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n1;2\r\n--b--\r\n");
    let count = peer.count();
    let headers = [&credentials[..], &[("Content-Type", content_type)]].concat();
    let response = request(http, "POST", "/api/mail/send", &headers, &body)?;
    ensure!(response.status == 200, "{}", response.text());
    let mail = Part::read(&peer.wait(count + 1)?.remove(count).text());
    assert_eq!((mail.tree().as_str(), mail.leaves()[2].text().as_str()), ("mixed(alternative(plain,html),csv)", "1;2"));
    let body = String::from_utf8(body)?.replace("attachments[]", "else").into_bytes();
    let response = request(http, "POST", "/api/mail/send", &headers, &body)?;
    assert!(response.status == 400 && response.text().contains("else"), "{}", response.text());

    // What is not UTF-8 is not guessed.
    let latin1 = b"recipient=a%40example.net&from=user%40example.com&subject=Gr%FC%DFe&text=t";
    let response = request(http, "POST", &by_token, &[("Content-Type", "application/x-www-form-urlencoded")], latin1)?;
    assert!(response.status == 400 && response.text().contains("subject: not UTF-8"), "{}", response.text());
    // A key counts once.
    for twice in ["\"to\":\"a@x\",\"to\":\"b@x\"", "\"to\":\"a@x\",\"To\":\"b@x\""] {
        let json = [("Content-Type", "application/json")];
        let response = request(http, "POST", &by_token, &json, format!("{{{twice}}}").as_bytes())?;
        assert!(response.status == 400 && response.text().contains("is there twice"), "{}", response.text());
    }
    Ok(())
}

/// The same fields as JSON, urlencoded and multipart.
fn forms(pairs: &[(&str, &str)]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let object: serde_json::Map<String, Value> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let (mut form, mut multipart) = (String::new(), String::new());
    for (name, value) in pairs {
        let value_encoded = value.bytes().fold(String::new(), |mut text, octet| {
            let _ = write!(text, "%{octet:02X}");
            text
        });
        write!(form, "{name}={value_encoded}&")?;
        write!(multipart, "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")?;
    }
    multipart.push_str("--b--\r\n");
    Ok(vec![
        ("application/json", Value::Object(object).to_string().into_bytes()),
        ("application/x-www-form-urlencoded", form.into_bytes()),
        ("multipart/form-data; boundary=b", multipart.into_bytes()),
    ])
}

/// A mail without what no two mails have in common.
fn essence(text: &str) -> String {
    let mail = Part::read(text);
    let header = mail.names().into_iter().filter(|name| !["received", "date", "message-id", "content-type"].contains(name));
    let header: Vec<String> = header.map(|name| format!("{name}: {:?}", mail.fields(name))).collect();
    let leaves: Vec<String> = mail.leaves().iter().map(|leaf| leaf.text()).collect();
    format!("{header:?} {} {leaves:?}", mail.tree())
}

#[test]
fn answers_have_their_types_and_ids_lead_to_the_message() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "https://links.example.com")?;
    let http = host.address("http none");
    let mailpace = json!({ "from": "user@example.com", "to": "a@example.net", "subject": "s", "textbody": "t" });
    let turbosmtp = json!({ "from": "user@example.com", "to": "a@example.net", "subject": "s", "content": "t" });
    for (target, headers, call) in [
        (format!("/v1/send?access_token={TOKEN}"), vec![], call()),
        ("/api/mail/send".to_owned(), vec![("authuser", "plain"), ("authpass", PASSWORD)], turbosmtp),
        ("/api/v1/send".to_owned(), vec![("MailPace-Server-Token", TOKEN)], mailpace),
    ] {
        let response = post_json(http, &target, &headers, &call)?;
        assert!((200..=202).contains(&response.status), "{target}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/json"), "{target}");
        let answer = response.json()?;
        let id = response.header("x-tubepost-message-id").unwrap_or_default();
        let recipient = if target.starts_with("/v1") { "ann@example.net" } else { "a@example.net" };
        assert!(host.say(&["message", "show", id])?.contains(recipient), "{target}");
        match target.as_str() {
            "/api/mail/send" => assert_eq!(answer, json!({ "message": "OK" })),
            "/api/v1/send" => assert!(answer["id"].as_u64().is_some_and(|id| (1..1 << 53).contains(&id)), "a double holds it: {answer}"),
            _ => assert_eq!(answer, json!({ id: recipient })),
        }
    }
    Ok(())
}

#[test]
fn links_work_below_the_path_of_the_public_address() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "https://example.com/mail/links")?;
    let http = host.address("http none");
    let response = post_json(http, &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], &call())?;
    ensure!(response.status == 200, "{}", response.text());
    let id = response.header("x-tubepost-message-id").unwrap_or_default().to_owned();
    let mail = Part::read(&peer.wait(1)?.remove(0).text());
    let path = |text: &str, end: char| {
        text.split("https://example.com").nth(1).and_then(|rest| rest.split(end).next()).unwrap_or_default().to_owned()
    };

    let click = path(&mail.text(), '"');
    assert!(click.starts_with("/mail/links/t/"), "{click}");
    // As the reader asks for it, and as a proxy does that takes the path off.
    for asked in [&click, click.trim_start_matches("/mail/links")] {
        let response = get(http, asked)?;
        assert_eq!((response.status, response.header("location")), (302, Some("https://shop.example.com/")), "{asked}");
    }
    assert_eq!(get(http, &click.replace("/mail/", "/other/"))?.status, 404);

    let unsubscribe = path(mail.fields("List-Unsubscribe")[0], '>');
    assert!(unsubscribe.starts_with("/mail/links/u/"), "{unsubscribe}");
    assert_eq!(mail.fields("List-Unsubscribe-Post"), ["List-Unsubscribe=One-Click"]);
    assert!(get(http, &unsubscribe)?.text().contains("<form"));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(request(http, "POST", &unsubscribe, &form, b"List-Unsubscribe=One-Click")?.status, 200);

    // An opening, with who it was.
    let pixel =
        mail.text().split("<img src=\"https://example.com").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
    let response = request(http, "GET", &pixel, &[("User-Agent", "Reader/7.1")], b"")?;
    assert_eq!((response.status, response.header("content-type")), (200, Some("image/gif")));
    wait_for("the openings", || {
        let shown = host.json(&["message", "show", &id]).ok()?.to_string();
        ["\"opened\"", "\"clicked\"", "\"unsubscribed\"", "Reader/7.1", "127.0.0.1"].iter().all(|part| shown.contains(part)).then_some(())
    })
}

#[test]
fn one_click_is_not_offered_without_https() -> Result<()> {
    let peer = Peer::start()?;
    let host = start(&peer, "http://links.example.com")?;
    let response = post_json(host.address("http none"), &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], &call())?;
    ensure!(response.status == 200, "{}", response.text());
    let mail = Part::read(&peer.wait(1)?.remove(0).text());
    assert_eq!((mail.fields("List-Unsubscribe").len(), mail.fields("List-Unsubscribe-Post").len()), (1, 0));
    assert!(host.say(&["check"])?.contains("server: public_url: has no https"));
    Ok(())
}
