//! Writes `List-Unsubscribe` (RFC 2369) and `List-Unsubscribe-Post` (RFC 8058).
//!
//! The first of these that a message has decides:
//! 1. its field `X-List-Unsubscribe`: becomes `List-Unsubscribe`, bare URIs get their angle brackets, the field is taken out;
//! 2. its own `List-Unsubscribe`: stays as it is, unless `replace` is set;
//! 3. the options `email` and `url`, which REST's `unsubscribe` object sets for one message;
//! 4. `generate`: a signed link of each recipient, with one-click unsubscription where the public address has https.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Verdict, log, register};

mod uri;

use uri::{Uri, parse_list};

const FIELD: &str = "List-Unsubscribe";
const POST_FIELD: &str = "List-Unsubscribe-Post";
const SOURCE_FIELD: &str = "X-List-Unsubscribe";
/// The one value that RFC 8058 §2 knows.
const POST_VALUE: &str = "List-Unsubscribe=One-Click";

/// The plugin.
#[derive(Debug)]
pub struct ListUnsubscribe;

/// The options of the plugin. `email`, `url` and `oneclick` are named as in REST's `unsubscribe` object.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// Address, or mailto URI, that unsubscribes who writes to it; "" for none.
    pub email: String,
    /// Page that unsubscribes its visitor, the same for all recipients; "" for none.
    pub url: String,
    /// Says that a POST to the https URI unsubscribes at once (RFC 8058); without it, that is said of signed links alone.
    pub oneclick: Option<bool>,
    /// Gives each recipient a signed link of their own where nothing else names a way.
    pub generate: bool,
    /// Replaces a `List-Unsubscribe` that the message has already.
    pub replace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { email: String::new(), url: String::new(), oneclick: None, generate: true, replace: false }
    }
}

impl Plugin for ListUnsubscribe {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let mut uris = take_source_field(message)?;
        if uris.is_empty() {
            if message.header(FIELD).is_some() && !options.replace {
                return Ok(Verdict::Next);
            }
            uris = configured(options)?;
        }
        let mut value = join(&uris);
        let mut can_post = uris.iter().any(Uri::is_https);
        // One-click needs an https URI; where a message asks for it and names none, ours is what it asks for.
        let generates = options.generate && (uris.is_empty() || (options.oneclick == Some(true) && !can_post));
        if generates {
            let link = message.unsubscribe_link()?;
            let separator = if value.is_empty() { "" } else { ", " };
            value = format!("{value}{separator}<{link}>");
            can_post = is_postable(message);
        } else if uris.is_empty() {
            return Ok(Verdict::Next);
        }
        let wants_post = options.oneclick.unwrap_or(generates);
        if wants_post && !can_post {
            log::warn!("{POST_FIELD} is left out: there is no https URI to post to");
        }
        let one_click = wants_post && can_post;
        message.set_header(FIELD, &value)?;
        if one_click {
            message.set_header(POST_FIELD, POST_VALUE)?;
        }
        Ok(Verdict::Next)
    }
}

/// Whether readers may be told to post to our own links, which hide their address in a slot.
///
/// RFC 8058 §3.1 wants https. On loopback, where Tubepost is tried out, there is none, and nobody who could listen.
fn is_postable(message: &Message) -> bool {
    let context = message.context();
    let address = context.iter().find(|(name, _)| name == "public-url").and_then(|(_, url)| Uri::web(url).ok());
    address.is_some_and(|address| address.is_https() || address.is_loopback())
}

/// Takes `X-List-Unsubscribe` out of the message and returns its URIs.
fn take_source_field(message: &mut Message) -> Result<Vec<Uri>, Failure> {
    let values = message.header_all(SOURCE_FIELD);
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let mut uris: Vec<Uri> = Vec::new();
    for uri in values.iter().flat_map(|value| parse_list(value)) {
        match uri {
            Ok(uri) if uris.contains(&uri) => {}
            Ok(uri) => uris.push(uri),
            Err(reason) => log::warn!("a URI in {SOURCE_FIELD} is left out: {reason}"),
        }
    }
    message.remove_header(SOURCE_FIELD)?;
    Ok(uris)
}

/// The URIs of the options.
fn configured(options: &Options) -> Result<Vec<Uri>, Failure> {
    let mut uris = Vec::new();
    if !options.email.trim().is_empty() {
        uris.push(Uri::mailto(&options.email).map_err(|reason| Failure::config(format!("email: {reason}")))?);
    }
    if !options.url.trim().is_empty() {
        uris.push(Uri::web(&options.url).map_err(|reason| Failure::config(format!("url: {reason}")))?);
    }
    Ok(uris)
}

fn join(uris: &[Uri]) -> String {
    uris.iter().map(|uri| format!("<{}>", uri.as_str())).collect::<Vec<_>>().join(", ")
}

register!(ListUnsubscribe: submit);

#[cfg(test)]
mod tests;
