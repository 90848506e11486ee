//! From a draft to a composition.

use std::ops::Range;

use bytes::Bytes;

use super::{Composition, Piece, Pieces, Place};
use crate::mail::content::Draft;
use crate::mail::content::header_block::Octets;
use crate::mail::content::transfer::{Kind, LineEnd, QuotedPrintable, TransferEncoding};
use crate::mail::content::tree::{Node, NodeContent, Tree};
use crate::mail::header::charset;
use crate::mail::slot::{Nonce, Tokens};

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
