//! Mail that came back goes on to somebody, as it is: from the null reverse-path, and nobody hears what becomes of it, so that no loop can begin.

use std::sync::Arc;

use super::{Parts, ReturnedMail};
use crate::chain::Plan;
use crate::config::Login;
use crate::event::{Event, EventKind};
use crate::mail::address::EmailAddress;
use crate::mail::content::Composition;
use crate::mail::envelope::{BodyType, Notify, ReversePath};
use crate::mail::header::raw_fields::raw_values;
use crate::mail::message_id::MessageId;
use crate::spool::NewEntry;
use crate::spool::entry::{Copy, Entry, Terms};
use crate::spool::queue::{self, Lane};
use crate::submission::{Protocol, Received};

/// Received fields of mail that goes in circles.
const HOPS: usize = 30;

impl Parts {
    /// Makes the mail that goes on to `to` over the route of `login`; `None` where it has gone round too often.
    pub(super) fn forward(&self, mail: ReturnedMail<'_>, login: &Login, to: &EmailAddress) -> Option<NewEntry> {
        if raw_values(mail.content, "Received").count() > HOPS {
            tracing::warn!(message.id = %mail.id, "mail that came back goes in circles: it does not go on");
            return None;
        }
        let now = self.clock.now();
        let id = MessageId::new(now, &self.entropy);
        let subject = mail.subject();
        let content = mail.content.clone();
        let queue = match self.settings().routes.get(&login.route) {
            Some(kind) => queue::name(&login.route, kind, to.domain(), &Lane::default()),
            None => Arc::clone(&login.route),
        };
        let accepted = Event {
            at: now,
            message: id,
            login: Arc::clone(&login.name),
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
            login: Arc::clone(&login.name),
            route: Arc::clone(&login.route),
            received: Received { at: now, peer: std::net::Ipv4Addr::LOCALHOST.into(), helo: None, protocol: Protocol::Local },
            reverse_path: ReversePath::Null,
            ret: None,
            envid: None,
            body: if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
            // Internationalised reports have UTF-8 in their header.
            smtputf8: !header_is_ascii(&content),
            subject,
            tags: Vec::new(),
            recipient_count: 1,
            deliver_before: None,
            options: String::new(),
            plan: Plan::plain(Arc::clone(&login.name), id, now),
            // Whoever knows a return path writes what goes on here.
            terms: Terms { unsigned: true, ..Terms::default() },
        };
        let copy = Copy { address: to.clone(), notify: Some(Notify::NEVER), original: None, variables: String::new() };
        Some(NewEntry {
            entry,
            body: Composition::plain(content).encode(),
            original: None,
            copies: vec![(copy, queue)],
            held: None,
            not_before: None,
            events: vec![accepted],
        })
    }
}

fn header_is_ascii(content: &[u8]) -> bool {
    let end = memchr::memmem::find(content, b"\r\n\r\n").unwrap_or(content.len());
    content.get(..end).unwrap_or_default().is_ascii()
}
