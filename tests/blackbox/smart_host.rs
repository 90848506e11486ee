//! The `smarthost` route with `tls = "required"`: mail and password go to nobody but the host that the certificate is for.

use anyhow::Result;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Protection};
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;

/// A server whose login `upstream` sends through `peer`, which must show a certificate that `ca` vouches for.
fn start(peer: &Peer, ca: &Certificate, more: &str) -> Result<Host> {
    let (host, port) = (peer.address().ip(), peer.address().port());
    let route = format!(
        "[routes.upstream]\nkind = \"smarthost\"\nhost = \"{host}\"\nport = {port}\ntls = \"required\"\nca = \"ca.pem\"\nusername = \"us\"\npassword = \"file:upstream-password\"\n{more}\n"
    );
    let text = config(peer.address(), &format!("{route}{}", login("upstream", "route = \"upstream\"")));
    Host::start(&text, &[("ca.pem", ca.pem().as_bytes()), ("upstream-password", b"open sesame\n")])
}

fn send(host: &Host, subject: &str) -> Result<String> {
    Client::login(host.address("smtp none"), "upstream", PASSWORD)?.deliver(
        "sender@example.com",
        &["reader@example.net"],
        &message(subject),
    )
}

#[test]
fn it_is_logged_in_to_over_starttls_and_implicit_tls() -> Result<()> {
    let certificate = Certificate::new()?;
    for (protection, more) in
        [(Protection::StartTls(certificate.server()?), ""), (Protection::Implicit(certificate.server()?), "implicit_tls = true")]
    {
        let peer = Peer::start_with(protection, Some(("us", "open sesame")))?;
        let host = start(&peer, &certificate, more)?;
        send(&host, "upstream")?;
        let taken = peer.wait(1)?.remove(0);
        assert!(taken.tls && taken.user == "us", "{taken:?}");
        host.wait_for_empty_queue()?;
    }
    Ok(())
}

#[test]
fn nothing_is_told_to_a_host_with_another_certificate_or_without_tls() -> Result<()> {
    let (trusted, other) = (Certificate::new()?, Certificate::new()?);
    for protection in [Protection::StartTls(other.server()?), Protection::None] {
        let peer = Peer::start_with(protection, Some(("us", "open sesame")))?;
        let host = start(&peer, &trusted, "")?;
        let id = send(&host, "not in the clear")?;
        let copy = wait_for("the deferral", || {
            let copies = host.json(&["queue", "list"]).ok()?;
            copies.as_array()?.iter().find(|copy| copy["attempts"] == 1).cloned()
        })?;
        let reason = copy["last"].as_str().unwrap_or_default().to_lowercase();
        assert!(reason.contains("certificate") || reason.contains("tls"), "the reason is told: {copy}");
        let transcript = peer.transcript();
        assert!(!transcript.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{transcript:?}");
        assert_eq!(host.say(&["queue", "cancel", &id])?.trim(), "1 copy cancelled");
    }
    Ok(())
}
