//! Whose mail we take: the domains of our own, and the mailboxes at them.

use std::collections::BTreeMap;

use crate::config::{Config, DmarcPolicy, InboundAction, LocalPattern};
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;

/// Mailboxes that every domain must have: by RFC 5321 §4.5.1, and by RFC 2142 for those who have complaints.
const OFFICES: [&str; 2] = ["postmaster", "abuse"];

/// What other hosts once took for directions to go on (`user%elsewhere@here`, `elsewhere!user@here`, `"user@elsewhere"@here`). Nobody here is called so.
const DIRECTIONS: [char; 3] = ['%', '!', '@'];

/// All mailboxes, by their domains in A-labels.
#[derive(Debug)]
pub(super) struct Directory {
    domains: BTreeMap<String, Vec<Mailbox>>,
    offices: Mailbox,
}

/// Some addresses of one domain, and what is done with their mail.
#[derive(Debug)]
pub(super) struct Mailbox {
    recipients: Vec<LocalPattern>,
    pub(super) action: InboundAction,
    pub(super) dmarc: DmarcPolicy,
}

impl Directory {
    pub(super) fn new(config: &Config) -> Self {
        let mut domains: BTreeMap<String, Vec<Mailbox>> = BTreeMap::new();
        for inbound in &config.inbound {
            let mailbox = Mailbox { recipients: inbound.recipients.clone(), action: inbound.action.clone(), dmarc: inbound.dmarc };
            domains.entry(inbound.domain.to_ascii()).or_default().push(mailbox);
        }
        // `RCPT TO:<postmaster>` is at this host.
        domains.entry(config.server.hostname.to_ascii()).or_default();
        let action = match (&config.mx.postmaster, &config.mx.route) {
            (Some(to), Some(route)) => InboundAction::Forward { to: to.clone(), route: route.clone() },
            (Some(_) | None, _) => InboundAction::Keep,
        };
        Self { domains, offices: Mailbox { recipients: Vec::new(), action, dmarc: DmarcPolicy::Report } }
    }

    /// Returns the mailbox of an address.
    ///
    /// # Errors
    /// It is at no domain of ours, or nobody has it.
    pub(super) fn find(&self, address: &EmailAddress) -> Result<&Mailbox, Refusal> {
        let Some(mailboxes) = self.domains.get(&address.domain().to_ascii()) else {
            return Err(Refusal::RelayDenied { domain: address.domain().to_string() });
        };
        let local = address.local_part();
        if local.contains(DIRECTIONS) {
            return Err(Refusal::RelayDenied { domain: address.to_string() });
        }
        let local = local.to_ascii_lowercase();
        let exactly = |mailbox: &&Mailbox| {
            mailbox.recipients.iter().any(|pattern| matches!(pattern, LocalPattern::Exactly(_)) && pattern.fits(&local))
        };
        let roughly = |mailbox: &&Mailbox| mailbox.recipients.iter().any(|pattern| pattern.fits(&local));
        if let Some(mailbox) = mailboxes.iter().find(exactly) {
            return Ok(mailbox);
        }
        // Whoever takes everybody's mail does not take theirs without saying so: somebody must hear of what goes wrong.
        if OFFICES.contains(&local.as_str()) {
            return Ok(&self.offices);
        }
        mailboxes.iter().find(roughly).ok_or_else(|| Refusal::UnknownRecipient { address: address.to_string() })
    }
}
