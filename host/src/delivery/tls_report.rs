//! Reports on TLS (RFC 8460): what domains that ask for it are told, once a day, of how TLS towards their hosts went.
//!
//! Each connection to a host of a domain counts: by the policy that was in force (DANE, MTA-STS, none), whether it was as good as that, and what was wrong.
//! The counts of a day (UTC) are in memory, and every minute in the table [`TABLE`] of the store: a crash loses the last of them. When the day is over, the
//! domain is asked for `_smtp._tls`; without an answer to that its counts are thrown away. What is sent to report does not count, so that nothing goes in circles.
//!
//! Counted are at most `tls_reports.domains` domains, of each at most [`POLICIES`] policies with [`FAILURES`] kinds of failures, and all of it has at most
//! `tls_reports.memory`. Where that is full, the reports that were tried in vain are given up, the oldest first; without any, what is new is not counted.

pub mod destination;
pub mod document;
pub(super) mod sending;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::{CertificateError, Error};

use super::notes::{self, Note, Notes};
use crate::clock::Timestamp;
use crate::config::{self, day};
use crate::store::{Batch, Store, StoreError, ValueChange};
use std::time::Duration;

/// The table of the store in which counts are.
const TABLE: &str = "tls_reports";
/// How long a count is kept: its day, and two more to report it.
const KEPT: Duration = Duration::from_hours(72);
/// Policies of one domain and day.
const POLICIES: usize = 8;
/// Different failures of one policy; those behind are in the sum alone.
const FAILURES: usize = 50;
/// Lines of a policy that are kept.
const STRINGS: usize = 64;
/// Octets of these lines and of the hosts that the policy names, together.
const STRINGS_SIZE: usize = 4 * 1024;
/// Octets of a failure's own words.
const REASON: usize = 200;
/// Octets that each domain, policy and failure has beside its texts, about.
const FIXED: usize = 128;
/// Octets that one connection adds, at most: a domain, a policy and a failure.
const MOST_ADDED: usize = 16 * 1024;

/// What kind of policy was in force (RFC 8460 §4.4, `policy-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// DANE.
    #[serde(rename = "tlsa")]
    Tlsa,
    /// MTA-STS.
    #[serde(rename = "sts")]
    Sts,
    /// None: TLS where it is offered.
    #[serde(rename = "no-policy-found")]
    None,
}

impl PolicyKind {
    /// Returns the word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tlsa => "tlsa",
            Self::Sts => "sts",
            Self::None => "no-policy-found",
        }
    }
}

/// What was in force for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The recipients' domain, in A-labels.
    pub domain: String,
    /// What kind of policy.
    pub kind: PolicyKind,
    /// The policy, line by line.
    pub strings: Vec<String>,
    /// Hosts that it names.
    pub mx: Vec<String>,
    /// The host.
    pub host: String,
}

/// What was wrong with one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In the words of RFC 8460 §4.3.
    pub result: &'static str,
    /// From which address of ours it came, where that is known.
    pub from: Option<IpAddr>,
    /// Where it went, if it went anywhere.
    pub to: Option<IpAddr>,
    /// Why, for people.
    pub reason: String,
}

/// Counts of one domain and day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The route over which it went last.
    pub route: String,
    /// By policy.
    pub policies: Vec<PolicyTally>,
    /// Those who have the report already, when not all could be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
    /// How often the report was tried.
    #[serde(default)]
    pub tries: u32,
    /// Not before this time again.
    #[serde(default)]
    pub next: Timestamp,
}

/// Counts of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTally {
    /// What kind.
    pub kind: PolicyKind,
    /// Line by line.
    pub strings: Vec<String>,
    /// Hosts that it names.
    pub mx: Vec<String>,
    /// Connections that were as good as it asks.
    pub good: u64,
    /// Connections that were not.
    pub bad: u64,
    /// Why not.
    pub failures: Vec<FailureTally>,
}

/// How often one thing was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureTally {
    /// In the words of RFC 8460 §4.3.
    pub result: String,
    /// From where.
    pub from: Option<IpAddr>,
    /// Where to.
    pub to: Option<IpAddr>,
    /// The host's name.
    pub host: String,
    /// Why, for people: of the first.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// Octets that texts take.
fn octets_of(texts: &[String]) -> usize {
    texts.iter().map(|text| text.len() + size_of::<String>()).sum()
}

impl FailureTally {
    fn octets(&self) -> usize {
        FIXED + self.result.len() + self.host.len() + self.reason.len()
    }
}

impl PolicyTally {
    fn octets(&self) -> usize {
        FIXED + octets_of(&self.strings) + octets_of(&self.mx) + self.failures.iter().map(FailureTally::octets).sum::<usize>()
    }
}

impl Note<Key> for Tally {
    fn octets(&self, (_, domain): &Key) -> usize {
        FIXED + domain.len() + self.route.len() + octets_of(&self.told) + self.policies.iter().map(PolicyTally::octets).sum::<usize>()
    }
}

impl Tally {
    /// Counts a connection; returns whether it did. Without room what is not known yet is left out: a failure is in the sum of its policy all the same.
    fn note(&mut self, seen: &Seen, outcome: Result<(), Fault>, has_room: bool) -> bool {
        let place = self.policies.iter().position(|policy| policy.kind == seen.kind && policy.strings == seen.strings);
        if place.is_none() {
            if self.policies.len() >= POLICIES || !has_room {
                return false;
            }
            let (strings, mx) = (seen.strings.clone(), seen.mx.clone());
            self.policies.push(PolicyTally { kind: seen.kind, strings, mx, good: 0, bad: 0, failures: Vec::new() });
        }
        let last = self.policies.len().saturating_sub(1);
        let Some(policy) = self.policies.get_mut(place.unwrap_or(last)) else { return false };
        let Err(fault) = outcome else {
            policy.good += 1;
            return true;
        };
        policy.bad += 1;
        let is_same = |known: &&mut FailureTally| {
            known.result == fault.result && known.from == fault.from && known.to == fault.to && known.host == seen.host
        };
        if let Some(known) = policy.failures.iter_mut().find(is_same) {
            known.count += 1;
        } else if policy.failures.len() < FAILURES && has_room {
            let mut reason = fault.reason;
            reason.truncate(reason.floor_char_boundary(REASON));
            let host = seen.host.clone();
            policy.failures.push(FailureTally { result: fault.result.to_owned(), from: fault.from, to: fault.to, host, reason, count: 1 });
        }
        true
    }
}

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    known: Mutex<Table>,
    sent: Mutex<Sent>,
}

/// A day and a domain.
type Key = (u64, String);

#[derive(Debug, Default)]
struct Table {
    tallies: Notes<Key, Tally>,
    /// Those whose report was tried in vain.
    tried: BTreeSet<Key>,
    /// The day on which the log said last that there is no room.
    said: u64,
}

impl Table {
    /// A report that was tried in vain is there to make room.
    fn note_tries(&mut self, key: &Key, tally: &Tally) {
        if tally.tries > 0 {
            self.tried.insert(key.clone());
        }
    }

    fn take(&mut self, key: &Key) {
        self.tried.remove(key);
        self.tallies.take(key);
    }

    /// Makes room for a connection, of a domain that is new or not; returns whether there is some, and how many reports were given up for it.
    fn make_room(&mut self, is_new: bool, limits: &config::TlsReports) -> (bool, usize) {
        let domains = usize::try_from(limits.domains).unwrap_or(usize::MAX);
        let memory = usize::try_from(limits.memory.0).unwrap_or(usize::MAX);
        let mut given_up = 0;
        while self.tallies.octets().saturating_add(MOST_ADDED) > memory || (is_new && self.tallies.len() >= domains) {
            let Some(oldest) = self.tried.pop_first() else { return (false, given_up) };
            self.tallies.remove(&oldest);
            given_up += 1;
        }
        (true, given_up)
    }
}

/// What counting a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// There was room for all of it.
    pub(super) has_room: bool,
    /// Reports that were given up for that.
    pub(super) given_up: usize,
}

/// What was sent where on one day. A restart forgets it.
#[derive(Debug, Default)]
struct Sent {
    today: u64,
    /// By destination: reports, by day and domain.
    reports: BTreeMap<String, Vec<(u64, String)>>,
}

impl Tallies {
    /// Whether a report may go to a destination today: no more than `most` do, each as often as it is tried.
    fn may_tell(&self, destination: &str, report: (u64, &str), most: u32, now: Timestamp) -> bool {
        let mut sent = self.sent.lock();
        let today = day(now);
        if sent.today != today {
            *sent = Sent { today, reports: BTreeMap::new() };
        }
        let reports = sent.reports.entry(destination.to_ascii_lowercase()).or_default();
        if reports.iter().any(|(day, domain)| (*day, &**domain) == report) {
            return true;
        }
        let is_free = u32::try_from(reports.len()).is_ok_and(|count| count < most);
        if is_free {
            reports.push((report.0, report.1.to_owned()));
        }
        is_free
    }

    /// Counts a connection.
    pub(super) fn note(&self, route: &str, seen: &Seen, outcome: Result<(), Fault>, limits: &config::TlsReports, now: Timestamp) -> Noted {
        let mut table = self.known.lock();
        let key = (day(now), seen.domain.clone());
        let is_new = table.tallies.get(&key).is_none();
        let (has_room, given_up) = table.make_room(is_new, limits);
        if !has_room && std::mem::replace(&mut table.said, key.0) != key.0 {
            tracing::warn!(
                domains = table.tallies.len(),
                octets = table.tallies.octets(),
                "there is no room for all that reports on TLS would tell of this day: see tls_reports.domains and tls_reports.memory"
            );
        }
        if has_room || !is_new {
            table.tallies.change(key, |tally| {
                if tally.route != route {
                    route.clone_into(&mut tally.route);
                }
                tally.note(seen, outcome, has_room)
            });
        }
        Noted { has_room, given_up }
    }

    /// Returns what is to be reported, by day and domain: counts of days that were over `delay` ago. What was not tried yet comes first, so that whoever
    /// never answers is in nobody's way.
    fn due(&self, now: Timestamp, delay: Duration) -> Vec<(u64, String)> {
        let before = day(now.minus(delay));
        let known = self.known.lock();
        let due = known.tallies.iter().filter(|((day, _), tally)| *day < before && tally.next <= now);
        let mut due: Vec<_> = due.map(|((day, domain), tally)| (tally.tries, *day, domain.clone())).collect();
        drop(known);
        due.sort();
        due.into_iter().map(|(_, day, domain)| (day, domain)).collect()
    }

    /// Returns the counts of a domain and day.
    fn tally(&self, day: u64, domain: &str) -> Option<Tally> {
        self.known.lock().tallies.get(&(day, domain.to_owned())).cloned()
    }

    /// A report was tried and is to be tried again, unless it was given up meanwhile.
    fn again(&self, day: u64, domain: String, tally: Tally) {
        let (mut table, key) = (self.known.lock(), (day, domain));
        if table.tallies.get(&key).is_some() {
            table.note_tries(&key, &tally);
            table.tallies.insert(key, tally);
        }
    }

    /// A report is done with.
    async fn end(&self, day: u64, domain: &str, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        self.known.lock().take(&(day, domain.to_owned()));
        let change = ValueChange { table: TABLE.into(), key: key(day, domain), value: None, expires: now.plus(KEPT) };
        store.commit(Batch { values: vec![change], ..Batch::default() }).await
    }

    /// Reads what was counted before the start.
    pub(super) async fn load(&self, store: &dyn Store, now: Timestamp, most: u32) -> Result<(), StoreError> {
        let values = store.values(TABLE, None, now, usize::try_from(most).unwrap_or(usize::MAX)).await?;
        let mut known = self.known.lock();
        for (key, value) in values {
            let name = str::from_utf8(&key).ok().and_then(|key| key.split_once(' '));
            if let Some(key) = name.and_then(|(day, domain)| Some((day.parse().ok()?, domain.to_owned())))
                && let Ok(tally) = serde_json::from_slice::<Tally>(&value)
            {
                known.note_tries(&key, &tally);
                known.tallies.restore(key, tally);
            }
        }
        Ok(())
    }

    /// Writes down what was counted since the last time.
    pub(super) async fn save(&self, store: &dyn Store) -> Result<(), StoreError> {
        let write = |(day, domain): &Key, tally: Option<&Tally>| ValueChange {
            table: TABLE.into(),
            key: key(*day, domain),
            value: tally.map(|tally| Bytes::from(serde_json::to_vec(tally).unwrap_or_default())),
            expires: Timestamp::from_millis(day.saturating_mul(DAY)).plus(KEPT),
        };
        let (keys, values) = self.known.lock().tallies.take_unsaved(write);
        let saved = notes::commit(store, values).await;
        if saved.is_err() {
            self.known.lock().tallies.not_saved(keys);
        }
        saved
    }

    /// Forgets counts that nobody was told of in time.
    fn forget(&self, now: Timestamp) -> usize {
        let oldest = day(now.minus(KEPT));
        let mut table = self.known.lock();
        let over: Vec<Key> = table.tallies.iter().map(|(key, _)| key).take_while(|(day, _)| *day <= oldest).cloned().collect();
        for key in &over {
            table.take(key);
        }
        over.len()
    }
}

/// Milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

fn key(day: u64, domain: &str) -> Bytes {
    format!("{day} {domain}").into()
}

impl Seen {
    /// Nothing but the least that counts of a policy.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let mut left = STRINGS_SIZE;
        for lines in [&mut self.strings, &mut self.mx] {
            let fitting = lines.iter().take(STRINGS).map_while(|line| {
                left = left.checked_sub(line.len())?;
                Some(())
            });
            let count = fitting.count();
            lines.truncate(count);
        }
        self
    }
}

/// What is wrong with a handshake, in the words of RFC 8460 §4.3.2.
pub(super) fn result_of(error: &Error) -> &'static str {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    let Error::InvalidCertificate(error) = error else { return "validation-failure" };
    if matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }) {
        "certificate-expired"
    } else if matches!(error, NotValidForName | NotValidForNameContext { .. }) {
        "certificate-host-mismatch"
    } else if matches!(error, UnknownIssuer) {
        "certificate-not-trusted"
    } else {
        "validation-failure"
    }
}

#[cfg(test)]
mod tests;
