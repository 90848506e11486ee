//! What the spool keeps of a message: entry, copies with their queues, events.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::composing::Letterpress;
use super::trace_header::HeaderFacts;
use super::{IntakeSettings, Parts};
use crate::chain::trace::Trace;
use crate::config::Route;
use crate::event::{Event, EventKind};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{ForwardPath, TransportSecurity};
use crate::spool::NewEntry;
use crate::spool::entry::{Copy, Entry, Terms};
use crate::spool::queue::{self, Lane};
use crate::store::QueueName;
use crate::submission::{Options, Submission};

/// Forward-paths that stand in the event of acceptance.
const RECIPIENTS_IN_EVENT: usize = 100;

impl Parts {
    /// Puts together what is kept of a message whose copies are made from `press`; `content` is what came in.
    pub(super) fn entry(
        &self,
        submission: &Submission,
        facts: &HeaderFacts<'_>,
        content: Bytes,
        press: Letterpress,
        settings: &IntakeSettings,
        trace: &mut Trace,
    ) -> NewEntry {
        let terms = terms(submission, facts);
        let copies = copies(submission, &press, settings, terms.transport);
        let Submission { envelope, login, received, options, .. } = submission;
        let recipient_count = u32::try_from(copies.len()).unwrap_or(u32::MAX);
        let at = self.clock.now();
        let event = |kind| Event {
            at,
            message: submission.id,
            login: Arc::clone(&login.name),
            recipient: None,
            address: None,
            tags: press.tags.clone(),
            kind,
        };
        let failures = trace.failure_texts().into_iter();
        let mut events: Vec<_> = failures.map(|(plugin, failure)| event(EventKind::PluginFailed { plugin, failure })).collect();
        events.push(event(EventKind::Accepted {
            protocol: received.protocol.keyword().to_ascii_lowercase(),
            peer: received.peer.to_string(),
            reverse_path: press.reverse_path.to_string(),
            recipients: copies.iter().take(RECIPIENTS_IN_EVENT).map(|(copy, _)| copy.address.to_string()).collect(),
            recipient_count,
            subject: press.subject.clone(),
            size: u64::try_from(submission.content.len()).unwrap_or(u64::MAX),
            plugins: trace.take_runs(),
        }));
        if let Some((by, reason)) = &press.held {
            events.push(event(EventKind::Held { by: by.clone(), reason: reason.clone() }));
        }
        let entry = Entry {
            id: submission.id,
            login: Arc::clone(&login.name),
            route: press.route.unwrap_or_else(|| Arc::clone(&login.route)),
            received: received.clone(),
            reverse_path: press.reverse_path,
            ret: envelope.ret,
            envid: envelope.envid.clone(),
            body: envelope.body,
            smtputf8: envelope.smtputf8,
            subject: press.subject,
            tags: press.tags,
            recipient_count,
            deliver_before: options.deliver_before,
            options: options_text(options, &press.recipients),
            plan: press.plan,
            terms,
        };
        NewEntry {
            entry,
            body: press.body,
            original: press.changed.then_some(content),
            copies,
            held: press.held.map(|(_, reason)| reason),
            not_before: press.not_before.max(submission.envelope.not_before),
            events,
        }
    }
}

/// What is agreed about the delivery of a message.
fn terms(submission: &Submission, facts: &HeaderFacts<'_>) -> Terms {
    let Submission { envelope, login, .. } = submission;
    let treatment = &login.treatment;
    let transport = match envelope.transport {
        // RFC 8689 §4.1: where both are there, the field counts for nothing.
        TransportSecurity::AsConfigured if facts.tls_not_required => TransportSecurity::Optional,
        transport @ (TransportSecurity::AsConfigured | TransportSecurity::Required | TransportSecurity::Optional) => transport,
    };
    Terms {
        priority: envelope.priority.unwrap_or(treatment.priority).min(treatment.highest_priority),
        transport,
        not_before: envelope.not_before,
        ..Terms::default()
    }
}

/// The copies with their queues: one queue for a domain where the route goes to the domains' own hosts, else one for the route.
fn copies(submission: &Submission, press: &Letterpress, settings: &IntakeSettings, transport: TransportSecurity) -> Vec<(Copy, QueueName)> {
    let route = press.route.as_ref().unwrap_or(&submission.login.route);
    let kind = settings.routes.get(route);
    let sender = submission.envelope.reverse_path.mailbox().map(EmailAddress::domain);
    let lane = Lane { source: settings.sources.choose(&submission.login.name, sender, route).cloned(), transport };
    let mut names: BTreeMap<&str, QueueName> = BTreeMap::new();
    press
        .copies(&submission.options)
        .map(|(_, path, variables)| {
            let queue = match kind {
                Some(kind) => {
                    // One name for all where the domain makes no difference.
                    let domain = path.address.domain();
                    let key = if matches!(kind, Route::Mx(_)) { domain.as_str() } else { "" };
                    Arc::clone(names.entry(key).or_insert_with(|| queue::name(route, kind, domain, &lane)))
                }
                // Delivery finds a better one for a route that has left the configuration, and comes back as another.
                None => queue::unrouted(route, &lane),
            };
            let copy = Copy { address: path.address.clone(), notify: path.notify, original: path.original.clone(), variables };
            (copy, queue)
        })
        .collect()
}

/// The options as JSON, with the data of recipients under the numbers of their copies, as the places in the envelope are not kept; "" where
/// nothing was asked for.
fn options_text(options: &Options, recipients: &[(u32, ForwardPath)]) -> String {
    if *options == Options::default() {
        return String::new();
    }
    if (0..).zip(recipients).all(|(number, (place, _))| number == *place) {
        return serde_json::to_string(options).unwrap_or_default();
    }
    let data = (0..).zip(recipients).filter_map(|(number, (place, _))| Some((number, options.recipient_variables.get(place)?.clone())));
    let renumbered = Options { recipient_variables: data.collect(), ..options.clone() };
    serde_json::to_string(&renumbered).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    #[test]
    fn data_stays_with_its_recipient_when_a_plugin_removes_another() {
        let data = |name: &str| json!({ "name": name }).as_object().unwrap().clone();
        let recipient_variables = [(0, data("Ann")), (1, data("Ben")), (2, data("Cid"))].into();
        let options = Options { recipient_variables, ..Options::default() };
        let path = |place| (place, ForwardPath::new("r@example.net".parse().unwrap()));
        let kept = |recipients: &[(u32, ForwardPath)]| serde_json::from_str::<Options>(&options_text(&options, recipients)).unwrap();
        assert_eq!(kept(&[path(0), path(1), path(2)]), options);
        // The last one was added.
        let renumbered = [(0, data("Ben")), (1, data("Cid"))].into();
        assert_eq!(kept(&[path(1), path(2), path(3)]).recipient_variables, renumbered);
        assert_eq!(options_text(&Options::default(), &[path(1)]), "");
    }
}
