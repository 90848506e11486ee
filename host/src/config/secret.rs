//! Secrets: where they are read from, how those of logins are kept as hashes, how new ones are made.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::unit::Secret;
use crate::clock::Entropy;

/// Octets of a file that a secret is read from; the largest in use, an RSA key of 16,384 bits, has 13 thousand.
const LARGEST_SECRET_FILE: u64 = 64 * 1024;

/// What every token of ours begins with, so that it is recognised where it should not be.
const TOKEN_PREFIX: &str = "tp_";

/// How a token's hash begins in the configuration.
const TOKEN_HASH_PREFIX: &str = "sha256:";

/// Memory of one argon2id computation in KiB: with two passes and one lane what OWASP recommends.
const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;

/// Returns the environment's value of a variable.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Reads a secret as the configuration names it: `file:PATH` is the content of a file without the line ends after it, everything else
/// the text itself; `${NAME}` in either is a variable of the environment. `base` is the folder of relative paths.
///
/// The error says what is wrong and does not show the secret.
pub(super) fn resolve(text: &str, base: &Path, environment: Environment<'_>) -> Result<Secret, String> {
    let secret = match text.strip_prefix("file:") {
        Some(path) => read_file(&base.join(expand(path, environment)?))?,
        None => expand(text, environment)?,
    };
    if secret.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(Secret::new(secret))
}

/// Puts the environment's values in the place of `${NAME}`. What they hold is not expanded again.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once("${") {
        result.push_str(before);
        let (name, after) = tail.split_once('}').ok_or("\"${\" without \"}\"")?;
        let valid = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !valid {
            return Err("between \"${\" and \"}\" stands the name of a variable of the environment".to_owned());
        }
        let value = environment(name).ok_or_else(|| format!("the environment has no variable \"{name}\""))?;
        result.push_str(&value);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

fn read_file(path: &PathBuf) -> Result<String, String> {
    let fault = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let mut text = String::new();
    let length =
        File::open(path).and_then(|file| file.take(LARGEST_SECRET_FILE + 1).read_to_string(&mut text)).map_err(|error| fault(&error))?;
    if length as u64 > LARGEST_SECRET_FILE {
        return Err(fault(&"more than 64 KiB"));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// Returns the argon2id hash of `password` in PHC form, for `password` of a login.
///
/// # Panics
/// Never: parameters and salt are within the limits of argon2id, and memory that runs out ends the process before.
pub fn hash_password(password: &str, entropy: &Entropy) -> String {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None).expect("the parameters are within the limits");
    let salt: [u8; 16] = entropy.array();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .expect("the password is shorter than 4 GiB and the salt has the recommended size")
        .to_string()
}

/// Whether `password` is what `hash` was made of, at the cost that `hash` names: call it where waiting is allowed.
pub fn verify_password(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Takes a secret only if it is an argon2id hash that [`verify_password`] can work with.
pub(super) fn password_hash(secret: Secret) -> Result<Secret, String> {
    if is_password_hash(secret.expose()) {
        Ok(secret)
    } else {
        Err("must be an argon2id hash, as \"tubepost login hash\" makes them".to_owned())
    }
}

fn is_password_hash(text: &str) -> bool {
    PasswordHash::new(text)
        .is_ok_and(|hash| hash.algorithm == ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some() && Params::try_from(&hash).is_ok())
}

/// Makes a new API token of 256 random bits, in characters that need no escaping in URLs, JSON and shells.
pub fn new_token(entropy: &Entropy) -> String {
    let random: [u8; 32] = entropy.array();
    format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random))
}

/// Makes a new password of 192 random bits, in the characters of [`new_token`].
pub fn new_password(entropy: &Entropy) -> String {
    let random: [u8; 24] = entropy.array();
    BASE64_URL_SAFE_NO_PAD.encode(random)
}

/// Returns the SHA-256 hash of a token. Tokens are random, so a fast hash without salt is enough.
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Returns the hash of a token as it stands in the configuration: `sha256:` and 64 hexadecimal digits.
pub fn hash_token(token: &str) -> String {
    token_digest(token).iter().fold(TOKEN_HASH_PREFIX.to_owned(), |mut text, octet| {
        write!(text, "{octet:02x}").expect("a String takes everything");
        text
    })
}

/// Reads what [`hash_token`] writes; digits above 9 in either case.
pub(super) fn parse_token_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(TOKEN_HASH_PREFIX)?.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let octets: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| {
            let (high, low) = (char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?);
            u8::try_from(high * 16 + low).ok()
        })
        .collect();
    octets?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "USER_PASSWORD" => Some("s3cret ${NOT_AGAIN}".to_owned()),
            "DIRECTORY" => Some("keys".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn secrets_come_from_text_environment_or_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        std::fs::write(folder.path().join("keys/token"), "from a file\r\n\n").unwrap();
        std::fs::write(folder.path().join("large"), "x".repeat(64 * 1024 + 1)).unwrap();
        let resolve = |text| resolve(text, folder.path(), &environment).map(|secret| secret.expose().to_owned());

        assert_eq!(resolve("$argon2id$v=19$"), Ok("$argon2id$v=19$".to_owned()));
        assert_eq!(resolve("a${USER_PASSWORD}b"), Ok("as3cret ${NOT_AGAIN}b".to_owned()));
        assert_eq!(resolve("file:keys/token"), Ok("from a file".to_owned()));
        assert_eq!(resolve("file:${DIRECTORY}/token"), Ok("from a file".to_owned()));
        assert_eq!(resolve("${MISSING}"), Err("the environment has no variable \"MISSING\"".to_owned()));
        assert_eq!(resolve("${EMPTY}"), Err("is empty".to_owned()));
        for text in ["${", "${}", "${A B}", "", "file:none", "file:large", "file:keys"] {
            assert!(resolve(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hashes_of_passwords_fit_their_passwords() {
        let entropy = Entropy::seeded(1);
        let hash = hash_password("correct horse", &entropy);
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(is_password_hash(&hash));
        assert!(verify_password(&hash, "correct horse"));
        assert!(!verify_password(&hash, "correct horse "));
        assert_ne!(hash, hash_password("correct horse", &entropy), "each hash has its own salt");
    }

    #[test]
    fn what_is_no_argon2id_hash_is_seen() {
        for text in
            ["", "secret", "$argon2id$v=19$", "$2b$12$abcdefghijklmnopqrstuv", "$argon2i$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"]
        {
            assert!(!is_password_hash(text), "{text}");
            assert!(!verify_password("", text));
        }
    }

    #[test]
    fn tokens_are_hashed() {
        let token = new_token(&Entropy::seeded(2));
        assert_eq!(token.len(), 46);
        assert_eq!(parse_token_hash(&hash_token(&token)), Some(token_digest(&token)));
        assert_eq!(hash_token("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        for text in ["", "sha256:", "sha256:ab", "sha256:zz", &hash_token("abc").to_uppercase(), &format!("{}00", hash_token("abc"))] {
            assert_eq!(parse_token_hash(text), None, "{text}");
        }
    }
}
