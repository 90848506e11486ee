//! Transfer encodings (RFC 2045 §6): which one content needs, and how it is read and written.

use bytes::Bytes;
use memchr::{memchr, memchr2, memchr2_iter};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::mail::header::MAX_LINE;
use crate::mail::header::encoded_word::hex_octet;

/// Octets that become one line of base64 (76 characters, RFC 2045 §6.8).
const BASE64_LINE: usize = 57;

/// Columns of a line of quoted-printable before the `=` of a soft line break (RFC 2045 §6.7 (5)).
const QUOTED_PRINTABLE_COLUMNS: usize = 75;

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
            Self::QuotedPrintable => decode_quoted_printable(body).into(),
            Self::Base64 => decode_base64(body).into(),
        }
    }

    /// Returns how long the content of an encoded body is.
    pub(super) fn decoded_length(self, body: &[u8]) -> usize {
        match self {
            Self::SevenBit | Self::EightBit | Self::Binary => body.len(),
            Self::QuotedPrintable => decode_quoted_printable(body).len(),
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

/// Reads by RFC 2045 §6.7; what is no escape stays as it is.
fn decode_quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(body.len());
    let mut rest = body;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest);
        let (line, tail) = rest.split_at_checked(end.map_or(rest.len(), |end| end + 1)).unwrap_or((rest, &[]));
        rest = tail;
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let line_end = line.get(text.len()..).unwrap_or_default();
        // Blanks at the end of a line were added on the way (rule 3). At the end of all they may be content.
        let text = if line_end.is_empty() { text } else { trim_blanks(text) };
        if let Some(text) = text.strip_suffix(b"=") {
            decode_escapes(text, &mut octets);
        } else {
            decode_escapes(text, &mut octets);
            octets.extend_from_slice(line_end);
        }
    }
    octets
}

fn trim_blanks(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|octet| *octet != b' ' && *octet != b'\t').map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

fn decode_escapes(mut text: &[u8], octets: &mut Vec<u8>) {
    while let Some(place) = memchr(b'=', text) {
        let (before, escape) = text.split_at_checked(place).unwrap_or((text, &[]));
        octets.extend_from_slice(before);
        let octet = escape.get(1..3).and_then(hex_octet);
        octets.push(octet.unwrap_or(b'='));
        text = escape.get(if octet.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    octets.extend_from_slice(text);
}

/// What follows the octets that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// A line end of the content, or nothing more: a blank before it has to be encoded.
    Hard,
    /// More of the same line.
    Soft,
}

/// Writes quoted-printable in several steps.
pub(super) struct QuotedPrintable {
    kind: Kind,
    octets: Vec<u8>,
    column: usize,
}

/// Octets that stand for themselves: printable ASCII but `=`, and blanks, which need care at the end of a line only.
const IS_LITERAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 32;
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    while octet < 127 {
        table[octet] = octet != 61;
        octet += 1;
    }
    table[9] = true;
    table
};

impl QuotedPrintable {
    /// Appends to `octets`, from the start of a line.
    pub(super) fn new(kind: Kind, octets: Vec<u8>) -> Self {
        Self { kind, octets, column: 0 }
    }

    /// Appends to `octets`, whose last line has this many columns.
    pub(super) fn at_column(kind: Kind, octets: Vec<u8>, column: usize) -> Self {
        Self { kind, octets, column }
    }

    pub(super) fn column(&self) -> usize {
        self.column
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    /// Writes content. In text, CRLF are line ends; everywhere else CR and LF are octets as others.
    pub(super) fn write(&mut self, content: &[u8], end: LineEnd) {
        let mut rest = content;
        if self.kind != Kind::Data {
            let mut from = 0;
            while let Some(found) = rest.get(from..).and_then(|tail| memchr(b'\n', tail)) {
                let place = from + found;
                let Some(line) = rest.get(..place).and_then(|line| line.strip_suffix(b"\r")) else {
                    from = place + 1;
                    continue;
                };
                self.line(line, LineEnd::Hard);
                self.line_end();
                rest = rest.get(place + 1..).unwrap_or_default();
                from = 0;
            }
        }
        self.line(rest, end);
    }

    /// Ends a line of the content.
    fn line_end(&mut self) {
        self.octets.extend_from_slice(b"\r\n");
        self.column = 0;
    }

    /// Ends a line of the encoding, unless it has just begun.
    fn soft_break(&mut self) {
        if self.column > 0 {
            self.octets.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
    }

    fn line(&mut self, line: &[u8], end: LineEnd) {
        // A blank at the end is encoded, so that it is not taken for one that was added on the way.
        let (line, last) = match line.split_last() {
            Some((last @ (b' ' | b'\t'), before)) if end == LineEnd::Hard => (before, Some(*last)),
            _ => (line, None),
        };
        let mut rest = line;
        while let Some(first) = rest.first() {
            // A line that we begin could be taken for a boundary; those of the content were seen when it was taken apart.
            let is_dash = || *first == b'-' && self.octets.ends_with(b"=\r\n");
            let is_trap = self.column == 0 && (*first == b'.' || is_dash() || rest.starts_with(b"From "));
            let room = QUOTED_PRINTABLE_COLUMNS.saturating_sub(self.column);
            let window = rest.get(..room).unwrap_or(rest);
            let run = if is_trap { 0 } else { literal_run(window) };
            if run > 0 {
                let (literal, tail) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                self.octets.extend_from_slice(literal);
                self.column += run;
                rest = tail;
            }
            // The line is full, or the next octet is escaped.
            if run == room && !rest.is_empty() {
                self.soft_break();
            } else if run < window.len()
                && let Some((octet, tail)) = rest.split_first()
            {
                self.escape(*octet);
                rest = tail;
            }
        }
        if let Some(blank) = last {
            self.escape(blank);
        }
    }

    fn escape(&mut self, octet: u8) {
        if self.column + 3 > QUOTED_PRINTABLE_COLUMNS {
            self.soft_break();
        }
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
        self.octets.extend_from_slice(&[b'=', digit(octet >> 4), digit(octet & 15)]);
        self.column += 3;
    }
}

/// How many octets from the start on stand for themselves.
fn literal_run(octets: &[u8]) -> usize {
    octets.iter().position(|octet| !IS_LITERAL.get(usize::from(*octet)).copied().unwrap_or(false)).unwrap_or(octets.len())
}

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
    fn line_ends_become_crlf() {
        for (text, normal) in [("", ""), ("a\r\nb", "a\r\nb"), ("a\nb\rc\r\n\n", "a\r\nb\r\nc\r\n\r\n"), ("\r\r\n", "\r\n\r\n")] {
            assert_eq!(normalize_line_ends(text), normal);
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
