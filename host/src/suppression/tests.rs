#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::Duration;

use super::entry::Source;
use super::query::{Field, Order, Restriction, Words};
use super::*;
use crate::clock::{Entropy, Timestamp};
use crate::config;
use crate::config::unit::ByteSize;
use crate::mail::domain::Domain;
use crate::store::embedded::Embedded;
use crate::telemetry::metric::Metrics;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn store(folder: &std::path::Path, table_size: ByteSize) -> Arc<dyn Store> {
    let config = config::Store {
        segment_size: ByteSize::mib(64),
        retention: Duration::from_hours(24),
        archive_size: ByteSize::gib(1),
        cache: ByteSize::mib(1),
        commit_queue: 64,
        reserve: ByteSize(0),
        table_size,
    };
    Arc::new(Embedded::open(folder, &config, Clock::manual(NOW), Entropy::seeded(1), Metrics::new()).unwrap())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn recipient(text: &str) -> Recipient {
    text.parse().unwrap()
}

#[test]
fn addresses_are_compared_as_their_hosts_would() {
    for (text, expected) in [
        ("Ann.Smith@Example.NET", "ann.smith@example.net"),
        ("\"ann\"@example.net", "ann@example.net"),
        ("\"ann smith\"@example.net", "\"ann smith\"@example.net"),
        ("ANN@BÜCHER.example", "ann@xn--bcher-kva.example"),
    ] {
        assert_eq!(recipient(text).as_str(), expected, "{text}");
    }
}

#[test]
fn entries_come_back_as_they_were_put_down() {
    let note =
        Note { source: Source::Bounce, at: NOW, reason: "550 5.1.1 no".into(), sender: "a@b.example".into(), subject: "Grüße".into() };
    for scope in [Scope::Global, Scope::Login("news".into()), Scope::of_domain(&Domain::parse("bücher.example").unwrap())] {
        for list in [List::Allowed, List::Blocked] {
            let entry = Entry { list, scope: scope.clone(), recipient: recipient("ann@example.net"), note: note.clone() };
            let key = entry::key(list, &scope, &entry.recipient).unwrap();
            assert_eq!(Entry::decode(&key, &note.encode()), Some(entry));
        }
        assert_eq!(scope.to_string().parse(), Ok(scope));
    }
    // What this version writes is read for ever.
    let fixture = b"\x01\x01\x80\xd0\x95\xff\xbc\x31\x0c550 5.1.1 no\x0ba@b.example\x07Gr\xc3\xbc\xc3\x9fe";
    assert_eq!(note.encode().as_ref(), fixture, "{:?}", note.encode());
}

proptest::proptest! {
    #[test]
    fn no_key_and_no_value_is_too_odd(key: Vec<u8>, value: Vec<u8>) {
        let _ = Entry::decode(&key, &value);
    }
}

#[test]
fn scopes_and_allowances_decide() {
    let folder = tempfile::tempdir().unwrap();
    let lists = Suppressions::new(store(folder.path(), ByteSize::mib(64)), Clock::manual(NOW));
    let (shop, other) = (Domain::parse("shop.example").unwrap(), Domain::parse("other.example").unwrap());
    let put = |list, scope: Scope, address: &str| block_on(lists.put(&[lists.entry(list, scope, recipient(address), "because")])).unwrap();
    let blocked = |login, domain, address: &str| {
        let standing = block_on(lists.standing(&address.parse().unwrap())).unwrap();
        standing.block(&Sender { login, domain }).map(|entry| entry.scope.to_string())
    };
    put(List::Blocked, Scope::Login("news".into()), "ann@example.net");
    put(List::Blocked, Scope::of_domain(&shop), "bob@example.net");
    put(List::Blocked, Scope::Global, "cid@example.net");
    put(List::Blocked, Scope::Global, "postmaster@example.net");
    assert_eq!(blocked("news", None, "Ann@example.net").as_deref(), Some("login:news"));
    assert_eq!(blocked("shop", None, "ann@example.net"), None);
    assert_eq!(blocked("shop", Some(&shop), "bob@example.net").as_deref(), Some("domain:shop.example"));
    assert_eq!(blocked("shop", Some(&other), "bob@example.net"), None);
    assert_eq!(blocked("shop", None, "bob@example.net"), None);
    assert_eq!(blocked("any", None, "cid@example.net").as_deref(), Some("global"));
    assert_eq!(blocked("any", None, "Postmaster@example.net"), None, "he must be reachable");
    assert_eq!(blocked("any", None, "cid@example.ne"), None);
    // An allowance is as wide as its scope.
    put(List::Allowed, Scope::Login("news".into()), "cid@example.net");
    assert_eq!((blocked("news", None, "cid@example.net"), blocked("any", None, "cid@example.net").is_some()), (None, true));
    // Very many scopes of one address are all seen.
    for number in 0..40 {
        put(List::Blocked, Scope::Login(format!("login-{number:02}").into()), "dan@example.net");
    }
    assert!(blocked("login-39", None, "dan@example.net").is_some());
    let gone = block_on(lists.remove(List::Blocked, &Scope::Global, &[recipient("cid@example.net"), recipient("nobody@example.net")]));
    assert_eq!((gone, blocked("any", None, "cid@example.net")), (Ok(1), None));
}

#[test]
fn f13_filters_orders_and_pages() {
    let folder = tempfile::tempdir().unwrap();
    let lists = Suppressions::new(store(folder.path(), ByteSize::mib(64)), Clock::manual(NOW));
    let entries: Vec<_> = (0..30_u32)
        .map(|number| {
            let source = Source::ALL[usize::try_from(number).unwrap() % 5];
            let at = NOW.plus(Duration::from_secs(u64::from(number)));
            let (sender, subject) = (format!("s{}@x.example", number % 2), format!("Spring sale {number}"));
            let note = Note { source, at, reason: format!("reason {}", 29 - number), sender, subject };
            Entry { list: List::Blocked, scope: Scope::Global, recipient: recipient(&format!("r{number:02}@example.net")), note }
        })
        .collect();
    block_on(lists.put(&entries)).unwrap();
    let find = |query: Query| {
        let found = block_on(lists.find(&query)).unwrap();
        (found.count, found.entries.iter().map(|entry| entry.recipient.to_string()[1..3].to_owned()).collect::<Vec<_>>().join(" "))
    };
    let all = || Query { limit: 3, ..Query::default() };
    assert_eq!(find(all()), (30, "29 28 27".into()));
    assert_eq!(find(Query { offset: 3, ascending: true, ..all() }), (30, "03 04 05".into()));
    assert_eq!(find(Query { order: Order::Recipient, ascending: true, offset: 28, ..all() }), (30, "28 29".into()));
    assert_eq!(find(Query { sources: vec![Source::Bounce], ..all() }), (6, "26 21 16".into()));
    assert_eq!(find(Query { order: Order::Source, ascending: true, ..all() }), (30, "26 21 16".into()));
    assert_eq!(find(Query { filter: Some(Words::new("SALE 7", false)), ..all() }), (1, "07".into()));
    assert_eq!(find(Query { filter: Some(Words::new("sale s1@x", true)), ..all() }).0, 15);
    assert_eq!(find(Query { filter: Some(Words::new("sale s1@x", false)), ..all() }).0, 0);
    let restriction = |exclude| vec![Restriction { by: Field::Sender, exclude, words: Words::new("s1@", false) }];
    assert_eq!(find(Query { restrictions: restriction(false), ..all() }), (15, "29 27 25".into()));
    assert_eq!(find(Query { restrictions: restriction(true), ..all() }), (15, "28 26 24".into()));
    let (from, before) = (Some(NOW.plus(Duration::from_secs(10))), Some(NOW.plus(Duration::from_secs(12))));
    assert_eq!(find(Query { from, before, ..all() }), (2, "11 10".into()));
    assert_eq!(find(Query { offset: 40, ..all() }), (30, String::new()));
    assert_eq!(block_on(lists.remove_found(&Query { sources: vec![Source::Bounce], ..Query::default() })), Ok(6));
    assert_eq!(find(all()).0, 24);
}

#[test]
fn a_full_table_takes_no_more_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), ByteSize::mib(1));
    let lists = Suppressions::new(Arc::clone(&store), Clock::manual(NOW));
    let entries: Vec<_> = (0..10_000)
        .map(|number| lists.entry(List::Blocked, Scope::Global, recipient(&format!("r{number}@example.net")), "imported"))
        .collect();
    assert_eq!(block_on(lists.put(&entries)), Err(StoreError::Full));
    assert!(!block_on(lists.standing(&"r0@example.net".parse().unwrap())).unwrap().is_empty());
    let place = ValueChange { table: "observer".into(), key: "reader".into(), value: Some("1".into()), expires: Timestamp::NEVER };
    let batch = Batch { values: vec![place], ..Batch::default() };
    assert_eq!(block_on(store.commit(batch)), Ok(()), "there is room left for what the server must know");
}

#[test]
fn f13_the_newest_come_first_whatever_changes() {
    let folder = tempfile::tempdir().unwrap();
    let lists = Suppressions::new(store(folder.path(), ByteSize::mib(64)), Clock::manual(NOW));
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    let put = |list, scope: &str, address: &str, seconds| {
        let entry = lists.entry(list, scope.parse().unwrap(), recipient(address), "because");
        block_on(lists.put(&[Entry { note: Note { at: at(seconds), ..entry.note }, ..entry }])).unwrap();
    };
    let find = |query: Query| {
        let found = block_on(lists.find(&Query { limit: 10, ..query })).unwrap();
        (found.count, found.entries.iter().map(|entry| entry.recipient.as_str()[..1].to_owned()).collect::<String>())
    };
    let of = |scope: &str| Query { scope: Some(scope.parse().unwrap()), ..Query::default() };
    assert_eq!(find(Query::default()), (0, String::new()));
    for (address, scope, seconds) in
        [("a@x", "global", 5), ("b@x", "login:one", 3), ("c@x", "login:one", 7), ("d@x", "login:two", 6), ("e@x", "domain:x.example", 1)]
    {
        put(List::Blocked, scope, address, seconds);
    }
    put(List::Allowed, "login:one", "f@x", 9);
    assert_eq!(find(Query::default()), (5, "cdabe".into()));
    assert_eq!(find(Query { ascending: true, ..Query::default() }), (5, "ebadc".into()));
    assert_eq!(find(Query { offset: 2, ..Query::default() }), (5, "abe".into()));
    assert_eq!(find(of("login:one")), (2, "cb".into()));
    assert_eq!(find(Query { list: Some(List::Allowed), ..of("login:one") }), (1, "f".into()));
    assert_eq!(find(of("login:three")), (0, String::new()));
    for (from, before, expected) in [
        (Some(at(3)), None, (4, "cdab")),
        (None, Some(at(5)), (2, "be")),
        (Some(at(3)), Some(at(6)), (2, "ab")),
        (Some(at(6)), Some(at(6)), (0, "")),
        (Some(Timestamp::default()), Some(Timestamp::default()), (0, "")),
        (Some(Timestamp::default()), None, (5, "cdabe")),
    ] {
        assert_eq!(find(Query { from, before, ..Query::default() }), (expected.0, expected.1.to_owned()), "{from:?} {before:?}");
    }
    // Another time takes the place of the first one; what is gone is gone.
    put(List::Blocked, "login:one", "b@x", 8);
    assert_eq!(find(Query::default()), (5, "bcdae".into()));
    block_on(lists.remove(List::Blocked, &"login:one".parse().unwrap(), &[recipient("c@x")])).unwrap();
    assert_eq!((find(Query::default()), find(of("login:one"))), ((4, "bdae".into()), (1, "b".into())));
    assert_eq!(block_on(lists.remove_found(&of("login:one"))), Ok(1));
    assert_eq!(find(Query::default()), (3, "dae".into()));
}

#[test]
fn f13_a_page_of_a_long_list_takes_no_look_at_all_of_it() {
    const COUNT: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let lists = Suppressions::new(store(folder.path(), ByteSize::mib(256)), Clock::manual(NOW));
    let entries: Vec<_> = (0..COUNT)
        .map(|number| {
            let scope = Scope::Login(if number % 100 == 0 { "news" } else { "other" }.into());
            let mut entry = lists.entry(List::Blocked, scope, recipient(&format!("r{number}@example.net")), "imported");
            entry.note.at = NOW.plus(Duration::from_secs(number.try_into().unwrap()));
            entry
        })
        .collect();
    block_on(lists.put(&entries)).unwrap();
    let find = |query: &Query| block_on(lists.find(query)).unwrap();
    let newest = Query { limit: 10, ..Query::default() };
    assert_eq!(find(&newest).entries.first().map(|entry| entry.recipient.to_string()).as_deref(), Some("r99999@example.net"));

    let clock = Clock::system();
    let time = |what: &dyn Fn()| {
        let began = clock.monotonic();
        what();
        clock.monotonic().saturating_sub(began)
    };
    let all = time(&|| assert_eq!(find(&Query { filter: Some(Words::new("r5@", false)), ..newest.clone() }).count, 1));
    let news = Query { scope: Some("login:news".parse().unwrap()), offset: 500, ..newest.clone() };
    let pages = time(&|| {
        for _ in 0..20 {
            assert_eq!(find(&newest).count, COUNT);
            let found = find(&news);
            assert_eq!((found.count, found.entries.len()), (COUNT / 100, 10));
            let standing = block_on(lists.standing(&"r77777@example.net".parse().unwrap())).unwrap();
            assert_eq!(standing.entries().len(), 1);
        }
    });
    // Sixty questions together take less time than one that goes through the list.
    assert!(pages < all, "{pages:?} for the pages, {all:?} for a look at all");
    // What has to be looked for in the texts is looked for in the list of the login alone.
    let own = time(&|| assert_eq!(find(&Query { filter: Some(Words::new("r500@", false)), ..news.clone() }).count, 1));
    assert!(own < all / 5, "{own:?} for a hundredth, {all:?} for all");
}
