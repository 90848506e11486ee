//! The `x-smtpeter-*` fields with which a message says itself what is done with it, over SMTP and in the `mime` of a REST call.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::post_json;
use tubepost_tests::mime::Part;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, config, login};
use tubepost_tests::wait::wait_for;

const HEADER: &str = "From: s@example.com\r\nTo: r@example.net\r\nSubject: switches\r\nMIME-Version: 1.0\r\n\
                      Content-Type: multipart/related; boundary=b\r\n";
const BODY: &str = "--b\r\nContent-Type: text/html\r\n\r\n\
                    <html><head><style>p { color: red }</style></head><body><p>Hello</p>\r\n\
                    <a href=\"http://shop.example/offer\">Offer</a> <a href=\"http://shop.example/\">shop.example</a> <img src=\"cid:logo\">\r\n\
                    </body></html>\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b--\r\n";

/// How a message comes in.
#[derive(Clone, Copy, Debug)]
enum Way {
    Smtp,
    /// A REST call with `mime`, which says the contrary of what the message does.
    Mime,
}

/// What became of a message: what arrived, and its id.
struct Sent {
    mail: Taken,
    html: String,
    id: String,
}

impl Sent {
    fn is_inlined(&self) -> bool {
        self.html.replace(": ", ":").contains("<p style=\"color:red")
    }

    /// Whether the link, and the one whose text is its target, lead over us.
    fn followed(&self) -> (bool, bool) {
        (!self.html.contains("\"http://shop.example/offer\""), !self.html.contains("\"http://shop.example/\""))
    }

    fn has_pixel(&self) -> bool {
        self.html.contains("src=\"http://links.example.com/")
    }
}

/// A login for which everything is off, and a server that takes bounces.
struct Service {
    peer: Peer,
    host: Host,
}

impl Service {
    fn start() -> Result<Self> {
        let peer = Peer::start()?;
        let login = login("steered", &format!("route = \"peer\"\nchain = \"steered\"\ntoken = \"{SECOND_TOKEN_HASH}\""));
        let steps = "{ use = \"inline-css\", when = \"requested\" }, { use = \"tracking\", clicks = false, opens = false }";
        let text = config(peer.address(), &format!("{login}[bounces]\ndomain = \"bounces.example.com\"\n"));
        let host = Host::start(&text.replacen("[chains]\n", &format!("[chains]\nsteered = [ \"tags\", {steps} ]\n"), 1), &[])?;
        Ok(Self { peer, host })
    }

    /// Sends the message with these fields in its header; over REST, `call` says what else is wanted.
    fn send(&self, way: Way, fields: &str, call: &Value) -> Result<Sent> {
        let content = format!("{HEADER}{fields}\r\n{BODY}");
        let before = self.peer.count();
        let id = match way {
            Way::Smtp => {
                let mut client = Client::login(self.host.address("smtp none"), "steered", PASSWORD)?;
                client.deliver("s@example.com", &["r@example.net"], content.as_bytes())?
            }
            Way::Mime => {
                let mut fields = json!({ "recipient": "r@example.net", "mime": content });
                fields.as_object_mut().unwrap().extend(call.as_object().unwrap().clone());
                let http = self.host.address("http none");
                let answer = post_json(http, &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], &fields)?;
                ensure!(answer.status == 200, "{fields}: {} {}", answer.status, answer.text());
                answer.header("x-tubepost-message-id").context("an id")?.to_owned()
            }
        };
        let mail = self.peer.wait(before + 1)?.remove(before);
        ensure!(!mail.text().to_lowercase().contains("x-smtpeter-"), "a field is left in\n{}", mail.text());
        let html = Part::read(&mail.text()).leaves()[0].text();
        Ok(Sent { mail, html, id })
    }
}

/// What a call says so that it asks for nothing by itself.
fn nothing() -> Value {
    json!({ "inlinecss": false, "trackclicks": false, "trackopens": false, "trackbounces": false, "preventscam": false })
}

#[test]
fn a14_switches_in_the_header_are_followed_and_taken_out() -> Result<()> {
    let service = Service::start()?;
    for way in [Way::Smtp, Way::Mime] {
        let send = |fields: &str| service.send(way, fields, &nothing());
        let plain = send("")?;
        ensure!(!plain.is_inlined() && plain.followed() == (false, false) && !plain.has_pixel(), "{way:?}: {}", plain.html);
        ensure!(!plain.mail.from.ends_with("@bounces.example.com"), "{way:?}: {}", plain.mail.from);

        let sent = send("x-smtpeter-inlinecss: true\r\n")?;
        ensure!(sent.is_inlined() && sent.followed() == (false, false) && !sent.has_pixel(), "{way:?}: {}", sent.html);

        let sent = send("x-smtpeter-trackclicks: true\r\n")?;
        ensure!(!sent.is_inlined() && sent.followed() == (true, true) && !sent.has_pixel(), "{way:?}: {}", sent.html);

        let sent = send("X-SMTPeter-TrackClicks: true\r\nX-SMTPeter-PreventScam: true\r\n")?;
        ensure!(sent.followed() == (true, false), "{way:?}: {}", sent.html);

        let sent = send("x-smtpeter-trackopens: true\r\n")?;
        ensure!(sent.has_pixel() && sent.followed() == (false, false), "{way:?}: {}", sent.html);

        let sent = send("x-smtpeter-trackbounces: true\r\n")?;
        ensure!(sent.mail.from.ends_with("@bounces.example.com"), "{way:?}: {}", sent.mail.from);

        let sent = send("x-smtpeter-tags: spring sale, second\r\n")?;
        let shown = service.host.json(&["message", "show", &sent.id])?.to_string();
        ensure!(shown.contains("\"spring sale\"") && shown.contains("\"second\""), "{way:?}: {shown}");

        // Images stay in the message: nothing is hosted.
        for value in ["hosted", "default"] {
            let sent = send(&format!("x-smtpeter-images: {value}\r\n"))?;
            ensure!(sent.html.contains("src=\"cid:logo\"") && sent.mail.text().contains("Content-ID: <logo>"), "{}", sent.mail.text());
        }
    }
    Ok(())
}

#[test]
fn a14_a_field_in_mime_goes_before_what_the_call_says() -> Result<()> {
    let service = Service::start()?;
    let all = json!({ "inlinecss": true, "trackclicks": true, "trackopens": true, "trackbounces": true, "tags": ["called"] });
    let sent = service.send(Way::Mime, "", &all)?;
    ensure!(sent.is_inlined() && sent.followed() == (true, true) && sent.has_pixel(), "{}", sent.html);
    ensure!(sent.mail.from.ends_with("@bounces.example.com"), "{}", sent.mail.from);
    let off = "x-smtpeter-inlinecss: false\r\nx-smtpeter-trackclicks: false\r\nx-smtpeter-trackopens: false\r\n\
               x-smtpeter-trackbounces: false\r\nx-smtpeter-tags: written\r\n";
    let sent = service.send(Way::Mime, off, &all)?;
    ensure!(!sent.is_inlined() && sent.followed() == (false, false) && !sent.has_pixel(), "{}", sent.html);
    ensure!(!sent.mail.from.ends_with("@bounces.example.com"), "{}", sent.mail.from);
    // Tags are collected from everywhere.
    let shown = service.host.json(&["message", "show", &sent.id])?.to_string();
    ensure!(shown.contains("\"called\"") && shown.contains("\"written\""), "{shown}");
    Ok(())
}

#[test]
fn a14_a_value_that_says_nothing_is_refused() -> Result<()> {
    let service = Service::start()?;
    let mut client = Client::login(service.host.address("smtp none"), "steered", PASSWORD)?;
    let content = format!("{HEADER}x-smtpeter-trackclicks: perhaps\r\n\r\n{BODY}");
    let reply = client.submit("s@example.com", &["r@example.net"], content.as_bytes())?;
    ensure!(reply.code == 550 && reply.text().to_lowercase().contains("x-smtpeter-trackclicks"), "{reply:?}");
    wait_for("nothing to be sent", || (service.peer.count() == 0).then_some(()))
}
