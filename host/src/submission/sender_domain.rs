//! Whether From is of a sender domain that a login may use: an approved domain is its owner's alone, and of those that nobody has shown to be his,
//! `unverified_senders` says what is done.

use crate::config::UnverifiedSenders;
use crate::mail::address::EmailAddress;
use crate::mail::header::encoded_word::without_controls;
use crate::mail::header::{Mailbox, unfold};
use crate::mail::refusal::Refusal;
use crate::sending_domain::{SendingDomains, Standing};
use crate::submission::login::{Login, Logins};
use crate::submission::permission::LONGEST_ADDRESS;

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
        check_made(&self.domains, login, own.unwrap_or_else(|| self.domains.unverified_senders()), from.clone())?;
        check_readable(&self.domains, from)
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

/// Refuses addresses in From whose domain is another's, whatever the policy: also those that only a lenient reader finds.
///
/// # Errors
/// [`Refusal::SenderNotAllowed`]
pub fn check_foreign<'f>(domains: &SendingDomains, login: &str, from: impl Iterator<Item = &'f [u8]>) -> Result<(), Refusal> {
    from.filter_map(addresses).flatten().try_for_each(|address| check_own(domains, login, &address))
}

/// Refuses a finished From in which nobody can be read, where any domain is approved: readers may see in it whom they will.
///
/// # Errors
/// [`Refusal::SenderNotAllowed`]
pub fn check_readable<'f>(domains: &SendingDomains, mut from: impl Iterator<Item = &'f [u8]>) -> Result<(), Refusal> {
    match from.find(|value| addresses(value).is_none()) {
        Some(value) if domains.has_approved() => {
            Err(Refusal::SenderNotAllowed { address: format!("{:?}: From cannot be read", shown(value)) })
        }
        Some(_) | None => Ok(()),
    }
}

/// The addresses in a value, as a reader finds them who overlooks much; `None` where even he finds none.
fn addresses(value: &[u8]) -> Option<Vec<EmailAddress>> {
    if let Ok(addresses) = Mailbox::parse_senders(value) {
        return Some(addresses);
    }
    let found = Mailbox::parse_field(value).ok().filter(|found| !found.is_empty())?;
    Some(found.into_iter().map(|mailbox| mailbox.address).collect())
}

/// What stands in the place of an address, as far as it is repeated.
fn shown(value: &[u8]) -> String {
    without_controls(&unfold(value)).trim().chars().take(LONGEST_ADDRESS).collect()
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
            return Some(shown(value));
        };
        let other = addresses.iter().find(|address| !domains.is_approved(login, address.domain()));
        if let Some(other) = other {
            return Some(other.to_string());
        }
        is_there |= !addresses.is_empty();
    }
    (!is_there).then(String::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_lenient_readers_find_counts_too() {
        for (raw, expected) in [
            (&b" A <a@x.example>, b@y.example"[..], Some("a@x.example b@y.example")),
            (b" <@x:ceo@victim.example>", Some("ceo@victim.example")),
            (b" ceo@victim .example", Some("ceo@victim.example")),
            (b" a@x.example, ceo@victim(x).example", Some("a@x.example ceo@victim.example")),
            (b" ", Some("")),
            (b" John Doe", None),
            (b" ceo@victim.example: a@x.example;", None),
            (b" \x01", None),
        ] {
            let found = addresses(raw).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), expected, "{}", shown(raw));
        }
    }
}
