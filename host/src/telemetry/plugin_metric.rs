//! What is counted and measured of plugins, for each login apart.
//!
//! Logins are named by the configuration, so that their number is bounded; of each plugin the first hundred that it meets have numbers of their own, and
//! all others share theirs. A series is made when it is first counted.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Histogram;
use super::metric::{Label, Labels, PluginOutcome, ShadowResult};

/// Logins of a plugin that have numbers of their own.
const MOST_LOGINS: usize = 100;
/// Under what the others are counted; no login can be called so.
const OTHERS: &str = "(others)";

/// Bounds of times in microseconds.
const TIMES: [u64; 19] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 10_000_000,
];
/// Bounds of memory in octets.
const MEMORY: [u64; 12] = [1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 24, 1 << 25, 1 << 26, 1 << 27, 1 << 28];

fn times() -> Histogram {
    Histogram::new(&TIMES, 1e6)
}

fn memory() -> Histogram {
    Histogram::new(&MEMORY, 1.0)
}

/// The metrics of all plugins.
#[derive(Debug)]
pub(super) struct AllPlugins {
    families: Families,
    plugins: RwLock<BTreeMap<String, PluginMetrics>>,
}

#[derive(Clone, Debug)]
struct Families {
    calls: Family<Labels<3>, Counter>,
    time: Family<Labels<2>, Histogram, fn() -> Histogram>,
    memory: Family<Labels<2>, Histogram, fn() -> Histogram>,
    shadows: Family<Labels<3>, Counter>,
    shares: Family<Labels<3>, Counter>,
}

/// The metrics of one plugin. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct PluginMetrics(Arc<One>);

#[derive(Debug)]
struct One {
    plugin: String,
    families: Families,
    logins: RwLock<BTreeMap<Arc<str>, PluginLogin>>,
}

/// The metrics of one plugin for one login. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct PluginLogin(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    labels: Labels<2>,
    families: Families,
    calls: Vec<OnceLock<Counter>>,
    time: OnceLock<Histogram>,
    memory: OnceLock<Histogram>,
    shadows: Vec<OnceLock<Counter>>,
    /// Messages that were not in the plugin's part, and those that were.
    shares: [OnceLock<Counter>; 2],
}

/// What was counted of one plugin for one login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginUsage {
    /// Calls, by outcome; only those that there were.
    pub calls: Vec<(PluginOutcome, u64)>,
    /// Half of the calls took at most this long, in microseconds.
    pub median: Option<u64>,
    /// Ninety-nine of a hundred took at most this long, in microseconds.
    pub slowest: Option<u64>,
    /// Ninety-nine of a hundred had at most this much memory, in octets.
    pub memory: Option<u64>,
    /// Messages that it had as a shadow, by result; only those that there were.
    pub shadows: Vec<(ShadowResult, u64)>,
    /// Messages that were not in its part, and those that were.
    pub shares: [u64; 2],
}

impl AllPlugins {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Families {
            calls: Family::default(),
            time: Family::new_with_constructor(times as fn() -> Histogram),
            memory: Family::new_with_constructor(memory as fn() -> Histogram),
            shadows: Family::default(),
            shares: Family::default(),
        };
        registry.register("plugin_calls", "Calls of plugins", families.calls.clone());
        registry.register_with_unit("plugin_time", "Time that calls of plugins took", Unit::Seconds, families.time.clone());
        registry.register_with_unit("plugin_memory", "Most memory that calls of plugins had", Unit::Bytes, families.memory.clone());
        registry.register("plugin_shadow", "Messages that plugins had as shadows", families.shadows.clone());
        registry.register("plugin_share", "Messages in the part of a plugin that has one, or not", families.shares.clone());
        Self { families, plugins: RwLock::default() }
    }

    /// Returns the metrics of one plugin: the same for all its versions.
    pub(super) fn plugin(&self, name: &str) -> PluginMetrics {
        if let Some(known) = self.plugins.read().get(name) {
            return known.clone();
        }
        let new = || PluginMetrics(Arc::new(One { plugin: name.to_owned(), families: self.families.clone(), logins: RwLock::default() }));
        self.plugins.write().entry(name.to_owned()).or_insert_with(new).clone()
    }
}

impl PluginMetrics {
    /// Returns those of one login.
    pub fn login(&self, name: &str) -> PluginLogin {
        let One { plugin, families, logins } = &*self.0;
        if let Some(known) = logins.read().get(name) {
            return known.clone();
        }
        let mut logins = logins.write();
        let name = if logins.len() < MOST_LOGINS || logins.contains_key(name) { name } else { OTHERS };
        let each = |count: usize| (0..count).map(|_| OnceLock::new()).collect();
        let new = || {
            PluginLogin(Arc::new(Counts {
                labels: [("plugin", plugin.clone()), ("login", name.to_owned())],
                families: families.clone(),
                calls: each(PluginOutcome::ALL.len()),
                time: OnceLock::new(),
                memory: OnceLock::new(),
                shadows: each(ShadowResult::ALL.len()),
                shares: [OnceLock::new(), OnceLock::new()],
            }))
        };
        logins.entry(name.into()).or_insert_with(new).clone()
    }

    /// Returns what was counted, by login.
    pub fn usage(&self) -> Vec<(Arc<str>, PluginUsage)> {
        self.0.logins.read().iter().map(|(name, login)| (Arc::clone(name), login.usage())).collect()
    }
}

impl PluginLogin {
    fn labels(&self, key: &'static str, value: &str) -> Labels<3> {
        let [plugin, login] = self.0.labels.clone();
        [plugin, login, (key, value.to_owned())]
    }

    /// Counts a call that took `time` and so many octets of memory.
    pub fn called(&self, outcome: PluginOutcome, time: Duration, memory: u64) {
        let Counts { labels, families, calls, .. } = &*self.0;
        let counter = || families.calls.get_or_create_owned(&self.labels(PluginOutcome::KEY, outcome.text()));
        count(calls, outcome, counter);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.time.get_or_init(|| families.time.get_or_create_owned(labels)).observe(micros);
        self.0.memory.get_or_init(|| families.memory.get_or_create_owned(labels)).observe(memory);
    }

    /// Counts what came of a message that the plugin had as a shadow.
    pub fn shadowed(&self, result: ShadowResult) {
        let counter = || self.0.families.shadows.get_or_create_owned(&self.labels(ShadowResult::KEY, result.text()));
        count(&self.0.shadows, result, counter);
    }

    /// Counts a message that was, or was not, in the plugin's part.
    pub fn shared(&self, taken: bool) {
        let counter = || self.0.families.shares.get_or_create_owned(&self.labels("taken", if taken { "yes" } else { "no" }));
        let [no, yes] = &self.0.shares;
        if taken { yes } else { no }.get_or_init(counter).inc();
    }

    fn usage(&self) -> PluginUsage {
        let Counts { calls, time, memory, shadows, shares, .. } = &*self.0;
        let value = |counter: &OnceLock<Counter>| counter.get().map_or(0, Counter::get);
        PluginUsage {
            calls: counted(calls),
            median: time.get().and_then(|time| time.quantile(0.5)),
            slowest: time.get().and_then(|time| time.quantile(0.99)),
            memory: memory.get().and_then(|memory| memory.quantile(0.99)),
            shadows: counted(shadows),
            shares: shares.each_ref().map(value),
        }
    }
}

fn count<L: Label>(counters: &[OnceLock<Counter>], label: L, new: impl FnOnce() -> Counter) {
    let place = L::ALL.iter().position(|other| *other == label);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.get_or_init(new).inc();
    }
}

fn counted<L: Label>(counters: &[OnceLock<Counter>]) -> Vec<(L, u64)> {
    L::ALL.iter().zip(counters).filter_map(|(label, counter)| Some((*label, counter.get()?.get()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_counted_apart_as_far_as_there_is_room() {
        let mut registry = Registry::default();
        let plugins = AllPlugins::register(&mut registry);
        for number in 0..200 {
            plugins.plugin("tags").login(&format!("login{number}")).called(PluginOutcome::Continued, Duration::from_micros(40), 1 << 20);
        }
        let login = plugins.plugin("tags").login("login7");
        login.shadowed(ShadowResult::Different);
        login.shared(true);
        login.shared(false);
        let usage = plugins.plugin("tags").usage();
        assert_eq!(usage.len(), MOST_LOGINS + 1);
        let of = |name: &str| usage.iter().find(|(login, _)| **login == *name).map(|(_, usage)| usage.clone()).unwrap_or_default();
        assert_eq!(of(OTHERS).calls, [(PluginOutcome::Continued, 100)]);
        let seven = of("login7");
        assert_eq!((seven.calls, seven.shadows), (vec![(PluginOutcome::Continued, 1)], vec![(ShadowResult::Different, 1)]));
        assert_eq!(seven.shares, [1, 1]);
        assert!(seven.median.is_some_and(|median| (25..=50).contains(&median)), "{:?}", seven.median);
    }
}
