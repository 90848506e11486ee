//! Makes sure that plugins can be compiled: a wasm32 standard library.
//!
//! `rustup target add` where that works. Where rustup cannot fetch a target, Debian's own Rust, whose sources are complete enough to build the
//! standard library from (`-Zbuild-std`); `host/build.rs` finds either.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::debian;
use crate::run::{say, succeeds};

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// Does nothing where plugins can be compiled already; else installs what is missing.
///
/// # Errors
/// If nothing can be installed: says what to install by hand.
pub(crate) fn ensure() -> Result<()> {
    if rustup_has_target() || debian_rust_is_there() {
        return Ok(());
    }
    if succeeds("rustup", &["target", "add", TARGET]) && rustup_has_target() {
        return Ok(());
    }
    if debian::can_install() {
        say(&format!("rustup has no {TARGET}; taking Debian's Rust"));
        debian::install(DEBIAN)?;
        if debian_rust_is_there() {
            return Ok(());
        }
    }
    let apt = format!("apt-get install --yes --no-install-recommends {}", DEBIAN.join(" "));
    bail!("plugins need a {TARGET} standard library: run `rustup target add {TARGET}`, or, on Debian, `{apt}` as root");
}

fn rustup_has_target() -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    sysroot.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&folder).join("lib/rustlib").join(TARGET).join("lib").is_dir()
    })
}

fn debian_rust_is_there() -> bool {
    let sysroot = Command::new("/usr/bin/rustc").args(["--print", "sysroot"]).output();
    sysroot.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new("/usr/bin/cargo").exists() && Path::new(&folder).join("lib/rustlib/src/rust/library/Cargo.lock").exists()
    })
}
