//! The fields of a header as they stand, for those who look over a message once and take nothing apart.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

/// A line of a header, with the folded lines behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawField<'a> {
    /// Name and raw value, without blanks before the colon (obsolete, RFC 5322 §4.5) and without the final line end; `None` where it is no
    /// field.
    pub field: Option<(&'a [u8], &'a [u8])>,
    /// Where it stands, its line end included.
    pub place: Range<usize>,
}

/// Goes over the header of a message, up to the empty line behind it.
///
/// A line that is no field does not end it: who reads on behind such a line must find no field there that we have not seen.
#[derive(Clone, Debug)]
pub struct RawFields<'a> {
    content: &'a [u8],
    place: usize,
}

impl<'a> RawFields<'a> {
    /// Begins at the first line of a message.
    pub fn of(content: &'a [u8]) -> Self {
        Self { content, place: 0 }
    }

    /// Returns where the next line stands; at the end, the length of the header without the empty line.
    pub fn place(&self) -> usize {
        self.place
    }
}

impl<'a> Iterator for RawFields<'a> {
    type Item = RawField<'a>;

    fn next(&mut self) -> Option<RawField<'a>> {
        let rest = self.content.get(self.place..)?;
        if rest.is_empty() || rest.starts_with(b"\r\n") || rest.starts_with(b"\n") {
            return None;
        }
        let length = folded_length(rest);
        let place = self.place..self.place + length;
        self.place = place.end;
        Some(RawField { field: field(rest.get(..length).unwrap_or(rest)), place })
    }
}

/// Returns the raw values of all fields of this name, in order.
pub fn raw_values<'a>(content: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
    let fields = RawFields::of(content).filter_map(|line| line.field);
    fields.filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
}

/// Octets of the first line and of the folded lines behind it.
fn folded_length(rest: &[u8]) -> usize {
    let ends = |newline: &usize| !matches!(rest.get(newline + 1), Some(b' ' | b'\t'));
    memchr_iter(b'\n', rest).find(ends).map_or(rest.len(), |newline| newline + 1)
}

fn field(lines: &[u8]) -> Option<(&[u8], &[u8])> {
    // The colon stands in the first line: a name is not folded.
    let first = lines.get(..memchr(b'\n', lines).unwrap_or(lines.len()))?;
    let colon = memchr(b':', first)?;
    let name = lines.get(..colon)?.trim_ascii_end();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let value = lines.get(colon + 1..)?;
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    Some((name, value.strip_suffix(b"\r").unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(content: &str) -> Vec<String> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        RawFields::of(content.as_bytes())
            .map(|line| line.field.map_or_else(|| "-".to_owned(), |(name, value)| format!("{}={}", text(name), text(value))))
            .collect()
    }

    #[test]
    fn lines_are_fields_or_not() {
        assert_eq!(shown("A: b\r\nC : d\r\n e\r\nF:\r\n\r\nG: body\r\n"), ["A= b", "C= d\r\n e", "F="]);
        assert_eq!(shown("A: b\r\njunk\r\n more: x\r\nFrom: c\r\n"), ["A= b", "-", "From= c"]);
        // A blank line that is not empty goes on with what is before it; other readers differ.
        assert_eq!(shown("A: b\r\n \r\nFrom: c"), ["A= b\r\n ", "From= c"]);
        assert_eq!(shown(" a: b\r\nFrom\r\n : x\r\n\u{feff}D: e\r\na b: c\r\n"), ["-", "-", "-", "-"]);
        assert_eq!(shown("\r\nA: b\r\n"), [""; 0]);
        assert_eq!(raw_values(b"From: a\r\nfrom : b\r\nTo: c\r\n\r\nFrom: d", "From").count(), 2);
    }

    proptest! {
        #[test]
        fn every_octet_of_a_header_is_in_one_line(content in "([A:a \t\r\n]|\r\n){0,60}") {
            let mut fields = RawFields::of(content.as_bytes());
            let mut end = 0;
            for line in fields.by_ref() {
                prop_assert_eq!(line.place.start, end);
                prop_assert!(line.place.end > line.place.start);
                end = line.place.end;
            }
            prop_assert_eq!(fields.place(), end);
            let rest = content.as_bytes().get(end..).unwrap_or_default();
            prop_assert!(rest.is_empty() || rest.starts_with(b"\r\n") || rest.starts_with(b"\n"));
        }
    }
}
