//! The task of one queue: tells its plugin in batches, tries again, and gives up at last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use tracing::{error, warn};

use super::line::{Pair, Told, Work};
use super::{PAGE, Shared, read};
use crate::chain::Standing;
use crate::event::{Event, EventKind, PluginRun};
use crate::mail::message_id::MessageId;
use crate::plugin::observation::{Handled, Observed};
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::Failure;
use crate::store::StoreError;

/// Between two tries, at most.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How long a call that is under way at the shutdown may go on. What is cut off comes again.
const LAST_CALL: Duration = Duration::from_secs(5);
/// Octets of what a plugin logs in one call that are kept with all of the messages that it was told of.
const KEPT_LOG: usize = 64 << 10;

/// What came of a batch.
enum Ended {
    /// It is done with.
    Done,
    /// The plugin is not in the login's chain any more.
    Gone,
    /// We are shutting down.
    ShutDown,
}

impl Shared {
    /// Tells a plugin all that its queue has, now and while it goes on; ends with the queue.
    pub(super) async fn tell_all(&self, pair: Pair) {
        let batch = usize::try_from(self.parts.settings.batch).unwrap_or(usize::MAX);
        loop {
            if !self.board.lock().is_ready(&pair, batch) && self.pause(self.parts.settings.gather).await {
                return;
            }
            let work = self.board.lock().work(&pair, batch);
            match work {
                Work::Nothing => return,
                Work::Reread(from) => {
                    if let Err(failure) = self.reread(&pair, from, batch).await {
                        error!(plugin = %pair.plugin, login = %pair.login, error = &failure as &dyn std::error::Error, "the event log cannot be read");
                        if self.pause(AFTER_FAILURE).await {
                            return;
                        }
                    }
                }
                Work::Batch(events) => match self.tell(&pair, &events).await {
                    Ended::Done => self.board.lock().done(&pair),
                    Ended::Gone => return self.board.lock().forget(&pair),
                    // The queue stays: where it stands is written down.
                    Ended::ShutDown => return,
                },
            }
        }
    }

    /// Waits; returns whether we are shutting down.
    async fn pause(&self, time: Duration) -> bool {
        self.shutdown.run_until_cancelled(tokio::time::sleep(time)).await.is_none()
    }

    /// The plugin as it stands in the login's chain now.
    fn standing(&self, pair: &Pair) -> Option<Standing> {
        self.audience(&pair.login).into_iter().find(|standing| standing.plugin.name() == &pair.plugin)
    }

    /// Reads on from the log for a queue that is behind, up to what goes into one call.
    async fn reread(&self, pair: &Pair, from: u64, batch: usize) -> Result<(), StoreError> {
        let Some(standing) = self.standing(pair) else {
            self.board.lock().forget(pair);
            return Ok(());
        };
        // Never closed.
        let _place = self.rereading.acquire().await.ok();
        let page = self.parts.store.events(from, PAGE).await?;
        // As `recorder` writes it. Most events are of other logins, and need not be taken apart.
        let login = serde_json::to_string(&*pair.login).unwrap_or_default();
        let mine = memmem::Finder::new(&login);
        let mut end = page.last().map_or(u64::MAX, |last| last.position + 1);
        let mut found = Vec::new();
        for logged in page.iter().filter(|logged| mine.find(&logged.octets).is_some()) {
            if found.len() >= batch {
                end = logged.position;
                break;
            }
            let Some((position, event)) = read(logged) else { continue };
            if event.login == pair.login && standing.hears_of(&event) {
                found.push(Told { position, event: Arc::new(event) });
            }
        }
        let mut board = self.board.lock();
        // Nothing is left: that is as far as the reader is.
        let end = if page.is_empty() { board.read } else { end };
        board.take_in_reread(pair, found, end);
        Ok(())
    }

    /// Tells a plugin of events until it has taken note, or has failed too often; then of each by itself, once more.
    async fn tell(&self, pair: &Pair, events: &[Told]) -> Ended {
        self.tell_up_to(self.parts.settings.tries, pair, events).await
    }

    /// Tells a plugin of events for the last time.
    async fn tell_once(&self, pair: &Pair, events: &[Told]) -> Ended {
        self.tell_up_to(1, pair, events).await
    }

    async fn tell_up_to(&self, most: u32, pair: &Pair, events: &[Told]) -> Ended {
        let settings = self.parts.settings;
        let observed: Vec<Observed<'_>> = events.iter().map(|told| Observed { position: told.position, event: &told.event }).collect();
        let mut pause = settings.retry;
        for tries in 1..=most {
            let Some(standing) = self.standing(pair) else { return Ended::Gone };
            if self.shutdown.is_cancelled() {
                return Ended::ShutDown;
            }
            let handling = standing.plugin.handle(&pair.login, &observed, &standing.config, Effects::Live);
            let cut_off = async {
                self.shutdown.cancelled().await;
                tokio::time::sleep(LAST_CALL).await;
            };
            let Handled { result, run } = tokio::select! {
                handled = handling => handled,
                () = cut_off => return Ended::ShutDown,
            };
            let failure = match result {
                Ok(()) => {
                    self.parts.metrics.events_told(&pair.plugin, events.len());
                    if !run.log.is_empty() {
                        self.record(events, run, None).await;
                    }
                    return Ended::Done;
                }
                Err(failure) => failure,
            };
            if tries >= most && events.len() > 1 {
                // It may be one of them that the others suffer from.
                for told in events {
                    match Box::pin(self.tell_once(pair, std::slice::from_ref(told))).await {
                        Ended::Done => {}
                        ended @ (Ended::Gone | Ended::ShutDown) => return ended,
                    }
                }
                return Ended::Done;
            }
            if tries >= most {
                let (plugin, login, events_count) = (&pair.plugin, &pair.login, events.len());
                error!(%plugin, %login, events = events_count, tries, %failure, "a plugin fails on events again and again: they are given up");
                self.parts.metrics.events_given_up(&pair.plugin, events.len());
                self.record(events, run, Some(&failure)).await;
                return Ended::Done;
            }
            if tries == 1 {
                warn!(plugin = %pair.plugin, login = %pair.login, events = events.len(), %failure, "a plugin has failed on events: they come again");
                self.record(events, run, None).await;
            }
            if self.pause(pause).await {
                return Ended::ShutDown;
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        Ended::Done
    }

    /// Keeps a call that logged something, or failed, with the messages that it was about; `given_up` says that there is no other.
    async fn record(&self, events: &[Told], run: PluginRun, given_up: Option<&Failure>) {
        let messages: BTreeSet<MessageId> = events.iter().map(|told| told.event.message).collect();
        let run = with_less_log(run, KEPT_LOG / messages.len().max(1));
        let at = self.parts.clock.now();
        let mut records = Vec::new();
        for message in messages {
            let Some(told) = events.iter().find(|told| told.event.message == message) else { continue };
            let count = events.iter().filter(|told| told.event.message == message).count();
            let event = |kind| Event {
                at,
                message,
                login: Arc::clone(&told.event.login),
                recipient: None,
                address: None,
                tags: told.event.tags.clone(),
                kind,
            };
            records.push(event(EventKind::Observed { plugins: vec![run.clone()] }));
            if let Some(failure) = given_up {
                let failure = format!("{failure}; {count} events are given up");
                records.push(event(EventKind::PluginFailed { plugin: run.plugin.clone(), failure }));
            }
        }
        if let Err(failure) = self.parts.recorder.record(records).await {
            warn!(plugin = run.plugin, %failure, "what a plugin did with events could not be recorded");
        }
    }
}

/// Leaves `limit` octets of what a plugin logged; the last line counts those that are left out.
fn with_less_log(mut run: PluginRun, limit: usize) -> PluginRun {
    let mut octets = 0;
    let kept = run.log.iter().take_while(|line| {
        octets += line.len();
        octets <= limit
    });
    let kept = kept.count();
    let dropped = run.log.len() - kept;
    if dropped > 0 {
        run.log.truncate(kept);
        run.log.push(format!("{dropped} more lines were dropped"));
    }
    run
}
