//! `login hash` and `login token`: what they print is what the configuration takes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::{Host, binary};
use tubepost_tests::http::request_tls;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{config, message};

/// Runs `tubepost login` with `secret` on standard input; returns what it printed.
fn run(arguments: &[&str], secret: &str) -> Result<String> {
    let mut child =
        Command::new(binary()).arg("login").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("standard input is piped")?.write_all(secret.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn new_secrets_work_over_tls_and_their_hashes_are_all_that_is_kept() -> Result<()> {
    let password = "correct horse battery staple";
    let hash = run(&["hash"], &format!("{password}\n"))?;
    assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
    assert_ne!(hash, run(&["hash"], password)?, "each has a salt of its own");
    let made = run(&["token"], "")?;
    let value = |name: &str| made.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix("= ")).unwrap_or_default();
    let (token, token_hash) = (value("token"), value("hash"));
    assert_eq!(run(&["hash", "--token"], token)?.trim(), token_hash);
    assert!(!token.is_empty() && !run(&["token"], "")?.contains(token), "no token is made twice");

    let peer = Peer::start()?;
    let more = format!(
        "[[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n[[logins]]\nname = \"new\"\nusername = \"new\"\npassword = \"{}\"\ntoken = \"{token_hash}\"\nroute = \"peer\"\n",
        hash.trim()
    );
    let host = Host::start(&config(peer.address(), &more), &[])?;
    let tls = host.certificate.client()?;
    let mut client = Client::connect_tls(host.address("smtp implicit"), tls.clone())?;
    client.expect(220)?;
    client.command("EHLO client.example", 250)?;
    client.auth_plain("new", password)?;
    client.deliver("s@example.com", &["r@example.net"], &message("by password"))?;

    let call = json!({ "recipient": "r@example.net", "from": "s@example.com", "subject": "by token", "text": "x" }).to_string();
    let bearer = format!("Bearer {token}");
    let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
    let response = request_tls(host.address("http implicit"), tls, "POST", "/v1/send", &headers, call.as_bytes())?;
    assert!((200..=202).contains(&response.status), "{} {}", response.status, response.text());
    let taken = peer.wait(2)?;
    let by_token = taken.iter().find(|mail| mail.header("Subject").as_deref() == Some("by token")).unwrap();
    assert!(by_token.header("Received").is_some_and(|field| field.contains("with HTTPS")), "{}", by_token.text());
    let log = host.log();
    assert!(!log.contains(token) && !log.contains(password), "a secret is in the log");
    Ok(())
}
