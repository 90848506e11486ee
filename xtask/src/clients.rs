//! The mail programs that `tests/blackbox/real_clients.rs` submits with: installed where that is possible, else named as missing.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::debian;
use crate::run::{command, say, succeeds};

/// What the tests are told.
pub(crate) struct Clients {
    /// Names of those that are there.
    pub(crate) names: String,
    /// Where node finds its modules.
    pub(crate) node_path: String,
}

/// Installs the clients that are missing: from Debian's packages where we are root, nodemailer from npm into `folder`.
///
/// # Errors
/// If an installation fails half way. What cannot be installed at all is left out.
pub(crate) fn ensure(manifest: &Path, folder: &Path) -> Result<Clients> {
    let mut names = Vec::new();
    if debian::has_or_installs("python3", &["--version"], &["python3"])? {
        names.push("smtplib");
    }
    if debian::has_or_installs("swaks", &["--version"], &["swaks", "libnet-ssleay-perl"])? {
        names.push("swaks");
    }
    if debian::has_or_installs("npm", &["--version"], &["nodejs", "npm"])? && nodemailer(manifest, folder)? {
        names.push("nodemailer");
    }
    for client in ["smtplib", "swaks", "nodemailer"].into_iter().filter(|client| !names.contains(client)) {
        say(&format!("{client} is not here and cannot be installed: it is not tested"));
    }
    Ok(Clients { names: names.join(","), node_path: folder.join("node_modules").display().to_string() })
}

/// Makes a Python with dkimpy in `folder`, as `requirements` says; "" where that cannot be.
///
/// # Errors
/// If an installation fails half way.
pub(crate) fn dkimpy(requirements: &Path, folder: &Path) -> Result<String> {
    let python = folder.join("bin/python3").to_string_lossy().into_owned();
    let is_there = || succeeds(&python, &["-c", "import dkim, nacl"]);
    let (folder, requirements) = (folder.to_string_lossy(), requirements.to_string_lossy());
    let install = || {
        succeeds("python3", &["-m", "venv", &folder])
            && succeeds(&python, &["-m", "pip", "install", "--quiet", "--requirement", &requirements])
            && is_there()
    };
    if is_there() || (debian::has_or_installs("python3", &["-c", "import ensurepip"], &["python3", "python3-venv"])? && install()) {
        return Ok(python);
    }
    say("dkimpy is not here and cannot be installed: its word on signatures is not asked");
    Ok(String::new())
}

/// Whether nodemailer is in `folder`, in the version that `manifest` names; without a registry it cannot be.
fn nodemailer(manifest: &Path, folder: &Path) -> Result<bool> {
    fs::create_dir_all(folder)?;
    let wanted = fs::read(manifest)?;
    let installed = folder.join("package.json");
    if folder.join("node_modules/nodemailer").is_dir() && fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Ok(true);
    }
    fs::write(&installed, wanted)?;
    if !succeeds("npm", &["view", "nodemailer", "version"]) {
        return Ok(false);
    }
    command(Path::new("npm"), folder, &["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"])?;
    Ok(true)
}
