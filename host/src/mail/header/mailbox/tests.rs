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
