//! `plugin bench`: what a plugin costs, beside one that does nothing and one that adds a header field, on one core.
//!
//! All numbers are processor time of the thread that runs the plugin, user and system, medians over rounds in which all take turns: what else the machine
//! does changes them little. A call is what a server does for it: a store, an instance, the call, and all of it dropped.

mod reference;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::corpus;
use super::running::session::Bundle;
use super::running::{Trial, TrialError, TrialRecipient};
use crate::clock::Clock;
use crate::config::unit::ByteSize;
use crate::config::{self, Grants, OnError, PluginLimits, PluginSource};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::lease::{CopyFacts, Lease, Occasion};
use crate::plugin::letter::Addressee;
use crate::plugin::loading::{load, load_octets};
use crate::plugin::sandbox::{Question, Setting};
use crate::plugin::verdict::Failure;
use crate::plugin::{Plugin, Stage};
use crate::telemetry::metric::Metrics;

/// Rounds that count; one more before them does not.
const ROUNDS: usize = 9;
/// What a call may use: more than on a server, so that a large message is measured to its end.
const LIMITS: PluginLimits = PluginLimits { time: Duration::from_secs(30), memory: ByteSize(512 << 20), output: ByteSize(128 << 20) };
/// Header-only plugins in a row.
const ROW: usize = 5;
/// Octets of the message where none is given: text, HTML, a picture and a small attachment.
const MESSAGE: usize = 10 << 10;
/// Octets of messages by which the cost is shown.
pub const SIZES: [usize; 3] = [1 << 10, 100 << 10, 20 << 20];

/// What was measured. Times are microseconds of processor time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The plugin's own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Octets of the message.
    pub message_octets: usize,
    /// The plugin.
    pub plugin: Cost,
    /// The plugin that does nothing.
    pub no_op: Cost,
    /// The plugin that adds a header field.
    pub header_only: Cost,
    /// Five of those in a row, on one message.
    pub five_header_only: f64,
    /// By the size of the message.
    pub sizes: Vec<SizeCost>,
}

/// What one message costs with one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// An instance, made and dropped, without a call.
    pub instance: f64,
    /// A message, with all calls that it takes, instances included.
    pub message: f64,
    /// How many messages that are in a second on one core.
    pub per_second: f64,
}

impl Cost {
    fn of(instance: f64, message: f64) -> Self {
        Self { instance, message, per_second: 1e6 / message.max(f64::MIN_POSITIVE) }
    }
}

/// What a message of some size costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SizeCost {
    /// Of the message.
    pub octets: usize,
    /// With the plugin.
    pub plugin: f64,
    /// With the one that adds a header field.
    pub header_only: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The plugin is none, or does not take the options.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// It has nothing to do with messages in a chain.
    #[error("it has neither the stage `submit` nor the stage `recipient`: there is no message to measure it with")]
    NoStage,
    /// It fails on the message.
    #[error("it fails on a message of {octets} octets: {failure}")]
    Failed {
        /// Of the message.
        octets: usize,
        /// What goes wrong.
        failure: Failure,
    },
    /// The plugin beside which others are measured cannot be made.
    #[error("the plugin to compare with: {0}")]
    Reference(String),
}

/// Measures a plugin on `message`, or, without one, on a newsletter, for one `reader`, for about `time` of processor time.
///
/// Must be awaited on a runtime of one thread, so that all of the work is done, and counted, there.
pub async fn measure(
    file: &Path,
    options: &Map<String, Value>,
    message: Option<Bytes>,
    reader: &EmailAddress,
    time: Duration,
    clock: &Clock,
) -> Result<Measured, MeasureError> {
    let engine = Arc::new(Engine::new(EngineOptions::new(clock.clone(), Metrics::new())).map_err(TrialError::from)?);
    let plugin = open(&engine, file).await?;
    plugin.manifest().check(options, true).map_err(TrialError::from)?;
    if !plugin.has(Stage::Submit) && !plugin.has(Stage::Recipient) {
        return Err(MeasureError::NoStage);
    }
    let no_op = reference(&engine, "no-op", reference::nothing).await?;
    let header = reference(&engine, "header-only", reference::header_only).await?;
    let message = message.unwrap_or_else(|| corpus::mail_of(MESSAGE).into());
    let message_octets = message.len();
    let mut subjects = vec![
        Subject::instance(&plugin, reader),
        Subject::message(&plugin, 1, &message, options, reader),
        Subject::instance(&no_op, reader),
        Subject::message(&no_op, 1, &message, &Map::new(), reader),
        Subject::instance(&header, reader),
        Subject::message(&header, 1, &message, &Map::new(), reader),
        Subject::message(&header, ROW, &message, &Map::new(), reader),
    ];
    for octets in SIZES {
        let message = Bytes::from(corpus::mail_of(octets));
        subjects.push(Subject::message(&plugin, 1, &message, options, reader));
        subjects.push(Subject::message(&header, 1, &message, &Map::new(), reader));
    }
    let share = time.div_f64(f64::from(u32::try_from(subjects.len() * (ROUNDS + 1)).unwrap_or(u32::MAX)));
    for round in 0..=ROUNDS {
        for subject in &mut subjects {
            let micros = subject.round(share).await?;
            if round > 0 {
                subject.rounds.push(micros);
            }
        }
    }
    let mut medians = subjects.iter_mut().map(Subject::median);
    let mut next = || medians.next().unwrap_or_default();
    Ok(Measured {
        name: plugin.manifest().name.clone(),
        version: plugin.manifest().version.clone(),
        message_octets,
        plugin: Cost::of(next(), next()),
        no_op: Cost::of(next(), next()),
        header_only: Cost::of(next(), next()),
        five_header_only: next(),
        sizes: SIZES.map(|octets| SizeCost { octets, plugin: next(), header_only: next() }).to_vec(),
    })
}

async fn open(engine: &Arc<Engine>, file: &Path) -> Result<Plugin, TrialError> {
    let name = file.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy());
    Ok(load(engine, &name.into(), &configured(PluginSource::File(file.to_owned()))).await?)
}

async fn reference(engine: &Arc<Engine>, name: &str, make: fn() -> Result<Vec<u8>, String>) -> Result<Plugin, MeasureError> {
    let octets = make().map_err(MeasureError::Reference)?;
    let name: Arc<str> = name.into();
    let configured = configured(PluginSource::BuiltIn(Arc::clone(&name)));
    Ok(load_octets(engine, &name, &configured, &octets).await.map_err(TrialError::from)?)
}

fn configured(source: PluginSource) -> config::Plugin {
    config::Plugin {
        source,
        limits: LIMITS,
        on_error: OnError::Defer,
        allow: Grants::of_rehearsal(),
        sha256: None,
        refusals: config::Refusals::default(),
    }
}

/// What is measured: an instance, or a message with some plugins in a row.
struct Subject<'a> {
    plugin: &'a Plugin,
    row: usize,
    /// The message; without one an instance is made and nothing else.
    bundle: Option<Bundle>,
    facts: Arc<CopyFacts>,
    octets: usize,
    rounds: Vec<f64>,
}

impl<'a> Subject<'a> {
    fn instance(plugin: &'a Plugin, reader: &EmailAddress) -> Self {
        let subject = Self::message(plugin, 1, &Bytes::new(), &Map::new(), reader);
        Self { bundle: None, ..subject }
    }

    fn message(plugin: &'a Plugin, row: usize, message: &Bytes, options: &Map<String, Value>, reader: &EmailAddress) -> Self {
        let trial = Trial {
            content: message.clone(),
            options: options.clone(),
            variables: Map::new(),
            reverse_path: ReversePath::Null,
            recipients: vec![TrialRecipient { address: reader.clone(), variables: Map::new() }],
        };
        let bundle = Bundle::of(&trial);
        let facts = bundle.facts(&trial, &Addressee { id: 0, path: ForwardPath::new(reader.clone()) });
        Self { plugin, row, octets: message.len(), facts: Arc::new(facts), bundle: Some(bundle), rounds: Vec::with_capacity(ROUNDS) }
    }

    /// Works for `share` of processor time; returns what one message, or one instance, has cost.
    async fn round(&self, share: Duration) -> Result<f64, MeasureError> {
        let begun = Clock::thread_processor_time();
        let mut count = 0_u32;
        loop {
            // Looking at the clock is a system call.
            for _ in 0..=count.min(15) {
                self.once().await.map_err(|failure| MeasureError::Failed { octets: self.octets, failure })?;
                count += 1;
            }
            let spent = Clock::thread_processor_time().saturating_sub(begun);
            if spent >= share || count > 1_000_000 {
                return Ok(spent.as_secs_f64() * 1e6 / f64::from(count));
            }
        }
    }

    async fn once(&self) -> Result<(), Failure> {
        let Some(bundle) = &self.bundle else {
            return self.plugin.callee().call(Question::Nothing, None, Setting::of_description()).await.answer.map(|_| ());
        };
        let mut letter = bundle.letter.clone();
        for _ in 0..self.row {
            if self.plugin.has(Stage::Submit) {
                let call = self.plugin.process(Stage::Submit, bundle.lease(&letter), &bundle.config).await;
                if !call.result?.keeps_edits() {
                    break;
                }
                letter = call.edited.unwrap_or(letter);
            }
            if self.plugin.has(Stage::Recipient) && self.plugin.wanted(bundle.lease(&letter), &bundle.config).await.result? {
                let lease = Lease { occasion: Occasion::Copy(Arc::clone(&self.facts)), direct_slots: true, ..bundle.lease(&letter) };
                self.plugin.process(Stage::Recipient, lease, &bundle.config).await.result?;
            }
        }
        Ok(())
    }

    fn median(&mut self) -> f64 {
        self.rounds.sort_by(f64::total_cmp);
        self.rounds.get(self.rounds.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::plugin::test_guest::Guest;

    async fn measured(octets: &[u8]) -> Result<Measured, MeasureError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("greet.wasm");
        std::fs::write(&file, octets).unwrap();
        let reader = EmailAddress::parse("reader@example.net").unwrap();
        measure(&file, &Map::new(), None, &reader, Duration::from_millis(20), &Clock::system()).await
    }

    #[tokio::test]
    async fn every_number_is_there() {
        let measured = measured(&Guest::adding("greet", "X-Greeting", "hello").component()).await.unwrap();
        let numbers = [measured.plugin, measured.no_op, measured.header_only].into_iter().flat_map(|cost| [cost.instance, cost.message]);
        let sizes = measured.sizes.iter().flat_map(|size| [size.plugin, size.header_only]);
        assert!(numbers.chain(sizes).chain([measured.five_header_only]).all(|micros| micros > 0.0), "{measured:?}");
        assert_eq!(measured.sizes.len(), SIZES.len());
        assert!(measured.five_header_only > measured.header_only.message, "{measured:?}");
    }

    #[tokio::test]
    async fn a_plugin_that_fails_is_not_measured() {
        let error = measured(&Guest::new("trap").submit("(unreachable)").component()).await.unwrap_err();
        assert!(error.to_string().contains("trapped"), "{error}");
    }

    #[test]
    fn messages_have_the_size_that_they_are_said_to_have() {
        for octets in SIZES {
            let size = corpus::mail_of(octets).len();
            assert!(size <= octets && size * 2 > octets, "{size} for {octets}");
        }
    }
}
