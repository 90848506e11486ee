//! JSON with a limit on the number of its values: in memory a value takes many times the octets that it has on the way. No object has a key
//! twice: which of the two counts is open (RFC 8259 §4), and a caller who is misread had better know.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// More values than are read.
    #[error("the JSON has more than {0} values")]
    TooManyValues(u32),
    /// An object has this key twice.
    #[error("the key {0:?} is there twice")]
    DoubledKey(String),
    /// Something else than an object.
    #[error("the body is no JSON object")]
    NoObject,
    /// Not JSON; the error names the place.
    #[error("the body is no JSON: {0}")]
    Syntax(#[from] serde_json::Error),
}

/// Reads a value that has, with all that is in it, at most `most` values.
pub fn parse(octets: &[u8], most: u32) -> Result<Value, JsonError> {
    let mut count = Count { most, left: most, fault: None };
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    let read = Counted(&mut count).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| count.fault.unwrap_or(JsonError::Syntax(error)))
}

/// Reads an object of at most `most` values.
pub fn object(octets: &[u8], most: u32) -> Result<Map<String, Value>, JsonError> {
    match parse(octets, most)? {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(JsonError::NoObject),
    }
}

/// Looks for members of an object, by names in lower case, and keeps nothing of the others: what comes of an object of any size is small.
///
/// Numbers count as their digits; what is neither text nor number is not found.
pub fn texts<const N: usize>(octets: &[u8], names: [&str; N]) -> Result<[Option<String>; N], JsonError> {
    if octets.iter().find(|octet| !octet.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
        return Err(JsonError::NoObject);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    let found = deserializer.deserialize_map(Sought(names))?;
    deserializer.end()?;
    Ok(found)
}

struct Count {
    most: u32,
    left: u32,
    /// What is wrong, where it is not the syntax.
    fault: Option<JsonError>,
}

/// A value, counted before it is read.
struct Counted<'a>(&'a mut Count);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.0.left.checked_sub(1) else {
            self.0.fault = Some(JsonError::TooManyValues(self.0.most));
            return Err(D::Error::custom("too many values"));
        };
        self.0.left = left;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Counted(self.0))? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.0.fault = Some(JsonError::DoubledKey(name));
                return Err(A::Error::custom("a key is there twice"));
            }
            let value = members.next_value_seed(Counted(self.0))?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

struct Sought<'a, const N: usize>([&'a str; N]);

impl<'de, const N: usize> Visitor<'de> for Sought<'_, N> {
    type Value = [Option<String>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        while let Some(name) = members.next_key::<String>()? {
            let name = name.to_lowercase();
            match self.0.iter().zip(&mut found).find(|(sought, _)| **sought == name) {
                Some((_, place)) => *place = text(members.next_value::<&RawValue>()?),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

fn text(raw: &RawValue) -> Option<String> {
    match parse(raw.get().as_bytes(), 1).ok()? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_of_the_library() {
        for text in
            ["null", "true", "-1", "18446744073709551615", "1.5", "1e300", "\"a\\u00e9\"", "[]", " {\"b\":[1,{\"a\":null}],\"a\":\"\"} "]
        {
            assert_eq!(parse(text.as_bytes(), 10).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        let deep = "[".repeat(100_000);
        for text in ["", "1 2", "{\"a\"}", "1e999", "nul", &deep] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(parse(text.as_bytes(), u32::MAX).unwrap_err().to_string(), format!("the body is no JSON: {error}"), "{text:.20}");
        }
    }

    #[test]
    fn values_are_counted_wherever_they_are() {
        for (text, count) in [("1", 1), ("[]", 1), ("[1,2]", 3), ("{\"a\":{\"b\":[null]}}", 4)] {
            assert!(parse(text.as_bytes(), count).is_ok(), "{text}");
            assert!(matches!(parse(text.as_bytes(), count - 1), Err(JsonError::TooManyValues(most)) if most == count - 1), "{text}");
        }
        assert!(matches!(object(b"[1]", 5), Err(JsonError::NoObject)));
        assert_eq!(object(b"{\"a\":1}", 2).unwrap().get("a"), Some(&json!(1)));
    }

    #[test]
    fn a_key_counts_once() {
        for text in ["{\"a\":1,\"a\":1}", "[{\"b\":{\"a\":1,\"c\":2,\"a\":[]}}]"] {
            assert!(matches!(parse(text.as_bytes(), 10), Err(JsonError::DoubledKey(key)) if key == "a"), "{text}");
        }
        assert!(parse(b"{\"a\":{\"c\":1},\"b\":{\"c\":1}}", 10).is_ok());
    }

    #[test]
    fn texts_are_found_beside_anything() {
        let text = |text: &str| Some(text.to_owned());
        let found = |octets: &str| texts(octets.as_bytes(), ["authuser", "authpass"]);
        assert_eq!(found("{\"x\":[[0,0],{\"authuser\":\"no\"}],\"AuthUser\":\"ü\",\"authpass\":17}").unwrap(), [text("ü"), text("17")]);
        assert_eq!(found("{\"authuser\":[\"a\"],\"authpass\":null}").unwrap(), [None, None]);
        assert!(matches!(found("[{\"authuser\":\"a\"}]"), Err(JsonError::NoObject)));
        for broken in ["", "{", "{\"authuser\":\"a\"} x", "{\"authuser\":\"a\",}"] {
            assert!(matches!(found(broken), Err(JsonError::Syntax(_))), "{broken}");
        }
    }
}
