//! Records of the spool and of the event log.

use std::fmt::Debug;

use tubepost::event::Event;
use tubepost::event::search::Summary;
use tubepost::spool::entry::{Copy, CopyState, Entry, Record};

/// Records of the spool: damage is found, and what is read is written as it was.
///
/// What follows the octet with the version may be anything: a checksum stands before it on disk, and a release before this one wrote it.
pub fn spool_record(octets: &[u8]) {
    for record in [octets.to_vec(), [b"\x01", octets].concat(), [b"\x02", octets].concat()] {
        check::<Entry>(&record);
        check::<Copy>(&record);
        check::<CopyState>(&record);
    }
}

fn check<T: Record + PartialEq + Debug>(octets: &[u8]) {
    if let Ok(record) = T::decode(octets) {
        assert_eq!(T::decode(&record.encode()).as_ref(), Ok(&record));
    }
}

/// Events: what is read is written as it was, and any order of them makes a summary.
pub fn event(octets: &[u8]) {
    let mut summary: Option<Summary> = None;
    for line in octets.split(|octet| *octet == b'\n') {
        let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
        let text = serde_json::to_vec(&event).expect("events are plain values");
        assert_eq!(serde_json::from_slice::<Event>(&text).expect("it was just written"), event);
        summary.get_or_insert_with(|| Summary::new(&event)).apply(&event);
    }
    if let Some(summary) = summary {
        let text = serde_json::to_vec(&summary).expect("a summary is plain values");
        assert_eq!(serde_json::from_slice::<Summary>(&text).expect("it was just written"), summary);
        let _ = summary.states();
    }
}
