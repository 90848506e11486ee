//! Templates of the plugin of that name, in Smarty.

use serde_json::{Map, Value, json};
use tubepost_plugin_template::limits::{Error, Limits};
use tubepost_plugin_template::smarty::{self, Data};

use crate::input::directive;

/// Little enough that a template which takes all of it takes no time.
const LIMITS: Limits = Limits { output: 64 * 1024, loops: 1_000, work: 200_000 };

/// Templates: they give text or say what is wrong, within their limits, and the same each time; what has no tag stays as it is.
///
/// The first line of the input is the data as JSON, the rest the template.
pub fn template(octets: &[u8]) {
    let (line, source) = directive(octets);
    let Ok(source) = str::from_utf8(source) else { return };
    let variables = serde_json::from_str::<Map<String, Value>>(line).unwrap_or_else(|_| usual());
    let data = Data::new(&variables, 1_533_081_600);
    for html in [false, true] {
        let rendered = smarty::render(source, html, &data, LIMITS);
        assert_eq!(smarty::render(source, html, &data, LIMITS), rendered);
        match &rendered {
            Ok(text) => {
                assert!(text.len() <= LIMITS.output, "{} octets", text.len());
                assert!(smarty::has_tags(source, html) || text == source, "what has no tag has changed");
            }
            Err(Error::Syntax { line, reason }) => {
                assert!((1..=source.matches('\n').count() + 1).contains(line), "line {line} of {source:?}: {reason}");
            }
            Err(Error::Limit(_)) => {}
        }
        let _ = smarty::has_certain_tags(source);
    }
}

/// Data with something of each kind.
fn usual() -> Map<String, Value> {
    let data = json!({
        "name": "Ann", "n": 7, "f": -1.5, "yes": true, "none": null, "date": "2018-08-01 12:00:00", "html": "<b>Grüße & \"mehr\"</b>",
        "list": ["a", 2, [3], { "k": "v" }], "map": { "a": { "b": [0, { "c": "deep" }] }, "k": "v" },
    });
    data.as_object().cloned().unwrap_or_default()
}
