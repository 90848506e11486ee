//! A plugin on the bench: messages go through it as on a server, in the real sandbox, and everything it did is shown.
//!
//! Ids, the message's clock and all keys are the same every time, so that the same message gives the same octets.

pub(super) mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::config::unit::ByteSize;
use crate::config::{self, Grants, OnError, PluginLimits, PluginRuntime, PluginSource};
use crate::event::PluginRun;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;
use crate::plugin::Plugin;
use crate::plugin::engine::{Engine, EngineError, EngineOptions, Insight};
use crate::plugin::loading::{LoadError, load};
use crate::plugin::manifest::schema::Invalid;
use crate::plugin::verdict::{Failure, Verdict};
use crate::telemetry::metric::Metrics;
use session::Session;

/// What a plugin may use unless somebody says otherwise: as in a configuration that says nothing.
pub const LIMITS: PluginLimits = PluginLimits { time: Duration::from_millis(250), memory: ByteSize(64 << 20), output: ByteSize(50 << 20) };

/// What to run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// A message, as it came over the wire; see [`with_crlf`].
    pub content: Bytes,
    /// The plugin's options.
    pub options: Map<String, Value>,
    /// Data for all recipients, as slots and templates see them.
    pub variables: Map<String, Value>,
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Whom it is for.
    pub recipients: Vec<TrialRecipient>,
}

/// One recipient of a trial.
#[derive(Clone, Debug)]
pub struct TrialRecipient {
    /// Where his copy goes.
    pub address: EmailAddress,
    /// His own data.
    pub variables: Map<String, Value>,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No sandbox.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No plugin.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The options are not the plugin's.
    #[error("the plugin's options: {0}")]
    Options(#[from] Invalid),
}

/// What a plugin did to a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The message before.
    pub before: Bytes,
    /// Calls for the message as a whole, in order.
    pub calls: Vec<TrialCall>,
    /// Tags after them.
    pub tags: Vec<String>,
    /// What was changed of the envelope, a phrase each.
    pub envelope: Vec<String>,
    /// What was asked for that differs by recipient: `address`, `variable name`, `click https://…`.
    pub slots: Vec<String>,
    /// One for each recipient that is left; none where the message does not go on.
    pub copies: Vec<TrialCopy>,
}

/// What becomes of one recipient's copy.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialCopy {
    /// Where it goes.
    pub address: String,
    /// Calls for this recipient alone.
    pub calls: Vec<TrialCall>,
    /// As he gets it, slots filled in; `None` where it does not go on.
    pub after: Option<Bytes>,
    /// Tags that only his copy has.
    pub tags: Vec<String>,
    /// What was changed of the envelope of this copy.
    pub envelope: Vec<String>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct TrialCall {
    /// What it cost and changed.
    pub run: PluginRun,
    /// What came of it; `None` is the answer to whether the plugin wants to run for each recipient.
    pub result: Result<Option<Verdict>, Failure>,
    /// Instructions that ran, where they were counted.
    pub fuel: Option<u64>,
}

impl TrialCall {
    /// Returns what came of it in a few words: `next`, `reject 550 5.7.1 no`, `failed on this message: …`.
    pub fn answer(&self) -> String {
        match &self.result {
            Err(failure) => failure.to_string(),
            Ok(Some(Verdict::Reject(reply) | Verdict::Defer(reply))) => {
                format!("{} {} {} {}", self.run.outcome, reply.code, reply.enhanced, reply.text)
            }
            Ok(_) if self.run.text.is_empty() => self.run.outcome.clone(),
            Ok(_) => format!("{}: {}", self.run.outcome, self.run.text),
        }
    }
}

impl PartialEq for TrialCall {
    /// Time, memory and fuel are no part of what was done.
    fn eq(&self, other: &Self) -> bool {
        let done = |call: &Self| PluginRun { micros: 0, memory: 0, ..call.run.clone() };
        self.result == other.result && done(self) == done(other)
    }
}

impl Report {
    /// Returns all calls: those for the message, then those for each recipient.
    pub fn all_calls(&self) -> impl Iterator<Item = &TrialCall> {
        self.calls.iter().chain(self.copies.iter().flat_map(|copy| &copy.calls))
    }

    /// Returns the first failure of any call.
    pub fn failure(&self) -> Option<&Failure> {
        self.all_calls().find_map(|call| call.result.as_ref().err())
    }

    fn all_calls_mut(&mut self) -> impl Iterator<Item = &mut TrialCall> {
        self.calls.iter_mut().chain(self.copies.iter_mut().flat_map(|copy| &mut copy.calls))
    }
}

/// A plugin, loaded for its author.
#[derive(Debug)]
pub struct Workbench {
    plugin: Plugin,
    counted: Option<Plugin>,
}

impl Workbench {
    /// Loads a plugin. Traps tell file and line where it has debug information.
    pub async fn open(source: &PluginSource, limits: PluginLimits, clock: &Clock) -> Result<Self, TrialError> {
        Ok(Self { plugin: open(source, limits, clock, Insight::Source).await?, counted: None })
    }

    /// Loads a plugin twice: what counts its instructions is slower, and would spoil the time.
    pub async fn open_counting(source: &PluginSource, limits: PluginLimits, clock: &Clock) -> Result<Self, TrialError> {
        // With the counting a call takes longer; what takes too long shows in the other one.
        let patient = PluginLimits { time: limits.time.saturating_mul(10), ..limits };
        let counted = open(source, patient, clock, Insight::Fuel).await?;
        Ok(Self { counted: Some(counted), ..Self::open(source, limits, clock).await? })
    }

    /// Returns the plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Runs the plugin on a message as the server would: its stage `submit`, and, where it wants to, its stage `recipient` for each recipient.
    ///
    /// # Errors
    /// The options are not the plugin's. What goes wrong in the plugin stands in the report.
    pub async fn run(&self, trial: &Trial) -> Result<Report, TrialError> {
        self.plugin.manifest().check(&trial.options, true)?;
        let mut report = Session::new(trial, &self.plugin).run().await;
        if let Some(counted) = &self.counted {
            let other = Session::new(trial, counted).run().await;
            for (call, counted) in report.all_calls_mut().zip(other.all_calls()) {
                call.fuel = counted.fuel;
            }
        }
        Ok(report)
    }
}

async fn open(source: &PluginSource, limits: PluginLimits, clock: &Clock, insight: Insight) -> Result<Plugin, TrialError> {
    let runtime = PluginRuntime { instances: 1, ..PluginRuntime::default() };
    let engine = Engine::new(EngineOptions { runtime, insight, ..EngineOptions::new(clock.clone(), Metrics::new()) })?;
    let name = match source {
        PluginSource::BuiltIn(name) => Arc::clone(name),
        PluginSource::File(path) => path.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy()).into(),
    };
    // Everything is granted: tables begin empty, and nobody is asked over HTTP.
    let configured = config::Plugin {
        source: source.clone(),
        limits,
        on_error: OnError::Defer,
        allow: Grants::of_rehearsal(),
        sha256: None,
        refusals: config::Refusals::default(),
    };
    Ok(load(&Arc::new(engine), &name, &configured).await?)
}

/// Makes all line ends CRLF where there is no CRLF at all: files on disk mostly have LF. A message that has both is one with broken line ends.
pub fn with_crlf(octets: Vec<u8>) -> Bytes {
    if octets.windows(2).any(|pair| pair == b"\r\n") {
        return octets.into();
    }
    let mut message = Vec::with_capacity(octets.len() + octets.len() / 32);
    for octet in octets {
        if octet == b'\n' {
            message.push(b'\r');
        }
        message.push(octet);
    }
    message.into()
}

#[cfg(test)]
mod tests;
