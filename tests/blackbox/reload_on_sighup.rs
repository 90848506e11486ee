//! SIGHUP: all of a new configuration, or nothing of it; sessions go on.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, login, message};

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");

#[test]
fn a_new_login_and_a_changed_chain_count_at_once_and_no_session_is_dropped() -> Result<()> {
    let peer = Peer::start()?;
    let host = Host::start(&config(peer.address(), ""), &[])?;
    let smtp = host.address("smtp none");
    let mut open = Client::login(smtp, "plain", PASSWORD)?;
    open.deliver("s@example.com", &["one@example.net"], &message("before"))?;
    // In the middle of a transaction, too.
    open.command("MAIL FROM:<s@example.com>", 250)?;

    let more = login("added", "route = \"peer\"");
    let changed = config(peer.address(), &more).replace("clicks = true, opens = true,", "clicks = false, opens = false,");
    host.configure(&changed)?;
    host.signal("HUP")?;
    host.wait_for_log("reloaded: 4 logins")?;

    open.command("RCPT TO:<two@example.net>", 250)?;
    open.command("DATA", 354)?;
    open.send(message("over the reload"))?;
    open.send(".\r\n")?;
    open.expect(250)?;
    Client::login(smtp, "added", PASSWORD)?.deliver("s@example.com", &["three@example.net"], &message("added"))?;
    Client::login(smtp, "marketing", PASSWORD)?.deliver("news@example.com", &["four@example.net"], NEWSLETTER)?;
    let taken = peer.wait(4)?;
    let marketing = taken.iter().find(|mail| mail.to == ["four@example.net"]).unwrap().text();
    assert!(!marketing.contains("http://links.example.com/t/"), "tracking was switched off:\n{marketing}");
    assert!(marketing.contains("http://links.example.com/u/"), "the rest of the chain runs:\n{marketing}");
    Ok(())
}

#[test]
fn a_broken_configuration_changes_nothing_and_is_logged() -> Result<()> {
    let peer = Peer::start()?;
    let good = config(peer.address(), "");
    let mut host = Host::start(&good, &[])?;
    host.expected_errors.push("not reloaded");
    let more = login("added", "route = \"peer\"");
    for (broken, reason) in [
        (format!("{more}\n[routes.other]\nkind = \"smart\"\n"), "tubepost.toml"),
        (format!("{more}\n[plugins.mine]\nsource = \"nothing.wasm\"\n"), "nothing.wasm"),
        // It reads well, and is no plugin.
        (format!("{more}\n[plugins.mine]\nsource = \"tubepost.toml\"\n"), "mine"),
        (format!("{more}\n[smtp]\nmessage_siez = \"1KiB\"\n"), "message_siez"),
    ] {
        let failures = host.log().matches("not reloaded").count();
        host.configure(&config(peer.address(), &broken))?;
        host.signal("HUP")?;
        tubepost_tests::wait::wait_for("the failure in the log", || (host.log().matches("not reloaded").count() > failures).then_some(()))?;
        assert!(host.log().contains(reason), "{reason:?} is not in the log: {}", host.log());
        assert!(Client::login(host.address("smtp none"), "added", PASSWORD).is_err(), "half of it was taken: {broken}");
        Client::login(host.address("smtp none"), "plain", PASSWORD)?.deliver(
            "s@example.com",
            &["r@example.net"],
            &message("still here"),
        )?;
    }
    peer.wait(4)?;
    // What is right again counts again.
    host.configure(&config(peer.address(), &more))?;
    host.signal("HUP")?;
    host.wait_for_log("reloaded: 4 logins")?;
    assert_eq!(host.terminate()?, Some(0));
    // A start, though, needs a good one.
    host.configure(&good.replace("[server]", "[sever]"))?;
    let output = host.command(&["serve"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("sever"), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
