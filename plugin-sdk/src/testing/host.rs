//! The services of the host, kept in memory for the thread of a test.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
};

use crate::{
    Timestamp,
    bindings::imports::tubepost::mail::kv as wire,
    http::{self, Request, Response},
    kv,
    templates::Template,
};

/// 2026-01-01T00:00:00Z: when messages of tests are received.
pub(super) const RECEIVED: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// The most metrics of a plugin.
const METRICS: usize = 20;
/// Octets of a key, and of a value.
const KEY: usize = 256;
const VALUE: usize = 64 * 1024;

/// What the host of this thread knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Timestamp,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) templates: BTreeMap<String, Template>,
    /// A value, and when it is gone.
    table: BTreeMap<String, (Vec<u8>, Option<Timestamp>)>,
    table_error: Option<kv::Error>,
    answers: VecDeque<Result<Response, http::Error>>,
    requests: Vec<Request>,
    counters: BTreeMap<String, u64>,
    histograms: BTreeMap<String, Vec<f64>>,
}

impl State {
    const fn new() -> Self {
        Self {
            now: RECEIVED,
            secrets: BTreeMap::new(),
            templates: BTreeMap::new(),
            table: BTreeMap::new(),
            table_error: None,
            answers: VecDeque::new(),
            requests: Vec::new(),
            counters: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    pub(crate) fn send(&mut self, request: Request) -> Result<Response, http::Error> {
        let none = || Err(http::Error::Denied(format!("the test scripts no answer to {} {}", request.method, request.url)));
        let answer = self.answers.pop_front().unwrap_or_else(none);
        self.requests.push(request);
        answer
    }

    fn is_metric(&self, name: &str) -> bool {
        let letters = name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_');
        let known = self.counters.contains_key(name) || self.histograms.contains_key(name);
        let named = letters && name.len() <= 50 && name.starts_with(|first: char| first.is_ascii_lowercase());
        named && (known || self.counters.len() + self.histograms.len() < METRICS)
    }

    pub(crate) fn add(&mut self, name: &str, value: u64) {
        if self.is_metric(name) {
            let counter = self.counters.entry(name.to_owned()).or_default();
            *counter = counter.saturating_add(value);
        }
    }

    pub(crate) fn observe(&mut self, name: &str, value: f64) {
        if self.is_metric(name) {
            self.histograms.entry(name.to_owned()).or_default().push(value);
        }
    }

    fn check(&self, key: &str, value: &[u8]) -> Result<(), wire::Error> {
        match &self.table_error {
            Some(kv::Error::Denied(reason)) => return Err(wire::Error::Denied(reason.clone())),
            Some(kv::Error::Invalid(reason)) => return Err(wire::Error::Invalid(reason.clone())),
            Some(kv::Error::Full) => return Err(wire::Error::Full),
            Some(kv::Error::Unavailable(reason)) => return Err(wire::Error::Unavailable(reason.clone())),
            None => {}
        }
        if key.is_empty() || key.len() > KEY {
            return Err(wire::Error::Invalid(format!("a key has 1 to {KEY} octets")));
        }
        if value.len() > VALUE {
            return Err(wire::Error::Invalid(format!("a value has at most {VALUE} octets")));
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Option<&(Vec<u8>, Option<Timestamp>)> {
        self.table.get(key).filter(|(_, end)| end.is_none_or(|end| end > self.now))
    }

    fn end(&self, seconds: Option<u32>) -> Option<Timestamp> {
        seconds.map(|seconds| self.now + std::time::Duration::from_secs(seconds.into()))
    }
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::new()) };
}

pub(crate) fn host<T>(act: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(act)
}

/// The functions of the contract's `kv`, over the table in memory.
pub(crate) mod table {
    use super::{host, wire};

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, wire::Error> {
        host(|host| {
            host.check(key, &[])?;
            Ok(host.value(key).map(|(value, _)| value.clone()))
        })
    }

    pub(crate) fn set(key: &str, value: &[u8], seconds: Option<u32>) -> Result<(), wire::Error> {
        host(|host| {
            host.check(key, value)?;
            let end = host.end(seconds);
            host.table.insert(key.to_owned(), (value.to_vec(), end));
            Ok(())
        })
    }

    pub(crate) fn delete(key: &str) -> Result<(), wire::Error> {
        host(|host| {
            host.check(key, &[])?;
            host.table.remove(key);
            Ok(())
        })
    }

    pub(crate) fn increment(key: &str, by: i64, seconds: Option<u32>) -> Result<i64, wire::Error> {
        host(|host| {
            host.check(key, &[])?;
            let (sum, end) = match host.value(key) {
                Some((value, end)) => {
                    let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse::<i64>().ok());
                    let number = number.ok_or_else(|| wire::Error::Invalid("the value is no number".to_owned()))?;
                    (number.checked_add(by).ok_or_else(|| wire::Error::Invalid("the sum is too large".to_owned()))?, *end)
                }
                None => (by, host.end(seconds)),
            };
            host.table.insert(key.to_owned(), (sum.to_string().into_bytes(), end));
            Ok(sum)
        })
    }
}

/// The host's services for the test that makes one: table, HTTP, secrets, templates, metrics and clock.
///
/// Each thread has a host of its own, which [`Host::new`] empties, as does the end of the value. All is granted, and nothing is there: secrets and
/// templates are those that are given here, and each HTTP request takes the next scripted answer.
///
/// ```
/// use tubepost_plugin_sdk::{http::{Error, Request, Response}, testing::Host};
/// let host = Host::new().answer(Response::new(204)).fail(Error::Timeout);
/// assert_eq!(Request::get("https://example.com/").send(), Ok(Response::new(204)));
/// assert_eq!(Request::get("https://example.com/").send(), Err(Error::Timeout));
/// assert_eq!(host.requests().len(), 2);
/// ```
#[derive(Debug)]
pub struct Host(());

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// Empties the host of this thread.
    pub fn new() -> Self {
        host(|host| *host = State::new());
        Self(())
    }

    fn with(self, act: impl FnOnce(&mut State)) -> Self {
        host(act);
        self
    }

    /// Sets the clock; else it is 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        self.with(|host| host.now = now)
    }

    /// Gives a secret.
    #[must_use]
    pub fn secret(self, name: &str, value: &str) -> Self {
        self.with(|host| drop(host.secrets.insert(name.to_owned(), value.to_owned())))
    }

    /// Gives a template.
    #[must_use]
    pub fn template(self, name: &str, template: Template) -> Self {
        self.with(|host| drop(host.templates.insert(name.to_owned(), template)))
    }

    /// Scripts the response to the next request that has none yet.
    #[must_use]
    pub fn answer(self, response: Response) -> Self {
        self.with(|host| host.answers.push_back(Ok(response)))
    }

    /// Lets the next request that has no answer yet fail.
    #[must_use]
    pub fn fail(self, error: http::Error) -> Self {
        self.with(|host| host.answers.push_back(Err(error)))
    }

    /// Lets every call of the table fail from now on.
    #[must_use]
    pub fn fail_table(self, error: kv::Error) -> Self {
        self.with(|host| host.table_error = Some(error))
    }

    /// The requests that were sent, in order.
    pub fn requests(&self) -> Vec<Request> {
        host(|host| host.requests.clone())
    }

    /// The sum of a counter.
    pub fn counter(&self, name: &str) -> u64 {
        host(|host| host.counters.get(name).copied().unwrap_or_default())
    }

    /// The values of a histogram, in order.
    pub fn observed(&self, name: &str) -> Vec<f64> {
        host(|host| host.histograms.get(name).cloned().unwrap_or_default())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        host(|host| *host = State::new());
    }
}
