//! `tubepost explain`: why mail to somebody goes as it does.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::output::{json, line, printable, shortened};
use super::{ConfigFile, Format, queue};
use crate::clock::Timestamp;
use crate::control::Question;
use crate::control::queue::Order;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Recipient.
    address: String,
    /// Only for mail of this login; its sources and lists are known then.
    #[arg(long)]
    login: Option<String>,
    /// Domain of the reverse-path, where rules for sources or lists go by it.
    #[arg(long, value_name = "DOMAIN")]
    sender: Option<String>,
}

pub(super) fn run(options: Options) -> Result<ExitCode> {
    let Options { config, format, address, login, sender } = options;
    let found = queue::put(&config, Question::Queue(Order::Explain { address, login, sender }))?;
    if format.json {
        json(&found)?;
    } else {
        print(&found);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(found: &Value) {
    line(format!("{} (domain {})", text(found, "/address"), text(found, "/domain")));
    for entry in list(found, "/lists") {
        let (kind, scope) = (text(entry, "/list"), text(entry, "/scope"));
        field("list", &format!("{kind}, {scope}, {}: {}", text(entry, "/source"), text(entry, "/reason")));
    }
    if list(found, "/ways").is_empty() {
        line("no login sends mail");
    }
    for way in list(found, "/ways") {
        let logins: Vec<String> = list(way, "/logins").iter().map(plain).collect();
        line("");
        line(format!("route {} (logins: {})", text(way, "/route"), logins.join(", ")));
        print_way(way);
    }
    line("");
    let recent = list(found, "/recent");
    line(if recent.is_empty() { "no mail to the domain is known" } else { "the newest mail to the domain" });
    for outcome in recent {
        let (at, attempts) = (time(outcome, "/at").unwrap_or_default(), text(outcome, "/attempts"));
        let what = format!("{at}  {}  {}, attempts: {attempts}", text(outcome, "/recipient"), text(outcome, "/state"));
        line(format!("  {what}  {}", shortened(&text(outcome, "/reply"), 100)));
    }
}

fn print_way(way: &Value) {
    if way.get("suppressed").is_some_and(|entry| !entry.is_null()) {
        field("not sent", &format!("on the suppression list since {}: {}", text(way, "/suppressed/date"), text(way, "/suppressed/reason")));
    }
    let Some(destination) = way.get("destination").filter(|destination| !destination.is_null()) else {
        line("  the configuration has no such route");
        return;
    };
    field("queue", &text(destination, "/queue"));
    for host in list(destination, "/hosts") {
        let refused = text(host, "/refused");
        let tls = if refused.is_empty() { format!("TLS {}", text(host, "/tls")) } else { format!("gets no mail: {refused}") };
        field("host", &format!("{} ({tls})", text(host, "/name")));
    }
    maybe("no host", &text(destination, "/no_hosts"));
    maybe("source", &text(destination, "/source"));
    for source in list(destination, "/sources") {
        let addresses: Vec<String> = list(source, "/addresses").iter().map(plain).collect();
        let today = text(source, "/today");
        let today = if today.is_empty() { String::new() } else { format!(", {today} recipients today") };
        let usable = if text(source, "/usable") == "true" { "" } else { ", not now" };
        field("", &format!("{} {} (weight {}{today}{usable})", text(source, "/name"), addresses.join(" "), text(source, "/weight")));
    }
    maybe("no source", &text(destination, "/no_source"));
    if text(destination, "/unreachable") == "true" {
        field("reachable", "not the last time");
    }
    maybe("TLS rule", &text(destination, "/tls_rule"));
    let rule = text(destination, "/rule");
    let rule = if rule.is_empty() { "no rule: the limits of [delivery]".to_owned() } else { format!("rule {rule}") };
    field("shaping", &format!("{rule}, shared by {}", text(destination, "/group/group")));
    field("connections", &format!("{} of {}", text(destination, "/group/connections"), text(destination, "/group/connections_allowed")));
    let speed = destination.pointer("/group/per_minute").and_then(Value::as_f64);
    let speed = speed.map_or_else(|| "as many as there are".to_owned(), |speed| format!("{} in a minute", (speed * 10.0).round() / 10.0));
    let (messages, recipients) = (text(destination, "/messages_per_connection"), text(destination, "/recipients_per_transaction"));
    field("transactions", &format!("{speed}, {messages} on a connection, {recipients} recipients in each"));
    maybe("slowed by", &text(destination, "/group/slowed_down_by"));
    for suspension in list(way, "/suspensions") {
        field("suspended", &format!("number {}: {}", text(suspension, "/number"), queue::suspension(suspension)));
    }
    let of = |key: &str| text(way, &format!("/waiting/{key}"));
    let more = if of("cut") == "true" { " or more" } else { "" };
    let parts: Vec<String> = ["due", "scheduled", "deferred", "held", "suspended"]
        .iter()
        .filter(|key| of(key) != "0")
        .map(|key| format!("{key} {}", of(key)))
        .collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    field("waiting", &format!("{}{more}{parts}", of("copies")));
    maybe("next attempt", &time(way, "/waiting/next").unwrap_or_default());
    maybe("last failure", &of("last"));
}

fn field(name: &str, value: &str) {
    line(format!("  {name:<14}{value}").trim_end());
}

fn maybe(name: &str, value: &str) {
    if !value.is_empty() {
        field(name, value);
    }
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value, path: &str) -> String {
    value.pointer(path).map(plain).unwrap_or_default()
}

fn time(value: &Value, path: &str) -> Option<String> {
    value.pointer(path).and_then(Value::as_u64).map(|millis| Timestamp::from_millis(millis).to_rfc3339())
}

/// A value as people read it; "" where there is none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
