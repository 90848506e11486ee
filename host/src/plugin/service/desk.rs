//! The desk at which one call asks for services: what it was granted, how often it has asked, and whether what it asks counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use url::Url;

use super::Services;
use super::share::Share;
use super::table::{Kept, TableError, Tables, added, check, expiry};
use crate::config::{Grants, Template};
use crate::network::http_client::{Bounds, HttpError, Incoming, Outgoing};

/// Values that a rehearsal keeps.
const REHEARSED: usize = 1_000;
/// Octets of them.
const REHEARSED_OCTETS: usize = 4 << 20;
/// Names of a plugin's own metrics.
const METRIC_NAME: usize = 50;

/// Whether what a call asks of services counts.
#[derive(Clone, Debug, Default)]
pub enum Effects {
    /// It does.
    #[default]
    Live,
    /// It does not: tables are read, and written beside the real ones; nobody is asked over HTTP; nothing is counted.
    Rehearsal(Arc<Rehearsal>),
    /// Only what always answers the same can be asked for: the call has to be repeatable.
    Repeatable,
}

impl Effects {
    /// Whether it does.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }

    /// A rehearsal that begins with the real tables.
    pub fn rehearsal() -> Self {
        Self::Rehearsal(Arc::default())
    }
}

/// What was written in a rehearsal, by table and key; `None` was deleted.
#[derive(Debug, Default)]
pub struct Rehearsal(Mutex<HashMap<Place, Option<Kept>>>);

/// A table and a key.
type Place = (Arc<str>, String);

/// The desk of one call.
pub(crate) struct Desk {
    pub(crate) plugin: Arc<str>,
    pub(crate) login: Arc<str>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) services: Arc<Services>,
    pub(crate) effects: Effects,
    pub(crate) share: Arc<Share>,
    pub(crate) asked_tables: u32,
    pub(crate) asked_http: u32,
    /// What the call has waited so far, and since when it waits.
    pub(crate) waited: Duration,
    pub(crate) waits_since: Duration,
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    Denied(String),
    Http(HttpError),
}

/// Why a table was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeskError {
    Denied(String),
    Table(TableError),
}

impl From<TableError> for DeskError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl Desk {
    /// Counts a line; returns whether it may be logged.
    pub(crate) fn may_log(&self) -> bool {
        self.services.shares.may_log(&self.share)
    }

    /// Returns how long a call may wait.
    pub(crate) fn wait_time(&self) -> Duration {
        self.services.runtime.calls.wait_time
    }

    /// Begins to wait; returns how long that may last.
    pub(crate) fn wait_left(&mut self) -> Duration {
        self.waits_since = self.services.clock.monotonic();
        self.wait_time().saturating_sub(self.waited)
    }

    /// The wait is over.
    pub(crate) fn has_waited(&mut self) {
        self.waited += self.services.clock.monotonic().saturating_sub(self.waits_since);
    }

    pub(crate) fn secret(&self, name: &str) -> Option<String> {
        self.grants.secrets.get(name).map(|secret| secret.expose().to_owned())
    }

    /// Returns a template, where that always answers the same: none in a call that has to be repeatable.
    pub(crate) fn template(&self, name: &str) -> Option<Arc<Template>> {
        if matches!(self.effects, Effects::Repeatable) {
            return None;
        }
        self.grants.templates.get(name).map(Arc::clone)
    }

    pub(crate) fn count(&self, name: &str, value: u64) {
        if matches!(self.effects, Effects::Live) {
            self.services.metrics.plugin_counter(&self.plugin, &self.login, metric_name(name), value);
        }
    }

    pub(crate) fn observe(&self, name: &str, value: f64) {
        if matches!(self.effects, Effects::Live) {
            self.services.metrics.plugin_value(&self.plugin, &self.login, metric_name(name), value);
        }
    }

    /// Asks whether the call may use its table once more; returns the table's name.
    fn table(&mut self) -> Result<Arc<str>, DeskError> {
        if matches!(self.effects, Effects::Repeatable) {
            return Err(DeskError::Denied("not in a call that has to be repeatable".to_owned()));
        }
        let limit = self.services.runtime.calls.kv_calls;
        self.asked_tables = self.asked_tables.saturating_add(1);
        if self.asked_tables > limit {
            return Err(DeskError::Denied(format!("more than {limit} times in one call")));
        }
        Ok(Tables::name(&self.plugin, &self.login))
    }

    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Bytes>, DeskError> {
        let table = self.table()?;
        check(key, &[])?;
        Ok(self.find(&table, key).await?.map(|kept| kept.octets))
    }

    async fn find(&self, table: &Arc<str>, key: &str) -> Result<Option<Kept>, TableError> {
        if let Effects::Rehearsal(rehearsal) = &self.effects
            && let Some(found) = rehearsal.0.lock().get(&(Arc::clone(table), key.to_owned()))
        {
            let now = self.services.tables.now();
            return Ok(found.clone().filter(|kept| kept.expires > now));
        }
        self.services.tables.get(table, key).await
    }

    pub(crate) async fn set(&mut self, key: &str, value: Vec<u8>, seconds: Option<u32>) -> Result<(), DeskError> {
        let table = self.table()?;
        check(key, &value)?;
        let kept = Kept { octets: value.into(), expires: expiry(self.services.tables.now(), seconds) };
        Ok(self.put(&table, key, Some(kept)).await?)
    }

    pub(crate) async fn delete(&mut self, key: &str) -> Result<(), DeskError> {
        let table = self.table()?;
        check(key, &[])?;
        Ok(self.put(&table, key, None).await?)
    }

    async fn put(&self, table: &Arc<str>, key: &str, value: Option<Kept>) -> Result<(), TableError> {
        match &self.effects {
            Effects::Rehearsal(rehearsal) => rehearse(rehearsal, table, key, value),
            Effects::Live | Effects::Repeatable => self.services.tables.put(table, key, value).await,
        }
    }

    pub(crate) async fn increment(&mut self, key: &str, by: i64, seconds: Option<u32>) -> Result<i64, DeskError> {
        let table = self.table()?;
        check(key, &[])?;
        let expires = expiry(self.services.tables.now(), seconds);
        if let Effects::Rehearsal(rehearsal) = &self.effects {
            let (kept, sum) = added(self.find(&table, key).await?, by, expires)?;
            rehearse(rehearsal, &table, key, Some(kept))?;
            return Ok(sum);
        }
        Ok(self.services.tables.increment(&table, key, by, expires).await?)
    }

    /// Asks over HTTP, where that is granted.
    pub(crate) async fn ask(&mut self, what: RequestTo) -> Result<Incoming, AskError> {
        let limits = self.services.runtime.calls;
        let denied = |reason: String| Err(AskError::Denied(reason));
        match self.effects {
            Effects::Live => {}
            Effects::Rehearsal(_) => return denied("this is a rehearsal: nobody is asked".to_owned()),
            Effects::Repeatable => return denied("not in a call that has to be repeatable".to_owned()),
        }
        let url = Url::parse(&what.url).map_err(|error| AskError::Http(HttpError::Invalid(format!("the URL: {error}"))))?;
        let Some(origin) = self.grants.http.iter().find(|origin| origin.covers(&url)) else {
            return denied(format!("`allow.http` does not name {}", url.origin().ascii_serialization()));
        };
        self.asked_http = self.asked_http.saturating_add(1);
        if self.asked_http > limits.http_calls {
            return denied(format!("more than {} requests in one call", limits.http_calls));
        }
        let octets = what.body.len() + what.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + what.url.len();
        if u64::try_from(octets).map_or(true, |octets| octets > limits.http_size.0) {
            return Err(AskError::Http(HttpError::TooLarge(limits.http_size.0)));
        }
        let bounds = Bounds {
            time: what.time.map_or(limits.http_time, |time| time.min(limits.http_time)),
            size: usize::try_from(limits.http_size.0).unwrap_or(usize::MAX),
            private: origin.is_address(),
        };
        let outgoing = Outgoing { method: what.method, url, headers: what.headers, body: what.body.into() };
        let asking = async {
            let _place = self.share.request().await;
            // Whoever waits for others keeps a place of the pool from those who would compute: not more than half of them.
            let _room = self.services.waiting.acquire().await.ok();
            self.services.http.send(outgoing, bounds).await
        };
        let answer = tokio::time::timeout(bounds.time, Box::pin(asking)).await;
        answer.unwrap_or(Err(HttpError::Timeout)).map_err(AskError::Http)
    }
}

/// A request as a plugin makes it.
pub(crate) struct RequestTo {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) time: Option<Duration>,
}

fn rehearse(rehearsal: &Rehearsal, table: &Arc<str>, key: &str, value: Option<Kept>) -> Result<(), TableError> {
    let mut values = rehearsal.0.lock();
    let place = (Arc::clone(table), key.to_owned());
    let octets: usize = values.values().flatten().map(|kept| kept.octets.len()).sum();
    let added = value.as_ref().map_or(0, |kept| kept.octets.len());
    if (values.len() >= REHEARSED && !values.contains_key(&place)) || octets + added > REHEARSED_OCTETS {
        return Err(TableError::Full);
    }
    values.insert(place, value);
    Ok(())
}

/// Returns the name where it is one.
fn metric_name(name: &str) -> Option<&str> {
    let letters = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    let valid = name.len() <= METRIC_NAME && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(letters);
    valid.then_some(name)
}

#[cfg(test)]
mod tests;
