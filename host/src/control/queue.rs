//! What the commands ask about mail that waits. Whoever may ask runs the server: he sees and changes all of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_of;
use crate::archive::filter::{Filter, Grouping};
use crate::archive::{Archive, ArchiveError, explain};
use crate::mail::message_id::CopyId;
use crate::spool::selector::Selector;
use crate::spool::suspension::NewSuspension;

/// A question about mail that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// Copies that wait.
    List {
        /// Which.
        filter: Filter,
        /// Behind this one.
        after: Option<CopyId>,
        /// At most.
        limit: usize,
    },
    /// How much waits, in groups.
    Summary {
        /// Of which.
        filter: Filter,
        /// By what.
        by: Grouping,
        /// The largest ones.
        limit: usize,
    },
    /// Makes copies due now.
    Retry {
        /// Which.
        filter: Filter,
        /// Behind this one.
        after: Option<CopyId>,
    },
    /// Takes copies out of the queue.
    Cancel {
        /// Which.
        filter: Filter,
        /// Behind this one.
        after: Option<CopyId>,
        /// Tells the senders, with this reason.
        bounce: Option<String>,
    },
    /// Suspends mail.
    Pause {
        /// Which.
        selector: Selector,
        /// Why.
        reason: String,
        /// Who says so.
        by: String,
        /// For how long, in milliseconds; else until it is resumed.
        milliseconds: Option<u64>,
    },
    /// What is suspended.
    Paused,
    /// Ends a suspension.
    Resume {
        /// Its number.
        number: u64,
    },
    /// What holds for one recipient at this moment.
    Explain {
        /// His address.
        address: String,
        /// Name of the login whose mail it is; none is everybody's.
        login: Option<String>,
        /// The domain of the reverse-path.
        sender: Option<String>,
    },
}

/// Answers.
pub(super) async fn answer(order: Order, archive: &Archive) -> Result<Value, String> {
    let failed = |error: ArchiveError| error.to_string();
    match order {
        Order::List { filter, after, limit } => json_of(&archive.queue(&filter, after, limit).await.map_err(failed)?),
        Order::Summary { filter, by, limit } => json_of(&archive.queue_summary(&filter, by, limit).await.map_err(failed)?),
        Order::Retry { filter, after } => json_of(&archive.retry(&filter, after).await.map_err(failed)?),
        Order::Cancel { filter, after, bounce } => json_of(&archive.cancel(&filter, after, bounce.as_deref()).await.map_err(failed)?),
        Order::Pause { selector, reason, by, milliseconds } => {
            let until = milliseconds.map(|milliseconds| archive.now().plus(Duration::from_millis(milliseconds)));
            let new = NewSuspension { selector, reason, by, owner: None, until };
            json_of(&archive.suspend(new).await.map_err(|error| error.to_string())?)
        }
        Order::Paused => json_of(&archive.suspensions()),
        Order::Resume { number } => {
            let ended = archive.resume(number, |_| true).await.map_err(failed)?;
            json_of(&ended.ok_or_else(|| format!("there is no suspension {number}"))?)
        }
        Order::Explain { address, login, sender } => {
            let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
            let sender = sender.map(|text| crate::mail::domain::Domain::parse(&text).map_err(|error| format!("{text}: {error}")));
            let question = explain::Question { address, login, sender: sender.transpose()? };
            json_of(&archive.explain(&question).await.map_err(|error| error.to_string())?)
        }
    }
}
