#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::chain::Plan;
use crate::clock::Entropy;
use crate::config;
use crate::config::unit::ByteSize;
use crate::mail::envelope::{BodyType, ReversePath};
use crate::spool::NewEntry;
use crate::spool::entry::{Entry, Terms};
use crate::store::embedded::Embedded;
use crate::submission::{Protocol, Received};
use crate::telemetry::metric::Metrics;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const RETENTION: Duration = Duration::from_hours(1);
const SEARCH: Search = Search { text: ByteSize::mib(1), gather: Duration::ZERO, rest: 0, memory: ByteSize(15_000_000) };

struct Bench {
    _folder: tempfile::TempDir,
    clock: Clock,
    store: Arc<Embedded>,
    follower: Follower,
}

impl Bench {
    fn new(settings: Search) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let config = config::Store {
            segment_size: ByteSize::mib(64),
            retention: RETENTION,
            archive_size: ByteSize::gib(1),
            cache: ByteSize::mib(1),
            commit_queue: 64,
            reserve: ByteSize(1),
            table_size: ByteSize::mib(64),
        };
        let store = Arc::new(Embedded::open(folder.path(), &config, clock.clone(), Entropy::seeded(1), Metrics::new()).unwrap());
        let spool = Spool::new(store.clone(), clock.clone());
        let index = SearchIndex::open(&folder.path().join("index")).unwrap();
        Self { clock, store, follower: Follower::new(spool, index, settings), _folder: folder }
    }

    /// Keeps a message with this body and the event that tells of it.
    async fn accept(&self, number: u8, content: String) {
        let at = self.clock.now();
        let message = MessageId::from_bytes([number; 16]);
        let plan = Plan::plain("news".into(), message, at);
        let entry = Entry {
            id: message,
            login: "news".into(),
            route: "direct".into(),
            received: Received { at, peer: [127, 0, 0, 1].into(), helo: None, protocol: Protocol::Local },
            reverse_path: ReversePath::Null,
            ret: None,
            envid: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            subject: String::new(),
            tags: Vec::new(),
            recipient_count: 1,
            deliver_before: None,
            options: String::new(),
            plan,
            terms: Terms::default(),
        };
        let kind = EventKind::Accepted {
            protocol: "local".into(),
            peer: "127.0.0.1".into(),
            reverse_path: String::new(),
            recipients: vec!["ann@example.net".into()],
            recipient_count: 1,
            subject: format!("subject {number}"),
            size: 1,
            plugins: Vec::new(),
        };
        let event = Event { at, message, login: "news".into(), recipient: None, address: None, tags: Vec::new(), kind };
        let body = Bytes::from(content);
        let new = NewEntry { entry, body, original: None, copies: Vec::new(), held: None, not_before: None, events: vec![event] };
        self.follower.spool.accept(new).await.unwrap();
    }

    fn found(&self, query: &str) -> usize {
        self.follower.index.search(query, 0, 10).unwrap().total
    }
}

#[tokio::test]
async fn what_the_log_has_forgotten_is_gone_from_the_index() {
    let mut bench = Bench::new(SEARCH);
    bench.accept(1, "Subject: s\r\n\r\nelderberry\r\n".into()).await;
    assert!(bench.follower.step().await.unwrap());
    assert_eq!((bench.found("elderberry"), bench.found("ann@example.net")), (1, 1));
    bench.clock.advance(RETENTION);
    bench.store.maintain().await;
    bench.accept(2, "Subject: s\r\n\r\nraspberry\r\n".into()).await;
    assert!(bench.follower.step().await.unwrap());
    assert_eq!((bench.found("elderberry"), bench.found("raspberry")), (1, 1), "its time is not over");

    // Nothing new comes: it goes all the same.
    bench.clock.advance(RETENTION);
    bench.store.maintain().await;
    assert!(bench.follower.step().await.unwrap());
    assert_eq!((bench.found("elderberry"), bench.found("subject")), (0, 1));
    assert!(!bench.follower.step().await.unwrap());
}

#[tokio::test]
async fn a_batch_ends_when_it_has_text_enough() {
    let mut bench = Bench::new(SEARCH);
    for number in 1..=6 {
        bench.accept(number, format!("Subject: s\r\n\r\n{}\r\n", "word ".repeat(210_000))).await;
    }
    for expected in [4, 6] {
        assert!(bench.follower.step().await.unwrap());
        assert_eq!(bench.found("word"), expected);
    }
    assert!(!bench.follower.step().await.unwrap());
}

#[tokio::test]
async fn the_beginning_of_what_is_displayed_is_found() {
    let mut bench = Bench::new(Search { text: ByteSize(100), ..SEARCH });
    let html = format!("<html><style>p {{ plum: 1 }}</style><p>cherry {}currant</p></html>", "filler ".repeat(20));
    let parts = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n\
         --b\r\nContent-Type: application/octet-stream\r\n\r\n{}\r\n--b--\r\n",
        "x".repeat(10_000)
    );
    bench.accept(1, parts).await;
    assert!(bench.follower.step().await.unwrap());
    assert_eq!([bench.found("cherry"), bench.found("plum"), bench.found("currant")], [1, 0, 0]);
}
