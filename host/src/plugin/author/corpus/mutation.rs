//! A newsletter that was harmed on its way: cut off, flipped, shuffled, repeated. The same harm every time.

use super::{Group, newsletter};
use crate::clock::Entropy;

/// How often each kind of harm is done.
const ROUNDS: usize = 20;

pub(super) fn fill(group: &mut Group) {
    let whole = newsletter();
    let mut dice = Dice(Entropy::seeded(0x7475_6265));
    for round in 1..ROUNDS {
        let kept = whole.len() * round / ROUNDS;
        group.broken(format!("cut-at-{kept}"), whole.get(..kept).unwrap_or_default());
        group.broken(format!("begun-at-{kept}"), whole.get(kept..).unwrap_or_default());
    }
    for round in 0..ROUNDS {
        let mut octets = whole.clone();
        for _ in 0..=round * 4 {
            let place = dice.below(octets.len());
            let other = u8::try_from(dice.below(256)).unwrap_or_default();
            if let Some(octet) = octets.get_mut(place) {
                *octet = other;
            }
        }
        group.broken(format!("flipped-{round}"), octets);
    }
    let lines: Vec<&[u8]> = whole.split_inclusive(|octet| *octet == b'\n').collect();
    for round in 0..ROUNDS {
        let mut mixed = lines.clone();
        for _ in 0..=round {
            let (one, other) = (dice.below(mixed.len()), dice.below(mixed.len()));
            mixed.swap(one, other);
        }
        group.broken(format!("lines-swapped-{round}"), mixed.concat());
        let dropped = dice.below(lines.len());
        let without: Vec<&[u8]> =
            lines.iter().enumerate().filter(|(place, _)| *place != dropped && place % (round + 7) != 3).map(|(_, line)| *line).collect();
        group.broken(format!("lines-lost-{round}"), without.concat());
    }
    for round in 0..ROUNDS {
        let (start, length) = (dice.below(whole.len()), 1 + dice.below(200));
        let piece = whole.get(start..(start + length).min(whole.len())).unwrap_or_default();
        let mut octets = whole.clone();
        let place = dice.below(octets.len());
        octets.splice(place..place, piece.repeat(1 + round));
        group.broken(format!("repeated-{round}"), octets);
    }
}

/// Numbers that look random and are always the same.
struct Dice(Entropy);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        let number = u64::from_le_bytes(self.0.array());
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(number % limit).unwrap_or_default()
    }
}
