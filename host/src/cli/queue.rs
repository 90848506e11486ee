//! `tubepost queue`: what waits, and what an operator does about it.

use std::process::ExitCode;

use anyhow::{Result, anyhow, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{complain, json, line, printable, shortened, table};
use super::{ConfigFile, Format, block_on};
use crate::archive::filter::{Filter, Grouping, Named, Status};
use crate::clock::Timestamp;
use crate::config::HostPattern;
use crate::config::unit::TimeSpan;
use crate::control::queue::Order;
use crate::control::{Question, ask};
use crate::mail::message_id::{CopyId, MessageId};
use crate::mail::tag::Tag;
use crate::spool::selector::Selector;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists copies that wait, oldest message first.
    List(List),
    /// Says how much waits for whom, since when, and why; the largest first.
    Summary(Summary),
    /// Shows the copies of one message that wait.
    Show(Show),
    /// Makes copies due now; held ones are released. Those that are being sent at this moment are left alone, and what is suspended goes on to wait.
    Retry(Change),
    /// Takes copies out of the queue without telling the sender. Those that are being sent at this moment are left alone.
    Cancel(Cancel),
    /// Suspends mail: it is accepted, and waits. Without a choice of mail it lists what is suspended.
    Pause(Pause),
    /// Ends suspensions: what they put off is due at once.
    Resume(Resume),
}

/// Which mail; all that is given must match.
#[derive(Debug, Args)]
struct Mail {
    /// Only mail that takes this route.
    #[arg(long)]
    route: Option<String>,
    /// Only mail to recipients of this domain; `*.example.com` is all domains below it.
    #[arg(long)]
    domain: Option<HostPattern>,
    /// Only mail of this login.
    #[arg(long)]
    login: Option<String>,
    /// Only mail with this tag.
    #[arg(long)]
    tag: Option<Tag>,
}

impl Mail {
    fn selector(self, message: Option<MessageId>) -> Selector {
        let Self { route, domain, login, tag } = self;
        Selector { route, domain, login, tag, message }
    }
}

/// Which copies; all that is given must match.
#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    mail: Mail,
    /// Only copies that are: due, scheduled, deferred, held, suspended.
    #[arg(long)]
    status: Option<Status>,
    /// Only this queue, such as `direct/example.com`.
    #[arg(long)]
    queue: Option<String>,
}

impl Which {
    fn filter(self) -> Filter {
        let Self { mail, status, queue } = self;
        Filter { named: Vec::new(), queue, selector: mail.selector(None), status }
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    which: Which,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Goes on behind this copy.
    #[arg(long, value_name = "ID")]
    after: Option<CopyId>,
}

#[derive(Debug, Args)]
pub(super) struct Summary {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    which: Which,
    /// By queue, domain, login, route or tag.
    #[arg(long, default_value = "queue")]
    by: Grouping,
    /// At most so many groups.
    #[arg(long, default_value_t = 50)]
    limit: usize,
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
    #[command(flatten)]
    which: Which,
    /// Goes on behind this copy.
    #[arg(long, value_name = "ID")]
    after: Option<CopyId>,
    /// Ids of messages, or of single copies (`ID-2`); `all` is everything. Beside a choice by route, domain and so on none are needed.
    ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    change: Change,
    /// Tells the senders, as for mail that a server refuses.
    #[arg(long)]
    bounce: bool,
    /// What they are told.
    #[arg(long, default_value = "", requires = "bounce")]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Pause {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    mail: Mail,
    /// Only this message.
    #[arg(long, value_name = "ID")]
    message: Option<MessageId>,
    /// For so long, such as `2h`; else until it is resumed.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<TimeSpan>,
    /// Shown wherever the mail is shown.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    config: ConfigFile,
    /// Numbers of suspensions, as `queue pause` lists them.
    #[arg(required = true)]
    numbers: Vec<u64>,
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List(List { config, format, which, limit, after }) => {
            let found = order(&config, Order::List { filter: which.filter(), after, limit })?;
            show(format, found.get("copies").unwrap_or(&Value::Null))?;
            if let Some(next) = next(&found) {
                complain(&format!("there may be more: go on with --after {next}"));
            }
        }
        Command::Summary(Summary { config, format, which, by, limit }) => {
            let found = order(&config, Order::Summary { filter: which.filter(), by, limit })?;
            if format.json { json(&found)? } else { print_summary(&found) }
        }
        Command::Show(Show { config, format, id }) => {
            let message = put(&config, Question::Message { id })?;
            show(format, message.get("queued").unwrap_or(&Value::Null))?;
        }
        Command::Retry(change) => change.carry_out("due now", |filter, after| Order::Retry { filter, after })?,
        Command::Cancel(Cancel { change, bounce, reason }) => {
            let bounce = bounce.then_some(reason);
            change.carry_out("cancelled", |filter, after| Order::Cancel { filter, after, bounce: bounce.clone() })?;
        }
        Command::Pause(Pause { config, format, mail, message, time, reason }) => {
            let selector = mail.selector(message);
            let paused = if selector.is_empty() {
                ensure!(time.is_none() && reason.is_empty(), "say which mail: --route, --domain, --login, --tag or --message");
                order(&config, Order::Paused)?
            } else {
                let milliseconds = time.map(|time| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX));
                let by = "the command line".to_owned();
                Value::Array(vec![order(&config, Order::Pause { selector, reason, by, milliseconds })?])
            };
            if format.json { json(&paused)? } else { print_paused(&paused) }
        }
        Command::Resume(Resume { config, numbers }) => {
            for number in numbers {
                let ended = order(&config, Order::Resume { number })?;
                line(format!("resumed {number}: {}", mail(&ended)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Change {
    /// Gives the order again and again until all is done: a server does one for a limited time.
    fn carry_out(self, what: &str, change: impl Fn(Filter, Option<CopyId>) -> Order) -> Result<()> {
        let Self { config, which, after, ids } = self;
        let mut filter = which.filter();
        let is_all = ids.iter().any(|id| id == "all");
        filter.named =
            ids.iter().filter(|id| *id != "all").map(|id| id.parse::<Named>()).collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
        ensure!(!is_all || filter.named.is_empty(), "`all` is everything: no ids stand beside it");
        ensure!(is_all || !filter.is_everything(), "say which: ids, a choice such as --domain, or `all`");
        let (copies, outcome) = until_done(after, |after| order(&config, change(filter.clone(), after)));
        if copies > 0 || outcome.is_ok() {
            line(format!("{copies} {} {what}", if copies == 1 { "copy" } else { "copies" }));
        }
        outcome
    }
}

/// Asks until there is nothing left to do. Returns how many copies were changed, also where it could not go on, and then says how to.
fn until_done(begin: Option<CopyId>, ask: impl Fn(Option<CopyId>) -> Result<Value>) -> (u64, Result<()>) {
    let (mut copies, mut after) = (0, begin);
    loop {
        let done = match ask(after) {
            Ok(done) => done,
            Err(error) => {
                let error = match after {
                    Some(after) if Some(after) != begin => error.context(format!("not all is done: go on with --after {after}")),
                    _ => error,
                };
                return (copies, Err(error));
            }
        };
        copies += done.get("copies").and_then(Value::as_u64).unwrap_or(0);
        match next(&done) {
            Some(next) if after == Some(next) => {
                return (copies, Err(anyhow!("not all is done, and the server does not get any further: go on later with --after {next}")));
            }
            Some(next) => after = Some(next),
            None => return (copies, Ok(())),
        }
    }
}

/// Asks the running server.
pub(super) fn put(config: &ConfigFile, question: Question) -> Result<Value> {
    let config = config.load()?;
    block_on(async move { ask(&config.server.data, &question, &[]).await })
}

fn order(config: &ConfigFile, order: Order) -> Result<Value> {
    put(config, Question::Queue(order))
}

fn next(answer: &Value) -> Option<CopyId> {
    answer.get("next")?.as_str()?.parse().ok()
}

fn show(format: Format, copies: &Value) -> Result<()> {
    if format.json {
        return json(copies);
    }
    print(copies);
    Ok(())
}

fn text(value: &Value, key: &str) -> String {
    printable(value.get(key).and_then(Value::as_str).unwrap_or_default())
}

fn time(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_u64).map(|millis| Timestamp::from_millis(millis).to_rfc3339())
}

fn rows(values: &Value) -> &[Value] {
    values.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Which mail a suspension means.
fn mail(suspension: &Value) -> String {
    serde_json::from_value(suspension.clone()).map_or_else(|_| String::new(), |selector: Selector| printable(&selector.to_string()))
}

/// Says what a suspension is, for people.
pub(super) fn suspension(suspension: &Value) -> String {
    let until = time(suspension, "until").map_or_else(|| "until it is resumed".to_owned(), |until| format!("until {until}"));
    let reason = text(suspension, "reason");
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    format!("{}, by {}, {until}{reason}", mail(suspension), text(suspension, "by"))
}

fn print_paused(paused: &Value) {
    if rows(paused).is_empty() {
        line("nothing is suspended");
        return;
    }
    let row = |suspension: &Value| {
        let number = suspension.get("number").map(Value::to_string).unwrap_or_default();
        let until = time(suspension, "until").unwrap_or_else(|| "resumed".to_owned());
        vec![
            number,
            mail(suspension),
            time(suspension, "since").unwrap_or_default(),
            until,
            text(suspension, "by"),
            text(suspension, "reason"),
        ]
    };
    table(&["NUMBER", "MAIL", "SINCE", "UNTIL", "BY", "REASON"], &rows(paused).iter().map(row).collect::<Vec<_>>());
}

fn print_summary(found: &Value) {
    let count = |value: &Value, key: &str| value.get(key).map(Value::to_string).unwrap_or_default();
    let groups = found.get("groups").cloned().unwrap_or_default();
    if rows(&groups).is_empty() {
        line("nothing waits");
    } else {
        let total = found.get("total").cloned().unwrap_or_default();
        let row = |group: &Value, name: String| {
            let mut row = vec![name];
            row.extend(["copies", "due", "scheduled", "deferred", "held", "suspended"].map(|key| count(group, key)));
            row.extend(["oldest", "next"].map(|key| time(group, key).unwrap_or_default()));
            let suspension = text(group, "suspension");
            row.push(shortened(&if suspension.is_empty() { text(group, "last") } else { suspension }, 60));
            row
        };
        let mut table_rows: Vec<_> = rows(&groups)
            .iter()
            .map(|group| {
                let name = text(group, "name");
                row(group, if name.is_empty() { "(none)".to_owned() } else { name })
            })
            .collect();
        table_rows.push(row(&total, "total".to_owned()));
        let headings = ["NAME", "COPIES", "DUE", "SCHEDULED", "DEFERRED", "HELD", "SUSPENDED", "OLDEST", "NEXT", "WHY"];
        table(&headings, &table_rows);
        let all = found.get("group_count").and_then(Value::as_u64).unwrap_or(0);
        let shown = u64::try_from(rows(&groups).len()).unwrap_or(u64::MAX);
        if all > shown {
            line(format!("{} smaller ones are not shown", all - shown));
        }
    }
    if found.get("cut").and_then(Value::as_bool) == Some(true) {
        complain(&format!("the time was over after {} copies: there is more", count(found, "looked_at")));
    }
}

fn print(copies: &Value) {
    let copies = rows(copies);
    if copies.is_empty() {
        line("nothing waits");
        return;
    }
    let row = |copy: &Value| {
        let why = match (text(copy, "held"), text(copy, "suspended")) {
            (held, _) if !held.is_empty() => held,
            (_, suspended) if !suspended.is_empty() => suspended,
            _ => text(copy, "last"),
        };
        vec![
            text(copy, "id"),
            text(copy, "recipient"),
            text(copy, "queue"),
            text(copy, "status"),
            copy.get("attempts").map(Value::to_string).unwrap_or_default(),
            time(copy, "due").unwrap_or_else(|| "never".to_owned()),
            shortened(&why, 80),
        ]
    };
    table(&["ID", "RECIPIENT", "QUEUE", "STATUS", "ATTEMPTS", "NEXT", "WHY"], &copies.iter().map(row).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::cell::RefCell;

    use serde_json::json;

    use super::*;

    #[test]
    fn who_cannot_go_on_says_what_is_done_and_how_to() {
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        for (answers, copies, said) in [
            (vec![Ok(json!({ "copies": 2, "next": id })), Ok(json!({ "copies": 3, "next": null }))], 5, None),
            (
                vec![Ok(json!({ "copies": 2, "next": id })), Err(anyhow!("busy"))],
                2,
                Some("not all is done: go on with --after 01ARZ3NDEKTSV4RRFFQ69G5FAV: busy"),
            ),
            (vec![Err(anyhow!("busy"))], 0, Some("busy")),
            (
                vec![Ok(json!({ "copies": 2, "next": id })), Ok(json!({ "copies": 0, "next": id }))],
                2,
                Some("not all is done, and the server does not get any further: go on later with --after 01ARZ3NDEKTSV4RRFFQ69G5FAV"),
            ),
        ] {
            let answers = RefCell::new(answers.into_iter());
            let (done, outcome) = until_done(None, |_| answers.borrow_mut().next().unwrap());
            assert_eq!((done, outcome.err().map(|error| format!("{error:#}")).as_deref()), (copies, said));
        }
    }
}
