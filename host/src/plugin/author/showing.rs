//! How a message is shown: as text with the line ends of a terminal, and as what changed between two.

use std::fmt::Write as _;

use similar::TextDiff;

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// Returns octets as text: CRLF becomes LF, what is no UTF-8 and what a terminal would act on becomes an escape such as `\xff`.
pub fn readable(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        let mut letters = chunk.valid().chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\r' if letters.peek() == Some(&'\n') => {}
                '\n' | '\t' => text.push(letter),
                _ if letter.is_control() || is_direction(letter) => text.extend(letter.escape_default()),
                _ => text.push(letter),
            }
        }
        for octet in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{octet:02x}");
        }
    }
    text
}

/// Whether a character turns the order of those around it: what is shown would not be what is there.
fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns what changed between two messages, as a unified diff; "" where nothing did.
pub fn diff(before: &[u8], after: &[u8]) -> String {
    if before == after {
        return String::new();
    }
    text_diff(&readable(before), &readable(after), ["before", "after"])
}

/// Returns what changed between two texts, as a unified diff with these names; "" where nothing did.
pub fn text_diff(before: &str, after: &str, [old, new]: [&str; 2]) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(CONTEXT).header(old, new).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_escaped() {
        assert_eq!(readable(b"a\r\nb\rc\n\td"), "a\nb\\rc\n\td");
        assert_eq!(readable("caf\u{e9} \u{1b}[31m\u{202e}".as_bytes()), "café \\u{1b}[31m\\u{202e}");
        assert_eq!(readable(b"caf\xe9\0"), "caf\\xe9\\u{0}");
    }

    #[test]
    fn only_what_changed_is_shown() {
        assert_eq!(diff(b"a\r\nb\r\n", b"a\r\nb\r\n"), "");
        assert_eq!(diff(b"a\r\nb\r\n", b"a\r\nc\r\n"), "--- before\n+++ after\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
    }
}
