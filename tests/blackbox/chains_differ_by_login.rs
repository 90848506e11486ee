//! The same newsletter through logins with different chains.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::{Peer, Taken};
use tubepost_tests::setup::{PASSWORD, PASSWORD_HASH, config};

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");

#[test]
fn each_login_has_its_own_chain() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), "").replace("http://links.example.com", "https://links.example.com"), &[])?;
    let plain = send(&host, &peer, "plain", NEWSLETTER, 1)?;
    assert!(plain.content.ends_with(NEWSLETTER), "{}", plain.text());

    let marketing = send(&host, &peer, "marketing", NEWSLETTER, 2)?;
    let text = unfolded(&marketing);
    assert_eq!(marketing.header("X-OMS-Tags"), None, "tags are taken out");
    assert!(marketing.header("List-Unsubscribe").is_some_and(|field| field.contains("https://links.example.com/u/")), "{text}");
    assert_eq!(marketing.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    assert!(text.contains("color: #336699") && text.contains("@media"), "styles are inlined, media rules stay:\n{text}");
    assert!(text.contains("https://links.example.com/t/"), "links are tracked:\n{text}");
    assert!(!text.contains("href=\"https://shop.example.com/spring"), "{text}");
    assert!(text.contains("<a href=\"https://www.example.com/\">www.example.com</a>"), "a link that shows its target stays:\n{text}");
    assert!(text.contains("mailto:help@example.com"));
    assert!(text.contains("Spring is here: https://shop.example.com/spring?from=letter&id=7"), "the text part stays:\n{text}");

    let found = host.command(&["message", "search", "--json", "tag:spring"])?;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    Ok(())
}

#[test]
fn special_headers_set_options_and_are_stripped() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(
        &config(
            peer.address(),
            &format!(
                "[[logins]]\nname = \"requested\"\nusername = \"requested\"\npassword = \"{PASSWORD_HASH}\"\nroute = \"peer\"\nchain = \"requested\"\n"
            ),
        )
        .replace("[chains]\n", "[chains]\nrequested = [ \"tags\", { use = \"inline-css\", when = \"requested\" }, { use = \"tracking\", when = \"requested\" } ]\n"),
        &[],
    )?;
    let untouched = send(&host, &peer, "requested", &without(NEWSLETTER, "X-OMS-Tags"), 1)?;
    assert!(untouched.content.ends_with(&without(NEWSLETTER, "X-OMS-Tags")), "nothing was asked for:\n{}", untouched.text());

    let asking = with(NEWSLETTER, "x-smtpeter-inlinecss: true\r\nX-SMTPeter-TrackClicks: false\r\nx-smtpeter-images: hosted\r\n");
    let inlined = send(&host, &peer, "requested", &asking, 2)?;
    let text = unfolded(&inlined);
    assert!(!text.to_lowercase().contains("x-smtpeter-"), "{text}");
    assert!(text.contains("style=\"color: #336699"), "{text}");
    assert!(text.contains("https://shop.example.com/spring?from=letter&amp;id=7#top"), "{text}");
    Ok(())
}

fn send(host: &Host, peer: &Peer, login: &str, message: &[u8], count: usize) -> Result<Taken> {
    let mut client = Client::login(host.address("smtp none"), login, PASSWORD)?;
    client.deliver("news@example.com", &["ann@example.net"], message)?;
    Ok(peer.wait(count)?.pop().unwrap())
}

/// The content with quoted-printable taken off, as far as these tests look at it.
fn unfolded(mail: &Taken) -> String {
    mail.text().replace("=\r\n", "").replace("=3D", "=")
}

fn with(message: &[u8], fields: &str) -> Vec<u8> {
    [fields.as_bytes(), message].concat()
}

fn without(message: &[u8], name: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(message);
    text.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect::<String>().into_bytes()
}
