//! Plugins that have a word on forward-paths, are told what became of messages, choose route and time, and make links of their own.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::Result;
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{get, post_json};
use tubepost_tests::peer::Peer;
use tubepost_tests::plugins::plugin;
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, config, login, message};
use tubepost_tests::wait::wait_for;

/// A plugin with all stages but one, written against the contract itself.
const PROBE: &str = include_str!("probe.rs.txt");
const CONTRACT: &str = include_str!("../../wit/0.1.0/mail.wit");
/// What it imports and exports.
const WORLD: &str = "world probe { include host; import kv; import http-client; export plugin; export rcpt; export submit; export event; }";

/// The component, built once for all tests.
fn probe() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || -> Result<Vec<u8>> {
        let folder = tempfile::TempDir::new()?;
        plugin(folder.path(), &["new", "probe"])?;
        let crate_folder = folder.path().join("probe");
        let manifest = std::fs::read_to_string(crate_folder.join("Cargo.toml"))?;
        let bindgen =
            "[dependencies]\nwit-bindgen = { version = \"0.63\", default-features = false, features = [\"macros\", \"realloc\"] }\n";
        std::fs::write(crate_folder.join("Cargo.toml"), manifest.replace("[dependencies]\n", bindgen))?;
        std::fs::create_dir(crate_folder.join("wit"))?;
        std::fs::write(crate_folder.join("wit/mail.wit"), format!("{CONTRACT}\n{WORLD}\n"))?;
        std::fs::write(crate_folder.join("src/lib.rs"), PROBE)?;
        plugin(folder.path(), &["build", "probe"])?;
        Ok(std::fs::read(folder.path().join("probe.wasm"))?)
    };
    BUILT.get_or_init(|| build().unwrap())
}

/// Takes notes that plugins post: path and body of each request.
struct Notices {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(String, String)>>>,
}

impl Notices {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let notices = Self { address: listener.local_addr()?, taken: Arc::default() };
        let taken = Arc::clone(&notices.taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = BufReader::new(stream);
                let (mut request, mut length) = (String::new(), 0);
                let _ = stream.read_line(&mut request);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).is_err() || line.trim().is_empty() {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                }
                let mut body = vec![0; length];
                if stream.read_exact(&mut body).is_ok() {
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    taken.lock().unwrap().push((path, String::from_utf8_lossy(&body).into_owned()));
                }
                let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Ok(notices)
    }

    /// What came to a path so far, sorted.
    fn at(&self, path: &str) -> Vec<String> {
        let mut notices: Vec<_> =
            self.taken.lock().unwrap().iter().filter(|(known, _)| known == path).map(|(_, body)| body.clone()).collect();
        notices.sort();
        notices
    }
}

/// A configuration with logins of these names, each with the chain of its name.
fn with(peer: SocketAddr, plugins: &str, chains: &[(&str, String)]) -> String {
    let mut more = plugins.to_owned();
    let mut written = String::from("[chains]\n");
    for (number, (name, steps)) in chains.iter().enumerate() {
        writeln!(written, "{name} = [ {steps} ]").unwrap();
        let token = if number == 0 { format!("token = \"{SECOND_TOKEN_HASH}\"\n") } else { String::new() };
        more.push_str(&login(name, &format!("{token}route = \"peer\"\nchain = \"{name}\"")));
    }
    config(peer, &more).replace("[chains]\n", &written)
}

const QUIET: &str = "[plugins.probe]\nsource = \"probe.wasm\"\nallow = { http = [\"http://127.0.0.1:9\"], kv = true }\n";

#[test]
fn a_forward_path_is_refused_put_off_or_led_elsewhere() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&with(peer.address(), QUIET, &[("careful", "\"probe\"".to_owned())]), &[("probe.wasm", probe())])?;
    let mut client = Client::login(host.address("smtp none"), "careful", PASSWORD)?;
    // All in one piece: the replies come in the order of the commands.
    let recipients = ["ann@example.net", "gone@example.net", "busy@example.net", "old@example.net", "loud@example.net", "trap@example.net"];
    let mut commands = String::from("MAIL FROM:<sender@example.com>\r\n");
    for recipient in recipients {
        write!(commands, "RCPT TO:<{recipient}>\r\n")?;
    }
    commands.push_str("RCPT TO:nonsense\r\nDATA\r\n");
    client.send(commands)?;
    client.expect(250)?;
    client.expect(250)?;
    assert_eq!(client.expect(550)?.text(), "5.1.1 gone@example.net has left, careful from <sender@example.com>");
    assert_eq!(client.expect(450)?.text(), "4.2.1 not now");
    client.expect(250)?;
    client.expect(250)?;
    client.expect(451)?;
    client.expect(501)?;
    client.expect(354)?;
    client.send(message("one"))?;
    client.send(".\r\n")?;
    let reply = client.expect(250)?.text();
    let id = reply.split_whitespace().find(|word| word.len() == 26).unwrap().to_owned();
    let mut to: Vec<_> = peer.wait(1)?.into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, ["ann@example.net", "loud@example.net", "new@example.net"]);
    let shown = host.json(&["message", "show", &id])?;
    let runs: Vec<_> = shown["summary"]["plugins"].as_array().unwrap().iter().filter(|run| run["stage"] == "rcpt").collect();
    let outcomes: Vec<_> = runs.iter().map(|run| run["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["reject", "defer", "rewrite", "accept", "failed", "checked"]);
    assert_eq!(runs[3]["log"], json!(["info: number 2 over esmtpa"]));
    assert_eq!(runs[5]["text"], "1 accepted");

    // A transaction in which nobody is left is in the log too.
    client.command("MAIL FROM:<other@example.com>", 250)?;
    client.command("RCPT TO:<gone@example.net>", 550)?;
    client.command("DATA", 554)?;
    client.command("QUIT", 221)?;
    let found = wait_for("the refusal", || {
        let found = host.json(&["message", "search", "state:rejected"]).ok()?;
        (found["total"] == 1).then_some(found)
    })?;
    let shown = host.say(&["message", "show", found["messages"][0]["message"].as_str().unwrap()])?;
    assert!(shown.contains("gone@example.net has left, careful from <other@example.com>"), "{shown}");
    let metrics = get(host.address("http none"), "/metrics")?.text();
    for line in ["tubepost_recipients_refused_total{reason=\"plugin\"} 3", "tubepost_recipients_refused_total{reason=\"plugin_failed\"} 1"]
    {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    Ok(())
}

#[test]
fn a19_plugins_and_the_suppression_list_refuse_at_rcpt_and_the_others_get_the_message() -> Result<()> {
    let peer = Peer::start()?;
    let text = with(peer.address(), QUIET, &[("careful", "\"probe\"".to_owned())])
        .replace("chain = \"careful\"", "chain = \"careful\"\nsuppressed = \"refuse\"");
    let quiet = login("strict", "route = \"peer\"\nsuppressed = \"refuse\"");
    let host = Host::start(&format!("{text}{quiet}"), &[("probe.wasm", probe())])?;
    host.say(&["suppression", "add", "--scope", "login:careful", "left@example.net", "new@example.net"])?;
    host.say(&["suppression", "add", "--scope", "global", "never@example.net", "allowed@example.net"])?;
    host.say(&["suppression", "allow", "add", "--scope", "login:careful", "allowed@example.net"])?;

    // All in one piece: the replies come in the order of the commands, whoever gives them.
    let mut client = Client::login(host.address("smtp none"), "careful", PASSWORD)?;
    let said = [
        ("ann@example.net", 250, "2.1.5"),
        ("gone@example.net", 550, "5.1.1 gone@example.net has left"),
        ("Left@Example.net", 550, "5.7.1 Left@example.net is on the suppression list: manual"),
        ("busy@example.net", 450, "4.2.1 not now"),
        ("nonsense@", 501, "5.1.3"),
        ("never@example.net", 550, "5.7.1"),
        // A plugin leads it to somebody who wants no mail.
        ("old@example.net", 550, "5.7.1 new@example.net is on the suppression list"),
        ("allowed@example.net", 250, "2.1.5"),
        ("bob@example.net", 250, "2.1.5"),
    ];
    let mut commands = String::new();
    for (recipient, ..) in said {
        write!(commands, "RCPT TO:<{recipient}>\r\n")?;
    }
    client.send(format!("MAIL FROM:<sender@example.com>\r\n{commands}DATA\r\n"))?;
    client.expect(250)?;
    for (recipient, code, text) in said {
        let reply = client.reply()?;
        assert!(reply.code == code && reply.text().starts_with(text), "{recipient}: {reply:?}");
    }
    client.expect(354)?;
    client.send([message("mixed"), b".\r\n".to_vec()].concat())?;
    client.expect(250)?;
    let mut to: Vec<_> = peer.wait(1)?.into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, ["allowed@example.net", "ann@example.net", "bob@example.net"]);

    // Where nobody is left, there is no message; for a login without plugins the list counts as much.
    let mut client = Client::login(host.address("smtp none"), "strict", PASSWORD)?;
    client.send("MAIL FROM:<sender@example.com>\r\nRCPT TO:<never@example.net>\r\nDATA\r\nRSET\r\n")?;
    for code in [250, 550, 554, 250] {
        client.expect(code)?;
    }
    // Over REST a call is taken whole or not at all, and so by an operator.
    let call = json!({ "recipients": ["ann@example.net", "left@example.net"], "from": "sender@example.com", "subject": "s", "text": "t" });
    let refused = post_json(host.address("http none"), &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], &call)?;
    assert_eq!(
        (refused.status, refused.json()?["error"]["message"].as_str()),
        (422, Some("left@example.net is on the suppression list: manual"))
    );
    // A login that says nothing hears nothing: its copy is dropped.
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.deliver("sender@example.com", &["never@example.net"], &message("dropped"))?;
    host.wait_for_empty_queue()?;
    assert_eq!(peer.count(), 1);
    Ok(())
}

#[test]
fn a_call_over_rest_is_taken_whole_or_not_at_all() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&with(peer.address(), QUIET, &[("careful", "\"probe\"".to_owned())]), &[("probe.wasm", probe())])?;
    let http = host.address("http none");
    let call = |recipients: &[&str]| {
        let body = json!({ "recipients": recipients, "from": "sender@example.com", "subject": "s", "text": "t" });
        post_json(http, &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], &body)
    };
    let refused = call(&["gone@example.net"])?;
    assert_eq!(
        (refused.status, refused.json()?["error"]["message"].as_str()),
        (422, Some("gone@example.net has left, careful from <sender@example.com>"))
    );
    let refused = call(&["ann@example.net", "busy@example.net"])?;
    assert_eq!((refused.status, refused.json()?["error"]["message"].as_str()), (503, Some("busy@example.net: not now")));
    let taken = call(&["ann@example.net", "old@example.net"])?;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let mut to: Vec<_> = peer.wait(1)?.into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, ["ann@example.net", "new@example.net"]);
    // So it is for an operator, who may also try it out.
    let file = host.folder().join("message.eml");
    std::fs::write(&file, message("by hand"))?;
    let send = |more: &[&str]| {
        let file = file.to_string_lossy().into_owned();
        let arguments = ["send", "--login", "careful", "--from", "sender@example.com", "--to", "gone@example.net", &file];
        host.command(&[&arguments[..], more].concat())
    };
    let output = send(&[])?;
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("has left"), "{output:?}");
    let output = send(&["--dry-run"])?;
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused: gone@example.net has left"), "{output:?}");
    Ok(())
}

#[test]
fn a_bounce_is_told_once_whatever_happens() -> Result<()> {
    let (peer, notices) = (Peer::start()?, Notices::start()?);
    let plugins = format!(
        "[plugin_runtime]\nevent_retry = \"100ms\"\n[plugins.probe]\nsource = \"probe.wasm\"\nallow = {{ http = [\"http://{}\"], kv = true }}\n",
        notices.address
    );
    let steps = format!("{{ use = \"probe\", url = \"http://{}/bounces\" }}", notices.address);
    let text = with(peer.address(), &plugins, &[("told", steps), ("untold", String::new())]);
    let mut host = Host::start(&text, &[("probe.wasm", probe())])?;
    let bounce = |host: &Host, login: &str, number: u32| -> Result<String> {
        let recipient = format!("r{number}@example.net");
        // A server that is killed between this answer and its own commit asks again.
        for _ in 0..2 {
            peer.refuse_next(&recipient, "550 5.1.1 nobody");
        }
        Client::login(host.address("smtp none"), login, PASSWORD)?.deliver("sender@example.com", &[&recipient], &message("bouncing"))
    };
    let told = |from: u32, to: u32| -> Vec<String> {
        let mut told: Vec<_> = (from..to).map(|number| format!("told bounced r{number}@example.net {number}")).collect();
        told.sort();
        told
    };
    let mut last = String::new();
    for number in 1..=5 {
        bounce(&host, "untold", 100 + number)?;
        last = bounce(&host, "told", number)?;
        wait_for("a notice", || (notices.at("/bounces") == told(1, number + 1)).then_some(()))?;
    }
    // What it logged is with the message.
    wait_for("what the plugin logged", || {
        let shown = host.say(&["message", "show", &last]).ok()?;
        (shown.contains("probe (event) handled") && shown.contains("bounced with 5.1.1")).then_some(())
    })?;
    let metrics = get(host.address("http none"), "/metrics")?.text();
    assert!(metrics.contains("tubepost_plugin_events_total{plugin=\"probe\"}"), "{metrics}");

    // Killed at some moment: what was told stays told, and nothing is lost. The count tells of calls that were begun, so it may skip a number.
    for number in 6..=10 {
        bounce(&host, "told", number)?;
    }
    host.kill()?;
    host.launch()?;
    bounce(&host, "told", 11)?;
    let recipients = || -> Vec<String> {
        let notices = notices.at("/bounces");
        let mut recipients: Vec<_> = notices.iter().map(|notice| notice.split(' ').nth(2).unwrap().to_owned()).collect();
        recipients.sort();
        recipients
    };
    let distinct = || {
        let mut recipients = recipients();
        recipients.dedup();
        recipients.len()
    };
    wait_for("all notices", || (distinct() == 11).then_some(()))?;
    host.terminate()?;
    host.launch()?;
    bounce(&host, "told", 12)?;
    wait_for("one more notice", || (distinct() == 12).then_some(()))?;
    let recipients = recipients();
    for number in 1..=5 {
        let address = format!("r{number}@example.net");
        assert_eq!(recipients.iter().filter(|known| **known == address).count(), 1, "{recipients:?}");
    }
    // One call at most was under way when it was killed.
    assert!(recipients.len() <= 13, "{recipients:?}");
    Ok(())
}

#[test]
fn a_link_of_its_own_comes_back_to_it_alone() -> Result<()> {
    let (peer, notices) = (Peer::start()?, Notices::start()?);
    let allow = format!("allow = {{ http = [\"http://{}\"], kv = true, links = true }}\n", notices.address);
    let plugins = format!("[plugins.probe]\nsource = \"probe.wasm\"\n{allow}[plugins.other]\nsource = \"probe.wasm\"\n{allow}");
    let step =
        |plugin: &str, mode: &str| format!("{{ use = \"{plugin}\", mode = \"{mode}\", url = \"http://{}/{plugin}\" }}", notices.address);
    let text = with(peer.address(), &plugins, &[("linking", format!("{}, {}", step("probe", "link"), step("other", "")))]);
    let host = Host::start(&text, &[("probe.wasm", probe())])?;
    let mut client = Client::login(host.address("smtp none"), "linking", PASSWORD)?;
    client.deliver("sender@example.com", &["ann@example.net"], &message("with a link"))?;
    let link = peer.wait(1)?.remove(0).header("X-Own-Link").unwrap();
    let target = link.strip_prefix("http://links.example.com").unwrap().replace(' ', "");
    let response = get(host.address("http none"), &target)?;
    assert_eq!((response.status, response.header("location")), (302, Some("https://shop.example.com/thanks")));
    wait_for("the plugin to hear of it", || (notices.at("/probe") == ["linking followed claim of ours 1"]).then_some(()))?;
    // The other one has heard of what came after it, and not of this.
    peer.refuse_next("ben@example.net", "550 5.1.1 nobody");
    client.deliver("sender@example.com", &["ben@example.net"], &message("another"))?;
    wait_for("the other to hear of a bounce", || (!notices.at("/other").is_empty()).then_some(()))?;
    assert_eq!(notices.at("/other"), ["linking bounced ben@example.net 1"]);
    Ok(())
}

#[test]
fn a_plugin_chooses_route_and_time() -> Result<()> {
    let peer = Peer::start()?;
    let allow = |more: &str| format!("allow = {{ http = [\"http://127.0.0.1:9\"], kv = true{more} }}\n");
    let plugins = format!(
        "[plugins.probe]\nsource = \"probe.wasm\"\n{}[plugins.denied]\nsource = \"probe.wasm\"\n{}",
        allow(", routes = [\"sandbox\"]"),
        allow("")
    );
    let step = |plugin: &str, mode: &str| format!("{{ use = \"{plugin}\", mode = \"{mode}\" }}");
    let chains = [("elsewhere", step("probe", "elsewhere")), ("later", step("probe", "later")), ("denied", step("denied", "elsewhere"))];
    let host = Host::start(&with(peer.address(), &plugins, &chains), &[("probe.wasm", probe())])?;
    let submit = |login: &str| -> Result<_> {
        let mut client = Client::login(host.address("smtp none"), login, PASSWORD)?;
        client.submit("sender@example.com", &["ann@example.net"], &message(login))
    };
    let id = |reply: &tubepost_tests::client::Reply| reply.text().split_whitespace().find(|word| word.len() == 26).unwrap().to_owned();
    let captured = submit("elsewhere")?;
    let shown = wait_for("the capture", || {
        let shown = host.say(&["message", "show", &id(&captured)]).ok()?;
        shown.contains("delivered").then_some(shown)
    })?;
    assert!(shown.contains("capture kept"), "{shown}");
    let later = submit("later")?;
    assert_eq!(later.code, 250);
    let waiting = host.json(&["queue", "list"])?.to_string();
    assert!(waiting.contains(&id(&later)), "{waiting}");
    // A route that was not granted is denied, and the plugin makes a failure of it.
    assert_eq!(submit("denied")?.code, 451);
    assert_eq!(peer.count(), 0, "nothing went over the login's own route");
    Ok(())
}
