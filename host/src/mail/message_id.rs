//! Our id of a message, and of one recipient's copy of it. What stands in the `Message-ID` header field is another thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::{Entropy, Timestamp};

/// Names one accepted message in replies, events, the queue and the APIs.
///
/// 48 bits of milliseconds since 1970 and 80 random bits: ids sort by age, cannot be guessed, and need nobody to hand them out. Written
/// as 26 characters of Crockford's base 32, as a ULID is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

/// The text is no message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message id: 26 letters and digits are expected")]
pub struct MessageIdError;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl MessageId {
    /// Makes an id for a message that arrives `now`.
    pub fn new(now: Timestamp, entropy: &Entropy) -> Self {
        let mut random = [0_u8; 16];
        if let Some(low) = random.get_mut(6..) {
            entropy.fill(low);
        }
        let time = u128::from(now.as_millis() & 0xffff_ffff_ffff) << 80;
        Self(time | u128::from_be_bytes(random))
    }

    /// Makes an id of its 16 octets.
    pub const fn from_bytes(octets: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(octets))
    }

    /// Returns the 16 octets, which sort as the ids do.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Returns when the message arrived.
    pub const fn received(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 80) as u64)
    }

    /// Returns a positive number for the APIs that answer with one: 41 bits of milliseconds since 2020, enough until 2089, and 12 random bits.
    ///
    /// Below 2^53, so that clients whose numbers are IEEE 754 doubles, JavaScript's among them, read all of its digits.
    pub const fn to_number(self) -> u64 {
        const YEAR_2020: u64 = 1_577_836_800_000;
        let random = (self.0 >> 68) as u64 & 0xfff;
        ((self.received().as_millis().wrapping_sub(YEAR_2020) & 0x1ff_ffff_ffff) << 12) | random
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        for (place, octet) in text.iter_mut().enumerate() {
            let five_bits = (self.0 >> (125 - 5 * place)) & 31;
            *octet = ALPHABET.get(usize::try_from(five_bits).unwrap_or(0)).copied().unwrap_or(b'0');
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;
    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        if text.len() != 26 {
            return Err(MessageIdError);
        }
        let mut value = 0_u128;
        for octet in text.bytes() {
            let digit = ALPHABET.iter().position(|known| known.eq_ignore_ascii_case(&octet)).ok_or(MessageIdError)?;
            if value >> 123 != 0 {
                return Err(MessageIdError);
            }
            value = (value << 5) | u128::try_from(digit).unwrap_or(0);
        }
        Ok(Self(value))
    }
}

impl Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.to_bytes().serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self::from_bytes)
        }
    }
}

/// One recipient's copy of a message: the message's id alone for the first, `ID-2` for the second, and so on.
///
/// The APIs that answer with an id per recipient hand these out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CopyId {
    /// The message.
    pub message: MessageId,
    /// Place of the recipient in the envelope, from 0.
    pub recipient: u32,
}

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.recipient {
            0 => self.message.fmt(f),
            n => write!(f, "{}-{}", self.message, u64::from(n) + 1),
        }
    }
}

impl FromStr for CopyId {
    type Err = MessageIdError;
    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let Some((message, number)) = text.split_once('-') else {
            return Ok(Self { message: text.parse()?, recipient: 0 });
        };
        let number: u32 = number.parse().map_err(|_| MessageIdError)?;
        let recipient = number.checked_sub(1).filter(|index| *index > 0).ok_or(MessageIdError)?;
        Ok(Self { message: message.parse()?, recipient })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_sort_by_age_and_tell_it() {
        let entropy = Entropy::seeded(1);
        let early = MessageId::new(Timestamp::from_millis(1_700_000_000_000), &entropy);
        let late = MessageId::new(Timestamp::from_millis(1_700_000_000_001), &entropy);
        assert!(early < late && early.to_string() < late.to_string() && early.to_number() < late.to_number());
        assert_eq!(early.received(), Timestamp::from_millis(1_700_000_000_000));
    }

    #[test]
    fn copies_are_numbered_from_the_second_on() {
        let message = MessageId::from_bytes([7; 16]);
        assert_eq!(CopyId { message, recipient: 0 }.to_string(), message.to_string());
        assert_eq!(CopyId { message, recipient: 1 }.to_string(), format!("{message}-2"));
        for bad in ["", "x", "-2", "0123456789ABCDEFGHJKMNPQRS-1", "0123456789ABCDEFGHJKMNPQRS-x", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ"] {
            assert!(bad.parse::<CopyId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_value_are_the_same(octets: [u8; 16], recipient: u32) {
            let copy = CopyId { message: MessageId::from_bytes(octets), recipient: recipient % u32::MAX };
            prop_assert_eq!(copy.to_string().parse::<CopyId>(), Ok(copy));
            prop_assert!(copy.message.to_number() < 1 << 53);
        }
    }
}
