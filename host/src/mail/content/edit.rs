//! Edits of parts: replacing what a leaf holds, adding leaves, removing nodes.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use super::header_block::{HeaderBlock, Octets};
use super::line_end::normalize_line_ends;
use super::transfer::TransferEncoding;
use super::tree::{Entity, Node, NodeContent, Tree};
use super::{Display, Draft, EditError, NewPart};
use crate::mail::header::charset;
use crate::mail::header::is_field_value;
use crate::mail::header::parameters::{self, Parameterized};

/// Longest content type that may be given for a new part.
const MAX_CONTENT_TYPE: usize = 500;

/// Longest Content-ID that may be given for a new part.
const MAX_CONTENT_ID: usize = 500;

/// What octets that are written to a leaf are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// UTF-8 text, whatever the charset was.
    Text,
    /// What the leaf's header says.
    Octets,
}

impl Draft {
    /// Replaces the first text/plain leaf that is no attachment.
    pub fn set_text(&mut self, value: &str) -> Result<(), EditError> {
        self.set_displayed(Display::Text, value)
    }

    /// Replaces the first text/html leaf that is no attachment.
    pub fn set_html(&mut self, value: &str) -> Result<(), EditError> {
        self.set_displayed(Display::Html, value)
    }

    fn set_displayed(&mut self, display: Display, value: &str) -> Result<(), EditError> {
        let content_type = display.content_type();
        let Some(id) = self.tree().displayed(content_type) else {
            return Err(EditError::Denied(format!("the message has no {content_type} part")));
        };
        self.write_leaf(id, normalize_line_ends(value), Written::Text)
    }

    /// Replaces a leaf's content; its other header fields stay, the transfer encoding may change.
    pub fn write_part(&mut self, id: u32, content: Bytes) -> Result<(), EditError> {
        self.write_leaf(id, content, Written::Octets)
    }

    fn write_leaf(&mut self, id: u32, content: Bytes, written: Written) -> Result<(), EditError> {
        let node = self.tree().node(id).ok_or(EditError::NoSuchPart)?;
        if matches!(node.content, NodeContent::Multipart { .. }) {
            return Err(EditError::NoSuchPart);
        }
        let encoding = node.entity.encoding.for_content(&content, node.entity.kind());
        let present = node.entity.charset.as_deref().unwrap_or("us-ascii");
        let fits = present == "utf-8" || content.is_ascii() && charset::is_ascii_superset(present);
        let new_charset = (written == Written::Text && !fits).then_some("utf-8");
        self.relabel(id, encoding, new_charset);
        self.put_content(id, content);
        Ok(())
    }

    /// Puts other content in a leaf, whose header says already how it is encoded.
    pub(super) fn put_content(&mut self, id: u32, content: Bytes) {
        self.forget_decoded();
        if let Some(node) = self.tree_mut().node_mut(id)
            && let NodeContent::Leaf { edited, .. } = &mut node.content
        {
            *edited = Some(content);
        }
        self.is_edited = true;
    }

    /// Makes the header of a leaf say how its content is encoded; fields that say so already keep their octets.
    pub(super) fn relabel(&mut self, id: u32, encoding: TransferEncoding, charset: Option<&str>) {
        let message = self.original.clone();
        let Some(node) = self.tree().node(id) else { return };
        let is_root = node.parent.is_none();
        if node.entity.encoding == encoding && charset.is_none() {
            return;
        }
        let (entity, octets) = (node.entity.clone(), node.header.share(&message));
        let mut part_header;
        let (header, original): (&mut HeaderBlock, &[u8]) = if is_root {
            (Arc::make_mut(&mut self.header), &message)
        } else {
            part_header = HeaderBlock::scan(&octets, 0..octets.len()).0;
            (&mut part_header, &octets)
        };
        if let Some(charset) = charset {
            let raw = header.raw("Content-Type", original).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            header.set_written("Content-Type", &with_charset(&raw, &entity.content_type, charset), original);
        }
        if entity.encoding != encoding {
            header.set_written("Content-Transfer-Encoding", encoding.as_str(), original);
        }
        if is_root && header.raw("MIME-Version", original).is_none() {
            header.set_written("MIME-Version", "1.0", original);
        }
        let edited = (!is_root).then(|| header.to_octets(original));
        if let Some(node) = self.tree_mut().node_mut(id) {
            node.entity.encoding = encoding;
            if let Some(charset) = charset {
                node.entity.charset = Some(charset.into());
            }
            if let Some(octets) = edited {
                node.header = Octets::Edited(octets);
            }
        }
    }

    /// Adds a leaf at the end of a multipart, or beside all that there is: the root becomes multipart/mixed where it is not, and what it was
    /// becomes the first part of that, with its octets. Returns the new leaf's id.
    ///
    /// Tokens are filled in in the content of the leaf, not in its file name.
    pub fn add_part(&mut self, parent: Option<u32>, part: NewPart) -> Result<u32, EditError> {
        let (header, entity) = part_header(&part)?;
        if !self.tree().has_room() {
            return Err(EditError::Denied("the message has too many parts".to_owned()));
        }
        let parent = parent.unwrap_or_else(|| self.mixed_root(&part));
        let tree = self.tree_mut();
        let node = tree.node(parent).ok_or(EditError::NoSuchPart)?;
        let is_root = node.parent.is_none();
        let NodeContent::Multipart { boundary, children, preamble, .. } = &node.content else { return Err(EditError::NoSuchPart) };
        if matches!(&*node.entity.content_type, "multipart/signed" | "multipart/encrypted") {
            return Err(EditError::Denied("a signed or encrypted part takes no other parts".to_owned()));
        }
        let line_end = if children.is_empty() && preamble.len() == 0 { "" } else { "\r\n" };
        let before = Octets::Edited(format!("{line_end}--{boundary}\r\n").into());
        let last_line = format!("\r\n--{boundary}--{}", if is_root { "\r\n" } else { "" });
        let content = NodeContent::Leaf { body: Octets::Edited(Bytes::new()), edited: Some(part.content) };
        let leaf = Node { parent: Some(parent), is_removed: false, before, header: Octets::Edited(header), entity, content };
        let id = tree.push(leaf);
        if let Some(NodeContent::Multipart { children, closing, .. }) = tree.node_mut(parent).map(|node| &mut node.content) {
            children.push(id);
            if closing.len() == 0 {
                *closing = Octets::Edited(last_line.into());
            }
        }
        self.is_edited = true;
        Ok(id)
    }

    /// Returns the id of the root, which is a multipart/mixed then.
    fn mixed_root(&mut self, part: &NewPart) -> u32 {
        let root = self.tree().root;
        let is_mixed = self
            .tree()
            .node(root)
            .is_some_and(|node| matches!(node.content, NodeContent::Multipart { .. }) && &*node.entity.content_type == "multipart/mixed");
        if is_mixed {
            return root;
        }
        let boundary = self.new_boundary(&part.content);
        let before = Octets::Edited(format!("--{boundary}\r\n").into());
        let mixed = Node {
            parent: None,
            is_removed: false,
            before: Octets::Original(0..0),
            header: Octets::Original(0..0),
            entity: Entity::multipart("multipart/mixed"),
            content: NodeContent::Multipart {
                closing: Octets::Edited(format!("\r\n--{boundary}--\r\n").into()),
                boundary: boundary.as_str().into(),
                preamble: Octets::Original(0..0),
                children: vec![root],
            },
        };
        let tree = self.tree_mut();
        let id = tree.push(mixed);
        tree.root = id;
        let header = Arc::make_mut(&mut self.header);
        let moved = header.take_content_fields(&self.original);
        header.set_written("Content-Type", &format!("multipart/mixed; boundary=\"{boundary}\""), &self.original);
        if header.raw("MIME-Version", &self.original).is_none() {
            header.set_written("MIME-Version", "1.0", &self.original);
        }
        if let Some(node) = self.tree_mut().node_mut(root) {
            node.parent = Some(id);
            node.before = before;
            node.header = Octets::Edited(moved.into());
        }
        id
    }

    /// Returns a boundary that stands nowhere in the message, and is the same for the same message and the same new part.
    fn new_boundary(&self, content: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.original.get(..self.body_start).unwrap_or_default());
        hasher.update(content);
        let mut number = 0_u64;
        loop {
            hasher.update(&number.to_le_bytes());
            let boundary = hasher.finalize().to_hex().get(..32).unwrap_or_default().to_owned();
            let is_free = |octets: &[u8]| memmem::find(octets, boundary.as_bytes()).is_none();
            if is_free(&self.original) && is_free(content) {
                return boundary;
            }
            number += 1;
        }
    }

    /// Removes a node and all below it; and the multipart that it was in, if that is empty then.
    pub fn remove_part(&mut self, id: u32) -> Result<(), EditError> {
        let tree = self.tree_mut();
        let mut id = id;
        loop {
            let node = tree.node(id).ok_or(EditError::NoSuchPart)?;
            let Some(parent) = node.parent else { return Err(EditError::Denied("a message keeps at least one part".to_owned())) };
            match tree.node(parent).map(|node| &node.content) {
                Some(NodeContent::Multipart { children, .. }) if children.len() == 1 => id = parent,
                _ => break,
            }
        }
        let parent = tree.node(id).and_then(|node| node.parent);
        if let Some(NodeContent::Multipart { children, .. }) = parent.and_then(|parent| tree.node_mut(parent)).map(|node| &mut node.content)
        {
            children.retain(|child| *child != id);
        }
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if let Some(node) = tree.node_mut(id) {
                if let NodeContent::Multipart { children, .. } = &node.content {
                    open.extend(children);
                }
                node.is_removed = true;
            }
        }
        self.forget_decoded();
        self.is_edited = true;
        Ok(())
    }

    pub(super) fn tree_mut(&mut self) -> &mut Tree {
        let original = &self.original;
        Arc::make_mut(self.tree.get_or_insert_with(|| Arc::new(Tree::parse(original))))
    }
}

/// Returns a Content-Type with this charset, and all else as it was.
fn with_charset(raw: &str, content_type: &str, charset: &str) -> String {
    let parsed = Parameterized::parse(raw.as_bytes());
    if let Some(place) = parsed.place("charset")
        && let (Some(before), Some(after)) = (raw.get(..place.start), raw.get(place.end..))
    {
        return format!("{before}{charset}{after}").trim_start().to_owned();
    }
    if raw.trim().is_empty() || parsed.parameter("charset").is_some() {
        // Nothing there, or a charset in pieces (RFC 2231), which nobody writes: the type is what counts.
        return format!("{content_type}; charset={charset}");
    }
    let raw = raw.trim().trim_end_matches(';').trim_end();
    let separator = if raw.len() + charset.len() > 50 { ";\r\n " } else { "; " };
    format!("{raw}{separator}charset={charset}")
}

/// Returns the header of a new part with the empty line behind it, and what it says.
pub(super) fn part_header(part: &NewPart) -> Result<(Bytes, Entity), EditError> {
    let content_type = part.content_type.trim();
    let parsed = Parameterized::parse(content_type.as_bytes());
    let is_type = content_type.len() <= MAX_CONTENT_TYPE
        && content_type.is_ascii()
        && is_field_value(content_type)
        && parsed.value.split_once('/').is_some_and(|(main, sub)| is_token(main) && is_token(sub));
    if !is_type {
        return Err(EditError::Invalid(format!("{:?} is no content type", part.content_type)));
    }
    if parsed.value.starts_with("multipart/") {
        return Err(EditError::Invalid("a new part is no multipart".to_owned()));
    }
    let mut header = format!("Content-Type: {}", content_type.trim_end_matches(';'));
    if parsed.value.starts_with("text/")
        && parsed.parameter("charset").is_none()
        && !part.content.is_ascii()
        && str::from_utf8(&part.content).is_ok()
    {
        header.push_str("; charset=utf-8");
    }
    if let Some(name) = &part.filename
        && parsed.parameter("name").is_none()
    {
        parameters::write_fallback("name", name, &mut header);
    }
    header.push_str("\r\nContent-Disposition: ");
    header.push_str(if part.inline { "inline" } else { "attachment" });
    if let Some(name) = &part.filename {
        parameters::write_parameter("filename", name, &mut header);
    }
    if let Some(id) = part.content_id.as_deref().map(str::trim) {
        let is_id = !id.is_empty()
            && id.len() <= MAX_CONTENT_ID
            && id.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'<' && octet != b'>');
        if !is_id {
            return Err(EditError::Invalid("a content id is printable ASCII without blanks and angle brackets".to_owned()));
        }
        // Writing to a string cannot fail.
        let _ = write!(header, "\r\nContent-ID: <{id}>");
    }
    let entity = |header: &str| {
        let (block, _) = HeaderBlock::scan(header.as_bytes(), 0..header.len());
        Entity::of(&block, header.as_bytes(), "text/plain")
    };
    let kind = entity(&header).kind();
    let encoding = TransferEncoding::SevenBit.for_content(&part.content, kind);
    if encoding != TransferEncoding::SevenBit {
        let _ = write!(header, "\r\nContent-Transfer-Encoding: {}", encoding.as_str());
    }
    header.push_str("\r\n\r\n");
    let entity = entity(&header);
    Ok((header.into(), entity))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet))
}
