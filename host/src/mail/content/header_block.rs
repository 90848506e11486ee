//! A header as a list of fields that are octets of the original until they are edited.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use crate::mail::header::{self, FieldError};

/// How many fields of one header are told apart. Mail has 10 to 60; what stands behind this many is kept as it is, and not seen.
pub const MAX_FIELDS: usize = 1_000;

/// Octets of a message: a range of those it was made of, or others.
#[derive(Clone, Debug)]
pub(super) enum Octets {
    Original(Range<usize>),
    Edited(Bytes),
}

impl Octets {
    pub(super) fn of<'a>(&'a self, original: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Original(range) => original.get(range.clone()).unwrap_or_default(),
            Self::Edited(octets) => octets,
        }
    }

    /// Shares the octets.
    pub(super) fn share(&self, original: &Bytes) -> Bytes {
        match self {
            // Ranges are made by parsing, and never of anything but the original.
            Self::Original(range) if range.end <= original.len() && range.start <= range.end => original.slice(range.clone()),
            Self::Original(_) => Bytes::new(),
            Self::Edited(octets) => octets.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Original(range) => range.len(),
            Self::Edited(octets) => octets.len(),
        }
    }
}

/// One field: name, colon, value, line end.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) octets: Octets,
    /// 0 where it is no field that we can name.
    name_length: usize,
    /// Where the value starts.
    value_start: usize,
    /// What an edit gave; it may hold tokens, and is encoded only when they are filled.
    pub(super) value: Option<Arc<str>>,
}

impl Field {
    fn new(name: &str, value: &str) -> Result<Self, FieldError> {
        let octets = header::encode(name, value)?;
        Ok(Self {
            octets: Octets::Edited(octets.into()),
            name_length: name.len(),
            value_start: name.len() + 1,
            value: Some(value.trim_matches([' ', '\t']).into()),
        })
    }

    /// A field that is written already, with its CRLF.
    fn written(name: &str, field: String) -> Self {
        Self { octets: Octets::Edited(field.into()), name_length: name.len(), value_start: name.len() + 1, value: None }
    }

    pub(super) fn name<'a>(&'a self, original: &'a [u8]) -> &'a str {
        str::from_utf8(self.octets.of(original).get(..self.name_length).unwrap_or_default()).unwrap_or_default()
    }

    fn is(&self, name: &str, original: &[u8]) -> bool {
        self.name_length == name.len() && self.name_length > 0 && self.name(original).eq_ignore_ascii_case(name)
    }

    /// Folded and encoded, without the final line end.
    pub(super) fn raw<'a>(&'a self, original: &'a [u8]) -> &'a [u8] {
        without_line_end(self.octets.of(original).get(self.value_start..).unwrap_or_default())
    }

    /// Unfolded and decoded.
    pub(super) fn decoded(&self, original: &[u8]) -> String {
        match &self.value {
            Some(value) => value.as_ref().to_owned(),
            None => header::decode(self.name(original), self.raw(original)),
        }
    }
}

fn without_line_end(octets: &[u8]) -> &[u8] {
    let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
    octets.strip_suffix(b"\r").unwrap_or(octets)
}

/// The fields of a message or a part, and the empty line behind them.
#[derive(Clone, Debug)]
pub(super) struct HeaderBlock {
    fields: Vec<Field>,
    /// The empty line; nothing where there is none.
    separator: Octets,
}

impl HeaderBlock {
    /// Finds the fields at the start of a range; returns where the body starts.
    ///
    /// The header ends at the first line that is no field and continues none: an empty one, which belongs to neither, or any other, which is
    /// the body's first.
    pub(super) fn scan(original: &[u8], range: Range<usize>) -> (Self, usize) {
        let mut fields: Vec<Field> = Vec::new();
        let mut start = range.start;
        let mut separator = start..start;
        while let Some(rest) = original.get(start..range.end)
            && !rest.is_empty()
        {
            let end = memchr(b'\n', rest).map_or(range.end, |place| start + place + 1);
            let line = original.get(start..end).unwrap_or_default();
            if without_line_end(line).is_empty() {
                separator = start..end;
                start = end;
                break;
            }
            let continues = line.starts_with(b" ") || line.starts_with(b"\t");
            match (field_name(line), fields.last_mut()) {
                (_, Some(Field { octets: Octets::Original(last), .. })) if continues => last.end = end,
                (Some(_), Some(Field { octets: Octets::Original(last), name_length: 0, .. })) => last.end = end,
                (Some((name_length, value_start)), _) if !continues => {
                    // The last place holds all that is too much.
                    let is_seen = fields.len() < MAX_FIELDS;
                    let (name_length, value_start) = if is_seen { (name_length, value_start) } else { (0, 0) };
                    fields.push(Field { octets: Octets::Original(start..end), name_length, value_start, value: None });
                }
                _ => break,
            }
            start = end;
        }
        if separator.is_empty() {
            separator = start..start;
        }
        (Self { fields, separator: Octets::Original(separator) }, start)
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn separator(&self) -> &Octets {
        &self.separator
    }

    pub(super) fn find<'a>(&'a self, name: &'a str, original: &'a [u8]) -> impl Iterator<Item = &'a Field> + 'a {
        self.fields.iter().filter(move |field| field.is(name, original))
    }

    pub(super) fn raw<'a>(&'a self, name: &'a str, original: &'a [u8]) -> Option<&'a [u8]> {
        self.find(name, original).next().map(|field| field.raw(original))
    }

    pub(super) fn decoded(&self, name: &str, original: &[u8]) -> Option<String> {
        self.find(name, original).next().map(|field| field.decoded(original))
    }

    pub(super) fn len(&self) -> usize {
        self.fields.iter().map(|field| field.octets.len()).sum::<usize>() + self.separator.len()
    }

    pub(super) fn add_first(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        self.fields.insert(0, Field::new(name, value)?);
        Ok(())
    }

    pub(super) fn add_last(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        self.fields.push(Field::new(name, value)?);
        Ok(())
    }

    /// Puts a field at the place of the first of its name, and removes the others.
    pub(super) fn set(&mut self, name: &str, value: &str, original: &[u8]) -> Result<(), FieldError> {
        let field = Field::new(name, value)?;
        self.put(name, field, original);
        Ok(())
    }

    /// As [`HeaderBlock::set`], with a value that is folded and encoded already.
    pub(super) fn set_written(&mut self, name: &str, raw: &str, original: &[u8]) {
        self.put(name, Field::written(name, format!("{name}: {raw}\r\n")), original);
    }

    fn put(&mut self, name: &str, field: Field, original: &[u8]) {
        match self.fields.iter().position(|known| known.is(name, original)) {
            Some(place) => {
                self.remove(name, original);
                self.fields.insert(place, field);
            }
            None => self.fields.push(field),
        }
    }

    pub(super) fn remove(&mut self, name: &str, original: &[u8]) -> usize {
        let before = self.fields.len();
        self.fields.retain(|field| !field.is(name, original));
        before - self.fields.len()
    }

    /// Takes out the fields that describe a body (`Content-…`), as octets of a part's header with the empty line behind it.
    pub(super) fn take_content_fields(&mut self, original: &[u8]) -> Vec<u8> {
        let mut taken = Vec::new();
        self.fields.retain(|field| {
            let is_content = field.name(original).get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
            if is_content {
                push_line(field.octets.of(original), &mut taken);
            }
            !is_content
        });
        taken.extend_from_slice(b"\r\n");
        taken
    }

    /// Returns the octets of an edited header: as they are, with an empty line behind them if there was none.
    pub(super) fn to_octets(&self, original: &[u8]) -> Bytes {
        let mut octets = Vec::with_capacity(self.len() + 2);
        for field in &self.fields {
            push_line(field.octets.of(original), &mut octets);
        }
        match self.separator.of(original) {
            [] => octets.extend_from_slice(b"\r\n"),
            separator => octets.extend_from_slice(separator),
        }
        octets.into()
    }
}

/// Appends a line, with the line end that the last one of a message may lack.
fn push_line(line: &[u8], octets: &mut Vec<u8>) {
    octets.extend_from_slice(line);
    if !line.ends_with(b"\n") {
        octets.extend_from_slice(b"\r\n");
    }
}

/// Returns the length of the name and where the value starts. Blanks before the colon are obsolete (RFC 5322 §4.5), and found.
fn field_name(line: &[u8]) -> Option<(usize, usize)> {
    let colon = memchr(b':', line)?;
    let before = line.get(..colon).unwrap_or_default();
    let name = before.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some((name.len(), colon + 1))
}
