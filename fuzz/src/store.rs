//! The store, on a disk that has changed behind its back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tubepost::clock::{Clock, Entropy, Timestamp};
use tubepost::config;
use tubepost::config::unit::ByteSize;
use tubepost::mail::message_id::{CopyId, MessageId};
use tubepost::store::embedded::{Embedded, OpenError};
use tubepost::store::{Batch, Change, NewMessage, NewRow, Row, Store, StoredMessage, ValueChange};
use tubepost::telemetry::metric::Metrics;

use crate::input::random;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// More than any input makes.
const ALL: usize = 100_000;
/// Steps of one input that are looked at: each commit is a sync.
const MOST_STEPS: usize = 24;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime for one thread"));

/// A folder in memory where there is one: this is not about disks.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

fn open(folder: &Path) -> Result<Embedded, OpenError> {
    let config = config::Store {
        segment_size: ByteSize(1 << 16),
        retention: Duration::from_hours(24),
        archive_size: ByteSize::gib(10),
        cache: ByteSize(1 << 16),
        commit_queue: 64,
        reserve: ByteSize(0),
        table_size: ByteSize::mib(64),
    };
    Embedded::open(folder, &config, Clock::manual(NOW), Entropy::seeded(1), Metrics::new())
}

/// A store that is stopped, damaged and started again: what it gives is what was committed, or it says that it is damaged.
///
/// The input is steps of four octets, a letter and three numbers (of digits their value): `m` commits a message, `d` ends a row, `r` puts it
/// off, `v` sets a value, `x` stops and starts. Damage is done while it is stopped, and shows at the next `x` or at the end: `f` flips bits of
/// an octet, `t` cuts a file, `z` writes zeros, `c` copies octets from another place, `s` removes a file.
pub fn store_recovery(octets: &[u8]) {
    let folder = folder();
    let mut committed = Committed::default();
    let mut store = Some(open(folder.path()).expect("an empty folder is a store"));
    let mut damaged = false;
    for step in octets.chunks_exact(4).take(MOST_STEPS) {
        let [letter, numbers @ ..] = step else { return };
        let [a, b, c] = [0, 1, 2].map(|place| numbers.get(place).map_or(0, |octet| octet.wrapping_sub(b'0')));
        if matches!(letter, b'f' | b't' | b'z' | b'c' | b's') {
            store = None;
            damaged |= damage(folder.path(), *letter, a, b, c);
            continue;
        }
        if store.is_none() || *letter == b'x' {
            drop(store.take());
            let Some(opened) = reopen(folder.path(), damaged) else { return };
            committed.check(&opened, damaged);
            store = Some(opened);
        }
        if let Some(store) = &store {
            let batch = committed.batch(*letter, a, b, c);
            let result = RUNTIME.block_on(store.commit(batch));
            assert!(result.is_ok() || damaged, "{result:?}");
        }
    }
    drop(store);
    if let Some(store) = reopen(folder.path(), damaged) {
        committed.check(&store, damaged);
    }
}

/// Opens a store; where that works, it works a second time and gives the same.
fn reopen(folder: &Path, damaged: bool) -> Option<Embedded> {
    let first = match open(folder) {
        Ok(store) => store,
        Err(OpenError::Damaged(reason)) if damaged => {
            assert!(!reason.is_empty());
            return None;
        }
        Err(error) => panic!("a store that is whole is not opened: {error:?}"),
    };
    let found = rows(&first);
    drop(first);
    let second = open(folder).expect("what was opened can be opened again");
    assert_eq!(rows(&second), found, "another start finds something else");
    Some(second)
}

type RowText = (CopyId, Timestamp, String, Bytes, Bytes);

fn rows(store: &Embedded) -> Option<Vec<RowText>> {
    let rows = RUNTIME.block_on(store.rows(None, None, ALL)).ok()?;
    Some(rows.into_iter().map(|Row { copy, due, queue, payload, state }| (copy, due, queue.to_string(), payload, state)).collect())
}

/// What was committed.
#[derive(Default)]
struct Committed {
    messages: BTreeMap<MessageId, StoredMessage>,
    /// The payload of each row, and all states that it ever had.
    rows: BTreeMap<CopyId, (Bytes, Vec<Bytes>)>,
    /// Rows that are not done with.
    open: BTreeMap<CopyId, (Timestamp, Bytes)>,
    events: Vec<Bytes>,
    value: Option<Bytes>,
}

impl Committed {
    /// Makes a batch and takes it in, as if it were committed already.
    fn batch(&mut self, letter: u8, a: u8, b: u8, c: u8) -> Batch {
        let copy = CopyId { message: message_id(a % 16), recipient: u32::from(b % 4) };
        let mut batch = Batch::default();
        match letter {
            b'm' => batch.messages.extend(self.message(a, b, c)),
            b'd' => {
                self.open.remove(&copy);
                batch.changes.push(Change::Done(copy));
            }
            b'r' => {
                let (due, state) = (NOW.plus(Duration::from_secs(c.into())), Bytes::from(format!("state {a} {b} {c}")));
                if let Some(open) = self.open.get_mut(&copy) {
                    *open = (due, state.clone());
                }
                if let Some((_, states)) = self.rows.get_mut(&copy) {
                    states.push(state.clone());
                }
                batch.changes.push(Change::Reschedule { copy, due, state });
            }
            b'v' => {
                self.value = (c % 2 == 1).then(|| Bytes::from(vec![a; usize::from(b) * 8]));
                let (table, key, value) = ("t".into(), Bytes::from_static(b"k"), self.value.clone());
                batch.values.push(ValueChange { table, key, value, expires: Timestamp::NEVER });
            }
            _ => {}
        }
        let event = Bytes::from(format!("{} {a} {b} {c}", char::from(letter)));
        self.events.push(event.clone());
        batch.events.push(event);
        batch
    }

    fn message(&mut self, a: u8, b: u8, c: u8) -> Option<NewMessage> {
        let id = message_id(a % 16);
        if self.messages.contains_key(&id) {
            return None;
        }
        let body = Bytes::from(vec![b'a' + a % 26; usize::from(b) * 64]);
        let original = (c % 2 == 1).then(|| Bytes::from(vec![b'A' + a % 26; usize::from(c) * 100]));
        let head = Bytes::from(format!("head {a}"));
        self.messages.insert(id, StoredMessage { head: head.clone(), body: body.clone(), original: original.clone() });
        let rows = (0..u32::from(c % 4)).map(|recipient| {
            let (copy, payload, state) =
                (CopyId { message: id, recipient }, Bytes::from(format!("payload {a}-{recipient}")), Bytes::from_static(b"new"));
            self.rows.insert(copy, (payload.clone(), vec![state.clone()]));
            self.open.insert(copy, (NOW, state.clone()));
            NewRow { recipient, due: NOW, queue: "q".into(), share: "a".into(), priority: 0, payload, state }
        });
        Some(NewMessage { id, head, body, original, rows: rows.collect() })
    }

    /// What the store gives is what it was given; all of it, if nothing was damaged.
    fn check(&self, store: &Embedded, damaged: bool) {
        let rows = rows(store);
        assert!(rows.is_some() || damaged);
        for (copy, _, queue, payload, state) in rows.iter().flatten() {
            let (expected, states) = self.rows.get(copy).expect("a row that nobody committed");
            assert!(queue == "q" && payload == expected && states.contains(state), "row {copy} is not what was committed");
        }
        for (id, expected) in &self.messages {
            match RUNTIME.block_on(store.message(*id)) {
                Ok(Some(found)) => {
                    assert_eq!((&found.head, &found.body, &found.original), (&expected.head, &expected.body, &expected.original));
                }
                Ok(None) | Err(_) => assert!(damaged, "message {id} is lost"),
            }
        }
        let events = RUNTIME.block_on(store.events(0, ALL)).map(|events| events.into_iter().map(|event| event.octets).collect::<Vec<_>>());
        let value = RUNTIME.block_on(store.value("t", b"k", NOW));
        if !damaged {
            let found: Option<BTreeMap<_, _>> =
                rows.map(|rows| rows.into_iter().map(|(copy, due, _, _, state)| (copy, (due, state))).collect());
            assert_eq!(found.as_ref(), Some(&self.open), "a committed change is lost");
            assert_eq!(events.as_ref(), Ok(&self.events), "an event is lost");
            assert_eq!(value, Ok(self.value.clone()), "a value is lost");
        }
    }
}

fn message_id(number: u8) -> MessageId {
    let mut octets = [0; 16];
    let millis = (NOW.as_millis() + u64::from(number)).to_be_bytes();
    for (octet, from) in octets.iter_mut().zip(millis.get(2..).unwrap_or_default()) {
        *octet = *from;
    }
    octets[15] = number;
    MessageId::from_bytes(octets)
}

/// All files of a store, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = ["spool", "events"].into_iter().filter_map(|name| fs::read_dir(folder.join(name)).ok()).flatten();
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !path.ends_with("lock")).collect();
    files.sort();
    files
}

/// Damages a file; tells whether it did.
fn damage(folder: &Path, letter: u8, a: u8, b: u8, c: u8) -> bool {
    let files = files(folder);
    let Some(path) = usize::from(a).checked_rem(files.len()).and_then(|place| files.get(place)) else { return false };
    if letter == b's' {
        return fs::remove_file(path).is_ok();
    }
    let Ok(mut octets) = fs::read(path) else { return false };
    // What is written stands at the front, and most of a segment is zeros.
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    let mut state = u64::from(b) << 8 | u64::from(c) | 1 << 20;
    let place = usize::try_from(random(&mut state)).unwrap_or(0).checked_rem(end).unwrap_or(0);
    let before = octets.clone();
    match letter {
        b'f' => octets.iter_mut().skip(place).take(1).for_each(|octet| *octet ^= c | 1),
        b't' => octets.truncate(place),
        b'z' => octets.iter_mut().skip(place).take(usize::from(c)).for_each(|octet| *octet = 0),
        _ => {
            let from = usize::try_from(random(&mut state)).unwrap_or(0).checked_rem(end).unwrap_or(0);
            let copied = octets.get(from..end.min(from + usize::from(c) * 4)).unwrap_or_default().to_vec();
            octets.iter_mut().skip(place).zip(copied).for_each(|(octet, copy)| *octet = copy);
        }
    }
    octets != before && fs::write(path, octets).is_ok()
}

/// A segment with one frame whose checksums are right and whose content is anything: no disk does this, but an error of ours could.
///
/// The first two octets of the input are the length of the frame's meta; then come meta and chunks.
pub fn store_frame(octets: &[u8]) {
    let Some((length, rest)) = octets.split_first_chunk() else { return };
    let (meta, chunks) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let folder = folder();
    drop(open(folder.path()).expect("an empty folder is a store"));
    let Some(path) = files(folder.path()).into_iter().find(|path| path.extension().is_some_and(|extension| extension == "seg")) else {
        return;
    };
    let mut segment = fs::read(&path).expect("a segment");
    segment.truncate(SEGMENT_HEADER);
    let salt = segment.get(12..20).unwrap_or_default().to_vec();
    segment.extend(frame(&salt, meta, chunks));
    fs::write(&path, segment).expect("a segment that can be written");
    let Some(store) = reopen(folder.path(), true) else { return };
    RUNTIME.block_on(async {
        let _ = store.usage().await;
        let _ = store.events(0, ALL).await;
        for row in store.rows(None, None, ALL).await.unwrap_or_default() {
            let _ = store.message(row.copy.message).await;
            let _ = store.rows_of(row.copy.message).await;
        }
        for queue in store.due_queues(Timestamp::NEVER, 10).await.unwrap_or_default() {
            let many = std::num::NonZeroU32::new(100).expect("more than nothing");
            for row in store.lease(&queue.queue, NOW, Duration::from_millis(NOW.as_millis() + 1000), many).await.unwrap_or_default() {
                let _ = store.commit(Batch { changes: vec![Change::Done(row.copy)], ..Batch::default() }).await;
            }
        }
    });
    drop(store);
    reopen(folder.path(), true);
}

/// Octets before a segment's first frame; this, and the frame, as the store's documentation of its layout has them.
const SEGMENT_HEADER: usize = 36;

fn frame(salt: &[u8], meta: &[u8], chunks: &[u8]) -> Vec<u8> {
    let length = |octets: &[u8]| u32::try_from(octets.len()).unwrap_or(u32::MAX).to_le_bytes();
    let offset = u32::try_from(SEGMENT_HEADER).unwrap_or_default().to_le_bytes();
    let mut frame = [&[0xb5, b'T', b'F', 1][..], &length(meta), &length(chunks), &offset, &crc32fast::hash(meta).to_le_bytes()].concat();
    let check = crc32fast::hash(&[salt, &offset, &frame].concat());
    frame.extend_from_slice(&check.to_le_bytes());
    frame.extend_from_slice(meta);
    frame.extend_from_slice(chunks);
    frame
}
