//! What an attempt means for each copy: done, again, or over; with the events that tell it and the report that the sender gets.

use std::sync::Arc;

use bytes::Bytes;

use super::dsn::{self, Report, Reported};
use super::failure::{Failure, TEXT_LENGTH};
use super::settings::Settings;
use super::shaping::group::is_greylisting;
use crate::bounce::class::{find_status, read_code};
use crate::bounce::{Action, BounceClass};
use crate::chain::trace::Trace;
use crate::clock::{Entropy, Timestamp};
use crate::config::unit::ByteSize;
use crate::event::{Event, EventKind, PluginRun, Via};
use crate::mail::enhanced_status::EnhancedStatus;
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::MessageId;
use crate::smtp::client::reply::Reply;
use crate::spool::backoff::Backoff;
use crate::spool::entry::{CopyState, Entry, Terms};
use crate::spool::local::LocalMail;
use crate::spool::queue::{self, Lane};
use crate::spool::{Leased, NewEntry, Settlement};
use crate::suppression;
use crate::telemetry::metric::{DeliveryOutcome, Metrics, RouteMetrics};

/// What is written down together.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) settlements: Vec<Settlement>,
    pub(super) events: Vec<Event>,
    pub(super) follow_up: Vec<NewEntry>,
}

impl Settled {
    pub(super) fn is_empty(&self) -> bool {
        self.settlements.is_empty() && self.events.is_empty() && self.follow_up.is_empty()
    }

    pub(super) fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.settlements.append(&mut other.settlements);
        self.events.append(&mut other.events);
        self.follow_up.append(&mut other.follow_up);
    }
}

/// How an attempt ended for one copy.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// The next hop took it.
    Delivered {
        /// What it said.
        reply: String,
        /// It was told what DSNs are wanted.
        dsn_passed_on: bool,
        /// How it went there.
        via: Option<Via>,
    },
    /// It is kept in the place of being sent.
    Captured,
    /// Not now.
    Deferred { text: String, is_reply: bool },
    /// Not ever.
    Bounced { status: EnhancedStatus, text: String, is_reply: bool },
    /// The chain takes it off the way.
    Discarded { plugin: String, reason: String },
    /// The chain holds it.
    Held { by: String, reason: String },
    /// Its recipient is on a suppression list.
    Suppressed(Box<suppression::entry::Entry>),
}

impl Verdict {
    /// What a server's last word means.
    pub(super) fn of_reply(reply: &Reply, dsn_passed_on: bool, via: Option<&Via>) -> Self {
        let text = reply.to_line(TEXT_LENGTH);
        if reply.is_positive() {
            return Self::Delivered { reply: text, dsn_passed_on, via: via.cloned() };
        }
        if !reply.is_permanent() {
            return Self::Deferred { text, is_reply: true };
        }
        let status = reply.enhanced().unwrap_or(EnhancedStatus::new(5, 0, 0));
        Self::Bounced { status, text, is_reply: true }
    }

    /// What a failure of ours, or of the way, means.
    pub(super) fn of_failure(failure: &Failure) -> Self {
        let (status, text, is_reply) = (failure.status, failure.text.clone(), failure.is_reply);
        if failure.is_permanent() { Self::Bounced { status, text, is_reply } } else { Self::Deferred { text, is_reply } }
    }
}

/// Copies of one message that share an attempt.
pub(super) struct Subject<'a> {
    pub(super) entry: &'a Entry,
    /// Where failures are reported.
    pub(super) reverse_path: &'a ReversePath,
    /// What was sent, or would have been.
    pub(super) content: &'a Bytes,
    /// The next hop, where one was reached; else "".
    pub(super) host: &'a str,
}

/// Turns verdicts into what is to be written down.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) settings: &'a Settings,
    pub(super) metrics: &'a Metrics,
    pub(super) route: &'a RouteMetrics,
    pub(super) entropy: &'a Entropy,
    pub(super) backoff: &'a Backoff,
    pub(super) now: Timestamp,
}

impl Judge<'_> {
    /// Judges copies of one message.
    pub(super) fn settle(self, subject: &Subject<'_>, verdicts: impl IntoIterator<Item = (Leased, Verdict)>) -> Settled {
        let mut settled = Settled::default();
        let (mut failed, mut relayed, mut delivered, mut delayed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (leased, verdict) in verdicts {
            let attempt = leased.state.attempts;
            let (settlement, kind) = match self.expired(subject.entry, &leased, verdict) {
                Verdict::Delivered { reply, dsn_passed_on, via } => {
                    self.route.attempted(DeliveryOutcome::Delivered);
                    if leased.recipient.notify().success && !dsn_passed_on {
                        relayed.push(reported(&leased, Action::Relayed, EnhancedStatus::new(2, 0, 0), subject.host, &reply, true));
                    }
                    (Settlement::Done(leased.copy), EventKind::Delivered { host: subject.host.to_owned(), reply, attempt, via })
                }
                Verdict::Captured => {
                    self.route.attempted(DeliveryOutcome::Captured);
                    let (host, reply) = ("capture".to_owned(), "kept, not sent".to_owned());
                    if leased.recipient.notify().success {
                        delivered.push(reported(&leased, Action::Delivered, EnhancedStatus::new(2, 0, 0), subject.host, &reply, false));
                    }
                    (Settlement::Done(leased.copy), EventKind::Delivered { host, reply, attempt, via: None })
                }
                Verdict::Deferred { text, is_reply } => {
                    self.route.attempted(DeliveryOutcome::Deferred);
                    let due = self.next_due(subject.entry, &leased, &text);
                    let is_told = self.tells_delay(subject.entry, &leased);
                    if is_told {
                        let status = find_status(&text).filter(|status| status.class == 4).unwrap_or(EnhancedStatus::new(4, 0, 0));
                        let until = Some(self.gives_up(subject.entry, &leased));
                        delayed.push(Reported { until, ..reported(&leased, Action::Delayed, status, subject.host, &text, is_reply) });
                    }
                    let state = CopyState {
                        attempts: attempt + 1,
                        last: Some(text.clone()),
                        held: None,
                        first_attempt: leased.state.first_attempt.or(Some(self.now)),
                        delay_told: leased.state.delay_told || is_told,
                        ..leased.state.clone()
                    };
                    let again = Settlement::Again { copy: leased.copy, due, state };
                    let class = class(EnhancedStatus::new(4, 0, 0), &text);
                    (again, EventKind::Deferred { host: subject.host.to_owned(), reply: text, attempt, next: due, class })
                }
                Verdict::Bounced { status, text, is_reply } => {
                    self.route.attempted(DeliveryOutcome::Bounced);
                    if leased.recipient.notify().failure {
                        failed.push(reported(&leased, Action::Failed, status, subject.host, &text, is_reply));
                    }
                    let class = class(status, &text);
                    self.metrics.delivery().bounced(class.name());
                    let (host, status) = (subject.host.to_owned(), status.to_string());
                    (Settlement::Done(leased.copy), EventKind::Bounced { host, reply: text, status, attempt, class, report: None })
                }
                Verdict::Discarded { plugin, reason } => {
                    self.route.attempted(DeliveryOutcome::Withheld);
                    (Settlement::Done(leased.copy), EventKind::Discarded { plugin, reason })
                }
                Verdict::Suppressed(block) => {
                    self.route.attempted(DeliveryOutcome::Suppressed);
                    (Settlement::Done(leased.copy), block.event())
                }
                Verdict::Held { by, reason } => {
                    self.route.attempted(DeliveryOutcome::Withheld);
                    let state = CopyState { held: Some(reason.clone()), ..leased.state.clone() };
                    let held = Settlement::Again { copy: leased.copy, due: Timestamp::NEVER, state };
                    (held, EventKind::Held { by, reason })
                }
            };
            settled.settlements.push(settlement);
            settled.events.push(self.event(subject.entry, &leased, kind));
        }
        for recipients in [failed, relayed, delivered, delayed] {
            settled.follow_up.extend(self.report(subject, &recipients));
        }
        settled
    }

    /// Leaves copies for later that were not tried: their attempts are not counted, but their time to live runs from when their turn came first.
    pub(super) fn postpone(self, entry: &Entry, copies: Vec<Leased>, text: &str, until: Timestamp) -> Settled {
        let mut settled = Settled::default();
        for leased in copies {
            let next = until.min(self.gives_up(entry, &leased));
            let first_attempt = leased.state.first_attempt.or(Some(self.now));
            let state = CopyState { last: Some(text.to_owned()), first_attempt, ..leased.state.clone() };
            settled.settlements.push(Settlement::Again { copy: leased.copy, due: next, state });
            let (reply, attempt, class) = (text.to_owned(), leased.state.attempts, class(EnhancedStatus::new(4, 0, 0), text));
            let kind = EventKind::Deferred { host: String::new(), reply, attempt, next, class };
            settled.events.push(self.event(entry, &leased, kind));
        }
        settled
    }

    /// Takes off copies that were to wait longer (RFC 4865), and puts them back: a row may be due too early when the clock was set, or the configuration
    /// allows less than it did. What an operator has asked for has had its turn and goes.
    pub(super) fn too_early(self, entry: &Entry, copies: &mut Vec<Leased>) -> Settled {
        let Some(due) = entry.terms.not_before.filter(|time| *time > self.now) else { return Settled::default() };
        let waits = copies.extract_if(.., |leased| leased.state.attempts == 0 && leased.state.first_attempt.is_none());
        let settlements = waits.map(|leased| Settlement::Again { copy: leased.copy, due, state: leased.state });
        Settled { settlements: settlements.collect(), ..Settled::default() }
    }

    /// Returns an event of one copy.
    pub(super) fn event(self, entry: &Entry, leased: &Leased, kind: EventKind) -> Event {
        Event {
            at: self.now,
            message: entry.id,
            login: entry.login.clone(),
            recipient: Some(leased.copy.recipient),
            address: Some(leased.recipient.address.to_string()),
            tags: entry.tags.clone(),
            kind,
        }
    }

    /// Whether the sender hears of `verdict`: then there should be something to show him.
    pub(super) fn reports(self, entry: &Entry, leased: &Leased, verdict: &Verdict) -> bool {
        let failure = leased.recipient.notify().failure;
        let is_told = match verdict {
            Verdict::Bounced { .. } => failure,
            Verdict::Deferred { .. } if self.next_attempt(entry, leased).is_none() => failure,
            Verdict::Deferred { .. } => self.tells_delay(entry, leased),
            Verdict::Delivered { .. } | Verdict::Captured | Verdict::Discarded { .. } | Verdict::Held { .. } | Verdict::Suppressed(_) => {
                false
            }
        };
        // A plugin may still change the reverse-path.
        is_told && (entry.reverse_path != ReversePath::Null || !entry.plan.steps.is_empty())
    }

    /// What plugins did while they made one copy, as far as somebody wants to know: failures, and calls where something was logged or decided.
    pub(super) fn trace_events(self, entry: &Entry, leased: &Leased, trace: Trace) -> Vec<Event> {
        let Trace { mut runs, failures, .. } = trace;
        let failed = failures.into_iter().map(|(plugin, failure)| EventKind::PluginFailed { plugin, failure: failure.to_string() });
        let mut kinds: Vec<_> = failed.collect();
        runs.retain(|run| !run.log.is_empty() || !matches!(run.outcome.as_str(), "next" | "accept"));
        if !runs.is_empty() {
            cut_logs(&mut runs, self.settings.limits.copy_log);
            kinds.push(EventKind::Rendered { plugins: runs });
        }
        kinds.into_iter().map(|kind| self.event(entry, leased, kind)).collect()
    }

    /// What becomes of a copy that would wait once more without an attempt, but has no time left for that.
    pub(super) fn out_of_time(self, entry: &Entry, leased: &Leased, text: &str) -> Option<Verdict> {
        let is_over = self.gives_up(entry, leased) <= self.now;
        is_over.then(|| Verdict::Bounced { status: EnhancedStatus::new(5, 4, 7), text: text.to_owned(), is_reply: false })
    }

    fn next_attempt(self, entry: &Entry, leased: &Leased) -> Option<Timestamp> {
        let next = self.backoff.next_attempt(self.first_attempt(entry, leased), leased.state.attempts + 1, self.now)?;
        entry.deliver_before.is_none_or(|end| next < end).then_some(next)
    }

    /// When a copy is due next that has a next attempt, with some chance in it; the last attempt is at the very end.
    fn next_due(self, entry: &Entry, leased: &Leased, text: &str) -> Timestamp {
        // `expired` has left only those that have one.
        let next = self.next_attempt(entry, leased).unwrap_or(Timestamp::NEVER);
        let end = self.backoff.end(self.first_attempt(entry, leased));
        let (attempts, is_greylisting) = (leased.state.attempts + 1, is_greylisting(text));
        if next >= end && !(is_greylisting && attempts == 1) {
            return next;
        }
        let spread = self.backoff.spread(next, self.now, attempts, is_greylisting, self.entropy).min(end);
        if entry.deliver_before.is_none_or(|before| spread < before) { spread } else { next }
    }

    /// When the time to live begins: what waited because it was told to, or was held, has all of its time when its turn comes first.
    fn first_attempt(self, entry: &Entry, leased: &Leased) -> Timestamp {
        entry.received.at.max(leased.state.first_attempt.unwrap_or(self.now))
    }

    /// Whether the sender is to hear now that it takes long: once, where he asked for it.
    fn tells_delay(self, entry: &Entry, leased: &Leased) -> bool {
        let since = entry.terms.not_before.unwrap_or(entry.received.at);
        leased.recipient.notify().delay && !leased.state.delay_told && self.now.since(since) >= self.settings.limits.delay_report
    }

    /// Until when a copy is tried, about.
    fn gives_up(self, entry: &Entry, leased: &Leased) -> Timestamp {
        let end = self.backoff.end(self.first_attempt(entry, leased));
        entry.deliver_before.map_or(end, |before| before.min(end))
    }

    /// A deferral without a next attempt is a bounce.
    fn expired(self, entry: &Entry, leased: &Leased, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Deferred { text, is_reply } if self.next_attempt(entry, leased).is_none() => {
                Verdict::Bounced { status: EnhancedStatus::new(5, 4, 7), text, is_reply }
            }
            Verdict::Delivered { .. }
            | Verdict::Captured
            | Verdict::Deferred { .. }
            | Verdict::Bounced { .. }
            | Verdict::Discarded { .. }
            | Verdict::Held { .. }
            | Verdict::Suppressed(_) => verdict,
        }
    }

    /// Makes the report on `recipients`, unless there are none or nobody to report to.
    fn report(self, subject: &Subject<'_>, recipients: &[Reported]) -> Option<NewEntry> {
        let sender = subject.reverse_path.mailbox().filter(|_| !recipients.is_empty())?;
        let entry = subject.entry;
        let id = MessageId::new(self.now, self.entropy);
        let content = dsn::compose(&Report {
            id,
            now: self.now,
            hostname: &self.settings.name,
            sender,
            arrived: entry.received.at,
            envid: entry.envid.as_deref(),
            ret: entry.returned(),
            content: subject.content,
            returned_size: self.settings.limits.returned_size,
            recipients,
        });
        // The route may have left the configuration since; then the report waits in a queue of its name until it is back.
        let queue = match self.settings.kinds.get(&entry.route) {
            Some(kind) => {
                let source = self.settings.sources.choose(&entry.login, None, &entry.route).cloned();
                queue::name(&entry.route, kind, sender.domain(), &Lane { source, ..Lane::default() })
            }
            None => entry.route.clone(),
        };
        self.metrics.delivery().reported();
        let report = LocalMail {
            id,
            now: self.now,
            login: Arc::clone(&entry.login),
            route: Arc::clone(&entry.route),
            queue,
            to: sender,
            subject: "Delivery report".to_owned(),
            content,
            smtputf8: !sender.is_ascii(),
            terms: Terms::default(),
        };
        Some(report.into_entry())
    }
}

/// Leaves `limit` octets of what plugins logged; the last line counts those that are left out.
fn cut_logs(runs: &mut [PluginRun], limit: ByteSize) {
    let mut room = limit.0;
    for run in runs {
        let fits = |line: &String| {
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            let fits = length <= room;
            room = if fits { room - length } else { 0 };
            fits
        };
        let kept = run.log.iter().map(fits).take_while(|fits| *fits).count();
        let dropped = run.log.len() - kept;
        if dropped > 0 {
            run.log.truncate(kept);
            run.log.push(format!("{dropped} more lines were dropped"));
        }
    }
}

fn reported(leased: &Leased, action: Action, status: EnhancedStatus, host: &str, text: &str, is_reply: bool) -> Reported {
    Reported {
        address: leased.recipient.address.clone(),
        original: leased.recipient.original.clone(),
        action,
        status,
        host: host.to_owned(),
        text: text.to_owned(),
        is_reply,
        until: None,
    }
}

/// What a failure means. What a text says of its own code goes before the code that is given to it.
fn class(status: EnhancedStatus, text: &str) -> BounceClass {
    let status = if status.subject == 0 { find_status(text).unwrap_or(status) } else { status };
    BounceClass::of(read_code(text), Some(status), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_log_for_one_copy_has_a_limit() {
        let run = |lines: &[&str]| PluginRun { log: lines.iter().map(ToString::to_string).collect(), ..PluginRun::default() };
        let mut runs = [run(&["one", "two"]), run(&["three", "four", "five"]), run(&["six"])];
        cut_logs(&mut runs, ByteSize(11));
        let logs = runs.map(|run| run.log.join(", "));
        assert_eq!(logs, ["one, two", "three, 2 more lines were dropped", "1 more lines were dropped"]);
    }
}
