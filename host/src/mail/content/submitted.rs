//! What we ask of a message that is handed in, and what we add to it (message submission, RFC 6409).

use bytes::Bytes;

use super::transfer::{is_crlf, to_crlf};
use super::{Draft, EditError, Position};
use crate::clock::{Entropy, Timestamp};
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::header::{self, AddressListError, Mailbox, MessageIdField};

/// How many `Received` fields a message may have; with more it goes round in circles. RFC 5321 §6.3 wants 100 to pass on a relay's way; what
/// is handed in to be sent has hardly begun its own.
pub const MAX_RECEIVED: usize = 50;

/// Returns octets with CRLF for each CR, LF or CRLF; shares them where all is well already.
///
/// For messages that come as text, in JSON for one, where nobody writes CRLF. Over SMTP such octets are refused.
pub fn with_crlf(octets: Bytes) -> Bytes {
    if is_crlf(&octets) { octets } else { to_crlf(&octets).into() }
}

impl Draft {
    /// Adds the fields that every message has and this one lacks: `Date` and `Message-ID` (RFC 6409 §8.2, §8.3).
    ///
    /// `domain` is one of ours, for the id; nothing is changed in a message that has both.
    pub fn complete(&mut self, now: Timestamp, domain: &Domain, entropy: &Entropy) -> Result<(), EditError> {
        if self.header_raw("Date").is_none() {
            self.add_header("Date", &now.to_rfc5322(), Position::Last)?;
        }
        if self.header_raw("Message-ID").is_none() {
            self.add_header("Message-ID", &MessageIdField::random(domain, entropy).to_string(), Position::Last)?;
        }
        Ok(())
    }

    /// Whether the message has passed more servers than any way has: [`MAX_RECEIVED`].
    pub fn is_looping(&self) -> bool {
        self.header.find("Received", &self.original).nth(MAX_RECEIVED).is_some()
    }

    /// Returns the subject, decoded.
    pub fn subject(&self) -> Option<String> {
        self.header("Subject")
    }

    /// Returns the id that the sender gave the message.
    pub fn message_id_field(&self) -> Option<MessageIdField> {
        MessageIdField::parse(&self.header("Message-ID")?).ok()
    }

    /// Returns when the sender says that he wrote the message.
    pub fn date(&self) -> Option<Timestamp> {
        header::parse_date(&self.header("Date")?)
    }

    /// Returns the addresses of all `From` fields: who the message says that it is from.
    ///
    /// # Errors
    /// A field is no list of addresses: nobody knows what a reader will make of it, so the question whether the sender may use it has
    /// no answer.
    pub fn from_addresses(&self) -> Result<Vec<EmailAddress>, AddressListError> {
        let mut addresses = Vec::new();
        for field in self.header.find("From", &self.original) {
            let list = Mailbox::parse_list(&header::unfold(field.raw(&self.original)))?;
            addresses.extend(list.into_iter().map(|mailbox| mailbox.address));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn draft(message: &str) -> Draft {
        Draft::new(Bytes::copy_from_slice(message.as_bytes()))
    }

    #[test]
    fn missing_fields_are_added_and_others_kept() {
        let (now, domain) = (Timestamp::from_millis(1_533_081_600_000), Domain::parse("mail.example").unwrap());
        let mut bare = draft("Subject: x\r\n\r\nbody\r\n");
        bare.complete(now, &domain, &Entropy::seeded(1)).unwrap();
        assert_eq!(bare.date(), Some(now));
        assert!(bare.message_id_field().is_some_and(|id| id.as_str().ends_with("@mail.example")));
        assert_eq!(bare.header_names(), ["Subject", "Date", "Message-ID"]);

        let mut complete = draft("message-id: <a@b>\r\nDATE: Wed, 1 Aug 2018 00:00:00 +0000\r\n\r\n");
        complete.complete(now, &domain, &Entropy::seeded(1)).unwrap();
        assert!(!complete.is_edited());
    }

    #[test]
    fn all_senders_are_told() {
        let senders =
            |message| draft(message).from_addresses().map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(senders("From: A <a@x>,\r\n \"b@y\" <c@z>\r\nfrom: =?utf-8?Q?d=40x?= <e@x>\r\n\r\n").as_deref(), Ok("a@x c@z e@x"));
        assert_eq!(senders("Subject: none\r\n\r\n").as_deref(), Ok(""));
        assert_eq!(senders("From: A <a@x> <b@y>\r\n\r\n"), Err(AddressListError::Syntax));
    }

    #[test]
    fn line_ends_become_crlf() {
        let good = Bytes::from_static(b"a\r\n\xff\r\n");
        assert_eq!(with_crlf(good.clone()).as_ptr(), good.as_ptr());
        assert_eq!(with_crlf(Bytes::from_static(b"a\n\xff\rb\r\n\n")), &b"a\r\n\xff\r\nb\r\n\r\n"[..]);
    }

    #[test]
    fn many_hops_are_a_loop() {
        let hops = |count| draft(&format!("{}Subject: x\r\n\r\n", "Received: from a by b; now\r\n".repeat(count)));
        assert!(!hops(MAX_RECEIVED).is_looping());
        assert!(hops(MAX_RECEIVED + 1).is_looping());
    }
}
