//! How often something was told of one copy. A return path is no secret: whoever received the message knows it, and may send to it again and again for as
//! long as it is good. So a few reports of each kind have consequences, and what comes after them is only kept.

use bytes::Bytes;

use super::{Consequences, Parts, Subject};
use crate::mail::message_id::CopyId;
use crate::store::{StoreError, ValueChange};

/// Where it is written down how many there were.
pub(super) const TABLE: &str = "bounce-reports";
/// Reports of one kind on one copy that have consequences; a list or an address that goes on to several may well send more than one.
pub(super) const REPORTS: u8 = 10;
/// Counts that are kept at one time; what comes back while there are as many is not counted.
const COUNTS: u64 = 50_000;

/// What is counted by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Repeated {
    /// It failed.
    Failure,
    /// It is late, or has arrived.
    Report,
    /// Somebody answered.
    Response,
    /// Somebody complained.
    Complaint,
}

impl Parts {
    /// Counts a report, and returns what follows from that alone; `None` where there were enough of them.
    pub(super) async fn counted(&self, subject: &Subject, kind: Repeated) -> Result<Option<Consequences>, StoreError> {
        let (store, now) = (self.spool.store(), self.clock.now());
        let key = key(subject.copy, kind);
        let known = store.value(TABLE, &key, now).await?;
        let count = known.as_ref().and_then(|value| value.first().copied()).unwrap_or_default();
        if count >= REPORTS {
            tracing::info!(message.id = %subject.copy.message, ?kind, "enough was told of this copy: what comes back is only kept");
            return Ok(None);
        }
        let mut begun = Consequences::default();
        if known.is_some() || store.table_usage(TABLE).await?.keys < COUNTS {
            // By then the return path is a stranger's.
            let expires = now.plus(self.settings().returns.period);
            let value = Some(Bytes::copy_from_slice(&[count.saturating_add(1)]));
            begun.values.push(ValueChange { table: TABLE.into(), key, value, expires });
        }
        Ok(Some(begun))
    }
}

fn key(copy: CopyId, kind: Repeated) -> Bytes {
    let mut key = copy.message.to_bytes().to_vec();
    key.extend_from_slice(&copy.recipient.to_be_bytes());
    key.push(match kind {
        Repeated::Failure => b'f',
        Repeated::Report => b'r',
        Repeated::Response => b'a',
        Repeated::Complaint => b'c',
    });
    key.into()
}
