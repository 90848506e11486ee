//! Mail servers of others as our next hop: servers × extensions.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, config, login};
use tubepost_tests::wait::wait_for;

use crate::clients::connected;
use crate::matrix::{Cell, Matrix};
use crate::root::Root;
use crate::system::{Next, Role, SECRET, SIZE_LIMIT, System, USER, free_port, peer_certificate};

const SENDER: &str = "news@example.com";

/// A next hop that runs, we before it, and a sink behind it.
struct Hop {
    system: System,
    host: Host,
    sink: Peer,
    port: u16,
    certificate: Certificate,
    /// What it says to EHLO.
    extensions: String,
}

type Trial = fn(&Hop) -> Result<Cell>;

const TRIALS: [(&str, Trial); 13] = [
    ("plain", plain),
    ("STARTTLS", verified),
    ("AUTH", logged_in),
    ("8BITMIME", eight_bit),
    ("SMTPUTF8", international),
    ("DSN", reported),
    ("SIZE", too_large),
    ("odd lines", odd_lines),
    ("100 rcpts", many_recipients),
    ("30 mails", many_messages),
    ("4xx", deferred),
    ("5xx", refused),
    ("smuggling", smuggled),
];

pub(crate) fn matrix(store: &Path) -> Result<Matrix> {
    let columns = TRIALS.map(|(name, _)| name);
    let mut matrix = Matrix::new("Next hops that Tubepost delivers to", &columns);
    for system in System::ALL.into_iter().filter(|system| crate::is_wanted(system.name())) {
        let sink = Peer::start()?;
        let port = free_port()?;
        let certificate = peer_certificate()?;
        let (pem, key) = certificate.files();
        let host = Host::start(&configuration(sink.address(), port), &[("peer.pem", pem), ("peer.key", key)])?;
        let root = match Root::open(store, system.name(), system.packages(), host.folder()) {
            Ok(root) => root,
            Err(error) => {
                println!("{} is left out: it cannot be installed: {error:#}", system.name());
                continue;
            }
        };
        let role = Role { port, next: Next::Sink(sink.address()), scenario: host.folder() };
        let _running = system.start(&root, &role)?;
        let mut client = connected(port)?;
        let extensions = client.command("EHLO tubepost.example", 250)?.text();
        let hop = Hop { system, host, sink, port, certificate, extensions };
        matrix.row(system.name(), TRIALS.map(|(_, trial)| Cell::from(trial(&hop))).into());
    }
    Ok(matrix)
}

fn configuration(sink: std::net::SocketAddr, port: u16) -> String {
    let route = |name: &str, more: &str| format!("[routes.{name}]\nkind = \"smarthost\"\nhost = \"localhost\"\nport = {port}\n{more}\n");
    let mut more = String::new();
    for name in ["clear", "verified", "known"] {
        more.push_str(&login(name, &format!("route = \"{name}\"")));
    }
    more.push_str(&route("clear", "tls = \"none\""));
    more.push_str(&route("verified", "tls = \"required\"\nca = \"peer.pem\""));
    more.push_str(&route("known", &format!("tls = \"required\"\nca = \"peer.pem\"\nusername = \"{USER}\"\npassword = \"{SECRET}\"")));
    more.push_str("[delivery]\nretry_first = \"2s\"\nretry_longest = \"4s\"\n");
    config(sink, &more)
}

impl Hop {
    fn offers(&self, keyword: &str) -> bool {
        self.extensions
            .lines()
            .any(|line| line.get(4..).unwrap_or_default().split(' ').next() == Some(keyword) || line.split(' ').next() == Some(keyword))
    }

    fn session(&self, login: &str) -> Result<Client> {
        Client::login(self.host.address("smtp none"), login, PASSWORD)
    }

    /// Hands a message to us for `to`; returns its id.
    fn send(&self, login: &str, to: &[&str], message: &[u8]) -> Result<String> {
        self.session(login)?.deliver(SENDER, to, message)
    }

    /// Waits for the message at the sink.
    fn arrived(&self, subject: &str) -> Result<Taken> {
        let find = || self.sink.taken().into_iter().find(|mail| mail.header("Subject").as_deref() == Some(subject));
        wait_for(&format!("{subject} at the sink"), find).with_context(|| self.host.log())
    }

    /// Waits for an event of a message.
    fn event(&self, id: &str, kind: &str) -> Result<Value> {
        let find = || {
            let message = self.host.json(&["message", "show", id]).ok()?;
            message.get("events")?.as_array()?.iter().find(|event| event.get("event").and_then(Value::as_str) == Some(kind)).cloned()
        };
        wait_for(&format!("{kind} of {id}"), find).with_context(|| self.host.log())
    }
}

fn message(subject: &str, body: &str) -> Vec<u8> {
    format!(
        "From: News <{SENDER}>\r\nTo: ann@example.net\r\nSubject: {subject}\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{subject}@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends a message with `body`, which must arrive as it is.
fn pass(hop: &Hop, login: &str, subject: &str, body: &str) -> Result<Taken> {
    hop.send(login, &["ann@example.net"], &message(subject, body))?;
    let mail = hop.arrived(subject)?;
    ensure!(mail.text().ends_with(&format!("\r\n\r\n{body}")), "the body is not as it was:\n{}", mail.text());
    Ok(mail)
}

fn plain(hop: &Hop) -> Result<Cell> {
    pass(hop, "clear", "plain", "Hello.\r\n")?;
    Ok(Cell::Works)
}

/// Whether anybody can speak TLS with it: Debian 12 has a server that cannot use its own key.
fn speaks_tls(hop: &Hop) -> Result<bool> {
    let mut client = connected(hop.port)?;
    client.command("EHLO tubepost.example", 250)?;
    client.command("STARTTLS", 220)?;
    let spoken = client.start_tls(hop.certificate.client()?).and_then(|()| client.command("EHLO tubepost.example", 250).map(drop));
    Ok(spoken.is_ok())
}

const NO_TLS: Cell = Cell::Without("no TLS");

fn verified(hop: &Hop) -> Result<Cell> {
    if !speaks_tls(hop)? {
        return Ok(NO_TLS);
    }
    let mail = pass(hop, "verified", "verified", "Hello.\r\n")?;
    ensure!(mail.text().to_ascii_uppercase().contains("ESMTPS"), "it did not come over TLS:\n{}", mail.text());
    Ok(Cell::Works)
}

fn logged_in(hop: &Hop) -> Result<Cell> {
    if !speaks_tls(hop)? {
        return Ok(NO_TLS);
    }
    let mail = pass(hop, "known", "known", "Hello.\r\n")?;
    ensure!(mail.text().to_ascii_uppercase().contains("ESMTPSA"), "it did not come with a login:\n{}", mail.text());
    Ok(Cell::Works)
}

fn eight_bit(hop: &Hop) -> Result<Cell> {
    if hop.offers("8BITMIME") {
        pass(hop, "clear", "eight-bit", "Grüße — ☃\r\n")?;
        return Ok(Cell::Works);
    }
    hop.send("clear", &["ann@example.net"], &message("eight-bit", "Grüße — ☃\r\n"))?;
    let mail = hop.arrived("eight-bit")?;
    ensure!(mail.text().is_ascii() && mail.text().contains("Gr=C3=BC=C3=9Fe"), "not converted:\n{}", mail.text());
    Ok(Cell::Without("converted"))
}

fn international(hop: &Hop) -> Result<Cell> {
    let mut client = hop.session("clear")?;
    client.command(&format!("MAIL FROM:<{SENDER}> SMTPUTF8"), 250)?;
    client.command("RCPT TO:<jörg@example.net>", 250)?;
    client.command("DATA", 354)?;
    client.send(message("international", "Hello.\r\n"))?;
    client.send(b".\r\n")?;
    let reply = client.expect(250)?.text();
    if hop.offers("SMTPUTF8") {
        let mail = hop.arrived("international")?;
        ensure!(mail.to == ["jörg@example.net"], "it went to {:?}", mail.to);
        return Ok(Cell::Works);
    }
    let bounced = hop.event(&message_id(&reply)?, "bounced")?;
    ensure!(bounced.get("status").and_then(Value::as_str) == Some("5.6.7"), "{bounced}");
    Ok(Cell::Without("bounced"))
}

/// The id in the reply to a message that was taken.
fn message_id(reply: &str) -> Result<String> {
    let id = reply.split([' ', '\r', '\n']).find(|word| word.len() == 26 && word.bytes().all(|c| c.is_ascii_alphanumeric()));
    Ok(id.with_context(|| format!("no id in {reply:?}"))?.to_owned())
}

fn reported(hop: &Hop) -> Result<Cell> {
    let mut client = hop.session("clear")?;
    client.command("MAIL FROM:<reports@example.com> RET=HDRS ENVID=interop-1", 250)?;
    client.command("RCPT TO:<dsn@example.net> NOTIFY=SUCCESS ORCPT=rfc822;first@example.net", 250)?;
    client.command("DATA", 354)?;
    client.send(message("reported", "Hello.\r\n"))?;
    client.send(b".\r\n")?;
    client.expect(250)?;
    hop.arrived("reported")?;
    // The sink reports nothing: whoever passed the mail on to it says so. Exactly one report, be it ours or the server's.
    let reports = || {
        let is_report = |mail: &Taken| mail.from.is_empty() && mail.to == ["reports@example.com"];
        let reports: Vec<Taken> = hop.sink.taken().into_iter().filter(is_report).collect();
        (!reports.is_empty()).then_some(reports)
    };
    let reports = wait_for("a report at the sink", reports).with_context(|| hop.host.log())?;
    let [report] = reports.as_slice() else { anyhow::bail!("{} reports", reports.len()) };
    let text = report.text();
    let said = text.to_ascii_lowercase();
    ensure!(["action: relayed", "action: delivered"].iter().any(|action| said.contains(action)), "no word of relaying:\n{text}");
    Ok(if text.contains("mail.example.com") && !hop.offers("DSN") { Cell::Without("ours") } else { Cell::Works })
}

fn too_large(hop: &Hop) -> Result<Cell> {
    let body = "0123456789012345678901234567890123456789012345678901234567890123\r\n".repeat(SIZE_LIMIT / 60);
    let id = hop.send("clear", &["ann@example.net"], &message("too-large", &body))?;
    let bounced = hop.event(&id, "bounced")?;
    let reply = bounced.get("reply").and_then(Value::as_str).unwrap_or_default();
    ensure!(reply.starts_with("552"), "{bounced}");
    Ok(if hop.offers("SIZE") { Cell::Works } else { Cell::Without("at the end") })
}

fn odd_lines(hop: &Hop) -> Result<Cell> {
    let body = format!(".\r\n..\r\n.a\r\n\r\n{}\r\n \r\nFrom here\r\n", "x".repeat(990));
    pass(hop, "clear", "odd-lines", &body)?;
    Ok(Cell::Works)
}

fn many_recipients(hop: &Hop) -> Result<Cell> {
    let recipients: Vec<String> = (0..100).map(|number| format!("r{number}@example.net")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    hop.send("clear", &recipients, &message("many-recipients", "Hello.\r\n"))?;
    let count = || {
        let mails: Vec<Taken> =
            hop.sink.taken().into_iter().filter(|mail| mail.header("Subject").as_deref() == Some("many-recipients")).collect();
        let paths: usize = mails.iter().map(|mail| mail.to.len()).sum();
        (paths >= recipients.len()).then_some(paths)
    };
    let paths = wait_for("100 recipients at the sink", count).with_context(|| hop.host.log())?;
    ensure!(paths == recipients.len(), "{paths} forward-paths");
    Ok(Cell::Works)
}

fn many_messages(hop: &Hop) -> Result<Cell> {
    let mut client = hop.session("clear")?;
    for number in 0..30 {
        client.submit(SENDER, &["ann@example.net"], &message(&format!("mail-{number}"), "Hello.\r\n"))?;
    }
    for number in 0..30 {
        hop.arrived(&format!("mail-{number}"))?;
    }
    Ok(Cell::Works)
}

fn deferred(hop: &Hop) -> Result<Cell> {
    if hop.system == System::OpenSmtpd {
        return Ok(Cell::NotThere);
    }
    let id = hop.send("clear", &["later@example.net"], &message("later", "Hello.\r\n"))?;
    let deferral = hop.event(&id, "deferred")?;
    ensure!(deferral.get("reply").and_then(Value::as_str).unwrap_or_default().contains("greylisted"), "{deferral}");
    hop.host.say(&["queue", "cancel", &id])?;
    Ok(Cell::Works)
}

fn refused(hop: &Hop) -> Result<Cell> {
    let id = hop.send("clear", &["nobody@example.net"], &message("nobody", "Hello.\r\n"))?;
    let bounced = hop.event(&id, "bounced")?;
    ensure!(bounced.get("reply").and_then(Value::as_str).unwrap_or_default().starts_with('5'), "{bounced}");
    Ok(Cell::Works)
}

/// What could be taken for the end of a message, as published since December 2023: one message comes in, one arrives, whoever is behind.
fn smuggled(hop: &Hop) -> Result<Cell> {
    let ends: [&[u8]; 10] =
        [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r", b"\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\r\n"];
    for (number, end) in ends.iter().enumerate() {
        let inner =
            format!("MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: smuggled-{number}\r\n\r\nEvil.\r\n");
        let mut client = hop.session("clear")?;
        client.command(&format!("MAIL FROM:<{SENDER}>"), 250)?;
        client.command("RCPT TO:<ann@example.net>", 250)?;
        client.command("DATA", 354)?;
        client.send([&message(&format!("outer-{number}"), "Hello."), *end, inner.as_bytes(), b"\r\n.\r\n"].concat())?;
        let reply = client.reply()?;
        if reply.code == 250 {
            hop.arrived(&format!("outer-{number}"))?;
        }
        ensure!(!hop.sink.taken().iter().any(|mail| mail.from == "evil@example.com"), "{end:?} smuggled a message");
    }
    hop.host.wait_for_empty_queue().with_context(|| hop.host.say(&["queue", "list"]).unwrap_or_default())?;
    ensure!(!hop.sink.taken().iter().any(|mail| mail.from == "evil@example.com"), "a message was smuggled");
    Ok(Cell::Works)
}
