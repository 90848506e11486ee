//! Why mail did not arrive, in one word: what an SMTP reply or a DSN means.
//!
//! Texts say more than codes, and codes of three parts more than those of three digits; but a text is only guessed at. So: first texts that mean one
//! thing whatever the code (block lists, spam filters, full mailboxes), then the enhanced code where it says something, then other texts, then the
//! code. The texts are in `class/patterns.txt`; those that mean one thing are few enough to be looked for one after the other in a text that is short.

use std::fmt;
use std::str::FromStr;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::mail::enhanced_status::EnhancedStatus;

/// Octets of a text that are looked at.
const LONGEST_TEXT: usize = 2048;

/// The data.
const PATTERNS: &str = include_str!("class/patterns.txt");

/// Why mail did not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BounceClass {
    /// There is no such mailbox.
    UnknownUser,
    /// There is no such domain, or it takes no mail.
    NoSuchDomain,
    /// The mailbox is there and is shut.
    Disabled,
    /// The mailbox is full.
    MailboxFull,
    /// The sender's address, network or domain has a bad name.
    Block,
    /// The content looks like spam.
    Spam,
    /// The content is not wanted: a virus, a forbidden attachment, a broken form.
    Content,
    /// A rule refuses it: authentication of the sender (SPF, DKIM, DMARC), permissions.
    Policy,
    /// Too much at once, or too fast.
    RateLimited,
    /// First contact: the server wants it to be tried again.
    Greylisted,
    /// The message is too large.
    TooLarge,
    /// The server does not relay for us: it is not the recipient's.
    Relay,
    /// No way there: DNS, routing, connections.
    Network,
    /// It cannot be protected on the way as it must be.
    Tls,
    /// The server did not understand us, or we did not understand it.
    Protocol,
    /// It was tried for as long as it might be.
    Expired,
    /// Something else that may pass.
    Soft,
    /// No more is known.
    #[default]
    Undetermined,
}

impl BounceClass {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::UnknownUser, "unknown_user"),
        (Self::NoSuchDomain, "no_such_domain"),
        (Self::Disabled, "disabled"),
        (Self::MailboxFull, "mailbox_full"),
        (Self::Block, "block"),
        (Self::Spam, "spam"),
        (Self::Content, "content"),
        (Self::Policy, "policy"),
        (Self::RateLimited, "rate_limited"),
        (Self::Greylisted, "greylisted"),
        (Self::TooLarge, "too_large"),
        (Self::Relay, "relay"),
        (Self::Network, "network"),
        (Self::Tls, "tls"),
        (Self::Protocol, "protocol"),
        (Self::Expired, "expired"),
        (Self::Soft, "soft"),
        (Self::Undetermined, "undetermined"),
    ];

    /// Whether there is nobody behind the address: mail to it will never arrive, whatever is in it and whoever sends it.
    pub const fn is_hard(self) -> bool {
        matches!(self, Self::UnknownUser | Self::NoSuchDomain | Self::Disabled)
    }

    /// Returns its name in events and interfaces.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(class, _)| *class == self).map_or("undetermined", |(_, name)| name)
    }

    /// Finds what a reply means: its code and enhanced code, where it has them, and its text.
    ///
    /// What may pass is never hard: a server that says 450 may look up the mailbox again.
    pub fn of(code: Option<u16>, enhanced: Option<EnhancedStatus>, text: &str) -> Self {
        let class = find(code, enhanced, text);
        let is_temporary = match (code, enhanced) {
            (Some(code), _) => code < 500,
            (None, Some(enhanced)) => enhanced.class == 4,
            (None, None) => false,
        };
        if is_temporary && class.is_hard() { Self::Soft } else { class }
    }

    /// Finds what the line of a reply means: `550 5.1.1 no such user`, or any other text.
    pub fn of_line(line: &str) -> Self {
        let code = read_code(line);
        Self::of(code, find_status(line), line)
    }
}

impl fmt::Display for BounceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads the three digits that a reply begins with.
pub fn read_code(line: &str) -> Option<u16> {
    let (digits, rest) = line.split_at_checked(3)?;
    let is_code = digits.bytes().all(|octet| octet.is_ascii_digit()) && !rest.bytes().next().is_some_and(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|code| is_code && (400..600).contains(code))
}

/// Finds the first enhanced status code of a failure in a text.
pub fn find_status(text: &str) -> Option<EnhancedStatus> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.').take(200);
    words.filter_map(|word| EnhancedStatus::from_str(word.trim_end_matches('.')).ok()).find(|status| matches!(status.class, 4 | 5))
}

fn find(code: Option<u16>, enhanced: Option<EnhancedStatus>, text: &str) -> BounceClass {
    let text = text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default().to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (first, others) = PATTERNS.split_once("[after the codes]").unwrap_or((PATTERNS, ""));
    of_text(first, &text)
        .or_else(|| enhanced.and_then(of_status))
        .or_else(|| of_text(others, &text))
        .or_else(|| code.and_then(of_code))
        .unwrap_or(match (code, enhanced) {
            (Some(400..500), _) | (None, Some(EnhancedStatus { class: 4, .. })) => BounceClass::Soft,
            _ => BounceClass::Undetermined,
        })
}

/// Returns the class of the first pattern that is in `text`.
fn of_text(patterns: &str, text: &str) -> Option<BounceClass> {
    rules(patterns).find(|(_, pattern)| has_all(text, pattern)).map(|(class, _)| class)
}

/// Reads lines such as `unknown_user: no such user … here`.
fn rules(patterns: &str) -> impl Iterator<Item = (BounceClass, &str)> {
    let lines = patterns.lines().filter(|line| !line.starts_with(['#', '[']));
    lines.filter_map(|line| {
        let (name, pattern) = line.split_once(": ")?;
        let (class, _) = BounceClass::ALL.into_iter().find(|(_, known)| *known == name)?;
        Some((class, pattern))
    })
}

/// Whether all pieces of the pattern are in the text, one behind the other.
fn has_all(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split(" … ").all(|piece| match memmem::find(rest.as_bytes(), piece.as_bytes()).and_then(|at| rest.get(at + piece.len()..)) {
        Some(behind) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// What an enhanced code says by itself (RFC 3463, RFC 7372, RFC 7505, RFC 8689 and the codes that large providers use); nothing where it may be
/// anything.
fn of_status(status: EnhancedStatus) -> Option<BounceClass> {
    Some(match (status.subject, status.detail) {
        (1, 1 | 3 | 6) => BounceClass::UnknownUser,
        (1, 2 | 10) | (4, 310) => BounceClass::NoSuchDomain,
        (1, 7 | 8) | (7, 20..=30) => BounceClass::Policy,
        (2, 1) => BounceClass::Disabled,
        (2, 2) | (3, 1) => BounceClass::MailboxFull,
        (2, 3) | (3, 4) => BounceClass::TooLarge,
        (4, 1 | 2 | 3 | 4 | 6) | (3, 5) => BounceClass::Network,
        (4, 7) => BounceClass::Expired,
        (5, _) => BounceClass::Protocol,
        (6, _) => BounceClass::Content,
        (7, 10 | 11) => BounceClass::Tls,
        _ => return None,
    })
}

fn of_code(code: u16) -> Option<BounceClass> {
    Some(match code {
        421 => BounceClass::Network,
        452 | 552 => BounceClass::MailboxFull,
        500..=504 | 555 => BounceClass::Protocol,
        530 | 535 => BounceClass::Policy,
        551 => BounceClass::UnknownUser,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
