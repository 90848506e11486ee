//! The only reader of the time and of random numbers.
//!
//! Everything that needs either is handed a [`Clock`] or an [`Entropy`], so that a test decides what they say. Cloning is cheap
//! and clones share their state.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, leap seconds ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest time there is: "never" as a due time.
    pub const NEVER: Self = Self(u64::MAX);

    /// Makes a timestamp of milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns whole seconds since 1970.
    pub const fn as_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Returns the time that has passed since `earlier`; zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns this time plus `duration`, at most [`Timestamp::NEVER`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns this time minus `duration`, at least 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    fn date_time(self) -> mail_parser::DateTime {
        mail_parser::DateTime::from_timestamp(i64::try_from(self.as_seconds()).unwrap_or(i64::MAX / 2))
    }

    /// Formats for a `Date` header field (RFC 5322 §3.3), in UTC.
    pub fn to_rfc5322(self) -> String {
        self.date_time().to_rfc822()
    }

    /// Parses a date and time of RFC 3339 §5.6, to the second; `None` where it is none, or before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // What parses it is generous, and takes `2026-01-01T00:00:00` for a time too.
        let has_zone = text.ends_with(['Z', 'z']) || text.get(text.len().saturating_sub(6)..)?.starts_with(['+', '-']);
        let date = mail_parser::DateTime::parse_rfc3339(text).filter(|date| has_zone && date.is_valid())?;
        u64::try_from(date.to_timestamp()).ok()?.checked_mul(1_000).map(Self::from_millis)
    }

    /// Formats by RFC 3339 in UTC, to the second.
    pub fn to_rfc3339(self) -> String {
        self.date_time().to_rfc3339()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Returns the microseconds of the kernel's monotonic clock, by which service managers tell what came first.
pub fn kernel_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or_default(), u64::try_from(time.tv_nsec).unwrap_or_default());
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

/// Tells the time: of the system, or, in tests, whatever the test says.
#[derive(Clone, Debug)]
pub struct Clock(ClockSource);

#[derive(Clone, Debug)]
enum ClockSource {
    System { started: Instant },
    Manual(Arc<Hands>),
}

/// What a manual clock says, in milliseconds.
#[derive(Debug)]
struct Hands {
    now: AtomicU64,
    monotonic: AtomicU64,
}

impl Clock {
    /// The system's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rest of the program asks")]
    pub fn system() -> Self {
        Self(ClockSource::System { started: Instant::now() })
    }

    /// A clock that stands at `now` until [`Clock::advance`] moves it and all its clones.
    pub fn manual(now: Timestamp) -> Self {
        let millis = now.as_millis();
        Self(ClockSource::Manual(Arc::new(Hands { now: AtomicU64::new(millis), monotonic: AtomicU64::new(millis) })))
    }

    /// Returns the time of day.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rest of the program asks")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            ClockSource::System { .. } => {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
            }
            ClockSource::Manual(hands) => Timestamp(hands.now.load(Ordering::Acquire)),
        }
    }

    /// Returns the time since some fixed point, never running backwards: for measuring durations.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            ClockSource::System { started } => started.elapsed(),
            ClockSource::Manual(hands) => Duration::from_millis(hands.monotonic.load(Ordering::Acquire)),
        }
    }

    /// Returns the processor time that the calling thread has used, in user code and in the kernel: for measuring work on a machine that does
    /// other things too.
    pub fn thread_processor_time() -> Duration {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(spent.tv_sec).unwrap_or_default(), u32::try_from(spent.tv_nsec).unwrap_or_default())
    }

    /// Moves a manual clock on; the system's clock does not care.
    pub fn advance(&self, by: Duration) {
        if let ClockSource::Manual(hands) = &self.0 {
            let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            hands.now.fetch_add(millis, Ordering::AcqRel);
            hands.monotonic.fetch_add(millis, Ordering::AcqRel);
        }
    }

    /// Sets the time of day of a manual clock, as an operator or NTP does: no time passes. The system's clock does not care.
    pub fn step_to(&self, now: Timestamp) {
        if let ClockSource::Manual(hands) = &self.0 {
            hands.now.store(now.as_millis(), Ordering::Release);
        }
    }
}

/// A source of random octets: of the system, or, in tests, a sequence that a seed decides.
#[derive(Clone, Debug)]
pub struct Entropy(EntropySource);

#[derive(Clone, Debug)]
enum EntropySource {
    System,
    Seeded(Arc<AtomicU64>),
}

impl Entropy {
    /// The system's generator, fit for keys.
    pub const fn system() -> Self {
        Self(EntropySource::System)
    }

    /// Always the same sequence for the same seed. Only for tests.
    pub fn seeded(seed: u64) -> Self {
        Self(EntropySource::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// Fills `octets`.
    ///
    /// # Panics
    /// If the system has no random numbers: nothing that is secret or unique can be made then.
    pub fn fill(&self, octets: &mut [u8]) {
        match &self.0 {
            EntropySource::System => getrandom::fill(octets).expect("the system gives random numbers"),
            EntropySource::Seeded(state) => {
                for chunk in octets.chunks_mut(8) {
                    // SplitMix64: a counter through a mixing function, so that clones never repeat each other.
                    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    z ^= z >> 31;
                    chunk.copy_from_slice(z.to_le_bytes().get(..chunk.len()).unwrap_or_default());
                }
            }
        }
    }

    /// Returns `N` random octets.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut octets = [0; N];
        self.fill(&mut octets);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_with_its_clones() {
        let clock = Clock::manual(Timestamp::from_millis(1_000));
        let clone = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(clone.now(), Timestamp::from_millis(3_000));
        let passed = clone.monotonic();
        clock.step_to(Timestamp::from_millis(500));
        assert_eq!((clone.now(), clone.monotonic()), (Timestamp::from_millis(500), passed));
    }

    #[test]
    fn dates_are_parsed() {
        let time = Timestamp::from_millis(1_767_225_600_000);
        for text in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.250Z", "2026-01-01T01:00:00+01:00", "2025-12-31T19:00:00-05:00"] {
            assert_eq!(Timestamp::parse_rfc3339(text), Some(time), "{text}");
        }
        for text in ["", "Z", "tomorrow", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "1960-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_in_utc() {
        let time = Timestamp::from_millis(1_533_081_600_000);
        assert_eq!(time.to_rfc3339(), "2018-08-01T00:00:00Z");
        assert_eq!(time.to_rfc5322(), "Wed, 1 Aug 2018 00:00:00 +0000");
    }

    #[test]
    fn seeded_entropy_repeats() {
        let (one, other) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(one.array::<20>(), other.array::<20>());
        assert_ne!(one.array::<8>(), [0; 8]);
    }
}
