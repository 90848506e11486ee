//! `[[dkim]]`.

use std::collections::BTreeSet;

use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::document::{Fault, Section, Value};
use super::sender_rule::{SenderRule, SenderRuleKind};
use super::tls::key_fault;
use super::unit::Secret;
use crate::mail::domain::Domain;

/// `[[dkim]]`.
#[derive(Clone, Debug)]
pub struct Dkim {
    /// `domain`: signs mail whose From is in this domain.
    pub domain: Domain,
    /// `selector`.
    pub selector: String,
    /// `key`: PEM, PKCS#8 or PKCS#1 (RSA), PKCS#8 (Ed25519).
    pub key: Secret,
    /// `sender_name`, `sender_pattern`, `sender_regex`: signs only mail from these; none given is all mail of the domain.
    pub senders: Vec<SenderRule>,
    /// `always`: signs every mail, whatever its From, beside other keys. Default false.
    pub always: bool,
    /// `fallback`: signs what no other key signs, whatever its From. Default false.
    pub fallback: bool,
}

pub(super) fn read(file: &Section<'_>) -> Vec<Dkim> {
    let mut names = BTreeSet::new();
    file.sections("dkim", |section, _| {
        let domain = section.required("domain", domain_name);
        let selector = section.required("selector", |value| domain_name(value).map(|selector| selector.as_str().to_owned()));
        let key = section.required("key", key);
        let rules =
            [("sender_name", SenderRuleKind::Name), ("sender_pattern", SenderRuleKind::Pattern), ("sender_regex", SenderRuleKind::Regex)];
        let rules =
            rules.map(|(key, kind)| section.optional(key, |value| SenderRule::new(kind, value.text()?).map_err(|error| error.to_string())));
        let always = section.or("always", false, Value::boolean);
        let fallback = section.or("fallback", false, Value::boolean);
        let dkim =
            Dkim { domain: domain?, selector: selector?, key: key?, senders: rules.into_iter().flatten().collect(), always, fallback };
        section.rename(format!("dkim \"{}\"", dkim.domain));
        if always && fallback {
            section.report("\"always\" and \"fallback\" exclude each other");
        }
        if (always || fallback) && !dkim.senders.is_empty() {
            section.report("a key with \"always\" or \"fallback\" has no conditions on the sender");
        }
        if !names.insert((dkim.domain.clone(), dkim.selector.clone())) {
            section.report(&format!("selector \"{}\" of this domain has another entry", dkim.selector));
        }
        Some(dkim)
    })
}

/// A selector is one or more labels, as a domain is (RFC 6376 §3.1).
fn domain_name(value: &Value<'_>) -> Result<Domain, Fault> {
    let domain: Domain = value.parsed()?;
    if domain.literal().is_some() { Err("must be a name, not an address".to_owned()) } else { Ok(domain) }
}

fn key(value: &Value<'_>) -> Result<Secret, Fault> {
    let key = value.secret()?;
    let der = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|error| key_fault(&error))?;
    let ed25519 = Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_der()).is_ok();
    // RFC 8463 and RFC 6376 have these two and no other.
    if ed25519 || RsaKey::<Sha256>::from_key_der(der).is_ok() { Ok(key) } else { Err("must be an RSA or Ed25519 key".to_owned()) }
}
