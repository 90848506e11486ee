//! The stages without a message: forward-paths and events as odd as the samples are.

use std::sync::Arc;

use super::Sample;
use crate::bounce::BounceClass;
use crate::clock::Timestamp;
use crate::event::{Event, EventKind, Visitor};
use crate::mail::address::EmailAddress;
use crate::mail::message_id::MessageId;
use crate::plugin::forward_path::Transaction;
use crate::plugin::observation::Observed;
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::Failure;
use crate::plugin::{Plugin, Stage};

/// Octets of a sample that stand in one text of an event.
const TEXT: usize = 4_096;
/// When everything happens.
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Returns what is wrong with what the plugin makes of a sample in these stages.
pub(super) async fn examine(plugin: &Plugin, config: &str, sample: &Sample) -> Option<String> {
    let login: Arc<str> = "corpus".into();
    let text = String::from_utf8_lossy(sample.octets.get(..TEXT.min(sample.octets.len())).unwrap_or_default()).into_owned();
    if plugin.has(Stage::Rcpt) {
        for (address, _) in &sample.recipients {
            let Ok(path) = EmailAddress::parse(address) else { continue };
            let within = Transaction {
                login: Arc::clone(&login),
                reverse_path: String::new(),
                accepted: u32::MAX,
                context: vec![("helo".to_owned(), text.clone())],
                now: NOW,
                effects: Effects::rehearsal(),
            };
            if let Some(problem) = plugin.check_path(&path, &within, config).await.result.err().and_then(|failure| problem(&failure)) {
                return Some(format!("rcpt {address}: {problem}"));
            }
        }
    }
    if !plugin.has(Stage::Event) {
        return None;
    }
    let events: Vec<Event> = kinds(plugin, &text)
        .into_iter()
        .map(|kind| Event {
            at: NOW,
            message: MessageId::from_bytes([7; 16]),
            login: Arc::clone(&login),
            recipient: Some(u32::MAX),
            address: sample.recipients.first().map(|(address, _)| (*address).to_owned()),
            tags: Vec::new(),
            kind,
        })
        .collect();
    let observed: Vec<Observed<'_>> = (0..).zip(&events).map(|(position, event)| Observed { position, event }).collect();
    let handled = plugin.handle(&login, &observed, config, Effects::rehearsal()).await;
    handled.result.err().and_then(|failure| problem(&failure)).map(|problem| format!("event: {problem}"))
}

/// Nobody can be asked here, so that a plugin may well say that it could not do its work.
fn problem(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Transient(_) | Failure::Permanent(_) | Failure::Config(_) => None,
        Failure::Trapped(_)
        | Failure::OutOfTime { .. }
        | Failure::OutOfMemory { .. }
        | Failure::OutputTooLarge { .. }
        | Failure::BadAnswer(_)
        | Failure::OtherVersion { .. }
        | Failure::Missing => Some(failure.to_string()),
    }
}

/// One of each kind that plugins are told of.
fn kinds(plugin: &Plugin, text: &str) -> Vec<EventKind> {
    let text = || text.to_owned();
    let visitor = || Visitor { ip: "192.0.2.1".to_owned(), user_agent: text() };
    vec![
        EventKind::Accepted {
            protocol: "esmtpsa".to_owned(),
            peer: "192.0.2.1".to_owned(),
            reverse_path: text(),
            recipients: Vec::new(),
            recipient_count: u32::MAX,
            subject: text(),
            size: u64::MAX,
            plugins: Vec::new(),
        },
        EventKind::Rejected { reason: text(), temporary: true, plugins: Vec::new() },
        EventKind::Discarded { plugin: text(), reason: text() },
        EventKind::Held { by: text(), reason: text() },
        EventKind::Delivered { host: text(), reply: text(), attempt: u32::MAX, via: None },
        EventKind::Deferred { host: text(), reply: text(), attempt: 0, next: Timestamp::NEVER, class: BounceClass::Soft },
        EventKind::Bounced { host: text(), reply: text(), status: text(), attempt: 0, class: BounceClass::Block, report: None },
        EventKind::Cancelled,
        EventKind::Clicked { url: text(), position: u32::MAX, visitor: visitor() },
        EventKind::Opened { visitor: visitor() },
        EventKind::Unsubscribed { one_click: true, visitor: visitor() },
        EventKind::Followed { plugin: plugin.name().to_string(), claims: text(), url: Some(text()), visitor: visitor() },
    ]
}
