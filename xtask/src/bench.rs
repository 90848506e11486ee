//! Measures the release binary, and, beside it in the same run, a peer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::debian;
use crate::run::command;

/// What `cargo xtask bench` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measures this server in the same run and prints ratios; it is installed from Debian if it is missing.
    #[arg(long)]
    against: Option<Peer>,
    /// Rounds; the medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Messages in a round.
    #[arg(long, default_value_t = 5000)]
    messages: u32,
    /// Only scenarios whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Measures a queue of so many recipients that cannot be delivered instead: memory, other mail beside it, a start with it.
    #[arg(long)]
    queue: Option<u64>,
    /// Recipients of each message of that queue.
    #[arg(long, requires = "queue")]
    queue_recipients: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    Postfix,
}

/// Runs `tubepost bench`.
pub(crate) fn run(binary: &Path, options: &Options) -> Result<()> {
    let mut arguments = vec!["bench".to_owned(), format!("--rounds={}", options.rounds), format!("--messages={}", options.messages)];
    if let Some(only) = &options.only {
        arguments.push(format!("--only={only}"));
    }
    arguments.extend(options.queue.map(|queue| format!("--queue={queue}")));
    arguments.extend(options.queue_recipients.map(|recipients| format!("--queue-recipients={recipients}")));
    let peer = match options.against {
        Some(Peer::Postfix) => Some(Postfix::start()?),
        None => None,
    };
    if let Some(postfix) = &peer {
        arguments.push(format!("--peer=postfix,{},{},{}", postfix.server, postfix.sink, postfix.process));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    command(binary, Path::new("."), &arguments)
}

/// Debian's Postfix with a configuration and a queue of its own: takes mail from loopback and relays all of it to the sink.
struct Postfix {
    folder: PathBuf,
    server: String,
    sink: String,
    process: u32,
}

impl Postfix {
    fn start() -> Result<Self> {
        ensure!(
            debian::has_or_installs("/usr/sbin/postconf", &["mail_version"], &["postfix"])?,
            "there is no Postfix: `apt-get install postfix`, as root on Debian"
        );
        let folder = std::env::temp_dir().join(format!("tubepost-bench-postfix-{}", std::process::id()));
        let (server, sink) = (free_address()?, free_address()?);
        for part in ["config", "queue", "data"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let shown = folder.display();
        let (sink_host, sink_port) = sink.split_once(':').context("host:port")?;
        // As Debian sets it up, but for where things are, and without look-ups that nobody answers here.
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {shown}/queue\ndata_directory = {shown}/data\nmyhostname = postfix.example.com\n\
             mydestination =\nmynetworks = 127.0.0.0/8\ninet_interfaces = loopback-only\ninet_protocols = ipv4\nrelayhost = [{sink_host}]:{sink_port}\n\
             smtp_host_lookup = native\nsmtpd_peername_lookup = no\ndisable_dns_lookups = yes\nsmtpd_client_connection_count_limit = 0\n\
             alias_maps =\nalias_database =\nmaillog_file =\nsmtpd_tls_security_level = none\nsmtp_tls_security_level = none\n"
        );
        fs::write(folder.join("config/main.cf"), main)?;
        let master = fs::read_to_string("/usr/share/postfix/master.cf.dist").or_else(|_| fs::read_to_string("/etc/postfix/master.cf"))?;
        let master: String = master
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                match fields.as_slice() {
                    ["smtp", "inet", ..] => format!("{server} inet n - n - - smtpd\n"),
                    // Chroots need files that only Debian's own start script copies.
                    [name, kind @ ("unix" | "fifo" | "unix-dgram"), private, unprivileged, _, rest @ ..] if !name.starts_with('#') => {
                        format!("{name} {kind} {private} {unprivileged} n {}\n", rest.join(" "))
                    }
                    _ => format!("{line}\n"),
                }
            })
            .collect();
        fs::write(folder.join("config/master.cf"), master)?;
        command(Path::new("chown"), &folder, &["postfix", "data"])?;
        let config = folder.join("config").display().to_string();
        command(Path::new("/usr/sbin/postfix"), &folder, &["-c", &config, "start"])?;
        let process = fs::read_to_string(folder.join("queue/pid/master.pid"))?.trim().parse().context("Postfix's process id")?;
        Ok(Self { folder, server, sink, process })
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let config = self.folder.join("config");
        let _ = Command::new("/usr/sbin/postfix").arg("-c").arg(config).arg("stop").status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An address of loopback that is free at this moment.
fn free_address() -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
