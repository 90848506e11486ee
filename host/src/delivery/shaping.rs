//! Shaping: how many connections and transactions each group of destinations has at a time.
//!
//! A group is what shares limits: all that matches one `[[shaping]]` rule, or a queue of its own. Which domains are behind one provider is found by
//! their MX records when a worker is about to connect; it is remembered for a while. [`group`] has the rules of speed, without tasks and time.

pub mod group;

#[cfg(test)]
mod day;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::config::{self, ShapingRule};
use crate::mail::domain::Domain;
use crate::spool::backoff::Backoff;
use crate::spool::queue;
use group::{Group, Limits, Wait};

/// Domains whose MX hosts are remembered.
const DOMAINS: usize = 20_000;
/// For how long, before they are asked for again.
const DOMAIN_TIME: Duration = Duration::from_mins(10);
/// Hosts of one domain that are looked at.
const HOSTS: usize = 4;
/// Groups whose state is kept; what is above has the limits of a single queue alone.
const GROUPS: usize = 20_000;
/// How often it is looked for groups that can be forgotten, when there are so many.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Shaping {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<Arc<str>, Group>,
    /// When groups were forgotten last.
    swept: Option<Duration>,
    /// MX hosts of domains, and when they are asked for again; until there is an answer, the old one holds.
    hosts: BTreeMap<Arc<str>, (Arc<[String]>, Duration)>,
}

impl State {
    /// Returns the group of that name, a new one if there is none; `None` when there are too many.
    fn group(&mut self, name: &Arc<str>, now: Duration) -> Option<&mut Group> {
        if self.groups.len() >= GROUPS && !self.groups.contains_key(name) {
            if self.swept.is_none_or(|swept| swept + SWEEP_PAUSE <= now) {
                self.swept = Some(now);
                self.groups.retain(|_, group| !group.is_neutral(now));
            }
            if self.groups.len() >= GROUPS {
                return None;
            }
        }
        Some(self.groups.entry(name.clone()).or_default())
    }
}

/// What holds for one queue.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    /// Who shares the limits.
    pub(super) group: Arc<str>,
    /// The rule that matches.
    pub(super) rule: Option<Arc<str>>,
    pub(super) limits: Limits,
    pub(super) messages_per_connection: u32,
    pub(super) recipients_per_transaction: u32,
    pub(super) backoff: Backoff,
}

/// What a group looks like at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupView {
    /// Who shares the limits: a rule's name, or a queue.
    pub group: String,
    /// Connections that there are.
    pub connections: u32,
    /// Connections that there may be now.
    pub connections_allowed: u32,
    /// Transactions in a minute that may begin now; `None` is any number.
    pub per_minute: Option<f64>,
    /// What a server said that made it slower.
    pub slowed_down_by: Option<String>,
}

impl Shaping {
    /// Finds what holds for `queue`.
    pub(super) fn plan(&self, rules: &[ShapingRule], defaults: &config::Delivery, backoff: &Backoff, queue: &Arc<str>) -> Allowance {
        let (route, domain) = queue::split(queue);
        let domain = domain.and_then(|domain| Domain::parse(domain).ok()).map(|domain| domain.to_ascii());
        let hosts = domain.as_deref().and_then(|domain| self.hosts(domain)).unwrap_or_default();
        let rule = rules.iter().find(|rule| matches(rule, route, domain.as_deref(), &hosts));
        let Some(rule) = rule else {
            let limits = Limits { connections: defaults.connections_per_destination, rate: None, burst: 1, slow_down: true };
            return Allowance {
                group: queue.clone(),
                rule: None,
                limits,
                messages_per_connection: defaults.messages_per_connection.max(1),
                recipients_per_transaction: defaults.recipients_per_transaction.max(1),
                backoff: backoff.clone(),
            };
        };
        Allowance {
            group: if rule.shared { rule.name.clone() } else { queue.clone() },
            rule: Some(rule.name.clone()),
            limits: Limits {
                connections: rule.connections.unwrap_or(defaults.connections_per_destination),
                rate: rule.rate,
                burst: rule.burst,
                slow_down: rule.slow_down,
            },
            messages_per_connection: rule.messages_per_connection.unwrap_or(defaults.messages_per_connection).max(1),
            recipients_per_transaction: rule.recipients_per_transaction.unwrap_or(defaults.recipients_per_transaction).max(1),
            backoff: backoff.with(&rule.retry, rule.give_up),
        }
    }

    fn hosts(&self, domain: &str) -> Option<Arc<[String]>> {
        self.state.lock().hosts.get(domain).map(|(hosts, _)| hosts.clone())
    }

    /// Whether the hosts of `domain`, in A-labels, are known, and not from long ago.
    pub(super) fn knows(&self, domain: &str, now: Duration) -> bool {
        self.state.lock().hosts.get(domain).is_some_and(|(_, until)| *until > now)
    }

    /// Remembers the hosts of `domain`, in A-labels, the preferred one first. None at all most likely means that DNS has no answer: what is known holds.
    pub(super) fn learn(&self, domain: &str, hosts: impl IntoIterator<Item = String>, now: Duration) {
        let hosts: Arc<[String]> = hosts.into_iter().take(HOSTS).collect();
        let mut state = self.state.lock();
        let until = now + DOMAIN_TIME;
        if let Some(known) = state.hosts.get_mut(domain) {
            *known = (if hosts.is_empty() { known.0.clone() } else { hosts }, until);
            return;
        }
        if state.hosts.len() >= DOMAINS {
            // The oldest eighth at once, so that they are not looked for each time. What is in use is asked for again and not among them.
            let mut times: Vec<Duration> = state.hosts.values().map(|(_, until)| *until).collect();
            let oldest = *times.select_nth_unstable(DOMAINS / 8).1;
            state.hosts.retain(|_, (_, until)| *until > oldest);
        }
        state.hosts.insert(domain.into(), (hosts, until));
    }

    /// Says what must come before `plan` may have one more connection.
    pub(super) fn wait(&self, plan: &Allowance, now: Duration) -> Option<Wait> {
        self.state.lock().groups.get_mut(&plan.group)?.wait(&plan.limits, now)
    }

    /// A destination has no connection, as others of its group have all that there may be: one of these gives way.
    pub(super) fn want(&self, plan: &Allowance) {
        if let Some(group) = self.state.lock().groups.get_mut(&plan.group) {
            group.wanted = true;
        }
    }

    /// Whether other destinations of the group wait for a connection.
    pub(super) fn is_wanted(&self, plan: &Allowance) -> bool {
        plan.rule.is_some() && self.state.lock().groups.get(&plan.group).is_some_and(|group| group.wanted)
    }

    /// Takes a connection, which is given back when the slot is dropped.
    pub(super) fn connect(self: &Arc<Self>, plan: &Allowance, now: Duration) -> Result<Slot, Wait> {
        let mut state = self.state.lock();
        let Some(group) = state.group(&plan.group, now) else { return Ok(Slot { shaping: self.clone(), group: None }) };
        group.connect(&plan.limits, now)?;
        Ok(Slot { shaping: self.clone(), group: Some(plan.group.clone()) })
    }

    /// Takes a connection if a transaction could begin on it at once.
    pub(super) fn take(self: &Arc<Self>, plan: &Allowance, now: Duration) -> Result<Slot, Wait> {
        self.wait(plan, now).map_or_else(|| self.connect(plan, now), Err)
    }

    /// Begins a transaction, or says when one may begin.
    pub(super) fn begin(&self, plan: &Allowance, now: Duration) -> Result<(), Duration> {
        // The connection may be older than what holds now, and its group another one.
        self.state.lock().group(&plan.group, now).map_or(Ok(()), |group| group.begin(&plan.limits, now))
    }

    /// A server says that we are too fast.
    pub(super) fn slow_down(&self, plan: &Allowance, why: &str, now: Duration) {
        let mut state = self.state.lock();
        let Some(group) = state.group(&plan.group, now) else { return };
        if group.slow_down(&plan.limits, now, why)
            && let Some(slow) = group.slow()
        {
            tracing::info!(group = %plan.group, connections = slow.connections, per_minute = slow.speed * 60.0, "slower now: {why}");
        }
    }

    /// Returns what the group of `plan` looks like.
    pub(super) fn view(&self, plan: &Allowance, now: Duration) -> GroupView {
        let configured = plan.limits.rate.map(|rate| 60.0 / rate.interval().as_secs_f64());
        let mut state = self.state.lock();
        let mut unused = Group::default();
        let group = state.groups.get_mut(&plan.group).unwrap_or(&mut unused);
        let connections_allowed = group.connections(&plan.limits, now);
        let slow = group.slow();
        let per_minute = match (configured, slow.map(|slow| slow.speed * 60.0)) {
            (Some(configured), Some(slow)) => Some(configured.min(slow)),
            (configured, slow) => configured.or(slow),
        };
        GroupView {
            group: plan.group.to_string(),
            connections: group.open(),
            connections_allowed,
            per_minute,
            slowed_down_by: slow.map(|slow| slow.why.to_string()),
        }
    }
}

/// A connection of a group; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    shaping: Arc<Shaping>,
    group: Option<Arc<str>>,
}

impl Slot {
    /// Whether it is one of the connections that `plan` shares.
    pub(super) fn is_of(&self, plan: &Allowance) -> bool {
        self.group.as_ref() == Some(&plan.group)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(name) = &self.group else { return };
        if let Some(group) = self.shaping.state.lock().groups.get_mut(name) {
            group.disconnect();
        }
    }
}

fn matches(rule: &ShapingRule, route: &str, domain: Option<&str>, hosts: &[String]) -> bool {
    if rule.route.as_deref().is_some_and(|wanted| wanted != route) {
        return false;
    }
    if rule.domains.is_empty() && rule.mx.is_empty() {
        return true;
    }
    domain.is_some_and(|domain| rule.domains.iter().any(|pattern| pattern.matches(domain)))
        || hosts.iter().any(|host| rule.mx.iter().any(|pattern| pattern.matches(host)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn rule() -> ShapingRule {
        ShapingRule {
            name: "provider".into(),
            domains: Vec::new(),
            mx: vec!["*.provider.example".parse().unwrap()],
            route: None,
            shared: true,
            connections: Some(1),
            messages_per_connection: None,
            recipients_per_transaction: None,
            rate: None,
            burst: 1,
            retry: Vec::new(),
            give_up: None,
            slow_down: true,
        }
    }

    fn plan(shaping: &Shaping, queue: &str) -> Allowance {
        let backoff = Backoff::doubling(Duration::from_mins(1), Duration::from_hours(1), Duration::from_hours(24));
        shaping.plan(&[rule()], &crate::delivery::tests::limits(), &backoff, &queue.into())
    }

    #[test]
    fn what_is_known_of_hosts_holds_until_there_is_more() {
        let shaping = Shaping::default();
        shaping.learn("a.example", ["mx.provider.example".to_owned()], Duration::ZERO);
        assert!(shaping.knows("a.example", Duration::ZERO));
        assert!(!shaping.knows("a.example", DOMAIN_TIME));
        assert_eq!(&*plan(&shaping, "direct/a.example").group, "provider");
        shaping.learn("a.example", [], DOMAIN_TIME);
        assert!(shaping.knows("a.example", DOMAIN_TIME));
        assert_eq!(&*plan(&shaping, "direct/a.example").group, "provider");
        shaping.learn("a.example", ["mx.other.example".to_owned()], DOMAIN_TIME);
        assert_eq!(&*plan(&shaping, "direct/a.example").group, "direct/a.example");
    }

    #[test]
    fn domains_that_were_asked_for_longest_ago_are_forgotten() {
        let shaping = Shaping::default();
        for number in 0..DOMAINS {
            let now = Duration::from_millis(u64::try_from(DOMAINS - number).unwrap());
            shaping.learn(&format!("{number:05}.example"), ["mx.example".to_owned()], now);
        }
        shaping.learn("new.example", ["mx.example".to_owned()], Duration::from_mins(1));
        assert!(shaping.hosts("new.example").is_some());
        assert!(shaping.hosts("00000.example").is_some(), "the first by name is the newest");
        assert!(shaping.hosts(&format!("{:05}.example", DOMAINS - 1)).is_none());
        assert!(shaping.state.lock().hosts.len() > DOMAINS / 2);
    }

    #[test]
    fn groups_that_were_slow_make_room() {
        let shaping = Arc::new(Shaping::default());
        for number in 0..GROUPS {
            shaping.slow_down(&plan(&shaping, &format!("direct/{number}.example")), "421 too fast", Duration::ZERO);
        }
        let new = plan(&shaping, "direct/new.example");
        assert!(!shaping.connect(&new, Duration::from_secs(10)).unwrap().is_of(&new));
        assert!(shaping.connect(&new, Duration::from_hours(1)).unwrap().is_of(&new));
        assert_eq!(shaping.state.lock().groups.len(), 1);
    }

    #[test]
    fn one_connection_is_taken_once() {
        let shaping = Arc::new(Shaping::default());
        shaping.learn("a.example", ["mx.provider.example".to_owned()], Duration::ZERO);
        shaping.learn("b.example", ["mx.provider.example".to_owned()], Duration::ZERO);
        let [a, b] = ["direct/a.example", "direct/b.example"].map(|queue| plan(&shaping, queue));
        let slot = shaping.take(&a, Duration::ZERO).unwrap();
        assert_eq!(shaping.take(&b, Duration::ZERO).unwrap_err(), Wait::Connection);
        drop(slot);
        assert!(shaping.take(&b, Duration::ZERO).unwrap().is_of(&a));
    }
}
