//! Puts a footer at the end of the text and of the HTML: the address of a company, a notice.
//!
//! ```toml
//! [chains]
//! example = [{ use = "footer", text = "Example Ltd, 1 High Street" }]
//! ```
//!
//! Of a message with both, both get it; a reader sees one of them. What is signed or encrypted is left as it is, as any edit would break it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, html, log, register};

/// The plugin.
#[derive(Debug)]
pub struct Footer;

/// The options of the plugin.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What stands below the text
    pub text: String,
    /// What stands below the HTML; made of the text where it is left out
    pub html: Option<String>,
}

impl Options {
    fn html(&self) -> String {
        self.html.clone().unwrap_or_else(|| {
            let lines: Vec<_> = self.text.lines().map(html::escape).collect();
            format!("<p style=\"color:#666;font-size:small\">{}</p>", lines.join("<br>"))
        })
    }
}

impl Plugin for Footer {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        if options.text.is_empty() && options.html.is_none() {
            return Err(Failure::config("there is neither `text` nor `html` to put below a message"));
        }
        if message.is_sealed() {
            log::info!("signed or encrypted: no footer");
            return Ok(Verdict::Next);
        }
        if let Some(text) = message.text().filter(|_| !options.text.is_empty()) {
            message.set_text(&format!("{}\n\n{}\n", text.trim_end(), options.text.trim_end()))?;
        }
        if let Some(page) = message.html() {
            message.set_html(&html::rewrite(&page, |page| page.append_to_body(&options.html()))?)?;
        }
        Ok(Verdict::Next)
    }
}

register!(Footer: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    fn run(draft: Draft) -> Message {
        let mut message = draft.message();
        let options = testing::config::<Footer>(r#"{"text":"Example Ltd\nA & B Street"}"#).unwrap();
        assert_eq!(Footer::submit(&mut message, &options), Ok(Verdict::Next));
        message
    }

    #[test]
    fn both_bodies_get_it() {
        let message = run(Draft::new().text("Hello\n").html("<html><body><p>Hello</body></html>"));
        assert_eq!(message.text().unwrap(), "Hello\n\nExample Ltd\nA & B Street\n");
        let footer = "<p style=\"color:#666;font-size:small\">Example Ltd<br>A &amp; B Street</p>";
        assert_eq!(message.html().unwrap(), format!("<html><body><p>Hello{footer}</body></html>"));
    }

    #[test]
    fn an_attached_page_is_no_body() {
        let message = run(Draft::new().text("Hello").attachment("page.html", "text/html", b"<p>"));
        assert_eq!(message.html(), None);
        assert_eq!(message.part_content(2), Ok(b"<p>".to_vec()));
    }

    #[test]
    fn what_is_signed_stays() {
        let signed = "-----BEGIN PGP SIGNED MESSAGE-----\n";
        assert_eq!(run(Draft::new().text(signed)).text().as_deref(), Some(signed));
    }

    #[test]
    fn no_footer_is_a_mistake() {
        assert!(matches!(Footer::submit(&mut Draft::new().message(), &Options::default()), Err(Failure::Config(_))));
    }

    #[test]
    fn golden() {
        testing::golden::<Footer>("tests/golden");
    }
}
