//! The client's side of SMTP.

use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;
use tubepost::mail::address::EmailAddress;
use tubepost::mail::envelope::{ForwardPath, Notify, Return, ReversePath, TransportSecurity};
use tubepost::smtp::client::reply::{LINES, ReplyError, ReplyReader, TEXT_LENGTH};
use tubepost::smtp::client::transaction::{Conclusion, Transaction};
use tubepost::smtp::client::{Client, Credentials, Event, Options, Security};

use crate::input::{cuts, directive, has_bare_line_end};

/// Replies of servers: how they are cut makes no difference, and what is kept of them is bounded and free of control characters.
pub fn smtp_reply(octets: &[u8]) {
    let [first, results @ ..] = cuts(octets).map(replies);
    for result in results {
        assert_eq!(result, first, "pieces make a difference");
    }
    for line in first.unwrap_or_default() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        // A blank for each line, and three octets for each that is no UTF-8.
        assert!(line.len() <= 3 + LINES + 3 * TEXT_LENGTH);
    }
}

fn replies<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<String>, ReplyError> {
    let mut reader = ReplyReader::default();
    let mut replies = Vec::new();
    for mut piece in pieces {
        while let Some(reply) = reader.read(&mut piece)? {
            assert!((200..600).contains(&reply.code()));
            assert!(reply.enhanced().is_none_or(|status| u16::from(status.class) == reply.code() / 100));
            assert!(reply.to_line(511).len() <= 511);
            replies.push(reply.to_string());
        }
    }
    Ok(replies)
}

/// A whole session with a server that says anything: each transaction is concluded once, with a word for each recipient, and what is
/// written is commands and content, and nothing that a server could take for more.
///
/// The first line of the input has letters: `r` TLS required, `o` opportunistic, `i` implicit, `a` credentials, `u` internationalised
/// addresses, `d` DSN parameters, `l` long content, digits for the number of transactions.
pub fn smtp_client(octets: &[u8]) {
    let (letters, server) = directive(octets);
    let [first, results @ ..] = cuts(server).map(|pieces| drive(letters, pieces));
    for result in results {
        assert_eq!(result, first, "pieces make a difference");
    }
}

fn options(letters: &str) -> Options {
    let security = if letters.contains('r') {
        Security::Required
    } else if letters.contains('o') {
        Security::Opportunistic
    } else {
        Security::None
    };
    let credentials = letters.contains('a').then(|| Credentials { user: "user".to_owned(), password: "secret".to_owned() });
    Options { name: "tp.example".into(), security, implicit_tls: letters.contains('i'), credentials, command_time: Duration::from_mins(5) }
}

fn transaction(letters: &str, number: usize) -> Transaction {
    let address = |text: &str| EmailAddress::parse(text).expect("an address");
    let mut forward_paths = vec![ForwardPath::new(address(&format!("r{number}@b.example"))), ForwardPath::new(address("second@b.example"))];
    if letters.contains('u') {
        forward_paths.push(ForwardPath::new(address("jörg@bücher.example")));
    }
    if letters.contains('d') {
        let notify = Some(Notify { success: true, failure: false, delay: true });
        forward_paths.push(ForwardPath { address: address("d@b.example"), notify, original: Some("rfc822;a+b@c\r\n.example".to_owned()) });
    }
    let content =
        if letters.contains('l') { ".line of content\r\n".repeat(5_000) } else { "Subject: x\r\n\r\n.body\r\n..\r\n.\r\n".to_owned() };
    Transaction {
        reverse_path: if number == 0 { ReversePath::Null } else { ReversePath::Mailbox(address("s@a.example")) },
        ret: letters.contains('d').then_some(Return::Headers),
        envid: letters.contains('d').then(|| "QQ 314=159\r\nDATA".to_owned()),
        smtputf8: letters.contains('u'),
        priority: if letters.contains('p') { -4 } else { 0 },
        transport: if letters.contains('q') { TransportSecurity::Required } else { TransportSecurity::AsConfigured },
        forward_paths,
        content: Bytes::from(content),
        is_binary: letters.contains('b'),
    }
}

/// Takes what the client wants to write.
fn written(client: &mut Client, octets: &mut Vec<u8>) {
    while !client.output().is_empty() {
        let mut slices = [IoSlice::new(&[]); 4];
        let used = client.output().fill(&mut slices);
        let count = slices.iter().take(used).map(|slice| slice.len()).sum();
        slices.iter().take(used).for_each(|slice| octets.extend_from_slice(slice));
        client.output().advance(count);
    }
}

/// Drives a session as the sockets do; returns what was written, and what became of the transactions.
///
/// Transactions start at set places of what the server says and not where a piece ends: with PIPELINING it matters what was known then.
fn drive<'a>(letters: &str, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<String>, Option<String>) {
    let most = letters.chars().filter_map(|letter| letter.to_digit(10)).map(|digit| digit as usize).next().unwrap_or(2);
    let mut client = Client::new(options(letters));
    let (mut output, mut conclusions, mut started, mut error) = (Vec::new(), Vec::new(), 0, None);
    let lines = pieces.flat_map(|piece| piece.split_inclusive(|octet| *octet == b'\n'));
    for piece in lines {
        if let Err(fault) = client.receive(piece) {
            error = Some(fault.to_string());
            break;
        }
        while let Some(event) = client.event() {
            match event {
                Event::StartTls => client.secured(),
                Event::Ready => {}
                Event::Concluded(conclusion) => conclusions.push(concluded(&conclusion)),
            }
        }
        while started < most && client.can_start() {
            client.start(transaction(letters, started));
            started += 1;
        }
        written(&mut client, &mut output);
    }
    while let Some(event) = client.event() {
        if let Event::Concluded(conclusion) = event {
            conclusions.push(concluded(&conclusion));
        }
    }
    conclusions.extend(client.abandon().iter().map(concluded));
    assert_eq!(conclusions.len(), started, "a transaction is lost or doubled");
    check_output(&output);
    (output, conclusions, error)
}

fn concluded(conclusion: &Conclusion) -> String {
    assert_eq!(conclusion.replies.len(), conclusion.transaction.forward_paths.len());
    let replies = conclusion.replies.iter().map(|reply| reply.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string));
    format!("{} {}", conclusion.begun, replies.collect::<Vec<_>>().join("|"))
}

/// All of it is lines that end with CRLF; outside of content they are our commands.
fn check_output(octets: &[u8]) {
    assert!(!has_bare_line_end(octets), "a bare line end");
    let injected = octets.split(|octet| *octet == b'\n').filter(|line| line.starts_with(b".example") || line.starts_with(b"DATA>")).count();
    assert_eq!(injected, 0, "a parameter made a line of its own");
}
