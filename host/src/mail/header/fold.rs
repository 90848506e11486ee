//! Folding (RFC 5322 §2.2.3): where the lines of a field end.

use super::encoded_word;
use super::{MAX_LINE, MAX_WORD};

/// Columns of a line that should not be passed (RFC 5322 §2.1.1).
const TARGET: usize = 78;

/// Columns of a line with an encoded word (RFC 2047 §2).
const ENCODED_TARGET: usize = 76;

/// Writes one field, word by word. A line ends before a blank, and never before the first word: some readers take an empty first line for
/// an empty field.
pub(super) struct Folder {
    octets: Vec<u8>,
    /// Octets on the present line.
    column: usize,
    /// Blanks that stand before the next word.
    blanks: String,
    has_word: bool,
}

impl Folder {
    pub(super) fn new(name: &str, value_length: usize) -> Self {
        let mut octets = Vec::with_capacity(name.len() + value_length + value_length / 16 + 8);
        octets.extend_from_slice(name.as_bytes());
        octets.push(b':');
        Self { column: octets.len(), octets, blanks: " ".to_owned(), has_word: false }
    }

    /// Says that blanks stand before the next word.
    pub(super) fn blank(&mut self) {
        self.blanks.push(' ');
    }

    /// Writes text, which may be folded at its blanks.
    pub(super) fn words(&mut self, text: &str) {
        for (place, word) in text.split(' ').enumerate() {
            if place > 0 {
                self.blanks.push(' ');
            }
            // A tab is a place to fold too, but hardly anybody writes one: it stays with its word, if it has one.
            if word.bytes().all(|octet| octet == b'\t') {
                self.blanks.push_str(word);
            } else {
                self.word(word);
            }
        }
    }

    /// Writes a word that cannot be folded.
    pub(super) fn word(&mut self, word: &str) {
        self.word_within(word, TARGET);
    }

    /// Writes text as encoded words.
    pub(super) fn encoded(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut room = ENCODED_TARGET.saturating_sub(self.column + self.blanks.len());
        if room < 30 && self.has_word && !self.blanks.is_empty() {
            room = ENCODED_TARGET;
        }
        for (place, word) in encoded_word::encode(text, room).into_iter().enumerate() {
            if place > 0 {
                self.blanks.push(' ');
            }
            self.word_within(&word, ENCODED_TARGET);
        }
    }

    /// Writes what has no place to fold, with blanks put in where a line would be too long.
    pub(super) fn pieces(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.floor_char_boundary(MAX_WORD));
            self.words(piece);
            if !tail.is_empty() {
                self.blanks.push(' ');
            }
            rest = tail;
        }
    }

    fn word_within(&mut self, word: &str, target: usize) {
        if word.is_empty() {
            return;
        }
        if self.has_word && !self.blanks.is_empty() && self.column + self.blanks.len() + word.len() > target {
            self.octets.extend_from_slice(b"\r\n");
            self.column = 0;
        }
        self.octets.extend_from_slice(self.blanks.as_bytes());
        self.octets.extend_from_slice(word.as_bytes());
        self.column += self.blanks.len() + word.len();
        self.blanks.clear();
        self.has_word = true;
    }

    /// Returns the field; `None` if a line is too long.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        if !self.has_word {
            self.octets.push(b' ');
        }
        let fits = self.octets.split(|octet| *octet == b'\n').all(|line| line.len() <= MAX_LINE);
        self.octets.extend_from_slice(b"\r\n");
        fits.then_some(self.octets)
    }
}
