//! What was answered 250 is delivered, whatever happens to the process: SIGKILL at random moments under load.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};
use tubepost_tests::wait::wait_for;

/// How often the server is killed; `TUBEPOST_KILLS` says otherwise.
const KILLS: u32 = 50;
const SENDERS: u64 = 4;
/// What the peer may have heard and not counted yet at the moment of a kill: a message for each of twenty connections, and the ones that left
/// together with them.
const UNCOUNTED: usize = 60;

#[derive(Default)]
struct Ledger {
    /// Subjects that were answered 250.
    acknowledged: Mutex<BTreeSet<String>>,
    /// Subjects that were sent to the end without an answer: they may arrive or not.
    unknown: Mutex<BTreeSet<String>>,
    next: AtomicU64,
    stop: AtomicBool,
}

#[test]
fn nothing_acknowledged_is_lost() -> Result<()> {
    let kills = std::env::var("TUBEPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let peer = Peer::start()?;
    let mut host = Host::start(&config(peer.address(), "[delivery]\nretry_first = \"50ms\"\n"), &[])?;
    let ledger = Arc::new(Ledger::default());
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut delivered_at_kill = Vec::new();
    for _ in 0..kills {
        let address = host.address("smtp none");
        ledger.stop.store(false, Ordering::Release);
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let ledger = ledger.clone();
                std::thread::spawn(move || send(address, &ledger))
            })
            .collect();
        // Between 20 and 275 more messages: every time another moment of the work.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let target = ledger.next.load(Ordering::Acquire) + 20 + (random & 0xff);
        wait_for("load", || (ledger.next.load(Ordering::Acquire) >= target).then_some(()))?;
        host.kill()?;
        ledger.stop.store(true, Ordering::Release);
        for sender in senders {
            let _ = sender.join();
        }
        delivered_at_kill.push(peer.count());
        host.launch()?;
    }
    let acknowledged = ledger.acknowledged.lock().unwrap().clone();
    wait_for("all acknowledged mail", || {
        let arrived: BTreeSet<String> = peer.taken().iter().filter_map(|mail| mail.header("Subject")).collect();
        acknowledged.is_subset(&arrived).then_some(())
    })?;
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    for mail in peer.taken() {
        *copies.entry(mail.header("Subject").unwrap_or_default()).or_default() += 1;
    }
    let unknown = ledger.unknown.lock().unwrap().clone();
    let twice = copies.values().filter(|count| **count > 1).count();
    let strangers = copies.keys().filter(|subject| !acknowledged.contains(*subject) && !unknown.contains(*subject)).count();
    writeln!(
        std::io::stdout(),
        "{kills} kills: {} acknowledged, {} of them delivered; {} unanswered, {} of them delivered; {twice} delivered twice",
        acknowledged.len(),
        acknowledged.iter().filter(|subject| copies.contains_key(*subject)).count(),
        unknown.len(),
        unknown.iter().filter(|subject| copies.contains_key(*subject)).count(),
    )?;
    assert_eq!(strangers, 0, "mail was delivered that was never sent to its end");
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, subject) in peer.taken().iter().filter_map(|mail| mail.header("Subject")).enumerate() {
        places.entry(subject).or_default().push(place);
    }
    // Twice is only what was between the peer's 250 and our commit when the process was killed.
    for (subject, places) in &places {
        for pair in places.windows(2) {
            let killed_between = delivered_at_kill.iter().any(|taken| pair[0] <= taken + UNCOUNTED && pair[1] >= *taken);
            assert!(killed_between, "{subject} came as number {places:?}, and no kill was between: {delivered_at_kill:?}");
        }
        assert!(places.len() <= 3, "{subject} came again and again: {places:?}");
    }
    Ok(())
}

fn send(address: SocketAddr, ledger: &Ledger) {
    let Ok(mut client) = Client::login(address, "plain", PASSWORD) else { return };
    while !ledger.stop.load(Ordering::Acquire) {
        let subject = format!("message {}", ledger.next.fetch_add(1, Ordering::AcqRel));
        ledger.unknown.lock().unwrap().insert(subject.clone());
        match client.submit("sender@example.com", &["reader@example.net"], &message(&subject)) {
            Ok(reply) if reply.code == 250 => {
                ledger.unknown.lock().unwrap().remove(&subject);
                ledger.acknowledged.lock().unwrap().insert(subject);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
