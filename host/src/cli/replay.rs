//! `tubepost replay`: stored messages through a changed chain or a new build of a plugin, and what would be different.
//!
//! Exit code 0: nothing would. 3: something would. 1: it could not be found out.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::json;

use super::output::{line, printable, shortened};
use super::{ConfigFile, Format, block_on};
use crate::archive::replay::{Change, Compared};
use crate::clock::Clock;
use crate::control::{Question, Replayed, ask_replay};

/// Exit code where something would be different.
const DIFFERENT: u8 = 3;
/// How often progress is shown.
const PROGRESS: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 nothing would be different, 3 something would, 1 it could not be found out.")]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Sends all messages through this chain.
    #[arg(long, value_name = "NAME")]
    chain: Option<String>,
    /// Takes the component in a file for a plugin: `greet=new/greet.wasm`.
    #[arg(long, value_name = "NAME=FILE")]
    plugin: Option<String>,
    /// Takes another configuration, with its plugins, chains and logins.
    #[arg(long, value_name = "FILE")]
    with_config: Option<PathBuf>,
    /// Takes these messages.
    #[arg(long = "id", value_name = "ID", num_args = 1..)]
    ids: Vec<String>,
    /// At most so many messages, the newest first.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Shows what would be different in each copy.
    #[arg(long)]
    diff: bool,
    /// Takes the messages that this finds, in the language of `tubepost message search`; nothing finds all.
    query: Vec<String>,
}

/// What was counted so far.
#[derive(Default)]
struct Counts {
    total: usize,
    done: usize,
    different: usize,
    skipped: usize,
}

pub(super) fn run(options: Options) -> Result<ExitCode> {
    let config = options.config.load()?;
    let change = change(&options)?;
    ensure!(change != Change::default(), "nothing is to be different: give --chain, --plugin or --with-config");
    let question =
        Question::Replay { query: options.query.join(" "), ids: options.ids, limit: options.limit, change, differences: options.diff };
    let mut counts = Counts::default();
    let mut progress = Progress::new();
    let each = |replayed| {
        match replayed {
            Replayed::Total(total) => counts.total = total,
            Replayed::Message(compared) => {
                counts.done += 1;
                if !compared.different.is_empty() {
                    counts.different += 1;
                    progress.clear();
                    if options.format.json { line(serde_json::to_string(&compared)?) } else { show(&compared) }
                }
            }
            Replayed::Skipped { message, reason } => {
                counts.done += 1;
                counts.skipped += 1;
                progress.clear();
                if options.format.json {
                    line(serde_json::to_string(&json!({ "message": message, "skipped": reason }))?);
                } else {
                    line(format!("{message}  skipped: {}", printable(&reason)));
                }
            }
            Replayed::Done | Replayed::Failed(_) => {}
        }
        progress.show(&counts);
        Ok(())
    };
    block_on(async { ask_replay(&config.server.data, &question, each).await })?;
    progress.clear();
    let Counts { done, different, skipped, .. } = counts;
    if options.format.json {
        line(serde_json::to_string(&json!({ "messages": done, "different": different, "skipped": skipped }))?);
    } else {
        let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
        line(format!("{done} messages, {different} would be different{skipped}"));
    }
    Ok(match (different, skipped) {
        (0, 0) => ExitCode::SUCCESS,
        // What was not looked at may be different.
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(DIFFERENT),
    })
}

/// What is to be different; paths are made absolute, as the server works in another folder.
fn change(options: &Options) -> Result<Change> {
    let absolute = |path: &str| std::path::absolute(path).with_context(|| format!("{path:?} is no path"));
    let plugin = match options.plugin.as_deref().map(|text| text.split_once('=')) {
        None => None,
        Some(Some((name, file))) => Some((name.to_owned(), absolute(file)?)),
        Some(None) => bail!("--plugin takes a plugin of the configuration and a file: greet=new/greet.wasm"),
    };
    let config = options.with_config.as_deref().map(std::path::absolute).transpose()?;
    Ok(Change { chain: options.chain.clone(), plugin, config })
}

fn show(compared: &Compared) {
    let Compared { message, login, subject, different, before, after, copies } = compared;
    line(format!("{message}  {login}  {}  {}", different.join(", "), shortened(&printable(subject), 50)));
    if before != after {
        line(format!("  now:  {}", printable(before)));
        line(format!("  then: {}", printable(after)));
    }
    for copy in copies {
        line(format!("  to <{}>: {}, then {}", printable(&copy.address), printable(&copy.before), printable(&copy.after)));
        for changed in copy.difference.lines() {
            line(format!("    {}", printable(changed)));
        }
    }
}

/// A line on a terminal that says how far it is.
struct Progress {
    clock: Clock,
    began: Duration,
    shown: Option<Duration>,
    is_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let clock = Clock::system();
        Self { began: clock.monotonic(), clock, shown: None, is_terminal: stderr().is_terminal() }
    }

    fn show(&mut self, counts: &Counts) {
        let now = self.clock.monotonic();
        if !self.is_terminal || self.shown.is_some_and(|shown| now < shown + PROGRESS) {
            return;
        }
        self.shown = Some(now);
        let millis = now.saturating_sub(self.began).as_millis().max(1);
        let per_second = (counts.done as u128) * 1_000 / millis;
        let _ = write!(stderr(), "\r{} of {} messages, {per_second} a second, {} different ", counts.done, counts.total, counts.different);
    }

    fn clear(&mut self) {
        if self.is_terminal && self.shown.take().is_some() {
            let _ = write!(stderr(), "\r{:70}\r", "");
        }
    }
}
