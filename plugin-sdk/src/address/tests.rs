//! Lists as people write them, and whatever else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;

fn names_and_addresses(text: &str) -> Vec<(Option<String>, String)> {
    Mailbox::parse_list(text).unwrap().into_iter().map(|mailbox| (mailbox.name, mailbox.address.to_string())).collect()
}

fn one(text: &str) -> (Option<String>, String) {
    let mut list = names_and_addresses(text);
    assert_eq!(list.len(), 1, "{text}");
    list.remove(0)
}

#[test]
fn mailboxes_are_read_as_they_are_written() {
    let known = [
        ("ann@example.com", None, "ann@example.com"),
        ("<ann@example.com>", None, "ann@example.com"),
        ("Ann Lee <ann@example.com>", Some("Ann Lee"), "ann@example.com"),
        (r#""Lee, \"A\" Ann" <ann@example.com>"#, Some(r#"Lee, "A" Ann"#), "ann@example.com"),
        ("Ann (at work) Lee <ann@example.com> (no)", Some("Ann Lee"), "ann@example.com"),
        ("Jürgen <j@bücher.example>", Some("Jürgen"), "j@bücher.example"),
        ("用户@例子.example", None, "用户@例子.example"),
        ("<@old.example,@route.example:ann@example.com>", None, "ann@example.com"),
        ("ann @ example . com", None, "ann@example.com"),
        (r#""a b"@example.com"#, None, r#""a b"@example.com"#),
        ("ann@[192.0.2.1]", None, "ann@[192.0.2.1]"),
        ("J. Smith <j@example.com>", Some("J. Smith"), "j@example.com"),
    ];
    for (text, name, address) in known {
        assert_eq!(one(text), (name.map(ToOwned::to_owned), address.to_owned()), "{text}");
    }
    assert_eq!(names_and_addresses("").len(), 0);
    assert_eq!(names_and_addresses("a@b.example, , c@d.example,").len(), 2);
}

#[test]
fn what_is_no_list_is_refused() {
    for text in [
        "nobody",
        "a@",
        "@b.example",
        "a b@c.example",
        "<a@b.example",
        "\"a",
        "(a",
        "a@b.example>",
        "a@b..example",
        "<a@b.example> <c@d.example>",
    ] {
        assert!(Mailbox::parse_list(text).is_err(), "{text}");
    }
}

#[test]
fn groups_are_kept_or_taken_apart() {
    let text = r#"a@b.example, "The team": c@d.example, Eve <e@f.example>;, undisclosed:;"#;
    let entries = Entry::parse_list(text).unwrap();
    assert_eq!(write_list(&entries), "a@b.example, The team: c@d.example, Eve <e@f.example>;, undisclosed:;");
    assert_eq!(Mailbox::parse_list(text).unwrap().len(), 3);
}

#[test]
fn domains_are_compared_without_case() {
    let address: Address = "Ann@Mail.Example.com".parse().unwrap();
    assert_eq!(address, "Ann@mail.example.COM".parse().unwrap());
    assert_ne!(address, "ann@mail.example.com".parse().unwrap());
    assert!(address.is_within("example.com") && !address.is_within("ample.com") && !address.is_within("com.") && !address.is_within(""));
    assert!("a@BÜCHER.example".parse::<Address>().unwrap().is_at("bücher.example"));
}

proptest! {
    #[test]
    fn a_mailbox_comes_back(name in "[^\\p{Cc}]{1,30}", local in "[a-zä0-9!#+-]{1,10}", domain in "[a-zü]{1,8}\\.[a-z]{2,5}") {
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let mailbox = Mailbox { name: (!name.is_empty()).then_some(name), address: format!("{local}@{domain}").parse().unwrap() };
        prop_assert_eq!(Mailbox::parse_list(&mailbox.to_string()).unwrap(), vec![mailbox]);
    }

    #[test]
    fn no_text_harms(text in "\\PC{0,60}|[a@.,:;<>()\"\\\\ ]{0,40}") {
        if let Ok(list) = Entry::parse_list(&text) {
            prop_assert_eq!(Entry::parse_list(&write_list(&list)).unwrap(), list);
        }
    }
}
