//! From a submission to what the spool keeps: chain, plan, first rendering, entry, copies, events.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::trace_header::HeaderFacts;
use super::{IntakeSettings, Parts, cut};
use crate::chain::processing::{Kept, Processed};
use crate::chain::rendering::{Recipient, RenderError};
use crate::chain::trace::Trace;
use crate::chain::{Chain, Plan};
use crate::event::{Event, EventKind};
use crate::mail::content::{Composition, Draft};
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::mail::message_id::CopyId;
use crate::mail::refusal::Refusal;
use crate::mail::slot::Slot;
use crate::mail::tag::Tag;
use crate::plugin::lease::Circumstances;
use crate::plugin::letter::Letter;
use crate::spool::NewEntry;
use crate::spool::entry::{Copy, Entry};
use crate::store::QueueName;
use crate::submission::{Options, Submission};

/// Forward-paths that stand in the event of acceptance.
const RECIPIENTS_IN_EVENT: usize = 100;
/// Octets of a subject that are kept.
const SUBJECT: usize = 998;

/// What becomes of a submission.
pub(super) enum Composed {
    /// It is kept.
    Kept(Box<NewEntry>),
    /// A plugin threw it away.
    Discarded {
        /// Which.
        plugin: String,
        /// What it says.
        reason: String,
    },
}

/// What the chain makes of a submission.
pub(super) enum Chained {
    /// It goes on.
    Kept(Box<Letterpress>),
    /// A plugin threw it away.
    Discarded {
        /// Which.
        plugin: String,
        /// What it says.
        reason: String,
    },
}

/// What all copies of a message are made from.
pub(super) struct Letterpress {
    /// An encoded composition.
    pub(super) body: Bytes,
    /// What is left to do for each recipient.
    pub(super) plan: Plan,
    /// As the plugins left it.
    pub(super) reverse_path: ReversePath,
    /// As the plugins left them, with the place in the submission's envelope of each.
    pub(super) recipients: Vec<(u32, ForwardPath)>,
    /// As the plugins left them.
    pub(super) tags: Vec<Tag>,
    /// Decoded.
    pub(super) subject: String,
    /// Which plugin holds the message, and why.
    pub(super) held: Option<(String, String)>,
    /// Whether plugins changed anything of the content.
    pub(super) changed: bool,
}

impl Letterpress {
    /// Who gets which copy. The data of a recipient that a plugin added are those of the message.
    pub(super) fn copies<'a>(&'a self, options: &'a Options) -> impl Iterator<Item = (u32, &'a ForwardPath, String)> + 'a {
        let needed = needs_variables(&self.plan);
        (0..).zip(&self.recipients).map(move |(number, (place, path))| {
            let variables = options.recipient_variables.get(place).filter(|_| needed).map(object_text).unwrap_or_default();
            (number, path, variables)
        })
    }
}

impl Parts {
    /// Runs the chain, renders the first copy where that takes plugins, and puts together what the spool keeps.
    pub(super) async fn compose(
        &self,
        submission: &Submission,
        facts: &HeaderFacts<'_>,
        content: Bytes,
        settings: &IntakeSettings,
        trace: &mut Trace,
    ) -> Result<Composed, Refusal> {
        let mut press = match self.run_chain(submission, facts, &content, trace).await? {
            Chained::Kept(press) => press,
            Chained::Discarded { plugin, reason } => return Ok(Composed::Discarded { plugin, reason }),
        };
        if !press.plan.steps.is_empty()
            && let Some((plugin, reason)) = self.render_first(submission, &mut press, trace).await?
        {
            return Ok(Composed::Discarded { plugin, reason });
        }
        let copies = press.copies(&submission.options);
        let copies = copies.map(|(recipient, path, variables)| (CopyId { message: submission.id, recipient }, &path.address, variables));
        self.renderer.check_sizes(&press.plan, &press.body, copies).map_err(|error| refused(error, String::new()))?;
        Ok(Composed::Kept(Box::new(self.entry(submission, content, *press, settings, trace))))
    }

    /// Runs the login's chain on a message with its trace header.
    pub(super) async fn run_chain(
        &self,
        submission: &Submission,
        facts: &HeaderFacts<'_>,
        content: &Bytes,
        trace: &mut Trace,
    ) -> Result<Chained, Refusal> {
        let Some(name) = &submission.login.chain else { return Ok(plain(submission, facts, content, self.settings().tags)) };
        let chains = self.chains.current();
        let Some(chain) = chains.chain(name) else {
            // The configuration has changed under the session: nothing that the sender did wrong.
            return Err(Refusal::PluginFailed { plugin: name.to_string(), permanent: false });
        };
        if chain.is_empty() {
            return Ok(plain(submission, facts, content, self.settings().tags));
        }
        let circumstances = Arc::new(Circumstances {
            id: submission.id,
            received: submission.received.at,
            context: context(submission),
            variables: if submission.options.variables.is_empty() { String::new() } else { object_text(&submission.options.variables) },
            original: content.clone(),
            recipient_limit: submission.login.limits.recipients_per_message,
            links: self.renderer.links().clone(),
        });
        self.run(chain, submission, circumstances, trace).await
    }

    async fn run(
        &self,
        chain: &Chain,
        submission: &Submission,
        circumstances: Arc<Circumstances>,
        trace: &mut Trace,
    ) -> Result<Chained, Refusal> {
        let letter = Letter::new(
            Draft::new(circumstances.original.clone()),
            submission.envelope.reverse_path.clone(),
            submission.envelope.forward_paths.clone(),
            tags(&submission.options, self.settings().tags),
            self.entropy.array(),
        );
        let Kept { letter, steps, held } = match chain.process(letter, &circumstances, &submission.options, trace).await? {
            Processed::Kept(kept) => *kept,
            Processed::Discarded { plugin, reason } => return Ok(Chained::Discarded { plugin, reason }),
        };
        if letter.recipients().is_empty() {
            let plugin = trace.runs.last().map(|run| run.plugin.clone()).unwrap_or_default();
            return Ok(Chained::Discarded { plugin, reason: "the plugins left no recipient".to_owned() });
        }
        let slots = letter.slots().clone();
        let mut plan = Plan {
            login: Arc::clone(&submission.login.name),
            message: submission.id,
            received: submission.received.at,
            context: Vec::new(),
            nonce: *slots.nonce(),
            slots: slots.as_slice().to_vec(),
            variables: String::new(),
            reverse_path: ReversePath::Null,
            tags: Vec::new(),
            steps,
        };
        // What only plugins ask for is kept only where plugins will.
        if needs_variables(&plan) {
            plan.variables.clone_from(&circumstances.variables);
        }
        if !plan.steps.is_empty() {
            plan.context.clone_from(&circumstances.context);
            plan.reverse_path.clone_from(&letter.reverse_path);
            plan.tags.clone_from(&letter.tags);
        }
        let changed = letter.draft.is_edited() || !plan.is_plain();
        let subject = cut(letter.draft.header("Subject").unwrap_or_default(), SUBJECT);
        let recipients = letter.recipients().iter().map(|recipient| (recipient.id, recipient.path.clone())).collect();
        let Letter { draft, reverse_path, tags, .. } = letter;
        let composition = if draft.is_edited() || !plan.slots.is_empty() {
            draft.into_composition((!plan.slots.is_empty()).then_some(&plan.nonce))
        } else {
            Composition::plain(circumstances.original.clone())
        };
        let body = composition.encode();
        Ok(Chained::Kept(Box::new(Letterpress { body, plan, reverse_path, recipients, tags, subject, held, changed })))
    }

    /// Renders the first copy while the client waits: a template that cannot work is an answer and not a bounce.
    ///
    /// Where there is one copy only, it takes the place of the plan. Returns who throws that copy away, and why.
    async fn render_first(
        &self,
        submission: &Submission,
        press: &mut Letterpress,
        trace: &mut Trace,
    ) -> Result<Option<(String, String)>, Refusal> {
        let Some((_, path, variables)) = press.copies(&submission.options).next() else { return Ok(None) };
        let address = path.address.clone();
        let recipient = Recipient { copy: CopyId { message: submission.id, recipient: 0 }, address: &address, variables: &variables };
        let rendered = self.renderer.render_traced(&press.plan, press.body.clone(), recipient, trace).await;
        let only = press.recipients.len() == 1;
        let plugin = || trace.runs.last().map(|run| run.plugin.clone()).unwrap_or_default();
        let copy = match rendered {
            Ok(copy) => copy,
            Err(RenderError::Discarded { reason } | RenderError::Held { reason }) => {
                // Of several copies this concerns one: its turn comes at delivery.
                return Ok(only.then(|| (plugin(), reason)));
            }
            Err(error) => return Err(refused(error, plugin())),
        };
        // Tags that a plugin adds behind one that runs per recipient: those of the first copy stand for all.
        press.tags = copy.tags;
        if only {
            press.plan.steps.clear();
            press.plan.slots.clear();
            press.plan.context.clear();
            press.plan.tags.clear();
            press.plan.variables.clear();
            press.plan.reverse_path = ReversePath::Null;
            press.subject = cut(Draft::new(copy.content.clone()).header("Subject").unwrap_or_default(), SUBJECT);
            press.body = Composition::plain(copy.content).encode();
            if let Some(reverse_path) = copy.reverse_path {
                press.reverse_path = reverse_path;
            }
            press.held = press.held.take().or(copy.held);
        }
        Ok(None)
    }

    fn entry(&self, submission: &Submission, content: Bytes, press: Letterpress, settings: &IntakeSettings, trace: &mut Trace) -> NewEntry {
        let copies = copies(submission, &press, settings);
        let Submission { envelope, login, received, options, .. } = submission;
        let recipient_count = u32::try_from(copies.len()).unwrap_or(u32::MAX);
        let at = self.clock.now();
        let event = |kind| Event {
            at,
            message: submission.id,
            login: Arc::clone(&login.name),
            recipient: None,
            address: None,
            tags: press.tags.clone(),
            kind,
        };
        let failures = trace.failures.iter();
        let mut events: Vec<_> = failures
            .map(|(plugin, failure)| event(EventKind::PluginFailed { plugin: plugin.clone(), failure: failure.to_string() }))
            .collect();
        events.push(event(EventKind::Accepted {
            protocol: received.protocol.keyword().to_ascii_lowercase(),
            peer: received.peer.to_string(),
            reverse_path: press.reverse_path.to_string(),
            recipients: copies.iter().take(RECIPIENTS_IN_EVENT).map(|(copy, _)| copy.address.to_string()).collect(),
            recipient_count,
            subject: press.subject.clone(),
            size: u64::try_from(submission.content.len()).unwrap_or(u64::MAX),
            plugins: std::mem::take(&mut trace.runs),
        }));
        if let Some((by, reason)) = &press.held {
            events.push(event(EventKind::Held { by: by.clone(), reason: reason.clone() }));
        }
        let entry = Entry {
            id: submission.id,
            login: Arc::clone(&login.name),
            route: Arc::clone(&login.route),
            received: received.clone(),
            reverse_path: press.reverse_path,
            ret: envelope.ret,
            envid: envelope.envid.clone(),
            body: envelope.body,
            smtputf8: envelope.smtputf8,
            subject: press.subject,
            tags: press.tags,
            recipient_count,
            deliver_before: options.deliver_before,
            options: if press.changed { options_text(options) } else { String::new() },
            plan: press.plan,
        };
        NewEntry {
            entry,
            body: press.body,
            original: press.changed.then_some(content),
            copies,
            held: press.held.map(|(_, reason)| reason),
            events,
        }
    }
}

/// What the client hears of a copy that cannot be made.
fn refused(error: RenderError, plugin: String) -> Refusal {
    match error {
        RenderError::Rejected { code, enhanced, text } | RenderError::Deferred { code, enhanced, text } => {
            Refusal::Plugin { plugin, code, enhanced, text }
        }
        RenderError::Failed { plugin, permanent } => Refusal::PluginFailed { plugin, permanent },
        RenderError::TooLarge { limit } => Refusal::MessageTooLarge { limit },
        // Who asks has looked for these: they are no reason to refuse a message.
        RenderError::Discarded { .. } | RenderError::Held { .. } => Refusal::PluginFailed { plugin, permanent: false },
    }
}

/// The way of a message without plugins: nothing is parsed.
fn plain(submission: &Submission, facts: &HeaderFacts<'_>, content: &Bytes, tag_limit: usize) -> Chained {
    let plan = Plan {
        login: Arc::clone(&submission.login.name),
        message: submission.id,
        received: submission.received.at,
        context: Vec::new(),
        nonce: [0; 11],
        slots: Vec::new(),
        variables: String::new(),
        reverse_path: ReversePath::Null,
        tags: Vec::new(),
        steps: Vec::new(),
    };
    let envelope = &submission.envelope;
    Chained::Kept(Box::new(Letterpress {
        body: Composition::plain(content.clone()).encode(),
        plan,
        reverse_path: envelope.reverse_path.clone(),
        recipients: (0..).zip(envelope.forward_paths.iter().cloned()).collect(),
        tags: tags(&submission.options, tag_limit),
        subject: facts.subject(),
        held: None,
        changed: false,
    }))
}

/// The copies with their queues: one queue for a domain where the route goes to the domains' own hosts, else one for the route.
fn copies(submission: &Submission, press: &Letterpress, settings: &IntakeSettings) -> Vec<(Copy, QueueName)> {
    let route = &submission.login.route;
    let by_domain = settings.routes_by_domain.contains(route);
    let mut names: BTreeMap<&str, QueueName> = BTreeMap::new();
    press
        .copies(&submission.options)
        .map(|(_, path, variables)| {
            let queue = if by_domain {
                let domain = path.address.domain().as_str();
                Arc::clone(names.entry(domain).or_insert_with(|| format!("{route}/{domain}").into()))
            } else {
                Arc::clone(route)
            };
            let copy = Copy { address: path.address.clone(), notify: path.notify, original: path.original.clone(), variables };
            (copy, queue)
        })
        .collect()
}

/// Whether anything that is left to do looks at the data given with the message.
fn needs_variables(plan: &Plan) -> bool {
    !plan.steps.is_empty() || plan.slots.iter().any(|slot| matches!(slot, Slot::Variable(_)))
}

fn object_text(object: &Map<String, Value>) -> String {
    // A map with texts as keys always has a JSON text.
    serde_json::to_string(object).unwrap_or_else(|_| "{}".to_owned())
}

/// Returns the tags given with a message, each once, and no more than `limit`.
fn tags(options: &Options, limit: usize) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Vec::with_capacity(options.tags.len());
    for tag in &options.tags {
        if tags.len() < limit && !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    tags
}

fn context(submission: &Submission) -> Vec<(String, String)> {
    let received = &submission.received;
    let mut context = vec![
        ("login".to_owned(), submission.login.name.to_string()),
        ("protocol".to_owned(), received.protocol.keyword().to_ascii_lowercase()),
        ("peer".to_owned(), received.peer.to_string()),
        ("received-at".to_owned(), received.at.to_rfc3339()),
    ];
    if let Some(helo) = &received.helo {
        context.push(("helo".to_owned(), helo.clone()));
    }
    if submission.options.recipient_variables.values().any(|data| !data.is_empty()) {
        context.push(("recipient-data".to_owned(), "true".to_owned()));
    }
    context
}

/// The options as JSON; "" where nothing was asked for.
fn options_text(options: &Options) -> String {
    if *options == Options::default() { String::new() } else { serde_json::to_string(options).unwrap_or_default() }
}
