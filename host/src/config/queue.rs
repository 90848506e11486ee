//! `[queue]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Section, Value};

/// What is looked at more often is written all the time; what is due later than any time is held.
const LOOKS: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(30 * 24);

/// `[queue]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// `walks`: looks through all that waits, at a time, of all logins; and as many of operators. Read at the start. Default 2.
    pub walks: u32,
    /// `suspensions`: at a time, of all logins together; and as many of operators, and as many of theirs that have ended. Each is looked at for each copy. Default 1000.
    pub suspensions: u32,
    /// `suspensions_per_login`: those that one login may make. Default 100.
    pub suspensions_per_login: u32,
    /// `suspension_reason`: characters that are kept of a reason, and of the name of who gives it. Default 200.
    pub suspension_reason: u32,
    /// `suspension_look`: the longest time after which a single copy that is suspended is looked at again; from a minute to 30 days. Default 24 h.
    pub suspension_look: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { walks: 2, suspensions: 1000, suspensions_per_login: 100, suspension_reason: 200, suspension_look: Duration::from_hours(24) }
    }
}

pub(super) fn read(section: &Section<'_>) -> Queue {
    let default = Queue::default();
    Queue {
        walks: section.or("walks", default.walks, |value| value.number(1..=1000)),
        suspensions: section.or("suspensions", default.suspensions, |value| value.number(1..=100_000)),
        suspensions_per_login: section.or("suspensions_per_login", default.suspensions_per_login, Value::count),
        suspension_reason: section.or("suspension_reason", default.suspension_reason, |value| value.number(1..=10_000)),
        suspension_look: section.or("suspension_look", default.suspension_look, |value| {
            let look = value.duration()?;
            if LOOKS.contains(&look) { Ok(look) } else { Err("must be from a minute to 30 days".to_owned()) }
        }),
    }
}
