//! `tubepost plugin`: what a plugin author needs, and no other tool.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Format;
use super::output::{json as print_json, line, printable};
use crate::clock::{Clock, Entropy};
use crate::config::PluginLimits;
use crate::config::unit::{ByteSize, TimeSpan};
use crate::mail::address::EmailAddress;
use crate::plugin::author::building::{self, Built};
use crate::plugin::author::running::{self, Trial};
use crate::plugin::author::{contract, scaffold};
use crate::plugin::built_in;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes a crate with one function to fill in, a test, and sample messages.
    New {
        /// Name of the plugin: lower-case letters, digits and hyphens.
        name: String,
        /// Folder to make; the name where not given.
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Builds a plugin's crate into a component, NAME.wasm in the current folder.
    Build {
        /// Folder of the crate.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// File to write.
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Makes a component of a module that another compiler made (C, Rust for wasm32-wasip1).
    Componentize {
        /// The module, with the contract's types in it.
        module: PathBuf,
        /// File to write.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Writes the contract, mail.wit, for generators of bindings.
    Wit {
        /// Folder to write to.
        #[arg(default_value = "wit")]
        folder: PathBuf,
    },
    /// Runs a component on a message in the real sandbox, and shows what it does: what changed, time, memory.
    Run(Run),
    /// Writes the plugins that are embedded in this binary to a folder.
    Export {
        /// Folder to write to.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    format: Format,
    /// The component.
    component: PathBuf,
    /// The message.
    #[arg(short, long, value_name = "FILE")]
    message: PathBuf,
    /// The plugin's options, as a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// Data given with the message, as a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    variables: String,
    /// Whom the copy is for.
    #[arg(long, value_name = "ADDRESS", default_value = "reader@example.net")]
    recipient: EmailAddress,
    /// How long a call may take.
    #[arg(long, default_value = "250ms")]
    time: TimeSpan,
    /// How much memory it may have.
    #[arg(long, default_value = "64MiB")]
    memory: ByteSize,
}

/// Octets that the message may have after the plugin.
const OUTPUT: ByteSize = ByteSize(50 << 20);

pub(super) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::New { name, folder } => {
            let folder = folder.unwrap_or_else(|| PathBuf::from(&name));
            for path in scaffold::create(&name, &folder)? {
                line(format!("wrote {}", path.display()));
            }
            line(format!("next: tubepost plugin build {}", folder.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Build { folder, output } => {
            tell_built(&building::build(&folder, output.as_deref())?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Componentize { module, output } => {
            tell_built(&building::convert(&module, &output)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Wit { folder } => {
            let path = contract::write(&folder).with_context(|| format!("{} cannot be written", folder.display()))?;
            line(format!("wrote {}", path.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(try_out(options))
        }
        Command::Export { folder } => {
            std::fs::create_dir_all(&folder)?;
            for name in built_in::names() {
                let path = folder.join(format!("{name}.wasm"));
                std::fs::write(&path, built_in::component(name).unwrap_or_default())?;
                line(format!("wrote {}", path.display()));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tell_built(built: &Built) {
    line(format!("{} ({} KiB)", built.path.display(), built.size / 1024));
}

async fn try_out(options: Run) -> Result<ExitCode> {
    let object = |text: &str, what: &str| -> Result<Map<String, Value>> {
        serde_json::from_str(text).with_context(|| format!("{what} is a JSON object such as '{{\"key\": \"value\"}}'"))
    };
    let trial = Trial {
        message: std::fs::read(&options.message).with_context(|| format!("{} cannot be read", options.message.display()))?,
        options: object(&options.config, "--config")?,
        variables: object(&options.variables, "--variables")?,
        recipient: options.recipient,
        limits: PluginLimits { time: options.time.0, memory: options.memory, output: OUTPUT },
        file: options.component,
    };
    let report = running::run(trial, Clock::system(), &Entropy::system()).await?;
    let failed = report.calls.iter().any(|call| call.result.is_err());
    if options.format.json {
        let calls: Vec<Value> = report.calls.iter().map(|call| json!(call.run)).collect();
        print_json(&json!({
            "plugin": report.manifest.name, "version": report.manifest.version, "calls": calls, "tags": report.tags,
            "before": String::from_utf8_lossy(&report.before), "after": String::from_utf8_lossy(&report.after),
        }))?;
    } else {
        line(format!("{} {}: {}", report.manifest.name, report.manifest.version, report.manifest.summary));
        for call in &report.calls {
            let run = &call.run;
            line(format!("{}: {} {} in {} µs with {} KiB", run.stage, run.outcome, printable(&run.text), run.micros, run.memory / 1024));
            for logged in &run.log {
                line(format!("  {}", printable(logged)));
            }
            if let Err(failure) = &call.result {
                line(format!("  {}", printable(&failure.to_string())));
            }
        }
        if !report.tags.is_empty() {
            line(format!("tags: {}", report.tags.join(", ")));
        }
        let diff = report.diff();
        line(if diff.is_empty() { "the message is unchanged" } else { &diff });
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
