//! Versions of a plugin that say in each message which one had it: one build, in which two texts are changed.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

use crate::plugins::plugin;

/// The source, in which the texts stand that are changed.
const SOURCE: &str = include_str!("../blackbox/versioned.rs.txt");
const VERSION: &str = "version-0000";
const WORKS: &str = "trap-in-describe-no.";
const TRAPS: &str = "trap-in-describe-yes";
/// An interface that the plugin imports, and one that no host has.
const IMPORT: &str = "tubepost:mail/message@";
const NO_IMPORT: &str = "tubepost:mail/massage@";

/// The component, built once for all tests.
fn built() -> Result<&'static [u8]> {
    static BUILT: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    let build = || -> Result<Vec<u8>> {
        let folder = tempfile::TempDir::new()?;
        plugin(folder.path(), &["new", "versioned"])?;
        std::fs::write(folder.path().join("versioned/src/lib.rs"), SOURCE)?;
        plugin(folder.path(), &["build", "versioned"])?;
        Ok(std::fs::read(folder.path().join("versioned.wasm"))?)
    };
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// Returns octets with each `from` become `to`, which is as long.
fn changed(octets: &[u8], from: &str, to: &str) -> Result<Vec<u8>> {
    ensure!(from.len() == to.len(), "{from:?} and {to:?} are not equally long");
    let mut changed = octets.to_vec();
    let mut at = 0;
    while let Some(found) = changed.get(at..).and_then(|rest| rest.windows(from.len()).position(|window| window == from.as_bytes())) {
        let place = at + found;
        changed.get_mut(place..place + to.len()).context("it was found there")?.copy_from_slice(to.as_bytes());
        at = place + to.len();
    }
    ensure!(at > 0, "{from:?} is not in the component");
    Ok(changed)
}

/// What a version says in the messages that it has.
pub fn name(number: u32) -> String {
    format!("version-{number:04}")
}

/// A version that works.
///
/// # Errors
/// If it cannot be built.
pub fn version(number: u32) -> Result<Vec<u8>> {
    changed(built()?, VERSION, &name(number))
}

/// A version that traps when it is asked who it is.
///
/// # Errors
/// If it cannot be built.
pub fn trapping(number: u32) -> Result<Vec<u8>> {
    changed(&version(number)?, WORKS, TRAPS)
}

/// A version that needs what no host has.
///
/// # Errors
/// If it cannot be built.
pub fn foreign(number: u32) -> Result<Vec<u8>> {
    changed(&version(number)?, IMPORT, NO_IMPORT)
}

/// The SHA-256 of a component in hexadecimal digits.
pub fn digest(component: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, component);
    digest.as_ref().iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}
