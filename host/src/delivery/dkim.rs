//! DKIM signatures (RFC 6376; Ed25519 by RFC 8463) on what is really sent.
//!
//! `relaxed/relaxed`, all fields that matter to a reader, From signed once more than it is there, so that none can be added (§5.4.2, §8.15). The
//! key is that of the From field's domain, or else of the nearest domain above it that has one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use mail_auth::common::crypto::{DkimKey, Ed25519Key, HashContext as _, HashImpl as _, RsaKey, Sha256, SigningKey as _};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::clock::Timestamp;
use crate::config;
use crate::mail::domain::Domain;
use crate::mail::header::Mailbox;

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
/// Fields that are signed once more than they are there: adding one breaks the signature.
const OVERSIGNED: [&str; 1] = ["from"];

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

/// All keys, by their domains in A-labels: From may hold either form.
#[derive(Default)]
pub struct Signers(BTreeMap<String, Vec<Signer>>);

struct Signer {
    domain: String,
    selector: String,
    algorithm: &'static str,
    key: DkimKey,
}

impl Signers {
    /// Reads all keys.
    ///
    /// # Errors
    /// All keys that cannot be used.
    pub fn load(keys: &[config::Dkim]) -> Result<Self, Vec<DkimError>> {
        let mut signers: BTreeMap<String, Vec<Signer>> = BTreeMap::new();
        let mut errors = Vec::new();
        for key in keys {
            match parse_key(key.key.expose()) {
                Ok((algorithm, private)) => signers.entry(key.domain.to_ascii()).or_default().push(Signer {
                    domain: key.domain.to_ascii(),
                    selector: key.selector.clone(),
                    algorithm,
                    key: private,
                }),
                Err(reason) => errors.push(DkimError { domain: key.domain.clone(), selector: key.selector.clone(), reason }),
            }
        }
        if errors.is_empty() { Ok(Self(signers)) } else { Err(errors) }
    }

    /// Returns `message` with a signature of each key of its From domain in front; as it is where there is none.
    pub fn sign(&self, message: Bytes, now: Timestamp) -> Bytes {
        if self.0.is_empty() {
            return message;
        }
        let (header, body) = split(&message);
        let fields: Vec<Field<'_>> = fields(header).collect();
        let Some(signers) = from_domain(&fields).and_then(|domain| self.of(&domain)) else { return message };
        let mut hasher = BodyHasher::new(Sha256::hasher(), Canonicalization::Relaxed, 0);
        hasher.write(body);
        let body_hash = STANDARD.encode(hasher.finish().0.complete());
        let mut signed = BytesMut::with_capacity(message.len() + 1024 * signers.len());
        for signer in signers {
            match signer.signature(&fields, &body_hash, now) {
                Ok(signature) => signed.extend_from_slice(signature.as_bytes()),
                Err(error) => tracing::error!(domain = %signer.domain, selector = %signer.selector, "cannot sign with DKIM: {error}"),
            }
        }
        signed.extend_from_slice(&message);
        signed.freeze()
    }

    /// Keys of `domain`, or of the nearest domain above it.
    fn of(&self, domain: &Domain) -> Option<&[Signer]> {
        let domain = domain.to_ascii();
        let mut name = domain.as_str();
        loop {
            if let Some(signers) = self.0.get(name) {
                return Some(signers);
            }
            name = name.split_once('.')?.1;
        }
    }
}

fn parse_key(pem: &str) -> Result<(&'static str, DkimKey), String> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("no private key in PEM: {error}"))?;
    if let PrivateKeyDer::Pkcs8(pkcs8) = &der
        && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(pkcs8.secret_pkcs8_der())
    {
        return Ok(("ed25519-sha256", DkimKey::Ed25519(key)));
    }
    let key = RsaKey::<Sha256>::from_key_der(der).map_err(|error| format!("neither an RSA nor an Ed25519 key: {error}"))?;
    Ok(("rsa-sha256", DkimKey::Rsa(key)))
}

impl Signer {
    fn signature(&self, fields: &[Field<'_>], body_hash: &str, now: Timestamp) -> Result<String, mail_auth::Error> {
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
            self.algorithm,
            self.domain,
            self.selector,
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
        let signature = STANDARD.encode(self.key.sign(&*data)?);
        for (place, octet) in signature.chars().enumerate() {
            if place > 0 && place % 70 == 0 {
                field.push_str("\r\n\t ");
            }
            field.push(octet);
        }
        field.push_str("\r\n");
        Ok(field)
    }
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

/// The domain of the first address of From. Of what is no list of addresses nobody knows whose it is: it is not signed.
fn from_domain(fields: &[Field<'_>]) -> Option<Domain> {
    let from = fields.iter().find(|field| field.name.eq_ignore_ascii_case(b"from"))?;
    let list = Mailbox::parse_field(from.value).ok()?;
    list.first().map(|mailbox| mailbox.address.domain().clone())
}

#[cfg(test)]
mod tests;
