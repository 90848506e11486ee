//! What is done with a message: one entry of the spool for the message itself, and what follows from it beside it, to be kept in one commit.
//!
//! A message is kept under its own id, as it came in with our fields in front. The copy that is forwarded hangs on it; where it is forwarded for several
//! mailboxes, the others are messages of their own, as each names its mailbox in `Delivered-To`, which ends loops.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::FORWARDED_FROM;
use super::authentication::Findings;
use super::directory::Mailbox;
use super::trace_header::prepend;
use crate::chain::Plan;
use crate::clock::{Entropy, Timestamp};
use crate::config::{InboundAction, Route};
use crate::event::{Event, EventKind, FORWARD};
use crate::intake::trace_header::received_field;
use crate::mail::address::EmailAddress;
use crate::mail::content::Composition;
use crate::mail::domain::Domain;
use crate::mail::envelope::Notify;
use crate::mail::header;
use crate::mail::message_id::MessageId;
use crate::spool::NewEntry;
use crate::spool::entry::{Copy, Entry, Terms};
use crate::spool::queue::{self, Lane};
use crate::store::QueueName;
use crate::submission::Submission;

/// Octets of a subject that are kept in events.
const SUBJECT: usize = 998;

/// A message that is taken.
pub(super) struct Arrival<'a> {
    pub(super) submission: &'a Submission,
    pub(super) hostname: &'a Domain,
    pub(super) routes: &'a BTreeMap<Arc<str>, Route>,
    /// Who gets it, in the order of the envelope.
    pub(super) mailboxes: &'a [(&'a EmailAddress, &'a Mailbox)],
    /// The raw value of Subject.
    pub(super) subject: &'a [u8],
    pub(super) findings: &'a Findings,
    pub(super) now: Timestamp,
}

/// Where a copy is sent on to.
struct Forwarding<'a> {
    /// For whom.
    mailbox: &'a EmailAddress,
    to: &'a EmailAddress,
    route: &'a Arc<str>,
}

impl Arrival<'_> {
    /// Returns what is kept: the message, and others that follow from it.
    pub(super) fn entries(&self, entropy: &Entropy) -> (NewEntry, Vec<NewEntry>) {
        let id = self.submission.id;
        let (mut forwarded, mut others) = (None, Vec::new());
        let mut actions: VecDeque<(&EmailAddress, String)> = VecDeque::with_capacity(self.mailboxes.len());
        for (mailbox, Mailbox { action, .. }) in self.mailboxes {
            match action {
                InboundAction::Keep => actions.push_back((mailbox, "keep".to_owned())),
                InboundAction::Bounces => actions.push_back((mailbox, "bounces".to_owned())),
                InboundAction::Complaints => actions.push_back((mailbox, "complaints".to_owned())),
                InboundAction::DmarcReports => actions.push_back((mailbox, "dmarc".to_owned())),
                InboundAction::Forward { to, route } => {
                    let forwarding = Forwarding { mailbox, to, route };
                    if forwarded.is_none() {
                        // Its copy is the message's first, and so it is the first recipient.
                        actions.push_front((mailbox, FORWARD.to_owned()));
                        forwarded = Some(forwarding);
                        continue;
                    }
                    let other = MessageId::new(self.now, entropy);
                    let accepted = self.accepted(other, vec![to.to_string()], "local");
                    others.push(self.entry(other, Some(&forwarding), vec![accepted]));
                    actions.push_back((mailbox, format!("{FORWARD} as {other}")));
                }
            }
        }
        let protocol = self.submission.received.protocol.keyword().to_ascii_lowercase();
        let mut events = vec![self.accepted(id, actions.iter().map(|(mailbox, _)| mailbox.to_string()).collect(), &protocol)];
        for (recipient, (mailbox, action)) in (0..).zip(actions) {
            let kind = EventKind::Received { action, authentication: self.findings.authentication.clone() };
            events.push(Event { recipient: Some(recipient), address: Some(mailbox.to_string()), ..self.event(id, kind) });
        }
        (self.entry(id, forwarded.as_ref(), events), others)
    }

    fn accepted(&self, id: MessageId, recipients: Vec<String>, protocol: &str) -> Event {
        let recipient_count = u32::try_from(recipients.len()).unwrap_or(u32::MAX);
        self.event(
            id,
            EventKind::Accepted {
                protocol: protocol.to_owned(),
                peer: self.submission.received.peer.to_string(),
                reverse_path: self.submission.envelope.reverse_path.to_string(),
                recipients,
                recipient_count,
                subject: self.subject(),
                size: u64::try_from(self.submission.content.len()).unwrap_or(u64::MAX),
                plugins: Vec::new(),
            },
        )
    }

    fn event(&self, message: MessageId, kind: EventKind) -> Event {
        let login = Arc::clone(&self.submission.login.name);
        Event { at: self.now, message, login, recipient: None, address: None, tags: Vec::new(), kind }
    }

    fn subject(&self) -> String {
        let mut subject = header::decode("Subject", self.subject);
        subject.truncate(subject.floor_char_boundary(SUBJECT));
        subject
    }

    fn entry(&self, id: MessageId, forwarding: Option<&Forwarding<'_>>, events: Vec<Event>) -> NewEntry {
        let Submission { login, received, envelope, .. } = self.submission;
        let copies: Vec<_> = forwarding.map(|forwarding| self.copy(forwarding)).into_iter().collect();
        let entry = Entry {
            id,
            login: Arc::clone(&login.name),
            route: forwarding.map_or_else(|| Arc::clone(&login.route), |forwarding| Arc::clone(forwarding.route)),
            received: received.clone(),
            reverse_path: FORWARDED_FROM,
            ret: None,
            envid: None,
            body: envelope.body,
            smtputf8: envelope.smtputf8,
            subject: self.subject(),
            tags: Vec::new(),
            recipient_count: u32::try_from(copies.len()).unwrap_or(u32::MAX),
            deliver_before: None,
            options: String::new(),
            plan: Plan::plain(Arc::clone(&login.name), id, received.at),
            terms: Terms { unsigned: true, ..Terms::default() },
        };
        let content = forwarding.map_or_else(|| self.kept(), |forwarding| self.content(Some(forwarding)));
        NewEntry { entry, body: Composition::plain(content).encode(), original: None, copies, held: None, not_before: None, events }
    }

    /// A copy that is sent on. Nobody wants to hear what becomes of it.
    fn copy(&self, forwarding: &Forwarding<'_>) -> (Copy, QueueName) {
        let Forwarding { mailbox, to, route } = forwarding;
        let original = mailbox.is_ascii().then(|| format!("rfc822;{mailbox}"));
        let copy = Copy { address: (*to).clone(), notify: Some(Notify::NEVER), original, variables: String::new() };
        let queue =
            self.routes.get(*route).map_or_else(|| Arc::clone(route), |kind| queue::name(route, kind, to.domain(), &Lane::default()));
        (copy, queue)
    }

    /// The message as it is kept: as it came in, with our fields in front.
    pub(super) fn kept(&self) -> Bytes {
        self.content(None)
    }

    fn content(&self, forwarding: Option<&Forwarding<'_>>) -> Bytes {
        let mut fields = String::with_capacity(1024);
        if let Some(Forwarding { mailbox, .. }) = forwarding {
            // Writing to a string cannot fail.
            let _ = write!(fields, "Delivered-To: {}\r\n", mailbox.to_ascii_domain());
        }
        fields.push_str(&self.findings.fields);
        received_field(self.submission, self.hostname, &mut fields);
        prepend(&self.submission.content, &fields, self.hostname).into()
    }
}
