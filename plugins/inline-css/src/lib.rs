//! x
use css_inline::{CSSInliner, InlineOptions};
use serde::Deserialize;
use tubepost_plugin_sdk::{Description, Failure, Message, Plugin, Schema, Verdict, log, register};
/// The plugin.
#[derive(Debug)]
pub struct InlineCss;

/// o
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Options {}

impl Plugin for InlineCss {
    type Config = Options;
    fn describe(description: Description) -> Description {
        description.header("X-SMTPeter-InlineCSS", "enabled")
    }
    fn submit(message: &mut Message, _: &Options) -> Result<Verdict, Failure> {
        let Some(html) = message.html() else { return Ok(Verdict::Next) };
        if !html.to_ascii_lowercase().contains("<style") { return Ok(Verdict::Next) }
        let inliner = CSSInliner::new(InlineOptions { keep_at_rules: true, keep_link_tags: true, load_remote_stylesheets: false, remove_inlined_selectors: true, ..InlineOptions::default() });
        let edited = inliner.inline(&html).map_err(Failure::permanent)?;
        if edited != html { message.set_html(&edited)?; }
        Ok(Verdict::Next)
    }
}
register!(InlineCss: submit);
