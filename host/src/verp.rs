//! Variable envelope return paths (VERP): addresses of ours that bounces come back to. Each stands for one copy of a message, and nobody can make one up.
//!
//! ```text
//! bounces+TOKEN@HOST
//! TOKEN: base 32 (RFC 4648 §6, lower case, no padding; read in either case, as servers fold it) of
//!   octets 0–1   the day on which it was made, from 1970, modulo 2^13, and below it three bits: success, failure, delay are wanted (NOTIFY)
//!   octets 2–17  message id
//!   then         place of the recipient, LEB128, 1 to 5 octets
//!   then         the first 4 octets of BLAKE3 of the login's name
//!   then         the first 8 octets of HMAC-SHA256 of all that
//! ```
//!
//! At most 35 octets, so 56 characters: the local part has at most the 64 that RFC 5321 §4.5.3.1.1 allows. The code of 64 bits can only be guessed by
//! asking us, once for each guess. Octets that mean one copy have one spelling. After some days a token is a stranger's address.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::envelope::Notify;
use crate::mail::message_id::{CopyId, MessageId};

/// What the local part begins with.
const PREFIX: &str = "bounces+";
/// Octets of the code that are kept.
const TAG_LENGTH: usize = 8;
/// Octets of the hash of the login's name.
const LOGIN_LENGTH: usize = 4;
/// Octets of a token: day, id, place, login, code.
const LONGEST: usize = 2 + 16 + 5 + LOGIN_LENGTH + TAG_LENGTH;
/// Characters of a token.
const LONGEST_TEXT: usize = (LONGEST * 8).div_ceil(5);
const DAYS: u16 = 0x1fff;
const DAY: Duration = Duration::from_hours(24);

/// Makes return paths and tells its own from others. Cloning is cheap.
#[derive(Clone)]
pub struct Verp {
    keyed: Hmac<Sha256>,
    period: Duration,
}

/// What an address of ours says, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Whose copy it was made for.
    pub copy: CopyId,
    /// Of what the sender wants to hear.
    pub notify: Notify,
    login: [u8; LOGIN_LENGTH],
}

impl Returned {
    /// Whether it was made for mail of the login with this name. Different names agree once in four thousand million.
    pub fn is_of(&self, login: &str) -> bool {
        self.login == login_hash(login)
    }
}

impl Verp {
    /// Addresses are good for `period`, in whole days.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length (RFC 2104 §2).
    pub fn new(key: [u8; 32], period: Duration) -> Self {
        Self { keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"), period }
    }

    /// The same addresses, good for another period.
    #[must_use]
    pub fn lasting(&self, period: Duration) -> Self {
        Self { keyed: self.keyed.clone(), period }
    }

    /// Returns the address at `host` that stands for `copy`, of which the sender wants to hear what `notify` says; on one day it is always the same.
    ///
    /// # Panics
    /// Never: what it writes is an address.
    pub fn address(&self, copy: CopyId, notify: Notify, login: &str, host: &Domain, now: Timestamp) -> EmailAddress {
        let mut octets = Vec::with_capacity(LONGEST);
        let wanted = u16::from(notify.success) << 2 | u16::from(notify.failure) << 1 | u16::from(notify.delay);
        octets.extend_from_slice(&(day(now) << 3 | wanted).to_be_bytes());
        octets.extend_from_slice(&copy.message.to_bytes());
        push_number(&mut octets, copy.recipient);
        octets.extend_from_slice(&login_hash(login));
        let tag = self.tag(&octets);
        octets.extend_from_slice(&tag);
        let mut token = BASE32_NOPAD.encode(&octets);
        token.make_ascii_lowercase();
        EmailAddress::parse(&format!("{PREFIX}{token}@{host}")).expect("a dot-atom and a domain are an address")
    }

    /// Whether an address looks as if it were one of ours: for texts in which nothing else has this form.
    pub fn has_form(local_part: &str) -> bool {
        token(local_part).is_some()
    }

    /// Reads the local part of an address at a host of ours; `None` is for everything that we did not make, or made too long ago.
    pub fn read(&self, local_part: &str, now: Timestamp) -> Option<Returned> {
        let octets = BASE32_NOPAD.decode(token(local_part)?.to_ascii_uppercase().as_bytes()).ok()?;
        let (payload, tag) = octets.split_at_checked(octets.len().checked_sub(TAG_LENGTH)?)?;
        if !bool::from(self.tag(payload).ct_eq(tag)) {
            return None;
        }
        let (made, rest) = payload.split_first_chunk::<2>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (recipient, rest) = read_number(rest)?;
        let login = <[u8; LOGIN_LENGTH]>::try_from(rest).ok()?;
        // What was made tomorrow was made before the clock was set back.
        let made = u16::from_be_bytes(*made);
        let age = day(now).wrapping_sub(made >> 3) & DAYS;
        let is_good = age == DAYS || u64::from(age) <= self.period.as_secs().div_ceil(DAY.as_secs());
        let notify = Notify { success: made & 4 != 0, failure: made & 2 != 0, delay: made & 1 != 0 };
        is_good.then_some(Returned { copy: CopyId { message: MessageId::from_bytes(*id), recipient }, notify, login })
    }

    fn tag(&self, payload: &[u8]) -> [u8; TAG_LENGTH] {
        let mut mac = self.keyed.clone();
        mac.update(payload);
        let mut tag = [0; TAG_LENGTH];
        for (kept, octet) in tag.iter_mut().zip(mac.finalize().into_bytes()) {
            *kept = octet;
        }
        tag
    }
}

fn token(local_part: &str) -> Option<&str> {
    let (prefix, token) = local_part.split_at_checked(PREFIX.len())?;
    (prefix.eq_ignore_ascii_case(PREFIX) && (48..=LONGEST_TEXT).contains(&token.len())).then_some(token)
}

/// Days are counted modulo 2^13, which is 22 years.
fn day(now: Timestamp) -> u16 {
    u16::try_from((now.as_millis() / 1000 / DAY.as_secs()) & u64::from(DAYS)).unwrap_or_default()
}

fn login_hash(login: &str) -> [u8; LOGIN_LENGTH] {
    let mut hasher = blake3::Hasher::new_derive_key("tubepost 2026-11-26 login of a return path");
    hasher.update(login.as_bytes());
    let mut hash = [0; LOGIN_LENGTH];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

fn push_number(octets: &mut Vec<u8>, mut number: u32) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            octets.push(low);
            return;
        }
        octets.push(low | 0x80);
    }
}

/// Reads LEB128 in its shortest form.
fn read_number(octets: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0_u64;
    for (place, octet) in octets.iter().enumerate().take(5) {
        number |= u64::from(octet & 0x7f) << (7 * place);
        if octet & 0x80 == 0 {
            let is_shortest = place == 0 || *octet != 0;
            return Some((u32::try_from(number).ok().filter(|_| is_shortest)?, octets.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn verp() -> Verp {
        Verp::new([7; 32], Duration::from_hours(24 * 30))
    }

    fn host() -> Domain {
        Domain::parse("bounces.example.com").unwrap()
    }

    fn copy(recipient: u32) -> CopyId {
        CopyId { message: MessageId::from_bytes([9; 16]), recipient }
    }

    #[test]
    fn f3_an_address_stands_for_a_copy_and_fits_into_an_envelope() {
        let address = verp().address(copy(0), Notify::default(), "news", &host(), NOW);
        assert_eq!(address, verp().address(copy(0), Notify::default(), "news", &host(), NOW), "on one day it is always the same");
        assert_eq!((&address.local_part()[..8], address.domain().as_str()), ("bounces+", "bounces.example.com"));
        let longest = verp().address(copy(u32::MAX), Notify::default(), "news", &host(), NOW);
        assert_eq!(longest.local_part().len(), 64);
        let read = verp().read(&longest.local_part().to_ascii_uppercase(), NOW).unwrap();
        assert_eq!(read.copy, copy(u32::MAX));
        assert!(read.is_of("news") && !read.is_of("other"));
    }

    #[test]
    fn f3_forged_and_expired_addresses_are_nobodys() {
        let address = verp().address(copy(1), Notify::NEVER, "news", &host(), NOW);
        let read = |after: u64| verp().read(address.local_part(), NOW.plus(DAY * u32::try_from(after).unwrap())).is_some();
        assert!(read(0) && read(30) && !read(31) && !read(8_000));
        assert!(verp().read(address.local_part(), NOW.minus(DAY)).is_some(), "a clock that was set back");
        assert_eq!(Verp::new([8; 32], DAY).read(address.local_part(), NOW), None);
        for other in ["", "bounces", "bounces+", "bounces+aaaa", "postmaster", &address.local_part().replace('+', "-")] {
            assert_eq!(verp().read(other, NOW), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(id in any::<[u8; 16]>(), recipient in any::<u32>(), login in ".{0,20}", days in 0_u32..31, wanted in any::<[bool; 3]>()) {
            let [success, failure, delay] = wanted;
            let notify = Notify { success, failure, delay };
            let copy = CopyId { message: MessageId::from_bytes(id), recipient };
            let address = verp().address(copy, notify, &login, &host(), NOW);
            prop_assert!(address.local_part().len() <= 64);
            prop_assert!(Verp::has_form(address.local_part()));
            let read = verp().read(address.local_part(), NOW.plus(DAY * days)).unwrap();
            prop_assert_eq!((read.copy, read.notify), (copy, notify));
            prop_assert!(read.is_of(&login));
        }

        #[test]
        fn no_other_spelling_is_read(place in 0_usize..64, other in "[a-z2-7+=A-Z]") {
            let address = verp().address(copy(3), Notify::default(), "news", &host(), NOW);
            let mut changed = address.local_part().to_owned();
            let place = place % changed.len();
            changed.replace_range(place..=place, &other);
            let is_same = changed.eq_ignore_ascii_case(address.local_part());
            prop_assert_eq!(verp().read(&changed, NOW).is_some(), is_same);
        }

        #[test]
        fn nothing_panics(text in ".{0,80}", token in "bounces\\+[a-z2-7]{0,60}") {
            prop_assert_eq!(verp().read(&text, NOW), None);
            prop_assert_eq!(verp().read(&token, NOW), None);
        }
    }
}
