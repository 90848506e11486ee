//! Copies the rules of `<style>` elements into the `style` attributes of the elements they match.
//!
//! Specificity, source order and `!important` decide as in a browser, and what an element's own `style` says wins. The style
//! elements stay, with their media queries, `:hover` rules and all else that no attribute can express, unless `remove_inlined`
//! takes out the rules that are inlined. Nothing is fetched: a linked style sheet stays a link. Of the page only `style`
//! attributes are written; template tags, comments and the spelling of all else keep every octet, and a page where no rule matches
//! is not edited at all. An element whose own `style` is no list of declarations keeps what it has.
//!
//! One thing is not as in a browser: of two rules that set a shorthand and one of its longhands (`margin` and `margin-top`), the
//! attribute holds both in the order in which the style sheet first names them, so that the longhand may win where the shorthand
//! should. Mail is safe from it where a style sheet sets each side or each whole, and not now one and then the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Description, Failure, Message, Plugin, Verdict, register};

mod inline;
mod markup;
mod nesting;

/// The plugin.
#[derive(Debug)]
pub struct InlineCss;

/// The options of the plugin.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// Takes rules that are inlined out of the style elements, which makes the mail smaller.
    pub remove_inlined: bool,
}

impl Plugin for InlineCss {
    type Config = Options;

    fn describe(description: Description) -> Description {
        description.header("X-SMTPeter-InlineCSS", "enabled")
    }

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        if let Some(html) = message.html()
            && let Some(inlined) = inline::inline(&html, options.remove_inlined)
        {
            message.set_html(&inlined)?;
        }
        Ok(Verdict::Next)
    }
}

register!(InlineCss: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{Draft, config};

    use super::*;

    #[test]
    fn the_html_part_alone_is_edited() {
        let source = "<style>p{color:red}</style><p>x</p>";
        let mut message = Draft::new().text(source).html(source).message();
        assert_eq!(InlineCss::submit(&mut message, &config::<InlineCss>("{}").unwrap()), Ok(Verdict::Next));
        assert_eq!(message.text().as_deref(), Some(source));
        assert_eq!(message.html().as_deref(), Some("<style>p{color:red}</style><p style=\"color: red;\">x</p>"));
    }

    #[test]
    fn mail_without_html_goes_on() {
        let mut message = Draft::new().text("<style>p{color:red}</style>").message();
        assert_eq!(InlineCss::submit(&mut message, &Options::default()), Ok(Verdict::Next));
    }
}
