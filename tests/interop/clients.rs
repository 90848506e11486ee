//! Mail programs and mail servers that submit to us: clients × TLS × AUTH.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, config, login};
use tubepost_tests::wait::wait_for;

use crate::matrix::{Cell, Matrix};
use crate::root::Root;
use crate::system::{Next, Role, System, Tls, free_port, peer_certificate};

const SENDER: &str = "news@example.com";
const RECIPIENT: &str = "ann@example.net";
const MECHANISMS: [&str; 5] = ["PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"];
/// Names of mechanisms that carry an API token.
const BEARER: [&str; 2] = ["OAUTHBEARER", "XOAUTH2"];

/// Something that submits mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Smtplib,
    Nodemailer,
    Swaks,
    Msmtp,
    Curl,
    Server(System),
}

/// One way to submit.
#[derive(Clone, Copy, Debug)]
struct Way {
    tls: Tls,
    mechanism: &'static str,
}

pub(crate) fn matrix(store: &Path) -> Result<Matrix> {
    // The mechanisms that are new are tried in one mode of TLS each: how they are protected makes no difference to them.
    let modes = |mechanism: &str| -> &[Tls] {
        if matches!(mechanism, "PLAIN" | "LOGIN") { &[Tls::None, Tls::Upgraded, Tls::Implicit] } else { &[Tls::Upgraded] }
    };
    let ways: Vec<Way> =
        MECHANISMS.into_iter().flat_map(|mechanism| modes(mechanism).iter().map(move |tls| Way { tls: *tls, mechanism })).collect();
    let columns: Vec<String> = ways.iter().map(|way| format!("{} {}", way.mechanism, way.tls.name())).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut matrix = Matrix::new("Clients that submit to Tubepost: mechanism of AUTH, TLS", &columns);
    let installed = std::env::var("TUBEPOST_CLIENTS").unwrap_or_default();
    let sink = Peer::start()?;
    let certificate = peer_certificate()?;
    let (pem, key) = certificate.files();
    // Each of the other logins of the tests has no verifier, and would keep SCRAM from being offered.
    let settings = config(sink.address(), &clients());
    let (before, rest) = settings.split_once("[[logins]]").context("logins")?;
    let (_, client) = rest.split_once("[routes.peer]").context("routes")?;
    let host = Host::start(&format!("{before}[routes.peer]{client}"), &[("peer.pem", pem), ("peer.key", key)])?;
    let tools = Root::open(store, "tools", &["swaks", "libnet-ssleay-perl", "msmtp", "curl", "ca-certificates"], host.folder())?;
    for program in Program::ALL.into_iter().filter(|program| crate::is_wanted(program.name())) {
        let obstacle = match program {
            Program::Server(system) => Root::open(store, system.name(), system.packages(), host.folder()).err(),
            Program::Smtplib | Program::Nodemailer if !installed.split(',').any(|name| name == program.name()) => {
                Some(anyhow::anyhow!("it is not among TUBEPOST_CLIENTS"))
            }
            Program::Smtplib | Program::Nodemailer | Program::Swaks | Program::Msmtp | Program::Curl => None,
        };
        if let Some(obstacle) = obstacle {
            println!("{} is left out: {obstacle:#}", program.name());
            continue;
        }
        let cells = ways.iter().map(|way| {
            // A server gets a root of its own each time, so that no process of the last one is left.
            let root = match program {
                Program::Server(system) if program.knows(way.mechanism) => {
                    Some(Root::open(store, system.name(), system.packages(), host.folder())?)
                }
                Program::Server(_) | Program::Smtplib | Program::Nodemailer | Program::Swaks | Program::Msmtp | Program::Curl => None,
            };
            submit(program, *way, root.as_ref().unwrap_or(&tools), &host, &sink)
        });
        let cells = cells.map(Cell::from).collect();
        matrix.row(program.name(), cells);
    }
    Ok(matrix)
}

/// The logins of the clients, with something for each mechanism; all logins have it, or SCRAM would not be offered.
fn clients() -> String {
    login("client", &format!("route = \"peer\"\nscram = \"{SCRAM}\"\ntoken = \"{SECOND_TOKEN_HASH}\"\ntoken_scram = \"{SCRAM}\""))
}

/// What SCRAM-SHA-256 proves [`PASSWORD`] against.
const SCRAM: &str = "SCRAM-SHA-256$10000:lytIEa33TUInWe49hAEN8g==$3pzv5UbK4jQ1fyopZWaWbxHYqWSSxFHe3oq2yLM1jOc=:e8P0ZhpMWGTKZM5F5V7a1JECAXtNj2DTtIQxidxM/X0=";

fn submit(program: Program, way: Way, root: &Root, host: &Host, sink: &Peer) -> Result<Cell> {
    // It sends no password in the clear, whatever it is told.
    let is_shy = program == Program::Server(System::OpenSmtpd) && way.tls == Tls::None;
    if is_shy || !program.knows(way.mechanism) {
        return Ok(Cell::NotThere);
    }
    let subject = format!("{} {} {}", program.name(), way.mechanism, way.tls.name()).replace(' ', "-");
    let message = format!(
        "From: News <{SENDER}>\r\nTo: {RECIPIENT}\r\nSubject: {subject}\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{subject}@example.com>\r\n\r\nHello.\r\n.\r\n..dots\r\n"
    );
    std::fs::write(host.folder().join("message.eml"), &message)?;
    let port = host.address(&format!("smtp {}", way.tls.name())).port();
    match program {
        Program::Server(system) => {
            let mechanism = Some(way.mechanism);
            let next = Next::Submission { port, tls: way.tls, mechanism, user: "client", password: PASSWORD };
            let role = Role { port: free_port()?, next, scenario: host.folder() };
            let _running = system.start(root, &role)?;
            let mut client = connected(role.port)?;
            client.command("EHLO app.example", 250)?;
            client.submit(SENDER, &[RECIPIENT], message.as_bytes())?;
            arrived(host, sink, &subject, way).with_context(|| system.log(root, host.folder()))?;
        }
        Program::Smtplib | Program::Nodemailer | Program::Swaks | Program::Msmtp | Program::Curl => {
            let output = program.command(way, port, root, host)?.output()?;
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            ensure!(output.status.success(), "{program:?} {way:?}: {said}");
            arrived(host, sink, &subject, way)?;
        }
    }
    Ok(Cell::Works)
}

/// Waits until the mail is at the sink, and looks at it.
fn arrived(host: &Host, sink: &Peer, subject: &str, way: Way) -> Result<()> {
    let find = || sink.taken().into_iter().find(|mail: &Taken| mail.header("Subject").as_deref() == Some(subject));
    let mail = wait_for(&format!("{subject} at the sink"), find).with_context(|| host.log())?;
    let text = mail.text();
    let ours: Vec<&str> = text.split("\r\nReceived: ").filter(|field| field.contains("by mail.example.com")).collect();
    ensure!(text.matches("by mail.example.com").count() == 1, "{} trace fields of ours:\n{text}", ours.len());
    let protocol = if way.tls == Tls::None { "with ESMTPA" } else { "with ESMTPSA" };
    ensure!(text.contains(protocol), "it did not come {protocol}:\n{text}");
    ensure!(text.contains("\r\n\r\nHello.\r\n.\r\n..dots\r\n"), "the body is not as it was:\n{text}");
    Ok(())
}

/// A connection, as soon as somebody listens.
pub(crate) fn connected(port: u16) -> Result<Client> {
    wait_for(&format!("a greeting on port {port}"), || {
        let mut client = Client::connect(([127, 0, 0, 1], port).into()).ok()?;
        client.expect(220).ok()?;
        Some(client)
    })
}

impl Program {
    const ALL: [Self; 8] = [
        Self::Smtplib,
        Self::Nodemailer,
        Self::Swaks,
        Self::Msmtp,
        Self::Curl,
        Self::Server(System::Postfix),
        Self::Server(System::Exim),
        Self::Server(System::OpenSmtpd),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Smtplib => "smtplib",
            Self::Nodemailer => "nodemailer",
            Self::Swaks => "swaks",
            Self::Msmtp => "msmtp",
            Self::Curl => "curl",
            Self::Server(system) => system.name(),
        }
    }

    fn knows(self, mechanism: &str) -> bool {
        match self {
            Self::Smtplib | Self::Nodemailer => matches!(mechanism, "PLAIN" | "LOGIN" | "XOAUTH2"),
            Self::Swaks => matches!(mechanism, "PLAIN" | "LOGIN"),
            Self::Msmtp => true,
            Self::Curl => mechanism != "SCRAM-SHA-256",
            Self::Server(system) => system.knows(mechanism),
        }
    }

    /// Submits `message.eml` of the scenario.
    fn command(self, way: Way, port: u16, root: &Root, host: &Host) -> Result<Command> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let [certificate, message] = ["cert.pem", "message.eml"].map(|name| host.folder().join(name));
        let is_bearer = BEARER.contains(&way.mechanism);
        let (user, secret) = if is_bearer { ("client", SECOND_TOKEN) } else { ("client", PASSWORD) };
        let script = |interpreter: &str, name: &str| {
            let mut command = Command::new(interpreter);
            command.arg(scripts.join(name)).args([&port.to_string(), way.tls.name(), way.mechanism, user, secret]);
            command.arg(&certificate).arg(&message).args([SENDER, RECIPIENT]);
            command
        };
        Ok(match self {
            Self::Smtplib => script("python3", "submit.py"),
            Self::Nodemailer => script("node", "submit.cjs"),
            Self::Swaks => {
                let tls = match way.tls {
                    Tls::None => "",
                    Tls::Upgraded => "--tls --tls-verify --tls-ca-path /scenario/cert.pem",
                    Tls::Implicit => "--tls-on-connect --tls-verify --tls-ca-path /scenario/cert.pem",
                };
                let line = format!(
                    "swaks --server localhost --port {port} {tls} --timeout 30 --auth {} --auth-user {user} --auth-password '{secret}' \
                     --from {SENDER} --to {RECIPIENT} --data /scenario/message.eml",
                    way.mechanism
                );
                root.command("sh", &["-c", &line])
            }
            Self::Msmtp => {
                let tls = match way.tls {
                    Tls::None => "tls off",
                    Tls::Upgraded => "tls on\ntls_trust_file /scenario/cert.pem",
                    Tls::Implicit => "tls on\ntls_starttls off\ntls_trust_file /scenario/cert.pem",
                };
                let settings = format!(
                    "account default\nhost localhost\nport {port}\nfrom {SENDER}\nauth {}\nuser {user}\npassword {secret}\n{tls}\n",
                    way.mechanism.to_lowercase()
                );
                root.write("/etc/msmtp.conf", &settings)?;
                // It takes lines as Unix has them.
                let line = format!("chmod 600 /etc/msmtp.conf; tr -d '\\r' < /scenario/message.eml | msmtp -C /etc/msmtp.conf {RECIPIENT}");
                root.command("sh", &["-c", &line])
            }
            Self::Curl => {
                let scheme = if way.tls == Tls::Implicit { "smtps" } else { "smtp" };
                let tls = if way.tls == Tls::None { "" } else { "--ssl-reqd --cacert /scenario/cert.pem" };
                let secret =
                    if is_bearer { format!("--user '{user}' --oauth2-bearer '{secret}'") } else { format!("--user '{user}:{secret}'") };
                let line = format!(
                    "curl --silent --show-error {scheme}://localhost:{port} {tls} {secret} --login-options 'AUTH={}' --mail-from {SENDER} \
                     --mail-rcpt {RECIPIENT} --upload-file /scenario/message.eml",
                    way.mechanism
                );
                root.command("sh", &["-c", &line])
            }
            Self::Server(system) => anyhow::bail!("{} has no command that submits", system.name()),
        })
    }
}
