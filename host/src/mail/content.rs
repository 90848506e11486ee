//! The content of a message: RFC 5322 header and MIME body (RFC 2045), edited in place.
//!
//! [`Draft`] is what plugins and dialects edit: what is not edited keeps every octet. [`Composition`] is the same message ready to be kept: pieces that are final,
//! and pieces that hold slots, still decoded, because transfer encodings come after slots.

use bytes::Bytes;

use crate::mail::slot::Slot;

/// A message being edited. Cloning is cheap: octets are shared.
#[derive(Clone, Debug)]
pub struct Draft {
    original: Bytes,
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

impl Draft {
    /// Takes a message apart: its header at once, its body when it is asked for.
    ///
    /// Never fails: what has no header is a body, what has broken MIME is one leaf. Line ends must be CRLF already.
    pub fn new(original: Bytes) -> Self {
        Self { original }
    }
    /// Returns the octets it was made of.
    pub fn original(&self) -> &Bytes {
        &self.original
    }
    /// Whether any edit was made.
    pub fn is_edited(&self) -> bool {
        todo!()
    }
    /// Returns the octets that the message would have now, within the slack of transfer encodings.
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// Returns the first field of this name, unfolded and decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        todo!("{name}")
    }
    /// Returns all fields of this name, unfolded and decoded, in order.
    pub fn header_all(&self, name: &str) -> Vec<String> {
        todo!("{name}")
    }
    /// Returns the first field of this name as it stands: folded and encoded, without name, colon and final CRLF.
    pub fn header_raw(&self, name: &str) -> Option<Bytes> {
        todo!("{name}")
    }
    /// Returns names of all fields, in order.
    pub fn header_names(&self) -> Vec<String> {
        todo!()
    }
    /// Adds a field; folds and encodes its value.
    pub fn add_header(&mut self, name: &str, value: &str, position: Position) -> Result<(), EditError> {
        todo!("{name}{value}{position:?}")
    }
    /// Puts one field in the place of all of this name.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        todo!("{name}{value}")
    }
    /// Removes all fields of this name; returns how many there were.
    pub fn remove_header(&mut self, name: &str) -> u32 {
        todo!("{name}")
    }
    /// Returns the MIME tree, parents first.
    pub fn parts(&mut self) -> Vec<PartInfo> {
        todo!()
    }
    /// Returns the first text/plain leaf that is no attachment, as UTF-8.
    pub fn text(&mut self) -> Option<String> {
        todo!()
    }
    /// Replaces it.
    pub fn set_text(&mut self, value: &str) -> Result<(), EditError> {
        todo!("{value}")
    }
    /// Returns the first text/html leaf that is no attachment, as UTF-8.
    pub fn html(&mut self) -> Option<String> {
        todo!()
    }
    /// Replaces it.
    pub fn set_html(&mut self, value: &str) -> Result<(), EditError> {
        todo!("{value}")
    }
    /// Returns up to `length` octets of a leaf, decoded.
    pub fn read_part(&mut self, id: u32, offset: u64, length: u32) -> Result<Bytes, EditError> {
        todo!("{id}{offset}{length}")
    }
    /// Replaces a leaf's content; its other header fields stay, the transfer encoding may change.
    pub fn write_part(&mut self, id: u32, content: Bytes) -> Result<(), EditError> {
        todo!("{id}{content:?}")
    }
    /// Adds a leaf at the end of a multipart, or beside all that there is.
    pub fn add_part(&mut self, parent: Option<u32>, part: NewPart) -> Result<u32, EditError> {
        todo!("{parent:?}{part:?}")
    }
    /// Removes a node and all below it.
    pub fn remove_part(&mut self, id: u32) -> Result<(), EditError> {
        todo!("{id}")
    }
    /// Ends editing. `nonce` is that of the slots' tokens: pieces that hold one stay decoded; without slots all is final.
    pub fn into_composition(self, nonce: Option<&[u8; 11]>) -> Composition {
        todo!("{nonce:?}")
    }
}

/// A message as it is kept: final pieces, and pieces with slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composition {
    octets: Bytes,
}

impl Composition {
    /// A message that is final as it is.
    pub fn plain(octets: Bytes) -> Self {
        Self { octets }
    }
    /// Returns octets to keep. A message without slots is kept as it is, behind a short prefix.
    pub fn encode(&self) -> Bytes {
        self.octets.clone()
    }
    /// Reads what [`Composition::encode`] gave; shares the octets. `None` if it is damaged.
    pub fn decode(octets: Bytes) -> Option<Self> {
        Some(Self { octets })
    }
    /// Returns the message for one recipient. `value` says what stands in the place of a slot (asked once for each token met; the slot by its number in
    /// `slots`); it is escaped here where the piece is HTML and the slot is no link, encoded and folded as its place demands.
    /// Without slots this shares the octets.
    pub fn fill(&self, nonce: &[u8; 11], slots: &[Slot], value: &mut dyn FnMut(&Slot) -> String) -> Bytes {
        let _ = (nonce, slots, value);
        todo!()
    }
}
