//! Connections on which nobody says anything: they do not keep others out for longer than the header of a request may take.

use std::io::Read as _;
use std::net::TcpStream;

use anyhow::Result;
use tubepost_tests::host::Host;
use tubepost_tests::http::get;
use tubepost_tests::setup::config;
use tubepost_tests::wait::PATIENCE;

#[test]
fn silent_sockets_give_their_places_back() -> Result<()> {
    let limits = "[http]\nconnections = 4\nheader_time = \"1s\"\n";
    let host = Host::start(&config("127.0.0.1:9".parse()?, limits), &[])?;
    let http = host.address("http none");
    let mut silent = (0..4).map(|_| TcpStream::connect(http)).collect::<Result<Vec<_>, _>>()?;
    // All places are taken: this one is answered when one of them is closed.
    assert_eq!(get(http, "/healthz")?.status, 200);
    for socket in &mut silent {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

#[test]
fn one_address_does_not_take_all_places() -> Result<()> {
    let limits = "[http]\nconnections_per_address = 2\n";
    let host = Host::start(&config("127.0.0.1:9".parse()?, limits), &[])?;
    let http = host.address("http none");
    let silent = (0..2).map(|_| TcpStream::connect(http)).collect::<Result<Vec<_>, _>>()?;
    let mut third = TcpStream::connect(http)?;
    third.set_read_timeout(Some(PATIENCE))?;
    assert!(!matches!(third.read(&mut [0]), Ok(1..)), "it was let in");
    drop(silent);
    tubepost_tests::wait::wait_for("room for another", || get(http, "/healthz").ok().filter(|answer| answer.status == 200))?;
    Ok(())
}
