//! Private keys that sign mail: made, read, and shown by their public parts alone.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{TryCryptoRng, TryRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::clock::Entropy;

/// What stands in front of the 32 octets of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410 §4).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// `AlgorithmIdentifier` of RSA (RFC 8017 appendix A.1).
const RSA_ALGORITHM: [u8; 15] = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A key in PEM as it is kept, read when it is first used. Cloning is cheap.
#[derive(Clone)]
pub struct PrivateKey(Arc<Kept>);

struct Kept {
    pem: String,
    read: OnceLock<Option<SigningKey>>,
}

/// A key that can be used.
pub struct SigningKey {
    /// What signs.
    pub key: DkimKey,
    /// Which algorithm.
    pub algorithm: KeyAlgorithm,
    /// The public part: `SubjectPublicKeyInfo` of RSA, the 32 octets of Ed25519.
    public: Vec<u8>,
}

/// The two algorithms that DKIM has (RFC 6376, RFC 8463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA with SHA-256.
    Rsa,
    /// Ed25519 with SHA-256.
    Ed25519,
}

impl KeyAlgorithm {
    /// Returns the `a=` of a signature.
    pub const fn signature_tag(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }

    const fn key_tag(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl SigningKey {
    /// Reads a key: PKCS#8 or PKCS#1 (RSA), PKCS#8 (Ed25519).
    ///
    /// # Errors
    /// Says what is wrong, and nothing of the key.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("no private key in PEM: {error}"))?;
        if let PrivateKeyDer::Pkcs8(pkcs8) = &der
            && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(pkcs8.secret_pkcs8_der())
        {
            let public = key.public_key();
            return Ok(Self { key: DkimKey::Ed25519(key), algorithm: KeyAlgorithm::Ed25519, public });
        }
        let key = RsaKey::<Sha256>::from_key_der(der).map_err(|error| format!("neither an RSA nor an Ed25519 key: {error}"))?;
        let public = subject_public_key_info(&key.public_key());
        Ok(Self { key: DkimKey::Rsa(key), algorithm: KeyAlgorithm::Rsa, public })
    }

    /// Returns what is published for it (RFC 6376 §3.6.1).
    pub fn record(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.algorithm.key_tag(), BASE64_STANDARD.encode(&self.public))
    }

    /// Returns the public part in PEM.
    pub fn public_pem(&self) -> String {
        let der = match self.algorithm {
            KeyAlgorithm::Rsa => self.public.clone(),
            KeyAlgorithm::Ed25519 => [ED25519_PREFIX.as_slice(), &self.public].concat(),
        };
        pem("PUBLIC KEY", &der)
    }
}

impl PrivateKey {
    /// Keeps a key.
    ///
    /// # Errors
    /// As for [`SigningKey::parse`].
    pub fn parse(pem: &str) -> Result<Self, String> {
        let read = OnceLock::from(Some(SigningKey::parse(pem)?));
        Ok(Self(Arc::new(Kept { pem: pem.to_owned(), read })))
    }

    /// Makes an RSA key. That takes up to some seconds of processor time: not for a thread that others wait for.
    ///
    /// # Errors
    /// The size is none that can be made.
    pub fn generate(bits: u32, entropy: &Entropy) -> Result<Self, String> {
        let bits = usize::try_from(bits).map_err(|error| error.to_string())?;
        let key = rsa::PrivateKey::new(&mut Octets(entropy), bits).map_err(|error| error.to_string())?;
        let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
        Self::parse(&pem("PRIVATE KEY", der.as_bytes()))
    }

    /// Returns it ready for use; `None` where what was kept is damaged.
    pub fn signing(&self) -> Option<&SigningKey> {
        self.0.read.get_or_init(|| SigningKey::parse(&self.0.pem).ok()).as_ref()
    }

    /// Returns what is published for it; empty where it is damaged.
    pub fn record(&self) -> String {
        self.signing().map(SigningKey::record).unwrap_or_default()
    }

    /// Returns the public part in PEM; empty where it is damaged.
    pub fn public_pem(&self) -> String {
        self.signing().map(SigningKey::public_pem).unwrap_or_default()
    }
}

impl PartialEq for PrivateKey {
    /// By the public part, which is no secret.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.record() == other.record()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

impl Serialize for PrivateKey {
    /// For the store alone: nothing that is shown is made of it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.pem)
    }
}

impl<'de> Deserialize<'de> for PrivateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pem = String::deserialize(deserializer)?;
        Ok(Self(Arc::new(Kept { pem, read: OnceLock::new() })))
    }
}

/// Our random numbers for whoever makes keys.
struct Octets<'a>(&'a Entropy);

impl TryRng for Octets<'_> {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.0.array()))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.0.array()))
    }
    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(octets);
        Ok(())
    }
}

impl TryCryptoRng for Octets<'_> {}

/// Wraps a PKCS#1 key, as verifiers expect it (RFC 5280 §4.1).
fn subject_public_key_info(pkcs1: &[u8]) -> Vec<u8> {
    let bits = tagged(0x03, &[&[0], pkcs1].concat());
    tagged(0x30, &[RSA_ALGORITHM.as_slice(), &bits].concat())
}

/// Tag, length, value.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = length.iter().position(|octet| *octet != 0).and_then(|first| length.get(first..)).unwrap_or(&[0]);
    let mut der = vec![tag];
    if value.len() >= 0x80 {
        der.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
    }
    der.extend_from_slice(length);
    der.extend_from_slice(value);
    der
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn keys_that_are_made_can_be_read_again() {
        let key = PrivateKey::generate(2048, &Entropy::seeded(1)).unwrap();
        let again: PrivateKey = serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
        assert_eq!(again, key);
        assert!(key.record().starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"), "{}", key.record());
        assert!(key.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"));
        assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    }

    #[test]
    fn public_parts_are_those_of_openssl() {
        let rsa = SigningKey::parse(include_str!("../delivery/dkim/rsa_pkcs8.pem")).unwrap();
        let start = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApTFfnH6QvpxnK8AoSMLzWkbfDyasjlJ+YrZ35c0maR3n86ofcd323";
        assert!(rsa.record().starts_with(start) && rsa.record().ends_with("LSenBwIDAQAB"), "{}", rsa.record());
        let ed25519 = SigningKey::parse(include_str!("../delivery/dkim/ed25519.pem")).unwrap();
        assert_eq!(ed25519.record(), "v=DKIM1; k=ed25519; p=Rsm4QqYEKg5C0jT2U32WgpsSXL98mhrI8VXFyHLn9qU=");
        assert!(ed25519.public_pem().contains("MCowBQYDK2VwAyEA"), "{}", ed25519.public_pem());
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        for text in ["", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"] {
            let error = PrivateKey::parse(text).unwrap_err();
            assert!(!error.contains("secret") && !error.contains("c2Vj"), "{error}");
        }
    }
}
