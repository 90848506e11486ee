//! Address lists as callers write them: a text with commas, an array of such texts, objects with name and address.

use mail_parser::parsers::MessageStream;
use serde_json::Value;

use crate::mail::address::EmailAddress;

/// An address with the name that stands beside it in a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Decoded, without quotes.
    pub name: Option<String>,
    /// The address.
    pub address: EmailAddress,
}

impl Mailbox {
    /// A mailbox without a name.
    pub fn bare(address: EmailAddress) -> Self {
        Self { name: None, address }
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
    elements(text).into_iter().filter(|element| !element.trim().is_empty()).map(parse_mailbox).collect()
}

/// Reads a text, an array of texts, `{"name","address"}` (`email` goes too), or an array of any of these.
pub fn parse_value(value: &Value) -> Vec<Result<Mailbox, BadAddress>> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => parse_list(text),
        Value::Array(elements) => elements.iter().flat_map(parse_value).collect(),
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            let written = text("address").or_else(|| text("email")).unwrap_or_default();
            let name = text("name").map(str::trim).filter(|name| !name.is_empty());
            if name.is_some_and(has_line_break) {
                return vec![Err(BadAddress::new(written))];
            }
            let address = EmailAddress::parse(written.trim()).map_err(|_| BadAddress::new(written));
            vec![address.map(|address| Mailbox { name: name.map(str::to_owned), address })]
        }
        Value::Bool(_) | Value::Number(_) => vec![Err(BadAddress::new(&value.to_string()))],
    }
}

/// Whether the text holds what would end a header field.
pub fn has_line_break(text: &str) -> bool {
    text.chars().any(|c| matches!(c, '\r' | '\n' | '\0'))
}

fn elements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut scanner = Scanner::default();
    let mut start = 0;
    for (place, c) in text.char_indices() {
        if scanner.is_outside(c) && (c == ',' || c == ';') {
            found.push(text.get(start..place).unwrap_or_default());
            start = place + c.len_utf8();
        }
    }
    found.push(text.get(start..).unwrap_or_default());
    found
}

/// Knows whether a character stands in quotes, a comment, or angle brackets.
#[derive(Default)]
struct Scanner {
    quoted: bool,
    escaped: bool,
    comments: u32,
    angle: bool,
}

impl Scanner {
    fn is_outside(&mut self, c: char) -> bool {
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

fn parse_mailbox(text: &str) -> Result<Mailbox, BadAddress> {
    let bad = || BadAddress::new(text);
    if has_line_break(text) {
        return Err(bad());
    }
    let text = text.trim();
    let Some(open) = open_angle(text) else {
        let (address, comment) = split_comment(text);
        let address = EmailAddress::parse(address).map_err(|_| bad())?;
        return Ok(Mailbox { name: comment.and_then(display_name), address });
    };
    let (name, rest) = text.split_at_checked(open).ok_or_else(bad)?;
    let (inner, behind) = rest.strip_prefix('<').and_then(|rest| rest.rsplit_once('>')).ok_or_else(bad)?;
    if !split_comment(behind).0.is_empty() {
        return Err(bad());
    }
    let address = EmailAddress::parse(inner.trim()).map_err(|_| bad())?;
    Ok(Mailbox { name: display_name(name), address })
}

/// Where the `<` of the address stands: outside of quotes and comments.
fn open_angle(text: &str) -> Option<usize> {
    let mut scanner = Scanner::default();
    for (place, c) in text.char_indices() {
        let before = scanner.quoted || scanner.comments > 0;
        scanner.is_outside(c);
        if c == '<' && !before {
            return Some(place);
        }
    }
    None
}

/// `address (comment)`: the old way to give a name.
fn split_comment(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    match text.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        Some((before, comment)) if !before.contains('"') => (before.trim(), Some(comment)),
        Some(_) | None => (text, None),
    }
}

fn display_name(text: &str) -> Option<String> {
    let text = text.trim();
    let unquoted = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => {
            let mut name = String::with_capacity(quoted.len());
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                name.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
            }
            name
        }
        None => text.to_owned(),
    };
    let name = if unquoted.contains("=?") { decode_words(&unquoted) } else { unquoted };
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Encoded words (RFC 2047) in a name that comes from some other header; line breaks that they hide become blanks.
fn decode_words(text: &str) -> String {
    let line = format!("{text}\n");
    let decoded = MessageStream::new(line.as_bytes()).parse_unstructured();
    let decoded = decoded.as_text().unwrap_or(text);
    decoded.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
            ("=?utf-8?Q?J=0D=0ABcc:_x?= <j@x>", vec!["J  Bcc: x|j@x"]),
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

    proptest! {
        #[test]
        fn nothing_panics_and_no_line_break_comes_through(text in "[ -~\r\né]{0,60}") {
            for mailbox in parse_list(&text).into_iter().flatten() {
                prop_assert!(!has_line_break(mailbox.name.as_deref().unwrap_or_default()));
            }
        }
    }
}
