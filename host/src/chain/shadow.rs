//! Plugins that run beside a chain: on a copy, after the client has its answer, and only to be compared.
//!
//! What waits is bounded in octets; what does not fit is counted and forgotten. Nothing that a shadow does is kept.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::rendering::fill;
use crate::config::unit::ByteSize;
use crate::mail::content::Draft;
use crate::mail::envelope::ReversePath;
use crate::mail::tag::Tag;
use crate::plugin::lease::{Circumstances, CopyFacts, Lease, Occasion};
use crate::plugin::letter::{Addressee, Letter};
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::Verdict;
use crate::plugin::{Plugin, Stage};
use crate::telemetry::metric::ShadowResult;

/// Jobs that wait, however small their messages are.
const MOST_JOBS: usize = 4096;
/// Octets that one permit stands for.
const UNIT: u64 = 1024;
/// Octets that a job takes beside its message.
const OVERHEAD: u64 = 4096;

/// A plugin and its options as one JSON object.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) plugin: Arc<Plugin>,
    pub(super) config: String,
}

/// One message for one shadow.
pub struct ShadowJob {
    pub(super) shadow: Part,
    /// What it is compared with; none is the message as it was.
    pub(super) original: Option<Part>,
    pub(super) letter: Letter,
    pub(super) circumstances: Arc<Circumstances>,
    /// Who stands for the recipients, where one of the two runs for each.
    pub(super) first: Option<CopyFacts>,
    /// Octets of a copy.
    pub(super) rendered_size: u64,
}

impl std::fmt::Debug for ShadowJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShadowJob").field("shadow", &self.shadow.plugin).field("message", &self.circumstances.id).finish_non_exhaustive()
    }
}

/// What came of one of the two; `None` where it failed.
type Outcome = Option<(Verdict, Result)>;

/// The message afterwards.
#[derive(Debug, PartialEq, Eq)]
struct Result {
    content: Bytes,
    reverse_path: ReversePath,
    recipients: Vec<Addressee>,
    tags: Vec<Tag>,
}

impl Result {
    fn of(letter: Letter) -> Self {
        let nonce = *letter.slots().nonce();
        let recipients = letter.recipients().to_vec();
        let Letter { draft, reverse_path, tags, .. } = letter;
        Self { content: draft.into_composition(Some(&nonce)).encode(), reverse_path, recipients, tags }
    }
}

impl ShadowJob {
    fn octets(&self) -> u64 {
        self.letter.draft.size().saturating_add(OVERHEAD)
    }

    fn count(&self, result: ShadowResult) {
        self.shadow.plugin.metrics().login(&self.circumstances.login).shadowed(result);
    }

    /// Runs the shadow, and what it is compared with, and counts what came of it.
    async fn run(self) {
        let shadow = self.outcome(&self.shadow).await;
        let original = match &self.original {
            Some(original) => self.outcome(original).await,
            None => Some((Verdict::Next, Result::of(self.letter.clone()))),
        };
        self.count(compared(shadow.as_ref(), original.as_ref()));
    }

    async fn outcome(&self, part: &Part) -> Outcome {
        let mut letter = self.letter.clone();
        let mut last = Verdict::Next;
        if part.plugin.has(Stage::Submit) {
            last = self.call(part, Stage::Submit, &mut letter, Occasion::Message).await?;
        }
        let goes_on = matches!(last, Verdict::Next | Verdict::Hold(_));
        if let Some(first) = self.first.as_ref().filter(|_| goes_on && part.plugin.has(Stage::Recipient)) {
            let lease = self.lease(&letter, Occasion::Message);
            if part.plugin.wanted(lease, &part.config).await.result.ok()? {
                let slots = letter.slots().clone();
                let composition = letter.draft.clone().into_composition(Some(slots.nonce()));
                let links = &self.circumstances.links;
                let filled = fill(&composition, slots.nonce(), slots.as_slice(), first, links, self.rendered_size).ok()?;
                letter.draft = Draft::new(filled);
                letter.clear_slots();
                last = self.call(part, Stage::Recipient, &mut letter, Occasion::Copy(Arc::new(first.clone()))).await?;
            }
        }
        Some((last, Result::of(letter)))
    }

    fn lease(&self, letter: &Letter, occasion: Occasion) -> Lease {
        let direct_slots = matches!(occasion, Occasion::Copy(_));
        Lease { letter: letter.clone(), circumstances: Arc::clone(&self.circumstances), occasion, direct_slots }
    }

    async fn call(&self, part: &Part, stage: Stage, letter: &mut Letter, occasion: Occasion) -> Option<Verdict> {
        let call = part.plugin.process(stage, self.lease(letter, occasion), &part.config).await;
        if let Some(edited) = call.edited {
            *letter = edited;
        }
        call.result.ok()
    }
}

fn compared(shadow: Option<&(Verdict, Result)>, original: Option<&(Verdict, Result)>) -> ShadowResult {
    let refuses = |verdict: &Verdict| match verdict {
        Verdict::Reject(_) | Verdict::Defer(_) | Verdict::Discard(_) | Verdict::Hold(_) => true,
        Verdict::Next | Verdict::Accept => false,
    };
    match (shadow, original) {
        (None, None) => ShadowResult::Same,
        (None, Some(_)) => ShadowResult::Failed,
        (Some(shadow), Some(original)) if shadow == original => ShadowResult::Same,
        (Some((verdict, _)), original) if refuses(verdict) && !original.is_some_and(|(original, _)| refuses(original)) => {
            ShadowResult::Refused
        }
        (Some(_), _) => ShadowResult::Different,
    }
}

/// Where messages wait for shadows. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ShadowQueue {
    jobs: mpsc::Sender<(ShadowJob, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// Runs what waits, one after the other.
#[derive(Debug)]
pub struct ShadowWorker(mpsc::Receiver<(ShadowJob, OwnedSemaphorePermit)>);

/// Makes a queue in which messages of so many octets may wait, and who works on it.
pub fn queue(memory: ByteSize) -> (ShadowQueue, ShadowWorker) {
    let (jobs, waiting) = mpsc::channel(MOST_JOBS);
    let permits = usize::try_from(memory.0 / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    (ShadowQueue { jobs, room: Arc::new(Semaphore::new(permits)) }, ShadowWorker(waiting))
}

impl ShadowQueue {
    /// Puts jobs into the queue as far as there is room; nobody waits.
    pub fn offer(&self, jobs: Vec<ShadowJob>) {
        for job in jobs {
            let units = u32::try_from(job.octets().div_ceil(UNIT)).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(units) else {
                job.count(ShadowResult::Dropped);
                continue;
            };
            if let Err(mpsc::error::TrySendError::Full((job, _)) | mpsc::error::TrySendError::Closed((job, _))) =
                self.jobs.try_send((job, permit))
            {
                job.count(ShadowResult::Dropped);
            }
        }
    }
}

impl ShadowWorker {
    /// Works until `shutdown`; what waits then is forgotten.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let next = tokio::select! {
                () = shutdown.cancelled() => return,
                next = self.0.recv() => next,
            };
            let Some((job, _permit)) = next else { return };
            Box::pin(job.run()).await;
        }
    }
}

/// What a shadow sees of a message: everything that it does is for nothing.
pub(super) fn rehearsal(circumstances: &Arc<Circumstances>) -> Arc<Circumstances> {
    Arc::new(Circumstances { effects: Effects::rehearsal(), ..Circumstances::clone(circumstances) })
}

#[cfg(test)]
mod tests;
