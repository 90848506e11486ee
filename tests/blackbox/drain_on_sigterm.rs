//! SIGTERM ends the server in good order: exit code 0, and what is in the queue is there at the next start.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::get;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};
use tubepost_tests::wait::{PATIENCE, wait_for};

#[test]
fn the_queue_is_there_after_a_restart() -> Result<()> {
    let peer = Peer::start()?;
    let mut host = Host::start(&config(peer.address(), "[delivery]\nretry_first = \"1s\"\n"), &[])?;
    peer.refuse_next("later@example.net", "451 4.3.0 not now");
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.deliver("sender@example.com", &["later@example.net"], &message("over a restart"))?;
    wait_for("the deferral", || peer.transcript().iter().any(|line| line.contains("later@example.net")).then_some(()))?;
    assert_eq!(host.terminate()?, Some(0), "{}", host.log());
    assert_eq!(client.reply().map_or(421, |reply| reply.code), 421, "an idle session hears 421 or is closed");
    host.launch()?;
    let taken = peer.wait(1)?;
    assert_eq!(taken[0].to, ["later@example.net"]);
    Ok(())
}

#[test]
fn a_server_that_drains_is_not_ready() -> Result<()> {
    let mut host = Host::start(&config("127.0.0.1:9".parse()?, ""), &[])?;
    let http = host.address("http none");
    // A request that has begun may end.
    let mut open = TcpStream::connect(http)?;
    open.set_read_timeout(Some(PATIENCE))?;
    open.write_all(b"GET /readyz HTTP/1.1\r\n")?;
    wait_for("both connections", || {
        get(http, "/metrics").ok()?.text().contains("tubepost_connections{protocol=\"http\"} 2\n").then_some(())
    })?;
    assert_eq!(get(http, "/readyz")?.status, 200);
    host.signal("TERM")?;
    host.wait_for_log("draining")?;
    open.write_all(b"Host: x\r\n\r\n")?;
    let mut answer = String::new();
    open.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("the server is draining\n"), "{answer}");
    assert_eq!(host.terminate()?, Some(0), "{}", host.log());
    Ok(())
}
