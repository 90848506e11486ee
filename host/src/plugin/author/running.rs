//! `plugin run`: one message through one plugin, in the real sandbox.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use similar::TextDiff;

use crate::clock::{Clock, Entropy};
use crate::config::{self, Grants, OnError, PluginLimits, PluginRuntime, PluginSource};
use crate::event::PluginRun;
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::Draft;
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::plugin::engine::{Engine, EngineError, EngineOptions};
use crate::plugin::lease::{Circumstances, CopyFacts, Lease, Occasion};
use crate::plugin::letter::Letter;
use crate::plugin::loading::{LoadError, load};
use crate::plugin::manifest::Manifest;
use crate::plugin::verdict::{Failure, Verdict};
use crate::plugin::{Plugin, Stage, Wanted};
use crate::telemetry::metric::Metrics;

/// What links begin with.
const PUBLIC_URL: &str = "https://links.example";
/// Lines of context around a change.
const CONTEXT: usize = 3;

/// What to run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The component.
    pub file: PathBuf,
    /// A message; line ends may be of either kind.
    pub message: Vec<u8>,
    /// The plugin's options.
    pub options: Map<String, Value>,
    /// Data given with the message, as slots and templates see them.
    pub variables: Map<String, Value>,
    /// Whom the copy is for.
    pub recipient: EmailAddress,
    /// What the plugin may use.
    pub limits: PluginLimits,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No sandbox.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No plugin.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The options are not the plugin's.
    #[error("the plugin's options: {0}")]
    Options(#[from] crate::plugin::manifest::schema::Invalid),
}

/// What the plugin did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who the plugin says it is.
    pub manifest: Manifest,
    /// Its calls, in order.
    pub calls: Vec<TrialCall>,
    /// The message before.
    pub before: Bytes,
    /// The message as the recipient gets it: slots are filled in.
    pub after: Bytes,
    /// Tags afterwards.
    pub tags: Vec<String>,
    /// Slots that the plugin asked for.
    pub slots: usize,
}

/// One call.
#[derive(Clone, Debug)]
pub struct TrialCall {
    /// What it cost and changed.
    pub run: PluginRun,
    /// What came of it.
    pub result: Result<Option<Verdict>, Failure>,
}

impl Report {
    /// Returns what changed, as a unified diff; "" where nothing did.
    pub fn diff(&self) -> String {
        let [before, after] = [&self.before, &self.after].map(|octets| String::from_utf8_lossy(octets).replace("\r\n", "\n"));
        TextDiff::from_lines(&before, &after).unified_diff().context_radius(CONTEXT).header("before", "after").to_string()
    }
}

/// Runs a plugin on a message as the server would: its stage `submit`, and, where it wants to, its stage `recipient`.
pub async fn run(trial: Trial, clock: Clock, entropy: &Entropy) -> Result<Report, TrialError> {
    let runtime = PluginRuntime { instances: 1, ..PluginRuntime::default() };
    let engine = Arc::new(Engine::new(EngineOptions { runtime, ..EngineOptions::new(clock.clone(), Metrics::new()) })?);
    let name = trial.file.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy()).into_owned();
    let source = PluginSource::File(trial.file.clone());
    let configured = config::Plugin { source, limits: trial.limits, on_error: OnError::Defer, allow: Grants::of_rehearsal() };
    let plugin = load(&engine, &name.as_str().into(), &configured).await?;
    plugin.manifest().check(&trial.options, true)?;
    Ok(Session::new(&trial, &clock, entropy).run(&plugin).await)
}

/// One message with one recipient.
struct Session {
    letter: Letter,
    circumstances: Arc<Circumstances>,
    facts: Arc<CopyFacts>,
    config: String,
    calls: Vec<TrialCall>,
}

impl Session {
    fn new(trial: &Trial, clock: &Clock, entropy: &Entropy) -> Self {
        let content = with_crlf(&trial.message);
        let received = clock.now();
        let id = MessageId::new(received, entropy);
        let text = |object: &Map<String, Value>| serde_json::to_string(object).unwrap_or_else(|_| "{}".to_owned());
        Self {
            letter: Letter::new(
                Draft::new(content.clone()),
                ReversePath::Null,
                vec![ForwardPath::new(trial.recipient.clone())],
                Vec::new(),
                entropy.array(),
            ),
            circumstances: Arc::new(Circumstances {
                login: "trial".into(),
                deliver_before: None,
                effects: crate::plugin::service::desk::Effects::rehearsal(),
                id,
                received,
                context: [("login", "trial"), ("protocol", "local"), ("public-url", PUBLIC_URL)]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
                variables: text(&trial.variables),
                original: content,
                recipient_limit: 1_000,
                links: LinkSigner::new(entropy.array(), PUBLIC_URL.to_owned()),
            }),
            facts: Arc::new(CopyFacts {
                copy: CopyId { message: id, recipient: 0 },
                address: trial.recipient.clone(),
                variables: trial.variables.clone(),
            }),
            config: text(&trial.options),
            calls: Vec::new(),
        }
    }

    async fn run(mut self, plugin: &Plugin) -> Report {
        let mut goes_on = true;
        if plugin.has(Stage::Submit) {
            goes_on = self.call(plugin, Stage::Submit).await;
        }
        let slots = self.letter.slots().as_slice().len();
        self.fill_slots();
        if goes_on && plugin.has(Stage::Recipient) {
            let Wanted { result, run, .. } = plugin.wanted(self.lease(Stage::Submit), &self.config).await;
            let wants = matches!(result, Ok(true));
            self.calls.push(TrialCall { run, result: result.map(|_| None) });
            if wants {
                self.call(plugin, Stage::Recipient).await;
            }
        }
        let Letter { draft, tags, .. } = self.letter;
        Report {
            manifest: plugin.manifest().clone(),
            calls: self.calls,
            before: self.circumstances.original.clone(),
            after: draft.into_composition(None).fill(&[0; 11], &[], &mut |_| String::new()),
            tags: tags.iter().map(ToString::to_string).collect(),
            slots,
        }
    }

    fn lease(&self, stage: Stage) -> Lease {
        let copy = stage == Stage::Recipient;
        Lease {
            letter: self.letter.clone(),
            circumstances: Arc::clone(&self.circumstances),
            occasion: if copy { Occasion::Copy(Arc::clone(&self.facts)) } else { Occasion::Message },
            direct_slots: copy,
        }
    }

    /// Returns whether the message goes on.
    async fn call(&mut self, plugin: &Plugin, stage: Stage) -> bool {
        let call = plugin.process(stage, self.lease(stage), &self.config).await;
        if let Some(edited) = call.edited {
            self.letter = edited;
        }
        let goes_on = matches!(call.result, Ok(Verdict::Next | Verdict::Accept | Verdict::Hold(_)));
        self.calls.push(TrialCall { run: call.run, result: call.result.map(Some) });
        goes_on
    }

    fn fill_slots(&mut self) {
        let slots = self.letter.slots().clone();
        if slots.as_slice().is_empty() {
            return;
        }
        let composition = self.letter.draft.clone().into_composition(Some(slots.nonce()));
        let filled = composition.fill(slots.nonce(), slots.as_slice(), &mut |slot| self.facts.value(slot, &self.circumstances.links));
        self.letter.draft = Draft::new(filled);
        self.letter.clear_slots();
    }
}

/// Makes all line ends CRLF: files on disk mostly have LF.
fn with_crlf(octets: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut before = 0;
    for octet in octets {
        if *octet == b'\n' && before != b'\r' {
            message.push(b'\r');
        }
        message.push(*octet);
        before = *octet;
    }
    message.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use super::*;
    use crate::plugin::test_guest::{Guest, LIMITS};

    async fn trial(guest: Guest, options: &str) -> Result<Report, TrialError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("greet.wasm");
        std::fs::write(&file, guest.component()).unwrap();
        let trial = Trial {
            file,
            message: b"Subject: x\n\nbody\n".to_vec(),
            options: serde_json::from_str(options).unwrap(),
            variables: Map::new(),
            recipient: EmailAddress::parse("b@example.com").unwrap(),
            limits: LIMITS,
        };
        run(trial, Clock::system(), &Entropy::seeded(1)).await
    }

    #[tokio::test]
    async fn the_change_is_shown() {
        let report = trial(Guest::adding("greet", "X-Greeting", "hello"), "{}").await.unwrap();
        assert_eq!(report.before, "Subject: x\r\n\r\nbody\r\n");
        assert!(report.diff().contains("\n+X-Greeting: hello\n"), "{}", report.diff());
        assert_eq!((report.calls.len(), report.calls[0].run.headers_changed.as_slice()), (1, ["X-Greeting".to_owned()].as_slice()));
        let report = trial(Guest::new("still"), "{}").await.unwrap();
        assert_eq!((report.diff().as_str(), report.before), ("", report.after));
    }

    #[tokio::test]
    async fn wrong_options_are_told() {
        let error = trial(Guest::adding("greet", "X-Greeting", "hello"), r#"{"loud":true}"#).await.unwrap_err();
        assert_eq!(error.to_string(), "the plugin's options: loud: no such option; this plugin takes none");
    }
}
