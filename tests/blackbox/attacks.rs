//! Plugins that attack from inside: each fails as the table in docs/security.md says, and the server goes on.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::client::Client;
use tubepost_tests::host::{Host, binary};
use tubepost_tests::http;
use tubepost_tests::peer::Peer;
use tubepost_tests::plugins::plugin;
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;

const SOURCE: &str = include_str!("attacker.rs.txt");

/// The component, built once for all tests.
fn attacker() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || -> Result<Vec<u8>> {
        let folder = tempfile::TempDir::new()?;
        plugin(folder.path(), &["new", "attacker"])?;
        std::fs::write(folder.path().join("attacker/src/lib.rs"), SOURCE)?;
        plugin(folder.path(), &["build", "attacker"])?;
        Ok(std::fs::read(folder.path().join("attacker.wasm"))?)
    };
    BUILT.get_or_init(|| build().unwrap())
}

/// Somebody on the network whom a plugin may ask, or not.
struct Web {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Web {
    fn start(other: Option<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || answer(stream, other));
            }
        });
        Ok(Self { address, asked })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, other: Option<SocketAddr>) {
    let mut octets = [0; 4096];
    let length = stream.read(&mut octets).unwrap_or(0);
    let asked = String::from_utf8_lossy(&octets[..length]).into_owned();
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let answer = match (path, other) {
        ("/silent", _) => {
            // Until the other side has gone.
            let _ = stream.read(&mut octets);
            return;
        }
        ("/redirect", Some(other)) => format!("HTTP/1.1 302 Found\r\nLocation: http://{other}/\r\nContent-Length: 0\r\n\r\n"),
        ("/large", _) => format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{}", "x".repeat(20_000)),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
    };
    let _ = stream.write_all(answer.as_bytes());
}

/// What a client hears whose login's plugin makes an attack: the attack, and a part of the reply.
const HEARD: &[(&str, &str)] = &[
    // Time and memory.
    ("host-loop", "451 "),
    ("recurse", "451 "),
    ("allocate", "451 "),
    ("output", "451 "),
    ("copy-loop", "451 "),
    ("copy-wanted-loop", "451 "),
    // The message and its envelope.
    ("inject", "Invalid,Invalid,Invalid,Invalid,Invalid,Invalid,Invalid,Invalid,Invalid,Invalid,Invalid"),
    ("recipients", "999 times, then Denied"),
    ("slots", "10000 times, then Denied"),
    ("edits", "100000 times, then Denied"),
    ("tags", "100 times, then Denied"),
    ("links", "Invalid,Invalid,Invalid,Invalid,Invalid"),
    ("spoof", "550 "),
    ("spoof-envelope", "550 "),
    ("reply", "550 5.7.1 fine  250 really"),
    ("memory", "found \"\""),
    // Services.
    ("log", "logged"),
    ("metrics", "counted"),
    ("kv-flood", "100 times, then Denied"),
    ("kv-large", "Invalid(\"a value has at most 65536 octets\") | Invalid(\"a key has 1 to 256 octets\") | Invalid("),
    ("http-inject", "Invalid,Invalid,Invalid,Invalid"),
    ("http-flood", "10 times, then Denied"),
    ("secret", "false true"),
    ("route", "Denied(\"`allow.routes` does not name \\\"sandbox\\\"\") | Denied("),
    ("copy-services", "Denied("),
];

/// Attacks over HTTP: where, and what the plugin hears.
fn asked(web: &Web, forbidden: &Web) -> Vec<(&'static str, String, &'static str)> {
    let port = web.address.port();
    vec![
        ("granted", format!("http://127.0.0.1:{port}/fine"), "status 200"),
        ("redirect", format!("http://127.0.0.1:{port}/redirect"), "status 302"),
        ("silent", format!("http://127.0.0.1:{port}/silent"), "Timeout"),
        ("large", format!("http://127.0.0.1:{port}/large"), "TooLarge(10000)"),
        ("forbidden", format!("http://127.0.0.1:{}/", forbidden.address.port()), "Denied(\"`allow.http` does not name"),
        ("by-another-spelling", format!("http://2130706433:{}/", forbidden.address.port()), "Denied(\"`allow.http` does not name"),
        ("private", format!("http://localhost:{port}/"), "Denied(\"localhost leads to an address that is not public\")"),
        ("metadata", "http://169.254.169.254/latest/meta-data/".to_owned(), "Denied(\"`allow.http` does not name"),
        ("file", "file:///etc/passwd".to_owned(), "Denied(\"`allow.http` does not name"),
    ]
}

/// The configuration: a chain and a login for each attack.
fn configuration(peer: &Peer, web: &Web, attacks: &[(&str, &str)]) -> Result<String> {
    let port = web.address.port();
    // What never ends has little time; what ends has plenty, as machines may be slow.
    let plugin = |name: &str, time: &str| {
        format!(
            "[plugins.{name}]\nsource = \"attacker.wasm\"\nlimits = {{ time = \"{time}\", memory = \"32MiB\" }}\n\
             [plugins.{name}.allow]\nkv = true\nmetrics = true\nlinks = true\ntemplates = [\"letter\"]\nroutes = []\n\
             secrets = {{ mine = \"s\" }}\nhttp = [\"http://127.0.0.1:{port}/\", \"http://localhost:{port}/\"]\n"
        )
    };
    let mut more = plugin("attacker", "20s") + &plugin("endless", "400ms");
    more.push_str("[templates.letter]\nsubject = \"x\"\n[plugin_runtime]\nhttp_time = \"5s\"\nhttp_size = 10000\nkv_keys = 150\n");
    let mut chains = String::from("[chains]\n");
    for (name, options) in attacks {
        let plugin = if name.ends_with("-loop") || HEARD.contains(&(name, "451 ")) { "endless" } else { "attacker" };
        writeln!(chains, "{name} = [ {{ use = \"{plugin}\", {options} }} ]")?;
        more.push_str(&login(name, &format!("route = \"peer\"\nchain = \"{name}\"\nsenders = [\"*@example.com\"]")));
    }
    Ok(config(peer.address(), &more).replace("[chains]\n", &chains))
}

fn submit(host: &Host, login: &str) -> Result<String> {
    let mut client = Client::login(host.address("smtp none"), login, PASSWORD)?;
    let reply = client.submit("sender@example.com", &["reader@example.net"], &message(login))?;
    Ok(format!("{} {}", reply.code, reply.text()))
}

#[test]
fn each_attack_fails_as_written_down() -> Result<()> {
    let (peer, forbidden) = (Peer::start()?, Web::start(None)?);
    let web = Web::start(Some(forbidden.address))?;
    let asked = asked(&web, &forbidden);
    let mut options: Vec<(String, String)> = HEARD
        .iter()
        .map(|(attack, _)| ((*attack).to_owned(), format!("attack = \"{attack}\", url = \"http://127.0.0.1:{}/\"", web.address.port())))
        .collect();
    options.extend(asked.iter().map(|(name, url, _)| ((*name).to_owned(), format!("attack = \"http\", url = \"{url}\""))));
    let chains: Vec<(&str, &str)> = options.iter().map(|(name, options)| (name.as_str(), options.as_str())).collect();
    let host = Host::start(&configuration(&peer, &web, &chains)?, &[("attacker.wasm", attacker())])?;
    let expected = HEARD.iter().copied().chain(asked.iter().map(|(name, _, heard)| (*name, *heard)));
    let (mut passed, mut wrong) = (0, String::new());
    for (attack, heard) in expected {
        let reply = submit(&host, attack)?;
        if !reply.contains(heard) {
            writeln!(wrong, "{attack}: {reply:?} is not {heard:?}")?;
        }
        // The next one's mail is as it was.
        Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver(
            "sender@example.com",
            &["other@example.net"],
            &message("beside it"),
        )?;
        passed += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(forbidden.asked(), 0, "nobody came where nobody may come");
    // One call cannot fill the table, and many cannot fill more than the login's own.
    assert!(submit(&host, "kv-flood")?.contains("50 times, then Full"));
    // What a call keeps in memory is gone with it.
    assert!(submit(&host, "memory")?.contains("found \"\""));
    let metrics = http::get(host.address("http none"), "/metrics")?.text();
    assert_eq!(metrics.lines().filter(|line| line.starts_with("tubepost_plugin_own_count_total")).count(), 20, "{metrics}");
    for mail in peer.wait(passed)? {
        assert!(mail.to == ["other@example.net"] && mail.text().ends_with("Hello.\r\n"), "{}", mail.text());
    }
    Ok(())
}

#[test]
fn what_one_login_keeps_no_other_reads() -> Result<()> {
    let (peer, web) = (Peer::start()?, Web::start(None)?);
    let chains = [("writer", "attack = \"kv-write\""), ("reader", "attack = \"kv-read\""), ("again", "attack = \"kv-read\"")];
    let text = configuration(&peer, &web, &chains)?;
    let host = Host::start(&text, &[("attacker.wasm", attacker())])?;
    assert!(submit(&host, "writer")?.contains("done"));
    assert!(submit(&host, "reader")?.contains("Ok(None)"));
    Ok(())
}

#[test]
fn links_cannot_be_made_up_or_changed() -> Result<()> {
    let (peer, web) = (Peer::start()?, Web::start(None)?);
    let text = configuration(&peer, &web, &[("forge", "attack = \"forge\"")])?;
    let host = Host::start(&text, &[("attacker.wasm", attacker())])?;
    Client::login(host.address("smtp none"), "forge", PASSWORD)?.deliver("sender@example.com", &["r@example.net"], &message("forged"))?;
    let mail = peer.wait(1)?.remove(0).text();
    let path = mail.split("http://links.example.com").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert_eq!(http::get(host.address("http none"), path)?.status, 404, "{path}");
    Ok(())
}

#[test]
fn a_text_smuggles_no_second_message() -> Result<()> {
    let (peer, web) = (Peer::start()?, Web::start(None)?);
    let text = configuration(&peer, &web, &[("smuggle", "attack = \"smuggle\"")])?;
    let host = Host::start(&text, &[("attacker.wasm", attacker())])?;
    Client::login(host.address("smtp none"), "smuggle", PASSWORD)?.deliver(
        "sender@example.com",
        &["r@example.net"],
        &message("smuggle"),
    )?;
    host.wait_for_empty_queue()?;
    let taken = peer.taken();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].text().contains("\r\n.\r\nMAIL FROM:<a@evil.example>") || taken[0].text().contains("base64"), "{}", taken[0].text());
    Ok(())
}

#[test]
fn what_is_not_granted_is_named_and_nothing_starts() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let peer = Peer::start()?;
    std::fs::write(folder.path().join("attacker.wasm"), attacker())?;
    let text = config(peer.address(), "[plugins.attacker]\nsource = \"attacker.wasm\"\nallow = { kv = true }\n");
    std::fs::write(folder.path().join("tubepost.toml"), text)?;
    Certificate::new()?.write(folder.path())?;
    let output = std::process::Command::new(binary()).args(["check", "--config", "tubepost.toml"]).current_dir(folder.path()).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{said}");
    for key in ["allow.metrics = true", "allow.http", "allow.secrets", "allow.templates"] {
        assert!(said.contains(key), "{key}: {said}");
    }
    assert!(!said.contains("allow.kv"), "{said}");
    Ok(())
}

#[test]
fn a_loop_at_rcpt_refuses_that_recipient_and_one_in_events_is_given_up() -> Result<()> {
    let (peer, web) = (Peer::start()?, Web::start(None)?);
    let chains = [("rcpt-loop", "attack = \"rcpt-loop\""), ("event-loop", "attack = \"event-loop\"")];
    let text = configuration(&peer, &web, &chains)?.replace("[plugin_runtime]", "[plugin_runtime]\nevent_tries = 1");
    let mut host = Host::start(&text, &[("attacker.wasm", attacker())])?;
    host.expected_errors.push("a plugin fails on events again and again");
    let mut client = Client::login(host.address("smtp none"), "rcpt-loop", PASSWORD)?;
    client.command("MAIL FROM:<sender@example.com>", 250)?;
    client.command("RCPT TO:<reader@example.net>", 451)?;
    client.command("RSET", 250)?;
    Client::login(host.address("smtp none"), "event-loop", PASSWORD)?.deliver("sender@example.com", &["r@example.net"], &message("x"))?;
    peer.wait(1)?;
    wait_for("the events to be given up", || {
        let page = http::get(host.address("http none"), "/metrics").ok()?.text();
        page.contains("tubepost_plugin_events_given_up_total{plugin=\"endless\"}").then_some(())
    })
}
