//! Under a service manager: it hears what happens, may hold the sockets, and has a unit that it understands.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::client::Client;
use tubepost_tests::host::binary;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};
use tubepost_tests::wait::{PATIENCE, wait_for};

/// A server as a service manager starts it.
struct Service {
    child: Child,
    notify: UnixDatagram,
    _folder: TempDir,
}

impl Service {
    /// Starts it with a socket for SMTP that is bound already.
    fn start(peer: &Peer, smtp: &TcpListener) -> Result<Self> {
        let folder = TempDir::new()?;
        Certificate::new()?.write(folder.path())?;
        tubepost_tests::compiled::lend(&folder.path().join("data").join("compiled"));
        let address = smtp.local_addr()?;
        let text = config(peer.address(), "").replacen("address = \"127.0.0.1:0\"", &format!("address = \"{address}\""), 1);
        fs::write(folder.path().join("tubepost.toml"), text)?;
        let path = folder.path().join("notify");
        let notify = UnixDatagram::bind(&path)?;
        notify.set_read_timeout(Some(PATIENCE))?;
        // The first socket that is passed has the number 3; the shell puts it there, and is the process that becomes the server.
        let child = Command::new("sh")
            .args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 </dev/null"])
            .arg(binary())
            .args(["serve", "--config"])
            .arg(folder.path().join("tubepost.toml"))
            .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "submission"), ("WATCHDOG_USEC", "200000")])
            .env("NOTIFY_SOCKET", path)
            .stdin(Stdio::from(OwnedFd::from(smtp.try_clone()?)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, notify, _folder: folder })
    }

    /// Waits until the manager is told something.
    fn told(&self, what: &str) -> Result<String> {
        let mut octets = [0; 1024];
        loop {
            let length = self.notify.recv(&mut octets).with_context(|| format!("waiting for {what}"))?;
            let said = String::from_utf8_lossy(&octets[..length]).into_owned();
            if said.lines().any(|line| line == what) {
                return Ok(said);
            }
        }
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        ensure!(status.success());
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn deliver(smtp: SocketAddr, subject: &str) -> Result<()> {
    Client::login(smtp, "plain", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message(subject)).map(drop)
}

#[test]
fn a_service_manager_holds_the_sockets_and_hears_what_happens() -> Result<()> {
    let peer = Peer::start()?;
    let smtp = TcpListener::bind("127.0.0.1:0")?;
    let address = smtp.local_addr()?;
    let mut service = Service::start(&peer, &smtp)?;
    let lines = BufReader::new(service.child.stdout.take().context("piped")?);
    // Nobody else could have bound it: the test holds it itself.
    let expected = format!("listening on smtp {address} (none)");
    ensure!(lines.lines().map_while(Result::ok).take_while(|line| line != "ready").any(|line| line == expected));
    ensure!(service.told("READY=1")?.contains("STATUS="));
    deliver(address, "passed")?;
    service.told("WATCHDOG=1")?;
    service.told("WATCHDOG=1")?;

    service.signal("HUP")?;
    let reloading = service.told("RELOADING=1")?;
    ensure!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    service.told("READY=1")?;

    service.signal("TERM")?;
    service.told("STOPPING=1")?;
    wait_for("the end", || service.child.try_wait().ok().flatten())?;
    // Whoever comes between two starts waits in the socket, and is served by the next.
    let mut early = Client::connect(address)?;
    let service = Service::start(&peer, &smtp)?;
    service.told("READY=1")?;
    early.expect(220)?;
    deliver(address, "after")?;
    peer.wait(2).map(drop)
}

fn contrib() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd")
}

/// The exposure that the unit may have, of 100: what mail takes (the network) and what just-in-time compilation takes (W^X) is all that is left.
const MOST_EXPOSURE: &str = "20";

#[test]
fn the_unit_is_understood_and_hardened() -> Result<()> {
    let unit = fs::read_to_string(contrib().join("tubepost.service"))?;
    for needed in [
        "Type=notify",
        "ExecReload=",
        "User=tubepost",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "SystemCallFilter=@system-service",
        "StateDirectory=tubepost",
        "WatchdogSec=",
    ] {
        ensure!(unit.lines().any(|line| line.starts_with(needed)), "no {needed} in the unit");
    }
    ensure!(!unit.lines().any(|line| line == "MemoryDenyWriteExecute=yes"), "plugins are compiled while the server runs");
    // The programs that the unit names are where they are installed, which is not here.
    let folder = TempDir::new()?;
    let path = folder.path().join("tubepost.service");
    fs::write(&path, unit.replace("/usr/bin/tubepost", &binary().display().to_string()))?;
    fs::copy(contrib().join("tubepost.socket"), folder.path().join("tubepost.socket"))?;
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&path).output();
    let Ok(verified) = analyze(&["verify", "--man=no"]) else {
        return Ok(writeln!(std::io::stderr(), "SKIPPED: the unit is verified: there is no systemd-analyze")?);
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    // Of units of the machine that the tests run on, more may be said.
    ensure!(verified.status.success() && !said.contains("tubepost.s"), "{said}");
    let secure = analyze(&["security", "--offline=true", "--no-pager", &format!("--threshold={MOST_EXPOSURE}")])?;
    ensure!(secure.status.success(), "{}{}", String::from_utf8_lossy(&secure.stdout), String::from_utf8_lossy(&secure.stderr));
    Ok(())
}
