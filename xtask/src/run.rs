//! Running other programs, and saying what is run.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Runs cargo in `folder` and waits for it.
pub(crate) fn cargo(folder: &Path, arguments: &[&str]) -> Result<()> {
    cargo_with(folder, arguments, &[])
}

/// Runs cargo in `folder`, with more in its environment, and waits for it.
pub(crate) fn cargo_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    command_with(Path::new(&program), folder, arguments, environment)
}

/// Runs a program in `folder` and waits for it.
///
/// # Errors
/// If it cannot be started, or does not exit with 0.
pub(crate) fn command(program: &Path, folder: &Path, arguments: &[&str]) -> Result<()> {
    command_with(program, folder, arguments, &[])
}

/// Runs a program in `folder`, with more in its environment, and waits for it.
///
/// # Errors
/// If it cannot be started, or does not exit with 0.
pub(crate) fn command_with(program: &Path, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    say(&format!("$ {name} {}", arguments.join(" ")));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .status()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    ensure!(status.success(), "`{name} {}` failed: {status}", arguments.join(" "));
    Ok(())
}

/// Whether `cargo NAME` exists.
pub(crate) fn cargo_tool_is_there(name: &str) -> bool {
    succeeds(&format!("cargo-{name}"), &["--version"])
}

/// Runs a program without showing what it prints; tells whether it exits with 0.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Tells the person at the terminal something.
pub(crate) fn say(text: &str) {
    // A closed standard output is no reason to stop the chore.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Tells the person at the terminal what went wrong.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}
