//! SIGHUP: all of a new configuration, or nothing of it; sessions go on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::request;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, PASSWORD_HASH, TOKEN, config, login, message};
use tubepost_tests::wait::{PATIENCE, wait_for};

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
fn what_counts_at_once_and_what_takes_a_restart() -> Result<()> {
    let peer = "127.0.0.1:9".parse()?;
    let good = config(peer, &format!("[dashboard]\npassword = \"{PASSWORD_HASH}\"\n[http]\nbody_size = \"1MiB\"\n"));
    let host = Host::start(&good, &[])?;
    let http = host.address("http none");
    let reload = |text: &str, said: &str| -> Result<()> {
        let before = host.log().matches("reloaded: ").count();
        host.configure(text)?;
        host.signal("HUP")?;
        let log = wait_for("the reload", || Some(host.log()).filter(|log| log.matches("reloaded: ").count() > before))?;
        let line = log.lines().rfind(|line| line.contains("reloaded: ")).unwrap_or_default();
        assert!(line.ends_with(said), "{line}");
        Ok(())
    };
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let log_in = || request(http, "POST", "/dashboard/login", &form, format!("password={PASSWORD}").as_bytes());
    let cookie = log_in()?.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned();
    let dashboard = || -> Result<u16> { Ok(request(http, "GET", "/dashboard", &[("Cookie", &cookie)], b"")?.status) };
    assert_eq!(dashboard()?, 200);
    let mut open = TcpStream::connect(http)?;
    open.set_read_timeout(Some(PATIENCE))?;
    let mut post = |length: usize| -> Result<String> {
        let body = "x".repeat(length);
        write!(open, "POST /v1/send?access_token={TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let mut answer = [0; 4096];
        let length = open.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    assert!(post(2000)?.starts_with("HTTP/1.1 400 "), "the body is read, and makes no sense");

    let changed = good.replace("1MiB", "1KiB\"\nconnections = 500\nrequest_time = \"10s").replace("TAXT", "TAXU");
    let stored = format!("{changed}\n[store]\nretention = \"1d\"\n");
    reload(&stored, "2 routes; changes of [store], http.connections take a restart")?;
    let answer = post(2000)?;
    assert!(answer.starts_with("HTTP/1.1 413 "), "a connection that was open has the new limit: {answer}");
    assert_eq!(dashboard()?, 303, "the session ended with its password");
    assert_eq!(log_in()?.status, 401);
    // It is what the server was started with that counts, not what was read last.
    reload(&changed, "2 routes; changes of http.connections take a restart")?;
    reload(&good, "2 routes")?;
    assert_eq!((log_in()?.status, dashboard()?), (303, 303), "the password is back, the session is not");
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
        wait_for("the failure in the log", || (host.log().matches("not reloaded").count() > failures).then_some(()))?;
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
