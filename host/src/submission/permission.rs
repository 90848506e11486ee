//! What a login may do: whom it sends as, how much, how often.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::{Login, SenderPattern};
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::envelope::ReversePath;
use crate::mail::header::encoded_word::without_controls;
use crate::mail::header::{Mailbox, unfold};
use crate::mail::refusal::Refusal;

/// Whether `login` may send as `address`, in the envelope and in From.
///
/// A login without patterns may send as anybody. Domains are compared as DNS compares them: without case, U-labels like their A-labels.
/// Local parts, which only their own host could compare (RFC 5321 §2.4), are compared without regard to ASCII case: operators
/// and applications do not agree on `News@` and `news@`, and who may be the one has no business not being the other.
pub fn may_send_as(login: &Login, address: &EmailAddress) -> bool {
    login.senders.is_empty() || is_among(&login.senders, address)
}

/// Checks every address in From, of which the raw values are given: a second field is no way around.
///
/// # Errors
/// `senders` do not have an address, there is none, or what stands there cannot be read without doubt.
pub fn check_from<'a>(senders: &[SenderPattern], values: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Refusal> {
    let mut has_address = false;
    for value in values {
        let Ok(addresses) = Mailbox::parse_senders(value) else {
            let mut text = without_controls(&unfold(value)).trim().to_owned();
            text.truncate(text.floor_char_boundary(LONGEST_ADDRESS));
            return Err(Refusal::SenderNotAllowed { address: text });
        };
        if let Some(address) = addresses.iter().find(|address| !is_among(senders, address)) {
            return Err(Refusal::SenderNotAllowed { address: address.to_string() });
        }
        has_address |= !addresses.is_empty();
    }
    if has_address { Ok(()) } else { Err(Refusal::InvalidContent("the message has no address in its From field".to_owned())) }
}

/// Checks the envelope's sender as a plugin left it; the null reverse-path is nobody's.
///
/// # Errors
/// `senders` do not have the address.
pub fn check_reverse_path(senders: &[SenderPattern], reverse_path: &ReversePath) -> Result<(), Refusal> {
    match reverse_path.mailbox() {
        Some(address) if !senders.is_empty() && !is_among(senders, address) => {
            Err(Refusal::SenderNotAllowed { address: address.to_string() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Octets of an address: 64 before the `@` and 255 behind it. Of what stands in the place of one, no more is repeated.
pub const LONGEST_ADDRESS: usize = 320;

fn is_among(senders: &[SenderPattern], address: &EmailAddress) -> bool {
    senders.iter().any(|pattern| fits(pattern, address))
}

fn fits(pattern: &SenderPattern, address: &EmailAddress) -> bool {
    match pattern {
        SenderPattern::Address(allowed) => {
            allowed.local_part().eq_ignore_ascii_case(address.local_part()) && is_same(allowed.domain(), address.domain())
        }
        SenderPattern::Domain(domain) => is_same(domain, address.domain()),
        SenderPattern::Subdomains(parent) => {
            let (domain, parent) = (address.domain().to_ascii(), parent.to_ascii());
            domain.strip_suffix(&parent).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
        }
    }
}

fn is_same(one: &Domain, other: &Domain) -> bool {
    one == other || one.to_ascii() == other.to_ascii()
}

/// The time that a limit "per hour" is about.
const WINDOW: Duration = Duration::from_hours(1);

/// The parts in which messages are counted: one more than the window has, as the window begins somewhere in the oldest.
const SLOTS: usize = 61;
const SLOT: Duration = Duration::from_mins(1);

/// Counts what each login sends.
///
/// In no hour, wherever it begins, more is taken than the limit. Counts are by the minute, so what was counted is free again an
/// hour later, or up to a minute after that. They are kept in memory and begin at nothing when the process starts.
pub struct Rates {
    clock: Clock,
    windows: Mutex<HashMap<Arc<str>, Window>>,
}

impl Rates {
    /// Starts with nothing counted.
    pub fn new(clock: Clock) -> Self {
        Self { clock, windows: Mutex::default() }
    }

    /// Counts one message of `login`, or refuses it ([`Refusal::RateLimited`]). Messages that are refused later are given back with [`Rates::give_back`].
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time after which one message more is taken, if no other is before it.
    pub fn take(&self, login: &Login) -> Result<(), Refusal> {
        let Some(limit) = login.limits.messages_per_hour else { return Ok(()) };
        let now = self.clock.monotonic();
        let mut windows = self.windows.lock();
        let known = windows.len();
        let window = match windows.entry(Arc::clone(&login.name)) {
            Entry::Occupied(window) => window.into_mut(),
            Entry::Vacant(place) => place.insert(Window::default()),
        };
        window.advance(now);
        let result = match window.wait(limit, now) {
            None => {
                window.count();
                Ok(())
            }
            Some(retry_after) => Err(Refusal::RateLimited { retry_after }),
        };
        // Logins that a reload has taken away leave when another comes: as many windows as logins that have sent within the hour.
        if windows.len() > known {
            windows.retain(|_, window| {
                window.advance(now);
                window.total > 0
            });
        }
        result
    }

    /// Takes back one count.
    pub fn give_back(&self, login: &Login) {
        if login.limits.messages_per_hour.is_some()
            && let Some(window) = self.windows.lock().get_mut(&login.name)
        {
            window.uncount();
        }
    }
}

/// What one login has sent in each minute of the last hour.
struct Window {
    /// A ring: the minute `n` since the clock's start is at `n % SLOTS`.
    slots: [u32; SLOTS],
    /// The minute counted last; those more than an hour older are empty.
    newest: u64,
    /// The sum of all slots.
    total: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { slots: [0; SLOTS], newest: 0, total: 0 }
    }
}

impl Window {
    /// Forgets what is more than an hour old.
    fn advance(&mut self, now: Duration) {
        let minute = minute(now);
        for passed in (self.newest + 1..=minute).take(SLOTS) {
            // Where more than a whole ring has passed, each slot is visited once, in whatever order.
            let slot = self.slot(passed);
            let forgotten = std::mem::take(slot);
            self.total -= forgotten;
        }
        self.newest = self.newest.max(minute);
    }

    fn count(&mut self) {
        *self.slot(self.newest) += 1;
        self.total += 1;
    }

    fn uncount(&mut self) {
        for minute in (self.oldest()..=self.newest).rev() {
            let slot = self.slot(minute);
            if *slot > 0 {
                *slot -= 1;
                self.total -= 1;
                return;
            }
        }
    }

    /// How long until one message more is within `limit`; `None` is now.
    fn wait(&self, limit: u32, now: Duration) -> Option<Duration> {
        if self.total < limit {
            return None;
        }
        // A limit that a reload has lowered may be far below what was sent: several minutes have to pass out of the window.
        let mut over = self.total - limit.saturating_sub(1);
        for minute in self.oldest()..=self.newest {
            let sent = self.slots.get(ring(minute)).copied().unwrap_or_default();
            if sent >= over {
                return Some(end(minute).saturating_add(WINDOW).saturating_sub(now));
            }
            over -= sent;
        }
        Some(WINDOW)
    }

    fn oldest(&self) -> u64 {
        self.newest.saturating_sub(SLOTS as u64 - 1)
    }

    fn slot(&mut self, minute: u64) -> &mut u32 {
        self.slots.get_mut(ring(minute)).expect("a remainder is below what was divided by")
    }
}

fn minute(time: Duration) -> u64 {
    time.as_secs() / SLOT.as_secs()
}

/// When a minute, and all that was counted in it, is over.
fn end(minute: u64) -> Duration {
    Duration::from_secs(minute.saturating_add(1).saturating_mul(SLOT.as_secs()))
}

fn ring(minute: u64) -> usize {
    usize::try_from(minute % SLOTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::unit::ByteSize;
    use crate::config::{Bounces, LoginLimits};

    fn login(name: &str, messages_per_hour: Option<u32>) -> Login {
        Login {
            name: name.into(),
            username: None,
            password: None,
            token: None,
            senders: Vec::new(),
            chain: None,
            route: "sandbox".into(),
            limits: LoginLimits { messages_per_hour, recipients_per_message: 1, message_size: ByteSize(1) },
            bounces: Bounces::Return,
            unverified_senders: None,
            suppress: Vec::new(),
            bounce_management: None,
        }
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn senders_fit_their_patterns() {
        let any = login("a", None);
        assert!(may_send_as(&any, &address("anybody@anywhere.example")));

        let login = Login {
            senders: vec![
                SenderPattern::Address(address("News@example.com")),
                SenderPattern::Domain(domain("b\u{fc}cher.example")),
                SenderPattern::Subdomains(domain("example.net")),
            ],
            ..any
        };
        for (text, allowed) in [
            ("news@example.com", true),
            ("NEWS@EXAMPLE.COM", true),
            ("news@sub.example.com", false),
            ("news2@example.com", false),
            ("\"news\"@example.com", false),
            ("a@b\u{fc}cher.example", true),
            ("a@xn--bcher-kva.example", true),
            ("a@sub.xn--bcher-kva.example", false),
            ("a@b.example.net", true),
            ("a@c.b.example.net", true),
            ("a@example.net", false),
            ("a@badexample.net", false),
            ("a@b.example.net.evil.example", false),
        ] {
            assert_eq!(may_send_as(&login, &address(text)), allowed, "{text}");
        }
    }

    fn rates() -> (Rates, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000_000));
        (Rates::new(clock.clone()), clock)
    }

    fn wait(result: Result<(), Refusal>) -> Duration {
        match result {
            Err(Refusal::RateLimited { retry_after }) => retry_after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_login_without_a_limit_is_not_counted() {
        let (rates, _) = rates();
        for _ in 0..1000 {
            assert_eq!(rates.take(&login("a", None)), Ok(()));
        }
        assert!(rates.windows.lock().is_empty());
    }

    #[test]
    fn the_limit_holds_for_each_login_and_passes() {
        let (rates, clock) = rates();
        let (one, other) = (login("one", Some(3)), login("other", Some(1)));
        for _ in 0..3 {
            assert_eq!(rates.take(&one), Ok(()));
            clock.advance(Duration::from_mins(10));
        }
        let retry_after = wait(rates.take(&one));
        assert!(retry_after > Duration::from_mins(30) && retry_after <= Duration::from_mins(31), "{retry_after:?}");
        assert_eq!(rates.take(&other), Ok(()));

        clock.advance(retry_after.saturating_sub(Duration::from_millis(1)));
        assert_eq!(wait(rates.take(&one)), Duration::from_millis(1));
        clock.advance(Duration::from_millis(1));
        assert_eq!(rates.take(&one), Ok(()));
        assert!(rates.take(&one).is_err());

        clock.advance(Duration::from_hours(1000));
        for _ in 0..3 {
            assert_eq!(rates.take(&one), Ok(()));
        }
        assert!(rates.take(&one).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (rates, clock) = rates();
        let login = login("a", Some(1));
        rates.give_back(&login);
        assert_eq!(rates.take(&login), Ok(()));
        rates.give_back(&login);
        rates.give_back(&login);
        assert_eq!(rates.take(&login), Ok(()));
        clock.advance(Duration::from_mins(1));
        rates.give_back(&login);
        assert_eq!(rates.take(&login), Ok(()));
        assert!(rates.take(&login).is_err());
    }

    #[test]
    fn a_lower_limit_counts_what_was_sent_before() {
        let (rates, clock) = rates();
        for _ in 0..5 {
            assert_eq!(rates.take(&login("a", Some(10))), Ok(()));
            clock.advance(Duration::from_mins(5));
        }
        // The first four have to pass out of the window: the fourth was sent ten minutes ago.
        let lowered = login("a", Some(2));
        let retry_after = wait(rates.take(&lowered));
        assert!(retry_after > Duration::from_mins(50) && retry_after <= Duration::from_mins(51), "{retry_after:?}");
        clock.advance(retry_after);
        assert_eq!(rates.take(&lowered), Ok(()));
        assert!(rates.take(&lowered).is_err());
    }

    #[test]
    fn logins_that_are_gone_leave_no_counts() {
        let (rates, clock) = rates();
        for name in ["a", "b", "c"] {
            assert_eq!(rates.take(&login(name, Some(1))), Ok(()));
        }
        clock.advance(Duration::from_hours(2));
        assert_eq!(rates.take(&login("d", Some(1))), Ok(()));
        assert_eq!(rates.windows.lock().len(), 1);
    }

    proptest! {
        /// Whatever comes when: no hour has more than the limit, and a refusal names the time at which it ends.
        #[test]
        fn no_hour_has_more_than_the_limit(limit in 1_u32..5, steps in prop::collection::vec(0_u64..1500, 1..80)) {
            let (rates, clock) = rates();
            let login = login("a", Some(limit));
            let mut taken: Vec<Duration> = Vec::new();
            for seconds in steps {
                clock.advance(Duration::from_secs(seconds));
                let now = clock.monotonic();
                match rates.take(&login) {
                    Ok(()) => taken.push(now),
                    Err(Refusal::RateLimited { retry_after }) => {
                        prop_assert!(retry_after <= WINDOW + SLOT && !retry_after.is_zero());
                        clock.advance(retry_after);
                        prop_assert_eq!(rates.take(&login), Ok(()));
                        taken.push(clock.monotonic());
                    }
                    Err(other) => prop_assert!(false, "{:?}", other),
                }
                let last = *taken.last().unwrap();
                let recent = taken.iter().filter(|time| last.saturating_sub(**time) < WINDOW).count();
                prop_assert!(recent <= limit as usize);
            }
        }
    }
}
