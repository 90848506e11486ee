//! The stage `event`: what became of messages, told to a plugin that wants to know.

use std::sync::Arc;

use crate::event::{Event, EventKind, PluginRun, Visitor};
use crate::plugin::binding::{WitEvent, WitKind};
use crate::plugin::sandbox::{Answer, Question, Setting, random_stream};
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::Failure;
use crate::plugin::{Plugin, Stage};
use crate::telemetry::metric::PluginOutcome;

/// An event on its way to a plugin.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Its place in the log: with the message it names the event.
    pub position: u64,
    /// What happened.
    pub event: &'a Event,
}

/// What came of telling.
#[derive(Debug)]
pub struct Handled {
    /// Whether the plugin has taken note.
    pub result: Result<(), Failure>,
    /// For the log.
    pub run: PluginRun,
}

impl Plugin {
    /// Whether an event is for this plugin: it has the stage, and the event is none of what only operators see, or of another plugin's link.
    pub fn observes(&self, event: &Event) -> bool {
        self.event.is_some() && kind(&event.kind, &self.name).is_some()
    }

    /// Tells the plugin what became of messages of `login`; events that are not for it are left out. `config` is the JSON object of its options.
    pub async fn handle(&self, login: &Arc<str>, events: &[Observed<'_>], config: &str, effects: Effects) -> Handled {
        let told: Vec<WitEvent> = events.iter().filter_map(|observed| self.told(*observed)).collect();
        let last = events.iter().rev().find(|observed| self.observes(observed.event));
        let (Some(export), Some(last)) = (&self.event, last) else {
            return Handled { result: Ok(()), run: self.run(Stage::Event, "handled", String::new(), super::Report::default()) };
        };
        let is_live = effects.is_live();
        let setting = Setting {
            login: Arc::clone(login),
            now: last.event.at,
            random: Some(random_stream(&last.position.to_le_bytes(), None, &self.name)),
            effects,
        };
        let outcome = self.callee().call(Question::Events(export, &told, config), None, setting).await;
        let result = outcome.answer.and_then(|answer| match answer {
            Answer::Handled(answer) => answer.map_err(Failure::from),
            Answer::Description(_) | Answer::Verdict(_) | Answer::Wanted(_) | Answer::Rcpt(_) => {
                Err(Failure::BadAnswer("not a word on events".to_owned()))
            }
        });
        let (word, text, metric) = match &result {
            Ok(()) => ("handled", String::new(), PluginOutcome::Continued),
            Err(failure) => ("failed", failure.to_string(), failure.metric()),
        };
        if is_live {
            self.metrics.login(login).called(metric, outcome.report.time, outcome.report.memory);
        }
        Handled { result, run: self.run(Stage::Event, word, text, outcome.report) }
    }

    fn told(&self, observed: Observed<'_>) -> Option<WitEvent> {
        let event = observed.event;
        Some(WitEvent {
            id: format!("{}-{}", event.message, observed.position),
            at_ms: event.at.as_millis(),
            kind: kind(&event.kind, &self.name)?,
            message: event.message.to_string(),
            login: event.login.to_string(),
            recipient: event.recipient,
            address: event.address.clone(),
            tags: event.tags.iter().map(ToString::to_string).collect(),
            detail: detail(&event.kind),
        })
    }
}

/// Returns what a plugin calls it; `None` is not for it.
fn kind(kind: &EventKind, plugin: &str) -> Option<WitKind> {
    Some(match kind {
        EventKind::Accepted { .. } => WitKind::Accepted,
        EventKind::Rejected { .. } => WitKind::Rejected,
        EventKind::Discarded { .. } => WitKind::Discarded,
        EventKind::Held { .. } => WitKind::Held,
        EventKind::Delivered { .. } => WitKind::Delivered,
        EventKind::Deferred { .. } => WitKind::Deferred,
        EventKind::Bounced { .. } => WitKind::Bounced,
        EventKind::Cancelled => WitKind::Cancelled,
        EventKind::Clicked { .. } => WitKind::Clicked,
        EventKind::Opened { .. } => WitKind::Opened,
        EventKind::Unsubscribed { .. } => WitKind::Unsubscribed,
        EventKind::Complained { .. } => WitKind::Complained,
        EventKind::Followed { plugin: owner, .. } if owner == plugin => WitKind::Followed,
        // What plugins did is between them and the operator; another's link is another's.
        // Contract 0.1.0 has no word for a dropped copy; nothing was done to it that a plugin could have seen.
        EventKind::Followed { .. }
        | EventKind::Suppressed { .. }
        | EventKind::PluginFailed { .. }
        | EventKind::Rendered { .. }
        | EventKind::Observed { .. }
        // The contract of this version has no words for them.
        | EventKind::Reported { .. }
        | EventKind::Responded { .. }
        | EventKind::DmarcReported { .. }
        // No login's mail, so no chain's.
        | EventKind::Received { .. } => return None,
    })
}

/// Returns what else is known, by name.
fn detail(kind: &EventKind) -> Vec<(String, String)> {
    let mut detail: Vec<(&str, String)> = Vec::new();
    let visited = |visitor: &Visitor| [("ip", visitor.ip.clone()), ("user-agent", visitor.user_agent.clone())];
    match kind {
        EventKind::Accepted { protocol, reverse_path, recipient_count, subject, size, .. } => detail.extend([
            ("protocol", protocol.clone()),
            ("reverse-path", reverse_path.clone()),
            ("recipient-count", recipient_count.to_string()),
            ("subject", subject.clone()),
            ("size", size.to_string()),
        ]),
        EventKind::Rejected { reason, temporary, .. } => {
            detail.extend([("reason", reason.clone()), ("temporary", temporary.to_string())]);
        }
        EventKind::Discarded { plugin, reason } => detail.extend([("plugin", plugin.clone()), ("reason", reason.clone())]),
        EventKind::Held { by, reason } => detail.extend([("plugin", by.clone()), ("reason", reason.clone())]),
        EventKind::Delivered { host, reply, attempt, .. } => {
            detail.extend([("host", host.clone()), ("reply", reply.clone()), ("attempt", attempt.to_string())]);
        }
        EventKind::Deferred { host, reply, attempt, next, class } => detail.extend([
            ("host", host.clone()),
            ("reply", reply.clone()),
            ("attempt", attempt.to_string()),
            ("next-ms", next.as_millis().to_string()),
            ("class", class.to_string()),
        ]),
        EventKind::Bounced { host, reply, status, attempt, class, report } => {
            detail.extend([("host", host.clone()), ("reply", reply.clone()), ("status", status.clone()), ("attempt", attempt.to_string())]);
            detail.extend([("class", class.to_string()), ("asynchronous", report.is_some().to_string())]);
        }
        EventKind::Clicked { url, position, visitor } => {
            detail.extend([("url", url.clone()), ("position", position.to_string())]);
            detail.extend(visited(visitor));
        }
        EventKind::Opened { visitor } => detail.extend(visited(visitor)),
        EventKind::Unsubscribed { one_click, visitor } => {
            detail.push(("one-click", one_click.to_string()));
            detail.extend(visited(visitor));
        }
        EventKind::Followed { claims, url, visitor, .. } => {
            detail.push(("claims", claims.clone()));
            detail.extend(url.iter().map(|url| ("url", url.clone())));
            detail.extend(visited(visitor));
        }
        EventKind::Cancelled
        | EventKind::Suppressed { .. }
        | EventKind::Complained { .. }
        | EventKind::PluginFailed { .. }
        | EventKind::Rendered { .. }
        | EventKind::Observed { .. }
        | EventKind::Reported { .. }
        | EventKind::Responded { .. }
        | EventKind::DmarcReported { .. }
        | EventKind::Received { .. } => {}
    }
    detail.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
