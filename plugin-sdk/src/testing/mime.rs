//! Reads a message into the stand-in, and writes it: what is on the wire, decoded and encoded in the plainest way.

use std::fmt::Write as _;

use mail_parser::{Header, HeaderValue, MessageParser, MimeHeaders, PartType, parsers::MessageStream};

use super::stand_in::{StandIn, part};
use crate::{
    PartInfo,
    address::{Entry, Mailbox, write_list},
    bindings::imports::tubepost::mail::types::Field,
};

/// The boundary between parts; with the id of the multipart behind it.
const BOUNDARY: &str = "stand-in-boundary";
/// Octets of a line of base64.
const LINE: usize = 76;

impl StandIn {
    /// Puts a message in the place of header and parts.
    pub(super) fn read(&mut self, octets: &[u8]) {
        octets.clone_into(&mut self.original);
        self.headers = Vec::new();
        self.parts = vec![(part(0, None, "text/plain"), Vec::new())];
        let Some(message) = MessageParser::default().parse(octets) else { return };
        let Some(root) = message.parts.first() else { return };
        self.headers = root.headers.iter().map(|header| field(header, octets)).collect();
        self.parts = Vec::new();
        // Ids are those of the order in which a reader meets the parts.
        let mut open = vec![(0_u32, None)];
        while let Some((place, parent)) = open.pop() {
            let Some(found) = message.parts.get(place as usize) else { continue };
            let id = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
            let (info, content) = read_part(found, id, parent, octets);
            self.parts.push((info, content));
            if let PartType::Multipart(children) = &found.body {
                open.extend(children.iter().rev().map(|child| (*child, Some(id))));
            }
        }
    }

    /// The message as octets: header fields as UTF-8 where they are not ASCII, leaves as they are or in base64.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for field in self.headers.iter().filter(|field| !is_content_field(&field.name)) {
            octets.extend(format!("{}: {}\r\n", field.name, field.value).into_bytes());
        }
        if let Some((root, _)) = self.parts.iter().find(|(info, _)| info.parent.is_none()) {
            self.write_part_to(root, &mut octets);
        }
        octets
    }

    fn write_part_to(&self, info: &PartInfo, octets: &mut Vec<u8>) {
        let children: Vec<_> = self.parts.iter().filter(|(child, _)| child.parent == Some(info.id)).collect();
        let mut header = format!("Content-Type: {}", info.content_type);
        let is_multipart = info.content_type.starts_with("multipart/");
        let content = self.parts.iter().find(|(known, _)| known.id == info.id).map(|(_, content)| content.as_slice()).unwrap_or_default();
        let plain = content.is_ascii() && content.split(|octet| *octet == b'\n').all(|line| line.len() < 900);
        // Writing to a String cannot fail.
        if is_multipart {
            let _ = write!(header, "; boundary={BOUNDARY}-{}", info.id);
        } else if info.content_type.starts_with("text/") {
            let _ = write!(header, "; charset=utf-8");
        }
        if let Some(name) = &info.filename {
            let kind = if info.inline { "inline" } else { "attachment" };
            let _ = write!(header, "\r\nContent-Disposition: {kind}; filename=\"{}\"", name.replace(['"', '\\'], "_"));
        } else if !info.inline {
            header.push_str("\r\nContent-Disposition: attachment");
        }
        if let Some(id) = &info.content_id {
            let _ = write!(header, "\r\nContent-ID: <{id}>");
        }
        if !is_multipart && !plain {
            header.push_str("\r\nContent-Transfer-Encoding: base64");
        }
        octets.extend(header.into_bytes());
        octets.extend(b"\r\n\r\n");
        if is_multipart {
            for (child, _) in children {
                octets.extend(format!("--{BOUNDARY}-{}\r\n", info.id).into_bytes());
                self.write_part_to(child, octets);
                octets.extend(b"\r\n");
            }
            octets.extend(format!("--{BOUNDARY}-{}--\r\n", info.id).into_bytes());
        } else if plain {
            octets.extend(String::from_utf8_lossy(content).replace("\r\n", "\n").replace('\n', "\r\n").into_bytes());
        } else {
            for line in base64(content).as_bytes().chunks(LINE) {
                octets.extend(line);
                octets.extend(b"\r\n");
            }
        }
    }
}

/// Whether the tree of parts says what this field says.
pub(super) fn is_content_field(name: &str) -> bool {
    name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("Content-"))
}

fn field(header: &Header<'_>, octets: &[u8]) -> Field {
    let raw = octets.get(header.offset_start as usize..header.offset_end as usize).unwrap_or_default();
    let name = octets.get(header.offset_field as usize..header.offset_start as usize).unwrap_or_default();
    let name = String::from_utf8_lossy(name).trim_end_matches([':', ' ']).to_owned();
    Field { value: decode(&name, raw), name }
}

fn decode(name: &str, raw: &[u8]) -> String {
    const ADDRESSES: [&str; 6] = ["from", "sender", "reply-to", "to", "cc", "bcc"];
    let unfolded = String::from_utf8_lossy(raw).replace(['\r', '\n'], "");
    let unfolded = unfolded.trim();
    if !unfolded.contains("=?") {
        return unfolded.to_owned();
    }
    let line = format!(" {unfolded}\r\n");
    if ADDRESSES.contains(&name.to_ascii_lowercase().as_str()) {
        let parsed = MessageStream::new(line.as_bytes()).parse_address();
        if let Some(list) = parsed.as_address().map(entries) {
            return write_list(&list);
        }
    }
    let parsed: HeaderValue<'_> = MessageStream::new(line.as_bytes()).parse_unstructured();
    parsed.as_text().unwrap_or(unfolded).to_owned()
}

fn entries(list: &mail_parser::Address<'_>) -> Vec<Entry> {
    let mailbox = |one: &mail_parser::Addr<'_>| {
        Some(Mailbox { name: one.name.as_deref().map(ToOwned::to_owned), address: one.address.as_deref()?.parse().ok()? })
    };
    match list {
        mail_parser::Address::List(list) => list.iter().filter_map(mailbox).map(Entry::Mailbox).collect(),
        mail_parser::Address::Group(groups) => {
            let mut entries = Vec::new();
            for group in groups {
                let members = group.addresses.iter().filter_map(mailbox);
                match &group.name {
                    Some(name) => entries.push(Entry::Group { name: name.to_string(), members: members.collect() }),
                    None => entries.extend(members.map(Entry::Mailbox)),
                }
            }
            entries
        }
    }
}

fn read_part(found: &mail_parser::MessagePart<'_>, id: u32, parent: Option<u32>, octets: &[u8]) -> (PartInfo, Vec<u8>) {
    let default = if parent.is_none() || !matches!(found.body, PartType::Message(_)) { "text/plain" } else { "message/rfc822" };
    let content_type = found
        .content_type()
        .map_or_else(|| default.to_owned(), |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("plain")).to_ascii_lowercase());
    let mut info = part(id, parent, &content_type);
    info.charset = found.content_type().and_then(|kind| kind.attribute("charset")).map(str::to_ascii_lowercase);
    info.filename = found.attachment_name().map(ToOwned::to_owned);
    info.content_id = found.content_id().map(ToOwned::to_owned);
    info.inline = !found.content_disposition().is_some_and(mail_parser::ContentType::is_attachment);
    let content = match &found.body {
        PartType::Text(text) | PartType::Html(text) => text.as_bytes().to_vec(),
        PartType::Binary(content) | PartType::InlineBinary(content) => content.to_vec(),
        PartType::Message(_) => octets.get(found.offset_body as usize..found.offset_end as usize).unwrap_or_default().to_vec(),
        PartType::Multipart(_) => Vec::new(),
    };
    info.size = content.len() as u64;
    (info, content)
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let mut bits = 0_u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(place).copied().unwrap_or_default());
        }
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place)) as usize & 63).copied().unwrap_or(b'=');
            text.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}
