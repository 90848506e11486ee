//! What waits, in groups: how much, since when, until when, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::filter::{Filter, Grouping, Status};
use super::walk::{Bounds, Met};
use super::{Archive, ArchiveError};
use crate::clock::Timestamp;
use crate::spool::queue;

/// Groups that are told apart; all that is beyond them is one.
const MOST_GROUPS: usize = 10_000;
/// The name of that one.
const OTHERS: &str = "(others)";
/// Characters of a reason.
const REASON_LENGTH: usize = 200;

/// What waits.
#[derive(Clone, Debug, Serialize)]
pub struct QueueSummary {
    /// By what it is grouped.
    pub by: Grouping,
    /// The largest groups first.
    pub groups: Vec<GroupSummary>,
    /// How many groups there are in all.
    pub group_count: usize,
    /// Everything together.
    pub total: GroupSummary,
    /// Copies that were looked at.
    pub looked_at: usize,
    /// The time was over before all were looked at.
    pub cut: bool,
}

/// What waits of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupSummary {
    /// Its name.
    pub name: String,
    /// Copies.
    pub copies: u64,
    /// Those that are due now, or being sent.
    pub due: u64,
    /// Those that wait for their first attempt, at a later time.
    pub scheduled: u64,
    /// Those that wait for another attempt.
    pub deferred: u64,
    /// Those that a plugin holds.
    pub held: u64,
    /// Those that are suspended.
    pub suspended: u64,
    /// When the oldest message arrived.
    pub oldest: Option<Timestamp>,
    /// When the next one is tried that is not due yet, and neither held nor suspended.
    pub next: Option<Timestamp>,
    /// Why the newest of those failed that failed.
    pub last: Option<String>,
    /// What somebody said who suspended mail of it.
    pub suspension: Option<String>,
}

impl GroupSummary {
    fn add(&mut self, met: &Met) {
        self.copies += 1;
        *match met.status {
            Status::Due => &mut self.due,
            Status::Scheduled => &mut self.scheduled,
            Status::Deferred => &mut self.deferred,
            Status::Held => &mut self.held,
            Status::Suspended => &mut self.suspended,
        } += 1;
        let arrived = met.row.copy.message.received();
        self.oldest = Some(self.oldest.map_or(arrived, |oldest| oldest.min(arrived)));
        if matches!(met.status, Status::Scheduled | Status::Deferred) {
            self.next = Some(self.next.map_or(met.row.due, |next| next.min(met.row.due)));
        }
        if let Some(last) = met.state.held.as_ref().or(met.state.last.as_ref()) {
            self.last = Some(last.chars().take(REASON_LENGTH).collect());
        }
        if self.suspension.is_none() {
            self.suspension.clone_from(&met.suspended);
        }
    }
}

impl Archive {
    /// Returns what waits of what `filter` means, the `limit` largest groups first.
    ///
    /// # Errors
    /// If the store fails, or too many ask.
    pub async fn queue_summary(&self, filter: &Filter, by: Grouping, limit: usize) -> Result<QueueSummary, ArchiveError> {
        self.summed_up(filter, by, limit, usize::MAX).await
    }

    /// The same of the first `rows` copies.
    pub(super) async fn summed_up(&self, filter: &Filter, by: Grouping, limit: usize, rows: usize) -> Result<QueueSummary, ArchiveError> {
        let bounds = Bounds { rows, entries: matches!(by, Grouping::Login | Grouping::Tag) };
        let mut walk = self.walk(filter, None, bounds).await?;
        let mut groups: BTreeMap<Arc<str>, GroupSummary> = BTreeMap::new();
        let mut total = GroupSummary::default();
        while let Some(page) = walk.page().await? {
            for met in &page {
                total.add(met);
                for name in names(met, by) {
                    let name = if groups.len() < MOST_GROUPS || groups.contains_key(&name) { name } else { OTHERS.into() };
                    groups.entry(name).or_default().add(met);
                }
            }
        }
        let group_count = groups.len();
        let mut groups: Vec<GroupSummary> =
            groups.into_iter().map(|(name, group)| GroupSummary { name: name.to_string(), ..group }).collect();
        // Equal ones stay in the order of their names.
        groups.sort_by_key(|group| std::cmp::Reverse(group.copies));
        groups.truncate(limit);
        Ok(QueueSummary { by, groups, group_count, total, looked_at: walk.looked_at(), cut: !walk.is_complete() })
    }
}

/// The groups that a copy belongs to.
fn names(met: &Met, by: Grouping) -> Vec<Arc<str>> {
    let entry = met.entry.as_deref();
    match by {
        Grouping::Queue => vec![Arc::clone(&met.row.queue)],
        Grouping::Domain => vec![met.domain.as_str().into()],
        Grouping::Route => vec![queue::split(&met.row.queue).0.into()],
        Grouping::Login => vec![entry.map_or_else(|| "".into(), |entry| Arc::clone(&entry.login))],
        Grouping::Tag => match entry.map(|entry| entry.tags.as_slice()).unwrap_or_default() {
            [] => vec!["".into()],
            tags => tags.iter().map(|tag| tag.as_str().into()).collect(),
        },
    }
}
