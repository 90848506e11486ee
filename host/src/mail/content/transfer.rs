//! Transfer encodings (RFC 2045 §6): which one content needs, and how it is read and written.

mod quoted_printable;

use bytes::Bytes;
use memchr::memchr;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::mail::header::MAX_LINE;
pub(super) use quoted_printable::{LineEnd, QuotedPrintable};

/// Octets that become one line of base64 (76 characters, RFC 2045 §6.8).
const BASE64_LINE: usize = 57;

/// Without padding, with stray bits, as some senders write it.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// `Content-Transfer-Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferEncoding {
    SevenBit,
    EightBit,
    /// Includes what we do not know: its octets are its content.
    Binary,
    QuotedPrintable,
    Base64,
}

impl TransferEncoding {
    /// Reads the value of the field; without one it is 7bit.
    pub(super) fn parse(value: Option<&str>) -> Self {
        let Some(value) = value.map(|value| value.trim().trim_end_matches(';')) else { return Self::SevenBit };
        let known =
            [("7bit", Self::SevenBit), ("8bit", Self::EightBit), ("quoted-printable", Self::QuotedPrintable), ("base64", Self::Base64)];
        known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(value)).map_or(Self::Binary, |(_, encoding)| encoding)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::Binary => "binary",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }

    /// Returns the encoding for new content in the place of content with this one. It stays where it can carry the new content, so that
    /// the header need not change.
    pub(super) fn for_content(self, content: &[u8], kind: Kind) -> Self {
        match (self, kind) {
            (Self::QuotedPrintable, _) => Self::QuotedPrintable,
            (Self::Base64, Kind::Data) => Self::Base64,
            (Self::SevenBit | Self::EightBit, _) if is_seven_bit(content) => self,
            _ if is_seven_bit(content) => Self::SevenBit,
            (_, Kind::Message) if has_short_lines(content) => Self::EightBit,
            (_, Kind::Text) => Self::QuotedPrintable,
            (_, Kind::Data | Kind::Message) => Self::Base64,
        }
    }

    /// Returns the content of an encoded body; shares it where the body is not encoded.
    pub(super) fn decode(self, body: &Bytes) -> Bytes {
        match self {
            Self::SevenBit | Self::EightBit | Self::Binary => body.clone(),
            Self::QuotedPrintable => quoted_printable::decode(body).into(),
            Self::Base64 => decode_base64(body).into(),
        }
    }

    /// Returns how long the content of an encoded body is.
    pub(super) fn decoded_length(self, body: &[u8]) -> usize {
        match self {
            Self::SevenBit | Self::EightBit | Self::Binary => body.len(),
            Self::QuotedPrintable => quoted_printable::decode(body).len(),
            // Padding ends a quantum, wherever it stands.
            Self::Base64 => {
                body.split(|octet| *octet == b'=').map(|run| run.iter().filter(|octet| is_base64(**octet)).count() * 3 / 4).sum()
            }
        }
    }

    /// Returns about how long this content is when it is encoded: escapes take three octets, so that they are counted.
    pub(super) fn encoded_length_of(self, content: &[u8]) -> usize {
        let escapes = match self {
            Self::QuotedPrintable => content.iter().filter(|octet| !octet.is_ascii() || **octet == b'=').count(),
            Self::SevenBit | Self::EightBit | Self::Binary | Self::Base64 => 0,
        };
        self.encoded_length(content.len() + 2 * escapes)
    }

    /// Returns about how long content is when it is encoded, if nothing in it needs an escape.
    pub(super) fn encoded_length(self, content_length: usize) -> usize {
        match self {
            Self::SevenBit | Self::EightBit | Self::Binary => content_length,
            Self::QuotedPrintable => content_length + content_length / 12,
            Self::Base64 => content_length.div_ceil(BASE64_LINE) * 78,
        }
    }

    /// Returns the body for this content; shares it where the body is not encoded.
    pub(super) fn encode(self, content: &Bytes, kind: Kind) -> Bytes {
        match self {
            Self::SevenBit | Self::EightBit | Self::Binary => content.clone(),
            Self::QuotedPrintable => {
                let mut writer = QuotedPrintable::new(kind, Vec::with_capacity(self.encoded_length_of(content)));
                writer.write(content, LineEnd::Hard);
                writer.into_octets().into()
            }
            Self::Base64 => encode_base64(content).into(),
        }
    }
}

/// What content is, for its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lines, to be readable where that is possible.
    Text,
    /// Anything.
    Data,
    /// A message or a part of one: may not be encoded (RFC 2046 §5.2.1) unless there is no other way.
    Message,
}

/// Whether all is ASCII without NUL, in lines of at most 998 octets that end in CRLF (RFC 2045 §2.7).
pub(super) fn is_seven_bit(content: &[u8]) -> bool {
    content.is_ascii() && memchr(0, content).is_none() && has_short_lines(content)
}

fn has_short_lines(content: &[u8]) -> bool {
    let mut rest = content;
    while let Some(end) = memchr(b'\n', rest) {
        let (line, tail) = rest.split_at_checked(end + 1).unwrap_or((rest, &[]));
        let Some(line) = line.strip_suffix(b"\r\n") else { return false };
        if line.len() > MAX_LINE || memchr(b'\r', line).is_some() {
            return false;
        }
        rest = tail;
    }
    rest.len() <= MAX_LINE && memchr(b'\r', rest).is_none()
}

fn is_base64(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'+' || octet == b'/'
}

fn decode_base64(body: &[u8]) -> Vec<u8> {
    let mut characters = Vec::with_capacity(body.len());
    for line in body.split(|octet| *octet == b'\n') {
        characters.extend_from_slice(line.trim_ascii());
    }
    TOLERANT.decode(&characters).unwrap_or_else(|_| decode_broken_base64(&characters))
}

/// Leaves out what is no base64, as RFC 2045 §6.8 wants; padding in the middle ends a quantum, not the content.
fn decode_broken_base64(characters: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(characters.len() / 4 * 3);
    let mut bits = 0_u32;
    let mut count = 0_u32;
    for character in characters {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                count = 0;
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            #[expect(clippy::cast_possible_truncation, reason = "the lowest eight bits are wanted")]
            octets.push((bits >> count) as u8);
        }
    }
    octets
}

/// Writes lines of 76 characters, the last one without a line end.
fn encode_base64(content: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(TransferEncoding::Base64.encoded_length(content.len()));
    let mut line = [0; 76];
    for chunk in content.chunks(BASE64_LINE) {
        if !octets.is_empty() {
            octets.extend_from_slice(b"\r\n");
        }
        if let Ok(length) = STANDARD.encode_slice(chunk, &mut line) {
            octets.extend_from_slice(line.get(..length).unwrap_or_default());
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(content: &[u8], kind: Kind) -> Vec<u8> {
        TransferEncoding::QuotedPrintable.encode(&Bytes::copy_from_slice(content), kind).to_vec()
    }

    #[test]
    fn quoted_printable_is_written() {
        for (content, body) in [
            ("", ""),
            ("plain\r\ntext\r\n", "plain\r\ntext\r\n"),
            ("a = b", "a =3D b"),
            ("blank \r\ntab\t", "blank=20\r\ntab=09"),
            ("é", "=C3=A9"),
            (".dot\r\nx.\r\nFrom here\r\nFromage", "=2Edot\r\nx.\r\n=46rom here\r\nFromage"),
            ("bare\nlf\rcr", "bare=0Alf=0Dcr"),
        ] {
            assert_eq!(String::from_utf8(quoted(content.as_bytes(), Kind::Text)).as_deref(), Ok(body));
        }
        assert_eq!(quoted(b"a\r\nb", Kind::Data), b"a=0D=0Ab");
        let long = quoted(&[b'x'; 200], Kind::Text);
        assert_eq!(long, [[b'x'; 75].as_slice(), b"=\r\n", &[b'x'; 75], b"=\r\n", &[b'x'; 50]].concat());
    }

    #[test]
    fn a_soft_line_break_makes_no_boundary() {
        let content = format!("{}--b\r\n-- \r\n", "x".repeat(75));
        let body = format!("{}=\r\n=2D-b\r\n--=20\r\n", "x".repeat(75));
        assert_eq!(String::from_utf8(quoted(content.as_bytes(), Kind::Text)), Ok(body));
    }

    #[test]
    fn broken_encodings_are_read() {
        for (encoding, body, content) in [
            (TransferEncoding::QuotedPrintable, &b"a=\r\nb= \t\r\nc \r\nd=3"[..], &b"abc\r\nd=3"[..]),
            (TransferEncoding::QuotedPrintable, b"=c3=A9==41=\n=", "é=A".as_bytes()),
            (TransferEncoding::Base64, b"YWJj\r\nZGVm\r\n", b"abcdef"),
            (TransferEncoding::Base64, b" YW Jj Z", b"abc"),
            (TransferEncoding::Base64, b"YQ==YmM=", b"abc"),
            (TransferEncoding::Base64, b"YQ", b"a"),
            (TransferEncoding::Base64, b"!YWJj\r\nYQ=Y=\r\nY", b"abca"),
        ] {
            assert_eq!(encoding.decoded_length(body), content.len(), "{body:?}");
            assert_eq!(encoding.decode(&Bytes::copy_from_slice(body)), content, "{body:?}");
        }
    }

    #[test]
    fn an_encoding_stays_where_it_can() {
        use TransferEncoding::{Base64, Binary, EightBit, QuotedPrintable, SevenBit};
        let long = "x".repeat(999);
        for (present, content, kind, chosen) in [
            (SevenBit, "a\r\n", Kind::Text, SevenBit),
            (EightBit, "a", Kind::Text, EightBit),
            (EightBit, "é", Kind::Text, QuotedPrintable),
            (Base64, "a", Kind::Text, SevenBit),
            (Base64, "a", Kind::Data, Base64),
            (QuotedPrintable, "a", Kind::Text, QuotedPrintable),
            (SevenBit, "a\n", Kind::Text, QuotedPrintable),
            (SevenBit, &long, Kind::Text, QuotedPrintable),
            (Binary, "\0", Kind::Data, Base64),
            (SevenBit, "é", Kind::Message, EightBit),
        ] {
            assert_eq!(present.for_content(content.as_bytes(), kind), chosen, "{present:?} {content:?}");
        }
    }

    proptest! {
        #[test]
        fn encodings_are_read_as_they_were_written(
            content in prop::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'='), Just(b'\r'), Just(b'\n'), b'a'..b'f'], 0..600),
        ) {
            let content = Bytes::from(content);
            for kind in [Kind::Text, Kind::Data, Kind::Message] {
                for encoding in [TransferEncoding::QuotedPrintable, TransferEncoding::Base64] {
                    let body = encoding.encode(&content, kind);
                    prop_assert_eq!(encoding.decode(&body), content.clone(), "{:?}", body);
                    prop_assert_eq!(encoding.decoded_length(&body), content.len());
                    prop_assert!(is_seven_bit(&body));
                    prop_assert!(body.split(|octet| *octet == b'\n').all(|line| line.len() <= 77 && !line.ends_with(b" \r")));
                }
            }
        }

        #[test]
        fn anything_can_be_decoded(body: Vec<u8>) {
            let body = Bytes::from(body);
            for encoding in [TransferEncoding::QuotedPrintable, TransferEncoding::Base64] {
                prop_assert_eq!(encoding.decode(&body).len(), encoding.decoded_length(&body));
            }
        }
    }
}
