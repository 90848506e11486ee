//! DKIM signs what is really sent: after the plugins and with the slots filled.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use tubepost_tests::client::Client;
use tubepost_tests::dkim::verify;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");
/// Made for this test: `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
const RSA: &str = include_str!("keys/rsa.pem");

const KEYS: &str = r#"
[[dkim]]
domain = "example.com"
selector = "rsa"
key = "file:rsa.pem"

[[dkim]]
domain = "example.com"
selector = "ed"
key = "file:ed25519.pem"
"#;

#[test]
fn both_kinds_of_keys_sign_the_mail_as_it_arrives() -> Result<()> {
    let rsa = RsaKeyPair::from_pkcs8(&der(RSA)?).ok().context("an RSA key")?;
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().context("a new key")?;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(&ed25519));
    let ed25519 = Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).ok().context("an Ed25519 key")?;

    let peer = Peer::start()?;
    // One-click unsubscribing is for https alone.
    let text = config(peer.address(), KEYS).replace("http://links.example.com", "https://links.example.com");
    let host = Host::start(&text, &[("rsa.pem", RSA.as_bytes()), ("ed25519.pem", pem.as_bytes())])?;
    let recipients = ["one@example.net", "two@example.net"];
    Client::login(host.address("smtp none"), "marketing", PASSWORD)?.deliver("news@example.com", &recipients, NEWSLETTER)?;
    let taken = peer.wait(2)?;
    assert_ne!(taken[0].content, taken[1].content, "each has links of his own");
    for mail in &taken {
        assert!(mail.text().contains("/t/") && mail.header("List-Unsubscribe").is_some(), "{}", mail.text());
        let by_rsa = verify(&mail.content, "rsa", rsa.public().as_ref())?;
        let by_ed25519 = verify(&mail.content, "ed", ed25519.public_key().as_ref())?;
        assert_eq!((by_rsa.algorithm.as_str(), by_ed25519.algorithm.as_str()), ("rsa-sha256", "ed25519-sha256"));
        for signature in [by_rsa, by_ed25519] {
            assert_eq!(signature.domain, "example.com");
            for field in ["from", "to", "subject", "date", "message-id", "content-type", "list-unsubscribe", "list-unsubscribe-post"] {
                assert!(signature.fields.iter().any(|signed| signed == field), "{field} is not signed: {signature:?}");
            }
            assert!(signature.fields.iter().filter(|field| *field == "from").count() > 1, "a second From can be added: {signature:?}");
        }
        // The check itself sees what was changed.
        for (was, becomes) in [("Subject: The", "Subject: A"), ("Spring is here.", "Spring is over.")] {
            let forged = mail.text().replacen(was, becomes, 1);
            assert_ne!(forged, mail.text(), "{was:?} is in it");
            assert!(verify(forged.as_bytes(), "rsa", rsa.public().as_ref()).is_err(), "{becomes:?} went unnoticed");
        }
    }
    Ok(())
}

/// `cargo xtask test` makes a Python with dkimpy where it can and names it in `TUBEPOST_DKIMPY`; without it there is nothing to do.
#[test]
fn g3_dkimpy_finds_both_signatures_good_after_inlining_and_tracking() -> Result<()> {
    let Some(python) = std::env::var_os("TUBEPOST_DKIMPY").filter(|python| !python.is_empty()) else { return Ok(()) };
    let rsa = RsaKeyPair::from_pkcs8(&der(RSA)?).ok().context("an RSA key")?;
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().context("a new key")?;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(&ed25519));
    let ed25519 = Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).ok().context("an Ed25519 key")?;
    let records = serde_json::json!({
        // dkimpy takes a key of RSA as PKCS#1 too.
        "rsa._domainkey.example.com": format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(rsa.public().as_ref())),
        "ed._domainkey.example.com": format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(ed25519.public_key().as_ref())),
    });
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), KEYS), &[("rsa.pem", RSA.as_bytes()), ("ed25519.pem", pem.as_bytes())])?;
    Client::login(host.address("smtp none"), "marketing", PASSWORD)?.deliver("news@example.com", &["one@example.net"], NEWSLETTER)?;
    let mail = peer.wait(1)?.remove(0);
    assert!(mail.text().contains("/t/"), "links are tracked");
    let verdicts = |content: &[u8]| -> Result<String> {
        let [message, keys] = ["signed.eml", "records.json"].map(|name| host.folder().join(name));
        std::fs::write(&message, content)?;
        std::fs::write(&keys, records.to_string())?;
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/verify.py");
        let output = std::process::Command::new(&python).arg(script).arg(message).arg(keys).output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(verdicts(&mail.content)?, "rsa pass\ned pass\n");
    let forged = mail.text().replacen("Spring is here.", "Spring is over.", 1);
    assert!(verdicts(forged.as_bytes())?.starts_with("rsa fail\ned fail\n"));
    Ok(())
}

#[test]
fn mail_of_another_domain_is_not_signed() -> Result<()> {
    let peer = Peer::start()?;
    let keys = KEYS.split("[[dkim]]").nth(1).context("the first")?.replace("example.com", "other.example");
    let host = Host::start(&config(peer.address(), &format!("[[dkim]]{keys}")), &[("rsa.pem", RSA.as_bytes())])?;
    Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message("unsigned"))?;
    assert_eq!(peer.wait(1)?[0].header("DKIM-Signature"), None);
    Ok(())
}

fn der(pem: &str) -> Result<Vec<u8>> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    Ok(BASE64_STANDARD.decode(base64)?)
}
