//! Tables of plugins: one for each plugin and login, in the store, within a quota.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::{Clock, Timestamp};
use crate::config::LoginShares;
use crate::store::{Batch, Store, StoreError, ValueChange};

/// Octets of a key.
pub(super) const KEY: usize = 256;
/// Octets of a value.
pub(super) const VALUE: usize = 64 * 1024;

/// Who changes one key waits for who changes it already; keys are told apart by so many locks.
const LOCKS: usize = 256;
/// Octets in front of a value: when it expires. The store knows too, but does not tell.
const EXPIRY: usize = 8;

/// Why a table did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableError {
    Invalid(String),
    Full,
    Unavailable(String),
}

/// A value, and when it goes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) octets: Bytes,
    pub(crate) expires: Timestamp,
}

/// All tables.
pub(super) struct Tables {
    store: Option<Arc<dyn Store>>,
    clock: Clock,
    quota: LoginShares,
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Tables {
    pub(super) fn new(store: Option<Arc<dyn Store>>, clock: Clock, quota: LoginShares) -> Self {
        Self { store, clock, quota, locks: std::iter::repeat_with(Mutex::default).take(LOCKS).collect(), hasher: RandomState::new() }
    }

    /// Returns the name of the table of a plugin and a login. A plugin's name has no slash.
    pub(super) fn name(plugin: &str, login: &str) -> Arc<str> {
        format!("plugin/{plugin}/{login}").into()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn store(&self) -> Result<&Arc<dyn Store>, TableError> {
        self.store.as_ref().ok_or_else(|| TableError::Unavailable("there is no store here".to_owned()))
    }

    /// Returns a value. Without a store there is none.
    pub(super) async fn get(&self, table: &str, key: &str) -> Result<Option<Kept>, TableError> {
        let Some(store) = &self.store else { return Ok(None) };
        let found = store.value(table, key.as_bytes(), self.clock.now()).await.map_err(|error| unavailable(&error))?;
        let Some(octets) = found else { return Ok(None) };
        let (expires, _) =
            octets.split_first_chunk::<EXPIRY>().ok_or_else(|| TableError::Unavailable("the value is damaged".to_owned()))?;
        Ok(Some(Kept { expires: Timestamp::from_millis(u64::from_le_bytes(*expires)), octets: octets.slice(EXPIRY..) }))
    }

    /// Writes a value, or removes it; it is on disk when this returns.
    pub(super) async fn put(&self, table: &Arc<str>, key: &str, value: Option<Kept>) -> Result<(), TableError> {
        let _guard = self.lock(table, key).await?;
        self.put_locked(table, key, value).await
    }

    async fn put_locked(&self, table: &Arc<str>, key: &str, value: Option<Kept>) -> Result<(), TableError> {
        let store = self.store()?;
        if let Some(kept) = &value {
            self.check_quota(store, table, key, kept.octets.len()).await?;
        }
        let expires = value.as_ref().map_or(Timestamp::NEVER, |kept| kept.expires);
        let value = value.map(|kept| Bytes::from([&kept.expires.as_millis().to_le_bytes()[..], &kept.octets].concat()));
        let change = ValueChange { table: Arc::clone(table), key: Bytes::copy_from_slice(key.as_bytes()), value, expires };
        store.commit(Batch { values: vec![change], ..Batch::default() }).await.map_err(|error| unavailable(&error))
    }

    /// Adds to a number and returns the sum.
    pub(super) async fn increment(&self, table: &Arc<str>, key: &str, by: i64, expires: Timestamp) -> Result<i64, TableError> {
        let _guard = self.lock(table, key).await?;
        let (kept, sum) = added(self.get(table, key).await?, by, expires)?;
        self.put_locked(table, key, Some(kept)).await?;
        Ok(sum)
    }

    /// The quota is looked at before the write, so that writers at the same moment may pass it by what they write.
    async fn check_quota(&self, store: &Arc<dyn Store>, table: &str, key: &str, octets: usize) -> Result<(), TableError> {
        let usage = store.table_usage(table).await.map_err(|error| unavailable(&error))?;
        let known = store.value(table, key.as_bytes(), self.clock.now()).await.map_err(|error| unavailable(&error))?;
        let too_many = known.is_none() && usage.keys >= u64::from(self.quota.kv_keys);
        let count = |octets: usize| u64::try_from(octets).unwrap_or(u64::MAX);
        // What is replaced makes room.
        let others = usage.octets.saturating_sub(known.map_or(0, |known| count(key.len() + known.len())));
        let is_too_much = others.saturating_add(count(key.len() + octets + EXPIRY)) > self.quota.kv_size.0;
        if too_many || is_too_much { Err(TableError::Full) } else { Ok(()) }
    }

    async fn lock(&self, table: &str, key: &str) -> Result<MutexGuard<'_, ()>, TableError> {
        let place = usize::try_from(self.hasher.hash_one((table, key))).unwrap_or(usize::MAX) % LOCKS;
        match self.locks.get(place) {
            Some(lock) => Ok(lock.lock().await),
            None => Err(TableError::Unavailable("there is no lock".to_owned())),
        }
    }
}

/// Returns a number increased, with the time of the first one.
pub(super) fn added(kept: Option<Kept>, by: i64, expires: Timestamp) -> Result<(Kept, i64), TableError> {
    let no_number = || TableError::Invalid("the value is no number".to_owned());
    let (number, expires) = match kept {
        None => (0, expires),
        Some(kept) => {
            let text = std::str::from_utf8(&kept.octets).map_err(|_| no_number())?;
            (text.parse::<i64>().map_err(|_| no_number())?, kept.expires)
        }
    };
    let sum = number.checked_add(by).ok_or_else(|| TableError::Invalid("the number becomes too large".to_owned()))?;
    Ok((Kept { octets: sum.to_string().into(), expires }, sum))
}

/// Returns the time after so many seconds; none is never.
pub(super) fn expiry(now: Timestamp, seconds: Option<u32>) -> Timestamp {
    seconds.map_or(Timestamp::NEVER, |seconds| now.plus(Duration::from_secs(u64::from(seconds))))
}

/// Checks what is written or asked for.
pub(super) fn check(key: &str, value: &[u8]) -> Result<(), TableError> {
    if key.is_empty() || key.len() > KEY {
        return Err(TableError::Invalid(format!("a key has 1 to {KEY} octets")));
    }
    if value.len() > VALUE {
        return Err(TableError::Invalid(format!("a value has at most {VALUE} octets")));
    }
    Ok(())
}

fn unavailable(error: &StoreError) -> TableError {
    match error {
        StoreError::Full => TableError::Full,
        StoreError::TooLarge(_) | StoreError::Poisoned(_) | StoreError::Damaged(_) | StoreError::Unreadable(_) | StoreError::BadDisk(_) => {
            TableError::Unavailable(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
