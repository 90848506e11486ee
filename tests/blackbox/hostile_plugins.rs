//! Plugins that loop, eat memory, trap, or return far too much: the message meets `on_error`, and nothing else is harmed.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::get;
use tubepost_tests::peer::Peer;
use tubepost_tests::plugins::plugin;
use tubepost_tests::setup::{PASSWORD, PASSWORD_HASH, config, message};
use tubepost_tests::wait::wait_for;

/// A plugin whose option says which harm it does.
const HOSTILE: &str = include_str!("hostile.rs.txt");
const HARMS: [&str; 4] = ["loop", "allocate", "trap", "huge"];

/// The component, built once for all tests.
fn hostile() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || -> Result<Vec<u8>> {
        let folder = tempfile::TempDir::new()?;
        plugin(folder.path(), &["new", "hostile"])?;
        std::fs::write(folder.path().join("hostile/src/lib.rs"), HOSTILE)?;
        plugin(folder.path(), &["build", "hostile"])?;
        Ok(std::fs::read(folder.path().join("hostile.wasm"))?)
    };
    BUILT.get_or_init(|| build().unwrap())
}

#[test]
fn harm_stays_with_the_message_that_met_it() -> Result<()> {
    let built = hostile();
    let mut more = String::new();
    let mut chains = String::from("[chains]\n");
    for on_error in ["defer", "reject", "skip"] {
        write!(
            more,
            "[plugins.hostile-{on_error}]\nsource = \"hostile.wasm\"\non_error = \"{on_error}\"\nlimits = {{ time = \"200ms\", memory = \"32MiB\" }}\n"
        )?;
        for harm in HARMS {
            writeln!(chains, "{harm}-{on_error} = [ {{ use = \"hostile-{on_error}\", harm = \"{harm}\" }} ]")?;
            write!(
                more,
                "[[logins]]\nname = \"{harm}-{on_error}\"\nusername = \"{harm}-{on_error}\"\npassword = \"{PASSWORD_HASH}\"\nroute = \"peer\"\nchain = \"{harm}-{on_error}\"\n"
            )?;
        }
    }
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), &more).replace("[chains]\n", &chains), &[("hostile.wasm", built)])?;
    let mut passed = 0;
    for harm in HARMS {
        for (on_error, class) in [("defer", 4), ("reject", 5), ("skip", 2)] {
            let login = format!("{harm}-{on_error}");
            let mut client = Client::login(host.address("smtp none"), &login, PASSWORD)?;
            let reply = client.submit("sender@example.com", &["reader@example.net"], &message(&login))?;
            assert_eq!(reply.code / 100, class, "{login}: {reply:?}");
            passed += usize::from(class == 2);
            // The next one's mail is as it was.
            let mut other = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
            other.deliver("sender@example.com", &["other@example.net"], &message("beside it"))?;
            passed += 1;
        }
    }
    let taken = peer.wait(passed)?;
    for mail in taken.iter().filter(|mail| mail.to == ["reader@example.net"]) {
        assert!(mail.text().ends_with("Hello.\r\n"), "a message that passed a failing plugin is as it was:\n{}", mail.text());
    }
    Ok(())
}

#[test]
fn a_loop_delays_nobody_else_beyond_the_limit() -> Result<()> {
    let built = hostile();
    let more = format!(
        "[plugins.hostile]\nsource = \"hostile.wasm\"\nlimits = {{ time = \"1s\" }}\n[[logins]]\nname = \"looping\"\nusername = \"looping\"\npassword = \"{PASSWORD_HASH}\"\nroute = \"peer\"\nchain = \"looping\"\n"
    );
    let peer = Peer::start()?;
    let text = config(peer.address(), &more).replace("[chains]\n", "[chains]\nlooping = [ { use = \"hostile\", harm = \"loop\" } ]\n");
    let host = Host::start(&text, &[("hostile.wasm", built)])?;
    let address = host.address("smtp none");
    // More loops at once than there are processors.
    let over = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..8)
        .map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || go_round(address, &over))
        })
        .collect();
    wait_for_loops(&host)?;
    let mut client = Client::login(address, "plain", PASSWORD)?;
    for number in 0..20 {
        client.deliver("sender@example.com", &["other@example.net"], &message(&format!("beside {number}")))?;
    }
    peer.wait(20)?;
    // Twenty messages went through while the loops were running.
    over.store(true, Ordering::Relaxed);
    for thread in loops {
        assert!(thread.join().unwrap()? > 0);
    }
    Ok(())
}

/// Begins the next message, which never ends, as soon as the last one was refused, until `over`; returns how many there were.
fn go_round(address: SocketAddr, over: &AtomicBool) -> Result<u32> {
    let mut client = Client::login(address, "looping", PASSWORD)?;
    let mut refused = 0;
    while !over.load(Ordering::Relaxed) {
        let reply = client.submit("s@example.com", &["r@example.net"], &message("loop"))?;
        ensure!(reply.code / 100 == 4, "{reply:?}");
        refused += 1;
    }
    Ok(refused)
}

fn wait_for_loops(host: &Host) -> Result<()> {
    wait_for("the loops to go round", || {
        let page = get(host.address("http none"), "/metrics").ok()?.text();
        let ended =
            |line: &&str| line.starts_with("tubepost_plugin_calls_total{plugin=\"hostile\",login=\"looping\",outcome=\"out_of_time\"}");
        page.lines().find(ended).is_some_and(|line| !line.ends_with(" 0")).then_some(())
    })
}

/// Half of the messages took less.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time of the machine is what is measured")]
fn a_login_at_its_limit_slows_its_neighbours_down_by_a_bounded_factor() -> Result<()> {
    let built = hostile();
    let more = format!(
        "[plugins.hostile]\nsource = \"hostile.wasm\"\nlimits = {{ time = \"500ms\" }}\n[[logins]]\nname = \"looping\"\nusername = \"looping\"\npassword = \"{PASSWORD_HASH}\"\nroute = \"peer\"\nchain = \"looping\"\n"
    );
    let peer = Peer::start()?;
    let text = config(peer.address(), &more).replace("[chains]\n", "[chains]\nlooping = [ { use = \"hostile\", harm = \"loop\" } ]\n");
    let host = Host::start(&text, &[("hostile.wasm", built)])?;
    let address = host.address("smtp none");
    // The neighbour's mail goes through five plugins.
    let mut client = Client::login(address, "marketing", PASSWORD)?;
    let mut measure = |count: usize| -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            client.deliver("news@example.com", &["ann@example.net"], include_bytes!("messages/newsletter.eml"))?;
            times.push(began.elapsed());
        }
        Ok(median(times))
    };
    measure(5)?;
    let idle = measure(30)?;
    let over = Arc::new(AtomicBool::new(false));
    // Twelve sessions that begin the next message as soon as the last one was refused.
    let loops: Vec<_> = (0..12)
        .map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || go_round(address, &over))
        })
        .collect();
    wait_for_loops(&host)?;
    let beside = measure(30)?;
    over.store(true, Ordering::Relaxed);
    for thread in loops {
        assert!(thread.join().unwrap()? > 0);
    }
    // The machine may be slower by now than it was before.
    let idle = idle.max(measure(30)?);
    // Without shares, a message would wait for the time of all twelve loops in each of its plugins: seconds.
    assert!(beside < idle * 20 + Duration::from_millis(200), "{idle:?} on its own, {beside:?} beside the loops");
    Ok(())
}
