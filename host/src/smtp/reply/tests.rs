//! Replies on the wire, and the tables as golden files.
use std::time::Duration;

use super::*;
use crate::mail::message_id::MessageId;

fn written(reply: &Reply) -> String {
    let mut output = Vec::new();
    reply.write(&mut output);
    String::from_utf8_lossy(&output).replace("\r\n", "\n")
}

#[test]
fn every_refusal_has_its_reply() {
    let refusals = [
        Refusal::SenderNotAllowed { address: "a@example.com".to_owned() },
        Refusal::TooManyRecipients { limit: 1_000 },
        Refusal::MessageTooLarge { limit: 26_214_400 },
        Refusal::HeaderTooLarge { limit: 262_144 },
        Refusal::Loop { hops: 100 },
        Refusal::InvalidContent("the header has no end".to_owned()),
        Refusal::InvalidField { field: "x-smtpeter-tags".to_owned(), reason: "a tag is too long".to_owned() },
        Refusal::RateLimited { retry_after: Duration::from_mins(2) },
        Refusal::RateLimited { retry_after: Duration::ZERO },
        Refusal::Plugin { plugin: "p".to_owned(), code: 550, enhanced: EnhancedStatus::new(5, 7, 1), text: "not\r\nhere".to_owned() },
        Refusal::Plugin { plugin: "p".to_owned(), code: 421, enhanced: EnhancedStatus::new(4, 3, 0), text: "later".to_owned() },
        Refusal::PluginFailed { plugin: "p".to_owned(), permanent: true },
        Refusal::PluginFailed { plugin: "p".to_owned(), permanent: false },
        Refusal::LoginDefect { reason: "route: no route \"gone\"".into() },
        Refusal::StorageFull,
        Refusal::StorageFailed,
        Refusal::Overloaded,
        Refusal::Suppressed { address: "ann@example.net".to_owned(), reason: "unsubscribe" },
        Refusal::UnknownRecipient { address: "nobody@bounces.example.com".to_owned() },
        Refusal::RelayDenied { domain: "example.net".to_owned() },
        Refusal::NotAuthentic { domain: "example.net".to_owned() },
        Refusal::TooMuchFromAddress { retry_after: Duration::from_mins(2) },
    ];
    let mut table = String::new();
    for refusal in &refusals {
        let reply = Reply::from(refusal);
        assert_eq!(refusal.is_temporary(), reply.code() < 500, "{refusal:?}");
        table.push_str(&written(&reply));
    }
    let odd = Refusal::Plugin { plugin: "p".to_owned(), code: 250, enhanced: EnhancedStatus::new(5, 0, 0), text: "odd".to_owned() };
    assert_eq!(written(&Reply::from(&odd)), "554 5.0.0 odd\n");
    insta::assert_snapshot!(table);
}

#[test]
fn every_fault_and_syntax_error_has_its_reply() {
    let faults = [
        ContentFault::BareLineEnd,
        ContentFault::Nul,
        ContentFault::LineTooLong { limit_octets: 65_536 },
        ContentFault::TooLarge { limit_octets: 26_214_400 },
        ContentFault::NoMemory,
    ];
    let errors = [
        SyntaxError::TooLong,
        SyntaxError::NotText,
        SyntaxError::UnknownCommand,
        SyntaxError::Arguments { form: "RSET" },
        SyntaxError::ReversePath,
        SyntaxError::ForwardPath,
        SyntaxError::UnknownParameter,
        SyntaxError::Parameter { keyword: "SIZE" },
        SyntaxError::NeedsSmtpUtf8,
        SyntaxError::ChunkSize,
    ];
    let replies = faults.map(Reply::from).into_iter().chain(errors.map(Reply::from));
    insta::assert_snapshot!(replies.map(|reply| written(&reply)).collect::<String>());
}

#[test]
fn the_answer_to_a_message_names_it() {
    let receipt = Receipt::unfounded(MessageId::from_bytes([7; 16]));
    assert_eq!(written(&Reply::queued(&receipt)), format!("250 2.0.0 queued as {}\n", receipt.message()));
}

#[test]
fn texts_are_parted_into_lines() {
    assert_eq!(written(&Reply::bare(250, "mail.example.com\nPIPELINING\nDSN".into())), "250-mail.example.com\n250-PIPELINING\n250 DSN\n");
    assert_eq!(written(&Reply::new(550, 7, 1, "one\ntwo")), "550-5.7.1 one\n550 5.7.1 two\n");
    assert_eq!(written(&Reply::bare(PROMPT, "".into())), "334 \n");
    assert_eq!(written(&Reply::new(550, 7, 1, "a\tü")), "550 5.7.1 a???\n");
    let challenge = "x".repeat(6_000);
    assert_eq!(written(&Reply::bare(PROMPT, challenge.clone().into())), format!("334 {challenge}\n"), "a challenge is one line");
    for text in ["word ".repeat(2_000), "x".repeat(9_000), "ü".repeat(3_000)] {
        let mut output = Vec::new();
        Reply::told(554, 0, 0, text).write(&mut output);
        let lines: Vec<_> = output.split_inclusive(|octet| *octet == b'\n').collect();
        assert!(lines.iter().all(|line| line.len() <= 512 && line.ends_with(b"\r\n")));
        assert!((8..20).contains(&lines.len()));
        assert_eq!(lines.iter().filter(|line| line.starts_with(b"554 ")).count(), 1);
    }
}
