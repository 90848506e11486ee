//! Starts the binary, reads the addresses that it bound, and looks at what it logged when the test is over.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::client::Client;
use crate::compiled;
use crate::setup::{PASSWORD, message};
use crate::wait::{PATIENCE, wait_for};

/// How long a start may take: it compiles plugins, and one that brings Python along is twenty megabytes.
const START: Duration = PATIENCE.saturating_mul(4);

/// A running Tubepost with a folder of its own.
pub struct Host {
    folder: TempDir,
    config: PathBuf,
    child: Option<Child>,
    addresses: Vec<(String, SocketAddr)>,
    /// The certificate in the folder.
    pub certificate: Certificate,
    /// Errors in the log that are part of the test.
    pub expected_errors: Vec<&'static str>,
}

impl Host {
    /// Starts Tubepost with `config` as `tubepost.toml` in a new folder, in which `cert.pem`, `key.pem` and `files` are.
    ///
    /// In `config`, `DATA` stands for the data folder.
    ///
    /// # Errors
    /// If it does not come up; with what it said.
    pub fn start(config: &str, files: &[(&str, &[u8])]) -> Result<Self> {
        let folder = TempDir::new()?;
        let certificate = Certificate::new()?;
        certificate.write(folder.path())?;
        for (name, octets) in files {
            std::fs::write(folder.path().join(name), octets)?;
        }
        let path = folder.path().join("tubepost.toml");
        std::fs::write(&path, config)?;
        let mut host = Self { folder, config: path, child: None, addresses: Vec::new(), certificate, expected_errors: Vec::new() };
        compiled::lend(&host.compiled_plugins());
        host.launch()?;
        compiled::keep(&host.compiled_plugins());
        Ok(host)
    }

    /// Writes another configuration in the place of the one that the server started with; it is read at the next start or SIGHUP.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn configure(&self, config: &str) -> Result<()> {
        Ok(std::fs::write(&self.config, config)?)
    }

    /// Starts the process again, after [`Host::kill`] or [`Host::terminate`], on the same data.
    ///
    /// # Errors
    /// If it does not come up; with what it said.
    pub fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("the binary cannot be started; `cargo build --package tubepost` makes it")?;
        let lines = lines_of(child.stdout.take().context("standard output is piped")?);
        self.addresses.clear();
        self.child = Some(child);
        loop {
            let Ok(line) = lines.recv_timeout(START) else {
                let said = self.log();
                self.kill()?;
                bail!("Tubepost did not come up:\n{said}");
            };
            if line == "ready" {
                return Ok(());
            }
            // "listening on smtp 127.0.0.1:4321 (starttls)"
            let mut words: VecDeque<&str> = line.split(' ').collect();
            if words.pop_front() == Some("listening") && words.pop_front() == Some("on") {
                let kind = words.pop_front().unwrap_or_default().to_owned();
                let address = words.pop_front().unwrap_or_default().parse()?;
                let tls = words.pop_front().unwrap_or_default().trim_matches(['(', ')']).to_owned();
                self.addresses.push((format!("{kind} {tls}"), address));
            }
        }
    }

    /// Returns where a listener is bound: `smtp none`, `smtp starttls`, `smtp implicit`, `http none`, …
    ///
    /// # Panics
    /// If there is no such listener.
    pub fn address(&self, kind: &str) -> SocketAddr {
        let found = self.addresses.iter().find(|(known, _)| known == kind);
        found.unwrap_or_else(|| panic!("no listener {kind:?} in {:?}", self.addresses)).1
    }

    /// Returns where all listeners of a kind are bound, in the order of the configuration.
    pub fn addresses(&self, kind: &str) -> Vec<SocketAddr> {
        self.addresses.iter().filter(|(known, _)| known == kind).map(|(_, address)| *address).collect()
    }

    /// The folder with the configuration and the data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Kills the process at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal by name (`TERM`, `HUP`).
    ///
    /// # Errors
    /// If there is no process.
    pub fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.as_ref().context("not running")?.id();
        let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status()?;
        if !status.success() {
            bail!("kill -{name} {id}: {status}");
        }
        Ok(())
    }

    /// Asks the process to end (SIGTERM), waits for it and returns its exit code.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn terminate(&mut self) -> Result<Option<i32>> {
        self.signal("TERM")?;
        let mut child = self.child.take().context("not running")?;
        let status = wait_for("the end after SIGTERM", || child.try_wait().ok().flatten())?;
        Ok(status.code())
    }

    /// Runs another command of the binary with this configuration: `host.command(&["queue", "list", "--json"])`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(binary()).args(arguments).arg("--config").arg(&self.config).stdin(Stdio::null()).output()?)
    }

    /// Runs a command that must succeed with `--json`; returns what it printed.
    ///
    /// # Errors
    /// If it fails, or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let output = self.command(&[arguments, &["--json"]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "tubepost {arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).with_context(|| format!("tubepost {arguments:?} printed no JSON"))
    }

    /// Runs a command that must succeed; returns what it printed.
    ///
    /// # Errors
    /// If it fails.
    pub fn say(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "tubepost {arguments:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Submits a message to one recipient in the name of a login; returns its id.
    ///
    /// # Errors
    /// If it is not taken.
    pub fn send(&self, login: &str, to: &str) -> Result<String> {
        Client::login(self.address("smtp none"), login, PASSWORD)?.deliver("sender@origin.example", &[to], &message(to))
    }

    /// Waits until what is said of a message has this text; returns all that is said of it.
    ///
    /// # Errors
    /// If it does not come.
    pub fn shown(&self, id: &str, text: &str) -> Result<String> {
        wait_for(&format!("{text:?} in what is said of {id}"), || {
            let shown = self.say(&["message", "show", id]).ok()?;
            shown.contains(text).then_some(shown)
        })
    }

    /// Waits until the log has this text.
    ///
    /// # Errors
    /// If it does not come.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        wait_for(&format!("{text:?} in the log"), || self.log().contains(text).then_some(())).with_context(|| self.log())
    }

    /// Waits until nothing is left in the queue.
    ///
    /// # Errors
    /// If something stays.
    pub fn wait_for_empty_queue(&self) -> Result<()> {
        wait_for("an empty queue", || (self.json(&["queue", "list"]).ok()? == serde_json::json!([])).then_some(()))
    }

    /// The process id, for looking at memory and the like.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn compiled_plugins(&self) -> PathBuf {
        self.folder.path().join("data").join("compiled")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log.txt")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            // The log tells what happened; a test that passes prints nothing.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.log().as_bytes());
            return;
        }
        for line in self.log().lines().filter(|line| line.contains("ERROR") || line.contains("panicked")) {
            assert!(self.expected_errors.iter().any(|expected| line.contains(expected)), "an error in the log: {line}");
        }
    }
}

/// Path of the binary: `TUBEPOST_BINARY`, or the one that cargo built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TUBEPOST_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/blackbox-… → target/debug/tubepost
    test.ancestors().nth(2).unwrap_or(Path::new(".")).join("tubepost")
}

fn lines_of(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Goes on reading when nobody listens any more, so that the process never meets a full pipe.
            let _ = sender.try_send(line);
        }
    });
    receiver
}
