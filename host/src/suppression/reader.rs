//! Puts on the list what the event log says of addresses: mail that came back for good, and people who want no more.
//!
//! The reader follows the log off the way of mail. Entries and the place up to which the log was read are one commit, so that a crash makes
//! nothing be read twice that has led to an entry; what is read again changes nothing. A table without room holds up the reader and nobody
//! else, and it goes on from where it was when there is room.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::entry::{Entry, List, Note, Recipient, Scope, Sender, Source};
use super::{Suppressions, put};
use crate::clock::Timestamp;
use crate::config::{INBOUND, Suppress};
use crate::event::{EventKind, recorder};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;
use crate::spool::Spool;
use crate::spool::entry::Entry as Message;
use crate::store::{Batch, LoggedEvent, StoreError, ValueChange};
use crate::submission::Protocol;
use crate::submission::login::{Login, Logins};

/// The table of the reader's place, and its key.
const TABLE: &str = "suppression-reader";
const KEY: &[u8] = b"position";
/// Events read from the log at a time.
const EVENTS: usize = 500;
/// How long the reader rests behind a page: what is appended meanwhile is read at once.
const REST: Duration = Duration::from_millis(20);
/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Events that led to nothing after which the place is written down all the same.
const SAVE: u64 = 100_000;

/// Follows the log.
pub struct Reader {
    suppressions: Suppressions,
    spool: Spool,
    logins: Logins,
    /// The next event to read.
    position: u64,
    /// How many were read since the place was written down.
    unsaved: u64,
}

impl Reader {
    /// Finds out where the reader was; a new one begins with what happens from now on. From the moment when this returns, no event is missed.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open(suppressions: Suppressions, spool: Spool, logins: Logins) -> Result<Self, StoreError> {
        let store = spool.store();
        let kept = store.value(TABLE, KEY, Timestamp::default()).await?;
        let known = kept.and_then(|octets| octets.first_chunk::<8>().copied()).map(u64::from_le_bytes);
        let position = if let Some(position) = known {
            position
        } else {
            let end = store.usage().await?.log_ends;
            match store.commit(Batch { values: vec![place(end)], ..Batch::default() }).await {
                // A full disk stops nobody from starting: the place is written down with the first events.
                Ok(()) | Err(StoreError::Full) => {}
                Err(error) => return Err(error),
            }
            end
        };
        Ok(Self { suppressions, spool, logins, position, unsaved: 0 })
    }

    /// Reads until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            let store = Arc::clone(self.spool.store());
            let appended = store.events_appended();
            let rest = match self.step().await {
                Ok(more) => {
                    failing = false;
                    if !more {
                        tokio::select! {
                            () = shutdown.cancelled() => break,
                            () = appended => {}
                        }
                    }
                    REST
                }
                Err(failure) => {
                    if !std::mem::replace(&mut failing, true) {
                        error!(error = &failure as &dyn std::error::Error, "addresses are not put on the suppression list");
                    }
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(rest) => {}
            }
        }
        if self.unsaved > 0
            && let Err(failure) = self.spool.store().commit(Batch { values: vec![place(self.position)], ..Batch::default() }).await
        {
            debug!(%failure, "the place of the suppression list on the log is not written down: some events are read again");
        }
    }

    /// Reads one page; whether there may be more.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let page = self.spool.store().events(self.position, EVENTS).await?;
        let Some(last) = page.last() else { return Ok(false) };
        let next = last.position + 1;
        let mut values = Vec::new();
        for logged in &page {
            values.extend(self.entry(logged).await?.as_ref().and_then(put));
        }
        self.unsaved += u64::try_from(page.len()).unwrap_or(u64::MAX);
        if !values.is_empty() || self.unsaved >= SAVE {
            values.push(place(next));
            self.suppressions.commit(values).await?;
            self.unsaved = 0;
        }
        self.position = next;
        Ok(true)
    }

    /// Returns the entry that an event leads to, if it leads to one that is not there.
    async fn entry(&self, logged: &LoggedEvent) -> Result<Option<Entry>, StoreError> {
        // One that cannot be read was told by who builds the search index.
        let Ok(event) = recorder::decode(&logged.octets) else { return Ok(None) };
        let Some((source, reason)) = cause(&event.kind) else { return Ok(None) };
        let Some(address) = event.address.as_deref().and_then(|text| EmailAddress::parse(text).ok()) else { return Ok(None) };
        // Of a login that is gone nobody can say that it does not want this.
        if event.login.is_empty()
            || *event.login == *INBOUND
            || self.logins.by_name(&event.login).is_some_and(|login| !wants(&login, source))
        {
            return Ok(None);
        }
        let message = match self.spool.entry(event.message).await {
            Ok(message) => message,
            Err(StoreError::Damaged(_)) => None,
            Err(error) => return Err(error),
        };
        if message.as_ref().is_some_and(is_exempt) {
            return Ok(None);
        }
        let reverse_path = message.as_ref().and_then(|message| message.reverse_path.mailbox().cloned());
        let sender = Sender { login: &event.login, domain: reverse_path.as_ref().map(EmailAddress::domain) };
        let scope = Scope::Login(Arc::clone(&event.login));
        let standing = self.suppressions.standing(&address).await?;
        if standing.is_allowed(&sender) || standing.has(List::Blocked, &scope) {
            return Ok(None);
        }
        let sender = reverse_path.map(|address| address.to_string()).unwrap_or_default();
        let subject = message.map(|message| message.subject).unwrap_or_default();
        let note = Note { source, at: event.at, reason, sender, subject };
        Ok(Some(Entry { list: List::Blocked, scope, recipient: Recipient::of(&address), note }))
    }
}

/// Whether the lists do not concern a message: reports of ours, and mail from outside that is forwarded, are no mail of a login.
pub fn is_exempt(message: &Message) -> bool {
    (message.reverse_path == ReversePath::Null && message.received.protocol == Protocol::Local) || *message.login == *INBOUND
}

/// Why an event puts an address on the list, if it does.
fn cause(kind: &EventKind) -> Option<(Source, String)> {
    if let EventKind::Bounced { reply, class, .. } = kind {
        return class.is_hard().then(|| (Source::Bounce, reply.clone()));
    }
    if let EventKind::Complained { by, .. } = kind {
        return Some((Source::Spam, format!("complained: {by}")));
    }
    if let EventKind::Unsubscribed { one_click, .. } = kind {
        let reason = if *one_click { "one-click unsubscription" } else { "unsubscribed on the page" };
        return Some((Source::Unsubscribe, reason.to_owned()));
    }
    None
}

/// Whether a login has its list filled from a source.
fn wants(login: &Login, source: Source) -> bool {
    let word = match source {
        Source::Bounce => Suppress::Bounce,
        Source::Spam => Suppress::Spam,
        Source::Unsubscribe => Suppress::Unsubscribe,
        // Nobody but people puts these there.
        Source::Manual | Source::ValidationFailed => return true,
    };
    login.suppress.contains(&word)
}

fn place(position: u64) -> ValueChange {
    let value = Some(Bytes::copy_from_slice(&position.to_le_bytes()));
    ValueChange { table: TABLE.into(), key: Bytes::from_static(KEY), value, expires: Timestamp::NEVER }
}
