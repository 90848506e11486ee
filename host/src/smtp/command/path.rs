//! Paths (RFC 5321 §4.1.2): `"<" [ A-d-l ":" ] Mailbox ">"`.

use super::Quirk;
use crate::mail::domain::Domain;

/// Drops `FROM:` or `TO:`.
pub(super) fn introduced<'a>(text: &'a str, keyword: &str) -> Option<(&'a str, Option<Quirk>)> {
    let (start, rest) = text.split_at_checked(keyword.len())?;
    if !start.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let path = rest.trim_start_matches(' ');
    Some((path, (path.len() < rest.len()).then_some(Quirk::SpaceAfterColon)))
}

/// Splits into what the angle brackets hold and what follows them. An angle bracket inside of quotes is none.
pub(super) fn enclosed(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (place, octet) in inner.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some((inner.get(..place)?, inner.get(place + 1..)?)),
            _ => {}
        }
    }
    None
}

/// Drops a source route, `@one.example,@two.example:`.
pub(super) fn without_route(path: &str) -> Option<&str> {
    if !path.starts_with('@') {
        return Some(path);
    }
    // The colon of an IPv6 literal is none that ends the route: what stands before it is no list of hops.
    let mut colons = path.match_indices(':').map(|(place, _)| path.split_at(place));
    let (_, mailbox) = colons.find(|(route, _)| route.split(',').all(is_hop))?;
    mailbox.strip_prefix(':')
}

fn is_hop(hop: &str) -> bool {
    hop.strip_prefix('@').is_some_and(|domain| Domain::parse(domain).is_ok())
}
