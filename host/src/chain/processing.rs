//! A message on its way through a chain, once for all recipients, while the client waits.

use std::sync::Arc;

use super::options::{FieldNames, remove_service_fields};
use super::shadow::{Part, ShadowJob, rehearsal};
use super::trace::Trace;
use super::{Chain, PlannedStep, Step, share};
use crate::config::{OnError, Shadow};
use crate::mail::message_id::CopyId;
use crate::mail::refusal::Refusal;
use crate::plugin::lease::{Circumstances, CopyFacts, Lease, Occasion, merged_variables};
use crate::plugin::letter::Letter;
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::{Failure, Verdict};
use crate::plugin::{Plugin, Stage, Wanted};
use crate::submission::Options;

/// What the chain makes of a message.
#[derive(Debug)]
pub enum Processed {
    /// It goes on.
    Kept(Box<Kept>),
    /// A plugin threw it away.
    Discarded {
        /// Which.
        plugin: String,
        /// What it says.
        reason: String,
    },
}

/// A message that goes on.
#[derive(Debug)]
pub struct Kept {
    /// As the plugins left it.
    pub letter: Letter,
    /// What is left to do for each recipient.
    pub steps: Vec<PlannedStep>,
    /// Which plugin holds it, and why.
    pub held: Option<(String, String)>,
}

/// What to do after a step.
enum Next {
    Step,
    End,
    Discard(String),
}

/// A message under way.
struct Walk<'a> {
    letter: Letter,
    circumstances: &'a Arc<Circumstances>,
    trace: &'a mut Trace,
    held: Option<(String, String)>,
}

impl Chain {
    /// Runs the plugins in order, up to the first that must run for each recipient; that one and all behind it are planned.
    ///
    /// A plugin that holds the message does not end the chain: a message that is released later is complete.
    ///
    /// # Errors
    /// A plugin refuses the message or fails, or the message asks for options that there are not.
    pub async fn process(
        &self,
        letter: Letter,
        circumstances: &Arc<Circumstances>,
        options: &Options,
        trace: &mut Trace,
    ) -> Result<Processed, Refusal> {
        let names = FieldNames::of(&letter.draft);
        let mut active = Vec::with_capacity(self.steps.len());
        let mut shadows = Shadows::new(self, circumstances, options, trace.effects.clone());
        for step in &self.steps {
            if let Some(kind) = &step.shadow {
                // What is wrong with its options is not for the sender to hear.
                if let Ok(Some(config)) = step.resolve(&letter.draft, &names, options) {
                    shadows.push(step, kind, config, active.len());
                }
            } else if let Some(config) = step.resolve(&letter.draft, &names, options)?
                && step.takes(circumstances)
            {
                active.push((step, config));
            }
        }
        shadows.find_originals(&active);
        let mut walk = Walk { letter, circumstances, trace, held: None };
        self.remove_header_options(&mut walk.letter.draft, &names);
        let mut steps = Vec::new();
        let mut rest = active.into_iter();
        let mut place = 0;
        while let Some((step, config)) = rest.next() {
            let plugin = &step.plugin;
            walk.trace.shadows.extend(shadows.take(place, &walk.letter));
            place += 1;
            if plugin.has(Stage::Submit) {
                match walk.submit(plugin, &config).await? {
                    Next::Step => {}
                    Next::End => {
                        shadows.end_at(place);
                        break;
                    }
                    Next::Discard(reason) => return Ok(Processed::Discarded { plugin: plugin.name().to_string(), reason }),
                }
            }
            if plugin.has(Stage::Recipient) && walk.wanted(plugin, &config).await? {
                steps.push(planned_stage(plugin, config, true));
                steps.extend(rest.flat_map(|(step, config)| planned(step, config)));
                break;
            }
        }
        walk.trace.shadows.extend(shadows.take(usize::MAX, &walk.letter));
        let Walk { mut letter, held, .. } = walk;
        if steps.is_empty() {
            remove_service_fields(&mut letter.draft);
        }
        Ok(Processed::Kept(Box::new(Kept { letter, steps, held })))
    }
}

impl Step {
    /// Whether the plugin gets this message, which is counted where it gets a part of them.
    fn takes(&self, circumstances: &Circumstances) -> bool {
        let Some(share) = self.share else { return true };
        let taken = share::takes(share, circumstances.id, self.plugin.name());
        if circumstances.effects.is_live() {
            self.plugin.metrics().login(&circumstances.login).shared(taken);
        }
        taken
    }
}

/// Plugins that run beside the chain, until the message is where they see it.
struct Shadows<'a> {
    chain: &'a Chain,
    circumstances: &'a Arc<Circumstances>,
    options: &'a Options,
    effects: Effects,
    waiting: Vec<Waiting>,
}

/// One of them.
struct Waiting {
    shadow: Part,
    /// Name of what it is compared with.
    of: Option<Arc<str>>,
    original: Option<Part>,
    /// Before which of the plugins that count.
    place: usize,
}

impl<'a> Shadows<'a> {
    fn new(chain: &'a Chain, circumstances: &'a Arc<Circumstances>, options: &'a Options, effects: Effects) -> Self {
        Self { chain, circumstances, options, effects, waiting: Vec::new() }
    }

    fn push(&mut self, step: &Step, kind: &Shadow, config: String, place: usize) {
        // Nobody looks at what comes of a message that is only looked at.
        if !self.effects.is_live() || !step.takes(self.circumstances) {
            return;
        }
        let of = match kind {
            Shadow::Nothing => None,
            Shadow::Of(original) => Some(Arc::clone(original)),
        };
        self.waiting.push(Waiting { shadow: Part { plugin: Arc::clone(&step.plugin), config }, of, original: None, place });
    }

    /// Finds what shadows are compared with; where that does not get the message, there is nothing to compare.
    fn find_originals(&mut self, active: &[(&Step, String)]) {
        self.waiting.retain_mut(|waiting| {
            let Some(of) = &waiting.of else { return true };
            let Some(place) = active.iter().position(|(step, _)| step.plugin.name() == of) else { return false };
            waiting.place = place;
            waiting.original = active.get(place).map(|(step, config)| Part { plugin: Arc::clone(&step.plugin), config: config.clone() });
            true
        });
    }

    /// The chain has ended behind the plugin before `place`: what stands further behind does not get the message.
    fn end_at(&mut self, place: usize) {
        self.waiting.retain(|waiting| waiting.place <= place);
    }

    /// Takes those whose place is not behind `place`; they see the message as it is now.
    fn take(&mut self, place: usize, letter: &Letter) -> Vec<ShadowJob> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let taken: Vec<Waiting> = self.waiting.extract_if(.., |waiting| waiting.place <= place).collect();
        let job = |waiting: Waiting| {
            let Waiting { shadow, original, .. } = waiting;
            let is_for_recipients = |part: &Part| part.plugin.has(Stage::Recipient);
            let first =
                (is_for_recipients(&shadow) || original.as_ref().is_some_and(is_for_recipients)).then(|| self.first(letter)).flatten();
            let circumstances = rehearsal(self.circumstances);
            ShadowJob { shadow, original, letter: letter.clone(), circumstances, first, rendered_size: self.chain.rendered_size }
        };
        taken.into_iter().map(job).collect()
    }

    /// The first recipient, who stands for all.
    fn first(&self, letter: &Letter) -> Option<CopyFacts> {
        let first = letter.recipients().first()?;
        let own = self.options.recipient_variables.get(&first.id);
        let own = own.and_then(|data| serde_json::to_string(data).ok()).unwrap_or_default();
        Some(CopyFacts {
            copy: CopyId { message: self.circumstances.id, recipient: 0 },
            address: first.path.address.clone(),
            variables: merged_variables(&self.circumstances.variables, &own),
        })
    }
}

/// Both stages of a plugin, in their order, as they run for one recipient.
fn planned(step: &Step, config: String) -> impl Iterator<Item = PlannedStep> {
    let plugin = &step.plugin;
    let stages = [(Stage::Submit, false), (Stage::Recipient, true)];
    stages
        .into_iter()
        .filter(|(stage, _)| plugin.has(*stage))
        .map(move |(_, per_recipient)| planned_stage(plugin, config.clone(), per_recipient))
}

fn planned_stage(plugin: &Plugin, config: String, per_recipient: bool) -> PlannedStep {
    PlannedStep { plugin: Arc::clone(plugin.name()), config, per_recipient, digest: Some(Arc::clone(plugin.digest())) }
}

impl Walk<'_> {
    fn lease(&self) -> Lease {
        Lease {
            letter: self.letter.clone(),
            circumstances: Arc::clone(self.circumstances),
            occasion: Occasion::Message,
            direct_slots: false,
        }
    }

    async fn submit(&mut self, plugin: &Plugin, config: &str) -> Result<Next, Refusal> {
        let call = plugin.process(Stage::Submit, self.lease(), config).await;
        let before = self.letter.draft.clone();
        if let Some(edited) = call.edited {
            self.letter = edited;
        }
        self.trace.record(call.run, &before, &self.letter.draft);
        let name = || plugin.name().to_string();
        let refuse = |reply: crate::plugin::verdict::Reply| Refusal::Plugin {
            plugin: name(),
            code: reply.code,
            enhanced: reply.enhanced,
            text: reply.text,
        };
        match call.result {
            Ok(Verdict::Next) => Ok(Next::Step),
            Ok(Verdict::Accept) => Ok(Next::End),
            Ok(Verdict::Reject(reply) | Verdict::Defer(reply)) => Err(refuse(reply)),
            Ok(Verdict::Discard(reason)) => Ok(Next::Discard(reason)),
            Ok(Verdict::Hold(reason)) => {
                self.held.get_or_insert((name(), reason));
                Ok(Next::Step)
            }
            Err(failure) => self.failed(plugin, failure).map(|()| Next::Step),
        }
    }

    async fn wanted(&mut self, plugin: &Plugin, config: &str) -> Result<bool, Refusal> {
        let Wanted { result, letter, run, .. } = plugin.wanted(self.lease(), config).await;
        if let Some(letter) = letter {
            self.letter = letter;
        }
        match result {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.trace.record(run, &self.letter.draft, &self.letter.draft);
                Ok(false)
            }
            Err(failure) => {
                self.trace.record(run, &self.letter.draft, &self.letter.draft);
                self.failed(plugin, failure).map(|()| false)
            }
        }
    }

    /// Notes a failure; an error where the plugin must not be passed over.
    fn failed(&mut self, plugin: &Plugin, failure: Failure) -> Result<(), Refusal> {
        self.trace.fail(plugin.name(), failure);
        match plugin.on_error() {
            OnError::Skip => Ok(()),
            OnError::Defer => Err(Refusal::PluginFailed { plugin: plugin.name().to_string(), permanent: false }),
            OnError::Reject => Err(Refusal::PluginFailed { plugin: plugin.name().to_string(), permanent: true }),
        }
    }
}
