//! Who comes first when more waits than can go out: logins take turns, and a login's own priorities count.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, login, message};

/// An address in front of `peer` where connections stand still until something is sent to the channel.
fn gate(peer: SocketAddr) -> Result<(SocketAddr, Sender<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (open, opened) = channel();
    thread::spawn(move || -> Result<()> {
        let mut is_open = false;
        for client in listener.incoming() {
            let client = client?;
            if !std::mem::replace(&mut is_open, true) {
                opened.recv()?;
            }
            let server = TcpStream::connect(peer)?;
            for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
                thread::spawn(move || io::copy(&mut from, &mut to).and_then(|_| to.shutdown(std::net::Shutdown::Write)));
            }
        }
        Ok(())
    });
    Ok((address, open))
}

#[test]
fn the_many_mails_of_one_login_do_not_delay_the_few_of_another() -> Result<()> {
    const MANY: usize = 300;
    let peer = Peer::start()?;
    let (address, open) = gate(peer.address())?;
    let few = login("few", "route = \"peer\"");
    let many = login("many", "route = \"peer\"\nlimits = { priority = 4 }");
    let more = format!("[delivery]\nconnections_per_destination = 1\nrecipients_per_transaction = 1\n{few}{many}");
    let host = Host::start(&config(address, &more), &[])?;
    let mut client = Client::login(host.address("smtp none"), "many", PASSWORD)?;
    for number in 0..MANY {
        client.deliver("sender@example.com", &[&format!("many{number}@example.net")], &message("many"))?;
    }
    for number in 0..3 {
        client.command("MAIL FROM:<sender@example.com> MT-PRIORITY=4", 250)?;
        client.command(&format!("RCPT TO:<urgent{number}@example.net>"), 250)?;
        client.command("DATA", 354)?;
        client.send([message("urgent"), b".\r\n".to_vec()].concat())?;
        client.expect(250)?;
    }
    let mut other = Client::login(host.address("smtp none"), "few", PASSWORD)?;
    for number in 0..3 {
        other.deliver("sender@example.com", &[&format!("few{number}@example.net")], &message("few"))?;
    }
    open.send(())?;
    let order: Vec<String> = peer.wait(MANY + 6)?.into_iter().flat_map(|mail| mail.to).collect();
    for name in ["few", "urgent"] {
        let last = order.iter().rposition(|to| to.starts_with(name)).unwrap_or(MANY);
        assert!(last < MANY / 2, "the last mail of {name} came as number {last}:\n{order:?}");
    }
    host.wait_for_empty_queue()
}
