//! Whether From is of a sender domain that a login may use: an approved domain is its owner's alone, and of those that nobody has shown to be his,
//! `unverified_senders` says what is done.

use crate::config::UnverifiedSenders;
use crate::mail::address::EmailAddress;
use crate::mail::header::Mailbox;
use crate::mail::refusal::Refusal;
use crate::sending_domain::{SendingDomains, Standing};
use crate::submission::login::{Login, Logins};

/// Knows the domains, and what logins say of them. Cloning is cheap.
#[derive(Clone)]
pub struct SenderDomains {
    domains: SendingDomains,
    logins: Logins,
}

impl SenderDomains {
    /// Asks these.
    pub fn new(domains: SendingDomains, logins: Logins) -> Self {
        Self { domains, logins }
    }

    /// Checks From, of which the raw values are given, of a copy that was made for a login.
    ///
    /// # Errors
    /// [`Refusal::SenderNotAllowed`]
    pub fn check<'f>(&self, login: &str, from: impl Iterator<Item = &'f [u8]> + Clone) -> Result<(), Refusal> {
        let own = self.logins.by_name(login).and_then(|login| login.unverified_senders);
        check_made(&self.domains, login, own.unwrap_or_else(|| self.domains.unverified_senders()), from)
    }
}

/// What is to be done with mail of unverified senders.
pub fn policy(domains: &SendingDomains, login: &Login) -> UnverifiedSenders {
    login.unverified_senders.unwrap_or_else(|| domains.unverified_senders())
}

/// Checks From as plugins left it: there is no other envelope for it any more, whatever the policy.
///
/// # Errors
/// [`Refusal::SenderNotAllowed`]
pub fn check_made<'f>(
    domains: &SendingDomains,
    login: &str,
    policy: UnverifiedSenders,
    from: impl Iterator<Item = &'f [u8]> + Clone,
) -> Result<(), Refusal> {
    check_foreign(domains, login, from.clone())?;
    match policy {
        UnverifiedSenders::Refuse => match unverified(domains, login, from) {
            Some(address) => Err(Refusal::SenderNotAllowed { address }),
            None => Ok(()),
        },
        UnverifiedSenders::Accept | UnverifiedSenders::ReEnvelope => Ok(()),
    }
}

/// Refuses addresses in From whose domain is another's, whatever the policy. What cannot be read names nobody: it is for the policy.
///
/// # Errors
/// [`Refusal::SenderNotAllowed`]
pub fn check_foreign<'f>(domains: &SendingDomains, login: &str, from: impl Iterator<Item = &'f [u8]>) -> Result<(), Refusal> {
    let mut addresses = from.filter_map(|value| Mailbox::parse_senders(value).ok()).flatten();
    addresses.try_for_each(|address| check_own(domains, login, &address))
}

/// Refuses an address whose domain is another's.
///
/// # Errors
/// [`Refusal::SenderNotAllowed`]
pub fn check_own(domains: &SendingDomains, login: &str, address: &EmailAddress) -> Result<(), Refusal> {
    match domains.standing(login, address.domain()) {
        Standing::Unknown | Standing::Open => Ok(()),
        Standing::Foreign => Err(Refusal::SenderNotAllowed { address: address.to_string() }),
    }
}

/// Returns the first address in From, as far as it can be read, whose domain is not approved; no From at all is one without name.
pub fn unverified<'f>(domains: &SendingDomains, login: &str, from: impl Iterator<Item = &'f [u8]>) -> Option<String> {
    let mut is_there = false;
    for value in from {
        let Ok(addresses) = Mailbox::parse_senders(value) else {
            return Some(String::from_utf8_lossy(value.trim_ascii()).chars().take(320).collect());
        };
        let other = addresses.iter().find(|address| !domains.is_approved(login, address.domain()));
        if let Some(other) = other {
            return Some(other.to_string());
        }
        is_there |= !addresses.is_empty();
    }
    (!is_there).then(String::new)
}
