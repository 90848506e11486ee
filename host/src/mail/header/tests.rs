#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use proptest::prelude::*;

use super::*;

fn encoded(name: &str, value: &str) -> String {
    String::from_utf8(encode(name, value).unwrap()).unwrap()
}

/// Value of a field that [`encode`] wrote, without the name and the final CRLF.
fn value_of(field: &str) -> &str {
    field.split_once(':').unwrap().1.strip_suffix("\r\n").unwrap()
}

#[test]
fn fields_are_written() {
    for (name, value, field) in [
        ("Subject", "Hello", "Subject: Hello\r\n"),
        ("Subject", "", "Subject: \r\n"),
        ("Subject", "  trimmed  ", "Subject: trimmed\r\n"),
        ("Subject", "two  blanks\tand a tab", "Subject: two  blanks\tand a tab\r\n"),
        ("Subject", "Grüße aus Köln bis bald", "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?= bis bald\r\n"),
        ("Subject", "日本語", "Subject: =?utf-8?B?5pel5pys6Kqe?=\r\n"),
        ("Subject", "=?utf-8?Q?x?=", "Subject: =?utf-8?Q?=3D=3Futf-8=3FQ=3Fx=3F=3D?=\r\n"),
        ("From", "\"A, B\" <a@x>", "From: \"A, B\" <a@x>\r\n"),
        ("From", "Jörg <j@x>", "From: =?utf-8?Q?J=C3=B6rg?= <j@x>\r\n"),
        ("From", "\"Jörg, Köln\" <j@bücher.example>", "From: =?utf-8?Q?J=C3=B6rg=2C_K=C3=B6ln?= <j@xn--bcher-kva.example>\r\n"),
        ("To", "Büro: a@x, b@x;, c@x", "To: =?utf-8?Q?B=C3=BCro?= : a@x, b@x; c@x\r\n"),
        ("To", "undisclosed-recipients:;", "To: undisclosed-recipients:;\r\n"),
        ("Cc", "jörg@x", "Cc: jörg@x\r\n"),
        (
            "References",
            "<0123456789012345678901234567890@example.com> <0123456789012345678901234567890@example.com>",
            "References: <0123456789012345678901234567890@example.com>\r\n <0123456789012345678901234567890@example.com>\r\n",
        ),
    ] {
        assert_eq!(encoded(name, value), field);
    }
}

#[test]
fn what_is_no_field_is_refused() {
    for name in ["", "a b", "a:", "a\r\nb", "é", &"a".repeat(MAX_NAME + 1)] {
        assert_eq!(encode(name, "x"), Err(FieldError::Name), "{name:?}");
    }
    for value in ["a\r\nBcc: x@y", "a\nb", "a\rb", "\0", "\u{7f}", "\u{85}"] {
        assert_eq!(encode("Subject", value), Err(FieldError::Control), "{value:?}");
        let lossy = encode_lossy("Subject", value);
        assert_eq!(lossy.split(|octet| *octet == b'\n').count() - 1, 1, "{value:?}");
    }
    assert_eq!(encode("From", "Jörg a@b"), Err(FieldError::AddressList(AddressListError::Syntax)));
    assert_eq!(encode("List-Unsubscribe", &"x".repeat(2_000)), Err(FieldError::TooLong));
    let lossy = encode_lossy("List-Unsubscribe", &"x".repeat(2_000));
    assert!(lossy.split(|octet| *octet == b'\n').all(|line| line.len() <= MAX_LINE));
}

#[test]
fn values_are_decoded() {
    for (name, raw, value) in [
        ("Subject", &b" Hello\r\n  World "[..], "Hello  World"),
        ("Subject", b" =?utf-8?Q?=C3=A9?=\r\n =?utf-8?Q?=C3=A9?=", "éé"),
        ("Subject", b" caf\xe9", "café"),
        ("Subject", "café".as_bytes(), "café"),
        ("From", b" =?utf-8?Q?A=2C_B?= <a@x>", "\"A, B\" <a@x>"),
        ("From", b" =?utf-8?Q?J=C3=B6rg?= <a@x>,\r\n =?utf-8?Q?G=3A?=:b@x;", "Jörg <a@x>, \"G:\": b@x;"),
        ("From", b" =?utf-8?Q?J=C3=B6rg?= a@x", "Jörg a@x"),
    ] {
        assert_eq!(decode(name, raw), value, "{raw:?}");
    }
}

#[test]
fn no_line_is_blank() {
    let value = format!("{} \t {}", "x".repeat(60), "y".repeat(60));
    assert_eq!(encoded("Subject", &value), format!("Subject: {}\r\n \t {}\r\n", "x".repeat(60), "y".repeat(60)));
}

proptest! {
    #[test]
    fn text_is_read_as_it_was_written(name in "[A-Za-z][!-9;-~]{0,125}", value in "([ -~]| {1,100}|é|日本|=\\?|\t|[a-z]{1,1200}){0,30}") {
        let Ok(field) = encode(&name, &value) else { return Err(TestCaseError::reject("an address list or structured")) };
        let field = String::from_utf8(field).unwrap();
        prop_assert!(field.ends_with("\r\n") && field.split("\r\n").all(|line| line.len() <= MAX_LINE));
        prop_assert!(field.trim_end_matches("\r\n").split("\r\n").skip(1).all(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty()));
        prop_assert!(field.is_ascii());
        prop_assert_eq!(decode(&name, value_of(&field).as_bytes()), value.trim_matches([' ', '\t']));
    }

    #[test]
    fn short_words_never_pass_78_columns(words in prop::collection::vec("[a-zé]{1,20}", 1..40)) {
        let value = words.join(" ");
        let field = encoded("Subject", &value);
        prop_assert!(field.split("\r\n").all(|line| line.len() <= 78), "{}", field);
        prop_assert_eq!(decode("Subject", value_of(&field).as_bytes()), value);
    }

    #[test]
    fn lists_keep_their_addresses(names in prop::collection::vec("[ -~é日]{0,40}", 1..12)) {
        let address = crate::mail::address::EmailAddress::parse("someone@example.com").unwrap();
        let list: Vec<Mailbox> = names.iter().map(|name| Mailbox { name: Some(encoded_word::decode(name).trim().to_owned()).filter(|n| !n.is_empty() && !n.contains("=?")), address: address.clone() }).collect();
        let text = list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let field = encoded("To", &text);
        prop_assert!(field.is_ascii() && field.split("\r\n").all(|line| line.len() <= MAX_LINE));
        prop_assert_eq!(Mailbox::parse_raw(value_of(&field).as_bytes()), list.clone());
        prop_assert_eq!(Mailbox::parse_list(&decode("To", value_of(&field).as_bytes())).unwrap(), list);
    }

    #[test]
    fn anything_can_be_decoded(raw: Vec<u8>) {
        decode("Subject", &raw);
        decode("From", &raw);
    }

    #[test]
    fn whatever_fills_a_slot_stays_one_field(value in "(\\PC|[\r\n\0\t]|[<>\",:;=?]){0,200}") {
        for name in ["Subject", "To", "List-Unsubscribe"] {
            let field = encode_lossy(name, &value);
            prop_assert!(field.ends_with(b"\r\n"));
            let inside = &field[..field.len() - 2];
            prop_assert!(inside.split(|octet| *octet == b'\n').all(|line| line.len() <= MAX_LINE));
            prop_assert!(String::from_utf8_lossy(inside).split("\r\n").skip(1).all(|line| line.starts_with([' ', '\t'])));
        }
    }
}
