//! The time that counts. It stands still during a call, so that a run that is repeated gives the same.
//!
//! ```
//! use std::time::Duration;
//! use tubepost_plugin_sdk::{Timestamp, clock, testing::Host};
//!
//! let host = Host::new().at(Timestamp::from_millis(1_767_225_600_000));
//! assert_eq!(clock::now().to_string(), "2026-01-01T00:00:00Z");
//! assert_eq!((clock::now() + Duration::from_secs(90)).date_and_time().minute, 1);
//! # drop(host);
//! ```

use std::{fmt, time::Duration};

/// The time: of a message, when it was received; of events, when the last one of the batch happened.
pub fn now() -> Timestamp {
    #[cfg(target_arch = "wasm32")]
    let millis = crate::bindings::imports::tubepost::mail::clock::now_ms();
    #[cfg(not(target_arch = "wasm32"))]
    let millis = crate::testing::host(|host| host.now.as_millis());
    Timestamp::from_millis(millis)
}

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// A moment by the Gregorian calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct DateAndTime {
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    /// From 0, which is Sunday.
    pub weekday: u64,
}

const SECOND: u64 = 1000;
const DAY: u64 = 86_400 * SECOND;
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Timestamp {
    /// A moment, given in milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds since 1970.
    pub const fn as_seconds(self) -> u64 {
        self.0 / SECOND
    }

    /// How long after an earlier moment this is; nothing where that one is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// By the calendar, in UTC.
    pub fn date_and_time(self) -> DateAndTime {
        let days = self.0 / DAY;
        let seconds = self.0 % DAY / SECOND;
        // Days to a date, by eras of 400 years that begin in March (Hinnant, "chrono-compatible low-level date algorithms").
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        DateAndTime {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            weekday: (days + 4) % 7,
        }
    }

    /// A moment by the calendar, in UTC; `None` where there is no such day or time, or it is before 1970.
    pub fn from_date_and_time(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> Option<Self> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let from_march = if month > 2 { month - 3 } else { month + 9 };
        let year_from_march = if month > 2 { year } else { year - 1 };
        let (era, of_era) = (year_from_march / 400, year_from_march % 400);
        let of_year = (153 * from_march + 2) / 5 + day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        let millis = days.checked_sub(719_468)? * DAY + ((hour * 60 + minute) * 60 + second) * SECOND;
        let date = Self(millis).date_and_time();
        // A 31st of April comes back as another day; a leap second, as the next minute.
        (date.month == month && date.day == day || second == 60).then_some(Self(millis))
    }

    /// As the field `Date` has it (RFC 5322 §3.3): `Thu, 01 Jan 2026 00:00:00 +0000`.
    pub fn to_rfc5322(self) -> String {
        let date = self.date_and_time();
        let name =
            |names: &[&'static str], place: u64| usize::try_from(place).ok().and_then(|place| names.get(place).copied()).unwrap_or("");
        format!(
            "{}, {:02} {} {:04} {:02}:{:02}:{:02} +0000",
            name(&DAYS, date.weekday),
            date.day,
            name(&MONTHS, date.month - 1),
            date.year,
            date.hour,
            date.minute,
            date.second
        )
    }

    /// Reads what the field `Date` has, obsolete zones and years of two digits included; `None` where it is none, or before 1970.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::Timestamp;
    /// let date = Timestamp::parse_rfc5322("Thu, 1 Jan 2026 02:00 +0200 (summer)").unwrap();
    /// assert_eq!(date.to_rfc5322(), "Thu, 01 Jan 2026 00:00:00 +0000");
    /// ```
    pub fn parse_rfc5322(text: &str) -> Option<Self> {
        let text = text.split('(').next()?;
        let text = text.split_once(',').map_or(text, |(_, date)| date);
        let mut words = text.split_ascii_whitespace();
        let day = words.next()?.parse().ok()?;
        let month = words.next()?;
        let month = MONTHS.iter().position(|known| month.get(..3).is_some_and(|word| word.eq_ignore_ascii_case(known)))? as u64 + 1;
        let year = match words.next()? {
            two if two.len() == 2 => {
                let two: u64 = two.parse().ok()?;
                two + if two < 50 { 2000 } else { 1900 }
            }
            year => year.parse().ok()?,
        };
        let mut time = words.next()?.split(':').map(|number| number.parse::<u64>().ok());
        let (hour, minute) = (time.next()??, time.next()??);
        let second = time.next().unwrap_or(Some(0))?;
        let local = Self::from_date_and_time(year, month, day, hour, minute, second)?;
        let (west, minutes) = offset(words.next().unwrap_or("+0000"));
        let shift = minutes * 60 * SECOND;
        Some(Self(if west { local.0.checked_add(shift)? } else { local.0.checked_sub(shift)? }))
    }

    /// Reads `2026-01-01T02:00:00+02:00` (RFC 3339); fractions of a second are left out. `None` where it is none, or before 1970.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::Timestamp;
    /// assert_eq!(Timestamp::parse_rfc3339("2026-01-01T02:00:00.5+02:00").unwrap().to_string(), "2026-01-01T00:00:00Z");
    /// ```
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let text = text.trim();
        let (date, time) = (text.get(..10)?, text.get(11..19)?);
        if !text.get(10..11).is_some_and(|between| ["T", "t", " "].contains(&between)) {
            return None;
        }
        let numbers = |text: &str, separator: char| -> Option<[u64; 3]> {
            let mut numbers = text.split(separator).map(|number| number.parse().ok());
            Some([numbers.next()??, numbers.next()??, numbers.next()??])
        };
        let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
        let local = Self::from_date_and_time(year, month, day, hour, minute, second)?;
        let zone = text.get(19..)?.trim_start_matches(|character: char| character == '.' || character.is_ascii_digit());
        if zone.eq_ignore_ascii_case("z") {
            return Some(local);
        }
        let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
        let shift = (hours.parse::<u64>().ok().filter(|hours| *hours < 24)? * 60
            + minutes.parse::<u64>().ok().filter(|minutes| *minutes < 60)?)
            * 60
            * SECOND;
        Some(Self(if zone.starts_with('-') { local.0.checked_add(shift)? } else { local.0.checked_sub(shift)? }))
    }
}

/// Whether a zone lies in the west of Greenwich, and by how many minutes; what is unknown is Greenwich (RFC 5322 §4.3).
fn offset(zone: &str) -> (bool, u64) {
    if let Some(digits) = zone.strip_prefix(['+', '-'])
        && let Ok(number) = digits.parse::<u64>()
        && digits.len() == 4
    {
        return (zone.starts_with('-'), number / 100 * 60 + number % 100);
    }
    let hours = match zone.to_ascii_uppercase().as_str() {
        "EDT" => 4,
        "EST" | "CDT" => 5,
        "CST" | "MDT" => 6,
        "MST" | "PDT" => 7,
        "PST" => 8,
        _ => 0,
    };
    (true, hours * 60)
}

/// RFC 3339, in UTC, in whole seconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DateAndTime { year, month, day, hour, minute, second, .. } = self.date_and_time();
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Later by a time, and never beyond what there is room for.
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    /// Earlier by a time, and never before 1970.
    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_written_as_in_the_calendar() {
        let known = [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (4_107_542_399_000, "Sun, 28 Feb 2100 23:59:59 +0000"),
        ];
        for (millis, text) in known {
            assert_eq!(Timestamp::from_millis(millis).to_rfc5322(), text);
            assert_eq!(Timestamp::parse_rfc5322(text), Some(Timestamp::from_millis(millis)));
        }
    }

    #[test]
    fn obsolete_dates_are_read() {
        let read = |text| Timestamp::parse_rfc5322(text).unwrap().to_string();
        assert_eq!(read("1 jan 97 12:00 EST"), "1997-01-01T17:00:00Z");
        assert_eq!(read("Wed, 31 Dec 2025 19:00:00 -0500"), "2026-01-01T00:00:00Z");
        for none in ["", "yesterday", "Thu, 31 Apr 2026 00:00:00 +0000", "1 Jan 2026", "1 Jan 2026 25:00 +0000", "1 é 2026 1:1"] {
            assert_eq!(Timestamp::parse_rfc5322(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn a_date_comes_back(seconds in 0_u64..250_000_000_000) {
            let moment = Timestamp::from_millis(seconds * 1000);
            prop_assert_eq!(Timestamp::parse_rfc5322(&moment.to_rfc5322()), Some(moment));
            prop_assert_eq!(Timestamp::parse_rfc3339(&moment.to_string()), Some(moment));
        }

        #[test]
        fn no_text_harms(text in "\\PC{0,60}") {
            let _ = (Timestamp::parse_rfc5322(&text), Timestamp::parse_rfc3339(&text));
        }
    }
}
