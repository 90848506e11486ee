//! `tubepost message`: the message log.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{json, line, printable, shortened, table};
use super::queue::put;
use super::{ConfigFile, Format};
use crate::clock::Timestamp;
use crate::control::Question;
use crate::event::search::Summary;
use crate::event::{PluginRun, Via};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Finds messages: words of subject and text, and from: to: address: login: tag: state: id: subject: text: after: before:
    Search(Search),
    /// Shows one message: envelope, copies, and everything that happened to it.
    Show(One),
    /// Shows what each plugin did to a message.
    Trace(One),
}

#[derive(Debug, Args)]
pub(super) struct Search {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// What to look for; nothing finds all, newest first.
    #[arg(trailing_var_arg = false)]
    query: Vec<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Passes over so many.
    #[arg(long, default_value_t = 0)]
    offset: usize,
}

#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Id of a message.
    id: String,
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Search(Search { config, format, query, limit, offset }) => {
            let found = put(&config, Question::Search { query: query.join(" "), offset, limit })?;
            if format.json {
                json(&found)?;
            } else {
                search(&found)?;
            }
        }
        Command::Show(One { config, format, id }) => {
            let message = put(&config, Question::Message { id })?;
            if format.json {
                json(&message)?;
            } else {
                show(&message)?;
            }
        }
        Command::Trace(One { config, format, id }) => {
            let trace = put(&config, Question::Trace { id })?;
            if format.json {
                json(&trace)?;
            } else {
                super::send::print_trace(&serde_json::from_value(trace)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn states(summary: &Summary) -> String {
    let words: Vec<String> = summary
        .states()
        .into_iter()
        .map(|(state, count)| if count == 1 { state.word().to_owned() } else { format!("{count} {}", state.word()) })
        .collect();
    words.join(", ")
}

fn search(found: &Value) -> Result<()> {
    let messages: Vec<Summary> = serde_json::from_value(found.get("messages").cloned().unwrap_or_default())?;
    let rows: Vec<Vec<String>> = messages
        .iter()
        .map(|summary| {
            vec![
                summary.message.to_string(),
                summary.at.to_rfc3339(),
                summary.login.clone(),
                summary.recipients.first().map(|first| printable(first)).unwrap_or_default(),
                states(summary),
                shortened(&printable(&summary.subject), 50),
            ]
        })
        .collect();
    table(&["ID", "TIME", "LOGIN", "RECIPIENT", "STATE", "SUBJECT"], &rows);
    let total = found.get("total").and_then(Value::as_u64).unwrap_or(0);
    line(format!("{} of {total}", rows.len()));
    Ok(())
}

fn show(message: &Value) -> Result<()> {
    if let Some(summary) = message.get("summary").filter(|value| !value.is_null()) {
        let summary: Summary = serde_json::from_value(summary.clone())?;
        line(format!("message   {}", summary.message));
        line(format!("received  {} from login {}", summary.at, summary.login));
        line(format!("from      <{}>", printable(&summary.reverse_path)));
        line(format!("subject   {}", printable(&summary.subject)));
        line(format!("size      {} octets", summary.size));
        let tags: Vec<&str> = summary.tags.iter().map(crate::mail::tag::Tag::as_str).collect();
        line(format!("tags      {}", tags.join(", ")));
        line(format!("state     {}", states(&summary)));
        for recipient in &summary.recipients {
            line(format!("to        <{}>", printable(recipient)));
        }
    }
    line("");
    for event in message.get("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        let at = event.get("at").and_then(Value::as_u64).map(Timestamp::from_millis).unwrap_or_default();
        let name = event.get("event").and_then(Value::as_str).unwrap_or_default();
        let mut text = format!("{at}  {name:<13}");
        for key in ["address", "host", "reply", "reason", "by", "plugin", "failure", "url", "ip"] {
            if let Some(value) = event.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()) {
                text.push(' ');
                text.push_str(&printable(value));
            }
        }
        if let Some(via) = event.get("via").filter(|value| !value.is_null()) {
            text.extend([" (", &serde_json::from_value::<Via>(via.clone())?.to_string(), ")"]);
        }
        if let Some(next) = event.get("next").and_then(Value::as_u64) {
            text.extend([" (next attempt ", &Timestamp::from_millis(next).to_rfc3339(), ")"]);
        }
        line(text);
        if matches!(name, "rendered" | "observed") {
            let runs = event.get("plugins").cloned().unwrap_or_default();
            for run in serde_json::from_value::<Vec<PluginRun>>(runs)? {
                said(&run);
            }
        }
    }
    Ok(())
}

/// What a plugin decided about a copy, or did with an event, and the lines it logged.
fn said(run: &PluginRun) {
    let text = if run.text.is_empty() { String::new() } else { format!(": {}", printable(&run.text)) };
    line(format!("    {} ({}) {}{text}", run.plugin, run.stage, run.outcome));
    for logged in &run.log {
        line(format!("      {}", printable(logged)));
    }
}
