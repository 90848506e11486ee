//! What follows from mail that comes back: events of the message that it is about, and what its login wants done with it.
//!
//! | what came | events | goes on to the envelope's sender |
//! |---|---|---|
//! | DSN, or a bounce in free text | `bounced`, `reported` | where NOTIFY asks for it |
//! | automatic answer, or what is not known | `responded` | always |
//! | complaint | `complained` | never |
//! | DMARC report | `dmarc_reported` | never |
//!
//! A login's `bounce_management` takes the place of the last column. Everything is written down in one batch with the mail itself: nothing is done twice,
//! and nothing is lost.
//!
//! Which message something is about is believed where it is signed: the address that it came to ([`crate::verp`]), or one or a link of ours in the header
//! that came back. A `Message-ID` of ours serves for complaints alone, as providers hide everything else; it cannot be guessed, but recipients know it.

pub mod callback;
pub mod dmarc;
mod forwarding;
mod repetition;
mod reporters;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::bounce::aggregate::{Aggregate, AggregateError, Limits};
use crate::bounce::complaint::ComplaintKind;
use crate::bounce::trail::Trail;
use crate::bounce::{self, Action, Arrival, Complaint, DeliveryReport, RecipientReport, Report, ResponseKind};
use crate::clock::{Clock, Entropy};
use crate::config::{BounceManagement, Config, Login, Returns, Route};
use crate::event::index::SearchIndex;
use crate::event::recorder;
use crate::event::{Event, EventKind};
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::Draft;
use crate::mail::domain::Domain;
use crate::mail::envelope::Notify;
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::entry::Entry;
use crate::spool::{NewEntry, Spool};
use crate::store::{StoreError, ValueChange};
use crate::submission::login::Logins;
use crate::telemetry::metric::Metrics;
use crate::verp::{Returned, Verp};
use repetition::Repeated;
use reporters::Reporters;

/// Events behind those that are indexed that are looked through for an address.
const RECENT_EVENTS: usize = 2_000;
/// Octets of a subject that an event has.
const SUBJECT: usize = 998;

/// Takes in what comes back. Cloning is cheap.
#[derive(Clone)]
pub struct Feedback(Arc<Parts>);

/// What it works with.
pub struct FeedbackParts {
    /// Knows what was sent.
    pub spool: Spool,
    /// Knows to whom.
    pub index: SearchIndex,
    /// Knows whose mail it was.
    pub logins: Logins,
    /// Reads return paths.
    pub verp: Verp,
    /// Reads links.
    pub links: LinkSigner,
    /// Counts.
    pub metrics: Metrics,
    /// Tells the time.
    pub clock: Clock,
    /// Draws ids.
    pub entropy: Entropy,
    /// What comes of the configuration.
    pub settings: FeedbackSettings,
}

struct Parts {
    spool: Spool,
    index: SearchIndex,
    logins: Logins,
    verp: Verp,
    links: LinkSigner,
    metrics: Metrics,
    clock: Clock,
    entropy: Entropy,
    settings: RwLock<Arc<FeedbackSettings>>,
    reporters: Reporters,
}

/// What is taken of the configuration.
#[derive(Clone, Debug)]
pub struct FeedbackSettings {
    /// `[bounces]`.
    pub returns: Returns,
    /// Ways out for what goes on.
    pub routes: BTreeMap<Arc<str>, Route>,
    /// Domain of Message-IDs that we made.
    pub hostname: Domain,
    /// How long mail is kept.
    pub retention: Duration,
}

impl FeedbackSettings {
    /// Reads them from the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            returns: config.returns.clone(),
            routes: config.routes.clone(),
            hostname: config.server.hostname.clone(),
            retention: config.store.retention,
        }
    }
}

/// What mail to an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Return paths: everything may come there but DMARC reports.
    Bounces,
    /// The address of feedback loops: complaints.
    Complaints,
    /// The address of `rua`: DMARC reports.
    Dmarc,
}

/// Mail that came back, as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct ReturnedMail<'a> {
    /// What the address is for.
    pub purpose: Purpose,
    /// Under which id it is kept: events name it, and calls and the dashboard show it.
    pub id: MessageId,
    /// The login that stands for inbound mail: whose event a DMARC report is.
    pub login: &'a Arc<str>,
    /// The mail with CRLF line ends.
    pub content: &'a Bytes,
    /// How it came.
    pub arrival: Arrival<'a>,
    /// Whence.
    pub peer: IpAddr,
}

impl ReturnedMail<'_> {
    /// Its subject, cut.
    fn subject(&self) -> String {
        let mut subject = Draft::new(self.content.clone()).header("Subject").unwrap_or_default();
        subject.truncate(subject.floor_char_boundary(SUBJECT));
        subject
    }

    /// Finds out what it says, away from the threads that serve connections: that takes its time where it is large.
    async fn read(&self) -> Result<Report, StoreError> {
        let (content, recipient) = (self.content.clone(), self.arrival.recipient.clone());
        let (reverse_path, at) = (self.arrival.reverse_path.clone(), self.arrival.at);
        aside(move || bounce::read(&content, &Arrival { recipient: &recipient, reverse_path: &reverse_path, at })).await
    }
}

/// Does what takes long where nobody waits for the thread; fails only where the server stops.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Unreadable("the work was given up".into()))
}

/// What is to be written down together with the mail.
#[derive(Debug, Default)]
pub struct Consequences {
    /// Events.
    pub events: Vec<Event>,
    /// Mail that goes on.
    pub follow_up: Vec<NewEntry>,
    /// Calls that are to be made.
    pub values: Vec<ValueChange>,
}

impl Consequences {
    /// Adds an event.
    fn and(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Adds what follows for another address.
    pub fn append(&mut self, mut other: Self) {
        self.events.append(&mut other.events);
        self.follow_up.append(&mut other.follow_up);
        self.values.append(&mut other.values);
    }
}

/// What something is about.
struct Subject {
    copy: CopyId,
    login: Arc<Login>,
    /// Where it is still kept.
    entry: Option<Entry>,
    /// Of what the sender wants to hear; nothing where that is not known.
    notify: Option<Notify>,
    /// To whom it went, where that is known.
    address: Option<String>,
}

impl Feedback {
    /// Puts it together.
    pub fn new(parts: FeedbackParts) -> Self {
        let FeedbackParts { spool, index, logins, verp, links, metrics, clock, entropy, settings } = parts;
        let (settings, reporters) = (RwLock::new(Arc::new(settings)), Reporters::default());
        Self(Arc::new(Parts { spool, index, logins, verp, links, metrics, clock, entropy, settings, reporters }))
    }

    /// Goes on with other settings.
    pub fn reconfigure(&self, settings: FeedbackSettings) {
        *self.0.settings.write() = Arc::new(settings);
    }

    /// Reads a return path of ours; `None` is for addresses that we did not make, or made too long ago. Whose host it is at is for others to see.
    pub fn read(&self, address: &EmailAddress) -> Option<Returned> {
        self.0.read(address)
    }

    /// Finds out what follows from mail that came back.
    ///
    /// # Errors
    /// The store cannot be read: the mail is to be deferred.
    pub async fn consequences(&self, mail: ReturnedMail<'_>) -> Result<Consequences, StoreError> {
        let parts = &*self.0;
        let returned = self.read(mail.arrival.recipient);
        match (mail.read().await?, mail.purpose) {
            (Report::Aggregate(file), Purpose::Dmarc) => parts.aggregate(mail, file).await,
            (Report::Complaint(complaint), Purpose::Bounces | Purpose::Complaints) => {
                let subject = self.find(returned, &complaint.trail, true).await?;
                match subject {
                    Some(subject) => parts.complaint(mail, &subject, &complaint).await,
                    None => Ok(Consequences::default()),
                }
            }
            (Report::Delivery(report), Purpose::Bounces) => match self.find(returned, &report.trail, false).await? {
                Some(subject) => parts.delivery(mail, subject, &report).await,
                None => Ok(Consequences::default()),
            },
            (Report::Response(kind), Purpose::Bounces) => self.response(mail, returned, Some(kind)).await,
            (Report::Unrecognised | Report::Aggregate(_), Purpose::Bounces) => self.response(mail, returned, None).await,
            // The mail is kept, and can be looked at.
            _ => Ok(Consequences::default()),
        }
    }

    async fn response(
        &self,
        mail: ReturnedMail<'_>,
        returned: Option<Returned>,
        kind: Option<ResponseKind>,
    ) -> Result<Consequences, StoreError> {
        let Some(subject) = self.find(returned, &Trail::default(), false).await? else { return Ok(Consequences::default()) };
        self.0.responded(mail, &subject, kind).await
    }

    /// Finds out what something is about: by the address that it came to, or else by what came back with it.
    async fn find(&self, returned: Option<Returned>, trail: &Trail, by_message_id: bool) -> Result<Option<Subject>, StoreError> {
        let parts = &*self.0;
        let addresses = || trail.addresses.iter().filter_map(|address| self.read(&EmailAddress::parse(address).ok()?));
        if let Some(returned) = returned.or_else(|| addresses().next()) {
            return parts.subject(returned.copy, Some(returned), Some(returned.notify)).await;
        }
        let mut links = trail.links.iter().filter_map(|link| {
            let path = link.strip_prefix(parts.links.base())?;
            parts.links.verify(path)
        });
        if let Some(signed) = links.next() {
            return parts.subject(signed.copy, None, None).await;
        }
        if !by_message_id {
            return Ok(None);
        }
        let hostname = parts.settings().hostname.to_ascii();
        for id in &trail.message_ids {
            let Some((local, domain)) = id.split_once('@') else { continue };
            let Some(message) = local.parse::<MessageId>().ok().filter(|_| domain.eq_ignore_ascii_case(&hostname)) else { continue };
            // It stands for one copy where there is only one.
            let Some(subject) = parts.subject(CopyId { message, recipient: 0 }, None, None).await? else { continue };
            if subject.entry.as_ref().is_some_and(|entry| entry.recipient_count == 1) {
                return Ok(Some(subject));
            }
        }
        Ok(None)
    }
}

impl Parts {
    fn settings(&self) -> Arc<FeedbackSettings> {
        Arc::clone(&self.settings.read())
    }

    /// Reads a return path with the period of the configuration as it is now.
    fn read(&self, address: &EmailAddress) -> Option<Returned> {
        let period = self.settings().returns.period;
        self.verp.lasting(period).read(address.local_part(), self.clock.now())
    }

    async fn subject(&self, copy: CopyId, returned: Option<Returned>, notify: Option<Notify>) -> Result<Option<Subject>, StoreError> {
        let entry = self.spool.entry(copy.message).await?;
        let login = match (&entry, returned) {
            (Some(entry), _) => self.logins.by_name(&entry.login),
            (None, Some(returned)) => self.logins.all().into_iter().find(|login| returned.is_of(&login.name)),
            (None, None) => None,
        };
        // A login that is gone has nobody who would hear of it.
        let Some(login) = login else { return Ok(None) };
        let address = self.address(copy).await?;
        Ok(Some(Subject { copy, login, entry, notify, address }))
    }

    /// Returns to whom a copy went, as far as index and log know it.
    async fn address(&self, copy: CopyId) -> Result<Option<String>, StoreError> {
        let (index, behind) = (self.index.clone(), self.index.position());
        let known = tokio::task::spawn_blocking(move || index.message(copy.message).ok().flatten()).await.ok().flatten();
        if let Some(known) = known {
            return Ok(known.summary.address(copy.recipient).map(str::to_owned));
        }
        // What was sent a moment ago is on the log behind what is indexed.
        for logged in self.spool.store().events(behind, RECENT_EVENTS).await? {
            let Ok(event) = recorder::decode(&logged.octets) else { continue };
            if event.message != copy.message {
                continue;
            }
            if event.recipient == Some(copy.recipient) {
                return Ok(event.address);
            }
            if let EventKind::Accepted { recipients, .. } = event.kind
                && let Some(address) = usize::try_from(copy.recipient).ok().and_then(|place| recipients.into_iter().nth(place))
            {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    fn event(&self, subject: &Subject, kind: EventKind) -> Event {
        Event {
            at: self.clock.now(),
            message: subject.copy.message,
            login: Arc::clone(&subject.login.name),
            recipient: Some(subject.copy.recipient),
            // Never what the report says: whoever knows one address of ours could name anybody.
            address: subject.address.clone(),
            tags: subject.entry.as_ref().map(|entry| entry.tags.clone()).unwrap_or_default(),
            kind,
        }
    }

    async fn responded(&self, mail: ReturnedMail<'_>, subject: &Subject, kind: Option<ResponseKind>) -> Result<Consequences, StoreError> {
        let Some(begun) = self.counted(subject, Repeated::Response).await? else { return Ok(Consequences::default()) };
        self.metrics.delivery().returned("responded");
        let event = self.event(subject, EventKind::Responded { kind, subject: mail.subject(), report: mail.id });
        self.go_on(mail, subject, begun.and(event), true).await
    }

    async fn delivery(&self, mail: ReturnedMail<'_>, subject: Subject, report: &DeliveryReport) -> Result<Consequences, StoreError> {
        // An address of ours stands for one copy: where a report names several recipients, our copy went to a list, and each is a part of its fate.
        let worst = report.recipients.iter().find(|recipient| recipient.action == Action::Failed).or(report.recipients.first());
        let Some(recipient) = worst else { return self.responded(mail, &subject, None).await };
        let RecipientReport { action, status, diagnostic, remote_mta, class, .. } = recipient;
        let repeated = if *action == Action::Failed { Repeated::Failure } else { Repeated::Report };
        let Some(begun) = self.counted(&subject, repeated).await? else { return Ok(Consequences::default()) };
        let host = remote_mta.clone().or_else(|| report.reporting_mta.clone()).unwrap_or_default();
        let status = status.map(|status| status.to_string()).unwrap_or_default();
        let (reply, class, report_id) = (diagnostic.clone(), *class, mail.id);
        let kind = match action {
            Action::Failed => {
                let status = if status.is_empty() { "5.0.0".to_owned() } else { status };
                self.metrics.delivery().bounced(class.name());
                self.metrics.delivery().returned("bounced");
                EventKind::Bounced { host, reply, status, attempt: 0, class, report: Some(report_id) }
            }
            Action::Delayed | Action::Delivered | Action::Relayed | Action::Expanded => {
                self.metrics.delivery().returned("reported");
                EventKind::Reported { action: *action, host, reply, status, class, report: report_id }
            }
        };
        let event = self.event(&subject, kind);
        let is_wanted = subject.notify.is_none_or(|notify| match action {
            Action::Failed => notify.failure,
            Action::Delayed => notify.delay,
            Action::Delivered | Action::Relayed | Action::Expanded => notify.success,
        });
        // What is only guessed to be a DSN is not held back (table of `dsn.notify`).
        self.go_on(mail, &subject, begun.and(event), is_wanted || !report.is_standard).await
    }

    async fn complaint(&self, mail: ReturnedMail<'_>, subject: &Subject, complaint: &Complaint) -> Result<Consequences, StoreError> {
        if matches!(complaint.kind, ComplaintKind::NotSpam | ComplaintKind::AuthenticationFailure) {
            // Nobody complains.
            return Ok(Consequences::default());
        }
        let Some(begun) = self.counted(subject, Repeated::Complaint).await? else { return Ok(Consequences::default()) };
        self.metrics.delivery().returned("complained");
        let by = if complaint.user_agent.is_empty() { mail.arrival.reverse_path.to_string() } else { complaint.user_agent.clone() };
        let event = self.event(subject, EventKind::Complained { kind: complaint.kind, by, report: mail.id });
        Ok(begun.and(event))
    }

    async fn aggregate(&self, mail: ReturnedMail<'_>, file: bounce::Attachment) -> Result<Consequences, StoreError> {
        let limits = self.limits();
        match aside(move || Aggregate::read(&file, limits)).await? {
            Ok(report) => {
                self.metrics.delivery().returned("dmarc_reported");
                let values = self.listed(&report, mail).await?.into_iter().collect();
                let event = Event {
                    at: self.clock.now(),
                    message: mail.id,
                    login: Arc::clone(mail.login),
                    recipient: None,
                    address: None,
                    tags: Vec::new(),
                    kind: reported(report),
                };
                Ok(Consequences { events: vec![event], values, ..Consequences::default() })
            }
            Err(error) => {
                // The mail is kept as it is; there is nobody to tell.
                log_refusal(mail.id, &error);
                Ok(Consequences::default())
            }
        }
    }

    fn limits(&self) -> Limits {
        let settings = self.settings();
        Limits {
            size: usize::try_from(settings.returns.report_size.0).unwrap_or(usize::MAX),
            records: usize::try_from(settings.returns.report_records).unwrap_or(usize::MAX),
        }
    }

    /// Does with the mail what the login wants; or else what the sender of the envelope does.
    async fn go_on(
        &self,
        mail: ReturnedMail<'_>,
        subject: &Subject,
        mut consequences: Consequences,
        is_wanted: bool,
    ) -> Result<Consequences, StoreError> {
        let sender = || subject.entry.as_ref().and_then(|entry| entry.reverse_path.mailbox()).filter(|_| is_wanted);
        let to = match &subject.login.bounce_management {
            None => sender(),
            Some(BounceManagement::Ignore) => None,
            Some(BounceManagement::Forward(address)) => Some(address),
            Some(BounceManagement::Callback(url)) => {
                let call = self.callback(mail, subject, url);
                if self.may_wait(&call).await? {
                    consequences.values.push(callback::queued(&call, self.clock.now()));
                } else {
                    tracing::warn!(login = %subject.login.name, "too many calls wait: mail that came back is not told");
                }
                None
            }
        };
        // What would come back to us again goes nowhere.
        if let Some(to) = to.filter(|to| self.read(to).is_none()) {
            consequences.follow_up.extend(self.forward(mail, &subject.login, to));
        }
        Ok(consequences)
    }

    fn callback(&self, mail: ReturnedMail<'_>, subject: &Subject, url: &url::Url) -> callback::Call {
        callback::Call {
            url: url.to_string(),
            login: Arc::clone(&subject.login.name),
            id: subject.copy.message,
            place: subject.copy.recipient,
            at: self.clock.now(),
            recipient: subject.address.clone().unwrap_or_default(),
            envelope: subject.entry.as_ref().map(|entry| entry.reverse_path.to_string()).unwrap_or_default(),
            tags: subject.entry.as_ref().map(|entry| entry.tags.clone()).unwrap_or_default(),
            mail: mail.id,
            tries: 0,
        }
    }
}

fn log_refusal(id: MessageId, error: &AggregateError) {
    tracing::info!(message.id = %id, "a DMARC report is not taken: {error}");
}

fn reported(report: Aggregate) -> EventKind {
    let Aggregate { organisation, email, id, begin, end, domain, messages, failed_spf, failed_dkim, record_count, records, .. } = report;
    EventKind::DmarcReported { organisation, email, id, begin, end, domain, messages, failed_spf, failed_dkim, record_count, records }
}

#[cfg(test)]
mod tests;
