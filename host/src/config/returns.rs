//! `[bounces]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::Section;
use crate::mail::domain::Domain;

/// `[bounces]`: where mail comes back to, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returns {
    /// `domain`: host of the addresses that bounces of tracked mail come back to. Without it nothing is tracked.
    pub domain: Option<Domain>,
    /// `period`: how long such an address is good. Default 30 days.
    pub period: Duration,
}

/// Tokens count days in two octets, and bounces come within weeks.
const PERIOD: RangeInclusive<u64> = 1..=365;

pub(super) fn read(section: &Section<'_>) -> Returns {
    Returns {
        domain: section.optional("domain", |value| {
            let domain: Domain = value.parsed()?;
            if domain.literal().is_some() { Err("must be a name".to_owned()) } else { Ok(domain) }
        }),
        period: section.or("period", Duration::from_hours(24 * 30), |value| {
            let period = value.duration()?;
            let is_within = PERIOD.contains(&period.as_secs().div_ceil(24 * 3600));
            if is_within { Ok(period) } else { Err("must be at most 365 days".to_owned()) }
        }),
    }
}
