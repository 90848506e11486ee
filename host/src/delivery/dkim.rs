//! DKIM signatures (RFC 6376; Ed25519 by RFC 8463) on what is really sent.
//!
//! `relaxed/relaxed`, all fields that matter to a reader; those of which one is all there may be are signed once more than they are there, so that none
//! can be added (§5.4.2, §8.15). Which keys sign:
//!
//! 1. those of the From field's domain, or else of the nearest domain above it that has any: of the configuration, and of the sender domain, if that is
//!    open to the login. Keys with conditions that fit the sender sign in the place of those without;
//! 2. beside them, keys that sign always;
//! 3. where there is none of all these, fallback keys.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use mail_auth::common::crypto::SigningKey as _;
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::config;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::header::Mailbox;
use crate::sending_domain::key::PrivateKey;
use crate::sending_domain::{SendingDomains, Signatory};

/// Fields that are signed where they are (RFC 6376 §5.4.1), in lower case.
const SIGNED: [&str; 27] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "content-id",
    "content-description",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-help",
    "feedback-id",
];
/// Fields that are signed once more than they are there: adding one breaks the signature. Those that a mailing list may add are not among them.
const OVERSIGNED: [&str; 9] = ["from", "reply-to", "to", "cc", "subject", "date", "message-id", "mime-version", "content-type"];

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dkim key of {domain} (selector {selector:?}): {reason}")]
pub struct DkimError {
    /// Whose key.
    pub domain: Domain,
    /// Its selector.
    pub selector: String,
    /// What is wrong.
    pub reason: String,
}

/// All keys of the configuration, and those of sender domains.
#[derive(Default)]
pub struct Signers {
    /// By their domains in A-labels: From may hold either form.
    own: BTreeMap<String, Vec<Configured>>,
    /// Sign always.
    always: Vec<Signatory>,
    /// Sign what no other signs.
    fallback: Vec<Signatory>,
    domains: Option<SendingDomains>,
}

/// A key of the configuration.
struct Configured {
    signatory: Signatory,
    senders: Vec<config::SenderRule>,
}

/// Whose message it is, and of when.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The login, by name.
    pub login: &'a str,
    /// When the message came in: each attempt signs as the first did.
    pub received: Timestamp,
}

impl Signers {
    /// Reads all keys of the configuration; those of sender domains are looked for when they are needed.
    ///
    /// # Errors
    /// All keys that cannot be used.
    pub fn load(keys: &[config::Dkim], domains: Option<SendingDomains>) -> Result<Self, Vec<DkimError>> {
        let mut signers = Self { domains, ..Self::default() };
        let mut errors = Vec::new();
        for key in keys {
            let (domain, selector) = (key.domain.to_ascii(), key.selector.clone());
            let private = match PrivateKey::parse(key.key.expose()) {
                Ok(private) => private,
                Err(reason) => {
                    errors.push(DkimError { domain: key.domain.clone(), selector, reason });
                    continue;
                }
            };
            let signatory = Signatory { domain: domain.clone(), selector, key: private, is_conditional: !key.senders.is_empty() };
            if key.always {
                signers.always.push(signatory);
            } else if key.fallback {
                signers.fallback.push(signatory);
            } else {
                signers.own.entry(domain).or_default().push(Configured { signatory, senders: key.senders.clone() });
            }
        }
        if errors.is_empty() { Ok(signers) } else { Err(errors) }
    }

    /// Returns `message` with a signature of each key that is for it in front; as it is where there is none.
    pub fn sign(&self, message: Bytes, occasion: Occasion<'_>) -> Bytes {
        let has_own = !self.own.is_empty() || !self.always.is_empty() || !self.fallback.is_empty();
        if !has_own && self.domains.as_ref().is_none_or(SendingDomains::is_empty) {
            return message;
        }
        let (header, body) = split(&message);
        let fields: Vec<Field<'_>> = fields(header).collect();
        let signatories = self.signatories(from_address(&fields).as_ref(), occasion);
        if signatories.is_empty() {
            return message;
        }
        let body_hash = STANDARD.encode(Sha256::digest(relaxed(body)));
        let mut signed = BytesMut::with_capacity(message.len() + 1024 * signatories.len());
        for signatory in &signatories {
            match signature(signatory, &fields, &body_hash, occasion.received) {
                Ok(signature) => signed.extend_from_slice(signature.as_bytes()),
                Err(error) => {
                    tracing::error!(domain = signatory.domain, selector = signatory.selector, "cannot sign with DKIM: {error}");
                }
            }
        }
        signed.extend_from_slice(&message);
        signed.freeze()
    }

    /// The keys that sign mail from an address; of what has none, nobody knows whose it is.
    fn signatories(&self, from: Option<&EmailAddress>, occasion: Occasion<'_>) -> Vec<Signatory> {
        let mut signatories = from.map(|from| self.of_sender(from, occasion)).unwrap_or_default();
        let general = |own: &[Signatory], is_fallback| {
            let theirs = self.domains.as_ref().map(|domains| domains.general_signatories(occasion.login, is_fallback));
            own.iter().cloned().chain(theirs.unwrap_or_default()).collect::<Vec<_>>()
        };
        signatories.extend(general(&self.always, false));
        if signatories.is_empty() { general(&self.fallback, true) } else { signatories }
    }

    fn of_sender(&self, from: &EmailAddress, occasion: Occasion<'_>) -> Vec<Signatory> {
        let stored =
            self.domains.as_ref().zip(self.domains.as_ref().and_then(|domains| domains.signing_domain(occasion.login, from.domain())));
        let configured = self.nearest(from.domain());
        // Names above one domain: the longer one is nearer.
        let depth = |name: Option<&String>| name.map_or(0, String::len);
        let (own_depth, stored_depth) = (depth(configured), depth(stored.as_ref().map(|(_, name)| name)));
        let mut signatories = Vec::new();
        if own_depth >= stored_depth {
            let own = configured.and_then(|name| self.own.get(name)).into_iter().flatten();
            let fitting = own.filter(|key| key.senders.is_empty() || key.senders.iter().any(|rule| rule.fits(from)));
            signatories.extend(fitting.map(|key| key.signatory.clone()));
        }
        if let Some((domains, name)) = &stored
            && stored_depth >= own_depth
        {
            signatories.extend(domains.signatories(name, from, occasion.received));
        }
        if signatories.iter().any(|signatory| signatory.is_conditional) {
            signatories.retain(|signatory| signatory.is_conditional);
        }
        signatories
    }

    /// The domain, or the nearest above it, that the configuration has keys of.
    fn nearest(&self, domain: &Domain) -> Option<&String> {
        let domain = domain.to_ascii();
        let names = std::iter::successors(Some(domain.as_str()), |name| name.split_once('.').map(|(_, above)| above));
        names.filter_map(|name| self.own.get_key_value(name)).map(|(name, _)| name).next()
    }
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("the key is damaged")]
    Damaged,
    #[error(transparent)]
    Failed(#[from] mail_auth::Error),
}

/// A body in `relaxed` form (RFC 6376 §3.4.4): blanks made one, none at the ends of lines, no empty lines at the end. CRLF alone ends a line; what stands
/// alone is an octet like others, in binary content.
///
/// What `mail-auth` has for this counts lines at the end that hold nothing but blanks, and takes a bare LF for a line end.
fn relaxed(body: &[u8]) -> Vec<u8> {
    let mut relaxed = Vec::with_capacity(body.len() + 2);
    // Empty lines count once something stands behind them.
    let (mut start, mut empty) = (0, 0);
    let ends = memchr::memmem::find_iter(body, b"\r\n").chain(std::iter::once(body.len()));
    for end in ends {
        let line = body.get(start..end).unwrap_or_default();
        start = end + 2;
        let line = line.get(..line.len() - line.iter().rev().take_while(|octet| is_blank(**octet)).count()).unwrap_or_default();
        if line.is_empty() {
            empty += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty) {
            relaxed.extend_from_slice(b"\r\n");
        }
        push_relaxed(&mut relaxed, line);
        relaxed.extend_from_slice(b"\r\n");
    }
    relaxed
}

/// Appends a line with one blank in the place of several.
fn push_relaxed(relaxed: &mut Vec<u8>, line: &[u8]) {
    let mut rest = line;
    while let Some(blank) = memchr::memchr2(b' ', b'\t', rest) {
        let (word, tail) = rest.split_at(blank);
        relaxed.extend_from_slice(word);
        relaxed.push(b' ');
        rest = tail.get(tail.iter().take_while(|octet| is_blank(**octet)).count()..).unwrap_or_default();
    }
    relaxed.extend_from_slice(rest);
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

fn signature(signatory: &Signatory, fields: &[Field<'_>], body_hash: &str, now: Timestamp) -> Result<String, SignError> {
    let key = signatory.key.signing().ok_or(SignError::Damaged)?;
    let mut names = Vec::new();
    let mut data = Vec::with_capacity(2048);
    for name in SIGNED {
        // From the last to the first of a name, as verifiers take them (RFC 6376 §5.4.2).
        for field in fields.iter().rev().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())) {
            names.push(name);
            relax(&mut data, field);
            data.extend_from_slice(b"\r\n");
        }
        if OVERSIGNED.contains(&name) {
            names.push(name);
        }
    }
    let mut field = format!(
        "DKIM-Signature: v=1; a={}; c=relaxed/relaxed; d={};\r\n\ts={}; t={};\r\n\th=",
        key.algorithm.signature_tag(),
        signatory.domain,
        signatory.selector,
        now.as_seconds()
    );
    let mut width = 3;
    for (place, name) in names.iter().enumerate() {
        if place > 0 {
            field.push(':');
            width += 1;
        }
        if width + name.len() > 74 {
            field.push_str("\r\n\t ");
            width = 2;
        }
        field.push_str(name);
        width += name.len();
    }
    field.push_str(";\r\n\tbh=");
    field.push_str(body_hash);
    field.push_str(";\r\n\tb=");
    relax(&mut data, &Field { name: b"dkim-signature", value: field.get("DKIM-Signature:".len()..).unwrap_or_default().as_bytes() });
    let signature = STANDARD.encode(key.key.sign(&*data)?);
    for (place, octet) in signature.chars().enumerate() {
        if place > 0 && place % 70 == 0 {
            field.push_str("\r\n\t ");
        }
        field.push(octet);
    }
    field.push_str("\r\n");
    Ok(field)
}

/// A header field: the value as it stands, folded, without its last line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

/// Splits behind the empty line.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = message.strip_prefix(b"\r\n") {
        return (&[], body);
    }
    match memchr::memmem::find(message, b"\r\n\r\n") {
        Some(end) => (message.get(..end + 2).unwrap_or_default(), message.get(end + 4..).unwrap_or_default()),
        None => (message, &[]),
    }
}

fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            // A field ends with a line that no blank follows.
            let end =
                memchr::memmem::find_iter(rest, b"\r\n").find(|at| !matches!(rest.get(at + 2), Some(b' ' | b'\t'))).unwrap_or(rest.len());
            let field = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 2..).unwrap_or_default();
            if let Some(colon) = memchr::memchr(b':', field) {
                let name = field.get(..colon).unwrap_or_default().trim_ascii_end();
                return Some(Field { name, value: field.get(colon + 1..).unwrap_or_default() });
            }
        }
    })
}

/// The `relaxed` form of a field (RFC 6376 §3.4.2), without a line end.
fn relax(data: &mut Vec<u8>, field: &Field<'_>) {
    data.extend(field.name.iter().map(u8::to_ascii_lowercase));
    data.push(b':');
    let start = data.len();
    let mut blank = false;
    for &octet in field.value {
        match octet {
            b' ' | b'\t' => blank = true,
            // Unfolding: the line end goes, the blank behind it stays.
            b'\r' | b'\n' => {}
            _ => {
                if blank && data.len() > start {
                    data.push(b' ');
                }
                blank = false;
                data.push(octet);
            }
        }
    }
}

/// The first address of From. Of what is no list of addresses, or one that readers may take for another, nobody knows whose it is.
fn from_address(fields: &[Field<'_>]) -> Option<EmailAddress> {
    let from = fields.iter().find(|field| field.name.eq_ignore_ascii_case(b"from"))?;
    Mailbox::parse_senders(from.value).ok()?.into_iter().next()
}

#[cfg(test)]
mod tests;
