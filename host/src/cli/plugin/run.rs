//! `tubepost plugin run`: one message, and everything that a plugin does to it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use super::{Tried, object};
use crate::cli::Format;
use crate::cli::output::{json as print_json, line, printable};
use crate::clock::Clock;
use crate::config::PluginSource;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;
use crate::plugin::author::golden::RECIPIENT;
use crate::plugin::author::running::{Report, Trial, TrialCall, TrialRecipient, Workbench, with_crlf};
use crate::plugin::author::showing::diff;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    tried: Tried,
    /// The message. Where it has no CRLF at all, its line ends become CRLF, as they are in mail.
    #[arg(short, long, value_name = "FILE")]
    message: PathBuf,
    /// Takes the octets of the message as they are.
    #[arg(long)]
    exact: bool,
    /// Data for all recipients, as a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    variables: String,
    /// The reverse-path; "" is the null sender.
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    from: String,
    /// Whom it is for; may be said more than once.
    #[arg(long = "to", value_name = "ADDRESS", alias = "recipient", default_value = RECIPIENT)]
    recipients: Vec<EmailAddress>,
    /// Data of single recipients: a JSON file with an object by address, such as {"ann@example.net": {"name": "Ann"}}.
    #[arg(long, value_name = "FILE")]
    recipient_data: Option<PathBuf>,
}

pub(super) async fn run(options: Options) -> Result<ExitCode> {
    let trial = trial(&options)?;
    let source = PluginSource::File(options.tried.component()?);
    let bench = Workbench::open_counting(&source, options.tried.limits(), &Clock::system()).await?;
    let report = bench.run(&trial).await?;
    let manifest = bench.plugin().manifest();
    if options.format.json {
        print_json(&json!({
            "plugin": manifest.name, "version": manifest.version,
            "calls": calls(&report.calls), "tags": report.tags, "envelope": report.envelope, "slots": report.slots,
            "before": String::from_utf8_lossy(&report.before),
            "copies": report.copies.iter().map(|copy| json!({
                "to": copy.address, "calls": calls(&copy.calls), "tags": copy.tags, "envelope": copy.envelope,
                "after": copy.after.as_ref().map(|after| String::from_utf8_lossy(after)),
                "diff": copy.after.as_ref().map(|after| diff(&report.before, after)),
            })).collect::<Vec<_>>(),
        }))?;
    } else {
        line(format!("{} {}: {}", manifest.name, manifest.version, manifest.summary));
        show(&report);
    }
    Ok(if report.failure().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn trial(options: &Options) -> Result<Trial> {
    let octets = std::fs::read(&options.message).with_context(|| format!("{} cannot be read", options.message.display()))?;
    let mut data = match &options.recipient_data {
        None => Map::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            object(&text, &format!("{}", path.display()))?
        }
    };
    let mut recipients = Vec::with_capacity(options.recipients.len());
    for address in &options.recipients {
        let variables = match data.remove(&address.to_string()) {
            None => Map::new(),
            Some(Value::Object(variables)) => variables,
            Some(other) => bail!("--recipient-data: the data of {address} is an object, not {other}"),
        };
        recipients.push(TrialRecipient { address: address.clone(), variables });
    }
    if let Some(stranger) = data.keys().next() {
        bail!("--recipient-data: {stranger:?} is no recipient; add --to {stranger}");
    }
    Ok(Trial {
        content: if options.exact { octets.into() } else { with_crlf(octets) },
        options: options.tried.options()?,
        variables: object(&options.variables, "--variables")?,
        reverse_path: ReversePath::parse(&options.from).with_context(|| format!("--from: {:?} is no address", options.from))?,
        recipients,
    })
}

fn calls(calls: &[TrialCall]) -> Vec<Value> {
    let one = |call: &TrialCall| {
        let mut value = json!(call.run);
        if let Some(object) = value.as_object_mut() {
            object.insert("fuel".to_owned(), json!(call.fuel));
            object.insert("answer".to_owned(), json!(call.answer()));
        }
        value
    };
    calls.iter().map(one).collect()
}

fn show(report: &Report) {
    report.calls.iter().for_each(show_call);
    for (name, lines) in [("tags", &report.tags), ("envelope", &report.envelope), ("slots", &report.slots)] {
        show_lines(name, lines);
    }
    let mut shown: Option<(&str, String)> = None;
    for copy in &report.copies {
        line(format!("\nfor {}", printable(&copy.address)));
        copy.calls.iter().for_each(show_call);
        show_lines("tags", &copy.tags);
        show_lines("envelope", &copy.envelope);
        let Some(after) = &copy.after else {
            line("nothing is sent");
            continue;
        };
        let diff = diff(&report.before, after);
        match &shown {
            _ if diff.is_empty() => line("the message is unchanged"),
            Some((other, same)) if *same == diff => line(format!("the same change as for {}", printable(other))),
            _ => {
                line(diff.trim_end());
                shown = Some((&copy.address, diff));
            }
        }
    }
    if report.copies.is_empty() {
        line("the message does not go on");
    }
}

fn show_call(call: &TrialCall) {
    let fuel = call.fuel.map(|fuel| format!(", {fuel} fuel")).unwrap_or_default();
    let run = &call.run;
    line(format!("{}: {} ({} µs, {} KiB{fuel})", run.stage, printable(&call.answer()), run.micros, run.memory / 1024));
    for logged in &run.log {
        line(format!("  {}", printable(logged)));
    }
}

fn show_lines(name: &str, lines: &[String]) {
    if !lines.is_empty() {
        line(format!("{name}:"));
    }
    for text in lines {
        line(format!("  {}", printable(text)));
    }
}
