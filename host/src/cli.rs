//! The command line: one file for each command; a command asks, and prints, and decides nothing.
//!
//! Output is for people by default, JSON with `--json`. Exit code 0 is success, 1 that the command says what is wrong, 2 a wrong command line, 3 that `replay` found differences.

mod bench;
mod check;
mod demo;
mod domain;
mod explain;
mod login;
mod message;
mod output;
mod plugin;
mod queue;
mod replay;
mod send;
mod serve;
mod signing;
mod suppression;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// A mail pipeline: SMTP and REST in, a chain of WebAssembly plugins per login, a durable queue, delivery out.
#[derive(Debug, Parser)]
#[command(name = "tubepost", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server: SIGTERM drains and ends it, SIGHUP reloads configuration and plugins.
    Serve(serve::Options),
    /// Checks configuration and plugins; every error names file, line and key.
    Check(check::Options),
    /// Makes, changes and revokes logins of a running server; makes secrets for the configuration.
    #[command(subcommand)]
    Login(login::Command),
    /// Submits a message through the pipeline, or shows what would become of it.
    Send(send::Options),
    /// Looks at and steers the queue of a running server.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Says why mail to somebody goes as it does: route, hosts, TLS, sources, limits, suspensions, lists, what waits, the latest outcomes.
    Explain(explain::Options),
    /// Domains that mail is sent from: the records they need, their keys, and what DNS says of them.
    #[command(subcommand)]
    Domain(domain::Command),
    /// The message log of a running server: what was sent, what became of it, what plugins did to it.
    #[command(subcommand)]
    Message(message::Command),
    /// The suppression list and the allow list of a running server: whom mail is not sent to, and whom all the same.
    #[command(subcommand)]
    Suppression(suppression::Command),
    /// Runs stored messages through a changed chain or a new build of a plugin, and shows which would be different; sends nothing.
    Replay(replay::Options),
    /// Makes, builds and tries plugins.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Shows the pipeline at work on loopback: no mail leaves the machine.
    Demo(demo::Options),
    /// Measures this binary, and peers beside it: load generator, server and sink on this machine.
    Bench(bench::Options),
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
struct ConfigFile {
    /// Configuration file.
    #[arg(short, long = "config", value_name = "FILE", env = "TUBEPOST_CONFIG", default_value = "tubepost.toml")]
    path: PathBuf,
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
struct Format {
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Serve(options) => serve::run(options),
        Command::Check(options) => check::run(&options),
        Command::Login(command) => login::run(command),
        Command::Send(options) => send::run(options),
        Command::Queue(command) => queue::run(command),
        Command::Explain(options) => explain::run(options),
        Command::Domain(command) => domain::run(command),
        Command::Message(command) => message::run(command),
        Command::Suppression(command) => suppression::run(command),
        Command::Replay(options) => replay::run(options),
        Command::Plugin(command) => plugin::run(command),
        Command::Demo(options) => demo::run(options),
        Command::Bench(options) => bench::run(options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            output::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl ConfigFile {
    /// Loads the configuration.
    fn load(&self) -> anyhow::Result<crate::config::Config> {
        crate::config::load(&self.path, &|name| std::env::var(name).ok()).map_err(|errors| anyhow::anyhow!("{errors}"))
    }
}

/// Runs one asynchronous command on a runtime of its own.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
