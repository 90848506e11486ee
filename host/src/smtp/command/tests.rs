//! Command lines: good ones, bad ones, quirks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use proptest::prelude::*;

use super::*;

fn command(line: &str) -> Command<'_> {
    match parse(line.as_bytes()) {
        Ok((command, None)) => command,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn error(line: &str) -> SyntaxError {
    parse(line.as_bytes()).expect_err(line)
}

fn mail_of(line: &str) -> Mail {
    let Command::Mail(mail) = command(line) else { panic!("{line:?} is no MAIL") };
    mail
}

fn recipient(line: &str) -> ForwardPath {
    let Command::Rcpt(Rcpt::Mailbox(path)) = command(line) else { panic!("{line:?} is no RCPT") };
    path
}

#[test]
fn verbs_are_known_in_any_case() {
    assert_eq!(command("ehlo client.example"), Command::Ehlo("client.example"));
    assert_eq!(command("HELO [192.0.2.1]"), Command::Helo("[192.0.2.1]"));
    assert_eq!(command("StartTLS"), Command::StartTls);
    assert_eq!(command("DATA"), Command::Data);
    assert_eq!(command("NOOP whatever"), Command::Noop);
    assert_eq!(command("HELP MAIL"), Command::Help);
    assert_eq!(command("bdat 10 last"), Command::Bdat(Bdat { size_octets: 10, last: true }));
    assert_eq!(command("BDAT 0"), Command::Bdat(Bdat { size_octets: 0, last: false }));
    assert_eq!(command("AUTH PLAIN"), Command::Auth { mechanism: "PLAIN", initial_response: None });
    assert_eq!(command("AUTH login ="), Command::Auth { mechanism: "login", initial_response: Some("=") });
}

#[test]
fn lines_that_are_no_commands() {
    for (line, expected) in [
        ("", SyntaxError::UnknownCommand),
        (" EHLO a", SyntaxError::UnknownCommand),
        ("GET / HTTP/1.1", SyntaxError::UnknownCommand),
        ("DATAx", SyntaxError::UnknownCommand),
        ("MAIL\tFROM:<a@b>", SyntaxError::NotText),
        ("NOOP \u{7f}", SyntaxError::NotText),
        ("EHLO", SyntaxError::Arguments { form: "EHLO hostname" }),
        ("EHLO a b", SyntaxError::Arguments { form: "EHLO hostname" }),
        ("DATA now", SyntaxError::Arguments { form: "DATA" }),
        ("AUTH", SyntaxError::Arguments { form: "AUTH mechanism [initial-response]" }),
        ("AUTH PLAIN a b", SyntaxError::Arguments { form: "AUTH mechanism [initial-response]" }),
        ("BDAT", SyntaxError::ChunkSize),
        ("BDAT -1", SyntaxError::ChunkSize),
        ("bdat 6 LAST\t", SyntaxError::ChunkSize),
        ("BDAT\t6", SyntaxError::ChunkSize),
        ("BDATA 6\t", SyntaxError::NotText),
        ("BDAT +1", SyntaxError::ChunkSize),
        ("BDAT 1 FIRST", SyntaxError::ChunkSize),
        ("BDAT 99999999999999999999", SyntaxError::ChunkSize),
        ("MAIL <a@example.com>", SyntaxError::Arguments { form: "MAIL FROM:<address> [parameters]" }),
        ("MAIL FROM :<a@example.com>", SyntaxError::Arguments { form: "MAIL FROM:<address> [parameters]" }),
        ("MAIL FROM:<a@example.com>SIZE=1", SyntaxError::Arguments { form: "MAIL FROM:<address> [parameters]" }),
        ("MAIL FROM:a@example.com", SyntaxError::ReversePath),
        ("MAIL FROM:<a@example.com", SyntaxError::ReversePath),
        ("MAIL FROM:<a>", SyntaxError::ReversePath),
        ("MAIL FROM:< a@example.com>", SyntaxError::ReversePath),
        ("MAIL FROM:<<a@example.com>>", SyntaxError::ReversePath),
        ("RCPT TO:<>", SyntaxError::ForwardPath),
        ("RCPT TO:<a@example.com,b@example.com>", SyntaxError::ForwardPath),
        ("RCPT TO:<@one.example>", SyntaxError::ForwardPath),
        ("RCPT TO:<@one.example,two.example:a@example.com>", SyntaxError::ForwardPath),
        ("MAIL FROM:<ä@example.com>", SyntaxError::NeedsSmtpUtf8),
        ("MAIL FROM:<a@bücher.example>", SyntaxError::NeedsSmtpUtf8),
    ] {
        assert_eq!(error(line), expected, "{line:?}");
    }
    assert_eq!(parse(b"NOOP \xff"), Err(SyntaxError::NotText));
    assert_eq!(error(&format!("NOOP {}", "x".repeat(506))), SyntaxError::TooLong);
    assert_eq!(error(&format!("BDAT {}", "1".repeat(506))), SyntaxError::ChunkSize);
    assert!(parse(format!("NOOP {}", "x".repeat(505)).as_bytes()).is_ok());
    assert!(parse(format!("AUTH PLAIN {}", "A".repeat(8_000)).as_bytes()).is_ok());
}

#[test]
fn paths_are_taken_as_they_are() {
    assert_eq!(mail_of("MAIL FROM:<>").reverse_path, ReversePath::Null);
    for (line, address) in [
        ("RCPT TO:<First.Last@Example.com>", "First.Last@example.com"),
        ("RCPT TO:<\"a>b\\\"c\"@example.com>", "\"a>b\\\"c\"@example.com"),
        ("RCPT TO:<@one.example,@two.example:a@example.com>", "a@example.com"),
        ("RCPT TO:<@[IPv6:2001:db8::1]:a@example.com>", "a@example.com"),
        ("RCPT TO:<a@[IPv6:2001:db8::1]>", "a@[ipv6:2001:db8::1]"),
        ("rcpt to:<a@b>", "a@b"),
    ] {
        assert_eq!(recipient(line).address.to_string(), address);
    }
    assert_eq!(command("RCPT TO:<PostMaster>"), Command::Rcpt(Rcpt::Postmaster(RcptParameters::default())));
    let notify = Some(Notify { success: false, failure: false, delay: false });
    let parameters = RcptParameters { notify, original: Some("rfc822;a@b.example".to_owned()) };
    assert_eq!(command("RCPT TO:<postmaster> NOTIFY=NEVER ORCPT=rfc822;a@b.example"), Command::Rcpt(Rcpt::Postmaster(parameters)));
}

#[test]
fn parameters_of_mail() {
    let mail = mail_of("MAIL FROM:<ü@example.com> SIZE=1000 body=8bitmime SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=<>");
    assert_eq!((mail.size, mail.body, mail.smtputf8), (Some(1_000), BodyType::EightBitMime, true));
    assert_eq!((mail.ret, mail.envid.as_deref()), (Some(Return::Headers), Some("a+b")));
    let invalid = |keyword| SyntaxError::Parameter { keyword };
    for (parameters, expected) in [
        ("FOO=1", SyntaxError::UnknownParameter),
        ("NOTIFY=NEVER", SyntaxError::UnknownParameter),
        ("SIZE", invalid("SIZE")),
        ("SIZE=x", invalid("SIZE")),
        ("SIZE=99999999999999999999", invalid("SIZE")),
        ("SIZE=1 SIZE=2", invalid("SIZE")),
        ("BODY=BINARY", invalid("BODY")),
        ("ENVID=a+C3+A4", invalid("ENVID")),
        ("SMTPUTF8=1", invalid("SMTPUTF8")),
        ("RET=SOME", invalid("RET")),
        ("ENVID=a+0D+0Ab", invalid("ENVID")),
        ("ENVID=a+2bb", invalid("ENVID")),
        ("SIZE=", SyntaxError::Arguments { form: "MAIL FROM:<address> [parameters]" }),
        ("=1", SyntaxError::Arguments { form: "MAIL FROM:<address> [parameters]" }),
        ("ENVID=a=b", SyntaxError::Arguments { form: "MAIL FROM:<address> [parameters]" }),
    ] {
        assert_eq!(error(&format!("MAIL FROM:<a@example.com> {parameters}")), expected, "{parameters}");
    }
}

#[test]
fn parameters_of_rcpt() {
    let path = recipient("RCPT TO:<a@example.com> NOTIFY=SUCCESS,delay ORCPT=rfc822;b+2Bc@example.com");
    assert_eq!(path.notify, Some(Notify { success: true, failure: false, delay: true }));
    assert_eq!(path.original.as_deref(), Some("rfc822;b+c@example.com"));
    assert_eq!(recipient("RCPT TO:<a@example.com> NOTIFY=NEVER").notify, Some(Notify::NEVER));
    assert_eq!(recipient("RCPT TO:<a@example.com> NOTIFY=FAILURE").notify, Some(Notify::default()));
    assert_eq!(recipient("RCPT TO:<a@example.com>").notify, None);
    for (parameters, keyword) in [
        ("NOTIFY=NEVER,FAILURE", "NOTIFY"),
        ("NOTIFY=,", "NOTIFY"),
        ("NOTIFY=SUCCESS NOTIFY=FAILURE", "NOTIFY"),
        ("ORCPT=a@example.com", "ORCPT"),
        ("ORCPT=;a@example.com", "ORCPT"),
        ("ORCPT=rfc822;a+0Ab", "ORCPT"),
    ] {
        assert_eq!(error(&format!("RCPT TO:<a@example.com> {parameters}")), SyntaxError::Parameter { keyword }, "{parameters}");
    }
    assert_eq!(error("RCPT TO:<a@example.com> SIZE=1"), SyntaxError::UnknownParameter);
    assert_eq!(error("RCPT TO:<postmaster> SIZE=1"), SyntaxError::UnknownParameter);
}

#[test]
fn quirks_are_tolerated_and_told() {
    for (line, expected) in [
        ("MAIL FROM: <a@example.com>", Quirk::SpaceAfterColon),
        ("RCPT TO:  <a@example.com>", Quirk::SpaceAfterColon),
        ("QUIT ", Quirk::TrailingSpace),
        ("MAIL FROM:<a@example.com>  ", Quirk::TrailingSpace),
        ("EHLO my_laptop!", Quirk::ClientName),
        ("EHLO 192.0.2.1.", Quirk::ClientName),
        ("EHLO ::1", Quirk::ClientName),
    ] {
        let (_, quirk) = parse(line.as_bytes()).expect(line);
        assert_eq!(quirk, (line != "EHLO 192.0.2.1.").then_some(expected), "{line:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&line);
    }

    #[test]
    fn nothing_that_begins_well_panics(line in "(?i)(MAIL FROM:|RCPT TO:|BDAT |AUTH |EHLO )[<@a.:,>\"\\\\ =;+é0-9]{0,40}") {
        let _ = parse(line.as_bytes());
    }

    #[test]
    fn any_address_is_read_back(local in "[a-z!#$%&'*+/=?^_`{|}~-]{1,10}", domain in "[a-z]{1,9}\\.example") {
        let line = format!("RCPT TO:<{local}@{domain}>");
        prop_assert_eq!(recipient(&line).address.to_string(), format!("{local}@{domain}"));
    }

    #[test]
    fn no_control_character_gets_into_the_envelope(value in "[+0-9A-F]{0,12}") {
        if let Ok((Command::Mail(mail), _)) = parse(format!("MAIL FROM:<> ENVID={value}").as_bytes()) {
            prop_assert!(!mail.envid.unwrap_or_default().chars().any(char::is_control));
        }
    }
}
