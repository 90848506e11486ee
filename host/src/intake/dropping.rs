//! Recipients on a suppression list: their copies are dropped before they wait anywhere, and the event log says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Intake, Parts};
use crate::event::Event;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{Envelope, ForwardPath};
use crate::spool::NewEntry;
use crate::store::StoreError;
use crate::submission::login::Login;
use crate::suppression::entry::Sender;
use crate::telemetry::metric::DeliveryOutcome;

impl Intake {
    /// Returns the first recipient to whom a login's mail would not go, for clients that want to hear of it at once.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn blocked<'a>(&self, login: &Login, envelope: &'a Envelope) -> Result<Option<&'a ForwardPath>, StoreError> {
        let sender = Sender { login: &login.name, domain: envelope.reverse_path.mailbox().map(EmailAddress::domain) };
        for path in &envelope.forward_paths {
            if self.0.suppressions.standing(&path.address).await?.block(&sender).is_some() {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

impl Parts {
    /// Returns the places of copies that are dropped, and puts the events of that behind the others.
    pub(super) async fn drop_suppressed(&self, new: &mut NewEntry) -> Result<BTreeSet<u32>, StoreError> {
        let mut dropped = BTreeSet::new();
        for (recipient, (copy, _)) in (0..).zip(&new.copies) {
            let standing = self.suppressions.standing(&copy.address).await?;
            let entry = &new.entry;
            let sender = Sender { login: &entry.login, domain: entry.reverse_path.mailbox().map(EmailAddress::domain) };
            let Some(block) = standing.block(&sender) else { continue };
            self.metrics.delivery().route(&entry.route).attempted(DeliveryOutcome::Suppressed);
            new.events.push(Event {
                at: self.clock.now(),
                message: entry.id,
                login: Arc::clone(&entry.login),
                recipient: Some(recipient),
                address: Some(copy.address.to_string()),
                tags: entry.tags.clone(),
                kind: block.event(),
            });
            dropped.insert(recipient);
        }
        Ok(dropped)
    }
}
