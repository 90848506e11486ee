//! Mail from other servers.

use tubepost::inbound::trace_header::{authserv_id, prepend};
use tubepost::mail::domain::Domain;
use tubepost::mail::header::raw_fields::RawFields;

/// The header of a message that comes in: no field is left that claims to be ours, and the body stays as it is.
pub fn inbound_header(octets: &[u8]) {
    let host = Domain::parse("mx.example.com").expect("a domain");
    let cleaned = prepend(octets, "Received: ours\r\n", &host);
    assert!(cleaned.starts_with(b"Received: ours\r\n"));
    let fields: Vec<_> = RawFields::of(&cleaned).filter_map(|line| line.field).collect();
    for (name, value) in &fields {
        assert!(!name.eq_ignore_ascii_case(b"Return-Path"));
        if name.eq_ignore_ascii_case(b"Authentication-Results") {
            let id = authserv_id(&String::from_utf8_lossy(value)).expect("who says it can be read");
            assert!(!id.trim_end_matches('.').eq_ignore_ascii_case("mx.example.com"), "{id}");
        }
    }
    let mut lines = RawFields::of(octets);
    lines.by_ref().for_each(drop);
    assert!(cleaned.ends_with(octets.get(lines.place()..).unwrap_or_default()), "the body stays as it is");
}
