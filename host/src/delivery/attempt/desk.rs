//! The desk: where a worker makes attempts of the jobs that it takes, and writes down what comes of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Attempt, Load, line_ends, signed, without_nul};
use crate::chain::Plan;
use crate::chain::rendering::{Recipient, RenderError, Rendered};
use crate::chain::trace::Trace;
use crate::clock::Timestamp;
use crate::config;
use crate::delivery::destination::{Destination, Job};
use crate::delivery::failure::Failure;
use crate::delivery::hub::Hub;
use crate::delivery::outcome::{Judge, Settled, Subject, Verdict};
use crate::delivery::settings::Settings;
use crate::delivery::shaping::Allowance;
use crate::delivery::sieve::{self, Sifted, Stopped};
use crate::delivery::suspended;
use crate::event::Event;
use crate::mail::content::Wire;
use crate::mail::envelope::{BodyType, ForwardPath, Notify, ReversePath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::smtp::client::reply::Reply;
use crate::smtp::client::transaction::{Conclusion, Transaction};
use crate::spool::entry::{Copy, Entry, Terms};
use crate::spool::{Leased, queue};
use crate::store::StoreError;
use crate::submission::{Protocol, Received};
use crate::telemetry::metric::RouteMetrics;

/// Where a worker makes attempts of jobs.
pub(in crate::delivery) struct Desk {
    hub: Arc<Hub>,
    destination: Arc<Destination>,
    route: RouteMetrics,
    /// What holds for the destination.
    plan: Allowance,
    /// A job whose message was not fetched yet.
    taken: Option<Job>,
    open: Option<OpenJob>,
}

/// A job whose message was fetched.
struct OpenJob {
    entry: Arc<Entry>,
    body: Bytes,
    /// In reverse order.
    copies: Vec<Leased>,
    until: Duration,
}

impl OpenJob {
    fn close(mut self) -> Job {
        self.copies.reverse();
        Job { message: self.entry.id, copies: self.copies, until: self.until }
    }

    /// Takes copies with equal content off.
    fn split_off(&mut self) -> Vec<Leased> {
        // An address that stands for one copy is good for no other.
        if !self.entry.plan.is_plain() || self.entry.terms.track_bounces {
            return Vec::from_iter(self.copies.pop());
        }
        let mut copies = std::mem::take(&mut self.copies);
        copies.reverse();
        copies
    }
}

impl Desk {
    pub(in crate::delivery) fn new(hub: Arc<Hub>, destination: Arc<Destination>, route: RouteMetrics) -> Self {
        let plan = hub.plan(&hub.settings(), &destination.queue);
        Self { hub, destination, route, plan, taken: None, open: None }
    }

    /// Returns what holds for the destination.
    pub(in crate::delivery) fn plan(&self) -> &Allowance {
        &self.plan
    }

    /// Finds out anew what holds for the destination.
    pub(in crate::delivery) fn look_up(&mut self, settings: &Settings) {
        self.plan = self.hub.plan(settings, &self.destination.queue);
    }

    /// Whether a job was begun and has copies left.
    pub(in crate::delivery) fn has_work(&self) -> bool {
        self.taken.is_some() || self.open.is_some()
    }

    /// Sees to it that there is a job; `false` where nothing is due. Nothing of it is read yet.
    pub(in crate::delivery) async fn take(&mut self) -> bool {
        while !self.has_work() {
            if suspended::leave_alone(&self.hub, &self.destination).await {
                return false;
            }
            let Some(job) = self.hub.next_job(&self.destination).await else { return false };
            let Some(job) = suspended::set_aside(&self.hub, &self.destination, job).await else { continue };
            self.taken = self.sift(job).await;
        }
        true
    }

    /// Ends copies whose recipients are on a suppression list by now; returns the others.
    async fn sift(&self, job: Job) -> Option<Job> {
        let Sifted { job, stopped } = sieve::sift(&self.hub, job).await;
        if let Some(Stopped { entry, copies }) = stopped {
            let settings = self.hub.settings();
            let subject = Subject { entry: &entry, reverse_path: &entry.reverse_path, content: &Bytes::new(), host: "" };
            let settled = self.judge(&settings).settle(&subject, copies);
            self.hub.settle(settled).await;
        }
        job
    }

    /// Takes everything off the desk that was not made ready.
    fn clear(&mut self) -> impl Iterator<Item = Job> + use<> {
        self.open.take().map(OpenJob::close).into_iter().chain(self.taken.take())
    }

    /// Gives back copies that were not made ready.
    pub(in crate::delivery) fn give_back(&mut self) -> Vec<CopyId> {
        self.clear().flat_map(|job| job.copies).map(|leased| leased.copy).collect()
    }

    /// Leaves what was begun, and an attempt that was not sent, to the other workers of the destination.
    pub(in crate::delivery) fn hand_over(&mut self, attempt: Option<Attempt>) {
        let jobs: Vec<Job> = self.clear().chain(attempt.map(Attempt::into_job)).collect();
        let mut board = self.destination.board.lock();
        for job in jobs {
            board.jobs.push_front(job);
        }
        if board.idle > 0 {
            self.destination.work.notify_one();
        }
    }

    /// Puts all that is leased into the queues of the recipients' domains: the route has changed and goes by domain now.
    pub(in crate::delivery) async fn requeue(&mut self, route: &str, kind: &config::Route, attempt: Option<Attempt>) {
        let jobs: Vec<Job> = self.clear().chain(attempt.map(Attempt::into_job)).chain(self.destination.take_jobs()).collect();
        let leased = jobs.into_iter().filter(|job| self.hub.is_leased(job.until)).flat_map(|job| job.copies);
        let lane = queue::lane(&self.destination.queue);
        let moves: Vec<_> =
            leased.map(|leased| (leased.copy, queue::name(route, kind, leased.recipient.address.domain(), &lane))).collect();
        tracing::info!(queue = %self.destination.queue, copies = moves.len(), "the route goes by domain now: copies change their queue");
        if let Err(error) = self.hub.spool.store().requeue(moves).await {
            tracing::debug!("copies cannot change their queue, their leases run out: {error}");
        }
    }

    /// Makes the next attempt ready; `None` where nothing is due. What cannot be sent at all is settled on the way.
    pub(in crate::delivery) async fn next(&mut self, settings: &Settings) -> Option<Attempt> {
        loop {
            if self.hub.suspension(&self.destination.queue).is_some() {
                let copies = self.give_back();
                self.hub.release(copies).await;
                return None;
            }
            if self.open.is_some() {
                if let Some(attempt) = self.render_next(settings).await {
                    return Some(attempt);
                }
                continue;
            }
            if !self.take().await {
                return None;
            }
            if let Some(job) = self.taken.take() {
                self.open = self.open(settings, job).await;
            }
        }
    }

    async fn open(&self, settings: &Settings, job: Job) -> Option<OpenJob> {
        let Job { message, mut copies, until } = job;
        copies.reverse();
        match self.hub.spool.message(message).await {
            Ok(Some((entry, body, _))) => {
                let entry = Arc::new(entry);
                let early = self.judge(settings).too_early(&entry, &mut copies);
                self.hub.settle(early).await;
                (!copies.is_empty()).then_some(OpenJob { entry, body, copies, until })
            }
            Ok(None) => {
                tracing::error!(message.id = %message, "queued copies have no message: they are dropped");
                let settlements = copies.iter().map(|leased| crate::spool::Settlement::Done(leased.copy)).collect();
                self.hub.settle(Settled { settlements, ..Settled::default() }).await;
                None
            }
            Err(error @ StoreError::Damaged(_)) => {
                tracing::error!(message.id = %message, "cannot read a queued message: {error}");
                let entry = match self.hub.spool.salvage(message).await {
                    Some(entry) => entry,
                    None => unknown_entry(message, &self.destination.queue),
                };
                // A disk may be mended: it is tried again like mail that a server does not take, and ends like that.
                let text = "what was kept of the message cannot be read".to_owned();
                let verdict = Verdict::Deferred { text, is_reply: false };
                let settled = self.settle_unseen(settings, &entry, copies, &verdict);
                self.hub.settle(settled).await;
                None
            }
            Err(error) => {
                tracing::error!(message.id = %message, "cannot read a queued message, its copies wait for the end of their lease: {error}");
                None
            }
        }
    }

    /// Takes copies with equal content off the open job and renders them.
    async fn render_next(&mut self, settings: &Settings) -> Option<Attempt> {
        let now = self.hub.clock.now();
        if let Some(late) = self.open.take_if(|job| !self.hub.is_in_time(job.until, &settings.limits, false)) {
            self.hub.hand_back(late.copies, late.until).await;
            return None;
        }
        let job = self.open.as_mut()?;
        let (entry, body, until) = (job.entry.clone(), job.body.clone(), job.until);
        let copies = job.split_off();
        if job.copies.is_empty() {
            self.open = None;
        }
        let copies = suspended::left_of(&self.hub, &self.destination, &entry, copies).await;
        let first = copies.first()?;
        let (rendered, events) = self.render(settings, &entry, body, first).await;
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(verdict) => {
                let mut settled = Settled { events, ..Settled::default() };
                settled.append(self.settle_unseen(settings, &entry, copies, &verdict));
                self.hub.settle(settled).await;
                return None;
            }
        };
        let binary = (entry.body == BodyType::BinaryMime).then(|| rendered.content.clone());
        let content = Wire::EightBit.fit(line_ends(without_nul(rendered.content, binary.is_some())));
        let (content, signature_octets) = signed(&settings.signers, content, &entry);
        let reverse_path = rendered.reverse_path.unwrap_or_else(|| entry.reverse_path.clone());
        let tracked = settings.return_path(&entry, &reverse_path, first, now);
        let is_tracked = tracked.is_some();
        let forward_paths = copies.iter().map(|leased| ForwardPath {
            address: leased.recipient.address.clone(),
            // It is we who hear of failures, whatever the sender wants to hear.
            notify: leased.recipient.notify.map(|notify| Notify { failure: notify.failure || is_tracked, ..notify }),
            original: leased.recipient.original.clone(),
        });
        let transaction = Transaction {
            reverse_path: tracked.unwrap_or_else(|| reverse_path.clone()),
            ret: entry.returned(),
            envid: entry.envid.clone(),
            smtputf8: entry.smtputf8,
            priority: entry.terms.priority,
            transport: entry.terms.transport,
            forward_paths: forward_paths.collect(),
            content,
            is_binary: false,
        };
        let load = Load { entry, copies, until, again: false, events, via: None, signature_octets, binary, lines: None, reverse_path };
        let attempt = Attempt::new(load, transaction);
        if attempt.load.entry.deliver_before.is_some_and(|end| end <= now) {
            let failure = Failure::permanent((4, 7), "the time in which it was to be delivered is over");
            let verdict = Verdict::of_failure(&failure);
            let settled = self.settle(settings, attempt, "", |_| verdict.clone());
            self.hub.settle(settled).await;
            return None;
        }
        Some(attempt)
    }

    /// Makes one copy, or says what the chain makes of it; with the events of that.
    async fn render(&self, settings: &Settings, entry: &Entry, body: Bytes, leased: &Leased) -> (Result<Rendered, Verdict>, Vec<Event>) {
        let mut trace = Trace::default();
        let Copy { address, variables, .. } = &leased.recipient;
        let recipient = Recipient { copy: leased.copy, address, variables };
        let rendered = settings.renderer.render(&entry.plan, body, recipient, &mut trace).await;
        let plugin = || trace.runs.last().map(|run| run.plugin.clone()).unwrap_or_default();
        let rendered = match rendered {
            Ok(Rendered { held: Some((by, reason)), .. }) if !leased.state.released => Err(Verdict::Held { by, reason }),
            Ok(rendered) => Ok(rendered),
            Err(RenderError::Rejected { code, enhanced, text } | RenderError::Deferred { code, enhanced, text }) => {
                let text = format!("{code} {enhanced} {text}");
                let is_reply = false;
                Err(if code >= 500 { Verdict::Bounced { status: enhanced, text, is_reply } } else { Verdict::Deferred { text, is_reply } })
            }
            Err(RenderError::Discarded { reason }) => Err(Verdict::Discarded { plugin: plugin(), reason }),
            Err(RenderError::Held { reason }) => Err(Verdict::Held { by: plugin(), reason }),
            Err(error @ RenderError::TooLarge { .. }) => Err(Verdict::of_failure(&Failure::permanent((3, 4), error.to_string()))),
            Err(RenderError::Failed { plugin, permanent }) => {
                let text = format!("the plugin {plugin} failed");
                let failure = if permanent { Failure::permanent((3, 0), text) } else { Failure::transient((3, 0), text) };
                Err(Verdict::of_failure(&failure))
            }
        };
        (rendered, self.judge(settings).trace_events(entry, leased, trace))
    }

    /// Ends copies that there is no content of: where the sender gets a report, the subject says which message it was.
    fn settle_unseen(&self, settings: &Settings, entry: &Entry, copies: Vec<Leased>, verdict: &Verdict) -> Settled {
        let content = Bytes::from(format!("Subject: {}\r\n", entry.subject.replace(['\r', '\n'], " ")));
        let subject = Subject { entry, reverse_path: &entry.reverse_path, content: &content, host: "" };
        self.judge(settings).settle(&subject, copies.into_iter().map(|leased| (leased, verdict.clone())))
    }

    /// Ends all that is leased, and an attempt that is ready, with the same failure. Copies are not rendered for that, unless their sender gets a report.
    /// Returns how many there were.
    pub(in crate::delivery) async fn fail(&mut self, settings: &Settings, attempt: Option<Attempt>, failure: &Failure) -> usize {
        let verdict = Verdict::of_failure(failure);
        let mut copies = 0;
        // Others may have what is leased no more.
        if let Some(attempt) = attempt.filter(|attempt| self.hub.is_leased(attempt.load.until)) {
            copies += attempt.load.copies.len();
            let settled = self.settle(settings, attempt, &failure.host, |_| verdict.clone());
            self.hub.settle(settled).await;
        }
        let jobs: Vec<Job> = self.clear().chain(self.destination.take_jobs()).collect();
        for job in jobs {
            if self.hub.is_leased(job.until)
                && let Some(job) = self.open(settings, job).await
            {
                copies += job.copies.len();
                self.fail_job(settings, job, &verdict, &failure.host).await;
            }
        }
        copies
    }

    /// Leaves all that is leased, and an attempt that is ready, for later: it was not tried. Returns how many there were.
    pub(in crate::delivery) async fn postpone(
        &mut self,
        settings: &Settings,
        attempt: Option<Attempt>,
        text: &str,
        until: Timestamp,
    ) -> usize {
        let mut postponed = 0;
        let jobs: Vec<Job> = self.clear().chain(attempt.map(Attempt::into_job)).chain(self.destination.take_jobs()).collect();
        for job in jobs {
            if self.hub.is_leased(job.until)
                && let Some(OpenJob { entry, body, mut copies, until: lease }) = self.open(settings, job).await
            {
                postponed += copies.len();
                copies.reverse();
                let judge = self.judge(settings);
                let over: Vec<_> = copies.extract_if(.., |leased| judge.out_of_time(&entry, leased, text).is_some()).collect();
                let settled = judge.postpone(&entry, copies, text, until);
                self.hub.settle(settled).await;
                if let Some(verdict) = over.first().and_then(|leased| judge.out_of_time(&entry, leased, text)) {
                    let job = OpenJob { copies: over.into_iter().rev().collect(), entry, body, until: lease };
                    self.fail_job(settings, job, &verdict, "").await;
                }
            }
        }
        postponed
    }

    async fn fail_job(&self, settings: &Settings, mut job: OpenJob, verdict: &Verdict, host: &str) {
        let entry = job.entry.clone();
        let judge = self.judge(settings);
        let quietly: Vec<_> = job.copies.extract_if(.., |leased| !judge.reports(&entry, leased, verdict)).collect();
        let subject = Subject { entry: &entry, reverse_path: &entry.reverse_path, content: &Bytes::new(), host };
        let mut settled = judge.settle(&subject, quietly.into_iter().rev().map(|leased| (leased, verdict.clone())));
        while !job.copies.is_empty() {
            let copies = job.split_off();
            let Some(first) = copies.first() else { break };
            let (rendered, mut events) = self.render(settings, &entry, job.body.clone(), first).await;
            settled.events.append(&mut events);
            settled.append(match rendered {
                Ok(Rendered { content, reverse_path, .. }) => {
                    let reverse_path = reverse_path.as_ref().unwrap_or(&entry.reverse_path);
                    let subject = Subject { entry: &entry, reverse_path, content: &content, host };
                    self.judge(settings).settle(&subject, copies.into_iter().map(|leased| (leased, verdict.clone())))
                }
                Err(of_chain) => self.settle_unseen(settings, &entry, copies, &of_chain),
            });
        }
        self.hub.settle(settled).await;
    }

    fn judge<'a>(&'a self, settings: &'a Settings) -> Judge<'a> {
        let (metrics, entropy, backoff) = (&self.hub.metrics, &self.hub.entropy, &self.plan.backoff);
        Judge { settings, metrics, route: &self.route, entropy, backoff, now: self.hub.clock.now() }
    }

    /// Ends an attempt with a verdict for each copy, by its place.
    pub(in crate::delivery) fn settle(
        &self,
        settings: &Settings,
        attempt: Attempt,
        host: &str,
        mut verdict: impl FnMut(usize) -> Verdict,
    ) -> Settled {
        let (Load { entry, copies, events, reverse_path, lines, .. }, transaction) = attempt.split();
        // What comes back with a report goes its own way, over whatever next hops.
        let content = lines.map_or(transaction.content, |(content, _)| content);
        let subject = Subject { entry: &entry, reverse_path: &reverse_path, content: &content, host };
        let mut settled = Settled { events, ..Settled::default() };
        settled
            .append(self.judge(settings).settle(&subject, copies.into_iter().enumerate().map(|(place, leased)| (leased, verdict(place)))));
        settled
    }

    /// Ends an attempt with what the server said.
    pub(in crate::delivery) fn conclude(&self, settings: &Settings, mut load: Load, mut conclusion: Conclusion, host: &str) -> Settled {
        self.put_back_surplus(&mut load, &mut conclusion);
        let failure = Failure::transient((5, 0), "the server gave no answer").at(host);
        self.conclude_broken(settings, load, conclusion, &failure)
    }

    /// Ends an attempt whose connection broke: last words count, where there are any.
    pub(in crate::delivery) fn conclude_broken(
        &self,
        settings: &Settings,
        load: Load,
        conclusion: Conclusion,
        failure: &Failure,
    ) -> Settled {
        let Conclusion { transaction, replies, dsn_passed_on, .. } = conclusion;
        let via = load.via.clone();
        self.settle(settings, Attempt::new(load, transaction), &failure.host, |place| match replies.get(place) {
            Some(Some(reply)) => Verdict::of_reply(reply, dsn_passed_on, via.as_ref()),
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

/// What is known of a message of which nothing can be read: its id, which says when it arrived, and where it waits.
fn unknown_entry(id: MessageId, queue: &str) -> Entry {
    let (received, login): (_, Arc<str>) = (id.received(), "".into());
    let received = Received { at: received, peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED), helo: None, protocol: Protocol::Local };
    Entry {
        id,
        login: login.clone(),
        route: queue::split(queue).0.into(),
        reverse_path: ReversePath::Null,
        ret: None,
        envid: None,
        body: BodyType::EightBitMime,
        smtputf8: false,
        subject: String::new(),
        tags: Vec::new(),
        recipient_count: 0,
        deliver_before: None,
        options: String::new(),
        plan: Plan::plain(login, id, received.at),
        terms: Terms::default(),
        received,
    }
}
