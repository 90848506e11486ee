//! The stand-in answers as the host's resource is documented to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use super::*;
use crate::{EditError, NewPart, Position};

#[test]
fn header_fields_are_edited_in_place() {
    let draft = Draft::new().header("A", "1").header("B", "2").header("a", "3");
    let mut message = draft.message();
    assert_eq!(message.header_all("A"), ["1", "3"]);
    message.set_header("a", "new").unwrap();
    message.add_header("C", "first", Position::First).unwrap();
    assert_eq!(message.header_names(), ["C", "a", "B"]);
    assert_eq!(message.remove_header("b"), Ok(1));
    assert_eq!(message.remove_header("b"), Ok(0));
    assert_eq!(message.header("B"), None);
}

#[test]
fn what_would_break_the_header_is_refused() {
    let mut message = Draft::new().message();
    let invalid = |result| matches!(result, Err(EditError::Invalid(_)));
    assert!(invalid(message.set_header("A", "x\r\nBcc: b@example.com")));
    assert!(invalid(message.set_header("A b", "x")));
    assert!(invalid(message.add_header("", "x", Position::Last)));
    assert!(invalid(message.add_tag("a;b")));
    assert!(invalid(message.set_reverse_path("nobody")));
    assert_eq!(message.set_reverse_path(""), Ok(()));
}

#[test]
fn a_recipient_that_is_there_keeps_its_id() {
    let mut message = Draft::new().recipient("a@example.com").message();
    assert_eq!(message.add_recipient("b@example.com"), Ok(1));
    assert_eq!((message.add_recipient("a@Example.com"), message.add_recipient("b@example.com")), (Ok(0), Ok(1)));
    assert_eq!((message.recipient_count(), message.add_recipient("A@example.com")), (2, Ok(2)));
}

#[test]
fn what_is_denied_is_denied_again() {
    let denied = Draft::new().message().set_html("x").unwrap_err();
    assert!(matches!(crate::Failure::from(denied), crate::Failure::Permanent(_)));
    let mut message = Draft::new().message();
    for number in 0..100 {
        message.add_tag(&number.to_string()).unwrap();
    }
    assert!(matches!(message.add_tag("more"), Err(EditError::Denied(_))));
    assert_eq!(message.add_tag("7"), Ok(()));
}

#[test]
fn parts_are_a_tree() {
    let mut message = Draft::new().text("text").html("<p>").message();
    let part = NewPart {
        content_type: "Text/HTML".to_owned(),
        filename: Some("page.html".to_owned()),
        content_id: None,
        inline: false,
        content: b"attached".to_vec(),
    };
    let id = message.add_part(None, &part).unwrap();
    assert_eq!(message.parts()[3].content_type, "text/html");
    assert_eq!(message.read_part(id, 2, 3), Ok(b"tac".to_vec()));
    // An attachment is not what a reader sees.
    assert_eq!(message.html().as_deref(), Some("<p>"));
    message.set_text("new").unwrap();
    assert_eq!(message.text().as_deref(), Some("new"));
    assert_eq!(message.write_part(0, b"x"), Err(EditError::NoSuchPart));
    message.remove_part(id).unwrap();
    assert_eq!(message.remove_part(id), Err(EditError::NoSuchPart));
    assert!(matches!(message.remove_part(0), Err(EditError::Denied(_))));
    assert!(matches!(Draft::new().message().set_html("x"), Err(EditError::Denied(_))));
}

#[test]
fn slots_are_numbered_tokens() {
    let mut message = Draft::new().message();
    let tokens = [
        message.recipient_slot().unwrap(),
        message.variable_slot("a.b").unwrap(),
        message.click_link("https://example.com/", 7).unwrap(),
        message.open_link(None).unwrap(),
        message.unsubscribe_link().unwrap(),
    ];
    assert!(tokens.iter().all(|token| token.len() == 32));
    assert!(tokens[4].ends_with('4'));
    assert!(matches!(message.click_link(&format!("https://example.com/?e={}", tokens[0]), 8), Err(EditError::Invalid(_))));
    let expected = ["address", "variable a.b", "click 7 https://example.com/", "open", "unsubscribe"];
    assert_eq!(slots(&message), expected);
}

#[test]
fn variables_and_options_are_parsed() {
    struct Plain;
    impl crate::Plugin for Plain {
        type Config = ();
    }
    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Options {
        size: u8,
    }
    impl Default for Options {
        fn default() -> Self {
            Self { size: 3 }
        }
    }
    struct Sized;
    impl crate::Plugin for Sized {
        type Config = Options;
    }
    assert_eq!(config::<Plain>("{}"), Ok(()));
    assert_eq!(config::<Sized>(""), Ok(Options { size: 3 }));
    assert_eq!(config::<Sized>(r#"{"size":4}"#), Ok(Options { size: 4 }));
    assert!(matches!(config::<Sized>(r#"{"size":400}"#), Err(crate::Failure::Config(_))));
    let message = Draft::new().variables_to(r#"{"name":"Ann"}"#).message();
    let variables: std::collections::BTreeMap<String, String> = message.variables().unwrap();
    assert_eq!(variables["name"], "Ann");
}

#[test]
fn lines_are_taken_once() {
    take_log();
    crate::log::info!("{} links", 2);
    assert_eq!(take_log(), [(Level::Info, "2 links".to_owned())]);
    assert_eq!(take_log(), []);
}
