//! `template` and `data`: content that is filled in for each recipient by the plugin `template`.
//!
//! A template stands in the call itself: a text with placeholders, or an object `{engine, subject, html, text, …}`. Stored templates,
//! by number or name, are not there yet, nor is SMTPeter's document of blocks.

use serde_json::{Map, Value};

use super::switches::lay_over;
use crate::http::fields::Fields;
use crate::http::json::JsonError;
use crate::http::problem::Flaw;
use crate::submission::Options;

/// The plugin that fills templates in.
const PLUGIN: &str = "template";

/// What a template gives; fields of the call itself go before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// `subject`.
    pub subject: Option<String>,
    /// `text`.
    pub text: Option<String>,
    /// `html`, or SMTPeter's `content` where it is HTML.
    pub html: Option<String>,
    /// `from`, `to`, `cc`, `replyTo` and `headers`, for those who read them from the call.
    pub others: Fields,
}

/// Reads `template`, `data` and `engine`; where any is there, the plugin `template` is asked for.
pub fn read(fields: &Fields, has_recipient_data: bool, options: &mut Options) -> Result<Option<Template>, Flaw> {
    if fields.has(&["patch"]) {
        return Err(Flaw::new("patch", "patches of stored templates are not available in this version"));
    }
    let data = fields.object(&["data"])?;
    let template = match fields.get(&["template"]) {
        None => None,
        Some((_, Value::Object(object))) => Some(inline(object.clone(), options)?),
        Some((name, Value::String(text))) => match fields.parse_json(text) {
            Ok(Value::Object(object)) => Some(inline(object, options)?),
            Err(error @ (JsonError::TooManyValues(_) | JsonError::DoubledKey(_))) => return Err(Flaw::new(name, error.to_string())),
            // A placeholder may open the text: what is no JSON object is a source, or the name of a template.
            Ok(_) | Err(_) if text.contains(['{', '<', '\n']) => Some(source(text.clone())),
            Ok(_) | Err(_) if text.trim().is_empty() => None,
            Ok(_) | Err(_) => return Err(not_stored(name)),
        },
        Some((name, Value::Number(_))) => return Err(not_stored(name)),
        Some((name, Value::Null | Value::Bool(_) | Value::Array(_))) => {
            return Err(Flaw::new(name, "a template as text or object is expected"));
        }
    };
    if template.is_some() || data.is_some() || has_recipient_data {
        options.requested.insert(PLUGIN.into());
    }
    options.variables.extend(data.unwrap_or_default());
    Ok(template)
}

fn not_stored(name: &str) -> Flaw {
    Flaw::new(name, "stored templates are not available in this version; give the template itself")
}

fn source(text: String) -> Template {
    if text.contains('<') {
        Template { html: Some(text), ..Template::default() }
    } else {
        Template { text: Some(text), ..Template::default() }
    }
}

fn inline(object: Map<String, Value>, options: &mut Options) -> Result<Template, Flaw> {
    let inside = |flaw: Flaw| Flaw::new(format!("template.{}", flaw.field), flaw.reason);
    let others = Fields::from_object(object);
    if let Some(engine) = others.text(&["engine"]).map_err(inside)? {
        if !["smarty", "jinja"].contains(&engine.as_str()) {
            return Err(Flaw::new("template.engine", "\"smarty\" or \"jinja\" is expected"));
        }
        lay_over(options, PLUGIN, "engine", engine.into());
    }
    if let Some((name, Value::Object(_) | Value::Array(_))) = others.get(&["content", "blocks"]) {
        return Err(Flaw::new(format!("template.{name}"), "templates of blocks are not available in this version; give html and text"));
    }
    if let Some(data) = others.object(&["data"]).map_err(inside)? {
        options.variables.extend(data);
    }
    Ok(Template {
        subject: others.line(&["subject"]).map_err(inside)?,
        text: others.text(&["text"]).map_err(inside)?,
        html: others.text(&["html", "content"]).map_err(inside)?,
        others,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    fn read_call(call: &Value) -> Result<(Option<Template>, Options), Flaw> {
        let mut options = Options::default();
        let template = read(&Fields::from_object(call.as_object().unwrap().clone()), false, &mut options)?;
        Ok((template, options))
    }

    #[test]
    fn templates_stand_in_the_call() {
        let object = json!({ "engine": "jinja", "subject": "s", "html": "<p>{{ a }}</p>", "text": "t", "data": { "a": 0, "b": 1 } });
        let (template, options) = read_call(&json!({ "template": object, "data": { "a": 2 } })).unwrap();
        let template = template.unwrap();
        assert_eq!((template.subject.as_deref(), template.html.as_deref()), (Some("s"), Some("<p>{{ a }}</p>")));
        assert_eq!(json!(options.overrides), json!({ "template": { "engine": "jinja" } }));
        assert_eq!(json!(options.variables), json!({ "a": 2, "b": 1 }));
        assert!(options.requested.contains("template"));
        // A JSON text, as the Dutch pages have it; a bare source.
        let (template, _) = read_call(&json!({ "template": object.to_string() })).unwrap();
        assert_eq!(template.unwrap().text.as_deref(), Some("t"));
        assert_eq!(
            read_call(&json!({ "template": "Dear <b>{$name}</b>" })).unwrap().0.unwrap().html.as_deref(),
            Some("Dear <b>{$name}</b>")
        );
        assert!(read_call(&json!({ "template": "{$greeting}, {$name}" })).unwrap().0.unwrap().text.is_some());
        let dear = "Dear\n$name";
        assert_eq!(read_call(&json!({ "template": dear })).unwrap().0.unwrap().text.as_deref(), Some(dear));
    }

    #[test]
    fn data_alone_asks_for_the_plugin() {
        assert!(read_call(&json!({ "data": { "a": 1 } })).unwrap().1.requested.contains("template"));
        assert!(read_call(&json!({})).unwrap().1.requested.is_empty());
    }

    #[test]
    fn what_is_not_there_yet_is_said() {
        for (call, field) in [
            (json!({ "template": 7 }), "template"),
            (json!({ "template": "welcome" }), "template"),
            (json!({ "template": true }), "template"),
            (json!({ "template": "{\"html\":\"a\",\"html\":\"b\"}" }), "template"),
            (json!({ "template": { "content": { "blocks": [] } } }), "template.content"),
            (json!({ "template": { "engine": "perl" } }), "template.engine"),
            (json!({ "template": { "subject": "a\r\nb" } }), "template.subject"),
            (json!({ "data": "x" }), "data"),
            (json!({ "patch": [] }), "patch"),
        ] {
            assert_eq!(read_call(&call).unwrap_err().field, field, "{call}");
        }
    }
}
