//! A sender domain as it is kept: JSON with a version, so that each release reads what those before it wrote.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::dmarc::RollOut;
use super::key::PrivateKey;
use super::rotation::Rotation;
use super::spf::{Flattened, Mechanism};
use crate::clock::Timestamp;
use crate::config::SenderRule;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;

/// Of the form below.
const VERSION: u8 = 1;

/// A domain that mail is sent from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendingDomain {
    version: u8,
    /// Its name.
    pub name: Domain,
    /// The login that created it; none where an administrator did: then all may use it.
    pub owner: Option<Arc<str>>,
    /// When.
    pub created: Timestamp,
    /// Since when the validation record was seen.
    pub approved: Option<Timestamp>,
    /// Where bounces go.
    pub bounces: Domain,
    /// Whether mail exchanger and SPF of that host were there when they were last looked for: else no mail is sent from it.
    pub bounces_seen: bool,
    /// Host of links.
    pub tracking: Domain,
    /// Whether links begin with `https`.
    pub https: bool,
    /// DMARC policy.
    pub dmarc: RollOut,
    /// Where DMARC reports go, beside ours.
    pub addresses: Vec<EmailAddress>,
    /// SPF mechanisms beside ours.
    pub spf: Vec<Mechanism>,
    /// What stands behind includes.
    pub flattened: Flattened,
    /// Keys that take turns.
    pub keys: Rotation,
    /// Keys of its own.
    pub custom: Vec<CustomKey>,
}

/// A key that somebody has brought, or had made under a selector of his own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomKey {
    /// Its selector.
    pub selector: String,
    /// The key.
    pub key: PrivateKey,
    /// When it came.
    pub created: Timestamp,
    /// Signs every mail of its owner, whatever its From.
    pub always: bool,
    /// Signs what no other key signs.
    pub fallback: bool,
    /// Signs from here on.
    pub start: Option<Timestamp>,
    /// Signs until here.
    pub end: Option<Timestamp>,
    /// Signs only mail from these; none is all mail of the domain.
    pub senders: Vec<SenderRule>,
}

impl CustomKey {
    /// Whether it signs at a time.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now < end)
    }
}

impl SendingDomain {
    /// Makes a domain that nobody has looked at yet; `None` where its hosts have no names.
    pub fn new(name: Domain, owner: Option<Arc<str>>, keys: Rotation, now: Timestamp) -> Option<Self> {
        Some(Self {
            version: VERSION,
            bounces: Domain::parse(&format!("bounces.{name}")).ok()?,
            tracking: Domain::parse(&format!("clicks.{name}")).ok()?,
            name,
            owner,
            created: now,
            approved: None,
            bounces_seen: false,
            https: true,
            dmarc: RollOut::default(),
            addresses: Vec::new(),
            spf: Vec::new(),
            flattened: Flattened::new(),
            keys,
            custom: Vec::new(),
        })
    }

    /// Whether mail of a login may use it.
    pub fn is_open_to(&self, login: &str) -> bool {
        self.owner.as_deref().is_none_or(|owner| owner == login)
    }

    pub(super) fn encode(&self) -> Option<Bytes> {
        serde_json::to_vec(self).ok().map(Bytes::from)
    }

    pub(super) fn decode(octets: &[u8]) -> Result<Self, String> {
        let domain: Self = serde_json::from_slice(octets).map_err(|error| error.to_string())?;
        if domain.version == VERSION { Ok(domain) } else { Err(format!("it has the form of version {}", domain.version)) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    /// What version 1 wrote.
    const FIRST: &[u8] = include_bytes!("record_version_1.json");

    #[test]
    fn what_was_written_is_read() {
        let domain = SendingDomain::decode(FIRST).unwrap();
        assert_eq!((domain.name.as_str(), domain.owner.as_deref()), ("sender.example", Some("shop")));
        assert_eq!(domain.keys.active().unwrap().0, "one");
        assert!(domain.custom.iter().all(|key| key.key.signing().is_some()));
        assert_eq!(SendingDomain::decode(&domain.encode().unwrap()).unwrap(), domain);
        assert!(!format!("{domain:?}").contains("PRIVATE"));
        let newer = String::from_utf8(FIRST.to_vec()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        assert!(SendingDomain::decode(newer.as_bytes()).is_err());
    }
}
