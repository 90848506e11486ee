//! A certificate is fetched from an authority (ACME) and put to use without a restart: with Pebble, the authority for tests.
//!
//! `cargo xtask test` installs Pebble where it can and says where it is in `TUBEPOST_PEBBLE`; without it there is nothing to do.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tubepost_tests::certificate::{Certificate, trusting};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::request_tls;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::config;
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

const NAME: &str = "mail.example.com";

/// An authority that runs.
struct Pebble {
    process: Child,
    folder: TempDir,
    certificate: Certificate,
    directory: u16,
    management: u16,
}

impl Pebble {
    /// Starts it; it looks for the answers to its challenges on these ports. `None` where it is not installed.
    fn start(http: u16, tls: u16) -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("TUBEPOST_PEBBLE").filter(|program| !program.is_empty()) else { return Ok(None) };
        let zone = Zone::start()?.address_of(NAME, Ipv4Addr::LOCALHOST);
        let folder = TempDir::new()?;
        let certificate = Certificate::new()?;
        certificate.write(folder.path())?;
        let (directory, management) = (free_port()?, free_port()?);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{directory}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("cert.pem"),
            "privateKey": path("key.pem"),
            "httpPort": http,
            "tlsPort": tls,
        }});
        std::fs::write(folder.path().join("pebble.json"), settings.to_string())?;
        let log = File::create(folder.path().join("pebble.log"))?;
        let process = Command::new(program)
            .args(["-config", &path("pebble.json"), "-dnsserver", &zone.address().to_string()])
            // It shall not wait for luck, and it refuses some nonces, as real ones do.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pebble = Self { process, folder, certificate, directory, management };
        wait_for("the directory of Pebble", || pebble.ask(directory, "/dir").ok())?;
        Ok(Some(pebble))
    }

    fn ask(&self, port: u16, target: &str) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(request_tls(address, self.certificate.client()?, "GET", target, &[], b"")?.text())
    }

    /// The certificate that all others stand on.
    fn root(&self) -> Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_slice(self.ask(self.management, "/roots/0")?.as_bytes())?)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn fetch(challenge: &str) -> Result<()> {
    let (http, tls) = (free_port()?, free_port()?);
    let Some(pebble) = Pebble::start(http, tls)? else { return Ok(()) };
    let acme = format!(
        "[acme]\ndirectory = \"https://localhost:{}/dir\"\nca = \"pebble.pem\"\nterms_of_service_agreed = true\n\
         contact = \"postmaster@example.com\"\nchallenge = \"{challenge}\"\n\
         [[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:{http}\"\ntls = \"none\"\n\
         [[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:{tls}\"\ntls = \"implicit\"\n",
        pebble.directory
    );
    let peer = Peer::start()?;
    let settings = config(peer.address(), &acme).replace("[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n", "");
    let mut host = Host::start(&settings, &[("pebble.pem", pebble.certificate.pem().as_bytes())])?;
    host.wait_for_log("a new certificate is in use").with_context(|| pebble.log())?;

    // Every listener shows it, on new connections.
    let trusting = trusting(pebble.root()?)?;
    let greet = |host: &Host| -> Result<()> {
        let mut client = Client::connect(host.address("smtp implicit"))?;
        client.start_tls_with(trusting.clone(), NAME)?;
        client.expect(220)?;
        let mut client = Client::connect(host.address("smtp starttls"))?;
        client.expect(220)?;
        client.command("EHLO client.example", 250)?;
        client.command("STARTTLS", 220)?;
        client.start_tls_with(trusting.clone(), NAME)?;
        client.command("EHLO client.example", 250)?;
        Ok(())
    };
    greet(&host)?;

    // After a restart it is there at once, and the authority is left alone.
    drop(pebble);
    host.terminate()?;
    host.launch()?;
    greet(&host)
}

#[test]
fn a_certificate_is_fetched_over_http() -> Result<()> {
    fetch("http-01")
}

#[test]
fn a_certificate_is_fetched_over_tls() -> Result<()> {
    fetch("tls-alpn-01")
}
