#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use futures_util::future::join_all;

use super::*;
use crate::clock::Entropy;
use crate::config;
use crate::config::unit::ByteSize;
use crate::store::embedded::Embedded;
use crate::telemetry::metric::Metrics;

struct Bench {
    _folder: tempfile::TempDir,
    clock: Clock,
    tables: Tables,
}

fn bench(keys: u32, size: u64) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let config = config::Store {
        segment_size: ByteSize::mib(64),
        retention: Duration::from_hours(1),
        archive_size: ByteSize::gib(1),
        cache: ByteSize::mib(1),
        commit_queue: 64,
        reserve: ByteSize(1),
        table_size: ByteSize::mib(64),
    };
    let store = Embedded::open(folder.path(), &config, clock.clone(), Entropy::seeded(1), Metrics::new()).unwrap();
    let quota = LoginShares { kv_keys: keys, kv_size: ByteSize(size), ..LoginShares::default() };
    Bench { tables: Tables::new(Some(Arc::new(store)), clock.clone(), quota), clock, _folder: folder }
}

fn kept(octets: usize) -> Kept {
    Kept { octets: vec![1; octets].into(), expires: Timestamp::NEVER }
}

#[tokio::test]
async fn nobody_gets_the_same_number_twice() {
    let bench = bench(10, 10_000);
    let table = Tables::name("p", "a");
    let sums = join_all((0..40).map(|_| bench.tables.increment(&table, "n", 1, Timestamp::NEVER))).await;
    let mut sums: Vec<i64> = sums.into_iter().map(Result::unwrap).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=40).collect::<Vec<_>>());
    assert_eq!(bench.tables.get(&table, "n").await.unwrap().unwrap().octets, "40");
    assert_eq!(bench.tables.get(&Tables::name("p", "b"), "n").await.unwrap(), None, "another login has a table of its own");
    bench.tables.put(&table, "word", Some(kept(3))).await.unwrap();
    assert!(matches!(bench.tables.increment(&table, "word", 1, Timestamp::NEVER).await, Err(TableError::Invalid(_))));
    bench.tables.increment(&table, "most", i64::MAX, Timestamp::NEVER).await.unwrap();
    assert!(matches!(bench.tables.increment(&table, "most", 1, Timestamp::NEVER).await, Err(TableError::Invalid(_))));
}

#[tokio::test]
async fn later_increments_keep_the_time_of_the_first() {
    let bench = bench(10, 10_000);
    let table = Tables::name("p", "a");
    let increment = async || bench.tables.increment(&table, "n", 2, expiry(bench.clock.now(), Some(60))).await.unwrap();
    assert_eq!(increment().await, 2);
    bench.clock.advance(Duration::from_secs(50));
    assert_eq!(increment().await, 4);
    bench.clock.advance(Duration::from_secs(11));
    assert_eq!(increment().await, 2, "the window is over");
}

#[tokio::test]
async fn a_table_has_its_quota_and_what_is_replaced_makes_room() {
    let bench = bench(3, 1_000);
    let (table, other) = (Tables::name("p", "a"), Tables::name("p", "b"));
    for key in ["1", "2", "3"] {
        bench.tables.put(&table, key, Some(kept(10))).await.unwrap();
    }
    assert_eq!(bench.tables.put(&table, "4", Some(kept(10))).await, Err(TableError::Full));
    assert_eq!(bench.tables.put(&other, "4", Some(kept(10))).await, Ok(()), "another login's table is another");
    bench.tables.put(&table, "1", None).await.unwrap();
    bench.tables.put(&table, "4", Some(kept(10))).await.unwrap();
    // Almost all of the octets: it can be replaced by as much, and not by more than there is room for.
    let most = 1_000 - 3 * (1 + EXPIRY) - 2 * 10;
    bench.tables.put(&table, "4", Some(kept(most))).await.unwrap();
    bench.tables.put(&table, "4", Some(kept(most))).await.unwrap();
    assert_eq!(bench.tables.put(&table, "4", Some(kept(most + 1))).await, Err(TableError::Full));
    assert_eq!(bench.tables.put(&table, "2", Some(kept(11))).await, Err(TableError::Full));
    bench.tables.put(&table, "4", Some(kept(most - 1))).await.unwrap();
    bench.tables.put(&table, "2", Some(kept(11))).await.unwrap();
}

#[test]
fn keys_and_values_have_their_sizes() {
    assert!(check("", b"").is_err() && check(&"k".repeat(KEY + 1), b"").is_err() && check("k", &vec![0; VALUE + 1]).is_err());
    assert!(check(&"k".repeat(KEY), &vec![0; VALUE]).is_ok());
}
