//! Mail that came back goes on to somebody, as it is: from the null reverse-path, and nobody hears what becomes of it, so that no loop can begin.

use std::sync::Arc;

use super::{Parts, ReturnedMail};
use crate::config::Login;
use crate::mail::address::EmailAddress;
use crate::mail::header::raw_fields::raw_values;
use crate::mail::message_id::MessageId;
use crate::spool::NewEntry;
use crate::spool::entry::Terms;
use crate::spool::local::LocalMail;
use crate::spool::queue::{self, Lane};

/// Received fields of mail that goes in circles.
const HOPS: usize = 30;

impl Parts {
    /// Makes the mail that goes on to `to` over the route of `login`; `None` where it has gone round too often.
    pub(super) fn forward(&self, mail: ReturnedMail<'_>, login: &Login, to: &EmailAddress) -> Option<NewEntry> {
        if raw_values(mail.content, "Received").count() > HOPS {
            tracing::warn!(message.id = %mail.id, "mail that came back goes in circles: it does not go on");
            return None;
        }
        let (subject, content) = (mail.subject(), mail.content.clone());
        let queue = match self.settings().routes.get(&login.route) {
            Some(kind) => queue::name(&login.route, kind, to.domain(), &Lane::default()),
            None => Arc::clone(&login.route),
        };
        let now = self.clock.now();
        let mail = LocalMail {
            id: MessageId::new(now, &self.entropy),
            now,
            login: Arc::clone(&login.name),
            route: Arc::clone(&login.route),
            queue,
            to,
            subject,
            // Internationalised reports have UTF-8 in their header.
            smtputf8: !header_is_ascii(&content),
            content,
            // Whoever knows a return path writes what goes on here.
            terms: Terms { unsigned: true, ..Terms::default() },
        };
        Some(mail.into_entry())
    }
}

fn header_is_ascii(content: &[u8]) -> bool {
    let end = memchr::memmem::find(content, b"\r\n\r\n").unwrap_or(content.len());
    content.get(..end).unwrap_or_default().is_ascii()
}
