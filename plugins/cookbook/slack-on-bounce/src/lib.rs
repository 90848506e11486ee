//! Tells a Slack channel what bounced, and who complained.
//!
//! ```toml
//! [plugins.slack-on-bounce]
//! source = "slack-on-bounce.wasm"
//! allow = { http = ["https://hooks.slack.com/"], secrets = { slack-url = "${SLACK_URL}" }, kv = true }
//! ```
//!
//! The webhook's URL is a secret, as whoever has it can write. Events come at least once: those that were told are noted for a day, so that a batch
//! that comes again is not told again. Where Slack cannot be reached, the batch comes again later.

use std::{fmt::Write as _, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Event, EventKind, Failure, Plugin, http::Request, kv, register, secrets};

/// The plugin.
#[derive(Debug)]
pub struct SlackOnBounce;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Name of the secret that is the webhook's URL
    pub secret: String,
    /// Tell of complaints too
    pub complaints: bool,
    /// The most lines of one notice; what is above is counted
    #[schemars(range(min = 1, max = 100))]
    pub most: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { secret: "slack-url".to_owned(), complaints: true, most: 20 }
    }
}

/// What a webhook takes.
#[derive(Debug, Serialize)]
struct Notice {
    text: String,
}

/// How long it is known that an event was told.
const KNOWN: Duration = Duration::from_hours(24);

impl Plugin for SlackOnBounce {
    type Config = Options;

    fn event(events: &[Event], options: &Options) -> Result<(), Failure> {
        let mut news = Vec::new();
        for event in events {
            let is_told = event.kind == EventKind::Bounced || (options.complaints && event.kind == EventKind::Complained);
            if is_told && kv::get(&event.id)?.is_none() {
                news.push(event);
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for event in news.iter().take(options.most) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", line(event));
        }
        if let Some(more @ 1..) = news.len().checked_sub(options.most) {
            let _ = writeln!(text, "… and {more} more");
        }
        Request::post(secrets::require(&options.secret)?).json(&Notice { text })?.send()?.ok()?;
        for event in news {
            kv::set_for(&event.id, "", KNOWN)?;
        }
        Ok(())
    }
}

/// `ann@example.com bounced: 550 5.1.1 unknown (message 0a1b)`.
fn line(event: &Event) -> String {
    let what = if event.kind == EventKind::Bounced { "bounced" } else { "complained" };
    let address = event.address.as_deref().unwrap_or("somebody");
    let reason = ["reply", "reason", "status"].iter().find_map(|name| event.detail(name)).map(|reason| format!(": {reason}"));
    escape(&format!("{address} {what}{} (message {})", reason.unwrap_or_default(), event.message))
}

/// The three characters that Slack wants escaped; a line end would be a line of its own.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(['\r', '\n'], " ")
}

register!(SlackOnBounce: event);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::{
        http::{Error, Response},
        testing::Host,
    };

    use super::*;

    const URL: &str = "https://hooks.slack.com/services/x";

    fn bounce(id: &str) -> Event {
        let event = Event::new(EventKind::Bounced).of("ann@example.com").with("reply", "550 5.1.1 <ann> unknown & gone");
        Event { id: id.to_owned(), ..event }
    }

    fn host() -> Host {
        Host::new().secret("slack-url", URL)
    }

    #[test]
    fn a_bounce_is_told_once() {
        let host = host().answer(Response::new(200)).answer(Response::new(200));
        SlackOnBounce::event(&[bounce("1"), Event::new(EventKind::Delivered)], &Options::default()).unwrap();
        SlackOnBounce::event(&[bounce("1"), bounce("2")], &Options::default()).unwrap();
        SlackOnBounce::event(&[bounce("1"), bounce("2")], &Options::default()).unwrap();
        let requests = host.requests();
        assert_eq!((requests.len(), requests[0].url.as_str()), (2, URL));
        let expected = r#"{"text":"ann@example.com bounced: 550 5.1.1 &lt;ann&gt; unknown &amp; gone (message 0000000000000000)\n"}"#;
        assert_eq!(String::from_utf8_lossy(&requests[0].body), expected);
        assert_eq!(requests[0].body, requests[1].body);
    }

    #[test]
    fn what_could_not_be_told_comes_again() {
        let host = host().fail(Error::Timeout).answer(Response::new(500)).answer(Response::new(200));
        for _ in 0..2 {
            assert!(matches!(SlackOnBounce::event(&[bounce("1")], &Options::default()), Err(Failure::Transient(_))));
        }
        assert_eq!(SlackOnBounce::event(&[bounce("1")], &Options::default()), Ok(()));
        assert_eq!(host.requests().len(), 3);
    }

    #[test]
    fn many_are_counted() {
        let host = host().answer(Response::new(200));
        let many: Vec<_> = (0..5).map(|number| bounce(&number.to_string())).collect();
        SlackOnBounce::event(&many, &Options { most: 2, ..Options::default() }).unwrap();
        assert!(String::from_utf8_lossy(&host.requests()[0].body).contains("… and 3 more"));
    }

    #[test]
    fn a_secret_that_is_missing_is_the_operators_fault() {
        let _host = Host::new();
        assert!(matches!(SlackOnBounce::event(&[bounce("1")], &Options::default()), Err(Failure::Config(_))));
    }
}
