//! What a Tubepost plugin is written with.
//!
//! A plugin is a WebAssembly component that sees each message of the logins whose chain names it. It is one implementation of
//! [`Plugin`] and one line of [`register!`]:
//!
//! ```
//! use serde::Deserialize;
//! use tubepost_plugin_sdk::{Description, Failure, Message, Plugin, Schema, Verdict, log, register};
//!
//! /// Greets the readers in a header field.
//! struct Greet;
//!
//! #[derive(Debug, Deserialize)]
//! #[serde(default)]
//! struct Options {
//!     greeting: String,
//! }
//!
//! impl Default for Options {
//!     fn default() -> Self {
//!         Self { greeting: "hello".to_owned() }
//!     }
//! }
//!
//! impl Plugin for Greet {
//!     type Config = Options;
//!
//!     fn describe(description: Description) -> Description {
//!         description.option("greeting", Schema::string().default("hello").describe("What to say"))
//!     }
//!
//!     fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
//!         if message.header("Subject").is_none() {
//!             return Ok(Verdict::reject("a message needs a subject"));
//!         }
//!         message.set_header("X-Greeting", &options.greeting)?;
//!         log::info!("greeted {} recipients", message.recipient_count());
//!         Ok(Verdict::Next)
//!     }
//! }
//!
//! register!(Greet: submit);
//!
//! // On the machine where it is written, a plugin is tested without WebAssembly.
//! use tubepost_plugin_sdk::testing::Draft;
//! let mut message = Draft::new().header("Subject", "News").message();
//! assert_eq!(Greet::submit(&mut message, &Options::default()), Ok(Verdict::Next));
//! assert_eq!(message.header("X-Greeting").as_deref(), Some("hello"));
//! ```
//!
//! # Stages
//!
//! `submit` runs once per message, while the client waits for its 250. What differs by recipient is written as a *slot*, such as
//! [`Message::recipient_slot`] or [`Message::click_link`]: a token that the host replaces at delivery without running the plugin
//! again. `recipient` runs once per recipient, for what a slot cannot express; [`Plugin::wanted`] says first whether a message
//! needs that. A plugin may take part in both: `register!(Greet: submit, recipient);`.
//!
//! # The crate of a plugin
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]   # the component, and what its tests link
//! ```
//!
//! `tubepost plugin build` compiles it for `wasm32-unknown-unknown` and makes a component of it. There is no clock, file or
//! network: [`Message::now_ms`] is the time that counts, and [`random`] gives octets that are the same for the same message.
//! A dependency that wants the `getrandom` crate is served with this crate's feature `getrandom` and, in
//! `.cargo/config.toml`,
//!
//! ```toml
//! [target.wasm32-unknown-unknown]
//! rustflags = ['--cfg', 'getrandom_backend="custom"']
//! ```
//!
//! Memory comes from an allocator for instances that live for one call (feature `bump-alloc`, which is on by default). A crate that sets its own
//! `#[global_allocator]` turns it off with `default-features = false`.
//!
//! A panic is an event with the plugin's name and never harms the host or the message: the operator's `on_error` decides.

#[cfg(any(test, all(target_arch = "wasm32", feature = "bump-alloc")))]
mod allocator;
#[doc(hidden)]
pub mod bindings;
mod description;
mod exports;
pub mod log;
mod message;
mod plugin;
pub mod random;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;

pub use description::{Description, Schema};
pub use message::{EditError, Message, NewPart, PartInfo, Position, Recipient};
pub use plugin::Plugin;
pub use verdict::{Failure, Reply, Verdict};

/// What the macros expand to. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        bindings,
        bindings::{
            imports::tubepost::mail::{
                message::Message as WireMessage,
                types::{Failure as WireFailure, Verdict as WireVerdict},
            },
            plugin::{
                export_plugin,
                exports::tubepost::mail::plugin::{Description as WireDescription, Guest as PluginGuest},
            },
            recipient::{export_recipient, exports::tubepost::mail::recipient::Guest as RecipientGuest},
            submit::{export_submit, exports::tubepost::mail::submit::Guest as SubmitGuest},
        },
        exports::{recipient, submit, wanted},
    };
}
