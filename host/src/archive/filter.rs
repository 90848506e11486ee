//! Which of the copies that wait somebody asks about or changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::entry::CopyState;
use crate::spool::selector::Selector;
use crate::store::Row;

/// Messages and copies that a filter may name.
pub const MOST_IDS: usize = 1000;

/// Copies that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    /// All copies of a message.
    Message(MessageId),
    /// One copy.
    Copy(CopyId),
}

impl Named {
    /// Returns the message.
    pub fn message(self) -> MessageId {
        match self {
            Self::Message(message) => message,
            Self::Copy(copy) => copy.message,
        }
    }

    /// Whether it names this copy.
    pub fn is(self, copy: CopyId) -> bool {
        match self {
            Self::Message(message) => message == copy.message,
            Self::Copy(own) => own == copy,
        }
    }
}

/// An id alone means the message with all its copies; `ID-2` means the second copy alone.
impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let copy: CopyId = text.parse().map_err(|error| format!("{text}: {error}"))?;
        Ok(if text.contains('-') { Self::Copy(copy) } else { Self::Message(copy.message) })
    }
}

/// Which copies are meant: all that is given must match. Nothing given means all that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// One of these; none is any.
    #[serde(default)]
    pub named: Vec<Named>,
    /// In the queue of exactly this name.
    #[serde(default)]
    pub queue: Option<String>,
    /// By what they are.
    #[serde(default)]
    pub selector: Selector,
    /// By what they wait for.
    #[serde(default)]
    pub status: Option<Status>,
}

impl Filter {
    /// Copies of these messages, or these copies.
    pub fn of(named: impl IntoIterator<Item = Named>) -> Self {
        Self { named: named.into_iter().collect(), ..Self::default() }
    }

    /// Whether it means all that waits.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// What a copy waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing: it is due, or being sent.
    Due,
    /// Its first attempt, at a later time.
    Scheduled,
    /// Another attempt.
    Deferred,
    /// An operator, because a plugin holds it.
    Held,
    /// The end of a suspension.
    Suspended,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Due, Self::Scheduled, Self::Deferred, Self::Held, Self::Suspended];

    /// Returns the status of a copy at `now`.
    pub(super) fn of(row: &Row, state: &CopyState, is_suspended: bool, now: Timestamp) -> Self {
        if state.held.is_some() || row.due == Timestamp::NEVER {
            Self::Held
        } else if is_suspended {
            Self::Suspended
        } else if row.due <= now {
            Self::Due
        } else if state.attempts > 0 {
            Self::Deferred
        } else {
            Self::Scheduled
        }
    }

    /// Returns the word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Scheduled => "scheduled",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Suspended => "suspended",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let words = || Self::ALL.map(Self::word).join(", ");
        Self::ALL.into_iter().find(|status| status.word() == word).ok_or_else(|| format!("is one of {}", words()))
    }
}

/// By what a summary groups copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// The queue: route, domain, and what keeps mail apart.
    #[default]
    Queue,
    /// The recipient's domain.
    Domain,
    /// The login.
    Login,
    /// The route.
    Route,
    /// The tag; a message with several tags counts for each.
    Tag,
}

impl Grouping {
    const ALL: [(Self, &'static str); 5] =
        [(Self::Queue, "queue"), (Self::Domain, "domain"), (Self::Login, "login"), (Self::Route, "route"), (Self::Tag, "tag")];
}

impl FromStr for Grouping {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, own)| *own == word).map(|(grouping, _)| *grouping);
        found.ok_or_else(|| format!("is one of {}", Self::ALL.map(|(_, word)| word).join(", ")))
    }
}
