//! Replacements in a text, applied in one pass.

use std::ops::Range;

/// Replacements that do not overlap, collected in any order.
#[derive(Debug, Default)]
pub(crate) struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn replace(&mut self, range: Range<usize>, with: String) {
        self.0.push((range, with));
    }

    pub(crate) fn insert(&mut self, at: usize, text: String) {
        self.0.push((at..at, text));
    }

    /// The text with all replacements. One that overlaps an earlier one, or lies outside the text, is left out.
    pub(crate) fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|(range, _)| range.start);
        let added: usize = self.0.iter().map(|(_, with)| with.len()).sum();
        let mut result = String::with_capacity(text.len() + added);
        let mut done = 0;
        for (range, with) in &self.0 {
            if let Some(kept) = text.get(done..range.start)
                && text.is_char_boundary(range.end)
            {
                result.push_str(kept);
                result.push_str(with);
                done = range.end;
            }
        }
        result.push_str(text.get(done..).unwrap_or_default());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_applied_in_order_and_never_overlap() {
        let mut edits = Edits::default();
        edits.insert(5, "!".to_owned());
        edits.replace(0..1, "H".to_owned());
        edits.replace(0..3, "lost".to_owned());
        edits.replace(9..10, "lost".to_owned());
        assert_eq!(edits.apply("hello"), "Hello!");
    }
}
