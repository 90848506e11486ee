//! What a dialect makes of a call: everything that a submission needs but the caller's name and our stamp.

use std::sync::Arc;

use crate::config::{Chain, Login};
use crate::http::compose::Content;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{Envelope, ForwardPath, Notify, ReversePath};
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

/// The plugins that a caller's mail goes through: some options have another way where their plugin is missing.
#[derive(Clone, Debug, Default)]
pub struct Stations(Vec<Arc<str>>);

impl Stations {
    /// Returns those of `login`.
    pub fn of(login: &Login, chains: &std::collections::BTreeMap<Arc<str>, Chain>) -> Self {
        let chain = login.chain.as_ref().and_then(|name| chains.get(name));
        Self(chain.map(|chain| chain.steps.iter().map(|step| step.plugin.clone()).collect()).unwrap_or_default())
    }

    /// Makes the set of `names`.
    #[cfg(test)]
    pub(super) fn named(names: &[&str]) -> Self {
        Self(names.iter().map(|name| Arc::from(*name)).collect())
    }

    /// Whether `plugin` is among them.
    pub fn has(&self, plugin: &str) -> bool {
        self.0.iter().any(|name| **name == *plugin)
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
