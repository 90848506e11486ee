//! What the plugins did to one message, for events and for whoever looks at a dry run.

use super::shadow::ShadowJob;
use crate::event::PluginRun;
use crate::mail::content::Draft;
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::Failure;
use crate::submission::CheckedPaths;

/// Collects what happens while a message goes through a chain.
#[derive(Debug, Default)]
pub struct Trace {
    /// What plugins said of forward-paths, before all else.
    pub paths: CheckedPaths,
    /// Calls, in order.
    pub runs: Vec<PluginRun>,
    /// Failures: which plugin, and what went wrong.
    pub failures: Vec<(String, Failure)>,
    /// Whether what they do counts.
    pub effects: Effects,
    /// Messages for plugins that run beside the chain, once the client has its answer.
    pub shadows: Vec<ShadowJob>,
    /// The message before and after each of them, where somebody wants to see it.
    pub snapshots: Option<Vec<Snapshot>>,
}

/// The message around one call. What is shared between the two is kept once.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The message before it.
    pub before: Draft,
    /// The message after it; equal to that before where the edits were dropped.
    pub after: Draft,
}

impl Trace {
    /// A trace of what does not count.
    pub fn of_rehearsal() -> Self {
        Self { effects: Effects::rehearsal(), ..Self::default() }
    }

    /// A trace of what does not count, that keeps the message around each call.
    pub fn with_snapshots() -> Self {
        Self { snapshots: Some(Vec::new()), ..Self::of_rehearsal() }
    }

    /// Takes out all calls, those about forward-paths first.
    pub fn take_runs(&mut self) -> Vec<PluginRun> {
        let mut runs = std::mem::take(&mut self.paths).into_runs();
        runs.append(&mut self.runs);
        runs
    }

    /// Returns all failures, those about forward-paths first: which plugin, and what went wrong.
    pub fn failure_texts(&self) -> Vec<(String, String)> {
        let mut failures = self.paths.failures();
        failures.extend(self.failures.iter().map(|(plugin, failure)| (plugin.clone(), failure.to_string())));
        failures
    }

    pub(super) fn record(&mut self, run: PluginRun, before: &Draft, after: &Draft) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.push(Snapshot { before: before.clone(), after: after.clone() });
        }
        self.runs.push(run);
    }

    pub(super) fn fail(&mut self, plugin: &str, failure: Failure) {
        self.failures.push((plugin.to_owned(), failure));
    }
}
