//! `tubepost plugin bench`: what a plugin costs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::{component, object};
use crate::cli::output::{json as print_json, line, table};
use crate::cli::{Format, block_on};
use crate::clock::Clock;
use crate::mail::address::EmailAddress;
use crate::plugin::author::building::Symbols;
use crate::plugin::author::golden::RECIPIENT;
use crate::plugin::author::measuring::{Cost, Measured, measure};
use crate::plugin::author::running::with_crlf;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    format: Format,
    /// The component, or the folder of a crate, which is built as for a server first.
    #[arg(value_name = "FILE.wasm|FOLDER")]
    plugin: PathBuf,
    /// The message; a newsletter of 10 KiB where not given.
    #[arg(short, long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// The plugin's options, as a JSON object.
    #[arg(long = "options", value_name = "JSON", default_value = "{}", alias = "config")]
    given: String,
    /// Whom the message is for.
    #[arg(long = "to", value_name = "ADDRESS", default_value = RECIPIENT)]
    recipient: EmailAddress,
    /// How many seconds of processor time it may take.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let plugin_options = object(&options.given, "--options")?;
    let message = match &options.message {
        Some(path) => Some(with_crlf(std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?)),
        None => None,
    };
    let file = component(&options.plugin, Symbols::AsConfigured)?;
    let time = Duration::from_secs(options.seconds);
    let clock = Clock::system();
    let measured = block_on(async { Ok(measure(&file, &plugin_options, message, &options.recipient, time, &clock).await?) })?;
    if options.format.json {
        print_json(&measured)?;
    } else {
        show(&measured);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) {
    let Measured { name, version, message_octets, plugin, no_op, header_only, five_header_only, sizes } = measured;
    line(format!("{name} {version} on a message of {message_octets} octets; microseconds of processor time on one core"));
    line("");
    let row = |name: &str, cost: &Cost| {
        vec![
            name.to_owned(),
            format!("{:.1}", cost.instance),
            format!("{:.1}", (cost.message - cost.instance).max(0.0)),
            format!("{:.1}", cost.message),
            format!("{:.0}", cost.per_second),
            format!("{:.1}", cost.message / no_op.message.max(f64::MIN_POSITIVE)),
        ]
    };
    table(
        &["", "instance", "plugin", "together", "messages/s", "times no-op"],
        &[row(name, plugin), row("a no-op", no_op), row("a header field", header_only)],
    );
    line("");
    line(format!("five that add a header field, on one message: {five_header_only:.1}"));
    line("");
    let octets = |octets: usize| if octets >= 1 << 20 { format!("{} MiB", octets >> 20) } else { format!("{} KiB", octets >> 10) };
    let rows: Vec<Vec<String>> =
        sizes.iter().map(|size| vec![octets(size.octets), format!("{:.1}", size.plugin), format!("{:.1}", size.header_only)]).collect();
    table(&["message of", name, "a header field"], &rows);
}
