//! A renewed certificate is shown without a restart, and a broken one is not.

use anyhow::{Result, ensure};
use tubepost_tests::certificate::Certificate;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};
use tubepost_tests::wait::wait_for;

#[test]
fn a_new_certificate_is_shown_and_an_open_connection_goes_on() -> Result<()> {
    let peer = Peer::start()?;
    let settings = config(peer.address(), "").replace("key = \"key.pem\"", "key = \"key.pem\"\nwatch_interval = \"50ms\"");
    let mut host = Host::start(&settings, &[])?;
    host.expected_errors.push("the certificate is not loaded again");
    let address = host.address("smtp implicit");
    let open = |certificate: &Certificate| -> Result<Client> {
        let mut client = Client::connect_tls(address, certificate.client()?)?;
        client.expect(220)?;
        client.command("EHLO client.example", 250)?;
        Ok(client)
    };
    let mut before = open(&host.certificate)?;
    before.auth_plain("plain", PASSWORD)?;

    std::fs::write(host.folder().join("cert.pem"), "nothing of the kind")?;
    host.wait_for_log("the certificate is not loaded again")?;
    open(&host.certificate)?;

    let renewed = Certificate::new()?;
    renewed.write(host.folder())?;
    wait_for("the new certificate", || open(&renewed).ok())?;
    ensure!(open(&host.certificate).is_err(), "the old one is shown no more");
    before.deliver("s@example.com", &["r@example.net"], &message("over the change"))?;
    ensure!(peer.wait(1)?.len() == 1);
    Ok(())
}
