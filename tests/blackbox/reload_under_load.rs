//! A plugin is replaced again and again while mail comes in: nothing is lost, nothing is handled twice, and every message is handled by one version.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, login};
use tubepost_tests::versioned;
use tubepost_tests::wait::wait_for;

const MESSAGES: u32 = 5_000;
const CONNECTIONS: u32 = 5;
const REPLACEMENTS: u32 = 20;
/// Messages that go in between two replacements, at the most.
const CHAPTER: u32 = MESSAGES / REPLACEMENTS;

fn message(number: u32) -> Vec<u8> {
    format!("From: s@example.com\r\nTo: r@example.net\r\nSubject: number {number}\r\nX-Kind: odd\r\nX-Copies: yes\r\n\r\nHello.\r\n")
        .into_bytes()
}

/// Puts the component in the place of the plugin's file: at once, or bit by bit, as `cp` does.
fn put(host: &Host, number: u32, component: &[u8]) -> Result<()> {
    let path = host.folder().join("versioned.wasm");
    if number.is_multiple_of(2) {
        let beside = host.folder().join("versioned.new");
        std::fs::write(&beside, component)?;
        return Ok(std::fs::rename(&beside, &path)?);
    }
    let mut file = std::fs::File::create(&path)?;
    for piece in component.chunks(component.len() / 10 + 1) {
        std::io::Write::write_all(&mut file, piece)?;
    }
    Ok(())
}

#[test]
fn every_message_is_handled_by_exactly_one_version() -> Result<()> {
    let peer = Peer::start()?;
    let more = format!(
        "[plugins.versioned]\nsource = \"versioned.wasm\"\n[plugin_runtime]\nwatch_interval = \"200ms\"\n{}",
        login("versioned", "route = \"peer\"\nchain = \"versioned\"")
    );
    let text = config(peer.address(), &more).replace("[chains]\n", "[chains]\nversioned = [ \"versioned\" ]\n");
    let mut host = Host::start(&text, &[("versioned.wasm", &versioned::version(0)?)])?;
    host.expected_errors.push("not reloaded, the version from before stays");
    let mut digests = BTreeMap::from([(versioned::digest(&versioned::version(0)?), versioned::name(0))]);

    let (replaced, sent) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (replaced, sent, address) = (&replaced, &sent, host.address("smtp none"));
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::login(address, "versioned", PASSWORD)?;
                    for number in (connection..MESSAGES).step_by(CONNECTIONS as usize) {
                        // As long as plugins are replaced there is always mail under way.
                        wait_for("the next replacement", || (number / CHAPTER <= replaced.load(Ordering::Acquire)).then_some(()))?;
                        client.deliver("s@example.com", &["a@example.net", "b@example.net"], &message(number))?;
                        sent.fetch_add(1, Ordering::AcqRel);
                    }
                    Ok(())
                })
            })
            .collect();
        let mut replace = || -> Result<()> {
            for number in 1..=REPLACEMENTS {
                let component = match number % 6 {
                    2 => versioned::trapping(number)?,
                    4 => versioned::foreign(number)?,
                    5 => versioned::version(number)?.split_off(100),
                    0 => versioned::version(number)?[..4_000].to_vec(),
                    _ => {
                        let component = versioned::version(number)?;
                        digests.insert(versioned::digest(&component), versioned::name(number));
                        component
                    }
                };
                let outcomes = |log: &str| ["plugin reloaded", "not reloaded"].map(|text| log.matches(text).count()).iter().sum::<usize>();
                let before = outcomes(&host.log());
                put(&host, number, &component)?;
                wait_for("what came of it", || (outcomes(&host.log()) > before).then_some(()))?;
                // Some of the mail of this chapter goes through whatever is in force now.
                let mark = ((number - 1) * CHAPTER + CHAPTER / 2).min(MESSAGES);
                wait_for("mail under way", || (sent.load(Ordering::Acquire) >= mark).then_some(()))?;
                replaced.store(number, Ordering::Release);
            }
            Ok(())
        };
        let done = replace();
        replaced.store(u32::MAX, Ordering::Release);
        for client in clients {
            client.join().ok().context("a client panicked")??;
        }
        done
    })?;
    let working = digests.len();
    ensure!(working > 5 && working < REPLACEMENTS as usize, "some builds work and some do not: {working}");

    // Nothing is lost, and nothing comes twice.
    let copies = |peer: &Peer| peer.taken().iter().map(|mail| mail.to.len()).sum::<usize>();
    wait_for("all copies", || (copies(&peer) >= 2 * MESSAGES as usize).then_some(()))?;
    host.wait_for_empty_queue()?;
    let mut by_subject: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for mail in peer.taken() {
        let header = |name: &str| mail.header(name).unwrap_or_default();
        assert_eq!(header("X-Submit"), header("X-Copy"), "one version for both stages: {}", mail.text());
        for to in &mail.to {
            by_subject.entry(header("Subject")).or_default().push((to.clone(), header("X-Submit")));
        }
    }
    assert_eq!(by_subject.len(), MESSAGES as usize);

    // The trace names the version that the messages show.
    wait_for("the index", || (host.json(&["message", "search", "--limit", "1"]).ok()?["total"] == MESSAGES).then_some(()))?;
    let limit = MESSAGES.to_string();
    let found = host.json(&["message", "search", "--limit", &limit])?;
    let mut versions: BTreeMap<&str, u32> = BTreeMap::new();
    for message in found["messages"].as_array().context("messages")? {
        let subject = message["subject"].as_str().unwrap_or_default();
        let copies = &by_subject[subject];
        let mut to: Vec<&str> = copies.iter().map(|(to, _)| to.as_str()).collect();
        to.sort_unstable();
        assert_eq!(to, ["a@example.net", "b@example.net"], "{subject}");
        let runs = message["plugins"].as_array().context("plugins")?;
        ensure!(!runs.is_empty(), "{message}");
        for run in runs {
            let digest = run["digest"].as_str().unwrap_or_default();
            let (_, name) = digests.iter().find(|(known, _)| known.starts_with(digest)).with_context(|| format!("unknown: {run}"))?;
            for (_, shown) in copies {
                assert_eq!(shown, name, "{subject}");
            }
            *versions.entry(name).or_default() += 1;
        }
    }
    // All that work had mail.
    assert_eq!(versions.len(), working, "{versions:?}");
    let failed = host.log().matches("not reloaded, the version from before stays").count();
    assert_eq!(failed, REPLACEMENTS as usize + 1 - working);
    Ok(())
}
