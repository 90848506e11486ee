//! DMARC policies (RFC 7489 §6.3), and how they are rolled out: the percentage climbs day by day.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days in 400 years of the Gregorian calendar.
const ERA: i64 = 146_097;

/// What receivers are asked to do with mail that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nothing: reports alone.
    #[default]
    None,
    /// To be suspicious.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl Policy {
    /// Reads `none`, `quarantine` or `reject`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject].into_iter().find(|policy| policy.as_str() == text)
    }

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// A day in UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

/// A text that is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a day such as 2026-12-31")]
pub struct DayError;

impl Day {
    /// The day that a time is on.
    pub fn of(time: Timestamp) -> Self {
        Self(i64::try_from(time.as_seconds() / DAY).unwrap_or(i64::MAX))
    }

    /// Year, month and day (Howard Hinnant, "chrono-compatible low-level date algorithms").
    fn civil(self) -> (i64, i64, i64) {
        let shifted = self.0.saturating_add(719_468);
        let era = shifted.div_euclid(ERA);
        let day_of_era = shifted.rem_euclid(ERA);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }

    fn from_civil(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        Self(era * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = DayError;
    fn from_str(text: &str) -> Result<Self, DayError> {
        let mut parts = text.split('-').map(|part| {
            let digits = part.bytes().all(|octet| octet.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| digits && part.len() <= 4)
        });
        let (Some(Some(year)), Some(Some(month)), Some(Some(day)), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(DayError);
        };
        let date = Self::from_civil(year, month, day);
        // A day that no month has comes back as another one.
        if (1..=12).contains(&month) && date.civil() == (year, month, day) && text.len() == 10 { Ok(date) } else { Err(DayError) }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A policy and when it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollOut {
    /// The policy in the end.
    pub policy: Policy,
    /// The percentage in the end.
    pub percentage: u8,
    /// When the percentage begins to climb from 0; without it, all of it is in force.
    pub start: Option<Day>,
    /// When it has climbed to its end; without it, on the first day.
    pub end: Option<Day>,
}

impl Default for RollOut {
    fn default() -> Self {
        Self { policy: Policy::None, percentage: 100, start: None, end: None }
    }
}

impl RollOut {
    /// Returns the policy and its percentage on a day.
    pub fn on(&self, today: Day) -> (Policy, u8) {
        match (self.start, self.end) {
            (Some(start), _) if today < start => (Policy::None, 100),
            (Some(start), Some(end)) if today < end => {
                let share = i64::from(self.percentage) * (today.0 - start.0) / (end.0 - start.0).max(1);
                (self.policy, u8::try_from(share).unwrap_or(self.percentage).min(self.percentage))
            }
            (_, _) => (self.policy, self.percentage),
        }
    }

    /// Returns the record of a day; reports go to `addresses`.
    pub fn record<'a>(&self, today: Day, addresses: impl Iterator<Item = &'a EmailAddress>) -> String {
        let (policy, percentage) = self.on(today);
        let mut record = format!("v=DMARC1; p={}", policy.as_str());
        if percentage < 100 && policy != Policy::None {
            let _ = write!(record, "; pct={percentage}");
        }
        let addresses: Vec<String> = addresses.map(report_address).collect();
        if !addresses.is_empty() {
            record.push_str("; rua=");
            record.push_str(&addresses.join(","));
        }
        record
    }
}

/// A `mailto:` in which nothing reads as a part of the record (RFC 7489 §6.2, RFC 6068).
pub(super) fn report_address(address: &EmailAddress) -> String {
    let mut text = "mailto:".to_owned();
    for octet in address.to_ascii_domain().bytes() {
        if octet.is_ascii_alphanumeric() || b"@.-_+~".contains(&octet) {
            text.push(char::from(octet));
        } else {
            let _ = write!(text, "%{octet:02X}");
        }
    }
    text
}

/// The tags of a record that is in DNS, in lower case; `None` where it is no DMARC record.
pub(super) fn tags(record: &str) -> Option<Vec<(String, String)>> {
    let tags: Vec<(String, String)> = record
        .split(';')
        .filter_map(|tag| tag.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_ascii_lowercase()))
        .collect();
    (tags.first().map(|(name, value)| (name.as_str(), value.as_str())) == Some(("v", "dmarc1"))).then_some(tags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_percentage_climbs_day_by_day() {
        let roll_out = RollOut {
            policy: Policy::Quarantine,
            percentage: 100,
            start: Some("2026-11-01".parse().unwrap()),
            end: Some("2026-11-11".parse().unwrap()),
        };
        let own = EmailAddress::parse("dmarc@mail.example").unwrap();
        for (day, expected) in [
            ("2026-10-31", "v=DMARC1; p=none; rua=mailto:dmarc@mail.example"),
            ("2026-11-01", "v=DMARC1; p=quarantine; pct=0; rua=mailto:dmarc@mail.example"),
            ("2026-11-06", "v=DMARC1; p=quarantine; pct=50; rua=mailto:dmarc@mail.example"),
            ("2026-11-10", "v=DMARC1; p=quarantine; pct=90; rua=mailto:dmarc@mail.example"),
            ("2026-11-11", "v=DMARC1; p=quarantine; rua=mailto:dmarc@mail.example"),
        ] {
            assert_eq!(roll_out.record(day.parse().unwrap(), std::iter::once(&own)), expected, "{day}");
        }
        let half = RollOut { percentage: 50, ..roll_out };
        assert_eq!(half.on("2026-11-06".parse().unwrap()), (Policy::Quarantine, 25));
        assert_eq!(half.on("2030-01-01".parse().unwrap()), (Policy::Quarantine, 50));
    }

    #[test]
    fn days_have_one_form() {
        for text in ["2026-02-29", "2026-13-01", "2026-1-1", "26-01-01", "2026-00-10", "2026-01-00", "2026-01-01x", "", "-026-01-01"] {
            assert_eq!(text.parse::<Day>(), Err(DayError), "{text}");
        }
        assert_eq!("1970-01-01".parse(), Ok(Day(0)));
        assert_eq!("2024-02-29".parse::<Day>().unwrap().to_string(), "2024-02-29");
    }

    #[test]
    fn no_address_reads_as_a_tag() {
        let odd = EmailAddress::parse("\"a;p=none,b!c\"@example.com").unwrap();
        let record = RollOut { policy: Policy::Reject, ..RollOut::default() }.record(Day(0), std::iter::once(&odd));
        assert_eq!(record.matches(';').count(), 2, "{record}");
        assert!(!record.contains(',') && !record.contains('!'), "{record}");
    }

    proptest! {
        #[test]
        fn days_are_read_as_they_are_written(number in 0_i64..2_900_000) {
            prop_assert_eq!(Day(number).to_string().parse(), Ok(Day(number)));
        }
    }
}
