//! Address lists as callers write them: a text with commas, an array of such texts, objects with name and address.

use std::fmt;

use serde_json::{Map, Value};

use crate::mail::address::EmailAddress;
use crate::mail::header::{Mailbox, is_field_value};

/// An element of an address list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// A name and an address.
    Mailbox(Mailbox),
    /// Text with placeholders, of which the plugin `template` makes an element for each recipient.
    Template(String),
}

impl Element {
    /// Returns the address, where it is known before placeholders are filled in.
    pub fn address(&self) -> Option<EmailAddress> {
        match self {
            Self::Mailbox(mailbox) => Some(mailbox.address.clone()),
            Self::Template(text) => EmailAddress::parse(text.strip_suffix('>')?.rsplit_once('<')?.1.trim()).ok(),
        }
    }
}

impl From<Mailbox> for Element {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

/// As it stands in a header field, not encoded.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(f),
            Self::Template(text) => f.write_str(text),
        }
    }
}

/// Something in an address list that is no address, as it was written, cut at 100 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress(pub String);

impl BadAddress {
    fn new(text: &str) -> Self {
        Self(text.trim().chars().filter(|c| !c.is_control()).take(100).collect())
    }
}

/// Reads a comma list (RFC 5322 §3.4), commas in quotes and comments left alone. Empty elements count as nothing.
pub fn parse_list(text: &str) -> Vec<Result<Mailbox, BadAddress>> {
    elements(text, false).into_iter().map(parse_mailbox).collect()
}

/// Reads a text, an array of texts, `{"name","address"}` (`email` goes too), or an array of any of these.
pub fn parse_value(value: &Value) -> Vec<Result<Mailbox, BadAddress>> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => parse_list(text),
        Value::Array(elements) => elements.iter().flat_map(parse_value).collect(),
        Value::Object(object) => vec![NameAndAddress::of(object).parse()],
        Value::Bool(_) | Value::Number(_) => vec![Err(BadAddress::new(&value.to_string()))],
    }
}

/// Reads what [`parse_value`] reads, for a message that the plugin `template` will fill in: what is an address only then stays a text.
pub fn parse_template(value: &Value) -> Vec<Result<Element, BadAddress>> {
    let of_text = |text: &str| match parse_mailbox(text) {
        Ok(mailbox) => Ok(Element::Mailbox(mailbox)),
        Err(_) if text.contains('{') && !has_line_break(text) => Ok(Element::Template(text.trim().to_owned())),
        Err(bad) => Err(bad),
    };
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => elements(text, true).into_iter().map(of_text).collect(),
        Value::Array(elements) => elements.iter().flat_map(parse_template).collect(),
        Value::Object(object) => {
            let pair = NameAndAddress::of(object);
            match pair.parse() {
                Ok(mailbox) => vec![Ok(Element::Mailbox(mailbox))],
                // Nothing in it may end the element and begin another.
                Err(bad) => match elements(&pair.text(), true).as_slice() {
                    [only] => vec![of_text(only)],
                    _ => vec![Err(bad)],
                },
            }
        }
        Value::Bool(_) | Value::Number(_) => vec![Err(BadAddress::new(&value.to_string()))],
    }
}

/// Whether the text holds what would end a header field.
pub fn has_line_break(text: &str) -> bool {
    text.chars().any(|c| matches!(c, '\r' | '\n' | '\0'))
}

/// `{"name","address"}`
struct NameAndAddress<'a> {
    name: Option<&'a str>,
    address: &'a str,
}

impl<'a> NameAndAddress<'a> {
    fn of(object: &'a Map<String, Value>) -> Self {
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::trim);
        let name = text("name").filter(|name| !name.is_empty());
        Self { name, address: text("address").or_else(|| text("email")).unwrap_or_default() }
    }

    fn parse(&self) -> Result<Mailbox, BadAddress> {
        let bad = || BadAddress::new(self.address);
        if !self.name.is_none_or(is_field_value) {
            return Err(bad());
        }
        let address = EmailAddress::parse(self.address).map_err(|_| bad())?;
        Ok(Mailbox { name: self.name.map(str::to_owned), address })
    }

    fn text(&self) -> String {
        match self.name {
            Some(name) => format!("{name} <{}>", self.address),
            None => self.address.to_owned(),
        }
    }
}

/// Parts a list at its commas. With placeholders, nothing between braces does so.
fn elements(text: &str, placeholders: bool) -> Vec<&str> {
    let mut found = Vec::new();
    let mut scanner = Scanner { braces: placeholders.then_some(0), ..Scanner::default() };
    let mut start = 0;
    for (place, c) in text.char_indices() {
        if scanner.is_outside(c) && (c == ',' || c == ';') {
            found.push(text.get(start..place).unwrap_or_default());
            start = place + c.len_utf8();
        }
    }
    found.push(text.get(start..).unwrap_or_default());
    found.retain(|element| !element.trim().is_empty());
    found
}

/// Knows whether a character stands in quotes, a comment, angle brackets, or a placeholder.
#[derive(Default)]
struct Scanner {
    quoted: bool,
    escaped: bool,
    comments: u32,
    angle: bool,
    /// How many are open, where placeholders are looked for.
    braces: Option<u32>,
}

impl Scanner {
    fn is_outside(&mut self, c: char) -> bool {
        if let Some(open) = &mut self.braces {
            match c {
                '{' => *open += 1,
                '}' if *open > 0 => {
                    *open -= 1;
                    return false;
                }
                _ => {}
            }
            if *open > 0 {
                return false;
            }
        }
        if std::mem::take(&mut self.escaped) {
            return false;
        }
        match c {
            '\\' if self.quoted || self.comments > 0 => self.escaped = true,
            '"' if self.comments == 0 => self.quoted = !self.quoted,
            _ if self.quoted => return false,
            '(' => self.comments += 1,
            ')' => self.comments = self.comments.saturating_sub(1),
            '<' if self.comments == 0 => self.angle = true,
            '>' if self.comments == 0 => self.angle = false,
            _ => {}
        }
        !self.quoted && self.comments == 0 && !self.angle
    }
}

/// Reads an element that is one mailbox: no group, and no words behind the address, which would be lost.
fn parse_mailbox(text: &str) -> Result<Mailbox, BadAddress> {
    let mut scanner = Scanner::default();
    let (mut literal, mut ended) = (false, false);
    let is_mailbox = text.chars().all(|c| {
        if !scanner.is_outside(c) {
            return true;
        }
        match c {
            '[' | ']' => literal = c == '[',
            '>' => ended = true,
            _ => {}
        }
        match c {
            ':' => literal,
            '>' | ')' | ' ' | '\t' => true,
            _ => !ended,
        }
    });
    match Mailbox::parse_list(text) {
        Ok(mut list) if is_mailbox && list.len() == 1 => list.pop().ok_or_else(|| BadAddress::new(text)),
        Ok(_) | Err(_) => Err(BadAddress::new(text)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn show(list: Vec<Result<Mailbox, BadAddress>>) -> Vec<String> {
        let show_one = |mailbox: Mailbox| match mailbox.name {
            Some(name) => format!("{name}|{}", mailbox.address),
            None => mailbox.address.to_string(),
        };
        list.into_iter().map(|one| one.map_or_else(|BadAddress(text)| format!("!{text}"), show_one)).collect()
    }

    #[test]
    fn lists_are_split_outside_of_quotes() {
        for (text, expected) in [
            ("a@x", vec!["a@x"]),
            ("\"A, B\" <a@x>, c@x", vec!["A, B|a@x", "c@x"]),
            (" a@x ,, b@y; ", vec!["a@x", "b@y"]),
            ("Jörg Müller <j@x>", vec!["Jörg Müller|j@x"]),
            ("=?utf-8?Q?J=C3=B6rg?= <j@x>", vec!["Jörg|j@x"]),
            ("=?utf-8?Q?J=0D=0ABcc=3A_x?= <j@x>", vec!["J  Bcc: x|j@x"]),
            ("Team: a@x, b@x;", vec!["!Team: a@x", "b@x"]),
            ("mailto:a@x", vec!["!mailto:a@x"]),
            ("a@[ipv6:::1]", vec!["a@[ipv6:::1]"]),
            ("Ann <a@x> (at work)", vec!["Ann|a@x"]),
            ("a@x (Ann, A.)", vec!["Ann, A.|a@x"]),
            ("\"a,b\"@x, c@x", vec!["\"a,b\"@x", "c@x"]),
            ("\"q \\\" <\" <a@x>", vec!["q \" <|a@x"]),
            ("<a@x>", vec!["a@x"]),
            ("broken@@@Address.@@, a@x", vec!["!broken@@@Address.@@", "a@x"]),
            ("Name <a@x> trailing", vec!["!Name <a@x> trailing"]),
            ("Name <a@x", vec!["!Name <a@x"]),
            ("a@x\r\nBcc: b@y", vec!["!a@xBcc: b@y"]),
            ("{$name} <a@x>", vec!["{$name}|a@x"]),
            ("", vec![]),
        ] {
            assert_eq!(show(parse_list(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn values_of_all_shapes_are_lists() {
        let value = json!(["\"A, B\" <a@x>, c@x", "d@x", { "name": "E", "address": "e@x" }, { "email": "f@x" }]);
        assert_eq!(show(parse_value(&value)), ["A, B|a@x", "c@x", "d@x", "E|e@x", "f@x"]);
        assert_eq!(show(parse_value(&json!([1, null, { "name": "x\ny", "email": "a@x" }]))), ["!1", "!a@x"]);
    }

    #[test]
    fn placeholders_are_kept_for_the_plugin() {
        let show = |value: Value| {
            let show_one = |element: Element| match element {
                Element::Mailbox(mailbox) => mailbox.to_string(),
                Element::Template(text) => format!("{{}}{text}"),
            };
            let list = parse_template(&value).into_iter();
            list.map(|one| one.map_or_else(|BadAddress(text)| format!("!{text}"), show_one)).collect::<Vec<_>>()
        };
        assert_eq!(show(json!("{$name} <{$recipient}>, b@x")), ["{}{$name} <{$recipient}>", "b@x"]);
        assert_eq!(show(json!("{$name} <a@x>")), ["{$name} <a@x>"]);
        assert_eq!(show(json!("{$a|default:\"b, c\"} <{$recipient}>")), ["{}{$a|default:\"b, c\"} <{$recipient}>"]);
        assert_eq!(show(json!({ "name": "{{ n }}", "address": "{{ a }}" })), ["{}{{ n }} <{{ a }}>"]);
        assert_eq!(show(json!({ "name": "{$n}, b", "address": "{$a}" })), ["!{$a}"]);
        assert_eq!(show(json!("{$name}\r\nBcc: <{$a}>")), ["!{$name}Bcc: <{$a}>"]);
        assert_eq!(show(json!(["nobody", "{$a}"])), ["!nobody", "{}{$a}"]);
        let address = |text: &str| Element::Template(text.into()).address().map(|address| address.to_string());
        assert_eq!(address("{$a|default:\"b\"} <a@x>").as_deref(), Some("a@x"));
        assert_eq!(address("{$name} <{$recipient}>"), None);
        assert_eq!(address("{$recipient}"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_line_break_comes_through(text in "[ -~\r\né]{0,60}") {
            for mailbox in parse_list(&text).into_iter().flatten() {
                prop_assert!(!has_line_break(mailbox.name.as_deref().unwrap_or_default()));
            }
        }
    }
}
