//! Modifiers that escape, encode and hash.

use std::fmt::Write as _;

use base64::Engine as _;
use sha2::Digest as _;

use super::{Arguments, map_text};
use crate::{
    limits::Error,
    smarty::{evaluator::Scope, value::Value},
};

type Result = std::result::Result<Value, Error>;

/// Replaces what HTML gives a meaning to.
pub(in crate::smarty) fn escape_html(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\'' => result.push_str("&#39;"),
            _ => result.push(character),
        }
    }
    result
}

/// `escape`, `escape:"html"`, `escape:"url"`, `escape:"base64"`, `escape:"json"`; other kinds change nothing.
pub(super) fn escape(value: Value, arguments: Arguments<'_>, scope: &mut Scope) -> Result {
    match arguments.text(0, "html").to_ascii_lowercase().as_str() {
        "html" => Ok(map_text(value, escape_html)),
        "url" => url_encode(value, arguments, scope),
        "base64" => base64_encode(value, arguments, scope),
        "json" => json_encode(value, arguments, scope),
        _ => Ok(value),
    }
}

pub(super) fn raw(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(value)
}

/// Form encoding: a blank is `+`, and `A-Za-z0-9_.-` stay.
pub(super) fn url_encode(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().map_or('0', char::from);
    Ok(map_text(value, |text| {
        let mut result = String::with_capacity(text.len() * 3);
        for octet in text.bytes() {
            match octet {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' => {
                    result.push(char::from(octet));
                }
                b' ' => result.push('+'),
                _ => result.extend(['%', digit(octet >> 4), digit(octet & 15)]),
            }
        }
        result
    }))
}

/// The other way; a `%` without two hexadecimal digits is itself, and what is not UTF-8 becomes a replacement character.
pub(super) fn url_decode(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(map_text(value, |text| {
        let mut octets = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            let escaped = after.split_at_checked(2).filter(|_| octet == b'%').and_then(|(digits, after)| {
                let digit = |octet: &u8| char::from(*octet).to_digit(16);
                let [high, low] = digits else { return None };
                Some((u8::try_from(digit(high)? * 16 + digit(low)?).ok()?, after))
            });
            match escaped {
                Some((decoded, after)) => {
                    octets.push(decoded);
                    rest = after;
                }
                None => octets.push(if octet == b'+' { b' ' } else { octet }),
            }
        }
        String::from_utf8_lossy(&octets).into_owned()
    }))
}

pub(super) fn base64_encode(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(map_text(value, |text| base64::engine::general_purpose::STANDARD.encode(text)))
}

/// The other way; what is not Base64 becomes empty.
pub(super) fn base64_decode(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(map_text(value, |text| {
        let packed: String = text.split_whitespace().collect();
        let octets = base64::engine::general_purpose::STANDARD.decode(packed).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }))
}

pub(super) fn json_encode(value: Value, _: Arguments<'_>, scope: &mut Scope) -> Result {
    let text = value.to_json().to_string();
    scope.budget.text(text.len())?;
    Ok(text.into())
}

/// The other way; what is not JSON is missing.
pub(super) fn json_decode(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    let json = serde_json::from_str(&value.text()).unwrap_or(serde_json::Value::Null);
    Ok(Value::from_json(&json))
}

/// A hash of octets in lower-case hexadecimal digits.
pub(in crate::smarty) type Hash = fn(&[u8]) -> String;

fn hex(octets: impl AsRef<[u8]>) -> String {
    octets.as_ref().iter().fold(String::new(), |mut digits, octet| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{octet:02x}");
        digits
    })
}

/// The hash of that name.
pub(in crate::smarty) fn hash_by_name(name: &str) -> Option<Hash> {
    Some(match name.to_ascii_lowercase().as_str() {
        "md5" => |octets| hex(md5::Md5::digest(octets)),
        "sha1" => |octets| hex(sha1::Sha1::digest(octets)),
        "sha256" => |octets| hex(sha2::Sha256::digest(octets)),
        "sha512" => |octets| hex(sha2::Sha512::digest(octets)),
        _ => return None,
    })
}

/// Hashes a text, or all values of a list or object one after the other.
pub(in crate::smarty) fn hashed(value: &Value, hash: Hash, scope: &mut Scope) -> Result {
    let mut text = String::new();
    gather(value, &mut text, scope)?;
    scope.budget.work(text.len())?;
    Ok(hash(text.as_bytes()).into())
}

fn gather(value: &Value, text: &mut String, scope: &mut Scope) -> std::result::Result<(), Error> {
    match value {
        Value::List(items) => items.iter().try_for_each(|item| gather(item, text, scope)),
        Value::Object(members) => members.values().try_for_each(|item| gather(item, text, scope)),
        Value::Missing | Value::Boolean(_) | Value::Integer(_) | Value::Decimal(_) | Value::Text(_) => {
            text.push_str(&value.text());
            scope.budget.text(text.len())
        }
    }
}

fn hashed_by_name(value: &Value, name: &str, scope: &mut Scope) -> Result {
    hash_by_name(name).map_or(Ok(Value::Missing), |hash| hashed(value, hash, scope))
}

pub(super) fn md5(value: Value, _: Arguments<'_>, scope: &mut Scope) -> Result {
    hashed_by_name(&value, "md5", scope)
}

pub(super) fn sha1(value: Value, _: Arguments<'_>, scope: &mut Scope) -> Result {
    hashed_by_name(&value, "sha1", scope)
}

pub(super) fn sha256(value: Value, _: Arguments<'_>, scope: &mut Scope) -> Result {
    hashed_by_name(&value, "sha256", scope)
}

pub(super) fn sha512(value: Value, _: Arguments<'_>, scope: &mut Scope) -> Result {
    hashed_by_name(&value, "sha512", scope)
}
