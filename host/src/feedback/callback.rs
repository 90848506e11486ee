//! Calls that tell of mail that came back: `POST` with the fields of a bounce webhook as JSON.
//!
//! They wait in the key-value table, under the time when they are due, so that a restart loses none. Each is tried again with growing waits, a fixed
//! number of times. Those of one login take only a part of the places, waiting or under way, so that the others need not wait for its server. Addresses
//! that are not public are not called, unless the configuration says so; redirects are not followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Feedback, Parts};
use crate::clock::Timestamp;
use crate::mail::content::Composition;
use crate::mail::message_id::MessageId;
use crate::mail::tag::Tag;
use crate::network::http_client::{Bounds, HttpClient, Outgoing};
use crate::store::{Batch, StoreError, ValueChange};

/// Where calls wait.
pub(super) const TABLE: &str = "bounce-callbacks";
/// Calls at one time.
const TOGETHER: usize = 16;
/// Of those, calls of one login.
const TOGETHER_OF_LOGIN: usize = 4;
/// A login's calls take at most one in so many of the places where calls wait.
const SHARE: u32 = 4;
/// Wait behind the first try; behind each other one it is three times as long. Ten tries take 21 hours.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_hours(6);
/// How often it is looked for what is due.
const REST: Duration = Duration::from_secs(1);
/// Octets of an answer.
const ANSWER: usize = 64 * 1024;
/// Octets of mail that a call has; the rest is left out.
const MIME: usize = 1024 * 1024;

/// A call that is to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Where to: an absolute URL.
    pub url: String,
    /// Whose it is.
    pub login: Arc<str>,
    /// About which message.
    pub id: MessageId,
    /// And which of its recipients.
    pub place: u32,
    /// When the mail came back.
    pub at: Timestamp,
    /// To whom the message went.
    pub recipient: String,
    /// From whom.
    pub envelope: String,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The mail that came back.
    pub mail: MessageId,
    /// Tries so far.
    pub tries: u32,
}

/// Puts a call where it waits until `due`.
pub(super) fn queued(call: &Call, due: Timestamp) -> ValueChange {
    let value = serde_json::to_vec(call).ok().map(Bytes::from);
    ValueChange { table: TABLE.into(), key: key(call, due), value, expires: Timestamp::NEVER }
}

/// When it is due, whose it is, and what makes it another than all others: one mail may come to the addresses of several copies.
fn key(call: &Call, due: Timestamp) -> Bytes {
    let mut key = due.as_millis().to_be_bytes().to_vec();
    key.extend_from_slice(&owner(&call.login));
    key.extend_from_slice(&call.mail.to_bytes());
    key.extend_from_slice(&call.id.to_bytes());
    key.extend_from_slice(&call.place.to_be_bytes());
    key.into()
}

/// The login, as keys have it.
fn owner(login: &str) -> [u8; 8] {
    let hash = blake3::hash(login.as_bytes());
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Reads when a call is due, and whose it is.
fn read_key(key: &[u8]) -> Option<(Timestamp, [u8; 8])> {
    let (due, rest) = key.split_first_chunk::<8>()?;
    Some((Timestamp::from_millis(u64::from_be_bytes(*due)), *rest.first_chunk()?))
}

/// The time at which a call is due again after so many tries.
fn next_try(now: Timestamp, tries: u32) -> Timestamp {
    let factor = 3_u32.saturating_pow(tries.saturating_sub(1));
    now.plus(FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT))
}

impl Parts {
    /// Whether there is room for a call where they wait.
    pub(super) async fn may_wait(&self, call: &Call) -> Result<bool, StoreError> {
        let limit = self.settings().returns.callbacks;
        let waiting = self.spool.store().values(TABLE, None, self.clock.now(), usize::try_from(limit).unwrap_or(usize::MAX)).await?;
        let owner = owner(&call.login);
        let own = waiting.iter().filter(|(key, _)| read_key(key).is_some_and(|(_, of)| of == owner)).count();
        let share = usize::try_from(limit.div_ceil(SHARE)).unwrap_or(usize::MAX);
        Ok(own < share && waiting.len() < usize::try_from(limit).unwrap_or(usize::MAX))
    }
}

/// Returns the body of a call.
fn body(call: &Call, mime: &str) -> Vec<u8> {
    let at = call.at.to_rfc3339();
    // `YYYY-MM-DD HH:MM:SS`.
    let timestamp = at.get(..19).unwrap_or(&at).replace('T', " ");
    let fields = json!({
        "id": call.id,
        "type": "bounce",
        "timestamp": timestamp,
        "time": call.at.as_millis() / 1000,
        "recipient": call.recipient,
        "envelope": call.envelope,
        "mime": mime,
        "tags": call.tags,
    });
    serde_json::to_vec(&fields).unwrap_or_default()
}

/// Makes calls until the shutdown. Those that are under way then are made again after the next start.
pub async fn run(feedback: Feedback, client: HttpClient, shutdown: CancellationToken) {
    loop {
        let done = tokio::select! {
            () = shutdown.cancelled() => return,
            done = round(&feedback, &client) => done,
        };
        if let Err(error) = done {
            tracing::warn!(error = &error as &dyn std::error::Error, "calls that tell of bounces wait: the store does not answer");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(REST) => {}
        }
    }
}

/// Makes the calls that are due, and writes down what came of them.
pub(super) async fn round(feedback: &Feedback, client: &HttpClient) -> Result<(), StoreError> {
    let parts = &feedback.0;
    let now = parts.clock.now();
    let store = parts.spool.store();
    let limit = usize::try_from(parts.settings().returns.callbacks).unwrap_or(usize::MAX);
    let mut due = store.values(TABLE, None, now, limit).await?;
    let mut places = BTreeMap::<[u8; 8], usize>::new();
    due.retain(|(key, _)| {
        let Some((_, owner)) = read_key(key).filter(|(due, _)| *due <= now) else { return false };
        let taken = places.entry(owner).or_default();
        *taken += 1;
        *taken <= TOGETHER_OF_LOGIN
    });
    due.truncate(TOGETHER);
    let done = join_all(due.into_iter().map(|(key, value)| one(feedback, client, key, value))).await;
    let values: Vec<ValueChange> = done.into_iter().flatten().collect();
    if values.is_empty() { Ok(()) } else { store.commit(Batch { values, ..Batch::default() }).await }
}

/// Makes one call; returns what is to be written down.
async fn one(feedback: &Feedback, client: &HttpClient, key: Bytes, value: Bytes) -> Vec<ValueChange> {
    let parts = &feedback.0;
    let removed = ValueChange { table: Arc::from(TABLE), key, value: None, expires: Timestamp::NEVER };
    let Ok(mut call) = serde_json::from_slice::<Call>(&value) else { return vec![removed] };
    let Ok(url) = Url::parse(&call.url) else { return vec![removed] };
    let returns = parts.settings().returns.clone();
    let mime = match parts.spool.message(call.mail).await {
        Ok(Some((entry, body, _))) => {
            let plan = &entry.plan;
            Composition::decode(body).map(|kept| kept.fill(&plan.nonce, &plan.slots, &mut |_| String::new())).unwrap_or_default()
        }
        Ok(None) | Err(_) => Bytes::new(),
    };
    let mime = String::from_utf8_lossy(mime.get(..MIME).unwrap_or(&mime)).into_owned();
    let what = Outgoing {
        method: "POST".to_owned(),
        url,
        headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
        body: body(&call, &mime).into(),
    };
    let bounds = Bounds { time: returns.callback_time, size: ANSWER, private: returns.callback_private };
    let result = match client.send(what, bounds).await {
        Ok(answer) if (200..300).contains(&answer.status) => return vec![removed],
        Ok(answer) => format!("status {}", answer.status),
        Err(error) => error.to_string(),
    };
    call.tries += 1;
    if call.tries >= returns.callback_tries {
        tracing::warn!(message.id = %call.id, tries = call.tries, "a call that tells of a bounce is given up: {result}");
        return vec![removed];
    }
    tracing::debug!(message.id = %call.id, tries = call.tries, "a call that tells of a bounce is tried again: {result}");
    let again = queued(&call, next_try(parts.clock.now(), call.tries));
    vec![removed, again]
}
