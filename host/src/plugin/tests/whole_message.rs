//! What a plugin does with the message as a whole: content, route, time, links of its own.

use super::super::test_guest::{Guest, LIMITS, engine, try_load_granted};
use super::{copy_lease, lease};
use crate::clock::Timestamp;
use crate::config::{Grants, OnError};
use crate::mail::slot;
use crate::plugin::lease::Lease;
use crate::plugin::verdict::Verdict;
use crate::plugin::{Call, Stage};
use std::sync::Arc;

/// Accepts where what the function said at 512 is no error, else goes on.
const TOLD: &str = "(call $verdict (i32.eqz (i32.load8_u (i32.const 512))))";

async fn call(guest: Guest, allow: Grants, lease: Lease) -> Call {
    let plugin = try_load_granted(&engine(), "whole", &guest.component(), LIMITS, OnError::Defer, allow).await.unwrap();
    plugin.process(Stage::Submit, lease, "{}").await
}

fn links() -> Grants {
    let mut allow = Grants::default();
    allow.links = true;
    allow
}

#[tokio::test]
async fn another_message_takes_the_place_of_this_one() {
    for (content, taken) in [
        ("From: a@example.com\r\nSubject: another\r\n\r\nsigned\r\n", true),
        ("From: a@example.com\nSubject: another\n\nsigned\n", false),
        ("From: a@example.com\r\n\r\na lone \r in it\r\n", false),
    ] {
        let mut guest = Guest::new("whole");
        let octets = guest.text(content);
        let guest = guest.submit(format!("(call $set_content (local.get $message) {octets} (i32.const 512)) {TOLD}"));
        let call = call(guest, Grants::default(), lease()).await;
        assert_eq!(call.result, Ok(if taken { Verdict::Accept } else { Verdict::Next }), "{content:?}");
        let subject = call.edited.unwrap().draft.header("Subject");
        assert_eq!(subject.as_deref(), Some(if taken { "another" } else { "hello" }));
    }
}

#[tokio::test]
async fn the_content_is_read_as_it_is_now() {
    let mut guest = Guest::new("whole");
    let (one, value, read) = (guest.text("X-One"), guest.text("1"), guest.text("X-Read"));
    let call = call(
        guest.submit(format!(
            "(drop (call $add_header (local.get $message) {one} {value}))
            (call $read_content (local.get $message) (i64.const 2) (i32.const 6) (i32.const 512))
            (drop (call $add_header (local.get $message) {read} (i32.load (i32.const 512)) (i32.load (i32.const 516))))
            (call $verdict (i32.const 0))"
        )),
        Grants::default(),
        lease(),
    )
    .await;
    assert_eq!(call.edited.unwrap().draft.header("X-Read").as_deref(), Some("One: 1"));
}

#[tokio::test]
async fn a_route_is_chosen_where_it_is_granted() {
    for (granted, submitted, chosen) in [(true, true, true), (false, true, false), (true, false, false)] {
        let mut guest = Guest::new("whole");
        let name = guest.text("slow");
        let guest = guest.submit(format!("(call $set_route (local.get $message) {name} (i32.const 512)) {TOLD}"));
        let mut allow = Grants::default();
        allow.routes = if granted { vec!["fast".into(), "slow".into()] } else { vec!["fast".into()] };
        let call = call(guest, allow, if submitted { lease() } else { copy_lease("b@example.com") }).await;
        assert_eq!(call.result, Ok(if chosen { Verdict::Accept } else { Verdict::Next }));
        assert_eq!(call.edited.unwrap().route.as_deref(), chosen.then_some("slow"));
    }
}

#[tokio::test]
async fn delivery_is_put_off_within_the_messages_own_time() {
    // It was received at 1,000.
    for (at, deadline, expected) in [
        (5_000_u64, None, Some(Some(5_000))),
        (5_000, Some(5_000), Some(Some(5_000))),
        (5_001, Some(5_000), None),
        (u64::MAX >> 1, None, None),
        (0, None, Some(Some(0))),
    ] {
        let guest =
            Guest::new("whole").submit(format!("(call $set_not_before (local.get $message) (i64.const {at}) (i32.const 512)) {TOLD}"));
        let mut lease = lease();
        Arc::get_mut(&mut lease.circumstances).unwrap().deliver_before = deadline.map(Timestamp::from_millis);
        let call = call(guest, Grants::default(), lease).await;
        assert_eq!(call.result, Ok(if expected.is_some() { Verdict::Accept } else { Verdict::Next }), "{at} {deadline:?}");
        assert_eq!(call.edited.unwrap().not_before.map(Timestamp::as_millis), expected.flatten());
    }
    // The later wish is kept.
    let guest = Guest::new("whole").submit(format!("(call $set_not_before (local.get $message) (i64.const 2000) (i32.const 512)) {TOLD}"));
    let mut lease = lease();
    lease.letter.not_before = Some(Timestamp::from_millis(9_000));
    let call = call(guest, Grants::default(), lease).await;
    assert_eq!(call.edited.unwrap().not_before, Some(Timestamp::from_millis(9_000)));
}

#[tokio::test]
async fn a_link_of_its_own_names_the_plugin() {
    let linking = |url: &str, claims: &str| {
        let mut guest = Guest::new("whole");
        let (claims, url) = (guest.text(claims), guest.text(url));
        guest.submit(format!("(call $own_link (local.get $message) {claims} (i32.const 1) {url} (i32.const 512)) {TOLD}"))
    };
    let claims = "c".repeat(1_000);
    let told = call(linking("https://example.com/x", &claims), links(), lease()).await;
    assert_eq!(told.result, Ok(Verdict::Accept));
    let letter = told.edited.unwrap();
    let slot::Slot::Link(slot::Link::Own { plugin, claims: known, url }) = &letter.slots().as_slice()[0] else { panic!() };
    assert_eq!((plugin.as_str(), known.as_str(), url.as_deref()), ("whole", claims.as_str(), Some("https://example.com/x")));
    for (url, claims, allow) in [
        ("https://example.com/x", "c".repeat(1_001), links()),
        ("javascript:alert(1)", "c".to_owned(), links()),
        ("/somewhere", "c".to_owned(), links()),
        ("https://example.com/x", "c".to_owned(), Grants::default()),
    ] {
        let told = call(linking(url, &claims), allow, lease()).await;
        assert_eq!(told.result, Ok(Verdict::Next), "{url}");
        assert!(told.edited.unwrap().slots().as_slice().is_empty());
    }
}
