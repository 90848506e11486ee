//! Mail from other servers for domains of our own: whose it is, who has sent it, what is done with it.
//!
//! Invariants:
//! - Never a relay: a recipient is a mailbox that the configuration names ([`directory`]), or he is refused while his server waits.
//! - Never backscatter: what cannot be taken is refused before the 250. After it nobody hears of it but those who are named here; no report goes to a
//!   sender who may be forged.
//! - All that follows from a message is on disk with it, in one commit, before the 250.
//! - Nothing that we forward bears a signature of ours: it would vouch for a stranger's From.

mod authentication;
mod directory;
mod disposition;
mod pace;
#[doc(hidden)]
pub mod trace_header;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::bounce;
use crate::clock::{Clock, Entropy};
use crate::config::{Config, DmarcPolicy, InboundAction, Login, LoginLimits, Mx, Route};
use crate::dns::network::NetworkDns;
use crate::event::recorder::Recorder;
use crate::event::{Event, EventKind};
use crate::feedback::{Consequences, Feedback, Purpose, ReturnedMail};
use crate::intake::HOPS;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::envelope::ReversePath;
use crate::mail::header;
use crate::mail::refusal::Refusal;
use crate::spool::Spool;
use crate::spool::receipt::Receipt;
use crate::store::StoreError;
use crate::submission::Submission;
use crate::telemetry::metric::{Ingress, Metrics};
use authentication::{Bounds, Findings, Sender, Verifier};
use directory::{Directory, Mailbox};
use disposition::Arrival;
use pace::{Counted, Pace};
use trace_header::HeaderFacts;

/// Recipients of one transaction behind which none is taken whose mail is forwarded.
const FORWARDED_AT_ONCE: u32 = 8;

/// Takes mail for our own domains. Cloning is cheap.
#[derive(Clone)]
pub struct Inbound(Arc<Parts>);

/// What it works with.
pub struct InboundParts {
    /// Tells the time.
    pub clock: Clock,
    /// Draws ids.
    pub entropy: Entropy,
    /// Where messages go.
    pub spool: Spool,
    /// Where refusals are written down.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Metrics,
    /// Knows what follows from mail that comes back.
    pub feedback: Feedback,
    /// Answers what is asked about senders; `None` where nothing can come in.
    pub dns: Option<NetworkDns>,
    /// What comes of the configuration.
    pub settings: InboundSettings,
}

/// What it takes of the configuration.
#[derive(Debug)]
pub struct InboundSettings {
    hostname: Domain,
    directory: Directory,
    limits: Mx,
    routes: BTreeMap<Arc<str>, Route>,
    login: Arc<Login>,
}

impl InboundSettings {
    /// Reads them from the configuration.
    pub fn new(config: &Config) -> Self {
        let limits = LoginLimits {
            messages_per_hour: None,
            recipients_per_message: config.mx.sessions.recipients,
            message_size: config.mx.sessions.message_size,
        };
        Self {
            hostname: config.server.hostname.clone(),
            directory: Directory::new(config),
            limits: config.mx.clone(),
            routes: config.routes.clone(),
            login: Arc::new(Login::inbound(limits)),
        }
    }
}

struct Parts {
    clock: Clock,
    entropy: Entropy,
    spool: Spool,
    recorder: Recorder,
    metrics: Metrics,
    feedback: Feedback,
    verifier: Option<Verifier>,
    pace: Pace,
    permits: Arc<Semaphore>,
    settings: RwLock<Arc<InboundSettings>>,
}

impl Inbound {
    /// Puts it together.
    pub fn new(parts: InboundParts) -> Self {
        let permits = usize::try_from(parts.settings.limits.messages_at_once).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Parts {
            pace: Pace::new(parts.clock.clone()),
            clock: parts.clock,
            entropy: parts.entropy,
            spool: parts.spool,
            recorder: parts.recorder,
            metrics: parts.metrics,
            feedback: parts.feedback,
            verifier: parts.dns.as_ref().map(Verifier::new),
            permits: Arc::new(Semaphore::new(permits)),
            settings: RwLock::new(Arc::new(parts.settings)),
        }))
    }

    /// Goes on with other settings; messages under way keep theirs.
    pub fn reconfigure(&self, settings: InboundSettings) {
        *self.0.settings.write() = Arc::new(settings);
    }

    /// Returns the login that all of this mail comes in under.
    pub fn login(&self) -> Arc<Login> {
        Arc::clone(&self.0.settings().login)
    }

    /// Whether a recipient is one of ours; `peer` asks, and has `accepted` others in this transaction.
    ///
    /// # Errors
    /// He is not, or `peer` has asked for, or sent, too much.
    pub fn check_recipient(&self, peer: IpAddr, address: &EmailAddress, accepted: u32) -> Result<(), Refusal> {
        let parts = &self.0;
        let settings = parts.settings();
        let found = match parts.pace.wait(peer, &settings.limits) {
            Some(retry_after) => Err(Refusal::TooMuchFromAddress { retry_after }),
            None => parts.find(&settings, address).and_then(|mailbox| match mailbox.action {
                // Each that is forwarded is a copy of the whole message in memory: the rest comes in a transaction of its own.
                InboundAction::Forward { .. } if accepted >= FORWARDED_AT_ONCE => Err(Refusal::Overloaded),
                InboundAction::Forward { .. }
                | InboundAction::Keep
                | InboundAction::Bounces
                | InboundAction::Complaints
                | InboundAction::DmarcReports => Ok(()),
            }),
        };
        if let Err(refusal) = &found {
            parts.metrics.path_refused(refusal.class());
            if !refusal.is_temporary() {
                parts.pace.count(peer, Counted::UnknownRecipient, &settings.limits);
            }
        }
        found
    }

    /// Takes a message: when this returns a receipt, it is on disk, with all that follows from it.
    ///
    /// # Errors
    /// Nothing was kept.
    pub async fn take(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let parts = &self.0;
        let began = parts.clock.monotonic();
        let settings = parts.settings();
        parts.pace.count(submission.received.peer, Counted::Message, &settings.limits);
        let taken = parts.keep(&submission, &settings).await;
        match &taken {
            Ok(_) => parts.metrics.accepted(Ingress::Mx, parts.clock.monotonic().saturating_sub(began)),
            Err(refusal) => {
                parts.metrics.refused(refusal.class());
                parts.record_refusal(&submission, refusal).await;
            }
        }
        taken
    }
}

impl Parts {
    fn settings(&self) -> Arc<InboundSettings> {
        Arc::clone(&self.settings.read())
    }

    async fn keep(&self, submission: &Submission, settings: &InboundSettings) -> Result<Receipt, Refusal> {
        // Asked again: the configuration may be another than at RCPT.
        let paths = &submission.envelope.forward_paths;
        let mailboxes = paths.iter().map(|path| self.find(settings, &path.address).map(|mailbox| (&path.address, mailbox)));
        let mailboxes: Vec<(&EmailAddress, &Mailbox)> = mailboxes.collect::<Result<_, _>>()?;
        let facts = HeaderFacts::read(&submission.content);
        let limit = settings.limits.sessions.header_size.0;
        if u64::try_from(facts.size).unwrap_or(u64::MAX) > limit {
            return Err(Refusal::HeaderTooLarge { limit });
        }
        check_loop(&facts, &mailboxes)?;
        let authors = authors(&facts);
        let is_strict = mailboxes.iter().any(|(_, mailbox)| mailbox.dmarc == DmarcPolicy::Reject);
        if is_strict && !is_of_one_domain(&authors) {
            // DMARC says nothing of such a message, and readers differ in which author they show (RFC 7489 §6.6.1).
            return Err(Refusal::InvalidContent("the message needs one From field with addresses of one domain".to_owned()));
        }
        let findings = self.authenticate(submission, &facts, &authors, settings).await?;
        if is_strict && findings.is_disowned {
            return Err(Refusal::NotAuthentic { domain: findings.authentication.domain });
        }
        if is_strict && findings.is_undecided {
            // Or who makes DNS slow would get in what is to be refused.
            return Err(Refusal::NotAuthenticatedYet);
        }
        let arrival = Arrival {
            submission,
            hostname: &settings.hostname,
            routes: &settings.routes,
            mailboxes: &mailboxes,
            subject: &facts.subject,
            findings: &findings,
            now: self.clock.now(),
        };
        let (mut message, mut others) = arrival.entries(&self.entropy);
        let consequences = self.consequences(submission, &arrival).await.map_err(|error| stored(submission, &error))?;
        message.events.extend(consequences.events);
        others.extend(consequences.follow_up);
        self.spool.accept_with(message, others, consequences.values).await.map_err(|error| stored(submission, &error))
    }

    /// Returns the mailbox of an address. Return paths are ones wherever they are, as nobody else can sign them: domains of senders may have a host of their
    /// own for them. Where bounces come back to there are no others.
    fn find<'s>(&self, settings: &'s InboundSettings, address: &EmailAddress) -> Result<&'s Mailbox, Refusal> {
        if self.feedback.read(address).is_some() {
            return Ok(settings.directory.return_paths());
        }
        let mailbox = settings.directory.find(address)?;
        if mailbox.action == InboundAction::Bounces {
            return Err(Refusal::UnknownRecipient { address: address.to_string() });
        }
        Ok(mailbox)
    }

    /// Finds out what follows from mail that came back, for each address that takes such mail.
    async fn consequences(&self, submission: &Submission, arrival: &Arrival<'_>) -> Result<Consequences, StoreError> {
        let purpose = |mailbox: &Mailbox| match mailbox.action {
            InboundAction::Bounces => Some(Purpose::Bounces),
            InboundAction::Complaints => Some(Purpose::Complaints),
            InboundAction::DmarcReports => Some(Purpose::Dmarc),
            InboundAction::Keep | InboundAction::Forward { .. } => None,
        };
        let asked: Vec<_> = arrival.mailboxes.iter().filter_map(|(recipient, mailbox)| Some((*recipient, purpose(mailbox)?))).collect();
        let mut all = Consequences::default();
        if asked.is_empty() {
            return Ok(all);
        }
        let (login, content) = (&submission.login.name, &arrival.kept());
        for (recipient, purpose) in asked {
            let arrived = bounce::Arrival { recipient, reverse_path: &submission.envelope.reverse_path, at: arrival.now };
            all.append(
                self.feedback
                    .consequences(ReturnedMail {
                        purpose,
                        id: submission.id,
                        login,
                        content,
                        arrival: arrived,
                        peer: submission.received.peer,
                    })
                    .await?,
            );
        }
        Ok(all)
    }

    async fn authenticate(
        &self,
        submission: &Submission,
        facts: &HeaderFacts,
        authors: &[EmailAddress],
        settings: &InboundSettings,
    ) -> Result<Findings, Refusal> {
        let Some(verifier) = &self.verifier else { return Err(Refusal::Overloaded) };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Err(Refusal::Overloaded) };
        let received = &submission.received;
        let helo = received.helo.as_deref().and_then(|helo| Domain::parse(helo).ok()).filter(|domain| domain.literal().is_none());
        let sender = Sender {
            peer: received.peer,
            helo: helo.map(|domain| domain.to_ascii()),
            reverse_path: submission.envelope.reverse_path.mailbox().map(EmailAddress::to_ascii_domain).unwrap_or_default(),
            authors: (facts.from > 1 || !authors.is_empty()).then(|| authors.iter().map(EmailAddress::to_ascii_domain).collect()),
        };
        let limits = &settings.limits;
        let bounds = Bounds {
            hostname: settings.hostname.to_ascii().into(),
            time: limits.authentication_time,
            skip_signatures: facts.signatures > usize::try_from(limits.signatures).unwrap_or(usize::MAX),
        };
        Ok(verifier.verify(sender, submission.content.clone(), bounds, permit).await)
    }

    /// Writes down that a message was refused, unless that is because there is too much to do.
    async fn record_refusal(&self, submission: &Submission, refusal: &Refusal) {
        debug!(message.id = %submission.id, class = ?refusal.class(), "refused");
        if refusal.is_temporary() {
            return;
        }
        let kind = EventKind::Rejected { reason: refusal.to_string(), temporary: false, plugins: Vec::new() };
        let event = Event {
            at: self.clock.now(),
            message: submission.id,
            login: Arc::clone(&submission.login.name),
            recipient: None,
            address: None,
            tags: Vec::new(),
            kind,
        };
        if let Err(error) = self.recorder.record(vec![event]).await {
            warn!(message.id = %submission.id, %error, "a refusal could not be recorded");
        }
    }
}

/// Nothing was kept.
fn stored(submission: &Submission, error: &StoreError) -> Refusal {
    warn!(message.id = %submission.id, %error, "the message could not be stored");
    match error {
        StoreError::Full => Refusal::StorageFull,
        StoreError::TooLarge(limit) => Refusal::InvalidContent(format!("the message has more than {limit}")),
        StoreError::Poisoned(_) | StoreError::Damaged(_) | StoreError::Unreadable(_) | StoreError::BadDisk(_) => Refusal::StorageFailed,
    }
}

/// Returns the addresses of the one From field; none where there is no such field, or more than one.
fn authors(facts: &HeaderFacts) -> Vec<EmailAddress> {
    if facts.from != 1 {
        return Vec::new();
    }
    header::mailbox::Mailbox::parse_senders(&facts.from_value).unwrap_or_default()
}

/// Whether there are authors, and all of them are of one domain.
fn is_of_one_domain(authors: &[EmailAddress]) -> bool {
    let mut domains = authors.iter().map(EmailAddress::domain);
    let Some(first) = domains.next() else { return false };
    domains.all(|domain| domain == first)
}

/// Finds out whether a message goes in circles: by its Received fields, or because we have forwarded it for the same mailbox before.
fn check_loop(facts: &HeaderFacts, mailboxes: &[(&EmailAddress, &Mailbox)]) -> Result<(), Refusal> {
    let forwarded = mailboxes.iter().filter(|(_, mailbox)| matches!(mailbox.action, InboundAction::Forward { .. }));
    let mut addresses = forwarded.map(|(address, _)| address.to_ascii_domain().to_ascii_lowercase());
    if facts.received >= HOPS || addresses.any(|address| facts.delivered_to.contains(&address)) {
        return Err(Refusal::Loop { hops: facts.received });
    }
    Ok(())
}

/// The reverse-path of what we forward: null, as whatever became of it is nothing that its sender, who may be forged, shall hear of. SPF is then asked
/// about our own name.
const FORWARDED_FROM: ReversePath = ReversePath::Null;

/// The configuration of a server with these keys in `[mx]` and these sections.
#[cfg(test)]
fn test_config(mx: &str, more: &str) -> Config {
    let text = format!(
        "[server]\nhostname = \"mail.example.com\"\ndata = \"d\"\npublic_url = \"http://127.0.0.1\"\n[[listen]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         tls = \"none\"\n[[logins]]\nname = \"a\"\ntoken = \"sha256:{}\"\nroute = \"out\"\n[routes.out]\nkind = \"capture\"\n[mx]\n{mx}\n{more}",
        "ab".repeat(32),
    );
    crate::config::parse(&text, "test.toml", std::path::Path::new("."), &|_| None).expect("the configuration of a test is good")
}

#[cfg(test)]
fn test_limits(mx: &str) -> Mx {
    test_config(mx, "").mx
}
