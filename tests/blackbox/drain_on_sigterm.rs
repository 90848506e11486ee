//! SIGTERM ends the server in good order: exit code 0, and what is in the queue is there at the next start.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};

#[test]
fn the_queue_is_there_after_a_restart() -> Result<()> {
    let peer = Peer::start()?;
    let mut host = Host::start(&config(peer.address(), "[delivery]\nretry_first = \"1s\"\n"), &[])?;
    peer.refuse_next("later@example.net", "451 4.3.0 not now");
    let mut client = Client::login(host.address("smtp none"), "plain", PASSWORD)?;
    client.deliver("sender@example.com", &["later@example.net"], &message("over a restart"))?;
    tubepost_tests::wait::wait_for("the deferral", || {
        peer.transcript().iter().any(|line| line.contains("later@example.net")).then_some(())
    })?;
    assert_eq!(host.terminate()?, Some(0), "{}", host.log());
    assert_eq!(client.reply().map_or(421, |reply| reply.code), 421, "an idle session hears 421 or is closed");
    host.launch()?;
    let taken = peer.wait(1)?;
    assert_eq!(taken[0].to, ["later@example.net"]);
    Ok(())
}
