//! `tubepost serve`: runs the server.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::ConfigFile;
use super::output::announce;
use crate::app::opening::Opened;
use crate::app::{App, Signals};
use crate::clock::{Clock, Entropy};
use crate::telemetry::{self, LogFormat};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// What is logged to standard error: a level, or levels by module (`info,tubepost::delivery=debug`).
    #[arg(long, value_name = "FILTER", env = "TUBEPOST_LOG")]
    log: Option<String>,
    /// Logs JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

pub(super) fn run(options: Options) -> Result<ExitCode> {
    start_log(options.log.as_deref(), options.log_json)?;
    let config = options.config.load()?;
    // Before there are threads: what is given up now, they never have.
    let opened = Opened::new(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let app = App::start(config, opened, Some(options.config.path), (Clock::system(), Entropy::system()), false).await?;
        let signals = Signals::catch()?;
        for listening in app.listeners() {
            announce(format!("listening on {} {} ({})", listening.kind, listening.address, listening.tls));
        }
        announce("ready");
        app.run_until_signalled(signals).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Sends the log of this process to standard error.
pub(super) fn start_log(filter: Option<&str>, json: bool) -> Result<()> {
    telemetry::init(if json { LogFormat::Json } else { LogFormat::Human }, filter)?;
    Ok(())
}
