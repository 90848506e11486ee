//! One message on its way through one plugin, and then for each of its recipients.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Report, Trial, TrialCall, TrialCopy};
use crate::clock::{Entropy, Timestamp};
use crate::link::LinkSigner;
use crate::mail::content::Draft;
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::mail::slot::{Link, Slot};
use crate::plugin::lease::{Circumstances, CopyFacts, Lease, Occasion};
use crate::plugin::letter::{Addressee, Letter};
use crate::plugin::service::desk::Effects;
use crate::plugin::verdict::Verdict;
use crate::plugin::{Plugin, Stage, Wanted};

/// Whose mail it is.
const LOGIN: &str = "trial";
/// What links begin with.
const PUBLIC_URL: &str = "https://links.example";
/// When every message is received: 2 November 2026, 09:00 UTC.
const RECEIVED: Timestamp = Timestamp::from_millis(1_793_610_000_000);
/// Decides the id.
const SEED: u64 = 1;
/// Of the tokens that stand for slots.
const NONCE: [u8; 11] = *b"tubepost-11";
/// Signs links. They are for looking at; no server takes them.
const KEY: [u8; 32] = [7; 32];
/// Recipients that a message may have.
const RECIPIENTS: u32 = 1_000;

/// A message as calls take it.
pub(in crate::plugin::author) struct Bundle {
    pub(in crate::plugin::author) letter: Letter,
    /// The plugin's options as JSON.
    pub(in crate::plugin::author) config: String,
    circumstances: Arc<Circumstances>,
}

impl Bundle {
    pub(in crate::plugin::author) fn of(trial: &Trial) -> Self {
        let paths = trial.recipients.iter().map(|recipient| ForwardPath::new(recipient.address.clone()));
        let mut context = [("login", LOGIN), ("protocol", "local"), ("public-url", PUBLIC_URL)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        if trial.recipients.iter().any(|recipient| !recipient.variables.is_empty()) {
            context.push(("recipient-data".to_owned(), "true".to_owned()));
        }
        Self {
            letter: Letter::new(Draft::new(trial.content.clone()), trial.reverse_path.clone(), paths.collect(), Vec::new(), NONCE),
            config: json(&trial.options),
            circumstances: Arc::new(Circumstances {
                login: LOGIN.into(),
                deliver_before: None,
                effects: Effects::rehearsal(),
                id: MessageId::new(RECEIVED, &Entropy::seeded(SEED)),
                received: RECEIVED,
                context,
                variables: json(&trial.variables),
                original: trial.content.clone(),
                recipient_limit: RECIPIENTS,
                links: LinkSigner::new(KEY, PUBLIC_URL.to_owned()),
            }),
        }
    }

    /// Lends the message as a whole, as `letter` has it.
    pub(in crate::plugin::author) fn lease(&self, letter: &Letter) -> Lease {
        Lease { letter: letter.clone(), circumstances: Arc::clone(&self.circumstances), occasion: Occasion::Message, direct_slots: false }
    }

    /// Returns what is known of a recipient; of one whom the plugin added, no data.
    pub(in crate::plugin::author) fn facts(&self, trial: &Trial, addressee: &Addressee) -> CopyFacts {
        let own = usize::try_from(addressee.id).ok().and_then(|place| trial.recipients.get(place));
        let mut variables = trial.variables.clone();
        variables.extend(own.map(|recipient| recipient.variables.clone()).unwrap_or_default());
        CopyFacts {
            copy: CopyId { message: self.circumstances.id, recipient: addressee.id },
            address: addressee.path.address.clone(),
            variables,
        }
    }
}

/// One message.
pub(super) struct Session<'a> {
    trial: &'a Trial,
    plugin: &'a Plugin,
    bundle: Bundle,
    calls: Vec<TrialCall>,
}

impl<'a> Session<'a> {
    pub(super) fn new(trial: &'a Trial, plugin: &'a Plugin) -> Self {
        Self { trial, plugin, bundle: Bundle::of(trial), calls: Vec::new() }
    }

    pub(super) async fn run(mut self) -> Report {
        let before: Vec<Addressee> = self.bundle.letter.recipients().to_vec();
        let mut verdict = None;
        let mut goes_on = true;
        if self.plugin.has(Stage::Submit) {
            let mut call = self.plugin.process(Stage::Submit, self.bundle.lease(&self.bundle.letter), &self.bundle.config).await;
            if let Some(edited) = call.edited.take() {
                self.bundle.letter = edited;
            }
            goes_on = call.result.as_ref().is_ok_and(Verdict::keeps_edits);
            verdict = call.result.as_ref().ok().cloned();
            self.calls.push(TrialCall { run: call.run, result: call.result.map(Some), fuel: call.fuel });
        }
        let mut wanted = false;
        // What ends the chain ends it for the plugin's own later stage too.
        if goes_on && verdict != Some(Verdict::Accept) && self.plugin.has(Stage::Recipient) {
            let Wanted { result, run, fuel, .. } = self.plugin.wanted(self.bundle.lease(&self.bundle.letter), &self.bundle.config).await;
            wanted = matches!(result, Ok(true));
            goes_on = result.is_ok();
            self.calls.push(TrialCall { run, result: result.map(|_| None), fuel });
        }
        let mut copies = Vec::new();
        if goes_on {
            for addressee in self.bundle.letter.recipients() {
                copies.push(self.copy(addressee, wanted).await);
            }
        }
        let mut envelope = path_change(&self.trial.reverse_path, &self.bundle.letter.reverse_path);
        let after = self.bundle.letter.recipients();
        let removed = before.iter().filter(|one| !after.contains(one)).map(|one| format!("recipient removed: {}", one.path.address));
        let added = after.iter().filter(|one| !before.contains(one)).map(|one| format!("recipient added: {}", one.path.address));
        envelope.extend(removed.chain(added));
        envelope.extend(self.bundle.letter.route.iter().map(|route| format!("route: {route}")));
        envelope.extend(self.bundle.letter.not_before.iter().map(|time| format!("not before: {time}")));
        Report {
            before: self.trial.content.clone(),
            tags: self.bundle.letter.tags.iter().map(ToString::to_string).collect(),
            envelope,
            slots: self.bundle.letter.slots().as_slice().iter().map(slot_text).collect(),
            calls: self.calls,
            copies,
        }
    }

    /// Makes the copy of one recipient, as rendering does.
    async fn copy(&self, addressee: &Addressee, wanted: bool) -> TrialCopy {
        let facts = self.bundle.facts(self.trial, addressee);
        let content = self.filled(&facts);
        let mut copy = TrialCopy {
            address: addressee.path.address.to_string(),
            calls: Vec::new(),
            after: Some(content.clone()),
            tags: Vec::new(),
            envelope: Vec::new(),
        };
        if !wanted {
            return copy;
        }
        let lease = Lease {
            letter: Letter::new(
                Draft::new(content.clone()),
                self.bundle.letter.reverse_path.clone(),
                vec![addressee.path.clone()],
                self.bundle.letter.tags.clone(),
                NONCE,
            ),
            circumstances: Arc::new(Circumstances {
                variables: String::new(),
                original: content.clone(),
                recipient_limit: 1,
                effects: Effects::Repeatable,
                ..Circumstances::clone(&self.bundle.circumstances)
            }),
            occasion: Occasion::Copy(Arc::new(facts)),
            direct_slots: true,
        };
        let call = self.plugin.process(Stage::Recipient, lease, &self.bundle.config).await;
        copy.after = call.edited.map(|letter| {
            copy.envelope = path_change(&self.bundle.letter.reverse_path, &letter.reverse_path);
            copy.tags = letter.tags.iter().filter(|tag| !self.bundle.letter.tags.contains(tag)).map(ToString::to_string).collect();
            if letter.draft.is_edited() { letter.draft.into_composition(None).fill(&NONCE, &[], &mut |_| String::new()) } else { content }
        });
        copy.calls.push(TrialCall { run: call.run, result: call.result.map(Some), fuel: call.fuel });
        copy
    }

    /// Returns the message with a recipient's values in the place of slots.
    fn filled(&self, facts: &CopyFacts) -> Bytes {
        if !self.bundle.letter.draft.is_edited() {
            return self.bundle.letter.draft.original().clone();
        }
        let slots = self.bundle.letter.slots();
        let composition = self.bundle.letter.draft.clone().into_composition(Some(slots.nonce()));
        composition.fill(slots.nonce(), slots.as_slice(), &mut |slot| facts.value(slot, &self.bundle.circumstances.links))
    }
}

fn json(object: &Map<String, Value>) -> String {
    // A map of JSON values is always JSON.
    serde_json::to_string(object).unwrap_or_else(|_| "{}".to_owned())
}

fn path_change(before: &ReversePath, after: &ReversePath) -> Vec<String> {
    let changed = before != after;
    changed.then(|| format!("reverse-path: <{before}> becomes <{after}>")).into_iter().collect()
}

fn slot_text(slot: &Slot) -> String {
    match slot {
        Slot::Address => "address".to_owned(),
        Slot::Variable(name) => format!("variable {name}"),
        Slot::Link(Link::Click { url, position }) => format!("click {position} {url}"),
        Slot::Link(Link::Open(None)) => "open".to_owned(),
        Slot::Link(Link::Open(Some(url))) => format!("open {url}"),
        Slot::Link(Link::Unsubscribe) => "unsubscribe".to_owned(),
        Slot::Link(Link::Own { claims, url: None, .. }) => format!("own link, claims {claims}"),
        Slot::Link(Link::Own { claims, url: Some(url), .. }) => format!("own link to {url}, claims {claims}"),
    }
}
