//! Sender domains and their keys as JSON: names and order of SMTPeter. No private part of a key is in any of it.

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::sending_domain::SendingDomains;
use crate::sending_domain::key::PrivateKey;
use crate::sending_domain::record::{CustomKey, SendingDomain};

/// A domain.
pub fn object(domains: &SendingDomains, domain: &SendingDomain) -> Value {
    let own = std::iter::once(domains.report_address());
    let addresses: Vec<String> = own.chain(domain.addresses.iter().cloned()).map(|address| address.to_string()).collect();
    json!({
        "name": domain.name,
        "approved": domain.approved.is_some(),
        "bounces": domain.bounces,
        "tracking": domain.tracking,
        "https": domain.https,
        "ips": [],
        "policy": domain.dmarc.policy,
        "percentage": domain.dmarc.percentage,
        "startdate": domain.dmarc.start,
        "enddate": domain.dmarc.end,
        "addresses": addresses,
    })
}

/// The key that signs now: of those that take turns.
pub fn active_key(domain: &SendingDomain) -> Value {
    let (selector, public) = domain.keys.active().map(|(selector, key)| (selector, key.public_pem())).unwrap_or_default();
    json!({ "selector": selector, "algorithm": "sha256", "public": public })
}

/// All keys of a domain.
pub fn keys(domain: &SendingDomain) -> Vec<Value> {
    let rotated = domain.keys.all().map(|(selector, key)| listed(domain, selector, key, domain.created));
    rotated.chain(domain.custom.iter().map(|key| custom(domain, key))).collect()
}

/// One key.
pub fn key(domain: &SendingDomain, selector: &str) -> Option<Value> {
    let rotated = domain.keys.all().find(|(known, _)| *known == selector);
    let rotated = rotated.map(|(selector, key)| listed(domain, selector, key, domain.created));
    rotated.or_else(|| domain.custom.iter().find(|key| key.selector.eq_ignore_ascii_case(selector)).map(|key| custom(domain, key)))
}

fn listed(domain: &SendingDomain, selector: &str, key: &PrivateKey, created: Timestamp) -> Value {
    json!({
        "domain": domain.name,
        "selector": selector,
        "hostname": format!("{selector}._domainkey.{}", domain.name.to_ascii()),
        "created": created.to_rfc3339(),
        "algorithm": "sha256",
        "public": key.public_pem(),
    })
}

fn custom(domain: &SendingDomain, key: &CustomKey) -> Value {
    let mut value = listed(domain, &key.selector, &key.key, key.created);
    if let Some(object) = value.as_object_mut() {
        object.insert("always".into(), key.always.into());
        object.insert("fallback".into(), key.fallback.into());
        object.insert("start".into(), key.start.map(Timestamp::to_rfc3339).into());
        object.insert("end".into(), key.end.map(Timestamp::to_rfc3339).into());
        for rule in &key.senders {
            object.insert(rule.kind().as_str().into(), rule.text().into());
        }
    }
    value
}
