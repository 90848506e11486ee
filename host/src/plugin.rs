//! Plugins: WebAssembly components in a sandbox.
//!
//! A plugin sees the message that it is given and what the host grants, is limited in time, memory and output, and whatever it
//! does wrong is a [`failure`](verdict::Failure) with its name. Generated WIT types end in `binding`.

pub mod author;
pub mod binding;
pub mod built_in;
pub mod component;
pub mod engine;
pub mod forward_path;
pub mod lease;
pub mod letter;
pub mod loading;
pub mod manifest;
pub mod observation;
pub mod sandbox;
pub mod service;
pub mod shelf;
pub mod signing;
pub mod verdict;
pub mod versions;
mod wasi;

#[cfg(test)]
pub(crate) mod test_guest;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::InstancePre;

use crate::config::{self, Grants, OnError, PluginLimits, PluginSource};
use crate::event::{DIGEST_DIGITS, PluginRun};
use crate::telemetry::metric::{PluginLogin, PluginMetrics, PluginOutcome};
use binding::{EventExport, RcptExport, RecipientExport, SubmitExport};
use engine::Engine;
use lease::{Lease, Occasion};
use manifest::Manifest;
use sandbox::{Answer, Callee, Question, Report, Setting, State, random_stream};
use service::desk::Effects;
use verdict::{Failure, Verdict};

/// The longest that a plugin may put delivery off, from the arrival: what is left of the time of retries (`delivery.give_up`, usually five days) must do
/// for some.
pub const LONGEST_WAIT: Duration = Duration::from_hours(4 * 24);

/// A plugin, loaded and ready to run.
pub struct Plugin {
    name: Arc<str>,
    metrics: PluginMetrics,
    digest: Arc<str>,
    signer: Option<Arc<str>>,
    manifest: Manifest,
    limits: PluginLimits,
    on_error: OnError,
    engine: Arc<Engine>,
    instance: InstancePre<State>,
    submit: Option<SubmitExport>,
    recipient: Option<RecipientExport>,
    rcpt: Option<RcptExport>,
    event: Option<EventExport>,
    grants: Arc<Grants>,
}

/// A place of the chain where a plugin takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Once for a message.
    Submit,
    /// Once for each recipient.
    Recipient,
    /// Once for each forward-path, before there is a message.
    Rcpt,
    /// After the fact.
    Event,
}

impl Stage {
    /// Returns the word for it in events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Recipient => "recipient",
            Self::Rcpt => "rcpt",
            Self::Event => "event",
        }
    }
}

/// What came of a call.
#[derive(Debug)]
pub struct Call {
    /// The plugin's word, or why there is none.
    pub result: Result<Verdict, Failure>,
    /// The letter as the plugin left it, where its verdict keeps the edits.
    pub edited: Option<letter::Letter>,
    /// For the message's trace.
    pub run: PluginRun,
    /// Instructions that ran, where the engine counts them.
    pub fuel: Option<u64>,
}

/// What came of asking whether a plugin wants to run for each recipient.
#[derive(Debug)]
pub struct Wanted {
    /// The plugin's word, or why there is none.
    pub result: Result<bool, Failure>,
    /// The letter as it was, with what was read of it: the next plugin need not take it apart again. `None` where it may be another now.
    pub letter: Option<letter::Letter>,
    /// For the message's trace.
    pub run: PluginRun,
    /// Instructions that ran, where the engine counts them.
    pub fuel: Option<u64>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Plugin {
    /// Returns its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the SHA-256 of the component, in hexadecimal digits.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// Returns which of the trusted keys has signed it.
    pub fn signer(&self) -> Option<&Arc<str>> {
        self.signer.as_ref()
    }

    /// Returns what it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns what happens to a message when it fails.
    pub fn on_error(&self) -> OnError {
        self.on_error
    }

    /// Whether it takes part in a stage.
    pub fn has(&self, stage: Stage) -> bool {
        match stage {
            Stage::Submit => self.submit.is_some(),
            Stage::Recipient => self.recipient.is_some(),
            Stage::Rcpt => self.rcpt.is_some(),
            Stage::Event => self.event.is_some(),
        }
    }

    /// Runs the plugin on a message. `config` is the JSON object of its options.
    pub async fn process(&self, stage: Stage, lease: Lease, config: &str) -> Call {
        let question = match stage {
            Stage::Submit => self.submit.as_ref().map(|export| Question::Submit(export, config)),
            Stage::Recipient => self.recipient.as_ref().map(|export| Question::Recipient(export, config)),
            Stage::Rcpt | Stage::Event => None,
        };
        let Some(question) = question else {
            let failure = Failure::BadAnswer(format!("it has no stage `{}`", stage.word()));
            let run = self.run(stage, "failed", failure.to_string(), Report::default());
            return Call { result: Err(failure), edited: None, run, fuel: None };
        };
        let setting = self.setting(&lease, stage);
        let metrics = self.metrics_of(&lease);
        let outcome = self.callee().call(question, Some(lease), setting).await;
        let result = outcome.answer.and_then(|answer| match answer {
            Answer::Verdict(answer) => answer.map(Verdict::from).map_err(Failure::from),
            Answer::Description(_) | Answer::Wanted(_) | Answer::Rcpt(_) | Answer::Handled(_) => {
                Err(Failure::BadAnswer("not a verdict".to_owned()))
            }
        });
        if let Some(metrics) = metrics {
            let outcome_metric = result.as_ref().map_or_else(Failure::metric, Verdict::metric);
            metrics.called(outcome_metric, outcome.report.time, outcome.report.memory);
        }
        let (word, text) = match &result {
            Ok(verdict) => (verdict.word(), verdict.text().to_owned()),
            Err(failure) => ("failed", failure.to_string()),
        };
        let keeps = result.as_ref().is_ok_and(Verdict::keeps_edits);
        let fuel = outcome.report.fuel;
        let mut run = self.run(stage, word, text, outcome.report);
        if !keeps {
            run.headers_changed.clear();
            run.parts_changed = 0;
        }
        Call { result, edited: outcome.lease.filter(|_| keeps).map(|lease| lease.letter), run, fuel }
    }

    /// Asks whether the message needs the stage [`Stage::Recipient`] of this plugin. Its edits are dropped.
    pub async fn wanted(&self, lease: Lease, config: &str) -> Wanted {
        let Some(export) = &self.recipient else {
            let run = self.run(Stage::Recipient, "not wanted", String::new(), Report::default());
            return Wanted { result: Ok(false), letter: Some(lease.letter), run, fuel: None };
        };
        let setting = self.setting(&lease, Stage::Recipient);
        let metrics = self.metrics_of(&lease);
        let outcome = self.callee().call(Question::Wanted(export, config), Some(lease), setting).await;
        let result = outcome.answer.and_then(|answer| match answer {
            Answer::Wanted(answer) => answer.map_err(Failure::from),
            Answer::Description(_) | Answer::Verdict(_) | Answer::Rcpt(_) | Answer::Handled(_) => {
                Err(Failure::BadAnswer("not a yes or no".to_owned()))
            }
        });
        let metric = |wanted: &bool| if *wanted { PluginOutcome::Continued } else { PluginOutcome::NotWanted };
        if let Some(metrics) = metrics {
            metrics.called(result.as_ref().map_or_else(Failure::metric, metric), outcome.report.time, outcome.report.memory);
        }
        let (word, text) = match &result {
            Ok(true) => ("wanted", String::new()),
            Ok(false) => ("not wanted", String::new()),
            Err(failure) => ("failed", failure.to_string()),
        };
        let fuel = outcome.report.fuel;
        let report = Report { headers_changed: Vec::new(), parts_changed: 0, ..outcome.report };
        let letter = outcome.lease.filter(|_| outcome.is_untouched).map(|lease| lease.letter);
        Wanted { result, letter, run: self.run(Stage::Recipient, word, text, report), fuel }
    }

    /// Returns what was counted of it, and counts.
    pub fn metrics(&self) -> &PluginMetrics {
        &self.metrics
    }

    /// Where a call is counted, if it is.
    fn metrics_of(&self, lease: &Lease) -> Option<PluginLogin> {
        let circumstances = &lease.circumstances;
        circumstances.effects.is_live().then(|| self.metrics.login(&circumstances.login))
    }

    /// Returns how another version of it is to be loaded.
    fn configured(&self) -> config::Plugin {
        config::Plugin {
            source: PluginSource::BuiltIn(Arc::clone(&self.name)),
            limits: self.limits,
            on_error: self.on_error,
            allow: Grants::clone(&self.grants),
            sha256: None,
            refusals: config::Refusals::default(),
        }
    }

    fn callee(&self) -> Callee<'_> {
        Callee { engine: &self.engine, instance: &self.instance, limits: self.limits, name: &self.name, grants: &self.grants }
    }

    fn setting(&self, lease: &Lease, stage: Stage) -> Setting {
        let (recipient, effects) = match &lease.occasion {
            Occasion::Message if stage == Stage::Submit => (None, lease.circumstances.effects.clone()),
            Occasion::Message => (None, Effects::Repeatable),
            Occasion::Copy(facts) => (Some(facts.address.to_string()), Effects::Repeatable),
        };
        Setting {
            login: Arc::clone(&lease.circumstances.login),
            now: lease.circumstances.received,
            random: Some(random_stream(&lease.circumstances.id.to_bytes(), recipient.as_deref(), &self.name)),
            effects,
        }
    }

    fn run(&self, stage: Stage, outcome: &str, text: String, report: Report) -> PluginRun {
        PluginRun {
            plugin: self.name.to_string(),
            version: self.manifest.version.clone(),
            digest: self.digest.get(..DIGEST_DIGITS).unwrap_or(&self.digest).to_owned(),
            stage: stage.word().to_owned(),
            outcome: outcome.to_owned(),
            text,
            micros: u64::try_from(report.time.as_micros()).unwrap_or(u64::MAX),
            memory: report.memory,
            headers_changed: report.headers_changed,
            parts_changed: report.parts_changed,
            log: report.log,
        }
    }
}
