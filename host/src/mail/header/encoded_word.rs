//! Encoded words (RFC 2047): text that is not ASCII, in header fields that are.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use memchr::memmem;

use super::charset;

/// Longest encoded word (RFC 2047 §2).
pub(crate) const MAX_ENCODED_WORD: usize = 75;

const PREFIX_B: &str = "=?utf-8?B?";
const PREFIX_Q: &str = "=?utf-8?Q?";
const SUFFIX: &str = "?=";

/// Longest encoded word that is read: more than any sender writes, and little enough that a field full of beginnings costs no time.
const LONGEST_READ: usize = 2_000;

/// Room that an encoded word needs around its text.
const OVERHEAD: usize = PREFIX_B.len() + SUFFIX.len();

/// Senders leave the padding off, and some put stray bits in the last character.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Returns `text` with its encoded words decoded. Blanks between two encoded words belong to the encoding and go.
///
/// What only looks like an encoded word stays. Neighbours of the same charset are decoded together: senders cut characters in two.
pub fn decode(text: &str) -> Cow<'_, str> {
    if memmem::find(text.as_bytes(), b"=?").is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut pending: Option<(&str, Vec<u8>)> = None;
    let mut rest = text;
    while let Some(start) = rest.find("=?") {
        let (before, candidate) = rest.split_at_checked(start).unwrap_or((rest, ""));
        let Some(word) = EncodedWord::parse(candidate) else {
            flush(&mut pending, &mut decoded);
            decoded.push_str(before);
            decoded.push_str("=?");
            rest = candidate.get(2..).unwrap_or_default();
            continue;
        };
        let joins = pending.is_some() && before.bytes().all(|octet| octet == b' ' || octet == b'\t');
        if !joins {
            flush(&mut pending, &mut decoded);
            decoded.push_str(before);
        }
        match &mut pending {
            Some((charset, octets)) if charset.eq_ignore_ascii_case(word.charset) => octets.extend_from_slice(&word.octets),
            _ => {
                flush(&mut pending, &mut decoded);
                pending = Some((word.charset, word.octets));
            }
        }
        rest = candidate.get(word.length..).unwrap_or_default();
    }
    flush(&mut pending, &mut decoded);
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn flush(pending: &mut Option<(&str, Vec<u8>)>, decoded: &mut String) {
    if let Some((charset, octets)) = pending.take() {
        // What was hidden in an encoded word must not become a line end, or anything else that a field cannot hold.
        decoded.push_str(&without_controls(&charset::decode(Some(charset), &octets)));
    }
}

/// Returns text with blanks in the place of control characters.
pub(crate) fn without_controls(text: &str) -> Cow<'_, str> {
    let is_control = |character: char| character.is_control() && character != '\t';
    if text.contains(is_control) { Cow::Owned(text.replace(is_control, " ")) } else { Cow::Borrowed(text) }
}

struct EncodedWord<'a> {
    charset: &'a str,
    octets: Vec<u8>,
    /// From `=?` to `?=`.
    length: usize,
}

impl<'a> EncodedWord<'a> {
    /// `encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="` (RFC 2047 §2, RFC 2231 §5).
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("=?")?;
        let inner = inner.get(..inner.floor_char_boundary(LONGEST_READ)).unwrap_or_default();
        let (label, after) = inner.split_once('?')?;
        let charset = label.split_once('*').map_or(label, |(charset, _)| charset);
        if charset.is_empty() || charset.len() > 45 || !charset.bytes().all(|octet| octet.is_ascii_graphic()) {
            return None;
        }
        let (encoding, after) = after.split_once('?')?;
        let encoded = after.get(..memmem::find(after.as_bytes(), SUFFIX.as_bytes())?)?;
        let octets = match encoding {
            "B" | "b" => decode_b(encoded)?,
            "Q" | "q" => decode_q(encoded),
            _ => return None,
        };
        let length = 2 + label.len() + 1 + encoding.len() + 1 + encoded.len() + SUFFIX.len();
        Some(Self { charset, octets, length })
    }
}

fn decode_b(encoded: &str) -> Option<Vec<u8>> {
    TOLERANT.decode(encoded.trim_end_matches('=')).ok()
}

fn decode_q(encoded: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'_' => octets.push(b' '),
            b'=' => match tail.split_at_checked(2).and_then(|(digits, tail)| Some((hex_octet(digits)?, tail))) {
                Some((octet, tail)) => {
                    octets.push(octet);
                    rest = tail;
                }
                None => octets.push(b'='),
            },
            other => octets.push(*other),
        }
    }
    octets
}

/// Reads two hexadecimal digits.
pub(crate) fn hex_octet(digits: &[u8]) -> Option<u8> {
    let &[high, low] = digits else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(value(high)? << 4 | value(low)?)
}

/// Writes `text` as encoded words of UTF-8, each at most 75 characters long, the first at most `first`.
///
/// Takes the encoding Q where at least half of the octets stand for themselves in it, so that they can be read, and B elsewhere. The words have to be joined by a blank, which goes when they are decoded.
pub(crate) fn encode(text: &str, first: usize) -> Vec<String> {
    let escaped = text.bytes().filter(|octet| q_width(*octet) > 1).count();
    let use_q = escaped <= text.len() / 2;
    let mut words = Vec::new();
    let mut limit = first.clamp(OVERHEAD + 12, MAX_ENCODED_WORD) - OVERHEAD;
    let mut chunk = String::new();
    let mut width = 0;
    for character in text.chars() {
        let mut buffer = [0; 4];
        let utf8 = character.encode_utf8(&mut buffer);
        let grown = if use_q { width + utf8.bytes().map(q_width).sum::<usize>() } else { (chunk.len() + utf8.len()).div_ceil(3) * 4 };
        if grown > limit && !chunk.is_empty() {
            words.push(encode_word(&chunk, use_q));
            chunk.clear();
            width = 0;
            limit = MAX_ENCODED_WORD - OVERHEAD;
        }
        if use_q {
            width += utf8.bytes().map(q_width).sum::<usize>();
        }
        chunk.push(character);
    }
    if !chunk.is_empty() || words.is_empty() {
        words.push(encode_word(&chunk, use_q));
    }
    words
}

/// Characters that stand for themselves in every place (RFC 2047 §5 (3), the strictest), and the blank, which is `_`.
fn q_width(octet: u8) -> usize {
    if is_q_safe(octet) || octet == b' ' { 1 } else { 3 }
}

fn is_q_safe(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'!' | b'*' | b'+' | b'-' | b'/')
}

fn encode_word(text: &str, use_q: bool) -> String {
    let mut word = String::with_capacity(MAX_ENCODED_WORD);
    if use_q {
        word.push_str(PREFIX_Q);
        for octet in text.bytes() {
            match octet {
                b' ' => word.push('_'),
                octet if is_q_safe(octet) => word.push(char::from(octet)),
                octet => {
                    word.push('=');
                    for digit in [octet >> 4, octet & 15] {
                        word.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
                    }
                }
            }
        }
    } else {
        word.push_str(PREFIX_B);
        STANDARD.encode_string(text, &mut word);
    }
    word.push_str(SUFFIX);
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of RFC 2047 §8, and what is found in practice.
    #[test]
    fn words_are_decoded() {
        for (encoded, text) in [
            ("plain text", "plain text"),
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?utf-8*en?b?w6k?=", "é"),
            ("=?utf-8?B?w6k=?=", "é"),
            ("=?utf-8?B?ww==?= =?utf-8?B?qQ==?=", "é"),
            ("=?utf-8?Q?=C3?= =?utf-8?q?=A9?= x", "é x"),
            ("x=?utf-8?Q?y?=z", "xyz"),
            ("=?utf-8?X?y?=", "=?utf-8?X?y?="),
            ("=?utf-8?B?!?= =?", "=?utf-8?B?!?= =?"),
            ("=?utf-8?Q?=zz=?=", "=zz="),
            ("=?utf-8?Q?a=0D=0ABcc:_b?=", "a  Bcc: b"),
            ("=??Q?x?=", "=??Q?x?="),
            ("=?", "=?"),
        ] {
            assert_eq!(decode(encoded), text, "{encoded}");
        }
    }

    proptest! {
        #[test]
        fn decoding_is_the_inverse_of_encoding(text in "\\PC{1,300}", first in 0_usize..100) {
            let words = encode(&text, first);
            prop_assert!(words.iter().all(|word| word.len() <= MAX_ENCODED_WORD && word.is_ascii()));
            let encoded = words.join(" ");
            prop_assert_eq!(decode(&encoded), text);
        }

        #[test]
        fn anything_can_be_decoded(text in "(=\\?|[?=BQbq_ ]|utf-8|\\PC){0,60}") {
            decode(&text);
        }
    }
}
