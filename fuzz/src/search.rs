//! The language of the search box.

use std::sync::LazyLock;

use tempfile::TempDir;
use tubepost::event::Event;
use tubepost::event::index::SearchIndex;

/// An index of a few messages; it is only read.
static INDEX: LazyLock<(TempDir, SearchIndex)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let index = SearchIndex::open(folder.path()).expect("an index");
    let events: Vec<(u64, Event)> = include_str!("search.jsonl")
        .lines()
        .zip(1..)
        .map(|(line, position)| (position, serde_json::from_str(line).expect("an event")))
        .collect();
    let mut writer = index.writer(15_000_000).expect("a writer");
    writer.add(&events, 100, &mut |_| Some("Please pay the amount due".to_owned())).expect("events are taken");
    drop(writer);
    (folder, index)
});

/// Queries: each finds messages or says what is wrong with it; more words find no more.
pub fn search(octets: &[u8]) {
    let Ok(query) = str::from_utf8(octets) else { return };
    let index = &INDEX.1;
    let all = index.search("", 0, 100).expect("nothing finds all").total;
    let Ok(found) = index.search(query, 0, 100) else { return };
    assert!(found.total <= all && found.messages.len() == found.total);
    if let Ok(fewer) = index.search(&format!("login:news {query}"), 0, 100) {
        assert!(fewer.total <= found.total, "another word finds more: {query:?}");
    }
    if !query.is_empty() && query.chars().all(char::is_alphanumeric) {
        let others = index.search(&format!("-{query}"), 0, 100).expect("the same query, excluded");
        assert_eq!(found.total + others.total, all, "what is not found is excluded: {query:?}");
    }
    let page = index.search(query, 1, 1).expect("the same query");
    assert!(page.total == found.total && page.messages.len() <= 1);
}
