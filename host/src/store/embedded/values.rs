//! The key-value table: all of it in memory, as what it is for is small.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::record::ValueRecord;
use crate::clock::Timestamp;
use crate::store::{StoreError, TableUsage, ValueChange};

/// Most octets of a key.
const KEY_OCTETS: usize = 512;
/// Most octets of a value.
const VALUE_OCTETS: usize = 1 << 20;
/// One part of so many is left by tables that grow with what others do: where readers stand on the log is still to be written down then.
const RESERVED_PART: usize = 4;
/// What an entry takes beside its key and value, about.
const ENTRY_OCTETS: usize = 128;

/// All values.
#[derive(Default)]
pub(super) struct Values {
    tables: BTreeMap<Arc<str>, Table>,
    expiries: BTreeSet<(Timestamp, Arc<str>, Bytes)>,
    octets: usize,
    /// How many values were written last in each segment, where any were.
    written: BTreeMap<u32, usize>,
}

/// A value: its table and its key.
pub(super) type Key = (Arc<str>, Bytes);

/// One table.
#[derive(Default)]
struct Table {
    values: BTreeMap<Bytes, Value>,
    /// Of keys and values.
    octets: usize,
}

struct Value {
    octets: Bytes,
    expires: Timestamp,
    /// Where it was written last.
    segment: u32,
}

/// Refuses what is too large.
pub(super) fn check(changes: &[ValueChange]) -> Result<(), StoreError> {
    for change in changes {
        if change.key.len() > KEY_OCTETS {
            return Err(StoreError::TooLarge("512 octets in a key"));
        }
        if change.value.as_ref().is_some_and(|value| value.len() > VALUE_OCTETS) {
            return Err(StoreError::TooLarge("1 MiB in a value"));
        }
    }
    Ok(())
}

/// Whether a table grows with what others do: those of plugins, the lists of addresses, and calls that may be made again. That of suspensions is small by
/// its own limits, and they must be made and ended also when there is no room for others.
fn grows(table: &str) -> bool {
    table.starts_with("plugin/") || table == "suppression" || table == "idempotency"
}

/// Returns how many octets all tables may have together with these changes, where there may be `limit` of them.
pub(super) fn limit(records: &[ValueRecord], limit: usize) -> usize {
    if records.iter().any(|record| grows(&record.table)) { limit - limit / RESERVED_PART } else { limit }
}

/// Returns octets that changes add at most.
pub(super) fn growth(records: &[ValueRecord]) -> usize {
    let added = records.iter().filter_map(|record| record.value.as_ref().map(|value| record.key.len() + value.len() + ENTRY_OCTETS));
    added.sum()
}

impl Values {
    /// Takes in a change that was written in `segment`.
    pub(super) fn apply(&mut self, record: &ValueRecord, segment: u32) {
        self.remove(&record.table, &record.key);
        let Some(value) = &record.value else { return };
        // Copied: a small piece must not keep a large buffer alive.
        let (key, octets) = (Bytes::copy_from_slice(&record.key), Bytes::copy_from_slice(value));
        self.octets += key.len() + octets.len() + ENTRY_OCTETS;
        if record.expires != Timestamp::NEVER {
            self.expiries.insert((record.expires, Arc::clone(&record.table), key.clone()));
        }
        *self.written.entry(segment).or_default() += 1;
        let table = self.tables.entry(Arc::clone(&record.table)).or_default();
        table.octets += key.len() + octets.len();
        table.values.insert(key, Value { octets, expires: record.expires, segment });
    }

    fn remove(&mut self, name: &Arc<str>, key: &Bytes) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let Some(value) = table.values.remove(key) else { return };
        table.octets -= key.len() + value.octets.len();
        if table.values.is_empty() {
            self.tables.remove(name);
        }
        self.octets -= key.len() + value.octets.len() + ENTRY_OCTETS;
        if let Some(count) = self.written.get_mut(&value.segment) {
            *count -= 1;
            if *count == 0 {
                self.written.remove(&value.segment);
            }
        }
        self.expiries.remove(&(value.expires, Arc::clone(name), key.clone()));
    }

    /// Drops what has expired.
    pub(super) fn purge(&mut self, now: Timestamp) {
        while let Some((_, table, key)) = self.expiries.first().filter(|(expires, ..)| *expires <= now).cloned() {
            self.remove(&table, &key);
        }
    }

    pub(super) fn get(&self, table: &str, key: &[u8], now: Timestamp) -> Option<Bytes> {
        self.tables.get(table)?.values.get(key).filter(|value| value.expires > now).map(|value| value.octets.clone())
    }

    /// Returns entries of a table in the order of their keys, from after `after` on.
    pub(super) fn list(&self, table: &str, after: Option<&[u8]>, now: Timestamp, limit: usize) -> Vec<(Bytes, Bytes)> {
        let Some(table) = self.tables.get(table) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let values = table.values.range::<[u8], _>((start, Bound::Unbounded)).filter(|(_, value)| value.expires > now);
        values.take(limit).map(|(key, value)| (key.clone(), value.octets.clone())).collect()
    }

    /// Returns values whose last record is in `segment`, behind the place `after`, up to `limit` octets of them and at least one.
    ///
    /// Whoever goes on behind the last of them has looked at each value once when there are no more: none comes to be in a segment that is full.
    pub(super) fn in_segment(&self, segment: u32, after: Option<&Key>, limit: usize) -> Vec<ValueChange> {
        if !self.are_in(segment) {
            return Vec::new();
        }
        let mut octets = 0;
        let first = after.map_or(Bound::Unbounded, |(table, _)| Bound::Included(table));
        let tables = self.tables.range::<Arc<str>, _>((first, Bound::Unbounded));
        let all = tables.flat_map(|(name, table)| {
            let behind = after.filter(|(last, _)| last == name).map_or(Bound::Unbounded, |(_, key)| Bound::Excluded(key));
            table.values.range::<Bytes, _>((behind, Bound::Unbounded)).map(move |(key, value)| (name, key, value))
        });
        let here = all.filter(|(_, _, value)| value.segment == segment).take_while(|(_, key, value)| {
            let fits = octets < limit;
            octets += key.len() + value.octets.len();
            fits
        });
        here.map(|(table, key, value)| ValueChange {
            table: Arc::clone(table),
            key: key.clone(),
            value: Some(value.octets.clone()),
            expires: value.expires,
        })
        .collect()
    }

    /// Whether the last record of any value is in `segment`.
    pub(super) fn are_in(&self, segment: u32) -> bool {
        self.written.contains_key(&segment)
    }

    pub(super) fn usage(&self, table: &str) -> TableUsage {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let usage = |table: &Table| TableUsage { keys: count(table.values.len()), octets: count(table.octets) };
        self.tables.get(table).map(usage).unwrap_or_default()
    }

    pub(super) fn octets(&self) -> usize {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(table: &str, key: &str, value: Option<&str>) -> ValueRecord {
        ValueRecord {
            table: table.into(),
            key: key.to_owned().into(),
            value: value.map(|value| value.to_owned().into()),
            expires: Timestamp::NEVER,
        }
    }

    #[test]
    fn a_segment_is_gone_through_once() {
        let mut values = Values::default();
        for table in ["a", "b", "c"] {
            for number in 0..10 {
                values.apply(&record(table, &format!("k{number}"), Some("v")), if number % 2 == 0 { 1 } else { 2 });
            }
        }
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            // The limit stops in the middle of tables and at their ends; what was found is written elsewhere, as those do who look for it.
            let page = values.in_segment(1, after.as_ref(), 7);
            let Some(last) = page.last() else { break };
            after = Some((Arc::clone(&last.table), last.key.clone()));
            for change in page {
                found.push(format!("{}{}", change.table, String::from_utf8_lossy(&change.key)));
                values.apply(&record(&change.table, &String::from_utf8_lossy(&change.key), Some("v")), 3);
            }
        }
        let expected: Vec<_> = ["a", "b", "c"].iter().flat_map(|table| [0, 2, 4, 6, 8].map(|number| format!("{table}k{number}"))).collect();
        assert_eq!(found, expected);
        assert_eq!([1, 2, 3].map(|segment| values.are_in(segment)), [false, true, true]);
        for table in ["a", "b", "c"] {
            for number in 0..10 {
                values.apply(&record(table, &format!("k{number}"), None), 4);
            }
        }
        assert!(values.written.is_empty() && values.octets() == 0);
    }
}
