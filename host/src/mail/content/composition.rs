//! A message as it is kept: octets that are final, and the places between them that differ by recipient.
//!
//! What stands between two slots of a part is encoded once, when the message is composed: a line of quoted-printable may end anywhere, so
//! that each value is encoded for itself and all else is copied. Header fields with slots are kept decoded, because where their lines
//! end depends on the values.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use memchr::memchr2;

use super::Draft;
use super::header_block::Octets;
use super::places::{Places, TooLarge};
use super::transfer::{Kind, LineEnd, QuotedPrintable, TransferEncoding, normalize_line_ends};
use super::tree::{Node, NodeContent, Tree};
use crate::mail::header;
use crate::mail::header::charset;
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

impl Draft {
    /// Ends editing. `nonce` is that of the slots' tokens: they are found in header fields and parts that were edited, attached messages
    /// left out. Without slots all is final.
    ///
    /// A message that was not edited is shared; of others every octet is copied once.
    pub fn into_composition(mut self, nonce: Option<&Nonce>) -> Composition {
        if !self.is_edited {
            return Composition::plain(self.original);
        }
        let tokens = nonce.map(Tokens::new);
        if let Some(tokens) = &tokens {
            self.prepare_slots(tokens);
        }
        let mut composer = Composer { original: &self.original, tokens: tokens.as_ref(), segments: Vec::new() };
        composer.header(&self);
        match &self.tree {
            Some(tree) => composer.content(tree, tree.root),
            None => composer.octets(&Octets::Original(self.body_start..self.original.len())),
        }
        composer.finish()
    }

    /// Makes leaves with tokens quoted-printable and, if they are text, UTF-8: nobody knows yet what the values are.
    fn prepare_slots(&mut self, tokens: &Tokens) {
        let Some(tree) = self.tree.clone() else { return };
        for id in tree.in_order() {
            let Some(Node { entity, content: NodeContent::Leaf { edited: Some(content), .. }, .. }) = tree.node(id) else { continue };
            if entity.kind() == Kind::Message || !tokens.are_in(content) {
                continue;
            }
            let is_utf8 = entity.charset.as_deref().is_some_and(charset::is_utf8);
            let charset = (entity.is_text() && !is_utf8 && str::from_utf8(content).is_ok()).then_some("utf-8");
            self.relabel(id, TransferEncoding::QuotedPrintable, charset);
        }
    }
}

enum Segment {
    Original(Range<usize>),
    Edited(Bytes),
    Open(Piece),
}

/// Puts a message together.
struct Composer<'a> {
    original: &'a Bytes,
    tokens: Option<&'a Tokens>,
    segments: Vec<Segment>,
}

impl Composer<'_> {
    fn octets(&mut self, octets: &Octets) {
        match (octets, self.segments.last_mut()) {
            (Octets::Original(range), _) if range.is_empty() => {}
            (Octets::Original(range), Some(Segment::Original(last))) if last.end == range.start => last.end = range.end,
            (Octets::Original(range), _) => self.segments.push(Segment::Original(range.clone())),
            (Octets::Edited(octets), _) => self.edited(octets.clone()),
        }
    }

    fn edited(&mut self, octets: Bytes) {
        if !octets.is_empty() {
            self.segments.push(Segment::Edited(octets));
        }
    }

    fn header(&mut self, draft: &Draft) {
        for field in draft.header.fields() {
            match &field.value {
                Some(value) if self.tokens.is_some_and(|tokens| tokens.are_in(value.as_bytes())) => {
                    let (name, value) = (field.name(self.original).into(), value.as_ref().into());
                    self.segments.push(Segment::Open(Piece::Field { name, value }));
                }
                _ => {
                    self.octets(&field.octets);
                    if !field.octets.of(self.original).ends_with(b"\n") {
                        self.edited(Bytes::from_static(b"\r\n"));
                    }
                }
            }
        }
        self.octets(draft.header.separator());
        let has_body = draft.body_start < draft.original.len() || draft.tree.is_some();
        if draft.header.separator().len() == 0 && has_body {
            self.edited(Bytes::from_static(b"\r\n"));
        }
    }

    /// Writes what follows the header of a node.
    fn content(&mut self, tree: &Tree, id: u32) {
        let Some(node) = tree.node(id) else { return };
        match &node.content {
            NodeContent::Leaf { body, edited: None } => self.octets(body),
            NodeContent::Leaf { edited: Some(content), .. } => {
                self.leaf(node, content);
                // What is delivered ends with a line end; better here than in the hands of the next server.
                if id == tree.root && !content.ends_with(b"\r\n") {
                    self.edited(Bytes::from_static(b"\r\n"));
                }
            }
            NodeContent::Multipart { preamble, children, closing, .. } => {
                self.octets(preamble);
                for child in children {
                    if let Some(node) = tree.node(*child) {
                        self.octets(&node.before);
                        self.octets(&node.header);
                        self.content(tree, *child);
                    }
                }
                self.octets(closing);
            }
        }
    }

    fn leaf(&mut self, node: &Node, content: &Bytes) {
        let kind = node.entity.kind();
        let tokens = self.tokens.filter(|tokens| kind != Kind::Message && tokens.are_in(content));
        let Some(tokens) = tokens else {
            self.edited(node.entity.encoding.encode(content, kind));
            return;
        };
        let mut from = 0;
        let mut writer = QuotedPrintable::new(kind, Vec::new());
        for (range, index) in tokens.find(content) {
            let after = content.get(range.end..).unwrap_or_default();
            let is_last = after.is_empty() || kind == Kind::Text && after.starts_with(b"\r\n");
            let end = if is_last { LineEnd::Hard } else { LineEnd::Soft };
            writer.write(content.get(from..range.start).unwrap_or_default(), end);
            let column = u8::try_from(writer.column()).unwrap_or_default();
            self.edited(writer.into_octets().into());
            let place = Place { index, is_html: node.entity.is_html(), is_data: kind == Kind::Data, is_last, column };
            self.segments.push(Segment::Open(Piece::Slot(place)));
            from = range.end;
            // How long the line is behind the value differs by recipient, so it ends there.
            let line_end: &[u8] = if is_last { b"" } else { b"=\r\n" };
            writer = QuotedPrintable::new(kind, line_end.to_vec());
        }
        writer.write(content.get(from..).unwrap_or_default(), LineEnd::Hard);
        self.edited(writer.into_octets().into());
    }

    fn finish(self) -> Composition {
        let mut pieces = Vec::new();
        let mut finals = Vec::new();
        for segment in self.segments {
            match segment {
                Segment::Original(range) => finals.push(self.original.slice(range)),
                Segment::Edited(octets) => finals.push(octets),
                Segment::Open(piece) => {
                    pieces.extend(merge(&mut finals).map(Piece::Final));
                    pieces.push(piece);
                }
            }
        }
        let last = merge(&mut finals);
        if pieces.is_empty() {
            return Composition::plain(last.unwrap_or_default());
        }
        pieces.extend(last.map(Piece::Final));
        Composition(Pieces::Slotted(pieces.into()))
    }
}

/// Makes one of many; shares it if it is one.
fn merge(finals: &mut Vec<Bytes>) -> Option<Bytes> {
    if finals.len() <= 1 {
        return finals.pop();
    }
    let mut octets = Vec::with_capacity(finals.iter().map(Bytes::len).sum());
    for piece in finals.drain(..) {
        octets.extend_from_slice(&piece);
    }
    Some(octets.into())
}
