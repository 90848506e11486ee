//! The funnel where SMTP, REST and the command line meet: permission, trace header, chain, first rendering, spool.
//!
//! A message of a login without plugins goes through without being taken apart: its header is looked at once, and its octets are copied once.

mod composing;
pub mod dry_run;
mod trace_header;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::chain::ChainRegistry;
use crate::chain::rendering::Renderer;
use crate::chain::trace::Trace;
use crate::clock::{Clock, Entropy};
use crate::config::{Config, Login, Route};
use crate::event::recorder::Recorder;
use crate::event::{Event, EventKind};
use crate::mail::content::MAX_FIELDS;
use crate::mail::domain::Domain;
use crate::mail::refusal::Refusal;
use crate::spool::Spool;
use crate::spool::receipt::Receipt;
use crate::store::StoreError;
use crate::submission::permission::{Rates, may_send_as};
use crate::submission::{Protocol, Submission};
use crate::telemetry::metric::{Ingress, Metrics};
use composing::Composed;
use trace_header::HeaderFacts;

/// Submissions in work at one moment; more are told to come back. Above what the listeners let in by default, so that only a much larger
/// configuration meets it.
pub const SUBMISSIONS: usize = 4_096;

/// Received fields of a message that goes in circles (RFC 5321 §6.3 says at least 100).
pub const HOPS: usize = 100;

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
    /// What comes of the configuration.
    pub settings: IntakeSettings,
}

/// What the intake takes of the configuration.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// Our name in trace header fields and Message-IDs.
    pub hostname: Domain,
    /// Routes whose copies wait by domain.
    pub routes_by_domain: BTreeSet<Arc<str>>,
    /// Tags that a message may have.
    pub tags: usize,
}

impl IntakeSettings {
    /// Reads them from the configuration.
    pub fn new(config: &Config) -> Self {
        let by_domain = |route: &Route| match route {
            Route::Mx(_) => true,
            Route::SmartHost(_) | Route::Capture => false,
        };
        let routes = config.routes.iter().filter(|(_, route)| by_domain(route));
        Self {
            hostname: config.server.hostname.clone(),
            routes_by_domain: routes.map(|(name, _)| Arc::clone(name)).collect(),
            tags: usize::try_from(config.plugin_runtime.calls.tags).unwrap_or(usize::MAX),
        }
    }
}

struct Parts {
    clock: Clock,
    entropy: Entropy,
    spool: Spool,
    recorder: Recorder,
    chains: ChainRegistry,
    renderer: Renderer,
    rates: Arc<Rates>,
    metrics: Metrics,
    settings: RwLock<Arc<IntakeSettings>>,
    permits: Semaphore,
}

impl Intake {
    /// Puts an intake together.
    pub fn new(parts: IntakeParts) -> Self {
        Self(Arc::new(Parts {
            clock: parts.clock,
            entropy: parts.entropy,
            spool: parts.spool,
            recorder: parts.recorder,
            chains: parts.chains,
            renderer: parts.renderer,
            rates: parts.rates,
            metrics: parts.metrics,
            settings: RwLock::new(Arc::new(parts.settings)),
            permits: Semaphore::new(SUBMISSIONS),
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
        match &taken {
            Ok(_) => {
                let ingress = match submission.received.protocol {
                    Protocol::Esmtpa | Protocol::Esmtpsa => Ingress::Smtp,
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
        let facts = HeaderFacts::read(&submission.content);
        check(submission, &facts)?;
        let login = &submission.login;
        self.rates.take(login)?;
        let taken = self.keep(submission, &facts, trace).await;
        if taken.is_err() {
            self.rates.give_back(login);
        }
        taken
    }

    async fn keep(&self, submission: &Submission, facts: &HeaderFacts<'_>, trace: &mut Trace) -> Result<Receipt, Refusal> {
        let settings = self.settings();
        let content = trace_header::prepend(submission, facts, &settings.hostname);
        let stored = match self.compose(submission, facts, content, &settings, trace).await? {
            Composed::Kept(entry) => self.spool.accept(*entry).await,
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
                StoreError::Poisoned(_) | StoreError::Damaged(_) => Refusal::StorageFailed,
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
        let failures = trace.failures.iter();
        let kinds = failures.map(|(plugin, failure)| EventKind::PluginFailed { plugin: plugin.clone(), failure: failure.to_string() });
        kinds.map(|kind| self.event(submission, kind)).collect()
    }

    /// Writes down that a message was refused, unless that is because there is too much to do: then one more write helps nobody.
    async fn record_refusal(&self, submission: &Submission, refusal: &Refusal, trace: Trace) {
        debug!(message.id = %submission.id, login = %submission.login.name, "refused: {refusal}");
        match refusal {
            Refusal::RateLimited { .. } | Refusal::Overloaded | Refusal::StorageFull | Refusal::StorageFailed => return,
            Refusal::SenderNotAllowed { .. }
            | Refusal::TooManyRecipients { .. }
            | Refusal::MessageTooLarge { .. }
            | Refusal::InvalidContent(_)
            | Refusal::InvalidField { .. }
            | Refusal::Plugin { .. }
            | Refusal::PluginFailed { .. } => {}
        }
        let mut events = self.failure_events(submission, &trace);
        let kind = EventKind::Rejected { reason: refusal.to_string(), temporary: refusal.is_temporary(), plugins: trace.runs };
        events.push(self.event(submission, kind));
        if let Err(error) = self.recorder.record(events).await {
            warn!(message.id = %submission.id, %error, "a refusal could not be recorded");
        }
    }
}

/// What can be said of a submission by looking at it.
fn check(submission: &Submission, facts: &HeaderFacts<'_>) -> Result<(), Refusal> {
    let Submission { login, envelope, content, .. } = submission;
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
    if facts.fields > MAX_FIELDS {
        // What stands behind could not be seen, by plugins or by the check of senders below.
        return Err(Refusal::InvalidContent(format!("the header has more than {MAX_FIELDS} fields")));
    }
    if facts.received >= HOPS {
        return Err(Refusal::InvalidContent(format!("the message has passed {HOPS} hosts: it goes in circles")));
    }
    if login.senders.is_empty() {
        return Ok(());
    }
    check_senders(login, submission, facts)
}

/// Checks the envelope's sender and every address in From: a second From field is no way around.
fn check_senders(login: &Login, submission: &Submission, facts: &HeaderFacts<'_>) -> Result<(), Refusal> {
    let refused = |address: &dyn std::fmt::Display| Refusal::SenderNotAllowed { address: address.to_string() };
    if let Some(address) = submission.envelope.reverse_path.mailbox()
        && !may_send_as(login, address)
    {
        return Err(refused(address));
    }
    let from = facts.senders();
    if from.is_empty() {
        return Err(Refusal::InvalidContent("the message has no address in its From field".to_owned()));
    }
    for address in from {
        match address {
            Ok(address) if may_send_as(login, &address) => {}
            Ok(address) => return Err(refused(&address)),
            Err(text) => return Err(refused(&text)),
        }
    }
    Ok(())
}

/// Cuts a text at `limit` octets, between characters.
fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

/// Octets that are the message with `prefix` in front of it.
fn joined(prefix: &str, content: &Bytes) -> Bytes {
    let mut octets = Vec::with_capacity(prefix.len() + content.len());
    octets.extend_from_slice(prefix.as_bytes());
    octets.extend_from_slice(content);
    octets.into()
}

#[cfg(test)]
mod tests;
