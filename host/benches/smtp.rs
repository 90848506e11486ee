//! What SMTP costs without sockets: lines, content, and a whole transaction. Compare ratios within one run.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a bench fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tubepost::mail::domain::Domain;
use tubepost::mail::refusal::Refusal;
use tubepost::smtp::command;
use tubepost::smtp::data::{ContentLimits, Decoder};
use tubepost::smtp::memory::ContentMemory;
use tubepost::smtp::server::{Action, Allowance, Connection, Session, Settings, Tls};

const LIMITS: ContentLimits = ContentLimits { size_octets: 25 * 1024 * 1024, line_octets: 64 * 1024 };
/// What one read brings.
const READ_OCTETS: usize = 16 * 1024;

fn main() {
    divan::main();
}

/// Content as `DATA` has it, of about this many octets.
fn wire(octets: usize) -> Vec<u8> {
    let line = format!("{}\r\n", "0123456789".repeat(7));
    let mut wire = line.repeat(octets / line.len()).into_bytes();
    wire.extend_from_slice(b".\r\n");
    wire
}

#[divan::bench(args = ["MAIL FROM:<newsletter@example.com> SIZE=102400 BODY=8BITMIME", "RCPT TO:<somebody@example.net>", "DATA"])]
fn command(line: &str) -> bool {
    command::parse(black_box(line.as_bytes())).is_ok()
}

#[divan::bench(args = [1_000, 10_000, 100_000])]
fn content(bencher: Bencher<'_, '_>, octets: usize) {
    let wire = wire(octets);
    let memory = ContentMemory::new(u64::MAX);
    bencher.counter(BytesCount::of_slice(&wire)).bench(|| {
        let mut decoder = Decoder::dots(LIMITS, Some(wire.len() as u64), memory.share());
        for piece in wire.chunks(READ_OCTETS) {
            decoder.push(black_box(piece));
        }
        decoder.finish().unwrap()
    });
}

/// Pieces as a client sends them that waits for each answer.
#[divan::bench(args = [1_000, 10_000, 100_000])]
fn transaction(bencher: Bencher<'_, '_>, octets: usize) {
    let mut session = Session::new(Arc::new(settings()), Connection { loopback: true, tls: Tls::Unavailable }, Duration::ZERO);
    for line in ["EHLO client.example\r\n", "AUTH PLAIN AGEAYg==\r\n"] {
        push(&mut session, line.as_bytes());
    }
    let lines = ["MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.net>\r\n", "DATA\r\n"];
    let wire = wire(octets);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        for line in lines {
            push(&mut session, line.as_bytes());
        }
        for piece in wire.chunks(READ_OCTETS) {
            push(&mut session, piece);
        }
    });
}

fn push(session: &mut Session, mut input: &[u8]) {
    let allowance = Allowance { message_octets: u64::MAX, recipients: u32::MAX, asks: false };
    loop {
        let step = session.receive(input, Duration::ZERO);
        input = input.split_at(step.used).1;
        match step.action {
            Action::Read => break session.replies_sent(),
            Action::Send => session.replies_sent(),
            Action::Authenticate(_) => session.login_checked(Ok(allowance)),
            Action::CheckSender(_) => session.sender_checked(Ok(allowance)),
            Action::Submit(message) => {
                black_box(message);
                session.submitted(Err(&Refusal::Overloaded));
            }
            Action::StartTls | Action::CheckRecipient(_) | Action::Close => unreachable!("nobody asked for it"),
        }
    }
}

fn settings() -> Settings {
    Settings {
        hostname: Domain::parse("mail.example.com").unwrap(),
        message_octets: LIMITS.size_octets,
        line_octets: LIMITS.line_octets,
        recipients: 1_000,
        command_time: Duration::MAX,
        session_time: Duration::MAX,
        errors: u32::MAX,
        junk_commands: u32::MAX,
        auth_failures: u32::MAX,
        messages: u32::MAX,
        memory: ContentMemory::new(u64::MAX),
        role: tubepost::smtp::server::Role::Submission,
    }
}
