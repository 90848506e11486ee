//! What would become of a message, without keeping or sending anything of it.

use std::borrow::Cow;

use bytes::Bytes;

use super::composing::{Chained, Prepared};
use super::{Intake, check};
use crate::chain::rendering::{Recipient, RenderError, finish};
use crate::chain::trace::Trace;
use crate::event::PluginRun;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::CopyId;
use crate::mail::refusal::Refusal;
use crate::mail::tag::Tag;
use crate::submission::Submission;

/// Copies that are rendered; of the others only the addresses are told.
pub const COPIES: usize = 100;

/// Whether the content comes from outside, or was stored before and has its trace header already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// As a client handed it over.
    Submitted,
    /// As it went into the chain.
    Stored,
}

/// What would become of a message.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// The message as it goes into the chain.
    pub content: Bytes,
    /// What each plugin does, once for all recipients.
    pub steps: Vec<DryStep>,
    /// Failures of plugins: which, and what went wrong.
    pub failures: Vec<(String, String)>,
    /// What comes out.
    pub result: DryResult,
}

/// What one plugin does.
#[derive(Clone, Debug)]
pub struct DryStep {
    /// The call.
    pub run: PluginRun,
    /// The message before it. Slots are tokens in it.
    pub before: Bytes,
    /// The message after it.
    pub after: Bytes,
}

/// What comes out of a dry run.
#[derive(Clone, Debug)]
pub enum DryResult {
    /// The client would be refused.
    Refused(Refusal),
    /// A plugin would throw the message away.
    Discarded {
        /// Which.
        plugin: String,
        /// What it says.
        reason: String,
    },
    /// It would be delivered.
    Kept {
        /// The reverse-path as the plugins left it.
        reverse_path: ReversePath,
        /// The tags as the plugins left them.
        tags: Vec<Tag>,
        /// Which plugin would hold it, and why.
        held: Option<(String, String)>,
        /// Each recipient's copy.
        copies: Vec<DryCopy>,
    },
}

/// One recipient's copy.
#[derive(Clone, Debug)]
pub struct DryCopy {
    /// Where it would go.
    pub address: EmailAddress,
    /// What the plugins do that run for each recipient.
    pub steps: Vec<DryStep>,
    /// The message as it would be sent, before DKIM; `None` where there are too many to render them all.
    pub content: Option<Result<Bytes, RenderError>>,
}

impl DryRun {
    /// Returns what the plugins do that run for each recipient, for the first of them.
    pub fn first_copy_steps(&self) -> &[DryStep] {
        match &self.result {
            DryResult::Kept { copies, .. } => copies.first().map(|copy| copy.steps.as_slice()).unwrap_or_default(),
            DryResult::Refused(_) | DryResult::Discarded { .. } => &[],
        }
    }
}

impl Intake {
    /// Runs a message through permission, chain and rendering. Nothing is kept, counted or recorded.
    pub async fn dry_run(&self, submission: Submission, content: Content) -> DryRun {
        let parts = &self.0;
        let settings = parts.settings();
        let mut trace = Trace::with_snapshots();
        let effects = trace.effects.clone();
        let (submission, refused) = match parts.with_checked_paths(&submission, effects, &mut trace).await {
            Ok(checked) => (checked, None),
            Err(refusal) => (Cow::Borrowed(&submission), Some(refusal)),
        };
        let submission = &*submission;
        let verified = match content {
            Content::Submitted => parts.with_verified_sender(submission, &settings.facts(&submission.content)),
            Content::Stored => Ok(Cow::Borrowed(submission)),
        };
        let (submission, refused) = match &verified {
            Ok(verified) => (&**verified, refused),
            Err(refusal) => (submission, refused.or_else(|| Some(refusal.clone()))),
        };
        let facts = settings.facts(&submission.content);
        let prepared = match content {
            Content::Submitted => parts.prepare(submission, &facts, &settings),
            Content::Stored => parts.chain(submission).map(|chain| Prepared { content: submission.content.clone(), chain }),
        };
        let with_trace = prepared.as_ref().map_or_else(|_| submission.content.clone(), |prepared| prepared.content.clone());
        let chained = match (refused, check(submission, &facts, &settings).and(prepared)) {
            (_, Err(refusal)) | (Some(refusal), Ok(_)) => Err(refusal),
            (None, Ok(prepared)) => parts.run_chain(submission, &facts, &prepared, &mut trace).await,
        };
        let mut failures = trace.failure_texts();
        let runs = std::mem::take(&mut trace.paths).into_runs().into_iter();
        let mut steps: Vec<_> = runs.map(|run| DryStep { run, before: with_trace.clone(), after: with_trace.clone() }).collect();
        steps.extend(self::steps(trace));
        let result = match chained {
            Err(refusal) => DryResult::Refused(refusal),
            Ok(Chained::Discarded { plugin, reason }) => DryResult::Discarded { plugin, reason },
            Ok(Chained::Kept(press)) => {
                let mut copies = Vec::with_capacity(press.recipients.len());
                for (number, path, variables) in press.copies(&submission.options) {
                    let mut trace = Trace::with_snapshots();
                    let copy = CopyId { message: submission.id, recipient: number };
                    let recipient = Recipient { copy, address: &path.address, variables: &variables };
                    let rendered = if copies.len() < COPIES {
                        Some(parts.renderer.render(&press.plan, press.body.clone(), recipient, &mut trace).await)
                    } else {
                        None
                    };
                    failures.extend(trace.failure_texts());
                    let content = rendered.map(|rendered| match rendered {
                        Ok(copy) => copy.held.map_or(Ok(copy.content), |(_, reason)| Err(RenderError::Held { reason })),
                        Err(error) => Err(error),
                    });
                    copies.push(DryCopy { address: path.address.clone(), steps: self::steps(trace), content });
                }
                DryResult::Kept { reverse_path: press.reverse_path, tags: press.tags, held: press.held, copies }
            }
        };
        DryRun { content: with_trace, steps, failures, result }
    }
}

fn steps(trace: Trace) -> Vec<DryStep> {
    let Trace { runs, snapshots, .. } = trace;
    runs.into_iter()
        .zip(snapshots.unwrap_or_default())
        .map(|(run, snapshot)| DryStep { run, before: finish(snapshot.before), after: finish(snapshot.after) })
        .collect()
}
