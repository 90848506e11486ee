//! Mail programs that people use: Python's smtplib, swaks and nodemailer, in both TLS modes, with both mechanisms of AUTH.
//!
//! `cargo xtask test` installs them where it can and names those that are there in `TUBEPOST_CLIENTS`; without it there is nothing to do.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config};

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");
const SENDER: &str = "news@example.com";
const RECIPIENT: &str = "ann@example.net";

/// One way to submit a message.
#[derive(Clone, Copy, Debug)]
struct Way<'a> {
    client: &'a str,
    tls: &'a str,
    mechanism: &'a str,
    login: &'a str,
}

#[test]
fn they_submit_through_both_tls_modes_and_both_mechanisms() -> Result<()> {
    let clients = std::env::var("TUBEPOST_CLIENTS").unwrap_or_default();
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[("newsletter.eml", NEWSLETTER)])?;
    let mut sent = 0;
    for client in clients.split(',').filter(|client| !client.is_empty()) {
        for (tls, mechanism) in [("starttls", "PLAIN"), ("starttls", "LOGIN"), ("implicit", "PLAIN"), ("implicit", "LOGIN")] {
            for login in ["plain", "marketing"] {
                let way = Way { client, tls, mechanism, login };
                submit(&host, way)?;
                sent += 1;
                let mail = peer.wait(sent)?.pop().unwrap();
                assert_eq!((mail.from.as_str(), mail.to.as_slice()), (SENDER, &[RECIPIENT.to_owned()][..]), "{way:?}");
                let tracked = mail.text().contains("http://links.example.com/t/");
                let listed = mail.header("List-Unsubscribe").is_some();
                assert_eq!((tracked, listed), (login == "marketing", login == "marketing"), "{way:?}:\n{}", mail.text());
                if login == "plain" {
                    // swaks itself puts an empty line behind what it is given.
                    let sent = if client == "swaks" { [NEWSLETTER, b"\r\n"].concat() } else { NEWSLETTER.to_vec() };
                    assert!(mail.content.ends_with(&sent), "{way:?}: not octet for octet:\n{}", mail.text());
                }
            }
        }
    }
    Ok(())
}

fn submit(host: &Host, way: Way<'_>) -> Result<()> {
    let port = host.address(&format!("smtp {}", way.tls)).port().to_string();
    let [certificate, message] = ["cert.pem", "newsletter.eml"].map(|name| host.folder().join(name));
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = match way.client {
        "smtplib" => script("python3", &scripts.join("submit.py")),
        "nodemailer" => script("node", &scripts.join("submit.cjs")),
        "swaks" => Command::new("swaks"),
        other => bail!("TUBEPOST_CLIENTS names {other:?}, which nobody knows"),
    };
    if way.client == "swaks" {
        let tls = if way.tls == "implicit" { "--tls-on-connect" } else { "--tls" };
        command.args(["--server", "localhost", "--port", &port, tls, "--tls-verify", "--timeout", "30"]);
        command.args(["--auth", way.mechanism, "--auth-user", way.login, "--auth-password", PASSWORD]);
        command.args(["--from", SENDER, "--to", RECIPIENT, "--tls-ca-path"]).arg(certificate).arg("--data").arg(message);
    } else {
        command.args([&port, way.tls, way.mechanism, way.login, PASSWORD]);
        command.arg(certificate).arg(message).args([SENDER, RECIPIENT]);
    }
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{way:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

fn script(interpreter: &str, script: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(script);
    command
}
