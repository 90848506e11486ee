#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use mail_parser::{MessageParser, MimeHeaders};
use serde_json::json;

use super::*;
use crate::clock::{Entropy, Timestamp};
use crate::http::compose::Stamp;
use crate::mail::domain::Domain;
use crate::mail::message_id::MessageId;

fn call(changes: &Value) -> Fields {
    let mut call =
        json!({ "from": "Test <test@example.com>", "to": "a@x.example", "subject": "s", "htmlbody": "<p>h</p>", "textbody": "t" });
    call.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Fields::from_object(call.as_object().unwrap().clone()).unwrap()
}

fn octets(changes: &Value) -> String {
    let hostname = Domain::parse("mail.example.com").unwrap();
    let stamp = Stamp {
        id: MessageId::from_bytes([1; 16]),
        now: Timestamp::from_millis(1_533_081_600_000),
        hostname: &hostname,
        entropy: &Entropy::seeded(1),
    };
    String::from_utf8(parse(&call(changes)).unwrap().content.into_octets(stamp).to_vec()).unwrap()
}

fn errors(changes: &Value) -> Vec<String> {
    let problem = parse(&call(changes)).unwrap_err();
    let Problem::Flaws(flaws) = problem else { panic!("{problem:?}") };
    flaws.into_iter().map(|flaw| format!("{}: {}", flaw.field, flaw.reason)).collect()
}

#[test]
fn fields_have_rules() {
    assert_eq!(errors(&json!({ "to": null })), ["to: undefined field"]);
    for nobody in ["", " ", ",", " , ;"] {
        assert_eq!(errors(&json!({ "to": nobody })), ["to: undefined field"], "{nobody:?}");
    }
    assert_eq!(errors(&json!({ "references": "<\u{e9}@x>", "inreplyto": "<a" })), ["inreplyto: is invalid", "references: is invalid"]);
    assert_eq!(errors(&json!({ "to": "a@@x", "cc": "b" })), ["to: is invalid", "cc: is invalid"]);
    assert_eq!(errors(&json!({ "from": null })), ["from: undefined field"]);
    assert_eq!(errors(&json!({ "htmlbody": null, "textbody": "" })), ["htmlbody: undefined field", "textbody: undefined field"]);
    assert_eq!(errors(&json!({ "subject": "a\nb", "tags": 7 })), ["subject: is invalid", "tags: is invalid"]);
    let too_many = vec!["a@x.example"; 51].join(",");
    assert_eq!(errors(&json!({ "to": too_many })), ["to: number of email addresses exceeds maximum volume"]);
    assert!(parse(&call(&json!({ "to": vec!["a@x.example"; 50].join(",") }))).is_ok());
    for from in [json!("nobody"), json!("a@x, b@x"), json!(7)] {
        assert_eq!(parse(&call(&json!({ "from": from }))).unwrap_err(), Problem::SenderUnreadable);
    }
}

#[test]
fn file_types_have_a_list() {
    let file = |name: &str| json!({ "attachments": [{ "name": name, "content": "aGk=", "content_type": "text/plain" }] });
    for name in ["a.exe", "a.b.pdf", "pdf", ".", "a."] {
        let blocked = "attachments.name: Extension file type blocked, see Docs for full list of allowed file types";
        assert_eq!(errors(&file(name)), [blocked], "{name}");
    }
    for name in ["a.PDF", "übersicht.docx", "cal.ics", "a.auf"] {
        assert!(parse(&call(&file(name))).is_ok(), "{name}");
    }
    let attachments = |value: &Value| errors(&json!({ "attachments": value }));
    assert_eq!(attachments(&json!([{ "name": "a.pdf", "content": "*" }])), ["attachments.content: is invalid"]);
    assert_eq!(attachments(&json!([{ "content": "aGk=" }])), ["attachments.name: undefined field"]);
    assert_eq!(attachments(&json!([{ "name": "a.pdf" }])), ["attachments.content: undefined field"]);
    assert_eq!(attachments(&json!("x")), ["attachments: is invalid"]);
}

#[test]
fn inline_files_have_an_id() {
    for cid in ["myimage.cid", "< myimage.cid>", "<myimage.cid>", "cid:myimage.cid"] {
        let file = json!([{ "name": "i.png", "content": "iVA=", "content_type": "image/png", "cid": cid }]);
        let text = octets(&json!({ "htmlbody": "<img src=\"cid:myimage.cid\">", "attachments": file }));
        let parsed = MessageParser::new().parse(&text).unwrap();
        assert_eq!(parsed.attachment(0).unwrap().content_id(), Some("myimage.cid"), "{cid}");
    }
}

#[test]
fn header_fields_are_written() {
    let text = octets(&json!({
        "replyto": "r@x.example",
        "inreplyto": "<1@x>",
        "references": "<0@x> 1@x",
        "list_unsubscribe": "https://x.example/u",
        "cc": "C <c@x.example>",
        "bcc": "d@x.example",
    }));
    for line in [
        "Reply-To: r@x.example",
        "In-Reply-To: <1@x>",
        "References: <0@x> <1@x>",
        "List-Unsubscribe: <https://x.example/u>",
        "Cc: C <c@x.example>",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}\n{text}");
    }
    assert!(!text.contains("d@x.example"));
    let bracketed = "<http://x.example/u>, <mailto:u@x.example>";
    assert!(octets(&json!({ "list_unsubscribe": bracketed })).contains(&format!("List-Unsubscribe: {bracketed}\r\n")));
    assert_eq!(errors(&json!({ "list_unsubscribe": "<https://x>\r\nBcc: b@x" })), ["list_unsubscribe: is invalid"]);
}

#[test]
fn everybody_gets_it_and_tags_have_blanks() {
    let order = parse(&call(&json!({ "cc": "c@x.example", "bcc": "d@x.example", "tags": ["spring sale", "b"] }))).unwrap();
    assert_eq!(order.envelope.forward_paths.len(), 3);
    assert_eq!(order.options.tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["spring sale", "b"]);
    let order = parse(&call(&json!({ "tags": "spring sale, b" }))).unwrap();
    assert_eq!(order.options.tags.len(), 2);
    assert!(order.options.requested.is_empty());
}
