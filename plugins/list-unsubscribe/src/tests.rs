//! The plugin from header to header.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use tubepost_plugin_sdk::testing::{Draft, config, slots, take_log};

use super::*;

const SLOT: &str = "<SLOT0000000000000000000000000000>";

fn run(draft: Draft, options: &str) -> Message {
    run_at("https://t.example.com", draft, options)
}

fn run_at(public_url: &str, draft: Draft, options: &str) -> Message {
    let mut message = draft.context_of("public-url", public_url).message();
    let options = config::<ListUnsubscribe>(options).unwrap();
    assert_eq!(ListUnsubscribe::submit(&mut message, &options), Ok(Verdict::Next));
    message
}

#[track_caller]
fn check(message: &Message, list: Option<&str>, post: bool) {
    assert_eq!(message.header_all(FIELD), list.map(ToOwned::to_owned).into_iter().collect::<Vec<_>>());
    assert_eq!(message.header(POST_FIELD).as_deref(), post.then_some(POST_VALUE));
    assert_eq!(message.header(SOURCE_FIELD), None);
}

#[test]
fn the_source_field_becomes_the_only_one() {
    let both = "<mailto:u@x>, <https://x/u>";
    check(&run(Draft::new().header(SOURCE_FIELD, both), "{}"), Some(both), false);
    let draft = Draft::new().header("list-unsubscribe", "<https://old/>").header("X-LIST-UNSUBSCRIBE", "https://x/u");
    check(&run(draft, "{}"), Some("<https://x/u>"), false);
}

#[test]
fn one_click_is_added_where_it_can_work() {
    let https = Draft::new().header(SOURCE_FIELD, "https://x/u");
    check(&run(https, r#"{"oneclick":true}"#), Some("<https://x/u>"), true);
    let mailto = Draft::new().header(SOURCE_FIELD, "mailto:u@x");
    check(&run(mailto, r#"{"oneclick":true}"#), Some(&format!("<mailto:u@x>, {SLOT}")), true);
    take_log();
    let mailto = Draft::new().header(SOURCE_FIELD, "mailto:u@x");
    check(&run(mailto, r#"{"oneclick":true,"generate":false}"#), Some("<mailto:u@x>"), false);
    assert_eq!(take_log().len(), 1);
}

#[test]
fn an_existing_field_stays_unless_told() {
    let draft = || Draft::new().header(FIELD, "https://as.it/is");
    check(&run(draft(), r#"{"url":"https://x/u"}"#), Some("https://as.it/is"), false);
    check(&run(draft(), r#"{"url":"https://x/u","replace":true}"#), Some("<https://x/u>"), false);
}

#[test]
fn the_rest_object_builds_the_field() {
    let options = r#"{"email":"u@x.example","url":"https://x.example/u","oneclick":true}"#;
    check(&run(Draft::new(), options), Some("<mailto:u@x.example>, <https://x.example/u>"), true);
    check(&run(Draft::new(), r#"{"email":"mailto:u@x.example?subject=stop"}"#), Some("<mailto:u@x.example?subject=stop>"), false);
}

#[test]
fn a_signed_link_is_the_last_resort() {
    let message = run(Draft::new(), "{}");
    check(&message, Some(SLOT), true);
    assert_eq!(slots(&message), ["unsubscribe"]);
    check(&run(Draft::new(), r#"{"generate":false}"#), None, false);
}

#[test]
fn one_click_is_for_https_and_loopback() {
    for (public_url, post) in [
        ("https://t.example.com", true),
        ("http://127.0.0.1:8025", true),
        ("http://localhost:8025/mail", true),
        ("http://t.example.com", false),
        ("http://localhost.example.com", false),
    ] {
        check(&run_at(public_url, Draft::new(), "{}"), Some(SLOT), post);
        check(&run_at(public_url, Draft::new(), r#"{"oneclick":true}"#), Some(SLOT), post);
    }
    let message = run_at("http://t.example.com", Draft::new().header(SOURCE_FIELD, "https://x/u"), r#"{"oneclick":true}"#);
    check(&message, Some("<https://x/u>"), true);
}

#[test]
fn one_click_can_be_declined() {
    check(&run(Draft::new(), r#"{"oneclick":false}"#), Some(SLOT), false);
    check(&run(Draft::new(), r#"{"url":"https://x/u","oneclick":false}"#), Some("<https://x/u>"), false);
}

#[test]
fn a_broken_source_field_is_as_good_as_none() {
    take_log();
    check(&run(Draft::new().header(SOURCE_FIELD, "javascript:alert(1)"), "{}"), Some(SLOT), true);
    assert_eq!(take_log().len(), 1);
}

#[test]
fn bad_options_are_the_operators_fault() {
    let mut message = Draft::new().message();
    let options = config::<ListUnsubscribe>(r#"{"url":"ftp://x"}"#).unwrap();
    assert!(matches!(ListUnsubscribe::submit(&mut message, &options), Err(Failure::Config(_))));
}
