//! The MIME tree (RFC 2046): where its nodes lie in the original, and what edits put in their place.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use super::header_block::{HeaderBlock, Octets};
use super::transfer::{Kind, TransferEncoding};
use crate::mail::header::parameters::Parameterized;

/// How deep multiparts are taken apart; a deeper one is a leaf. Mail has up to six levels.
pub const MAX_DEPTH: usize = 32;

/// How many nodes are told apart. A multipart with more parts than are left is a leaf.
pub const MAX_PARTS: usize = 1_000;

/// Longest boundary: RFC 2046 §5.1.1 allows 70 octets.
const MAX_BOUNDARY: usize = 250;

/// The nodes by their ids.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) root: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: Option<u32>,
    pub(super) is_removed: bool,
    /// The line with the boundary before the node, and the line ends that belong to it.
    pub(super) before: Octets,
    /// The header with the empty line behind it. Not looked at in the root of the original: the draft has that one as fields.
    pub(super) header: Octets,
    pub(super) entity: Entity,
    pub(super) content: NodeContent,
}

#[derive(Clone, Debug)]
pub(super) enum NodeContent {
    Leaf {
        /// Encoded; of no use once there is an edit.
        body: Octets,
        /// Decoded.
        edited: Option<Bytes>,
    },
    Multipart {
        boundary: Box<str>,
        preamble: Octets,
        children: Vec<u32>,
        /// The line with the last boundary, and what follows.
        closing: Octets,
    },
}

/// What the header says about a body.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    /// `type/subtype` in lower case.
    pub(super) content_type: Box<str>,
    /// In lower case.
    pub(super) charset: Option<Box<str>>,
    pub(super) filename: Option<Box<str>>,
    pub(super) content_id: Option<Box<str>>,
    pub(super) inline: bool,
    pub(super) encoding: TransferEncoding,
    boundary: Option<Box<str>>,
}

impl Entity {
    /// Reads the fields of a header. `default` is what a part is that does not say.
    pub(super) fn of(header: &HeaderBlock, original: &[u8], default: &str) -> Self {
        let content_type = header.raw("Content-Type", original).map(Parameterized::parse).unwrap_or_default();
        let disposition = header.raw("Content-Disposition", original).map(Parameterized::parse).unwrap_or_default();
        let encoding = header.raw("Content-Transfer-Encoding", original).map(|raw| Parameterized::parse(raw).value);
        let content_id = header.decoded("Content-ID", original);
        let filename = disposition.parameter("filename").or_else(|| content_type.parameter("name"));
        Self {
            // RFC 2045 §5.2: what cannot be read is text/plain.
            content_type: if content_type.value.contains('/') { content_type.value.as_str().into() } else { default.into() },
            charset: content_type.parameter("charset").map(|charset| charset.trim().to_ascii_lowercase().into()),
            filename: filename.map(Into::into),
            content_id: content_id.map(|id| id.trim().trim_start_matches('<').trim_end_matches('>').into()),
            inline: disposition.value != "attachment",
            encoding: TransferEncoding::parse(encoding.as_deref()),
            boundary: content_type
                .parameter("boundary")
                .map(str::trim_end)
                .filter(|boundary| !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY)
                .map(Into::into),
        }
    }

    /// A multipart that we make.
    pub(super) fn multipart(content_type: &str) -> Self {
        Self {
            content_type: content_type.into(),
            charset: None,
            filename: None,
            content_id: None,
            inline: true,
            encoding: TransferEncoding::SevenBit,
            boundary: None,
        }
    }

    pub(super) fn is_text(&self) -> bool {
        self.content_type.starts_with("text/")
    }

    /// Whether a reader shows its content as HTML, so that values put in it have to be escaped.
    pub(super) fn is_html(&self) -> bool {
        ["text/html", "text/x-amp-html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml"]
            .contains(&&*self.content_type)
    }

    pub(super) fn kind(&self) -> Kind {
        if self.is_text() {
            Kind::Text
        } else if self.content_type.starts_with("message/") {
            Kind::Message
        } else {
            Kind::Data
        }
    }
}

impl Tree {
    /// Takes the original apart; every octet belongs to one node.
    pub(super) fn parse(original: &[u8]) -> Self {
        let (header, body) = HeaderBlock::scan(original, 0..original.len());
        let mut tree = Self { nodes: Vec::new(), root: 0 };
        let mut left = MAX_PARTS - 1;
        let root = Node {
            parent: None,
            is_removed: false,
            before: Octets::Original(0..0),
            header: Octets::Original(0..body),
            entity: Entity::of(&header, original, "text/plain"),
            content: leaf(body..original.len()),
        };
        tree.add(root, body..original.len(), original, 0, &mut left);
        tree
    }

    /// Adds a node and, if it is a multipart, what is in it.
    fn add(&mut self, node: Node, body: Range<usize>, original: &[u8], depth: usize, left: &mut usize) {
        let id = id_of(self.nodes.len());
        let boundary = node.entity.boundary.clone().filter(|_| depth < MAX_DEPTH && node.entity.content_type.starts_with("multipart/"));
        let default = if &*node.entity.content_type == "multipart/digest" { "message/rfc822" } else { "text/plain" };
        self.nodes.push(node);
        let Some(boundary) = boundary else { return };
        let mut lines = Delimiter::find_all(original, &body, &boundary, *left + 1);
        let Some(first) = lines.first().filter(|first| !first.is_last) else { return };
        let preamble = Octets::Original(body.start..first.line.start);
        let closing = lines.pop_if(|line| line.is_last).map_or(body.end..body.end, |line| line.line.start..body.end);
        let Some(still_left) = left.checked_sub(lines.len()) else { return };
        *left = still_left;
        let mut children = Vec::with_capacity(lines.len());
        let mut lines = lines.into_iter().peekable();
        while let Some(Delimiter { line, .. }) = lines.next() {
            let end = lines.peek().map_or(closing.start, |next| next.line.start);
            let (header, body) = HeaderBlock::scan(original, line.end..end);
            children.push(id_of(self.nodes.len()));
            let node = Node {
                parent: Some(id),
                is_removed: false,
                before: Octets::Original(line.clone()),
                header: Octets::Original(line.end..body),
                entity: Entity::of(&header, original, default),
                content: leaf(body..end),
            };
            self.add(node, body..end, original, depth + 1, left);
        }
        if let Some(node) = self.node_mut(id) {
            node.content = NodeContent::Multipart { boundary, preamble, children, closing: Octets::Original(closing) };
        }
    }

    pub(super) fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(id).ok()?).filter(|node| !node.is_removed)
    }

    pub(super) fn node_mut(&mut self, id: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(id).ok()?).filter(|node| !node.is_removed)
    }

    /// Returns the ids of all nodes in the order of the message, parents first.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut open = vec![self.root];
        while let Some(id) = open.pop() {
            order.push(id);
            if let Some(Node { content: NodeContent::Multipart { children, .. }, .. }) = self.node(id) {
                open.extend(children.iter().rev());
            }
        }
        order
    }

    /// Returns about how many octets all have below the header of the message.
    pub(super) fn body_length(&self) -> usize {
        let length = |id: &u32| {
            self.node(*id).map_or(0, |node| {
                let header = if *id == self.root { 0 } else { node.header.len() };
                let content = match &node.content {
                    NodeContent::Leaf { edited: Some(content), .. } => node.entity.encoding.encoded_length_of(content),
                    NodeContent::Leaf { body, edited: None } => body.len(),
                    NodeContent::Multipart { preamble, closing, .. } => preamble.len() + closing.len(),
                };
                node.before.len() + header + content
            })
        };
        self.in_order().iter().map(length).sum()
    }

    /// Returns the first leaf of this type that a reader shows.
    pub(super) fn displayed(&self, content_type: &str) -> Option<u32> {
        self.in_order().into_iter().find(|id| {
            self.node(*id).is_some_and(|node| {
                matches!(node.content, NodeContent::Leaf { .. }) && node.entity.inline && &*node.entity.content_type == content_type
            })
        })
    }

    /// Whether a leaf, and a multipart around all, may be added.
    pub(super) fn has_room(&self) -> bool {
        // Twice the limit: what was received may be at it, and a plugin still has something to add.
        self.nodes.len() + 2 <= 2 * MAX_PARTS
    }

    /// Adds a node that the caller puts in the list of its parent; returns its id.
    pub(super) fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        id_of(self.nodes.len() - 1)
    }
}

pub(super) fn leaf(body: Range<usize>) -> NodeContent {
    NodeContent::Leaf { body: Octets::Original(body), edited: None }
}

fn id_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// A line with a boundary, and the line end before it, which belongs to it (RFC 2046 §5.1.1).
struct Delimiter {
    line: Range<usize>,
    is_last: bool,
}

impl Delimiter {
    /// Finds the lines of a multipart up to the closing one, or `limit` of them.
    fn find_all(original: &[u8], body: &Range<usize>, boundary: &str, limit: usize) -> Vec<Self> {
        let needle = format!("--{boundary}");
        let octets = original.get(body.clone()).unwrap_or_default();
        let mut found: Vec<Self> = Vec::new();
        for place in memmem::find_iter(octets, &needle) {
            let before = octets.get(..place).unwrap_or_default();
            let after = octets.get(place + needle.len()..).unwrap_or_default();
            let is_last = after.starts_with(b"--");
            let after = if is_last { after.get(2..).unwrap_or_default() } else { after };
            let blanks = after.iter().position(|octet| !matches!(octet, b' ' | b'\t' | b'\r')).unwrap_or(after.len());
            let is_line = (before.is_empty() || before.ends_with(b"\n")) && matches!(after.get(blanks), None | Some(b'\n'));
            if !is_line {
                continue;
            }
            let line_end = if before.ends_with(b"\r\n") { 2 } else { usize::from(before.ends_with(b"\n")) };
            let end = octets.len() - after.len() + (blanks + 1).min(after.len());
            // Of two lines without anything between them, the line end is the first one's.
            let start = (body.start + place - line_end).max(found.last().map_or(body.start, |last| last.line.end));
            found.push(Self { line: start..body.start + end, is_last });
            if is_last || found.len() >= limit {
                break;
            }
        }
        found
    }
}
