//! What is done with mail whose From is of a domain that nobody has shown to be the login's: what is another's is refused, for the rest there is a policy.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::Parts;
use super::trace_header::HeaderFacts;
use crate::config::UnverifiedSenders;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;
use crate::mail::header::raw_fields::RawFields;
use crate::mail::refusal::Refusal;
use crate::submission::Submission;
use crate::submission::login::Login;
use crate::submission::sender_domain::{check_foreign, check_made, check_own, check_readable, policy, unverified};

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
        check_foreign(domains, &submission.login.name, facts.from.iter().copied())?;
        if let Some(address) = submission.envelope.reverse_path.mailbox() {
            check_own(domains, &submission.login.name, address)?;
        }
        let policy = policy(domains, &submission.login);
        if policy == UnverifiedSenders::Accept {
            return Ok(Cow::Borrowed(submission));
        }
        let Some(address) = unverified(domains, &submission.login.name, facts.from.iter().copied()) else {
            return Ok(Cow::Borrowed(submission));
        };
        if policy == UnverifiedSenders::Refuse {
            return Err(Refusal::SenderNotAllowed { address });
        }
        let envelope = domains.envelope();
        let mut submission = submission.clone();
        submission.content = with_sender(&submission.content, &envelope);
        submission.binary = submission.binary.as_ref().map(|binary| with_sender(binary, &envelope));
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
        check_made(domains, &login.name, policy(domains, login), from.iter().copied())
    }

    /// Checks a From that no plugin and no value changes any more.
    ///
    /// # Errors
    /// [`Refusal::SenderNotAllowed`]
    pub(super) fn check_readable_sender(&self, from: &[&[u8]]) -> Result<(), Refusal> {
        self.domains.as_ref().map_or(Ok(()), |domains| check_readable(domains, from.iter().copied()))
    }
}

/// Puts our Sender field (RFC 5322 §3.6.2) in the place of those that are there. Content without a header gets one, and is its body; the envelope of a
/// mailbox file in front of a header goes, as nobody would look for it behind our field.
fn with_sender(content: &Bytes, sender: &EmailAddress) -> Bytes {
    let mut changed = BytesMut::with_capacity(content.len() + 320);
    changed.extend_from_slice(format!("Sender: {sender}\r\n").as_bytes());
    let start = changed.len();
    let (mut lines, mut fields) = (RawFields::of(content), 0);
    for line in lines.by_ref() {
        match line.field {
            Some((name, _)) => {
                fields += 1;
                if name.eq_ignore_ascii_case(b"sender") {
                    continue;
                }
            }
            None if line.place.start == 0 => continue,
            None => {}
        }
        changed.extend_from_slice(content.get(line.place).unwrap_or_default());
    }
    if fields == 0 && lines.place() > 0 {
        changed.truncate(start);
        changed.extend_from_slice(b"\r\n");
        changed.extend_from_slice(content);
    } else {
        changed.extend_from_slice(content.get(lines.place()..).unwrap_or_default());
    }
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

    #[test]
    fn content_without_a_header_becomes_a_body() {
        let ours = EmailAddress::parse("mailer@mail.example").expect("an address");
        for (content, expected) in [
            ("Just text.\r\nAnd more.\r\n", "\r\nJust text.\r\nAnd more.\r\n"),
            ("From a file\r\nand text\r\n", "\r\nFrom a file\r\nand text\r\n"),
            ("\r\nA body.\r\n", "\r\nA body.\r\n"),
            ("", ""),
            ("From a@x.example Mon Aug  1\r\nFrom: a@x.example\r\n\r\nBody\r\n", "From: a@x.example\r\n\r\nBody\r\n"),
        ] {
            let changed = with_sender(&Bytes::copy_from_slice(content.as_bytes()), &ours);
            assert_eq!(changed, format!("Sender: mailer@mail.example\r\n{expected}"), "{content:?}");
        }
    }
}
