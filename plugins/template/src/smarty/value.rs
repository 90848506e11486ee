//! Values of variables and expressions.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use indexmap::IndexMap;

/// The deepest nesting of data that is looked into; what lies deeper is missing.
const DEEPEST: usize = 64;

/// A value. Copies are cheap: what is large is shared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// What is not there: empty as text, 0 in arithmetic, false in tests.
    Missing,
    Boolean(bool),
    Integer(i64),
    Decimal(f64),
    Text(Rc<str>),
    List(Rc<Vec<Value>>),
    Object(Rc<IndexMap<String, Value>>),
}

/// A number, as arithmetic sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Integer(i64),
    Decimal(f64),
}

impl Number {
    #[allow(clippy::cast_precision_loss, reason = "arithmetic with decimals is inexact")]
    pub(crate) fn decimal(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Decimal(number) => number,
        }
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        match number {
            Number::Integer(number) => Self::Integer(number),
            // Neither infinity nor NaN is a number that anybody wants to read.
            Number::Decimal(number) if number.is_finite() => Self::Decimal(number),
            Number::Decimal(_) => Self::Integer(0),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    /// Takes over data as it was given.
    pub(crate) fn from_json(json: &serde_json::Value) -> Self {
        Self::from_json_at(json, 0)
    }

    fn from_json_at(json: &serde_json::Value, depth: usize) -> Self {
        if depth > DEEPEST {
            return Self::Missing;
        }
        match json {
            serde_json::Value::Null => Self::Missing,
            serde_json::Value::Bool(truth) => Self::Boolean(*truth),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Integer(number),
                None => number.as_f64().map_or(Self::Missing, Self::Decimal),
            },
            serde_json::Value::String(text) => text.as_str().into(),
            serde_json::Value::Array(items) => Self::List(Rc::new(items.iter().map(|item| Self::from_json_at(item, depth + 1)).collect())),
            serde_json::Value::Object(members) => {
                let member = |(name, value): (&String, &serde_json::Value)| (name.clone(), Self::from_json_at(value, depth + 1));
                Self::Object(Rc::new(members.iter().map(member).collect()))
            }
        }
    }

    /// The value as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Missing => serde_json::Value::Null,
            Self::Boolean(truth) => (*truth).into(),
            Self::Integer(number) => (*number).into(),
            Self::Decimal(number) => (*number).into(),
            Self::Text(text) => text.as_ref().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect::<serde_json::Map<_, _>>().into()
            }
        }
    }

    /// What stands in the mail. Lists and objects have no text of their own.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Missing | Self::List(_) | Self::Object(_) => Cow::Borrowed(""),
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Decimal(number) => Cow::Owned(decimal_text(*number)),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// Whether this is a list or an object: modifiers of text do nothing to these.
    pub(crate) fn is_collection(&self) -> bool {
        matches!(self, Self::List(_) | Self::Object(_))
    }

    /// Whether there is nothing: unset, an empty text, or no elements.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Boolean(_) | Self::Integer(_) | Self::Decimal(_) => false,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Object(members) => members.is_empty(),
        }
    }

    /// What a test makes of the value.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Boolean(truth) => *truth,
            Self::Integer(number) => *number != 0,
            Self::Decimal(number) => *number != 0.0,
            // Forms carry numbers as text, and a 0 is a 0.
            Self::Text(text) => !text.is_empty() && text.as_ref() != "0",
            Self::Missing | Self::List(_) | Self::Object(_) => !self.is_empty(),
        }
    }

    /// What arithmetic makes of the value: text counts as the number it starts with.
    pub(crate) fn number(&self) -> Number {
        match self {
            Self::Missing | Self::List(_) | Self::Object(_) => Number::Integer(0),
            Self::Boolean(truth) => Number::Integer((*truth).into()),
            Self::Integer(number) => Number::Integer(*number),
            Self::Decimal(number) => Number::Decimal(*number),
            Self::Text(text) => leading_number(text).0,
        }
    }

    /// The value as a whole number; what is too large is cut.
    #[allow(clippy::cast_possible_truncation, reason = "`as` cuts at the ends of the range")]
    pub(crate) fn integer(&self) -> i64 {
        match self.number() {
            Number::Integer(number) => number,
            Number::Decimal(number) => number as i64,
        }
    }

    /// The number that the whole value is, if it is one.
    fn exact_number(&self) -> Option<Number> {
        match self {
            Self::Integer(number) => Some(Number::Integer(*number)),
            Self::Decimal(number) => Some(Number::Decimal(*number)),
            Self::Text(text) => match leading_number(text.trim()) {
                (number, rest) if rest.is_empty() && !text.trim().is_empty() => Some(number),
                _ => None,
            },
            Self::Missing | Self::Boolean(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// Whether two values are the same to a template.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Boolean(_), _) | (_, Self::Boolean(_)) => self.truth() == other.truth(),
            (Self::Missing, _) => other.is_empty() || !other.truth(),
            (_, Self::Missing) => self.is_empty() || !self.truth(),
            (Self::Text(one), Self::Text(two)) => one == two,
            (Self::Integer(one), Self::Integer(two)) => one == two,
            (Self::List(_) | Self::Object(_), _) | (_, Self::List(_) | Self::Object(_)) => self == other,
            _ => match (self.exact_number(), other.exact_number()) {
                (Some(one), Some(two)) => one.decimal().partial_cmp(&two.decimal()) == Some(Ordering::Equal),
                _ => self.text() == other.text(),
            },
        }
    }

    /// Which of two values is less: numbers by size, texts by their characters, text and number by the number in the text.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => match (self.exact_number(), other.exact_number()) {
                (Some(one), Some(two)) => one.decimal().partial_cmp(&two.decimal()),
                _ => Some(one.cmp(two)),
            },
            (Self::Integer(one), Self::Integer(two)) => Some(one.cmp(two)),
            _ => self.number().decimal().partial_cmp(&other.number().decimal()),
        }
    }

    /// A member by name: exact, then with `_` and `-` exchanged.
    pub(crate) fn member(&self, name: &str) -> Self {
        match self {
            Self::Object(members) => member_of(members, name).cloned().unwrap_or(Self::Missing),
            Self::List(_) => name.parse().map_or(Self::Missing, |index| self.element(index)),
            Self::Missing | Self::Boolean(_) | Self::Integer(_) | Self::Decimal(_) | Self::Text(_) => Self::Missing,
        }
    }

    /// What `value[index]` is: a member by name, or an element by its place, in objects too.
    pub(crate) fn at(&self, index: &Self) -> Self {
        match (self, index) {
            (Self::Object(members), _) => match member_of(members, &index.text()) {
                Some(value) => value.clone(),
                None if index.exact_number().is_some() => self.element(index.integer()),
                None => Self::Missing,
            },
            (Self::List(_), _) if index.exact_number().is_some() => self.element(index.integer()),
            _ => Self::Missing,
        }
    }

    fn element(&self, index: i64) -> Self {
        let Ok(index) = usize::try_from(index) else {
            return Self::Missing;
        };
        let element = match self {
            Self::List(items) => items.get(index),
            Self::Object(members) => members.get_index(index).map(|(_, value)| value),
            Self::Missing | Self::Boolean(_) | Self::Integer(_) | Self::Decimal(_) | Self::Text(_) => None,
        };
        element.cloned().unwrap_or(Self::Missing)
    }
}

/// A member by name: exact, then with `_` and `-` exchanged.
pub(crate) fn member_of<'a, V>(members: &'a IndexMap<String, V>, name: &str) -> Option<&'a V> {
    members.get(name).or_else(|| {
        if !name.contains(['_', '-']) {
            return None;
        }
        let exchanged = |from: &str, to: &str| members.get(&name.replace(from, to));
        exchanged("-", "_").or_else(|| exchanged("_", "-"))
    })
}

/// A decimal as people write it: of the digits that a double has, the last say more about binary fractions than about
/// the number, and 0.1 + 0.2 is 0.3.
fn decimal_text(number: f64) -> String {
    let rounded = format!("{number:.14e}").parse().unwrap_or(number);
    // There is no negative zero outside of computers.
    if rounded == 0.0 { "0".to_owned() } else { rounded.to_string() }
}

/// The number that a text starts with, or 0, and what follows it.
fn leading_number(text: &str) -> (Number, &str) {
    let text = text.trim_start();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = text.len() - unsigned.len();
    let whole = digits(unsigned);
    let fraction = unsigned.get(whole..).and_then(|rest| rest.strip_prefix('.')).map_or(0, digits);
    let end = sign + whole + if fraction > 0 { fraction + 1 } else { 0 };
    let (number, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if fraction == 0
        && let Ok(number) = number.parse()
    {
        return (Number::Integer(number), rest);
    }
    match number.parse() {
        Ok(number) => (Number::Decimal(number), rest),
        Err(_) => (Number::Integer(0), text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_counts_as_the_number_it_starts_with() {
        let number = |text: &str| Value::from(text).number().decimal().to_string();
        for (text, expected) in
            [("10", "10"), ("10 text", "10"), ("text", "0"), ("-1.5x", "-1.5"), ("1.", "1"), (".5", "0.5"), ("", "0"), ("-", "-0")]
        {
            let expected = if expected == "-0" { "0" } else { expected };
            assert_eq!(number(text), expected, "{text:?}");
        }
        assert_eq!(number("99999999999999999999"), "100000000000000000000");
    }

    #[test]
    fn names_are_found_with_dash_or_underscore() {
        let value = Value::from_json(&serde_json::json!({ "first_name": 1, "last-name": 2 }));
        assert_eq!(value.member("first-name"), Value::Integer(1));
        assert_eq!(value.member("last_name"), Value::Integer(2));
        assert_eq!(value.member("none"), Value::Missing);
    }

    #[test]
    fn objects_have_places_too() {
        let value = Value::from_json(&serde_json::json!({ "a": 1, "0": 2, "b": 3 }));
        assert_eq!(value.at(&Value::Integer(0)), Value::Integer(2));
        assert_eq!(value.at(&Value::Integer(2)), Value::Integer(3));
        assert_eq!(value.at(&"a".into()), Value::Integer(1));
        assert_eq!(value.at(&Value::Integer(-1)), Value::Missing);
    }
}
