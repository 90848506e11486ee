//! Plugins as their authors make them: `tubepost plugin` in a folder of their own, and one folder for what is compiled.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};

use crate::host::binary;

/// Where all plugins of the tests are compiled: what they have in common is compiled once, most of it with the first-party plugins already. Each
/// plugin has a name of its own.
pub fn target() -> PathBuf {
    // target/debug/deps/blackbox-… → target/plugins
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(3).unwrap_or(Path::new(".")).join("plugins")
}

/// Runs `tubepost plugin` in `folder`.
///
/// # Errors
/// If the binary is not there.
pub fn output(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.arg("plugin").args(arguments).current_dir(folder).env("TUBEPOST_PLUGIN_TARGET", target());
    Ok(command.output()?)
}

/// What a command said, on both ways.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs `tubepost plugin` in `folder`, and returns what it said.
///
/// # Errors
/// If it fails; with what it said.
pub fn plugin(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = output(folder, arguments)?;
    ensure!(output.status.success(), "tubepost plugin {arguments:?}: {}", said(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
