//! How large the copies of a message become, reckoned without making them.

/// A copy would be larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// What decides how large a copy becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Octets that are the same for all.
    pub fixed: usize,
    /// How often each slot is filled in, by its number.
    pub times: Vec<usize>,
}

/// Octets that one of a value becomes at most: six of a quotation mark in HTML, three in quoted-printable, a little more with line ends; in
/// a header field three, and as much again for the frames of encoded words.
const GROWTH: usize = 7;

/// Octets that a place takes beyond its value: line ends around it, the frame of an encoded word.
const PLACE: usize = 80;

impl Places {
    pub(super) fn new(slots: usize) -> Self {
        Self { fixed: 0, times: vec![0; slots] }
    }

    pub(super) fn with_fixed(mut self, fixed: usize) -> Self {
        self.fixed = fixed;
        self
    }

    /// Counts a place of a slot.
    pub(super) fn add(&mut self, index: u32) {
        if let Some(times) = usize::try_from(index).ok().and_then(|index| self.times.get_mut(index)) {
            *times += 1;
        }
    }

    /// Returns how many octets a value of this length takes at most in one place.
    pub fn value_at_most(length: usize) -> usize {
        length.saturating_mul(GROWTH).saturating_add(PLACE)
    }
}
