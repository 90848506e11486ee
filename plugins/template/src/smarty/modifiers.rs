//! What stands behind `|`: a name, and what it makes of a value.

#![allow(clippy::unnecessary_wraps, clippy::needless_pass_by_value, reason = "all modifiers have the signature of `Function`")]

mod coding;
mod counting;
mod date;
mod text;

pub(super) use coding::{escape_html, hash_by_name, hashed};

use super::{evaluator::Scope, value::Value};
use crate::limits::Error;

/// What a modifier does: from a value and its arguments to another value.
type Function = fn(Value, Arguments<'_>, &mut Scope) -> Result<Value, Error>;

/// Whether an output is escaped after a modifier, where a template escapes its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is.
    Plain,
    /// The output says itself how.
    Escaped,
}

/// A known modifier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modifier {
    function: Function,
    effect: Effect,
}

impl Modifier {
    /// Finds a modifier by its name, in whatever case it is written.
    pub(super) fn find(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let function: Function = match name.as_str() {
            "tolower" | "lower" => text::lower,
            "toupper" | "upper" => text::upper,
            "ucfirst" => text::upper_first,
            "capitalize" => text::capitalize,
            "cat" => text::cat,
            "trim" => text::trim,
            "truncate" => text::truncate,
            "substr" => text::substr,
            "strstr" => text::strstr,
            "strpos" => text::strpos,
            "replace" => text::replace,
            "regex_replace" => text::regex_replace,
            "indent" => text::indent,
            "spacify" => text::spacify,
            "nl2br" => text::line_breaks,
            "default" => counting::default,
            "empty" => counting::empty,
            "count" => counting::count,
            "count_characters" => counting::characters,
            "count_words" => counting::words,
            "count_paragraphs" => counting::paragraphs,
            "strlen" => counting::length,
            "range" => counting::range,
            "number_format" => counting::number_format,
            "date_format" => date::format,
            "escape" => coding::escape,
            "raw" => coding::raw,
            "urlencode" => coding::url_encode,
            "urldecode" => coding::url_decode,
            "base64_encode" => coding::base64_encode,
            "base64_decode" => coding::base64_decode,
            "jsonencode" | "json_encode" => coding::json_encode,
            "jsondecode" | "json_decode" => coding::json_decode,
            "md5" => coding::md5,
            "sha1" => coding::sha1,
            "sha256" => coding::sha256,
            "sha512" => coding::sha512,
            _ => return None,
        };
        let effect = if matches!(name.as_str(), "escape" | "raw") { Effect::Escaped } else { Effect::Plain };
        Some(Self { function, effect })
    }

    pub(super) fn effect(self) -> Effect {
        self.effect
    }

    /// Applies the modifier. What it reads and what it makes is taken from the budget.
    pub(super) fn apply(self, value: Value, arguments: &[Value], scope: &mut Scope) -> Result<Value, Error> {
        let read: usize = std::iter::once(&value).chain(arguments).map(octets).sum();
        scope.budget.work(read)?;
        let made = (self.function)(value, Arguments(arguments), scope)?;
        scope.budget.text(octets(&made))?;
        Ok(made)
    }
}

/// About how much there is to look at.
fn octets(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::Missing | Value::Boolean(_) | Value::Integer(_) | Value::Decimal(_) => 1,
    }
}

/// The arguments of a modifier, from 0.
#[derive(Debug, Clone, Copy)]
struct Arguments<'a>(&'a [Value]);

impl<'a> Arguments<'a> {
    fn get(self, index: usize) -> Option<&'a Value> {
        self.0.get(index)
    }

    fn text(self, index: usize, otherwise: &'a str) -> std::borrow::Cow<'a, str> {
        self.get(index).map_or(std::borrow::Cow::Borrowed(otherwise), Value::text)
    }

    fn truth(self, index: usize) -> bool {
        self.get(index).is_some_and(Value::truth)
    }

    fn integer(self, index: usize) -> Option<i64> {
        self.get(index).map(Value::integer)
    }

    /// A whole number that cannot be negative; what is counts as 0.
    fn size(self, index: usize, otherwise: usize) -> usize {
        self.integer(index).map_or(otherwise, |number| usize::try_from(number.max(0)).unwrap_or(usize::MAX))
    }
}

/// Makes a text of a text; lists and objects stay as they are.
fn map_text(value: Value, map: impl FnOnce(&str) -> String) -> Value {
    if value.is_collection() {
        return value;
    }
    let made = map(&value.text());
    made.into()
}
