//! The part of JSON Schema (2020-12) that options need: types, properties, required, enum, const, items, limits, patterns, alternatives, and
//! references to what the schema itself defines.
//!
//! A schema that says more than is checked here is refused when the plugin is loaded: what cannot be checked must not look checked.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};

use crate::config::suggestion::did_you_mean;

/// Levels of schemas inside schemas.
const DEPTH: usize = 16;
/// Schemas in a schema, with those that are referred to counted as often as they are.
const SCHEMAS: usize = 2_000;
/// Octets of a compiled pattern.
const PATTERN: usize = 1 << 18;

/// A schema, parsed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    types: Vec<Type>,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    others: Others,
    values: Option<Vec<Value>>,
    items: Option<Box<Schema>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    pattern: Option<Pattern>,
    /// `anyOf` and `oneOf`, each of which is met by one of its schemas, or exactly one.
    alternatives: Vec<Alternatives>,
    /// `allOf`, and what `$ref` refers to.
    others_too: Vec<Schema>,
    description: Option<String>,
    default: Option<Value>,
}

/// `additionalProperties`.
#[derive(Clone, Debug, Default, PartialEq)]
enum Others {
    /// Not said is no where properties are named: an option that is not known is a mistake.
    #[default]
    NotSaid,
    No,
    Any,
    Like(Box<Schema>),
}

/// Of `anyOf` or `oneOf`.
#[derive(Clone, Debug, PartialEq)]
struct Alternatives {
    schemas: Vec<Schema>,
    exactly_one: bool,
}

/// `pattern`: found anywhere in the text, in time that grows with its length.
#[derive(Clone, Debug)]
struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What is read, and how much of it may still come.
struct Reader<'a> {
    root: &'a Value,
    left: Cell<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct Invalid {
    /// Which, as a path: `colours.0`.
    pub option: String,
    /// A phrase.
    pub reason: String,
}

impl Invalid {
    pub(super) fn new(option: &str, reason: &str) -> Self {
        Self { option: option.to_owned(), reason: reason.to_owned() }
    }
}

impl Schema {
    /// Reads the schema of an object. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let reader = Reader { root: &value, left: Cell::new(SCHEMAS) };
        let mut schema = Self::read(&value, DEPTH, &reader)?;
        if schema.types.is_empty() {
            schema.types.push(Type::Object);
        }
        if schema.types != [Type::Object] {
            return Err("it must be of type object".to_owned());
        }
        if !schema.alternatives.is_empty() || !schema.others_too.is_empty() {
            return Err("the options themselves must be among its own properties".to_owned());
        }
        if let Some(name) = schema.required.iter().find(|name| !schema.properties.contains_key(*name)) {
            return Err(format!("{name:?} is required, but not among the properties"));
        }
        Ok(schema)
    }

    fn read(value: &Value, depth: usize, reader: &Reader<'_>) -> Result<Self, String> {
        let object = match value {
            Value::Object(object) => object,
            Value::Bool(true) => return Ok(Self::default()),
            Value::Null | Value::Bool(false) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err("a schema is an object".to_owned());
            }
        };
        if depth == 0 {
            return Err("it is nested too deeply".to_owned());
        }
        let left = reader.left.get().checked_sub(1).ok_or_else(|| format!("it has more than {SCHEMAS} schemas"))?;
        reader.left.set(left);
        let mut schema = Self::default();
        for (keyword, value) in object {
            schema.keyword(keyword, value, depth, reader).map_err(|reason| format!("{keyword}: {reason}"))?;
        }
        schema.take_choices();
        Ok(schema)
    }

    fn read_all(value: &Value, depth: usize, reader: &Reader<'_>) -> Result<Vec<Self>, String> {
        value.as_array().ok_or("must be a list")?.iter().map(|value| Self::read(value, depth, reader)).collect()
    }

    /// Alternatives that are nothing but values are choices of one list.
    fn take_choices(&mut self) {
        let is_choice = |schema: &Self| Self { types: Vec::new(), values: None, description: None, ..schema.clone() } == Self::default();
        if let [Alternatives { schemas, .. }] = &self.alternatives[..]
            && self.values.is_none()
            && schemas.iter().all(|schema| schema.values.is_some() && is_choice(schema))
        {
            let schemas = self.alternatives.pop().map(|alternatives| alternatives.schemas).unwrap_or_default();
            if self.types.is_empty() {
                for kind in schemas.iter().flat_map(|schema| &schema.types) {
                    if !self.types.contains(kind) {
                        self.types.push(*kind);
                    }
                }
            }
            self.values = Some(schemas.into_iter().filter_map(|schema| schema.values).flatten().collect());
        }
    }

    fn keyword(&mut self, keyword: &str, value: &Value, depth: usize, reader: &Reader<'_>) -> Result<(), String> {
        match keyword {
            "type" => self.types = types(value)?,
            "properties" => {
                for (name, value) in value.as_object().ok_or("must be an object")? {
                    let property = Self::read(value, depth - 1, reader).map_err(|reason| format!("{name}: {reason}"))?;
                    self.properties.insert(name.clone(), property);
                }
            }
            "required" => self.required = strings(value)?,
            "additionalProperties" => {
                self.others = match value.as_bool() {
                    Some(false) => Others::No,
                    Some(true) => Others::Any,
                    None => Others::Like(Box::new(Self::read(value, depth - 1, reader)?)),
                };
            }
            "enum" => self.values = Some(value.as_array().ok_or("must be a list")?.clone()),
            "const" => self.values = Some(vec![value.clone()]),
            "items" => self.items = Some(Box::new(Self::read(value, depth - 1, reader)?)),
            "minimum" => self.minimum = Some(value.as_f64().ok_or("must be a number")?),
            "maximum" => self.maximum = Some(value.as_f64().ok_or("must be a number")?),
            "minLength" => self.min_length = Some(value.as_u64().ok_or("must be a number")?),
            "maxLength" => self.max_length = Some(value.as_u64().ok_or("must be a number")?),
            "minItems" => self.min_items = Some(value.as_u64().ok_or("must be a number")?),
            "maxItems" => self.max_items = Some(value.as_u64().ok_or("must be a number")?),
            "pattern" => self.pattern = Some(Pattern::read(value)?),
            "anyOf" | "oneOf" => {
                let schemas = Self::read_all(value, depth - 1, reader)?;
                self.alternatives.push(Alternatives { schemas, exactly_one: keyword == "oneOf" });
            }
            "allOf" => self.others_too.extend(Self::read_all(value, depth - 1, reader)?),
            "$ref" => self.others_too.push(Self::read(reader.find(value)?, depth - 1, reader)?),
            "description" => self.description = value.as_str().map(str::to_owned),
            "default" => self.default = Some(value.clone()),
            // `format` says more than `type` for people only; what is defined is read where it is referred to.
            "$defs" | "definitions" | "format" | "$schema" | "$id" | "$comment" | "title" | "examples" | "deprecated" => {}
            _ => return Err("this version does not know this keyword".to_owned()),
        }
        Ok(())
    }

    /// Returns the schema of a property.
    pub fn property(&self, name: &str) -> Option<&Self> {
        self.properties.get(name)
    }

    /// Returns names, descriptions and defaults of the properties, for people.
    pub fn properties(&self) -> impl Iterator<Item = (&str, Option<&str>, Option<&Value>)> {
        self.properties.iter().map(|(name, schema)| (name.as_str(), schema.description.as_deref(), schema.default.as_ref()))
    }

    /// Whether an option must be given.
    pub fn requires(&self, name: &str) -> bool {
        self.required.iter().any(|required| required == name)
    }

    /// Returns what a value must be, as a phrase: `a whole number, at least 1`, `"smarty" or "jinja"`.
    pub fn phrase(&self) -> String {
        if let Some(values) = &self.values {
            return values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        }
        let mut phrase = self.types.iter().map(|kind| kind.phrase()).collect::<Vec<_>>().join(" or ");
        if phrase.is_empty() {
            let forms: Vec<_> =
                self.alternatives.iter().flat_map(|alternatives| &alternatives.schemas).chain(&self.others_too).map(Self::phrase).collect();
            phrase.push_str(if forms.is_empty() { "anything" } else { "" });
            phrase.push_str(&forms.join(", or "));
        }
        let required: Vec<_> = self.required.iter().map(|name| format!("{name:?}")).collect();
        if !required.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(phrase, " with {}", required.join(" and "));
        }
        if let Some(items) = self.items.as_ref().filter(|_| self.types.contains(&Type::Array)) {
            // Writing to a String cannot fail.
            let _ = write!(phrase, " of which each is {}", items.phrase());
        }
        let [minimum, maximum] = [self.minimum, self.maximum].map(|bound| bound.map(|bound| bound.to_string()));
        let count = |bound: Option<u64>, what: &str| bound.map(|bound| format!("{bound} {what}"));
        for least in [minimum, count(self.min_length, "characters"), count(self.min_items, "elements")].into_iter().flatten() {
            let _ = write!(phrase, ", at least {least}");
        }
        for most in [maximum, count(self.max_length, "characters"), count(self.max_items, "elements")].into_iter().flatten() {
            let _ = write!(phrase, ", at most {most}");
        }
        phrase
    }

    pub(super) fn check_required(&self, object: &Map<String, Value>) -> Result<(), Invalid> {
        match self.required.iter().find(|name| !object.contains_key(*name)) {
            Some(name) => Err(Invalid::new(name, "is required")),
            None => Ok(()),
        }
    }

    pub(super) fn check_property(&self, name: &str, value: &Value) -> Result<(), Invalid> {
        self.check_member("", name, value)
    }

    fn check_member(&self, path: &str, name: &str, value: &Value) -> Result<(), Invalid> {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match (self.properties.get(name), &self.others) {
            (Some(schema), _) => schema.check(&path, value),
            (None, Others::Like(schema)) => schema.check(&path, value),
            (None, Others::Any) => Ok(()),
            (None, Others::NotSaid | Others::No) => {
                let known = self.properties.keys().map(String::as_str);
                Err(Invalid { option: path, reason: format!("no such option{}", did_you_mean(name, known)) })
            }
        }
    }

    fn check(&self, path: &str, value: &Value) -> Result<(), Invalid> {
        let wrong = |reason: String| Err(Invalid { option: path.to_owned(), reason });
        if !self.types.is_empty() && !self.types.iter().any(|kind| kind.fits(value)) {
            let kinds: Vec<_> = self.types.iter().map(|kind| kind.phrase()).collect();
            return wrong(format!("must be {}", kinds.join(" or ")));
        }
        if let Some(values) = &self.values
            && !values.iter().any(|known| same(known, value))
        {
            let known: Vec<_> = values.iter().map(ToString::to_string).collect();
            return wrong(format!("must be one of {}", known.join(", ")));
        }
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                if let Some(least) = self.minimum.filter(|least| number < *least) {
                    return wrong(format!("must be at least {least}"));
                }
                if let Some(most) = self.maximum.filter(|most| number > *most) {
                    return wrong(format!("must be at most {most}"));
                }
            }
            Value::String(text) => {
                if let Some(Pattern(pattern)) = self.pattern.as_ref().filter(|Pattern(pattern)| !pattern.is_match(text)) {
                    return wrong(format!("must be as the pattern {:?} says", pattern.as_str()));
                }
                let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
                if let Err(reason) = within(length, self.min_length, self.max_length, "characters") {
                    return wrong(reason);
                }
            }
            Value::Array(list) => {
                let length = u64::try_from(list.len()).unwrap_or(u64::MAX);
                if let Err(reason) = within(length, self.min_items, self.max_items, "elements") {
                    return wrong(reason);
                }
                if let Some(schema) = &self.items {
                    for (place, element) in list.iter().enumerate() {
                        schema.check(&format!("{path}.{place}"), element)?;
                    }
                }
            }
            Value::Object(object) if self.says_what_objects_hold() => {
                for (name, value) in object {
                    self.check_member(path, name, value)?;
                }
                self.check_required(object).map_err(|error| Invalid { option: format!("{path}.{}", error.option), ..error })?;
            }
            Value::Object(_) | Value::Null | Value::Bool(_) => {}
        }
        self.others_too.iter().try_for_each(|schema| schema.check(path, value))?;
        self.alternatives.iter().try_for_each(|alternatives| alternatives.check(path, value))
    }

    fn takes_type_of(&self, value: &Value) -> bool {
        self.types.is_empty() || self.types.iter().any(|kind| kind.fits(value))
    }

    /// Inside of an option, `{"type":"object"}` alone is an object of whatever.
    fn says_what_objects_hold(&self) -> bool {
        !self.properties.is_empty() || self.others != Others::NotSaid || !self.required.is_empty()
    }

    /// Reads a text as a value of this schema: words for booleans, digits for numbers, a comma list for a list of texts, else JSON.
    pub(super) fn value_from_text(&self, text: &str) -> Option<Value> {
        if self.types.is_empty() {
            let mut deeper =
                self.others_too.iter().chain(self.alternatives.iter().flat_map(|alternatives| &alternatives.schemas)).peekable();
            return match deeper.peek() {
                None => Some(Value::String(text.to_owned())),
                Some(_) => deeper.find_map(|schema| schema.value_from_text(text).filter(|value| schema.check("", value).is_ok())),
            };
        }
        self.types.iter().find_map(|kind| match kind {
            Type::Boolean => boolean_from_text(text),
            Type::Integer => text.parse::<i64>().ok().map(Value::from),
            Type::Number => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
            Type::String => Some(Value::String(text.to_owned())),
            Type::Null => text.is_empty().then_some(Value::Null),
            Type::Array if text.starts_with('[') => serde_json::from_str(text).ok(),
            Type::Array => Some(text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect()),
            Type::Object => serde_json::from_str(text).ok().filter(Value::is_object),
        })
    }
}

impl Alternatives {
    fn check(&self, path: &str, value: &Value) -> Result<(), Invalid> {
        let met = self.schemas.iter().filter(|schema| schema.check(path, value).is_ok()).count();
        if met == 1 || (met > 1 && !self.exactly_one) {
            return Ok(());
        }
        if met > 1 {
            return Err(Invalid::new(path, "fits more than one of the forms that it may have"));
        }
        // Where its type leaves one form, that one knows best what is wrong.
        let mut meant = self.schemas.iter().filter(|schema| schema.takes_type_of(value));
        if let (Some(schema), None) = (meant.next(), meant.next()) {
            return schema.check(path, value);
        }
        let phrases: Vec<_> = self.schemas.iter().map(Schema::phrase).collect();
        Err(Invalid { option: path.to_owned(), reason: format!("must be {}", phrases.join(", or ")) })
    }
}

impl Pattern {
    fn read(value: &Value) -> Result<Self, String> {
        let pattern = value.as_str().ok_or("must be a text")?;
        let built = RegexBuilder::new(pattern).size_limit(PATTERN).build();
        built.map(Self).map_err(|_| format!("{pattern:?} is no pattern that this version understands"))
    }
}

impl<'a> Reader<'a> {
    /// Returns what a reference inside of the schema refers to.
    fn find(&self, reference: &Value) -> Result<&'a Value, String> {
        let reference = reference.as_str().ok_or("must be a text")?;
        let pointer = reference.strip_prefix('#').ok_or_else(|| format!("{reference:?} is not inside of the schema"))?;
        self.root.pointer(pointer).ok_or_else(|| format!("there is no {reference:?}"))
    }
}

/// Reads the words that stand for true and false.
pub(super) fn boolean_from_text(text: &str) -> Option<Value> {
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["true", "1", "yes", "on"]) {
        Some(Value::Bool(true))
    } else if is(["false", "0", "no", "off"]) {
        Some(Value::Bool(false))
    } else {
        None
    }
}

/// Numbers are equal by value: 1 and 1.0 are one.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        #[expect(clippy::float_cmp, reason = "both were written down, neither was computed")]
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn within(length: u64, least: Option<u64>, most: Option<u64>, what: &str) -> Result<(), String> {
    if let Some(least) = least.filter(|least| length < *least) {
        return Err(format!("must have at least {least} {what}"));
    }
    match most.filter(|most| length > *most) {
        Some(most) => Err(format!("must have at most {most} {what}")),
        None => Ok(()),
    }
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or("must be a list")?;
    list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| "must be a list of texts".to_owned())).collect()
}

fn types(value: &Value) -> Result<Vec<Type>, String> {
    let names = if let Some(name) = value.as_str() { vec![name.to_owned()] } else { strings(value)? };
    names.iter().map(|name| Type::named(name).ok_or_else(|| format!("there is no type {name:?}"))).collect()
}

impl Type {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean => value.is_boolean(),
            // 2.0 is an integer by JSON Schema.
            Self::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Number => value.is_number(),
            Self::String => value.is_string(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::String => "a text",
            Self::Array => "a list",
            Self::Object => "a table",
        }
    }
}
