//! Mail that begins here: reports, and what came back and goes on.
//!
//! It goes from the null reverse-path to one recipient, and nobody hears what becomes of it, so that no loop can begin (RFC 5321 §4.5.5).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;

use super::NewEntry;
use super::entry::{Copy, Entry, Terms};
use crate::chain::Plan;
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::mail::address::EmailAddress;
use crate::mail::content::Composition;
use crate::mail::envelope::{BodyType, Notify, ReversePath};
use crate::mail::message_id::MessageId;
use crate::store::QueueName;
use crate::submission::{Protocol, Received};

/// A message that begins here.
#[derive(Clone, Debug)]
pub struct LocalMail<'a> {
    /// Its id.
    pub id: MessageId,
    /// When it begins.
    pub now: Timestamp,
    /// Under which login it is seen.
    pub login: Arc<str>,
    /// The route that it takes.
    pub route: Arc<str>,
    /// Where it waits.
    pub queue: QueueName,
    /// Who gets it.
    pub to: &'a EmailAddress,
    /// Its decoded Subject.
    pub subject: String,
    /// All of it.
    pub content: Bytes,
    /// Whether an address of it, or its header, takes an internationalised way (RFC 6531).
    pub smtputf8: bool,
    /// What is agreed about its delivery.
    pub terms: Terms,
}

impl LocalMail<'_> {
    /// Makes what is kept of it, with the event that tells of it.
    pub fn into_entry(self) -> NewEntry {
        let Self { id, now, login, route, queue, to, subject, content, smtputf8, terms } = self;
        let accepted = Event {
            at: now,
            message: id,
            login: Arc::clone(&login),
            recipient: None,
            address: None,
            tags: Vec::new(),
            kind: EventKind::Accepted {
                protocol: "local".to_owned(),
                peer: String::new(),
                reverse_path: String::new(),
                recipients: vec![to.to_string()],
                recipient_count: 1,
                subject: subject.clone(),
                size: u64::try_from(content.len()).unwrap_or(u64::MAX),
                plugins: Vec::new(),
            },
        };
        let entry = Entry {
            id,
            login: Arc::clone(&login),
            route,
            received: Received { at: now, peer: IpAddr::V4(Ipv4Addr::LOCALHOST), helo: None, protocol: Protocol::Local },
            reverse_path: ReversePath::Null,
            ret: None,
            envid: None,
            body: if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
            smtputf8,
            subject,
            tags: Vec::new(),
            recipient_count: 1,
            deliver_before: None,
            options: String::new(),
            plan: Plan::plain(login, id, now),
            terms,
        };
        let copy = Copy { address: to.clone(), notify: Some(Notify::NEVER), original: None, variables: String::new() };
        NewEntry {
            entry,
            body: Composition::plain(content).encode(),
            original: None,
            copies: vec![(copy, queue)],
            held: None,
            not_before: None,
            events: vec![accepted],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn nobody_hears_what_becomes_of_it() {
        let to = EmailAddress::parse("x@b.example").unwrap();
        let (id, now) = (MessageId::from_bytes([1; 16]), Timestamp::from_millis(5));
        for (content, body) in [("Subject: s\r\n\r\n", BodyType::SevenBit), ("Subject: s\r\n\r\nä", BodyType::EightBitMime)] {
            let mail = LocalMail {
                id,
                now,
                login: "login".into(),
                route: "direct".into(),
                queue: "direct/b.example".into(),
                to: &to,
                subject: "s".to_owned(),
                content: content.into(),
                smtputf8: false,
                terms: Terms { unsigned: true, ..Terms::default() },
            };
            let NewEntry { entry, body: kept, copies, events, .. } = mail.into_entry();
            assert_eq!((entry.reverse_path, entry.body, entry.terms.unsigned), (ReversePath::Null, body, true));
            assert_eq!(kept, Composition::plain(content.into()).encode());
            let [(copy, queue)] = &*copies else { panic!("{copies:?}") };
            assert_eq!((copy.notify, &**queue), (Some(Notify::NEVER), "direct/b.example"));
            let [Event { message, recipient: None, kind: EventKind::Accepted { recipients, size, .. }, .. }] = &*events else {
                panic!("{events:?}")
            };
            assert_eq!((*message, recipients.join(" "), *size), (id, to.to_string(), u64::try_from(content.len()).unwrap()));
        }
    }
}
