//! Addresses and mailboxes, as header fields hold them (RFC 5322 §3.4, RFC 6532).
//!
//! ```
//! use tubepost_plugin_sdk::address::{Address, Mailbox};
//!
//! let address: Address = "Ann.Lee@Example.COM".parse()?;
//! assert_eq!(address.local_part(), "Ann.Lee");
//! assert!(address.is_at("example.com") && !address.is_at("mail.example.com"));
//! assert!("a@mail.example.com".parse::<Address>()?.is_within("example.com"));
//!
//! let list = Mailbox::parse_list(r#""Lee, Ann" <ann@example.com>, team: bob@example.com, cy@example.com;"#)?;
//! assert_eq!(list.len(), 3);
//! assert_eq!(list[0].name.as_deref(), Some("Lee, Ann"));
//! assert_eq!(list[0].to_string(), r#""Lee, Ann" <ann@example.com>"#);
//! # Ok::<(), tubepost_plugin_sdk::address::InvalidAddress>(())
//! ```
//!
//! What [`Message::header`](crate::Message::header) gives of a field of addresses is such a list: the host decodes names, and puts those in quotes
//! that need it.

use std::{fmt, str::FromStr};

use crate::Failure;

/// The longest address (RFC 5321 §4.5.3.1, path without brackets).
const LONGEST: usize = 254;

/// Why a text is no address, or no list of mailboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress(String);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for InvalidAddress {}

impl From<InvalidAddress> for Failure {
    fn from(error: InvalidAddress) -> Self {
        Self::permanent(error)
    }
}

/// A local part and a domain. Domains are compared without case, local parts with it.
#[derive(Debug, Clone)]
pub struct Address {
    /// In quotes where it needs them.
    text: String,
    /// Where the domain begins.
    domain: usize,
}

impl Address {
    /// What stands before the "@".
    pub fn local_part(&self) -> &str {
        self.text.get(..self.domain.saturating_sub(1)).unwrap_or_default()
    }

    /// What stands behind it, as it was written.
    pub fn domain(&self) -> &str {
        self.text.get(self.domain..).unwrap_or_default()
    }

    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether its domain is this one.
    pub fn is_at(&self, domain: &str) -> bool {
        same_domain(self.domain(), domain)
    }

    /// Whether its domain is this one, or one below it.
    pub fn is_within(&self, domain: &str) -> bool {
        let own = self.domain();
        let below = own.len().checked_sub(domain.len() + 1).filter(|_| !domain.is_empty());
        let is_below =
            |dot: usize| own.as_bytes().get(dot) == Some(&b'.') && own.get(dot + 1..).is_some_and(|end| same_domain(end, domain));
        self.is_at(domain) || below.is_some_and(is_below)
    }
}

/// International domains are compared in small letters.
fn same_domain(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || (!one.is_ascii() && one.to_lowercase() == other.to_lowercase())
}

impl FromStr for Address {
    type Err = InvalidAddress;

    /// Reads `local@domain`, without brackets and blanks; a local part may be in quotes, both may be international.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(format!("{text:?} is no address"));
        let at = text.rfind('@').ok_or_else(invalid)?;
        let (local, domain) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
        let local_fits = if quoted {
            is_quoted_content(local.get(1..local.len() - 1).unwrap_or_default())
        } else {
            local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom))
        };
        let is_label = |label: &str| {
            let letters =
                label.chars().all(|character| character.is_ascii_alphanumeric() || character == '-' || is_beyond_ascii(character));
            !label.is_empty() && label.len() <= 63 && letters && !label.starts_with('-') && !label.ends_with('-')
        };
        let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let domain_fits = match literal {
            Some(literal) => {
                !literal.is_empty() && literal.chars().all(|character| character.is_ascii_hexdigit() || ":.IPv".contains(character))
            }
            None => domain.split('.').all(is_label),
        };
        if !local_fits || !domain_fits || local.len() > 64 || text.len() > LONGEST {
            return Err(invalid());
        }
        Ok(Self { text: text.to_owned(), domain: at + 1 })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local_part() == other.local_part() && same_domain(self.domain(), other.domain())
    }
}

impl Eq for Address {}

impl std::hash::Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.local_part().hash(state);
        self.domain().to_lowercase().hash(state);
    }
}

/// `atext` (RFC 5322 §3.2.3, RFC 6532 §3.2).
fn is_atom(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character) || is_beyond_ascii(character)
}

fn is_beyond_ascii(character: char) -> bool {
    !character.is_ascii() && !character.is_control() && !character.is_whitespace()
}

/// Whether every quote and backslash is escaped, and nothing ends the line.
fn is_quoted_content(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return false,
            '\\' if characters.next().is_none_or(char::is_control) => return false,
            _ if character.is_control() => return false,
            _ => {}
        }
    }
    true
}

/// An address with the name that readers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Decoded, without quotes.
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

impl Mailbox {
    /// A mailbox without a name.
    ///
    /// # Errors
    /// [`InvalidAddress`] where it is none.
    pub fn new(address: &str) -> Result<Self, InvalidAddress> {
        Ok(Self { name: None, address: address.parse()? })
    }

    /// Gives it a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Reads a list of mailboxes; members of groups are taken out of their groups. A list may be empty.
    ///
    /// # Errors
    /// [`InvalidAddress`] where it is no list, or an element is no address.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidAddress> {
        let mut list = Vec::new();
        for entry in Entry::parse_list(text)? {
            match entry {
                Entry::Mailbox(mailbox) => list.push(mailbox),
                Entry::Group { members, .. } => list.extend(members),
            }
        }
        Ok(list)
    }
}

impl From<Address> for Mailbox {
    fn from(address: Address) -> Self {
        Self { name: None, address }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{} <{}>", phrase(name), self.address),
            None => self.address.fmt(formatter),
        }
    }
}

/// An element of a list of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// One mailbox.
    Mailbox(Mailbox),
    /// `name: members;`
    Group {
        /// Decoded, without quotes.
        name: String,
        /// May be none, as in "undisclosed-recipients:;".
        members: Vec<Mailbox>,
    },
}

impl Entry {
    /// Reads a list with its groups.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::address::Entry;
    /// let list = Entry::parse_list("undisclosed-recipients:;")?;
    /// assert_eq!(list, [Entry::Group { name: "undisclosed-recipients".into(), members: vec![] }]);
    /// # Ok::<(), tubepost_plugin_sdk::address::InvalidAddress>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidAddress`] where it is no list, or an element is no address.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidAddress> {
        Reader { characters: text.chars().peekable(), entries: Vec::new(), group: None, words: Vec::new(), address: None }.read(text)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(formatter),
            Self::Group { name, members } if members.is_empty() => write!(formatter, "{}:;", phrase(name)),
            Self::Group { name, members } => write!(formatter, "{}: {};", phrase(name), write_list(members)),
        }
    }
}

/// Writes mailboxes or entries with commas between them.
///
/// ```
/// # use tubepost_plugin_sdk::address::{Mailbox, write_list};
/// let list = [Mailbox::new("a@example.com")?.named("Ann"), Mailbox::new("b@example.com")?];
/// assert_eq!(write_list(&list), "Ann <a@example.com>, b@example.com");
/// # Ok::<(), tubepost_plugin_sdk::address::InvalidAddress>(())
/// ```
pub fn write_list<T: fmt::Display>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A name as a phrase: in quotes where it holds more than words.
fn phrase(name: &str) -> String {
    let name: String = name.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let is_plain = !name.is_empty() && name.split(' ').all(|word| !word.is_empty() && word.chars().all(is_atom)) && !name.contains("=?");
    if is_plain { name } else { format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// Reads a list, character by character.
struct Reader<'a> {
    characters: std::iter::Peekable<std::str::Chars<'a>>,
    entries: Vec<Entry>,
    /// The group that is open.
    group: Option<(String, Vec<Mailbox>)>,
    /// Words since the last comma, and whether a blank stood before each.
    words: Vec<Word>,
    /// What stood in brackets since the last comma.
    address: Option<String>,
}

struct Word {
    text: String,
    is_quoted: bool,
    after_blank: bool,
}

impl Reader<'_> {
    fn read(mut self, whole: &str) -> Result<Vec<Entry>, InvalidAddress> {
        let invalid = || InvalidAddress(format!("{whole:?} is no list of addresses"));
        let mut blank = false;
        while let Some(character) = self.characters.next() {
            let after_blank = std::mem::take(&mut blank);
            match character {
                '(' => {
                    self.skip_comment().ok_or_else(invalid)?;
                    blank = true;
                }
                '"' => {
                    let text = self.quoted().ok_or_else(invalid)?;
                    self.words.push(Word { text, is_quoted: true, after_blank });
                }
                '<' if self.address.is_none() => self.address = Some(self.bracketed().ok_or_else(invalid)?),
                ',' => self.end_mailbox()?,
                ':' if self.group.is_none() && self.address.is_none() => self.group = Some((self.take_words(), Vec::new())),
                ';' if self.group.is_some() => {
                    self.end_mailbox()?;
                    self.end_group();
                }
                '<' | '>' | ')' | ':' | ';' => return Err(invalid()),
                _ if character.is_whitespace() => blank = true,
                _ if character.is_control() => return Err(invalid()),
                _ => match self.words.last_mut().filter(|last| !last.is_quoted && !after_blank) {
                    Some(last) => last.text.push(character),
                    None => self.words.push(Word { text: character.to_string(), is_quoted: false, after_blank }),
                },
            }
        }
        self.end_mailbox()?;
        // A group that nobody closed is one all the same.
        self.end_group();
        Ok(self.entries)
    }

    fn end_group(&mut self) {
        if let Some((name, members)) = self.group.take() {
            self.entries.push(Entry::Group { name, members });
        }
    }

    fn take_words(&mut self) -> String {
        let words = std::mem::take(&mut self.words);
        words.into_iter().map(|word| word.text).collect::<Vec<_>>().join(" ")
    }

    fn end_mailbox(&mut self) -> Result<(), InvalidAddress> {
        let mailbox = match self.address.take() {
            Some(address) => {
                let name = self.take_words();
                Mailbox { name: (!name.is_empty()).then_some(name), address: address.parse()? }
            }
            None if self.words.is_empty() => return Ok(()),
            None => Mailbox { name: None, address: joined(&std::mem::take(&mut self.words)).parse()? },
        };
        match &mut self.group {
            Some((_, members)) => members.push(mailbox),
            None => self.entries.push(Entry::Mailbox(mailbox)),
        }
        Ok(())
    }

    /// Behind the quote.
    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.characters.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.characters.next()?),
                character => text.push(character),
            }
        }
    }

    /// Behind the parenthesis; comments may hold others.
    fn skip_comment(&mut self) -> Option<()> {
        let mut open = 1_usize;
        while open > 0 {
            match self.characters.next()? {
                '(' => open += 1,
                ')' => open -= 1,
                '\\' => drop(self.characters.next()?),
                _ => {}
            }
        }
        Some(())
    }

    /// Behind the bracket: an address, perhaps with an obsolete route before it, without blanks.
    fn bracketed(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.characters.next()? {
                '>' => break,
                '(' => self.skip_comment()?,
                '"' => text.push_str(&quote(&self.quoted()?)),
                character if character.is_whitespace() => {}
                character => text.push(character),
            }
        }
        match text.strip_prefix('@').and_then(|route| route.split_once(':')) {
            Some((_, address)) => Some(address.to_owned()),
            None => Some(text),
        }
    }
}

/// An address that stands without brackets: its words without the blanks that are allowed around "@" and ".".
fn joined(words: &[Word]) -> String {
    let mut text = String::new();
    for word in words {
        let fits = text.is_empty() || !word.after_blank || text.ends_with(['@', '.']) || word.text.starts_with(['@', '.']);
        if !fits {
            text.push(' ');
        }
        if word.is_quoted { text.push_str(&quote(&word.text)) } else { text.push_str(&word.text) }
    }
    text
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
