#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> String {
    match Mailbox::parse_list(text) {
        Ok(list) => list.iter().map(|m| format!("{}|{}", m.name.as_deref().unwrap_or("-"), m.address)).collect::<Vec<_>>().join(" "),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn lists_are_read() {
    for (text, expected) in [
        ("", ""),
        (" , ,", ""),
        ("a@x.example", "-|a@x.example"),
        ("\"A, B\" <a@x>, c@x", "A, B|a@x -|c@x"),
        ("A B C <a@x>,d@x", "A B C|a@x -|d@x"),
        ("<a@x>", "-|a@x"),
        ("\"a \\\"q\\\" \\\\\" <a@x>", "a \"q\" \\|a@x"),
        ("=?utf-8?Q?A=2C_B?= <a@x>", "A, B|a@x"),
        ("\"=?utf-8?Q?=C3=A9?=\" <a@x>", "é|a@x"),
        ("a@x (Some (nested) One)", "Some (nested) One|a@x"),
        ("Friends: a@x, \"B\" <b@x>;, c@x", "-|a@x B|b@x -|c@x"),
        ("undisclosed-recipients:;", ""),
        ("G: a@x", "-|a@x"),
        ("\"quoted local\"@x", "-|\"quoted local\"@x"),
        ("john . doe @ x", "-|john.doe@x"),
        ("a@[IPv6:::1], <@route:b@x>", "-|a@[ipv6:::1] -|b@x"),
        ("<@one,@two: b@x>", "-|b@x"),
        ("jörg@bücher.example", "-|jörg@bücher.example"),
        ("John Doe a@x", "Syntax"),
        ("\"open <a@x>", "Syntax"),
        ("A <a@x", "Syntax"),
        ("A <a@x> <b@x>", "Syntax"),
        ("a@x; b@x", "Syntax"),
        ("a: b: c@x", "Syntax"),
        ("\"CEO\" <ceo@x>: <a@x>;", "Syntax"),
        ("ceo@x: a@x;", "Syntax"),
        ("The ceo@x: a@x;", "Syntax"),
        (": a@x;", "Syntax"),
        ("\"the ceo@x\": a@x;", "-|a@x"),
        ("Bob", "Address(NoAt)"),
        ("A <>", "Address(NoAt)"),
        ("A <a@x>\r\nBcc: b@x", "Control"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn raw_lists_leave_out_what_is_no_address() {
    let list = Mailbox::parse_raw(b" =?utf-8?Q?=C3=A9?=\r\n <a@x>, nobody,\r\n b@x");
    assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["é <a@x>", "b@x"]);
}

#[test]
fn senders_are_read_without_doubt_or_not_at_all() {
    for (raw, expected) in [
        (&b" \"john doe\"@x.example, A <a@x>,\r\n =?utf-8?Q?b=40y?= <b@x> (c@y)"[..], Some("\"john doe\"@x.example a@x b@x")),
        (b" Us: a@x, b@x;", Some("a@x b@x")),
        (b" ", Some("")),
        (b" ceo@x: a@x;", None),
        (b" ceo@victim .example", None),
        (b" ceo@victim(x).example", None),
        (b" <@ceo@victim:a@x>", None),
        (b" a@x\x01", None),
        (b" John Doe", None),
    ] {
        let read = Mailbox::parse_senders(raw).ok();
        let shown = read.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(shown.as_deref(), expected, "{}", String::from_utf8_lossy(raw));
    }
}

/// Encoded words that begin and do not end: each is looked at once, and no further than an encoded word is long.
#[test]
fn beginnings_of_encoded_words_cost_no_time() {
    let value = [" =?aa?Q? \r\n".repeat(50_000).as_bytes(), b"<a@x>"].concat();
    let list = Mailbox::parse_field(&value).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(Mailbox::parse_senders(&value).unwrap(), [EmailAddress::parse("a@x").unwrap()]);
}

proptest! {
    #[test]
    fn display_is_read_as_it_was(name in "[ -~äß€]{1,40}") {
        let mailbox = Mailbox { name: Some(name.clone()), address: EmailAddress::parse("a@x").unwrap() };
        let list = Mailbox::parse_list(&mailbox.to_string()).unwrap();
        prop_assert_eq!(list.len(), 1);
        let expected = encoded_word::decode(&name).trim().to_owned();
        prop_assert_eq!(list[0].name.clone().unwrap_or_default(), expected);
    }

    #[test]
    fn anything_can_be_read(text in "[a@x<>()\",:;\\\\ .=?\\[\\]é]{0,60}") {
        let _ = Mailbox::parse_list(&text);
    }
}
