//! The funnel where SMTP, REST and the command line meet: permission, trace header, chain, first rendering, spool.
//!
//! A message of a login without plugins goes through without being taken apart: its header is looked at once, and its octets are copied once.

mod composing;
mod dropping;
pub mod dry_run;
pub mod forward_paths;
mod sender_policy;
mod spool_entry;
pub(crate) mod trace_header;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::chain::ChainRegistry;
use crate::chain::rendering::Renderer;
use crate::chain::shadow::ShadowQueue;
use crate::chain::trace::Trace;
use crate::clock::{Clock, Entropy};
use crate::config::unit::ByteSize;
use crate::config::{Config, Login, LoginDialect, Refusals, Route, Sources};
use crate::event::recorder::Recorder;
use crate::event::{Event, EventKind};
use crate::mail::content::MAX_FIELDS;
use crate::mail::domain::Domain;
use crate::mail::refusal::Refusal;
use crate::plugin::service::desk::Effects;
use crate::sending_domain::SendingDomains;
use crate::smtp::data::ContentFault;
use crate::spool::Spool;
use crate::spool::receipt::Receipt;
use crate::store::StoreError;
use crate::submission::permission::{LONGEST_ADDRESS, Rates, check_from, may_send_as};
use crate::submission::{Protocol, Submission};
use crate::suppression::Suppressions;
use crate::telemetry::metric::{Ingress, Metrics};
use composing::Composed;
use trace_header::{ADDED_FIELDS, Flaw, HeaderFacts, prepend};

/// Received fields of a message that goes in circles (RFC 5321 §6.3 says at least 100).
pub const HOPS: usize = 100;

/// Fields of a header that is handed in: as many as can be told apart when ours stand in front of them.
const FIELDS: usize = MAX_FIELDS - ADDED_FIELDS;

/// Octets of the reason in the event of a refusal: what is refused may be anything.
const REASON: usize = LONGEST_ADDRESS;

/// Takes submissions. Cloning is cheap.
#[derive(Clone)]
pub struct Intake(Arc<Parts>);

/// What the intake works with.
pub struct IntakeParts {
    /// Tells the time of events.
    pub clock: Clock,
    /// Draws the nonces of slots.
    pub entropy: Entropy,
    /// Where messages go.
    pub spool: Spool,
    /// Where events go that belong to no kept message.
    pub recorder: Recorder,
    /// The chains in force.
    pub chains: ChainRegistry,
    /// Renders the first copy.
    pub renderer: Renderer,
    /// Counts what logins send.
    pub rates: Arc<Rates>,
    /// Counts what is taken and refused, and what plugins cost.
    pub metrics: Metrics,
    /// Where messages wait for plugins that run beside their chain.
    pub shadows: ShadowQueue,
    /// Domains that mail is sent from; none is that nobody looks.
    pub domains: Option<SendingDomains>,
    /// Submissions in work at one moment; more are told to come back.
    pub submissions: u32,
    /// What comes of the configuration.
    pub settings: IntakeSettings,
}

/// What the intake takes of the configuration.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// Our name in trace header fields and Message-IDs.
    pub hostname: Domain,
    /// Ways out, by name: they decide in which queue a copy waits.
    pub routes: BTreeMap<Arc<str>, Route>,
    /// From which addresses mail leaves: mail of different ones waits in different queues.
    pub sources: Sources,
    /// Octets that a header may have.
    pub header_size: ByteSize,
    /// Tags that a message may have.
    pub tags: usize,
    /// Bounces can come back to us.
    pub takes_bounces: bool,
    /// Plugins whose refusals mean spam.
    pub spam_filters: BTreeSet<Arc<str>>,
}

impl IntakeSettings {
    /// Reads them from the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            hostname: config.server.hostname.clone(),
            routes: config.routes.clone(),
            sources: config.sources.clone(),
            header_size: config.smtp.header_size,
            tags: usize::try_from(config.plugin_runtime.calls.tags).unwrap_or(usize::MAX),
            spam_filters: spam_filters(config),
            takes_bounces: config.returns.domain.is_some(),
        }
    }

    /// Looks at the header of a message.
    fn facts<'a>(&self, submission: &'a Submission) -> HeaderFacts<'a> {
        self.facts_of(submission, &submission.content)
    }

    fn facts_of<'a>(&self, submission: &Submission, content: &'a [u8]) -> HeaderFacts<'a> {
        let limit = usize::try_from(self.header_size.0).unwrap_or(usize::MAX);
        HeaderFacts::read(content, limit, submission.login.treatment.rebuild)
    }

    /// Returns a submission's content as it came, with our fields in front of it.
    fn with_trace(&self, submission: &Submission, binary: &[u8], has_chain: bool) -> Bytes {
        prepend(submission, binary, &self.facts_of(submission, binary), &self.hostname, has_chain)
    }
}

fn spam_filters(config: &Config) -> BTreeSet<Arc<str>> {
    let filters = config.plugins.iter().filter(|(_, plugin)| plugin.refusals == Refusals::Spam);
    filters.map(|(name, _)| Arc::clone(name)).collect()
}

struct Parts {
    clock: Clock,
    entropy: Entropy,
    spool: Spool,
    suppressions: Suppressions,
    recorder: Recorder,
    chains: ChainRegistry,
    renderer: Renderer,
    rates: Arc<Rates>,
    metrics: Metrics,
    shadows: ShadowQueue,
    domains: Option<SendingDomains>,
    settings: RwLock<Arc<IntakeSettings>>,
    permits: Semaphore,
}

impl Intake {
    /// Puts an intake together.
    pub fn new(parts: IntakeParts) -> Self {
        Self(Arc::new(Parts {
            suppressions: Suppressions::new(Arc::clone(parts.spool.store()), parts.clock.clone()),
            clock: parts.clock,
            entropy: parts.entropy,
            spool: parts.spool,
            recorder: parts.recorder,
            chains: parts.chains,
            renderer: parts.renderer,
            rates: parts.rates,
            metrics: parts.metrics,
            shadows: parts.shadows,
            domains: parts.domains,
            settings: RwLock::new(Arc::new(parts.settings)),
            permits: Semaphore::new(usize::try_from(parts.submissions).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)),
        }))
    }

    /// Returns the domains that mail is sent from.
    pub fn domains(&self) -> Option<&SendingDomains> {
        self.0.domains.as_ref()
    }

    /// Returns the lists of whom mail is sent to and whom not.
    pub fn suppressions(&self) -> &Suppressions {
        &self.0.suppressions
    }

    /// Returns the chains in force.
    pub fn chains(&self) -> &ChainRegistry {
        &self.0.chains
    }

    /// Returns an intake with other chains, to see what they would do: it is for nothing but [`Intake::dry_run`].
    #[must_use]
    pub fn rehearsing(&self, chains: ChainRegistry) -> Self {
        let parts = &self.0;
        Self(Arc::new(Parts {
            clock: parts.clock.clone(),
            entropy: parts.entropy.clone(),
            spool: parts.spool.clone(),
            suppressions: parts.suppressions.clone(),
            recorder: parts.recorder.clone(),
            renderer: parts.renderer.with_chains(chains.clone()),
            chains,
            rates: Arc::clone(&parts.rates),
            metrics: parts.metrics.clone(),
            shadows: parts.shadows.clone(),
            domains: parts.domains.clone(),
            settings: RwLock::new(parts.settings()),
            permits: Semaphore::new(0),
        }))
    }

    /// Goes on with other settings; messages under way keep theirs.
    pub fn reconfigure(&self, settings: IntakeSettings) {
        *self.0.settings.write() = Arc::new(settings);
    }

    /// Takes a message: when this returns a receipt, it is on disk.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let parts = &self.0;
        let began = parts.clock.monotonic();
        let Ok(_permit) = parts.permits.try_acquire() else {
            parts.metrics.refused(Refusal::Overloaded.class());
            return Err(Refusal::Overloaded);
        };
        let mut trace = Trace::default();
        let taken = parts.take(&submission, &mut trace).await;
        parts.shadows.offer(std::mem::take(&mut trace.shadows));
        match &taken {
            Ok(_) => {
                let ingress = match submission.received.protocol {
                    Protocol::Esmtpa | Protocol::Esmtpsa => Ingress::Smtp,
                    Protocol::Esmtp | Protocol::Esmtps => Ingress::Mx,
                    Protocol::Http | Protocol::Https => Ingress::Http,
                    Protocol::Local => Ingress::Local,
                };
                parts.metrics.accepted(ingress, parts.clock.monotonic().saturating_sub(began));
            }
            Err(refusal) => {
                parts.metrics.refused(refusal.class());
                parts.record_refusal(&submission, refusal, trace).await;
            }
        }
        taken
    }
}

impl Parts {
    fn settings(&self) -> Arc<IntakeSettings> {
        Arc::clone(&self.settings.read())
    }

    async fn take(&self, submission: &Submission, trace: &mut Trace) -> Result<Receipt, Refusal> {
        let settings = self.settings();
        let facts = settings.facts(submission);
        check(submission, &facts, &settings)?;
        let verified = self.with_verified_sender(submission, &facts)?;
        let facts = if matches!(verified, Cow::Owned(_)) { settings.facts(&verified) } else { facts };
        let submission = &*verified;
        let login = &submission.login;
        self.rates.take(login)?;
        let taken = self.keep(submission, &facts, &settings, trace).await;
        if taken.is_err() {
            self.rates.give_back(login);
        }
        taken
    }

    async fn keep(
        &self,
        submission: &Submission,
        facts: &HeaderFacts<'_>,
        settings: &IntakeSettings,
        trace: &mut Trace,
    ) -> Result<Receipt, Refusal> {
        let submission = &*self.with_checked_paths(submission, Effects::Live, trace).await?;
        let stored = match self.compose(submission, facts, settings, trace).await? {
            Composed::Kept(mut entry) => match self.drop_suppressed(&mut entry).await {
                Ok(dropped) => self.spool.accept_without(*entry, &dropped).await,
                Err(error) => Err(error),
            },
            Composed::Discarded { plugin, reason } => {
                let mut events = self.failure_events(submission, trace);
                events.push(self.event(submission, EventKind::Discarded { plugin, reason }));
                self.spool.discard(submission.id, events).await
            }
        };
        stored.map_err(|error| {
            warn!(message.id = %submission.id, %error, "the message could not be stored");
            match error {
                StoreError::Full => Refusal::StorageFull,
                StoreError::TooLarge(limit) => Refusal::InvalidContent(format!("the message has more than {limit}")),
                StoreError::Poisoned(_) | StoreError::Damaged(_) | StoreError::Unreadable(_) | StoreError::BadDisk(_) => {
                    Refusal::StorageFailed
                }
            }
        })
    }

    fn event(&self, submission: &Submission, kind: EventKind) -> Event {
        Event {
            at: self.clock.now(),
            message: submission.id,
            login: Arc::clone(&submission.login.name),
            recipient: None,
            address: None,
            tags: submission.options.tags.clone(),
            kind,
        }
    }

    fn failure_events(&self, submission: &Submission, trace: &Trace) -> Vec<Event> {
        let kinds = trace.failure_texts().into_iter().map(|(plugin, failure)| EventKind::PluginFailed { plugin, failure });
        kinds.map(|kind| self.event(submission, kind)).collect()
    }

    /// Writes down that a message was refused, unless that is because there is too much to do: then one more write helps nobody.
    async fn record_refusal(&self, submission: &Submission, refusal: &Refusal, mut trace: Trace) {
        // What is wrong, without the addresses and texts in it: those go into the event.
        debug!(message.id = %submission.id, login = %submission.login.name, class = ?refusal.class(), "refused");
        match refusal {
            Refusal::RateLimited { .. }
            | Refusal::TooMuchFromAddress { .. }
            | Refusal::Overloaded
            | Refusal::StorageFull
            | Refusal::StorageFailed => return,
            Refusal::SenderNotAllowed { .. }
            | Refusal::UnknownRecipient { .. }
            | Refusal::Suppressed { .. }
            | Refusal::RelayDenied { .. }
            | Refusal::NotAuthentic { .. }
            | Refusal::TooManyRecipients { .. }
            | Refusal::MessageTooLarge { .. }
            | Refusal::HeaderTooLarge { .. }
            | Refusal::LoginDefect { .. }
            | Refusal::NotAuthenticatedYet
            | Refusal::Loop { .. }
            | Refusal::InvalidContent(_)
            | Refusal::InvalidField { .. }
            | Refusal::Plugin { .. }
            | Refusal::PluginFailed { .. } => {}
        }
        let mut events = self.failure_events(submission, &trace);
        let plugins = trace.take_runs();
        let reason = cut(refusal.to_string(), REASON);
        let is_permanent = !refusal.is_temporary();
        let kind = if let Refusal::Plugin { plugin, .. } = refusal
            && is_permanent
            && self.settings().spam_filters.contains(plugin.as_str())
        {
            EventKind::Spam { plugin: plugin.clone(), reason, plugins }
        } else {
            EventKind::Rejected { reason, temporary: !is_permanent, plugins }
        };
        events.push(self.event(submission, kind));
        if let Err(error) = self.recorder.record(events).await {
            warn!(message.id = %submission.id, %error, "a refusal could not be recorded");
        }
    }
}

/// What can be said of a submission by looking at it.
fn check(submission: &Submission, facts: &HeaderFacts<'_>, settings: &IntakeSettings) -> Result<(), Refusal> {
    let Submission { login, envelope, content, .. } = submission;
    if let Some(reason) = &login.access.defect {
        return Err(Refusal::LoginDefect { reason: reason.to_string() });
    }
    let limits = &login.limits;
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    if size > limits.message_size.0 {
        return Err(Refusal::MessageTooLarge { limit: limits.message_size.0 });
    }
    if u32::try_from(envelope.forward_paths.len()).map_or(true, |count| count > limits.recipients_per_message) {
        return Err(Refusal::TooManyRecipients { limit: limits.recipients_per_message });
    }
    if envelope.forward_paths.is_empty() {
        return Err(Refusal::InvalidContent("the message has no recipients".to_owned()));
    }
    match facts.flaw {
        Some(Flaw::TooLarge) => return Err(Refusal::HeaderTooLarge { limit: settings.header_size.0 }),
        Some(Flaw::Junk) => return Err(Refusal::InvalidContent("the header has a line that is no field".to_owned())),
        None => {}
    }
    // Over SMTP it was refused already.
    let is_by_smtp = matches!(submission.received.protocol, Protocol::Esmtpa | Protocol::Esmtpsa | Protocol::Esmtp | Protocol::Esmtps);
    if !is_by_smtp && memchr::memchr(0, content).is_some() {
        return Err(Refusal::InvalidContent(ContentFault::Nul.to_string()));
    }
    if facts.fields > FIELDS {
        // With ours in front, what stands behind could not be seen by plugins.
        return Err(Refusal::InvalidContent(format!("the header has more than {FIELDS} fields")));
    }
    if facts.received >= HOPS {
        return Err(Refusal::Loop { hops: HOPS });
    }
    if login.access.dialect == LoginDialect::MailPace && matches!(submission.received.protocol, Protocol::Esmtpa | Protocol::Esmtpsa) {
        for (name, is_there) in [("From", !facts.from.is_empty()), ("To", facts.to > 0)] {
            if !is_there {
                return Err(Refusal::InvalidContent(format!("the message has no {name} field")));
            }
        }
    }
    if login.senders.is_empty() {
        return Ok(());
    }
    check_senders(login, submission, facts)
}

/// Checks the envelope's sender and every address in From: a second From field is no way around.
fn check_senders(login: &Login, submission: &Submission, facts: &HeaderFacts<'_>) -> Result<(), Refusal> {
    if let Some(address) = submission.envelope.reverse_path.mailbox()
        && !may_send_as(login, address)
    {
        return Err(Refusal::SenderNotAllowed { address: address.to_string() });
    }
    check_from(&login.senders, facts.from.iter().copied())
}

/// Cuts a text at `limit` octets, between characters.
fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

#[cfg(test)]
mod tests;
