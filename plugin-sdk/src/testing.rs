//! Messages for `cargo test`: a plugin's functions run on the machine it is written on, without WebAssembly and without a host.
//!
//! A [`Draft`] stands in for the message that the host holds: header fields, a text, an HTML part, attachments, recipients and
//! variables, kept decoded in memory. It does not fold, encode or sign; how a mail looks on the wire is seen with
//! `tubepost plugin test`, which runs the component in the real sandbox.
//!
//! ```
//! use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, testing::Draft};
//!
//! struct Greet;
//! impl Plugin for Greet {
//!     type Config = ();
//!     fn submit(message: &mut Message, _: &()) -> Result<Verdict, Failure> {
//!         message.set_header("X-Greeting", "hello")?;
//!         Ok(Verdict::Next)
//!     }
//! }
//!
//! let mut message = Draft::new().header("Subject", "News").html("<p>Hi</p>").message();
//! assert_eq!(Greet::submit(&mut message, &()), Ok(Verdict::Next));
//! assert_eq!(message.header("x-greeting").as_deref(), Some("hello"));
//! ```

use std::cell::RefCell;

use self::stand_in::{Asked, part};
pub use self::{golden::golden, host::Host};
pub(crate) use self::{
    host::{host, table},
    stand_in::StandIn,
};
use crate::{
    Message, Recipient, Timestamp,
    bindings::imports::tubepost::mail::{
        message::{Link, Slot},
        types::Field,
    },
    log::Level,
};

mod golden;
mod host;
mod mime;
mod stand_in;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn record(level: Level, text: &str) {
    LINES.with_borrow_mut(|lines| lines.push((level, text.to_owned())));
}

/// Takes the lines that were logged in this thread since the last call.
pub fn take_log() -> Vec<(Level, String)> {
    LINES.take()
}

/// Parses options as the host's JSON is parsed in production.
///
/// # Errors
/// [`Failure::Config`](crate::Failure::Config) where they are not valid.
pub fn config<P: crate::Plugin>(json: &str) -> Result<P::Config, crate::Failure> {
    crate::plugin::parse_config(json)
}

/// The JSON Schema that the host sees of a plugin's options, where their type derives [`JsonSchema`](crate::JsonSchema).
pub fn schema<P: crate::Plugin>() -> serde_json::Value
where
    P::Config: crate::JsonSchema,
{
    crate::options::schema::<P::Config>()
}

/// A message for a test, as it is put together.
#[derive(Debug)]
pub struct Draft(StandIn);

impl Default for Draft {
    fn default() -> Self {
        Self::new()
    }
}

impl Draft {
    /// Starts a message from sender@example.com to recipient@example.com with neither header nor parts.
    pub fn new() -> Self {
        Self(StandIn::new())
    }

    /// Adds a header field at the end.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.headers.push(Field { name: name.to_owned(), value: value.to_owned() });
        self
    }

    /// Adds a text/plain part.
    #[must_use]
    pub fn text(self, content: &str) -> Self {
        self.leaf("text/plain", content)
    }

    /// Adds a text/html part.
    #[must_use]
    pub fn html(self, content: &str) -> Self {
        self.leaf("text/html", content)
    }

    fn leaf(mut self, content_type: &str, content: &str) -> Self {
        let mut info = part(self.0.next_part(), Some(0), content_type);
        info.charset = Some("utf-8".to_owned());
        info.size = content.len() as u64;
        self.0.parts.push((info, content.as_bytes().to_vec()));
        self
    }

    /// Puts this recipient in the place of those there are.
    #[must_use]
    pub fn recipient(mut self, address: &str) -> Self {
        self.0.recipients = vec![Recipient { id: 0, address: address.to_owned() }];
        self
    }

    /// Sets the reverse-path.
    #[must_use]
    pub fn reverse_path_to(mut self, address: &str) -> Self {
        address.clone_into(&mut self.0.reverse_path);
        self
    }

    /// Sets the data given with the message, a JSON object.
    #[must_use]
    pub fn variables_to(mut self, json: &str) -> Self {
        json.clone_into(&mut self.0.variables);
        self
    }

    /// Adds something that is known about the submission.
    #[must_use]
    pub fn context_of(mut self, name: &str, value: &str) -> Self {
        self.0.context.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the recipients.
    #[must_use]
    pub fn recipients(mut self, addresses: &[&str]) -> Self {
        self.0.recipients = (0..).zip(addresses).map(|(id, address)| Recipient { id, address: (*address).to_owned() }).collect();
        self
    }

    /// Sets when the message was received; else that is 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn received_at(mut self, now: Timestamp) -> Self {
        self.0.now = now;
        self
    }

    /// Adds an attachment.
    #[must_use]
    pub fn attachment(mut self, filename: &str, content_type: &str, content: &[u8]) -> Self {
        let mut info = part(self.0.next_part(), Some(0), content_type);
        info.filename = Some(filename.to_owned());
        info.inline = false;
        info.size = content.len() as u64;
        self.0.parts.push((info, content.to_vec()));
        self
    }

    /// Makes it the copy of its one recipient, as the stage `recipient` sees it: the envelope and the way cannot be changed, and what differs by
    /// recipient is given as the value itself.
    #[must_use]
    pub fn copy(mut self) -> Self {
        self.0.is_copy = true;
        self
    }

    /// Ends the draft.
    #[must_use]
    pub fn message(self) -> Message {
        Message::new(self.0)
    }
}

/// The slots that were asked for, in order, in words: "address", "variable a.b", "click 0 URL", "open", "open URL", "unsubscribe", "own CLAIMS",
/// "own CLAIMS URL".
///
/// The n-th of them, from 0, stands in the message as "SLOT" and n in 28 digits.
pub fn slots(message: &Message) -> Vec<String> {
    let words = |asked: &Asked| match asked {
        Asked::Slot(Slot::Address) => "address".to_owned(),
        Asked::Slot(Slot::Variable(name)) => format!("variable {name}"),
        Asked::Slot(Slot::Link(Link::Click(link))) => format!("click {} {}", link.position, link.url),
        Asked::Slot(Slot::Link(Link::Open(None))) => "open".to_owned(),
        Asked::Slot(Slot::Link(Link::Open(Some(url)))) => format!("open {url}"),
        Asked::Slot(Slot::Link(Link::Unsubscribe)) => "unsubscribe".to_owned(),
        Asked::Own { claims, url: None } => format!("own {claims}"),
        Asked::Own { claims, url: Some(url) } => format!("own {claims} {url}"),
    };
    message.stand_in().slots.borrow().iter().map(words).collect()
}

#[cfg(test)]
mod tests;
