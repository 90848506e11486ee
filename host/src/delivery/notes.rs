//! Notes in memory of which the store keeps a copy: what became of them since the last time is written down from time to time, all of it in one commit.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Batch, Store, StoreError, ValueChange};

/// What is noted of a thing.
pub(super) trait Note<K> {
    /// Octets that it has in memory with its key, about; none where nobody asks how many there are.
    fn octets(&self, _key: &K) -> usize {
        0
    }
}

/// Notes, and how much memory they have.
#[derive(Debug)]
pub(super) struct Notes<K, N> {
    known: BTreeMap<K, N>,
    octets: usize,
    /// Keys of which the store knows less, or has what is gone.
    unsaved: BTreeSet<K>,
}

impl<K, N> Default for Notes<K, N> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), octets: 0, unsaved: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, N: Note<K>> Notes<K, N> {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Octets of all of them, about.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&N>
    where
        K: Borrow<Q>,
    {
        self.known.get(key)
    }

    /// Returns all, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &N)> {
        self.known.iter()
    }

    /// Notes something, in the place of what was noted of it; it is to be written down.
    pub(super) fn insert(&mut self, key: K, note: N) {
        self.unsaved.insert(key.clone());
        self.restore(key, note);
    }

    /// Notes what the store has.
    pub(super) fn restore(&mut self, key: K, note: N) {
        self.octets += note.octets(&key);
        if let Some(before) = self.known.get(&key) {
            self.octets = self.octets.saturating_sub(before.octets(&key));
        }
        self.known.insert(key, note);
    }

    /// Takes a note away, from the store too.
    pub(super) fn remove(&mut self, key: &K) -> Option<N> {
        let note = self.take(key)?;
        self.unsaved.insert(key.clone());
        Some(note)
    }

    /// Takes a note away of which the store keeps what it has: the caller sees to that, or it ends.
    pub(super) fn take(&mut self, key: &K) -> Option<N> {
        let note = self.known.remove(key)?;
        self.unsaved.remove(key);
        self.octets = self.octets.saturating_sub(note.octets(key));
        Some(note)
    }

    /// Changes what is noted of something, or notes it; it is to be written down where `change` says so.
    pub(super) fn change(&mut self, key: K, change: impl FnOnce(&mut N) -> bool)
    where
        N: Default,
    {
        let is_unsaved = self.unsaved.contains(&key);
        let mut note = self.take(&key).unwrap_or_default();
        if change(&mut note) || is_unsaved {
            self.unsaved.insert(key.clone());
        }
        self.restore(key, note);
    }

    /// Takes what is to be written down, with its keys; `write` says how a note is kept, or that it is gone.
    pub(super) fn take_unsaved(&mut self, write: impl Fn(&K, Option<&N>) -> ValueChange) -> (BTreeSet<K>, Vec<ValueChange>) {
        let keys = std::mem::take(&mut self.unsaved);
        let values = keys.iter().map(|key| write(key, self.known.get(key))).collect();
        (keys, values)
    }

    /// They were not written down. What is gone goes from the store when it ends: it is not remembered for ever.
    pub(super) fn not_saved(&mut self, keys: BTreeSet<K>) {
        self.unsaved.extend(keys.into_iter().filter(|key| self.known.contains_key(key)));
    }
}

/// Writes changes down, if there are any.
pub(super) async fn commit(store: &dyn Store, values: Vec<ValueChange>) -> Result<(), StoreError> {
    if values.is_empty() {
        return Ok(());
    }
    store.commit(Batch { values, ..Batch::default() }).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::Timestamp;

    impl Note<String> for String {
        fn octets(&self, key: &String) -> usize {
            key.len() + self.len()
        }
    }

    fn written(notes: &mut Notes<String, String>) -> (BTreeSet<String>, Vec<String>) {
        let write = |key: &String, note: Option<&String>| ValueChange {
            table: "t".into(),
            key: key.clone().into(),
            value: note.map(|note| Bytes::from(note.clone())),
            expires: Timestamp::NEVER,
        };
        let (keys, values) = notes.take_unsaved(write);
        let line = |change: ValueChange| {
            let value = change.value.map_or_else(|| "gone".to_owned(), |value| String::from_utf8_lossy(&value).into_owned());
            format!("{} {value}", String::from_utf8_lossy(&change.key))
        };
        (keys, values.into_iter().map(line).collect())
    }

    #[test]
    fn what_became_of_a_note_is_written_once() {
        let mut notes = Notes::default();
        for key in ["a", "b", "c"] {
            notes.restore(key.to_owned(), "old".to_owned());
        }
        notes.insert("a".to_owned(), "newer".to_owned());
        notes.insert("d".to_owned(), "new".to_owned());
        notes.remove(&"b".to_owned());
        notes.insert("e".to_owned(), "short".to_owned());
        notes.take(&"e".to_owned());
        // It goes and comes back before the store hears of either.
        notes.remove(&"c".to_owned());
        notes.insert("c".to_owned(), "back".to_owned());
        assert_eq!((notes.len(), notes.octets()), (3, "aneweraback".len() + "dnew".len()));
        let (keys, lines) = written(&mut notes);
        assert_eq!(lines, ["a newer", "b gone", "c back", "d new"]);
        assert!(written(&mut notes).1.is_empty());
        let append = |changed| {
            move |note: &mut String| {
                note.push('!');
                changed
            }
        };
        notes.change("c".to_owned(), append(false));
        assert!(written(&mut notes).1.is_empty());
        notes.change("f".to_owned(), append(true));
        notes.change("f".to_owned(), append(false));
        assert_eq!(written(&mut notes).1, ["f !!"]);
        notes.not_saved(keys);
        assert_eq!(written(&mut notes).1, ["a newer", "c back!", "d new"], "what is gone ends by itself");
    }
}
