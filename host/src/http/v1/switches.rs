//! The switches of `/v1/send` with all their spellings, and `plugins`: what the caller wants of the chain's plugins.

use serde_json::{Map, Value};

use crate::http::compose::HeaderField;
use crate::http::fields::Fields;
use crate::http::order::Stations;
use crate::http::problem::Flaw;
use crate::submission::Options;

/// Inline CSS.
pub const INLINE_CSS: [&str; 3] = ["inlinecss", "inlinizecss", "inlineizecss"];
/// Links.
pub const TRACK_CLICKS: [&str; 2] = ["trackclicks", "clicktracking"];
/// Images.
pub const TRACK_OPENS: [&str; 2] = ["trackopens", "openstracking"];
/// Bounces.
pub const TRACK_BOUNCES: [&str; 2] = ["trackbounces", "bouncetracking"];
/// The plugin that writes List-Unsubscribe.
const UNSUBSCRIBE: &str = "list-unsubscribe";
/// Links whose text is their target.
pub const PREVENT_SCAM: [&str; 1] = ["preventscam"];

/// Reads the switches and `plugins` into `options`. A call that says nothing of tracking asks for it; it gets what the chain has.
///
/// Returns the fields that mean nothing, as they were written: their plugin is not in the chain, or does not listen to calls.
pub fn read(fields: &Fields, stations: &Stations, options: &mut Options) -> Result<Vec<String>, Flaw> {
    let mut ignored = Vec::new();
    for (plugin, names) in
        [("inline-css", &INLINE_CSS[..]), ("tracking", &TRACK_CLICKS), ("tracking", &TRACK_OPENS), ("tracking", &PREVENT_SCAM)]
    {
        ignored.extend(fields.get(names).filter(|_| !stations.obeys(plugin)).map(|(name, _)| name.to_owned()));
    }
    if let Some(inline) = fields.switch(&INLINE_CSS)? {
        lay_over(options, "inline-css", "enabled", inline.into());
        if inline {
            options.requested.insert("inline-css".into());
        }
    }
    let clicks = fields.switch(&TRACK_CLICKS)?;
    let opens = fields.switch(&TRACK_OPENS)?;
    for (name, value) in [("clicks", clicks), ("opens", opens), ("prevent_scam", fields.switch(&PREVENT_SCAM)?)] {
        if let Some(value) = value {
            lay_over(options, "tracking", name, value.into());
        }
    }
    if clicks != Some(false) || opens != Some(false) {
        options.requested.insert("tracking".into());
    }
    if let Some(images) = fields.text(&["images"])? {
        match images.as_str() {
            "default" => {}
            "hosted" => return Err(Flaw::new("images", "hosted images are not available in this version")),
            _ => return Err(Flaw::new("images", "\"default\" or \"hosted\" is expected")),
        }
    }
    for (plugin, value) in fields.object(&["plugins"])?.unwrap_or_default() {
        read_plugin(&plugin, value, stations, options)?;
        if !stations.obeys(&plugin) {
            ignored.push(format!("plugins.{plugin}"));
        }
    }
    if stations.has(UNSUBSCRIBE) && !stations.obeys(UNSUBSCRIBE) {
        ignored.extend(fields.get(&["unsubscribe"]).map(|(name, _)| name.to_owned()));
    }
    Ok(ignored)
}

/// `unsubscribe`: `{email, url, oneclick}`, named as the options of the plugin are. Returns header fields for a chain without that plugin.
pub fn read_unsubscribe(fields: &Fields, stations: &Stations, options: &mut Options) -> Result<Vec<HeaderField>, Flaw> {
    let Some(object) = fields.object(&["unsubscribe"])? else { return Ok(Vec::new()) };
    let inside = |flaw: Flaw| Flaw::new(format!("unsubscribe.{}", flaw.field), flaw.reason);
    let object = Fields::from_object(object).map_err(inside)?;
    let email = object.line(&["email"]).map_err(inside)?.filter(|text| !text.trim().is_empty());
    let url = object.line(&["url"]).map_err(inside)?.filter(|text| !text.trim().is_empty());
    let one_click = object.switch(&["oneclick", "one_click"]).map_err(inside)?;
    let mailto = match &email {
        None => None,
        Some(text) => Some(mailto(text).ok_or_else(|| Flaw::new("unsubscribe.email", "not an address"))?),
    };
    let page = match &url {
        None => None,
        Some(text) => Some(web(text).ok_or_else(|| Flaw::new("unsubscribe.url", "an http or https URL is expected"))?),
    };
    if stations.has(UNSUBSCRIBE) {
        options.requested.insert(UNSUBSCRIBE.into());
        for (name, value) in [("email", email.map(Value::from)), ("url", url.map(Value::from)), ("oneclick", one_click.map(Value::from))] {
            if let Some(value) = value {
                lay_over(options, UNSUBSCRIBE, name, value);
            }
        }
        return Ok(Vec::new());
    }
    let https = page.as_deref().is_some_and(|page| page.starts_with("https:"));
    let ways: Vec<String> = [mailto, page].into_iter().flatten().map(|way| format!("<{way}>")).collect();
    let field = |name, value: &str| HeaderField::new(name, value).map_err(|error| Flaw::new("unsubscribe", error.to_string()));
    let mut headers = Vec::new();
    if !ways.is_empty() {
        headers.push(field("List-Unsubscribe", &ways.join(", "))?);
    }
    // RFC 8058 §3.1: one-click needs an https URI.
    match (one_click, https) {
        (Some(true), true) => headers.push(field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")?),
        (Some(true), false) => return Err(Flaw::new("unsubscribe.oneclick", "an https url is needed for it")),
        (Some(false) | None, _) => {}
    }
    Ok(headers)
}

/// Puts one option of a plugin over that of the chain.
pub fn lay_over(options: &mut Options, plugin: &str, name: &str, value: Value) {
    options.overrides.entry(plugin.to_owned()).or_default().insert(name.to_owned(), value);
}

fn read_plugin(plugin: &str, value: Value, stations: &Stations, options: &mut Options) -> Result<(), Flaw> {
    let field = format!("plugins.{plugin}");
    if !stations.has(plugin) {
        return Err(Flaw::new(field, "this login's chain has no such plugin"));
    }
    let wanted: Map<String, Value> = match value {
        Value::Object(wanted) => wanted,
        Value::Bool(enabled) => Map::from_iter([("enabled".to_owned(), enabled.into())]),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(Flaw::new(field, "an object of options, true or false is expected"));
        }
    };
    match wanted.get("enabled") {
        Some(Value::Bool(false)) => {
            options.requested.remove(plugin);
        }
        None | Some(Value::Bool(true)) => {
            options.requested.insert(plugin.to_owned());
        }
        Some(_) => return Err(Flaw::new(format!("{field}.enabled"), "true or false is expected")),
    }
    options.overrides.entry(plugin.to_owned()).or_default().extend(wanted);
    Ok(())
}

/// An address as a mailto URI (RFC 6068); a mailto URI as it is.
fn mailto(text: &str) -> Option<String> {
    let text = text.trim();
    let uri_safe = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic() && !b"<>\"".contains(&octet));
    if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("mailto:")) {
        return uri_safe(text).then(|| text.to_owned());
    }
    let address = crate::mail::address::EmailAddress::parse(text).ok()?.to_ascii_domain();
    let encoded = percent_encoding::utf8_percent_encode(&address, MAILTO).to_string();
    Some(format!("mailto:{encoded}"))
}

/// What has a meaning in a mailto URI (RFC 6068 §2), and what ends one in a header field.
const MAILTO: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b',')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

fn web(text: &str) -> Option<String> {
    let url = url::Url::parse(text.trim()).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    const ALL: [&str; 4] = ["inline-css", "tracking", "list-unsubscribe", "own"];

    fn options(call: &Value) -> Result<Value, Flaw> {
        let mut options = Options::default();
        let fields = Fields::from_object(call.as_object().unwrap().clone()).unwrap();
        assert_eq!(read(&fields, &Stations::named(&ALL), &mut options)?, [""; 0]);
        Ok(json!({ "overrides": options.overrides, "requested": options.requested }))
    }

    #[test]
    fn tracking_is_asked_for_unless_it_is_switched_off() {
        assert_eq!(options(&json!({})), Ok(json!({ "overrides": {}, "requested": ["tracking"] })));
        for alias in TRACK_CLICKS {
            let expected = json!({ "overrides": { "tracking": { "clicks": false } }, "requested": ["tracking"] });
            assert_eq!(options(&json!({ alias: false })), Ok(expected), "{alias}");
        }
        for alias in TRACK_OPENS {
            let expected = json!({ "overrides": { "tracking": { "opens": false } }, "requested": ["tracking"] });
            assert_eq!(options(&json!({ alias: "0" })), Ok(expected), "{alias}");
        }
        let off = json!({ "overrides": { "tracking": { "clicks": false, "opens": false } }, "requested": [] });
        assert_eq!(options(&json!({ "trackclicks": false, "trackopens": false })), Ok(off));
    }

    #[test]
    fn inline_css_has_three_names() {
        for alias in INLINE_CSS {
            let on = json!({ "overrides": { "inline-css": { "enabled": true } }, "requested": ["inline-css", "tracking"] });
            assert_eq!(options(&json!({ alias: true })), Ok(on), "{alias}");
            let off = json!({ "overrides": { "inline-css": { "enabled": false } }, "requested": ["tracking"] });
            assert_eq!(options(&json!({ alias: "false" })), Ok(off), "{alias}");
        }
        let scam = json!({ "overrides": { "tracking": { "prevent_scam": true } }, "requested": ["tracking"] });
        assert_eq!(options(&json!({ "PreventScam": 1 })), Ok(scam));
        assert_eq!(options(&json!({ "inlinecss": "maybe" })).unwrap_err().field, "inlinecss");
    }

    #[test]
    fn switches_without_their_plugin_are_told() {
        let ignored = |stations: &[&str]| {
            let call = json!({
                "InlineCSS": true, "clicktracking": true, "trackopens": false, "preventscam": true, "trackbounces": true,
                "unsubscribe": { "email": "u@x" }, "plugins": { "tracking": true },
            });
            let fields = Fields::from_object(call.as_object().unwrap().clone()).unwrap();
            read(&fields, &Stations::named(stations), &mut Options::default()).unwrap().join(" ")
        };
        assert_eq!(ignored(&ALL), "");
        assert_eq!(ignored(&["tracking"]), "InlineCSS");
        assert_eq!(
            ignored(&["inline-css", "tracking!", "list-unsubscribe!"]),
            "clicktracking trackopens preventscam plugins.tracking unsubscribe"
        );
    }

    #[test]
    fn any_plugin_of_the_chain_takes_options() {
        let both = json!({ "plugins": { "own": { "level": 3 }, "tracking": false } });
        let expected = json!({ "overrides": { "own": { "level": 3 }, "tracking": { "enabled": false } }, "requested": ["own"] });
        assert_eq!(options(&both), Ok(expected));
        for (plugins, field) in [
            (json!({ "other": {} }), "plugins.other"),
            (json!({ "own": 7 }), "plugins.own"),
            (json!({ "own": { "enabled": "x" } }), "plugins.own.enabled"),
            (json!([]), "plugins"),
        ] {
            assert_eq!(options(&json!({ "plugins": plugins })).unwrap_err().field, field);
        }
    }

    #[test]
    fn images_are_embedded() {
        assert!(options(&json!({ "images": "default" })).is_ok());
        assert_eq!(options(&json!({ "images": "hosted" })).unwrap_err().field, "images");
        assert_eq!(options(&json!({ "images": "..." })).unwrap_err().reason, "\"default\" or \"hosted\" is expected");
    }

    #[test]
    fn unsubscribing_is_the_plugins_or_ours() {
        let read = |value: Value, stations: &[&str]| {
            let mut options = Options::default();
            let fields = Fields::from_object(json!({ "unsubscribe": value }).as_object().unwrap().clone()).unwrap();
            let headers = read_unsubscribe(&fields, &Stations::named(stations), &mut options)?;
            Ok::<_, Flaw>((headers.iter().map(|field| field.value().to_owned()).collect::<Vec<_>>(), json!(options.overrides)))
        };
        let all = json!({ "email": "u@x.example", "url": "https://x.example/u", "oneclick": true });
        let (headers, overrides) = read(all.clone(), &ALL).unwrap();
        assert!(headers.is_empty());
        assert_eq!(overrides, json!({ "list-unsubscribe": all }));
        let (headers, overrides) = read(all, &[]).unwrap();
        assert_eq!(headers, ["<mailto:u@x.example>, <https://x.example/u>", "List-Unsubscribe=One-Click"]);
        assert_eq!(overrides, json!({}));
        for (value, field) in [
            (json!({ "email": "no address" }), "unsubscribe.email"),
            (json!({ "url": "ftp://x" }), "unsubscribe.url"),
            (json!({ "url": "https://x/\r\nBcc: y" }), "unsubscribe.url"),
            (json!({ "email": "u@x", "oneclick": true }), "unsubscribe.oneclick"),
            (json!({ "oneclick": "perhaps" }), "unsubscribe.oneclick"),
        ] {
            assert_eq!(read(value, &[]).unwrap_err().field, field);
        }
    }
}
