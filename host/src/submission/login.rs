//! Logins: who may hand over mail, and how we know him.
//!
//! Passwords are kept as argon2id hashes, which are slow to compute on purpose; tokens are random and kept as SHA-256. No answer,
//! and no time that it takes, tells a user name that exists from one that does not.

pub mod book;
mod check;
mod failures;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use subtle::ConstantTimeEq as _;

use crate::clock::{Clock, Entropy};
use crate::config;
use crate::config::Administrator;
use crate::config::secret::token_digest;
use crate::config::unit::Secret;
use crate::smtp::extension::Mechanisms;
use crate::smtp::scram::{Shapes, Verifier};
use crate::telemetry::metric::{Authentication, Metrics};
use book::Book;
use check::PasswordChecks;
use failures::{Failures, Standing};

/// A login as the configuration has it.
pub type Login = config::Login;

/// Octets of a password; nobody has a longer one, and a hash of it would only cost time.
const LONGEST_PASSWORD: usize = 1024;

/// Why somebody is not let in. The client hears the same for all: which part was wrong is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// No such user, or the wrong secret.
    #[error("wrong user name or password")]
    Wrong,
    /// More checks at once than we do; come back.
    #[error("too many logins at once")]
    Busy,
    /// Too many secrets that came from the client's address were wrong; none is checked now.
    #[error("too many wrong passwords from your address, try again later")]
    TooManyFailures {
        /// When to come back.
        retry_after: Duration,
    },
}

/// All logins. Cloning is cheap; clones share what [`Logins::replace`] puts in.
#[derive(Clone)]
pub struct Logins(Arc<Shared>);

struct Shared {
    /// Readers take the `Arc` and let go of the lock at once.
    set: RwLock<Arc<Set>>,
    checks: PasswordChecks,
    failures: Failures,
    metrics: Metrics,
    administrators: RwLock<Arc<Vec<Administrator>>>,
    /// Held while the set is put together.
    renewing: parking_lot::Mutex<()>,
    book: Book,
    entropy: Entropy,
    clock: Clock,
}

/// By which way somebody comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// SMTP.
    Smtp,
    /// REST.
    Rest,
}

/// Whether a login may be used through `door` by a client at `peer`.
fn is_open(login: &Login, peer: IpAddr, door: Door) -> bool {
    let access = &login.access;
    let closed = match door {
        Door::Smtp => access.closed.smtp,
        Door::Rest => access.closed.rest,
    };
    !closed && (access.ips.is_empty() || access.ips.iter().any(|network| network.contains(peer)))
}

/// Who makes a call over REST.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A login: it sees and changes what is its own.
    Login(Arc<Login>),
    /// An administrator, by name: he sees and changes everything.
    Administrator(Arc<str>),
}

/// The logins of one configuration, by what they are looked up by.
struct Set {
    by_name: HashMap<Arc<str>, Arc<Login>>,
    by_username: HashMap<String, Arc<Login>>,
    /// By hash: whoever tries tokens cannot choose theirs, so that looking one up tells him nothing.
    by_token: HashMap<[u8; 32], Arc<Login>>,
    mechanisms: Mechanisms,
    /// What users look like to SCRAM.
    shapes: Shapes,
    /// Some hash that is used: what an unknown user's password is compared with, so that this takes as long as for a known one.
    decoy: Option<Secret>,
}

impl Set {
    /// Of logins with the same name, user name or token the first counts.
    fn new(logins: impl IntoIterator<Item = Login>) -> Self {
        let logins: Vec<Arc<Login>> = logins.into_iter().map(Arc::new).collect();
        let mut set = Self {
            by_name: HashMap::new(),
            by_username: HashMap::new(),
            by_token: HashMap::new(),
            mechanisms: Mechanisms::default(),
            shapes: Shapes::default(),
            decoy: None,
        };
        // Clients take the strongest mechanism that is offered, whether or not their login can use it.
        let mut scram = true;
        for login in logins {
            if set.by_name.contains_key(&login.name) {
                continue;
            }
            if let Some(username) = &login.username {
                set.by_username.entry(username.clone()).or_insert_with(|| Arc::clone(&login));
            }
            if let Some(token) = login.token {
                set.by_token.entry(token).or_insert_with(|| Arc::clone(&login));
            }
            for verifier in [&login.access.scram, &login.access.token_scram].into_iter().flatten() {
                set.shapes.add(verifier);
            }
            if !login.access.closed.smtp {
                set.mechanisms.bearer |= login.token.is_some();
                let access = &login.access;
                scram &= login.password.is_some() == access.scram.is_some() && login.token.is_some() == access.token_scram.is_some();
                set.mechanisms.scram |= access.scram.is_some() || access.token_scram.is_some();
            }
            set.decoy = set.decoy.or_else(|| login.password.clone());
            set.by_name.insert(Arc::clone(&login.name), login);
        }
        set.mechanisms.scram &= scram;
        set
    }

    fn by_token(&self, token: &str) -> Result<Arc<Login>, LoginError> {
        self.by_token.get(&token_digest(token)).cloned().ok_or(LoginError::Wrong)
    }

    /// Returns what a client proves that logs in with this user name, which may be a token, and whose login it is.
    fn verifier(&self, username: &str) -> Option<(&Arc<Login>, &Verifier)> {
        let of_token = self.by_token.get(&token_digest(username)).and_then(|login| Some((login, login.access.token_scram.as_ref()?)));
        of_token.or_else(|| self.by_username.get(username).and_then(|login| Some((login, login.access.scram.as_ref()?))))
    }
}

impl Logins {
    /// Makes the set of `logins`.
    pub fn new(logins: Vec<Login>, limits: &config::Authentication, entropy: &Entropy, clock: &Clock, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            set: RwLock::new(Arc::new(Set::new(logins.clone()))),
            checks: PasswordChecks::new(limits, entropy, clock.clone()),
            failures: Failures::new(limits, clock.clone()),
            metrics,
            administrators: RwLock::default(),
            renewing: parking_lot::Mutex::default(),
            book: Book::new(logins, entropy, limits),
            entropy: entropy.clone(),
            clock: clock.clone(),
        }))
    }

    /// Puts other logins in the place of these, for this value and all its clones. Checks that are under way end by the old ones.
    pub fn replace(&self, logins: Vec<Login>) {
        *self.0.book.configured.write() = logins;
        self.renew();
    }

    /// Puts the set together again: what stands in the file comes first.
    fn renew(&self) {
        // One at a time, from what is read to what is put in force: or an old state could come last, with a login that was revoked.
        let _turn = self.0.renewing.lock();
        let made = self.0.book.logins();
        let configured = self.0.book.configured.read().clone();
        *self.0.set.write() = Arc::new(Set::new(configured.into_iter().chain(made)));
    }

    /// Puts other administrators in the place of those there are.
    pub fn replace_administrators(&self, administrators: Vec<Administrator>) {
        *self.0.administrators.write() = Arc::new(administrators);
    }

    /// Checks the token of a login or of an administrator, in constant time.
    ///
    /// # Errors
    /// As for [`Logins::by_token`].
    pub fn principal(&self, token: &str, peer: IpAddr) -> Result<Principal, LoginError> {
        self.suspicion(peer)?;
        let digest = token_digest(token);
        let administrators = Arc::clone(&self.0.administrators.read());
        let mut found = None;
        for administrator in administrators.iter() {
            // All of them, whichever fits.
            if bool::from(administrator.token.ct_eq(&digest)) {
                found = Some(Principal::Administrator(Arc::clone(&administrator.name)));
            }
        }
        match found {
            Some(principal) => {
                self.0.metrics.authenticated(Authentication::Succeeded);
                Ok(principal)
            }
            None => self.by_token(token, peer).map(Principal::Login),
        }
    }

    /// Returns all logins.
    pub fn all(&self) -> Vec<Arc<Login>> {
        self.set().by_name.values().cloned().collect()
    }

    /// Checks user name and password (SMTP AUTH, turboSMTP's authuser and authpass). A token as both user name and password counts too.
    ///
    /// User names are compared to the letter. The hash is computed on a thread where that may take long; results are remembered, bounded,
    /// under a key of this process, so that a client that logs in for each message does not pay each time.
    ///
    /// # Errors
    /// [`LoginError::Wrong`]; [`LoginError::Busy`] if too many others are being checked: answer 454 (RFC 4954 §6) or 503;
    /// [`LoginError::TooManyFailures`] if the client at `peer` has been wrong too often: answer 454 or 429.
    pub async fn by_password(&self, username: &str, password: &str, peer: IpAddr, door: Door) -> Result<Arc<Login>, LoginError> {
        let known = match self.suspicion_of_user(username, peer) {
            Ok(is_suspect) => self.check_password(username, password, is_suspect).await,
            Err(error) => Err(error),
        };
        self.counted(known, peer, door, Some(username))
    }

    /// Checks a token that came with a user name (OAUTHBEARER, XOAUTH2): "", or one that goes with it.
    ///
    /// # Errors
    /// As for [`Logins::by_token`].
    pub fn by_bearer(&self, username: &str, token: &str, peer: IpAddr) -> Result<Arc<Login>, LoginError> {
        let known = self.suspicion(peer).and_then(|_| self.set().by_token(token)).and_then(|login| {
            let is_his =
                username.is_empty() || username == token || username == &*login.name || login.username.as_deref() == Some(username);
            if is_his { Ok(login) } else { Err(LoginError::Wrong) }
        });
        self.counted(known, peer, Door::Smtp, None)
    }

    /// Returns what SCRAM proves the password of a user against. Of a user that does not exist, it is one that nothing fits.
    ///
    /// # Errors
    /// [`LoginError::TooManyFailures`].
    pub fn verifier(&self, username: &str, peer: IpAddr) -> Result<Verifier, LoginError> {
        if let Err(error) = self.suspicion_of_user(username, peer) {
            self.0.metrics.authenticated(Authentication::Barred);
            return Err(error);
        }
        let set = self.set();
        Ok(set.verifier(username).map_or_else(|| self.0.book.pretended(username, &set.shapes), |(_, verifier)| verifier.clone()))
    }

    /// Lets somebody in who has proven that he knows what fits `stored_key`; `None` where he has not.
    ///
    /// # Errors
    /// [`LoginError::Wrong`], also where the password has changed meanwhile, or [`LoginError::TooManyFailures`].
    pub fn by_proof(&self, username: &str, stored_key: Option<[u8; 32]>, peer: IpAddr) -> Result<Arc<Login>, LoginError> {
        let known = self.suspicion_of_user(username, peer).and_then(|_| {
            let (set, stored_key) = (self.set(), stored_key.ok_or(LoginError::Wrong)?);
            let (login, _) = set.verifier(username).filter(|(_, verifier)| verifier.is_proven_by(&stored_key)).ok_or(LoginError::Wrong)?;
            Ok(Arc::clone(login))
        });
        self.counted(known, peer, Door::Smtp, Some(username))
    }

    /// Returns the mechanisms that logins can use now.
    pub fn mechanisms(&self) -> Mechanisms {
        self.set().mechanisms
    }

    /// Returns `login` as it is now; `None` where it is gone, has other secrets, or may not be used by SMTP from `peer` any more.
    pub fn current(&self, login: &Login, peer: IpAddr) -> Option<Arc<Login>> {
        let now = self.by_name(&login.name)?;
        let secrets = |login: &Login| (login.password.as_ref().map(|hash| hash.expose().to_owned()), login.token);
        (secrets(&now) == secrets(login) && is_open(&now, peer, Door::Smtp)).then_some(now)
    }

    async fn check_password(&self, username: &str, password: &str, is_suspect: bool) -> Result<Arc<Login>, LoginError> {
        let set = self.set();
        if username == password
            && let Ok(login) = set.by_token(password)
        {
            return Ok(login);
        }
        if password.len() > LONGEST_PASSWORD {
            return Err(LoginError::Wrong);
        }
        let known = set.by_username.get(username).and_then(|login| Some((login, login.password.as_ref()?)));
        let Some((login, hash)) = known else {
            if let Some(decoy) = &set.decoy {
                self.0.checks.pretend(password, decoy, is_suspect).await?;
            }
            return Err(LoginError::Wrong);
        };
        if self.0.checks.is_right(username, password, hash, is_suspect).await? { Ok(Arc::clone(login)) } else { Err(LoginError::Wrong) }
    }

    /// Whether some secrets that came from `peer` were wrong.
    ///
    /// # Errors
    /// Too many were: right or wrong, the next one is not looked at, or guessing would go on.
    fn suspicion(&self, peer: IpAddr) -> Result<bool, LoginError> {
        match self.0.failures.standing(peer) {
            Standing::Clean => Ok(false),
            Standing::Suspect => Ok(true),
            Standing::Barred { left } => Err(LoginError::TooManyFailures { retry_after: left }),
        }
    }

    /// The same for somebody who names a user.
    fn suspicion_of_user(&self, username: &str, peer: IpAddr) -> Result<bool, LoginError> {
        match self.0.failures.standing_of_user(username, peer) {
            Standing::Barred { left } => self.suspicion(peer).and(Err(LoginError::TooManyFailures { retry_after: left })),
            Standing::Clean | Standing::Suspect => self.suspicion(peer),
        }
    }

    /// Counts how a login went, and looks whether it may be used from there.
    fn counted(
        &self,
        known: Result<Arc<Login>, LoginError>,
        peer: IpAddr,
        door: Door,
        username: Option<&str>,
    ) -> Result<Arc<Login>, LoginError> {
        let known = known.and_then(|login| if is_open(&login, peer, door) { Ok(login) } else { Err(LoginError::Wrong) });
        let result = match &known {
            Ok(_) => {
                if let Some(username) = username {
                    self.0.failures.succeeded(peer, username);
                }
                Authentication::Succeeded
            }
            Err(LoginError::Wrong) => {
                self.0.failures.count(peer, username);
                Authentication::Failed
            }
            Err(LoginError::Busy) => Authentication::Busy,
            Err(LoginError::TooManyFailures { .. }) => Authentication::Barred,
        };
        self.0.metrics.authenticated(result);
        known
    }

    /// Checks an API token, for a call over REST.
    ///
    /// # Errors
    /// [`LoginError::Wrong`], or [`LoginError::TooManyFailures`].
    pub fn by_token(&self, token: &str, peer: IpAddr) -> Result<Arc<Login>, LoginError> {
        let known = self.suspicion(peer).and_then(|_| self.set().by_token(token));
        self.counted(known, peer, Door::Rest, None)
    }

    /// Returns a login by its name in the configuration.
    pub fn by_name(&self, name: &str) -> Option<Arc<Login>> {
        self.set().by_name.get(name).cloned()
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.0.set.read())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::secret::hash_password;
    use crate::config::unit::ByteSize;
    use crate::config::{Access, Bounces, LoginLimits, Treatment};

    const LIMITS: config::Authentication = config::Authentication {
        failures: 20,
        network_failures: 200,
        user_failures: 50,
        period: Duration::from_mins(10),
        addresses: 10,
        waiting: 10,
        logins: 10,
        remembered: 10,
    };
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn login(name: &str, password: Option<&str>, token: Option<&str>) -> Login {
        Login {
            name: name.into(),
            username: password.map(|_| format!("{name}-user")),
            password: password.map(|password| Secret::new(hash_password(password, &Entropy::seeded(1)))),
            token: token.map(token_digest),
            senders: Vec::new(),
            chain: None,
            route: "sandbox".into(),
            limits: LoginLimits { messages_per_hour: None, recipients_per_message: 1, message_size: ByteSize(1) },
            bounces: Bounces::Return,
            treatment: Treatment::default(),
            unverified_senders: None,
            suppress: Vec::new(),
            bounce_management: None,
            access: Access::default(),
        }
    }

    fn logins(logins: Vec<Login>) -> Logins {
        Logins::new(logins, &LIMITS, &Entropy::seeded(2), &Clock::manual(Timestamp::from_millis(0)), Metrics::new())
    }

    fn name(result: Result<Arc<Login>, LoginError>) -> Result<String, LoginError> {
        result.map(|login| login.name.to_string())
    }

    #[tokio::test]
    async fn passwords_and_tokens_open_their_login() {
        let logins = logins(vec![login("a", Some("password a"), Some("token-a")), login("b", None, Some("token-b"))]);
        for (username, password, expected) in [
            ("a-user", "password a", Ok("a")),
            ("a-user", "password a", Ok("a")),
            ("a-user", "password b", Err(LoginError::Wrong)),
            ("A-user", "password a", Err(LoginError::Wrong)),
            ("a", "password a", Err(LoginError::Wrong)),
            ("nobody", "password a", Err(LoginError::Wrong)),
            ("", "", Err(LoginError::Wrong)),
            // A token opens as user name and password, and only as both.
            ("token-a", "token-a", Ok("a")),
            ("token-b", "token-b", Ok("b")),
            ("token-a", "token-b", Err(LoginError::Wrong)),
            ("token-a", "password a", Err(LoginError::Wrong)),
            ("a-user", "token-a", Err(LoginError::Wrong)),
            ("b-user", "token-b", Err(LoginError::Wrong)),
        ] {
            assert_eq!(
                name(logins.by_password(username, password, PEER, Door::Smtp).await),
                expected.map(str::to_owned),
                "{username} {password}"
            );
        }
        assert_eq!(name(logins.by_password("a-user", &"x".repeat(1_000_000), PEER, Door::Smtp).await), Err(LoginError::Wrong));
        assert_eq!(name(logins.by_token("token-b", PEER)), Ok("b".to_owned()));
        assert_eq!(name(logins.by_token("token-c", PEER)), Err(LoginError::Wrong));
        assert_eq!(name(logins.by_token("", PEER)), Err(LoginError::Wrong));
        assert!(logins.by_name("b").is_some() && logins.by_name("a-user").is_none());
    }

    #[tokio::test]
    async fn whoever_guesses_too_often_is_not_listened_to() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let metrics = Metrics::new();
        let known = vec![login("a", Some("right"), Some("token"))];
        let limits = config::Authentication { failures: 3, ..LIMITS };
        let logins = Logins::new(known, &limits, &Entropy::seeded(2), &clock, metrics.clone());
        let other: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(logins.by_password("a-user", "right", PEER, Door::Smtp).await.is_ok());
        assert_eq!(name(logins.by_password("a-user", "wrong", PEER, Door::Smtp).await), Err(LoginError::Wrong));
        assert_eq!(name(logins.by_password("nobody", "wrong", PEER, Door::Smtp).await), Err(LoginError::Wrong));
        assert!(logins.by_password("a-user", "right", PEER, Door::Smtp).await.is_ok());
        assert_eq!(name(logins.by_token("wrong", PEER)), Err(LoginError::Wrong));
        // Now nothing tells a right password from a wrong one, remembered or not.
        let barred = Err(LoginError::TooManyFailures { retry_after: limits.period });
        assert_eq!(name(logins.by_password("a-user", "right", PEER, Door::Smtp).await), barred);
        assert_eq!(name(logins.by_password("token", "token", PEER, Door::Smtp).await), barred);
        assert_eq!(name(logins.by_token("token", PEER)), barred);
        assert!(logins.by_password("a-user", "right", other, Door::Smtp).await.is_ok());
        assert!(logins.by_token("token", other).is_ok());
        clock.advance(limits.period);
        assert!(logins.by_password("a-user", "right", PEER, Door::Smtp).await.is_ok());
        let page = metrics.encode();
        for (result, count) in [("succeeded", 5), ("failed", 3), ("barred", 3), ("busy", 0)] {
            let line = format!("tubepost_authentications_total{{result=\"{result}\"}} {count}\n");
            assert!(page.contains(&line), "{line} in {page}");
        }
    }

    #[tokio::test]
    async fn administrators_are_told_from_logins() {
        let logins = logins(vec![login("a", None, Some("token-a"))]);
        logins.replace_administrators(vec![Administrator { name: "root".into(), token: token_digest("token-root") }]);
        let name = |token: &str| match logins.principal(token, PEER) {
            Ok(Principal::Login(login)) => format!("login {}", login.name),
            Ok(Principal::Administrator(name)) => format!("administrator {name}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(name("token-a"), "login a");
        assert_eq!(name("token-root"), "administrator root");
        assert_eq!(name("other"), LoginError::Wrong.to_string());
        // His token sends no mail: there is no login to send as.
        assert!(logins.by_token("token-root", PEER).is_err());
    }

    #[tokio::test]
    async fn a_password_that_was_replaced_is_forgotten() {
        let logins = logins(vec![login("a", Some("old"), Some("token-old"))]);
        let session = logins.clone();
        assert!(session.by_password("a-user", "old", PEER, Door::Smtp).await.is_ok());

        logins.replace(vec![login("a", Some("new"), None)]);
        assert_eq!(name(session.by_password("a-user", "old", PEER, Door::Smtp).await), Err(LoginError::Wrong));
        assert_eq!(name(session.by_token("token-old", PEER)), Err(LoginError::Wrong));
        assert!(session.by_password("a-user", "new", PEER, Door::Smtp).await.is_ok());

        logins.replace(Vec::new());
        assert_eq!(name(session.by_password("a-user", "new", PEER, Door::Smtp).await), Err(LoginError::Wrong));
    }
}
