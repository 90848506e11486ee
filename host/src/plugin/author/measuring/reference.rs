//! The plugins that others are measured beside: one that does nothing, and one that adds a header field. A few instructions each, so that what they cost
//! is what the host costs.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The part of the contract that they use. It is frozen.
const CONTRACT: &str = r"package tubepost:mail@0.1.0;
interface types {
  record reply { code: u16, enhanced: option<string>, text: string }
  variant verdict { next, accept, reject(reply), defer(reply), discard(string), hold(string) }
  variant failure { transient(string), permanent(string), config(string) }
}
interface message {
  variant edit-error { denied(string), invalid(string), too-large(u64), no-such-part }
  enum position { first, last }
  resource message { add-header: func(name: string, value: string, at: position) -> result<_, edit-error>; }
}
interface plugin {
  record header-option { header: string, %option: string }
  record description { name: string, version: string, summary: string, config-schema: string, header-options: list<header-option> }
  describe: func() -> description;
}
interface submit {
  use types.{verdict, failure};
  use message.{message};
  process: func(msg: message, config: string) -> result<verdict, failure>;
}
world reference { import message; export plugin; export submit; }";

/// What is in memory is zero, which is the verdict `next`.
const MODULE: &str = r#"(module
    (import "tubepost:mail/message@0.1.0" "[method]message.add-header" (func $add (param i32 i32 i32 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "X-Bench") (data (i32.const 80) "0.1.0")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "tubepost:mail/plugin@0.1.0#describe") (result i32)
      (i32.store (i32.const 128) (i32.const 64)) (i32.store (i32.const 132) (i32.const 7))
      (i32.store (i32.const 136) (i32.const 80)) (i32.store (i32.const 140) (i32.const 5))
      (i32.const 128))
    (func (export "tubepost:mail/submit@0.1.0#process") (param $message i32) (param i32 i32) (result i32) $edit (i32.const 16)))"#;

const ADD: &str =
    "(call $add (local.get $message) (i32.const 64) (i32.const 7) (i32.const 80) (i32.const 5) (i32.const 1) (i32.const 256))";

/// Returns the component that does nothing.
///
/// # Errors
/// None in practice: it is the same every time, and tests make it.
pub(super) fn nothing() -> Result<Vec<u8>, String> {
    component("")
}

/// Returns the component that adds a header field.
///
/// # Errors
/// None in practice, as with [`nothing`].
pub(super) fn header_only() -> Result<Vec<u8>, String> {
    component(ADD)
}

fn component(edit: &str) -> Result<Vec<u8>, String> {
    let mut module = wat::parse_str(MODULE.replace("$edit", edit)).map_err(|error| error.to_string())?;
    let text = |error: anyhow::Error| format!("{error:#}");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("mail.wit", CONTRACT).map_err(text)?;
    let world = resolve.select_world(&[package], Some("reference")).map_err(text)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(text)?;
    ComponentEncoder::default().module(&module).and_then(|mut encoder| encoder.encode()).map_err(text)
}
