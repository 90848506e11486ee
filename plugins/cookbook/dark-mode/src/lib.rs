//! Says in the HTML which colour schemes it is made for, so that readers in dark mode do not get colours that nobody has chosen.
//!
//! ```toml
//! [chains]
//! news = [{ use = "dark-mode", scheme = "only-light" }]
//! ```
//!
//! A page that says so itself is left alone, and so is what is signed or encrypted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, html, register};

/// The plugin.
#[derive(Debug)]
pub struct DarkMode;

/// The options of the plugin.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What pages are made for
    pub scheme: Scheme,
}

/// What a page is made for.
#[derive(Debug, Default, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Both: the reader's own colours where the page sets none
    #[default]
    LightDark,
    /// Light colours, in dark mode too
    OnlyLight,
}

impl Scheme {
    /// What a browser understands, and what Apple Mail and Outlook do.
    fn html(self) -> String {
        let (scheme, supported) = match self {
            Self::LightDark => ("light dark", "light dark"),
            Self::OnlyLight => ("only light", "light"),
        };
        format!(
            "<meta name=\"color-scheme\" content=\"{scheme}\"><meta name=\"supported-color-schemes\" content=\"{supported}\">\
             <style>:root{{color-scheme:{scheme};supported-color-schemes:{supported}}}</style>"
        )
    }
}

impl Plugin for DarkMode {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let Some(page) = message.html() else { return Ok(Verdict::Next) };
        // Most that say so say so in these letters: the others are found by their elements.
        let mut says_so = page.contains("supported-color-schemes");
        html::rewrite(&page, |page| {
            page.on("meta[name=\"color-scheme\" i], meta[name=\"supported-color-schemes\" i]", |_| {
                says_so = true;
                Ok(())
            })
        })?;
        if !says_so && !message.is_sealed() {
            message.set_html(&html::rewrite(&page, |page| page.insert_in_head(&options.scheme.html()))?)?;
        }
        Ok(Verdict::Next)
    }
}

register!(DarkMode: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    fn run(html: &str) -> String {
        let mut message = Draft::new().html(html).message();
        assert_eq!(DarkMode::submit(&mut message, &Options { scheme: Scheme::OnlyLight }), Ok(Verdict::Next));
        message.html().unwrap()
    }

    #[test]
    fn pages_with_and_without_a_head_say_it() {
        let said = Scheme::OnlyLight.html();
        assert_eq!(run("<html><head><title>x</title></head><body>"), format!("<html><head>{said}<title>x</title></head><body>"));
        assert_eq!(run("<p>Hello"), format!("{said}<p>Hello"));
    }

    #[test]
    fn a_page_that_says_it_stays() {
        for page in ["<head><META Name='Color-Scheme' content=dark></head>", "<style>:root{supported-color-schemes:light}</style>"] {
            assert_eq!(run(page), page);
        }
    }

    #[test]
    fn golden() {
        testing::golden::<DarkMode>("tests/golden");
    }
}
