//! Three keys that take turns: one signs, one is published early for its turn, one stays published while queued mail may need it.
//!
//! A message is signed with the key that signed when it came in, so that a retry sends the same octets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::PrivateKey;
use crate::clock::Timestamp;

/// Selectors, in the order of their turns.
pub const SELECTORS: [&str; 3] = ["zero", "one", "two"];

/// The keys of one domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    slots: [Slot; 3],
    active: usize,
}

/// A selector's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Slot {
    key: PrivateKey,
    /// Signs mail that came in from here on; never, where its turn has not come.
    since: Timestamp,
    /// Signs mail that came in before.
    until: Timestamp,
}

impl Slot {
    fn new(key: PrivateKey) -> Self {
        Self { key, since: Timestamp::NEVER, until: Timestamp::NEVER }
    }

    fn is_fresh(&self) -> bool {
        self.since == Timestamp::NEVER
    }
}

/// What is to be done about the keys of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    None,
    /// The next key may sign, once it is seen in DNS.
    Switch,
    /// A key that nothing is signed with any more gives way to a new one.
    Renew(usize),
}

impl Rotation {
    /// Begins with the first of `keys`.
    pub fn new(keys: [PrivateKey; 3], now: Timestamp) -> Self {
        let mut slots = keys.map(Slot::new);
        if let Some(first) = slots.first_mut() {
            first.since = now;
        }
        Self { slots, active: 0 }
    }

    /// Returns all selectors with their keys.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &PrivateKey)> {
        SELECTORS.into_iter().zip(self.slots.iter().map(|slot| &slot.key))
    }

    /// Returns what signs mail that comes in now.
    pub fn active(&self) -> Option<(&'static str, &PrivateKey)> {
        self.all().nth(self.active)
    }

    /// Returns the key whose turn is next.
    pub fn next(&self) -> Option<(&'static str, &PrivateKey)> {
        self.all().nth(self.following())
    }

    /// Returns what signs mail that came in at `received`: the key of that time, or the active one where that is gone.
    pub fn signing(&self, received: Timestamp) -> Option<(&'static str, &PrivateKey)> {
        let then = self.slots.iter().position(|slot| !slot.is_fresh() && slot.since <= received && received < slot.until);
        self.all().nth(then.unwrap_or(self.active))
    }

    /// Says what is to be done: a key signs for `period`, and stays for `retain` after that.
    pub fn turn(&self, now: Timestamp, period: Duration, retain: Duration) -> Turn {
        let is_spent = |slot: &Slot| slot.until != Timestamp::NEVER && slot.until.plus(retain) <= now;
        if let Some(spent) = self.slots.iter().position(is_spent) {
            return Turn::Renew(spent);
        }
        let is_over = self.slots.get(self.active).is_some_and(|slot| slot.since.plus(period) <= now);
        let next_is_fresh = self.slots.get(self.following()).is_some_and(Slot::is_fresh);
        if is_over && next_is_fresh { Turn::Switch } else { Turn::None }
    }

    /// Lets the next key sign what comes in from `now` on.
    pub fn switch(&mut self, now: Timestamp) {
        let next = self.following();
        if let Some(slot) = self.slots.get_mut(self.active) {
            slot.until = now;
        }
        if let Some(slot) = self.slots.get_mut(next) {
            slot.since = now;
        }
        self.active = next;
    }

    /// Puts a new key in the place of a spent one.
    pub fn renew(&mut self, place: usize, key: PrivateKey) {
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Slot::new(key);
        }
    }

    fn following(&self) -> usize {
        (self.active + 1) % SELECTORS.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn key() -> PrivateKey {
        PrivateKey::parse(include_str!("../delivery/dkim/ed25519.pem")).unwrap()
    }

    #[test]
    fn each_key_has_its_turn() {
        let start = Timestamp::from_millis(1_800_000_000_000);
        let mut rotation = Rotation::new([key(), key(), key()], start);
        let day = |days: u32| start.plus(DAY * days);
        let (period, retain) = (DAY * 30, DAY * 7);
        let selector = |rotation: &Rotation, days| rotation.signing(day(days)).unwrap().0;
        assert_eq!(rotation.turn(day(29), period, retain), Turn::None);
        assert_eq!(rotation.turn(day(30), period, retain), Turn::Switch);
        rotation.switch(day(30));
        // What came in before is signed as it was, what comes in now with the next key.
        assert_eq!((selector(&rotation, 29), selector(&rotation, 30)), ("zero", "one"));
        assert_eq!(rotation.turn(day(36), period, retain), Turn::None);
        assert_eq!(rotation.turn(day(37), period, retain), Turn::Renew(0));
        rotation.renew(0, key());
        assert_eq!((selector(&rotation, 29), selector(&rotation, 38)), ("one", "one"));
        assert_eq!(rotation.turn(day(38), period, retain), Turn::None);
        for (days, expected) in [(60, "two"), (90, "zero"), (120, "one")] {
            assert_eq!(rotation.turn(day(days), period, retain), Turn::Switch);
            rotation.switch(day(days));
            assert_eq!(rotation.active().unwrap().0, expected);
            let Turn::Renew(spent) = rotation.turn(day(days + 7), period, retain) else { panic!() };
            rotation.renew(spent, key());
        }
        // A clock that was far ahead changes nothing but the key that signs.
        assert_eq!(rotation.turn(day(1), period, retain), Turn::None);
    }
}
