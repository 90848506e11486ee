//! DKIM signatures of ours, as verifiers of others find them.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config};

use crate::is_wanted;
use crate::matrix::{Cell, Matrix};
use crate::root::{Root, SCENARIO};

const NEWSLETTER: &[u8] = include_bytes!("../blackbox/messages/newsletter.eml");
const RSA: &str = include_str!("../blackbox/keys/rsa.pem");
const CONFIGURATION: &str = "Mode v\nTestDNSData file:/scenario/records\nLogWhy yes\nSyslog no\n";

/// A key that signs, and the record that it is found with.
struct Key {
    pem: String,
    record: String,
}

fn rsa() -> Result<Key> {
    let base64: String = RSA.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(base64)?).ok().context("an RSA key")?;
    // SubjectPublicKeyInfo (RFC 5280 §4.1) around the PKCS#1 of a key of 2048 bits.
    let head = [
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01,
        0x0f, 0x00,
    ];
    let public = BASE64_STANDARD.encode([&head, pair.public().as_ref()].concat());
    Ok(Key { pem: RSA.to_owned(), record: format!("v=DKIM1; k=rsa; p={public}") })
}

fn ed25519() -> Result<Key> {
    let secret = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().context("a new key")?;
    let pair = Ed25519KeyPair::from_pkcs8(secret.as_ref()).ok().context("an Ed25519 key")?;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(&secret));
    Ok(Key { pem, record: format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(pair.public_key().as_ref())) })
}

/// A newsletter as it arrives, with its styles inlined and its links tracked.
fn signed(key: &Key) -> Result<String> {
    let peer = Peer::start()?;
    let more = "[[dkim]]\ndomain = \"example.com\"\nselector = \"s\"\nkey = \"file:dkim.pem\"\n";
    let host = Host::start(&config(peer.address(), more), &[("dkim.pem", key.pem.as_bytes())])?;
    Client::login(host.address("smtp none"), "marketing", PASSWORD)?.deliver(
        "news@example.com",
        &["one@example.net"],
        // Lines at the end that hold nothing but blanks: verifiers take them for empty ones, which are none.
        &[NEWSLETTER, b" \r\n\t \r\n\r\n"].concat(),
    )?;
    Ok(peer.wait(1)?.remove(0).text())
}

/// What the verifier says of a message.
fn opendkim(root: &Root, scenario: &Path, message: &str) -> Result<String> {
    std::fs::write(scenario.join("message.eml"), message)?;
    let [message, configuration] = ["message.eml", "opendkim.conf"].map(|name| format!("{SCENARIO}/{name}"));
    let output = root.command("opendkim", &["-t", &message, "-x", &configuration, "-v", "-v"]).output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn verified(root: &Root, scenario: &Path, key: &Key) -> Result<Cell> {
    std::fs::write(scenario.join("opendkim.conf"), CONFIGURATION)?;
    std::fs::write(scenario.join("records"), format!("s._domainkey.example.com {}\n", key.record))?;
    let message = signed(key)?;
    let said = opendkim(root, scenario, &message)?;
    if said.contains("unsupported") {
        return Ok(Cell::Without("unknown"));
    }
    ensure!(said.contains("verification") && said.contains("succeeded"), "{said}");
    let forged = message.replacen("Spring is here.", "Spring is over.", 1);
    ensure!(forged != message, "the text is in it as it is");
    let said = opendkim(root, scenario, &forged)?;
    ensure!(!said.contains("succeeded"), "a forged message: {said}");
    Ok(Cell::Works)
}

/// Tries all.
pub(crate) fn matrix(store: &Path) -> Result<Matrix> {
    let mut matrix = Matrix::new("DKIM signatures, after inlining and tracking", &["rsa-sha256", "ed25519-sha256"]);
    if is_wanted("OpenDKIM") {
        let scenario = tempfile::TempDir::new()?;
        match Root::open(store, "opendkim", &["opendkim", "opendkim-tools"], scenario.path()) {
            Ok(root) => {
                let cells = [rsa()?, ed25519()?].iter().map(|key| verified(&root, scenario.path(), key).into()).collect();
                matrix.row("OpenDKIM", cells);
            }
            Err(error) => println!("OpenDKIM is left out: it cannot be installed: {error:#}"),
        }
    }
    Ok(matrix)
}
