//! Finding entries: filters, order, pages.

use std::cmp::{Ordering, Reverse};

use super::entry::{Entry, List, Scope, Source};
use crate::clock::Timestamp;

/// Pages end here: what stands in front of a page is kept while it is looked for.
pub const MOST_PASSED_OVER: usize = 100_000;
/// Entries of a page.
pub const MOST_ON_PAGE: usize = 100_000;

/// What is looked for. Everything must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Which list; none is the one of blocked addresses.
    pub list: Option<List>,
    /// Whose entries; none is everybody's.
    pub scope: Option<Scope>,
    /// Not older.
    pub from: Option<Timestamp>,
    /// Older than this.
    pub before: Option<Timestamp>,
    /// From one of these sources; none is any.
    pub sources: Vec<Source>,
    /// In any of the texts.
    pub filter: Option<Words>,
    /// In certain texts, or not in them.
    pub restrictions: Vec<Restriction>,
    /// What comes first.
    pub order: Order,
    /// The other way round: the smallest first.
    pub ascending: bool,
    /// How many to pass over.
    pub offset: usize,
    /// At most so many.
    pub limit: usize,
}

/// By what entries are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// When they were made.
    #[default]
    Date,
    /// The word of their source.
    Source,
    /// Their address.
    Recipient,
    /// Their reason.
    Reason,
}

/// A text of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The envelope's sender.
    Sender,
    /// The address.
    Recipient,
    /// The reason.
    Reason,
    /// The subject.
    Subject,
}

/// What a text must have, or must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// Which text.
    pub by: Field,
    /// It must not have it.
    pub exclude: bool,
    /// What.
    pub words: Words,
}

/// Words to be found, in any case of letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// The text as it stands; `each` finds its words in any order instead.
    pub fn new(text: &str, each: bool) -> Self {
        let text = text.to_lowercase();
        Self(if each { text.split_whitespace().map(str::to_owned).collect() } else { vec![text] })
    }

    fn are_in(&self, texts: &[&str]) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        self.0.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

impl Query {
    /// Whether nothing but list, scope and time is asked for, in the order of time.
    pub(super) fn is_by_date(&self) -> bool {
        self.order == Order::Date && self.sources.is_empty() && self.filter.is_none() && self.restrictions.is_empty()
    }

    /// Whether an entry is looked for.
    pub fn matches(&self, entry: &Entry) -> bool {
        let note = &entry.note;
        let text = |field: Field| match field {
            Field::Sender => note.sender.as_str(),
            Field::Recipient => entry.recipient.as_str(),
            Field::Reason => note.reason.as_str(),
            Field::Subject => note.subject.as_str(),
        };
        entry.list == self.list.unwrap_or(List::Blocked)
            && self.scope.as_ref().is_none_or(|scope| *scope == entry.scope)
            && self.from.is_none_or(|from| note.at >= from)
            && self.before.is_none_or(|before| note.at < before)
            && (self.sources.is_empty() || self.sources.contains(&note.source))
            && self
                .filter
                .as_ref()
                .is_none_or(|words| words.are_in(&[text(Field::Recipient), text(Field::Sender), text(Field::Subject), text(Field::Reason)]))
            && self.restrictions.iter().all(|restriction| restriction.words.are_in(&[text(restriction.by)]) != restriction.exclude)
    }

    /// Starts gathering.
    pub(super) fn start(&self) -> Gathering<'_> {
        let wanted = self.offset.min(MOST_PASSED_OVER).saturating_add(self.limit.min(MOST_ON_PAGE));
        Gathering { query: self, wanted, count: 0, entries: Vec::new() }
    }

    fn compare(&self, one: &Entry, other: &Entry) -> Ordering {
        let by_order = match self.order {
            Order::Date => one.note.at.cmp(&other.note.at),
            Order::Source => one.note.source.word().cmp(other.note.source.word()),
            Order::Recipient => one.recipient.cmp(&other.recipient),
            Order::Reason => one.note.reason.cmp(&other.note.reason),
        };
        let directed = if self.ascending { by_order } else { by_order.reverse() };
        // What is equal comes newest first, and always in the same order.
        directed
            .then_with(|| Reverse(one.note.at).cmp(&Reverse(other.note.at)))
            .then_with(|| (&one.recipient, &one.scope).cmp(&(&other.recipient, &other.scope)))
    }
}

/// A page of what was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// How many there are in all.
    pub count: usize,
    /// Those of the page, in order.
    pub entries: Vec<Entry>,
}

/// Entries on the way to a page: never more than twice those that are wanted.
pub(super) struct Gathering<'a> {
    query: &'a Query,
    wanted: usize,
    count: usize,
    entries: Vec<Entry>,
}

impl Gathering<'_> {
    pub(super) fn add(&mut self, entry: Entry) {
        self.count += 1;
        self.entries.push(entry);
        if self.entries.len() >= self.wanted.saturating_mul(2).max(64) {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.entries.sort_by(|one, other| self.query.compare(one, other));
        self.entries.truncate(self.wanted);
    }

    pub(super) fn finish(mut self) -> Found {
        self.shorten();
        let query = self.query;
        let entries = if query.offset > MOST_PASSED_OVER { Vec::new() } else { self.entries.into_iter().skip(query.offset).collect() };
        Found { count: self.count, entries }
    }
}
