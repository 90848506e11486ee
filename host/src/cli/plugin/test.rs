//! `tubepost plugin test`: golden messages, and the robustness corpus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use super::{Tried, save};
use crate::cli::Format;
use crate::cli::output::{json as print_json, line, printable};
use crate::clock::Clock;
use crate::config::PluginSource;
use crate::plugin::author::corpus::{self, Sample};
use crate::plugin::author::golden::{self, Match, Played};
use crate::plugin::author::robustness::{self, Examination};
use crate::plugin::author::running::Workbench;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    tried: Tried,
    /// Folder of golden messages: NAME.eml, perhaps NAME.toml, and NAME.out. Without it, tests/golden of the crate, or of the current folder.
    #[arg(long, value_name = "FOLDER")]
    golden: Option<PathBuf>,
    /// Writes what comes out now as what shall come out.
    #[arg(long)]
    update: bool,
    /// Plays the golden messages alone.
    #[arg(long)]
    skip_corpus: bool,
    /// Writes messages of the corpus that the plugin fell short on to a folder.
    #[arg(long, value_name = "FOLDER", conflicts_with = "skip_corpus")]
    save: Option<PathBuf>,
}

pub(super) async fn run(options: Options) -> Result<ExitCode> {
    let source = PluginSource::File(options.tried.component()?);
    let plugin_options = options.tried.options()?;
    let bench = Workbench::open(&source, options.tried.limits(), &Clock::system()).await?;
    let folder = golden_folder(&options)?;
    let mut played = Vec::new();
    for case in golden::cases(&folder, &plugin_options)? {
        played.push(golden::play(&bench, &case, options.update).await?);
    }
    let samples = if options.skip_corpus { Vec::new() } else { corpus::samples() };
    let examination = robustness::examine(&bench, &plugin_options, &samples).await?;
    if let Some(folder) = &options.save {
        let wrong = |sample: &&Sample| examination.findings.iter().any(|finding| finding.sample == sample.name);
        save(folder, &samples.iter().filter(wrong).collect::<Vec<_>>())?;
    }
    let differing = played.iter().filter(|played| matches!(played.result, Match::Differs(_) | Match::Missing)).count();
    let good = differing == 0 && examination.findings.is_empty();
    if options.format.json {
        show_json(&played, &examination, good)?;
    } else {
        let manifest = bench.plugin().manifest();
        line(format!("{} {}", manifest.name, manifest.version));
        show_golden(&played, &folder.display().to_string());
        if !options.skip_corpus {
            show_corpus(&examination);
        }
        if let Some(folder) = options.save.filter(|_| !examination.findings.is_empty()) {
            line(format!("they are in {}; look at one with: tubepost plugin run PLUGIN --exact --message FILE", folder.display()));
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn golden_folder(options: &Options) -> Result<PathBuf> {
    if let Some(folder) = &options.golden {
        if !folder.is_dir() {
            bail!("--golden: there is no folder {}", folder.display());
        }
        return Ok(folder.clone());
    }
    let plugin = &options.tried.plugin;
    Ok(if plugin.is_dir() { plugin.join(golden::FOLDER) } else { PathBuf::from(golden::FOLDER) })
}

fn show_golden(played: &[Played], folder: &str) {
    if played.is_empty() {
        line(format!("golden: no messages in {folder}"));
        return;
    }
    let (mut good, mut written) = (0, 0);
    for Played { name, result } in played {
        match result {
            Match::Same => good += 1,
            Match::Written => {
                written += 1;
                line(format!("golden: {name}: written"));
            }
            Match::Missing => line(format!("golden: {name}: there is no {name}.out; look at what comes out, and write it with --update")),
            Match::Differs(diff) => {
                line(format!("golden: {name}: something else comes out; if it is right, write it with --update"));
                line(diff.trim_end());
            }
        }
    }
    let written = if written > 0 { format!(", {written} written") } else { String::new() };
    line(format!("golden: {good} of {} messages as they were{written}", played.len()));
}

fn show_corpus(examination: &Examination) {
    let mut problems: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for finding in &examination.findings {
        problems.entry(&finding.problem).or_default().push(&finding.sample);
    }
    for (problem, samples) in problems {
        line(format!("corpus: {}", printable(problem)));
        for sample in samples {
            line(format!("  on {sample}"));
        }
    }
    let mut text = format!("corpus: {} of {} messages stood", examination.messages - examination.findings.len(), examination.messages);
    if examination.declined > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ", {} of them called broken", examination.declined);
    }
    for (word, count) in &examination.stopped {
        let _ = write!(text, ", {count} with {word}");
    }
    line(text);
    if let Some((name, time)) = &examination.slowest {
        line(format!("corpus: slowest {name} with {} µs", time.as_micros()));
    }
    if let Some((name, octets)) = &examination.hungriest {
        line(format!("corpus: most memory {name} with {} KiB", octets / 1024));
    }
}

fn show_json(played: &[Played], examination: &Examination, good: bool) -> Result<()> {
    let golden = played.iter().map(|Played { name, result }| {
        let (word, diff) = match result {
            Match::Same => ("same", None),
            Match::Differs(diff) => ("differs", Some(diff)),
            Match::Missing => ("missing", None),
            Match::Written => ("written", None),
        };
        json!({ "name": name, "result": word, "diff": diff })
    });
    let findings = examination.findings.iter().map(|finding| json!({ "message": finding.sample, "problem": finding.problem }));
    print_json(&json!({
        "ok": good,
        "golden": golden.collect::<Vec<_>>(),
        "corpus": {
            "messages": examination.messages, "declined": examination.declined, "stopped": examination.stopped,
            "findings": findings.collect::<Vec<_>>(),
            "slowest": examination.slowest.as_ref().map(|(name, time)| json!({ "message": name, "micros": time.as_micros() })),
            "hungriest": examination.hungriest.as_ref().map(|(name, octets)| json!({ "message": name, "octets": octets })),
        },
    }))
}
