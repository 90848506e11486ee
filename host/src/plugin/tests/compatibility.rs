//! Plugins that were built for the first release of the contract load for ever, and those of a later one are told apart from broken ones.
//!
//! The files in `built_for_0_1_0` are never built again: what they are is the point of them.

use super::super::test_guest::{componentized, engine, try_load};
use super::{header, lease};
use crate::mail::content::Draft;
use crate::plugin::Stage;
use crate::plugin::verdict::Verdict;

#[tokio::test]
async fn plugins_of_the_first_release_load_and_work() {
    let engine = engine();
    let tags = try_load(&engine, "tags", include_bytes!("built_for_0_1_0/tags.wasm")).await.unwrap();
    let message = b"From: a@example.com\r\nX-MailPace-Tags: news, weekly\r\n\r\nhello\r\n";
    let mut lease = lease();
    lease.letter.draft = Draft::new(bytes::Bytes::from_static(message));
    let call = tags.process(Stage::Submit, lease.clone(), "{}").await;
    assert_eq!(call.result, Ok(Verdict::Next), "{:?}", call.run);
    assert_eq!(header(&call, "X-MailPace-Tags"), None);
    assert_eq!(call.edited.as_ref().unwrap().tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["news", "weekly"]);

    let unsubscribe = try_load(&engine, "list-unsubscribe", include_bytes!("built_for_0_1_0/list-unsubscribe.wasm")).await.unwrap();
    let call = unsubscribe.process(Stage::Submit, lease, r#"{"url":"https://example.com/u"}"#).await;
    assert_eq!(call.result, Ok(Verdict::Next), "{:?}", call.run);
    assert_eq!(header(&call, "List-Unsubscribe").as_deref(), Some("<https://example.com/u>"));
}

/// A component that imports a method of `message` which only a later 0.1 has.
fn of_a_later_release() -> Vec<u8> {
    let wit = "package tubepost:mail@0.1.7; interface message { resource message { glow: func() -> u32; } } world w { import message; }";
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("w.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    let import = r#"(module (import "tubepost:mail/message@0.1.7" "[method]message.glow" (func (param i32) (result i32))))"#;
    let mut module = wat::parse_str(import).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    componentized(&module)
}

#[tokio::test]
async fn a_plugin_of_a_later_release_is_told_so() {
    let error = try_load(&engine(), "x", &of_a_later_release()).await.unwrap_err().to_string();
    assert!(error.starts_with("it was made for tubepost:mail@0.1.7 and needs what 0.1.0, which this version offers, has not: "), "{error}");
    assert!(error.contains("glow"), "{error}");
}
