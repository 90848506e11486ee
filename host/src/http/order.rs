//! What a dialect makes of a call: everything that a submission needs but the caller's name and our stamp.

use std::sync::Arc;

use serde_json::Value;

use crate::config::{Chain, ChainStep, Login, When};
use crate::http::compose::Content;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{BodyType, Envelope, ForwardPath, Notify, ReversePath};
use crate::plugin::manifest::ENABLED;
use crate::submission::Options;

/// A call that was understood.
#[derive(Clone, Debug)]
pub struct Order {
    /// At least one forward-path.
    pub envelope: Envelope,
    /// What to send.
    pub content: Content,
    /// What to do with it.
    pub options: Options,
    /// Fields that mean nothing here, as they were written.
    pub ignored: Vec<String>,
}

impl Order {
    /// Puts an order together; the envelope learns what content and addresses need of the next hop.
    pub fn new(mut envelope: Envelope, content: Content, options: Options, ignored: Vec<String>) -> Self {
        let reverse_path = envelope.reverse_path.mailbox().is_none_or(EmailAddress::is_ascii);
        let ascii = reverse_path && envelope.forward_paths.iter().all(|path| path.address.is_ascii());
        envelope.smtputf8 = !ascii || content.needs_smtputf8();
        let eight_bit = matches!(&content, Content::Raw(octets) if !octets.is_ascii());
        if eight_bit || envelope.smtputf8 {
            envelope.body = BodyType::EightBitMime;
        }
        Self { envelope, content, options, ignored }
    }
}

/// The plugins that a caller's mail goes through: some options have another way, or none, where their plugin is missing.
#[derive(Clone, Debug, Default)]
pub struct Stations(Vec<Station>);

#[derive(Clone, Debug)]
struct Station {
    plugin: Arc<str>,
    /// Whether it runs unless a call says otherwise.
    on: bool,
    /// Whether what a call says counts for nothing.
    locked: bool,
}

impl Stations {
    /// Returns those of `login`.
    pub fn of(login: &Login, chains: &std::collections::BTreeMap<Arc<str>, Chain>) -> Self {
        let chain = login.chain.as_ref().and_then(|name| chains.get(name));
        let station = |step: &ChainStep| Station {
            plugin: step.plugin.clone(),
            on: step.options.get(ENABLED).and_then(Value::as_bool).unwrap_or(step.when == When::Always),
            locked: step.locked,
        };
        Self(chain.map(|chain| chain.steps.iter().map(station).collect()).unwrap_or_default())
    }

    /// Makes the set of `names`, which run on request; those that end with `!` are locked and always run.
    #[cfg(test)]
    pub(super) fn named(names: &[&str]) -> Self {
        let station =
            |name: &&str| Station { plugin: Arc::from(name.trim_end_matches('!')), on: name.ends_with('!'), locked: name.ends_with('!') };
        Self(names.iter().map(station).collect())
    }

    /// Whether `plugin` is among them.
    pub fn has(&self, plugin: &str) -> bool {
        self.all(plugin).next().is_some()
    }

    /// Whether `plugin` is among them and a call's options count for it.
    pub fn obeys(&self, plugin: &str) -> bool {
        self.all(plugin).any(|station| !station.locked)
    }

    /// Whether a call can have `plugin` run.
    pub fn can_run(&self, plugin: &str) -> bool {
        self.all(plugin).any(|station| station.on || !station.locked)
    }

    /// Whether `plugin` runs on a message with these options.
    pub fn runs(&self, plugin: &str, options: &Options) -> bool {
        let switch = options.overrides.get(plugin).and_then(|overrides| overrides.get(ENABLED)).and_then(Value::as_bool);
        let asked = options.requested.contains(plugin);
        self.all(plugin).any(|station| if station.locked { station.on } else { switch.unwrap_or(station.on || asked) })
    }

    fn all<'a>(&'a self, plugin: &'a str) -> impl Iterator<Item = &'a Station> {
        self.0.iter().filter(move |station| *station.plugin == *plugin)
    }
}

/// Returns the envelope of a call that names no address for bounces: failures of such mail are events, nobody is written to. The wire still
/// carries the sender, as SPF and many receivers want one.
pub fn silent_envelope(sender: Option<EmailAddress>, recipients: Vec<EmailAddress>) -> Envelope {
    let mut envelope = Envelope::new(sender.map_or(ReversePath::Null, ReversePath::Mailbox));
    envelope.forward_paths =
        recipients.into_iter().map(|address| ForwardPath { notify: Some(Notify::NEVER), ..ForwardPath::new(address) }).collect();
    envelope
}

/// Drops addresses that came before: nobody gets one message twice.
pub fn without_doubles(addresses: impl IntoIterator<Item = EmailAddress>) -> Vec<EmailAddress> {
    let unique: indexmap::IndexSet<EmailAddress> = addresses.into_iter().collect();
    unique.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runs_is_what_the_chain_will_run() {
        let options = |requested: bool, enabled: Option<bool>| {
            let mut options = Options::default();
            if requested {
                options.requested.insert("p".into());
            }
            if let Some(enabled) = enabled {
                options.overrides.entry("p".into()).or_default().insert(ENABLED.into(), json!(enabled));
            }
            options
        };
        for (on, locked, requested, enabled, runs) in [
            (true, false, false, None, true),
            (true, false, true, Some(false), false),
            (true, true, false, Some(false), true),
            (false, false, false, None, false),
            (false, false, true, None, true),
            (false, false, false, Some(true), true),
            (false, true, true, Some(true), false),
        ] {
            let stations = Stations(vec![Station { plugin: "p".into(), on, locked }]);
            assert_eq!(stations.runs("p", &options(requested, enabled)), runs, "{on} {locked} {requested} {enabled:?}");
            assert!(!stations.runs("q", &options(requested, enabled)));
            assert_eq!((stations.obeys("p"), stations.can_run("p")), (!locked, on || !locked));
        }
    }
}
