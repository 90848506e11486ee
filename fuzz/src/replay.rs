//! Gives the corpora, and mutations of them, to the targets, without libFuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::input::random;
use crate::{TARGETS, Target};

/// Mutations of each file.
const MUTATIONS: usize = 300;
/// The same for targets that open a store each time.
const SLOW_MUTATIONS: usize = 15;
/// What mutations put in: octets that mean something to one parser or another.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b".",
    b"\r\n.\r\n",
    b"\n.\n",
    b":",
    b"<",
    b">",
    b"@",
    b"\"",
    b"\\",
    b"=",
    b"=?utf-8?Q?=0A?=",
    b"--",
    b"{",
    b"}",
    b"%0d",
    b"\xff\xff\xff\xff",
    b"\xc3\xa9",
    b"\x80",
    b" ",
    b"99999999999999999999",
];

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            let octets = fs::read(&path).expect("a file that can be read");
            (path, octets)
        })
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{} has {} files: seeds are missing", folder.display(), files.len());
    files
}

/// Changes octets in a few places; the same `state` does the same.
fn mutate(octets: &[u8], other: &[u8], state: &mut u64) -> Vec<u8> {
    let mut octets = octets.to_vec();
    let mut below = |limit: usize| usize::try_from(random(state)).unwrap_or(0).checked_rem(limit).unwrap_or(0);
    for _ in 0..=below(4) {
        let place = below(octets.len() + 1);
        let end = (place + below(16)).min(octets.len());
        match below(7) {
            0 => {
                if let Some(octet) = octets.get_mut(place) {
                    *octet ^= 1 << below(8);
                }
            }
            1 => drop(octets.drain(place..end)),
            2 => drop(octets.splice(place..end, WORDS.get(below(WORDS.len())).into_iter().flat_map(|word| word.iter().copied()))),
            3 => drop(octets.splice(place..place, WORDS.get(below(WORDS.len())).into_iter().flat_map(|word| word.iter().copied()))),
            4 => {
                let copied = octets.get(place..end).unwrap_or_default().repeat(1 + below(3));
                octets.splice(place..place, copied);
            }
            5 => octets.truncate(place),
            _ => {
                let from = below(other.len() + 1);
                octets.splice(place.., other.get(from..).unwrap_or_default().iter().copied());
            }
        }
    }
    octets
}

fn run(name: &str, target: Target, origin: &Path, octets: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(octets))).is_err() {
        let path = std::env::temp_dir().join(format!("{name}-{:08x}", crc32fast::hash(octets)));
        fs::write(&path, octets).expect("a place for what was found");
        panic!("{name} fails on {} (from {})", path.display(), origin.display());
    }
}

fn replay(name: &str) {
    let (_, target) = *TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    let files = corpus(name);
    let count = if name.starts_with("store_") { SLOW_MUTATIONS } else { MUTATIONS };
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for (path, octets) in &files {
        run(name, target, path, octets);
        for _ in 0..count {
            let place = usize::try_from(random(&mut state)).unwrap_or(0) % files.len();
            let other = files.get(place).map_or(&[][..], |(_, octets)| octets);
            run(name, target, path, &mutate(octets, other, &mut state));
        }
    }
}

macro_rules! replays {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
            for (name, _) in TARGETS {
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets").join(name).with_extension("rs");
                let text = fs::read_to_string(&file).unwrap_or_default();
                assert!(text.contains(&format!("target!({name});")), "{} does not run {name}", file.display());
            }
        }
    };
}

replays![
    address,
    aggregate,
    bounce,
    composition,
    configuration,
    dns_answer,
    dns_question,
    draft,
    event,
    header,
    inbound_header,
    link,
    mta_sts,
    proxy_header,
    rest,
    scram,
    search,
    smtp_client,
    smtp_command,
    smtp_data,
    smtp_reply,
    smtp_session,
    spool_record,
    store_frame,
    store_recovery,
    template,
    tls_record,
    verp,
];
