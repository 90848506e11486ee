//! From a submission to what the spool keeps: chain, plan, first rendering, entry, copies, events.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::trace_header::{HeaderFacts, SUBJECT, prepend};
use super::{IntakeSettings, Parts, cut};
use crate::chain::processing::{Kept, Processed};
use crate::chain::rendering::{Recipient, RenderError};
use crate::chain::trace::Trace;
use crate::chain::{Chain, Plan};
use crate::clock::Timestamp;
use crate::config::Bounces;
use crate::mail::content::{Composition, Draft};
use crate::mail::envelope::{BodyType, ForwardPath, ReversePath};
use crate::mail::message_id::CopyId;
use crate::mail::refusal::Refusal;
use crate::mail::slot::Tokens;
use crate::mail::tag::Tag;
use crate::plugin::lease::Circumstances;
use crate::plugin::letter::Letter;
use crate::spool::NewEntry;
use crate::submission::login::Login;
use crate::submission::permission::{check_from, check_reverse_path};
use crate::submission::{Options, Received, Submission};

/// Subject of enhanced status codes that blame the content (RFC 3463 §3.7).
const CONTENT: u16 = 6;

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

/// A message with its trace header, and the plugins in its way.
pub(super) struct Prepared {
    pub(super) content: Bytes,
    /// `None` where there is no plugin.
    pub(super) chain: Option<Arc<Chain>>,
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
    /// Over which route it goes, where a plugin chose one.
    pub(super) route: Option<Arc<str>>,
    /// When delivery is tried first, where a plugin chose that.
    pub(super) not_before: Option<Timestamp>,
    /// Whether each copy has a From of its own.
    pub(super) from_is_open: bool,
    /// Whether plugins changed anything of the content.
    pub(super) changed: bool,
}

impl Letterpress {
    /// Who gets which copy. The data of a recipient that a plugin added are those of the message.
    pub(super) fn copies<'a>(&'a self, options: &'a Options) -> impl Iterator<Item = (u32, &'a ForwardPath, String)> + 'a {
        let needed = self.plan.needs_variables();
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
        settings: &IntakeSettings,
        trace: &mut Trace,
    ) -> Result<Composed, Refusal> {
        let prepared = self.prepare(submission, facts, settings)?;
        let mut press = match self.run_chain(submission, facts, &prepared, trace).await? {
            Chained::Kept(press) => press,
            Chained::Discarded { plugin, reason } => return Ok(Composed::Discarded { plugin, reason }),
        };
        // What the client can still be told: a template that cannot work, and a From that is not his.
        let has_more_to_tell = !press.plan.steps.is_empty() || press.from_is_open;
        if has_more_to_tell && let Some((plugin, reason)) = self.render_first(submission, &mut press, trace).await? {
            return Ok(Composed::Discarded { plugin, reason });
        }
        let copies = press.copies(&submission.options);
        let copies = copies.map(|(recipient, path, variables)| (CopyId { message: submission.id, recipient }, &path.address, variables));
        self.renderer.check_sizes(&press.plan, &press.body, copies).map_err(|error| refused(error, String::new()))?;
        let is_tracked = tracks_bounces(submission, facts, settings);
        if is_tracked && submission.options.has_no_envelope {
            press.reverse_path = ReversePath::Null;
            press.plan.reverse_path = ReversePath::Null;
        }
        let binary = submission.binary.as_ref().filter(|_| !press.changed);
        if let Some(binary) = binary {
            press.body = Composition::plain(settings.with_trace(submission, binary, prepared.chain.is_some())).encode();
        }
        let is_binary = binary.is_some();
        let mut kept = self.entry(submission, facts, prepared.content, *press, settings, trace);
        kept.entry.terms.track_bounces = is_tracked;
        if is_binary {
            kept.entry.body = BodyType::BinaryMime;
        } else if kept.entry.body == BodyType::BinaryMime {
            // What plugins have changed is in lines, as they saw it.
            kept.entry.body = BodyType::EightBitMime;
        }
        Ok(Composed::Kept(Box::new(kept)))
    }

    /// Finds the login's plugins and puts the trace header on.
    pub(super) fn prepare(&self, submission: &Submission, facts: &HeaderFacts<'_>, settings: &IntakeSettings) -> Result<Prepared, Refusal> {
        let chain = self.chain(submission)?;
        Ok(Prepared { content: prepend(submission, &submission.content, facts, &settings.hostname, chain.is_some()), chain })
    }

    /// The login's chain, unless there is no plugin in it.
    pub(super) fn chain(&self, submission: &Submission) -> Result<Option<Arc<Chain>>, Refusal> {
        let Some(name) = &submission.login.chain else { return Ok(None) };
        match self.chains.current().chain(name) {
            Some(chain) => Ok((!chain.is_empty()).then(|| Arc::clone(chain))),
            // The configuration has changed under the session: nothing that the sender did wrong.
            None => Err(Refusal::PluginFailed { plugin: name.to_string(), permanent: false }),
        }
    }

    /// Runs the login's chain on a message with its trace header.
    pub(super) async fn run_chain(
        &self,
        submission: &Submission,
        facts: &HeaderFacts<'_>,
        prepared: &Prepared,
        trace: &mut Trace,
    ) -> Result<Chained, Refusal> {
        let Some(chain) = &prepared.chain else {
            self.check_readable_sender(&facts.from)?;
            return Ok(plain(submission, facts, &prepared.content, self.settings().tags));
        };
        let circumstances = Arc::new(Circumstances {
            id: submission.id,
            login: Arc::clone(&submission.login.name),
            received: submission.received.at,
            context: context(&submission.login, &submission.received, &submission.options, self.renderer.public_url()),
            variables: if submission.options.variables.is_empty() { String::new() } else { object_text(&submission.options.variables) },
            original: prepared.content.clone(),
            recipient_limit: submission.login.limits.recipients_per_message,
            deliver_before: submission.options.deliver_before,
            links: self.renderer.links().clone(),
            effects: trace.effects.clone(),
        });
        self.run(chain, submission, facts, circumstances, trace).await
    }

    async fn run(
        &self,
        chain: &Chain,
        submission: &Submission,
        facts: &HeaderFacts<'_>,
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
            senders: Vec::new(),
        };
        if letter.reverse_path != submission.envelope.reverse_path {
            check_reverse_path(&submission.login.senders, &letter.reverse_path)?;
        }
        if letter.draft.is_edited() {
            let from: Vec<&[u8]> = letter.draft.header_all_raw("From").collect();
            if from != facts.from {
                self.check_changed_sender(&submission.login, &from)?;
            }
        }
        let from_is_open = is_from_open(&submission.login, facts, &letter.draft, &plan)?;
        if from_is_open {
            plan.senders.clone_from(&submission.login.senders);
        } else {
            self.check_readable_sender(&letter.draft.header_all_raw("From").collect::<Vec<_>>())?;
        }
        // What only plugins ask for is kept only where plugins will.
        if plan.needs_variables() {
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
        let Letter { draft, reverse_path, tags, route, not_before, .. } = letter;
        let composition = if draft.is_edited() || !plan.slots.is_empty() {
            draft.into_composition((!plan.slots.is_empty()).then_some(&plan.nonce))
        } else {
            Composition::plain(circumstances.original.clone())
        };
        let body = composition.encode();
        Ok(Chained::Kept(Box::new(Letterpress {
            body,
            plan,
            reverse_path,
            recipients,
            tags,
            subject,
            held,
            route,
            not_before,
            from_is_open,
            changed,
        })))
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
        let rendered = self.renderer.render(&press.plan, press.body.clone(), recipient, trace).await;
        let only = press.recipients.len() == 1;
        let plugin = || trace.runs.last().map(|run| run.plugin.clone()).unwrap_or_default();
        let copy = match rendered {
            Ok(copy) => copy,
            // Of several copies this concerns one, unless the content is to blame (X.6.Z): then its turn comes at delivery.
            Err(RenderError::Rejected { enhanced, .. } | RenderError::Deferred { enhanced, .. })
                if !only && enhanced.subject != CONTENT =>
            {
                return Ok(None);
            }
            Err(RenderError::Discarded { reason } | RenderError::Held { reason }) => {
                return Ok(only.then(|| (plugin(), reason)));
            }
            Err(error) => return Err(refused(error, plugin())),
        };
        if !press.plan.steps.is_empty() {
            // Tags that a plugin adds behind one that runs per recipient: those of the first copy stand for all.
            press.tags = copy.tags;
        }
        if only {
            press.plan.steps.clear();
            press.plan.slots.clear();
            press.plan.context.clear();
            press.plan.tags.clear();
            press.plan.variables.clear();
            press.plan.reverse_path = ReversePath::Null;
            press.plan.senders.clear();
            press.subject = cut(Draft::new(copy.content.clone()).header("Subject").unwrap_or_default(), SUBJECT);
            press.body = Composition::plain(copy.content).encode();
            if let Some(reverse_path) = copy.reverse_path {
                press.reverse_path = reverse_path;
            }
            press.held = press.held.take().or(copy.held);
        }
        Ok(None)
    }
}

/// Whether bounces come back to us: as the header says, or the call, or the login. What comes from `<>` is a report, to which nothing may come back,
/// unless the sender asks for it.
fn tracks_bounces(submission: &Submission, facts: &HeaderFacts<'_>, settings: &IntakeSettings) -> bool {
    let Submission { login, envelope, options, .. } = submission;
    let by_login = || login.bounces == Bounces::Track && (options.has_no_envelope || envelope.reverse_path != ReversePath::Null);
    settings.takes_bounces && facts.track_bounces.or(options.track_bounces).unwrap_or_else(by_login)
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
    let plan = Plan::plain(Arc::clone(&submission.login.name), submission.id, submission.received.at);
    let envelope = &submission.envelope;
    Chained::Kept(Box::new(Letterpress {
        body: Composition::plain(content.clone()).encode(),
        plan,
        reverse_path: envelope.reverse_path.clone(),
        recipients: (0..).zip(envelope.forward_paths.iter().cloned()).collect(),
        tags: tags(&submission.options, tag_limit),
        subject: facts.subject(),
        held: None,
        route: None,
        not_before: None,
        from_is_open: false,
        changed: false,
    }))
}

/// Checks From where plugins have changed it. Returns whether each copy's own is still to be checked when it is made.
fn is_from_open(login: &Login, facts: &HeaderFacts<'_>, draft: &Draft, plan: &Plan) -> Result<bool, Refusal> {
    let from: Vec<&[u8]> = draft.header_all_raw("From").collect();
    let tokens = Tokens::new(&plan.nonce);
    if !plan.steps.is_empty() || from.iter().any(|value| tokens.are_in(value)) {
        return Ok(true);
    }
    if from != facts.from && !login.senders.is_empty() {
        check_from(&login.senders, from)?;
    }
    Ok(false)
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

/// What plugins see of how a message came in.
pub(super) fn context(login: &Login, received: &Received, options: &Options, public_url: &str) -> Vec<(String, String)> {
    let mut context = vec![
        ("login".to_owned(), login.name.to_string()),
        ("protocol".to_owned(), received.protocol.keyword().to_ascii_lowercase()),
        ("peer".to_owned(), received.peer.to_string()),
        ("received-at".to_owned(), received.at.to_rfc3339()),
        ("public-url".to_owned(), public_url.to_owned()),
    ];
    if let Some(helo) = &received.helo {
        context.push(("helo".to_owned(), helo.clone()));
    }
    if options.recipient_variables.values().any(|data| !data.is_empty()) {
        context.push(("recipient-data".to_owned(), "true".to_owned()));
    }
    context
}
