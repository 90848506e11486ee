#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use mail_parser::MessageParser;
use proptest::prelude::*;

use super::*;

fn fit(wire: Wire, message: &str) -> String {
    String::from_utf8(wire.fit(Bytes::copy_from_slice(message.as_bytes())).to_vec()).unwrap()
}

/// A message with leaves of all kinds, each holding `line`.
fn mixed(line: &str) -> String {
    format!(
        "Subject: mixed\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Own: kept\r\n\r\n{line}\r\n\
         --b\r\nContent-Type: application/json\r\n\r\n{line}\r\n\
         --b\r\nContent-Type: text/html\r\n\r\nshort\r\n\
         --b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         Subject: inner\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{line}\r\n\
         --b--\r\nepilogue\r\n"
    )
}

/// The contents of the leaves, decoded, those of messages in messages too.
fn contents(message: &[u8]) -> Vec<Vec<u8>> {
    let parsed = MessageParser::default().parse(message).unwrap();
    let mut found = Vec::new();
    let mut open = vec![&parsed];
    while let Some(message) = open.pop() {
        for part in &message.parts {
            if let Some(inner) = part.message() {
                open.push(inner);
            } else if !part.is_multipart() {
                found.push(part.contents().to_vec());
            }
        }
    }
    found
}

#[test]
fn lines_are_measured_without_their_ends() {
    for (before, length, is_long) in
        [(0, 998, false), (0, 999, true), (70, 998, false), (998, 999, true), (2_500, 998, true), (3, 0, false)]
    {
        let octets = format!("{}\r\n{}\r\nend", "a".repeat(before), "b".repeat(length));
        assert_eq!(has_long_line(octets.as_bytes()), is_long, "{before} {length}");
        assert_eq!(has_long_line(octets.strip_suffix("\r\nend").unwrap().as_bytes()), is_long, "{before} {length}, without an end");
    }
    assert!(!has_long_line(b""));
}

#[test]
fn what_the_wire_carries_is_shared() {
    let message = Bytes::from(mixed("short"));
    for wire in [Wire::EightBit, Wire::SevenBit] {
        assert_eq!(wire.fit(message.clone()).as_ptr(), message.as_ptr());
    }
    let message = Bytes::from(mixed("grün"));
    assert_eq!(Wire::EightBit.fit(message.clone()).as_ptr(), message.as_ptr());
}

#[test]
fn only_parts_with_long_lines_change() {
    let line = "long ".repeat(300);
    let message = mixed(&line);
    let fitted = fit(Wire::EightBit, &message);
    assert!(fitted.split("\r\n").all(|line| line.len() <= 998), "{fitted}");
    assert_eq!(contents(fitted.as_bytes()), contents(message.as_bytes()));
    for kept in [
        "Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--b\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\nX-Own: kept\r\n\r\nlong long ",
        "--b\r\nContent-Type: application/json\r\nContent-Transfer-Encoding: base64\r\n\r\nbG9uZ",
        "--b\r\nContent-Type: text/html\r\n\r\nshort\r\n--b\r\n",
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: inner\r\n",
        "--b--\r\nepilogue\r\n",
    ] {
        assert!(fitted.contains(kept), "{kept:?} in {fitted}");
    }
}

#[test]
fn without_8bitmime_all_is_ascii() {
    let message = mixed("grün .\r\nFrom here");
    let fitted = fit(Wire::SevenBit, &message);
    assert!(fitted.is_ascii(), "{fitted}");
    assert!(!fitted.contains("8bit"), "{fitted}");
    assert!(fitted.contains("gr=C3=BCn ."), "{fitted}");
    assert_eq!(contents(fitted.as_bytes()), contents(message.as_bytes()));
}

#[test]
fn a_message_without_mime_gets_what_says_how_it_is_encoded() {
    let line = "x".repeat(2_000);
    let fitted = fit(Wire::EightBit, &format!("Subject: plain\r\n\r\n{line}\r\n"));
    let header = "Subject: plain\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\n";
    assert_eq!(fitted.strip_prefix(header).unwrap().replace("=\r\n", ""), format!("{line}\r\n"));
}

#[test]
fn encoded_parts_get_the_lines_that_they_should_have() {
    for (encoding, body, decoded) in
        [("base64", "QUJD".repeat(500), "ABC".repeat(500)), ("quoted-printable", "=41".repeat(500), "A".repeat(500))]
    {
        let head = format!("Content-Type: text/plain\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
        let fitted = fit(Wire::EightBit, &format!("{head}{body}\r\n"));
        assert!(fitted.starts_with(&head) && fitted.split("\r\n").all(|line| line.len() <= 76), "{fitted}");
        assert_eq!(String::from_utf8(contents(fitted.as_bytes()).remove(0)).unwrap().trim_end(), decoded);
    }
}

#[test]
fn what_is_signed_stays_as_it_is() {
    let long = "ü".repeat(1_000);
    let signed = format!(
        "Subject: {long}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\n{long}\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
    );
    let within = format!("Content-Type: message/rfc822\r\n\r\n{signed}");
    for message in [&signed, &within, &format!("Content-Type: message/delivery-status\r\n\r\nA: b\r\n\r\n{long}\r\n")] {
        for wire in [Wire::EightBit, Wire::SevenBit] {
            assert_eq!(&fit(wire, message), message);
        }
    }
}

#[test]
fn messages_in_messages_have_an_end() {
    let message = format!("{}\r\n{}\r\n", "Content-Type: message/rfc822\r\n\r\n".repeat(1_000), "x".repeat(1_000));
    assert_eq!(fit(Wire::EightBit, &message), message);
}

proptest! {
    #[test]
    fn any_message_can_be_fitted(
        head in "(Content-Type: (text/plain|multipart/mixed; boundary=b|message/rfc822|x)\r\n)?(Content-Transfer-Encoding: (8bit|base64|x)\r\n)?",
        parts in prop::collection::vec("(--b(--)?\r\n|\r\n|[a=é]{0,4}|x{1100}|Content-Type: message/rfc822\r\n\r\n)", 0..8),
    ) {
        let message = Bytes::from(format!("{head}\r\n{}", parts.concat()));
        for wire in [Wire::EightBit, Wire::SevenBit] {
            let fitted = wire.fit(message.clone());
            // Once is enough.
            prop_assert_eq!(wire.fit(fitted.clone()), fitted);
        }
    }
}
