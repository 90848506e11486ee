//! Transparency (RFC 5321 §4.5.2): content between DATA and the line that holds a single dot.
//!
//! A dot behind *any* line feed is doubled, even where a carriage return is missing: a server that takes a bare line feed for the end of a
//! line must not see an end of data that is none.

use bytes::Bytes;
use memchr::memmem;

use super::output::Output;

/// With more dots than this at the start of lines the content is copied: many small pieces cost more than one copy.
const PIECES: usize = 64;

/// Appends `content` with its dots doubled, and the line that ends it.
pub fn push(output: &mut Output, content: &Bytes) {
    let mut start = 0;
    if content.first() == Some(&b'.') {
        output.push_text(b".");
    }
    for (count, found) in memmem::find_iter(content, b"\n.").enumerate() {
        if count == PIECES {
            output.push_shared(stuffed(content.get(start..).unwrap_or_default()));
            start = content.len();
            break;
        }
        output.push_shared(content.slice(start..=found));
        output.push_text(b".");
        start = found + 1;
    }
    output.push_shared(content.slice(start..));
    if !content.is_empty() && !content.ends_with(b"\r\n") {
        output.push_text(b"\r\n");
    }
    output.push_text(b".\r\n");
}

/// `content` begins inside or at the start of a line whose own dot was dealt with.
fn stuffed(content: &[u8]) -> Bytes {
    let mut octets = Vec::with_capacity(content.len() + content.len() / 32);
    let mut start = 0;
    for found in memmem::find_iter(content, b"\n.") {
        octets.extend_from_slice(content.get(start..=found).unwrap_or_default());
        octets.push(b'.');
        start = found + 1;
    }
    octets.extend_from_slice(content.get(start..).unwrap_or_default());
    octets.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use std::io::IoSlice;

    use proptest::prelude::*;

    use super::*;

    fn sent(content: &[u8]) -> Vec<u8> {
        let mut output = Output::default();
        push(&mut output, &Bytes::copy_from_slice(content));
        let mut slices = vec![IoSlice::new(&[]); 1000];
        let used = output.fill(&mut slices);
        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// What a server makes of it: RFC 5321 §4.5.2 backwards.
    fn received(octets: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        let mut rest = octets;
        loop {
            let end = memmem::find(rest, b"\r\n").unwrap() + 2;
            let (line, next) = rest.split_at(end);
            rest = next;
            if line == b".\r\n" {
                assert!(rest.is_empty(), "the end of data comes too early");
                return content;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
    }

    #[test]
    fn dots_are_doubled_at_the_start_of_lines_only() {
        assert_eq!(sent(b"a.b\r\n.c\r\n..\r\n"), b"a.b\r\n..c\r\n...\r\n.\r\n");
        assert_eq!(sent(b"."), b"..\r\n.\r\n");
        assert_eq!(sent(b""), b".\r\n");
        assert_eq!(sent(b"a\n.\nb\r\n"), b"a\n..\nb\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn a_server_gets_what_was_meant(lines in proptest::collection::vec("[.a]{0,5}", 0..400)) {
            let content: String = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect();
            prop_assert_eq!(received(&sent(content.as_bytes())), content.as_bytes());
        }

        #[test]
        fn no_content_ends_the_data_early(content in "[.a\r\n]{0,60}") {
            let octets = sent(content.as_bytes());
            for end in [&b"\n.\r\n"[..], b"\n.\n"] {
                let found = memmem::find(&octets, end);
                prop_assert!(found.is_none_or(|at| at + end.len() == octets.len()), "{:?}", octets);
            }
        }
    }
}
