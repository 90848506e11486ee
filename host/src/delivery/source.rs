//! From which address a connection is made: members of a pool by weight, those that are warmed up within the day's plan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::failure::Failure;
use super::notes::{self, Note, Notes};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::{self, Source, Sources, WarmUp};
use crate::store::{Store, StoreError, ValueChange};

/// The table of the store in which the day's counts are.
pub(super) const TABLE: &str = "warm_up";
/// Counts that are read at the start.
const COUNTS: usize = 10_000;
/// How long the store keeps a count: it is of one day, in any time zone.
const KEPT: Duration = Duration::from_hours(48);

/// Why there is no source to connect from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoSource {
    /// None of them can be used now.
    Failed(Failure),
    /// The plan of the day is fulfilled: mail waits, without having been tried.
    Waits {
        /// Why, for people.
        text: String,
        /// Until when.
        until: Timestamp,
    },
}

/// What is known about sources. Times are those of [`Clock::monotonic`].
#[derive(Debug, Default)]
pub(super) struct SourceBook {
    /// Sources of which no address could be bound, until when that is believed.
    unusable: Mutex<BTreeMap<Arc<str>, (Duration, Failure)>>,
    /// The same of single addresses: a source may have one of the other family.
    addresses: Mutex<BTreeMap<IpAddr, (Duration, Failure)>>,
    counts: Mutex<Notes<Arc<str>, Count>>,
}

/// What a source that is warmed up has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    /// On which day.
    day: u64,
    recipients: u32,
    /// What was to be sent next did not fit: the day is over for it.
    full: bool,
}

impl Note<Arc<str>> for Count {}

impl SourceBook {
    /// Returns the sources of a source or pool that can be used now, in the order in which they are to be tried; at least one.
    pub(super) fn order<'c>(
        &self,
        sources: &'c Sources,
        name: &str,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<Vec<(Arc<str>, &'c Source)>, NoSource> {
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let mut members = sources.members(name);
        let (mut waits, mut failed) = (None, None);
        members.retain(|member| {
            let failure =
                self.unusable.lock().get(&member.source).filter(|(until, _)| *until > monotonic).map(|(_, failure)| failure.clone());
            if let Some(failure) = failure {
                failed = Some(failure);
                return false;
            }
            let Some(warm_up) = sources.sources.get(&member.source).and_then(|source| source.warm_up.as_ref()) else { return true };
            match self.room(&member.source, warm_up, now) {
                Room::Some => true,
                Room::None { sent, limit } => {
                    let text = format!(
                        "the warm-up plan of source \"{}\" has {limit} recipients for today, and {sent} had their turn",
                        member.source
                    );
                    waits = Some(NoSource::Waits { text, until: config::next_day(now) });
                    false
                }
            }
        });
        let mut order = Vec::with_capacity(members.len());
        while !members.is_empty() {
            let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
            let mut dice = u64::from_be_bytes(entropy.array()) % total.max(1);
            let chosen = members.iter().position(|member| {
                let hit = dice < u64::from(member.weight);
                dice = dice.saturating_sub(u64::from(member.weight));
                hit
            });
            let member = members.swap_remove(chosen.unwrap_or_default());
            if let Some(source) = sources.sources.get(&member.source) {
                order.push((member.source, source));
            }
        }
        if !order.is_empty() {
            return Ok(order);
        }
        // An address that cannot be bound may be mended soon; a plan cannot.
        Err(match (failed, waits) {
            (Some(failure), _) => NoSource::Failed(failure),
            (None, Some(waits)) => waits,
            (None, None) => NoSource::Failed(Failure::transient((3, 5), format!("the configuration has no source or pool \"{name}\""))),
        })
    }

    fn room(&self, source: &Arc<str>, warm_up: &WarmUp, now: Timestamp) -> Room {
        let Some(limit) = warm_up.limit(now) else { return Room::Some };
        let count = self.counts.lock().get(source).copied().filter(|count| count.day == config::day(now)).unwrap_or_default();
        if count.recipients < limit && !count.full { Room::Some } else { Room::None { sent: count.recipients, limit } }
    }

    /// Takes `recipients` off what a source may send today; `false` where that is more than there is. One transaction that is larger than the whole day's
    /// plan goes through as the first of a day: else it never would.
    pub(super) fn take(&self, name: &Arc<str>, source: &Source, recipients: usize, now: Timestamp) -> bool {
        let Some(limit) = source.warm_up.as_ref().and_then(|plan| plan.limit(now)) else { return true };
        let (recipients, day) = (u32::try_from(recipients).unwrap_or(u32::MAX), config::day(now));
        let mut counts = self.counts.lock();
        let count = counts.get(name).copied().filter(|count| count.day == day).unwrap_or(Count { day, ..Count::default() });
        let sum = count.recipients.saturating_add(recipients);
        let fits = limit > 0 && (sum <= limit || count.recipients == 0);
        let after = if fits { Count { recipients: sum, ..count } } else { Count { full: true, ..count } };
        if after != count {
            counts.insert(Arc::clone(name), after);
        }
        fits
    }

    /// An address could not be bound. Says so in the log, once for each time.
    pub(super) fn address_unusable(&self, address: IpAddr, failure: &Failure, now: Duration, until: Duration) {
        let before = self.addresses.lock().insert(address, (until, failure.clone()));
        if before.is_none_or(|(until, _)| until <= now) {
            tracing::warn!(%address, "mail cannot leave from this address: {}", failure.text);
        }
    }

    /// Returns why an address cannot be bound, if that is to be believed still.
    pub(super) fn address_failure(&self, address: IpAddr, now: Duration) -> Option<Failure> {
        self.addresses.lock().get(&address).filter(|(until, _)| *until > now).map(|(_, failure)| failure.clone())
    }

    /// No address of a source could be bound. Says so in the log, once for each time.
    pub(super) fn unusable(&self, name: &Arc<str>, failure: &Failure, now: Duration, until: Duration) {
        let before = self.unusable.lock().insert(Arc::clone(name), (until, failure.clone()));
        if before.is_none_or(|(until, _)| until <= now) {
            tracing::warn!(source = %name, "mail cannot leave from this source: {}", failure.text);
        }
    }

    /// Reads what was counted before the start.
    pub(super) async fn load(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let values = store.values(TABLE, None, now, COUNTS).await?;
        let mut counts = self.counts.lock();
        for (key, value) in values {
            let name = str::from_utf8(&key).ok();
            let numbers = str::from_utf8(&value).ok().and_then(|text| text.split_once(' '));
            if let (Some(name), Some((day, recipients))) = (name, numbers)
                && let (Ok(day), Ok(recipients)) = (day.parse(), recipients.parse())
            {
                counts.restore(name.into(), Count { day, recipients, ..Count::default() });
            }
        }
        Ok(())
    }

    /// Writes down what was counted since the last time.
    pub(super) async fn save(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let write = |name: &Arc<str>, count: Option<&Count>| ValueChange {
            table: TABLE.into(),
            key: Bytes::copy_from_slice(name.as_bytes()),
            value: count.map(|count| format!("{} {}", count.day, count.recipients).into()),
            expires: now.plus(KEPT),
        };
        let (names, values) = self.counts.lock().take_unsaved(write);
        let saved = notes::commit(store, values).await;
        if saved.is_err() {
            self.counts.lock().not_saved(names);
        }
        saved
    }
}

enum Room {
    Some,
    None { sent: u32, limit: u32 },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::config::Member;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn sources(plan: &[u32]) -> Sources {
        let source = |v4: &str, plan: &[u32]| Source {
            v4: Some(v4.parse().unwrap()),
            v6: None,
            hostname: None,
            warm_up: (!plan.is_empty()).then(|| WarmUp { start: 10, plan: plan.to_vec() }),
        };
        let member = |name: &str, weight| Member { source: name.into(), weight };
        Sources {
            sources: BTreeMap::from([("new".into(), source("192.0.2.1", plan)), ("old".into(), source("192.0.2.2", &[]))]),
            pools: BTreeMap::from([("both".into(), vec![member("new", 1_000_000), member("old", 1)])]),
            rules: Vec::new(),
        }
    }

    fn names(order: Result<Vec<(Arc<str>, &Source)>, NoSource>) -> String {
        match order {
            Ok(order) => order.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(" "),
            Err(NoSource::Failed(failure)) => failure.to_string(),
            Err(NoSource::Waits { text, until }) => format!("{text}; {}", until.as_millis()),
        }
    }

    #[test]
    fn the_surplus_of_a_day_leaves_from_another_source_or_waits() {
        let (sources, book, entropy) = (sources(&[2, 3]), SourceBook::default(), Entropy::seeded(1));
        let clock = Clock::manual(Timestamp::from_millis(10 * DAY));
        let new: Arc<str> = "new".into();
        let source = sources.sources.get("new").unwrap();
        assert_eq!(names(book.order(&sources, "both", &clock, &entropy)), "new old");
        assert!(book.take(&new, source, 1, clock.now()) && book.take(&new, source, 1, clock.now()));
        assert_eq!(names(book.order(&sources, "both", &clock, &entropy)), "old");
        assert!(!book.take(&new, source, 1, clock.now()));
        let expected = format!("the warm-up plan of source \"new\" has 2 recipients for today, and 2 had their turn; {}", 11 * DAY);
        assert_eq!(names(book.order(&sources, "new", &clock, &entropy)), expected);
        // The next day has three, and what does not fit ends the day.
        clock.advance(Duration::from_hours(24));
        assert!(book.take(&new, source, 2, clock.now()) && !book.take(&new, source, 2, clock.now()));
        assert_eq!(names(book.order(&sources, "both", &clock, &entropy)), "old");
        // Then the plan is over.
        clock.advance(Duration::from_hours(24));
        assert!(book.take(&new, source, 1_000_000, clock.now()));
        assert_eq!(names(book.order(&sources, "new", &clock, &entropy)), "new");
    }

    #[test]
    fn a_transaction_larger_than_the_plan_goes_first_on_a_day() {
        let (sources, book) = (sources(&[2, 2]), SourceBook::default());
        let (new, source, now) = ("new".into(), sources.sources.get("new").unwrap(), Timestamp::from_millis(10 * DAY));
        assert!(book.take(&new, source, 5, now));
        assert!(!book.take(&new, source, 1, now));
        assert!(!book.take(&new, source, 1, Timestamp::from_millis(9 * DAY)), "it has not begun");
    }

    #[test]
    fn a_source_that_cannot_be_bound_is_left_alone_for_a_time() {
        let (sources, book, entropy) = (sources(&[]), SourceBook::default(), Entropy::seeded(1));
        let clock = Clock::manual(Timestamp::from_millis(0));
        let second = Duration::from_secs(1);
        book.unusable(&"new".into(), &Failure::transient((3, 5), "cannot bind"), clock.monotonic(), clock.monotonic() + 30 * second);
        assert_eq!(names(book.order(&sources, "both", &clock, &entropy)), "old");
        assert_eq!(names(book.order(&sources, "new", &clock, &entropy)), "4.3.5 cannot bind");
        assert_eq!(names(book.order(&sources, "gone", &clock, &entropy)), "4.3.5 the configuration has no source or pool \"gone\"");
        clock.advance(30 * second);
        assert_eq!(names(book.order(&sources, "new", &clock, &entropy)), "new");
    }

    #[test]
    fn weights_are_shares() {
        let (mut sources, book, entropy) = (sources(&[]), SourceBook::default(), Entropy::seeded(1));
        let member = |name: &str, weight| Member { source: name.into(), weight };
        sources.pools.insert("both".into(), vec![member("new", 3), member("old", 1)]);
        let clock = Clock::manual(Timestamp::from_millis(0));
        let hits = (0..1000).filter(|_| names(book.order(&sources, "both", &clock, &entropy)).starts_with("new")).count();
        assert!((690..810).contains(&hits), "{hits}");
    }
}
