//! One message stays one message: nothing in it is taken for the end of it, by us or by a next hop that is less strict, and nothing that was said in
//! the clear counts under TLS.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::post_json;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, TOKEN, config, login, message};
use tubepost_tests::wait::{PATIENCE, wait_for};

/// What some server has taken for the end of a message while another has not, since SMTP smuggling was published in December 2023; and the real one.
const ENDS: [&str; 19] = [
    "\n.\n",
    "\n.\r\n",
    "\n.\r",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r.\n",
    "\r\n.\r",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\r\r\n.\n",
    "\n\n.\r\n",
    "\n\r.\r\n",
    "\n\r.\n\r",
    "\r\n\r.\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\0\n.\n\0",
    "\r\n.\r\n",
];

/// A message with such an end in it, and another message behind that.
fn smuggled(end: &str, begin: &str) -> String {
    format!(
        "{begin}Hello.{end}MAIL FROM:<ceo@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nFrom: ceo@example.com\r\n\
         Subject: smuggled\r\n\r\nPay.{end}QUIT\r\n"
    )
}

fn header() -> String {
    "From: s@example.com\r\nTo: r@example.net\r\nSubject: one\r\n\r\n".to_owned()
}

/// A next hop that takes CR, LF and CRLF for the end of a line, drops NUL, and ends a message with any line that holds a dot alone.
#[derive(Clone)]
struct LaxHop {
    address: SocketAddr,
    chunking: bool,
    taken: Arc<Mutex<Vec<(String, String)>>>,
}

struct LaxSession {
    stream: BufReader<TcpStream>,
    /// The line feed of the line end that was just read is still to come, if it comes.
    behind_cr: bool,
}

impl LaxSession {
    fn octet(&mut self) -> Result<u8> {
        let mut octet = [0];
        self.stream.read_exact(&mut octet)?;
        Ok(octet[0])
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            let octet = self.octet()?;
            let behind_cr = std::mem::take(&mut self.behind_cr);
            match octet {
                b'\n' if behind_cr => {}
                b'\r' | b'\n' => {
                    self.behind_cr = octet == b'\r';
                    return Ok(String::from_utf8_lossy(&line).into_owned());
                }
                0 => {}
                other => line.push(other),
            }
        }
    }

    /// A chunk behind the line that announced it.
    fn chunk(&mut self, octets: usize) -> Result<()> {
        if std::mem::take(&mut self.behind_cr) {
            ensure!(self.octet()? == b'\n', "a command without CRLF");
        }
        Ok(self.stream.read_exact(&mut vec![0; octets])?)
    }

    fn say(&mut self, reply: &str) -> Result<()> {
        Ok(self.stream.get_mut().write_all(format!("{reply}\r\n").as_bytes())?)
    }
}

impl LaxHop {
    fn start(chunking: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let hop = Self { address: listener.local_addr()?, chunking, taken: Arc::default() };
        let serving = hop.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let hop = serving.clone();
                // It ends when the other side goes.
                std::thread::spawn(move || hop.serve(stream));
            }
        });
        Ok(hop)
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = LaxSession { stream: BufReader::new(stream), behind_cr: false };
        session.say("220 lax.example ESMTP")?;
        let (mut from, mut to) = (String::new(), String::new());
        loop {
            let line = session.line()?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => {
                    let chunking = if self.chunking { "250-CHUNKING\r\n" } else { "" };
                    format!("250-lax.example\r\n250-PIPELINING\r\n{chunking}250 8BITMIME")
                }
                "MAIL" => {
                    from.clone_from(&line);
                    "250 ok".to_owned()
                }
                "RCPT" => {
                    to.clone_from(&line);
                    "250 ok".to_owned()
                }
                "DATA" => {
                    session.say("354 go on")?;
                    while session.line()? != "." {}
                    self.taken.lock().unwrap().push((from.clone(), to.clone()));
                    "250 taken".to_owned()
                }
                "BDAT" => {
                    session.chunk(line.split(' ').nth(1).context("a size")?.parse()?)?;
                    self.taken.lock().unwrap().push((from.clone(), to.clone()));
                    "250 taken".to_owned()
                }
                "QUIT" => return session.say("221 bye"),
                _ => "250 ok".to_owned(),
            };
            session.say(&reply)?;
        }
    }

    fn taken(&self) -> Vec<(String, String)> {
        self.taken.lock().unwrap().clone()
    }
}

/// Hands a message in over every way there is but SMTP; returns how many were taken.
fn hand_in(host: &Host, end: &str) -> Result<usize> {
    let http = host.address("http none");
    let (whole, text) = (smuggled(end, &header()), smuggled(end, ""));
    let v1 = format!("/v1/send?access_token={TOKEN}");
    let turbosmtp = [("authuser", "plain"), ("authpass", PASSWORD)];
    let mailpace = [("MailPace-Server-Token", TOKEN)];
    let calls = [
        post_json(http, &v1, &[], &json!({ "recipient": "r@example.net", "mime": whole }))?,
        post_json(
            http,
            &v1,
            &[],
            &json!({ "recipient": "r@example.net", "from": "s@example.com", "subject": "s", "text": text, "html": text }),
        )?,
        post_json(http, "/api/mail/send", &turbosmtp, &json!({ "from": "s@example.com", "to": "r@example.net", "mime_raw": whole }))?,
        post_json(
            http,
            "/api/mail/send",
            &turbosmtp,
            &json!({ "from": "s@example.com", "to": "r@example.net", "subject": "s", "content": text }),
        )?,
        post_json(
            http,
            "/api/v1/send",
            &mailpace,
            &json!({ "from": "s@example.com", "to": "r@example.net", "subject": "s", "textbody": text }),
        )?,
    ];
    let file = host.folder().join("smuggled.eml");
    std::fs::write(&file, &whole)?;
    let by_hand =
        host.command(&["send", "--login", "plain", "--from", "s@example.com", "--to", "r@example.net", &file.to_string_lossy()])?;
    Ok(calls.iter().filter(|answer| answer.status == 200).count() + usize::from(by_hand.status.success()))
}

/// Hands it in with DATA and with BDAT; returns how many messages were taken, of which none may be the second.
fn submit(host: &Host, end: &str) -> Result<usize> {
    let content = smuggled(end, &header());
    let mut taken = 0;
    // The real end is one: what stands behind it is stuffed here, as a client does that knows what it sends.
    let stuffed = if end == "\r\n.\r\n" { content.replace("\r\n.\r\n", "\r\n..\r\n") } else { content.clone() };
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.send(format!("MAIL FROM:<s@example.com>\r\nRCPT TO:<r@example.net>\r\nDATA\r\n{stuffed}.\r\nNOOP\r\n"))?;
    for code in [250, 250, 354] {
        client.expect(code)?;
    }
    let reply = client.reply()?;
    ensure!([250, 550].contains(&reply.code), "{end:?}: {reply:?}");
    taken += usize::from(reply.code == 250);
    client.expect(250)?;
    client.send(format!("MAIL FROM:<s@example.com>\r\nRCPT TO:<r@example.net>\r\nBDAT {} LAST\r\n{content}NOOP\r\n", content.len()))?;
    for code in [250, 250] {
        client.expect(code)?;
    }
    let reply = client.reply()?;
    ensure!([250, 550].contains(&reply.code), "{end:?}: {reply:?}");
    taken += usize::from(reply.code == 250);
    client.expect(250)?;
    client.command("QUIT", 221)?;
    Ok(taken)
}

#[test]
fn no_next_hop_sees_two_messages_in_one() -> Result<()> {
    for chunking in [false, true] {
        let hop = LaxHop::start(chunking)?;
        let host = Host::start(&config(hop.address, ""), &[])?;
        let mut expected = 0;
        for end in ENDS {
            let (handed_in, submitted) = (hand_in(&host, end)?, submit(&host, end)?);
            // Octets that are no line ends are refused over SMTP; elsewhere line ends are mended.
            ensure!(submitted == if end == "\r\n.\r\n" { 2 } else { 0 }, "{end:?}: {submitted} were taken");
            ensure!(end.contains('\0') || handed_in == 6, "{end:?}: {handed_in} were taken");
            expected += handed_in + submitted;
        }
        wait_for("all messages at the next hop", || (hop.taken().len() >= expected).then_some(()))?;
        host.wait_for_empty_queue()?;
        let taken = hop.taken();
        for (from, to) in &taken {
            ensure!(from.contains("s@example.com") && !from.contains("ceo@"), "{from}");
            ensure!(to.contains("r@example.net") && !to.contains("victim@"), "{to}");
        }
        ensure!(taken.len() == expected, "{} of {expected} arrived", taken.len());
    }
    Ok(())
}

/// Logs in and opens a transaction.
fn begin(host: &Host) -> Result<Client> {
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.command("MAIL FROM:<s@example.com>", 250)?;
    client.command("RCPT TO:<r@example.net>", 250)?;
    Ok(client)
}

#[test]
fn chunks_are_counted_and_never_obeyed() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let order = "MAIL FROM:<ceo@example.com>\r\nRCPT TO:<victim@example.net>\r\nBDAT 4 LAST\r\nPay.QUIT\r\n";

    // An order inside of a chunk is content, and one behind the last chunk is an order. All in one write.
    let content = format!("{}{order}", header());
    let second = message("second");
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.send(format!(
        "MAIL FROM:<s@example.com>\r\nRCPT TO:<r@example.net>\r\nBDAT {}\r\n{}BDAT {} LAST\r\n{order}\
         MAIL FROM:<s@example.com>\r\nRCPT TO:<r@example.net>\r\nBDAT {} LAST\r\n{}NOOP\r\nQUIT\r\n",
        header().len(),
        header(),
        order.len(),
        second.len(),
        String::from_utf8(second)?
    ))?;
    for code in [250, 250, 250, 250, 250, 250, 250, 250, 221] {
        client.expect(code)?;
    }
    let taken = peer.wait(2)?;
    ensure!(taken.iter().any(|mail| mail.text().ends_with(&content)), "{taken:?}");

    // Nothing at all is a message too, which says nothing.
    begin(&host)?.command("BDAT 0 LAST", 250)?;
    peer.wait(3)?;

    // Once there is a chunk, only chunks come, until RSET; what was there before it is gone.
    let mut client = begin(&host)?;
    client.send("BDAT 12\r\nSubject: x\r\n")?;
    client.expect(250)?;
    client.command("DATA", 503)?;
    client.command("MAIL FROM:<ceo@example.com>", 503)?;
    client.command("RCPT TO:<victim@example.net>", 503)?;
    client.command("RSET", 250)?;
    client.command("BDAT 0 LAST", 503)?;
    client.command("MAIL FROM:<s@example.com>", 250)?;
    client.command("RCPT TO:<r@example.net>", 250)?;
    client.send([format!("BDAT {} LAST\r\n", message("fresh").len()).as_bytes(), &message("fresh")].concat())?;
    client.expect(250)?;
    let fresh = peer.wait(4)?.remove(3);
    ensure!(!fresh.text().contains("Subject: x"), "{}", fresh.text());

    // Without recipients the chunk is read all the same, and what is in it is not obeyed.
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.send(format!("MAIL FROM:<s@example.com>\r\nBDAT {} LAST\r\n{order}NOOP\r\n", order.len()))?;
    for code in [250, 554, 250] {
        client.expect(code)?;
    }

    // A chunk that is shorter than was said: whoever goes away in it has sent nothing.
    let mut client = begin(&host)?;
    client.send("BDAT 1000 LAST\r\nSubject: short\r\n\r\n.\r\n")?;
    drop(client);

    // Sizes at the end of what can be counted: the chunk never ends, and nobody adds it to another one.
    for size in ["18446744073709551615", "18446744073709551614", "09223372036854775808"] {
        let mut client = begin(&host)?;
        client.send(format!("BDAT 5\r\nFrom:BDAT {size} LAST\r\nx{order}"))?;
        client.expect(250)?;
        client.send(order)?;
        drop(client);
    }
    for size in ["18446744073709551616", "99999999999999999999", "-1", "0x10", "1e3", "+5", "4 FIRST"] {
        let mut client = begin(&host)?;
        client.send(format!("BDAT {size} LAST\r\n{order}"))?;
        client.expect(501)?;
        // How much follows nobody knows: the connection is closed.
        ensure!(client.reply().is_err(), "the session goes on after BDAT {size}");
    }
    host.wait_for_empty_queue()?;
    ensure!(peer.count() == 4, "{:?}", peer.taken());
    ensure!(!peer.transcript().iter().any(|line| line.contains("ceo@") || line.contains("victim@")), "{:?}", peer.transcript());
    Ok(())
}

#[test]
fn what_was_said_before_the_handshake_is_forgotten() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let secret = "AUTH PLAIN AHBsYWluAHNlY3JldA==";
    for behind in [
        "NOOP\r\n".to_owned(),
        format!("EHLO evil.example\r\n{secret}\r\nMAIL FROM:<ceo@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"),
        "RSE".to_owned(),
    ] {
        let mut client = Client::connect(host.address("smtp starttls"))?;
        client.expect(220)?;
        // In one write, as it comes where somebody sits on the way.
        client.send(format!("EHLO client.example\r\nSTARTTLS\r\n{behind}"))?;
        client.expect(250)?;
        client.expect(220)?;
        client.start_tls(host.certificate.client()?)?;
        client.command("MAIL FROM:<s@example.com>", 503).context("EHLO counts still")?;
        let ehlo = client.command("EHLO client.example", 250)?;
        ensure!(ehlo.lines[0].starts_with("mail.example.com") && ehlo.lines.iter().any(|line| line.starts_with("AUTH ")), "{ehlo:?}");
        client.command("MAIL FROM:<s@example.com>", 530).context("a login counts still")?;
        client.auth_plain("plain", PASSWORD)?;
        client.command("RCPT TO:<r@example.net>", 503).context("a transaction counts still")?;
        client.deliver("s@example.com", &["r@example.net"], &message("under TLS"))?;
        client.command("QUIT", 221)?;
    }
    for mail in peer.wait(3)? {
        ensure!(mail.from == "s@example.com" && mail.to == ["r@example.net"], "{mail:?}");
    }
    host.wait_for_empty_queue()
}

/// A next hop, or somebody in front of it, that says more together with its answer to STARTTLS; keeps every line it hears.
fn injecting_hop(injected: &'static str) -> Result<(SocketAddr, Arc<Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, heard) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
    let lines = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let _ = stream.get_mut().write_all(b"220 hop.example ESMTP\r\n");
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let reply = match text.split(' ').next().unwrap_or_default() {
                    "EHLO" => "250-hop.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n".to_owned(),
                    "STARTTLS" => format!("220 go on\r\n{injected}"),
                    _ => "250 ok\r\n".to_owned(),
                };
                lines.lock().unwrap().push(text);
                let _ = stream.get_mut().write_all(reply.as_bytes());
            }
        }
    });
    Ok((address, heard))
}

#[test]
fn replies_that_come_with_the_answer_to_starttls_end_the_session() -> Result<()> {
    for injected in [
        "250-evil.example\r\n250 AUTH PLAIN\r\n",
        "250 ok\r\n",
        "250-ev",
        "235 2.7.0 logged in\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n",
    ] {
        let (address, heard) = injecting_hop(injected)?;
        let port = address.port();
        let route = format!(
            "[routes.secure]\nkind = \"smarthost\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"required\"\nca = \"cert.pem\"\nusername = \"u\"\npassword = \"p\"\n{}",
            login("secure", "route = \"secure\"")
        );
        let host = Host::start(&config(address, &route), &[])?;
        let mut client = Client::login(host.address("smtp none"), "secure", PASSWORD)?;
        let id = client.deliver("s@example.com", &["r@example.net"], &message("secret"))?;
        let shown = wait_for("the first attempt", || {
            let shown = host.say(&["message", "show", &id]).ok()?;
            shown.contains("deferred").then_some(shown)
        })?;
        ensure!(shown.contains("the server sent more before the TLS handshake"), "{injected:?}: {shown}");
        let heard = heard.lock().unwrap().clone();
        let spoken: Vec<_> = heard.iter().filter(|line| !line.starts_with("EHLO") && *line != "STARTTLS").collect();
        ensure!(spoken.is_empty(), "{injected:?}: {spoken:?}");
    }
    Ok(())
}
