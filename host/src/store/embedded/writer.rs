//! The one thread that writes.
//!
//! It takes all batches that wait, writes them with one call, syncs once, and then tells all of them. While it syncs, the next ones gather. Nobody
//! holds a lock meanwhile.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::disk::FileName;
use super::events;
use super::inbox::{Job, Order};
use super::journal::{Journal, WriteError};
use super::reclaim::Reclaim;
use super::record::Frame;
use super::shared::{EventFile, Sealed, Shared};
use super::summary::Contents;
use super::values::{self, growth};
use crate::clock::Entropy;
use crate::store::{NewMessage, StoreError};
use crate::telemetry::metric::Metrics;

/// Most octets that one sync makes durable, unless a single batch is larger.
const GROUP_OCTETS: u64 = 16 << 20;
/// How often old segments are looked for while nothing else happens.
const TICK: Duration = Duration::from_secs(1);
/// How long the log is silent about files that still cannot be made.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// How long it is taken for true how much of the disk is free.
const FREE_IS_KNOWN: Duration = Duration::from_millis(100);

/// Limits of the store, from the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) retention: Duration,
    pub(super) archive_size: u64,
    pub(super) reserve: u64,
    pub(super) table_size: usize,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Journal,
    pub(super) contents: Contents,
    pub(super) limits: Limits,
    pub(super) entropy: Entropy,
    pub(super) metrics: Metrics,
    pub(super) reclaim: Reclaim,
    /// When it was last told that a file cannot be made.
    pub(super) told: Option<Duration>,
    /// Octets of the disk that are free, and when that was found out.
    pub(super) free: Option<(Duration, u64)>,
}

/// Ends the store with its thread, whatever ended that: nobody is left waiting.
struct LastWord(Arc<Shared>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the thread of the store panicked: it takes nothing more until it is started again");
            self.0.failure.get_or_init(|| "its thread ended in a panic".into());
        }
        self.0.inbox.close();
    }
}

impl Writer {
    /// Works until it is told to close, or the inbox is closed.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _last_word = LastWord(Arc::clone(&shared));
        let mut last_look = shared.clock.monotonic();
        loop {
            let wait = if self.reclaim.is_busy() { Duration::ZERO } else { TICK };
            let taken = shared.inbox.take(GROUP_OCTETS, wait);
            if taken.jobs.is_empty() && taken.orders.is_empty() && shared.inbox.is_closed() {
                return;
            }
            self.group(taken.jobs);
            let now = shared.clock.monotonic();
            if now.saturating_sub(last_look) >= TICK {
                last_look = now;
                self.look();
            }
            self.reclaim_step();
            for order in taken.orders {
                if self.obey(order) {
                    return;
                }
            }
        }
    }

    /// Does what is no batch; returns whether it is the end.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            #[cfg(test)]
            Order::Maintain(answer) => {
                self.maintain();
                let _ = answer.send(());
                false
            }
            Order::Close(answer) => {
                let synced = self.journal.sync_events().map_err(|error| self.fail(error));
                self.shared.inbox.close();
                let _ = answer.send(synced);
                true
            }
        }
    }

    /// Writes batches with one sync and answers their callers.
    fn group(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let (jobs, refused) = self.admit(jobs);
        answer(refused, &Err(StoreError::Full));
        let (jobs, result) = self.write(jobs);
        match result {
            // What empties the queue goes on where new mail has no room.
            Err(StoreError::Full) if jobs.iter().any(settles) && !jobs.iter().all(settles) => {
                let (settling, rest): (Vec<_>, Vec<_>) = jobs.into_iter().partition(settles);
                answer(rest, &Err(StoreError::Full));
                let (settling, result) = self.write(settling);
                answer(settling, &result);
            }
            result => answer(jobs, &result),
        }
    }

    /// Tells the jobs for which there is room from the others. Only what settles may use the reserve.
    fn admit(&mut self, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
        let mut octets = None;
        jobs.into_iter().partition(|job| {
            if !settles(job) {
                let length = u64::from(job.frame.length());
                if self.free() < self.limits.reserve.saturating_add(length) {
                    return false;
                }
                self.free = self.free.map(|(at, free)| (at, free.saturating_sub(length)));
            }
            let added = growth(&job.frame.meta.values);
            if added > 0 {
                let octets = octets.get_or_insert_with(|| self.shared.state.lock().values.octets());
                let limit = values::limit(&job.frame.meta.values, self.limits.table_size);
                if *octets + added > limit {
                    return false;
                }
                *octets += added;
            }
            true
        })
    }

    /// Returns octets that are free, less what was admitted since that was found out.
    fn free(&mut self) -> u64 {
        let now = self.shared.clock.monotonic();
        match self.free {
            Some((at, free)) if now.saturating_sub(at) < FREE_IS_KNOWN => free,
            _ => {
                // Where it cannot be told, writing will show.
                let free = self.shared.disk.free().unwrap_or(u64::MAX);
                self.free = Some((now, free));
                free
            }
        }
    }

    /// Writes jobs, syncs, and shows what they changed.
    fn write(&mut self, mut jobs: Vec<Job>) -> (Vec<Job>, Result<(), StoreError>) {
        if jobs.is_empty() {
            return (jobs, Ok(()));
        }
        let began = self.shared.clock.monotonic();
        let (mut frames, mut messages): (Vec<_>, Vec<_>) = jobs.iter_mut().map(|job| (&mut job.frame, &mut job.messages)).unzip();
        let written = self.write_frames(&mut frames, &mut messages);
        if written.is_ok() {
            self.metrics.committed(jobs.len(), self.shared.clock.monotonic().saturating_sub(began));
        }
        (jobs, written)
    }

    /// Writes frames, syncs, and changes what is in memory as they say. `messages` go into the cache.
    pub(super) fn write_frames(&mut self, frames: &mut [&mut Frame], messages: &mut [&mut Vec<NewMessage>]) -> Result<(), StoreError> {
        if self.shared.failure.get().is_some() {
            return Err(self.shared.refusal());
        }
        let octets = frames.iter().map(|frame| u64::from(frame.length())).sum();
        let room = if self.journal.has_room_for(octets) { Ok(()) } else { self.seal() };
        let offsets = room.and_then(|()| self.journal.append(frames)).map_err(|error| self.fail(error))?;
        let number = self.journal.head.number;
        let (mut changed, mut appended) = (false, false);
        let mut state = self.shared.state.lock();
        for message in messages.iter_mut().flat_map(|messages| mem::take(*messages)) {
            state.cache.insert(message);
        }
        for (frame, offset) in frames.iter().zip(offsets) {
            let base = offset.saturating_add(frame.chunks_at());
            for id in state.index.apply(&frame.meta, number, base) {
                state.cache.remove(id);
            }
            for (copy, octets) in frame.states() {
                state.cache.set_state(copy, octets);
            }
            self.contents.add(&frame.meta, base, Arc::make_mut(&mut state.active.messages));
            for value in &frame.meta.values {
                state.values.apply(value, number);
            }
            changed |= !frame.meta.messages.is_empty() || frame.meta.changes.iter().any(|change| change.again.is_some());
            appended |= frame.meta.events.length > 0;
        }
        state.active.end = self.journal.end;
        if let Some(file) = state.events.get_mut(&number) {
            file.end = self.journal.events_end;
        }
        drop(state);
        if changed {
            self.shared.changed.notify_one();
        }
        if appended {
            self.shared.appended.notify_waiters();
            self.shared.appended.notify_one();
        }
        Ok(())
    }

    /// Notes that nothing can be written any more, if that is so.
    pub(super) fn fail(&mut self, error: WriteError) -> StoreError {
        match error {
            WriteError::Full => StoreError::Full,
            WriteError::NotMade(why) => {
                let now = self.shared.clock.monotonic();
                if self.told.is_none_or(|told| now.saturating_sub(told) >= TELL_AGAIN) {
                    self.told = Some(now);
                    tracing::error!(error = %why, "the store takes nothing for now");
                }
                StoreError::Full
            }
            WriteError::Failed(why) => {
                tracing::error!(error = %why, "the store takes nothing more until it is started again");
                StoreError::Poisoned(Arc::clone(self.shared.failure.get_or_init(|| why.into())))
            }
        }
    }

    /// Ends the segment and goes on in the next one.
    pub(super) fn seal(&mut self) -> Result<(), WriteError> {
        let now = self.shared.clock.now();
        let (number, end) = (self.journal.head.number, self.journal.end);
        let places = Arc::clone(&self.shared.state.lock().active.messages);
        let summary = self.contents.summarize(&places, number, end, now, |some| self.shared.live_messages(some));
        drop(places);
        let summary_octets = summary.write(&*self.shared.disk)?;
        self.journal.next(now, &self.entropy)?;
        self.contents = Contents::default();
        let mut state = self.shared.state.lock();
        state.sealed.insert(number, Sealed { end, octets: u64::from(end) + summary_octets, at: now, ids: summary.range() });
        state.active.number = self.journal.head.number;
        state.active.created = now;
        state.active.end = self.journal.end;
        let messages = mem::take(&mut state.active.messages);
        state.events.insert(self.journal.head.number, EventFile { created: now, end: events::HEADER });
        drop(state);
        drop(messages);
        self.shared.files.forget(FileName::Summary(number));
        Ok(())
    }
}

/// Whether the job is about mail that is here already. It may use the room that is reserved.
fn settles(job: &Job) -> bool {
    !job.frame.meta.changes.is_empty()
}

fn answer(jobs: Vec<Job>, result: &Result<(), StoreError>) {
    for job in jobs {
        // A caller who has gone does not need to know.
        let _ = job.answer.send(result.clone());
    }
}
