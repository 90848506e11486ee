#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

fn reported(address: &str, action: Action, status: (u8, u16, u16), text: &str) -> Reported {
    Reported {
        address: EmailAddress::parse(address).unwrap(),
        original: None,
        action,
        status: EnhancedStatus::new(status.0, status.1, status.2),
        host: "mx.example.org [192.0.2.1]:25".into(),
        text: text.into(),
        is_reply: true,
        until: None,
    }
}

fn composed(ret: Option<Return>, content: &'static str, recipients: &[Reported]) -> String {
    let sender = EmailAddress::parse("sender@example.com").unwrap();
    let octets = compose(&Report {
        id: MessageId::from_bytes([7; 16]),
        now: Timestamp::from_millis(1_800_000_060_000),
        hostname: "mail.example.com",
        sender: &sender,
        arrived: Timestamp::from_millis(1_800_000_000_000),
        envid: Some("order 12"),
        ret,
        content: &Bytes::from_static(content.as_bytes()),
        returned_size: ByteSize(64 << 10),
        recipients,
    });
    let text = String::from_utf8(octets.to_vec()).unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    text.replace("\r\n", "\n")
}

#[test]
fn a_failure_names_recipient_host_and_reason() {
    let long = "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's address";
    let failed = reported("x@example.org", Action::Failed, (5, 1, 1), long);
    let local = Reported {
        host: String::new(),
        is_reply: false,
        original: Some("rfc822;old@example.net".into()),
        ..reported("j\u{f6}rg@b\u{fc}cher.example", Action::Failed, (5, 1, 2), "the domain xn--bcher-kva.example does not exist")
    };
    let text = composed(None, "From: sender@example.com\r\nSubject: Hello\r\n\r\nThe body\r\n", &[failed, local]);
    insta::assert_snapshot!("failure", text);
}

#[test]
fn the_whole_message_comes_back_where_it_was_asked_for() {
    let failed = reported("x@example.org", Action::Failed, (5, 0, 0), "550 no");
    let text = composed(Some(Return::Full), "From: sender@example.com\r\nSubject: \u{fc}\r\n\r\nThe body\r\n", &[failed]);
    insta::assert_snapshot!("failure_full", text);
}

#[test]
fn a_success_comes_without_the_body() {
    let relayed = reported("x@example.org", Action::Relayed, (2, 0, 0), "250 2.0.0 queued");
    let text = composed(Some(Return::Full), "From: sender@example.com\r\nSubject: Hello\r\n\r\nThe body\r\n", &[relayed]);
    insta::assert_snapshot!("success", text);
}

#[test]
fn a_parser_of_mail_finds_the_parts() {
    let failed = reported("x@example.org", Action::Failed, (5, 0, 0), "550 \u{1b}\u{fc} no");
    let text =
        composed(Some(Return::Full), "From: sender@example.com\r\nSubject: Hello\r\n\r\nThe body\r\n", &[failed]).replace('\n', "\r\n");
    let message = mail_parser::MessageParser::default().parse(text.as_bytes()).unwrap();
    assert_eq!(message.parts.len(), 4);
    assert!(text.is_ascii());
}

#[test]
fn a_huge_header_is_cut_at_a_line() {
    let content = Bytes::from("X: 0123456789012345678901234567890123456789\r\n".repeat(5000));
    let header = header_of(&content);
    assert!(header.len() <= RETURNED_HEADER && header.ends_with(b"\r\n"));
}

#[test]
fn f5_each_action_has_its_words() {
    let report = |action, status| {
        let until = (action == Action::Delayed).then(|| Timestamp::from_millis(1_800_400_000_000));
        let recipient = Reported { until, ..reported("x@example.org", action, status, "451 4.2.1 later") };
        composed(Some(Return::Full), "From: sender@example.com\r\nSubject: Hello\r\n\r\nThe body\r\n", &[recipient])
    };
    let delayed = report(Action::Delayed, (4, 2, 1));
    assert!(delayed.contains("Subject: Your message has not been delivered yet\n"), "{delayed}");
    assert!(delayed.contains("\nAction: delayed\n") && delayed.contains("\nWill-Retry-Until: "), "{delayed}");
    assert!(!delayed.contains("The body"), "{delayed}");
    let delivered = report(Action::Delivered, (2, 0, 0));
    assert!(delivered.contains("Subject: Your message was delivered\n") && delivered.contains("\nAction: delivered\n"), "{delivered}");
}

#[test]
fn f5_a_sender_with_an_international_address_gets_an_international_report() {
    let sender = EmailAddress::parse("j\u{f6}rg@example.com").unwrap();
    let recipient = Reported {
        original: Some("utf-8;\u{e4}@example.org".into()),
        ..reported("\u{e4}nna@example.org", Action::Failed, (5, 1, 1), "550 \u{e4}nna?")
    };
    let octets = compose(&Report {
        id: MessageId::from_bytes([7; 16]),
        now: Timestamp::from_millis(1_800_000_060_000),
        hostname: "mail.example.com",
        sender: &sender,
        arrived: Timestamp::from_millis(1_800_000_000_000),
        envid: None,
        ret: None,
        content: &Bytes::from_static("From: j\u{f6}rg@example.com\r\n\r\nbody\r\n".as_bytes()),
        returned_size: ByteSize(64 << 10),
        recipients: &[recipient],
    });
    let text = String::from_utf8(octets.to_vec()).unwrap().replace("\r\n", "\n");
    assert!(text.contains("Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: 8bit\n"), "{text}");
    assert!(text.contains("Final-Recipient: utf-8; \u{e4}nna@example.org\nOriginal-Recipient: utf-8; \u{e4}@example.org\n"), "{text}");
    assert!(text.contains("Content-Type: message/global-headers\n"), "{text}");
}
