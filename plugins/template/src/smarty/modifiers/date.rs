//! `date_format`: a time in UTC, written as `strftime` does it.

use super::Arguments;
use crate::{
    limits::Error,
    smarty::{evaluator::Scope, value::Value},
};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const SECONDS_PER_DAY: i64 = 86_400;
/// The times that are written, in seconds since 1970: years 1 to 9999.
const WRITTEN: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Writes seconds since 1970, or a date as `2018-08-01`, `2018-08-01 12:30` or RFC 3339. What is no date stays as it is.
pub(super) fn format(value: Value, arguments: Arguments<'_>, scope: &mut Scope) -> Result<Value, Error> {
    let seconds = match &value {
        Value::Integer(_) | Value::Decimal(_) => Some(value.integer()),
        Value::Text(text) => parse(text.trim(), scope.now),
        Value::Missing | Value::Boolean(_) | Value::List(_) | Value::Object(_) => None,
    };
    let Some(seconds) = seconds.filter(|seconds| WRITTEN.contains(seconds)) else {
        return Ok(value);
    };
    let pattern = arguments.text(0, "%b %e, %Y");
    // No field is longer than the longest name of a day and its time.
    scope.budget.text(pattern.len().saturating_mul(12))?;
    let mut result = String::new();
    write(&Moment::of(seconds), &pattern, &mut result);
    Ok(result.into())
}

/// A moment in the calendar.
struct Moment {
    seconds: i64,
    year: i64,
    /// From 1.
    month: usize,
    /// From 1.
    day: i64,
    /// From 1.
    day_of_year: i64,
    /// From 0, Sunday.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Moment {
    fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let rest = seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = date_of(days);
        Self {
            seconds,
            year,
            month: usize::try_from(month).unwrap_or(1),
            day,
            day_of_year: days - days_until(year, 1, 1) + 1,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}

/// The date of a day since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since 1970 of a date; the other way.
fn days_until(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The seconds since 1970 that a text means.
fn parse(text: &str, now: i64) -> Option<i64> {
    if text.eq_ignore_ascii_case("now") {
        return Some(now);
    }
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time.trim()),
        None => (text, ""),
    };
    let mut numbers = date.split(['-', '/']).map(|number| number.parse::<i64>().ok());
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() || !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_until(year, month, day) * SECONDS_PER_DAY + parse_time(time)?)
}

/// The seconds of `12:30`, `12:30:15`, with a fraction, and with `Z` or an offset such as `+02:00`.
fn parse_time(time: &str) -> Option<i64> {
    if time.is_empty() {
        return Some(0);
    }
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(place) => time.split_at_checked(place)?,
        None => (time, ""),
    };
    let time = time.trim_end();
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    let mut numbers = time.split(':').map(|number| number.parse::<i64>().ok());
    let (hour, minute, second) = (numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?);
    if numbers.next().is_some() || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let offset_seconds = match (offset.chars().next(), digits.split_at_checked(2)) {
        (Some('+' | '-'), Some((hours, minutes))) => {
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().unwrap_or(0) * 60;
            if offset.starts_with('-') { -seconds } else { seconds }
        }
        (Some('+' | '-'), None) => return None,
        _ => 0,
    };
    Some(hour * 3600 + minute * 60 + second - offset_seconds)
}

fn write(moment: &Moment, pattern: &str, result: &mut String) {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            result.push(character);
            continue;
        }
        let Some(field) = characters.next() else {
            result.push('%');
            return;
        };
        match field_text(moment, field) {
            Some(text) => result.push_str(&text),
            None => result.extend(['%', field]),
        }
    }
}

fn field_text(moment: &Moment, field: char) -> Option<String> {
    let day = DAYS.get(moment.weekday).copied().unwrap_or_default();
    let month = MONTHS.get(moment.month.saturating_sub(1)).copied().unwrap_or_default();
    let short = |name: &str| name.get(..3).unwrap_or(name).to_owned();
    let hour_12 = (moment.hour + 11) % 12 + 1;
    let nested = |pattern: &str| {
        let mut result = String::new();
        write(moment, pattern, &mut result);
        result
    };
    Some(match field {
        'a' => short(day),
        'A' => day.to_owned(),
        'b' | 'h' => short(month),
        'B' => month.to_owned(),
        'c' => nested("%a %b %e %H:%M:%S %Y"),
        'C' => format!("{:02}", moment.year / 100),
        'd' => format!("{:02}", moment.day),
        'D' | 'x' => nested("%m/%d/%y"),
        'e' => format!("{:2}", moment.day),
        'F' => nested("%Y-%m-%d"),
        'H' => format!("{:02}", moment.hour),
        'I' => format!("{hour_12:02}"),
        'j' => format!("{:03}", moment.day_of_year),
        'k' => format!("{:2}", moment.hour),
        'l' => format!("{hour_12:2}"),
        'm' => format!("{:02}", moment.month),
        'M' => format!("{:02}", moment.minute),
        'n' => "\n".to_owned(),
        'p' => if moment.hour < 12 { "AM" } else { "PM" }.to_owned(),
        'P' => if moment.hour < 12 { "am" } else { "pm" }.to_owned(),
        'r' => nested("%I:%M:%S %p"),
        'R' => nested("%H:%M"),
        's' => moment.seconds.to_string(),
        'S' => format!("{:02}", moment.second),
        't' => "\t".to_owned(),
        'T' | 'X' => nested("%H:%M:%S"),
        'u' => if moment.weekday == 0 { 7 } else { moment.weekday }.to_string(),
        'w' => moment.weekday.to_string(),
        'y' => format!("{:02}", moment.year % 100),
        'Y' => moment.year.to_string(),
        'z' => "+0000".to_owned(),
        'Z' => "UTC".to_owned(),
        '%' => "%".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for days in (-700_000..3_000_000).step_by(97) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_until(year, month, day), days);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(19_782), (2024, 2, 29));
    }

    #[test]
    fn dates_are_read_in_the_usual_spellings() {
        for text in ["2018-08-01", "2018/08/01 00:00", "2018-08-01T02:00:00+02:00", "2018-08-01T00:00:00.5Z", "1533081600"] {
            assert_eq!(parse(text, 0), Some(1_533_081_600), "{text}");
        }
        for text in ["", "soon", "2018-13-01", "2018-08", "2018-08-01 25:00", "2018-08-01T00:00+x"] {
            assert_eq!(parse(text, 0), None, "{text}");
        }
        assert_eq!(parse("now", 7), Some(7));
    }
}
