//! Quoted-printable (RFC 2045 §6.7), read and written.

use memchr::memchr;

use super::Kind;
use crate::mail::header::encoded_word::hex_octet;

/// Columns of a line of quoted-printable before the `=` of a soft line break (RFC 2045 §6.7 (5)).
const COLUMNS: usize = 75;

/// Reads by RFC 2045 §6.7; what is no escape stays as it is.
pub(super) fn decode(body: &[u8]) -> Vec<u8> {
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
pub(in crate::mail::content) enum LineEnd {
    /// A line end of the content, or nothing more: a blank before it has to be encoded.
    Hard,
    /// More of the same line.
    Soft,
}

/// Writes quoted-printable in several steps.
pub(in crate::mail::content) struct QuotedPrintable {
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
    pub(in crate::mail::content) fn new(kind: Kind, octets: Vec<u8>) -> Self {
        Self { kind, octets, column: 0 }
    }

    /// Appends to `octets`, whose last line has this many columns.
    pub(in crate::mail::content) fn at_column(kind: Kind, octets: Vec<u8>, column: usize) -> Self {
        Self { kind, octets, column }
    }

    pub(in crate::mail::content) fn column(&self) -> usize {
        self.column
    }

    pub(in crate::mail::content) fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    /// Writes content. In text, CRLF are line ends; everywhere else CR and LF are octets as others.
    pub(in crate::mail::content) fn write(&mut self, content: &[u8], end: LineEnd) {
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
            let room = COLUMNS.saturating_sub(self.column);
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
        if self.column + 3 > COLUMNS {
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
