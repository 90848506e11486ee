//! Sender domains: who may use them, what is published for them, which keys sign their mail.
//!
//! | module | is |
//! |---|---|
//! | [`record`] | a domain as it is kept in the key-value table `domains` |
//! | [`key`], [`rotation`] | DKIM keys; three that take turns |
//! | [`dmarc`], [`spf`] | the policies, and what comes of them |
//! | [`settings`], [`publication`] | the records that the owner adds, and those that we publish |
//! | [`status`] | what is found in DNS of it |
//! | [`change`] | what callers may change |
//! | [`zone`], [`answer`], [`answer_rate`] | our zone as a file, and as answers of a name server |
//! | [`upkeep`] | keys rotated and includes looked up again, in time |
//!
//! Whoever creates a domain gets a TXT record; when it is in DNS, the domain is approved and his alone. Before that anybody else may claim it too; nothing
//! of it is published. All domains are in memory; changes are made one after the other, and count when they are on disk.

pub mod answer;
pub mod answer_rate;
pub mod change;
pub mod dmarc;
pub mod key;
pub mod publication;
pub mod record;
pub mod rotation;
pub mod settings;
pub mod spf;
pub mod status;
pub mod upkeep;
pub mod zone;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::UnverifiedSenders;
use crate::dns::Dns;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::store::{Batch, Store, StoreError, ValueChange};
use dmarc::Day;
use key::PrivateKey;
use publication::{Publication, Record};
use record::{CustomKey, SendingDomain};
use settings::Settings;
use status::{Checking, Status};

/// The table of the store.
const TABLE: &str = "domains";
/// Entries of the table that are read at a time.
const PAGE: usize = 256;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A login, by name: it sees what is its own.
    Login(Arc<str>),
    /// An administrator: he sees everything.
    Administrator,
}

impl Caller {
    fn may_see(&self, domain: &SendingDomain) -> bool {
        match self {
            Self::Login(name) => domain.owner.as_ref() == Some(name),
            Self::Administrator => true,
        }
    }

    fn owner(&self) -> Option<Arc<str>> {
        match self {
            Self::Login(name) => Some(Arc::clone(name)),
            Self::Administrator => None,
        }
    }
}

/// Whose a domain is, as one login sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Neither the domain nor one above it is approved.
    Unknown,
    /// It is approved, and the login may use it.
    Open,
    /// It is approved, and another's.
    Foreign,
}

/// Why a call about a domain is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// There is none, for this caller.
    #[error("there is no such sender domain")]
    Unknown,
    /// A field that is missing or wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A key could not be made.
    #[error("a key could not be made: {0}")]
    Key(String),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DomainError {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}

/// A key that signs, and as whom.
#[derive(Clone, Debug)]
pub struct Signatory {
    /// `d=`, in A-labels.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// The key.
    pub key: PrivateKey,
    /// Signs only where the sender fits conditions, and in the place of keys that have none.
    pub is_conditional: bool,
}

/// All sender domains. Cloning is cheap.
#[derive(Clone)]
pub struct SendingDomains(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    clock: Clock,
    entropy: Entropy,
    dns: Arc<dyn Dns>,
    settings: RwLock<Arc<Settings>>,
    known: RwLock<Arc<Known>>,
    /// Held by whoever changes something, from reading to writing.
    changing: tokio::sync::Mutex<()>,
    /// Held while a key is made: one at a time, whoever asks for more of them.
    making: tokio::sync::Mutex<()>,
}

/// All domains, by their names in A-labels.
#[derive(Default)]
struct Known {
    domains: BTreeMap<String, Arc<SendingDomain>>,
    /// Those with keys that sign mail of other domains.
    general: Vec<Arc<SendingDomain>>,
}

impl Known {
    fn new(domains: BTreeMap<String, Arc<SendingDomain>>) -> Self {
        let is_general = |domain: &&Arc<SendingDomain>| domain.custom.iter().any(|key| key.always || key.fallback);
        let general = domains.values().filter(is_general).cloned().collect();
        Self { domains, general }
    }

    /// The nearest domain, from `name` upwards, that is approved.
    fn nearest(&self, name: &str) -> Option<&Arc<SendingDomain>> {
        let names = std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above));
        names.filter_map(|name| self.domains.get(name)).find(|domain| domain.approved.is_some())
    }
}

impl SendingDomains {
    /// Begins with no domains: those that are kept are to be [loaded](Self::load).
    pub fn new(store: Arc<dyn Store>, dns: Arc<dyn Dns>, settings: Settings, clock: Clock, entropy: Entropy) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            entropy,
            dns,
            settings: RwLock::new(Arc::new(settings)),
            known: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            making: tokio::sync::Mutex::default(),
        }))
    }

    /// Reads all domains from the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(&self) -> Result<(), StoreError> {
        let Shared { store, clock, .. } = &*self.0;
        let mut domains = BTreeMap::new();
        let mut after: Option<Bytes> = None;
        loop {
            let page = store.values(TABLE, after.as_deref(), clock.now(), PAGE).await?;
            for (key, value) in &page {
                match SendingDomain::decode(value) {
                    Ok(domain) => drop(domains.insert(domain.name.to_ascii(), Arc::new(domain))),
                    // Left where it is: another release may read it.
                    Err(error) => tracing::error!(domain = %String::from_utf8_lossy(key), "a sender domain cannot be read: {error}"),
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                Some(_) | None => break,
            }
        }
        *self.0.known.write() = Arc::new(Known::new(domains));
        Ok(())
    }

    /// Returns what is done with mail whose From is of no approved domain, where a login does not say otherwise.
    pub fn unverified_senders(&self) -> UnverifiedSenders {
        self.settings().config.unverified_senders
    }

    /// Returns the address that mail is re-enveloped with.
    pub fn envelope(&self) -> EmailAddress {
        self.settings().envelope.clone()
    }

    /// Goes on with another configuration.
    pub fn reconfigure(&self, settings: Settings) {
        *self.0.settings.write() = Arc::new(settings);
    }

    /// Returns the key that validation records are made with.
    pub fn secret(&self) -> [u8; 32] {
        self.settings().secret()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known().domains.is_empty()
    }

    /// Whether any of them is approved.
    pub fn has_approved(&self) -> bool {
        self.known().domains.values().any(|domain| domain.approved.is_some())
    }

    /// Returns what a caller sees, in the order of names.
    pub fn list(&self, caller: &Caller) -> Vec<Arc<SendingDomain>> {
        self.known().domains.values().filter(|domain| caller.may_see(domain)).cloned().collect()
    }

    /// Returns one domain.
    ///
    /// # Errors
    /// [`DomainError::Unknown`].
    pub fn get(&self, caller: &Caller, name: &Domain) -> Result<Arc<SendingDomain>, DomainError> {
        let found = self.known().domains.get(&name.to_ascii()).cloned();
        found.filter(|domain| caller.may_see(domain)).ok_or(DomainError::Unknown)
    }

    /// Returns the address that DMARC reports go to before all others.
    pub fn report_address(&self) -> EmailAddress {
        self.settings().dmarc_reports.clone()
    }

    /// Returns the record that shows who the owner is.
    pub fn validation(&self, domain: &SendingDomain) -> Record {
        self.publication(&self.settings(), domain).validation()
    }

    /// Returns what the owner is to add.
    pub fn recommended(&self, domain: &SendingDomain) -> Vec<Record> {
        self.publication(&self.settings(), domain).recommended()
    }

    /// Returns what he would add to do without aliases to our zone.
    pub fn self_hosted(&self, domain: &SendingDomain) -> Vec<Record> {
        self.publication(&self.settings(), domain).self_hosted()
    }

    /// Returns what we publish for it.
    pub fn hosted(&self, domain: &SendingDomain) -> Vec<Record> {
        self.publication(&self.settings(), domain).hosted()
    }

    /// Looks for all of it in DNS.
    pub async fn status(&self, domain: &SendingDomain) -> Status {
        let settings = self.settings();
        let checking = Checking { publication: self.publication(&settings, domain), dns: self.0.dns.as_ref() };
        checking.status().await
    }

    /// Returns whose a domain is, or the nearest one above it that is approved.
    pub fn standing(&self, login: &str, name: &Domain) -> Standing {
        match self.known().nearest(&name.to_ascii()) {
            None => Standing::Unknown,
            Some(domain) if domain.is_open_to(login) => Standing::Open,
            Some(_) => Standing::Foreign,
        }
    }

    /// Whether mail of `login` may have this domain in From: the domain, or one above it, is approved and open to that login.
    pub fn is_approved(&self, login: &str, from: &Domain) -> bool {
        self.standing(login, from) == Standing::Open
    }

    /// Returns the host that bounces of a login's mail from this domain go to: where the login may use the domain, and MX and SPF records of its host
    /// were there.
    pub fn return_path_host(&self, login: &str, from: &Domain) -> Option<Domain> {
        let known = self.known();
        let nearest = known.nearest(&from.to_ascii()).filter(|domain| domain.is_open_to(login) && domain.bounces_seen);
        nearest.map(|domain| domain.bounces.clone())
    }

    /// Returns how many domains a login has created, approved or not.
    pub fn count_of(&self, login: &str) -> usize {
        self.known().domains.values().filter(|domain| domain.owner.as_deref() == Some(login)).count()
    }

    /// Returns the name of the domain, from `from` upwards, whose keys sign mail of `login`.
    pub fn signing_domain(&self, login: &str, from: &Domain) -> Option<String> {
        self.known().nearest(&from.to_ascii()).filter(|domain| domain.is_open_to(login)).map(|domain| domain.name.to_ascii())
    }

    /// Returns the keys of a domain that sign mail from an address which came in at `received`.
    pub fn signatories(&self, domain: &str, from: &EmailAddress, received: Timestamp) -> Vec<Signatory> {
        let known = self.known();
        let Some(found) = known.domains.get(domain) else { return Vec::new() };
        let now = self.0.clock.now();
        let own = found.custom.iter().filter(|key| key.is_open(now) && !key.always && !key.fallback);
        let fitting = own.filter(|key| key.senders.is_empty() || key.senders.iter().any(|rule| rule.fits(from)));
        let mut signatories: Vec<Signatory> = fitting.map(|key| signatory(found, key)).collect();
        if let Some((selector, key)) = found.keys.signing(received) {
            let key = key.clone();
            signatories.push(Signatory { domain: domain.to_owned(), selector: selector.to_owned(), key, is_conditional: false });
        }
        signatories
    }

    /// Returns the keys that sign every mail of a login (`is_fallback` false), or what no other key signs.
    pub fn general_signatories(&self, login: &str, is_fallback: bool) -> Vec<Signatory> {
        let (known, now) = (self.known(), self.0.clock.now());
        let domains = known.general.iter().filter(|domain| domain.approved.is_some() && domain.is_open_to(login));
        let fits = |key: &&CustomKey| key.is_open(now) && if is_fallback { key.fallback } else { key.always };
        domains.flat_map(|domain| domain.custom.iter().filter(fits).map(|key| signatory(domain, key))).collect()
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.0.known.read())
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.settings.read())
    }

    fn publication<'a>(&self, settings: &'a Settings, domain: &'a SendingDomain) -> Publication<'a> {
        Publication { settings, domain, today: Day::of(self.0.clock.now()) }
    }

    /// Makes a change durable, then visible. To be called while `changing` is held.
    async fn keep(&self, domain: SendingDomain) -> Result<Arc<SendingDomain>, DomainError> {
        let name = domain.name.to_ascii();
        let octets = domain.encode().ok_or_else(|| DomainError::invalid("name", "cannot be kept"))?;
        self.write(&name, Some(octets)).await?;
        let domain = Arc::new(domain);
        let mut domains = self.known().domains.clone();
        domains.insert(name, Arc::clone(&domain));
        *self.0.known.write() = Arc::new(Known::new(domains));
        Ok(domain)
    }

    async fn forget(&self, name: &str) -> Result<(), DomainError> {
        self.write(name, None).await?;
        let mut domains = self.known().domains.clone();
        domains.remove(name);
        *self.0.known.write() = Arc::new(Known::new(domains));
        Ok(())
    }

    async fn write(&self, name: &str, value: Option<Bytes>) -> Result<(), StoreError> {
        let change = ValueChange { table: TABLE.into(), key: name.to_owned().into(), value, expires: Timestamp::NEVER };
        self.0.store.commit(Batch { values: vec![change], ..Batch::default() }).await
    }

    /// Makes a key on a thread where nobody waits.
    async fn make_key(&self) -> Result<PrivateKey, DomainError> {
        let _turn = self.0.making.lock().await;
        let (bits, entropy) = (self.settings().config.key_bits, self.0.entropy.clone());
        let made = tokio::task::spawn_blocking(move || PrivateKey::generate(bits, &entropy)).await;
        made.map_err(|error| DomainError::Key(error.to_string()))?.map_err(DomainError::Key)
    }
}

fn signatory(domain: &SendingDomain, key: &CustomKey) -> Signatory {
    Signatory {
        domain: domain.name.to_ascii(),
        selector: key.selector.clone(),
        key: key.key.clone(),
        is_conditional: !key.senders.is_empty(),
    }
}
