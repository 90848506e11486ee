//! Files in gzip (RFC 1952) and in a zip archive, expanded within limits.
//!
//! Of a zip archive the first file is read, stored or deflated, by the central directory at its end: the header in front of the file may not know its
//! length. Encrypted archives, and those that need 64-bit lengths, are refused.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder};

use super::AggregateError;

/// How much larger than its archive a report may be. XML that repeats itself comes to about 50.
const RATIO: usize = 200;
/// Below this the ratio does not matter.
const SMALL: usize = 1024 * 1024;
/// Octets of the record at the end of a zip archive, and of the comment behind it.
const END: usize = 22;
const COMMENT: usize = 65_535;

pub(super) fn expand(octets: &[u8], limit: usize) -> Result<Vec<u8>, AggregateError> {
    if octets.starts_with(&[0x1f, 0x8b]) {
        return inflate(MultiGzDecoder::new(octets), octets.len(), limit);
    }
    if !octets.starts_with(b"PK") {
        return if octets.len() > limit { Err(AggregateError::TooLarge(limit)) } else { Ok(octets.to_vec()) };
    }
    match first_file(octets).ok_or(AggregateError::Archive)? {
        (0, stored) if stored.len() > limit => Err(AggregateError::TooLarge(limit)),
        (0, stored) => Ok(stored.to_vec()),
        (8, deflated) => inflate(DeflateDecoder::new(deflated), deflated.len(), limit),
        _ => Err(AggregateError::Archive),
    }
}

fn inflate(reader: impl Read, packed: usize, limit: usize) -> Result<Vec<u8>, AggregateError> {
    let by_ratio = packed.saturating_mul(RATIO).max(SMALL);
    let most = limit.min(by_ratio);
    let mut octets = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut octets).map_err(|_| AggregateError::Archive)?;
    if octets.len() <= most {
        return Ok(octets);
    }
    Err(if limit <= by_ratio { AggregateError::TooLarge(limit) } else { AggregateError::Bomb(RATIO) })
}

/// Returns method and octets of the first file.
fn first_file(octets: &[u8]) -> Option<(u16, &[u8])> {
    let tail = octets.get(octets.len().saturating_sub(END + COMMENT)..)?;
    let end = tail.get(memchr::memmem::rfind(tail, b"PK\x05\x06")?..)?;
    let directory = octets.get(usize::try_from(u32_at(end, 16)?).ok()?..)?;
    if !directory.starts_with(b"PK\x01\x02") || u16_at(directory, 8)? & 1 != 0 {
        return None;
    }
    let (method, length) = (u16_at(directory, 10)?, usize::try_from(u32_at(directory, 20)?).ok()?);
    let local = octets.get(usize::try_from(u32_at(directory, 42)?).ok()?..)?;
    if !local.starts_with(b"PK\x03\x04") {
        return None;
    }
    let start = 30 + usize::from(u16_at(local, 26)?) + usize::from(u16_at(local, 28)?);
    Some((method, local.get(start..start.checked_add(length)?)?))
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}
