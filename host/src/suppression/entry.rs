//! Entries of the lists: what they say, and how the table keeps them.
//!
//! ```text
//! key:   address, as it is compared | NUL | 'a' allowed or 'b' blocked | 'g' everybody, 'l' login's name, or 'd' domain
//! value: version (1), then postcard of a `Note`
//! ```
//!
//! So all that is known of one address stands together, allowances first, and one look at the table answers for every scope.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;

/// Octets of a key that the store takes.
const LONGEST_KEY: usize = 512;
/// Octets of each text of a note; what is longer is cut.
const LONGEST_TEXT: usize = 998;
/// The version of a note that is written.
const VERSION: u8 = 1;

/// An address as it is compared: in lower case, the domain in A-labels, without quotes that mean nothing.
///
/// RFC 5321 §2.4 leaves the case of the local part to its host, but no host of today has two people apart by it, and a list that could be
/// passed by with a capital letter would be none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(Arc<str>);

impl Recipient {
    /// Makes an address comparable.
    pub fn of(address: &EmailAddress) -> Self {
        let domain = address.domain().to_ascii();
        let quoted = address.local_part().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let bare = quoted.filter(|inner| EmailAddress::parse(&format!("{inner}@{domain}")).is_ok());
        let local = bare.unwrap_or(address.local_part());
        Self(format!("{local}@{domain}").to_lowercase().into())
    }

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Recipient {
    type Err = crate::mail::address::AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EmailAddress::parse(text).map(|address| Self::of(&address))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// Mail is sent there, whatever the other list says, and nothing puts the address on that one by itself.
    Allowed,
    /// No mail is sent there.
    Blocked,
}

/// For whose mail an entry counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everybody's.
    Global,
    /// That of one login.
    Login(Arc<str>),
    /// That whose envelope has a sender of this domain, which is in A-labels: the other form is the same domain.
    Domain(Arc<str>),
}

impl Scope {
    /// That of a domain of senders.
    pub fn of_domain(domain: &Domain) -> Self {
        Self::Domain(domain.to_ascii().into())
    }

    /// Whether mail of `sender` is meant.
    pub fn includes(&self, sender: &Sender<'_>) -> bool {
        match self {
            Self::Global => true,
            Self::Login(name) => **name == *sender.login,
            Self::Domain(name) => sender.domain.is_some_and(|domain| *domain.to_ascii() == **name),
        }
    }
}

/// Why a text names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is \"global\", \"login:NAME\" or \"domain:example.com\"")]
pub struct ScopeError;

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match text.split_once(':') {
            None if text == "global" => Ok(Self::Global),
            Some(("login", name)) if !name.is_empty() => Ok(Self::Login(name.into())),
            Some(("domain", name)) => Domain::parse(name).map(|domain| Self::of_domain(&domain)).map_err(|_| ScopeError),
            None | Some(_) => Err(ScopeError),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Login(name) => write!(f, "login:{name}"),
            Self::Domain(domain) => write!(f, "domain:{domain}"),
        }
    }
}

/// Whose mail it is.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Name of the login.
    pub login: &'a str,
    /// Domain of the envelope's sender; none for the null reverse-path.
    pub domain: Option<&'a Domain>,
}

/// What put an address on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Somebody did.
    Manual,
    /// Mail to it came back for good.
    Bounce,
    /// Its owner complained.
    Spam,
    /// Its owner wants no more.
    Unsubscribe,
    /// It was found to be no good.
    ValidationFailed,
}

impl Source {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Manual, Self::Bounce, Self::Spam, Self::Unsubscribe, Self::ValidationFailed];

    /// Returns the word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Bounce => "bounce",
            Self::Spam => "spam",
            Self::Unsubscribe => "unsubscribe",
            Self::ValidationFailed => "validation_failed",
        }
    }

    /// Finds the source that a word means.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.word() == word)
    }
}

/// What is known of an entry beside its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What put it there.
    pub source: Source,
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// The envelope's sender of the message that led to it; "" where none did.
    pub sender: String,
    /// The subject of that message.
    pub subject: String,
}

/// One address on one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which list.
    pub list: List,
    /// Whose.
    pub scope: Scope,
    /// Who is meant.
    pub recipient: Recipient,
    /// What else is known.
    pub note: Note,
}

/// Returns what the keys of all entries of an address begin with.
pub(super) fn prefix(recipient: &Recipient) -> Vec<u8> {
    let mut key = Vec::with_capacity(recipient.as_str().len() + 32);
    key.extend_from_slice(recipient.as_str().as_bytes());
    key.push(0);
    key
}

/// Returns the key of an entry; `None` where it would be longer than the store takes.
pub(super) fn key(list: List, scope: &Scope, recipient: &Recipient) -> Option<Bytes> {
    let mut key = prefix(recipient);
    key.push(match list {
        List::Allowed => b'a',
        List::Blocked => b'b',
    });
    match scope {
        Scope::Global => key.push(b'g'),
        Scope::Login(name) => {
            key.push(b'l');
            key.extend_from_slice(name.as_bytes());
        }
        Scope::Domain(domain) => {
            key.push(b'd');
            key.extend_from_slice(domain.as_bytes());
        }
    }
    (key.len() <= LONGEST_KEY).then(|| key.into())
}

impl Note {
    pub(super) fn encode(&self) -> Bytes {
        let cut = |text: &String| text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default().to_owned();
        let note = Self { reason: cut(&self.reason), sender: cut(&self.sender), subject: cut(&self.subject), ..*self };
        let octets = postcard::to_extend(&note, vec![VERSION]).expect("a note is a plain value in memory");
        octets.into()
    }
}

impl Entry {
    /// What happens to a copy because of this entry.
    pub fn event(&self) -> EventKind {
        let Note { source, reason, .. } = &self.note;
        EventKind::Suppressed { source: source.word().to_owned(), scope: self.scope.to_string(), reason: reason.clone() }
    }

    /// Reads an entry of the table; `None` where it makes no sense, or a later release wrote it.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        let (recipient, rest) = text.split_once('\0')?;
        let list = match rest.as_bytes().first()? {
            b'a' => List::Allowed,
            b'b' => List::Blocked,
            _ => return None,
        };
        let rest = rest.get(1..)?;
        let name = rest.get(1..)?;
        let scope = match rest.as_bytes().first()? {
            b'g' if name.is_empty() => Scope::Global,
            b'l' => Scope::Login(name.into()),
            b'd' => Scope::Domain(name.into()),
            _ => return None,
        };
        let (version, note) = value.split_first()?;
        if *version != VERSION {
            return None;
        }
        Some(Self { list, scope, recipient: Recipient(recipient.into()), note: postcard::from_bytes(note).ok()? })
    }
}
