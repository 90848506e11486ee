//! Character sets to UTF-8.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// Returns `octets` as UTF-8. What cannot be decoded becomes U+FFFD.
///
/// Without a charset, with one that is unknown, and with `us-ascii`, octets that are UTF-8 are taken for that, and others for windows-1252,
/// because that is what such mail holds in practice.
pub fn decode<'a>(charset: Option<&str>, octets: &'a [u8]) -> Cow<'a, str> {
    let charset = charset.unwrap_or_default().trim();
    if is_utf8(charset) {
        return String::from_utf8_lossy(octets);
    }
    let is_known = !charset.is_empty() && !charset.eq_ignore_ascii_case("us-ascii") && !charset.eq_ignore_ascii_case("ascii");
    match charset_decoder(charset.as_bytes()) {
        Some(decoder) if is_known => Cow::Owned(decoder(octets)),
        _ => guess(octets),
    }
}

/// Whether plain ASCII text reads the same under this charset (lower case), so that its label may stay.
pub(crate) fn is_ascii_superset(charset: &str) -> bool {
    is_utf8(charset)
        || ["us-ascii", "ascii", "latin1", "gbk", "gb2312", "gb18030", "big5"].contains(&charset)
        || ["iso-8859-", "windows-125", "koi8-", "euc-"].iter().any(|family| charset.starts_with(family))
}

/// Whether this is a name of UTF-8.
pub(crate) fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

fn guess(octets: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => match charset_decoder(b"windows-1252") {
            Some(decoder) => Cow::Owned(decoder(octets)),
            None => String::from_utf8_lossy(octets),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn charsets_become_utf8() {
        for (charset, octets, text) in [
            (None, &b"caf\xc3\xa9"[..], "café"),
            (None, b"caf\xe9", "café"),
            (Some("US-ASCII"), b"caf\xe9", "café"),
            (Some("utf-8"), b"caf\xe9", "caf\u{fffd}"),
            (Some("ISO-8859-1"), b"caf\xe9", "café"),
            (Some("iso-8859-5"), b"\xbf\xe0\xd8", "При"),
            (Some("iso-2022-jp"), b"\x1b$B%O\x1b(B", "ハ"),
            (Some("gb18030"), b"\xc4\xe3", "你"),
            (Some("no-such-charset"), b"caf\xe9", "café"),
            (Some(""), b"", ""),
        ] {
            assert_eq!(decode(charset, octets), text, "{charset:?}");
        }
    }
}
