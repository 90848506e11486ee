//! `tubepost send`: a message through the pipeline, or a look at what would become of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::output::{json as print_json, line, printable, table};
use super::{ConfigFile, Format, block_on};
use crate::archive::trace::{StepView, TraceView};
use crate::control::{Question, ask};
use crate::http::raw_mime::with_crlf;
use crate::mail::header::mailbox::Mailbox;
use crate::mail::header::raw_fields::raw_values;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Name of the login whose chain and route it takes; the first of the configuration where not given.
    #[arg(long)]
    login: Option<String>,
    /// Reverse-path; the address of From where not given.
    #[arg(long)]
    from: Option<String>,
    /// Recipients; those of To, Cc and Bcc where not given.
    #[arg(long)]
    to: Vec<String>,
    /// Shows the result of the chain for each recipient, and what each plugin changed; keeps and sends nothing.
    #[arg(long)]
    dry_run: bool,
    /// The message.
    file: PathBuf,
}

pub(super) fn run(options: Options) -> Result<ExitCode> {
    let config = options.config.load()?;
    let octets = std::fs::read(&options.file).with_context(|| format!("{} cannot be read", options.file.display()))?;
    let content: Vec<u8> = match String::from_utf8(octets) {
        Ok(text) => with_crlf(&text).into_owned().into_bytes(),
        // With octets that are no UTF-8 the line ends must be right already: guessing could break a binary part.
        Err(error) => error.into_bytes(),
    };
    let Some(login) = options.login.or_else(|| config.logins.first().map(|login| login.name.to_string())) else {
        anyhow::bail!("the configuration has no login");
    };
    let addresses = |name: &str| -> Vec<String> {
        raw_values(&content, name).flat_map(Mailbox::parse_raw).map(|mailbox| mailbox.address.to_string()).collect()
    };
    let from = options.from.or_else(|| addresses("From").into_iter().next()).unwrap_or_default();
    let to = if options.to.is_empty() { ["To", "Cc", "Bcc"].map(addresses).concat() } else { options.to };
    ensure!(!to.is_empty(), "no recipient: name one with --to");
    let question = Question::Submit { login, from, to, size: content.len() as u64, dry_run: options.dry_run };
    let answer = block_on(async { ask(&config.server.data, &question, &content).await })?;
    if options.format.json {
        print_json(&answer)?;
    } else if options.dry_run {
        print_trace(&serde_json::from_value(answer)?);
    } else {
        line(format!("queued as {}", answer.get("message").and_then(serde_json::Value::as_str).unwrap_or_default()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what a chain did.
pub(super) fn print_trace(trace: &TraceView) {
    if trace.steps.is_empty() && trace.copies.iter().all(|copy| copy.steps.is_empty()) {
        line("no plugin ran");
    }
    steps(&trace.steps);
    for (plugin, failure) in &trace.failures {
        line(format!("plugin {plugin} failed: {}", printable(failure)));
    }
    for note in &trace.notes {
        line(format!("note: {}", printable(note)));
    }
    line(format!("result: {}", printable(&trace.result)));
    for copy in &trace.copies {
        line("");
        line(format!("to <{}>: {}", printable(&copy.address), printable(&copy.result)));
        steps(&copy.steps);
    }
}

fn steps(steps: &[StepView]) {
    if steps.is_empty() {
        return;
    }
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            vec![
                step.run.plugin.clone(),
                step.run.version.clone(),
                step.run.digest.clone(),
                step.run.stage.clone(),
                format!("{} {}", step.run.outcome, printable(&step.run.text)).trim_end().to_owned(),
                format!("{} µs", step.run.micros),
                format!("{} KiB", step.run.memory / 1024),
                step.run.headers_changed.join(", "),
                if step.run.parts_changed == 0 { String::new() } else { step.run.parts_changed.to_string() },
            ]
        })
        .collect();
    table(&["PLUGIN", "VERSION", "DIGEST", "STAGE", "OUTCOME", "TIME", "MEMORY", "HEADER FIELDS CHANGED", "PARTS"], &rows);
    for step in steps {
        for logged in &step.run.log {
            line(format!("{}: {}", step.run.plugin, printable(logged)));
        }
        if !step.difference.is_empty() {
            line("");
            line(format!("what {} changed:", step.run.plugin));
            for changed in step.difference.lines() {
                line(format!("  {}", printable(changed)));
            }
        }
    }
}
