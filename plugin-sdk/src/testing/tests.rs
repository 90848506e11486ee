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

#[test]
fn the_copy_of_one_recipient_keeps_its_envelope_and_way() {
    let data = r#"{"name":"Ann","order":{"number":7}}"#;
    let mut copy = Draft::new().recipient("ann@example.com").variables_to(data).copy().message();
    let denied = [copy.add_recipient("b@example.com").err(), copy.remove_recipient(0).err(), copy.set_route("bulk").err()];
    assert!(denied.iter().all(|error| matches!(error, Some(EditError::Denied(_)))), "{denied:?}");
    assert!(matches!(copy.redirect("b@example.com"), Err(EditError::Denied(_))));
    assert!(matches!(copy.set_not_before(copy.now()), Err(EditError::Denied(_))));
    let values = ["name", "order.number", "none"].map(|name| copy.variable_slot(name).unwrap());
    assert_eq!(values, ["Ann", "7", ""]);
    assert_eq!(copy.recipient_slot().as_deref(), Ok("ann@example.com"));
}

#[test]
fn links_of_its_own_are_tokens_too() {
    let mut message = Draft::new().message();
    let link = message.own_link("vote=yes", Some("https://example.com/thanks")).unwrap();
    message.own_link("vote=no", None).unwrap();
    assert_eq!(slots(&message), ["own vote=yes https://example.com/thanks", "own vote=no"]);
    for (claims, url) in
        [("x".repeat(1001), None), (String::new(), Some("mailto:a@b")), (String::new(), Some(&*format!("https://b/{link}")))]
    {
        assert!(matches!(message.own_link(&claims, url), Err(EditError::Invalid(_))), "{url:?}");
    }
}

#[test]
fn a_message_is_redirected_whole_or_not_at_all() {
    let mut message = Draft::new().recipients(&["a@example.com", "b@example.com", "c@example.com"]).message();
    assert!(message.redirect("nobody").is_err());
    assert_eq!(message.recipient_count(), 3);
    message.redirect("b@EXAMPLE.com").unwrap();
    assert_eq!(message.all_recipients(), [Recipient { id: 1, address: "b@example.com".to_owned() }]);
}

#[test]
fn another_message_takes_the_place_of_the_whole() {
    let mut message = Draft::new().header("Subject", "old").text("old").message();
    assert!(matches!(message.set_content(b"Subject: new\n\nnew\n"), Err(EditError::Invalid(_))));
    message.set_content(b"Subject: new\r\n\r\nnew\r\n").unwrap();
    assert_eq!((message.header("Subject").as_deref(), message.text().as_deref()), (Some("new"), Some("new\r\n")));
    assert!(String::from_utf8(message.content()).unwrap().starts_with("Subject: new\r\n"));
    message.recipient_slot().unwrap();
    assert!(matches!(message.set_content(b"\r\n"), Err(EditError::Denied(_))));
}

#[test]
fn a_later_time_is_kept() {
    let mut message = Draft::new().message();
    let (now, hour) = (message.now(), std::time::Duration::from_hours(1));
    message.set_not_before(now - hour).unwrap();
    assert_eq!(message.not_before(), Some(now));
    message.set_not_before(now + hour).unwrap();
    message.set_not_before(now).unwrap();
    assert_eq!(message.not_before(), Some(now + hour));
}

#[test]
fn the_table_forgets_and_counts() {
    use crate::{Timestamp, kv};
    let minute = std::time::Duration::from_mins(1);
    let at = |seconds: u64| host(|host| host.now = Timestamp::from_millis(seconds * 1000));
    let host_of_test = Host::new();
    at(0);
    kv::set_for("a", "1", minute).unwrap();
    assert_eq!((kv::increment_for("n", 2, minute), kv::increment("a", 4)), (Ok(2), Ok(5)));
    at(59);
    assert_eq!((kv::increment_for("n", -1, minute), kv::get_text("a")), (Ok(1), Ok(Some("5".to_owned()))));
    at(60);
    assert_eq!((kv::increment_for("n", 1, minute), kv::get("a")), (Ok(1), Ok(None)));
    kv::set("word", "x").unwrap();
    assert!(matches!(kv::increment("word", 1), Err(kv::Error::Invalid(_))));
    assert!(matches!(kv::set("", "x"), Err(kv::Error::Invalid(_))));
    assert!(matches!(kv::get_json::<u8>("word"), Err(kv::Error::Invalid(_))));
    let host_of_test = host_of_test.fail_table(kv::Error::Full);
    assert!(matches!(kv::set("word", "y").map_err(crate::Failure::from), Err(crate::Failure::Transient(_))));
    drop(host_of_test);
    assert_eq!(kv::get("word"), Ok(None));
}

#[test]
fn metrics_are_bounded() {
    let host = Host::new();
    for number in 0..25 {
        crate::metrics::add(&format!("m{number}"), 1);
    }
    crate::metrics::add("Bad-Name", 1);
    crate::metrics::add("m0", 1);
    assert_eq!((host.counter("m0"), host.counter("m19"), host.counter("m20"), host.counter("Bad-Name")), (2, 1, 0, 0));
}
