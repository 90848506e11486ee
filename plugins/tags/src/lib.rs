//! Collects the tags of a message: from the header fields of the known services, and from the configuration.
//!
//! All of `X-OMS-Tags`, `X-OhMySMTP-Tags`, `X-MailPace-Tags`, `X-SMTPeter-Tags` and `X-Tubepost-Tags` are read, as comma lists
//! whose elements may hold blanks, and all are taken out. What is no valid tag, and what is more than the message may have, is left
//! out with a line for the operator: a newsletter shall not bounce because of a label.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{EditError, Failure, Message, Plugin, Verdict, log, register};

mod tag;

use tag::{InvalidTag, parse_list};

/// The fields that carry tags, in the order that their tags are added.
const FIELDS: [&str; 5] = ["X-OMS-Tags", "X-OhMySMTP-Tags", "X-MailPace-Tags", "X-SMTPeter-Tags", "X-Tubepost-Tags"];

/// The plugin.
#[derive(Debug)]
pub struct Tags;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// Tags that every message gets.
    pub add: Vec<String>,
    /// The most tags that one message may have by its header; further ones are left out.
    pub limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { add: Vec::new(), limit: 100 }
    }
}

impl Plugin for Tags {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let mut tags = Collected::of(message);
        let mut refused = 0_usize;
        for tag in &options.add {
            let tag = tag::parse(tag).map_err(|reason| Failure::config(format!("add: {tag:?} is no tag: {reason}")))?;
            refused += usize::from(!tags.add(tag, message)?);
        }
        let most = tags.count().saturating_add(options.limit);
        let mut over = 0_usize;
        for field in FIELDS {
            for value in message.header_all(field) {
                for tag in parse_list(&value) {
                    match tag {
                        Ok(tag) if tags.count() < most => refused += usize::from(!tags.add(tag, message)?),
                        Ok(_) => over += 1,
                        Err(InvalidTag::Empty) => {}
                        Err(reason) => log::warn!("a tag in {field} is left out: {reason}"),
                    }
                }
            }
            message.remove_header(field)?;
        }
        if over > 0 {
            log::warn!("{over} tags are left out: the limit is {}", options.limit);
        }
        if refused > 0 {
            log::warn!("{refused} tags are left out: the message has as many as it may have");
        }
        Ok(Verdict::Next)
    }
}

/// The tags of a message, each once.
struct Collected(Vec<String>);

impl Collected {
    fn of(message: &Message) -> Self {
        Self(message.tags())
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds a tag; returns whether the host had room for it.
    fn add(&mut self, tag: &str, message: &mut Message) -> Result<bool, Failure> {
        if self.0.iter().any(|known| known == tag) {
            return Ok(true);
        }
        match message.add_tag(tag) {
            Ok(()) => {
                self.0.push(tag.to_owned());
                Ok(true)
            }
            Err(EditError::Denied(_)) => Ok(false),
            Err(error @ (EditError::Invalid(_) | EditError::TooLarge(_) | EditError::NoSuchPart)) => Err(error.into()),
        }
    }
}

register!(Tags: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{Draft, config, take_log};

    use super::*;

    fn run(draft: Draft, options: &str) -> Message {
        let mut message = draft.message();
        let options = config::<Tags>(options).unwrap();
        assert_eq!(Tags::submit(&mut message, &options), Ok(Verdict::Next));
        message
    }

    #[test]
    fn every_dialect_is_read_and_stripped() {
        for field in FIELDS {
            let message = run(Draft::new().header("Subject", "s").header(&field.to_uppercase(), "a b, c"), "{}");
            assert_eq!(message.tags(), ["a b", "c"]);
            assert_eq!(message.header_names(), ["Subject"]);
        }
    }

    #[test]
    fn fields_are_united_without_doubles() {
        let draft = Draft::new().header("X-MailPace-Tags", "one, two").header("X-OMS-Tags", "two").header("x-oms-tags", "three");
        assert_eq!(run(draft, r#"{"add":["fixed"]}"#).tags(), ["fixed", "two", "three", "one"]);
    }

    #[test]
    fn what_is_no_tag_is_left_out_with_a_line() {
        take_log();
        let message = run(Draft::new().header("X-OMS-Tags", "good, a;b, , also good,"), "{}");
        assert_eq!(message.tags(), ["good", "also good"]);
        assert_eq!(take_log().len(), 1);
    }

    #[test]
    fn the_limit_holds_for_the_message_alone() {
        let message = run(Draft::new().header("X-OMS-Tags", "a, b, c"), r#"{"add":["x"],"limit":2}"#);
        assert_eq!(message.tags(), ["x", "a", "b"]);
    }

    #[test]
    fn what_the_host_has_no_room_for_is_left_out() {
        take_log();
        let many: Vec<String> = (0..120).map(|number| number.to_string()).collect();
        let message = run(Draft::new().header("X-OMS-Tags", &many.join(",")), r#"{"add":["fixed"],"limit":1000}"#);
        assert_eq!((message.tags().len(), message.tags()[0].as_str()), (100, "fixed"));
        assert_eq!(take_log().len(), 1);
    }

    #[test]
    fn a_bad_fixed_tag_is_the_operators_fault() {
        let mut message = Draft::new().message();
        let options = config::<Tags>(r#"{"add":["a;b"]}"#).unwrap();
        assert!(matches!(Tags::submit(&mut message, &options), Err(Failure::Config(_))));
    }
}
