//! A message as it is kept: octets that are final, and the places between them that differ by recipient.
//!
//! What stands between two slots of a part is encoded once, when the message is composed: a line of quoted-printable may end anywhere, so
//! that each value is encoded for itself and all else is copied. Header fields with slots are kept decoded, because where their lines
//! end depends on the values.

mod composer;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use memchr::memchr2;

use super::line_end::normalize_line_ends;
use super::places::{Places, TooLarge};
use super::transfer::{Kind, LineEnd, QuotedPrintable};
use crate::mail::header;
use crate::mail::slot::{Nonce, Slot, Tokens};

/// What a composition with slots begins with when it is kept, and no message does.
const MARK: u8 = 0;

/// Layout of what follows the mark.
const VERSION: u8 = 1;

/// Room that is made for a value before it is known.
const VALUE_ESTIMATE: usize = 192;

/// A message as it is kept: final pieces, and pieces with slots.
///
/// Kept as it is if it has no slots. Else, all numbers little-endian: a zero octet, which no message begins with; the version, 1; then
/// pieces up to the end, each with a tag:
///
/// | tag | is | then |
/// |---|---|---|
/// | 0 | final octets | length (8 octets), octets |
/// | 1 | a header field | length (8), name, length (8), value in UTF-8 with tokens in it |
/// | 2 | a slot in a part | number (4), flags (1: HTML, 2: data, 4: at the end of a line), column (1) |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composition(Pieces);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pieces {
    Plain(Bytes),
    Slotted(Arc<[Piece]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Final(Bytes),
    Field { name: Box<str>, value: Box<str> },
    Slot(Place),
}

/// Where a value goes in a part that is quoted-printable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Number of the slot.
    index: u32,
    /// What is no link is escaped.
    is_html: bool,
    /// CR and LF are octets as others.
    is_data: bool,
    /// A line of the content ends behind it.
    is_last: bool,
    /// Columns of the line before it.
    column: u8,
}

impl Composition {
    /// A message that is final as it is.
    pub fn plain(octets: Bytes) -> Self {
        Self(Pieces::Plain(octets))
    }

    /// Whether anything in it differs by recipient.
    pub fn has_slots(&self) -> bool {
        matches!(self.0, Pieces::Slotted(_))
    }

    /// Returns the octets of a message without slots.
    pub(super) fn into_plain(self) -> Option<Bytes> {
        match self.0 {
            Pieces::Plain(octets) => Some(octets),
            Pieces::Slotted(_) => None,
        }
    }

    /// Returns octets to keep. A message without slots is kept as it is, and shared.
    pub fn encode(&self) -> Bytes {
        let mut encoded = vec![MARK, VERSION];
        match &self.0 {
            Pieces::Plain(octets) if octets.first() != Some(&MARK) => return octets.clone(),
            Pieces::Plain(octets) => Piece::Final(octets.clone()).encode(&mut encoded),
            Pieces::Slotted(pieces) => {
                encoded.reserve(pieces.iter().map(Piece::encoded_length).sum());
                for piece in pieces.iter() {
                    piece.encode(&mut encoded);
                }
            }
        }
        encoded.into()
    }

    /// Reads what [`Composition::encode`] gave; shares the octets. `None` if it is damaged.
    pub fn decode(octets: Bytes) -> Option<Self> {
        if octets.first() != Some(&MARK) {
            return Some(Self::plain(octets));
        }
        let mut rest = octets;
        rest.advance(1);
        if rest.try_get_u8().ok()? != VERSION {
            return None;
        }
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            pieces.push(Piece::decode(&mut rest)?);
        }
        match pieces.as_slice() {
            [] => None,
            [Piece::Final(octets)] => Some(Self::plain(octets.clone())),
            _ => Some(Self(Pieces::Slotted(pieces.into()))),
        }
    }

    /// Returns the message for one recipient. `value` says what stands in the place of a slot (asked once for each token met; the slot by its number in
    /// `slots`); it is escaped here where the piece is HTML and the slot is no link, encoded and folded as its place demands.
    /// Without slots this shares the octets.
    pub fn fill(&self, nonce: &Nonce, slots: &[Slot], value: &mut dyn FnMut(&Slot) -> String) -> Bytes {
        // Without a limit there is nothing that could be passed.
        self.fill_within(usize::MAX, nonce, slots, value).unwrap_or_default()
    }

    /// As [`Composition::fill`], for a message that may have at most `limit` octets. Not much more than that is ever made: one value.
    ///
    /// # Errors
    /// It would have more. What has no slots is as it was accepted, and passes.
    pub fn fill_within(
        &self,
        limit: usize,
        nonce: &Nonce,
        slots: &[Slot],
        value: &mut dyn FnMut(&Slot) -> String,
    ) -> Result<Bytes, TooLarge> {
        let pieces = match &self.0 {
            Pieces::Plain(octets) => return Ok(octets.clone()),
            Pieces::Slotted(pieces) => pieces,
        };
        let mut tokens = None;
        let mut octets = Vec::with_capacity(pieces.iter().map(Piece::filled_estimate).sum::<usize>().min(limit));
        let slot_at = |index: u32| usize::try_from(index).ok().and_then(|index| slots.get(index));
        for piece in pieces.iter() {
            match piece {
                Piece::Final(piece) => octets.extend_from_slice(piece),
                Piece::Slot(place) => {
                    if let Some(slot) = slot_at(place.index) {
                        octets = place.write(slot, &value(slot), octets);
                    }
                }
                Piece::Field { name, value: template } => {
                    let tokens = tokens.get_or_insert_with(|| Tokens::new(nonce));
                    // A field is put together whole before it can be measured, and a list of addresses perhaps twice.
                    let mut left = limit.saturating_sub(octets.len()).saturating_mul(2);
                    let mut is_too_large = false;
                    let mut value = |index| {
                        let value = slot_at(index).map(&mut *value)?;
                        is_too_large |= value.len() > left;
                        left = left.saturating_sub(value.len());
                        (!is_too_large).then_some(value)
                    };
                    let mut fill = |text: &str| fill_text(text, tokens, &mut value);
                    let field = header::encode_filled(name, template, &mut fill);
                    if is_too_large {
                        return Err(TooLarge);
                    }
                    octets.extend_from_slice(&field);
                }
            }
            if octets.len() > limit {
                return Err(TooLarge);
            }
        }
        Ok(octets.into())
    }

    /// Returns how many octets are the same for all, and how often each slot is filled in.
    pub fn places(&self, nonce: &Nonce, slots: &[Slot]) -> Places {
        let mut places = Places::new(slots.len());
        let pieces = match &self.0 {
            Pieces::Plain(octets) => return places.with_fixed(octets.len()),
            Pieces::Slotted(pieces) => pieces,
        };
        let tokens = Tokens::new(nonce);
        for piece in pieces.iter() {
            match piece {
                Piece::Final(octets) => places.fixed += octets.len(),
                Piece::Slot(place) => places.add(place.index),
                Piece::Field { name, value } => {
                    places.fixed += name.len() + Places::value_at_most(value.len());
                    for (_, index) in tokens.find(value.as_bytes()) {
                        places.add(index);
                    }
                }
            }
        }
        places
    }
}

/// Puts values in the place of tokens; a token that names no slot goes.
fn fill_text(text: &str, tokens: &Tokens, value: &mut dyn FnMut(u32) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len() + VALUE_ESTIMATE);
    let mut from = 0;
    for (range, index) in tokens.find(text.as_bytes()) {
        filled.push_str(text.get(from..range.start).unwrap_or_default());
        filled.push_str(&value(index).unwrap_or_default());
        from = range.end;
    }
    filled.push_str(text.get(from..).unwrap_or_default());
    filled
}

impl Piece {
    fn encode(&self, encoded: &mut Vec<u8>) {
        match self {
            Self::Final(octets) => {
                encoded.push(0);
                put(octets, encoded);
            }
            Self::Field { name, value } => {
                encoded.push(1);
                put(name.as_bytes(), encoded);
                put(value.as_bytes(), encoded);
            }
            Self::Slot(place) => {
                let flags = u8::from(place.is_html) | u8::from(place.is_data) << 1 | u8::from(place.is_last) << 2;
                encoded.push(2);
                encoded.extend_from_slice(&place.index.to_le_bytes());
                encoded.extend_from_slice(&[flags, place.column]);
            }
        }
    }

    fn encoded_length(&self) -> usize {
        match self {
            Self::Final(octets) => 9 + octets.len(),
            Self::Field { name, value } => 17 + name.len() + value.len(),
            Self::Slot(_) => 7,
        }
    }

    fn decode(rest: &mut Bytes) -> Option<Self> {
        match rest.try_get_u8().ok()? {
            0 => Some(Self::Final(take(rest)?)),
            1 => {
                let (name, value) = (take(rest)?, take(rest)?);
                let (name, value) = (str::from_utf8(&name).ok()?, str::from_utf8(&value).ok()?);
                header::is_field_name(name).then(|| Self::Field { name: name.into(), value: value.into() })
            }
            2 => {
                let index = rest.try_get_u32_le().ok()?;
                let flags = rest.try_get_u8().ok().filter(|flags| *flags < 8)?;
                let column = rest.try_get_u8().ok().filter(|column| *column < 76)?;
                Some(Self::Slot(Place { index, is_html: flags & 1 != 0, is_data: flags & 2 != 0, is_last: flags & 4 != 0, column }))
            }
            _ => None,
        }
    }

    fn filled_estimate(&self) -> usize {
        match self {
            Self::Final(octets) => octets.len(),
            Self::Field { name, value } => name.len() + value.len() + VALUE_ESTIMATE,
            Self::Slot(_) => VALUE_ESTIMATE,
        }
    }
}

/// Writes a length and the octets.
fn put(octets: &[u8], encoded: &mut Vec<u8>) {
    encoded.extend_from_slice(&u64::try_from(octets.len()).unwrap_or(u64::MAX).to_le_bytes());
    encoded.extend_from_slice(octets);
}

/// Takes a length and as many octets, shared.
fn take(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(rest.try_get_u64_le().ok()?).ok()?;
    (length <= rest.len()).then(|| rest.split_to(length))
}

impl Place {
    /// Appends a value.
    fn write(self, slot: &Slot, value: &str, octets: Vec<u8>) -> Vec<u8> {
        let value = match slot {
            Slot::Address | Slot::Variable(_) if self.is_html => escape(value),
            Slot::Address | Slot::Variable(_) | Slot::Link(_) => Cow::Borrowed(value),
        };
        let kind = if self.is_data { Kind::Data } else { Kind::Text };
        let end = if self.is_last { LineEnd::Hard } else { LineEnd::Soft };
        let mut writer = QuotedPrintable::at_column(kind, octets, usize::from(self.column));
        if !self.is_data && memchr2(b'\r', b'\n', value.as_bytes()).is_some() {
            writer.write(&normalize_line_ends(&value), end);
        } else {
            writer.write(value.as_bytes(), end);
        }
        writer.into_octets()
    }
}

/// Makes text safe between the tags, and in the quoted attributes, of HTML.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|octet| matches!(octet, b'&' | b'<' | b'>' | b'"' | b'\'')) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}
