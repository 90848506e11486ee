//! A server of our own to measure: this binary, as a child process, with a folder of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clock::Clock;

/// User name and password of every login.
pub const CREDENTIALS: (&str, &str) = ("bench", "bench");
/// The same for the login whose mail goes nowhere.
pub const PARKED: (&str, &str) = ("parked", "bench");

/// A running server; it and its folder are gone when this is dropped.
pub struct OwnServer {
    child: Child,
    /// Where it takes mail.
    pub smtp: SocketAddr,
    http: SocketAddr,
    folder: PathBuf,
}

impl OwnServer {
    /// Starts a server whose login `bench` has `chain` (TOML; "" is none) and sends to `sink`. The login `parked` sends to a port where nobody
    /// listens, and tries again in hours. `name` tells its folder from that of another one beside it.
    ///
    /// It is started twice: the first start compiles the plugins and leaves them in the cache, so that neither time nor memory of compiling is measured.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(name: &str, chain: &str, sink: SocketAddr) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tubepost-bench-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        std::fs::write(folder.join("tubepost.toml"), configuration(chain, sink, closed))?;
        if !chain.is_empty() {
            drop(Self::launch(folder.clone())?.keeping_its_folder());
        }
        Self::launch(folder)
    }

    fn launch(folder: PathBuf) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--log", "warn", "--config"])
            .arg(folder.join("tubepost.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = bound_addresses(&mut child);
        let mut own = Self { child, smtp: nowhere, http: nowhere, folder };
        (own.smtp, own.http) = bound?;
        Ok(own)
    }

    fn keeping_its_folder(mut self) -> Self {
        self.folder = PathBuf::new();
        self
    }

    /// Kills it and starts it again on what it has kept; returns how long that start took.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn restart(&mut self, clock: &Clock) -> Result<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let started = clock.monotonic();
        let mut again = Self::launch(self.folder.clone())?.keeping_its_folder();
        let time = clock.monotonic().saturating_sub(started);
        std::mem::swap(&mut self.child, &mut again.child);
        (self.smtp, self.http) = (again.smtp, again.http);
        Ok(time)
    }

    /// Takes the processor away from it until it is [resumed](Self::resume). Its clock goes on: what became due meanwhile is done then.
    ///
    /// # Errors
    /// If it is gone.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    /// If it is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = i32::try_from(self.process()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(process, signal).context("the server is gone")
    }

    /// Returns its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Returns the sum of all values of a metric, whatever their labels but for those that `labels` (as they are written) wants.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn metric(&self, name: &str, labels: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(self.http).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut page = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut page)).await.context("/metrics takes too long")??;
        let values = page.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let (of, having) = key.split_once('{').unwrap_or((key, ""));
            (of == name && having.contains(labels)).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.folder.is_absolute() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn bound_addresses(child: &mut Child) -> Result<(SocketAddr, SocketAddr)> {
    let output = child.stdout.take().context("standard output is piped")?;
    let (mut smtp, mut http) = (None, None);
    let address = |rest: &str| rest.split(' ').next().and_then(|text| text.parse().ok());
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("listening on smtp ") {
            smtp = address(rest);
        }
        if let Some(rest) = line.strip_prefix("listening on http ") {
            http = address(rest);
        }
        if line == "ready" {
            return smtp.zip(http).context("a listener is missing");
        }
    }
    bail!("the server did not come up")
}

fn configuration(chain: &str, sink: SocketAddr, closed: SocketAddr) -> String {
    // The hash of "bench" with the least parameters: hashing a password is not what is measured.
    const PASSWORD: &str = "$argon2id$v=19$m=64,t=1,p=1$dHViZXBvc3RiZW5jaA$BtIKJcuYU83sbEiiBoIaW9R85G1LKA7kmc2uzO2TiIE";
    let (chains, of_login) =
        if chain.is_empty() { (String::new(), "") } else { (format!("[chains]\nbench = {chain}\n"), "chain = \"bench\"\n") };
    let login = |name: &str, route: &str| {
        format!("[[logins]]\nname = \"{name}\"\nusername = \"{name}\"\npassword = \"{PASSWORD}\"\nroute = \"{route}\"\n")
    };
    let route = |name: &str, to: SocketAddr| {
        format!("[routes.{name}]\nkind = \"smarthost\"\nhost = \"{}\"\nport = {}\ntls = \"none\"\n", to.ip(), to.port())
    };
    let (bench, parked) = (login("bench", "sink"), login("parked", "closed"));
    let (to_sink, to_closed) = (route("sink", sink), route("closed", closed));
    format!(
        "[server]\nhostname = \"bench.example.com\"\ndata = \"data\"\npublic_url = \"https://links.example.com\"\n\
         [[listen]]\nkind = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [smtp]\nconnections_per_address = 1000\nmessages_per_session = 1000000\n\
         [delivery]\nretry_first = \"6h\"\nretry_longest = \"12h\"\n\
         {chains}{bench}{of_login}{parked}{to_sink}{to_closed}"
    )
}
