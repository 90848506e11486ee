//! Refuses messages with texts that only spam has: GTUBE, with which filters are tried out, and what the operator adds.
//!
//! ```toml
//! [plugins.spam-filter]
//! source = "spam-filter.wasm"
//! refusals = "spam"            # what it refuses counts as spam, not as refused
//!
//! [chains]
//! example = [{ use = "spam-filter", texts = ["wire transfer fee"] }]
//! ```
//!
//! Subject, text and HTML are looked at as readers see them, in any case of letters; files are not. It is a place to begin, not a judge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, register, reject};

/// The Generic Test for Unsolicited Bulk Email: in every filter it is spam.
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// The plugin.
#[derive(Debug)]
pub struct SpamFilter;

/// The options of the plugin.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Further texts that only spam has
    pub texts: Vec<String>,
}

impl Plugin for SpamFilter {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let contents: Vec<String> = [message.header("Subject"), message.text(), message.html()].into_iter().flatten().collect();
        if contents.iter().any(|content| content.contains(GTUBE)) {
            reject!("this message is spam (GTUBE)");
        }
        let lower: Vec<String> = contents.iter().map(|content| content.to_lowercase()).collect();
        let has = |text: &&String| !text.is_empty() && lower.iter().any(|content| content.contains(&text.to_lowercase()));
        if options.texts.iter().any(|text| has(&text)) {
            reject!("this message is spam");
        }
        Ok(Verdict::Next)
    }
}

register!(SpamFilter: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    fn run(draft: Draft, options: &str) -> Verdict {
        SpamFilter::submit(&mut draft.message(), &testing::config::<SpamFilter>(options).unwrap()).unwrap()
    }

    #[test]
    fn gtube_is_spam_wherever_it_stands() {
        let spam = Verdict::reject("this message is spam (GTUBE)");
        assert_eq!(run(Draft::new().text(&format!("before {GTUBE} after")), "{}"), spam);
        assert_eq!(run(Draft::new().html(&format!("<p>{GTUBE}</p>")), "{}"), spam);
        assert_eq!(run(Draft::new().text("nothing of it"), "{}"), Verdict::Next);
    }

    #[test]
    fn operators_add_texts() {
        let options = r#"{"texts":["","Wire Transfer Fee"]}"#;
        assert_eq!(run(Draft::new().text("a WIRE transfer fee applies"), options), Verdict::reject("this message is spam"));
        assert_eq!(run(Draft::new().text("a fee applies"), options), Verdict::Next);
    }

    #[test]
    fn golden() {
        testing::golden::<SpamFilter>("tests/golden");
    }
}
