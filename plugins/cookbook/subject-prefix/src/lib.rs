//! Puts a word before the subject, so that readers and their filters see where a message comes from.
//!
//! ```toml
//! [chains]
//! staging = [{ use = "subject-prefix", prefix = "[Staging]" }]
//! ```
//!
//! An answer to a message with the word has it already, behind "Re:", and gets no second one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, header, register};

/// The plugin.
#[derive(Debug)]
pub struct SubjectPrefix;

/// The options of the plugin.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What stands before the subject
    pub prefix: String,
    /// Domains whose mail gets no prefix, by its From
    pub except_from: Vec<String>,
}

impl Plugin for SubjectPrefix {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let prefix = options.prefix.trim();
        if prefix.is_empty() {
            return Err(Failure::config("prefix: there is none"));
        }
        if !options.except_from.is_empty() {
            let from = message.get::<header::From>()?;
            let is_excepted = |mailbox: &tubepost_plugin_sdk::address::Mailbox| {
                options.except_from.iter().any(|domain| mailbox.address.is_within(domain))
            };
            if !from.is_empty() && from.iter().all(is_excepted) {
                return Ok(Verdict::Next);
            }
        }
        let subject = message.get::<header::Subject>()?.unwrap_or_default();
        if !subject.contains(prefix) {
            message.set::<header::Subject>(&Some(format!("{prefix} {subject}").trim_end().to_owned()))?;
        }
        Ok(Verdict::Next)
    }
}

register!(SubjectPrefix: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    fn run(draft: Draft) -> Option<String> {
        let mut message = draft.message();
        let options = testing::config::<SubjectPrefix>(r#"{"prefix":"[Test] ","except_from":["example.com"]}"#).unwrap();
        assert_eq!(SubjectPrefix::submit(&mut message, &options), Ok(Verdict::Next));
        message.header("Subject")
    }

    #[test]
    fn the_prefix_stands_once() {
        assert_eq!(run(Draft::new().header("Subject", "Grüße")).as_deref(), Some("[Test] Grüße"));
        assert_eq!(run(Draft::new().header("Subject", "Re: [Test] Hello")).as_deref(), Some("Re: [Test] Hello"));
        assert_eq!(run(Draft::new()).as_deref(), Some("[Test]"));
    }

    #[test]
    fn some_are_excepted() {
        let from = |from| run(Draft::new().header("From", from).header("Subject", "s"));
        assert_eq!(from("Ann <a@mail.example.com>").as_deref(), Some("s"));
        assert_eq!(from("a@example.com, b@example.net").as_deref(), Some("[Test] s"));
    }

    #[test]
    fn golden() {
        testing::golden::<SubjectPrefix>("tests/golden");
    }
}
