//! What callers may change of a domain.

use std::fmt;
use std::sync::Arc;

use super::dmarc::{Day, Policy};
use super::key::PrivateKey;
use super::publication::Record;
use super::record::{CustomKey, SendingDomain};
use super::rotation::{Rotation, SELECTORS};
use super::spf::{self, Flattened, Mechanism};
use super::status::Checking;
use super::{Caller, DomainError, SendingDomains};
use crate::clock::Timestamp;
use crate::config::SenderRule;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;

/// Keys of its own that one domain may have.
const MOST_KEYS: usize = 20;
/// Addresses for DMARC reports that one domain may have.
const MOST_ADDRESSES: usize = 10;

/// New values; none is as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Host that bounces go to.
    pub bounces: Option<Domain>,
    /// Host of links.
    pub tracking: Option<Domain>,
    /// Whether links begin with `https`.
    pub https: Option<bool>,
    /// DMARC policy.
    pub policy: Option<Policy>,
    /// In the end.
    pub percentage: Option<u8>,
    /// Some of none takes it away.
    pub start: Option<Option<Day>>,
    /// Some of none takes it away.
    pub end: Option<Option<Day>>,
    /// More addresses for DMARC reports.
    pub addresses: Vec<EmailAddress>,
}

/// A key to add.
#[derive(Clone, Default)]
pub struct NewKey {
    /// In PEM; none has one made.
    pub private: Option<String>,
    /// See [`CustomKey`].
    pub always: bool,
    /// See [`CustomKey`].
    pub fallback: bool,
    /// See [`CustomKey`].
    pub start: Option<Timestamp>,
    /// See [`CustomKey`].
    pub end: Option<Timestamp>,
    /// See [`CustomKey`].
    pub senders: Vec<SenderRule>,
}

impl fmt::Debug for NewKey {
    /// Shows no private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { private: _, always, fallback, start, end, senders } = self;
        f.debug_struct("NewKey")
            .field("always", always)
            .field("fallback", fallback)
            .field("start", start)
            .field("end", end)
            .field("senders", senders)
            .finish_non_exhaustive()
    }
}

/// What became of a call that creates or changes a domain.
#[derive(Clone, Debug, PartialEq)]
pub enum Posted {
    /// This record is not in DNS yet.
    Pending(Record),
    /// The domain is approved; as it is now.
    Approved(Arc<SendingDomain>),
}

impl SendingDomains {
    /// Creates a domain, or looks for its validation record and changes it.
    ///
    /// Of a domain that another has created and not shown to be his, the caller gets a validation record of his own, and nothing is kept: he can neither
    /// take from the other what he has made, nor be kept from showing his record first.
    ///
    /// # Errors
    /// What cannot be; nothing was changed.
    pub async fn submit(&self, caller: &Caller, name: &Domain, changes: Changes) -> Result<Posted, DomainError> {
        // Keys and answers take their time, and others need not wait for them.
        let before = self.of_name(name);
        let found = match &before {
            Some(domain) if caller.may_see(domain) => self.seen(SendingDomain::clone(domain)).await,
            Some(domain) if domain.approved.is_some() => return Err(taken()),
            Some(domain) => {
                let mut claim = SendingDomain::clone(domain);
                claim.owner = caller.owner();
                if !self.is_validated(&claim).await {
                    return Ok(Posted::Pending(self.validation(&claim)));
                }
                self.seen(self.create(caller.owner(), name).await?).await
            }
            None => self.create(caller.owner(), name).await?,
        };
        let _turn = self.0.changing.lock().await;
        let domain = match self.of_name(name) {
            Some(now) if caller.may_see(&now) => {
                let mut domain = SendingDomain::clone(&now);
                if found.owner == domain.owner {
                    domain.approved = domain.approved.or(found.approved);
                    if found.bounces == domain.bounces {
                        domain.bounces_seen = found.bounces_seen;
                    }
                }
                domain
            }
            Some(now) if now.approved.is_some() => return Err(taken()),
            // Another has claimed it in the meantime.
            Some(_) if found.approved.is_none() => return Ok(Posted::Pending(self.validation(&found))),
            // It was there, and has been removed in the meantime.
            None if before.as_ref().is_some_and(|domain| caller.may_see(domain)) => return Err(DomainError::Unknown),
            Some(_) | None => {
                self.check_limits(found.owner.as_ref())?;
                found
            }
        };
        let domain = self.changed(domain, changes)?;
        let kept = self.keep(domain).await?;
        Ok(if kept.approved.is_some() { Posted::Approved(kept) } else { Posted::Pending(self.validation(&kept)) })
    }

    /// Creates a domain for a login, or for all, that needs no validation: whoever runs the server answers for it.
    ///
    /// # Errors
    /// As for [`SendingDomains::submit`].
    pub async fn vouch(&self, owner: Option<Arc<str>>, name: &Domain) -> Result<Arc<SendingDomain>, DomainError> {
        // Keys take their time, and others need not wait for them.
        let created = match self.of_name(name) {
            Some(domain) if domain.owner == owner || domain.approved.is_some() => None,
            Some(_) | None => Some(self.create(owner.clone(), name).await?),
        };
        let _turn = self.0.changing.lock().await;
        let mut domain = match (self.of_name(name), created) {
            (Some(domain), _) if domain.owner == owner => SendingDomain::clone(&domain),
            // Its keys would go with it.
            (Some(domain), _) if domain.approved.is_some() => return Err(DomainError::invalid("name", "is another's: remove it first")),
            (Some(_) | None, Some(created)) => {
                self.check_limits(owner.as_ref())?;
                created
            }
            // It was there, and has been removed in the meantime.
            (Some(_) | None, None) => return Err(DomainError::Unknown),
        };
        domain.approved.get_or_insert(self.0.clock.now());
        self.keep(domain).await
    }

    /// Removes a domain with its keys.
    ///
    /// # Errors
    /// [`DomainError::Unknown`], or it cannot be written.
    pub async fn remove(&self, caller: &Caller, name: &Domain) -> Result<(), DomainError> {
        let _turn = self.0.changing.lock().await;
        let domain = self.get(caller, name)?;
        self.forget(&domain.name.to_ascii()).await
    }

    /// Takes an address off the list of those that DMARC reports go to. Ours stays.
    ///
    /// # Errors
    /// There is no such domain, or address.
    pub async fn remove_address(&self, caller: &Caller, name: &Domain, address: &EmailAddress) -> Result<Arc<SendingDomain>, DomainError> {
        self.change(caller, name, |domain| {
            let before = domain.addresses.len();
            domain.addresses.retain(|known| known != address);
            if domain.addresses.len() == before { Err(DomainError::Unknown) } else { Ok(()) }
        })
        .await
    }

    /// Adds a key, made here where none is given; another key under this selector gives way.
    ///
    /// # Errors
    /// What cannot be; nothing was changed.
    pub async fn add_key(&self, caller: &Caller, name: &Domain, selector: &str, new: NewKey) -> Result<Arc<SendingDomain>, DomainError> {
        let selector = match Domain::parse(selector) {
            Ok(label) if label.literal().is_none() && label.as_str().is_ascii() => label.as_str().to_owned(),
            Ok(_) | Err(_) => return Err(DomainError::invalid("selector", "must be a name such as \"april\"")),
        };
        if SELECTORS.contains(&selector.as_str()) {
            return Err(DomainError::invalid("selector", "\"zero\", \"one\" and \"two\" are the keys that take turns"));
        }
        if new.always && new.fallback {
            return Err(DomainError::invalid("fallback", "a key that signs always is no fallback"));
        }
        if new.start.zip(new.end).is_some_and(|(start, end)| end <= start) {
            return Err(DomainError::invalid("end", "must be after \"start\""));
        }
        let has_room = |domain: &SendingDomain| {
            let others = domain.custom.iter().filter(|known| known.selector != selector).count();
            if others < MOST_KEYS {
                Ok(())
            } else {
                Err(DomainError::invalid("selector", format!("a domain has at most {MOST_KEYS} keys of its own")))
            }
        };
        has_room(&*self.get(caller, name)?)?;
        let key = match &new.private {
            Some(pem) => PrivateKey::parse(pem).map_err(|reason| DomainError::invalid("privatekey", reason))?,
            None => self.make_key().await?,
        };
        let created = self.0.clock.now();
        self.change(caller, name, |domain| {
            has_room(domain)?;
            domain.custom.retain(|known| known.selector != selector);
            let NewKey { always, fallback, start, end, senders, private: _ } = new;
            domain.custom.push(CustomKey { selector: selector.clone(), key, created, always, fallback, start, end, senders });
            Ok(())
        })
        .await
    }

    /// Removes a key that was added.
    ///
    /// # Errors
    /// There is no such domain, or key.
    pub async fn remove_key(&self, caller: &Caller, name: &Domain, selector: &str) -> Result<Arc<SendingDomain>, DomainError> {
        self.change(caller, name, |domain| {
            let before = domain.custom.len();
            domain.custom.retain(|known| !known.selector.eq_ignore_ascii_case(selector));
            if domain.custom.len() == before { Err(DomainError::Unknown) } else { Ok(()) }
        })
        .await
    }

    /// Adds SPF mechanisms. What they include is looked up first.
    ///
    /// # Errors
    /// What cannot be included, or followed by receivers; nothing was changed.
    pub async fn add_mechanisms(&self, caller: &Caller, name: &Domain, more: Vec<Mechanism>) -> Result<Arc<SendingDomain>, DomainError> {
        let domain = self.get(caller, name)?;
        let mut spf = domain.spf.clone();
        for mechanism in more {
            if !spf.contains(&mechanism) {
                spf.push(mechanism);
            }
        }
        if spf.len() > spf::MOST_MECHANISMS {
            return Err(DomainError::invalid("spf", format!("a domain adds at most {} mechanisms", spf::MOST_MECHANISMS)));
        }
        let mechanisms: Vec<Mechanism> = self.settings().mechanisms.iter().chain(&spf).cloned().collect();
        // Cheap before dear: what is too much by its number alone is not looked up.
        let flattened = async {
            spf::check_lookups(
                &mechanisms.iter().filter(|one| !one.to_string().starts_with("include:")).cloned().collect::<Vec<_>>(),
                &Flattened::new(),
            )?;
            let flattened = spf::flatten(&mechanisms, self.0.dns.as_ref()).await?;
            spf::check_lookups(&mechanisms, &flattened)?;
            Ok(flattened)
        };
        let flattened = flattened.await.map_err(|error: spf::SpfError| DomainError::invalid("spf", error.to_string()))?;
        self.change(caller, name, |domain| {
            (domain.spf, domain.flattened) = (spf, flattened);
            Ok(())
        })
        .await
    }

    /// Takes all SPF mechanisms back to ours.
    ///
    /// # Errors
    /// There is no such domain.
    pub async fn reset_mechanisms(&self, caller: &Caller, name: &Domain) -> Result<Arc<SendingDomain>, DomainError> {
        self.change(caller, name, |domain| {
            domain.spf.clear();
            Ok(())
        })
        .await
    }

    /// Returns ours and those of the domain.
    pub fn mechanisms(&self, domain: &SendingDomain) -> Vec<Mechanism> {
        let settings = self.settings();
        self.publication(&settings, domain).mechanisms()
    }

    async fn change(
        &self,
        caller: &Caller,
        name: &Domain,
        change: impl FnOnce(&mut SendingDomain) -> Result<(), DomainError>,
    ) -> Result<Arc<SendingDomain>, DomainError> {
        let _turn = self.0.changing.lock().await;
        let mut domain = SendingDomain::clone(&*self.get(caller, name)?);
        change(&mut domain)?;
        self.keep(domain).await
    }

    async fn create(&self, owner: Option<Arc<str>>, name: &Domain) -> Result<SendingDomain, DomainError> {
        let ascii = name.to_ascii();
        if name.literal().is_some() || organization(&ascii).is_none() {
            return Err(DomainError::invalid("name", "is no domain that somebody can have"));
        }
        self.check_limits(owner.as_ref())?;
        let keys = [self.make_key().await?, self.make_key().await?, self.make_key().await?];
        let now = self.0.clock.now();
        SendingDomain::new(name.clone(), owner, Rotation::new(keys, now), now).ok_or_else(|| DomainError::invalid("name", "is too long"))
    }

    /// Checks that one domain more may be created.
    fn check_limits(&self, owner: Option<&Arc<str>>) -> Result<(), DomainError> {
        let (known, settings) = (self.known(), self.settings());
        let own = known.domains.values().filter(|domain| domain.owner.as_ref() == owner).count();
        let limit = |count: usize, most: u32| u32::try_from(count).map_or(true, |count| count >= most);
        if limit(known.domains.len(), settings.config.most) {
            return Err(DomainError::invalid(
                "name",
                format!("there are {} sender domains already, which is the limit", known.domains.len()),
            ));
        }
        if owner.is_some() && limit(own, settings.config.most_per_login) {
            return Err(DomainError::invalid("name", format!("this login has {own} sender domains already, which is its limit")));
        }
        Ok(())
    }

    /// Returns the domain of a name, whoever's it is.
    fn of_name(&self, name: &Domain) -> Option<Arc<SendingDomain>> {
        self.known().domains.get(&name.to_ascii()).cloned()
    }

    /// Whether the validation record is there.
    async fn is_validated(&self, domain: &SendingDomain) -> bool {
        let settings = self.settings();
        let checking = Checking { publication: self.publication(&settings, domain), dns: self.0.dns.as_ref() };
        checking.validation().await.is_ok()
    }

    /// Looks for the validation record, and for those of the bounce host.
    pub(super) async fn seen(&self, mut domain: SendingDomain) -> SendingDomain {
        let settings = self.settings();
        let checking = Checking { publication: self.publication(&settings, &domain), dns: self.0.dns.as_ref() };
        let is_valid = domain.approved.is_some() || checking.validation().await.is_ok();
        let bounces_seen = is_valid && checking.has_bounce_host().await.unwrap_or(domain.bounces_seen);
        if is_valid {
            domain.approved.get_or_insert(self.0.clock.now());
        }
        domain.bounces_seen = bounces_seen;
        domain
    }

    fn changed(&self, mut domain: SendingDomain, changes: Changes) -> Result<SendingDomain, DomainError> {
        let Changes { bounces, tracking, https, policy, percentage, start, end, addresses } = changes;
        for (field, host, place) in [("bounces", bounces, &mut domain.bounces), ("tracking", tracking, &mut domain.tracking)] {
            let Some(host) = host else { continue };
            if organization(&host.to_ascii()) != organization(&domain.name.to_ascii()) {
                return Err(DomainError::invalid(field, format!("{host} is not of the same organization as {}", domain.name)));
            }
            if field == "bounces" && host != *place {
                domain.bounces_seen = false;
            }
            *place = host;
        }
        if domain.bounces == domain.name {
            return Err(DomainError::invalid("bounces", "must be another host than the domain, whose own mail would come to us"));
        }
        domain.https = https.unwrap_or(domain.https);
        let dmarc = &mut domain.dmarc;
        dmarc.policy = policy.unwrap_or(dmarc.policy);
        dmarc.percentage = percentage.unwrap_or(dmarc.percentage);
        dmarc.start = start.unwrap_or(dmarc.start);
        dmarc.end = end.unwrap_or(dmarc.end);
        if dmarc.start.zip(dmarc.end).is_some_and(|(start, end)| end < start) {
            return Err(DomainError::invalid("enddate", "must not be before \"startdate\""));
        }
        if !addresses.is_empty() && domain.approved.is_none() {
            return Err(DomainError::invalid("address", "reports are sent to nobody before the domain is validated"));
        }
        let own = self.report_address();
        for address in addresses {
            if address != own && !domain.addresses.contains(&address) {
                domain.addresses.push(address);
            }
        }
        if domain.addresses.len() > MOST_ADDRESSES {
            return Err(DomainError::invalid("address", format!("at most {MOST_ADDRESSES} addresses")));
        }
        Ok(domain)
    }
}

fn taken() -> DomainError {
    DomainError::invalid("name", "another login has shown that it is its own")
}

/// The part of a name that one organization has registered (RFC 7489 §3.2, with the public suffix list); `None` of a public suffix itself.
fn organization(ascii: &str) -> Option<&str> {
    psl::domain_str(ascii)
}
