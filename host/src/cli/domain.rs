//! `tubepost domain`: domains that mail is sent from, the records they need, and what DNS says of them.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{json, line, printable, table};
use super::queue::put;
use super::{ConfigFile, Format};
use crate::control::Question;
use crate::control::domain::Order;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Creates a sender domain and shows the record that proves whose it is; once that is in DNS, the same command approves the domain.
    Add(Add),
    /// Lists all sender domains.
    List(List),
    /// Shows one, with the records to add to DNS.
    Show(One),
    /// Looks for all records in DNS: what is required, what is there, what to do.
    Check(One),
    /// Removes one with its keys: mail from it is not signed any more.
    Remove(One),
    /// Shows the public parts of its DKIM keys.
    Keys(One),
    /// Prints the zone that the CNAME records lead to, for another name server.
    Export(List),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Name of the domain.
    name: String,
    /// The login whose domain it is; without it, all logins may send from it.
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// Approves it without looking at DNS: you answer for it.
    #[arg(long)]
    approved: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Name of the domain.
    name: String,
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    let (config, format, order) = match command {
        Command::Add(Add { config, format, name, login, approved }) => (config, format, Order::Add { name, login, approved }),
        Command::List(List { config, format }) => (config, format, Order::List),
        Command::Show(One { config, format, name }) => (config, format, Order::Show { name }),
        Command::Check(One { config, format, name }) => (config, format, Order::Check { name }),
        Command::Remove(One { config, format, name }) => (config, format, Order::Remove { name }),
        Command::Keys(One { config, format, name }) => (config, format, Order::Keys { name }),
        Command::Export(List { config, format }) => (config, format, Order::Export),
    };
    let answer = put(&config, Question::Domains(order.clone()))?;
    if format.json {
        json(&answer)?;
    } else {
        print(&order, &answer);
    }
    let is_check = matches!(order, Order::Check { .. });
    let is_wrong = rows(&answer).iter().any(|part| text(part, "status") == "error");
    Ok(if is_check && is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(order: &Order, answer: &Value) {
    match order {
        Order::Add { .. } | Order::Show { .. } => match answer.get("validation") {
            Some(record) => {
                line("add this record to DNS, then repeat the command:");
                records(std::slice::from_ref(record));
            }
            None => show(answer),
        },
        Order::List => {
            let cells = |domain: &Value| {
                let approved = if domain.get("approved") == Some(&Value::Bool(true)) { "yes" } else { "no" };
                vec![text(domain, "name"), approved.to_owned(), text(domain, "login"), text(domain, "policy"), text(domain, "bounces")]
            };
            let rows: Vec<Vec<String>> = rows(answer).iter().map(cells).collect();
            table(&["NAME", "APPROVED", "LOGIN", "DMARC", "BOUNCES"], &rows);
        }
        Order::Check { .. } => check(rows(answer)),
        Order::Remove { .. } => line(format!("{} is removed", text(answer, "removed"))),
        Order::Keys { .. } => {
            for key in rows(answer) {
                line(text(key, "hostname"));
                line(key.get("public").and_then(Value::as_str).unwrap_or_default());
            }
        }
        Order::Export => line(answer.get("file").and_then(Value::as_str).unwrap_or_default().trim_end()),
    }
}

fn show(domain: &Value) {
    let approved = if domain.get("approved") == Some(&Value::Bool(true)) { "approved" } else { "not approved yet" };
    line(format!("{}: {approved}; these records belong into DNS:", text(domain, "name")));
    records(domain.get("records").map(rows).unwrap_or_default());
}

fn records(records: &[Value]) {
    let rows: Vec<Vec<String>> =
        records.iter().map(|record| vec![text(record, "name"), text(record, "type"), text(record, "value")]).collect();
    table(&["NAME", "TYPE", "VALUE"], &rows);
}

fn check(parts: &[Value]) {
    for part in parts {
        line(format!("{}: {}", text(part, "part"), text(part, "status")));
        for record in part.get("required").map(rows).unwrap_or_default() {
            line(format!("  required  {} {} {}", text(record, "name"), text(record, "type"), text(record, "value")));
        }
        for found in part.get("found").map(rows).unwrap_or_default() {
            line(format!("  found     {}", printable(found.as_str().unwrap_or_default())));
        }
        if let Some(fault) = part.get("fault").and_then(Value::as_str) {
            line(format!("  to do     {}", printable(fault)));
        }
    }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value, key: &str) -> String {
    printable(value.get(key).and_then(Value::as_str).unwrap_or_default())
}
