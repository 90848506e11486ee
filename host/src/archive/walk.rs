//! A walk over what waits, page by page: others have the store in between, and only one page is in memory.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::filter::{Filter, Status};
use super::turn::Turn;
use super::{Archive, ArchiveError, PAGE};
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::entry::{Copy, CopyState, Entry};
use crate::spool::selector::{Selected, ascii};
use crate::spool::{Spool, queue};
use crate::store::{Row, StoreError};

/// How long one may take, the wait for its turn included; its answer says where to go on. Whoever asks has more patience, for a last page.
const LONGEST: Duration = Duration::from_secs(20);

/// The last recipient that the text of a copy's id can name.
const LAST_RECIPIENT: u32 = u32::MAX - 1;

/// How far a walk goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Copies that are looked at.
    pub(super) rows: usize,
    /// Messages are read, whatever the filter needs.
    pub(super) entries: bool,
}

impl Bounds {
    /// As far as time allows.
    pub(super) const ALL: Self = Self { rows: usize::MAX, entries: false };
    /// The same, and messages are read.
    pub(super) const WITH_ENTRIES: Self = Self { rows: usize::MAX, entries: true };
}

/// A copy that a filter means, without what it is made from: that may be as large as the call that handed it over, and a page has many.
pub(super) struct Met {
    pub(super) row: Row,
    pub(super) copy: Copy,
    pub(super) state: CopyState,
    /// What is known of its message, where it was read.
    pub(super) entry: Option<Arc<Entry>>,
    /// It could not be read now; later it may.
    pub(super) is_unread: bool,
    /// The recipient's domain in A-labels.
    pub(super) domain: String,
    pub(super) status: Status,
    /// Why it is not tried now, where somebody wants that.
    pub(super) suspended: Option<String>,
}

/// A walk on its way.
pub(super) struct Walk {
    look: Look,
    bounds: Bounds,
    /// Messages that are named and not looked at yet; `None` where all are looked at.
    named: Option<VecDeque<MessageId>>,
    begin: Option<CopyId>,
    after: Option<CopyId>,
    until: Duration,
    is_over: bool,
    looked_at: usize,
}

/// Looks at copies one by one, for a walk and for who goes on with what it met.
#[derive(Clone)]
pub(super) struct Look {
    archive: Archive,
    filter: Arc<Filter>,
    /// Messages are read, whatever the filter needs.
    entries: bool,
    /// The message of the last copy.
    known: Option<(MessageId, Known)>,
    /// It was said that something cannot be read.
    has_complained: bool,
    /// Others have theirs when all are done who look, though the walk itself may be gone.
    _turn: Arc<Turn>,
}

/// What is known of a message, if anything, or why it cannot be read.
type Known = Result<Option<Arc<Entry>>, StoreError>;

impl Archive {
    /// Begins a walk over what `filter` means, behind `after`.
    pub(super) async fn walk(&self, filter: &Filter, after: Option<CopyId>, bounds: Bounds) -> Result<Walk, ArchiveError> {
        let until = self.clock.monotonic() + LONGEST;
        let turn = self.turns.take(self.login.as_ref()).await.ok_or(ArchiveError::Busy)?;
        let named = filter.named.iter().map(|named| named.message()).chain(filter.selector.message);
        // In the order of all the others, each once; but those that are passed already.
        let messages = named.collect::<BTreeSet<_>>();
        let is_named = !messages.is_empty();
        let is_ahead = |message: &MessageId| after.is_none_or(|after| CopyId { message: *message, recipient: LAST_RECIPIENT } > after);
        let messages: VecDeque<MessageId> = messages.into_iter().filter(is_ahead).collect();
        let look = Look {
            archive: self.clone(),
            filter: Arc::new(filter.clone()),
            entries: bounds.entries,
            known: None,
            has_complained: false,
            _turn: Arc::new(turn),
        };
        Ok(Walk { look, bounds, named: is_named.then_some(messages), begin: after, after, until, is_over: false, looked_at: 0 })
    }
}

impl Walk {
    /// Returns what the filter means of the next page; `None` where there is no other, or no time for one.
    pub(super) async fn page(&mut self) -> Result<Option<Vec<Met>>, ArchiveError> {
        if self.is_over || self.looked_at >= self.bounds.rows || self.look.archive.clock.monotonic() >= self.until {
            return Ok(None);
        }
        let store = self.look.archive.spool.store();
        let mut passed = None;
        let rows = match &mut self.named {
            Some(messages) => {
                let Some(message) = messages.pop_front() else {
                    self.is_over = true;
                    return Ok(None);
                };
                let begin = self.begin;
                passed = Some(CopyId { message, recipient: LAST_RECIPIENT });
                store.rows_of(message).await?.into_iter().filter(|row| begin.is_none_or(|begin| row.copy > begin)).collect()
            }
            None => store.rows(self.look.filter.queue.as_deref(), self.after, PAGE).await?,
        };
        self.is_over = self.named.is_none() && rows.len() < PAGE;
        self.looked_at += rows.len();
        // A message that is named is passed also where none of its copies waits.
        self.after = self.after.max(rows.last().map(|row| row.copy).or(passed));
        let mut page = Vec::new();
        for row in rows {
            page.extend(self.look.at(row).await?);
        }
        Ok(Some(page))
    }

    /// Whether all that there is was looked at.
    pub(super) fn is_complete(&self) -> bool {
        self.is_over
    }

    /// Where another walk goes on; `None` where there is nothing left.
    pub(super) fn next(&self) -> Option<CopyId> {
        if self.is_over { None } else { self.after }
    }

    /// Behind which copy the next page begins.
    pub(super) fn place(&self) -> Option<CopyId> {
        self.after
    }

    /// Copies that were looked at.
    pub(super) fn looked_at(&self) -> usize {
        self.looked_at
    }

    /// Returns who looks, for copies that are looked at again.
    pub(super) fn look(&self) -> Look {
        self.look.clone()
    }
}

impl Look {
    /// Looks at one copy; `None` where the filter does not mean it, or it cannot be read. A copy of which the message cannot be read is nobody's.
    pub(super) async fn at(&mut self, mut row: Row) -> Result<Option<Met>, ArchiveError> {
        let filter = Arc::clone(&self.filter);
        if (!filter.named.is_empty() && !filter.named.iter().any(|named| named.is(row.copy)))
            || filter.queue.as_deref().is_some_and(|queue| *queue != *row.queue)
        {
            return Ok(None);
        }
        let Some((mut copy, state)) = Spool::read(&row) else {
            self.complain(&row.copy, &"a later release wrote it, or it is damaged");
            return Ok(None);
        };
        let (route, _) = queue::split(&row.queue);
        let (domain, message) = (ascii(copy.address.domain()), row.copy.message);
        if !filter.selector.matches_place(route, Some(&domain)) {
            return Ok(None);
        }
        let suspensions = self.archive.spool.suspensions();
        let is_needed = self.entries || filter.selector.needs_entry() || suspensions.any_needs_entry(self.archive.clock.now());
        let (entry, is_unread) = match if is_needed { self.entry(message).await } else { Ok(None) } {
            Ok(entry) => (entry, false),
            // Its copies are met all the same: whoever goes through all of them can take them out, and gets at those behind.
            Err(StoreError::Damaged(_)) => (None, false),
            Err(StoreError::BadDisk(_)) => (None, true),
            Err(error) => return Err(error.into()),
        };
        let selected = Selected { route, domain: &domain, message, entry: entry.as_deref() };
        if !filter.selector.matches(selected) {
            return Ok(None);
        }
        let (status, suspended) = self.archive.standing(&row, &state, selected);
        if filter.status.is_some_and(|wanted| wanted != status) {
            return Ok(None);
        }
        (row.payload, copy.variables) = (Bytes::new(), String::new());
        Ok(Some(Met { row, copy, state, entry, is_unread, domain, status, suspended }))
    }

    async fn entry(&mut self, message: MessageId) -> Known {
        if let Some((known, entry)) = &self.known
            && *known == message
        {
            return entry.clone();
        }
        let entry = self.archive.spool.entry(message).await;
        if let Err(error) = &entry {
            self.complain(&message, error);
        }
        let entry = entry.map(|entry| entry.filter(|entry| entry.id == message).map(|entry| Arc::new(lightened(entry))));
        self.known = Some((message, entry.clone()));
        entry
    }

    /// Says once that something cannot be read: there may be much of it, and it is met again and again.
    fn complain(&mut self, id: &dyn Display, why: &dyn Display) {
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::error!(message.id = %id, %why, "of what waits something cannot be read, and maybe more than this");
        }
    }
}

/// Forgets what copies are made from.
fn lightened(mut entry: Entry) -> Entry {
    entry.options = String::new();
    let plan = &mut entry.plan;
    (plan.context, plan.slots, plan.variables) = (Vec::new(), Vec::new(), String::new());
    for step in &mut plan.steps {
        step.config = String::new();
    }
    entry
}
