//! `tubepost plugin check`: what a component is, before it runs anywhere.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::cli::output::{json as print_json, line, printable, table};
use crate::cli::{ConfigFile, Format};
use crate::clock::Clock;
use crate::plugin::author::building::Symbols;
use crate::plugin::author::inspection::{Capability, Inspection, Usage, inspect};

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    format: Format,
    /// The component, or the folder of a crate, which is built first.
    #[arg(value_name = "FILE.wasm|FOLDER")]
    plugin: PathBuf,
    /// Looks whether this configuration grants what the plugin asks for, and whether its options in the chains are valid.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the plugin in the configuration; else the entry with this file, or of the plugin's own name, is meant.
    #[arg(long, requires = "config")]
    name: Option<String>,
}

pub(super) async fn run(options: Options) -> Result<ExitCode> {
    let file = super::component(&options.plugin, Symbols::AsConfigured)?;
    let config = options.config.as_ref().map(|path| ConfigFile { path: path.clone() }.load()).transpose()?;
    match inspect(&file, &Clock::system()).await {
        Ok((inspection, bench)) => {
            let usage = config.as_ref().map(|config| inspection.usage(bench.plugin(), config, options.name.as_deref(), &file));
            let good = usage.as_ref().is_none_or(Usage::is_good);
            if options.format.json {
                print_json(&json!({ "ok": good, "plugin": inspection, "usage": usage }))?;
            } else {
                show(&inspection);
                if let Some(usage) = &usage {
                    show_usage(usage, options.name.as_deref().unwrap_or(&inspection.name));
                }
            }
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(unusable) => {
            if options.format.json {
                print_json(&json!({ "ok": false, "error": unusable.to_string(), "capabilities": unusable.capabilities }))?;
            } else {
                line(format!("{} cannot be loaded: {}", file.display(), printable(&unusable.to_string())));
                show_capabilities(&unusable.capabilities);
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn show(inspection: &Inspection) {
    line(format!("{} {}: {}", inspection.name, inspection.version, inspection.summary));
    line(format!("size      {} octets", inspection.size));
    line(format!("sha256    {}", inspection.sha256));
    line(format!("stages    {}", inspection.stages.join(", ")));
    show_capabilities(&inspection.capabilities);
    line("");
    if inspection.options.is_empty() {
        line("it takes no options");
    } else {
        let rows: Vec<Vec<String>> = inspection
            .options
            .iter()
            .map(|option| {
                let default = match &option.default {
                    Some(default) => printable(&default.to_string()),
                    None if option.required => "(required)".to_owned(),
                    None => String::new(),
                };
                let description = option.description.as_deref().unwrap_or_default();
                vec![printable(&option.name), printable(&option.kind), default, printable(description)]
            })
            .collect();
        table(&["option", "is", "default", "what for"], &rows);
    }
    for (field, option) in &inspection.header_options {
        line(format!("header field {field} of a message sets {option}"));
    }
}

fn show_capabilities(capabilities: &[Capability]) {
    if capabilities.is_empty() {
        return;
    }
    line("");
    let rows: Vec<Vec<String>> = capabilities
        .iter()
        .map(|capability| {
            let meaning = if capability.meaning.is_empty() { "this version does not know it" } else { capability.meaning };
            let grant = capability.grant.map_or_else(String::new, |grant| format!("allow.{grant}"));
            vec![capability.import.clone(), meaning.to_owned(), grant]
        })
        .collect();
    table(&["asks for", "which", "granted by"], &rows);
}

fn show_usage(usage: &Usage, name: &str) {
    line("");
    let Some(entry) = &usage.entry else {
        line(format!("the configuration has no [plugins.{name}]; --name says which entry is meant"));
        return;
    };
    line(format!("in the configuration it is [plugins.{entry}]"));
    for grant in &usage.missing {
        line(format!("  missing: allow.{grant}"));
    }
    if usage.places.is_empty() {
        line("  no chain uses it");
    }
    for place in &usage.places {
        let word = place.problem.as_ref().map_or_else(|| "its options are valid".to_owned(), |problem| printable(problem));
        line(format!("  {}: chain \"{}\": {word}", place.place, place.chain));
    }
}
