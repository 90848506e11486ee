#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io::IoSlice;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{ForwardPath, Notify, Return, ReversePath, TransportSecurity};

fn options() -> Options {
    Options {
        name: "tp.example".into(),
        security: Security::None,
        implicit_tls: false,
        credentials: None,
        command_time: Duration::from_mins(5),
    }
}

fn transaction(recipients: &[&str], content: &'static str) -> Transaction {
    Transaction {
        reverse_path: ReversePath::parse("s@a.example").unwrap(),
        ret: None,
        envid: None,
        smtputf8: false,
        priority: 0,
        transport: TransportSecurity::AsConfigured,
        forward_paths: recipients.iter().map(|text| ForwardPath::new(EmailAddress::parse(text).unwrap())).collect(),
        content: Bytes::from_static(content.as_bytes()),
        is_binary: false,
    }
}

/// Takes what the client wants to write, as text.
fn sent(client: &mut Client) -> String {
    let mut octets = Vec::new();
    while !client.output().is_empty() {
        let mut slices = [IoSlice::new(&[]); 4];
        let used = client.output().fill(&mut slices);
        let count: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        slices[..used].iter().for_each(|slice| octets.extend_from_slice(slice));
        client.output().advance(count);
    }
    String::from_utf8(octets).unwrap().replace("\r\n", "|")
}

/// One step of a dialogue: what the server says, and what the client writes then (`|` is CRLF).
fn step(client: &mut Client, server: &str, expected: &str) {
    client.receive(server.replace('|', "\r\n").as_bytes()).unwrap();
    assert_eq!(sent(client), expected, "after {server:?}");
}

fn ready(options: Options, extensions: &str) -> Client {
    let mut client = Client::new(options);
    step(&mut client, "220 mx|", "EHLO tp.example|");
    step(&mut client, &format!("250-mx|{extensions}250 HELP|"), "");
    assert!(matches!(client.event(), Some(Event::Ready)));
    assert!(client.can_start());
    client
}

fn conclusion(client: &mut Client) -> Vec<String> {
    let Some(Event::Concluded(conclusion)) = client.event() else { panic!("no transaction is over") };
    texts(&conclusion)
}

fn texts(conclusion: &Conclusion) -> Vec<String> {
    conclusion.replies.iter().map(|reply| reply.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)).collect()
}

#[test]
fn without_extensions_every_command_waits_for_its_reply() {
    let mut client = ready(options(), "");
    client.start(transaction(&["x@b.example", "y@b.example"], "Subject: a\r\n\r\n.\r\n"));
    assert_eq!(sent(&mut client), "MAIL FROM:<s@a.example>|");
    step(&mut client, "250 ok|", "RCPT TO:<x@b.example>|");
    step(&mut client, "550 5.1.1 no x|", "RCPT TO:<y@b.example>|");
    step(&mut client, "250 ok|", "DATA|");
    assert!(!client.can_start());
    step(&mut client, "354 go|", "Subject: a||..|.|");
    assert!(!client.can_start());
    step(&mut client, "250 2.0.0 queued|", "");
    assert_eq!(conclusion(&mut client), ["550 5.1.1 no x", "250 2.0.0 queued"]);
    assert!(client.can_start());
    client.quit();
    assert_eq!(sent(&mut client), "QUIT|");
}

#[test]
fn with_pipelining_the_next_transaction_leaves_with_the_content() {
    let mut client = ready(options(), "250-PIPELINING|");
    client.start(transaction(&["x@b.example"], "a\r\n"));
    assert_eq!(sent(&mut client), "MAIL FROM:<s@a.example>|RCPT TO:<x@b.example>|DATA|");
    assert!(!client.can_start());
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n").unwrap();
    assert!(client.can_start());
    client.start(transaction(&["y@b.example"], "b\r\n"));
    assert!(!client.can_start());
    assert_eq!(sent(&mut client), "a|.|MAIL FROM:<s@a.example>|RCPT TO:<y@b.example>|DATA|");
    step(&mut client, "250 first|250 ok|250 ok|", "");
    assert_eq!(conclusion(&mut client), ["250 first"]);
    step(&mut client, "354 go|", "b|.|");
    step(&mut client, "452 full|", "");
    assert_eq!(conclusion(&mut client), ["452 full"]);
}

#[test]
fn with_chunking_a_small_message_is_one_write() {
    let mut client = ready(options(), "250-PIPELINING|250-CHUNKING|");
    client.start(transaction(&["x@b.example", "y@b.example"], ".a\r\n"));
    assert_eq!(sent(&mut client), "MAIL FROM:<s@a.example>|RCPT TO:<x@b.example>|RCPT TO:<y@b.example>|BDAT 4 LAST|.a|");
    step(&mut client, "250 ok|250 ok|451 4.2.1 later|250 queued|", "");
    assert_eq!(conclusion(&mut client), ["250 queued", "451 4.2.1 later"]);
    client.start(transaction(&["x@b.example"], "a\r\n"));
    sent(&mut client);
    step(&mut client, "250 ok|550 no|503 no recipients|", "");
    assert_eq!(conclusion(&mut client), ["550 no"]);
    client.start(transaction(&["x@b.example"], "a\r\n"));
    assert_eq!(sent(&mut client), "RSET|MAIL FROM:<s@a.example>|RCPT TO:<x@b.example>|BDAT 3 LAST|a|");
}

#[test]
fn binary_content_goes_in_chunks_or_not_at_all() {
    let binary = Transaction { is_binary: true, ..transaction(&["x@b.example"], "A: 1\r\n\r\n\0\n.\n") };
    let mut client = ready(options(), "250-PIPELINING|250-CHUNKING|250-BINARYMIME|");
    assert!(client.takes_binary());
    client.start(binary.clone());
    assert_eq!(sent(&mut client), "MAIL FROM:<s@a.example> BODY=BINARYMIME|RCPT TO:<x@b.example>|BDAT 12 LAST|A: 1||\0\n.\n");
    step(&mut client, "250 ok|250 ok|554 5.6.1 no|", "");
    assert_eq!(conclusion(&mut client), ["554 5.6.1 no"]);
    for extensions in ["250-PIPELINING|250-BINARYMIME|", "250-CHUNKING|250-8BITMIME|", ""] {
        let mut client = ready(options(), extensions);
        assert!(!client.takes_binary());
        client.start(binary.clone());
        assert_eq!(sent(&mut client), "", "{extensions}");
        assert_eq!(conclusion(&mut client), ["554 5.6.1 The next hop takes no binary content (no BINARYMIME)"]);
    }
}

#[test]
fn large_content_waits_for_a_recipient_with_chunking() {
    let mut client = ready(options(), "250-PIPELINING|250-CHUNKING|");
    let large = Transaction { content: vec![b'a'; EAGER_LENGTH + 1].into(), ..transaction(&["x@b.example"], "") };
    client.start(large.clone());
    assert_eq!(sent(&mut client), "MAIL FROM:<s@a.example>|RCPT TO:<x@b.example>|");
    step(&mut client, "250 ok|550 no|", "");
    assert_eq!(conclusion(&mut client), ["550 no"]);
    client.start(large);
    assert_eq!(sent(&mut client), "RSET|MAIL FROM:<s@a.example>|RCPT TO:<x@b.example>|");
    client.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n").unwrap();
    assert!(sent(&mut client).starts_with("BDAT 65537 LAST|aaa"));
    step(&mut client, "250 ok|", "");
    assert_eq!(conclusion(&mut client), ["250 ok"]);
}

#[test]
fn a_server_that_wants_content_for_nobody_gets_none() {
    let mut client = ready(options(), "250-PIPELINING|");
    client.start(transaction(&["x@b.example"], "a\r\n"));
    sent(&mut client);
    step(&mut client, "250 ok|550 no|354 go|", ".|");
    step(&mut client, "554 no valid recipients|", "");
    assert_eq!(conclusion(&mut client), ["550 no"]);
}

#[test]
fn a_refused_sender_concludes_all_recipients() {
    let mut client = ready(options(), "250-PIPELINING|");
    client.start(transaction(&["x@b.example", "y@b.example"], "a\r\n"));
    sent(&mut client);
    step(&mut client, "550 5.7.1 not you|503 no mail|503 no mail|503 no mail|", "");
    assert_eq!(conclusion(&mut client), ["550 5.7.1 not you", "550 5.7.1 not you"]);
    let mut client = ready(options(), "");
    client.start(transaction(&["x@b.example", "y@b.example"], "a\r\n"));
    sent(&mut client);
    step(&mut client, "450 greylisted|", "");
    assert_eq!(conclusion(&mut client), ["450 greylisted", "450 greylisted"]);
    assert!(client.can_start());
}

#[test]
fn parameters_are_those_that_the_server_knows() {
    let mut full = transaction(&["x@b.example"], "Subject: \u{fc}\r\n\r\n\u{fc}\r\n");
    full.ret = Some(Return::Full);
    full.envid = Some("id=1 +".into());
    full.smtputf8 = true;
    full.forward_paths[0].notify = Some(Notify { success: true, failure: true, delay: false });
    full.forward_paths[0].original = Some("rfc822;a+b@c".into());
    let mut client = ready(options(), "250-PIPELINING|250-8BITMIME|250-SMTPUTF8|250-DSN|250-SIZE 1000|");
    client.start(full.clone());
    assert_eq!(
        sent(&mut client),
        "MAIL FROM:<s@a.example> SIZE=19 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=id+3D1+20+2B|\
         RCPT TO:<x@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@c|DATA|"
    );
    let mut client = ready(options(), "250-PIPELINING|");
    client.start(full);
    assert_eq!(sent(&mut client), "");
    assert_eq!(conclusion(&mut client), ["553 5.6.7 The next hop does not take internationalised mail (SMTPUTF8)"]);
    assert!(client.can_start());
}

#[test]
fn what_the_server_cannot_take_is_not_sent() {
    let mut client = ready(options(), "250-PIPELINING|250-SIZE 4|");
    client.start(transaction(&["x@b.example"], "too large\r\n"));
    assert_eq!(sent(&mut client), "");
    assert_eq!(conclusion(&mut client), ["552 5.3.4 The next hop takes at most 4 octets"]);
    // One recipient needs SMTPUTF8, the other one only has a domain that does not.
    let mut client = ready(options(), "250-PIPELINING|");
    client.start(transaction(&["j\u{f6}rg@b.example", "x@b\u{fc}cher.example"], "a\r\n"));
    assert_eq!(sent(&mut client), "MAIL FROM:<s@a.example>|RCPT TO:<x@xn--bcher-kva.example>|DATA|");
    step(&mut client, "250 ok|250 ok|354 go|", "a|.|");
    step(&mut client, "250 ok|", "");
    assert_eq!(conclusion(&mut client)[1], "250 ok");
}

#[test]
fn old_servers_are_greeted_with_helo() {
    let mut client = Client::new(options());
    step(&mut client, "220 mx|", "EHLO tp.example|");
    step(&mut client, "502 what|", "HELO tp.example|");
    step(&mut client, "250 mx|", "");
    assert!(matches!(client.event(), Some(Event::Ready)));
}

#[test]
fn starttls_forgets_what_was_said_before_it() {
    let mut client = Client::new(Options { security: Security::Required, ..options() });
    step(&mut client, "220 mx|", "EHLO tp.example|");
    step(&mut client, "250-mx|250-PIPELINING|250 STARTTLS|", "STARTTLS|");
    step(&mut client, "220 go|", "");
    assert!(matches!(client.event(), Some(Event::StartTls)));
    client.secured();
    assert_eq!(sent(&mut client), "EHLO tp.example|");
    step(&mut client, "250 mx|", "");
    assert!(matches!(client.event(), Some(Event::Ready)));
    assert!(!client.chains() && client.secured);
}

#[test]
fn tls_that_is_required_is_not_done_without() {
    let required = Options { security: Security::Required, ..options() };
    let error = |server: &str| {
        let mut client = Client::new(required.clone());
        client.receive(server.replace('|', "\r\n").as_bytes()).unwrap_err()
    };
    assert_eq!(error("220 mx|250 mx|"), ClientError::TlsMissing);
    assert!(matches!(error("220 mx|250-mx|250 STARTTLS|454 no|"), ClientError::TlsRefused(_)));
    assert_eq!(error("220 mx|250-mx|250 STARTTLS|220 go|250 injected|"), ClientError::TlsInjection);
    assert_eq!(error("220 mx|250-mx|250 STARTTLS|220 go|25"), ClientError::TlsInjection);
    let mut client = Client::new(Options { security: Security::Opportunistic, ..options() });
    client.receive(b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n454 no\r\n").unwrap();
    assert!(matches!(client.event(), Some(Event::Ready)));
}

#[test]
fn credentials_are_given_as_the_server_likes() {
    let credentials = Some(Credentials { user: "u".into(), password: "p".into() });
    let with = Options { credentials, ..options() };
    let mut client = Client::new(with.clone());
    client.receive(b"220 mx\r\n").unwrap();
    sent(&mut client);
    step(&mut client, "250-mx|250 AUTH LOGIN PLAIN|", "AUTH PLAIN AHUAcA==|");
    step(&mut client, "235 ok|", "");
    assert!(matches!(client.event(), Some(Event::Ready)));
    let mut client = Client::new(with.clone());
    client.receive(b"220 mx\r\n").unwrap();
    sent(&mut client);
    step(&mut client, "250-mx|250 AUTH LOGIN|", "AUTH LOGIN|");
    step(&mut client, "334 VXNlcm5hbWU6|", "dQ==|");
    step(&mut client, "334 UGFzc3dvcmQ6|", "cA==|");
    assert!(matches!(client.receive(b"535 5.7.8 no\r\n"), Err(ClientError::AuthRefused(_))));
    let mut client = Client::new(with.clone());
    assert_eq!(client.receive(b"220 mx\r\n250 mx\r\n"), Err(ClientError::AuthMissing));
    let mut client = Client::new(Options { security: Security::Opportunistic, ..with });
    assert_eq!(client.receive(b"220 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n"), Err(ClientError::AuthInClear));
}

#[test]
fn last_words_outlive_the_connection() {
    let mut client = ready(options(), "250-PIPELINING|");
    client.start(transaction(&["x@b.example", "y@b.example"], "a\r\n"));
    sent(&mut client);
    client.receive(b"250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n").unwrap();
    client.start(transaction(&["z@b.example"], "b\r\n"));
    let error = client.receive(b"421 4.3.2 going down\r\n").unwrap_err();
    assert_eq!(error.to_string(), "421 4.3.2 going down");
    let conclusions = client.abandon();
    assert_eq!(texts(&conclusions[0]), ["550 no", "-"]);
    assert_eq!(texts(&conclusions[1]), ["-"]);
    assert!(conclusions[0].begun && !conclusions[1].begun);
}

#[test]
fn replies_that_do_not_fit_end_the_session() {
    for server in ["354 go|", "220 again|", "250 one|250 two|"] {
        let mut client = ready(options(), "");
        assert!(client.receive(server.replace('|', "\r\n").as_bytes()).is_err(), "{server}");
    }
    let mut client = Client::new(options());
    assert!(matches!(client.receive(b"554 go away\r\n"), Err(ClientError::Greeting(_))));
    let mut client = ready(options(), "");
    client.start(transaction(&["x@b.example"], "a\r\n"));
    assert!(matches!(client.receive(b"354 go\r\n"), Err(ClientError::Unexpected(_))));
}

proptest! {
    /// Whatever the server says: no panic, transactions end in order, and each at most once.
    #[test]
    fn any_dialogue_is_survived(
        extensions in proptest::sample::subsequence(vec!["PIPELINING", "CHUNKING", "SIZE 10", "DSN", "SMTPUTF8", "STARTTLS", "AUTH PLAIN"], 0..7),
        replies in proptest::collection::vec(
            prop_oneof![
                Just("250 ok\r\n".to_owned()), Just("354 go\r\n".to_owned()), Just("550 no\r\n".to_owned()), Just("451 later\r\n".to_owned()),
                Just("220 hi\r\n".to_owned()), Just("334 \r\n".to_owned()), Just("421 bye\r\n".to_owned()), "[ -~\r\n]{0,12}"
            ],
            0..40,
        ),
    ) {
        let mut client = Client::new(Options { security: Security::Opportunistic, ..options() });
        client.receive(b"220 mx\r\n").unwrap();
        let hello = [&["mx"], &*extensions, &["X"]].concat().join("\r\n250-").replace("250-X", "250 X");
        let _ = client.receive(format!("250-{hello}\r\n").as_bytes());
        let (mut started, mut concluded) = (0, 0);
        for reply in replies {
            if client.can_start() {
                client.start(transaction(&["x@b.example", "y@b.example"], "a\r\n"));
                started += 1;
            }
            let result = client.receive(reply.as_bytes());
            sent(&mut client);
            while let Some(event) = client.event() {
                match event {
                    Event::StartTls => client.secured(),
                    Event::Ready => {}
                    Event::Concluded(conclusion) => {
                        prop_assert!(conclusion.replies.iter().all(Option::is_some));
                        concluded += 1;
                    }
                }
            }
            if result.is_err() {
                break;
            }
        }
        concluded += client.abandon().len();
        prop_assert_eq!(started, concluded);
    }
}
