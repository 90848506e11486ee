//! Suspensions: mail that is not tried for a while because somebody says so. They are kept in the store, and new mail is accepted meanwhile.
//!
//! - A whole queue (by route and domain) is left alone in the store: nobody is woken for it, and nothing of it is written.
//! - What only a copy or its message can tell (login, tag, message; the domain where a queue has none) is put off when its turn comes, with a mark in
//!   its state. Who ends such a suspension leaves a note in the store until all that bears the mark is due again: a crash in between changes nothing. It
//!   is `queue.suspension_look` old at most: then all of that is due by itself.
//! - A copy is marked under [`Suspensions::marking`], and a suspension ends when nobody holds that: no mark comes after the search for marks.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, RwLockReadGuard};

use super::selector::{Selected, Selector, ascii};
use crate::clock::Timestamp;
use crate::config;
use crate::mail::domain::Domain;
use crate::store::{Batch, Store, StoreError, ValueChange};

/// The table that they are kept in.
const TABLE: &str = "suspensions";
/// Most octets of the name of a route or a login; none that is configured has so many.
const NAME_OCTETS: usize = 255;
/// What no suspension has as its number.
const NO_NUMBER: u64 = 0;
/// Entries of the table that are read in one go.
const PAGE: usize = 1000;

/// Mail that is not tried for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Its number.
    pub number: u64,
    /// Which mail.
    #[serde(flatten)]
    pub selector: Selector,
    /// Why.
    pub reason: String,
    /// Who says so, for people.
    pub by: String,
    /// The login that made it and may end it; `None`: an operator, and only he ends it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until somebody ends it.
    pub until: Option<Timestamp>,
}

impl Suspension {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether copies have to be looked at for it. A route is the same for all of a queue; a domain is not in the name of every queue.
    fn is_of_copies(&self) -> bool {
        !self.selector.is_of_places() || self.selector.domain.is_some()
    }

    /// Says it to people.
    pub fn to_text(&self) -> String {
        let until = self.until.map_or_else(String::new, |until| format!(" until {}", until.to_rfc3339()));
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("suspended by {}{until}{reason}", self.by)
    }
}

/// What is to be suspended.
#[derive(Clone, Debug)]
pub struct NewSuspension {
    /// Which mail; not everything.
    pub selector: Selector,
    /// Why.
    pub reason: String,
    /// Who says so, for people.
    pub by: String,
    /// The login that makes it; `None` is an operator.
    pub owner: Option<String>,
    /// Until when; `None`: until somebody ends it.
    pub until: Option<Timestamp>,
}

/// Why mail could not be suspended.
#[derive(Debug, thiserror::Error)]
pub enum SuspensionError {
    /// It was not said which mail.
    #[error("say which mail: a route, a domain, a login, a tag or a message")]
    Everything,
    /// The name of a route or a login, by its field, is none.
    #[error("the name of a {0} has at most {most} octets", most = NAME_OCTETS)]
    TooLong(&'static str),
    /// It would be over before it begins.
    #[error("the time is over already")]
    Over,
    /// There are too many.
    #[error("there are {0} suspensions already")]
    TooMany(usize),
    /// Too many of operators have ended, and what they put off is still looked for.
    #[error("mail of {0} suspensions that have ended is looked for: try again in a while")]
    TooManyEnded(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is kept in the table, under its number.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    /// It is in force.
    Suspension(Box<Suspension>),
    /// It has ended, and copies may bear its mark.
    Note {
        /// Whose it was.
        owner: Option<String>,
        /// Until when they wait at most.
        until: Timestamp,
    },
    /// The same of an operator, in old notes.
    Ended,
    /// The highest number that any had; under [`NO_NUMBER`].
    Highest(u64),
}

/// A suspension that has ended, and whose marks have not all been found.
#[derive(Clone, Debug)]
struct Ended {
    number: u64,
    /// Whose it was.
    owner: Option<String>,
    /// When all that bears its mark is due by itself: then nobody has to find it any more.
    until: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct Known {
    in_force: Vec<Suspension>,
    ended: Vec<Ended>,
    /// The highest number that any had: none is given twice, as whoever knows an old one could end another's.
    highest: u64,
}

impl Known {
    /// Whether there is room for one more of `owner`. Logins do not take that of operators; what they have ended counts until its marks are found. Of
    /// operators it counts for itself: who has many ends one to make another.
    fn room(&self, owner: Option<&str>, limits: &config::Queue) -> Result<(), SuspensionError> {
        let in_force = || self.in_force.iter().map(|suspension| suspension.owner.as_deref());
        let ended = || self.ended.iter().map(|ended| ended.owner.as_deref());
        let within = |count: usize, most: u32, error: fn(usize) -> SuspensionError| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if count < most { Ok(()) } else { Err(error(most)) }
        };
        if let Some(login) = owner {
            let of_logins: Vec<&str> = in_force().chain(ended()).flatten().collect();
            let own = of_logins.iter().filter(|owner| **owner == login).count();
            within(own, limits.suspensions_per_login, SuspensionError::TooMany)?;
            return within(of_logins.len(), limits.suspensions, SuspensionError::TooMany);
        }
        within(in_force().filter(Option::is_none).count(), limits.suspensions, SuspensionError::TooMany)?;
        within(ended().filter(Option::is_none).count(), limits.suspensions, SuspensionError::TooManyEnded)
    }
}

/// What is suspended.
#[derive(Debug, Default)]
pub struct Suspensions {
    known: RwLock<Arc<Known>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Held by those who mark copies.
    marking: tokio::sync::RwLock<()>,
    changed: Notify,
    ended: Notify,
    limits: RwLock<config::Queue>,
}

impl Suspensions {
    /// Reads what the store has of them; once, at the start.
    pub(super) async fn load(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let looked_at = now.plus(self.limits().suspension_look);
        let mut known = Known::default();
        let mut after: Option<Bytes> = None;
        loop {
            let page = store.values(TABLE, after.as_deref(), now, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, value) in page {
                let number = key.as_ref().try_into().map(u64::from_be_bytes);
                known.highest = known.highest.max(number.unwrap_or(NO_NUMBER));
                match (number, serde_json::from_slice(&value)) {
                    (Ok(_), Ok(Kept::Suspension(suspension))) => known.in_force.push(*suspension),
                    (Ok(number), Ok(Kept::Note { owner, until })) => known.ended.push(Ended { number, owner, until }),
                    (Ok(number), Ok(Kept::Ended)) => known.ended.push(Ended { number, owner: None, until: looked_at }),
                    (Ok(_), Ok(Kept::Highest(number))) => known.highest = known.highest.max(number),
                    (_, Err(error)) => tracing::error!(%error, "a suspension of mail cannot be read: it does not hold"),
                    (Err(_), Ok(_)) => tracing::error!("a suspension of mail has no number: it does not hold"),
                }
            }
            if is_last {
                break;
            }
        }
        *self.known.write() = Arc::new(known);
        Ok(())
    }

    /// Suspends mail from now on.
    pub(super) async fn add(&self, store: &dyn Store, new: NewSuspension, now: Timestamp) -> Result<Suspension, SuspensionError> {
        let NewSuspension { selector, reason, by, owner, until } = new;
        if selector.is_empty() {
            return Err(SuspensionError::Everything);
        }
        for (field, name) in [("route", &selector.route), ("login", &selector.login)] {
            if name.as_ref().is_some_and(|name| name.len() > NAME_OCTETS) {
                return Err(SuspensionError::TooLong(field));
            }
        }
        if until.is_some_and(|until| until <= now) {
            return Err(SuspensionError::Over);
        }
        let _changing = self.changing.lock().await;
        let mut known = self.known().as_ref().clone();
        known.in_force.retain(|suspension| suspension.holds(now));
        known.ended.retain(|ended| now < ended.until);
        let limits = self.limits();
        known.room(owner.as_deref(), &limits)?;
        let number = known.highest.saturating_add(1);
        let length = usize::try_from(limits.suspension_reason).unwrap_or(usize::MAX);
        let cut = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(length).collect();
        let suspension = Suspension { number, selector, reason: cut(&reason), by: cut(&by), owner, since: now, until };
        let kept = Kept::Suspension(Box::new(suspension.clone()));
        let highest = kept_as(NO_NUMBER, Some(&Kept::Highest(number)), Timestamp::NEVER);
        keep(store, vec![kept_as(number, Some(&kept), until.unwrap_or(Timestamp::NEVER)), highest]).await?;
        known.highest = number;
        known.in_force.push(suspension.clone());
        *self.known.write() = Arc::new(known);
        Ok(suspension)
    }

    /// Ends a suspension that `may_end` lets the caller end; `None` if there is none of that number.
    pub(super) async fn end(
        &self,
        store: &dyn Store,
        number: u64,
        may_end: impl Fn(&Suspension) -> bool,
        now: Timestamp,
    ) -> Result<Option<Suspension>, StoreError> {
        let _changing = self.changing.lock().await;
        let mut known = self.known().as_ref().clone();
        let place =
            known.in_force.iter().position(|suspension| suspension.number == number && suspension.holds(now) && may_end(suspension));
        let Some(ended) = place.map(|place| known.in_force.remove(place)) else { return Ok(None) };
        // Also of a whole queue copies may bear the mark: those that were looked at for another suspension, or were leased before it began.
        let (owner, until) = (ended.owner.clone(), now.plus(self.limits().suspension_look));
        keep(store, vec![kept_as(number, Some(&Kept::Note { owner: owner.clone(), until }), until)]).await?;
        known.ended.push(Ended { number, owner, until });
        {
            // Whoever is about to mark copies has done it before, or sees that there is nothing to mark them for.
            let _nobody_marks = self.marking.write().await;
            *self.known.write() = Arc::new(known);
        }
        // Queues rest while they are suspended as a whole; of copies, the search for marks tells the store.
        if ended.selector.is_of_places() {
            self.changed.notify_one();
        }
        self.ended.notify_one();
        Ok(Some(ended))
    }

    /// All marks of a suspension that has ended are found.
    pub(super) async fn forget(&self, store: &dyn Store, number: u64) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        keep(store, vec![kept_as(number, None, Timestamp::NEVER)]).await?;
        let mut known = self.known().as_ref().clone();
        known.ended.retain(|ended| ended.number != number);
        *self.known.write() = Arc::new(known);
        Ok(())
    }

    /// Uses other limits from now on; what is suspended stays so.
    pub fn reconfigure(&self, limits: config::Queue) {
        *self.limits.write() = limits;
    }

    /// Returns the limits.
    pub fn limits(&self) -> config::Queue {
        *self.limits.read()
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().clone()
    }

    /// Returns those that hold at `now`.
    pub fn at(&self, now: Timestamp) -> Vec<Suspension> {
        self.known().in_force.iter().filter(|suspension| suspension.holds(now)).cloned().collect()
    }

    /// Returns the suspension of a whole queue, by its route and the domain that its name has.
    pub fn of_queue(&self, route: &str, domain: Option<&str>, now: Timestamp) -> Option<Suspension> {
        let known = self.known();
        if known.in_force.is_empty() {
            return None;
        }
        let domain = domain.and_then(|domain| Domain::parse(domain).ok()).map(|domain| ascii(&domain));
        let matches = |suspension: &&Suspension| {
            suspension.holds(now) && suspension.selector.is_of_places() && suspension.selector.matches_place(route, domain.as_deref())
        };
        known.in_force.iter().find(matches).cloned()
    }

    /// Whether copies have to be looked at one by one.
    pub fn any_of_copies(&self, now: Timestamp) -> bool {
        self.known().in_force.iter().any(|suspension| suspension.holds(now) && suspension.is_of_copies())
    }

    /// Whether what is known of messages must be read to tell.
    pub fn any_needs_entry(&self, now: Timestamp) -> bool {
        self.known().in_force.iter().any(|suspension| suspension.holds(now) && suspension.selector.needs_entry())
    }

    /// Returns the suspension of one copy.
    pub fn of_copy(&self, copy: Selected<'_>, now: Timestamp) -> Option<Suspension> {
        self.known().in_force.iter().find(|suspension| suspension.holds(now) && suspension.selector.matches(copy)).cloned()
    }

    /// To be held from before it is asked whether copies are suspended until their marks are in the store.
    pub async fn marking(&self) -> RwLockReadGuard<'_, ()> {
        self.marking.read().await
    }

    /// Completes when one of whole queues may have been ended since the last call; for one dispatcher.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the numbers of those that have ended, and whose marks may keep copies waiting at `now`.
    pub fn ended(&self, now: Timestamp) -> Vec<u64> {
        self.known().ended.iter().filter(|ended| now < ended.until).map(|ended| ended.number).collect()
    }

    /// Completes when one may have ended since the last call; for whoever looks for its marks.
    pub async fn one_ended(&self) {
        self.ended.notified().await;
    }
}

fn kept_as(number: u64, kept: Option<&Kept>, expires: Timestamp) -> ValueChange {
    let key = Bytes::copy_from_slice(&number.to_be_bytes());
    let value = kept.map(|kept| serde_json::to_vec(kept).expect("a plain value in memory").into());
    ValueChange { table: TABLE.into(), key, value, expires }
}

async fn keep(store: &dyn Store, values: Vec<ValueChange>) -> Result<(), StoreError> {
    store.commit(Batch { values, ..Batch::default() }).await
}

#[cfg(test)]
mod tests;
