//! Places in the queue as logins are told them: sealed, as a look may have been cut at a copy that is another login's.
//!
//! A text is base64url without padding (RFC 4648 §5) of a nonce and what ChaCha20-Poly1305 (RFC 8439) makes of the copy's id, for one login. The key is
//! kept in the data folder: what was told before a restart leads on after it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::clock::Entropy;
use crate::mail::message_id::{CopyId, MessageId};

/// Octets of a message's id.
const ID_LENGTH: usize = 16;

/// Seals places, and knows its own again. Cloning is cheap.
#[derive(Clone)]
pub struct Places {
    key: LessSafeKey,
    entropy: Entropy,
}

impl Places {
    /// Seals with `key`.
    ///
    /// # Panics
    /// Never: the key has the length that the cipher wants.
    pub fn new(key: [u8; 32], entropy: &Entropy) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("its keys have 32 octets");
        Self { key: LessSafeKey::new(key), entropy: entropy.clone() }
    }

    /// Returns what `login` is told instead of `copy`.
    pub(super) fn seal(&self, login: &str, copy: CopyId) -> String {
        let nonce: [u8; NONCE_LEN] = self.entropy.array();
        let mut sealed = [&copy.message.to_bytes()[..], &copy.recipient.to_be_bytes()].concat();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(login.as_bytes()), &mut sealed)
            .expect("some octets are not too many for the cipher");
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// Returns the copy that `login` was told of with `text`.
    pub(super) fn open(&self, login: &str, text: &str) -> Option<CopyId> {
        let mut octets = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = octets.split_first_chunk_mut()?;
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(login.as_bytes()), sealed).ok()?;
        let (id, recipient) = opened.split_first_chunk::<ID_LENGTH>()?;
        Some(CopyId { message: MessageId::from_bytes(*id), recipient: u32::from_be_bytes(recipient.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_place_is_known_to_its_login_alone() {
        let places = Places::new([1; 32], &Entropy::seeded(1));
        let copy = CopyId { message: MessageId::from_bytes([7; 16]), recipient: 70_000 };
        let text = places.seal("news", copy);
        assert_eq!(places.open("news", &text), Some(copy));
        assert_ne!(places.seal("news", copy), text, "nobody can tell whether it is the same");
        assert_eq!(places.open("other", &text), None);
        let changed = text.replacen(char::is_alphabetic, "-", 1);
        for wrong in [changed.as_str(), text.get(1..).unwrap(), "", "AAAA", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(places.open("news", wrong), None, "{wrong}");
        }
        assert_eq!(Places::new([1; 32], &Entropy::seeded(2)).open("news", &text), Some(copy), "it is the same key after a restart");
        assert_eq!(Places::new([2; 32], &Entropy::seeded(1)).open("news", &text), None, "the key is another one");
    }
}
