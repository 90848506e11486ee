//! Adds a line with an unsubscribe link, in the language of each recipient.
//!
//! ```toml
//! [chains]
//! news = [{ use = "unsubscribe-language", lines = { en = "Unsubscribe: {link}", de = "Abbestellen: {link}" } }]
//! ```
//!
//! The language is a variable of the recipient's data, such as `{ "language": "de-CH" }`: the line of that language is taken, or of the one before the
//! hyphen, or the default. The header says the same for programs, with one-click unsubscription (RFC 8058), where it does not yet. As the text differs
//! by recipient, this runs in the stage `recipient`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, html, register};

/// The plugin.
#[derive(Debug)]
pub struct UnsubscribeLanguage;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The line by language; `{link}` is where the link stands
    pub lines: BTreeMap<String, String>,
    /// Language of those about whom nothing else is known
    pub default_language: String,
    /// Variable that names the language
    pub variable: String,
}

impl Default for Options {
    fn default() -> Self {
        let lines = [
            ("de", "Keine weiteren Nachrichten: {link}"),
            ("en", "No more messages: {link}"),
            ("es", "No recibir más mensajes: {link}"),
            ("fr", "Ne plus recevoir de messages : {link}"),
        ];
        let lines = lines.map(|(language, line)| (language.to_owned(), line.to_owned())).into_iter().collect();
        Self { lines, default_language: "en".to_owned(), variable: "language".to_owned() }
    }
}

impl Options {
    /// The line of a language such as "de-CH", and the tag of the language that it is in.
    fn line(&self, wanted: &str) -> Result<(&str, &str), Failure> {
        let tag = wanted.trim().replace('_', "-").to_ascii_lowercase();
        let candidates = [tag.as_str(), tag.split('-').next().unwrap_or_default(), self.default_language.as_str()];
        let found = candidates.iter().find_map(|language| self.lines.iter().find(|(known, _)| known.eq_ignore_ascii_case(language)));
        let (language, line) = found.ok_or_else(|| Failure::config(format!("lines: there is none for {:?}", self.default_language)))?;
        Ok((language, line))
    }
}

impl Plugin for UnsubscribeLanguage {
    type Config = Options;

    fn wanted(message: &Message, _: &Options) -> Result<bool, Failure> {
        Ok(!message.is_sealed())
    }

    fn recipient(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        // In this stage a slot is its value: "" where the data says nothing.
        let (language, line) = options.line(&message.variable_slot(&options.variable)?)?;
        let url = message.unsubscribe_link()?;
        if let Some(text) = message.text() {
            message.set_text(&format!("{}\n\n{}\n", text.trim_end(), line.replace("{link}", &url)))?;
        }
        if let Some(page) = message.html() {
            let anchor = format!("<a href=\"{url}\">{url}</a>");
            let paragraph = format!("<p lang=\"{}\">{}</p>", html::escape(language), html::escape(line).replace("{link}", &anchor));
            message.set_html(&html::rewrite(&page, |page| page.append_to_body(&paragraph))?)?;
        }
        if message.header("List-Unsubscribe").is_none() {
            message.set_header("List-Unsubscribe", &format!("<{url}>"))?;
            // One click needs https (RFC 8058 §3.1).
            if message.context_value("public-url").is_some_and(|url| url.starts_with("https://")) {
                message.set_header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")?;
            }
        }
        Ok(Verdict::Next)
    }
}

register!(UnsubscribeLanguage: recipient);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    fn run(data: &str) -> Message {
        let draft = Draft::new().text("Hello\n").html("<p>Hello</p>").variables_to(data).context_of("public-url", "https://links.example");
        let mut message = draft.copy().message();
        assert_eq!(UnsubscribeLanguage::wanted(&message, &Options::default()), Ok(true));
        assert_eq!(UnsubscribeLanguage::recipient(&mut message, &Options::default()), Ok(Verdict::Next));
        message
    }

    #[test]
    fn the_line_is_in_the_readers_language() {
        for (data, line) in [
            (r#"{"language":"de-CH"}"#, "Keine weiteren Nachrichten: SLOT"),
            (r#"{"language":"FR_fr"}"#, "Ne plus recevoir de messages : SLOT"),
            (r#"{"language":"nl"}"#, "No more messages: SLOT"),
            ("{}", "No more messages: SLOT"),
        ] {
            let message = run(data);
            assert!(message.text().unwrap().starts_with(&format!("Hello\n\n{line}")), "{data}: {:?}", message.text());
            assert!(message.html().unwrap().contains("<a href=\"SLOT"));
        }
    }

    #[test]
    fn the_header_says_it_to_programs() {
        let message = run("{}");
        assert_eq!(message.header("List-Unsubscribe").as_deref(), Some("<SLOT0000000000000000000000000000>"));
        assert_eq!(message.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
        assert_eq!(testing::slots(&message), ["unsubscribe"]);
    }

    #[test]
    fn what_is_signed_is_not_wanted() {
        let signed = Draft::new().text("-----BEGIN PGP SIGNED MESSAGE-----").message();
        assert_eq!(UnsubscribeLanguage::wanted(&signed, &Options::default()), Ok(false));
    }

    #[test]
    fn a_default_without_a_line_is_a_mistake() {
        let options = testing::config::<UnsubscribeLanguage>(r#"{"lines":{"de":"{link}"}}"#).unwrap();
        assert!(matches!(options.line("nl"), Err(Failure::Config(_))));
    }

    #[test]
    fn golden() {
        testing::golden::<UnsubscribeLanguage>("tests/golden");
    }
}
