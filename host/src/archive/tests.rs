#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::num::NonZeroU32;

use futures_util::FutureExt as _;

use super::filter::{Filter, Grouping, Named, Status};
use super::*;
use crate::chain::{ChainRegistry, Plan};
use crate::config;
use crate::config::Sources;
use crate::config::unit::ByteSize;
use crate::event::recorder::Recorder;
use crate::intake::{IntakeParts, IntakeSettings};
use crate::link::LinkSigner;
use crate::mail::domain::Domain;
use crate::mail::envelope::{BodyType, ReversePath};
use crate::spool::NewEntry;
use crate::spool::entry::Terms;
use crate::spool::selector::Selector;
use crate::store::embedded::Embedded;
use crate::submission::permission::Rates;
use crate::submission::{Protocol, Received};
use crate::telemetry::metric::Metrics;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn archive(folder: &std::path::Path) -> Archive {
    let (clock, entropy, metrics) = (Clock::manual(NOW), Entropy::seeded(1), Metrics::new());
    let store = Arc::new(Embedded::small(folder, &clock));
    let (spool, recorder) = (Spool::new(store.clone(), clock.clone()), Recorder::new(store));
    let renderer = Renderer::new(ChainRegistry::default(), LinkSigner::new([1; 32], String::new()));
    let hostname = Domain::parse("mail.example.com").unwrap();
    let settings = IntakeSettings {
        hostname,
        routes: std::collections::BTreeMap::new(),
        sources: Sources::default(),
        header_size: ByteSize::kib(256),
        tags: 100,
        takes_bounces: false,
        spam_filters: std::collections::BTreeSet::new(),
    };
    let intake = Intake::new(IntakeParts {
        clock: clock.clone(),
        entropy: entropy.clone(),
        spool: spool.clone(),
        recorder,
        chains: ChainRegistry::default(),
        renderer: renderer.clone(),
        rates: Arc::new(Rates::new(clock.clone())),
        metrics: metrics.clone(),
        shadows: crate::chain::shadow::queue(ByteSize::mib(1)).0,
        domains: None,
        submissions: 10,
        settings,
    });
    let index = SearchIndex::open(&folder.join("index")).unwrap();
    let guard = config::Authentication {
        failures: 1,
        network_failures: 1,
        user_failures: 1,
        period: Duration::from_mins(1),
        addresses: 1,
        logins: 1,
        waiting: 1,
        remembered: 1,
    };
    let logins = Logins::new(Vec::new(), &guard, &entropy, &clock, metrics);
    Archive::new(ArchiveParts { spool, index, intake, renderer, logins, clock, entropy, workshop: None, delivery: None, walks: 2 })
}

/// A message that is held, with so many copies.
fn held(number: u8, recipients: u32) -> NewEntry {
    let id = MessageId::from_bytes([number; 16]);
    let copies = (0..recipients).map(|place| {
        let address = EmailAddress::parse(&format!("r{place}@b.example")).unwrap();
        (Copy { address, notify: None, original: None, variables: String::new() }, "direct/b.example".into())
    });
    let entry = Entry {
        id,
        login: "login".into(),
        route: "direct".into(),
        received: Received { at: NOW, peer: [127, 0, 0, 1].into(), helo: None, protocol: Protocol::Local },
        reverse_path: ReversePath::Null,
        ret: None,
        envid: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        subject: "Hello".into(),
        tags: Vec::new(),
        recipient_count: recipients,
        deliver_before: None,
        options: String::new(),
        plan: Plan::plain("login".into(), id, NOW),
        terms: Terms::default(),
    };
    NewEntry {
        entry,
        body: Bytes::new(),
        original: None,
        copies: copies.collect(),
        held: Some("look".into()),
        not_before: None,
        events: Vec::new(),
    }
}

#[tokio::test]
async fn all_is_all_but_what_is_being_sent() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path());
    let many = u32::try_from(PAGE).unwrap() + 50;
    archive.spool.accept(held(1, many)).await.unwrap();
    archive.spool.accept(held(2, many)).await.unwrap();
    let all = usize::try_from(many).unwrap() * 2;
    assert_eq!(archive.retry(&Filter::default(), None).await.unwrap().copies, all);

    let until = archive.clock.monotonic() + Duration::from_mins(1);
    let leased = archive.spool.lease("direct/b.example", until, NonZeroU32::new(3).unwrap()).await.unwrap();
    assert!(leased.iter().all(|leased| leased.state.released && leased.state.held.is_none()));
    assert_eq!(archive.retry(&Filter::of([Named::Copy(leased[0].copy)]), None).await.unwrap().copies, 0);
    assert_eq!(
        archive.retry(&Filter::of([Named::Message(leased[0].copy.message)]), None).await.unwrap().copies,
        usize::try_from(many).unwrap() - 3
    );
    // Nobody gets a copy that a worker has.
    let rest = archive.spool.lease("direct/b.example", until, NonZeroU32::new(10_000).unwrap()).await.unwrap();
    assert_eq!(rest.len(), all - 3);
    archive.spool.store().release(rest.into_iter().map(|leased| leased.copy).collect()).await.unwrap();
    assert_eq!(archive.cancel(&Filter::default(), None, None).await.unwrap().copies, all - 3);
    assert_eq!(archive.spool.store().usage().await.unwrap().rows, 3);
}

#[tokio::test]
async fn what_could_not_be_changed_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path());
    archive.spool.accept(held(1, 3)).await.unwrap();
    archive.spool.store().close().await.unwrap();
    assert!(matches!(archive.cancel(&Filter::default(), None, None).await, Err(ArchiveError::Store(StoreError::Poisoned(_)))));
    let usage = archive.spool.store().usage().await.unwrap();
    assert_eq!((usage.rows, usage.leased), (3, 0));
}

#[tokio::test]
async fn what_waits_is_listed_page_by_page_and_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path());
    let many = u32::try_from(PAGE).unwrap() + 50;
    archive.spool.accept(held(1, many)).await.unwrap();
    archive.spool.accept(NewEntry { held: None, ..held(2, 2) }).await.unwrap();
    let all = usize::try_from(many).unwrap() + 2;

    let (mut after, mut pages, mut seen) = (None, 0, Vec::new());
    loop {
        let page = archive.queue(&Filter::default(), after, 400).await.unwrap();
        seen.extend(page.copies.iter().map(|copy| copy.id.clone()));
        pages += 1;
        after = page.next.map(|id| id.parse().unwrap());
        if after.is_none() {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (3, all));
    seen.dedup();
    assert_eq!(seen.len(), all, "each once");

    let due = Filter { status: Some(Status::Due), ..Filter::default() };
    let page = archive.queue(&due, None, 2).await.unwrap();
    assert_eq!((page.copies.len(), page.next), (2, None), "there is none behind the last one");
    // Named ones go on behind a place too.
    let second = MessageId::from_bytes([2; 16]);
    let named = Filter::of([Named::Message(second)]);
    let first = archive.queue(&named, None, 1).await.unwrap();
    let after = CopyId { message: second, recipient: 0 };
    assert_eq!(first.next, Some(after.to_string()));
    assert_eq!(archive.queue(&named, Some(after), 10).await.unwrap().copies.len(), 1);

    let summary = archive.queue_summary(&Filter::default(), Grouping::Login, 10).await.unwrap();
    assert_eq!((summary.group_count, summary.looked_at, summary.cut), (1, all, false));
    let group = summary.groups.first().unwrap();
    assert_eq!((group.copies, group.held, group.due), (u64::from(many) + 2, u64::from(many), 2));
    assert_eq!(group.last.as_deref(), Some("look"));
    assert!(archive.summed_up(&Filter::default(), Grouping::Queue, 10, 10).await.unwrap().cut, "it says when there is more");
}

#[tokio::test]
async fn few_look_through_everything_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path());
    let filter = Filter::default();
    let mut turns = Vec::new();
    for _ in 0..2 {
        turns.push(archive.walk(&filter, None, walk::Bounds::ALL).await.unwrap());
    }
    assert!(archive.walk(&filter, None, walk::Bounds::ALL).now_or_never().is_none(), "it waits for its turn");
    let operators = archive.for_operators();
    // Operators wait for no login.
    drop(operators.walk(&filter, None, walk::Bounds::ALL).now_or_never().unwrap().unwrap());
    drop(turns);
    let news = archive.for_login("news");
    let turn = news.walk(&filter, None, walk::Bounds::ALL).now_or_never().unwrap().unwrap();
    assert!(news.walk(&filter, None, walk::Bounds::ALL).now_or_never().is_none(), "a login has one at a time");
    drop(archive.for_login("other").walk(&filter, None, walk::Bounds::ALL).now_or_never().unwrap().unwrap());
    drop(turn);
    drop(news.walk(&filter, None, walk::Bounds::ALL).now_or_never().unwrap().unwrap());
}

/// Makes the head of a message unreadable on the disk.
fn damage(folder: &std::path::Path, number: u8) {
    use std::os::unix::fs::FileExt as _;
    let head: Vec<u8> = [number; 16].into_iter().chain(*b"\x05login").collect();
    let mut files = std::fs::read_dir(folder.join("spool")).unwrap().map(|file| file.unwrap().path());
    let place = |file| Some((memchr::memmem::find(&std::fs::read(&file).ok()?, &head)?, file));
    let (place, file) = files.find_map(place).unwrap();
    // Before it is the version of its format.
    std::fs::File::options().write(true).open(file).unwrap().write_at(&[255], place as u64 - 1).unwrap();
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let before = archive(folder.path());
    for number in 1..4 {
        before.spool.accept(held(number, 2)).await.unwrap();
    }
    drop(before);
    // It is not in memory any more.
    let archive = archive(folder.path());
    damage(folder.path(), 2);
    let listed = archive.queue(&Filter::default(), None, 10).await.unwrap();
    let logins: Vec<&str> = listed.copies.iter().map(|copy| copy.message.login.as_str()).collect();
    assert_eq!(logins, ["login", "login", "", "", "login", "login"]);
    let selector = Selector { login: Some("login".into()), ..Selector::default() };
    let own = Filter { selector, ..Filter::default() };
    assert_eq!(archive.queue(&own, None, 10).await.unwrap().copies.len(), 4, "it is nobody's");
    assert_eq!(archive.queue_summary(&own, Grouping::Tag, 10).await.unwrap().total.copies, 4);
    let view = archive.message(MessageId::from_bytes([2; 16])).await.unwrap().unwrap();
    assert_eq!((view.queued.len(), view.entry), (2, None));
    assert_eq!(archive.cancel(&Filter::default(), None, Some("no")).await.unwrap().copies, 6);
    assert_eq!(archive.spool.store().usage().await.unwrap().rows, 0);
}

#[tokio::test]
async fn a_look_that_is_cut_says_where_though_it_met_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path());
    archive.spool.accept(held(2, 1)).await.unwrap();
    let filter = Filter::of([1, 2].map(|number| Named::Message(MessageId::from_bytes([number; 16]))));
    let mut walk = archive.walk(&filter, None, walk::Bounds::ALL).await.unwrap();
    assert!(walk.page().await.unwrap().unwrap().is_empty());
    archive.clock.advance(Duration::from_mins(1));
    assert!(walk.page().await.unwrap().is_none(), "its time is over");
    let next: CopyId = walk.next().unwrap().to_string().parse().unwrap();
    drop(walk);
    let rest = archive.queue(&filter, Some(next), 10).await.unwrap();
    assert_eq!((rest.copies.len(), rest.next), (1, None));
    // What is passed is not read again.
    let mut walk = archive.walk(&filter, Some(next), walk::Bounds::ALL).await.unwrap();
    assert_eq!(walk.page().await.unwrap().unwrap().len(), 1);
    assert!(walk.page().await.unwrap().is_none() && walk.is_complete());
}
