//! `tubepost plugin`: what a plugin author needs, and no other tool.

mod bench;
mod check;
mod run;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::output::line;
use super::signing;
use crate::config::PluginLimits;
use crate::config::unit::{ByteSize, TimeSpan};
use crate::plugin::author::building::{Built, Symbols};
use crate::plugin::author::{building, contract, corpus, running, scaffold};
use crate::plugin::built_in;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes a crate with one function to fill in, tests, and sample messages.
    New {
        /// Name of the plugin: lower-case letters, digits and hyphens.
        name: String,
        /// What it begins with.
        #[arg(long, value_enum, default_value_t)]
        template: scaffold::Template,
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
        /// Keeps names and line numbers, so that a trap names the line. The component is larger, and no faster or slower.
        #[arg(long)]
        debug: bool,
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
    /// Shows what a component is, what it asks for, and which options it takes.
    Check(check::Options),
    /// Runs a component on a message in the real sandbox, and shows what it does: what changed, time, memory, fuel.
    Run(run::Options),
    /// Runs a component on its golden messages and on the robustness corpus.
    Test(test::Options),
    /// Measures a component beside one that does nothing.
    Bench(bench::Options),
    /// Writes the messages of the robustness corpus to a folder.
    Corpus {
        /// Folder to write to.
        folder: PathBuf,
    },
    /// Makes a key that signs plugins.
    Keygen(signing::Keygen),
    /// Signs a component, so that servers with `[plugin_trust]` know whose it is.
    Sign(signing::Sign),
    /// Writes the plugins that are embedded in this binary to a folder.
    Export {
        /// Folder to write to.
        folder: PathBuf,
    },
}

/// The plugin, and what it may use.
#[derive(Debug, Args)]
struct Tried {
    /// The component, or the folder of a crate, which is built with line numbers first.
    #[arg(value_name = "FILE.wasm|FOLDER")]
    plugin: PathBuf,
    /// The plugin's options, as a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}", alias = "config")]
    options: String,
    /// How long a call may take.
    #[arg(long, default_value = "250ms")]
    time: TimeSpan,
    /// How much memory it may have.
    #[arg(long, default_value = "64MiB")]
    memory: ByteSize,
}

impl Tried {
    fn component(&self) -> Result<PathBuf> {
        component(&self.plugin, Symbols::Lines)
    }

    fn options(&self) -> Result<Map<String, Value>> {
        object(&self.options, "--options")
    }

    fn limits(&self) -> PluginLimits {
        PluginLimits { time: self.time.0, memory: self.memory, ..running::LIMITS }
    }
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::New { name, template, folder } => {
            let folder = folder.unwrap_or_else(|| PathBuf::from(&name));
            for path in scaffold::create(&name, template, &folder)? {
                line(format!("wrote {}", path.display()));
            }
            line(format!("next: tubepost plugin test {0}, then tubepost plugin build {0}", folder.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Build { folder, output, debug } => {
            let symbols = if debug { Symbols::Lines } else { Symbols::AsConfigured };
            tell_built(&building::build(&folder, output.as_deref(), symbols)?);
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
        Command::Check(options) => on_runtime(check::run(options)),
        Command::Run(options) => on_runtime(run::run(options)),
        Command::Test(options) => on_runtime(test::run(options)),
        Command::Bench(options) => bench::run(&options),
        Command::Corpus { folder } => {
            let samples = corpus::samples();
            save(&folder, &samples.iter().collect::<Vec<_>>())?;
            line(format!("wrote {} messages to {}", samples.len(), folder.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Keygen(options) => signing::keygen(&options),
        Command::Sign(options) => signing::sign(&options),
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

fn on_runtime(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

/// Returns the file of a component, built where a crate is named.
fn component(plugin: &Path, symbols: Symbols) -> Result<PathBuf> {
    building::component(plugin, symbols).with_context(|| format!("{} cannot be built", plugin.display()))
}

fn object(text: &str, what: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).with_context(|| format!("{what} is a JSON object such as '{{\"key\": \"value\"}}'"))
}

/// Writes samples as files.
fn save(folder: &Path, samples: &[&corpus::Sample]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for sample in samples {
        let path = folder.join(format!("{}.eml", sample.name.replace('/', "-")));
        std::fs::write(&path, &sample.octets).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}
