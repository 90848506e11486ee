//! The MTA-STS policies of domains: fetched over HTTPS, kept as long as they hold (RFC 8461 §3.3 and §5.1).
//!
//! A policy that is kept goes on to hold where DNS or the web server fails: who can disturb these must not be able to turn protection off. For the same
//! reason a restart forgets none: they are in the store too, in the table [`TABLE`], each with the time of day when it ends. And for the same reason one is
//! fetched again long before it ends, whether its id has changed or not: who wants to outlast it has to disturb all the time. A fetch that failed is not
//! tried again for [`PAUSE`].
//!
//! Kept are [`POLICIES`] at most: for one more, that which ends first goes. Together they have `delivery.mta_sts_memory` at most: for more, the largest goes,
//! so that whoever publishes some that are large pushes out his own, and not the many small ones that others have. Of each, at most [`KEPT_SIZE`] octets are
//! kept over a restart.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use url::Url;

use super::mta_sts::{Mode, Policy, SIZE, policy_id};
use super::mx::ADDRESSES;
use super::notes::{self, Note, Notes};
use crate::clock::Timestamp;
use crate::config::unit::ByteSize;
use crate::dns::{Dns, DnsError, RecordKind};
use crate::network::http_client::{Bounds, HttpClient, Outgoing};
use crate::store::{Store, StoreError, ValueChange};

/// Policies that are kept; for one more, that which ends first goes.
const POLICIES: usize = 10_000;
/// Domains whose fetch failed, likewise.
const FAILURES: usize = 10_000;
/// When a policy that still holds is fetched again: after this time, or half of its own if that is less.
const REFRESH: Duration = Duration::from_hours(24);
/// The table of the store in which they are.
const TABLE: &str = "mta_sts";
/// Octets of a policy that the store keeps; larger ones are fetched again after a restart.
const KEPT_SIZE: usize = 16 * 1024;
/// Octets that each policy has beside its texts, about.
const FIXED: usize = 256;
/// Octets of why a fetch failed.
const REASON: usize = 300;
/// The time between two lines of the log that say that policies had to go.
const SILENCE: Duration = Duration::from_hours(1);
/// How long a fetch may take.
const TIME: Duration = Duration::from_secs(10);
/// How long a fetch that failed is not tried again (RFC 8461 §3.3).
const PAUSE: Duration = Duration::from_mins(5);

/// How a route fetches policies.
#[derive(Clone)]
pub(super) struct Fetching {
    pub(super) client: HttpClient,
    /// 443, but for tests.
    pub(super) port: u16,
    /// Whether loopback and private addresses may be reached.
    pub(super) private: bool,
    /// What the policies that are kept may have together, of all routes.
    pub(super) memory: ByteSize,
}

/// What is known. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: Mutex<Table>,
    /// Fetches that failed: until when they are not tried again, and why.
    failed: Mutex<BTreeMap<String, (Duration, Arc<str>)>>,
}

#[derive(Debug, Default)]
struct Table {
    policies: Notes<String, Known>,
    /// Before this time the log says no more that policies had to go.
    silent_until: Duration,
}

impl Table {
    /// Makes room for one more of so many octets: what is over goes, and then what has to.
    fn make_room(&mut self, octets: usize, memory: ByteSize, now: Duration) {
        let memory = usize::try_from(memory.0).unwrap_or(usize::MAX);
        let is_full = |table: &Self| table.policies.len() >= POLICIES || table.policies.octets().saturating_add(octets) > memory;
        if !is_full(self) {
            return;
        }
        let over: Vec<String> = self.policies.iter().filter(|(_, known)| known.until <= now).map(|(domain, _)| domain.clone()).collect();
        for domain in over {
            self.policies.take(&domain);
        }
        while is_full(self) {
            let of_count = self.policies.len() >= POLICIES;
            let rank = |(domain, known): &(&String, &Known)| (if of_count { 0 } else { known.octets(domain) }, Reverse(known.until));
            let Some(domain) = self.policies.iter().max_by_key(rank).map(|(domain, _)| domain.clone()) else { return };
            self.policies.remove(&domain);
            if now >= self.silent_until {
                self.silent_until = now.saturating_add(SILENCE);
                tracing::warn!(
                    policies = self.policies.len(),
                    octets = self.policies.octets(),
                    "the MTA-STS policy of {domain} goes before its end: there is no room for all, see delivery.mta_sts_memory"
                );
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Known {
    /// Of the record when the policy was fetched.
    id: String,
    policy: Arc<Policy>,
    /// How long the policy holds.
    until: Duration,
    /// From when on it is fetched again all the same.
    refresh: Duration,
}

impl Known {
    /// A policy that holds until `until`; its age follows from that.
    fn new(id: &str, policy: Arc<Policy>, until: Duration) -> Self {
        let refresh = until.saturating_add(REFRESH.min(policy.max_age / 2)).saturating_sub(policy.max_age);
        Self { id: id.to_owned(), policy, until, refresh }
    }
}

impl Note<String> for Known {
    fn octets(&self, domain: &String) -> usize {
        FIXED + domain.len() + self.id.len() + self.policy.mx.iter().map(|name| name.len() + size_of::<String>()).sum::<usize>()
    }
}

impl Policies {
    /// Returns the policy that `domain` has, with mode `enforce` or `testing`.
    pub(super) async fn policy(&self, dns: &dyn Dns, fetching: &Fetching, domain: &str, now: Duration) -> Standing {
        let kept = self.known.lock().policies.get(domain).filter(|known| known.until > now).cloned();
        let texts = match dns.records(&format!("_mta-sts.{domain}"), RecordKind::Txt).await {
            Ok(texts) => texts,
            Err(DnsError::NoSuchName | DnsError::NoRecords) => Vec::new(),
            Err(DnsError::Unavailable(_)) => return Standing::of(kept.map(|known| known.policy), false),
        };
        self.standing(dns, fetching, domain, now, kept, &texts).await
    }

    /// The same, once it is known what `_mta-sts` says.
    async fn standing(
        &self,
        dns: &dyn Dns,
        fetching: &Fetching,
        domain: &str,
        now: Duration,
        kept: Option<Known>,
        texts: &[String],
    ) -> Standing {
        // RFC 8461 §3.1: no record, no new policy; what is kept holds on.
        let Some(id) = policy_id(texts) else { return Standing::of(kept.map(|known| known.policy), true) };
        // Of another id, what is kept may be out of date while the new one cannot be fetched.
        let is_certain = kept.as_ref().is_some_and(|known| known.id == id);
        let is_fresh = is_certain && kept.as_ref().is_some_and(|known| known.refresh > now);
        let valid = kept.map(|known| known.policy);
        if is_fresh {
            return Standing::of(valid, true);
        }
        let failure = self.failed.lock().get(domain).filter(|(until, _)| *until > now).map(|(_, why)| Arc::clone(why));
        if failure.is_some() {
            return Standing::of(valid, is_certain).because(failure.as_ref());
        }
        match fetch(dns, fetching, domain).await {
            Ok(policy) => Standing::of(Some(self.fetched(domain, id, policy, fetching.memory, now)), true),
            Err(mut reason) => {
                reason.truncate(reason.floor_char_boundary(REASON));
                tracing::info!("the MTA-STS policy of {domain} cannot be fetched: {reason}");
                let failure: Arc<str> = reason.into();
                self.pause(domain, Arc::clone(&failure), now);
                Standing::of(valid, is_certain).because(Some(&failure))
            }
        }
    }

    /// Keeps a policy from now on.
    fn fetched(&self, domain: &str, id: &str, policy: Policy, memory: ByteSize, now: Duration) -> Arc<Policy> {
        let policy = Arc::new(policy);
        self.failed.lock().remove(domain);
        let known = Known::new(id, Arc::clone(&policy), now.saturating_add(policy.max_age));
        let domain = domain.to_owned();
        let mut table = self.known.lock();
        // Another one in the place of its own takes no room from others.
        table.policies.take(&domain);
        table.make_room(known.octets(&domain), memory, now);
        table.policies.insert(domain, known);
        policy
    }

    /// Fetches nothing of this domain for a while.
    fn pause(&self, domain: &str, failure: Arc<str>, now: Duration) {
        let mut failed = self.failed.lock();
        if !failed.contains_key(domain) && failed.len() >= FAILURES {
            failed.retain(|_, (until, _)| *until > now);
            if failed.len() >= FAILURES
                && let Some(first) = failed.iter().min_by_key(|(_, (until, _))| *until).map(|(domain, _)| domain.clone())
            {
                failed.remove(&first);
            }
        }
        failed.insert(domain.to_owned(), (now.saturating_add(PAUSE), failure));
    }

    /// Reads what was kept before the start.
    pub(super) async fn load(&self, store: &dyn Store, now: Timestamp, monotonic: Duration) -> Result<(), StoreError> {
        let values = store.values(TABLE, None, now, POLICIES).await?;
        let mut table = self.known.lock();
        for (key, value) in values {
            let read = str::from_utf8(&key).ok().zip(str::from_utf8(&value).ok().and_then(read_kept));
            if let Some((domain, (id, ends, policy))) = read
                && let left = ends.since(now).min(policy.max_age)
                && !left.is_zero()
            {
                let until = monotonic.saturating_add(left);
                table.policies.restore(domain.to_owned(), Known::new(id, Arc::new(policy), until));
            }
        }
        Ok(())
    }

    /// Writes down what was fetched since the last time.
    pub(super) async fn save(&self, store: &dyn Store, now: Timestamp, monotonic: Duration) -> Result<(), StoreError> {
        let write = |domain: &String, known: Option<&Known>| {
            let expires = known.map_or(now, |known| now.plus(known.until.saturating_sub(monotonic)));
            let text = known.map(|known| write_kept(&known.id, expires, &known.policy));
            // A policy that is too large to be kept takes the place of an older one all the same.
            let value = text.filter(|text| text.len() <= KEPT_SIZE).map(Bytes::from);
            ValueChange { table: TABLE.into(), key: Bytes::copy_from_slice(domain.as_bytes()), value, expires }
        };
        let (domains, values) = self.known.lock().policies.take_unsaved(write);
        let saved = notes::commit(store, values).await;
        if saved.is_err() {
            self.known.lock().policies.not_saved(domains);
        }
        saved
    }
}

/// How the store keeps a policy: its id and the time of day when it ends, in milliseconds since 1970, and behind that line the policy as it is published.
fn write_kept(id: &str, ends: Timestamp, policy: &Policy) -> String {
    format!("{id} {}\n{}", ends.as_millis(), policy.to_text())
}

fn read_kept(text: &str) -> Option<(&str, Timestamp, Policy)> {
    let (head, policy) = text.split_once('\n')?;
    let (id, ends) = head.split_once(' ')?;
    Some((id, Timestamp::from_millis(ends.parse().ok()?), Policy::parse(policy.as_bytes()).ok()?))
}

/// What is known of a domain's policy.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// This one is in force.
    Policy {
        /// It.
        policy: Arc<Policy>,
        /// The domain has no other by now, as far as can be known.
        is_certain: bool,
    },
    /// It has none.
    None,
    /// It cannot be found out now.
    Unknown,
    /// It publishes one that cannot be fetched; why.
    Unfetched(Arc<str>),
}

impl Standing {
    /// Of the policy that counts, where there is one; `is_certain` is whether the domain was heard.
    fn of(policy: Option<Arc<Policy>>, is_certain: bool) -> Self {
        match policy {
            Some(policy) if policy.mode == Mode::None && is_certain => Self::None,
            Some(policy) if policy.mode == Mode::None => Self::Unknown,
            Some(policy) => Self::Policy { policy, is_certain },
            None if is_certain => Self::None,
            None => Self::Unknown,
        }
    }

    /// The same, where a fetch that failed is why nothing is known.
    fn because(self, failure: Option<&Arc<str>>) -> Self {
        match (self, failure) {
            (Self::Unknown, Some(failure)) => Self::Unfetched(Arc::clone(failure)),
            (standing, _) => standing,
        }
    }
}

/// Fetches the policy; only with a certificate that is valid for the host, only to addresses that mail may go to, without redirects.
async fn fetch(dns: &dyn Dns, fetching: &Fetching, domain: &str) -> Result<Policy, String> {
    let host = format!("mta-sts.{domain}");
    let mut addresses: Vec<IpAddr> = dns.addresses(&host).await.map_err(|error| format!("{host}: {error}"))?;
    addresses.truncate(ADDRESSES);
    let url = Url::parse(&format!("https://{host}:{}/.well-known/mta-sts.txt", fetching.port)).map_err(|error| error.to_string())?;
    let what = Outgoing { method: "GET".to_owned(), url, headers: Vec::new(), body: Bytes::new() };
    let bounds = Bounds { time: TIME, size: SIZE, private: fetching.private };
    let answer = fetching.client.send_to(what, bounds, &addresses).await.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("{host} answers {}", answer.status));
    }
    // RFC 8461 §3.3: so that users of a web host cannot put one up.
    let kind = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| value.as_str());
    let is_text = |kind: &str| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain"));
    if !kind.is_some_and(is_text) {
        return Err(format!("what {host} answers is not text/plain"));
    }
    Policy::parse(&answer.body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Clock;
    use crate::delivery::tests::memory::MemoryStore;
    use crate::dns::zone::Zone;

    const MEMORY: ByteSize = ByteSize::mib(16);
    const TEXT: &[u8] = b"version: STSv1\nmode: enforce\nmx: mx.b.example\nmax_age: 86400\n";

    fn fetching() -> Fetching {
        Fetching { client: HttpClient::new(None), port: 1, private: true, memory: MEMORY }
    }

    async fn said(policies: &Policies, zone: &Zone, now: Duration) -> String {
        match policies.policy(zone, &fetching(), "b.example", now).await {
            Standing::Policy { policy, is_certain } => format!("{:?} {is_certain}", policy.mode),
            Standing::None => "none".to_owned(),
            Standing::Unknown => "unknown".to_owned(),
            Standing::Unfetched(why) => format!("not fetched: {why}"),
        }
    }

    #[tokio::test]
    async fn a_restart_forgets_no_policy_before_its_time() {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let (store, before) = (MemoryStore::new(clock.clone()), Policies::default());
        let policy = Policy::parse(TEXT).unwrap();
        let hour = Duration::from_hours(1);
        before.fetched("b.example", "7", policy, MEMORY, clock.monotonic());
        before.save(&store, clock.now(), clock.monotonic()).await.unwrap();
        // Nothing has changed, nothing is written.
        before.save(&store, clock.now(), clock.monotonic()).await.unwrap();
        clock.advance(23 * hour);
        let after = Policies::default();
        after.load(&store, clock.now(), clock.monotonic()).await.unwrap();
        // The domain says nothing more, or cannot be asked: what is kept holds.
        assert_eq!(said(&after, &Zone::default(), clock.monotonic()).await, "Enforce true");
        let broken = Zone::default().broken("_mta-sts.b.example");
        assert_eq!(said(&after, &broken, clock.monotonic()).await, "Enforce false");
        clock.advance(2 * hour);
        assert_eq!(said(&after, &Zone::default(), clock.monotonic()).await, "none");
        let later = Policies::default();
        later.load(&store, clock.now(), clock.monotonic()).await.unwrap();
        assert_eq!(said(&later, &broken, clock.monotonic()).await, "unknown");
        let published = Zone::default().txt("_mta-sts.b.example", "v=STSv1; id=8;");
        for _ in 0..2 {
            let why = "not fetched: mta-sts.b.example: the domain does not exist";
            assert_eq!(said(&later, &published, clock.monotonic()).await, why);
        }
    }

    #[tokio::test]
    async fn a_policy_is_fetched_again_long_before_it_ends() {
        let (policies, policy, hour) = (Policies::default(), Policy::parse(TEXT).unwrap(), Duration::from_hours(1));
        policies.fetched("b.example", "7", policy.clone(), MEMORY, 100 * hour);
        // No web server answers.
        let published = Zone::default().txt("_mta-sts.b.example", "v=STSv1; id=7;");
        let tried = || policies.failed.lock().get("b.example").map(|(until, _)| until.saturating_sub(PAUSE));
        for (at, attempt) in [(111 * hour, None), (113 * hour, Some(113 * hour)), (113 * hour + PAUSE / 2, Some(113 * hour))] {
            assert_eq!((said(&policies, &published, at).await.as_str(), tried()), ("Enforce true", attempt));
        }
        assert_eq!(said(&policies, &published, 123 * hour).await, "Enforce true");
        assert_eq!(tried(), Some(123 * hour));
        // The same id, and a day more.
        policies.fetched("b.example", "7", policy, MEMORY, 123 * hour);
        assert_eq!((said(&policies, &published, 134 * hour).await.as_str(), tried()), ("Enforce true", None));
        assert_eq!(said(&policies, &Zone::default(), 146 * hour).await, "Enforce true");
        assert_eq!(said(&policies, &Zone::default(), 147 * hour).await, "none");
        // One that holds for long is looked at every day, also where it was read from the store.
        let policy = Arc::new(Policy { max_age: 1000 * hour, ..Policy::parse(TEXT).unwrap() });
        assert_eq!(Known::new("7", policy, 1100 * hour).refresh, 124 * hour);
    }

    #[tokio::test]
    async fn what_ends_first_makes_room() {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let (store, policies, policy) = (MemoryStore::new(clock.clone()), Policies::default(), Policy::parse(TEXT).unwrap());
        let (now, second) = (clock.monotonic(), Duration::from_secs(1));
        policies.fetched("first.example", "7", policy.clone(), MEMORY, now);
        policies.save(&store, clock.now(), now).await.unwrap();
        for number in 0..FAILURES.max(POLICIES) {
            policies.pause(&format!("{number}.example"), "of a test".into(), now);
            policies.fetched(&format!("{number}.b.example"), "7", policy.clone(), MEMORY, now + second);
        }
        policies.pause("last.example", "of a test".into(), now + second);
        let count = policies.failed.lock().len();
        assert!(count == FAILURES && policies.failed.lock().contains_key("last.example"));
        let count = policies.known.lock().policies.len();
        assert!(count == POLICIES && policies.known.lock().policies.get("first.example").is_none());
        policies.save(&store, clock.now(), now).await.unwrap();
        let kept = store.values(TABLE, None, clock.now(), 2 * POLICIES).await.unwrap();
        assert!(kept.len() == POLICIES && kept.iter().all(|(key, _)| key != "first.example"));
    }

    #[tokio::test]
    async fn the_largest_makes_room_where_all_together_have_too_many_octets() {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let (store, policies, now) = (MemoryStore::new(clock.clone()), Policies::default(), clock.monotonic());
        let memory = ByteSize(100 * 1024);
        let of = |size: usize, count: usize, age: u64| {
            let mx = (0..count).map(|number| format!("{number:0size$}.example")).collect();
            Policy { mode: Mode::Enforce, max_age: Duration::from_secs(age), mx }
        };
        let bounded = |table: &Table| {
            let sum: usize = table.policies.iter().map(|(domain, known)| known.octets(domain)).sum();
            let counted = table.policies.octets();
            assert!(counted == sum && sum <= 100 * 1024, "{counted} is not {sum}");
        };
        for number in 0..100 {
            policies.fetched(&format!("small{number}.example"), "1", of(1, 2, 60), memory, now);
        }
        policies.save(&store, clock.now(), now).await.unwrap();
        for number in 0..100 {
            policies.fetched(&format!("large{number}.example"), "1", of(200, 100, 600), memory, now);
            bounded(&policies.known.lock());
        }
        {
            let table = policies.known.lock();
            let small = table.policies.iter().filter(|(domain, _)| domain.starts_with("small")).count();
            assert!(small == 100 && table.policies.get("large99.example").is_some(), "{small}");
        }
        // Another one in the place of its own takes no room from others.
        let count = policies.known.lock().policies.len();
        policies.fetched("large99.example", "2", of(200, 100, 600), memory, now);
        assert_eq!(policies.known.lock().policies.len(), count);
        policies.save(&store, clock.now(), now).await.unwrap();
        let after = Policies::default();
        after.load(&store, clock.now(), now).await.unwrap();
        bounded(&after.known.lock());
        // What is over goes before what is not.
        let later = now + Duration::from_mins(1);
        policies.fetched("last.example", "1", of(200, 100, 600), memory, later);
        let table = policies.known.lock();
        bounded(&table);
        assert!(table.policies.get("large99.example").is_some() && table.policies.get("small1.example").is_none());
    }

    #[test]
    fn what_is_kept_reads_back() {
        let policy = Policy::parse(b"version: STSv1\nmode: testing\nmx: a.example\nmx: *.b.example\nmax_age: 60\n").unwrap();
        let (id, ends, read) = ("20261126T000000", Timestamp::from_millis(5), policy.clone());
        let text = write_kept(id, ends, &policy);
        assert_eq!(read_kept(&text), Some((id, ends, read)));
        for wrong in ["", "id", "id 5", "id x\nversion: STSv1", "id 5\nversion: STSv2"] {
            assert_eq!(read_kept(wrong), None, "{wrong}");
        }
    }
}
