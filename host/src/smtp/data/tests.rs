//! Content: dots, line ends, limits, pieces.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use proptest::prelude::*;

use super::*;
use crate::smtp::memory::ContentMemory;

const LIMITS: ContentLimits = ContentLimits { size_octets: 100_000, line_octets: 1_000 };

fn memory() -> ContentMemory {
    ContentMemory::new(1_000_000)
}

/// What `DATA` makes of `wire`, cut into pieces: how many octets it took, and the content where its end was reached.
fn decode(wire: &[u8], pieces: impl Iterator<Item = usize>) -> (usize, Option<Result<Content, ContentFault>>) {
    let mut decoder = Decoder::dots(LIMITS, None, memory().share());
    let mut used = 0_usize;
    for piece in pieces.map(|piece| piece.max(1)).chain(std::iter::repeat(usize::MAX)) {
        let end = used.saturating_add(piece).min(wire.len());
        used += decoder.push(&wire[used..end]);
        if decoder.is_complete() || used == wire.len() {
            break;
        }
    }
    let complete = decoder.is_complete();
    (used, complete.then(|| decoder.finish().map(|(content, _)| content)))
}

fn check(wire: &[u8], expected: &[u8]) {
    let (used, content) = decode(wire, std::iter::empty());
    assert_eq!(used, wire.len(), "{}", wire.escape_ascii());
    assert_eq!(content.unwrap().unwrap().octets.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

fn check_fault(wire: &[u8], expected: ContentFault) {
    assert_eq!(decode(wire, std::iter::empty()), (wire.len(), Some(Err(expected))), "{}", wire.escape_ascii());
    assert_eq!(decode(wire, std::iter::repeat(1)), (wire.len(), Some(Err(expected))), "{}", wire.escape_ascii());
}

/// Doubles dots at line starts, as a client does; `content` is made of whole lines.
fn stuff(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut line_start = true;
    for &octet in content {
        if line_start && octet == b'.' {
            wire.push(b'.');
        }
        wire.push(octet);
        line_start = octet == b'\n';
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[test]
fn dots_are_taken_out() {
    check(b".\r\n", b"");
    check(b"a\r\n.\r\n", b"a\r\n");
    check(b"..\r\n.\r\n", b".\r\n");
    check(b"..a\r\n...\r\nb.\r\n.\r\n", b".a\r\n..\r\nb.\r\n");
    // RFC 5321 §4.5.2: a dot is dropped whatever follows it, doubled or not.
    check(b".a\r\n.\r\n", b"a\r\n");
}

#[test]
fn only_one_thing_ends_content() {
    // What servers have taken for the end of a message, or clients have failed to mask, in the smuggling attacks of December 2023 and since.
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r\n.\r\r\n",
        "\r\r\n.\n",
        "\r\r\n.\r\r\n",
        "\n\n.\r\n",
        "\r\n\n.\r\n",
        "\n\r.\r\n",
        "\r\n.\n\r\n",
        "\r\n\r.\r\n",
        "\n.\r\r\n",
        "\r.\n",
        "\r\n.\r.\r\n",
    ] {
        let wire = format!("a{end}MAIL FROM:<x@example.com>\r\n.\r\n");
        check_fault(wire.as_bytes(), ContentFault::BareLineEnd);
    }
    let wire = b"a\r\n\0.\r\nMAIL FROM:<x@example.com>\r\n.\r\n";
    check_fault(wire, ContentFault::Nul);
    let (used, _) = decode(b"a\r\n.\r\nMAIL FROM:<x@example.com>\r\n.\r\n", std::iter::empty());
    assert_eq!(used, 6);
}

#[test]
fn limits_hold_and_the_end_is_still_found() {
    let line = "x".repeat(1_000);
    check(format!("{line}\r\n.\r\n").as_bytes(), format!("{line}\r\n").as_bytes());
    check_fault(format!("{line}x\r\nb\r\n.\r\n").as_bytes(), ContentFault::LineTooLong { limit_octets: 1_000 });
    let much = format!("{}\r\n", "y".repeat(998)).repeat(100);
    check(format!("{much}.\r\n").as_bytes(), much.as_bytes());
    check_fault(format!("{much}z\r\n.\r\n").as_bytes(), ContentFault::TooLarge { limit_octets: 100_000 });
}

#[test]
fn of_several_faults_the_same_is_said_however_content_is_cut() {
    let large = format!("{}\r\n", "y".repeat(998)).repeat(101);
    check_fault(format!("{large}\0\r\n.\r\n").as_bytes(), ContentFault::Nul);
    check_fault(format!("{}\r\n{large}a\0b\nc\r\n.\r\n", "x".repeat(1_001)).as_bytes(), ContentFault::BareLineEnd);
}

#[test]
fn memory_of_what_is_refused_is_given_back() {
    let mut decoder = Decoder::dots(LIMITS, Some(u64::MAX), memory().share());
    assert!(decoder.octets.capacity() >= 100_000);
    decoder.push(b"a\rb");
    assert_eq!(decoder.octets.capacity(), 0);
    decoder.push(&[b'x'; 5_000]);
    assert_eq!(decoder.octets.capacity(), 0);
}

#[test]
fn content_of_all_messages_together_is_bounded() {
    let memory = ContentMemory::new(3_000);
    let line = format!("{}\r\n", "x".repeat(98));
    let mut first = Decoder::dots(LIMITS, Some(100_000), memory.share());
    assert_eq!(memory.taken(), 0, "an announcement takes nothing");
    first.push(line.repeat(20).as_bytes());
    let mut second = Decoder::dots(LIMITS, None, memory.share());
    second.push(line.repeat(15).as_bytes());
    assert_eq!(second.fault(), Some(ContentFault::NoMemory));
    assert_eq!((second.octets.capacity(), memory.taken()), (0, 2_000));
    second.push(b"y\r\n.\r\n");
    assert!(second.is_complete());
    assert_eq!(second.finish().unwrap_err(), ContentFault::NoMemory);
    first.push(b".\r\n");
    let (content, share) = first.finish().unwrap();
    assert_eq!((content.octets.len(), memory.taken()), (2_000, 2_000));
    drop(share);
    assert_eq!(memory.taken(), 0);
}

#[test]
fn eight_bits_are_seen() {
    let (_, content) = decode("é\r\n.\r\n".as_bytes(), std::iter::empty());
    assert!(content.unwrap().unwrap().eight_bit);
}

#[test]
fn chunks_are_counted_and_checked() {
    let content = |chunks: &[&[u8]]| {
        let mut decoder = Decoder::counted(LIMITS, None, memory().share());
        for chunk in chunks {
            assert_eq!(decoder.push(chunk), chunk.len());
        }
        decoder.finish().map(|(content, _)| content.octets.escape_ascii().to_string())
    };
    assert_eq!(content(&[b".\r", b"\n..\r\n"]), Ok(r".\r\n..\r\n".to_owned()));
    assert_eq!(content(&[b"a"]), Ok(r"a\r\n".to_owned()));
    assert_eq!(content(&[]), Ok(String::new()));
    assert_eq!(content(&[b"a\r"]), Err(ContentFault::BareLineEnd));
    assert_eq!(content(&[b"a\r", b"b"]), Err(ContentFault::BareLineEnd));
    assert_eq!(content(&[b"a\nb\r\n"]), Err(ContentFault::BareLineEnd));
    assert_eq!(content(&[b"a\0\r\n"]), Err(ContentFault::Nul));
}

proptest! {
    #[test]
    fn decoding_is_the_inverse_of_stuffing(lines in prop::collection::vec("[.a-c é]{0,6}", 0..12), pieces in prop::collection::vec(1_usize..9, 0..40)) {
        let content = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect::<String>();
        let wire = stuff(content.as_bytes());
        let (used, decoded) = decode(&wire, pieces.into_iter());
        prop_assert_eq!(used, wire.len());
        let decoded = decoded.unwrap().unwrap();
        prop_assert_eq!(&decoded.octets[..], content.as_bytes());
        prop_assert_eq!(decoded.eight_bit, !content.is_ascii());
    }

    #[test]
    fn pieces_make_no_difference(wire in "[\r\n.a\0é]{0,60}", pieces in prop::collection::vec(1_usize..5, 0..60)) {
        prop_assert_eq!(decode(wire.as_bytes(), pieces.into_iter()), decode(wire.as_bytes(), std::iter::empty()));
    }

    #[test]
    fn what_is_taken_has_whole_lines_only(wire in "(\r\n|[\r\n.a])*\r\n\\.\r\n") {
        if let (_, Some(Ok(content))) = decode(wire.as_bytes(), std::iter::empty()) {
            let text = String::from_utf8(content.octets.to_vec()).unwrap();
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
        }
    }
}
