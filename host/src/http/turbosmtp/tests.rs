#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::Bytes;
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::json;

use super::*;
use crate::clock::{Entropy, Timestamp};
use crate::http::body;
use crate::http::compose::Stamp;
use crate::http::fields::File;
use crate::http::problem::{Dialect, Problem};
use crate::mail::domain::Domain;
use crate::mail::message_id::MessageId;

fn call(changes: &Value) -> Fields {
    let mut call = json!({ "from": "user@example.com", "to": "a@x.example", "subject": "s", "content": "t" });
    call.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Fields::from_object(call.as_object().unwrap().clone()).unwrap()
}

fn octets(order: Order) -> String {
    let hostname = Domain::parse("mail.example.com").unwrap();
    let stamp = Stamp {
        id: MessageId::from_bytes([1; 16]),
        now: Timestamp::from_millis(1_533_081_600_000),
        hostname: &hostname,
        entropy: &Entropy::seeded(1),
    };
    String::from_utf8(order.content.into_octets(stamp).to_vec()).unwrap()
}

fn errors(changes: &Value) -> Vec<String> {
    parse(&call(changes)).unwrap_err().into_iter().map(|flaw| flaw.reason).collect()
}

#[test]
fn everybody_gets_it_and_bcc_is_not_shown() {
    let order =
        parse(&call(&json!({ "to": "a@x.example, \"B, C\" <b@x.example>", "cc": "c@x.example", "bcc": "d@x.example,a@x.example" })))
            .unwrap();
    let paths: Vec<_> = order.envelope.forward_paths.iter().map(|path| path.address.to_string()).collect();
    assert_eq!(paths, ["a@x.example", "b@x.example", "c@x.example", "d@x.example"]);
    assert_eq!(order.envelope.reverse_path.to_string(), "user@example.com");
    let text = octets(order);
    assert!(text.contains("\r\nCc: c@x.example\r\n") && !text.contains("d@x.example"), "{text}");
}

#[test]
fn errors_are_the_documented_texts() {
    assert_eq!(
        errors(&json!({ "to": "broken@@@Address.@@, a@x", "bcc": "broken2@@@Address2.@@222" })),
        ["'broken@@@Address.@@' recipient email not valid", "'broken2@@@Address2.@@222' bcc email not valid"]
    );
    assert_eq!(errors(&json!({ "from": null, "to": null })), ["missing or not valid sender email (from)", "missing recipients (to)"]);
    for nobody in [json!(""), json!(","), json!([]), json!([" ; "])] {
        assert_eq!(errors(&json!({ "to": nobody })), ["missing recipients (to)"], "{nobody}");
    }
    assert_eq!(errors(&json!({ "from": "a@x, b@x" })), ["missing or not valid sender email (from)"]);
    assert_eq!(errors(&json!({ "mime_raw": "nonsense" })), ["Invalid Mime"]);
    assert_eq!(errors(&json!({ "subject": "x".repeat(701) })), ["subject longer than 700 characters"]);
    assert!(errors(&json!({ "subject": "a\r\nBcc: b@x" }))[0].starts_with("subject not valid"));
    assert!(errors(&json!({ "attachments": [{ "content": "*" }] }))[0].starts_with("attachments not valid"));
    let problem = Problem::Flaws(parse(&call(&json!({ "to": "x" }))).unwrap_err());
    assert_eq!(problem.status(Dialect::TurboSmtp), 400);
}

#[test]
fn a_subject_of_700_characters_arrives() {
    let subject = "ü".repeat(700);
    let text = octets(parse(&call(&json!({ "subject": subject }))).unwrap());
    assert_eq!(MessageParser::new().parse(&text).unwrap().subject(), Some(subject.as_str()));
}

#[test]
fn custom_headers_come_as_object_or_text() {
    for headers in [json!({ "X-key1": "value1", "Reply-To": "R <r@x>" }), json!("{\"X-key1\":\"value1\",\"reply-to\":\"R <r@x>\"}")] {
        let text = octets(parse(&call(&json!({ "custom_headers": headers }))).unwrap());
        assert_eq!((text.matches("X-key1: value1\r\n").count(), text.matches("Reply-To: ").count()), (1, 1), "{text}");
    }
    for headers in [json!("x"), json!([1]), json!({ "Subject": "s" }), json!({ "x": "a\nb" }), json!({ "reply-to": "nobody" })] {
        assert!(errors(&json!({ "custom_headers": headers }))[0].starts_with("custom_headers"), "{headers}");
    }
}

#[test]
fn mime_replaces_content() {
    for name in ["mime_raw", "mime"] {
        let text = octets(parse(&call(&json!({ name: "From: o@x\nSubject: own\n\nbody" }))).unwrap());
        assert_eq!(text, "From: o@x\r\nSubject: own\r\n\r\nbody", "{name}");
    }
    let text = octets(parse(&call(&json!({ "mime_raw": "\nbody" }))).unwrap());
    assert!(text.contains("Subject: s\r\n") && text.ends_with("\r\n\r\nbody"), "{text}");
}

#[test]
fn files_are_attached_and_inline_ids_get_the_domain() {
    let id = |html: &str| {
        let file = json!([{ "content": "data:image/png;base64,iVA=", "name": "l.png", "type": "image/png", "content_id": "logo" }]);
        let text = octets(parse(&call(&json!({ "html_content": html, "attachments": file }))).unwrap());
        let parsed = MessageParser::new().parse(&text).unwrap();
        parsed.attachment(0).unwrap().content_id().unwrap().to_owned()
    };
    assert_eq!(id("<img src='cid:logo@example.com'>"), "logo@example.com");
    assert_eq!(id("<img src='cid:logo'>"), "logo");
    assert_eq!(id("<p>"), "logo@example.com");
}

#[test]
fn uploaded_files_are_attached() {
    let file = |field: &str| File {
        field: field.into(),
        name: "a.csv".into(),
        content_type: Some("text/csv".into()),
        content: Bytes::from_static(b"1;2"),
    };
    let with = |field: &str| {
        let mut fields = call(&json!({}));
        fields.files.push(file(field));
        parse(&fields)
    };
    let text = octets(with("attachments[]").unwrap());
    let parsed = MessageParser::new().parse(&text).unwrap();
    assert_eq!((parsed.attachment(0).unwrap().attachment_name(), parsed.attachment(0).unwrap().contents()), (Some("a.csv"), &b"1;2"[..]));
    assert_eq!(with("content").unwrap_err()[0].reason, "content not valid: no file is expected here");
}

/// The service's own call: curl `--data`, credentials among the fields.
#[test]
fn the_documented_form_is_fine() {
    let form = "authuser=u%40x.example&authpass=p%26w&from=user@example.com&to=a@x.example,b@x.example&subject=This%20is%20a%20test%20message\
                &content=This%20is%20plain%20text&html_content=%3Cp%3EThis%20is%20html%3C/p%3E&custom_headers={\"X-key1\":\"value1\"}";
    let fields = body::urlencoded(form.as_bytes()).unwrap();
    assert_eq!(fields.text(&["authpass"]).unwrap().as_deref(), Some("p&w"));
    let order = parse(&fields).unwrap();
    assert!(order.ignored.is_empty());
    assert_eq!(order.envelope.forward_paths.len(), 2);
    assert!(octets(order).contains("multipart/alternative"));
}
