//! The fields of a call, whatever form its body had: JSON, urlencoded and multipart bodies with the same fields are the same here.
//!
//! Names are matched without case. Where a form can hold a text only, a structured value may be given as the JSON of it.

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::address_list::has_line_break;
use super::json::{self, JsonError};
use super::problem::Flaw;
use crate::config::JSON_VALUES;

/// A file that came as a part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Name of the form field.
    pub field: String,
    /// Name of the file.
    pub name: String,
    /// `type/subtype`, where the client said.
    pub content_type: Option<String>,
    /// Its octets.
    pub content: Bytes,
}

/// The fields of a call, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    /// Lower-case name → name as written, value.
    values: IndexMap<String, (String, Value)>,
    /// Parts of a multipart body that have a file name.
    pub files: Vec<File>,
    /// How many values the JSON in a text may have.
    json_values: u32,
}

impl Default for Fields {
    fn default() -> Self {
        Self { values: IndexMap::new(), files: Vec::new(), json_values: JSON_VALUES }
    }
}

impl Fields {
    /// Takes the fields of a JSON object.
    pub fn from_object(object: Map<String, Value>) -> Self {
        let mut fields = Self::default();
        for (name, value) in object {
            fields.values.insert(name.to_lowercase(), (name, value));
        }
        fields
    }

    /// Reads JSON of at most `json_values` values where a text holds it.
    #[must_use]
    pub fn with_json_values(self, json_values: u32) -> Self {
        Self { json_values, ..self }
    }

    /// Reads the JSON that a text of these fields holds.
    pub fn parse_json(&self, text: &str) -> Result<Value, JsonError> {
        json::parse(text.as_bytes(), self.json_values)
    }

    /// Adds a field of a form. A name that comes again, or ends with `[]`, makes an array.
    pub fn add_text(&mut self, name: &str, text: String) {
        let (name, listed) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        match self.values.get_mut(&name.to_lowercase()) {
            Some((_, Value::Array(texts))) => texts.push(text.into()),
            Some((_, first)) => *first = Value::Array(vec![first.take(), text.into()]),
            None => {
                let value = if listed { Value::Array(vec![text.into()]) } else { text.into() };
                self.values.insert(name.to_lowercase(), (name.to_owned(), value));
            }
        }
    }

    /// Returns the first of `names` that is there and not null, with its name as written.
    pub fn get(&self, names: &[&str]) -> Option<(&str, &Value)> {
        names.iter().find_map(|name| match self.values.get(*name) {
            None | Some((_, Value::Null)) => None,
            Some((written, value)) => Some((written.as_str(), value)),
        })
    }

    /// Whether any of `names` is there.
    pub fn has(&self, names: &[&str]) -> bool {
        self.get(names).is_some()
    }

    /// Returns a text. A number counts as its digits. NUL has no place in mail.
    pub fn text(&self, names: &[&str]) -> Result<Option<String>, Flaw> {
        match self.get(names) {
            None => Ok(None),
            Some((name, Value::String(text))) if text.contains('\0') => Err(Flaw::new(name, "NUL characters are not allowed")),
            Some((_, Value::String(text))) => Ok(Some(text.clone())),
            Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
            Some((name, Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_))) => Err(Flaw::new(name, "a text is expected")),
        }
    }

    /// Returns a text for a header field: without line breaks.
    pub fn line(&self, names: &[&str]) -> Result<Option<String>, Flaw> {
        match (self.text(names)?, self.get(names)) {
            (Some(text), Some((name, _))) if has_line_break(&text) => Err(Flaw::new(name, "line breaks are not allowed")),
            (text, _) => Ok(text),
        }
    }

    /// Returns true or false; 1 and 0, "on" and "off", "yes" and "no" go too, as forms have no other way.
    pub fn switch(&self, names: &[&str]) -> Result<Option<bool>, Flaw> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        let switch = match value {
            Value::Bool(switch) => Some(*switch),
            Value::Number(number) => number.as_u64().filter(|n| *n < 2).map(|n| n == 1),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" => Some(true),
                "false" | "0" | "off" | "no" | "" => Some(false),
                _ => None,
            },
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        switch.map(Some).ok_or_else(|| Flaw::new(name, "true or false is expected"))
    }

    /// Returns a value with structure. A text that opens like JSON is read as JSON; other texts stay texts.
    pub fn structured(&self, names: &[&str]) -> Result<Option<(String, Value)>, Flaw> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        let value = match value {
            Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
                self.parse_json(text).map_err(|error| not_json(name, &error))?
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => value.clone(),
        };
        Ok(Some((name.to_owned(), value)))
    }

    /// Returns an object, or the object that a text holds as JSON.
    pub fn object(&self, names: &[&str]) -> Result<Option<Map<String, Value>>, Flaw> {
        match self.structured(names)? {
            None => Ok(None),
            Some((_, Value::Object(object))) => Ok(Some(object)),
            Some((_, Value::String(text))) if text.trim().is_empty() => Ok(None),
            Some((name, _)) => Err(Flaw::new(name, "an object is expected")),
        }
    }

    /// Returns the names that are not among `known`, as they were written.
    pub fn unknown(&self, known: &[&str]) -> Vec<String> {
        let names = self.values.iter().filter(|(lower, _)| !known.contains(&lower.as_str()));
        names.map(|(_, (written, _))| written.clone()).collect()
    }
}

fn not_json(name: &str, error: &JsonError) -> Flaw {
    let reason = match error {
        JsonError::Syntax(error) => format!("not valid JSON: {error}"),
        JsonError::TooManyValues(_) | JsonError::DoubledKey(_) | JsonError::NoObject => error.to_string(),
    };
    Flaw::new(name, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Fields {
        Fields::from_object(value.as_object().unwrap().clone())
    }

    #[test]
    fn names_have_no_case_and_null_is_nothing() {
        let fields = fields(&json!({ "ReplyTo": "a@x", "subject": null, "n": 7 }));
        assert_eq!(fields.text(&["replyto"]), Ok(Some("a@x".into())));
        assert_eq!(fields.text(&["subject"]), Ok(None));
        assert_eq!(fields.text(&["n"]), Ok(Some("7".into())));
        assert_eq!(fields.unknown(&["replyto", "subject"]), ["n"]);
    }

    #[test]
    fn switches_have_many_spellings() {
        for (value, expected) in [
            (json!(true), Ok(Some(true))),
            (json!(0), Ok(Some(false))),
            (json!(" ON "), Ok(Some(true))),
            (json!("no"), Ok(Some(false))),
            (json!(2), Err(Flaw::new("s", "true or false is expected"))),
            (json!("maybe"), Err(Flaw::new("s", "true or false is expected"))),
            (json!([true]), Err(Flaw::new("s", "true or false is expected"))),
        ] {
            assert_eq!(fields(&json!({ "s": value })).switch(&["s"]), expected, "{value}");
        }
    }

    #[test]
    fn forms_say_structure_in_json() {
        let mut form = Fields::default();
        form.add_text("data", "{\"a\":1}".into());
        form.add_text("to[]", "a@x".into());
        form.add_text("cc", "a@x".into());
        form.add_text("cc", "b@x".into());
        form.add_text("bad", "{".into());
        assert_eq!(form.object(&["data"]).unwrap().unwrap().get("a"), Some(&json!(1)));
        assert_eq!(form.get(&["to"]).unwrap().1, &json!(["a@x"]));
        assert_eq!(form.get(&["cc"]).unwrap().1, &json!(["a@x", "b@x"]));
        assert_eq!(form.object(&["bad"]).unwrap_err().field, "bad");
        assert_eq!(form.object(&["cc"]), Err(Flaw::new("cc", "an object is expected")));
    }

    #[test]
    fn lines_have_no_breaks() {
        for bad in ["a\r\nBcc: b@x", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(fields(&json!({ "subject": bad })).line(&["subject"]).unwrap_err().field, "subject");
        }
    }
}
