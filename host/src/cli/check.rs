//! `tubepost check`: everything that is wrong with a configuration, before it runs.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::output::{json as print_json, line};
use super::{ConfigFile, Format};
use crate::app::pipeline::{self, CheckedPlugin};
use crate::clock::Clock;
use crate::config;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let (warnings, checked) = match config::load(&options.config.path, &|name| std::env::var(name).ok()) {
        Ok(config) => {
            let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let checked = runtime.block_on(pipeline::check(&config, &Clock::system()));
            (warnings, checked.map(|checked| (config, checked)).map_err(|errors| errors.to_string()))
        }
        Err(errors) => (Vec::new(), Err(errors.to_string())),
    };
    let good = checked.is_ok();
    if options.format.json {
        let errors: Vec<&str> = checked.as_ref().err().map(|errors| errors.lines().collect()).unwrap_or_default();
        let plugins = checked.as_ref().map(|(_, checked)| checked.plugins.as_slice()).unwrap_or_default();
        print_json(&json!({ "ok": good, "errors": errors, "warnings": warnings, "plugins": plugins }))?;
    } else {
        for warning in &warnings {
            line(format!("{warning} (warning)"));
        }
        match checked {
            Ok((config, checked)) => {
                line(format!(
                    "{} is good: {} listeners, {} logins, {} chains, {} routes",
                    options.config.path.display(),
                    config.listeners.len(),
                    config.logins.len(),
                    config.chains.len(),
                    config.routes.len()
                ));
                for CheckedPlugin { name, version, sha256, signed_by } in checked.plugins {
                    let signed = signed_by.map(|signer| format!(" signed by {signer}")).unwrap_or_default();
                    line(format!("  plugin {name} {version} sha256:{sha256}{signed}"));
                }
            }
            Err(errors) => line(errors),
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
