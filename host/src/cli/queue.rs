//! `tubepost queue`: what waits, and what an operator does about it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{json, line, printable, shortened, table};
use super::{ConfigFile, Format, block_on};
use crate::control::{Question, ask};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists copies that wait, oldest message first.
    List(List),
    /// Shows the copies of one message that wait.
    Show(Show),
    /// Makes copies due now; held ones are released. Those that are being sent at this moment are left alone.
    Retry(Change),
    /// Takes copies out of the queue without telling the sender. Those that are being sent at this moment are left alone.
    Cancel(Change),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Only this queue, such as `direct/example.com`.
    #[arg(long)]
    queue: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Goes on behind this copy.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Id of a message.
    id: String,
}

#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    config: ConfigFile,
    /// Ids of messages, or of single copies (`ID-2`); `all` is everything.
    #[arg(required = true)]
    ids: Vec<String>,
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List(List { config, format, queue, limit, after }) => {
            let copies = put(&config, Question::Queue { queue, after, limit })?;
            if format.json {
                json(&copies)?;
            } else {
                print(&copies);
            }
        }
        Command::Show(Show { config, format, id }) => {
            let message = put(&config, Question::Message { id })?;
            let copies = message.get("queued").cloned().unwrap_or_default();
            if format.json {
                json(&copies)?;
            } else {
                print(&copies);
            }
        }
        Command::Retry(Change { config, ids }) => count("due now", &put(&config, Question::Retry { ids })?),
        Command::Cancel(Change { config, ids }) => count("cancelled", &put(&config, Question::Cancel { ids })?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the running server.
pub(super) fn put(config: &ConfigFile, question: Question) -> Result<Value> {
    let config = config.load()?;
    block_on(async move { ask(&config.server.data, &question, &[]).await })
}

fn count(what: &str, answer: &Value) {
    let copies = answer.get("copies").and_then(Value::as_u64).unwrap_or(0);
    line(format!("{copies} {} {what}", if copies == 1 { "copy" } else { "copies" }));
}

fn print(copies: &Value) {
    let copies = copies.as_array().map(Vec::as_slice).unwrap_or_default();
    if copies.is_empty() {
        line("nothing waits");
        return;
    }
    let rows: Vec<Vec<String>> = copies
        .iter()
        .map(|copy| {
            let text = |key: &str| printable(copy.get(key).and_then(Value::as_str).unwrap_or_default());
            let due = copy.get("due").and_then(Value::as_u64).map(|millis| crate::clock::Timestamp::from_millis(millis).to_rfc3339());
            let why = if text("held").is_empty() { text("last") } else { format!("held: {}", text("held")) };
            vec![
                text("id"),
                text("recipient"),
                text("queue"),
                copy.get("attempts").map(Value::to_string).unwrap_or_default(),
                due.unwrap_or_else(|| "never".to_owned()),
                shortened(&why, 80),
            ]
        })
        .collect();
    table(&["ID", "RECIPIENT", "QUEUE", "ATTEMPTS", "NEXT", "WHY"], &rows);
}
