#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use std::fmt::Write as _;

use mail_parser::MessageParser;
use mail_parser::MimeHeaders as _;
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
        .map(|p| {
            format!(
                "{} {:?} {} {:?} {:?} {:?} {} {}",
                p.id, p.parent, p.content_type, p.charset, p.filename, p.content_id, p.inline, p.size
            )
        })
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
    let slots = [Slot::Address, Slot::Variable("name".to_owned()), Slot::Link(Link::Unsubscribe)];
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

#[test]
fn what_is_filled_in_has_an_end() {
    let tokens = Tokens::new(&NONCE);
    let slots = [Slot::Variable("name".to_owned())];
    let many = tokens.make(0).repeat(50_000);
    for field in [None, Some("Subject"), Some("To")] {
        let mut draft = draft(NEWSLETTER);
        match field {
            None => draft.set_html(&many).unwrap(),
            Some(name) => draft.set_header(name, &format!("{} <a@x.example>", tokens.make(0).repeat(20))).unwrap(),
        }
        let composition = draft.into_composition(Some(&NONCE));
        let mut made = 0;
        let mut value = |_: &Slot| {
            made += 1;
            "x".repeat(1 << 20)
        };
        assert_eq!(composition.fill_within(3 << 20, &NONCE, &slots, &mut value), Err(TooLarge));
        assert!(made < 50, "{field:?}: {made}");
    }
}

#[test]
fn what_was_decoded_is_forgotten_with_an_edit() {
    let mut draft = draft(NEWSLETTER);
    let before = draft.html();
    assert_eq!((draft.html(), draft.clone().html()), (before.clone(), before.clone()));
    let mut edited = draft.clone();
    edited.set_html("<b>new</b>").unwrap();
    assert_eq!((edited.html().as_deref(), draft.html()), (Some("<b>new</b>"), before));
    edited.set_text("text").unwrap();
    assert_eq!((edited.html().as_deref(), edited.text().as_deref()), (Some("<b>new</b>"), Some("text")));
}

#[test]
fn the_size_counts_escapes() {
    let mut draft = draft(NEWSLETTER);
    draft.set_html(&"é".repeat(10_000)).unwrap();
    let size = draft.size();
    let made = u64::try_from(draft.into_composition(None).fill(&NONCE, &[], &mut |_| String::new()).len()).unwrap();
    assert!(size.abs_diff(made) < made / 10, "{size} {made}");
}

#[test]
fn a_part_is_added_beside_all_there_is() {
    let part = || NewPart {
        content_type: "text/calendar".to_owned(),
        filename: Some("té.ics".to_owned()),
        content_id: None,
        inline: false,
        content: Bytes::from_static("BEGIN:é\r\n".as_bytes()),
    };
    // In a multipart/mixed, at its end.
    assert_eq!(
        changed(|draft| assert_eq!(draft.add_part(None, part()).unwrap(), 5)),
        "+--outer\n+Content-Type: text/calendar; charset=utf-8;\n+ name=\"=?utf-8?Q?t=C3=A9=2Eics?=\"\n+Content-Disposition: attachment;\n\
         + filename*=utf-8''t%C3%A9.ics\n+Content-Transfer-Encoding: quoted-printable\n+\n+BEGIN:=C3=A9\n+"
    );
    // A leaf becomes the first part of a new root, with its octets.
    let message = "Subject: x\r\nContent-Type: text/plain; charset=latin1\r\nX: y\r\n\r\nb\u{f6}dy \r\n";
    let mut draft = draft(message);
    let id = draft.add_part(None, part()).unwrap();
    assert_eq!(draft.text().as_deref(), Some("bÃ¶dy \r\n"));
    let parts: Vec<_> = draft.parts().into_iter().map(|part| (part.id, part.parent, part.content_type)).collect();
    assert_eq!(parts, [(1, None, "multipart/mixed".into()), (0, Some(1), "text/plain".into()), (2, Some(1), "text/calendar".into())]);
    assert_eq!(draft.read_part(id, 0, 99).unwrap(), "BEGIN:é\r\n".as_bytes());
    assert_eq!(draft.header_names(), ["Subject", "X", "Content-Type", "MIME-Version"]);
    let after = finished(draft);
    assert!(after.contains("\r\nContent-Type: text/plain; charset=latin1\r\n\r\nb\u{f6}dy \r\n\r\n--"));
    let mut again = self::draft(&after);
    assert_eq!(again.parts().len(), 3);
    assert_eq!(again.text().as_deref(), Some("bÃ¶dy \r\n"));
    // A signed message is kept whole.
    let signed = "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\nsigned \r\n--s\r\nContent-Type: a/b\r\n\r\nsig\r\n--s--\r\n";
    let mut draft = self::draft(signed);
    assert!(matches!(draft.add_part(Some(0), part()), Err(EditError::Denied(_))));
    assert!(matches!(draft.add_part(Some(1), part()), Err(EditError::NoSuchPart)));
    draft.add_part(None, part()).unwrap();
    assert!(finished(draft).contains(signed));
    // What is removed again leaves a message that can be read.
    let mut draft = self::draft(NEWSLETTER);
    let id = draft.add_part(Some(1), part()).unwrap();
    for id in [2, 3, id] {
        draft.remove_part(id).unwrap();
    }
    assert_eq!(draft.parts().into_iter().map(|part| part.id).collect::<Vec<_>>(), [0, 4]);
    assert!(!finished(draft).contains("inner"));
}

#[test]
fn bad_parts_are_refused() {
    let part = |content_type: &str, content_id: &str| NewPart {
        content_type: content_type.to_owned(),
        filename: None,
        content_id: Some(content_id.to_owned()),
        inline: true,
        content: Bytes::new(),
    };
    for (content_type, content_id) in [
        ("text", "a"),
        ("", "a"),
        ("text/plain\r\nX: y", "a"),
        ("multipart/mixed", "a"),
        ("te xt/é", "a"),
        ("a/b", "a>b"),
        ("a/b", "a\r\nb"),
    ] {
        let mut draft = draft(NEWSLETTER);
        assert!(matches!(draft.add_part(None, part(content_type, content_id)), Err(EditError::Invalid(_))), "{content_type:?}");
        assert_eq!(finished(draft), NEWSLETTER);
    }
}

#[test]
fn what_has_no_header_gets_an_empty_line() {
    for (message, after) in [
        ("", "X: y\r\n"),
        ("\r\nbody", "X: y\r\n\r\nbody"),
        ("no header\r\nbody\r\n", "X: y\r\n\r\nno header\r\nbody\r\n"),
        ("A: b", "A: b\r\nX: y\r\n"),
        ("A: b\r\nno field\r\n", "A: b\r\nX: y\r\n\r\nno field\r\n"),
        ("A: b\r\n\r\n", "A: b\r\nX: y\r\n\r\n"),
    ] {
        let mut draft = draft(message);
        draft.add_header("X", "y", Position::Last).unwrap();
        assert_eq!(finished(draft), after, "{message:?}");
    }
}

#[test]
fn trees_have_limits() {
    let mut deep = String::from("Content-Type: multipart/mixed; boundary=b0\r\n\r\n");
    for level in 0..100 {
        write!(deep, "--b{level}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n", level + 1).unwrap();
    }
    let mut nested = draft(&deep);
    assert_eq!(nested.parts().len(), MAX_DEPTH + 1);
    assert_eq!(finished(nested), deep);
    let wide = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(MAX_PARTS));
    let mut parts = draft(&wide);
    assert_eq!(parts.parts().len(), 1, "one too many");
    let fields = "A: b\r\n".repeat(MAX_FIELDS + 500) + "\r\nbody";
    let mut header = draft(&fields);
    assert_eq!(header.header_all("a").len(), MAX_FIELDS);
    assert!(matches!(header.add_header("X", "y", Position::First), Err(EditError::Denied(_))), "it would push another out of sight");
    assert_eq!(finished(header), fields);
}

#[test]
fn a_message_in_a_message_is_a_leaf() {
    let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: text/html\r\n\r\ninner\r\n--b\r\nContent-Type: text/html\r\n\r\nouter\r\n--b--\r\n";
    let mut draft = draft(message);
    assert_eq!(draft.html().as_deref(), Some("outer"));
    draft.write_part(1, Bytes::from_static("Subject: é\r\n\r\n".as_bytes())).unwrap();
    assert!(draft.parts()[1].content_type == "message/rfc822");
    let octets = draft.into_composition(None).encode();
    assert!(
        String::from_utf8_lossy(&octets).contains("message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: é\r\n\r\n\r\n--b")
    );
}

#[test]
fn compositions_are_kept_as_they_are() {
    let octets = Bytes::from_static(b"Subject: x\r\n\r\nbody\r\n");
    let composition = Composition::plain(octets.clone());
    assert_eq!(composition.encode().as_ptr(), octets.as_ptr());
    assert_eq!(Composition::decode(octets.clone()).unwrap(), composition);
    assert_eq!(composition.fill(&NONCE, &[], &mut |_| unreachable!()).as_ptr(), octets.as_ptr());
    assert_eq!(Draft::new(octets.clone()).into_composition(Some(&NONCE)).encode().as_ptr(), octets.as_ptr());
    for plain in [&b""[..], b"\0", b"\0\x01", b"\0\x02"] {
        let composition = Composition::plain(Bytes::copy_from_slice(plain));
        assert_eq!(Composition::decode(composition.encode()), Some(composition));
    }
    for damaged in [
        &b"\0"[..],
        b"\0\x02",
        b"\0\x01",
        b"\0\x01\x09",
        b"\0\x01\0\x09\0\0\0\0\0\0\0x",
        b"\0\x01\x02\0\0\0\0\x08\0",
        b"\0\x01\x02\0\0\0\0\0\x4c",
    ] {
        assert_eq!(Composition::decode(Bytes::copy_from_slice(damaged)), None, "{damaged:?}");
    }
}

/// A part: its header, what is in it, and whether that is a leaf.
fn tree() -> impl Strategy<Value = String> {
    let leaf = (
        prop::sample::select(vec![
            "",
            "Content-Type: text/plain\r\n",
            "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n",
            "content-type:text/html;\r\n\tcharset=\"utf-8\"\r\nX-Y : z \r\n",
            "Content-Type: image/png; name=x\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n",
            "Content-Type: message/rfc822\r\n",
        ]),
        "([a-z=. ]{0,20}(\r\n)?){0,6}",
    )
        .prop_map(|(header, body)| format!("{header}\r\n{body}"));
    leaf.prop_recursive(4, 24, 5, |inner| {
        (
            prop::collection::vec(inner, 1..5),
            "[a-z0-9]{6,12}",
            "([a-z ]{1,9}\r\n){0,2}",
            prop::sample::select(vec!["", "  ", "\t"]),
            any::<bool>(),
        )
            .prop_map(|(children, boundary, text, blanks, is_closed)| {
                let mut part = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n{text}");
                for (place, child) in children.iter().enumerate() {
                    let line_end = if place > 0 { "\r\n" } else { "" };
                    write!(part, "{line_end}--{boundary}{blanks}\r\n{child}").unwrap();
                }
                if is_closed {
                    write!(part, "\r\n--{boundary}--{blanks}\r\n{text}").unwrap();
                }
                part
            })
    })
}

proptest! {
    #[test]
    fn anything_is_kept_and_can_be_edited(octets in "((Content-Type: ?multipart/mixed; ?boundary=[ab]\r\n)|[ab:]|\r\n|--a|--b|--|\n| |=|\\PC){0,80}", seed: u32) {
        let mut draft = Draft::new(Bytes::from(octets.clone()));
        prop_assert_eq!(draft.size(), u64::try_from(octets.len()).unwrap());
        let parts = draft.parts();
        draft.text();
        draft.html();
        prop_assert!(!draft.is_edited());
        prop_assert_eq!(finished(draft.clone()), octets);
        let id = parts[usize::try_from(seed).unwrap() % parts.len()].id;
        let _ = draft.write_part(id, Bytes::from_static(b"new\r\n"));
        let _ = draft.add_part(Some(id), NewPart { content_type: "a/b".into(), filename: None, content_id: None, inline: true, content: Bytes::new() });
        let _ = draft.remove_part(id);
        draft.set_header("Subject", "x").unwrap();
        draft.set_header("To", "x@y").unwrap();
        prop_assert_eq!(draft.remove_header("To"), 1);
        draft.into_composition(Some(&NONCE)).encode();
    }

    #[test]
    fn random_octets_are_kept(octets: Vec<u8>) {
        let mut draft = Draft::new(Bytes::from(octets.clone()));
        draft.parts();
        draft.header("Subject");
        // Forces every piece to be put together again.
        draft.is_edited = true;
        let body = draft.body_start;
        let after = draft.into_composition(Some(&NONCE)).fill(&NONCE, &[], &mut |_| String::new());
        prop_assert!(after.ends_with(&octets[body..]));
    }

    #[test]
    fn an_edited_leaf_leaves_all_others(message in tree(), which: prop::sample::Index, content in "[ -~é\n]{0,80}") {
        let octets = Bytes::from(format!("Subject: x\r\n{message}\r\n"));
        let mut draft = Draft::new(octets.clone());
        prop_assert_eq!(finished(draft.clone()), str::from_utf8(&octets).unwrap());
        let leaves: Vec<_> = draft.parts().into_iter().filter(|part| !part.content_type.starts_with("multipart/")).collect();
        prop_assume!(!leaves.is_empty());
        let leaf = which.get(&leaves);
        let before: Vec<_> = leaves.iter().map(|leaf| draft.read_part(leaf.id, 0, u32::MAX).unwrap()).collect();
        draft.write_part(leaf.id, Bytes::from(content.clone())).unwrap();
        let after = draft.clone().into_composition(None).encode();

        // What is before and behind the leaf is as it was.
        let tree = draft.tree().clone();
        if let NodeContent::Leaf { body: header_block::Octets::Original(range), .. } = &tree.node(leaf.id).unwrap().content {
            prop_assert!(after.ends_with(&octets[range.end..]));
            if leaf.id != 0 && let header_block::Octets::Original(header) = &tree.node(leaf.id).unwrap().before {
                prop_assert!(after.starts_with(&octets[..header.end]));
            }
        }
        // And read again, all others hold what they held.
        let mut again = Draft::new(after);
        let parts: Vec<_> = again.parts().into_iter().filter(|part| !part.content_type.starts_with("multipart/")).collect();
        prop_assert_eq!(parts.len(), leaves.len());
        for ((old, new), held) in leaves.iter().zip(&parts).zip(before) {
            let holds = again.read_part(new.id, 0, u32::MAX).unwrap();
            if old.id == leaf.id && old.parent.is_some() {
                prop_assert_eq!(&holds[..], content.as_bytes());
            } else if old.id != leaf.id {
                prop_assert_eq!(holds, held);
            }
        }
    }

    #[test]
    fn html_is_read_as_it_was_set(html in "(\\PC|[\r\n=.]|From ){0,300}") {
        let mut draft = draft(NEWSLETTER);
        draft.set_html(&html).unwrap();
        let set = draft.html().unwrap();
        let normal = line_end::normalize_line_ends(&html);
        prop_assert_eq!(set.as_bytes(), &normal[..]);
        let octets = draft.into_composition(Some(&NONCE)).fill(&NONCE, &[], &mut |_| unreachable!());
        prop_assert_eq!(Draft::new(octets.clone()).html().unwrap(), set.clone());
        let parsed = MessageParser::default().parse(&octets[..]).unwrap();
        let part = parsed.parts.iter().find(|part| part.is_content_type("text", "html")).unwrap();
        prop_assert_eq!(part.text_contents().unwrap(), set);
    }

    #[test]
    fn slots_are_filled_in_their_places(
        parts in prop::collection::vec(("(\\PC|[\n .=]){0,90}", 0_u32..5), 0..12),
        tail in "(\\PC|[\n .=]){0,90}",
        values in prop::collection::vec("(\\PC|[ .=<]|[a-z]{80}){0,20}", 4),
        is_html: bool,
    ) {
        let tokens = Tokens::new(&NONCE);
        let slots: Vec<Slot> = (0..4).map(|n| Slot::Variable(n.to_string())).collect();
        let (mut template, mut expected) = (String::new(), String::new());
        for (text, index) in &parts {
            template.push_str(text);
            template.push_str(&tokens.make(*index));
            expected.push_str(text);
            if let Some(value) = values.get(usize::try_from(*index).unwrap()) {
                let escaped = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;");
                expected.push_str(if is_html { &escaped } else { value });
            }
        }
        template.push_str(&tail);
        expected.push_str(&tail);
        let mut draft = draft(NEWSLETTER);
        if is_html { draft.set_html(&template).unwrap() } else { draft.set_text(&template).unwrap() }
        let composition = draft.into_composition(Some(&NONCE));
        prop_assert_eq!(composition.has_slots(), !parts.is_empty());
        let kept = Composition::decode(composition.encode());
        prop_assert_eq!(kept.as_ref(), Some(&composition));
        let octets = composition.fill(&NONCE, &slots, &mut |slot| match slot {
            Slot::Variable(n) => values[n.parse::<usize>().unwrap()].clone(),
            Slot::Address | Slot::Link(_) => unreachable!(),
        });
        prop_assert!(octets.split(|octet| *octet == b'\n').all(|line| line.len() <= 77), "{}", String::from_utf8_lossy(&octets));
        // Reckoned before, it is never more than was said; and with a limit, it ends there.
        let places = composition.places(&NONCE, &slots);
        let longest = values.iter().map(String::len).max().unwrap_or_default();
        let at_most = places.fixed + places.times.iter().sum::<usize>() * Places::value_at_most(longest);
        prop_assert!(octets.len() <= at_most, "{} > {at_most}", octets.len());
        let mut value = |_: &Slot| "x".repeat(1_000);
        let filled = composition.fill(&NONCE, &slots, &mut value).len();
        prop_assert!(composition.fill_within(filled, &NONCE, &slots, &mut value).is_ok());
        if composition.has_slots() {
            prop_assert_eq!(composition.fill_within(filled - 1, &NONCE, &slots, &mut value), Err(TooLarge));
        }
        let mut filled = Draft::new(octets);
        let read = if is_html { filled.html() } else { filled.text() };
        prop_assert_eq!(read.unwrap(), expected.replace('\n', "\r\n"));
    }

    #[test]
    fn damaged_compositions_do_no_harm(octets: Vec<u8>) {
        let framed = [&b"\0\x01"[..], &octets].concat();
        if let Some(composition) = Composition::decode(Bytes::from(framed)) {
            composition.fill(&NONCE, &[Slot::Address], &mut |_| "a@x".to_owned());
        }
    }
}
