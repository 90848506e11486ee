//! Whom mail is not sent to, and whom it is sent to all the same: the suppression list and the allow list.
//!
//! An entry stands for one address and one scope: everybody's mail, that of a login, or that of a domain of senders. All entries are in one table
//! of the store, which is in memory and on the disk: a look at it is a search in a tree, and what was put there is durable before it counts.
//!
//! The lists are enforced in two places, for every way in alike: when a message is taken (`intake`), and each time before a copy is tried
//! (`delivery`), as an entry may have come while it waited. [`reader`] puts there what bounces and unsubscriptions say.

mod catalog;
pub mod csv;
pub mod entry;
pub mod import;
pub mod query;
pub mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::clock::Clock;
use crate::mail::address::EmailAddress;
use crate::store::{Batch, Store, StoreError, ValueChange};
use catalog::{Catalog, Place};
use entry::{Entry, List, Note, Recipient, Scope, Sender};
use query::{Found, Query};

/// Name of the table.
const TABLE: &str = "suppression";
/// Entries of one address that are read at once: most have one.
const ENTRIES: usize = 16;
/// Entries that are read at once when the whole table is gone through.
const PAGE: usize = 1_000;
/// Entries that one commit takes.
const COMMIT: usize = 1_000;

/// The lists. Cloning is cheap. All that work with one store see the same of an address; who looks for entries must be a clone of who changes them.
#[derive(Clone)]
pub struct Suppressions {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Made when somebody looks for entries. Held by whoever changes them until the store has the change.
    catalog: Arc<RwLock<Option<Catalog>>>,
}

/// Up to where entries were gone through.
#[derive(Clone, Debug)]
enum Passed {
    /// All of the table, in the order of its keys.
    Key(Bytes),
    /// Those of one list and scope.
    Place(Place),
}

/// All that the lists say of one address.
#[derive(Clone, Debug, Default)]
pub struct Standing(Vec<Entry>);

impl Standing {
    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether mail of `sender` goes there whatever else is said.
    pub fn is_allowed(&self, sender: &Sender<'_>) -> bool {
        self.0.iter().any(|entry| entry.list == List::Allowed && entry.scope.includes(sender))
    }

    /// Returns why mail of `sender` does not go there, if it does not.
    pub fn block(&self, sender: &Sender<'_>) -> Option<&Entry> {
        let block = self.0.iter().find(|entry| entry.list == List::Blocked && entry.scope.includes(sender))?;
        (!self.is_allowed(sender)).then_some(block)
    }

    /// Returns all entries, allowances first.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Whether there is an entry of this list and scope.
    pub fn has(&self, list: List, scope: &Scope) -> bool {
        self.0.iter().any(|entry| entry.list == list && entry.scope == *scope)
    }
}

impl Suppressions {
    /// The lists in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, catalog: Arc::default() }
    }

    /// Returns what is known of an address. Of the postmaster nothing ever is: he must be reachable (RFC 5321 §4.5.1).
    pub async fn standing(&self, address: &EmailAddress) -> Result<Standing, StoreError> {
        if address.local_part().eq_ignore_ascii_case("postmaster") {
            return Ok(Standing::default());
        }
        self.standing_of(&Recipient::of(address)).await
    }

    /// Returns what is known of an address, the postmaster's too.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn standing_of(&self, recipient: &Recipient) -> Result<Standing, StoreError> {
        let prefix = entry::prefix(recipient);
        let (mut entries, mut after) = (Vec::new(), Bytes::from(prefix.clone()));
        loop {
            let page = self.store.values(TABLE, Some(&after), self.clock.now(), ENTRIES).await?;
            let own = page.iter().take_while(|(key, _)| key.starts_with(&prefix)).count();
            entries.extend(page.iter().take(own).filter_map(|(key, value)| Entry::decode(key, value)));
            match page.last() {
                Some((key, _)) if own == ENTRIES => after = key.clone(),
                Some(_) | None => return Ok(Standing(entries)),
            }
        }
    }

    /// Puts entries on the lists, in the place of those that have the same list, scope and address; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Full`]: the table has no room; entries of earlier commits of the same call are there.
    pub async fn put(&self, entries: &[Entry]) -> Result<(), StoreError> {
        for chunk in entries.chunks(COMMIT) {
            self.commit(chunk.iter().filter_map(put).collect()).await?;
        }
        Ok(())
    }

    /// Takes addresses off a list; returns how many were on it.
    ///
    /// # Errors
    /// If the store fails; some of them may be gone then.
    pub async fn remove(&self, list: List, scope: &Scope, recipients: &[Recipient]) -> Result<usize, StoreError> {
        let mut count = 0;
        for chunk in recipients.chunks(COMMIT) {
            let keys: BTreeSet<Bytes> = chunk.iter().filter_map(|recipient| entry::key(list, scope, recipient)).collect();
            let mut known = Vec::new();
            for key in keys {
                if self.store.value(TABLE, &key, self.clock.now()).await?.is_some() {
                    known.push(removal(key));
                }
            }
            count += known.len();
            self.commit(known).await?;
        }
        Ok(count)
    }

    /// Takes addresses off a list in every scope; returns how many entries that were.
    ///
    /// # Errors
    /// If the store fails; some of them may be gone then.
    pub async fn remove_everywhere(&self, list: List, recipients: &[Recipient]) -> Result<usize, StoreError> {
        let mut count = 0;
        for chunk in recipients.chunks(COMMIT) {
            let mut removals = Vec::new();
            for recipient in chunk.iter().collect::<BTreeSet<_>>() {
                let standing = self.standing_of(recipient).await?;
                let entries = standing.0.iter().filter(|entry| entry.list == list);
                removals.extend(entries.filter_map(|entry| entry::key(list, &entry.scope, recipient)).map(removal));
            }
            count += removals.len();
            self.commit(removals).await?;
        }
        Ok(count)
    }

    /// Takes off the list all that a query finds, whatever page it asks for; returns how many.
    ///
    /// # Errors
    /// If the store fails; some of them may be gone then.
    pub async fn remove_found(&self, query: &Query) -> Result<usize, StoreError> {
        let mut count = 0;
        let mut after = None;
        loop {
            let (page, next) = self.walk(query, after).await?;
            let found: Vec<_> = page.iter().filter(|entry| query.matches(entry)).collect();
            let keys = found.iter().filter_map(|entry| entry::key(entry.list, &entry.scope, &entry.recipient));
            let removals: Vec<_> = keys.map(removal).collect();
            count += removals.len();
            self.commit(removals).await?;
            match next {
                Some(next) => after = Some(next),
                None => return Ok(count),
            }
        }
    }

    /// Finds entries. Where nothing but list, scope and time is asked for, those of the page are looked at; else all of the scope, and a page of them is
    /// kept.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn find(&self, query: &Query) -> Result<Found, StoreError> {
        if query.is_by_date() {
            let (count, keys) = self.catalog().await?.as_ref().map(|catalog| catalog.page(query)).unwrap_or_default();
            return Ok(Found { count, entries: self.entries(keys).await? });
        }
        let mut found = query.start();
        let mut after = None;
        loop {
            let (page, next) = self.walk(query, after).await?;
            for entry in page.into_iter().filter(|entry| query.matches(entry)) {
                found.add(entry);
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(found.finish()),
            }
        }
    }

    /// Returns some of the entries among which those are that a query finds, from behind a place on, and the place behind them where there are more.
    async fn walk(&self, query: &Query, after: Option<Passed>) -> Result<(Vec<Entry>, Option<Passed>), StoreError> {
        let Some(scope) = &query.scope else {
            let after = match after {
                Some(Passed::Key(key)) => Some(key),
                Some(Passed::Place(_)) | None => None,
            };
            let (entries, next) = self.page(after).await?;
            return Ok((entries, next.map(Passed::Key)));
        };
        let after = match after {
            Some(Passed::Place(place)) => Some(place),
            Some(Passed::Key(_)) | None => None,
        };
        tokio::task::yield_now().await;
        let list = query.list.unwrap_or(List::Blocked);
        let catalog = self.catalog().await?;
        let places = catalog.as_ref().map(|catalog| catalog.after(list, scope, after.as_ref(), PAGE)).unwrap_or_default();
        drop(catalog);
        let next = places.last().filter(|_| places.len() == PAGE).cloned();
        let entries = self.entries(places.into_iter().map(|(_, key)| key)).await?;
        Ok((entries, next.map(Passed::Place)))
    }

    /// Reads entries; those that are gone meanwhile are left out.
    async fn entries(&self, keys: impl IntoIterator<Item = Bytes>) -> Result<Vec<Entry>, StoreError> {
        let now = self.clock.now();
        let mut entries = Vec::new();
        for key in keys {
            let value = self.store.value(TABLE, &key, now).await?;
            entries.extend(value.and_then(|value| Entry::decode(&key, &value)));
        }
        Ok(entries)
    }

    /// Returns the catalog, which is made first where there is none.
    async fn catalog(&self) -> Result<RwLockReadGuard<'_, Option<Catalog>>, StoreError> {
        let guard = self.catalog.read().await;
        if guard.is_some() {
            return Ok(guard);
        }
        drop(guard);
        let mut guard = self.catalog.write().await;
        if guard.is_none() {
            let (mut catalog, mut after) = (Catalog::default(), None);
            loop {
                tokio::task::yield_now().await;
                let page = self.store.values(TABLE, after.as_deref(), self.clock.now(), PAGE).await?;
                for (key, value) in &page {
                    if let Some(entry) = Entry::decode(key, value) {
                        catalog.insert(key.clone(), &entry);
                    }
                }
                match page.last() {
                    Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                    Some(_) | None => break,
                }
            }
            *guard = Some(catalog);
        }
        Ok(guard.downgrade())
    }

    /// Returns entries in the order of their addresses from behind a place on, and the place behind them where there are more.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn page(&self, after: Option<Bytes>) -> Result<(Vec<Entry>, Option<Bytes>), StoreError> {
        // A list may have a million entries: others have their turn between two pages.
        tokio::task::yield_now().await;
        let page = self.store.values(TABLE, after.as_deref(), self.clock.now(), PAGE).await?;
        let next = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.clone());
        Ok((page.iter().filter_map(|(key, value)| Entry::decode(key, value)).collect(), next))
    }

    /// Makes an entry of now.
    pub fn entry(&self, list: List, scope: Scope, recipient: Recipient, reason: &str) -> Entry {
        let (sender, subject) = (String::new(), String::new());
        let note = Note { source: entry::Source::Manual, at: self.clock.now(), reason: reason.to_owned(), sender, subject };
        Entry { list, scope, recipient, note }
    }

    /// Makes changes of the lists, and of other tables together with them.
    async fn commit(&self, values: Vec<ValueChange>) -> Result<(), StoreError> {
        if values.is_empty() {
            return Ok(());
        }
        let mut guard = self.catalog.write().await;
        // Taken out: whoever does not wait for the end of this leaves none.
        let Some(mut catalog) = guard.take() else {
            return self.store.commit(Batch { values, ..Batch::default() }).await;
        };
        // What each entry was, and what it is now: of several changes of one the last counts.
        let mut changed: BTreeMap<Bytes, (Option<Entry>, Option<Entry>)> = BTreeMap::new();
        for change in values.iter().filter(|change| *change.table == *TABLE) {
            let new = change.value.as_ref().and_then(|value| Entry::decode(&change.key, value));
            if let Some((_, known)) = changed.get_mut(&change.key) {
                *known = new;
                continue;
            }
            let old = self.store.value(TABLE, &change.key, self.clock.now()).await?;
            let old = old.and_then(|value| Entry::decode(&change.key, &value));
            changed.insert(change.key.clone(), (old, new));
        }
        match self.store.commit(Batch { values, ..Batch::default() }).await {
            Ok(()) => {}
            Err(StoreError::Full) => {
                *guard = Some(catalog);
                return Err(StoreError::Full);
            }
            Err(error) => return Err(error),
        }
        for (key, (old, new)) in changed {
            if let Some(entry) = old {
                catalog.remove(key.clone(), &entry);
            }
            if let Some(entry) = new {
                catalog.insert(key, &entry);
            }
        }
        *guard = Some(catalog);
        Ok(())
    }
}

/// Whether the store takes an entry of this scope and address.
pub fn fits(scope: &Scope, recipient: &Recipient) -> bool {
    entry::key(List::Blocked, scope, recipient).is_some()
}

/// The change that puts an entry on its list; none where its names are longer than the store takes.
fn put(entry: &Entry) -> Option<ValueChange> {
    let key = entry::key(entry.list, &entry.scope, &entry.recipient)?;
    Some(ValueChange { table: TABLE.into(), key, value: Some(entry.note.encode()), expires: crate::clock::Timestamp::NEVER })
}

fn removal(key: Bytes) -> ValueChange {
    ValueChange { table: TABLE.into(), key, value: None, expires: crate::clock::Timestamp::NEVER }
}

#[cfg(test)]
mod tests;
