//! Counters and histograms that plugins keep for themselves, within a bound on their names.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;

/// Names that one plugin may use.
const NAMES: usize = 20;
/// Values are counted in thousandths.
const SCALE: f64 = 1e3;
/// Upper bounds of buckets, in thousandths: from 0.001 to 10,000,000, finest between 1 and 500.
const BOUNDS: [u64; 16] = [
    1,
    10,
    100,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
    10_000_000_000,
];

type Labels = [(&'static str, String); 3];

/// What plugins count.
#[derive(Debug)]
pub(super) struct OwnMetrics {
    counters: Family<Labels, Counter>,
    values: Family<Labels, Histogram, fn() -> Histogram>,
    dropped: Family<[(&'static str, String); 1], Counter>,
    names: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

fn values() -> Histogram {
    Histogram::new(&BOUNDS, SCALE)
}

impl OwnMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self {
            counters: Family::default(),
            values: Family::new_with_constructor(values as fn() -> Histogram),
            dropped: Family::default(),
            names: Mutex::default(),
        };
        registry.register("plugin_own_count", "Counters of plugins' own", own.counters.clone());
        registry.register("plugin_own_value", "Values that plugins observed", own.values.clone());
        registry.register("plugin_own_dropped", "Counts of plugins with bad names, or too many", own.dropped.clone());
        own
    }

    /// Returns the labels, where the name is one and there is room for it.
    fn labels(&self, plugin: &str, login: &str, name: Option<&str>) -> Option<Labels> {
        let Some(name) = name.filter(|name| self.has_room(plugin, name)) else {
            self.dropped.get_or_create_owned(&[("plugin", plugin.to_owned())]).inc();
            return None;
        };
        Some([("plugin", plugin.to_owned()), ("login", login.to_owned()), ("name", name.to_owned())])
    }

    fn has_room(&self, plugin: &str, name: &str) -> bool {
        let mut names = self.names.lock();
        let Some(known) = names.get_mut(plugin) else {
            names.insert(plugin.to_owned(), BTreeSet::from([name.to_owned()]));
            return true;
        };
        known.contains(name) || (known.len() < NAMES && known.insert(name.to_owned()))
    }

    pub(super) fn add(&self, plugin: &str, login: &str, name: Option<&str>, value: u64) {
        if let Some(labels) = self.labels(plugin, login, name) {
            self.counters.get_or_create_owned(&labels).inc_by(value);
        }
    }

    /// Counts a value; what is less than nothing, or no number, counts as nothing.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and makes 0 of NaN")]
    pub(super) fn observe(&self, plugin: &str, login: &str, name: Option<&str>, value: f64) {
        if let Some(labels) = self.labels(plugin, login, name) {
            self.values.get_or_create_owned(&labels).observe((value * SCALE) as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_an_end() {
        let own = OwnMetrics::register(&mut Registry::default());
        for number in 0..30 {
            own.add("a", "login", Some(&format!("name_{number}")), 2);
        }
        own.add("a", "login", Some("name_3"), 2);
        own.add("b", "login", None, 1);
        let labels = |name: &str| [("plugin", "a".to_owned()), ("login", "login".to_owned()), ("name", name.to_owned())];
        let count = |name: &str| own.counters.get_or_create_owned(&labels(name)).get();
        assert_eq!((count("name_3"), count("name_19")), (4, 2));
        let dropped = |plugin: &str| own.dropped.get_or_create_owned(&[("plugin", plugin.to_owned())]).get();
        assert_eq!((dropped("a"), dropped("b")), (10, 1));
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS.windows(2).all(|pair| pair.first() < pair.last()));
        assert_eq!((BOUNDS.first(), BOUNDS.last()), (Some(&1), Some(&10_000_000_000)));
    }
}
