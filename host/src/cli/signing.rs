//! `tubepost plugin keygen` and `sign`: who made a plugin, in a way that a server can check.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Format;
use super::output::{json as print_json, line};
use crate::clock::Entropy;
use crate::plugin::signing::SigningKey;

#[derive(Debug, Args)]
pub(super) struct Keygen {
    #[command(flatten)]
    format: Format,
    /// File to write the key to; keep it where nobody else can read it.
    file: PathBuf,
    /// Name under which the configuration lists it.
    #[arg(long, default_value = "release")]
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Sign {
    #[command(flatten)]
    format: Format,
    /// The component; its signature is written beside it, to FILE.sig.
    file: PathBuf,
    /// The key, as `tubepost plugin keygen` made it.
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
}

pub(super) fn keygen(options: &Keygen) -> Result<ExitCode> {
    let key = SigningKey::create(&options.file, &Entropy::system())?;
    let listed = format!("{}:{}", options.name, key.public());
    if options.format.json {
        print_json(&json!({ "file": options.file, "key": listed }))?;
    } else {
        line(format!("wrote {}", options.file.display()));
        line("for the servers that shall trust it:");
        line(format!("[plugin_trust]\nkeys = [\"{listed}\"]"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn sign(options: &Sign) -> Result<ExitCode> {
    let key = SigningKey::read(&options.key)?;
    let (signature, digest) = key.sign(&options.file)?;
    if options.format.json {
        print_json(&json!({ "signature": signature, "sha256": digest, "key": key.public() }))?;
    } else {
        line(format!("wrote {} for sha256:{digest}", signature.display()));
    }
    Ok(ExitCode::SUCCESS)
}
