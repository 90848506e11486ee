//! Header fields (RFC 5322 §2.2): names, values, folding, encoded words (RFC 2047), address lists.
//!
//! Values come in two forms: *raw*, folded and encoded as they stand in a message, and *decoded*, one line of UTF-8. [`decode`] and
//! [`encode`] lead from one to the other; what [`encode`] wrote, [`decode`] reads as it was.

pub mod charset;
pub mod encoded_word;
mod fold;
pub mod mailbox;
pub mod message_id_field;
pub mod parameters;
pub mod raw_fields;

use std::borrow::Cow;

use fold::Folder;
pub use mailbox::{AddressListError, Mailbox};
pub use message_id_field::MessageIdField;

/// Longest line of a message without its CRLF (RFC 5322 §2.1.1).
pub const MAX_LINE: usize = 998;

/// Longest name of a field that we write. Real ones have up to 40 octets; with this, a name and a word always fit in a line.
pub const MAX_NAME: usize = 126;

/// Longest stretch without a blank that is left in one piece.
const MAX_WORD: usize = MAX_LINE - MAX_NAME - 4;

/// Why a field cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not 1 to [`MAX_NAME`] printable ASCII characters without colon (`ftext`, RFC 5322 §3.6.8).
    #[error("not the name of a header field")]
    Name,
    /// CR, LF, NUL or another control character.
    #[error("a header field holds no control characters")]
    Control,
    /// Has to be an address list to be encoded, and is none.
    #[error("{0}")]
    AddressList(#[from] AddressListError),
    /// More than a line without a place to fold.
    #[error("a word of a header field is too long")]
    TooLong,
}

/// What the value of a field is made of, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// Text: any word may be encoded.
    Text,
    /// Addresses: only display names may be encoded.
    AddressList,
    /// Anything else with a grammar, such as ids and URLs: encoded only where it is not ASCII, so that it is at least mail.
    Structured,
}

impl Syntax {
    fn of(name: &str) -> Self {
        const ADDRESS_LISTS: [&str; 14] = [
            "From",
            "To",
            "Cc",
            "Bcc",
            "Reply-To",
            "Sender",
            "Resent-From",
            "Resent-To",
            "Resent-Cc",
            "Resent-Bcc",
            "Resent-Sender",
            "Disposition-Notification-To",
            "Return-Receipt-To",
            "Errors-To",
        ];
        const STRUCTURED: [&str; 15] = [
            "Message-ID",
            "In-Reply-To",
            "References",
            "Resent-Message-ID",
            "Date",
            "Received",
            "Return-Path",
            "DKIM-Signature",
            "MIME-Version",
            "Content-Type",
            "Content-Disposition",
            "Content-Transfer-Encoding",
            "Content-ID",
            "List-Unsubscribe",
            "List-Unsubscribe-Post",
        ];
        let is_one_of = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is_one_of(&ADDRESS_LISTS) {
            Self::AddressList
        } else if is_one_of(&STRUCTURED) {
            Self::Structured
        } else {
            Self::Text
        }
    }
}

/// Whether this is the name of a field: `ftext` (RFC 5322 §3.6.8), at most [`MAX_NAME`] octets.
pub fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':')
}

/// Whether a decoded value may stand in a field: no control characters but the tab.
pub fn is_field_value(value: &str) -> bool {
    !value.chars().any(|character| character.is_control() && character != '\t')
}

/// Returns a raw value unfolded and decoded, without blanks around it.
///
/// In a field of addresses, a display name that holds a comma or another character of the grammar is put in quotes, so that the result
/// is still a list of the same addresses.
pub fn decode(name: &str, raw: &[u8]) -> String {
    let text = unfold(raw);
    let text = text.trim_matches(is_blank);
    if Syntax::of(name) == Syntax::AddressList
        && text.contains("=?")
        && let Some(decoded) = mailbox::decode_list(text)
    {
        return encoded_word::without_controls(&decoded).into_owned();
    }
    encoded_word::without_controls(&encoded_word::decode(text)).into_owned()
}

/// Returns a raw value on one line, as UTF-8, with its encoded words as they are.
pub(crate) fn unfold(raw: &[u8]) -> Cow<'_, str> {
    let text = charset::decode(None, raw);
    if text.contains(['\r', '\n']) { Cow::Owned(text.replace(['\r', '\n'], "")) } else { text }
}

fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}

/// Writes a field with its name, the colon and the final CRLF: folded at 78 columns where it can be, never longer than [`MAX_LINE`],
/// ASCII except for addresses that are not.
///
/// # Errors
/// The value cannot be part of a message; nothing that was written for it can hold a second field.
pub fn encode(name: &str, value: &str) -> Result<Vec<u8>, FieldError> {
    if !is_field_name(name) {
        return Err(FieldError::Name);
    }
    if !is_field_value(value) {
        return Err(FieldError::Control);
    }
    let value = value.trim_matches(is_blank);
    let syntax = Syntax::of(name);
    let mut folder = Folder::new(name, value.len());
    let is_long = || value.split(is_blank).any(|word| word.len() > MAX_WORD);
    if syntax == Syntax::AddressList {
        if !value.is_ascii() || is_long() {
            mailbox::write_list(value, &mut folder)?;
        } else {
            folder.words(value);
        }
    } else if is_plain(value, syntax) {
        if is_long() {
            return Err(FieldError::TooLong);
        }
        folder.words(value);
    } else {
        write_text(value, &mut folder);
    }
    folder.finish().ok_or(FieldError::TooLong)
}

/// Writes a field as [`encode`] does, of whatever a slot was filled with: control characters become blanks, what is no address list is
/// written as text, and what has no place to fold is folded anywhere.
pub(crate) fn encode_lossy(name: &str, value: &str) -> Vec<u8> {
    let value = encoded_word::without_controls(value);
    encode(name, &value).unwrap_or_else(|_| {
        let mut folder = Folder::new(name, value.len());
        if value.is_ascii() {
            folder.pieces(value.trim());
        } else {
            write_text(value.trim(), &mut folder);
        }
        folder.finish().unwrap_or_default()
    })
}

/// Writes a field whose value has slots; `fill` puts values in their place in a piece of text.
///
/// In a list of addresses each name and each address is filled for itself, so that a value cannot add an address.
pub(crate) fn encode_filled(name: &str, template: &str, fill: &mut dyn FnMut(&str) -> String) -> Vec<u8> {
    let filled = match Syntax::of(name) {
        Syntax::AddressList => mailbox::fill_list(template, fill),
        Syntax::Text | Syntax::Structured => None,
    };
    encode_lossy(name, &filled.unwrap_or_else(|| fill(template)))
}

/// Whether a value can stand unencoded: ASCII, nothing that reads as an encoded word, no blanks that would fill a line.
fn is_plain(value: &str, syntax: Syntax) -> bool {
    value.is_ascii()
        && (syntax == Syntax::Structured
            || !value.contains("=?")
                && value.split(|c| !is_blank(c)).all(|run| run.len() < 70)
                && value.split(is_blank).all(|word| word.len() <= MAX_WORD))
}

/// Writes text, encoding from the first word that needs it to the last.
fn write_text(value: &str, folder: &mut Folder) {
    let needs_encoding = |word: &str| !word.is_ascii() || word.contains("=?") || word.len() > MAX_WORD;
    let mut span: Option<(usize, usize)> = None;
    let mut start = 0;
    for word in value.split(is_blank) {
        let end = start + word.len();
        if needs_encoding(word) {
            span = Some((span.map_or(start, |(first, _)| first), end));
        }
        start = end + 1;
    }
    // Blanks that would make a line of their own are encoded with all the rest.
    let has_long_run = value.split(|c| !is_blank(c)).any(|run| run.len() >= 70);
    let (start, end) = span.filter(|_| !has_long_run).unwrap_or((0, value.len()));
    let (before, rest) = value.split_at_checked(start).unwrap_or(("", value));
    let (encoded, after) = rest.split_at_checked(end - start).unwrap_or((rest, ""));
    folder.words(before);
    folder.encoded(encoded);
    folder.words(after);
}

#[cfg(test)]
mod tests;
