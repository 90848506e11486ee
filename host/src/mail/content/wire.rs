//! What goes over the wire: parts that a next hop may not take as they are, are encoded again.
//!
//! A line has at most 998 octets (RFC 5321 §4.5.3.1.6), and where the next hop has no 8BITMIME all is ASCII (RFC 6152 §3). Only leaves that are otherwise
//! change, with the fields that say how they are encoded. Header lines stay as they are, and so does all that is signed (RFC 1847 §2.1): what could
//! not be mended there goes out as it is, or comes back.

use bytes::Bytes;
use memchr::{memchr, memrchr};

use super::Draft;
use super::line_end::is_crlf;
use super::transfer::{Kind, TransferEncoding};
use super::tree::{Entity, NodeContent};
use crate::mail::header::MAX_LINE;

/// How deep messages in messages are looked into.
const MAX_NESTED: usize = 8;

/// What the next hop takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Any octets, in lines that are not too long.
    EightBit,
    /// ASCII in such lines.
    SevenBit,
    /// As [`Wire::EightBit`], where the content may be anything but lines: NUL, CR and LF wherever they stand.
    Lines,
}

impl Wire {
    fn carries(self, octets: &[u8]) -> bool {
        match self {
            Self::EightBit => !has_long_line(octets),
            Self::SevenBit => octets.is_ascii() && !has_long_line(octets),
            Self::Lines => memchr(0, octets).is_none() && is_crlf(octets) && !has_long_line(octets),
        }
    }

    /// Returns a message as it can go over the wire, as far as that can be done. One that can go as it is is shared, and not taken apart.
    pub fn fit(self, message: Bytes) -> Bytes {
        self.fit_nested(message, 0)
    }

    fn fit_nested(self, message: Bytes, depth: usize) -> Bytes {
        if self.carries(&message) || depth > MAX_NESTED {
            return message;
        }
        let mut draft = Draft::new(message.clone());
        draft.fit(self, depth);
        draft.into_composition(None).into_plain().unwrap_or(message)
    }
}

/// Whether a line has more than 998 octets. Only its end is looked for in each thousand, from behind, so that most octets are not looked at.
fn has_long_line(octets: &[u8]) -> bool {
    let mut rest = octets;
    while rest.len() > MAX_LINE {
        let window = rest.get(..MAX_LINE + "\r\n".len()).unwrap_or(rest);
        let Some(end) = memrchr(b'\n', window) else { return true };
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    false
}

impl Draft {
    /// Encodes again what the wire does not carry.
    fn fit(&mut self, wire: Wire, depth: usize) {
        let tree = self.tree().clone();
        let mut open = vec![tree.root];
        while let Some(id) = open.pop() {
            let Some(node) = tree.node(id) else { continue };
            match &node.content {
                NodeContent::Multipart { .. } if &*node.entity.content_type == "multipart/signed" => {}
                NodeContent::Multipart { children, .. } => {
                    open.extend(children);
                    let label = match (wire, node.entity.encoding) {
                        (Wire::SevenBit, TransferEncoding::EightBit | TransferEncoding::Binary) => Some(TransferEncoding::SevenBit),
                        (Wire::Lines, TransferEncoding::Binary) => Some(TransferEncoding::EightBit),
                        _ => None,
                    };
                    if let Some(label) = label {
                        self.relabel(id, label, None);
                        self.is_edited = true;
                    }
                }
                NodeContent::Leaf { body, .. } => {
                    let body = body.share(&self.original);
                    if !wire.carries(&body) {
                        self.fit_leaf(id, &node.entity, &body, wire, depth);
                    }
                }
            }
        }
    }

    fn fit_leaf(&mut self, id: u32, entity: &Entity, body: &Bytes, wire: Wire, depth: usize) {
        let kind = entity.kind();
        let (encoding, content) = match (entity.encoding, kind) {
            // What is encoded is written in lines as they should be.
            (encoding @ (TransferEncoding::QuotedPrintable | TransferEncoding::Base64), _) => (encoding, encoding.decode(body)),
            // Octets that are not lines are to come out as they went in.
            (_, Kind::Text | Kind::Data) if wire == Wire::Lines => (TransferEncoding::Base64, body.clone()),
            (_, Kind::Text) => (TransferEncoding::QuotedPrintable, body.clone()),
            (_, Kind::Data) => (TransferEncoding::Base64, body.clone()),
            // RFC 2046 §5.2.1: not encoded as a whole, but the parts of it are; of other types (delivery-status) nothing is.
            (_, Kind::Message) if !["message/rfc822", "message/global"].contains(&&*entity.content_type) => return,
            (encoding, Kind::Message) => {
                let mut fitted = wire.fit_nested(body.clone(), depth + 1);
                if !body.ends_with(b"\r\n") && fitted.ends_with(b"\r\n") {
                    // A message on its own ends with a line end; here the one before the boundary would be doubled.
                    fitted.truncate(fitted.len() - "\r\n".len());
                }
                if fitted == *body {
                    return;
                }
                (if fitted.is_ascii() { TransferEncoding::SevenBit } else { encoding }, fitted)
            }
        };
        self.relabel(id, encoding, None);
        self.put_content(id, content);
    }
}

#[cfg(test)]
mod tests;
