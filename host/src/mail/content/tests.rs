#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use mail_parser::{MessageParser, MimeHeaders};
use proptest::prelude::*;

use super::*;
use crate::mail::slot::{Link, Nonce, Slot, Tokens};

const NONCE: Nonce = [7; 11];

/// What a newsletter looks like: alternative in mixed, one part quoted-printable, an attachment in base64, odd blanks everywhere.
const NEWSLETTER: &str = "Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n\
Subject:  =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n  from  here \r\n\
from: \"A, B\" <a@x.example>\r\n\
To : c@x.example\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/mixed;\r\n boundary=\"outer\"\r\n\
\r\n\
This is the preamble.  \r\n\
--outer\r\n\
Content-Type: multipart/alternative; boundary=inner\r\n\
\r\n\
--inner \t\r\n\
\r\n\
Hello text\r\n\
--inner\r\n\
Content-Type: text/html; charset=ISO-8859-1; x=y\r\n\
Content-Transfer-Encoding: Quoted-Printable\r\n\
X-Own: kept\r\n\
\r\n\
<p>Gr=FC=DFe=\r\n</p>\r\n\
\r\n\
--inner--\r\n\
epilogue of inner\r\n\
--outer\r\n\
Content-Type: application/octet-stream\r\n\
Content-Disposition: attachment; filename*=utf-8''%C3%A9.bin\r\n\
Content-Transfer-Encoding: base64\r\n\
Content-ID: <cid@x>\r\n\
\r\n\
AAEC\r\n\
/w==\r\n\
--outer--  \r\n\
The epilogue.\r\n";

fn draft(message: &str) -> Draft {
    Draft::new(Bytes::copy_from_slice(message.as_bytes()))
}

fn finished(draft: Draft) -> String {
    let octets = draft.into_composition(None).fill(&NONCE, &[], &mut |_| unreachable!());
    String::from_utf8(octets.to_vec()).unwrap()
}

/// Applies one edit to the newsletter; returns the lines that went and the lines that came.
fn changed(edit: impl FnOnce(&mut Draft)) -> String {
    let mut draft = draft(NEWSLETTER);
    edit(&mut draft);
    let after = finished(draft);
    let diff = similar::TextDiff::from_lines(NEWSLETTER, &after);
    let lines = diff.iter_all_changes().filter(|change| change.tag() != similar::ChangeTag::Equal);
    lines.map(|change| format!("{}{}", change.tag(), change.value().trim_end_matches("\r\n"))).collect::<Vec<_>>().join("\n")
}

#[test]
fn header_fields_are_read() {
    let draft = draft(NEWSLETTER);
    assert_eq!(draft.header("subject").as_deref(), Some("Grüße  from  here"));
    assert_eq!(draft.header("From").as_deref(), Some("\"A, B\" <a@x.example>"));
    assert_eq!(draft.header("to").as_deref(), Some("c@x.example"));
    assert_eq!(draft.header_raw("Subject").unwrap(), &b"  =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n  from  here "[..]);
    assert_eq!(draft.header_names(), ["Received", "Subject", "from", "To", "MIME-Version", "Content-Type"]);
    assert_eq!(draft.header_all("x-none"), Vec::<String>::new());
}

#[test]
fn parts_are_listed() {
    let mut draft = draft(NEWSLETTER);
    let parts: Vec<String> = draft
        .parts()
        .into_iter()
        .map(|p| format!("{} {:?} {} {:?} {:?} {:?} {} {}", p.id, p.parent, p.content_type, p.charset, p.filename, p.content_id, p.inline, p.size))
        .collect();
    assert_eq!(
        parts,
        [
            "0 None multipart/mixed None None None true 28",
            "1 Some(0) multipart/alternative None None None true 24",
            "2 Some(1) text/plain None None None true 10",
            "3 Some(1) text/html Some(\"iso-8859-1\") None None true 14",
            "4 Some(0) application/octet-stream None Some(\"é.bin\") Some(\"cid@x\") false 4",
        ]
    );
    assert_eq!(draft.text().as_deref(), Some("Hello text"));
    assert_eq!(draft.html().as_deref(), Some("<p>Grüße</p>\r\n"));
    assert_eq!(draft.read_part(4, 1, 2).unwrap(), &b"\x01\x02"[..]);
    assert_eq!(draft.read_part(4, 9, 2).unwrap(), &b""[..]);
    assert_eq!(draft.read_part(1, 0, 2), Err(EditError::NoSuchPart));
    assert_eq!(draft.read_part(5, 0, 2), Err(EditError::NoSuchPart));
    assert!(!draft.is_edited());
    assert_eq!(finished(draft), NEWSLETTER);
}

#[test]
fn an_edit_changes_its_own_lines_only() {
    for (edit, lines) in [
        ((|draft| draft.set_header("Subject", "Grüße  from  here").unwrap()) as fn(&mut Draft), ""),
        (|draft| draft.set_header("To", "d@x").unwrap(), "-To : c@x.example\n+To: d@x"),
        (|draft| draft.add_header("X-First", "é", Position::First).unwrap(), "+X-First: =?utf-8?B?w6k=?="),
        (|draft| draft.add_header("X-Last", "1", Position::Last).unwrap(), "+X-Last: 1"),
        (|draft| assert_eq!(draft.remove_header("RECEIVED"), 1), "-Received: from a by b;\n-\tMon, 1 Jan 2024 00:00:00 +0000"),
        (|draft| assert_eq!(draft.remove_header("X-None"), 0), ""),
        (|draft| draft.set_text("new\ntext").unwrap(), "-Hello text\n+new\n+text"),
        (
            |draft| draft.set_text("ü").unwrap(),
            "+Content-Type: text/plain; charset=utf-8\n+Content-Transfer-Encoding: quoted-printable\n-Hello text\n+=C3=BC",
        ),
        (|draft| draft.set_html("<p>ascii =</p>").unwrap(), "-<p>Gr=FC=DFe=\n-</p>\n-\n+<p>ascii =3D</p>"),
        (
            |draft| draft.set_html("<p>é</p>\n").unwrap(),
            "-Content-Type: text/html; charset=ISO-8859-1; x=y\n+Content-Type: text/html; charset=utf-8; x=y\n-<p>Gr=FC=DFe=\n-</p>\n+<p>=C3=A9</p>",
        ),
        (|draft| draft.write_part(4, Bytes::from_static(b"\0\x01")).unwrap(), "-AAEC\n-/w==\n+AAE="),
        (|draft| draft.remove_part(2).unwrap(), "---inner \t\n-Hello text"),
    ] {
        assert_eq!(changed(edit), lines);
    }
}

#[test]
fn what_cannot_be_edited_says_why() {
    let mut draft = draft("Subject: x\r\n\r\nbody\r\n");
    assert_eq!(draft.set_html("x"), Err(EditError::Denied("the message has no text/html part".to_owned())));
    assert!(matches!(draft.remove_part(0), Err(EditError::Denied(_))));
    assert_eq!(draft.remove_part(1), Err(EditError::NoSuchPart));
    assert_eq!(draft.write_part(1, Bytes::new()), Err(EditError::NoSuchPart));
    assert!(matches!(draft.set_header("Subject", "a\r\nBcc: x@y"), Err(EditError::Invalid(_))));
    assert!(matches!(draft.add_header("Sub ject", "a", Position::Last), Err(EditError::Invalid(_))));
    assert!(!draft.is_edited());
}

#[test]
fn slots_are_filled() {
    let tokens = Tokens::new(&NONCE);
    let slots = [
        Slot::Address,
        Slot::Variable("name".to_owned()),
        Slot::Link(Link::Unsubscribe),
    ];
    let mut draft = draft(NEWSLETTER);
    draft.set_html(&format!("<p title=\"{}\">é {}</p>\n<a href=\"{}\">", tokens.make(1), tokens.make(0), tokens.make(2))).unwrap();
    draft.set_text(&format!("Hello {}\r\n{}", tokens.make(1), tokens.make(2))).unwrap();
    draft.set_header("Subject", &format!("For {}", tokens.make(1))).unwrap();
    draft.set_header("To", &format!("{} <{}>", tokens.make(1), tokens.make(0))).unwrap();
    draft.set_header("List-Unsubscribe", &format!("<{}>", tokens.make(2))).unwrap();
    let composition = draft.into_composition(Some(&NONCE));
    let kept = Composition::decode(composition.encode()).unwrap();
    assert_eq!(kept, composition);
    let mut value = |slot: &Slot| match slot {
        Slot::Address => "c@x.example".to_owned(),
        Slot::Variable(_) => "Jörg \"<J>\", Köln\r\nBcc: x@y ".to_owned(),
        Slot::Link(_) => format!("https://t.example/u?a=1&b={}", "x".repeat(100)),
    };
    let filled = kept.fill(&NONCE, &slots, &mut value);
    let parsed = MessageParser::default().parse(&filled[..]).unwrap();
    assert_eq!(parsed.subject(), Some("For Jörg \"<J>\", Köln Bcc: x@y"));
    let to = parsed.to().unwrap();
    let to = to.first().unwrap();
    assert_eq!((to.name(), to.address()), (Some("Jörg \"<J>\", Köln  Bcc: x@y"), Some("c@x.example")));
    assert!(parsed.bcc().is_none());
    let link = value(&slots[2]);
    assert_eq!(parsed.body_text(0).unwrap(), format!("Hello Jörg \"<J>\", Köln\r\nBcc: x@y \r\n{link}"));
    let escaped = "Jörg &quot;&lt;J&gt;&quot;, Köln\r\nBcc: x@y ";
    assert_eq!(parsed.body_html(0).unwrap(), format!("<p title=\"{escaped}\">é c@x.example</p>\r\n<a href=\"{link}\">"));
    assert!(filled.is_ascii() && filled.split(|octet| *octet == b'\n').all(|line| line.len() <= 999));
    // A second time it is the same.
    assert_eq!(kept.fill(&NONCE, &slots, &mut value), filled);
}
