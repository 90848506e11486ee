//! `[plugin_trust]`, and the digests that plugins are pinned by.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{Fault, Section, Value};

/// Keys that are listed.
const MOST_KEYS: usize = 1_000;

/// `[plugin_trust]`: whose plugins are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginTrust {
    /// `keys`: `name:` and an Ed25519 public key in base64.
    pub keys: Vec<TrustedKey>,
    /// `require_signed`: whether a plugin in a file must be signed by one of them. Default false.
    pub require_signed: bool,
}

/// Who may sign plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// His name.
    pub name: Arc<str>,
    /// His Ed25519 public key.
    pub key: [u8; 32],
}

pub(super) fn read(section: &Section<'_>) -> PluginTrust {
    let keys = section.list("keys", key);
    if keys.len() > MOST_KEYS {
        section.report(&format!("keys: more than {MOST_KEYS}"));
    }
    let require_signed = section.or("require_signed", false, Value::boolean);
    if require_signed && !section.has("keys") {
        section.report("require_signed: nobody could sign, as \"keys\" is missing");
    }
    PluginTrust { keys, require_signed }
}

fn key(value: &Value<'_>) -> Result<TrustedKey, Fault> {
    let wrong = "must be a name, a colon, and an Ed25519 public key in base64, as `tubepost plugin keygen` prints it";
    let (name, key) = value.text()?.split_once(':').ok_or(wrong)?;
    if !super::document::is_name(name) {
        return Err("the name of a key has 1 to 64 letters, digits, `-`, `_` and `.`".into());
    }
    let octets = STANDARD.decode(key).map_err(|_| wrong)?;
    Ok(TrustedKey { name: Arc::from(name), key: octets.try_into().map_err(|_| wrong)? })
}

/// Reads a SHA-256 in hexadecimal digits.
pub(super) fn digest(value: &Value<'_>) -> Result<[u8; 32], Fault> {
    let wrong = "must be a SHA-256: 64 hexadecimal digits";
    let text = value.text()?;
    let mut digest = [0; 32];
    if text.len() != 64 {
        return Err(wrong.into());
    }
    for (octet, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong)?;
        // A sign would be taken for a digit.
        *octet = u8::from_str_radix(pair, 16).ok().filter(|_| pair.bytes().all(|digit| digit.is_ascii_hexdigit())).ok_or(wrong)?;
    }
    Ok(digest)
}
