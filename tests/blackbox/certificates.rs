//! A renewed certificate is shown without a restart, and a broken one is not. Who asks for a name gets the certificate for it.

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

/// Says what a server must show to be believed, and who asks.
fn is_shown(address: std::net::SocketAddr, name: &str, certificate: &Certificate) -> Result<bool> {
    let mut client = Client::connect(address)?;
    client.start_tls_with(certificate.client()?, name)?;
    Ok(client.handshake().is_ok())
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() -> Result<()> {
    let peer = Peer::start()?;
    let text = config(
        peer.address(),
        "[[certificates]]\ncertificate = \"one.pem\"\nkey = \"one.key\"\n[[certificates]]\nnames = [\"*.two.example\"]\ncertificate = \"two.pem\"\nkey = \"two.key\"\n",
    );
    let text = text.replace("key = \"key.pem\"", "key = \"key.pem\"\nwatch_interval = \"50ms\"");
    let text = format!("{text}\n[[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n");
    let (one, two) = (Certificate::for_names(&["one.example"])?, Certificate::for_names(&["*.two.example"])?);
    let files = [("one.pem", one.files().0), ("one.key", one.files().1), ("two.pem", two.files().0), ("two.key", two.files().1)];
    let mut host = Host::start(&text, &files)?;
    // Key and certificate are two files: the server may look between them.
    host.expected_errors.push("the certificate is not loaded again");
    for address in [host.address("smtp implicit"), host.address("http implicit")] {
        for (name, certificate) in [("one.example", &one), ("mail.two.example", &two), ("localhost", &host.certificate)] {
            ensure!(is_shown(address, name, certificate)?, "{name}");
        }
        // One that nobody has is answered with the first, which is not for it.
        ensure!(!is_shown(address, "three.example", &one)? && !is_shown(address, "a.b.two.example", &two)?);
    }
    // By address there is no name to ask for.
    ensure!(is_shown(host.address("smtp implicit"), "127.0.0.1", &host.certificate)?);
    let renewed = Certificate::for_names(&["one.example"])?;
    std::fs::write(host.folder().join("one.key"), renewed.files().1)?;
    std::fs::write(host.folder().join("one.pem"), renewed.files().0)?;
    wait_for("the new certificate", || is_shown(host.address("smtp implicit"), "one.example", &renewed).ok()?.then_some(()))?;
    ensure!(is_shown(host.address("smtp implicit"), "localhost", &host.certificate)?);
    Ok(())
}
