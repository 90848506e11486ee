//! Commits per second of the embedded store, with a real sync before each answer, beside two key-value engines that could have been used instead.
//!
//! Fifty callers commit messages and then settle them. All engines stand behind the same kind of group commit: one thread takes all that
//! waits, writes it in one transaction, syncs once, answers. `cargo bench -p tubepost --bench store`; the figures that matter are the ratios
//! within one run. Names of engines as arguments leave out the others.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people, which may fail")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use redb::TableDefinition;
use tokio::sync::{mpsc, oneshot};
use tubepost::clock::{Clock, Entropy, Timestamp};
use tubepost::config;
use tubepost::config::unit::ByteSize;
use tubepost::mail::message_id::{CopyId, MessageId};
use tubepost::store::embedded::Embedded;
use tubepost::store::{Batch, Change, NewMessage, NewRow, Store};
use tubepost::telemetry::metric::Metrics;

const CALLERS: usize = 50;
const ROUNDS: usize = 3;
/// Octets of a body, and how many messages of it a round takes.
const SIZES: [(usize, usize); 2] = [(1 << 10, 20_000), (100 << 10, 3_000)];
const DUE: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A key-value engine behind a group commit.
trait Engine: Send + 'static {
    /// Writes all of it in one transaction and syncs.
    fn write(&mut self, batches: &[Batch]);
}

fn row_key(copy: CopyId) -> Vec<u8> {
    [&DUE.as_millis().to_be_bytes(), &copy.message.to_bytes()[..], &copy.recipient.to_be_bytes()].concat()
}

struct Fjall {
    database: fjall::Database,
    messages: fjall::Keyspace,
    rows: fjall::Keyspace,
    events: fjall::Keyspace,
    next: u64,
}

impl Fjall {
    fn open(folder: &Path) -> Self {
        let database = fjall::Database::builder(folder.join("fjall")).open().unwrap();
        let large = || KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()));
        let messages = database.keyspace("messages", large).unwrap();
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
        let events = database.keyspace("events", KeyspaceCreateOptions::default).unwrap();
        Self { database, messages, rows, events, next: 0 }
    }
}

impl Engine for Fjall {
    fn write(&mut self, batches: &[Batch]) {
        let mut transaction = self.database.batch().durability(Some(PersistMode::SyncData));
        for batch in batches {
            for message in &batch.messages {
                transaction.insert(&self.messages, message.id.to_bytes(), [&message.head[..], &message.body].concat());
                for row in &message.rows {
                    let copy = CopyId { message: message.id, recipient: row.recipient };
                    transaction.insert(&self.rows, row_key(copy), [&row.payload[..], &row.state].concat());
                }
            }
            for change in &batch.changes {
                if let Change::Done(copy) = change {
                    transaction.remove(&self.rows, row_key(*copy));
                }
            }
            for event in &batch.events {
                self.next += 1;
                transaction.insert(&self.events, self.next.to_be_bytes(), &event[..]);
            }
        }
        transaction.commit().unwrap();
    }
}

const MESSAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("messages");
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

struct Redb {
    database: redb::Database,
    next: u64,
}

impl Redb {
    fn open(folder: &Path) -> Self {
        Self { database: redb::Database::create(folder.join("redb")).unwrap(), next: 0 }
    }
}

impl Engine for Redb {
    fn write(&mut self, batches: &[Batch]) {
        let transaction = self.database.begin_write().unwrap();
        {
            let mut messages = transaction.open_table(MESSAGES).unwrap();
            let mut rows = transaction.open_table(ROWS).unwrap();
            let mut events = transaction.open_table(EVENTS).unwrap();
            for batch in batches {
                for message in &batch.messages {
                    messages.insert(&message.id.to_bytes()[..], &[&message.head[..], &message.body].concat()[..]).unwrap();
                    for row in &message.rows {
                        let copy = CopyId { message: message.id, recipient: row.recipient };
                        rows.insert(&row_key(copy)[..], &[&row.payload[..], &row.state].concat()[..]).unwrap();
                    }
                }
                for change in &batch.changes {
                    if let Change::Done(copy) = change {
                        rows.remove(&row_key(*copy)[..]).unwrap();
                    }
                }
                for event in &batch.events {
                    self.next += 1;
                    events.insert(self.next, &event[..]).unwrap();
                }
            }
        }
        transaction.commit().unwrap();
    }
}

type Job = (Batch, oneshot::Sender<()>);

/// What callers talk to.
#[derive(Clone)]
enum Subject {
    Tubepost(Arc<Embedded>),
    Grouped(mpsc::Sender<Job>),
}

impl Subject {
    /// Puts an engine behind a group commit.
    fn grouped(mut engine: impl Engine) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Job>(4096);
        std::thread::spawn(move || {
            while let Some((batch, answer)) = receiver.blocking_recv() {
                let (mut batches, mut answers) = (vec![batch], vec![answer]);
                while let Ok((batch, answer)) = receiver.try_recv() {
                    batches.push(batch);
                    answers.push(answer);
                }
                engine.write(&batches);
                for answer in answers {
                    let _ = answer.send(());
                }
            }
        });
        Self::Grouped(sender)
    }

    async fn commit(&self, batch: Batch) {
        match self {
            Self::Tubepost(store) => store.commit(batch).await.unwrap(),
            Self::Grouped(sender) => {
                let (answer, done) = oneshot::channel();
                sender.send((batch, answer)).await.unwrap();
                done.await.unwrap();
            }
        }
    }
}

fn open(name: &str, folder: &Path) -> Subject {
    match name {
        "tubepost" => {
            let config = config::Store {
                segment_size: ByteSize(64 << 20),
                retention: Duration::from_hours(7 * 24),
                archive_size: ByteSize(10 << 30),
                cache: ByteSize(64 << 20),
                commit_queue: 4096,
                reserve: ByteSize(64 << 20),
                table_size: ByteSize::mib(64),
            };
            Subject::Tubepost(Arc::new(Embedded::open(folder, &config, Clock::system(), Entropy::system(), Metrics::new()).unwrap()))
        }
        "fjall" => Subject::grouped(Fjall::open(folder)),
        _ => Subject::grouped(Redb::open(folder)),
    }
}

/// What one round measured.
#[derive(Clone, Copy, Default)]
struct Figures {
    commits_per_second: f64,
    settled_per_second: f64,
    p99: Duration,
    cpu_per_commit: Duration,
}

/// Returns the time that this process has computed, as far as the system tells.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time are the 14th and 15th field, in hundredths of a second; the second one, in brackets, may hold blanks.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

/// Lets all callers commit; returns how long it took and how long each one waited.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
async fn drive(subject: &Subject, batches: Vec<Batch>) -> (Duration, Vec<Duration>) {
    let started = Instant::now();
    let mut shares: Vec<Vec<Batch>> = (0..CALLERS).map(|_| Vec::new()).collect();
    for (number, batch) in batches.into_iter().enumerate() {
        shares.get_mut(number % CALLERS).unwrap().push(batch);
    }
    let callers = shares.into_iter().map(|share| {
        let subject = subject.clone();
        tokio::spawn(async move {
            let mut waits = Vec::with_capacity(share.len());
            for batch in share {
                let asked = Instant::now();
                subject.commit(batch).await;
                waits.push(asked.elapsed());
            }
            waits
        })
    });
    let mut waits = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        waits.extend(caller.await.unwrap());
    }
    (started.elapsed(), waits)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
async fn round(name: &str, size: usize, count: usize) -> Figures {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let subject = open(name, folder.path());
    let entropy = Entropy::seeded(1);
    let mut body = vec![0; size];
    entropy.fill(&mut body);
    let body = Bytes::from(body);
    let ids: Vec<_> = (0..count).map(|_| MessageId::new(DUE, &entropy)).collect();
    let event = Bytes::from(vec![b'e'; 600]);
    let messages = ids.iter().map(|id| {
        let (payload, state) = (Bytes::from_static(&[b'p'; 60]), Bytes::from_static(&[b's'; 4]));
        let row = NewRow { recipient: 0, due: DUE, queue: "direct/example.com".into(), share: "".into(), priority: 0, payload, state };
        let message = NewMessage { id: *id, head: Bytes::from_static(&[b'h'; 200]), body: body.clone(), original: None, rows: vec![row] };
        Batch { messages: vec![message], events: vec![event.clone()], ..Batch::default() }
    });
    let settlements = ids.iter().map(|id| {
        let changes = vec![Change::Done(CopyId { message: *id, recipient: 0 })];
        Batch { changes, events: vec![event.slice(..400)], ..Batch::default() }
    });
    let cpu = cpu_time();
    let (committing, mut waits) = drive(&subject, messages.collect()).await;
    let cpu = cpu_time().saturating_sub(cpu);
    let (settling, _) = drive(&subject, settlements.collect()).await;
    waits.sort_unstable();
    Figures {
        commits_per_second: count as f64 / committing.as_secs_f64(),
        settled_per_second: count as f64 / settling.as_secs_f64(),
        p99: waits.get(count * 99 / 100).copied().unwrap(),
        cpu_per_commit: cpu / u32::try_from(count).unwrap(),
    }
}

/// Returns the round with the median number of commits.
fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by(|one, other| one.commits_per_second.total_cmp(&other.commits_per_second));
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let names = ["tubepost", "fjall", "redb"].into_iter().filter(|name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
    let names: Vec<_> = names.collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{CALLERS} callers, medians of {ROUNDS} rounds, a sync before each answer");
    println!("{:>9} {:>9} {:>11} {:>11} {:>9} {:>11} {:>6}", "body", "engine", "commits/s", "settled/s", "p99 ms", "CPU µs", "ratio");
    for (size, count) in SIZES {
        let mut rounds: Vec<_> = names.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (name, rounds) in names.iter().zip(&mut rounds) {
                rounds.push(runtime.block_on(round(name, size, count)));
            }
        }
        let figures: Vec<_> = rounds.into_iter().map(median).collect();
        let ours = figures.first().map_or(1.0, |figures| figures.commits_per_second);
        for (name, figures) in names.iter().zip(figures) {
            println!(
                "{size:>9} {name:>9} {:>11.0} {:>11.0} {:>9.1} {:>11.0} {:>6.2}",
                figures.commits_per_second,
                figures.settled_per_second,
                figures.p99.as_secs_f64() * 1e3,
                figures.cpu_per_commit.as_secs_f64() * 1e6,
                figures.commits_per_second / ours,
            );
        }
    }
}
