//! What was sent, and what became of it: the log and the spool put together again for those who look.
//!
//! [`follower`] keeps the search index up with the log; [`Archive`] answers the dashboard and the commands. What waits is looked through in walks ([`queue`],
//! [`summary`]), of which there are few at a time: some for logins, some for operators.

pub mod explain;
pub mod filter;
pub mod follower;
mod nice_thread;
pub mod order;
pub mod queue;
pub mod replay;
pub mod summary;
pub mod trace;
mod turn;
pub mod view;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::chain::ChainRegistry;
use crate::chain::rendering::{Recipient, RenderError, Renderer};
use crate::chain::trace::Trace;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::delivery::DeliveryHandle;
use crate::event::Event;
use crate::event::index::{Found, IndexError, Indexed, SearchIndex};
use crate::event::search::Summary;
use crate::intake::Intake;
use crate::intake::dry_run::{Content, DryRun};
use crate::mail::address::EmailAddress;
use crate::mail::content::{Composition, Wire};
use crate::mail::envelope::{BodyType, Envelope, ForwardPath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::Spool;
use crate::spool::entry::{Copy, CopyState, Entry};
use crate::spool::suspension::{NewSuspension, Suspension, SuspensionError};
use crate::store::{Row, StoreError};
use crate::submission::login::{Login, Logins};
use crate::submission::{CheckedPaths, Options, Submission};
use crate::suppression::Suppressions;
use replay::Workshop;
use trace::TraceView;
use turn::Turns;
use view::{MessageView, QueuedMessage};

/// Copies that are changed with one commit.
const PAGE: usize = 1000;
/// How long a change may take: nobody else gets the copies meanwhile.
const CHANGE_TIME: Duration = Duration::from_mins(1);

/// Why the archive has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The search index failed, or the query makes no sense.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Others look through all that waits; later there is time.
    #[error("others look through all that waits: try again in a while")]
    Busy,
}

/// What an operator looks at and steers.
#[derive(Clone)]
pub struct Archive {
    spool: Spool,
    index: SearchIndex,
    intake: Intake,
    renderer: Renderer,
    logins: Logins,
    clock: Clock,
    entropy: Entropy,
    workshop: Option<Arc<Workshop>>,
    delivery: Option<DeliveryHandle>,
    /// Turns of walks, for those whom this archive is for.
    turns: Arc<Turns>,
    /// The same for operators.
    operator_turns: Arc<Turns>,
    /// The login that this archive is for, where it is for one.
    login: Option<Arc<str>>,
}

/// What an archive works with.
pub struct ArchiveParts {
    /// Where messages are.
    pub spool: Spool,
    /// Finds them.
    pub index: SearchIndex,
    /// Runs chains again, to show what plugins did.
    pub intake: Intake,
    /// Makes copies as delivery does.
    pub renderer: Renderer,
    /// Knows whose messages they are.
    pub logins: Logins,
    /// Tells the time.
    pub clock: Clock,
    /// For the ids of messages that an operator hands over.
    pub entropy: Entropy,
    /// Makes chains that are not in force; without it nothing is tried out.
    pub workshop: Option<Workshop>,
    /// Knows how mail goes out; without it that is not explained.
    pub delivery: Option<DeliveryHandle>,
    /// How many may look through all that waits at a time: so many for logins, and so many for operators.
    pub walks: u32,
}

impl Archive {
    /// Puts an archive together.
    pub fn new(parts: ArchiveParts) -> Self {
        let ArchiveParts { spool, index, intake, renderer, logins, clock, entropy, workshop, delivery, walks } = parts;
        let walks = usize::try_from(walks).unwrap_or(usize::MAX);
        let [turns, operator_turns] = [walks; 2].map(|walks| Arc::new(Turns::new(walks)));
        let workshop = workshop.map(Arc::new);
        Self { spool, index, intake, renderer, logins, clock, entropy, workshop, delivery, turns, operator_turns, login: None }
    }

    /// Returns the same archive for operators: however many logins look through the queue, they have their turn.
    #[must_use]
    pub fn for_operators(&self) -> Self {
        Self { turns: Arc::clone(&self.operator_turns), login: None, ..self.clone() }
    }

    /// Returns the same archive for a login: it looks through the queue once at a time, so that others have their turn.
    #[must_use]
    pub fn for_login(&self, login: &str) -> Self {
        Self { login: Some(login.into()), ..self.clone() }
    }

    /// Returns the intake, which shows what plugins do to a message.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Returns the spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Finds messages; see [`SearchIndex::search`] for the language.
    pub async fn search(&self, query: &str, offset: usize, limit: usize) -> Result<Found, ArchiveError> {
        let (index, query) = (self.index.clone(), query.to_owned());
        let search = tokio::task::spawn_blocking(move || index.search(&query, offset, limit));
        Ok(search.await.map_err(|error| StoreError::Damaged(error.to_string().into()))??)
    }

    /// Returns everything that is known of one message; `None` if nothing is.
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageView>, ArchiveError> {
        let (summary, events) = self.known(id).await?;
        let rows = self.spool.store().rows_of(id).await?;
        let entry = match self.spool.entry(id).await {
            // What waits of it can be taken out: whoever looks is to see that.
            Err(error @ StoreError::Damaged(_)) => {
                tracing::error!(message.id = %id, %error, "what is known of a message cannot be read");
                None
            }
            read => read?,
        };
        if summary.is_none() && entry.is_none() && rows.is_empty() {
            return Ok(None);
        }
        let queued = rows.iter().filter_map(|row| self.queued(row, entry.as_ref(), QueuedMessage::default())).collect();
        Ok(Some(MessageView { id, summary, entry, queued, events }))
    }

    /// Returns what the events of one message add up to; `None` where none is known.
    pub async fn summary(&self, id: MessageId) -> Result<Option<Summary>, ArchiveError> {
        Ok(self.known(id).await?.0)
    }

    /// Returns to whom a copy went, as long as its message is known.
    ///
    /// # Errors
    /// If store or index fail.
    pub async fn address(&self, copy: CopyId) -> Result<Option<String>, ArchiveError> {
        let rows = self.spool.store().rows_of(copy.message).await?;
        if let Some((waiting, _)) = rows.iter().find(|row| row.copy == copy).and_then(decoded) {
            return Ok(Some(waiting.address.to_string()));
        }
        Ok(self.summary(copy.message).await?.and_then(|summary| summary.address(copy.recipient).map(str::to_owned)))
    }

    /// Returns the lists of whom mail is sent to and whom not.
    pub fn suppressions(&self) -> Suppressions {
        self.intake.suppressions().clone()
    }

    /// What the events of one message add up to, and the events, oldest first: those that the index leads to, and those that it has not come to yet.
    async fn known(&self, id: MessageId) -> Result<(Option<Summary>, Vec<Event>), ArchiveError> {
        let indexed = self.index.position();
        let mut known = self.index.message(id)?;
        let mut events = Vec::new();
        for position in known.as_ref().map_or(&[][..], |known| known.positions.as_slice()) {
            let position = *position;
            let found = self.spool.store().events(position, 1).await?;
            events.extend(found.into_iter().filter(|logged| logged.position == position).filter_map(|logged| follower::read(&logged)));
        }
        let mut position = indexed;
        loop {
            let page = self.spool.store().events(position, follower::PAGE).await?;
            let Some(last) = page.last() else { break };
            position = last.position + 1;
            events.extend(page.iter().filter_map(follower::read).filter(|(_, event)| event.message == id));
        }
        // The index may have come to some of the later ones in the meantime.
        events.sort_by_key(|(position, _)| *position);
        events.dedup_by_key(|(position, _)| *position);
        for (position, event) in &events {
            known.get_or_insert_with(|| Indexed::new(event)).add(*position, event);
        }
        Ok((known.map(|known| known.summary), events.into_iter().map(|(_, event)| event).collect()))
    }

    /// Runs the chain of a message again on what came in, and shows what each plugin does; `None` if the message is gone.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub async fn trace(&self, id: MessageId) -> Result<Option<TraceView>, String> {
        let found = self.spool.message(id).await.map_err(|error| error.to_string())?;
        let Some((entry, body, original)) = found else { return Ok(None) };
        let (run, notes) = self.replay(entry, body, original).await?;
        tokio::task::spawn_blocking(move || Some(TraceView::new(&run).with_notes(notes))).await.map_err(|error| error.to_string())
    }

    /// Runs the chain of a message again on what came in, with the versions of the plugins that had it. Nothing is kept, counted or sent. What may not be as
    /// it was is said beside it.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub async fn replay(&self, entry: Entry, body: Bytes, original: Option<Bytes>) -> Result<(DryRun, Vec<String>), String> {
        let summary = self.summary(entry.id).await.map_err(|error| error.to_string())?;
        let planned = entry.plan.steps.iter().filter_map(|step| Some((step.plugin.to_string(), step.digest.as_ref()?.to_string())));
        let runs = summary.iter().flat_map(|summary| &summary.plugins);
        let versions: Vec<_> = planned.chain(runs.clone().map(|run| (run.plugin.clone(), run.digest.clone()))).collect();
        let submission = self.resubmission(entry, body, original, summary.as_ref(), None)?;
        let name = submission.login.chain.clone().unwrap_or_default();
        let (chains, gone) = self.intake.chains().current().as_of(&name, &versions).await;
        let run = self.intake.rehearsing(ChainRegistry::new(chains)).dry_run(submission, Content::Stored).await;
        let mut notes: Vec<String> = gone
            .iter()
            .map(|plugin| format!("the version of {plugin} that had the message is not kept any more: this is that of now"))
            .collect();
        let mut had: Vec<&str> = runs.filter(|run| run.stage != "rcpt").map(|run| run.plugin.as_str()).collect();
        had.dedup();
        let mut has: Vec<&str> = run.steps.iter().chain(run.first_copy_steps()).map(|step| step.run.plugin.as_str()).collect();
        has.dedup();
        if !had.is_empty() && had != has {
            notes.push(format!("the chain has changed: then it was {}", had.join(", ")));
        }
        Ok((run, notes))
    }

    /// Makes a stored message again what it was when it came in; `login` takes the place of the one that it had.
    fn resubmission(
        &self,
        entry: Entry,
        body: Bytes,
        original: Option<Bytes>,
        summary: Option<&Summary>,
        login: Option<Arc<Login>>,
    ) -> Result<Submission, String> {
        let known = || self.logins.by_name(&entry.login).ok_or_else(|| format!("there is no login {:?} any more", entry.login));
        let login = login.map_or_else(known, Ok)?;
        let as_kept = || Some(Composition::decode(body)?.fill(&entry.plan.nonce, &entry.plan.slots, &mut |_| String::new()));
        let content = original.or_else(as_kept).ok_or("what was kept of the message cannot be read")?;
        // As it was when plugins saw it.
        let content = if entry.body == BodyType::BinaryMime { Wire::Lines.fit(content) } else { content };
        let recipients = summary.map(|summary| summary.recipients.as_slice()).unwrap_or_default();
        let mut envelope = Envelope::new(entry.reverse_path);
        envelope.forward_paths = recipients.iter().filter_map(|text| text.parse().ok()).map(ForwardPath::new).collect();
        let options = options(&entry.options);
        Ok(Submission {
            id: entry.id,
            login,
            received: entry.received,
            envelope,
            content,
            binary: None,
            options,
            checked: Some(CheckedPaths::default()),
        })
    }

    /// Returns one recipient's copy: what a capture route kept, else as delivery makes it, before DKIM.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub async fn render(&self, entry: Entry, body: Bytes, recipient: u32, address: EmailAddress) -> Result<Bytes, String> {
        let copy = CopyId { message: entry.id, recipient };
        if let Some(content) = self.spool.captured(copy).await.map_err(|error| error.to_string())? {
            return Ok(content);
        }
        let variables = own_variables(&entry.options, recipient);
        let recipient = Recipient { copy, address: &address, variables: &variables };
        let rendered =
            self.renderer.render(&entry.plan, body, recipient, &mut Trace::of_rehearsal()).await.map_err(|error| error.to_string())?;
        match rendered.held {
            Some((_, reason)) => Err(RenderError::Held { reason }.to_string()),
            None => Ok(rendered.content),
        }
    }

    /// Suspends mail from now on; see [`Spool::suspend`].
    ///
    /// # Errors
    /// If it is not said which mail, there are too many suspensions, or the store fails.
    pub async fn suspend(&self, new: NewSuspension) -> Result<Suspension, SuspensionError> {
        self.spool.suspend(new).await
    }

    /// Returns what is suspended.
    pub fn suspensions(&self) -> Vec<Suspension> {
        self.spool.suspensions().at(self.clock.now())
    }

    /// Ends a suspension; see [`Spool::resume`].
    ///
    /// # Errors
    /// If the store fails: it holds on.
    pub async fn resume(
        &self,
        number: u64,
        may_end: impl Fn(&Suspension) -> bool + Send + 'static,
    ) -> Result<Option<Suspension>, ArchiveError> {
        Ok(self.spool.resume(number, may_end).await?)
    }

    /// Returns who may hand over mail.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Returns the time, for pages that say how long ago something was.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What was asked for with a message, as its entry keeps it.
fn options(text: &str) -> Options {
    serde_json::from_str(text).unwrap_or_default()
}

/// A recipient's own data as one JSON object, "" where it has none.
fn own_variables(text: &str, recipient: u32) -> String {
    options(text).recipient_variables.get(&recipient).and_then(|data| serde_json::to_string(data).ok()).unwrap_or_default()
}

fn decoded(row: &Row) -> Option<(Copy, CopyState)> {
    Spool::read(row)
}

#[cfg(test)]
mod tests;
