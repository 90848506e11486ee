//! The server's side of SMTP.

use std::sync::Arc;
use std::time::Duration;

use tubepost::clock::Timestamp;
use tubepost::mail::domain::Domain;
use tubepost::mail::envelope::{BodyType, ReversePath};
use tubepost::mail::refusal::Refusal;
use tubepost::smtp::command::{self, Command, Rcpt};
use tubepost::smtp::data::{Content, ContentFault, ContentLimits, Decoder};
use tubepost::smtp::extension::{push_xtext, xtext_decode};
use tubepost::smtp::memory::ContentMemory;
use tubepost::smtp::reply::Reply;
use tubepost::smtp::scram::{Shapes, Verifier, check_messages};
use tubepost::smtp::server::{
    Action, Allowance, Connection, LoginRefused, Message, Proof, Role, SenderRefused, Session, Settings, Step, Tls,
};

use crate::input::{cuts, has_bare_line_end};

/// Messages of SCRAM-SHA-256: none breaks anything, and none proves what nobody knows.
pub fn scram(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let (first, last) = text.split_once('\n').unwrap_or((&text, ""));
    check_messages(first, last);
}

const LIMITS: ContentLimits = ContentLimits { size_octets: 2_000, line_octets: 100 };

/// Command lines: what is understood holds nothing that could end a line, and addresses read as they are written.
pub fn smtp_command(octets: &[u8]) {
    for line in octets.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match command::parse(line) {
            Ok((command, _)) => {
                assert!(!line.iter().any(u8::is_ascii_control), "a control character in a command");
                check_command(command);
            }
            Err(error) => check_replies(&written(&Reply::from(error))),
        }
    }
}

fn check_command(command: Command<'_>) {
    match command {
        Command::Mail(mail) => {
            assert_eq!(ReversePath::parse(&mail.reverse_path.to_string()), Ok(mail.reverse_path));
            if let Some(envid) = mail.envid {
                let mut encoded = String::new();
                push_xtext(&mut encoded, &envid);
                assert_eq!(xtext_decode(&encoded), Some(envid));
            }
        }
        Command::Rcpt(Rcpt::Mailbox(path)) => {
            assert_eq!(path.address.to_string().parse(), Ok(path.address));
            assert!(path.original.is_none_or(|original| !original.chars().any(char::is_control)));
        }
        Command::Rcpt(Rcpt::Postmaster(_))
        | Command::Ehlo(_)
        | Command::Helo(_)
        | Command::StartTls
        | Command::Auth { .. }
        | Command::Data
        | Command::Bdat(_)
        | Command::Rset
        | Command::Noop
        | Command::Vrfy
        | Command::Expn
        | Command::Help
        | Command::Quit => {}
    }
}

fn written(reply: &Reply) -> Vec<u8> {
    let mut octets = Vec::new();
    reply.write(&mut octets);
    octets
}

/// Replies are lines of printable ASCII, each with a code, of at most 512 octets.
fn check_replies(octets: &[u8]) {
    let text = str::from_utf8(octets).expect("replies are ASCII");
    assert!(text.is_empty() || text.ends_with("\r\n"), "a reply without an end: {text:?}");
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= 510 && line.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{line:?}");
        let (code, rest) = line.split_at_checked(3).expect("a line has a code");
        assert!(code.parse::<u16>().is_ok_and(|code| (200..600).contains(&code)) && rest.starts_with([' ', '-']), "{line:?}");
    }
}

/// Content: how it is cut makes no difference, only `<CRLF>.<CRLF>` ends it, and what is taken is whole lines without anything odd.
pub fn smtp_data(octets: &[u8]) {
    let [first, results @ ..] = cuts(octets).map(dots);
    for result in results {
        assert_eq!(result, first, "pieces make a difference");
    }
    let framed = [b"\r\n", octets].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n").map(|start| start + 3);
    assert_eq!(end, first.1.as_ref().map(|_| first.0), "the end is elsewhere");
    if let Some(Ok(content)) = &first.1 {
        check_content(content);
        assert_eq!(stuffed(&content.octets), without_single_dots(octets.get(..first.0).unwrap_or_default()), "content has changed");
    }

    let [first, results @ ..] = cuts(octets).map(counted);
    for result in results {
        assert_eq!(result, first, "pieces make a difference");
    }
    if let Ok(content) = &first {
        check_content(content);
        assert!(content.octets == octets || content.octets.strip_suffix(b"\r\n") == Some(octets));
    }
}

/// More than any message here takes.
fn memory() -> ContentMemory {
    ContentMemory::new(1024 * 1024)
}

type Decoded = Result<Content, ContentFault>;

fn dots<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (usize, Option<Decoded>) {
    let mut decoder = Decoder::dots(LIMITS, None, memory().share());
    let mut used = 0;
    for piece in pieces {
        let taken = decoder.push(piece);
        used += taken;
        if decoder.is_complete() {
            break;
        }
        assert_eq!(taken, piece.len(), "what is not the end is taken");
    }
    let complete = decoder.is_complete();
    (used, complete.then(|| decoder.finish().map(|(content, _)| content)))
}

fn counted<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::counted(LIMITS, Some(u64::MAX), memory().share());
    for piece in pieces {
        assert_eq!(decoder.push(piece), piece.len());
    }
    decoder.finish().map(|(content, _)| content)
}

fn check_content(content: &Content) {
    let octets = &content.octets;
    assert!(octets.len() as u64 <= LIMITS.size_octets, "larger than the limit");
    assert!(octets.is_empty() || octets.ends_with(b"\r\n"), "a last line without an end");
    assert_eq!(content.eight_bit, !octets.is_ascii());
    for line in octets.strip_suffix(b"\r\n").unwrap_or_default().split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r') && !line.contains(&0) && line.len() <= LIMITS.line_octets);
    }
    assert!(!has_bare_line_end(octets), "a bare line end");
}

/// Content as a client sends it, with its end.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 3);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// Returns what was sent without the dots that stand at the start of a line without being doubled: servers drop them (RFC 5321 §4.5.2).
fn without_single_dots(wire: &[u8]) -> Vec<u8> {
    let lines = wire.split_inclusive(|octet| *octet == b'\n').map(|line| match line {
        b".\r\n" | [b'.', b'.', ..] => line,
        [b'.', rest @ ..] => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().concat()
}

/// A whole session: how its input is cut makes no difference, what it says is replies, and what it takes is messages that may be taken.
pub fn smtp_session(octets: &[u8]) {
    for role in [Role::Submission, Role::Mx(ALLOWANCE)] {
        let [first, results @ ..] = cuts(octets).map(|pieces| drive(pieces, role));
        for result in results {
            assert_eq!(result, first, "pieces make a difference");
        }
        check_replies(&first.0);
        for Message { envelope, content, binary } in &first.1 {
            assert_eq!(binary.is_some(), envelope.body == BodyType::BinaryMime);
            assert!((1..=RECIPIENTS as usize).contains(&envelope.forward_paths.len()));
            check_content(content);
            // Nobody who is not logged in is promised a report.
            let mut paths = envelope.forward_paths.iter();
            assert!(
                role == Role::Submission || envelope.envid.is_none() && paths.all(|path| path.notify.is_none() && path.original.is_none())
            );
        }
    }
}

/// What a login may send to.
const RECIPIENTS: u32 = 3;
const ALLOWANCE: Allowance = Allowance { message_octets: 1_000, recipients: RECIPIENTS, asks: true, highest_priority: 9 };

fn settings(role: Role) -> Settings {
    Settings {
        hostname: Domain::parse("mail.example.com").expect("a domain"),
        message_octets: LIMITS.size_octets,
        line_octets: LIMITS.line_octets,
        recipients: 10,
        command_time: Duration::from_mins(5),
        session_time: Duration::from_hours(1),
        errors: 8,
        junk_commands: 6,
        auth_failures: 3,
        messages: 5,
        future_release: Duration::from_hours(1),
        memory: memory(),
        role,
    }
}

/// Drives a session as the sockets do, with fixed answers to what it asks.
fn drive<'a>(mut pieces: impl Iterator<Item = &'a [u8]>, role: Role) -> (Vec<u8>, Vec<Message>) {
    let connection = Connection { tls_required: false, tls: Tls::Offered, since: Timestamp::from_millis(1_767_225_600_000) };
    let mut session = Session::new(Arc::new(settings(role)), connection, Duration::ZERO);
    let (mut unused, mut messages, mut replies) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let Step { used, action } = session.receive(&unused, Duration::ZERO);
        unused.drain(..used);
        match action {
            Action::Read => match pieces.next() {
                Some(piece) => unused.extend_from_slice(piece),
                None => break,
            },
            Action::Send => {
                replies.extend_from_slice(session.replies());
                session.replies_sent();
            }
            Action::StartTls => {
                // What would follow is the handshake; what came before it is forgotten.
                assert!(unused.is_empty(), "clear text is left for after the handshake");
                break;
            }
            Action::FindVerifier(username) => {
                session.verifier_found(Ok(Verifier::pretended(&[1; 32], &username, &Shapes::default())), "nonce");
            }
            Action::Authenticate(proof) => match proof {
                Proof::Password(credentials) if credentials.password != "wrong" => session.login_checked(Ok(ALLOWANCE)),
                Proof::Scram { stored_key, .. } => {
                    assert_eq!(stored_key, None, "nobody proves what nobody knows");
                    session.login_checked(Err(LoginRefused::Wrong));
                }
                Proof::Password(_) | Proof::Token { .. } => session.login_checked(Err(LoginRefused::Wrong)),
            },
            Action::CheckSender(ReversePath::Mailbox(address)) if address.local_part() == "other" => {
                session.sender_checked(Err(SenderRefused::Refused(Refusal::Overloaded)));
            }
            Action::CheckSender(_) => session.sender_checked(Ok(ALLOWANCE)),
            Action::CheckRecipient(candidate) => match candidate.address.local_part() {
                "other" => session.recipient_checked(Err(Refusal::Overloaded)),
                _ => session.recipient_checked(Ok(candidate.address)),
            },
            Action::Submit(message) => {
                messages.push(*message);
                session.submitted(Err(&Refusal::StorageFull));
            }
            Action::Close => {
                assert!(session.is_closed());
                break;
            }
        }
    }
    replies.extend_from_slice(session.replies());
    (replies, messages)
}
