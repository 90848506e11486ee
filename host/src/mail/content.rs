//! The content of a message: RFC 5322 header and MIME body (RFC 2045), edited in place.
//!
//! [`Draft`] is what plugins and dialects edit: what is not edited keeps every octet. [`Composition`] is the same message ready to be kept:
//! pieces that are final, and the places of slots between them.

mod composition;
mod edit;
mod header_block;
mod line_end;
mod places;
mod transfer;
mod tree;
mod wire;

use std::sync::Arc;

use bytes::Bytes;

pub use composition::Composition;
use header_block::HeaderBlock;
pub use header_block::MAX_FIELDS;
pub use places::{Places, TooLarge};
pub use tree::{MAX_DEPTH, MAX_PARTS};
use tree::{NodeContent, Tree};
pub use wire::Wire;

use crate::mail::header::{self, FieldError};

/// A message being edited. Cloning is cheap: octets, fields and tree are shared until one of the clones edits them.
///
/// The header is read at once, the body only when a part of it is asked for; editing header fields costs the same whatever the size of the
/// body. The tree of parts is that of the original: editing `Content-Type` as a header field changes what readers make of the message, and
/// not what the functions for parts work on.
#[derive(Clone, Debug)]
pub struct Draft {
    original: Bytes,
    header: Arc<HeaderBlock>,
    body_start: usize,
    /// Once it was asked for.
    tree: Option<Arc<Tree>>,
    /// The leaf that was read last, decoded: it is read in steps.
    decoded: Option<(u32, Bytes)>,
    /// The text and the HTML that a reader sees, once they were asked for: plugin after plugin asks for the same.
    displayed: [Option<Displayed>; 2],
    is_edited: bool,
}

/// One of the two leaves that a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Display {
    Text,
    Html,
}

impl Display {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Html => "text/html",
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::Text => 0,
            Self::Html => 1,
        }
    }
}

/// A leaf as a reader sees it.
#[derive(Clone, Debug)]
struct Displayed {
    id: u32,
    text: Arc<str>,
}

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not possible here.
    #[error("{0}")]
    Denied(String),
    /// A name or a value is not valid.
    #[error("{0}")]
    Invalid(String),
    /// There is no such part, or it is no leaf.
    #[error("no such part")]
    NoSuchPart,
}

/// Where an added field goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
}

/// A node of the MIME tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// Not changed by edits; the root has 0.
    pub id: u32,
    /// The multipart that it is in.
    pub parent: Option<u32>,
    /// `type/subtype` in lower case.
    pub content_type: String,
    /// In lower case.
    pub charset: Option<String>,
    /// Decoded.
    pub filename: Option<String>,
    /// Without angle brackets.
    pub content_id: Option<String>,
    /// Content-Disposition is not `attachment`.
    pub inline: bool,
    /// Octets after decoding.
    pub size: u64,
}

/// A leaf to add.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// `type/subtype`, parameters allowed.
    pub content_type: String,
    /// Not encoded.
    pub filename: Option<String>,
    /// Without angle brackets.
    pub content_id: Option<String>,
    /// Content-Disposition `inline`, else `attachment`.
    pub inline: bool,
    /// Decoded.
    pub content: Bytes,
}

impl From<FieldError> for EditError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl Draft {
    /// Takes a message apart: its header at once, its body when it is asked for.
    ///
    /// Never fails: what has no header is a body, what has broken MIME is one leaf. Line ends must be CRLF already.
    pub fn new(original: Bytes) -> Self {
        let (header, body_start) = HeaderBlock::scan(&original, 0..original.len());
        Self { original, header: Arc::new(header), body_start, tree: None, decoded: None, displayed: [None, None], is_edited: false }
    }

    /// A message that takes the place of another: it counts as edited.
    pub fn replacing(original: Bytes) -> Self {
        Self { is_edited: true, ..Self::new(original) }
    }

    /// Returns the octets it was made of.
    pub fn original(&self) -> &Bytes {
        &self.original
    }

    /// Whether any edit was made.
    pub fn is_edited(&self) -> bool {
        self.is_edited
    }

    /// Returns the octets that the message would have now, within the slack of transfer encodings.
    pub fn size(&self) -> u64 {
        let body = match &self.tree {
            Some(tree) if self.is_edited => tree.body_length(),
            _ => self.original.len().saturating_sub(self.body_start),
        };
        u64::try_from(self.header.len().saturating_add(body)).unwrap_or(u64::MAX)
    }

    /// Returns the first field of this name, unfolded and decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        self.header.decoded(name, &self.original)
    }

    /// Returns all fields of this name, unfolded and decoded, in order.
    pub fn header_all(&self, name: &str) -> Vec<String> {
        self.header.find(name, &self.original).map(|field| field.decoded(&self.original)).collect()
    }

    /// Returns the first field of this name as it stands: folded and encoded, without name, colon and final CRLF.
    pub fn header_raw(&self, name: &str) -> Option<Bytes> {
        self.header.raw(name, &self.original).map(Bytes::copy_from_slice)
    }

    /// Returns all fields of this name as they stand, as [`Draft::header_raw`] does.
    pub fn header_all_raw<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.header.find(name, &self.original).map(|field| field.raw(&self.original))
    }

    /// Returns names of all fields, in order.
    pub fn header_names(&self) -> Vec<String> {
        let names = self.header.fields().iter().map(|field| field.name(&self.original));
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Returns all fields in order: name, and value unfolded and decoded.
    pub fn headers(&self) -> impl Iterator<Item = (&str, String)> {
        let fields = self.header.fields().iter().map(|field| (field.name(&self.original), field));
        fields.filter(|(name, _)| !name.is_empty()).map(|(name, field)| (name, field.decoded(&self.original)))
    }

    /// Whether there is room for one more field: what finds its way in must be seen again.
    fn check_room(&self) -> Result<(), EditError> {
        if self.header.fields().len() < MAX_FIELDS {
            return Ok(());
        }
        Err(EditError::Denied(format!("a header has at most {MAX_FIELDS} fields")))
    }

    /// Adds a field; folds and encodes its value.
    pub fn add_header(&mut self, name: &str, value: &str, position: Position) -> Result<(), EditError> {
        self.check_room()?;
        let header = Arc::make_mut(&mut self.header);
        match position {
            Position::First => header.add_first(name, value)?,
            Position::Last => header.add_last(name, value)?,
        }
        self.is_edited = true;
        Ok(())
    }

    /// Puts one field in the place of all of this name, or adds it behind all others. A field that says the same already keeps its octets.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        let mut same = self.header.find(name, &self.original);
        if let (Some(only), None) = (same.next(), same.next())
            && header::is_field_name(name)
            && only.decoded(&self.original) == value.trim_matches([' ', '\t'])
        {
            return Ok(());
        }
        drop(same);
        if self.header.find(name, &self.original).next().is_none() {
            self.check_room()?;
        }
        Arc::make_mut(&mut self.header).set(name, value, &self.original)?;
        self.is_edited = true;
        Ok(())
    }

    /// Removes all fields of this name; returns how many there were.
    pub fn remove_header(&mut self, name: &str) -> u32 {
        if self.header.find(name, &self.original).next().is_none() {
            return 0;
        }
        self.is_edited = true;
        u32::try_from(Arc::make_mut(&mut self.header).remove(name, &self.original)).unwrap_or(u32::MAX)
    }

    /// Returns the MIME tree, parents first.
    ///
    /// The root has id 0, unless [`Draft::add_part`] had to put a multipart above it: ids stay with what they named.
    pub fn parts(&mut self) -> Vec<PartInfo> {
        let tree = Arc::clone(self.tree());
        let mut parts: Vec<PartInfo> = Vec::with_capacity(tree.nodes.len());
        let mut sizes = vec![0_u64; tree.nodes.len()];
        let order = tree.in_order();
        // Children come after their parents, so that from behind all sums are complete.
        for id in order.iter().rev() {
            let Some(node) = tree.node(*id) else { continue };
            let place = usize::try_from(*id).unwrap_or(usize::MAX);
            if let NodeContent::Leaf { body, edited } = &node.content {
                let size = match edited {
                    Some(content) => content.len(),
                    None => node.entity.encoding.decoded_length(body.of(&self.original)),
                };
                if let Some(sum) = sizes.get_mut(place) {
                    *sum = u64::try_from(size).unwrap_or(u64::MAX);
                }
            }
            let size = sizes.get(place).copied().unwrap_or_default();
            if let Some(sum) = node.parent.and_then(|parent| sizes.get_mut(usize::try_from(parent).ok()?)) {
                *sum = sum.saturating_add(size);
            }
            parts.push(PartInfo {
                id: *id,
                parent: node.parent,
                content_type: node.entity.content_type.to_string(),
                charset: node.entity.charset.as_deref().map(str::to_owned),
                filename: node.entity.filename.as_deref().map(str::to_owned),
                content_id: node.entity.content_id.as_deref().map(str::to_owned),
                inline: node.entity.inline,
                size,
            });
        }
        parts.reverse();
        parts
    }

    /// Returns the first text/plain leaf that is no attachment, as UTF-8.
    pub fn text(&mut self) -> Option<String> {
        self.displayed(Display::Text)
    }

    /// Returns the first text/html leaf that is no attachment, as UTF-8.
    pub fn html(&mut self) -> Option<String> {
        self.displayed(Display::Html)
    }

    fn displayed(&mut self, display: Display) -> Option<String> {
        let id = self.tree().displayed(display.content_type())?;
        if let Some(Some(Displayed { id: known, text })) = self.displayed.get(display.place())
            && *known == id
        {
            return Some(text.as_ref().to_owned());
        }
        let content = self.content(id)?;
        let charset = self.tree().node(id)?.entity.charset.as_deref();
        let text = header::charset::decode(charset, &content).into_owned();
        if let Some(place) = self.displayed.get_mut(display.place()) {
            *place = Some(Displayed { id, text: text.as_str().into() });
        }
        Some(text)
    }

    /// Forgets what was decoded of a leaf that is edited now.
    fn forget_decoded(&mut self) {
        self.decoded = None;
        self.displayed = [None, None];
    }

    /// Returns up to `length` octets of a leaf, decoded.
    pub fn read_part(&mut self, id: u32, offset: u64, length: u32) -> Result<Bytes, EditError> {
        let content = match &self.decoded {
            Some((last, content)) if *last == id => content.clone(),
            _ => self.content(id).ok_or(EditError::NoSuchPart)?,
        };
        self.decoded = Some((id, content.clone()));
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(content.len());
        Ok(content.slice(start..end))
    }

    /// Returns the content of a leaf, decoded.
    fn content(&mut self, id: u32) -> Option<Bytes> {
        let tree = Arc::clone(self.tree());
        let node = tree.node(id)?;
        match &node.content {
            NodeContent::Leaf { edited: Some(content), .. } => Some(content.clone()),
            NodeContent::Leaf { body, edited: None } => Some(node.entity.encoding.decode(&body.share(&self.original))),
            NodeContent::Multipart { .. } => None,
        }
    }

    fn tree(&mut self) -> &Arc<Tree> {
        let original = &self.original;
        self.tree.get_or_insert_with(|| Arc::new(Tree::parse(original)))
    }
}

#[cfg(test)]
mod tests;
