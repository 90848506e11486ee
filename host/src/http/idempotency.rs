//! `Idempotency-Key`: a call that is made again is carried out once, and answered as it was the first time.
//!
//! A key counts for one login and one dialect. What is kept of it, for a day and over restarts, is the answer to a call whose message was taken. A call
//! that fails leaves nothing and may be made again; one that is still being carried out, or that was another one, is refused. To MailPace's clients the
//! body makes no difference.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::problem::{Dialect, Flaw, Problem};
use crate::clock::Clock;
use crate::mail::envelope::Envelope;
use crate::mail::refusal::Refusal;
use crate::store::{Batch, Store, ValueChange};

/// The field of the request.
const FIELD: &str = "Idempotency-Key";
/// Characters of a key.
const LONGEST_KEY: usize = 255;
/// The table of the store.
const TABLE: &str = "idempotency";
/// How long an answer is kept.
const PERIOD: Duration = Duration::from_hours(24);
/// Octets of an answer that can be kept.
const LONGEST_ANSWER: usize = 512 * 1024;
/// What one recipient takes in it beside his address.
const RECIPIENT: usize = 64;
/// Calls with a key that are carried out at one moment.
const MOST_RUNNING: usize = 10_000;
/// The version of what is kept.
const VERSION: u8 = 1;

/// The keys. Cloning is cheap.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Keys whose calls are being carried out.
    running: Mutex<BTreeSet<Key>>,
}

/// Stands for a key, its login and the dialect.
type Key = [u8; 32];

/// What a caller hears whose message was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The body.
    pub body: String,
    /// The message's id.
    pub message: String,
    /// Fields of the call that meant nothing.
    pub ignored: Vec<String>,
}

/// What is kept of a call.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of its body.
    digest: [u8; 32],
    taken: Taken,
}

/// Whose turn it is.
pub enum Turn {
    /// The call has no key.
    Free,
    /// It is to be carried out, and its answer kept.
    First(Running),
    /// It was carried out before.
    Again(Taken),
}

/// A call with a key that is being carried out. Nobody else's call has the key until this is dropped.
pub struct Running {
    keys: Keys,
    key: Key,
    digest: [u8; 32],
}

impl Keys {
    /// The keys that `store` has.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self(Arc::new(Shared { store, clock, running: Mutex::default() }))
    }

    /// Says whose turn it is with this call of a login.
    ///
    /// # Errors
    /// The key is none, is in use, or belongs to another call; or the store fails.
    pub async fn turn(&self, headers: &HeaderMap, login: &str, dialect: Dialect, body: &[u8]) -> Result<Turn, Problem> {
        let Some(text) = headers.get(FIELD) else { return Ok(Turn::Free) };
        let text = text.to_str().ok().map(str::trim).filter(|text| (1..=LONGEST_KEY).contains(&text.len()));
        let text = text.ok_or_else(|| Flaw::new(FIELD, format!("1 to {LONGEST_KEY} printable characters are expected")))?;
        let mut hasher = Sha256::new();
        for part in [login, dialect.word(), text] {
            hasher.update(part);
            hasher.update([0]);
        }
        let running = self.begin(hasher.finalize().into(), Sha256::digest(body).into())?;
        let shared = &self.0;
        let kept = shared.store.value(TABLE, &running.key, shared.clock.now()).await.map_err(|error| {
            warn!(%error, "it cannot be found out whether a call was made before");
            Problem::Refused(Refusal::StorageFailed)
        })?;
        match kept.as_deref().and_then(Kept::decode) {
            None => Ok(Turn::First(running)),
            Some(kept) if kept.digest == running.digest || dialect == Dialect::MailPace => Ok(Turn::Again(kept.taken)),
            Some(_) => Err(Problem::KeyOfAnother),
        }
    }

    fn begin(&self, key: Key, digest: [u8; 32]) -> Result<Running, Problem> {
        let mut running = self.0.running.lock();
        if running.len() >= MOST_RUNNING {
            return Err(Problem::Refused(Refusal::Overloaded));
        }
        if !running.insert(key) {
            return Err(Problem::KeyInUse);
        }
        Ok(Running { keys: self.clone(), key, digest })
    }
}

impl Running {
    /// Refuses a call whose answer would be too large to be kept: made again, it would be carried out again.
    ///
    /// # Errors
    /// It has too many recipients.
    pub fn check(&self, envelope: &Envelope) -> Result<(), Problem> {
        let octets: usize = envelope.forward_paths.iter().map(|path| path.address.to_string().len() + RECIPIENT).sum();
        if octets <= LONGEST_ANSWER { Ok(()) } else { Err(Flaw::new(FIELD, "a call with so many recipients can have none").into()) }
    }

    /// Keeps the answer. If that fails the message was taken all the same.
    pub async fn keep(self, taken: &Taken) {
        let shared = &self.keys.0;
        let kept = Kept { digest: self.digest, taken: taken.clone() };
        let Some(value) = kept.encode() else { return };
        let (key, expires) = (Bytes::copy_from_slice(&self.key), shared.clock.now().plus(PERIOD));
        let change = ValueChange { table: TABLE.into(), key, value: Some(value), expires };
        if let Err(error) = shared.store.commit(Batch { values: vec![change], ..Batch::default() }).await {
            warn!(%error, message.id = %taken.message, "the answer to a call is not kept: made again, it is carried out again");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keys.0.running.lock().remove(&self.key);
    }
}

impl Kept {
    fn encode(&self) -> Option<Bytes> {
        postcard::to_extend(self, vec![VERSION]).ok().map(Bytes::from)
    }

    fn decode(octets: &[u8]) -> Option<Self> {
        let (version, rest) = octets.split_first()?;
        if *version == VERSION { postcard::from_bytes(rest).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn what_is_kept_is_read_for_ever() {
        let taken = Taken { body: "{}".to_owned(), message: "01".to_owned(), ignored: vec!["a".to_owned()] };
        let kept = Kept { digest: [7; 32], taken: taken.clone() };
        let octets = kept.encode().unwrap();
        let fixture = [&[1][..], &[7; 32], b"\x02{}\x0201\x01\x01a"].concat();
        assert_eq!(octets, fixture);
        let read = Kept::decode(&fixture).unwrap();
        assert_eq!((read.digest, read.taken), ([7; 32], taken));
        assert!(Kept::decode(b"\x02").is_none() && Kept::decode(b"").is_none() && Kept::decode(b"\x01\xff").is_none());
    }
}
