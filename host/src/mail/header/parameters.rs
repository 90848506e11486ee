//! Values with parameters: `Content-Type` and `Content-Disposition` (RFC 2045 §5.1, RFC 2183, with RFC 2231 for what is long or not ASCII).

use std::fmt::Write as _;
use std::ops::Range;

use super::charset;
use super::encoded_word::{self, hex_octet};

/// How many parameters of one field are read.
const MAX_PARAMETERS: usize = 64;

/// `value; name=value; …`, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameterized {
    /// What stands before the first semicolon, in lower case, without comments.
    pub value: String,
    parameters: Vec<Parameter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    name: String,
    value: String,
    /// Where the value stands in the raw field, quotes included; `None` for what was put together of pieces.
    place: Option<Range<usize>>,
}

/// A piece of a parameter that was cut or percent-encoded: `name*section*=value`.
struct Section {
    name: String,
    number: u32,
    encoded: bool,
    value: String,
}

impl Parameterized {
    /// Reads a raw value: folded, with comments, with whatever is missing in practice.
    pub fn parse(raw: &[u8]) -> Self {
        let mut reader = Reader { raw, place: 0 };
        let mut value = String::new();
        while let Some(octet) = reader.peek() {
            match octet {
                b';' => break,
                b'(' => reader.comment(),
                b' ' | b'\t' | b'\r' | b'\n' => reader.place += 1,
                other => {
                    value.push(char::from(other.to_ascii_lowercase()));
                    reader.place += 1;
                }
            }
        }
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut sections = Vec::new();
        while parameters.len() + sections.len() < MAX_PARAMETERS
            && let Some((name, value, place)) = reader.parameter()
        {
            match split_name(&name) {
                Some((base, number, encoded)) => sections.push(Section { name: base.to_owned(), number, encoded, value }),
                None if parameters.iter().any(|known| known.name == name) => {}
                None => parameters.push(Parameter {
                    name,
                    value: encoded_word::without_controls(&encoded_word::decode(&value)).into_owned(),
                    place: Some(place),
                }),
            }
        }
        join_sections(sections, &mut parameters);
        Self { value, parameters }
    }

    /// Returns a parameter, decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|parameter| parameter.name == name).map(|parameter| parameter.value.as_str())
    }

    /// Returns where the value of a parameter stands in the raw field, quotes included.
    pub(crate) fn place(&self, name: &str) -> Option<Range<usize>> {
        self.parameters.iter().find(|parameter| parameter.name == name)?.place.clone()
    }
}

/// `name*`, `name*0`, `name*0*` (RFC 2231 §3, §4): name, number of the section, whether it is percent-encoded.
fn split_name(name: &str) -> Option<(&str, u32, bool)> {
    let (base, section) = name.split_once('*')?;
    if section.is_empty() {
        return Some((base, 0, true));
    }
    let digits = section.strip_suffix('*').unwrap_or(section);
    Some((base, digits.parse().ok()?, digits.len() < section.len()))
}

fn join_sections(mut sections: Vec<Section>, parameters: &mut Vec<Parameter>) {
    sections.sort_by(|one, other| (&one.name, one.number).cmp(&(&other.name, other.number)));
    for group in sections.chunk_by(|one, other| one.name == other.name) {
        let mut octets = Vec::new();
        let mut label = None;
        for section in group {
            let mut value = section.value.as_str();
            if section.encoded {
                // `charset'language'text` in the first section only.
                if section.number == 0
                    && let Some((charset, rest)) = value.split_once('\'')
                    && let Some((_, text)) = rest.split_once('\'')
                {
                    label = Some(charset);
                    value = text;
                }
                percent_decode(value.as_bytes(), &mut octets);
            } else {
                octets.extend_from_slice(value.as_bytes());
            }
        }
        let Some(first) = group.first() else { continue };
        let value = encoded_word::without_controls(&charset::decode(label, &octets)).into_owned();
        // The new form wins over the old one that stands beside it for old readers (RFC 6266 §4.3 says so for HTTP; mail does alike).
        parameters.retain(|known| known.name != first.name);
        parameters.push(Parameter { name: first.name.clone(), value, place: None });
    }
}

fn percent_decode(mut text: &[u8], octets: &mut Vec<u8>) {
    while let Some((first, rest)) = text.split_first() {
        text = rest;
        match (first, rest.split_at_checked(2)) {
            (b'%', Some((digits, tail))) if let Some(octet) = hex_octet(digits) => {
                octets.push(octet);
                text = tail;
            }
            _ => octets.push(*first),
        }
    }
}

struct Reader<'a> {
    raw: &'a [u8],
    place: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.raw.get(self.place).copied()
    }

    /// Passes a comment, with the comments in it.
    fn comment(&mut self) {
        let mut depth = 0_u32;
        while let Some(octet) = self.peek() {
            self.place += 1;
            match octet {
                b'\\' => self.place += 1,
                b'(' => depth += 1,
                b')' if depth <= 1 => return,
                b')' => depth -= 1,
                _ => {}
            }
        }
    }

    fn blanks(&mut self) {
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' => self.place += 1,
                b'(' => self.comment(),
                _ => return,
            }
        }
    }

    /// Reads the next `; name=value`. What has no `=` is passed over.
    fn parameter(&mut self) -> Option<(String, String, Range<usize>)> {
        loop {
            self.blanks();
            if self.peek()? == b';' {
                self.place += 1;
                continue;
            }
            let name = self.token(b"=;").to_ascii_lowercase();
            self.blanks();
            if self.peek() == Some(b'=') {
                self.place += 1;
                self.blanks();
                let start = self.place;
                let value = if self.peek() == Some(b'"') { self.quoted() } else { self.token(b";") };
                return Some((name, value, start..self.place));
            }
            // Nothing that we know; go on behind it, whatever it is.
            self.place += usize::from(name.is_empty());
        }
    }

    /// Reads up to a blank or one of `ends`. More is allowed than in a token: file names come without quotes.
    fn token(&mut self, ends: &[u8]) -> String {
        let start = self.place;
        while let Some(octet) = self.peek() {
            if matches!(octet, b' ' | b'\t' | b'\r' | b'\n') || ends.contains(&octet) {
                break;
            }
            self.place += 1;
        }
        charset::decode(None, self.raw.get(start..self.place).unwrap_or_default()).into_owned()
    }

    fn quoted(&mut self) -> String {
        self.place += 1;
        let mut octets = Vec::new();
        while let Some(octet) = self.peek() {
            self.place += 1;
            match octet {
                b'"' => break,
                b'\\' => {
                    octets.extend(self.peek());
                    self.place += 1;
                }
                b'\r' | b'\n' => {}
                other => octets.push(other),
            }
        }
        self.place = self.place.min(self.raw.len());
        charset::decode(None, &octets).into_owned()
    }
}

/// Octets of a value on one line, so that the line stays below 78.
const SECTION: usize = 54;

/// Writes `; name=value`: as a token or in quotes where it is short and ASCII, else by RFC 2231.
///
/// Each parameter goes on a line of its own, and long ones on several. Control characters are left out.
pub(crate) fn write_parameter(name: &str, value: &str, field: &mut String) {
    let value = without_controls(value);
    if value.is_ascii() && value.len() <= SECTION {
        write_quoted(name, &value, field);
        return;
    }
    let mut sections = vec![String::from("utf-8''")];
    for octet in value.bytes() {
        if sections.last().is_none_or(|section| section.len() + 3 > SECTION) {
            sections.push(String::new());
        }
        let Some(section) = sections.last_mut() else { return };
        // attribute-char (RFC 2231 §7)
        if octet.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&octet) {
            section.push(char::from(octet));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(section, "%{octet:02X}");
        }
    }
    if let [only] = sections.as_slice() {
        let _ = write!(field, ";\r\n {name}*={only}");
    } else {
        for (number, section) in sections.iter().enumerate() {
            let _ = write!(field, ";\r\n {name}*{number}*={section}");
        }
    }
}

/// Writes `; name=value` for readers that know nothing of RFC 2231: encoded words in quotes, which no standard allows and every reader takes.
pub(crate) fn write_fallback(name: &str, value: &str, field: &mut String) {
    let value = without_controls(value);
    if value.is_ascii() && value.len() <= SECTION {
        write_quoted(name, &value, field);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(field, ";\r\n {name}=\"{}\"", encoded_word::encode(&value, SECTION).join("\r\n "));
    }
}

fn without_controls(value: &str) -> String {
    value.chars().filter(|character| !character.is_control()).collect()
}

fn write_quoted(name: &str, value: &str, field: &mut String) {
    let is_token = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet));
    let escaped = if is_token { value.to_owned() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) };
    let _ = write!(field, ";\r\n {name}={escaped}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_read() {
        for (raw, value, name, parameter) in [
            ("text/html; charset=UTF-8", "text/html", "charset", Some("UTF-8")),
            (" Text/HTML ;\r\n\tCharset = \"iso-8859-1\" ; x=y", "text/html", "charset", Some("iso-8859-1")),
            ("text/plain (a comment; charset=no); charset=us-ascii (so (be) it)", "text/plain", "charset", Some("us-ascii")),
            ("text/plain", "text/plain", "charset", None),
            ("", "", "charset", None),
            ("text/plain; charset", "text/plain", "charset", None),
            ("text/plain;;; = ;charset=a;charset=b", "text/plain", "charset", Some("a")),
            ("multipart/mixed; boundary=\"a b\\\"c\\\\\"", "multipart/mixed", "boundary", Some("a b\"c\\")),
            ("a/b; name=\"=?utf-8?Q?=C3=A9?=\"", "a/b", "name", Some("é")),
            ("a/b; name*=utf-8''%C3%A9%zz", "a/b", "name", Some("é%zz")),
            ("a/b; name*1*=%A9; name*0*=utf-8'en'%C3; name=x; name*2=\" z\"", "a/b", "name", Some("é z")),
            ("attachment; filename=my file.pdf", "attachment", "filename", Some("my")),
            ("attachment; filename=a/b(1).pdf", "attachment", "filename", Some("a/b(1).pdf")),
            ("attachment; filename=\"open", "attachment", "filename", Some("open")),
        ] {
            let parsed = Parameterized::parse(raw.as_bytes());
            assert_eq!((parsed.value.as_str(), parsed.parameter(name)), (value, parameter), "{raw}");
        }
        let raw = b"text/html; charset=\"x\"; a=b";
        assert_eq!(Parameterized::parse(raw).place("charset").and_then(|place| raw.get(place)), Some(&b"\"x\""[..]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in "\\PC{1,200}") {
            let mut field = String::from("attachment");
            write_parameter("filename", &value, &mut field);
            prop_assert!(field.is_ascii() && field.split("\r\n").all(|line| line.len() <= 78), "{field}");
            let parsed = Parameterized::parse(field.as_bytes());
            let read = parsed.parameter("filename").unwrap_or_default();
            prop_assert!(read == value || value.is_ascii() && value.contains("=?"), "{field}");

            let mut field = String::from("a/b");
            write_fallback("name", &value, &mut field);
            prop_assert!(field.is_ascii() && field.split("\r\n").all(|line| line.len() <= 84), "{field}");
            let parsed = Parameterized::parse(field.as_bytes());
            let read = parsed.parameter("name").unwrap_or_default();
            prop_assert!(read == value || value.is_ascii() && value.contains("=?"), "{field}");
        }

        #[test]
        fn anything_can_be_read(raw in "[;=\"*'%()\\\\a0 \r\n]{0,60}") {
            Parameterized::parse(raw.as_bytes());
        }
    }
}
