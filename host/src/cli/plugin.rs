//! `tubepost plugin`: what a plugin author needs.

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// x
    X,
}

pub(super) fn run(_: Command) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
