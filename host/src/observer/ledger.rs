//! Where everybody stands, on the disk: one value for the reader, one for each queue that is behind him.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Stand;
use super::line::Pair;
use crate::clock::{Clock, Timestamp};
use crate::store::{Batch, Store, StoreError, ValueChange};

/// Our table. Those of plugins begin otherwise.
const TABLE: &str = "observer";
/// The reader's key. Those of queues have a slash.
const READER: &[u8] = b"reader";
/// Who has not been in a chain for so long begins anew when he is again.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// The value of the reader.
#[derive(Serialize, Deserialize)]
struct Reader {
    read: u64,
    since: BTreeMap<Arc<str>, u64>,
}

/// Writes down and reads where everybody stands.
pub(super) struct Ledger {
    store: Arc<dyn Store>,
    clock: Clock,
    /// What is on the disk, as far as this process knows.
    saved: Option<Stand>,
}

impl Ledger {
    /// Reads what is known of the reader.
    pub(super) async fn open(store: Arc<dyn Store>, clock: Clock) -> Result<Self, StoreError> {
        let saved = match store.value(TABLE, READER, clock.now()).await? {
            None => None,
            Some(octets) => match serde_json::from_slice::<Reader>(&octets) {
                Ok(Reader { read, since }) => Some(Stand { read, since, behind: BTreeMap::new() }),
                Err(error) => {
                    warn!(%error, "where plugins stand on the event log cannot be read: they begin with now");
                    None
                }
            },
        };
        Ok(Self { store, clock, saved })
    }

    /// Returns where the reader was.
    pub(super) fn read(&self) -> Option<u64> {
        self.saved.as_ref().map(|saved| saved.read)
    }

    /// Returns since when a plugin is told.
    pub(super) fn since(&self, plugin: &str) -> Option<u64> {
        self.saved.as_ref()?.since.get(plugin).copied()
    }

    /// Returns from where on a plugin has not heard of a login's events, if it was behind the reader.
    pub(super) async fn behind(&mut self, pair: &Pair) -> Result<Option<u64>, StoreError> {
        let value = self.store.value(TABLE, &key(pair), self.clock.now()).await?;
        let position = value.and_then(|octets| Some(u64::from_le_bytes(octets.get(..8)?.try_into().ok()?)));
        // That it is on the disk must be known, or nobody would take it away when the plugin has caught up.
        if let (Some(position), Some(saved)) = (position, &mut self.saved) {
            saved.behind.insert(pair.clone(), position);
        }
        Ok(position)
    }

    /// Writes down what has changed.
    pub(super) async fn save(&mut self, stand: Stand) -> Result<(), StoreError> {
        let nothing = Stand::default();
        let known = self.saved.as_ref().unwrap_or(&nothing);
        // Where nobody is told, nothing is to be known but that.
        if *known == stand || (stand.since.is_empty() && known.since.is_empty() && stand.behind == known.behind) {
            return Ok(());
        }
        let expires = self.clock.now().plus(KEPT);
        let mut values = Vec::new();
        let mut put = |key: Bytes, value: Option<Bytes>, expires: Timestamp| {
            values.push(ValueChange { table: TABLE.into(), key, value, expires });
        };
        for (pair, position) in &stand.behind {
            if known.behind.get(pair) != Some(position) {
                put(key(pair), Some(Bytes::copy_from_slice(&position.to_le_bytes())), expires);
            }
        }
        for pair in known.behind.keys().filter(|pair| !stand.behind.contains_key(pair)) {
            put(key(pair), None, Timestamp::NEVER);
        }
        let reader = Reader { read: stand.read, since: stand.since.clone() };
        // Numbers and names always have a JSON text.
        put(Bytes::from_static(READER), Some(serde_json::to_vec(&reader).unwrap_or_default().into()), Timestamp::NEVER);
        self.store.commit(Batch { values, ..Batch::default() }).await?;
        self.saved = Some(stand);
        Ok(())
    }
}

fn key(pair: &Pair) -> Bytes {
    format!("{}/{}", pair.plugin, pair.login).into()
}
