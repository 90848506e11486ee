//! Dialogues: text files that are played through a session, each several times, cut into pieces of different sizes.
//!
//! ```text
//! # comment
//! ! plain from afar            what the connection stands on: loopback | plain from afar | clear from afar | starttls | tls
//! ! limits recipients=2        another limit than the default (recipients, messages, errors, junk, size, memory)
//! ! mx                         the sessions are with other mail servers
//! ! memory 0                  octets of the memory for content that are taken
//! S: 220 mail.example.com …    the next line that the server says
//! C: EHLO client.example       what the client says; lines that follow each other are sent at once, CRLF is added
//! R: a\nb\r\n                  the same, as it stands, without CRLF; \r \n \0 \\ \xNN; {n*x} is n times x
//! +5m                          time passes (s, m, h)
//! ! handshake                  the server wants to shake hands; it does
//! ! answer storage full        what the next submission is answered with; also: invalid content
//! ! revoke                     the login is removed
//! ! drain, ! shut down, ! fail the server is asked to end, or has to
//! ! closed, ! open             the connection is closed by the server, or not
//! M: from <a@b> to <c@d>       the message that was last taken: its envelope
//! M| Subject: x                … and its content, line by line
//! ```
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod player;

use player::play;
use proptest::prelude::*;

use super::*;
use crate::smtp::scram::Shapes;

macro_rules! dialogues {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            play(include_str!(concat!("dialogues/", stringify!($name), ".txt")));
        })*
    };
}

dialogues![
    rfc_5321_appendix_d,
    authentication_plain,
    authentication_login,
    authentication_refused,
    authentication_scram,
    authentication_bearer,
    starttls,
    starttls_injection,
    without_tls,
    pipelining,
    sequence,
    syntax,
    parameters,
    recipients,
    recipients_asked_about,
    mx,
    mx_starttls,
    size,
    content,
    smuggling,
    bare_line_ends_in_commands,
    chunking,
    chunking_refused,
    chunk_size_unreadable,
    chunk_size_overlong,
    overlong_lines,
    errors,
    refusals,
    sessions_end,
    time_out_idle,
    time_out_session,
    time_out_login,
    drain_idle,
    drain_transaction,
    shut_down,
    messages_per_session,
    junk_commands,
    content_memory,
    doubles,
    extensions,
    clear_text_where_it_is_allowed,
];

fn session(connection: Connection) -> Session {
    Session::new(Arc::new(player::settings()), connection, Duration::ZERO)
}

/// Drives a session with whatever input, as the sockets do.
fn drive(input: &[u8], pieces: &[usize]) -> (Vec<u8>, Vec<Message>) {
    let mut session = session(Connection { tls_required: false, tls: Tls::Offered, since: player::SINCE });
    let (mut unused, mut messages, mut replies) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = input;
    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
    loop {
        let step = session.receive(&unused, Duration::ZERO);
        unused.drain(..step.used);
        match step.action {
            Action::Read if rest.is_empty() => break,
            Action::Read => {
                let (piece, more) = rest.split_at(pieces.next().unwrap().clamp(1, rest.len()));
                unused.extend_from_slice(piece);
                rest = more;
            }
            Action::Send => {
                replies.extend_from_slice(session.replies());
                session.replies_sent();
            }
            Action::StartTls => {
                // What follows would be the handshake.
                break;
            }
            Action::Authenticate(_) => {
                session.login_checked(Ok(Allowance { message_octets: 1_000, recipients: 3, asks: false, highest_priority: 3 }));
            }
            Action::FindVerifier(username) => {
                session.verifier_found(Ok(Verifier::pretended(&[1; 32], &username, &Shapes::default())), "nonce");
            }
            Action::CheckSender(_) => {
                session.sender_checked(Ok(Allowance { message_octets: 1_000, recipients: 3, asks: false, highest_priority: 3 }));
            }
            Action::CheckRecipient(_) => unreachable!("nobody has a word on it"),
            Action::Submit(message) => {
                messages.push(*message);
                session.submitted(Err(&Refusal::Overloaded));
            }
            Action::Close => break,
        }
    }
    replies.extend_from_slice(session.replies());
    (replies, messages)
}

#[test]
fn replies_that_nobody_hears_do_not_pile_up() {
    let mut session = session(Connection { tls_required: false, tls: Tls::Offered, since: player::SINCE });
    session.settings = Arc::new(Settings { junk_commands: u32::MAX, ..player::settings() });
    let commands = "HELP\r\n".repeat(10_000);
    let (mut rest, mut rounds, mut said) = (commands.as_bytes(), 0, 0);
    loop {
        let step = session.receive(rest, Duration::ZERO);
        rest = &rest[step.used..];
        assert!(session.replies().len() < MOST_REPLY_OCTETS + 1_000);
        said += session.replies().len();
        session.replies_sent();
        assert_eq!(session.replies.capacity(), 0, "the memory is given back");
        rounds += 1;
        if matches!(step.action, Action::Read) {
            break;
        }
        assert!(matches!(step.action, Action::Send), "{:?}", step.action);
    }
    assert!(rest.is_empty() && rounds > 10 && said > 10_000 * 100, "{rounds} {said}");
}

#[test]
fn debug_shows_no_secret() {
    let mut session = session(Connection { tls_required: false, tls: Tls::Offered, since: player::SINCE });
    let step = session.receive(b"EHLO a\r\nAUTH LOGIN c2VjcmV0LXRva2Vu\r\n", Duration::ZERO);
    assert!(!format!("{session:?} {step:?}").contains("secret"), "{session:?}");
    let step = session.receive(b"c2VjcmV0LXRva2Vu\r\n", Duration::ZERO);
    let Action::Authenticate(Proof::Password(credentials)) = &step.action else { panic!("{step:?}") };
    assert_eq!((&*credentials.username, &*credentials.password), ("secret-token", "secret-token"));
    assert!(!format!("{session:?} {step:?}").contains("secret"), "{step:?}");
}

proptest! {
    #[test]
    fn a_session_survives_anything(input in prop::collection::vec(any::<u8>(), 0..200)) {
        drive(&input, &[]);
    }

    #[test]
    fn pieces_make_no_difference(
        lines in prop::collection::vec(prop::sample::select(vec![
            "EHLO a\r\n", "AUTH PLAIN AGEAYg==\r\n", "AUTH LOGIN\r\n", "YQ==\r\n", "AUTH SCRAM-SHA-256 biwsbj11LHI9eA==\r\n", "AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHgBAQ==\r\n", "*\r\n", "MAIL FROM:<a@example.com>\r\n", "MAIL FROM:<>\r\n",
            "RCPT TO:<b@example.com>\r\n", "DATA\r\n", "a\r\n", "..b\r\n", ".\r\n", "BDAT 3\r\n", "BDAT 4 LAST\r\n", "BDAT 0 LAST\r\n", "RSET\r\n",
            "a\n", "\r", "QUIT\r\n", "\r\n.\n", "STARTTLS\r\n", "BDAT x\r\n",
        ]), 0..30),
        pieces in prop::collection::vec(1_usize..20, 0..60),
    ) {
        let input = format!("EHLO a\r\nAUTH PLAIN AGEAYg==\r\n{}", lines.concat());
        let (replies, messages) = drive(input.as_bytes(), &pieces);
        let (expected_replies, expected_messages) = drive(input.as_bytes(), &[]);
        prop_assert_eq!(String::from_utf8(replies).unwrap(), String::from_utf8(expected_replies).unwrap());
        prop_assert_eq!(messages, expected_messages);
    }
}
