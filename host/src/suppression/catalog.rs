//! Which entries there are, by list, scope and time: whoever looks for the newest of one login goes through nobody else's, and through none but those
//! that he gets.
//!
//! It is made when it is asked for first, out of the table, and kept right by every change; a change of which nobody knows what became of it makes it
//! forgotten. An entry takes some 100 octets of memory here, beside what it takes in the table.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use super::entry::{Entry, List, Scope};
use super::query::{MOST_ON_PAGE, MOST_PASSED_OVER, Query};
use crate::clock::Timestamp;

/// Where an entry stands among those of its list and scope: the newest first, and of the same moment by its key.
pub(super) type Place = (Reverse<Timestamp>, Bytes);

/// The places of all entries.
#[derive(Debug, Default)]
pub(super) struct Catalog(BTreeMap<(List, Scope), BTreeSet<Place>>);

impl Catalog {
    /// Takes in an entry with this key.
    pub(super) fn insert(&mut self, key: Bytes, entry: &Entry) {
        self.0.entry((entry.list, entry.scope.clone())).or_default().insert((Reverse(entry.note.at), key));
    }

    /// Strikes out an entry with this key.
    pub(super) fn remove(&mut self, key: Bytes, entry: &Entry) {
        let shelf = (entry.list, entry.scope.clone());
        let Some(places) = self.0.get_mut(&shelf) else { return };
        places.remove(&(Reverse(entry.note.at), key));
        if places.is_empty() {
            self.0.remove(&shelf);
        }
    }

    /// Returns how many entries a query finds that asks for nothing but list, scope and time, and the keys of its page.
    pub(super) fn page<'a>(&'a self, query: &'a Query) -> (usize, Vec<Bytes>) {
        let Some(range) = range(query) else { return (0, Vec::new()) };
        let shelves: Vec<_> = self.shelves(query).collect();
        let is_all = range == (Bound::Unbounded, Bound::Unbounded);
        let count = |places: &&BTreeSet<Place>| if is_all { places.len() } else { places.range(range.clone()).count() };
        let count = shelves.iter().map(count).sum();
        if query.offset > MOST_PASSED_OVER {
            return (count, Vec::new());
        }
        let directed = |places: &&'a BTreeSet<Place>| -> Shelf<'a> {
            let places = places.range(range.clone());
            if query.ascending { Box::new(places.rev()) } else { Box::new(places) }
        };
        let merged = Merged::new(shelves.iter().map(directed).collect(), query.ascending);
        let page = merged.skip(query.offset).take(query.limit.min(MOST_ON_PAGE));
        (count, page.map(|(_, key)| key.clone()).collect())
    }

    /// Returns places of one list and scope from behind one on, at most `limit`.
    pub(super) fn after(&self, list: List, scope: &Scope, after: Option<&Place>, limit: usize) -> Vec<Place> {
        let Some(places) = self.0.get(&(list, scope.clone())) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        places.range((start, Bound::Unbounded)).take(limit).cloned().collect()
    }

    fn shelves<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = &'a BTreeSet<Place>> {
        let list = query.list.unwrap_or(List::Blocked);
        let fits = move |scope: &Scope| query.scope.as_ref().is_none_or(|wanted| wanted == scope);
        // Of one scope there is one shelf; that of everybody's stands first.
        let first = (list, query.scope.clone().unwrap_or(Scope::Global));
        self.0.range(first..).take_while(move |((known, scope), _)| *known == list && fits(scope)).map(|(_, places)| places)
    }
}

/// The places between the times of a query; `None` where there can be none.
fn range(query: &Query) -> Option<(Bound<Place>, Bound<Place>)> {
    // Time runs backwards here: what is older than a moment begins with the millisecond before it.
    let before = |at: Timestamp| at.as_millis().checked_sub(1).map(|millis| (Reverse(Timestamp::from_millis(millis)), Bytes::new()));
    let start = match query.before {
        None => Bound::Unbounded,
        Some(end) if query.from.is_some_and(|from| from >= end) => return None,
        Some(end) => Bound::Included(before(end)?),
    };
    let end = query.from.and_then(before).map_or(Bound::Unbounded, Bound::Excluded);
    Some((start, end))
}

type Shelf<'a> = Box<dyn Iterator<Item = &'a Place> + Send + 'a>;

/// Several shelves in one order.
struct Merged<'a> {
    rest: Vec<Shelf<'a>>,
    /// The next place of each shelf that has one.
    heads: BTreeSet<(&'a Place, usize)>,
    backwards: bool,
}

impl<'a> Merged<'a> {
    fn new(rest: Vec<Shelf<'a>>, backwards: bool) -> Self {
        let mut merged = Self { rest, heads: BTreeSet::new(), backwards };
        for number in 0..merged.rest.len() {
            merged.advance(number);
        }
        merged
    }

    fn advance(&mut self, number: usize) {
        let next = self.rest.get_mut(number).and_then(Iterator::next);
        self.heads.extend(next.map(|place| (place, number)));
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = &'a Place;

    fn next(&mut self) -> Option<&'a Place> {
        let (place, number) = if self.backwards { self.heads.pop_last() } else { self.heads.pop_first() }?;
        self.advance(number);
        Some(place)
    }
}
