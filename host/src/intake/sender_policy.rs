//! What is done with mail whose From is of a domain that nobody has shown to be the login's: what is another's is refused, for the rest there is a policy.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::Parts;
use super::trace_header::HeaderFacts;
use crate::config::UnverifiedSenders;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;
use crate::mail::header::Mailbox;
use crate::mail::header::raw_fields::RawFields;
use crate::mail::refusal::Refusal;
use crate::sending_domain::{SendingDomains, Standing};
use crate::submission::Submission;
use crate::submission::login::Login;

impl Parts {
    /// Returns the submission as it goes on: with our envelope and a Sender field, where its From is not verified and that is what is to be done.
    ///
    /// # Errors
    /// [`Refusal::SenderNotAllowed`], where that is what is to be done, and where From or the envelope is of a domain that is another's.
    pub(super) fn with_verified_sender<'a>(
        &self,
        submission: &'a Submission,
        facts: &HeaderFacts<'_>,
    ) -> Result<Cow<'a, Submission>, Refusal> {
        let Some(domains) = &self.domains else { return Ok(Cow::Borrowed(submission)) };
        check_foreign(domains, &submission.login, &facts.from)?;
        if let Some(address) = submission.envelope.reverse_path.mailbox() {
            check_own(domains, &submission.login, address)?;
        }
        let policy = policy(domains, &submission.login);
        if policy == UnverifiedSenders::Accept {
            return Ok(Cow::Borrowed(submission));
        }
        let Some(address) = unverified(domains, &submission.login, facts.from.iter().copied()) else {
            return Ok(Cow::Borrowed(submission));
        };
        if policy == UnverifiedSenders::Refuse {
            return Err(Refusal::SenderNotAllowed { address });
        }
        let envelope = domains.envelope();
        let mut submission = submission.clone();
        submission.content = with_sender(&submission.content, &envelope);
        // What has no reverse-path is a report: it must not come to have one.
        if submission.envelope.reverse_path != ReversePath::Null {
            submission.envelope.reverse_path = ReversePath::Mailbox(envelope);
        }
        Ok(Cow::Owned(submission))
    }

    /// Checks From as plugins left it.
    ///
    /// # Errors
    /// As for [`Self::with_verified_sender`].
    pub(super) fn check_changed_sender(&self, login: &Login, from: &[&[u8]]) -> Result<(), Refusal> {
        let Some(domains) = &self.domains else { return Ok(()) };
        check_foreign(domains, login, from)?;
        match policy(domains, login) {
            UnverifiedSenders::Refuse => match unverified(domains, login, from.iter().copied()) {
                Some(address) => Err(Refusal::SenderNotAllowed { address }),
                None => Ok(()),
            },
            UnverifiedSenders::Accept | UnverifiedSenders::ReEnvelope => Ok(()),
        }
    }
}

/// What is to be done.
fn policy(domains: &SendingDomains, login: &Login) -> UnverifiedSenders {
    login.unverified_senders.unwrap_or_else(|| domains.unverified_senders())
}

/// Refuses addresses in From whose domain is another's, whatever the policy. What cannot be read names nobody: it is for the policy.
fn check_foreign(domains: &SendingDomains, login: &Login, from: &[&[u8]]) -> Result<(), Refusal> {
    let mut addresses = from.iter().filter_map(|value| Mailbox::parse_senders(value).ok()).flatten();
    addresses.try_for_each(|address| check_own(domains, login, &address))
}

fn check_own(domains: &SendingDomains, login: &Login, address: &EmailAddress) -> Result<(), Refusal> {
    match domains.standing(&login.name, address.domain()) {
        Standing::Unknown | Standing::Open => Ok(()),
        Standing::Foreign => Err(Refusal::SenderNotAllowed { address: address.to_string() }),
    }
}

/// The first address in From, as far as it can be read, whose domain is not approved; no From at all is one without name.
fn unverified<'f>(domains: &SendingDomains, login: &Login, from: impl IntoIterator<Item = &'f [u8]>) -> Option<String> {
    let mut is_there = false;
    for value in from {
        let Ok(addresses) = Mailbox::parse_senders(value) else {
            return Some(String::from_utf8_lossy(value.trim_ascii()).chars().take(320).collect());
        };
        let other = addresses.iter().find(|address| !domains.is_approved(&login.name, address.domain()));
        if let Some(other) = other {
            return Some(other.to_string());
        }
        is_there |= !addresses.is_empty();
    }
    (!is_there).then(String::new)
}

/// Puts our Sender field (RFC 5322 §3.6.2) in the place of those that are there.
fn with_sender(content: &Bytes, sender: &EmailAddress) -> Bytes {
    let mut changed = BytesMut::with_capacity(content.len() + 320);
    changed.extend_from_slice(format!("Sender: {sender}\r\n").as_bytes());
    let mut lines = RawFields::of(content);
    for line in lines.by_ref() {
        if !line.field.is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"sender")) {
            changed.extend_from_slice(content.get(line.place).unwrap_or_default());
        }
    }
    changed.extend_from_slice(content.get(lines.place()..).unwrap_or_default());
    changed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_sender() {
        let ours = EmailAddress::parse("mailer@mail.example").expect("an address");
        let content =
            Bytes::from_static(b"From: a@x.example\r\nsender : b@x.example,\r\n c@x.example\r\nSubject: s\r\n\r\nSender: body\r\n");
        let expected = "Sender: mailer@mail.example\r\nFrom: a@x.example\r\nSubject: s\r\n\r\nSender: body\r\n";
        assert_eq!(with_sender(&content, &ours), expected);
    }
}
