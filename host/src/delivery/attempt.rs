//! Attempts: leased copies made ready to be sent, and what comes of them.

use std::sync::Arc;

use bytes::Bytes;

use super::destination::{Destination, Job};
use super::failure::Failure;
use super::hub::Hub;
use super::outcome::{Judge, Settled, Subject, Verdict};
use super::settings::Settings;
use super::worker::is_in_time;
use crate::chain::rendering::RenderError;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::mail::envelope::ForwardPath;
use crate::mail::message_id::CopyId;
use crate::smtp::client::reply::Reply;
use crate::smtp::client::transaction::{Conclusion, Transaction};
use crate::spool::Leased;
use crate::spool::entry::Entry;
use crate::telemetry::metric::RouteMetrics;

/// Copies with equal content, ready to be sent together.
pub(super) struct Attempt {
    pub(super) load: Load,
    pub(super) transaction: Transaction,
}

/// What an attempt is about, apart from what is on the wire.
pub(super) struct Load {
    pub(super) entry: Arc<Entry>,
    /// As many as the transaction has forward-paths, in the same order.
    pub(super) copies: Vec<Leased>,
    /// When the lease ends.
    pub(super) until: Timestamp,
    /// It had a connection before that was closed before its turn.
    pub(super) again: bool,
}

impl Attempt {
    pub(super) fn new(load: Load, transaction: Transaction) -> Self {
        Self { load, transaction }
    }

    pub(super) fn split(self) -> (Load, Transaction) {
        (self.load, self.transaction)
    }

    pub(super) fn into_copies(self) -> Vec<Leased> {
        self.load.copies
    }
}

/// Where a worker makes attempts of jobs.
pub(super) struct Desk {
    hub: Arc<Hub>,
    destination: Arc<Destination>,
    route: RouteMetrics,
    open: Option<OpenJob>,
}

/// A job whose message was fetched.
struct OpenJob {
    entry: Arc<Entry>,
    body: Bytes,
    /// In reverse order.
    copies: Vec<Leased>,
    until: Timestamp,
}

impl Desk {
    pub(super) fn new(hub: Arc<Hub>, destination: Arc<Destination>, route: RouteMetrics) -> Self {
        Self { hub, destination, route, open: None }
    }

    /// Whether a job was begun and has copies left.
    pub(super) fn has_work(&self) -> bool {
        self.open.is_some()
    }

    /// Gives back copies that were not made ready.
    pub(super) fn give_back(&mut self) -> Vec<CopyId> {
        self.open.take().into_iter().flat_map(|job| job.copies).map(|leased| leased.copy).collect()
    }

    /// Leaves what was begun, and an attempt that was not sent, to the other workers of the destination.
    pub(super) fn hand_over(&mut self, attempt: Option<Attempt>) {
        let open = self.open.take().map(|mut job| {
            job.copies.reverse();
            Job { message: job.entry.id, copies: job.copies, until: job.until }
        });
        let attempt = attempt.map(|Attempt { load, .. }| Job { message: load.entry.id, copies: load.copies, until: load.until });
        let mut board = self.destination.board.lock();
        for job in [open, attempt].into_iter().flatten() {
            board.jobs.push_front(job);
        }
        if board.idle > 0 {
            self.destination.work.notify_one();
        }
    }

    /// Makes the next attempt ready; `None` where nothing is due. What cannot be sent at all is settled on the way.
    pub(super) async fn next(&mut self, settings: &Settings) -> Option<Attempt> {
        loop {
            if self.open.is_none() {
                let job = self.hub.next_job(&self.destination).await?;
                self.open = self.open(job).await;
                continue;
            }
            if let Some(attempt) = self.render_next(settings).await {
                return Some(attempt);
            }
        }
    }

    async fn open(&self, job: Job) -> Option<OpenJob> {
        let mut copies = job.copies;
        copies.reverse();
        match self.hub.spool.message(job.message).await {
            Ok(Some((entry, body, _))) => Some(OpenJob { entry: Arc::new(entry), body, copies, until: job.until }),
            Ok(None) => {
                tracing::error!(message.id = %job.message, "queued copies have no message: they are dropped");
                let settlements = copies.iter().map(|leased| crate::spool::Settlement::Done(leased.copy)).collect();
                self.hub.settle(Settled { settlements, ..Settled::default() }).await;
                None
            }
            Err(error) => {
                tracing::error!(message.id = %job.message, "cannot read a queued message, its copies wait for the end of their lease: {error}");
                None
            }
        }
    }

    /// Takes copies with equal content off the open job and renders them.
    async fn render_next(&mut self, settings: &Settings) -> Option<Attempt> {
        let job = self.open.as_mut()?;
        let now = self.hub.clock.now();
        if !is_in_time(job.until, now) {
            // Others may have them by now.
            self.open = None;
            return None;
        }
        let entry = job.entry.clone();
        let (body, until) = (job.body.clone(), job.until);
        let copies = if entry.plan.is_plain() {
            let mut copies = std::mem::take(&mut job.copies);
            copies.reverse();
            copies
        } else {
            Vec::from_iter(job.copies.pop())
        };
        if job.copies.is_empty() {
            self.open = None;
        }
        let first = copies.first()?;
        let rendered = settings.renderer.render(&entry.plan, body, first).await;
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                let settled = self.settle_unrendered(settings, &entry, copies, &error);
                self.hub.settle(settled).await;
                return None;
            }
        };
        let content = settings.signers.sign(line_ends(rendered.content), entry.received.at);
        let forward_paths = copies.iter().map(|leased| ForwardPath {
            address: leased.recipient.address.clone(),
            notify: leased.recipient.notify,
            original: leased.recipient.original.clone(),
        });
        let transaction = Transaction {
            reverse_path: rendered.reverse_path.unwrap_or_else(|| entry.reverse_path.clone()),
            ret: entry.ret,
            envid: entry.envid.clone(),
            smtputf8: entry.smtputf8,
            forward_paths: forward_paths.collect(),
            content,
        };
        let attempt = Attempt::new(Load { entry, copies, until, again: false }, transaction);
        if attempt.load.entry.deliver_before.is_some_and(|end| end <= now) {
            let failure = Failure::permanent((4, 7), "the time in which it was to be delivered is over");
            let verdict = Verdict::of_failure(&failure);
            let settled = self.settle(settings, attempt, "", |_| verdict.clone());
            self.hub.settle(settled).await;
            return None;
        }
        Some(attempt)
    }

    fn settle_unrendered(&self, settings: &Settings, entry: &Entry, copies: Vec<Leased>, error: &RenderError) -> Settled {
        let judge = self.judge(settings);
        let mut failures = Vec::new();
        let verdict = match error {
            RenderError::Rejected { code, enhanced, text } | RenderError::Deferred { code, enhanced, text } => {
                let text = format!("{code} {enhanced} {text}");
                let status = *enhanced;
                if *code >= 500 { Verdict::Bounced { status, text, is_reply: false } } else { Verdict::Deferred { text, is_reply: false } }
            }
            RenderError::Discarded { reason } => Verdict::Discarded { reason: reason.clone() },
            RenderError::Held { reason } => Verdict::Held { reason: reason.clone() },
            RenderError::TooLarge { .. } => Verdict::of_failure(&Failure::permanent((3, 4), error.to_string())),
            RenderError::Failed { plugin, permanent } => {
                let text = format!("the plugin {plugin} failed");
                let event = |leased: &Leased| {
                    let kind = EventKind::PluginFailed { plugin: plugin.clone(), failure: "failed while rendering".to_owned() };
                    judge.event(entry, leased, kind)
                };
                failures.extend(copies.iter().map(event));
                Verdict::of_failure(&if *permanent { Failure::permanent((3, 0), text) } else { Failure::transient((3, 0), text) })
            }
        };
        // There is no content to return: the subject says which message it was.
        let content = Bytes::from(format!("Subject: {}\r\n", entry.subject.replace(['\r', '\n'], " ")));
        let subject = Subject { entry, reverse_path: &entry.reverse_path, content: &content, host: "" };
        let mut settled = judge.settle(&subject, copies.into_iter().map(|leased| (leased, verdict.clone())));
        failures.append(&mut settled.events);
        Settled { events: failures, ..settled }
    }

    fn judge<'a>(&'a self, settings: &'a Settings) -> Judge<'a> {
        Judge { settings, metrics: &self.hub.metrics, route: &self.route, entropy: &self.hub.entropy, now: self.hub.clock.now() }
    }

    /// Ends an attempt with a verdict for each copy, by its place.
    pub(super) fn settle(&self, settings: &Settings, attempt: Attempt, host: &str, mut verdict: impl FnMut(usize) -> Verdict) -> Settled {
        let (Load { entry, copies, .. }, transaction) = attempt.split();
        let subject = Subject { entry: &entry, reverse_path: &transaction.reverse_path, content: &transaction.content, host };
        self.judge(settings).settle(&subject, copies.into_iter().enumerate().map(|(place, leased)| (leased, verdict(place))))
    }

    /// Ends an attempt with what the server said.
    pub(super) fn conclude(&self, settings: &Settings, mut load: Load, mut conclusion: Conclusion, host: &str) -> Settled {
        self.put_back_surplus(&mut load, &mut conclusion);
        let failure = Failure::transient((5, 0), "the server gave no answer").at(host);
        self.conclude_broken(settings, load, conclusion, &failure)
    }

    /// Ends an attempt whose connection broke: last words count, where there are any.
    pub(super) fn conclude_broken(&self, settings: &Settings, load: Load, conclusion: Conclusion, failure: &Failure) -> Settled {
        let Conclusion { transaction, replies, dsn_passed_on, .. } = conclusion;
        self.settle(settings, Attempt::new(load, transaction), &failure.host, |place| match replies.get(place) {
            Some(Some(reply)) => Verdict::of_reply(reply, dsn_passed_on),
            _ => Verdict::of_failure(failure),
        })
    }

    /// 452 while other recipients were taken means that there are too many for one transaction (RFC 5321 §4.5.3.1.10): those are sent again at once,
    /// in one of their own. As each time at least one is taken, this ends.
    fn put_back_surplus(&self, load: &mut Load, conclusion: &mut Conclusion) {
        let is_surplus = |reply: &Option<Reply>| reply.as_ref().is_some_and(|reply| reply.code() == 452);
        if !conclusion.replies.iter().flatten().any(Reply::is_positive) || !conclusion.replies.iter().any(is_surplus) {
            return;
        }
        let (surplus, kept): (Vec<_>, Vec<_>) =
            load.copies.drain(..).zip(conclusion.replies.drain(..)).partition(|(_, reply)| is_surplus(reply));
        (load.copies, conclusion.replies) = kept.into_iter().unzip();
        let copies = surplus.into_iter().map(|(leased, _)| leased).collect();
        self.destination.board.lock().jobs.push_front(Job { message: load.entry.id, copies, until: load.until });
    }
}

/// Makes CRLF of every bare CR or LF: a server that takes one for the end of a line, when we do not, could be told another message.
fn line_ends(content: Bytes) -> Bytes {
    let is_bare = |at: usize| match content.get(at) {
        Some(b'\n') => at == 0 || content.get(at - 1) != Some(&b'\r'),
        _ => content.get(at + 1) != Some(&b'\n'),
    };
    if !memchr::memchr2_iter(b'\r', b'\n', &content).any(is_bare) {
        return content;
    }
    let mut clean = Vec::with_capacity(content.len() + 64);
    let mut start = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', &content).filter(|at| is_bare(*at)) {
        clean.extend_from_slice(content.get(start..at).unwrap_or_default());
        clean.extend_from_slice(b"\r\n");
        start = at + 1;
    }
    clean.extend_from_slice(content.get(start..).unwrap_or_default());
    clean.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_line_ends_are_mended() {
        for (content, expected) in [
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\nb\rc\r\n", "a\r\nb\r\nc\r\n"),
            ("\n.\n\r", "\r\n.\r\n\r\n"),
            ("\r\r\n", "\r\n\r\n"),
            ("", ""),
        ] {
            assert_eq!(line_ends(Bytes::from(content)), expected, "{content:?}");
        }
    }
}
