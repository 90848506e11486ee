//! Address lists of header fields (RFC 5322 §3.4): display names, groups, comments, quoted commas.

use std::borrow::Cow;
use std::fmt;

use super::encoded_word;
use super::fold::Folder;
use super::{MAX_WORD, is_field_value};
use crate::mail::address::{AddressError, EmailAddress};

/// One mailbox of an address list, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The name that readers see, without quotes; no control character but the tab.
    pub name: Option<String>,
    /// Where mail for it goes.
    pub address: EmailAddress,
}

/// Why a text is no address list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressListError {
    /// A quoted string, an address in angle brackets or a comment has no end; or words stand where an address should.
    #[error("not a list of addresses")]
    Syntax,
    /// CR, LF, NUL or another control character.
    #[error("an address holds no control characters")]
    Control,
    /// One of the addresses is none.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Mailbox {
    /// Reads a list of mailboxes: commas between them, quoted names with commas, encoded words, comments. Members of groups are taken
    /// out of their groups. A list may be empty.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressListError> {
        if !is_field_value(text) {
            return Err(AddressListError::Control);
        }
        let mut mailboxes = Vec::new();
        for item in parse_items(text).ok_or(AddressListError::Syntax)? {
            if let Item::Mailbox(RawMailbox { name, address, .. }) = item {
                mailboxes.push(Self { name, address: EmailAddress::parse(&address)? });
            }
        }
        Ok(mailboxes)
    }

    /// Reads a raw field value (folded, encoded) as [`Mailbox::parse_list`] does. Control characters are blanks, as readers show them.
    ///
    /// # Errors
    /// The value is no list of addresses.
    pub fn parse_field(raw: &[u8]) -> Result<Vec<Self>, AddressListError> {
        Self::parse_list(&encoded_word::without_controls(&super::unfold(raw)))
    }

    /// Reads the addresses of a raw From, for those who ask whether somebody may use them.
    ///
    /// # Errors
    /// The value is no list, or one that readers may take for another: with control characters, or with an address that has blanks, comments
    /// or a route in it (obsolete, RFC 5322 §4.4).
    pub fn parse_senders(raw: &[u8]) -> Result<Vec<EmailAddress>, AddressListError> {
        let text = super::unfold(raw);
        if !is_field_value(&text) {
            return Err(AddressListError::Control);
        }
        let mut addresses = Vec::new();
        for item in parse_items(&text).ok_or(AddressListError::Syntax)? {
            match item {
                Item::Mailbox(RawMailbox { is_obsolete: true, .. }) => return Err(AddressListError::Syntax),
                Item::Mailbox(RawMailbox { address, .. }) => addresses.push(EmailAddress::parse(&address)?),
                Item::GroupStart(_) | Item::GroupEnd => {}
            }
        }
        Ok(addresses)
    }

    /// Reads a raw field value (folded, encoded) as [`Mailbox::parse_list`] does, leaving out what is no address.
    pub fn parse_raw(raw: &[u8]) -> Vec<Self> {
        let text = super::unfold(raw);
        parse_items(&text)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|item| match item {
                Item::Mailbox(RawMailbox { name, address, .. }) => Some(Self { name, address: EmailAddress::parse(&address).ok()? }),
                Item::GroupStart(_) | Item::GroupEnd => None,
            })
            .collect()
    }
}

/// The form of RFC 5322, not encoded: `name <address>`, the name in quotes where it needs them.
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} <{}>", quote(name), self.address),
            None => self.address.fmt(f),
        }
    }
}

/// An element of a list as it is written.
#[derive(Debug)]
enum Item {
    Mailbox(RawMailbox),
    /// `name:`
    GroupStart(String),
    /// `;`
    GroupEnd,
}

#[derive(Debug)]
struct RawMailbox {
    name: Option<String>,
    /// Not checked.
    address: String,
    /// Something stood inside of the address that does not belong to it.
    is_obsolete: bool,
}

/// Decodes the encoded words of a list and puts names in quotes where they need it; `None` if it is no list.
pub(super) fn decode_list(text: &str) -> Option<String> {
    Some(list_text(parse_items(text)?))
}

/// Fills names and addresses of a list, each for itself; `None` if it is no list.
///
/// What does not give an address loses all that could make it another one, or several.
pub(super) fn fill_list(template: &str, fill: &mut dyn FnMut(&str) -> String) -> Option<String> {
    let mut items = parse_items(template)?;
    for item in &mut items {
        match item {
            Item::GroupStart(name) => *name = fill(name),
            Item::GroupEnd => {}
            Item::Mailbox(RawMailbox { name, address, .. }) => {
                *name = name.as_deref().map(&mut *fill).filter(|name| !name.trim().is_empty());
                *address = fill(address);
                if EmailAddress::parse(address).is_err() {
                    address.retain(|character| !character.is_control() && !character.is_whitespace() && !"<>(),;:\"\\".contains(character));
                }
            }
        }
    }
    Some(list_text(items))
}

fn list_text(items: Vec<Item>) -> String {
    let mut text = String::new();
    let mut separator = "";
    for item in items {
        match item {
            Item::GroupStart(name) => {
                text.push_str(separator);
                text.push_str(&quote(&name));
                text.push(':');
                separator = " ";
                continue;
            }
            Item::GroupEnd => text.push(';'),
            Item::Mailbox(RawMailbox { name, address, .. }) => {
                text.push_str(separator);
                match name {
                    Some(name) => text.extend([&*quote(&name), " <", &address, ">"]),
                    None => text.push_str(&address),
                }
            }
        }
        separator = ", ";
    }
    text
}

/// Writes a list with its names encoded.
pub(super) fn write_list(text: &str, folder: &mut Folder) -> Result<(), AddressListError> {
    let items = parse_items(text).ok_or(AddressListError::Syntax)?;
    let mut items = items.into_iter().peekable();
    let mut is_first = true;
    while let Some(item) = items.next() {
        let end = match items.peek() {
            None => "",
            Some(Item::GroupEnd) => ";",
            Some(Item::Mailbox(_) | Item::GroupStart(_)) => ",",
        };
        match item {
            // Written with what stands before it.
            Item::GroupEnd => {}
            Item::GroupStart(name) => {
                blank_unless(&mut is_first, folder);
                let end = if end == ";" { ":;" } else { ":" };
                write_phrase(&name, end, folder);
            }
            Item::Mailbox(RawMailbox { name, address, .. }) => {
                blank_unless(&mut is_first, folder);
                let address = match EmailAddress::parse(&address) {
                    Ok(address) if address.is_ascii() => address.to_ascii_domain(),
                    Ok(_) | Err(_) => address,
                };
                match name {
                    Some(name) => {
                        write_phrase(&name, "", folder);
                        folder.blank();
                        folder.word(&format!("<{address}>{end}"));
                    }
                    None => folder.word(&format!("{address}{end}")),
                }
            }
        }
    }
    Ok(())
}

fn blank_unless(is_first: &mut bool, folder: &mut Folder) {
    if !std::mem::replace(is_first, false) {
        folder.blank();
    }
}

/// Writes a display name and what follows it without a blank.
fn write_phrase(name: &str, end: &str, folder: &mut Folder) {
    if name.is_ascii() && name.len() < MAX_WORD / 2 && !name.contains("=?") {
        folder.word(&format!("{}{end}", quote(name)));
    } else {
        folder.encoded(name);
        if !end.is_empty() {
            // An encoded word ends at a blank.
            folder.blank();
            folder.word(end);
        }
    }
}

/// Returns a display name as it stands in a list: in quotes unless it is atoms and single blanks.
fn quote(name: &str) -> Cow<'_, str> {
    let is_atext = |character: char| {
        !character.is_ascii() && !character.is_whitespace()
            || character.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(character)
    };
    if !name.is_empty() && name.split(' ').all(|word| !word.is_empty() && word.chars().all(is_atext)) {
        return Cow::Borrowed(name);
    }
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for character in name.chars() {
        if character == '"' || character == '\\' {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

/// Takes a list apart; `None` if it is none.
fn parse_items(text: &str) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let mut in_group = false;
    let mut rest = text;
    loop {
        let mut element = Element::default();
        let (end, tail) = element.read(rest)?;
        rest = tail;
        match end {
            // The name of a group is a phrase (RFC 5322 §3.4). Where an address stands there, readers differ in whose it is.
            Some(':') if !in_group && element.is_phrase() => {
                items.push(Item::GroupStart(element.phrase()));
                in_group = true;
                continue;
            }
            Some(':') => return None,
            Some(';') if !in_group => return None,
            _ => {}
        }
        if let Some(mailbox) = element.into_mailbox()? {
            items.push(Item::Mailbox(mailbox));
        }
        if end == Some(';') {
            items.push(Item::GroupEnd);
            in_group = false;
        }
        if end.is_none() {
            // A group that is never closed is closed here.
            if in_group {
                items.push(Item::GroupEnd);
            }
            return Some(items);
        }
    }
}

/// What stands between two commas.
#[derive(Default)]
struct Element {
    words: Vec<Word>,
    angle: Option<String>,
    comment: Option<String>,
    /// A route stood before the address in angle brackets.
    has_route: bool,
}

struct Word {
    /// Without quotes and their escapes.
    text: String,
    /// As it stands.
    raw: String,
    /// No blank stands before it.
    is_joined: bool,
}

impl Element {
    /// Reads up to a comma, a semicolon, a colon or the end; returns which it was, and what is behind it.
    fn read<'a>(&mut self, text: &'a str) -> Option<(Option<char>, &'a str)> {
        let mut rest = text;
        let mut is_joined = false;
        loop {
            let Some(first) = rest.chars().next() else { return Some((None, "")) };
            let tail = rest.get(first.len_utf8()..).unwrap_or_default();
            match first {
                ',' | ';' | ':' => return Some((Some(first), tail)),
                ' ' | '\t' | '\r' | '\n' => {
                    is_joined = false;
                    rest = tail;
                }
                '(' => {
                    let (comment, tail) = comment(tail)?;
                    self.comment = Some(comment);
                    is_joined = false;
                    rest = tail;
                }
                '"' => {
                    let (quoted, tail) = quoted(tail)?;
                    let raw = rest.get(..rest.len() - tail.len()).unwrap_or_default().to_owned();
                    self.words.push(Word { text: quoted, raw, is_joined });
                    is_joined = true;
                    rest = tail;
                }
                '<' if self.angle.is_none() => {
                    let end = angle_end(tail)?;
                    let inside = tail.get(..end).unwrap_or_default().trim();
                    // A source route (RFC 5322 §4.4) is of no use any more.
                    self.has_route = inside.starts_with('@');
                    let address =
                        if self.has_route { inside.split_once(':').map_or(inside, |(_, address)| address.trim_start()) } else { inside };
                    self.angle = Some(address.to_owned());
                    rest = tail.get(end + 1..).unwrap_or_default();
                }
                '<' | '>' | ')' => return None,
                _ => {
                    let length = atom_length(rest);
                    let (atom, tail) = rest.split_at_checked(length)?;
                    self.words.push(Word { text: atom.to_owned(), raw: atom.to_owned(), is_joined });
                    is_joined = true;
                    rest = tail;
                }
            }
        }
    }

    /// Whether it can be a name: there are words, and none of them is an address.
    fn is_phrase(&self) -> bool {
        let is_address = |word: &Word| !word.raw.starts_with('"') && word.raw.contains('@');
        self.angle.is_none() && !self.words.is_empty() && !self.words.iter().any(is_address)
    }

    /// The words as a display name, decoded.
    fn phrase(&self) -> String {
        let mut phrase = String::new();
        for (place, word) in self.words.iter().enumerate() {
            if place > 0 && !word.is_joined {
                phrase.push(' ');
            }
            phrase.push_str(&word.text);
        }
        encoded_word::without_controls(&encoded_word::decode(&phrase)).trim().to_owned()
    }

    /// `None` outside: not an address; inside: nothing there.
    #[expect(clippy::option_option, reason = "private, and both are said above")]
    fn into_mailbox(self) -> Option<Option<RawMailbox>> {
        if self.angle.is_some() {
            let name = Some(self.phrase()).filter(|name| !name.is_empty());
            return Some(self.angle.map(|address| RawMailbox { name, address, is_obsolete: self.has_route }));
        }
        if self.words.is_empty() {
            return Some(None);
        }
        let mut address = String::new();
        let mut is_obsolete = false;
        for word in self.words {
            // Blanks may stand around dots and the @ (RFC 5322 §4.4), and nowhere else in an address.
            let is_joined = word.is_joined || address.is_empty() || address.ends_with(['.', '@']) || word.raw.starts_with(['.', '@']);
            if !is_joined {
                return None;
            }
            is_obsolete |= !word.is_joined && !address.is_empty();
            address.push_str(&word.raw);
        }
        // The oldest way to write a name: `user@example.com (Name)`.
        let name = self
            .comment
            .map(|comment| encoded_word::without_controls(&encoded_word::decode(&comment)).trim().to_owned())
            .filter(|name| !name.is_empty());
        Some(Some(RawMailbox { name, address, is_obsolete }))
    }
}

/// Length of what stands before the next blank or special character; a domain literal is one word.
fn atom_length(text: &str) -> usize {
    let mut in_literal = false;
    for (place, character) in text.char_indices() {
        match character {
            '[' => in_literal = true,
            ']' => in_literal = false,
            ':' if in_literal => {}
            ' ' | '\t' | '\r' | '\n' | '"' | '(' | ')' | '<' | '>' | ',' | ';' | ':' => return place,
            _ => {}
        }
    }
    text.len()
}

/// Where the `>` stands that ends an address.
fn angle_end(text: &str) -> Option<usize> {
    let mut in_quotes = false;
    let mut is_escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if in_quotes => is_escaped = true,
            '"' => in_quotes = !in_quotes,
            '>' if !in_quotes => return Some(place),
            '<' if !in_quotes => return None,
            _ => {}
        }
    }
    None
}

/// Reads a quoted string behind its first quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut is_escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            '\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            '"' if !is_escaped => return Some((content, text.get(place + 1..)?)),
            '\r' | '\n' => {}
            other => content.push(other),
        }
        is_escaped = false;
    }
    None
}

/// Reads a comment behind its first parenthesis, with the comments in it.
fn comment(text: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut depth = 1_u32;
    let mut is_escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            '\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            '(' if !is_escaped => depth += 1,
            ')' if !is_escaped => {
                depth -= 1;
                if depth == 0 {
                    return Some((content, text.get(place + 1..)?));
                }
            }
            _ => {}
        }
        is_escaped = false;
        content.push(character);
    }
    None
}

#[cfg(test)]
mod tests;
