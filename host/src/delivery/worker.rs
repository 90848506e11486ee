//! A worker: one connection to one destination, and the copies that go over it one transaction after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::attempt::{Attempt, Desk, Load};
use super::connection::{Broken, Connection};
use super::failure::{Failure, TEXT_LENGTH};
use super::hub::Hub;
use super::outcome::{Settled, Verdict};
use super::place::Place;
use super::route::{NotConnected, Route, Surroundings, dead_time};
use super::settings::Settings;
use super::shaping::Slot;
use super::shaping::group::{Wait, is_too_fast};
use crate::mail::domain::Domain;
use crate::smtp::client::reply::Reply;
use crate::smtp::client::transaction::Conclusion;
use crate::spool::queue::{self, Lane};
use crate::telemetry::metric::{OpenConnection, RouteMetrics};

/// A server that takes longer than this to answer content is not given the next message together with it: another connection is faster.
const PROMPT: Duration = Duration::from_secs(1);

/// Transactions after which a worker gives its connection away when others wait for one.
const TURN: u32 = 100;

/// Works for one destination.
pub(super) struct Worker {
    place: Place,
    metrics: RouteMetrics,
    /// Counts the worker's connection, also while it is made.
    _counted: OpenConnection,
    settings: Arc<Settings>,
    desk: Desk,
    connection: Option<Connection>,
    /// Rendered, and not begun.
    ready: Option<Attempt>,
    /// Begun on the connection, in order.
    running: VecDeque<Load>,
    /// Transactions so far.
    turn: u32,
    /// The connection as its group counts it.
    slot: Option<Slot>,
    /// The same of the first connection, before it is made.
    promised: Option<Slot>,
    /// What keeps the queue apart from others of the same way.
    lane: Lane,
}

/// How a round with the next hop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// There may be another one.
    Over,
    /// The next hop has enough connections of ours.
    Leave,
}

impl Worker {
    pub(super) fn new(place: Place, promised: Slot) -> Self {
        let settings = place.hub.settings();
        let lane = queue::lane(&place.destination.queue);
        let metrics = place.hub.metrics.delivery().route(queue::split(&place.destination.queue).0);
        let desk = Desk::new(place.hub.clone(), place.destination.clone(), metrics.clone());
        Self {
            place,
            _counted: metrics.connection(),
            metrics,
            settings,
            desk,
            connection: None,
            ready: None,
            running: VecDeque::new(),
            turn: 0,
            slot: None,
            promised: Some(promised),
            lane,
        }
    }

    /// Works until there is nothing left to do.
    pub(super) async fn run(mut self) {
        let queue = self.place.destination.queue.clone();
        let (route, domain) = queue::split(&queue);
        loop {
            if self.running.is_empty() {
                if self.must_give_way() {
                    self.leave().await;
                    break;
                }
                if !self.prepare().await {
                    if self.idle().await {
                        continue;
                    }
                    break;
                }
            }
            let settings = self.settings.clone();
            match settings.routes.get(route) {
                Some(Route::Capture) => self.capture().await,
                // The route was of another kind when these copies were accepted.
                Some(Route::Mx(_)) if domain.is_none() => {
                    if let Some(kind) = settings.kinds.get(route) {
                        self.desk.requeue(route, kind, self.ready.take()).await;
                    }
                }
                Some(route) => {
                    if self.attempt(route, domain).await == Round::Leave {
                        self.leave().await;
                        break;
                    }
                }
                None => self.fail(&Failure::transient((3, 5), "the configuration has no such route")).await,
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.quit().await;
        }
        drop((self.slot.take(), self.promised.take()));
        self.place.hub.freed.notify_one();
    }

    /// Whether another destination needs the connection more: this one has others, or had its turn.
    fn must_give_way(&self) -> bool {
        self.place.hub.is_pressed(self.desk.plan(), &self.place.destination.share)
            && self.ready.is_none()
            && !self.desk.has_work()
            && (self.turn >= TURN || self.place.destination.board.lock().workers > 1)
    }

    /// Sees to it that there is something to be sent; `false` where there is nothing. Waits while outcomes cannot be written down.
    async fn prepare(&mut self) -> bool {
        let hub = &self.place.hub;
        if hub.flow.is_stalled() {
            hub.draining.run_until_cancelled(hub.flow.resumed()).await;
        }
        if hub.draining.is_cancelled() {
            self.give_back().await;
            return false;
        }
        let settings = hub.settings();
        if !Arc::ptr_eq(&settings, &self.settings) {
            self.settings = settings;
            // It was made as the old ones say: with less TLS, perhaps, or from another address.
            if let Some(connection) = self.connection.take() {
                connection.quit().await;
            }
        }
        self.desk.look_up(&self.settings);
        self.ready.is_some() || self.desk.take().await
    }

    /// Leaves the work to others.
    async fn leave(&mut self) {
        let copies = self.place.give_way();
        self.place.hub.release(copies).await;
    }

    /// Gives back what was not begun.
    async fn give_back(&mut self) {
        let mut copies = self.desk.give_back();
        copies.extend(self.ready.take().into_iter().flat_map(|attempt| attempt.load.copies).map(|leased| leased.copy));
        copies.extend(self.place.destination.take_all());
        self.place.hub.release(copies).await;
    }

    /// Waits for work; `false` when it is time to go.
    async fn idle(&mut self) -> bool {
        let hub = self.place.hub.clone();
        let pressed = hub.is_pressed(self.desk.plan(), &self.place.destination.share);
        let Some(connection) = self.connection.as_mut().filter(|_| !hub.draining.is_cancelled() && !pressed) else {
            return !self.place.give_up();
        };
        let destination = self.place.destination.clone();
        {
            let mut board = destination.board.lock();
            if !board.jobs.is_empty() || board.may_have_more {
                return true;
            }
            board.idle += 1;
        }
        let mut spoilt = false;
        let woken = tokio::select! {
            () = destination.work.notified() => true,
            () = tokio::time::sleep(self.settings.limits.idle_time) => false,
            () = hub.pressed(self.desk.plan(), &self.place.destination.share) => false,
            () = hub.draining.cancelled() => false,
            () = connection.spoilt() => { spoilt = true; false }
        };
        destination.board.lock().idle -= 1;
        if spoilt {
            self.connection = None;
        }
        woken || !self.place.give_up()
    }

    /// Ends all that is leased with the same failure. What is not leased waits a little: it has no better prospects.
    async fn fail(&mut self, failure: &Failure) {
        self.place.connected(false);
        let copies = self.desk.fail(&self.settings, self.ready.take(), failure).await;
        self.rest(copies);
    }

    /// So many copies have led nowhere: leaves the rest of the queue alone for a time that is fair to the mail of others.
    fn rest(&self, copies: usize) {
        let (hub, destination) = (&self.place.hub, &self.place.destination);
        if let Some(until) = hub.failing.pace(copies, self.settings.limits.unreachable_rate, hub.clock.monotonic()) {
            hub.spool.store().rest(&destination.queue, until);
            destination.board.lock().may_have_more = false;
        }
    }

    /// Sees to it that an attempt is ready; `false` where nothing is left of what was due.
    async fn render(&mut self) -> bool {
        if self.ready.is_none() {
            self.ready = self.desk.next(&self.settings).await;
        }
        self.ready.is_some()
    }

    /// Keeps what is ready in the place of sending it.
    async fn capture(&mut self) {
        self.promised = None;
        self.place.connected(true);
        self.render().await;
        let Some(attempt) = self.ready.take() else { return };
        let content: Bytes = attempt.transaction.content.clone();
        let captures = attempt.load.copies.iter().map(|leased| (leased.copy, content.clone())).collect();
        let settled = match self.place.hub.capture(captures).await {
            Ok(()) => self.desk.settle(&self.settings, attempt, "", |_| Verdict::Captured),
            Err(error) => {
                let verdict = Verdict::of_failure(&Failure::transient((3, 1), format!("cannot keep it: {error}")));
                self.desk.settle(&self.settings, attempt, "", |_| verdict.clone())
            }
        };
        self.place.hub.settle(settled).await;
    }

    /// Makes the connection; where there is none, all that is leased is seen to, and what follows is returned.
    async fn connect(&mut self, route: &Route, domain: Option<&str>) -> Result<(), Round> {
        let hub = self.place.hub.clone();
        let name = queue::split(&self.place.destination.queue).0;
        let around = Surroundings { remember: !self.place.has_company(), ..hub.surroundings(&self.settings, name, &self.lane) };
        match Box::pin(route.connect(domain, around)).await {
            Ok(connection) => {
                self.metrics.connected(true);
                hub.metrics.delivery().protected(&connection.via().policy);
                hub.failing.forget(&self.place.destination.queue);
                self.place.connected(true);
                self.connection = Some(connection);
                Ok(())
            }
            Err(NotConnected::Waits { text, until }) => {
                self.slot = None;
                self.place.connected(false);
                let copies = self.desk.postpone(&self.settings, self.ready.take(), &text, until).await;
                self.rest(copies);
                Err(Round::Over)
            }
            Err(NotConnected::Failed(failure)) => Err(self.not_connected(&failure).await),
        }
    }

    /// One round with the next hop: starts what can be started, then takes what it says.
    async fn attempt(&mut self, route: &Route, domain: Option<&str>) -> Round {
        let hub = self.place.hub.clone();
        if self.running.is_empty() {
            self.learn_hosts(route, domain).await;
        }
        let most = self.desk.plan().messages_per_connection;
        // After a reload nothing more is begun on it, so that it comes to an end.
        let is_old = !Arc::ptr_eq(&hub.settings(), &self.settings);
        let worn = |connection: &Connection| is_old || connection.started() >= most;
        if self.running.is_empty()
            && let Some(connection) = self.connection.take_if(|connection| worn(connection))
        {
            connection.quit().await;
        }
        if self.connection.is_none() && !self.reserve() {
            self.desk.hand_over(self.ready.take());
            return Round::Leave;
        }
        if self.connection.is_none()
            && let Err(round) = self.connect(route, domain).await
        {
            return round;
        }
        let Some(connection) = &mut self.connection else { return Round::Over };
        // Only now, so that nothing is read and rendered for a destination that cannot be reached.
        if self.ready.is_none() && self.running.is_empty() {
            self.ready = self.desk.next(&self.settings).await;
            if self.ready.is_none() {
                return Round::Over;
            }
        }
        let may_begin = |hub: &Hub| !hub.draining.is_cancelled() && !hub.flow.is_stalled();
        let in_time = |attempt: &Attempt| hub.is_in_time(attempt.load.until, &self.settings.limits, !self.running.is_empty());
        let can_begin = connection.can_start() && !worn(connection) && may_begin(&hub) && self.ready.as_ref().is_some_and(in_time);
        let allowed = if can_begin { hub.shaping.begin(self.desk.plan(), hub.clock.monotonic()) } else { Ok(()) };
        if let Err(until) = allowed
            && self.running.is_empty()
        {
            return self.hold_back(until).await;
        }
        if can_begin
            && allowed.is_ok()
            && let Some(mut attempt) = self.ready.take()
        {
            if !hub.may_send(connection, &self.settings, attempt.load.copies.len()) {
                // The source has sent what it may today: the rest leaves from another one, or waits.
                self.ready = Some(attempt);
                if self.running.is_empty() {
                    if let Some(connection) = self.connection.take() {
                        connection.quit().await;
                    }
                    return Round::Over;
                }
                self.listen().await;
                return Round::Over;
            }
            self.metrics.transaction();
            self.turn = self.turn.saturating_add(1);
            attempt.suit(connection, &self.settings.signers);
            let (mut load, transaction) = attempt.split();
            load.via = Some(connection.via());
            connection.start(transaction);
            self.running.push_back(load);
        }
        connection.push().await;
        // While the server works on this one, the next one is made ready.
        if self.ready.is_none() && connection.takes_next() && !worn(connection) && may_begin(&hub) {
            self.ready = self.desk.next(&self.settings).await;
        }
        self.listen().await;
        Round::Over
    }

    /// No host answers: all that is leased is deferred, unless others have connections that it can go over.
    async fn not_connected(&mut self, failure: &Failure) -> Round {
        let hub = self.place.hub.clone();
        self.metrics.connected(false);
        self.slot = None;
        self.heed_failure(failure);
        if !self.place.has_company() {
            if !failure.is_permanent() {
                let now = hub.clock.monotonic();
                let until = now.saturating_add(self.settings.limits.retry_longest.saturating_mul(2));
                hub.failing.remember(&self.place.destination.queue, now, until);
            }
            self.fail(failure).await;
            return Round::Over;
        }
        // Many servers limit connections. What was to go over this one goes over the others.
        self.place.full(hub.clock.monotonic() + dead_time(&self.settings.limits));
        self.desk.hand_over(self.ready.take());
        Round::Leave
    }

    /// Which group it is, the hosts of the domain may have to tell; on a connection that is open for long, again.
    async fn learn_hosts(&mut self, route: &Route, domain: Option<&str>) {
        let hub = self.place.hub.clone();
        if let Some(domain) = domain
            && self.settings.limits.shaping.iter().any(|rule| !rule.mx.is_empty())
        {
            let domain = Domain::parse(domain).map(|domain| domain.to_ascii()).unwrap_or_default();
            if !hub.shaping.knows(&domain, hub.clock.monotonic()) {
                hub.shaping.learn(&domain, route.host_names(&domain).await, hub.clock.monotonic());
                self.desk.look_up(&self.settings);
            }
        }
    }

    /// Takes a place among the connections of the group; `false` where there is none, or no transaction could begin soon.
    fn reserve(&mut self) -> bool {
        let hub = self.place.hub.clone();
        self.slot = None;
        let promised = self.promised.take().filter(|slot| slot.is_of(self.desk.plan()));
        if promised.is_some() {
            self.slot = promised;
            return true;
        }
        let now = hub.clock.monotonic();
        if let Some(Wait::Until(until)) = hub.shaping.wait(self.desk.plan(), now)
            && until > now + self.settings.limits.idle_time
        {
            return false;
        }
        self.slot = hub.shaping.connect(self.desk.plan(), now).ok();
        if self.slot.is_none() && !self.place.has_company() {
            hub.shaping.want(self.desk.plan());
            hub.give_way.notify_waiters();
        }
        self.slot.is_some()
    }

    /// No transaction may begin before `until`: waits for that where it is soon, else leaves the copies in the store.
    async fn hold_back(&mut self, until: Duration) -> Round {
        let hub = self.place.hub.clone();
        let wait = until.saturating_sub(hub.clock.monotonic());
        let others_wait = hub.is_pressed(self.desk.plan(), &self.place.destination.share);
        let Some(connection) = self.connection.as_mut().filter(|_| wait <= self.settings.limits.idle_time && !others_wait) else {
            self.desk.hand_over(self.ready.take());
            return Round::Leave;
        };
        let spoilt = tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = hub.pressed(self.desk.plan(), &self.place.destination.share) => false,
            () = hub.draining.cancelled() => false,
            () = connection.spoilt() => true,
        };
        if spoilt {
            self.connection = None;
        }
        Round::Over
    }

    /// Slows the group down where a server says that we are too fast.
    fn heed(&self, reply: &Reply) {
        let enhanced = reply.enhanced().map(|status| (status.subject, status.detail));
        let text = reply.to_line(TEXT_LENGTH);
        if is_too_fast(reply.code(), enhanced, &text) {
            self.place.hub.shaping.slow_down(self.desk.plan(), &text, self.place.hub.clock.monotonic());
        }
    }

    /// The same of what it says in the place of a greeting.
    fn heed_failure(&self, failure: &Failure) {
        let code = failure.text.get(..3).and_then(|code| code.parse().ok()).unwrap_or_default();
        if failure.is_reply && is_too_fast(code, Some((failure.status.subject, failure.status.detail)), &failure.text) {
            self.place.hub.shaping.slow_down(self.desk.plan(), &failure.text, self.place.hub.clock.monotonic());
        }
    }

    /// Takes what the server says, until something can be started or is over.
    async fn listen(&mut self) {
        let first_end = self.running.iter().map(|load| load.until).min();
        let (Some(connection), Some(first_end)) = (&mut self.connection, first_end) else {
            // Nothing was started. What there is no time for is given back; else its turn comes in the next round.
            let hub = &self.place.hub;
            if let Some(late) = self.ready.take_if(|attempt| !hub.is_in_time(attempt.load.until, &self.settings.limits, false)) {
                hub.hand_back(late.load.copies, late.load.until).await;
            }
            return;
        };
        let until = Hub::answers_until(first_end);
        let started = self.place.hub.clock.monotonic();
        // What could not even be asked has its conclusion already: the server will say nothing.
        let result = if connection.awaits_reply() {
            let received = tokio::time::timeout(until.saturating_sub(started), connection.receive()).await;
            received.unwrap_or(Err(Broken::TimedOut))
        } else {
            Ok(())
        };
        if self.place.hub.clock.monotonic().saturating_sub(started) > PROMPT {
            connection.set_slow();
        }
        let mut settled = Settled::default();
        let host = connection.host().to_owned();
        match result {
            Ok(()) => {
                let conclusions: Vec<_> = std::iter::from_fn(|| connection.conclusion()).collect();
                for conclusion in conclusions {
                    conclusion.replies.iter().flatten().for_each(|reply| self.heed(reply));
                    if let Some(load) = self.running.pop_front() {
                        settled.append(self.desk.conclude(&self.settings, load, conclusion, &host));
                    }
                }
            }
            Err(broken) => {
                let conclusions = connection.abandon();
                let reused = connection.started() > 1;
                self.connection = None;
                conclusions.iter().flat_map(|conclusion| &conclusion.replies).flatten().for_each(|reply| self.heed(reply));
                self.heed_failure(&broken.to_failure(&host));
                settled = self.end(conclusions, &broken, &host, reused);
            }
        }
        self.place.hub.settle(settled).await;
    }

    /// The connection is gone: what was begun is deferred, what was not begun goes over the next one.
    fn end(&mut self, conclusions: Vec<Conclusion>, broken: &Broken, host: &str, reused: bool) -> Settled {
        let mut settled = Settled::default();
        let failure = broken.to_failure(host);
        for conclusion in conclusions {
            let Some(load) = self.running.pop_front() else { break };
            // An old connection may have been closed under our hands, and what was chained never had its turn; but only once for each attempt.
            if !conclusion.begun && reused && !load.again {
                let attempt = Attempt::new(Load { again: true, ..load }, conclusion.transaction);
                match &self.ready {
                    None => self.ready = Some(attempt),
                    // Another one is ready behind it: it goes over whatever connection comes next, which takes at least one.
                    Some(_) => self.desk.hand_over(Some(attempt)),
                }
            } else {
                settled.append(self.desk.conclude_broken(&self.settings, load, conclusion, &failure));
            }
        }
        settled
    }
}
