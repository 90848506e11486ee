//! What a Tubepost plugin is written with.
//!
//! A plugin is a WebAssembly component that sees each message of the logins whose chain names it. It is one implementation of
//! [`Plugin`] and one line of [`register!`]:
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, ensure, log, register};
//!
//! /// Greets the readers in a header field.
//! struct Greet;
//!
//! #[derive(Debug, Deserialize, Serialize, JsonSchema)]
//! #[serde(default)]
//! struct Options {
//!     /// What to say
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
//!     fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
//!         ensure!(message.header("Subject").is_some(), "a message needs a subject");
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
//! [`rcpt`](Plugin::rcpt) has a word on each forward-path while the client is still talking. [`submit`](Plugin::submit) runs once per message, while
//! the client waits for its 250. What differs by recipient is written as a *slot*, such as [`Message::recipient_slot`] or [`Message::click_link`]: a
//! token that the host replaces at delivery without running the plugin again. [`recipient`](Plugin::recipient) runs once per recipient, for what a slot
//! cannot express; [`Plugin::wanted`] says first whether a message needs that. [`event`](Plugin::event) looks at what became of messages. A plugin may
//! take part in several: `register!(Greet: submit, event);`.
//!
//! # What a plugin can use
//!
//! | module | what | the operator grants |
//! |---|---|---|
//! | [`Message`], [`header`], [`address`], and `html` with the feature `html` | the message: read, edit, verdicts | nothing to grant |
//! | [`clock`], [`random`], [`log`] | the time, octets that look random, lines for the operator | nothing to grant |
//! | [`kv`] | a table that outlives calls | `allow.kv` |
//! | [`http`] | requests to listed origins | `allow.http` |
//! | [`secrets`], [`templates`] | texts of the operator's | `allow.secrets`, `allow.templates` |
//! | [`metrics`] | counters and histograms | `allow.metrics` |
//! | [`Message::own_link`] | links that come back as events | `allow.links` |
//! | [`Message::set_route`] | another way for the message | `allow.routes` |
//!
//! A component imports what its code can reach, and nothing else: what it does not use, nobody has to grant. In the stage `recipient`, table, HTTP and
//! templates are denied, as the same must come out at every attempt.
//!
//! # Verdicts and failures
//!
//! `Ok` is a word on the mail, `Err` says that the plugin could not do its work. `?` makes the right [`Failure`] of every error of this crate.
//! [`ensure!`], [`reject!`] and [`defer!`] refuse and return.
//!
//! # Tests
//!
//! [`testing`] runs a plugin without WebAssembly: [`testing::Draft`] makes messages, [`testing::Host`] has table, clock, secrets and scripted answers,
//! and [`testing::golden()`] runs the messages that `tubepost plugin test` runs in the sandbox.
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
//! Options need `serde` and `schemars` among the dependencies; the feature `html` brings the rewriting of HTML, and its size.
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

pub mod address;
#[cfg(any(test, all(target_arch = "wasm32", feature = "bump-alloc")))]
mod allocator;
#[doc(hidden)]
pub mod bindings;
pub mod clock;
mod description;
pub mod event;
mod exports;
pub mod header;
#[cfg(feature = "html")]
pub mod html;
pub mod http;
pub mod kv;
pub mod log;
mod message;
pub mod metrics;
mod options;
mod plugin;
mod policy;
pub mod random;
pub mod rcpt;
pub mod secrets;
pub mod templates;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;

/// What describes options; see [`JsonSchema`].
pub use schemars;
/// Derived by the options of a plugin, so that the host knows, shows and checks them.
///
/// The struct that serde reads is all that is written. Doc comments become descriptions, `#[serde(default)]` with `Default` gives defaults, an `Option`
/// may be left out, enums become choices, and serde's `rename`, `rename_all` and `deny_unknown_fields` are followed. Limits are said with
/// `#[schemars(range(min = 1))]`, `#[schemars(length(max = 100))]` and `#[schemars(regex(pattern = "^[a-z]+$"))]`.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
/// use tubepost_plugin_sdk::{Plugin, register, testing};
///
/// #[derive(Deserialize, Serialize, JsonSchema)]
/// #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
/// struct Options {
///     /// What to say
///     greeting: String,
///     /// How loud
///     #[schemars(range(max = 10))]
///     loud_ness: u8,
/// }
///
/// impl Default for Options {
///     fn default() -> Self {
///         Self { greeting: "hello".to_owned(), loud_ness: 3 }
///     }
/// }
///
/// struct Greet;
/// impl Plugin for Greet {
///     type Config = Options;
/// }
/// register!(Greet: submit);
///
/// let schema = testing::schema::<Greet>();
/// assert_eq!(schema["properties"]["greeting"]["default"], "hello");
/// assert_eq!(schema["properties"]["loud-ness"]["maximum"], 10);
/// ```
///
/// The crate of the plugin names `schemars = "1"` among its dependencies, beside `serde`. Defaults are written by `Serialize`; an option whose type has
/// none has no default to show.
pub use schemars::JsonSchema;

pub use clock::Timestamp;
pub use description::{Description, Schema};
pub use event::{Event, EventKind};
pub use message::{EditError, Message, NewPart, PartInfo, Position, Recipient};
pub use plugin::Plugin;
pub use rcpt::{Answer, Transaction};
pub use verdict::{Failure, Reply, Verdict};

/// What the macros expand to. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        bindings,
        bindings::{
            event::{
                export_event,
                exports::tubepost::mail::event::{Event as WireEvent, Guest as EventGuest},
            },
            imports::tubepost::mail::{
                message::Message as WireMessage,
                types::{Failure as WireFailure, Verdict as WireVerdict},
            },
            plugin::{
                export_plugin,
                exports::tubepost::mail::plugin::{Description as WireDescription, Guest as PluginGuest},
            },
            rcpt::{
                export_rcpt,
                exports::tubepost::mail::rcpt::{Answer as WireAnswer, Guest as RcptGuest, Transaction as WireTransaction},
            },
            recipient::{export_recipient, exports::tubepost::mail::recipient::Guest as RecipientGuest},
            submit::{export_submit, exports::tubepost::mail::submit::Guest as SubmitGuest},
        },
        exports::{event, rcpt, recipient, submit, wanted},
        options::{Options, OptionsAreDescribed, OptionsAreNotDescribed},
        policy::Refuse,
    };
}

/// The guide, whose code is run.
#[cfg(all(doctest, feature = "html"))]
#[doc = include_str!("../../docs/plugins/guide.md")]
struct Guide;
