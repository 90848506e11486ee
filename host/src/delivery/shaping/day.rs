//! A day in virtual time: two domains behind one provider, which has a bad hour at noon.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::fmt::Write as _;

use super::*;
use crate::mail::enhanced_status::EnhancedStatus;

const HOUR: u64 = 3600;
const DOMAINS: [&str; 2] = ["direct/one.example", "direct/two.example"];

/// The provider: so many messages in a second, and 421 for what is more.
struct Provider {
    second: u64,
    count: u32,
}

impl Provider {
    /// Half an hour of trouble begins at noon.
    fn capacity(second: u64) -> u32 {
        if (12 * HOUR..12 * HOUR + HOUR / 2).contains(&second) { 1 } else { 20 }
    }

    fn takes(&mut self, second: u64) -> bool {
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        self.count += 1;
        self.count <= Self::capacity(second)
    }
}

#[derive(Clone, Copy, Default)]
struct Hour {
    taken: [u32; 2],
    refused: u32,
    least_connections: Option<u32>,
}

#[test]
fn a_simulated_day() {
    let defaults = crate::delivery::tests::limits();
    let backoff = Backoff::doubling(Duration::from_mins(1), Duration::from_hours(1), Duration::from_hours(24));
    let rule = ShapingRule {
        name: "provider".into(),
        domains: Vec::new(),
        mx: vec!["*.provider.example".parse().unwrap()],
        route: None,
        shared: true,
        connections: Some(8),
        messages_per_connection: None,
        recipients_per_transaction: None,
        rate: Some("600/m".parse().unwrap()),
        burst: 1,
        retry: Vec::new(),
        give_up: None,
        slow_down: true,
    };
    let (shaping, rules) = (Arc::new(Shaping::default()), [rule]);
    let queues = DOMAINS.map(Arc::<str>::from);
    let mut provider = Provider { second: 0, count: 0 };
    let mut hours = [Hour::default(); 24];
    let mut most_open = 0;
    for tick in 0..24 * HOUR * 10 {
        let (now, second) = (Duration::from_millis(tick * 100), tick / 10);
        // Each domain has as much mail as it can get out; who asks first changes by turns.
        for turn in 0..2 {
            let place = (usize::try_from(tick).unwrap() + turn) % 2;
            let queue = &queues[place];
            let domain = queue::split(queue).1.unwrap();
            if !shaping.knows(domain, now) {
                shaping.learn(domain, [format!("mx{place}.provider.example")], now);
            }
            let plan = shaping.plan(&rules, &defaults, &backoff, queue);
            // As many connections as there may be, each for one transaction.
            let slots: Vec<_> = std::iter::from_fn(|| shaping.connect(&plan, now).ok()).collect();
            let view = shaping.view(&plan, now);
            most_open = most_open.max(view.connections);
            let hour = &mut hours[usize::try_from(second / HOUR).unwrap()];
            hour.least_connections =
                Some(hour.least_connections.map_or(view.connections_allowed, |least| least.min(view.connections_allowed)));
            for _slot in &slots {
                if shaping.begin(&plan, now).is_err() {
                    break;
                }
                if provider.takes(second) {
                    hour.taken[place] += 1;
                } else {
                    hour.refused += 1;
                    let text = "421 4.7.0 too many messages, slow down";
                    let status = EnhancedStatus::new(4, 7, 0);
                    assert!(group::is_too_fast(421, Some((status.subject, status.detail)), text));
                    shaping.slow_down(&plan, text, now);
                }
            }
        }
    }
    assert_eq!(most_open, 8, "both domains together");
    let mut table = String::from("hour   one   two  refused  connections at least\n");
    for (number, hour) in hours.iter().enumerate() {
        let Hour { taken: [one, two], refused, least_connections } = hour;
        writeln!(table, "{number:>4} {one:>5} {two:>5} {refused:>8} {:>21}", least_connections.unwrap()).unwrap();
        // 600 in a minute, whatever the two have.
        assert!(one + two + refused <= 36_001, "hour {number}");
    }
    insta::assert_snapshot!(table);
}
