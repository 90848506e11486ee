//! `tubepost demo`: shows the pipeline at work.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::output::{announce, line, table};
use crate::clock::{Clock, Entropy};
use crate::demo::{Demo, Shown};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Stops after the letters are through.
    #[arg(long)]
    once: bool,
    /// What is logged to standard error.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

pub(super) fn run(options: Options) -> Result<ExitCode> {
    super::serve::start_log(Some(&options.log), false)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(show(options))
}

async fn show(options: Options) -> Result<ExitCode> {
    announce("Starting Tubepost on loopback; the first start compiles the plugins.");
    let mut demo = Demo::start(Clock::system(), Entropy::system()).await?;
    for shown in demo.send().await? {
        print(&shown);
    }
    if options.once {
        demo.stop().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (smtp, password, token) = demo.doors();
    line("");
    line(format!("Look at the captured mail:  {}", demo.dashboard()));
    if let Some(smtp) = smtp {
        line(format!("Send some of your own:      swaks --server {smtp} --auth-user newsletter --auth-password {password} \\"));
        line("                                  --from you@herald.example --to ann@reader.example");
    }
    line(format!("or over REST with token     {token}"));
    announce("Ctrl-C ends it.");
    demo.run().await?;
    Ok(ExitCode::SUCCESS)
}

fn print(shown: &Shown) {
    line("");
    line(format!("{}  →  message {}", shown.way, shown.message));
    let rows: Vec<Vec<String>> = shown
        .plugins
        .iter()
        .map(|run| {
            vec![
                format!("  {}", run.plugin),
                run.version.clone(),
                run.stage.clone(),
                run.outcome.clone(),
                format!("{} µs", run.micros),
                format!("{} KiB", run.memory / 1024),
                run.headers_changed.join(", "),
                run.parts_changed.to_string(),
            ]
        })
        .collect();
    table(&["  PLUGIN", "VERSION", "STAGE", "OUTCOME", "TIME", "MEMORY", "HEADER FIELDS CHANGED", "PARTS"], &rows);
}
