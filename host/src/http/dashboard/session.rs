//! Who may look at the dashboard: a password, then a cookie that names a session of this process.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, RwLock};

use crate::clock::{Entropy, Timestamp};
use crate::config::secret::verify_password;
use crate::config::unit::Secret;
use crate::config::{self, IpNetwork};

/// Name of the cookie.
const COOKIE: &str = "tubepost_session";
/// Takes it away.
pub(super) const NO_COOKIE: &str = "tubepost_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0";
/// Sessions at once; the one that ends first makes room.
const MOST_SESSIONS: usize = 1000;
/// Wrong passwords in [`FAILURE_TIME`] after which a client is not heard until it is over.
const MOST_FAILURES: u32 = 20;
/// The same of all clients together: nobody gets to guess much by having many addresses, and nobody keeps the operator out from a few.
const MOST_FAILURES_IN_ALL: u32 = 1000;
const FAILURE_TIME: Duration = Duration::from_mins(1);
/// Octets of a password.
const LONGEST_PASSWORD: usize = 1024;

/// Decides who may look. Clones share their sessions.
#[derive(Clone)]
pub struct Access {
    settings: Arc<RwLock<config::Dashboard>>,
    demonstration: bool,
    state: Arc<Mutex<Sessions>>,
    /// One hash is computed at a time: it takes memory and a processor on purpose.
    hashing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Sessions {
    /// Hash of the cookie's value → end. What stands here opens nothing.
    ends: HashMap<blake3::Hash, Timestamp>,
    failures: Failures,
}

/// Passwords that were wrong, or of which it is not known yet. Begun anew after each [`FAILURE_TIME`], so that nothing grows.
#[derive(Default)]
struct Failures {
    since: Timestamp,
    in_all: u32,
    by_client: HashMap<IpNetwork, u32>,
}

/// What comes of a password.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is right: a `Set-Cookie` value, to which `Secure` may be added.
    Right(String),
    /// It is wrong.
    Wrong,
    /// Too many were wrong lately; this one was not looked at.
    TooMany,
}

impl Access {
    /// By the configuration. In demonstration mode everybody may look who reaches the server under a name of this machine.
    pub fn new(dashboard: &config::Dashboard, demonstration: bool) -> Self {
        Self { settings: Arc::new(RwLock::new(dashboard.clone())), demonstration, state: Arc::default(), hashing: Arc::default() }
    }

    /// Takes over another configuration. Another password ends all sessions: whoever has one knew the old one.
    pub fn replace(&self, dashboard: &config::Dashboard) {
        let mut settings = self.settings.write();
        if settings.password != dashboard.password {
            self.state.lock().ends.clear();
        }
        settings.clone_from(dashboard);
    }

    /// Everybody may look.
    pub fn is_demonstration(&self) -> bool {
        self.demonstration
    }

    /// Nobody may look: there is no password.
    pub fn is_closed(&self) -> bool {
        !self.demonstration && self.settings.read().password.is_none()
    }

    /// Whether the headers hold the cookie of a session.
    pub fn knows(&self, headers: &HeaderMap, now: Timestamp) -> bool {
        if self.demonstration {
            return true;
        }
        let Some(key) = cookie(headers).map(|value| blake3::hash(value.as_bytes())) else { return false };
        let mut state = self.state.lock();
        match state.ends.get(&key) {
            Some(end) if *end > now => true,
            Some(_) => {
                state.ends.remove(&key);
                false
            }
            None => false,
        }
    }

    /// Checks a password that came from the address `client`, and begins a session.
    pub async fn log_in(&self, password: String, client: IpAddr, now: Timestamp, entropy: &Entropy) -> Attempt {
        let client = IpNetwork::of_client(client);
        let Some(hash) = self.settings.read().password.clone() else { return Attempt::Wrong };
        if password.len() > LONGEST_PASSWORD {
            return Attempt::Wrong;
        }
        // Counted before it is known to be wrong: waiting attempts count too.
        if !self.state.lock().failures.may_try(client, now) {
            return Attempt::TooMany;
        }
        let one_at_a_time = self.hashing.lock().await;
        let checked = hash.clone();
        let right = tokio::task::spawn_blocking(move || is_right(&checked, &password)).await.unwrap_or(false);
        drop(one_at_a_time);
        // Held until the session has begun, so that one that is replaced meanwhile opens nothing.
        let settings = self.settings.read();
        if !right || settings.password.as_ref() != Some(&hash) {
            return Attempt::Wrong;
        }
        let value = URL_SAFE_NO_PAD.encode(entropy.array::<32>());
        let mut state = self.state.lock();
        state.failures.forgive(client);
        state.begin(blake3::hash(value.as_bytes()), now, now.plus(settings.session_time));
        let seconds = settings.session_time.as_secs();
        Attempt::Right(format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}"))
    }

    /// Ends the session that the headers name.
    pub fn log_out(&self, headers: &HeaderMap) {
        if let Some(value) = cookie(headers) {
            self.state.lock().ends.remove(&blake3::hash(value.as_bytes()));
        }
    }
}

impl Failures {
    fn may_try(&mut self, client: IpNetwork, now: Timestamp) -> bool {
        if now.since(self.since) >= FAILURE_TIME {
            *self = Self { since: now, ..Self::default() };
        }
        if self.in_all >= MOST_FAILURES_IN_ALL {
            return false;
        }
        let own = self.by_client.entry(client).or_default();
        if *own >= MOST_FAILURES {
            return false;
        }
        *own += 1;
        self.in_all += 1;
        true
    }

    fn forgive(&mut self, client: IpNetwork) {
        let own = self.by_client.remove(&client).unwrap_or_default();
        self.in_all = self.in_all.saturating_sub(own);
    }
}

impl Sessions {
    fn begin(&mut self, key: blake3::Hash, now: Timestamp, end: Timestamp) {
        if self.ends.len() >= MOST_SESSIONS {
            self.ends.retain(|_, end| *end > now);
        }
        if self.ends.len() >= MOST_SESSIONS
            && let Some(first) = self.ends.iter().min_by_key(|(_, end)| **end).map(|(key, _)| *key)
        {
            self.ends.remove(&first);
        }
        self.ends.insert(key, end);
    }
}

fn is_right(hash: &Secret, password: &str) -> bool {
    verify_password(hash.expose(), password)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Whether a browser makes this request for a page of ours, or for its user, and not for another site's page.
///
/// The cookie is `SameSite=Strict` already; this also keeps others from logging somebody in, and, where there is no cookie, in demonstration
/// mode, from reaching this machine under a name of theirs (DNS rebinding).
pub(super) fn is_own_request(request: &Request, demonstration: bool) -> bool {
    let header = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header(header::HOST).or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str)).unwrap_or_default();
    if demonstration && !is_this_machine(host) {
        return false;
    }
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return true;
    }
    match header(header::HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin" || site == "none",
        None => header(header::ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, origin)| origin == host)),
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::net::Ipv4Addr;

    use argon2::password_hash::PasswordHasher;
    use argon2::{Algorithm, Argon2, Params, Version};
    use axum::body::Body;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const ANN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn access(demonstration: bool) -> Access {
        // Cheap on purpose: the cost stands in the hash.
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let hash = cheap.hash_password(b"open sesame").unwrap().to_string();
        let dashboard = config::Dashboard { password: Some(Secret::new(hash)), session_time: Duration::from_hours(1) };
        Access::new(&dashboard, demonstration)
    }

    fn with_cookie(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; {}; c=d", cookie.split(';').next().unwrap()).parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn a_session_begins_and_ends() {
        let access = access(false);
        let Attempt::Right(cookie) = access.log_in("open sesame".into(), ANN, NOW, &Entropy::seeded(1)).await else { panic!("right") };
        assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=3600"), "{cookie}");
        let headers = with_cookie(&cookie);
        assert!(access.knows(&headers, NOW) && !access.knows(&HeaderMap::new(), NOW));
        assert!(!access.knows(&with_cookie("tubepost_session=forged"), NOW));
        assert!(!access.knows(&headers, NOW.plus(Duration::from_hours(1))));
        let Attempt::Right(cookie) = access.log_in("open sesame".into(), ANN, NOW, &Entropy::seeded(2)).await else { panic!("right") };
        access.log_out(&with_cookie(&cookie));
        assert!(!access.knows(&with_cookie(&cookie), NOW));
    }

    #[tokio::test]
    async fn another_password_ends_all_sessions() {
        let access = access(false);
        let Attempt::Right(cookie) = access.log_in("open sesame".into(), ANN, NOW, &Entropy::seeded(1)).await else { panic!("right") };
        let same = access.settings.read().clone();
        access.replace(&config::Dashboard { session_time: Duration::from_mins(1), ..same.clone() });
        assert!(access.knows(&with_cookie(&cookie), NOW));
        access.replace(&config::Dashboard { password: None, ..same.clone() });
        assert!(access.is_closed() && !access.knows(&with_cookie(&cookie), NOW));
        assert_eq!(access.log_in("open sesame".into(), ANN, NOW, &Entropy::seeded(2)).await, Attempt::Wrong);
        access.replace(&same);
        assert!(!access.knows(&with_cookie(&cookie), NOW));
        assert!(matches!(access.log_in("open sesame".into(), ANN, NOW, &Entropy::seeded(3)).await, Attempt::Right(_)));
    }

    #[tokio::test]
    async fn guessing_is_slow_and_keeps_nobody_else_out() {
        let access = access(false);
        for _ in 0..MOST_FAILURES {
            assert_eq!(access.log_in("wrong".into(), ANN, NOW, &Entropy::seeded(1)).await, Attempt::Wrong);
        }
        assert_eq!(access.log_in("open sesame".into(), ANN, NOW, &Entropy::seeded(1)).await, Attempt::TooMany);
        let ben: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(matches!(access.log_in("open sesame".into(), ben, NOW, &Entropy::seeded(1)).await, Attempt::Right(_)));
        let later = NOW.plus(FAILURE_TIME);
        assert!(matches!(access.log_in("open sesame".into(), ANN, later, &Entropy::seeded(1)).await, Attempt::Right(_)));
    }

    #[test]
    fn failures_are_bounded() {
        let mut failures = Failures::default();
        let client = |number: u32| IpNetwork::of_client(IpAddr::V4(number.into()));
        // Whoever is not heard does not count for the others.
        assert_eq!((0..5000).filter(|_| failures.may_try(client(0), NOW)).count(), 20);
        assert_eq!((1..5000).filter(|number| failures.may_try(client(*number), NOW)).count(), 980);
        assert_eq!(failures.by_client.len(), 981);
        failures.forgive(client(0));
        assert!(failures.may_try(client(5000), NOW));
        assert!(failures.may_try(client(1), NOW.plus(FAILURE_TIME)));
        assert_eq!((failures.in_all, failures.by_client.len()), (1, 1));
    }

    #[test]
    fn sessions_are_bounded() {
        let mut sessions = Sessions::default();
        for number in 0..2 * MOST_SESSIONS {
            sessions.begin(blake3::hash(&number.to_le_bytes()), NOW, NOW.plus(Duration::from_secs(number as u64 + 1)));
        }
        assert_eq!(sessions.ends.len(), MOST_SESSIONS);
        assert!(!sessions.ends.contains_key(&blake3::hash(&0_usize.to_le_bytes())));
    }

    #[test]
    fn other_sites_are_not_obeyed() {
        let own = |method: Method, headers: &[(&str, &str)], demonstration| {
            let mut request = Request::builder().method(method).uri("/dashboard/login");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_own_request(&request.body(Body::empty()).unwrap(), demonstration)
        };
        let host = ("host", "mail.example.com");
        assert!(own(Method::GET, &[host], false));
        assert!(own(Method::POST, &[host, ("sec-fetch-site", "same-origin")], false));
        assert!(!own(Method::POST, &[host, ("sec-fetch-site", "cross-site")], false));
        assert!(own(Method::POST, &[host, ("origin", "https://mail.example.com")], false));
        assert!(!own(Method::POST, &[host, ("origin", "https://evil.example")], false));
        assert!(!own(Method::POST, &[host, ("origin", "null")], false));
        assert!(own(Method::POST, &[host], false));
        assert!(!own(Method::GET, &[("host", "evil.example")], true));
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "tubepost.localhost"] {
            assert!(own(Method::GET, &[("host", host)], true), "{host}");
        }
    }
}
