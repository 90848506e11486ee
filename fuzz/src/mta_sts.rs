//! What domains publish about the protection of their mail.

use tubepost::delivery::mta_sts::{Mode, PATTERNS, Policy, policy_id};

/// Policies and TXT records of MTA-STS: what is read is bounded, an id is one, and a host fits only a pattern that has its parent.
pub fn mta_sts(octets: &[u8]) {
    if let Ok(policy) = Policy::parse(octets) {
        assert!(policy.mx.len() <= PATTERNS);
        assert!(policy.mode == Mode::None || !policy.mx.is_empty());
        for pattern in &policy.mx {
            match pattern.strip_prefix("*.") {
                Some(parent) => assert!(!policy.names(parent) || policy.mx.iter().any(|other| other != pattern), "{pattern:?}"),
                None => assert!(policy.names(pattern), "{pattern:?}"),
            }
        }
        assert!(!policy.names(""));
    }
    let texts: Vec<String> = String::from_utf8_lossy(octets).lines().map(str::to_owned).collect();
    if let Some(id) = policy_id(&texts) {
        assert!((1..=32).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric()), "{id:?}");
    }
}
