//! A component as it is read, before it is compiled: its octets, their digest, and who signed it.
//!
//! A signature stands in a file beside the component, `greet.wasm.sig`: one line of three words, `tubepost-signature-1`, the Ed25519 public key, and
//! the signature (RFC 8032), both in base64. Signed is not the component itself but a text of ours followed by its SHA-256, so that a signature
//! that was made for something else is none here.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::built_in;
use super::loading::LoadError;
use crate::config::{PluginSource, PluginTrust};

/// Octets of a component that are read.
pub const COMPONENT_SIZE: u64 = 64 << 20;
/// First word of a signature.
const SIGNATURE: &str = "tubepost-signature-1";
/// What stands before the digest in what is signed.
const SIGNED: &[u8] = b"tubepost plugin signature 1\n";
/// Octets of a signature's file.
const SIGNATURE_SIZE: u64 = 4096;

/// A component that was read. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Component {
    octets: Bytes,
    digest: Arc<str>,
    /// What stands in the file of its signature.
    signature: Option<String>,
    is_built_in: bool,
}

/// Why a component is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It is another one than the configuration pins.
    #[error("its SHA-256 is {found}, and the configuration has sha256 = \"{wanted}\"")]
    Pinned {
        /// That of the file.
        found: Arc<str>,
        /// That of the configuration.
        wanted: String,
    },
    /// Nobody signed it, and somebody must.
    #[error("it is not signed, and [plugin_trust] has require_signed: `tubepost plugin sign` makes a signature")]
    Unsigned,
    /// Somebody signed it whom we do not know, and somebody whom we know must.
    #[error("it is signed by a key that is not among the keys of [plugin_trust]: {0}")]
    Stranger(String),
    /// The signature is of another component, or was changed.
    #[error("the signature of {0} is not for this component: it was changed, or its signature is that of another build")]
    Forged(Arc<str>),
    /// The file of the signature is none.
    #[error("the file with its signature is not one that `tubepost plugin sign` made")]
    Unreadable,
}

impl Component {
    /// Reads a component and its signature.
    pub fn read(source: &PluginSource) -> Result<Self, LoadError> {
        match source {
            PluginSource::BuiltIn(name) => {
                let octets = built_in::component(name).ok_or_else(|| LoadError::NotBuiltIn(Arc::clone(name)))?;
                Ok(Self { octets: Bytes::from_static(octets), digest: digest(octets), signature: None, is_built_in: true })
            }
            PluginSource::File(path) => Self::read_file(path),
        }
    }

    /// Reads a component in a file.
    pub fn read_file(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |path: &Path| {
            let path = path.to_path_buf();
            move |error| LoadError::Unreadable { path, error }
        };
        let octets =
            limited(path, COMPONENT_SIZE).map_err(unreadable(path))?.ok_or_else(|| LoadError::TooLarge { path: path.to_path_buf() })?;
        let beside = signature_path(path);
        let signature = match limited(&beside, SIGNATURE_SIZE) {
            // What is too long is no signature either, and is said to be none.
            Ok(text) => Some(text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&beside)(error)),
        };
        Ok(Self { digest: digest(&octets), octets: octets.into(), signature, is_built_in: false })
    }

    /// A component that was kept, of which only the digest counts.
    pub(super) fn kept(octets: Vec<u8>) -> Self {
        Self { digest: digest(&octets), octets: octets.into(), signature: None, is_built_in: false }
    }

    /// Returns the component.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Returns its SHA-256 in hexadecimal digits.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// Checks that it is the one that is wanted. Returns who signed it, where somebody did whom we know. What is in this binary needs no signature.
    pub fn trusted(&self, pin: Option<&[u8; 32]>, trust: &PluginTrust) -> Result<Option<Arc<str>>, Distrust> {
        if let Some(pin) = pin {
            let wanted = hexadecimal(pin);
            if *wanted != *self.digest {
                return Err(Distrust::Pinned { found: Arc::clone(&self.digest), wanted });
            }
        }
        let unsigned = |distrust| if trust.require_signed && !self.is_built_in { Err(distrust) } else { Ok(None) };
        let Some(text) = &self.signature else { return unsigned(Distrust::Unsigned) };
        if trust.keys.is_empty() {
            return unsigned(Distrust::Unsigned);
        }
        let Some((key, signature)) = parts(text) else { return Err(Distrust::Unreadable) };
        let Some(known) = trust.keys.iter().find(|known| known.key == key) else {
            return unsigned(Distrust::Stranger(STANDARD.encode(key)));
        };
        let verified = UnparsedPublicKey::new(&ED25519, key).verify(&signed(&self.digest), &signature);
        verified.map(|()| Some(Arc::clone(&known.name))).map_err(|_| Distrust::Forged(Arc::clone(&known.name)))
    }
}

/// Returns where the signature of a component is.
pub fn signature_path(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Returns what is signed of a component.
pub fn signed(digest: &str) -> Vec<u8> {
    [SIGNED, digest.as_bytes()].concat()
}

/// Writes a signature as it stands in its file.
pub fn signature_text(key: &[u8], signature: &[u8]) -> String {
    format!("{SIGNATURE} {} {}\n", STANDARD.encode(key), STANDARD.encode(signature))
}

/// Reads a signature: the key, and what it signed with.
fn parts(text: &str) -> Option<([u8; 32], Vec<u8>)> {
    let mut words = text.split_whitespace();
    let (name, key, signature, rest) = (words.next()?, words.next()?, words.next()?, words.next());
    (name == SIGNATURE && rest.is_none()).then_some(())?;
    Some((STANDARD.decode(key).ok()?.try_into().ok()?, STANDARD.decode(signature).ok()?))
}

/// Returns the SHA-256 of octets in hexadecimal digits.
pub fn digest(octets: &[u8]) -> Arc<str> {
    hexadecimal(&Sha256::digest(octets)).into()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Reads a file of at most `limit` octets; `None` if it has more.
fn limited(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut octets)?;
    Ok((octets.len() as u64 <= limit).then_some(octets))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;
    use crate::config::TrustedKey;

    fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn trust(key: &Ed25519KeyPair, require_signed: bool) -> PluginTrust {
        let key = key.public_key().as_ref().try_into().unwrap();
        PluginTrust { keys: vec![TrustedKey { name: "ann".into(), key }], require_signed }
    }

    fn component(octets: &[u8], signature: Option<String>) -> Component {
        Component { octets: octets.to_vec().into(), digest: digest(octets), signature, is_built_in: false }
    }

    fn signature(key: &Ed25519KeyPair, octets: &[u8]) -> String {
        signature_text(key.public_key().as_ref(), key.sign(&signed(&digest(octets))).as_ref())
    }

    #[test]
    fn a_signature_is_for_one_component_and_of_a_known_key() {
        let (ann, other) = (key(1), key(2));
        let good = component(b"good", Some(signature(&ann, b"good")));
        for required in [false, true] {
            assert_eq!(good.trusted(None, &trust(&ann, required)), Ok(Some("ann".into())));
            let forged = component(b"evil", Some(signature(&ann, b"good")));
            assert_eq!(forged.trusted(None, &trust(&ann, required)), Err(Distrust::Forged("ann".into())));
            for junk in ["", "tubepost-signature-1 a b", "tubepost-signature-2 a b"] {
                assert_eq!(component(b"good", Some(junk.into())).trusted(None, &trust(&ann, required)), Err(Distrust::Unreadable));
            }
        }
        assert_eq!(good.trusted(None, &trust(&other, false)), Ok(None));
        assert!(matches!(good.trusted(None, &trust(&other, true)), Err(Distrust::Stranger(_))));
        let unsigned = component(b"good", None);
        assert_eq!(unsigned.trusted(None, &trust(&ann, false)), Ok(None));
        assert_eq!(unsigned.trusted(None, &trust(&ann, true)), Err(Distrust::Unsigned));
        assert_eq!(Component { is_built_in: true, ..unsigned }.trusted(None, &trust(&ann, true)), Ok(None));
        // A signature of the digest alone is none: it could have been made for anything.
        let bare = signature_text(ann.public_key().as_ref(), ann.sign(digest(b"good").as_bytes()).as_ref());
        assert_eq!(component(b"good", Some(bare)).trusted(None, &trust(&ann, true)), Err(Distrust::Forged("ann".into())));
    }

    #[test]
    fn a_pin_names_both_digests() {
        let pinned = component(b"good", None);
        let pin: [u8; 32] = Sha256::digest(b"good").into();
        assert_eq!(pinned.trusted(Some(&pin), &PluginTrust::default()), Ok(None));
        let error = pinned.trusted(Some(&[0xab; 32]), &PluginTrust::default()).unwrap_err().to_string();
        assert!(error.contains(&**pinned.digest()) && error.contains(&"ab".repeat(32)), "{error}");
    }
}
