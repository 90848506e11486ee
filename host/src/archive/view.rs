//! What the commands and the dashboard show.

use serde::Serialize;

use super::filter::Status;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::event::search::Summary;
use crate::mail::message_id::MessageId;
use crate::spool::entry::{Copy, CopyState, Entry};
use crate::store::Row;

/// A copy that waits.
#[derive(Clone, Debug, Serialize)]
pub struct QueuedCopy {
    /// Its id: that of the message, with the recipient's number from the second on.
    pub id: String,
    /// Where it goes.
    pub recipient: String,
    /// Where it waits.
    pub queue: String,
    /// When it is tried next; absent where it is held.
    pub due: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last one failed.
    pub last: Option<String>,
    /// Why it is held.
    pub held: Option<String>,
    /// What it waits for.
    pub status: Status,
    /// Why it is not tried now although it could be: what somebody said.
    pub suspended: Option<String>,
    /// Its message.
    #[serde(flatten)]
    pub message: QueuedMessage,
}

/// What a queue listing says of a copy's message.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueuedMessage {
    /// Whose it is.
    pub login: String,
    /// Where failures are reported; "" is the null reverse-path.
    pub reverse_path: String,
    /// Decoded Subject.
    pub subject: String,
    /// Its tags.
    pub tags: Vec<String>,
}

impl QueuedMessage {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            login: entry.login.to_string(),
            reverse_path: entry.reverse_path.to_string(),
            subject: entry.subject.clone(),
            tags: entry.tags.iter().map(ToString::to_string).collect(),
        }
    }
}

impl QueuedCopy {
    pub(super) fn new(
        row: &Row,
        copy: &Copy,
        state: CopyState,
        (status, suspended): (Status, Option<String>),
        message: QueuedMessage,
    ) -> Self {
        Self {
            id: row.copy.to_string(),
            recipient: copy.address.to_string(),
            queue: row.queue.to_string(),
            due: (row.due != Timestamp::NEVER).then_some(row.due),
            attempts: state.attempts,
            last: state.last,
            held: state.held,
            status,
            suspended,
            message,
        }
    }
}

/// Everything that is known of one message.
#[derive(Clone, Debug, Serialize)]
pub struct MessageView {
    /// Which.
    pub id: MessageId,
    /// What its events add up to; absent where they are gone.
    pub summary: Option<Summary>,
    /// What was kept of it; absent where it is gone, or damaged.
    pub entry: Option<Entry>,
    /// Copies that still wait.
    pub queued: Vec<QueuedCopy>,
    /// What happened, oldest first.
    pub events: Vec<Event>,
}
