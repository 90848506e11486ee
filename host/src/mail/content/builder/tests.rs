#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::super::Draft;
use super::*;

fn fields() -> MessageFields {
    MessageFields {
        from: address_list(["Jörg <a@x.example>"]).unwrap(),
        to: address_list(["\"A, B\" <a@x.example>, c@x.example", "d@x.example"]).unwrap(),
        cc: Vec::new(),
        reply_to: Vec::new(),
        subject: Some("Grüße".to_owned()),
        text: Some("Hello\n".to_owned()),
        html: None,
        inline: Vec::new(),
        attachments: Vec::new(),
        headers: Vec::new(),
        in_reply_to: Vec::new(),
        references: Vec::new(),
        date: Timestamp::from_millis(1_533_081_600_000),
        message_id: MessageIdField::parse("id@mail.example").unwrap(),
    }
}

fn file(name: &str, content_type: Option<&str>, content_id: Option<&str>) -> File {
    File {
        name: Some(name.to_owned()),
        content_type: content_type.map(str::to_owned),
        content_id: content_id.map(str::to_owned),
        content: Bytes::from_static(b"\x00\x01\xff"),
    }
}

fn built(fields: &MessageFields) -> String {
    String::from_utf8(fields.build(&Entropy::seeded(1)).unwrap().to_vec()).unwrap()
}

/// The tree as `type(child,…)`.
fn structure(message: &str) -> String {
    fn show(message: &mail_parser::Message<'_>, id: u32) -> String {
        let part = message.part(id).unwrap();
        let kind = part.content_type().map_or("-".to_owned(), |kind| kind.subtype().unwrap_or("-").to_owned());
        match &part.body {
            PartType::Multipart(children) => {
                format!("{kind}({})", children.iter().map(|id| show(message, *id)).collect::<Vec<_>>().join(","))
            }
            PartType::Text(_) | PartType::Html(_) | PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Message(_) => kind,
        }
    }
    let parsed = MessageParser::default().parse(message.as_bytes()).unwrap();
    assert!(parsed.parts.iter().all(|part| !part.is_encoding_problem));
    show(&parsed, 0)
}

#[test]
fn a_message_without_files_is_one_part() {
    assert_eq!(
        built(&fields()),
        "Date: Wed, 1 Aug 2018 00:00:00 +0000\r\n\
         From: =?utf-8?Q?J=C3=B6rg?= <a@x.example>\r\n\
         To: \"A, B\" <a@x.example>, c@x.example, d@x.example\r\n\
         Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n\
         Message-ID: <id@mail.example>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 7bit\r\n\
         \r\n\
         Hello\r\n"
    );
}

#[test]
fn levels_are_made_as_needed() {
    let (inline, attached) = (vec![file("logo.png", Some("image/png"), Some(" <cid:logo> "))], vec![file("a.bin", None, None)]);
    for (text, html, inline, attachments, expected) in [
        (true, true, inline.clone(), attached.clone(), "mixed(related(alternative(plain,html),png),octet-stream)"),
        (true, true, inline.clone(), vec![], "related(alternative(plain,html),png)"),
        (true, true, vec![], attached.clone(), "mixed(alternative(plain,html),octet-stream)"),
        (true, true, vec![], vec![], "alternative(plain,html)"),
        (false, true, inline.clone(), attached.clone(), "mixed(related(html,png),octet-stream)"),
        (true, false, inline.clone(), attached.clone(), "mixed(plain,png,octet-stream)"),
        (false, true, vec![], vec![], "html"),
        (false, false, vec![], attached.clone(), "octet-stream"),
        (false, false, vec![], vec![], "plain"),
    ] {
        let fields = MessageFields {
            text: text.then(|| "text".to_owned()),
            html: html.then(|| "<b>é</b>".to_owned()),
            inline,
            attachments,
            ..fields()
        };
        let message = built(&fields);
        assert_eq!(structure(&message), expected);
        assert_eq!(built(&fields), message, "the same fields give the same octets");
        let mut draft = Draft::new(Bytes::from(message));
        assert_eq!(draft.html(), html.then(|| if expected == "html" { "<b>é</b>\r\n" } else { "<b>é</b>" }.to_owned()));
    }
}

#[test]
fn files_have_names_and_ids() {
    let message = built(&MessageFields {
        html: Some("<img src=cid:logo>".to_owned()),
        inline: vec![file("logo.png", Some("image/png"), Some("cid:< logo >"))],
        attachments: vec![file("Übersicht, \"neu\".pdf", Some("application/pdf"), None)],
        ..fields()
    });
    let parsed = MessageParser::default().parse(message.as_bytes()).unwrap();
    let logo = parsed.parts.iter().find(|part| part.content_id() == Some("logo")).unwrap();
    assert!(logo.content_disposition().unwrap().is_inline());
    assert!(message.contains("Content-ID: <logo>\r\n"));
    let pdf = parsed.parts.iter().find(|part| part.attachment_name() == Some("Übersicht, \"neu\".pdf")).unwrap();
    assert_eq!((pdf.content_disposition().unwrap().ctype(), pdf.contents()), ("attachment", &b"\x00\x01\xff"[..]));
    assert!(message.contains("filename*=utf-8''%C3%9Cbersicht%2C%20%22neu%22.pdf\r\n"));
    assert!(message.contains("name=\"=?utf-8?Q?=C3=9Cbersicht=2C_=22neu=22=2Epdf?=\"\r\n"));
}

#[test]
fn own_fields_have_their_place() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let message = built(&MessageFields {
        references: MessageIdField::parse_list("<a@b> c@d").unwrap(),
        headers: vec![
            header("X-Foo", "bar"),
            header("X-Foo", "baz"),
            header("reply-to", "r@x"),
            header("Reply-To", "s@x"),
            header("subject", "another"),
            header("BCC", "secret@x"),
            header("message-id", "<own@x>"),
        ],
        ..fields()
    });
    let mut draft = Draft::new(Bytes::from(message));
    assert_eq!(
        draft.header_names(),
        [
            "Date",
            "From",
            "To",
            "Subject",
            "References",
            "X-Foo",
            "X-Foo",
            "reply-to",
            "message-id",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding"
        ]
    );
    assert_eq!(draft.header_all("Message-ID"), ["<own@x>"]);
    assert_eq!(draft.header("References").as_deref(), Some("<a@b> <c@d>"));
    assert_eq!(draft.text().as_deref(), Some("Hello\r\n"));
}

#[test]
fn errors_name_the_field() {
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let mut injected = file("a", None, None);
    injected.name = Some("a\r\nX: y".to_owned());
    for (wrong, field) in [
        (MessageFields { from: vec![], ..fields() }, "from"),
        (MessageFields { subject: Some("a\r\nBcc: x@y".to_owned()), ..fields() }, "subject"),
        (MessageFields { headers: header("X-Foo", "a\nb"), ..fields() }, "headers.X-Foo"),
        (MessageFields { headers: header("X Foo\r\n", "a"), ..fields() }, "headers.X Foo"),
        (MessageFields { headers: header("Content-Type", "text/html"), ..fields() }, "headers.Content-Type"),
        (MessageFields { attachments: vec![file("a", Some("text/html\r\nX: y"), None)], ..fields() }, "attachments[0]"),
        (MessageFields { attachments: vec![file("a", None, None), injected], ..fields() }, "attachments[1]"),
        (MessageFields { inline: vec![file("a", None, Some("a b"))], ..fields() }, "inline[0]"),
    ] {
        assert_eq!(wrong.build(&Entropy::seeded(1)).unwrap_err().field, field);
    }
    assert!(address_list(["a@x\r\nBcc: b@x"]).is_err());
}

#[test]
fn content_ids_lose_what_is_around_them() {
    for (text, id) in [
        ("< attachment.cid>", Some("attachment.cid")),
        ("<myimage.cid>", Some("myimage.cid")),
        ("cid:attachment.jpg", Some("attachment.jpg")),
        ("myimage", Some("myimage")),
        (" <> ", None),
    ] {
        assert_eq!(content_id(text), id);
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read(subject in "\\PC{0,100}", text in "(\\PC|\n){0,300}", html in "(\\PC|\n|=){0,300}", name in "\\PC{1,60}", content: Vec<u8>) {
        let file = File { name: Some(name.clone()), content_type: None, content_id: None, content: content.clone().into() };
        let fields = MessageFields { subject: Some(subject.clone()), text: Some(text.clone()), html: Some(html.clone()), attachments: vec![file], ..fields() };
        let message = fields.build(&Entropy::seeded(1)).unwrap();
        prop_assert!(message.is_ascii() && message.split(|octet| *octet == b'\n').all(|line| line.len() <= 999));
        let mut draft = Draft::new(message);
        prop_assert_eq!(draft.header("Subject").unwrap_or_default(), subject.trim_matches([' ', '\t']));
        prop_assert_eq!(draft.text().unwrap(), text.replace('\n', "\r\n"));
        prop_assert_eq!(draft.html().unwrap(), html.replace('\n', "\r\n"));
        let part = draft.parts().pop().unwrap();
        prop_assert!(part.filename.as_deref() == Some(&name) || name.contains("=?"));
        prop_assert_eq!(draft.read_part(part.id, 0, u32::MAX).unwrap(), content);
    }
}
