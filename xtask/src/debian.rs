//! Debian's packages, where this is Debian and we may install them.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run::{command, say, succeeds};

/// Whether packages can be installed: there is `apt-get`, and we are root.
pub(crate) fn can_install() -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    is_root && succeeds("apt-get", &["--version"])
}

/// Installs packages.
///
/// # Errors
/// If apt-get fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    say(&format!("installing {} from Debian", packages.join(", ")));
    command(Path::new("apt-get"), Path::new("/"), &["update", "--quiet"])?;
    let mut arguments = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(packages);
    command(Path::new("env"), Path::new("/"), &arguments)
}

/// Whether a program runs, after `packages` were installed where that was needed and possible.
///
/// # Errors
/// If apt-get fails.
pub(crate) fn has_or_installs(program: &str, arguments: &[&str], packages: &[&str]) -> Result<bool> {
    if succeeds(program, arguments) {
        return Ok(true);
    }
    if can_install() {
        install(packages)?;
    }
    Ok(succeeds(program, arguments))
}
