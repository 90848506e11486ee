//! A message on its way through a chain, once for all recipients, while the client waits.

use std::sync::Arc;

use super::options::{FieldNames, remove_service_fields};
use super::trace::Trace;
use super::{Chain, PlannedStep, Step};
use crate::config::OnError;
use crate::mail::refusal::Refusal;
use crate::plugin::lease::{Circumstances, Lease, Occasion};
use crate::plugin::letter::Letter;
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
        for step in &self.steps {
            if let Some(config) = step.resolve(&letter.draft, &names, options)? {
                active.push((step, config));
            }
        }
        let mut walk = Walk { letter, circumstances, trace, held: None };
        self.remove_header_options(&mut walk.letter.draft, &names);
        let mut steps = Vec::new();
        let mut rest = active.into_iter();
        while let Some((step, config)) = rest.next() {
            let plugin = &step.plugin;
            if plugin.has(Stage::Submit) {
                match walk.submit(plugin, &config).await? {
                    Next::Step => {}
                    Next::End => break,
                    Next::Discard(reason) => return Ok(Processed::Discarded { plugin: plugin.name().to_string(), reason }),
                }
            }
            if plugin.has(Stage::Recipient) && walk.wanted(plugin, &config).await? {
                steps.push(PlannedStep { plugin: Arc::clone(plugin.name()), config, per_recipient: true });
                steps.extend(rest.flat_map(|(step, config)| planned(step, config)));
                break;
            }
        }
        let Walk { mut letter, held, .. } = walk;
        if steps.is_empty() {
            remove_service_fields(&mut letter.draft);
        }
        Ok(Processed::Kept(Box::new(Kept { letter, steps, held })))
    }
}

/// Both stages of a plugin, in their order, as they run for one recipient.
fn planned(step: &Step, config: String) -> impl Iterator<Item = PlannedStep> {
    let plugin = &step.plugin;
    let stages = [(Stage::Submit, false), (Stage::Recipient, true)];
    stages.into_iter().filter(|(stage, _)| plugin.has(*stage)).map(move |(_, per_recipient)| PlannedStep {
        plugin: Arc::clone(plugin.name()),
        config: config.clone(),
        per_recipient,
    })
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
