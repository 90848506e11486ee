//! Random actions on the store and on the model, over a disk that fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;

use super::faulty::{Fault, FaultyDisk};
use super::*;
use crate::store::model::Model;
use crate::store::{Change, NewMessage, NewRow, ValueChange};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const RETENTION: Duration = Duration::from_hours(1);
const QUEUES: [&str; 3] = ["direct/a.example", "direct/b.example", "upstream"];
/// One share and one priority in each queue: then its order is that of the model.
const SHARES: [&str; 3] = ["one", "two", ""];
const PRIORITIES: [i8; 3] = [4, 0, 0];

/// One caller's batch, in numbers that are made to fit what there is.
#[derive(Clone, Debug)]
struct Spec {
    recipients: Vec<(u8, u16)>,
    body: u16,
    messages: u8,
    changes: Vec<(usize, Option<u16>)>,
    events: u8,
    value: Option<(u8, Option<u16>, bool)>,
}

#[derive(Clone, Debug)]
enum Action {
    Commit(Vec<Spec>),
    Lease { queue: usize, limit: u32, seconds: u64 },
    Release { which: usize },
    Claim { which: usize, seconds: u64 },
    Advance { seconds: u64 },
    Maintain,
    Arm { after: u32, fault: Fault },
    Restart { kill: bool },
}

fn spec() -> impl Strategy<Value = Spec> {
    let recipients = prop::collection::vec((0..3_u8, 0..400_u16), 0..4);
    let changes = prop::collection::vec((any::<usize>(), prop::option::of(0..400_u16)), 0..4);
    let value = prop::option::of((0..4_u8, prop::option::of(0..600_u16), any::<bool>()));
    (recipients, 0..900_u16, 0..2_u8, changes, 0..3_u8, value).prop_map(|(recipients, body, messages, changes, events, value)| Spec {
        recipients,
        body,
        messages,
        changes,
        events,
        value,
    })
}

fn action() -> impl Strategy<Value = Action> {
    let fault = prop_oneof![Just(Fault::Full), Just(Fault::Broken), Just(Fault::PowerCut)];
    prop_oneof![
        8 => prop::collection::vec(spec(), 1..4).prop_map(Action::Commit),
        3 => (0..3_usize, 1..5_u32, 0..300_u64).prop_map(|(queue, limit, seconds)| Action::Lease { queue, limit, seconds }),
        1 => any::<usize>().prop_map(|which| Action::Release { which }),
        1 => (any::<usize>(), 1..300_u64).prop_map(|(which, seconds)| Action::Claim { which, seconds }),
        3 => prop_oneof![1..100_u64, 500..4000_u64].prop_map(|seconds| Action::Advance { seconds }),
        2 => Just(Action::Maintain),
        1 => (0..12_u32, fault).prop_map(|(after, fault)| Action::Arm { after, fault }),
        1 => any::<bool>().prop_map(|kill| Action::Restart { kill }),
    ]
}

struct Bench {
    disk: FaultyDisk,
    store: Option<Embedded>,
    clock: Clock,
    model: Model,
    positions: BTreeMap<Bytes, u64>,
    /// The most that was seen on disk.
    most_octets: u64,
    random: Entropy,
    next: u64,
    opened: u64,
}

/// Octets of old messages and events together.
const ARCHIVE_SIZE: u64 = 40_000;

fn settings() -> Settings {
    let limits = Limits { retention: RETENTION, archive_size: ARCHIVE_SIZE, reserve: 0, table_size: 64 << 20 };
    Settings { segment_size: 4000, cache: 3000, commit_queue: 2, limits }
}

impl Bench {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (FaultyDisk::new(), Clock::manual(START));
        let mut this = Self {
            disk,
            store: None,
            clock,
            model: Model::default(),
            positions: BTreeMap::new(),
            most_octets: 0,
            random: Entropy::seeded(seed),
            next: 0,
            opened: 0,
        };
        this.open();
        this
    }

    fn open(&mut self) {
        self.opened += 1;
        let store =
            Embedded::open_on(Arc::new(self.disk.clone()), settings(), self.clock.clone(), Entropy::seeded(self.opened), Metrics::new());
        self.store = Some(store.unwrap());
        self.model.leases.clear();
    }

    fn store(&self) -> &Embedded {
        self.store.as_ref().unwrap()
    }

    fn batch(&mut self, spec: &Spec) -> Batch {
        let now = self.clock.now();
        let mut batch = Batch::default();
        for _ in 0..spec.messages {
            self.next += 1;
            let id = MessageId::new(now, &self.random);
            let rows = spec.recipients.iter().zip(0..).map(|((queue, due), recipient)| NewRow {
                recipient,
                due: now.plus(Duration::from_secs((*due).into())),
                queue: QUEUES[usize::from(*queue)].into(),
                share: SHARES[usize::from(*queue)].into(),
                priority: PRIORITIES[usize::from(*queue)],
                payload: format!("payload {}-{recipient}", self.next).into(),
                state: format!("state {}", self.next).into(),
            });
            let rows = rows.collect();
            let body = format!("{};", self.next).repeat(usize::from(spec.body) / 4).into();
            let original = (spec.body.is_multiple_of(3)).then(|| format!("original {}", self.next).into());
            batch.messages.push(NewMessage { id, head: format!("head {}", self.next).into(), body, original, rows });
        }
        let copies: Vec<_> = self.model.rows.keys().copied().collect();
        for (which, again) in &spec.changes {
            let Some(copy) = copies.get(which % copies.len().max(1)).copied() else { continue };
            self.next += 1;
            batch.changes.push(match again {
                None => Change::Done(copy),
                Some(0) => Change::Reschedule { copy, due: Timestamp::NEVER, state: "held".into() },
                Some(seconds) => {
                    let due = now.plus(Duration::from_secs((*seconds).into()));
                    Change::Reschedule { copy, due, state: format!("again {}", self.next).into() }
                }
            });
        }
        for _ in 0..spec.events {
            self.next += 1;
            batch.events.push(format!("event {}", self.next).into());
        }
        if let Some((key, value, expires)) = &spec.value {
            self.next += 1;
            batch.values.push(ValueChange {
                table: "table".into(),
                key: vec![*key].into(),
                value: value.map(|length| format!("{} ", self.next).repeat(usize::from(length)).into()),
                expires: if *expires { now.plus(Duration::from_mins(10)) } else { Timestamp::NEVER },
            });
        }
        batch
    }

    /// Takes the store down and up again. `in_flight` may or may not have been written, as far as each one only with all before it.
    async fn restart(&mut self, kill: bool, in_flight: &[Batch]) {
        // A power cut is a moment: what the writer does on its way out comes too late.
        let cut = (!kill)
            .then(|| self.disk.after_power_cut(|count| usize::try_from(u64::from_le_bytes(self.random.array()) % count as u64).unwrap()));
        drop(self.store.take());
        self.disk = cut.unwrap_or_else(|| self.disk.killed());
        self.open();
        let now = self.clock.now();
        let mut candidate = self.model.clone();
        let found = (self.found(usize::MAX).await, self.tail().await);
        let mut tries = Vec::new();
        for extra in 0..=in_flight.len() {
            if extra > 0 {
                candidate.commit(&in_flight[extra - 1], now);
            }
            let values =
                (0..4).map(|key| candidate.values.get(&[key][..]).filter(|(_, expires)| *expires > now).map(|(value, _)| value.clone()));
            // The log may have forgotten what is old.
            let last = candidate.events.last().filter(|_| found.1.0.is_some()).map(|(event, _)| event.clone());
            let expected = (Self::expected(&candidate), (last, values.collect()));
            if expected == found {
                self.model = candidate;
                return;
            }
            tries.push(expected);
        }
        panic!("after a restart there is\n{found:?}\nexpected one of\n{tries:?}");
    }

    /// Returns the last event, and all values.
    async fn tail(&self) -> (Option<Bytes>, Vec<Option<Bytes>>) {
        let mut last: Option<LoggedEvent> = None;
        loop {
            let mut events = self.store().events(last.as_ref().map_or(0, |last| last.position + 1), 100).await.unwrap();
            match events.pop() {
                Some(event) => last = Some(event),
                None => break,
            }
        }
        let values = join_all((0..4).map(async |key| self.store().value("table", &[key], self.clock.now()).await.unwrap()));
        (last.map(|event| event.octets), values.await)
    }

    fn expected(model: &Model) -> Vec<(CopyId, NewRowText)> {
        model.rows.iter().map(|(copy, row)| (*copy, (row.due, row.queue.to_string(), row.payload.clone(), row.state.clone()))).collect()
    }

    async fn found(&self, limit: usize) -> Vec<(CopyId, NewRowText)> {
        let rows = self.store().rows(None, None, limit).await.unwrap();
        rows.into_iter().map(|row| (row.copy, (row.due, row.queue.to_string(), row.payload, row.state))).collect()
    }

    async fn commit(&mut self, specs: &[Spec]) {
        let batches: Vec<_> = specs.iter().map(|spec| self.batch(spec)).collect();
        // All in one task: their order is that of the list.
        let results = join_all(batches.iter().map(|batch| self.store().commit(batch.clone()))).await;
        let now = self.clock.now();
        let mut in_flight = Vec::new();
        for (batch, result) in batches.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    assert!(in_flight.is_empty(), "a batch was committed after the store had failed");
                    self.model.commit(&batch, now);
                }
                Err(StoreError::Full) => {}
                Err(StoreError::Poisoned(_)) => in_flight.push(batch),
                Err(error) => panic!("{error}"),
            }
        }
        if !in_flight.is_empty() {
            let kill = self.random.array::<1>()[0].is_multiple_of(2);
            self.restart(kill, &in_flight).await;
        }
    }

    async fn act(&mut self, action: &Action) {
        let now = self.clock.now();
        match action {
            Action::Commit(specs) => self.commit(specs).await,
            Action::Lease { queue, limit, seconds } => {
                let (queue, until) = (QUEUES[*queue], now.plus(Duration::from_secs(*seconds)));
                let end = Duration::from_millis(until.as_millis());
                let rows = self.store().lease(queue, now, end, NonZeroU32::new(*limit).unwrap()).await.unwrap();
                let expected = self.model.lease(queue, now, until, *limit as usize);
                let text = |due, payload, state| (due, payload, state);
                let rows: Vec<_> = rows.into_iter().map(|row| (row.copy, text(row.due, row.payload, row.state))).collect();
                let expected: Vec<_> = expected.into_iter().map(|(copy, row)| (copy, text(row.due, row.payload, row.state))).collect();
                assert_eq!(rows, expected);
            }
            Action::Release { which } => {
                let leased: Vec<_> = self.model.leases.keys().copied().collect();
                if let Some(copy) = leased.get(which % leased.len().max(1)) {
                    self.store().release(vec![*copy]).await.unwrap();
                    self.model.leases.remove(copy);
                }
            }
            Action::Claim { which, seconds } => {
                self.model.ready(now);
                let copies: Vec<_> = self.model.rows.keys().copied().collect();
                if let Some(copy) = copies.get(which % copies.len().max(1)).copied() {
                    let until = now.plus(Duration::from_secs(*seconds));
                    let taken = self.store().claim(vec![copy], Duration::from_millis(until.as_millis())).await.unwrap();
                    assert_eq!(taken.is_empty(), self.model.leases.contains_key(&copy));
                    self.model.leases.entry(copy).or_insert(until);
                }
            }
            Action::Advance { seconds } => self.clock.advance(Duration::from_secs(*seconds)),
            Action::Maintain => self.store().maintain().await,
            Action::Arm { after, fault } => self.disk.arm(*after, *fault),
            Action::Restart { kill } => self.restart(*kill, &[]).await,
        }
    }

    async fn compare(&mut self) {
        let now = self.clock.now();
        let store = self.store.as_ref().unwrap();
        assert_eq!(self.found(usize::MAX).await, Self::expected(&self.model));
        let queues = store.due_queues(now, 10).await.unwrap().iter().map(|due| due.queue.to_string()).collect();
        assert_eq!(self.model.due_queues(now), queues);
        assert_eq!(self.model.next_due(now), store.next_due(now).await.unwrap());
        let usage = store.usage().await.unwrap();
        self.most_octets = self.most_octets.max(usage.octets);
        let oldest = self.model.rows.keys().next().map(|copy| copy.message.received());
        assert_eq!((usage.rows, usage.leased, usage.oldest), (self.model.rows.len() as u64, self.model.leases.len() as u64, oldest));
        for (id, (message, _)) in &self.model.messages {
            // Asked for first: what is done with may go at any moment.
            let head = store.head(*id).await.unwrap();
            let stored = store.message(*id).await.unwrap();
            let is_queued = self.model.rows.keys().any(|copy| copy.message == *id);
            assert!(stored.is_some() || !is_queued, "the content of a queued message is gone");
            if let Some(stored) = stored {
                assert_eq!(head.as_ref(), Some(&stored.head));
                assert_eq!((&stored.head, &stored.body, &stored.original), (&message.head, &message.body, &message.original));
            }
        }
        for key in 0..4 {
            let expected = self.model.values.get(&[key][..]).filter(|(_, expires)| *expires > now).map(|(value, _)| value.clone());
            assert_eq!(store.value("table", &[key], now).await.unwrap(), expected);
        }
        self.compare_events().await;
    }

    async fn log(&self) -> Vec<LoggedEvent> {
        let mut found = Vec::new();
        let mut position = 0;
        loop {
            let events = self.store().events(position, 3).await.unwrap();
            let Some(last) = events.last() else { return found };
            position = last.position + 1;
            found.extend(events);
        }
    }

    async fn compare_events(&mut self) {
        // Old files may go while we read: then we read again.
        let mut found = self.log().await;
        loop {
            let again = self.log().await;
            if again == found {
                break;
            }
            found = again;
        }
        for event in &found {
            let known = self.positions.insert(event.octets.clone(), event.position);
            assert!(known.is_none_or(|known| known == event.position), "an event has moved");
        }
        let now = self.clock.now();
        let young = self.model.events.iter().filter(|(_, at)| at.plus(RETENTION) > now).count();
        // Where the archive has been near its size, young events may have made room too.
        let crowded = self.most_octets > ARCHIVE_SIZE / 2;
        assert!(found.len() >= young || crowded, "{} events where {young} are young", found.len());
        let old = self.model.events.len() - found.len();
        let expected: Vec<_> = self.model.events[old..].iter().map(|(event, _)| event.clone()).collect();
        assert_eq!(found.into_iter().map(|event| event.octets).collect::<Vec<_>>(), expected);
    }
}

type NewRowText = (Timestamp, String, Bytes, Bytes);

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(actions in prop::collection::vec(action(), 1..40), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new(seed);
            for action in &actions {
                bench.act(action).await;
                if bench.store().shared.failure.get().is_none() {
                    bench.compare().await;
                }
            }
            bench.restart(true, &[]).await;
            bench.compare().await;
        });
    }
}
