#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use mail_parser::{MessageParser, MimeHeaders};

use super::*;
use crate::http::address_list::parse_list;

fn octets(letter: Letter) -> Vec<u8> {
    let stamp = Stamp {
        id: MessageId::from_bytes([1; 16]),
        now: Timestamp::from_millis(1_533_081_600_000),
        hostname: &Domain::parse("mail.example.com").unwrap(),
        entropy: &Entropy::seeded(1),
    };
    let octets = Content::Letter(Box::new(letter)).into_octets(stamp).to_vec();
    let text = String::from_utf8_lossy(&octets);
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
    assert!(text.lines().all(|line| line.len() <= 998));
    octets
}

fn list(text: &str) -> Vec<Mailbox> {
    parse_list(text).into_iter().map(Result::unwrap).collect()
}

fn file(name: &str, content_type: &str, content_id: Option<&str>, content: &'static [u8]) -> Attachment {
    Attachment {
        name: Some(name.into()),
        content_type: content_type.into(),
        content_id: content_id.map(str::to_owned),
        content: Bytes::from_static(content),
    }
}

#[test]
fn a_letter_with_everything() {
    let letter = Letter {
        from: list("Jörg Müller <joerg@bücher.example>").pop(),
        to: list("\"A, B\" <a@x.example>, c@x.example"),
        cc: list("d@x.example"),
        reply_to: list("r@x.example"),
        subject: Some("Grüße aus Köln".into()),
        headers: vec![("X-Campaign".into(), "früh".into())],
        body: Body::Parts {
            text: Some("Hallo\nWelt\n".into()),
            html: Some("<p>Hallo <img src=\"cid:logo\"></p>".into()),
            files: vec![file("übersicht.pdf", "application/pdf", None, b"%PDF"), file("logo.png", "image/png", Some("logo"), b"\x89PNG")],
        },
    };
    insta::assert_snapshot!(String::from_utf8(octets(letter)).unwrap());
}

#[test]
fn structure_is_mixed_related_alternative() {
    let letter = Letter {
        from: list("a@x").pop(),
        body: Body::Parts {
            text: Some("t".into()),
            html: Some("h".into()),
            files: vec![file("a b\"c.txt", "text/plain", None, b"one\ntwo\r\n\xff"), file("é.png", "image/png", Some("logo"), b"\0\n")],
        },
        ..Letter::default()
    };
    let octets = octets(letter);
    let message = MessageParser::new().parse(&octets).unwrap();
    let kind = |id: u32| message.parts[id as usize].content_type().unwrap().subtype().unwrap().to_owned();
    let root = message.parts[0].sub_parts().unwrap();
    assert_eq!(kind(0), "mixed");
    assert_eq!(kind(root[0]), "related");
    let related = message.parts[root[0] as usize].sub_parts().unwrap();
    assert_eq!(kind(related[0]), "alternative");
    let (image, text) = (&message.parts[related[1] as usize], &message.parts[root[1] as usize]);
    assert_eq!((image.content_id(), image.contents(), image.attachment_name()), (Some("logo"), &b"\0\n"[..], Some("é.png")));
    assert!(image.content_disposition().unwrap().is_inline());
    assert_eq!(text.attachment_name(), Some("a b\"c.txt"));
    // mail-parser shows text as UTF-8; the octets are in the source.
    assert!(octets.windows(16).any(|window| window == b"b25lCnR3bw0K/w=="));
}

#[test]
fn smaller_letters_have_less_structure() {
    let subtype = |body: Body| {
        let octets = octets(Letter { from: list("a@x").pop(), body, ..Letter::default() });
        let message = MessageParser::new().parse(&octets).unwrap();
        message.parts[0].content_type().and_then(|kind| kind.subtype().map(str::to_owned))
    };
    let parts =
        |text: Option<&str>, html: Option<&str>, files| Body::Parts { text: text.map(Into::into), html: html.map(Into::into), files };
    assert_eq!(subtype(parts(Some("a"), None, vec![])).as_deref(), Some("plain"));
    assert_eq!(subtype(parts(None, Some("a"), vec![])).as_deref(), Some("html"));
    assert_eq!(subtype(parts(None, None, vec![])).as_deref(), Some("plain"));
    assert_eq!(subtype(parts(Some("a"), Some("b"), vec![])).as_deref(), Some("alternative"));
    assert_eq!(subtype(parts(Some("a"), None, vec![file("f", "image/png", Some("c"), b"")])).as_deref(), Some("mixed"));
    assert_eq!(subtype(parts(None, Some("a"), vec![file("f", "image/png", Some("c"), b"")])).as_deref(), Some("related"));
    assert_eq!(subtype(Body::Bare("x\r\n".into())), None);
}

#[test]
fn own_fields_take_the_place_of_ours() {
    let letter = Letter {
        from: list("a@x").pop(),
        headers: vec![("message-id".into(), "<own@x>".into()), ("date".into(), "Wed, 1 Aug 2018 00:00:00 +0000".into())],
        body: Body::Bare("body\r\n".into()),
        ..Letter::default()
    };
    let text = String::from_utf8(octets(letter)).unwrap();
    assert_eq!(text.matches("Message-ID:").count(), 1, "{text}");
    assert_eq!(text.matches("Date:").count(), 1, "{text}");
    assert!(text.ends_with("\r\n\r\nbody\r\n"), "{text}");
    assert!(text.contains("\r\nTo: undisclosed-recipients:;\r\n"), "{text}");
}

#[test]
fn whatever_the_text_the_lines_are_mail() {
    let long = "x".repeat(3000);
    for text in ["a\u{7f}\u{1b}b", long.as_str(), "é".repeat(2000).as_str(), ".\r\n.\n..", "From x\n"] {
        let letter = Letter {
            from: list(&format!("\"{}\" <a@x>", long.as_str())).pop(),
            subject: Some(long.clone()),
            headers: vec![("X-Long".into(), long.clone())],
            body: Body::Parts { text: Some(text.into()), html: Some(text.into()), files: vec![] },
            ..Letter::default()
        };
        let octets = octets(letter);
        let message = MessageParser::new().parse(&octets).unwrap();
        assert_eq!(message.subject(), Some(long.as_str()));
        let expected = raw_mime::with_crlf(text);
        assert_eq!(raw_mime::with_crlf(&message.body_text(0).unwrap()).trim_end(), expected.trim_end(), "{text:?}");
    }
}
