//! What one group of destinations may have: connections, and transactions in a time; and how that shrinks and grows with what servers say.
//!
//! Like congestion control: an answer that says "too fast" halves speed and connections, at most once in a while; each minute without one adds a
//! tenth of what there was before, and one connection. Sans-IO: times are handed in ([`Clock::monotonic`](crate::clock::Clock::monotonic)).

use std::sync::Arc;
use std::time::Duration;

use crate::config::Rate;

/// After it was made slower, answers change nothing for this time: they are of transactions that had begun before.
const HOLD: Duration = Duration::from_secs(30);
/// Each such time without an answer that says "too fast" makes it faster again.
const RECOVERY: Duration = Duration::from_mins(1);
/// Steps from nothing to what was before.
const STEPS: u32 = 10;
/// Answers make it no slower than that: a server that answers 421 for another reason does not stop the mail.
const SLOWEST: Duration = Duration::from_secs(10);
/// The fastest that is remembered of a group without a rate.
const FASTEST: Duration = Duration::from_millis(1);
/// The time in which transactions are counted, to know the speed of a group without a rate.
const WINDOW: Duration = Duration::from_mins(1);

/// What the configuration lets a group have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At a time.
    pub connections: u32,
    /// Transactions.
    pub rate: Option<Rate>,
    /// Transactions at once after a pause.
    pub burst: u32,
    /// Whether answers make it slower.
    pub slow_down: bool,
}

/// What has to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Another connection must end.
    Connection,
    /// This time must come.
    Until(Duration),
}

/// The state of a group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    open: u32,
    /// When the next transaction would begin if they came evenly.
    next: Duration,
    slow: Option<Slow>,
    window: Window,
    /// A destination waits for one of our connections.
    pub(super) wanted: bool,
}

/// It is slower than the configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct Slow {
    /// Transactions in a second.
    pub speed: f64,
    /// Connections.
    pub connections: u32,
    /// What the server said last.
    pub why: Arc<str>,
    /// The speed to come back to.
    before: f64,
    /// When it became slower last.
    since: Duration,
    /// When it became faster last.
    grown: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    begins: Duration,
    count: u32,
    before: u32,
}

impl Window {
    fn turn(&mut self, now: Duration) {
        let age = now.saturating_sub(self.begins);
        if age >= WINDOW {
            self.before = if age < WINDOW * 2 { self.count } else { 0 };
            (self.begins, self.count) = (now, 0);
        }
    }

    fn speed(&self, now: Duration) -> f64 {
        let current = f64::from(self.count) / now.saturating_sub(self.begins).as_secs_f64().max(1.0);
        current.max(f64::from(self.before) / WINDOW.as_secs_f64())
    }
}

impl Group {
    /// Whether nothing would be lost if it were forgotten.
    pub fn is_neutral(&self, now: Duration) -> bool {
        // After so many steps it is as fast as before, even if nobody has asked since.
        let is_slow = self.slow.as_ref().is_some_and(|slow| now.saturating_sub(slow.grown) < RECOVERY * STEPS);
        self.open == 0 && self.next <= now && !is_slow && now.saturating_sub(self.window.begins) >= WINDOW
    }

    /// How many connections there are.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Returns in which way it is slower than the configuration says.
    pub fn slow(&self) -> Option<&Slow> {
        self.slow.as_ref()
    }

    /// How many connections there may be.
    pub fn connections(&mut self, limits: &Limits, now: Duration) -> u32 {
        self.recover(limits, now);
        self.slow.as_ref().map_or(limits.connections, |slow| slow.connections.min(limits.connections)).max(1)
    }

    /// Says what must come before a connection is worth while.
    pub fn wait(&mut self, limits: &Limits, now: Duration) -> Option<Wait> {
        if self.open >= self.connections(limits, now) {
            return Some(Wait::Connection);
        }
        self.pause(limits, now).map(Wait::Until)
    }

    /// Takes a connection.
    pub fn connect(&mut self, limits: &Limits, now: Duration) -> Result<(), Wait> {
        if self.open >= self.connections(limits, now) {
            return Err(Wait::Connection);
        }
        self.open += 1;
        Ok(())
    }

    /// Gives a connection back.
    pub fn disconnect(&mut self) {
        self.open = self.open.saturating_sub(1);
        self.wanted = false;
    }

    /// Begins a transaction, or says when one may begin.
    pub fn begin(&mut self, limits: &Limits, now: Duration) -> Result<(), Duration> {
        if let Some(until) = self.pause(limits, now) {
            return Err(until);
        }
        self.next = self.next.max(now) + self.interval(limits);
        self.window.turn(now);
        self.window.count = self.window.count.saturating_add(1);
        Ok(())
    }

    /// A server says that we are too fast; `why` is what it said. Returns whether anything changed.
    pub fn slow_down(&mut self, limits: &Limits, now: Duration, why: &str) -> bool {
        self.recover(limits, now);
        if !limits.slow_down || self.slow.as_ref().is_some_and(|slow| now < slow.since + HOLD) {
            return false;
        }
        let in_use = self.open.clamp(1, limits.connections.max(1));
        let (speed, before, connections) = if let Some(slow) = &self.slow {
            (slow.speed, slow.before, slow.connections.min(in_use))
        } else {
            self.window.turn(now);
            let measured = self.window.speed(now);
            let before = limits.rate.map_or(measured, |rate| per_second(rate.interval()));
            (measured.min(before), before, in_use)
        };
        let slowest = per_second(SLOWEST);
        let speed = (speed / 2.0).max(slowest);
        let connections = (connections / 2).max(1);
        self.slow = Some(Slow { speed, connections, why: why.into(), before: before.max(slowest * 2.0), since: now, grown: now });
        self.next = self.next.max(now + self.interval(limits));
        true
    }

    fn recover(&mut self, limits: &Limits, now: Duration) {
        let Some(slow) = &mut self.slow else { return };
        while now.saturating_sub(slow.grown) >= RECOVERY {
            slow.grown += RECOVERY;
            slow.speed += slow.before / f64::from(STEPS);
            slow.connections = slow.connections.saturating_add(1);
            if slow.speed >= slow.before && slow.connections >= limits.connections.min(STEPS) {
                self.slow = None;
                return;
            }
        }
    }

    /// The time from one transaction to the next.
    fn interval(&self, limits: &Limits) -> Duration {
        let configured = limits.rate.map(Rate::interval).unwrap_or_default();
        let slow =
            self.slow.as_ref().map(|slow| Duration::from_secs_f64((1.0 / slow.speed).clamp(FASTEST.as_secs_f64(), SLOWEST.as_secs_f64())));
        slow.map_or(configured, |slow| slow.max(configured))
    }

    /// Until when no transaction may begin, if so.
    fn pause(&mut self, limits: &Limits, now: Duration) -> Option<Duration> {
        self.recover(limits, now);
        // While it is slow, nothing comes in bursts.
        let burst = if self.slow.is_some() { 1 } else { limits.burst.max(1) };
        let until = self.next.saturating_sub(self.interval(limits).saturating_mul(burst - 1));
        (until > now).then_some(until)
    }
}

fn per_second(interval: Duration) -> f64 {
    1.0 / interval.max(FASTEST).as_secs_f64()
}

/// Details of `4.7` that providers give to limits of speed: 28 is Google's, those from 500 on are Microsoft's. The others are said of single messages
/// and by greylisting servers.
const TOO_FAST: u16 = 28;
const TOO_FAST_FROM: u16 = 500;

/// Refusals that say something else: that it goes away, or that a transaction is too large.
const OTHERS: [&str; 2] = ["shutting down", "too many recipients"];

/// Whether a temporary refusal says that we are too fast. Greylisting does not: it wants the same message once more, not fewer.
pub fn is_too_fast(code: u16, enhanced: Option<(u16, u16)>, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    if !(400..500).contains(&code) || is_greylisting(&text) || OTHERS.iter().any(|part| text.contains(part)) {
        return false;
    }
    let says = ["too many", "too fast", "too much mail", "rate limit", "ratelimit", "rate-limit", "sending rate", "throttl", "slow down"];
    let detail = enhanced.and_then(|(subject, detail)| (subject == 7).then_some(detail));
    code == 421 || detail.is_some_and(|detail| detail == TOO_FAST || detail >= TOO_FAST_FROM) || says.iter().any(|part| text.contains(part))
}

/// Whether a refusal is that of a server that takes mail from strangers at the second attempt only.
pub fn is_greylisting(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list"].iter().any(|part| text.contains(part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn limits(connections: u32, rate: Option<&str>, burst: u32) -> Limits {
        Limits { connections, rate: rate.map(|rate| rate.parse().unwrap()), burst, slow_down: true }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn connections_are_counted() {
        let (mut group, limits) = (Group::default(), limits(2, None, 1));
        assert_eq!(group.connect(&limits, seconds(0)), Ok(()));
        assert_eq!(group.connect(&limits, seconds(0)), Ok(()));
        assert_eq!(group.connect(&limits, seconds(0)), Err(Wait::Connection));
        group.disconnect();
        assert_eq!(group.wait(&limits, seconds(0)), None);
    }

    #[test]
    fn no_minute_has_more_than_the_rate() {
        let (mut group, limits) = (Group::default(), limits(2, Some("10/m"), 1));
        let mut begun = Vec::new();
        for tenths in 0..6000 {
            let now = Duration::from_millis(tenths * 100);
            if group.begin(&limits, now).is_ok() {
                begun.push(now);
            }
        }
        assert_eq!(begun.len(), 100);
        for start in &begun {
            assert!(begun.iter().filter(|time| *time >= start && **time < *start + seconds(60)).count() <= 10);
        }
    }

    #[test]
    fn a_burst_comes_after_a_pause() {
        let (mut group, limits) = (Group::default(), limits(2, Some("60/m"), 5));
        let begun = |group: &mut Group, now| (0..10).take_while(|_| group.begin(&limits, now).is_ok()).count();
        assert_eq!(begun(&mut group, seconds(100)), 5);
        assert_eq!(group.begin(&limits, seconds(100)), Err(seconds(101)));
        assert_eq!(begun(&mut group, seconds(102)), 2);
        assert_eq!(begun(&mut group, seconds(200)), 5);
    }

    #[test]
    fn it_slows_down_once_for_answers_that_come_together_and_recovers() {
        let (mut group, limits) = (Group::default(), limits(8, Some("600/m"), 1));
        for _ in 0..8 {
            group.connect(&limits, seconds(0)).unwrap();
        }
        for tenths in 0..100 {
            group.begin(&limits, Duration::from_millis(tenths * 100)).unwrap();
        }
        assert!(group.slow_down(&limits, seconds(10), "421 4.7.0 too fast"));
        assert!(!group.slow_down(&limits, seconds(11), "421 4.7.0 too fast"));
        assert_eq!(group.connections(&limits, seconds(11)), 4);
        assert!((4.0..6.0).contains(&group.slow().unwrap().speed));
        assert!(group.slow_down(&limits, seconds(41), "421 4.7.0 too fast"));
        assert_eq!(group.connections(&limits, seconds(41)), 2);
        for minute in 0..100 {
            group.slow_down(&limits, seconds(100 + minute * 40), "421");
        }
        assert_eq!(group.connections(&limits, seconds(4100)), 1);
        assert!(group.slow().unwrap().speed >= per_second(SLOWEST), "it never stops");
        assert_eq!(group.connections(&limits, seconds(4060 + 20 * 60)), 8);
        assert_eq!(group.slow(), None);
    }

    #[test]
    fn answers_that_mean_too_fast() {
        for (code, enhanced, text, expected) in [
            (421, None, "421 try again later", true),
            (451, Some((7, 650)), "451 4.7.650 the mail server has been temporarily rate limited", true),
            (450, Some((2, 0)), "450 4.2.0 too many messages from your host", true),
            (450, Some((7, 28)), "450 4.7.28 an unusual number of mail", true),
            (451, Some((7, 1)), "451 4.7.1 Greylisted, come back", false),
            (451, Some((7, 1)), "451 4.7.1 Please try again later", false),
            (421, Some((3, 2)), "421 4.3.2 the server is shutting down", false),
            (451, Some((3, 0)), "451 4.3.0 local error", false),
            (452, Some((2, 2)), "452 4.2.2 mailbox full", false),
            (452, Some((5, 3)), "452 4.5.3 too many recipients", false),
            (550, Some((7, 1)), "550 5.7.1 too many", false),
        ] {
            assert_eq!(is_too_fast(code, enhanced, text), expected, "{text}");
        }
    }
}
