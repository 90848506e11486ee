//! Links on the operator's public address, signed: nobody can make one up or change one, and the same link is always the same text.
//!
//! | path | is |
//! |---|---|
//! | `/t/<token>/<tail>` | a click, or an opening that leads to an image; the tail shows readers where it goes and means nothing to us |
//! | `/t/<token>.gif` | an opening without an image of the message's own |
//! | `/t/<token>` | a plugin's own link |
//! | `/u/<token>` | unsubscribing |
//!
//! A token is base64url without padding (RFC 4648 §5) of a payload and the first 16 octets of its HMAC-SHA256 (RFC 2104 §5 allows the cut):
//!
//! ```text
//! octet    0: version in the high half (0), kind in the low half (1 click, 2 pixel, 3 image, 4 unsubscribe, 5 a plugin's own)
//! octets 1–16: message id
//! then: place of the recipient, LEB128
//! click: position, LEB128; URL to the end        image: URL to the end
//! own: octets of the plugin's name, LEB128; name; octets of the claims, LEB128; claims; URL to the end, or nothing
//! others: nothing
//! ```
//!
//! The octets of one link are one payload: verification accepts no second spelling, so that a changed character is always a stranger's link.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::mail::message_id::{CopyId, MessageId};
use crate::mail::slot::Link;

/// Octets of the HMAC that are kept.
const TAG_LENGTH: usize = 16;
/// Characters of a path that are looked at: no link of ours is longer.
const LONGEST_PATH: usize = 16 * 1024;
/// Characters of the decoration behind a token.
const LONGEST_TAIL: usize = 40;
/// Characters of `/t/` and `/u/`.
const FOLDER_LENGTH: usize = 3;
/// Ends the link of a pixel.
const PIXEL: &str = ".gif";

const KIND_CLICK: u8 = 1;
const KIND_PIXEL: u8 = 2;
const KIND_IMAGE: u8 = 3;
const KIND_UNSUBSCRIBE: u8 = 4;
const KIND_OWN: u8 = 5;

/// Signs links and tells its own from others.
#[derive(Clone)]
pub struct LinkSigner {
    /// Has taken in the key already: one block less to hash for each link.
    keyed: Hmac<Sha256>,
    base: String,
}

/// What a link that was followed says, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedLink {
    /// Whose copy it stood in.
    pub copy: CopyId,
    /// What it is for.
    pub link: Link,
}

impl LinkSigner {
    /// Makes a signer for links below `base` (`https://t.example.com`; a slash at the end is dropped).
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length (RFC 2104 §2).
    pub fn new(key: [u8; 32], mut base: String) -> Self {
        while base.ends_with('/') {
            base.pop();
        }
        Self { keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"), base }
    }

    /// Returns what all links begin with: the public address without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the path of the public address, below which the paths of links are: `/mail`, or nothing.
    pub fn path(&self) -> &str {
        let host = self.base.split_once("://").map_or("", |(_, host)| host);
        host.find('/').and_then(|slash| host.get(slash..)).unwrap_or_default()
    }

    /// Returns the absolute URL of `link` in `copy`.
    pub fn url(&self, copy: CopyId, link: &Link) -> String {
        let (folder, target) = match link {
            Link::Click { url, .. } => ("/t/", Some(url.as_str())),
            Link::Open(target) => ("/t/", target.as_deref()),
            Link::Own { url, .. } => ("/t/", url.as_deref()),
            Link::Unsubscribe => ("/u/", None),
        };
        let mut octets = payload(copy, link);
        let tag = self.tag(&octets);
        octets.extend_from_slice(&tag);
        let mut text = String::with_capacity(self.base.len() + folder.len() + octets.len() * 4 / 3 + LONGEST_TAIL + 4);
        text.push_str(&self.base);
        text.push_str(folder);
        URL_SAFE_NO_PAD.encode_string(&octets, &mut text);
        match target {
            Some(target) => push_tail(&mut text, target),
            None if matches!(link, Link::Open(None)) => text.push_str(PIXEL),
            None => {}
        }
        text
    }

    /// Returns how many octets [`LinkSigner::url`] gives at most, in whosever copy.
    pub fn longest(&self, link: &Link) -> usize {
        let octets = payload(CopyId { message: MessageId::from_bytes([0; 16]), recipient: u32::MAX }, link).len() + TAG_LENGTH;
        self.base.len() + FOLDER_LENGTH + (octets * 4).div_ceil(3) + LONGEST_TAIL.max(PIXEL.len()) + 1
    }

    /// Whether `url` is a link of ours: those are followed as they are, and never led through another one.
    pub fn is_own(&self, url: &str) -> bool {
        let path = url.strip_prefix(&self.base).unwrap_or_default();
        ["/t/", "/u/"].iter().any(|folder| path.starts_with(folder))
    }

    /// Reads the path of a request below that of the public address (`/t/…`, `/u/…`); `None` is for everything that we did not sign.
    ///
    /// What comes back leads to http or https, or nowhere.
    pub fn verify(&self, path: &str) -> Option<SignedLink> {
        if path.len() > LONGEST_PATH {
            return None;
        }
        let (unsubscribe, rest) = match (path.strip_prefix("/t/"), path.strip_prefix("/u/")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return None,
        };
        let token = rest.split(['/', '.']).next()?;
        let octets = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (payload, tag) = octets.split_at_checked(octets.len().checked_sub(TAG_LENGTH)?)?;
        if !bool::from(self.tag(payload).ct_eq(tag)) {
            return None;
        }
        let signed = read(payload)?;
        match &signed.link {
            Link::Unsubscribe => unsubscribe.then_some(signed),
            Link::Open(None) | Link::Own { url: None, .. } => (!unsubscribe).then_some(signed),
            Link::Click { url, .. } | Link::Open(Some(url)) | Link::Own { url: Some(url), .. } => {
                (!unsubscribe && is_web(url)).then_some(signed)
            }
        }
    }

    fn tag(&self, payload: &[u8]) -> [u8; TAG_LENGTH] {
        let mut mac = self.keyed.clone();
        mac.update(payload);
        let full = mac.finalize().into_bytes();
        let mut tag = [0; TAG_LENGTH];
        for (kept, octet) in tag.iter_mut().zip(full) {
            *kept = octet;
        }
        tag
    }
}

/// Whether `url` is http or https, without characters that have no place in a URL.
pub fn is_web(url: &str) -> bool {
    let scheme = |name: &str| url.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    (scheme("https://") || scheme("http://")) && !url.chars().any(char::is_control)
}

fn payload(copy: CopyId, link: &Link) -> Vec<u8> {
    let (kind, position, url) = match link {
        Link::Click { url, position } => (KIND_CLICK, Some(*position), url.as_str()),
        Link::Open(None) => (KIND_PIXEL, None, ""),
        Link::Open(Some(url)) => (KIND_IMAGE, None, url.as_str()),
        Link::Unsubscribe => (KIND_UNSUBSCRIBE, None, ""),
        Link::Own { url, .. } => (KIND_OWN, None, url.as_deref().unwrap_or_default()),
    };
    let mut octets = Vec::with_capacity(1 + 16 + 5 + 5 + url.len() + TAG_LENGTH);
    octets.push(kind);
    octets.extend_from_slice(&copy.message.to_bytes());
    push_number(&mut octets, copy.recipient);
    if let Some(position) = position {
        push_number(&mut octets, position);
    }
    if let Link::Own { plugin, claims, .. } = link {
        for text in [plugin, claims] {
            push_number(&mut octets, u32::try_from(text.len()).unwrap_or(u32::MAX));
            octets.extend_from_slice(text.as_bytes());
        }
    }
    octets.extend_from_slice(url.as_bytes());
    octets
}

fn read(payload: &[u8]) -> Option<SignedLink> {
    let (kind, rest) = payload.split_first()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (recipient, rest) = read_number(rest)?;
    let copy = CopyId { message: MessageId::from_bytes(*id), recipient };
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).ok();
    let link = match *kind {
        KIND_CLICK => {
            let (position, url) = read_number(rest)?;
            Link::Click { url: text(url)?, position }
        }
        KIND_PIXEL if rest.is_empty() => Link::Open(None),
        KIND_IMAGE => Link::Open(Some(text(rest)?)),
        KIND_UNSUBSCRIBE if rest.is_empty() => Link::Unsubscribe,
        KIND_OWN => {
            let (plugin, rest) = read_text(rest)?;
            let (claims, url) = read_text(rest)?;
            Link::Own { plugin: text(plugin)?, claims: text(claims)?, url: if url.is_empty() { None } else { Some(text(url)?) } }
        }
        _ => return None,
    };
    Some(SignedLink { copy, link })
}

fn push_number(octets: &mut Vec<u8>, mut number: u32) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            octets.push(low);
            return;
        }
        octets.push(low | 0x80);
    }
}

/// Reads a number of octets, and so many octets.
fn read_text(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = read_number(octets)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn read_number(octets: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0_u32;
    let mut rest = octets;
    for shift in [0, 7, 14, 21, 28] {
        let (octet, behind) = rest.split_first()?;
        rest = behind;
        number |= u32::from(octet & 0x7f).checked_shl(shift)?;
        if octet & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

/// Appends what readers recognise of the path of `url`: one segment, so that no client takes it for a way up (`..`).
fn push_tail(text: &mut String, url: &str) {
    let end = text.len();
    let behind_scheme = memchr::memmem::find(url.as_bytes(), b"://").and_then(|place| url.as_bytes().get(place + 3..)).unwrap_or_default();
    let path = memchr::memchr(b'/', behind_scheme).and_then(|place| behind_scheme.get(place + 1..)).unwrap_or_default();
    text.push('/');
    let start = text.len();
    // What is begun with, and doubled, is left out.
    let mut dash = true;
    for octet in path.iter().take_while(|octet| !matches!(octet, b'?' | b'#')) {
        if octet.is_ascii_alphanumeric() || (text.len() > start && matches!(octet, b'.' | b'_')) {
            text.push(char::from(*octet));
            dash = false;
        } else if !dash {
            text.push('-');
            dash = true;
        }
        if text.len() - start == LONGEST_TAIL {
            break;
        }
    }
    text.truncate(text.trim_end_matches(['-', '.']).len());
    if text.len() <= start {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests;
