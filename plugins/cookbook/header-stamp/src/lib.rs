//! Stamps the message with a header field, and leaves what is signed alone.
//!
//! ```toml
//! [chains]
//! example = [{ use = "header-stamp", name = "X-Processed-By", value = "mail.example.com; {id}" }]
//! ```
//!
//! Signatures and encryption of PGP/MIME and S/MIME cover parts and their header fields: a field of the message itself is outside of them, and no part
//! is touched. A DKIM signature covers what its `h=` names; where that is the stamp's own name, it is not written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Position, Verdict, log, register};

/// The plugin.
#[derive(Debug)]
pub struct HeaderStamp;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Name of the field
    #[schemars(length(min = 1))]
    pub name: String,
    /// What it says; `{id}` is the id of the message, `{login}` the login, `{time}` when it was received
    pub value: String,
    /// Put it in the place of fields of that name, instead of before them
    pub replace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "X-Processed-By".to_owned(), value: "Tubepost; {id}".to_owned(), replace: true }
    }
}

/// Fields that say how the message is to be read, and whom it is from: no stamps.
const OTHERS: [&str; 10] = ["from", "sender", "to", "cc", "date", "subject", "message-id", "mime-version", "received", "dkim-signature"];

impl Plugin for HeaderStamp {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let name = options.name.to_ascii_lowercase();
        if OTHERS.contains(&name.as_str()) || name.starts_with("content-") {
            return Err(Failure::config(format!("name: {} is no field for a stamp", options.name)));
        }
        if message.header_all("DKIM-Signature").iter().any(|signature| covers(signature, &name)) {
            log::warn!("a DKIM signature covers {}: the message is not stamped", options.name);
            return Ok(Verdict::Next);
        }
        let login = message.context_value("login").unwrap_or_default();
        let value = options.value.replace("{id}", &message.id()).replace("{login}", &login).replace("{time}", &message.now().to_string());
        if options.replace {
            message.set_header(&options.name, &value)?;
        } else {
            message.add_header(&options.name, &value, Position::First)?;
        }
        Ok(Verdict::Next)
    }
}

/// Whether a DKIM signature covers fields of this name, those that are not there included (RFC 6376 §3.5, §5.4.2).
fn covers(signature: &str, name: &str) -> bool {
    let tags = signature.split(';').filter_map(|tag| tag.split_once('='));
    let signed = tags.filter(|(tag, _)| tag.trim() == "h").flat_map(|(_, names)| names.split(':'));
    signed.into_iter().any(|signed| signed.trim().eq_ignore_ascii_case(name))
}

register!(HeaderStamp: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    #[test]
    fn the_stamp_says_what_is_known() {
        let mut message = Draft::new().context_of("login", "shop").header("X-Processed-By", "somebody").message();
        let options = testing::config::<HeaderStamp>(r#"{"value":"{login} {time} {id}"}"#).unwrap();
        HeaderStamp::submit(&mut message, &options).unwrap();
        assert_eq!(message.header_all("X-Processed-By"), ["shop 2026-01-01T00:00:00Z 0000000000000000"]);
        HeaderStamp::submit(&mut message, &Options { replace: false, ..Options::default() }).unwrap();
        assert_eq!(message.header_all("X-Processed-By").len(), 2);
    }

    #[test]
    fn a_signature_is_not_broken() {
        let draft = || Draft::new().header("DKIM-Signature", "v=1; d=example.com; h=From : X-Stamp:To; b=x");
        let mut message = draft().message();
        HeaderStamp::submit(&mut message, &Options { name: "x-stamp".to_owned(), ..Options::default() }).unwrap();
        assert_eq!(message.header("X-Stamp"), None);
        let mut message = draft().message();
        HeaderStamp::submit(&mut message, &Options::default()).unwrap();
        assert!(message.header("X-Processed-By").is_some());
    }

    #[test]
    fn fields_with_a_meaning_are_no_stamps() {
        for name in ["From", "content-type", "DKIM-Signature"] {
            let options = Options { name: name.to_owned(), ..Options::default() };
            assert!(matches!(HeaderStamp::submit(&mut Draft::new().message(), &options), Err(Failure::Config(_))), "{name}");
        }
    }

    #[test]
    fn golden() {
        testing::golden::<HeaderStamp>("tests/golden");
    }
}
