//! The stage `rcpt`: a plugin's word on one forward-path, while the client is still talking.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::PluginRun;
use crate::mail::address::EmailAddress;
use crate::plugin::binding::{WitAnswer, WitTransaction};
use crate::plugin::sandbox::{Answer, Question, Setting, random_stream};
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::{Failure, Reply};
use crate::plugin::{Plugin, Stage};
use crate::telemetry::metric::PluginOutcome;

/// A transaction that is under way.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Whose.
    pub login: Arc<str>,
    /// "" is the null sender.
    pub reverse_path: String,
    /// Forward-paths that were accepted so far.
    pub accepted: u32,
    /// `login`, `protocol`, `peer` and the like.
    pub context: Vec<(String, String)>,
    /// When it is asked.
    pub now: Timestamp,
    /// Whether what plugins ask of the host's services counts.
    pub effects: Effects,
}

/// A plugin's word on a forward-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathAnswer {
    /// It may stay.
    Accept,
    /// Refused for good.
    Reject(Reply),
    /// Refused for now.
    Defer(Reply),
    /// This address takes its place.
    Rewrite(EmailAddress),
}

/// What came of asking.
#[derive(Debug)]
pub struct PathCall {
    /// The plugin's word, or why there is none.
    pub result: Result<PathAnswer, Failure>,
    /// For the trace.
    pub run: PluginRun,
}

impl Plugin {
    /// Asks what the plugin says of a forward-path. `config` is the JSON object of its options.
    pub async fn check_path(&self, path: &EmailAddress, within: &Transaction, config: &str) -> PathCall {
        let Some(export) = &self.rcpt else {
            let run = self.run(Stage::Rcpt, "accept", String::new(), super::Report::default());
            return PathCall { result: Ok(PathAnswer::Accept), run };
        };
        let address = path.to_string();
        let setting = Setting {
            login: Arc::clone(&within.login),
            now: within.now,
            random: Some(random_stream(&within.now.as_millis().to_le_bytes(), Some(&address), &self.name)),
            effects: within.effects.clone(),
        };
        let transaction = WitTransaction {
            reverse_path: within.reverse_path.clone(),
            accepted: within.accepted,
            context: within.context.clone(),
            now_ms: within.now.as_millis(),
        };
        let is_live = within.effects.is_live();
        let outcome = self.callee().call(Question::Rcpt(export, &address, transaction, config), None, setting).await;
        let result = outcome.answer.and_then(|answer| match answer {
            Answer::Rcpt(answer) => answer.map_err(Failure::from).and_then(path_answer),
            Answer::Description(_) | Answer::Verdict(_) | Answer::Wanted(_) | Answer::Handled(_) => {
                Err(Failure::BadAnswer("not a word on a forward-path".to_owned()))
            }
        });
        let (word, text, metric) = match &result {
            Ok(PathAnswer::Accept) => ("accept", String::new(), PluginOutcome::Continued),
            Ok(PathAnswer::Rewrite(address)) => ("rewrite", address.to_string(), PluginOutcome::Continued),
            Ok(PathAnswer::Reject(reply)) => ("reject", reply.text.clone(), PluginOutcome::Rejected),
            Ok(PathAnswer::Defer(reply)) => ("defer", reply.text.clone(), PluginOutcome::Deferred),
            Err(failure) => ("failed", failure.to_string(), failure.metric()),
        };
        if is_live {
            self.metrics.login(&within.login).called(metric, outcome.report.time, outcome.report.memory);
        }
        PathCall { result, run: self.run(Stage::Rcpt, word, text, outcome.report) }
    }
}

fn path_answer(answer: WitAnswer) -> Result<PathAnswer, Failure> {
    Ok(match answer {
        WitAnswer::Accept => PathAnswer::Accept,
        WitAnswer::Reject(reply) => PathAnswer::Reject(Reply::rejection(reply.code, reply.enhanced.as_deref(), &reply.text)),
        WitAnswer::Defer(reply) => PathAnswer::Defer(Reply::deferral(reply.code, reply.enhanced.as_deref(), &reply.text)),
        WitAnswer::Rewrite(address) => {
            let parsed = EmailAddress::parse(&address);
            PathAnswer::Rewrite(parsed.map_err(|error| Failure::BadAnswer(format!("an address that is none: {error}")))?)
        }
    })
}
