//! Line ends of text: CRLF, whatever it had.

use bytes::Bytes;
use memchr::{memchr2, memchr2_iter};

/// Returns text with CRLF for each CR, LF or CRLF.
pub(super) fn normalize_line_ends(text: &str) -> Bytes {
    let octets = text.as_bytes();
    if is_crlf(octets) { Bytes::copy_from_slice(octets) } else { to_crlf(octets).into() }
}

/// Whether each CR is followed by LF, and each LF stands behind a CR.
pub(super) fn is_crlf(octets: &[u8]) -> bool {
    memchr2_iter(b'\r', b'\n', octets).all(|place| match octets.get(place) {
        Some(b'\r') => octets.get(place + 1) == Some(&b'\n'),
        _ => place > 0 && octets.get(place - 1) == Some(&b'\r'),
    })
}

pub(super) fn to_crlf(octets: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut rest = octets;
    while let Some(place) = memchr2(b'\r', b'\n', rest) {
        let (line, end) = rest.split_at_checked(place).unwrap_or((rest, &[]));
        normal.extend_from_slice(line);
        normal.extend_from_slice(b"\r\n");
        rest = end.get(if end.starts_with(b"\r\n") { 2 } else { 1 }..).unwrap_or_default();
    }
    normal.extend_from_slice(rest);
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf() {
        for (text, normal) in [("", ""), ("a\r\nb", "a\r\nb"), ("a\nb\rc\r\n\n", "a\r\nb\r\nc\r\n\r\n"), ("\r\r\n", "\r\n\r\n")] {
            assert_eq!(normalize_line_ends(text), normal);
        }
    }
}
