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

fn list(text: &str) -> Vec<Element> {
    parse_list(text).into_iter().map(|mailbox| Element::Mailbox(mailbox.unwrap())).collect()
}

fn field(name: &str, value: &str) -> HeaderField {
    HeaderField::new(name, value).unwrap()
}

/// The fields of a header, unfolded.
fn header_of(octets: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(octets);
    let header = text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    header.split("\r\n").map(str::to_owned).collect()
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
        headers: vec![field("X-Campaign", "früh")],
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
        headers: vec![field("message-id", "<own@x>"), field("date", "Wed, 1 Aug 2018 00:00:00 +0000")],
        body: Body::Bare("body\r\n".into()),
        ..Letter::default()
    };
    let text = String::from_utf8(octets(letter)).unwrap();
    let text = text.to_lowercase();
    assert_eq!((text.matches("message-id:").count(), text.matches("date:").count()), (1, 1), "{text}");
    assert!(text.ends_with("\r\n\r\nbody\r\n"), "{text}");
    assert!(text.contains("\r\nto: undisclosed-recipients:;\r\n"), "{text}");
}

#[test]
fn whatever_the_text_the_lines_are_mail() {
    let long = "x".repeat(3000);
    for text in ["a\u{7f}\u{1b}b", long.as_str(), "é".repeat(2000).as_str(), ".\r\n.\n..", "From x\n"] {
        let letter = Letter {
            from: list(&format!("\"{}\" <a@x>", long.as_str())).pop(),
            subject: Some(long.clone()),
            headers: vec![field("X-Long", &long)],
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

#[test]
fn ids_and_urls_are_never_encoded_words() {
    let references = (0..20).map(|n| format!("<a-rather-long-id-of-a-message-{n}@mail.example.com>")).collect::<Vec<_>>().join(" ");
    let unsubscribe = format!("<mailto:u@x.example?subject={}>, <https://x.example/{}>", "s".repeat(100), "u".repeat(600));
    let letter = Letter {
        from: list("a@x").pop(),
        headers: vec![field("References", &references), field("In-Reply-To", "1@x"), field("List-Unsubscribe", &unsubscribe)],
        ..Letter::default()
    };
    let header = header_of(&octets(letter));
    for expected in [format!("References: {references}"), "In-Reply-To: <1@x>".into(), format!("List-Unsubscribe: {unsubscribe}")] {
        assert!(header.contains(&expected), "{expected}\n{header:#?}");
    }
    let written = |value: &str| String::from_utf8(field("List-Unsubscribe", value).octets).unwrap();
    assert_eq!(
        written("<https://b\u{fc}cher.example/\u{fc}?a=1>, <mailto:u@x?subject=\u{fc}>"),
        "List-Unsubscribe: <https://xn--bcher-kva.example/%C3%BC?a=1>,\r\n <mailto:u@x?subject=%C3%BC>\r\n"
    );
    for (name, value) in [
        ("References", "<\u{e9}@x>".to_owned()),
        ("Message-ID", "<a b".to_owned()),
        ("List-Unsubscribe", format!("<https://x/{}>", "u".repeat(2000))),
        ("List-Unsubscribe", "<https://x/\u{e9}>\r\nBcc: b@x".to_owned()),
        ("X-A", "a\u{7}".to_owned()),
        ("X A", "a".to_owned()),
    ] {
        assert!(HeaderField::new(name, &value).is_err(), "{name}: {value}");
    }
}

#[test]
fn a_body_that_is_not_ascii_says_what_it_is() {
    let letter = |text: &str| Letter { from: list("a@x").pop(), body: Body::Bare(text.into()), ..Letter::default() };
    assert!(!String::from_utf8(octets(letter("plain\r\n"))).unwrap().contains("Content-Type"));
    for text in ["Gr\u{fc}\u{df}e\r\n".to_owned(), format!("{}\r\n", "x".repeat(2000))] {
        let octets = octets(letter(&text));
        assert!(octets.is_ascii() && header_of(&octets).contains(&"Content-Type: text/plain; charset=\"utf-8\"".to_owned()));
        assert_eq!(MessageParser::new().parse(&octets).unwrap().body_text(0).unwrap().replace("\r\n", "\n"), text.replace("\r\n", "\n"));
    }
}

#[test]
fn placeholders_stand_as_they_were_written() {
    let mut to = list("J\u{f6}rg <j@x>");
    to.push(Element::Template("{$name} <{$recipient}>".into()));
    let header = header_of(&octets(Letter { from: list("a@x").pop(), to, ..Letter::default() }));
    assert!(header.contains(&"To: =?utf-8?Q?J=C3=B6rg?= <j@x>, {$name} <{$recipient}>".to_owned()), "{header:#?}");
}
