//! Which messages a plugin gets that has a part of them only.

use crate::config::Share;
use crate::mail::message_id::MessageId;

/// All of them, in the unit of [`Share`].
const ALL: u64 = 1_000_000;

/// Whether a message is in a plugin's part. The answer is the same in every process, so that a message is in or out wherever it is asked.
pub(super) fn takes(share: Share, message: MessageId, plugin: &str) -> bool {
    let mut hasher = blake3::Hasher::new_derive_key("tubepost share of a plugin 0.1");
    hasher.update(&message.to_bytes());
    hasher.update(plugin.as_bytes());
    let mut octets = [0; 8];
    hasher.finalize_xof().fill(&mut octets);
    u64::from_le_bytes(octets) % ALL < u64::from(share.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_is_as_large_as_it_should_be_and_another_for_each_plugin() {
        let ids: Vec<MessageId> = (0..20_000_u128).map(|number| MessageId::from_bytes(number.to_be_bytes())).collect();
        let taken = |share: u32, plugin: &str| ids.iter().map(|id| takes(Share(share), *id, plugin)).collect::<Vec<_>>();
        let count = |taken: &[bool]| taken.iter().filter(|taken| **taken).count();
        assert_eq!((count(&taken(0, "a")), count(&taken(1_000_000, "a"))), (0, 20_000));
        let (five, ten, other) = (taken(50_000, "a"), taken(100_000, "a"), taken(50_000, "b"));
        assert!((900..1_100).contains(&count(&five)), "{}", count(&five));
        assert!(five.iter().zip(&ten).all(|(five, ten)| *ten || !five), "a larger part has the smaller one in it");
        assert!(five.iter().zip(&other).filter(|(one, other)| **one && **other).count() < 150);
    }
}
