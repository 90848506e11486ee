//! `tubepost suppression`: whom mail is not sent to, and whom all the same.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json as value};

use super::output::{complain, json, line, printable, shortened, table};
use super::queue::put;
use super::{ConfigFile, Format};
use crate::control::Question;
use crate::control::suppression::Order;
use crate::suppression::csv::HEADING;
use crate::suppression::entry::List as Name;

/// Octets of a file that are handed over at once: a question has room for them, whatever stands in them.
const PIECE: usize = 16 * 1024;
/// Wrong lines that are shown to people.
const MOST_SHOWN: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists who is suppressed, the newest first.
    List(List),
    /// Says whether a login's mail goes to an address, and why not.
    Check(Check),
    /// Suppresses addresses: no mail is sent to them.
    Add(Change),
    /// Takes addresses off the list: mail is sent to them again.
    Remove(Change),
    /// Suppresses the addresses of a file: one on a line, or CSV.
    Import(Import),
    /// Prints the list as CSV.
    Export(Export),
    /// The allow list: mail is sent to these addresses, whatever the other list says.
    #[command(subcommand)]
    Allow(Allow),
}

#[derive(Debug, Subcommand)]
pub(super) enum Allow {
    /// Lists who is allowed, the newest first.
    List(List),
    /// Allows addresses.
    Add(Change),
    /// Takes addresses off the allow list.
    Remove(Change),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Only this scope: `global`, `login:NAME` or `domain:example.com`.
    #[arg(long)]
    scope: Option<String>,
    /// Only this source: manual, bounce, spam, unsubscribe or `validation_failed`.
    #[arg(long)]
    source: Option<String>,
    /// Only with this text in address, sender, subject or reason.
    #[arg(long, default_value = "")]
    filter: String,
    /// Passes over so many.
    #[arg(long, default_value_t = 0)]
    offset: usize,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Whose mail.
    #[arg(long, default_value = "")]
    login: String,
    /// The envelope's sender of it.
    #[arg(long, default_value = "")]
    sender: String,
    /// The address.
    address: String,
}

#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// For whose mail: `global`, `login:NAME` or `domain:example.com`.
    #[arg(long, default_value = "global")]
    scope: String,
    /// Why, for people.
    #[arg(long, default_value = "")]
    reason: String,
    /// Addresses.
    #[arg(required = true)]
    addresses: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// For whose mail: `global`, `login:NAME` or `domain:example.com`.
    #[arg(long, default_value = "global")]
    scope: String,
    /// Why, for people.
    #[arg(long, default_value = "imported")]
    reason: String,
    /// The file.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    config: ConfigFile,
    /// Only this scope: `global`, `login:NAME` or `domain:example.com`.
    #[arg(long)]
    scope: Option<String>,
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List(options) => list(Name::Blocked, options),
        Command::Check(options) => check(options),
        Command::Add(change) => add(Name::Blocked, change),
        Command::Remove(change) => remove(Name::Blocked, change),
        Command::Import(options) => import(options),
        Command::Export(options) => export(options),
        Command::Allow(Allow::List(options)) => list(Name::Allowed, options),
        Command::Allow(Allow::Add(change)) => add(Name::Allowed, change),
        Command::Allow(Allow::Remove(change)) => remove(Name::Allowed, change),
    }
}

fn list(list: Name, options: List) -> Result<ExitCode> {
    let List { config, format, scope, source, filter, offset, limit } = options;
    let found = put(&config, Question::Suppressions(Order::List { list, scope, source, filter, offset, limit }))?;
    if format.json {
        json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let entries = found.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        line("nobody");
        return Ok(ExitCode::SUCCESS);
    }
    let row = |entry: &Value| {
        let text = |key: &str| printable(entry.get(key).and_then(Value::as_str).unwrap_or_default());
        vec![text("recipient"), text("scope"), text("source"), text("date"), shortened(&text("reason"), 60)]
    };
    table(&["ADDRESS", "SCOPE", "SOURCE", "SINCE", "REASON"], &entries.iter().map(row).collect::<Vec<_>>());
    let count = found.get("count").and_then(Value::as_u64).unwrap_or(0);
    line(format!("{count} in all"));
    Ok(ExitCode::SUCCESS)
}

fn check(options: Check) -> Result<ExitCode> {
    let Check { config, format, login, sender, address } = options;
    let found = put(&config, Question::Suppressions(Order::Check { address, login, sender }))?;
    if format.json {
        json(&found)?;
    } else if let Some(entry) = found.get("suppressed_by").filter(|entry| !entry.is_null()) {
        let text = |key: &str| printable(entry.get(key).and_then(Value::as_str).unwrap_or_default());
        line(format!("suppressed since {} ({}, {}): {}", text("date"), text("source"), text("scope"), text("reason")));
    } else if found.get("allowed").and_then(Value::as_bool) == Some(true) {
        line("mail is sent there: it is on the allow list");
    } else {
        line("mail is sent there");
    }
    Ok(ExitCode::SUCCESS)
}

fn add(list: Name, change: Change) -> Result<ExitCode> {
    let Change { config, format, scope, reason, addresses } = change;
    let added = put(&config, Question::Suppressions(Order::Add { list, scope, source: None, reason, addresses }))?;
    let invalid = texts(&added, "invalid");
    told(format, added.get("valid").and_then(Value::as_u64).unwrap_or(0), &invalid)
}

fn remove(list: Name, change: Change) -> Result<ExitCode> {
    let Change { config, format, scope, addresses, .. } = change;
    let removed = put(&config, Question::Suppressions(Order::Remove { list, scope, addresses }))?;
    if format.json {
        json(&removed)?;
    } else {
        let count = removed.get("removed").and_then(Value::as_u64).unwrap_or(0);
        line(format!("{count} taken off the list"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Hands a file over piece by piece: neither side has all of it in memory.
fn import(options: Import) -> Result<ExitCode> {
    let Import { config, format, scope, reason, file } = options;
    let opened = std::fs::File::open(&file).with_context(|| format!("{} cannot be opened", file.display()))?;
    let (mut count, mut invalid, mut piece) = (0, Vec::new(), String::new());
    // Only the first line of the file may be a heading; the first line of another piece is none.
    let mut lines = std::io::BufReader::new(opened).lines();
    let mut is_first = true;
    loop {
        let next = lines.next().transpose().with_context(|| format!("{} cannot be read", file.display()))?;
        let is_last = next.is_none();
        if let Some(text) = next {
            if !is_first && piece.is_empty() && !text.contains('@') {
                // It would be taken for one.
                if !text.trim().is_empty() {
                    invalid.push(shortened(&text, 320));
                }
            } else {
                piece.push_str(&text);
                piece.push('\n');
            }
            is_first = false;
        }
        if piece.len() >= PIECE || (is_last && !piece.is_empty()) {
            let (scope, reason, text) = (scope.clone(), reason.clone(), std::mem::take(&mut piece));
            let imported = put(&config, Question::Suppressions(Order::Import { list: Name::Blocked, scope, reason, text }))?;
            count += imported.get("valid").and_then(Value::as_u64).unwrap_or(0);
            invalid.extend(texts(&imported, "invalid"));
        }
        if is_last {
            return told(format, count, &invalid);
        }
    }
}

fn export(options: Export) -> Result<ExitCode> {
    let Export { config, scope } = options;
    line(HEADING.trim_end());
    let mut after = None;
    loop {
        let page = put(&config, Question::Suppressions(Order::Export { list: Name::Blocked, scope: scope.clone(), after }))?;
        let lines = page.get("lines").and_then(Value::as_str).unwrap_or_default();
        if !lines.is_empty() {
            line(lines.trim_end_matches('\n'));
        }
        after = page.get("next").and_then(|next| serde_json::from_value(next.clone()).ok()).flatten();
        if after.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn texts(answer: &Value, key: &str) -> Vec<String> {
    let texts = answer.get(key).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Says what was added, and what is no address; the exit code says whether all were.
fn told(format: Format, count: u64, invalid: &[String]) -> Result<ExitCode> {
    if format.json {
        json(&value!({ "valid": count, "invalid": invalid }))?;
    } else {
        line(format!("{count} put on the list"));
        for text in invalid.iter().take(MOST_SHOWN) {
            complain(&format!("no address: {}", printable(text)));
        }
        if invalid.len() > MOST_SHOWN {
            complain(&format!("and {} more that are none", invalid.len() - MOST_SHOWN));
        }
    }
    Ok(if invalid.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
