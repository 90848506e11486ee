//! Taking inputs apart.

/// Splits at the first line end: what says how, and what it is about. Corpora are text where they can be.
pub(crate) fn directive(octets: &[u8]) -> (&str, &[u8]) {
    let end = octets.iter().position(|octet| *octet == b'\n').unwrap_or(octets.len());
    let (line, rest) = octets.split_at(end);
    (str::from_utf8(line).unwrap_or_default(), rest.get(1..).unwrap_or_default())
}

/// Whether a CR or an LF stands alone: in mail, nobody may write one.
pub(crate) fn has_bare_line_end(octets: &[u8]) -> bool {
    let previous = std::iter::once(&b' ').chain(octets);
    let next = octets.iter().chain(std::iter::once(&b' '));
    previous.zip(next).any(|(previous, next)| (*previous == b'\r') != (*next == b'\n'))
}

/// Ways to cut an input into pieces: those that a protocol has to take for the same input.
pub(crate) fn cuts(octets: &[u8]) -> [Cut<'_>; 3] {
    let seed = octets.iter().fold(octets.len() as u64, |seed, octet| seed.wrapping_mul(31).wrapping_add(u64::from(*octet)));
    [
        Cut { rest: octets, pieces: Pieces::Single },
        Cut { rest: octets, pieces: Pieces::Random(seed | 1) },
        Cut { rest: octets, pieces: Pieces::Whole },
    ]
}

/// An input that comes in pieces.
pub(crate) struct Cut<'a> {
    rest: &'a [u8],
    pieces: Pieces,
}

enum Pieces {
    Single,
    Random(u64),
    Whole,
}

impl<'a> Iterator for Cut<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = match &mut self.pieces {
            Pieces::Single => 1,
            Pieces::Random(state) => 1 + usize::try_from(random(state) % 40).unwrap_or(0),
            Pieces::Whole => usize::MAX,
        };
        let (piece, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

/// The next number of a sequence (xorshift); the same state gives the same sequence.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
