//! `[bounces]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Section, Value};
use super::unit::ByteSize;
use crate::mail::domain::Domain;

/// `[bounces]`: where mail comes back to, and how much of it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returns {
    /// `domain`: host of the addresses that bounces of tracked mail come back to. Without it nothing is tracked.
    pub domain: Option<Domain>,
    /// `period`: how long such an address is good. Default 30 days.
    pub period: Duration,
    /// `report_size`: octets of a DMARC report once it is expanded. Default 10 MiB.
    pub report_size: ByteSize,
    /// `report_records`: records of a DMARC report that its event has. Default 100.
    pub report_records: u32,
    /// `reports`: DMARC reports that are listed at one time, as long as their mail is kept; further ones are events only. Default 10,000.
    pub reports: u32,
    /// `reports_per_network`: of them, those that come from one network (/24, of IPv6 /48) in a day. Default 1,000.
    pub reports_per_network: u32,
    /// `callbacks`: calls of `bounce_management` that wait at one time, a quarter of them for one login; what comes back beyond them is not told. Default
    /// 10,000.
    pub callbacks: u32,
    /// `callback_tries`: how often one is tried. Default 10.
    pub callback_tries: u32,
    /// `callback_time`: how long one may take. Default 10 s.
    pub callback_time: Duration,
    /// `callback_private`: loopback and private addresses may be called. Default no.
    pub callback_private: bool,
}

/// Tokens count days in two octets, and bounces come within weeks.
const PERIOD: RangeInclusive<u64> = 1..=365;
const REPORT_SIZE: RangeInclusive<ByteSize> = ByteSize(1024)..=ByteSize::mib(100);

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
        report_size: section.or("report_size", ByteSize::mib(10), |value| value.size_within(&REPORT_SIZE)),
        report_records: section.or("report_records", 100, |value| value.number(0..=1_000)),
        reports: section.or("reports", 10_000, Value::count),
        reports_per_network: section.or("reports_per_network", 1_000, Value::count),
        callbacks: section.or("callbacks", 10_000, Value::count),
        callback_tries: section.or("callback_tries", 10, |value| value.number(1..=100)),
        callback_time: section.or("callback_time", Duration::from_secs(10), Value::duration),
        callback_private: section.or("callback_private", false, Value::boolean),
    }
}
