#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;

#[test]
fn f6_replies_of_servers_are_classified() {
    fn check(line: &str, class: &str) {
        assert_eq!(BounceClass::of_line(line).name(), class, "{line}");
    }
    check("550 5.1.1 The email account that you tried to reach does not exist.", "unknown_user");
    check("550 5.1.1 <a@example.com>: Recipient address rejected: User unknown in virtual mailbox table", "unknown_user");
    check("550 5.4.1 Recipient address rejected: Access denied. [AM0EUR02FT.eop-EUR02.prod.protection.outlook.com]", "unknown_user");
    check("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", "protocol");
    check("550 No such user here", "unknown_user");
    check("554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0]", "unknown_user");
    check("450 4.1.1 <a@example.com>: Recipient address rejected: unverified address", "soft");
    check("550 5.2.1 The email account that you tried to reach is disabled.", "disabled");
    check("554 30 Sorry, your message to a@aol.com cannot be delivered. This mailbox is disabled (554.30).", "disabled");
    check("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "unknown_user");
    check("552 5.2.2 The email account that you tried to reach is over quota.", "mailbox_full");
    check("452 4.2.2 The recipient's inbox is out of storage space.", "mailbox_full");
    check("550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus.", "block");
    check("550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. (S3140)", "block");
    check("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints - 4.16.55.1", "block");
    check("550 5.7.1 [192.0.2.1 12] Our system has detected that this message is likely unsolicited mail.", "spam");
    check("550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.", "policy");
    check("554 5.7.1 <a@example.com>: Relay access denied", "relay");
    check("451 4.7.1 Greylisting in action, please come back later", "greylisted");
    check("450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages", "rate_limited");
    check("552 5.3.4 Message size exceeds fixed limit", "too_large");
    check("530 5.7.10 STARTTLS required", "tls");
    check("556 5.1.10 Recipient address has null MX", "no_such_domain");
    check("421 4.3.2 Service shutting down", "network");
    check("4.4.7 delivery time expired", "expired");
    check("550 5.6.0 virus found: Eicar", "content");
    check("connection timed out", "network");
    check("550 refused", "undetermined");
    check("450 later", "soft");
    check("", "undetermined");
}

#[test]
fn hard_is_what_will_never_arrive() {
    let hard: Vec<_> = BounceClass::ALL.iter().filter(|(class, _)| class.is_hard()).map(|(_, name)| *name).collect();
    assert_eq!(hard, ["unknown_user", "no_such_domain", "disabled"]);
    for (class, name) in BounceClass::ALL {
        assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{name}\""));
        assert_eq!(class.name(), name);
    }
}

#[test]
fn every_pattern_is_read_and_found() {
    let lines = PATTERNS.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    assert_eq!(rules(PATTERNS).count(), lines.count(), "a line names no class");
    for (_, pattern) in rules(PATTERNS) {
        assert_eq!(pattern, pattern.to_lowercase());
        assert!(has_all(&pattern.replace(" … ", " something "), pattern), "{pattern}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_what_may_pass_is_not_hard(text in ".{0,300}", code in proptest::option::of(400_u16..600)) {
        let class = BounceClass::of(code, None, &text);
        prop_assert!(!(class.is_hard() && code.is_some_and(|code| code < 500)));
        BounceClass::of_line(&text);
    }
}
