//! Links on the operator's public address, signed: nobody can make one up or change one, and the same link is always the same text.

use crate::mail::message_id::CopyId;
use crate::mail::slot::Link;

/// Signs links and tells its own from others.
#[derive(Clone)]
pub struct LinkSigner {
    key: [u8; 32],
    base: String,
}

/// What a link that was followed says, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedLink {
    /// Whose copy it stood in.
    pub copy: CopyId,
    /// What it is for.
    pub link: Link,
}

impl LinkSigner {
    /// Makes a signer for links below `base` (`https://t.example.com`, no slash at the end).
    pub fn new(key: [u8; 32], base: String) -> Self {
        Self { key, base }
    }

    /// Returns the absolute URL of `link` in `copy`.
    pub fn url(&self, copy: CopyId, link: &Link) -> String {
        let _ = (&self.key, &self.base, copy, link);
        todo!()
    }

    /// Reads the path of a request (`/t/…`, `/u/…`); `None` is for everything that we did not sign.
    pub fn verify(&self, path: &str) -> Option<SignedLink> {
        let _ = path;
        todo!()
    }
}
