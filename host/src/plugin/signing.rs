//! Keys that sign plugins, and signatures.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::component::{Component, signature_path, signature_text, signed};
use super::loading::LoadError;
use crate::clock::Entropy;

/// First word of a key's file.
const KEY: &str = "tubepost-signing-key-1";
/// Octets of a key's file.
const KEY_SIZE: usize = 4096;

/// Why there is no key or no signature.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has no key in it.
    #[error("{} is not a key that `tubepost plugin keygen` made", .0.display())]
    NoKey(PathBuf),
    /// The component cannot be read.
    #[error(transparent)]
    Component(#[from] LoadError),
}

/// A key that signs. It is shown nowhere.
pub struct SigningKey(Ed25519KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a key and writes it, for this user alone, to a file that must not be there yet.
    ///
    /// # Errors
    /// The file is there, or cannot be written.
    pub fn create(path: &Path, entropy: &Entropy) -> Result<Self, SigningError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let seed: [u8; 32] = entropy.array();
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{KEY} {}", STANDARD.encode(seed))?;
            file.sync_all()
        };
        write().map_err(|source| SigningError::File { path: path.to_path_buf(), source })?;
        Self::of(&seed).ok_or_else(|| SigningError::NoKey(path.to_path_buf()))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// The file cannot be read, or has no key in it.
    pub fn read(path: &Path) -> Result<Self, SigningError> {
        let text = std::fs::read_to_string(path).map_err(|source| SigningError::File { path: path.to_path_buf(), source })?;
        let seed = || {
            let (word, seed) = text.get(..text.len().min(KEY_SIZE))?.trim().split_once(' ')?;
            STANDARD.decode(seed).ok().filter(|_| word == KEY)
        };
        seed().and_then(|seed| Self::of(&seed)).ok_or_else(|| SigningError::NoKey(path.to_path_buf()))
    }

    fn of(seed: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// Returns the public key in base64, as `[plugin_trust]` lists it behind a name.
    pub fn public(&self) -> String {
        STANDARD.encode(self.0.public_key())
    }

    /// Signs a component, and writes the signature beside it. Returns where, and the component's digest.
    ///
    /// # Errors
    /// The component cannot be read, or the signature not be written.
    pub fn sign(&self, path: &Path) -> Result<(PathBuf, String), SigningError> {
        let component = Component::read_file(path)?;
        let signature = self.0.sign(&signed(component.digest()));
        let beside = signature_path(path);
        let text = signature_text(self.0.public_key().as_ref(), signature.as_ref());
        std::fs::write(&beside, text).map_err(|source| SigningError::File { path: beside.clone(), source })?;
        Ok((beside, component.digest().to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::config::{PluginTrust, TrustedKey};

    #[test]
    fn what_is_signed_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (key_file, component) = (folder.path().join("key"), folder.path().join("greet.wasm"));
        let made = SigningKey::create(&key_file, &Entropy::seeded(1)).unwrap();
        assert!(SigningKey::create(&key_file, &Entropy::seeded(2)).is_err(), "a key is never written over");
        let key = SigningKey::read(&key_file).unwrap();
        assert_eq!(key.public(), made.public());
        assert!(!format!("{key:?}").contains(std::fs::read_to_string(&key_file).unwrap().trim().split_once(' ').unwrap().1));

        std::fs::write(&component, "octets").unwrap();
        let (signature, digest) = key.sign(&component).unwrap();
        assert_eq!(signature, folder.path().join("greet.wasm.sig"));
        let public = STANDARD.decode(key.public()).unwrap().try_into().unwrap();
        let trust = PluginTrust { keys: vec![TrustedKey { name: "ann".into(), key: public }], require_signed: true };
        let read = Component::read_file(&component).unwrap();
        assert_eq!((read.trusted(None, &trust), &**read.digest()), (Ok(Some("ann".into())), digest.as_str()));
        std::fs::write(&key_file, "tubepost-signing-key-1 AAAA").unwrap();
        assert!(matches!(SigningKey::read(&key_file), Err(SigningError::NoKey(_))));
    }
}
