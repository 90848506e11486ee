//! Content that is not in lines (RFC 3030): it goes on as it came to next hops that take it, and in base64 to all others.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::RsaKeyPair;
use tubepost_tests::client::Client;
use tubepost_tests::dkim::verify;
use tubepost_tests::host::Host;
use tubepost_tests::mime::Part;
use tubepost_tests::peer::{Peer, Protection};
use tubepost_tests::setup::{PASSWORD, config, login};
use tubepost_tests::wait::wait_for;

/// Made for the tests of DKIM.
const RSA: &str = include_str!("keys/rsa.pem");
const TAKES_BINARY: &[&str] = &["8BITMIME", "CHUNKING", "BINARYMIME"];
const HEADER: &str = "From: s@example.com\r\nTo: r@example.net\r\nSubject: binary\r\nMIME-Version: 1.0\r\n\
                      Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n";

/// Everything that is no line, and what would end DATA; in UTF-8, as what checks signatures here works on text.
fn octets() -> Vec<u8> {
    [b"\0\n.\n\r.\r\r\n.\r\n.\r\nMAIL FROM:<ceo@example.com>\r\n  \t\n \r\n\r\n".as_slice(), "grün".repeat(2_000).as_bytes(), b"\r\n\n\0"]
        .concat()
}

/// Sends octets with this in the header, in two chunks.
fn send(host: &Host, login: &str, to: &str, mail: &str, fields: &str) -> Result<String> {
    let content = [HEADER.as_bytes(), fields.as_bytes(), b"\r\n", &octets()].concat();
    let mut client = Client::login(host.address("smtp none"), login, PASSWORD)?;
    client.command(&format!("MAIL FROM:<s@example.com> BODY=BINARYMIME{mail}"), 250)?;
    client.command(&format!("RCPT TO:<{to}>"), 250)?;
    let (first, last) = content.split_at(content.len() / 2);
    client.send([format!("BDAT {}\r\n", first.len()).as_bytes(), first].concat())?;
    client.expect(250)?;
    client.send([format!("BDAT {} LAST\r\n", last.len()).as_bytes(), last].concat())?;
    let reply = client.expect(250)?.text();
    reply.split_whitespace().find(|word| word.len() == 26).map(str::to_owned).context("an id")
}

/// What stands behind the header.
fn body(content: &[u8]) -> &[u8] {
    let end = content.windows(4).position(|window| window == b"\r\n\r\n").map_or(content.len(), |place| place + 4);
    &content[end..]
}

fn mail_command(peer: &Peer) -> String {
    peer.transcript().into_iter().rfind(|line| line.starts_with("MAIL")).unwrap_or_default()
}

#[test]
fn a_next_hop_that_takes_it_gets_every_octet_and_a_good_signature() -> Result<()> {
    let peer = Peer::offering(Protection::None, TAKES_BINARY)?;
    let key = "[[dkim]]\ndomain = \"example.com\"\nselector = \"rsa\"\nkey = \"file:rsa.pem\"\n";
    let mut host = Host::start(&config(peer.address(), key), &[("rsa.pem", RSA.as_bytes())])?;
    send(&host, "plain", "r@example.net", "", "X-SMTPeter-Tags: gone\r\n")?;
    let taken = peer.wait(1)?.remove(0);
    ensure!(body(&taken.content) == octets(), "{}", taken.text());
    ensure!(taken.header("Content-Transfer-Encoding").as_deref() == Some("binary"), "{}", taken.text());
    ensure!(taken.header("Received").is_some() && taken.header("X-SMTPeter-Tags").is_none(), "{}", taken.text());
    let command = mail_command(&peer);
    ensure!(command.contains(" BODY=BINARYMIME"), "{command}");
    ensure!(!peer.transcript().iter().any(|line| line == "DATA" || line.contains("ceo@")), "{:?}", peer.transcript());
    let public = RsaKeyPair::from_pkcs8(&pem(RSA)?).ok().context("an RSA key")?;
    verify(&taken.content, "rsa", public.public().as_ref())?;

    // It waits on the disk as it is, over a crash too.
    peer.refuse_next("later@example.net", "451 4.3.0 later");
    send(&host, "plain", "later@example.net", "", "")?;
    wait_for("the first attempt", || peer.transcript().iter().any(|line| line.contains("later@")).then_some(()))?;
    host.kill()?;
    host.configure(&config(peer.address(), &format!("{key}[delivery]\nretry_first = \"100ms\"\n")))?;
    host.launch()?;
    host.say(&["queue", "retry", "all"])?;
    let later = peer.wait(2)?.remove(1);
    ensure!(body(&later.content) == octets(), "{}", later.text());
    Ok(())
}

#[test]
fn all_others_get_base64() -> Result<()> {
    for offers in [&["8BITMIME", "CHUNKING"][..], &["8BITMIME", "BINARYMIME"], &["CHUNKING"], &[]] {
        let peer = Peer::offering(Protection::None, offers)?;
        let key = "[[dkim]]\ndomain = \"example.com\"\nselector = \"rsa\"\nkey = \"file:rsa.pem\"\n";
        let host = Host::start(&config(peer.address(), key), &[("rsa.pem", RSA.as_bytes())])?;
        send(&host, "plain", "r@example.net", "", "")?;
        let taken = peer.wait(1)?.remove(0);
        ensure!(taken.content.is_ascii() && !mail_command(&peer).contains("BODY="), "{offers:?}: {}", taken.text());
        ensure!(Part::read(&taken.text()).content() == octets(), "{offers:?}: {}", taken.text());
        let public = RsaKeyPair::from_pkcs8(&pem(RSA)?).ok().context("an RSA key")?;
        verify(&taken.content, "rsa", public.public().as_ref())?;
    }
    Ok(())
}

#[test]
fn a_chunk_that_is_not_taken_comes_again_or_comes_back_in_lines() -> Result<()> {
    let peer = Peer::offering(Protection::None, TAKES_BINARY)?;
    let host = Host::start(&config(peer.address(), "[delivery]\nretry_first = \"100ms\"\n"), &[])?;
    peer.refuse_next("BDAT", "452 4.3.1 no room");
    peer.refuse_next("BDAT", "452 4.3.1 no room");
    send(&host, "plain", "again@example.net", "", "")?;
    let again = peer.wait(1)?.remove(0);
    ensure!(body(&again.content) == octets() && again.to == ["again@example.net"], "{}", again.text());
    // After a chunk that was not taken nobody knows what is open at the server.
    ensure!(peer.transcript().iter().filter(|line| line.starts_with("BDAT")).count() == 3, "{:?}", peer.transcript());

    peer.refuse_next("BDAT", "554 5.6.1 no octets please");
    send(&host, "plain", "never@example.net", " RET=FULL", "")?;
    let report = peer.wait(2)?.remove(1);
    ensure!(report.from.is_empty() && report.to == ["s@example.com"], "{report:?}");
    let text = report.text();
    ensure!(report.content.is_ascii() && text.contains("554 5.6.1 no octets please"), "{text}");
    ensure!(text.replace("\r\n", "").contains(&BASE64_STANDARD.encode(octets())[..76]), "{text}");
    host.wait_for_empty_queue()
}

#[test]
fn what_plugins_change_is_in_lines() -> Result<()> {
    let peer = Peer::offering(Protection::None, TAKES_BINARY)?;
    let tagged = login("tagged", "route = \"peer\"\nchain = \"tagged\"");
    let text = config(peer.address(), &tagged).replacen("[chains]\n", "[chains]\ntagged = [ \"tags\" ]\n", 1);
    let host = Host::start(&text, &[])?;
    let id = send(&host, "tagged", "r@example.net", "", "X-Tubepost-Tags: spring\r\n")?;
    let taken = peer.wait(1)?.remove(0);
    ensure!(taken.content.is_ascii() && Part::read(&taken.text()).content() == octets(), "{}", taken.text());
    ensure!(host.json(&["message", "show", &id])?.to_string().contains("\"spring\""));
    // Plugins that have nothing to do leave it as it came.
    send(&host, "tagged", "r@example.net", "", "")?;
    ensure!(body(&peer.wait(2)?.remove(1).content) == octets());
    Ok(())
}

fn pem(text: &str) -> Result<Vec<u8>> {
    let inner: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    Ok(BASE64_STANDARD.decode(inner)?)
}
