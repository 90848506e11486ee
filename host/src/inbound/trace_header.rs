//! The header of what comes in from outside: our trace fields in front, and without what only we could have written.
//!
//! Public for the fuzz targets alone.
//!
//! Whoever reads `Authentication-Results` believes those with our name in them (RFC 8601 §5), so nobody else's may be among them.

use crate::mail::domain::Domain;
use crate::mail::header::raw_fields::RawFields;

/// What one look over the header tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HeaderFacts {
    /// Its octets.
    pub(super) size: usize,
    /// How many Received fields there are.
    pub(super) received: usize,
    /// How many From fields there are.
    pub(super) from: usize,
    /// The raw value of the first of them.
    pub(super) from_value: Vec<u8>,
    /// How many DKIM and ARC signatures there are.
    pub(super) signatures: usize,
    /// Whom it was delivered to before: `Delivered-To`, in lower case.
    pub(super) delivered_to: Vec<String>,
    /// The raw value of the first Subject.
    pub(super) subject: Vec<u8>,
}

/// How many `Delivered-To` fields are looked at.
const DELIVERIES: usize = 100;

impl HeaderFacts {
    pub(super) fn read(content: &[u8]) -> Self {
        let mut facts = Self::default();
        let mut has_subject = false;
        let mut lines = RawFields::of(content);
        for (name, value) in lines.by_ref().filter_map(|line| line.field) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("Received") {
                facts.received += 1;
            } else if is("From") {
                if facts.from == 0 {
                    facts.from_value = value.to_vec();
                }
                facts.from += 1;
            } else if is("DKIM-Signature") || is("ARC-Message-Signature") {
                facts.signatures += 1;
            } else if is("Delivered-To") && facts.delivered_to.len() < DELIVERIES {
                facts.delivered_to.push(String::from_utf8_lossy(value).trim().to_ascii_lowercase());
            } else if is("Subject") && !has_subject {
                has_subject = true;
                facts.subject = value.to_vec();
            }
        }
        facts.size = lines.place();
        facts
    }
}

/// Returns the message with `fields` in front of it, without forged results, and without `Return-Path`, which only the last host writes.
pub fn prepend(content: &[u8], fields: &str, hostname: &Domain) -> Vec<u8> {
    let mut octets = Vec::with_capacity(fields.len() + content.len() + 2);
    octets.extend_from_slice(fields.as_bytes());
    let mut kept = 0;
    let mut lines = RawFields::of(content).peekable();
    // What does not begin with a field is all body.
    if lines.peek().is_some_and(|line| line.field.is_none()) {
        octets.extend_from_slice(b"\r\n");
        octets.extend_from_slice(content);
        return octets;
    }
    for line in lines {
        if line.field.is_some_and(|(name, value)| is_ours_alone(name, value, hostname)) {
            octets.extend_from_slice(content.get(kept..line.place.start).unwrap_or_default());
            kept = line.place.end;
        }
    }
    octets.extend_from_slice(content.get(kept..).unwrap_or_default());
    octets
}

fn is_ours_alone(name: &[u8], value: &[u8], hostname: &Domain) -> bool {
    if name.eq_ignore_ascii_case(b"Return-Path") {
        return true;
    }
    let is_result = name.eq_ignore_ascii_case(b"Authentication-Results");
    if !is_result && !name.eq_ignore_ascii_case(b"Received-SPF") {
        return false;
    }
    let value = String::from_utf8_lossy(value);
    if is_result {
        // One that cannot be read might be read by somebody else, as might a name with many dots behind it.
        let is_own = |id: String| Domain::parse(id.trim_end_matches('.')).is_ok_and(|id| id.to_ascii() == hostname.to_ascii());
        return authserv_id(&value).is_none_or(is_own);
    }
    value.to_ascii_lowercase().contains(&hostname.to_ascii())
}

/// Returns the `authserv-id` with which a value begins (RFC 8601 §2.2), behind comments; `None` where there is none.
pub fn authserv_id(value: &str) -> Option<String> {
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if !rest.starts_with('(') {
            break;
        }
        rest = behind_comment(rest)?;
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut id = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' => return Some(id),
                '\\' => id.push(chars.next()?),
                c => id.push(c),
            }
        }
    }
    let id: String = rest.chars().take_while(|c| !c.is_whitespace() && !matches!(c, ';' | '(')).collect();
    (!id.is_empty()).then_some(id)
}

/// Returns what stands behind the comment that `text` begins with.
fn behind_comment(text: &str) -> Option<&str> {
    let (mut depth, mut escaped) = (0_usize, false);
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return text.get(place + 1..);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn cleaned(content: &str) -> String {
        let octets = prepend(content.as_bytes(), "A: 1\r\n", &Domain::parse("mx.example.com").unwrap());
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn results_that_claim_to_be_ours_are_removed() {
        for forged in [
            "Authentication-Results: mx.example.com; spf=pass\r\n",
            "authentication-results:MX.Example.COM;\r\n\tdkim=pass\r\n",
            "Authentication-Results: (a (b\\) c)) mx.example.com 1; spf=pass\r\n",
            "Authentication-Results: \"mx.exa\\mple.com\"; spf=pass\r\n",
            "Authentication-Results :\r\n mx.example.com(x); spf=pass\r\n",
            "Authentication-Results: mx.example.com.; spf=pass\r\n",
            "Authentication-Results: mx.example.com...; spf=pass\r\n",
            "Authentication-Results: (never closed mx.example.com; spf=pass\r\n",
            "Authentication-Results: ; spf=pass\r\n",
            "Received-SPF: pass (mx.example.com: domain of a@b.example) receiver=mx.example.com;\r\n",
            "Return-Path: <forged@example.net>\r\n",
        ] {
            assert_eq!(
                cleaned(&format!("{forged}From: a@b.example\r\n\r\nbody\r\n")),
                "A: 1\r\nFrom: a@b.example\r\n\r\nbody\r\n",
                "{forged}"
            );
            assert_eq!(
                cleaned(&format!("From: a\r\n{forged}{forged}\r\n{forged}")),
                format!("A: 1\r\nFrom: a\r\n\r\n{forged}"),
                "{forged}"
            );
        }
    }

    #[test]
    fn what_others_found_stays() {
        for kept in ["Authentication-Results: mx.example.net; spf=pass\r\n", "Received-SPF: pass receiver=mx.example.net;\r\n", "junk\r\n"]
        {
            let content = format!("From: a@b.example\r\n{kept}\r\nbody\r\n");
            assert_eq!(cleaned(&content), format!("A: 1\r\n{content}"));
        }
        assert_eq!(cleaned("no header\r\n"), "A: 1\r\n\r\nno header\r\n");
        assert_eq!(cleaned("\r\nbody\r\n"), "A: 1\r\n\r\nbody\r\n");
    }

    proptest! {
        #[test]
        fn nothing_forged_is_left_whatever_stands_around_it(
            lines in prop::collection::vec(prop::sample::select(vec![
                "Authentication-Results: mx.example.com; spf=pass\r\n", " folded\r\n", "From: a\r\n", "junk\r\n", "\r\n", "(\r\n", "Authentication-Results: (\r\n",
                "Authentication-Results: \"\r\n",
            ]), 0..12),
        ) {
            let cleaned = cleaned(&lines.concat());
            let header = RawFields::of(cleaned.as_bytes()).filter_map(|line| line.field);
            for (name, value) in header.filter(|(name, _)| name.eq_ignore_ascii_case(b"Authentication-Results")) {
                let _ = name;
                let id = authserv_id(&String::from_utf8_lossy(value));
                prop_assert!(id.is_some_and(|id| id != "mx.example.com"));
            }
        }
    }
}
