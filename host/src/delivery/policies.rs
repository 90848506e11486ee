//! The MTA-STS policies of domains: fetched over HTTPS, kept as long as they hold (RFC 8461 §3.3 and §5.1).
//!
//! A policy that is kept goes on to hold where DNS or the web server fails: who can disturb these must not be able to turn protection off. For the same
//! reason a restart forgets none: they are in the store too, in the table [`TABLE`], each with the time of day when it ends. Kept are [`POLICIES`] at most,
//! and of these at most [`KEPT_SIZE`] octets each over a restart; a fetch that failed is not tried again for [`PAUSE`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use url::Url;

use super::mta_sts::{Mode, Policy, SIZE, policy_id};
use super::mx::ADDRESSES;
use crate::clock::Timestamp;
use crate::dns::{Dns, DnsError, RecordKind};
use crate::network::http_client::{Bounds, HttpClient, Outgoing};
use crate::store::{Batch, Store, StoreError, ValueChange};

/// Policies that are kept; with more, new ones are fetched each time.
const POLICIES: usize = 10_000;
/// The table of the store in which they are.
const TABLE: &str = "mta_sts";
/// Octets of a policy that the store keeps; larger ones are fetched again after a restart.
const KEPT_SIZE: usize = 16 * 1024;
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
}

/// What is known. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Of the record when the policy was fetched.
    id: String,
    policy: Option<Arc<Policy>>,
    /// How long the policy holds; without one, when it may be looked for again.
    until: Duration,
    /// No fetch before this time.
    pause: Duration,
    /// Why the last fetch failed.
    failure: Option<Arc<str>>,
    /// The store does not know it yet.
    changed: bool,
}

impl Policies {
    /// Returns the policy that `domain` has, with mode `enforce` or `testing`.
    pub(super) async fn policy(&self, dns: &dyn Dns, fetching: &Fetching, domain: &str, now: Duration) -> Standing {
        let kept = self.known.lock().get(domain).filter(|known| known.until > now || known.pause > now).cloned();
        let valid = kept.as_ref().filter(|known| known.until > now).and_then(|known| known.policy.clone());
        let texts = match dns.records(&format!("_mta-sts.{domain}"), RecordKind::Txt).await {
            Ok(texts) => texts,
            Err(DnsError::NoSuchName | DnsError::NoRecords) => Vec::new(),
            Err(DnsError::Unavailable(_)) => return Standing::of(valid, false),
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
        let valid = kept.as_ref().filter(|known| known.until > now).and_then(|known| known.policy.clone());
        // RFC 8461 §3.1: no record, no new policy; what is kept holds on.
        let Some(id) = policy_id(texts) else { return Standing::of(valid, true) };
        if let Some(kept) = &kept
            && (kept.pause > now || (kept.id == id && valid.is_some()))
        {
            // While a fetch is not tried again, what is kept may be out of date.
            let is_certain = kept.id == id && valid.is_some();
            return Standing::of(valid, is_certain).because(kept.failure.as_ref());
        }
        match fetch(dns, fetching, domain).await {
            Ok(policy) => {
                let policy = Arc::new(policy);
                let until = now.saturating_add(policy.max_age);
                self.keep(
                    domain,
                    Known { id: id.to_owned(), policy: Some(policy.clone()), until, pause: Duration::ZERO, failure: None, changed: true },
                    now,
                );
                Standing::of(Some(policy), true)
            }
            Err(reason) => {
                tracing::info!("the MTA-STS policy of {domain} cannot be fetched: {reason}");
                let pause = now.saturating_add(PAUSE);
                let failure = Some(reason.into());
                let standing = Standing::of(valid, false).because(failure.as_ref());
                let none = Known { id: String::new(), policy: None, until: Duration::ZERO, pause, failure: None, changed: false };
                self.keep(domain, Known { pause, failure, ..kept.unwrap_or(none) }, now);
                standing
            }
        }
    }

    fn keep(&self, domain: &str, known: Known, now: Duration) {
        let mut all = self.known.lock();
        if all.len() >= POLICIES {
            all.retain(|_, known| known.until > now || known.pause > now);
        }
        if all.len() < POLICIES || all.contains_key(domain) {
            all.insert(domain.to_owned(), known);
        }
    }

    /// Reads what was kept before the start.
    pub(super) async fn load(&self, store: &dyn Store, now: Timestamp, monotonic: Duration) -> Result<(), StoreError> {
        let values = store.values(TABLE, None, now, POLICIES).await?;
        let mut all = self.known.lock();
        for (key, value) in values {
            let read = str::from_utf8(&key).ok().zip(str::from_utf8(&value).ok().and_then(read_kept));
            if let Some((domain, (id, ends, policy))) = read
                && let left = ends.since(now).min(policy.max_age)
                && !left.is_zero()
            {
                let until = monotonic.saturating_add(left);
                let known = Known {
                    id: id.to_owned(),
                    policy: Some(Arc::new(policy)),
                    until,
                    pause: Duration::ZERO,
                    failure: None,
                    changed: false,
                };
                all.insert(domain.to_owned(), known);
            }
        }
        Ok(())
    }

    /// Writes down what was fetched since the last time.
    pub(super) async fn save(&self, store: &dyn Store, now: Timestamp, monotonic: Duration) -> Result<(), StoreError> {
        let changed: Vec<(String, Known)> = {
            let mut all = self.known.lock();
            let changed =
                |(domain, known): (&String, &mut Known)| std::mem::take(&mut known.changed).then(|| (domain.clone(), known.clone()));
            all.iter_mut().filter_map(changed).collect()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let value = |(domain, known): &(String, Known)| {
            let expires = now.plus(known.until.saturating_sub(monotonic));
            let text = write_kept(&known.id, expires, known.policy.as_deref()?);
            // A policy that is too large to be kept takes the place of an older one all the same.
            let value = (text.len() <= KEPT_SIZE).then(|| text.into());
            Some(ValueChange { table: TABLE.into(), key: Bytes::copy_from_slice(domain.as_bytes()), value, expires })
        };
        let values = changed.iter().filter_map(value).collect();
        let saved = store.commit(Batch { values, ..Batch::default() }).await;
        if saved.is_err() {
            let mut all = self.known.lock();
            for (domain, _) in &changed {
                if let Some(known) = all.get_mut(domain) {
                    known.changed = true;
                }
            }
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

    const TEXT: &[u8] = b"version: STSv1\nmode: enforce\nmx: mx.b.example\nmax_age: 86400\n";

    fn fetching() -> Fetching {
        Fetching { client: HttpClient::new(None), port: 1, private: true }
    }

    fn known(id: &str, policy: Option<Policy>, until: Duration) -> Known {
        Known { id: id.to_owned(), policy: policy.map(Arc::new), until, pause: Duration::ZERO, failure: None, changed: true }
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
        before.keep("b.example", known("7", Some(policy.clone()), clock.monotonic() + 24 * hour), clock.monotonic());
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
