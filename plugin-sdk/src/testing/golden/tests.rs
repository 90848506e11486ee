//! A plugin of its own runs through a folder of its own.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::Position;

struct Mark;

impl Plugin for Mark {
    type Config = std::collections::BTreeMap<String, String>;

    fn submit(message: &mut Message, config: &Self::Config) -> Result<Verdict, Failure> {
        crate::ensure!(message.header("Subject").is_some(), "no subject");
        let link = message.click_link("https://example.com/", 0)?;
        let address = message.recipient_slot()?;
        message.add_header("X-Mark", &format!("{} <{link}> {address}", config.get("word").map_or("", String::as_str)), Position::First)?;
        if let Some(text) = message.text() {
            message.set_text(&format!("{text}marked\n"))?;
        }
        Ok(Verdict::Next)
    }
}

const MESSAGE: &str = "From: a@example.com\nSubject: =?utf-8?q?J=C3=BCrgen?=\nContent-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=utf-8\n\nJ=C3=BCrgen\n";
const OUT: &str = "submit: next\n  info: x\nslots:\n  click\n\n=== for b@example.com\n---\nX-Mark: hi\n <https://links.example/c/abc> b@example.com\nFrom: a@example.com\nSubject: =?utf-8?b?SsO8cmdlbg==?=\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nSsO8cmdlbgptYXJrZWQK\n";

fn settings() -> Settings {
    toml::from_str("options = { word = \"hi\" }\n[[recipients]]\naddress = \"b@example.com\"\n").unwrap()
}

fn check(message: &str, out: &str) -> Result<(), String> {
    compare(&run::<Mark>(message.as_bytes(), &settings()).unwrap(), &parse(out))
}

#[test]
fn meaning_is_compared_and_not_octets() {
    assert_eq!(check(MESSAGE, OUT), Ok(()));
    assert!(check(MESSAGE, &OUT.replace("hi\n", "ho\n")).unwrap_err().contains("x-mark: ho"));
    assert!(check(MESSAGE, &OUT.replace("SsO8cmdlbgptYXJrZWQK", "SsO8cmdlbgo=")).is_err());
    assert!(check(MESSAGE, &OUT.replace("next", "accept")).unwrap_err().contains("submit"));
    assert!(check(MESSAGE, &OUT.replace("b@example.com\n---", "c@example.com\n---")).is_err());
}

#[test]
fn a_refusal_is_a_refusal() {
    let message = MESSAGE.replace("Subject", "X-Subject");
    assert_eq!(check(&message, "submit: reject 550 5.7.1 no subject\n"), Ok(()));
    assert!(check(&message, "submit: next\n").is_err());
}

#[test]
fn a_message_comes_back_as_it_was_read() {
    let mut stand_in = StandIn::new();
    let message = "From: \"Lee, Ann\" <a@example.com>\r\nTo: =?utf-8?q?Doe=2C_J?= <j@example.com>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nplain\r\n--c\r\nContent-Type: text/html; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\n<p>h\u{e9}\r\n--c--\r\n--b\r\nContent-Type: image/png; name=x.png\r\n\
        Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n";
    stand_in.read(message.as_bytes());
    let kinds: Vec<_> = stand_in.parts().into_iter().map(|part| (part.id, part.parent, part.content_type)).collect();
    let expected = [
        (0, None, "multipart/mixed"),
        (1, Some(0), "multipart/alternative"),
        (2, Some(1), "text/plain"),
        (3, Some(1), "text/html"),
        (4, Some(0), "image/png"),
    ];
    assert_eq!(kinds, expected.map(|(id, parent, kind)| (id, parent, kind.to_owned())));
    assert_eq!(stand_in.header("To").as_deref(), Some("\"Doe, J\" <j@example.com>"));
    assert_eq!(stand_in.read_part(4, 0, 9), Ok(vec![0, 1, 2]));
    let mut again = StandIn::new();
    again.read(&stand_in.write());
    assert_eq!(look(&again, |_| None), look(&stand_in, |_| None));
}

#[test]
fn links_are_whatever_they_are() {
    assert!(fits("a <\0> b", "a <https://x/1> b") && fits("\0", "https://x"));
    assert!(!fits("a <\0> b", "a <> b") && !fits("a <\0>", "a <x y>") && !fits("\0", "x y"));
}
