//! Adds campaign parameters to the links of the HTML, so that statistics of the site know where a visitor came from.
//!
//! ```toml
//! [chains]
//! news = [{ use = "utm-tags", source = "newsletter", domains = ["example.com"] }, "tracking"]
//! ```
//!
//! Stands before `tracking` in a chain: what is signed stays as it is. Fragments stay behind the parameters, parameters that a link has already are
//! kept, and signed or encrypted messages are left alone.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{
    Failure, Message, Plugin, Verdict,
    html::{self, Values as _},
    log, register,
};

/// The plugin.
#[derive(Debug)]
pub struct UtmTags;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// `utm_source`: what sends the visitor
    pub source: String,
    /// `utm_medium`
    pub medium: String,
    /// `utm_campaign`; the first tag of the message where it is left out
    pub campaign: Option<String>,
    /// Sites whose links are changed, with all below them; all where there are none
    pub domains: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { source: "newsletter".to_owned(), medium: "email".to_owned(), campaign: None, domains: Vec::new() }
    }
}

impl Plugin for UtmTags {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let Some(page) = message.html() else { return Ok(Verdict::Next) };
        if message.is_sealed() {
            log::info!("signed or encrypted: links stay as they are");
            return Ok(Verdict::Next);
        }
        let campaign = options.campaign.clone().or_else(|| message.tags().into_iter().next());
        let parameters =
            [("utm_source", Some(&options.source)), ("utm_medium", Some(&options.medium)), ("utm_campaign", campaign.as_ref())];
        let mut changed = 0_u32;
        let edited = html::rewrite(&page, |page| {
            page.on("a[href], area[href]", |link| {
                let Some(url) = link.value("href") else { return Ok(()) };
                if let Some(tagged) = tagged(&url, &parameters, &options.domains) {
                    link.set_value("href", &tagged)?;
                    changed += 1;
                }
                Ok(())
            })
        })?;
        if changed > 0 {
            message.set_html(&edited)?;
        }
        Ok(Verdict::Next)
    }
}

/// A URL with the parameters that it does not have; nothing where it stays as it is.
fn tagged(url: &str, parameters: &[(&str, Option<&String>)], domains: &[String]) -> Option<String> {
    let (address, fragment) = url.split_once('#').map_or((url, None), |(address, fragment)| (address, Some(fragment)));
    let host = host(address)?;
    let is_within = |domain: &String| host == *domain || host.strip_suffix(domain.as_str()).is_some_and(|start| start.ends_with('.'));
    if !domains.is_empty() && !domains.iter().any(|domain| is_within(&domain.to_ascii_lowercase())) {
        return None;
    }
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| query.split('&').any(|parameter| parameter.split('=').next() == Some(name));
    let mut result = address.to_owned();
    for (name, value) in parameters {
        if let Some(value) = value.filter(|value| !value.is_empty() && !has(name)) {
            if !result.contains('?') {
                result.push('?');
            } else if !result.ends_with(['?', '&']) {
                result.push('&');
            }
            result.extend([*name, "=", &encoded(value)]);
        }
    }
    if let Some(fragment) = fragment {
        result.push('#');
        result.push_str(fragment);
    }
    (result != url).then_some(result)
}

/// The host of an http or https URL, in small letters.
fn host(address: &str) -> Option<String> {
    let (scheme, rest) = address.trim_start().split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority = rest.split(['/', '?', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.split(':').next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

fn encoded(value: &str) -> String {
    let mut text = String::new();
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            text.push(char::from(octet));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{octet:02X}");
        }
    }
    text
}

register!(UtmTags: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    fn tagged_with(url: &str, domains: &[&str]) -> Option<String> {
        let [source, campaign] = ["news".to_owned(), "a b".to_owned()];
        let domains: Vec<_> = domains.iter().map(ToString::to_string).collect();
        tagged(url, &[("utm_source", Some(&source)), ("utm_medium", None), ("utm_campaign", Some(&campaign))], &domains)
    }

    fn check(url: &str, expected: &str) {
        assert_eq!(tagged_with(url, &[]).as_deref(), Some(expected), "{url}");
    }

    #[test]
    fn parameters_are_put_where_they_belong() {
        check("https://example.com", "https://example.com?utm_source=news&utm_campaign=a%20b");
        check("https://example.com/?x=1#top", "https://example.com/?x=1&utm_source=news&utm_campaign=a%20b#top");
        check("http://example.com/?", "http://example.com/?utm_source=news&utm_campaign=a%20b");
        check("https://example.com/?utm_source=mine", "https://example.com/?utm_source=mine&utm_campaign=a%20b");
    }

    #[test]
    fn other_links_stay() {
        for url in ["mailto:a@example.com", "#top", "/relative", "tel:1", "SLOT0000000000000000000000000000", "https://"] {
            assert_eq!(tagged_with(url, &[]), None, "{url}");
        }
        assert_eq!(tagged_with("https://other.example/", &["example.com"]), None);
        assert_eq!(tagged_with("https://badexample.com/", &["example.com"]), None);
        assert_eq!(tagged_with("https://example.com@other.example/", &["example.com"]), None);
        assert!(tagged_with("https://user@WWW.Example.com:8443/", &["example.com"]).is_some());
    }

    #[test]
    fn a_tag_is_the_campaign() {
        let mut message = Draft::new().html("<a href='https://example.com/?a=1&amp;b=2'>x</a>").message();
        message.add_tag("spring").unwrap();
        assert_eq!(UtmTags::submit(&mut message, &Options::default()), Ok(Verdict::Next));
        let query = "a=1&amp;b=2&amp;utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign=spring";
        assert_eq!(message.html().unwrap(), format!("<a href=\"https://example.com/?{query}\">x</a>"));
    }

    #[test]
    fn golden() {
        testing::golden::<UtmTags>("tests/golden");
    }
}
