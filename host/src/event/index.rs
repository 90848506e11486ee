//! A tantivy index of messages, built from the event log off the hot path.
//!
//! One document for each message: its [`Summary`] and the words of its text. The place in the log up to which the index knows everything is part of
//! its commit, so that after a crash it goes on where it was. It can be thrown away (delete the folder) and is built again from the log, as far
//! back as that goes.

mod query;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tantivy::collector::{Count, TopDocs};
use tantivy::directory::MmapDirectory;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::query::{RangeQuery, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TEXT, TantivyDocument, Value as _};
use tantivy::{Index, IndexReader, IndexWriter, Order, ReloadPolicy, Term};
use tracing::warn;

use super::Event;
use super::search::Summary;
use crate::clock::Timestamp;
use crate::mail::message_id::MessageId;
pub use query::QueryError;

/// Messages that a search can pass over: those in front of a page are gone through for it, and memory is taken for each.
pub const MOST_PASSED_OVER: usize = 500_000;
/// Messages of one page.
pub const MOST_ON_PAGE: usize = 10_000;
/// Raised when the documents change: an index of another number is built anew.
const FORMAT: &str = "2";
/// Share of a part of the index that may be what was deleted, before the part is written anew without it.
const DELETED_SHARE: f32 = 0.5;

/// What went wrong with the index. Nothing is lost: it is built from the log.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Tantivy could not read or write.
    #[error("the search index failed")]
    Tantivy(#[from] tantivy::TantivyError),
    /// The folder could not be made or read.
    #[error("the folder of the search index failed")]
    Folder(#[from] std::io::Error),
    /// A summary could not be read back.
    #[error("the search index holds a damaged summary")]
    Damaged(#[from] serde_json::Error),
    /// The query makes no sense.
    #[error(transparent)]
    Query(#[from] QueryError),
}

#[derive(Clone, Copy)]
struct Fields {
    id: Field,
    login: Field,
    address: Field,
    from: Field,
    to: Field,
    subject: Field,
    tag: Field,
    state: Field,
    text: Field,
    at: Field,
    summary: Field,
}

impl Fields {
    fn schema() -> (Schema, Self) {
        let mut schema = Schema::builder();
        let fields = Self {
            id: schema.add_text_field("id", STRING),
            login: schema.add_text_field("login", STRING),
            address: schema.add_text_field("address", STRING),
            from: schema.add_text_field("from", STRING),
            to: schema.add_text_field("to", STRING),
            subject: schema.add_text_field("subject", TEXT),
            tag: schema.add_text_field("tag", STRING),
            state: schema.add_text_field("state", STRING),
            text: schema.add_text_field("text", TEXT),
            at: schema.add_u64_field("at", INDEXED | FAST),
            summary: schema.add_text_field("summary", STORED),
        };
        (schema.build(), fields)
    }
}

/// Events of one message that the index leads to; of a message to very many recipients the later ones are found only on the log.
pub const MOST_POSITIONS: usize = 2_000;

/// What is known of a message, and where its events stand on the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Indexed {
    /// What its events add up to.
    pub summary: Summary,
    /// Where its events stand, at most [`MOST_POSITIONS`].
    pub positions: Vec<u64>,
    /// Where the last event stands that is in `summary`; no event stands at 0.
    pub through: u64,
}

impl Indexed {
    /// A message of which only `event` is known, and that not yet taken in.
    pub fn new(event: &Event) -> Self {
        Self { summary: Summary::new(event), positions: Vec::new(), through: 0 }
    }

    /// Takes in an event; the same one twice counts once.
    pub fn add(&mut self, position: u64, event: &Event) {
        if position <= self.through {
            return;
        }
        self.through = position;
        if self.positions.len() < MOST_POSITIONS {
            self.positions.push(position);
        }
        self.summary.apply(event);
    }
}

/// Finds messages. Cloning is cheap.
#[derive(Clone)]
pub struct SearchIndex {
    index: Index,
    reader: IndexReader,
    fields: Fields,
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// How many messages there are in all.
    pub total: usize,
    /// Those of this page, newest first.
    pub messages: Vec<Summary>,
}

impl SearchIndex {
    /// Opens the index in `folder`, or makes it. An index of another format, or one that cannot be opened, is thrown away: it is built again.
    pub fn open(folder: &Path) -> Result<Self, IndexError> {
        let mark = folder.join("format");
        if folder.exists() && std::fs::read_to_string(&mark).is_ok_and(|found| found != FORMAT) {
            std::fs::remove_dir_all(folder)?;
        }
        Self::open_as_it_is(folder, &mark).or_else(|failure| {
            warn!(error = &failure as &dyn std::error::Error, "the search index cannot be opened: it is thrown away and built again");
            match std::fs::remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            Self::open_as_it_is(folder, &mark)
        })
    }

    fn open_as_it_is(folder: &Path, mark: &Path) -> Result<Self, IndexError> {
        std::fs::create_dir_all(folder)?;
        let (schema, fields) = Fields::schema();
        let directory = MmapDirectory::open(folder).map_err(tantivy::TantivyError::from)?;
        let index = Index::open_or_create(directory, schema)?;
        std::fs::write(mark, FORMAT)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { index, reader, fields })
    }

    /// Returns the place in the log from which on the index knows nothing.
    pub fn position(&self) -> u64 {
        let payload = self.index.load_metas().ok().and_then(|metas| metas.payload);
        payload.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Starts writing, with `memory` octets for what is not written yet. There can be one writer.
    pub fn writer(&self, memory: usize) -> Result<SearchIndexWriter, IndexError> {
        let options = IndexWriterOptions::builder().num_worker_threads(1).num_merge_threads(1).memory_budget_per_thread(memory).build();
        let writer: IndexWriter = self.index.writer_with_options(options)?;
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(8);
        policy.set_del_docs_ratio_before_merge(DELETED_SHARE);
        writer.set_merge_policy(Box::new(policy));
        Ok(SearchIndexWriter { index: self.clone(), writer })
    }

    /// Finds messages by words of their subject and text, and by fields: `from:a@example.com to:… address:… login:… tag:… state:bounced id:…
    /// subject:word text:word after:2026-11-01 before:2026-12-01`, all of which must hold; `-` in front excludes, quotes hold words together. Nothing finds all.
    ///
    /// Behind [`MOST_PASSED_OVER`] messages nothing is found; of a page there are at most [`MOST_ON_PAGE`].
    pub fn search(&self, query: &str, offset: usize, limit: usize) -> Result<Found, IndexError> {
        let query = query::parse(query, &self.index, &self.fields)?;
        let searcher = self.reader.searcher();
        // Memory is taken for all of them before anything is looked for, so no more of them than there are.
        let documents = usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX);
        let (limit, passed_over) = (limit.min(documents).clamp(1, MOST_ON_PAGE), offset.min(documents).min(MOST_PASSED_OVER));
        let newest = TopDocs::with_limit(limit).and_offset(passed_over).order_by_fast_field::<u64>("at", Order::Desc);
        let (total, mut found) = searcher.search(&query, &(Count, newest))?;
        if passed_over < offset {
            found.clear();
        }
        let mut messages = Vec::with_capacity(found.len());
        for (_, place) in found {
            let document: TantivyDocument = searcher.doc(place)?;
            messages.extend(self.indexed(&document)?.map(|indexed| indexed.summary));
        }
        Ok(Found { total, messages })
    }

    /// Returns what the index knows of one message.
    pub fn message(&self, id: MessageId) -> Result<Option<Indexed>, IndexError> {
        let searcher = self.reader.searcher();
        let query = TermQuery::new(self.id_term(id), IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        let Some((_, place)) = found.first() else { return Ok(None) };
        let document: TantivyDocument = searcher.doc(*place)?;
        self.indexed(&document)
    }

    fn indexed(&self, document: &TantivyDocument) -> Result<Option<Indexed>, IndexError> {
        let json = document.get_first(self.fields.summary).and_then(|value| value.as_str());
        Ok(json.map(serde_json::from_str).transpose()?)
    }

    fn id_term(&self, id: MessageId) -> Term {
        Term::from_field_text(self.fields.id, &id.to_string().to_lowercase())
    }
}

/// Writes the index; owned by whoever follows the log.
pub struct SearchIndexWriter {
    index: SearchIndex,
    writer: IndexWriter,
}

impl SearchIndexWriter {
    /// Removes messages from before `begins`: of them the log knows nothing more. They can be found until the next [`SearchIndexWriter::add`].
    pub fn forget(&mut self, begins: Timestamp) -> Result<(), IndexError> {
        let end = Term::from_field_u64(self.index.fields.at, begins.as_millis());
        self.writer.delete_query(Box::new(RangeQuery::new(Bound::Unbounded, Bound::Excluded(end))))?;
        Ok(())
    }

    /// Takes a batch of events in with their places on the log, and remembers `position`, the place behind them. `text` returns the words of a
    /// message, as far as it is still kept.
    pub fn add(
        &mut self,
        events: &[(u64, Event)],
        position: u64,
        text: &mut dyn FnMut(MessageId) -> Option<String>,
    ) -> Result<(), IndexError> {
        let mut messages: BTreeMap<MessageId, Indexed> = BTreeMap::new();
        for (place, event) in events {
            if let Some(message) = messages.get_mut(&event.message) {
                message.add(*place, event);
                continue;
            }
            let mut message = self.index.message(event.message)?.unwrap_or_else(|| Indexed::new(event));
            message.add(*place, event);
            messages.insert(event.message, message);
        }
        for (id, message) in &messages {
            self.writer.delete_term(self.index.id_term(*id));
            let words = text(*id);
            self.writer.add_document(self.document(message, words.as_deref())?)?;
        }
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&position.to_string());
        commit.commit()?;
        self.index.reader.reload()?;
        Ok(())
    }

    fn document(&self, message: &Indexed, text: Option<&str>) -> Result<TantivyDocument, IndexError> {
        let fields = &self.index.fields;
        let summary = &message.summary;
        let mut document = TantivyDocument::default();
        let mut term = |field: Field, value: &str| document.add_text(field, value.to_lowercase());
        term(fields.id, &summary.message.to_string());
        term(fields.login, &summary.login);
        term(fields.from, &summary.reverse_path);
        term(fields.address, &summary.reverse_path);
        for recipient in &summary.recipients {
            term(fields.to, recipient);
            term(fields.address, recipient);
            if let Some((_, domain)) = recipient.rsplit_once('@') {
                term(fields.to, domain);
            }
        }
        for tag in &summary.tags {
            term(fields.tag, tag.as_str());
        }
        for state in summary.states().keys().chain([&summary.state]) {
            term(fields.state, state.word());
        }
        let marks = [("opened", summary.opens), ("clicked", summary.clicks), ("unsubscribed", summary.unsubscribes)];
        for (mark, _) in marks.iter().filter(|(_, count)| *count > 0) {
            term(fields.state, mark);
        }
        document.add_text(fields.subject, &summary.subject);
        if let Some(text) = text {
            document.add_text(fields.text, text);
        }
        document.add_u64(fields.at, summary.at.as_millis());
        document.add_text(fields.summary, serde_json::to_string(message)?);
        Ok(document)
    }
}

#[cfg(test)]
mod tests;
