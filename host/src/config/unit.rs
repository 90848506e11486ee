//! Values with units: sizes, durations, secrets.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of octets: `10MiB`, `25MB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Why a text is no size or no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number followed by a unit that we know.
    #[error("a size is a number with a unit, such as \"10MiB\" or \"25MB\"")]
    Size,
    /// Not numbers, each followed by a unit that we know, from the largest unit to the smallest.
    #[error("a duration is a number with a unit, such as \"50ms\", \"30s\", \"5m\", \"1h30m\" or \"5d\"")]
    Duration,
    /// Does not fit in 64 bits.
    #[error("too large")]
    TooLarge,
}

/// Units of size, each group from the largest to the smallest. `kB` is the right spelling of a thousand, `KB` the common one.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Returns `count` times 1024 octets.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// Returns `count` times 1024 · 1024 octets.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// Returns `count` times 1024 · 1024 · 1024 octets.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text).ok_or(UnitError::Size)?;
        let factor = match unit {
            "" => 1,
            unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Size)?.1,
        };
        number?.checked_mul(factor).map(Self).ok_or(UnitError::TooLarge)
    }
}

impl fmt::Display for ByteSize {
    /// Writes the shortest form that is exact; parsing it gives the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) if *factor > 1 => write!(f, "{}{unit}", self.0 / factor),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// A duration as it stands in the configuration: `50ms`, `5m`, `1h30m`. Exact to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

/// Units of time in milliseconds, from the largest to the smallest.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for TimeSpan {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut rest = text;
        let mut millis = 0_u64;
        let mut previous = u64::MAX;
        loop {
            let (number, tail) = split_number(rest).ok_or(UnitError::Duration)?;
            let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at_checked(end).ok_or(UnitError::Duration)?;
            let factor = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Duration)?.1;
            // From the largest unit down, none twice: `30m1h` is more likely a slip than meant.
            if factor >= previous {
                return Err(UnitError::Duration);
            }
            let part = number?.checked_mul(factor).ok_or(UnitError::TooLarge)?;
            millis = millis.checked_add(part).ok_or(UnitError::TooLarge)?;
            if tail.is_empty() {
                return Ok(Self(Duration::from_millis(millis)));
            }
            (rest, previous) = (tail, factor);
        }
    }
}

impl fmt::Display for TimeSpan {
    /// Writes each unit that is not zero; parsing it gives the same duration, cut to milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in TIME_UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

/// Splits digits off the front: the number, or that it is too large, and what follows. `None` where there are no digits.
fn split_number(text: &str) -> Option<(Result<u64, UnitError>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    (!digits.is_empty()).then(|| (digits.parse().map_err(|_| UnitError::TooLarge), rest))
}

/// A text that is never shown: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }
    /// Returns the secret, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, octets) in [
            ("0", 0),
            ("4096", 4096),
            ("512B", 512),
            ("10MiB", 10 << 20),
            ("25MB", 25_000_000),
            ("3kB", 3000),
            ("3KB", 3000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(octets)), "{text}");
        }
        for text in ["", "MiB", "10 MiB", "10mib", "1.5GiB", "-1", "10M", "١MB", "10MiBB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(UnitError::Size), "{text:?}");
        }
        for text in ["16777216TiB", "18446744073709551616", "99999999999999999999MB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(UnitError::TooLarge), "{text}");
        }
        assert_eq!(ByteSize::mib(10).to_string(), "10MiB");
        assert_eq!(ByteSize(25_000_000).to_string(), "25MB");
        assert_eq!(ByteSize(1001).to_string(), "1001");
    }

    #[test]
    fn durations() {
        for (text, millis) in [("50ms", 50), ("5m", 300_000), ("1h30m", 5_400_000), ("5d", 432_000_000), ("0s", 0), ("1m1s1ms", 61_001)] {
            assert_eq!(text.parse(), Ok(TimeSpan(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "m", "5 m", "30m1h", "1h1h", "1h30", "1.5h", "-5m", "5min", "5M", "1h-"] {
            assert_eq!(text.parse::<TimeSpan>(), Err(UnitError::Duration), "{text:?}");
        }
        assert_eq!("999999999999999999999s".parse::<TimeSpan>(), Err(UnitError::TooLarge));
        assert_eq!("18446744073709551615d".parse::<TimeSpan>(), Err(UnitError::TooLarge));
        assert_eq!(TimeSpan(Duration::from_mins(90)).to_string(), "1h30m");
    }

    proptest! {
        #[test]
        fn display_is_parsed_back(octets: u64, millis: u64) {
            prop_assert_eq!(ByteSize(octets).to_string().parse(), Ok(ByteSize(octets)));
            let span = TimeSpan(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,20}") {
            let _ = (text.parse::<ByteSize>(), text.parse::<TimeSpan>());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(redacted)");
    }
}
