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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const MAILBOXES: &str = r#"
[[inbound]]
domain = "b\u00fccher.example"
recipients = ["*"]
action = "keep"

[[inbound]]
domain = "B\u00dcCHER.example"
recipients = ["Info", "list+*"]
action = "forward"
to = "desk@example.net"
route = "out"

[[inbound]]
domain = "own.example"
recipients = ["abuse", "a*"]
action = "keep"
dmarc = "reject"
"#;

    fn found(address: &str) -> String {
        let directory = Directory::new(&super::super::test_config("postmaster = \"ops@example.net\"\nroute = \"out\"", MAILBOXES));
        match directory.find(&address.parse().unwrap()).map(|mailbox| &mailbox.action) {
            Ok(InboundAction::Keep) => "keep".to_owned(),
            Ok(InboundAction::Forward { to, .. }) => to.to_string(),
            Err(refusal) => format!("{refusal:?}").split(' ').next().unwrap().to_owned(),
        }
    }

    #[test]
    fn names_that_are_written_out_go_before_all_others() {
        for (address, expected) in [
            ("anybody@xn--bcher-kva.example", "keep"),
            ("INFO@b\u{fc}cher.example", "desk@example.net"),
            ("list+x@b\u{fc}cher.example", "keep"),
            ("postmaster@b\u{fc}cher.example", "ops@example.net"),
            ("Abuse@b\u{fc}cher.example", "ops@example.net"),
            ("abuse@own.example", "keep"),
            ("aX@own.example", "keep"),
            ("b@own.example", "UnknownRecipient"),
            ("postmaster@mail.example.com", "ops@example.net"),
            ("anybody@mail.example.com", "UnknownRecipient"),
            ("a@sub.own.example", "RelayDenied"),
            ("a@[127.0.0.1]", "RelayDenied"),
            ("a%b@own.example", "RelayDenied"),
            ("a!b@b\u{fc}cher.example", "RelayDenied"),
            ("\"a@c.example\"@own.example", "RelayDenied"),
        ] {
            assert_eq!(found(address), expected, "{address}");
        }
    }

    #[test]
    fn without_a_postmaster_his_mail_is_kept() {
        let directory = Directory::new(&super::super::test_config("", ""));
        assert_eq!(directory.find(&"postmaster@mail.example.com".parse().unwrap()).unwrap().action, InboundAction::Keep);
    }
}
