//! The MTA-STS policies of domains: fetched over HTTPS, kept in memory as long as they hold (RFC 8461 §3.3 and §5.1).
//!
//! A policy that is kept goes on to hold where DNS or the web server fails: who can disturb these must not be able to turn protection off. Kept are
//! [`POLICIES`] at most; a fetch that failed is not tried again for [`PAUSE`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use url::Url;

use super::mta_sts::{Mode, Policy, SIZE, policy_id};
use super::mx::ADDRESSES;
use crate::dns::{Dns, DnsError, RecordKind};
use crate::network::http_client::{Bounds, HttpClient, Outgoing};

/// Policies that are kept; with more, new ones are fetched each time.
const POLICIES: usize = 10_000;
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
        // RFC 8461 §3.1: no record, no new policy; what is kept holds on.
        let Some(id) = policy_id(&texts) else { return Standing::of(valid, true) };
        if let Some(kept) = &kept
            && (kept.pause > now || (kept.id == id && valid.is_some()))
        {
            let is_certain = valid.is_some();
            return Standing::of(valid, is_certain);
        }
        match fetch(dns, fetching, domain).await {
            Ok(policy) => {
                let policy = Arc::new(policy);
                let until = now.saturating_add(policy.max_age);
                self.keep(domain, Known { id: id.to_owned(), policy: Some(policy.clone()), until, pause: Duration::ZERO }, now);
                Standing::of(Some(policy), true)
            }
            Err(reason) => {
                tracing::info!("the MTA-STS policy of {domain} cannot be fetched: {reason}");
                let pause = now.saturating_add(PAUSE);
                let known = kept.unwrap_or(Known { id: String::new(), policy: None, until: Duration::ZERO, pause });
                self.keep(domain, Known { pause, ..known }, now);
                Standing::of(valid, false)
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
}

/// What is known of a domain's policy.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// This one is in force.
    Policy(Arc<Policy>),
    /// It has none.
    None,
    /// It cannot be found out now.
    Unknown,
}

impl Standing {
    /// Of the policy that counts, where there is one; `is_certain` is whether the domain was heard.
    fn of(policy: Option<Arc<Policy>>, is_certain: bool) -> Self {
        match policy {
            Some(policy) if policy.mode == Mode::None => Self::None,
            Some(policy) => Self::Policy(policy),
            None if is_certain => Self::None,
            None => Self::Unknown,
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
