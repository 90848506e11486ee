//! `[[administrators]]`: who may change over REST what belongs to no single login.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::document::{Section, Value, is_name};
use super::secret::{parse_token_hash, token_digest};

/// Somebody who may change what belongs to no single login.
#[derive(Clone, PartialEq, Eq)]
pub struct Administrator {
    /// `name`: unique; in logs.
    pub name: Arc<str>,
    /// `token`: `sha256:` and 64 hexadecimal digits.
    pub token: [u8; 32],
}

impl fmt::Debug for Administrator {
    /// Shows no secret, hashes included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Administrator").field("name", &self.name).finish_non_exhaustive()
    }
}

pub(super) fn read(file: &Section<'_>) -> Vec<Administrator> {
    let (mut names, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    file.sections("administrators", |section, number| {
        section.rename(format!("administrator {number}"));
        let name = section.required("name", |value| {
            let name: Arc<str> = value.text()?.into();
            if !is_name(&name) {
                return Err("a name has 1 to 64 letters, digits, \"-\", \"_\" and \".\"".to_owned());
            }
            section.rename(format!("administrator \"{name}\""));
            if names.insert(Arc::clone(&name)) { Ok(name) } else { Err("another administrator has this name".to_owned()) }
        });
        let token = section.required("token", |value: &Value<'_>| {
            let secret = value.secret()?;
            let hash =
                parse_token_hash(secret.expose()).ok_or("must be \"sha256:\" and the 64 hexadecimal digits of the token's SHA-256 hash")?;
            if hash == token_digest("") {
                return Err("is the hash of nothing: whoever gave no token would be let in".to_owned());
            }
            if tokens.insert(hash) { Ok(hash) } else { Err("another administrator has this token".to_owned()) }
        });
        Some(Administrator { name: name?, token: token? })
    })
}
