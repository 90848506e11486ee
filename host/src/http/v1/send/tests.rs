#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use mail_parser::MessageParser;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clock::{Entropy, Timestamp};
use crate::http::compose::Stamp;
use crate::http::{body, fields::Fields};
use crate::mail::domain::Domain;
use crate::mail::envelope::{BodyType, Notify};
use crate::mail::message_id::MessageId;

const NOW: Timestamp = Timestamp::from_millis(1_533_081_600_000);
const MOMENT: Moment = Moment { now: NOW, longest_hold: Duration::from_hours(24) };

fn parse_call(call: &Value) -> Result<Order, Flaw> {
    parse_for(&["tracking", "template"], call)
}

fn parse_for(stations: &[&str], call: &Value) -> Result<Order, Flaw> {
    parse(&Fields::from_object(call.as_object().unwrap().clone())?, &Stations::named(stations), MOMENT)
}

/// A call that is fine, with `changes` laid over it; null takes a field away.
#[expect(clippy::needless_pass_by_value, reason = "calls read better with the literal in place")]
fn call(changes: Value) -> Value {
    let mut call = json!({ "recipient": "r@sink.example", "from": "Ann <a@x.example>", "subject": "s", "text": "t" });
    call.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    call
}

fn octets(order: Order) -> String {
    let stamp = Stamp {
        id: MessageId::from_bytes([1; 16]),
        now: NOW,
        hostname: &Domain::parse("mail.example.com").unwrap(),
        entropy: &Entropy::seeded(1),
    };
    String::from_utf8(order.content.into_octets(stamp).to_vec()).unwrap()
}

fn message(changes: Value) -> String {
    octets(parse_call(&call(changes)).unwrap())
}

fn flaw(changes: Value) -> String {
    let flaw = parse_call(&call(changes)).unwrap_err();
    format!("{}: {}", flaw.field, flaw.reason)
}

fn forward_paths(order: &Order) -> Vec<String> {
    order.envelope.forward_paths.iter().map(|path| path.address.to_string()).collect()
}

fn field<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let header = message.split("\r\n\r\n").next().unwrap();
    header.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

#[test]
fn raw_mime_wins() {
    let mime = "From: b@y.example\nSubject: own\nBcc: secret@z\n\nbody\n";
    let order = parse_call(&call(json!({ "mime": mime }))).unwrap();
    assert_eq!(order.envelope.reverse_path.to_string(), "b@y.example");
    assert_eq!(octets(order), "From: b@y.example\r\nSubject: own\r\n\r\nbody\r\n");
    // Without a header the other fields make one.
    let text = message(json!({ "mime": "\nbody\n" }));
    assert_eq!((field(&text, "Subject"), text.ends_with("\r\n\r\nbody\r\n")), (vec!["s"], true), "{text}");
    assert_eq!(flaw(json!({ "mime": "nonsense" })), "mime: not a message: a header, an empty line and a body are expected");
    assert_eq!(flaw(json!({ "mime": "\nbody\n", "from": null })), "from: missing");
    // A message of its own needs no fields.
    assert!(parse_call(&json!({ "recipient": "r@x", "mime": "From: a@x\r\n\r\n" })).is_ok());
    let eight_bit = parse_call(&json!({ "recipient": "r@x", "mime": "From: a@x\r\n\r\né" })).unwrap();
    assert_eq!(eight_bit.envelope.body, BodyType::EightBitMime);
}

#[test]
fn fields_become_mime() {
    let text = message(json!({
        "html": "<img src=\"cid:logo\">",
        "attachments": [{ "data": "aGk=", "name": "a.txt", "type": "text/plain" }, { "data": "iVA=", "name": "l.png", "cid": "logo" }],
    }));
    let parsed = MessageParser::new().parse(&text).unwrap();
    assert_eq!((parsed.body_text(0).unwrap().trim(), parsed.body_html(0).unwrap().trim()), ("t", "<img src=\"cid:logo\">"));
    assert_eq!(parsed.attachment_count(), 2);
    assert_eq!(flaw(json!({ "text": null })), "text: one of text, html, mime, template and attachments is needed");
    assert_eq!(flaw(json!({ "from": null })), "from: missing");
    assert_eq!(flaw(json!({ "from": "a@x, b@x" })), "from: exactly one address is expected");
    assert!(message(json!({ "text": null, "attachments": [{ "data": "aGk=" }] })).contains("aGk="));
}

#[test]
fn address_lists_are_flexible() {
    let text = message(json!({ "to": ["\"A, B\" <a@x>, c@x", "d@x"], "CC": "e@x" }));
    let parsed = MessageParser::new().parse(&text).unwrap();
    let to: Vec<_> = parsed.to().unwrap().iter().map(|one| (one.name().unwrap_or_default(), one.address().unwrap())).collect();
    assert_eq!(to, [("A, B", "a@x"), ("", "c@x"), ("", "d@x")]);
    assert_eq!(parsed.cc().unwrap().first().unwrap().address(), Some("e@x"));
    assert_eq!(flaw(json!({ "to": ["a@x", "b@@x"] })), "to: 'b@@x' is not a valid email address");
    assert_eq!(flaw(json!({ "bcc": "nobody" })), "bcc: 'nobody' is not a valid email address");
}

#[test]
fn delivery_is_apart_from_the_header() {
    let order = parse_call(&call(json!({ "to": "t@other.example", "cc": "c@other.example", "bcc": "b@other.example" }))).unwrap();
    assert_eq!(forward_paths(&order), ["r@sink.example", "b@other.example"]);
    let text = octets(order);
    assert_eq!(field(&text, "To"), ["t@other.example"]);
    assert!(!text.to_ascii_lowercase().contains("bcc") && !text.contains("b@other.example"), "{text}");
}

#[test]
fn a_missing_to_is_the_recipient() {
    assert_eq!(field(&message(json!({})), "To"), ["r@sink.example"]);
    // Several do not learn of each other.
    assert_eq!(field(&message(json!({ "recipients": ["b@x"] })), "To"), ["undisclosed-recipients:;"]);
}

#[test]
fn many_recipients_and_their_data() {
    let order =
        parse_call(&call(json!({ "recipient": null, "recipients": ["a@x", { "b@x": { "n": 1 } }, "c@x"], "data": { "m": 2 } }))).unwrap();
    assert_eq!(forward_paths(&order), ["a@x", "b@x", "c@x"]);
    assert_eq!(json!(order.options.recipient_variables), json!({ "1": { "n": 1 } }));
    assert_eq!(json!(order.options.variables), json!({ "m": 2 }));
    assert!(order.options.requested.contains("template"));
}

#[test]
fn one_reply_to() {
    for name in ["replyto", "replyTo", "ReplyTo"] {
        assert_eq!(field(&message(json!({ name: "R <r@x>" })), "Reply-To"), ["R <r@x>"], "{name}");
    }
    let template = json!({ "html": "x", "headers": { "reply-to": "Jörg <a@x>" } });
    assert_eq!(field(&message(json!({ "template": template, "replyto": "b@x" })), "Reply-To"), ["b@x"]);
    assert_eq!(field(&message(json!({ "template": template })), "Reply-To"), ["=?utf-8?Q?J=C3=B6rg?= <a@x>"]);
    assert_eq!(field(&message(json!({ "template": template, "headers": { "Reply-To": "c@x" } })), "Reply-To"), ["c@x"]);
    assert_eq!(
        flaw(json!({ "template": { "html": "x", "headers": { "Reply-To": "nobody" } } })),
        "Reply-To: 'nobody' is not a valid email address"
    );
}

#[test]
fn extra_is_for_x_fields() {
    let text = message(json!({ "extra": { "x-a": "1", "X-B": "é" } }));
    assert_eq!(field(&text, "x-a"), ["1"]);
    assert!(field(&text, "X-B")[0].starts_with("=?utf-8?"), "{text}");
    assert_eq!(flaw(json!({ "extra": { "Subject": "s" } })), "extra.Subject: this header field is made from the other fields of the call");
    assert_eq!(flaw(json!({ "extra": { "Precedence": "bulk" } })), "extra.Precedence: only names that begin with x- are allowed");
    assert_eq!(flaw(json!({ "extra": { "x-a": ["1"] } })), "extra.x-a: a text is expected");
    assert!(flaw(json!({ "extra": { "x-a b": "1" } })).starts_with("extra: "));
}

#[test]
fn no_field_makes_a_header_field_of_its_own() {
    for changes in [
        json!({ "subject": "a\r\nBcc: b@x" }),
        json!({ "subject": "a\nBcc: b@x" }),
        json!({ "from": "A\r\nBcc: b@x <a@x>" }),
        json!({ "from": { "name": "A\r\nBcc: b@x", "address": "a@x" } }),
        json!({ "to": "a@x\r\nBcc: b@x" }),
        json!({ "to": ["a@x\nBcc: b@x"] }),
        json!({ "replyto": "\"a\r\nBcc: b@x\" <a@x>" }),
        json!({ "extra": { "x-a": "1\r\nBcc: b@x" } }),
        json!({ "extra": { "x-a\r\nBcc": "b@x" } }),
        json!({ "unsubscribe": { "email": "a@x\r\nBcc: b@x" } }),
        json!({ "attachments": [{ "data": "", "name": "a\r\nBcc: b@x" }] }),
        json!({ "envelope": "a@x\r\nRCPT TO:<b@x>" }),
    ] {
        assert!(parse_call(&call(changes.clone())).is_err(), "{changes}");
    }
    // An encoded word that hides one becomes text.
    let text = message(json!({ "from": "=?utf-8?Q?A=0D=0ABcc=3A_b=40x?= <a@x>" }));
    assert!(field(&text, "Bcc").is_empty(), "{text}");
}

#[test]
fn the_envelope_follows_envelope_and_trackbounces() {
    let envelope = |changes: Value| {
        let order = parse_call(&call(changes)).unwrap();
        (order.envelope.reverse_path.to_string(), order.envelope.forward_paths[0].notify)
    };
    assert_eq!(envelope(json!({})), ("a@x.example".into(), Some(Notify::NEVER)));
    assert_eq!(envelope(json!({ "trackbounces": false })), (String::new(), Some(Notify::NEVER)));
    assert_eq!(envelope(json!({ "envelope": "e@x", "bouncetracking": false })), ("e@x".into(), None));
    assert_eq!(envelope(json!({ "envelope": "e@x" })).0, "e@x");
    assert_eq!(flaw(json!({ "envelope": "E <e@x>" })).split(':').next(), Some("envelope"));
    let dsn = json!({ "envelope": "e@x", "dsn": { "notify": "SUCCESS,FAILURE", "envid": "7" } });
    assert!(envelope(dsn).1.is_some_and(|notify| notify.success));
    assert!(flaw(json!({ "dsn": { "notify": "NEVER,DELAY" } })).starts_with("dsn.notify: "));
}

#[test]
fn international_addresses_ask_for_smtputf8() {
    assert!(!parse_call(&call(json!({ "recipient": "r@bücher.example" }))).unwrap().envelope.smtputf8);
    assert!(parse_call(&call(json!({ "recipient": "jörg@x.example" }))).unwrap().envelope.smtputf8);
    assert!(parse_call(&call(json!({ "cc": "jörg@x.example" }))).unwrap().envelope.smtputf8);
}

#[test]
fn tags_have_no_blanks_here() {
    let tags = |value: Value| {
        let order = parse_call(&call(json!({ "tags": value })));
        order.map(|order| order.options.tags.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))
    };
    assert_eq!(tags(json!(["a", "b"])).unwrap(), "a|b");
    assert_eq!(tags(json!("a,b")).unwrap(), "a|b");
    for bad in [json!(["a b"]), json!("a b"), json!(["a;b"]), json!([7]), json!({}), json!(vec!["x"; 101])] {
        assert_eq!(tags(bad.clone()).unwrap_err().field, "tags", "{bad}");
    }
}

#[test]
fn the_latest_time_has_one_form() {
    let order = parse_call(&call(json!({ "maxdelivertime": "2018-08-01 00:00:02" }))).unwrap();
    assert_eq!(order.options.deliver_before, Some(Timestamp::from_millis(1_533_081_602_000)));
    assert_eq!(flaw(json!({ "maxdelivertime": "2018-08-01 00:00:00" })), "maxdelivertime: this time has passed");
    assert!(flaw(json!({ "maxdelivertime": "tomorrow" })).starts_with("maxdelivertime: a time of the form"));
}

#[test]
fn variables_stand_in_address_fields_too() {
    let with = |changes: Value| {
        let mut call = call(json!({ "to": "{$name} <{$recipient}>", "data": { "name": "Ann" } }));
        call.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        parse_call(&call)
    };
    let text = octets(with(json!({ "from": "{$shop|default:\"a, b\"} <news@x.example>", "replyto": "{$reply}" })).unwrap());
    assert_eq!(field(&text, "To"), ["{$name} <{$recipient}>"]);
    assert_eq!((field(&text, "From"), field(&text, "Reply-To")), (vec!["{$shop|default:\"a, b\"} <news@x.example>"], vec!["{$reply}"]));
    let sender = |from: &str| with(json!({ "from": from })).unwrap().envelope.reverse_path.to_string();
    assert_eq!(sender("{$shop|default:\"a, b\"} <news@x.example>"), "news@x.example");
    assert_eq!(sender("{$shop} <{$sender}>"), "");
    // Beside encoded words, this would read as a group.
    assert!(
        with(json!({ "to": "Jörg <j@x>, {$name|default:\"x\"} <{$recipient}>" })).unwrap_err().reason.starts_with("such a placeholder")
    );
    assert!(with(json!({ "to": "Jörg <j@x>, {$name} <{$recipient}>" })).is_ok());
    assert_eq!(with(json!({ "bcc": "{$hidden}" })).unwrap_err().field, "bcc");
    // Nobody would fill them in.
    let switched_off = with(json!({ "plugins": { "template": false } })).unwrap_err();
    assert_eq!(switched_off.reason, "'{$name} <{$recipient}>' is not a valid email address");
    let without_data = call(json!({ "to": "{$name} <{$recipient}>" }));
    assert_eq!(parse_for(&["tracking", "template"], &without_data).unwrap_err().field, "to");
    assert!(parse_for(&["template!"], &without_data).is_ok());
}

#[test]
fn a_field_given_twice_is_refused() {
    assert_eq!(flaw(json!({ "Subject": "other" })), "Subject: the field Subject is there twice");
    assert_eq!(flaw(json!({ "unsubscribe": { "url": "https://x", "URL": "https://y" } })), "unsubscribe.URL: the field URL is there twice");
}

#[test]
fn templates_give_content_and_the_call_goes_before() {
    let template = json!({ "subject": "Dear {$name}", "html": "<p>{$name}</p>", "from": "T <t@x>", "headers": { "Precedence": "bulk" } });
    let order = parse_call(&json!({ "recipient": "r@x", "template": template, "data": { "name": "Ann" } })).unwrap();
    assert_eq!(order.envelope.reverse_path.to_string(), "t@x");
    let text = octets(order);
    assert_eq!((field(&text, "Subject"), field(&text, "Precedence")), (vec!["Dear {$name}"], vec!["bulk"]));
    let over = json!({ "template": template, "headers": { "Precedence": "list" } });
    let text = message(over);
    assert_eq!(field(&text, "Subject"), ["s"]);
    assert_eq!(field(&text, "Precedence"), ["list"]);
    // Without a template any other header field is not to be had.
    assert!(field(&message(json!({ "headers": { "Precedence": "bulk" } })), "Precedence").is_empty());
}

#[test]
fn unknown_fields_are_ignored_and_told() {
    let order = parse_call(&call(json!({ "recpients": "x", "Colour": 7, "trackbounces": true }))).unwrap();
    assert_eq!(order.ignored, ["recpients", "Colour"]);
}

#[test]
fn without_the_plugin_unsubscribe_is_a_header_field() {
    let text = message(json!({ "unsubscribe": { "email": "u@x.example", "url": "https://x.example/u", "oneclick": true } }));
    assert_eq!(field(&text, "List-Unsubscribe"), ["<mailto:u@x.example>, <https://x.example/u>"]);
    assert_eq!(field(&text, "List-Unsubscribe-Post"), ["List-Unsubscribe=One-Click"]);
}

/// The corrected example of the Dutch REST page.
#[test]
fn the_documented_example_is_fine() {
    let example = json!({
        "recipient": "john@example.org",
        "from": "sender@example.com",
        "to": "john@example.org",
        "subject": "This is the subject line",
        "html": "<html><body>Hi there</body></html>",
        "text": "Hi there",
    });
    let order = parse_call(&example).unwrap();
    assert!(order.ignored.is_empty());
    insta::assert_snapshot!(octets(order));
}

#[tokio::test]
async fn all_forms_of_body_make_the_same_mail() {
    let pairs = [
        ("recipient", "r@sink.example"),
        ("from", "Ann <a@x.example>"),
        ("to", "\"A, B\" <a@y.example>, c@y.example"),
        ("subject", "Grüße & mehr"),
        ("text", "Zeile 1\nZeile 2"),
        ("html", "<p>Grüße</p>"),
        ("tags", "one,two"),
        ("trackclicks", "false"),
        ("extra", "{\"x-a\":\"1\"}"),
    ];
    let object: serde_json::Map<String, Value> = pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let mut multipart = String::new();
    for (name, value) in pairs {
        write!(multipart, "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").unwrap();
    }
    multipart.push_str("--b--\r\n");
    let mut mails = Vec::new();
    for (content_type, content) in [
        ("application/json", Value::Object(object).to_string()),
        ("application/x-www-form-urlencoded", form),
        ("multipart/form-data; boundary=b", multipart),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        let fields = body::fields(&headers, Bytes::from(content), 100).await.unwrap();
        let order = parse(&fields, &Stations::named(&["tracking"]), MOMENT).unwrap();
        mails.push((format!("{:?} {:?}", order.envelope, order.options), octets(order)));
    }
    assert_eq!(mails[0], mails[1]);
    assert_eq!(mails[0], mails[2]);
}

proptest! {
    /// Whatever stands in the fields: no panic, and no header field that nobody asked for.
    #[test]
    fn fields_stay_in_their_fields(texts in prop::array::uniform8("[ -~éß\r\n\t\0]{0,30}"), clean in any::<bool>()) {
        let [name, subject, to, reply, extra, text, file, unsubscribe] =
            texts.map(|text| if clean { text.replace(['\r', '\n', '\0'], " ") } else { text });
        let order = parse_call(&call(json!({
            "from": { "name": name, "address": "a@x" },
            "to": format!("\"{}\" <t@x>", to.replace(['"', '\\'], "")),
            "replyto": { "name": reply, "address": "r@x" },
            "subject": subject,
            "text": text,
            "extra": { "x-own": extra },
            "unsubscribe": { "email": unsubscribe.split(' ').next().unwrap_or_default() },
            "attachments": [{ "data": "aGk=", "name": file }],
        })));
        if let Ok(order) = order {
            let mail = octets(order);
            prop_assert!(!mail.replace("\r\n", "").contains(['\r', '\n', '\0']), "{:?}", mail);
            let header = mail.split("\r\n\r\n").next().unwrap();
            for line in header.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])) {
                let name = line.split(':').next().unwrap();
                let known = ["From", "To", "Reply-To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "x-own", "MIME-Version", "Content-Type"];
                prop_assert!(known.contains(&name), "{:?} in {}", line, mail);
            }
        }
    }
}

#[test]
fn how_urgent_and_when_is_read_within_limits() {
    let order =
        parse_call(&call(json!({ "priority": 4, "holduntil": "2018-08-01 10:00:00", "maxdelivertime": "2018-08-01 11:00:00" }))).unwrap();
    assert_eq!((order.envelope.priority, order.envelope.not_before), (Some(4), Some(NOW.plus(Duration::from_hours(10)))));
    let order = parse_call(&call(json!({ "priority": "-9", "holduntil": "2018-07-01 00:00:00" }))).unwrap();
    assert_eq!(order.envelope.priority, Some(-9));
    assert!(order.envelope.not_before.is_some_and(|time| time < NOW));
    for priority in [json!(10), json!(-10), json!(1.5), json!("high"), json!(1_000_000_000_000_u64)] {
        assert_eq!(flaw(json!({ "priority": priority })), "priority: a whole number from -9 to 9 is expected");
    }
    assert_eq!(
        flaw(json!({ "holduntil": "2018-08-02 00:00:01" })),
        "holduntil: messages are held until 2018-08-02T00:00:00Z at the latest"
    );
    assert_eq!(flaw(json!({ "holduntil": "tomorrow" })), "holduntil: a time of the form \"YYYY-MM-DD hh:mm:ss\" in UTC is expected");
    let held = json!({ "holduntil": "2018-08-01 10:00:00", "maxdelivertime": "2018-08-01 10:00:00" });
    assert_eq!(flaw(held), "maxdelivertime: the message is held for longer than that");
    let fields = Fields::from_object(call(json!({ "holduntil": "2018-08-01 10:00:00" })).as_object().unwrap().clone()).unwrap();
    let none = Moment { longest_hold: Duration::ZERO, ..MOMENT };
    assert_eq!(parse(&fields, &Stations::named(&[]), none).unwrap_err().reason, "this server holds no messages");
}
