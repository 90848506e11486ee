//! The client's side of SMTP (RFC 5321) as a state machine without a socket: octets in, octets and [`Event`]s out.
//!
//! The shell around it writes [`Client::output`], gives what it reads to [`Client::receive`], takes events from [`Client::event`] and starts
//! [`Transaction`]s while [`Client::can_start`]. [`Client::reply_time`] says how long to wait.
//!
//! Where the server has PIPELINING, all commands of a transaction leave in one write, and those of the next one together with the end of the
//! content before: one round trip for each message. With CHUNKING a small message leaves together with its commands.
//!
//! Nothing that a server answers makes it panic; its memory is bounded by the transactions that it was given and the limits in [`reply`].

pub mod dot_stuffing;
pub mod error;
pub mod extension;
pub mod options;
pub mod output;
pub mod reply;
pub mod transaction;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use extension::Extensions;
use output::Output;
use reply::{Reply, ReplyReader};
use transaction::{Conclusion, Transaction, recipient_command};

pub use error::ClientError;
pub use options::{Credentials, Options, Security};

/// Content up to this size is sent with BDAT before it is known whether a recipient is taken: the round trip costs more than the octets.
const EAGER_LENGTH: usize = 64 * 1024;

/// Something that the shell must know.
#[derive(Debug)]
pub enum Event {
    /// Do the TLS handshake now and then call [`Client::secured`].
    StartTls,
    /// Transactions can be started.
    Ready,
    /// A transaction is over. They end in the order in which they were started.
    Concluded(Box<Conclusion>),
}

/// A session with one server.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Client {
    options: Options,
    reader: ReplyReader,
    output: Output,
    extensions: Extensions,
    secured: bool,
    authenticated: bool,
    /// Greeting, EHLO, TLS and AUTH are done.
    ready: bool,
    /// The server may still be in a transaction: RSET comes first.
    unclean: bool,
    /// What the next replies answer.
    expected: VecDeque<Expected>,
    running: VecDeque<Running>,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    AuthPlain,
    AuthLogin,
    AuthUser,
    AuthPassword,
    Reset,
    /// Part of the first transaction that runs.
    Of(Part),
    Quit,
}

/// A command of a transaction, or the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Mail,
    Recipient(usize),
    Data,
    End,
}

/// A transaction on its way. Expected replies always belong to the first that runs.
#[derive(Debug)]
struct Running {
    transaction: Transaction,
    recipients: Vec<Recipient>,
    next: Step,
    begun: bool,
}

#[derive(Clone, Debug)]
enum Recipient {
    Open,
    Accepted,
    Concluded(Reply),
}

/// Which command comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Mail,
    Recipient(usize),
    Content,
    /// All is sent, but for the content after a 354.
    Sent,
}

impl Running {
    fn accepted(&self) -> bool {
        self.recipients.iter().any(|recipient| matches!(recipient, Recipient::Accepted))
    }

    /// Gives all recipients that have no final word yet this one.
    fn conclude(&mut self, reply: &Reply, only_accepted: bool) {
        for recipient in &mut self.recipients {
            let concerned = match recipient {
                Recipient::Accepted => true,
                Recipient::Open => !only_accepted,
                Recipient::Concluded(_) => false,
            };
            if concerned {
                *recipient = Recipient::Concluded(reply.clone());
            }
        }
    }

    fn into_conclusion(self, extensions: &Extensions) -> Conclusion {
        let replies = self.recipients.into_iter().map(|recipient| match recipient {
            Recipient::Concluded(reply) => Some(reply),
            Recipient::Open | Recipient::Accepted => None,
        });
        Conclusion { transaction: self.transaction, replies: replies.collect(), begun: self.begun, dsn_passed_on: extensions.dsn }
    }
}

impl Client {
    /// A session that waits for the greeting, or, with implicit TLS, for the greeting inside TLS.
    pub fn new(options: Options) -> Self {
        Self {
            secured: options.implicit_tls,
            options,
            reader: ReplyReader::default(),
            output: Output::default(),
            extensions: Extensions::default(),
            authenticated: false,
            ready: false,
            unclean: false,
            expected: VecDeque::from([Expected::Greeting]),
            running: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Whether the server has greeted.
    pub fn is_greeted(&self) -> bool {
        self.expected.front() != Some(&Expected::Greeting)
    }

    /// Returns what waits to be written.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Returns the next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns how long the next reply may take, or `None` if none is expected.
    pub fn reply_time(&self) -> Option<Duration> {
        let time = self.options.command_time;
        self.expected.front().map(|expected| if *expected == Expected::Of(Part::End) { time.saturating_mul(2) } else { time })
    }

    /// Whether a transaction can be started now: none runs, or all that is left of the one that runs is the reply to its content and the
    /// server has PIPELINING.
    pub fn can_start(&self) -> bool {
        let last_reply_is_due =
            self.extensions.pipelining && self.running.len() == 1 && self.expected.iter().eq([&Expected::Of(Part::End)]);
        self.ready && (self.running.is_empty() && self.expected.is_empty() || last_reply_is_due)
    }

    /// Whether the next transaction can leave together with the content of the one that runs. With CHUNKING there is nothing to be won: that takes
    /// one round trip already.
    pub fn chains(&self) -> bool {
        self.extensions.pipelining && !self.extensions.chunking
    }

    /// Whether the server takes content that is not ASCII (RFC 6152).
    pub fn takes_eight_bit(&self) -> bool {
        self.extensions.eight_bit_mime
    }

    /// Whether the server takes content that is not in lines (RFC 3030).
    pub fn takes_binary(&self) -> bool {
        self.extensions.takes_binary()
    }

    /// Whether the server keeps to `REQUIRETLS` (RFC 8689), and TLS is spoken.
    pub fn offers_require_tls(&self) -> bool {
        self.extensions.require_tls
    }

    /// Starts a transaction. Only while [`Client::can_start`].
    pub fn start(&mut self, transaction: Transaction) {
        let content_refusal = transaction.content_refusal(&self.extensions);
        let refusal = |path| transaction.recipient_refusal(path, &self.extensions).or_else(|| content_refusal.clone());
        let recipients = transaction.forward_paths.iter().map(|path| match refusal(path) {
            Some(reply) => Recipient::Concluded(reply),
            None => Recipient::Open,
        });
        let recipients: Vec<_> = recipients.collect();
        let unsendable = recipients.iter().all(|recipient| matches!(recipient, Recipient::Concluded(_)));
        let next = if unsendable { Step::Sent } else { Step::Mail };
        if !unsendable && std::mem::take(&mut self.unclean) {
            self.send("RSET\r\n", Expected::Reset);
        }
        self.running.push_back(Running { transaction, recipients, next, begun: unsendable });
        self.send_commands();
        self.conclude_unsendable();
    }

    /// Takes octets of the server.
    ///
    /// # Errors
    /// The connection is to be closed; [`Client::abandon`] returns the transactions that were running.
    pub fn receive(&mut self, mut input: &[u8]) -> Result<(), ClientError> {
        while let Some(reply) = self.reader.read(&mut input)? {
            self.take(reply)?;
            if matches!(self.events.back(), Some(Event::StartTls)) && !input.is_empty() {
                return Err(ClientError::TlsInjection);
            }
        }
        if matches!(self.events.back(), Some(Event::StartTls)) && self.reader.is_amid_reply() {
            return Err(ClientError::TlsInjection);
        }
        Ok(())
    }

    /// The handshake is done: what the server said before it does not count any more (RFC 3207 §4.2).
    pub fn secured(&mut self) {
        self.secured = true;
        self.extensions = Extensions::default();
        self.hello();
    }

    /// Says good-bye. Nothing can be started after it.
    pub fn quit(&mut self) {
        self.ready = false;
        self.send("QUIT\r\n", Expected::Quit);
    }

    /// Ends the session from our side and returns what was running, in order, with what is known by now.
    pub fn abandon(&mut self) -> Vec<Conclusion> {
        self.ready = false;
        self.expected.clear();
        self.output.clear();
        self.running.drain(..).map(|running| running.into_conclusion(&self.extensions)).collect()
    }

    fn send(&mut self, command: &str, expected: Expected) {
        self.output.push_text(command.as_bytes());
        self.expected.push_back(expected);
    }

    fn hello(&mut self) {
        let command = format!("EHLO {}\r\n", self.options.name);
        self.send(&command, Expected::Ehlo);
    }

    fn take(&mut self, reply: Reply) -> Result<(), ClientError> {
        if reply.code() == 421 {
            return Err(ClientError::Unavailable(reply));
        }
        let Some(expected) = self.expected.pop_front() else { return Err(ClientError::Unexpected(reply)) };
        match expected {
            Expected::Greeting if reply.code() == 220 => self.hello(),
            Expected::Greeting => return Err(ClientError::Greeting(reply)),
            Expected::Ehlo if reply.is_positive() => {
                self.extensions = Extensions::parse(&reply);
                // RFC 8689 §2: it means nothing before TLS.
                self.extensions.require_tls &= self.secured;
                return self.introduce();
            }
            Expected::Ehlo if reply.is_permanent() => {
                let command = format!("HELO {}\r\n", self.options.name);
                self.send(&command, Expected::Helo);
            }
            Expected::Helo if reply.is_positive() => return self.introduce(),
            Expected::Ehlo | Expected::Helo => return Err(ClientError::Hello(reply)),
            Expected::StartTls if reply.is_positive() => self.events.push_back(Event::StartTls),
            Expected::StartTls if self.options.security == Security::Required => return Err(ClientError::TlsRefused(reply)),
            Expected::StartTls => {
                self.extensions.starttls = false;
                return self.introduce();
            }
            Expected::AuthPlain | Expected::AuthLogin | Expected::AuthUser | Expected::AuthPassword => {
                return self.take_auth(expected, reply);
            }
            Expected::Reset if reply.is_positive() => {}
            Expected::Reset => return Err(ClientError::Unexpected(reply)),
            Expected::Of(part) => self.take_of_transaction(part, reply)?,
            Expected::Quit => {}
        }
        self.send_commands();
        self.conclude_unsendable();
        Ok(())
    }

    /// TLS, AUTH or the first transaction: what comes after EHLO.
    fn introduce(&mut self) -> Result<(), ClientError> {
        if !self.secured && self.options.security != Security::None {
            if self.extensions.starttls {
                self.send("STARTTLS\r\n", Expected::StartTls);
                return Ok(());
            }
            if self.options.security == Security::Required {
                return Err(ClientError::TlsMissing);
            }
        }
        if let Some(credentials) = self.options.credentials.as_ref().filter(|_| !self.authenticated) {
            if !self.secured && self.options.security != Security::None {
                return Err(ClientError::AuthInClear);
            }
            if self.extensions.auth_plain {
                let response = STANDARD.encode(format!("\0{}\0{}", credentials.user, credentials.password));
                self.send(&format!("AUTH PLAIN {response}\r\n"), Expected::AuthPlain);
            } else if self.extensions.auth_login {
                self.send("AUTH LOGIN\r\n", Expected::AuthLogin);
            } else {
                return Err(ClientError::AuthMissing);
            }
            return Ok(());
        }
        self.ready = true;
        self.events.push_back(Event::Ready);
        Ok(())
    }

    fn take_auth(&mut self, expected: Expected, reply: Reply) -> Result<(), ClientError> {
        let Some(Credentials { user, password }) = &self.options.credentials else { return Err(ClientError::Unexpected(reply)) };
        if matches!(expected, Expected::AuthPlain | Expected::AuthPassword) && reply.is_positive() {
            self.authenticated = true;
            return self.introduce();
        }
        let (response, next) = match (expected, reply.code()) {
            (Expected::AuthLogin, 334) => (user, Expected::AuthUser),
            (Expected::AuthUser, 334) => (password, Expected::AuthPassword),
            _ => return Err(ClientError::AuthRefused(reply)),
        };
        let response = format!("{}\r\n", STANDARD.encode(response));
        self.send(&response, next);
        Ok(())
    }

    fn take_of_transaction(&mut self, part: Part, reply: Reply) -> Result<(), ClientError> {
        let go_on = part == Part::Data && reply.code() == 354;
        let fits = reply.is_transient() || reply.is_permanent() || if part == Part::Data { go_on } else { reply.is_positive() };
        let Some(running) = self.running.front_mut().filter(|_| fits) else { return Err(ClientError::Unexpected(reply)) };
        running.begun = true;
        match part {
            Part::Mail => {
                if !reply.is_positive() {
                    running.conclude(&reply, false);
                    running.next = Step::Sent;
                }
            }
            Part::Recipient(place) => {
                if let Some(recipient @ Recipient::Open) = running.recipients.get_mut(place) {
                    *recipient = if reply.is_positive() { Recipient::Accepted } else { Recipient::Concluded(reply) };
                }
            }
            Part::Data if go_on => {
                if running.accepted() {
                    dot_stuffing::push(&mut self.output, &running.transaction.content);
                } else {
                    // No recipient was taken, and still the server wants content: an empty one (RFC 2920 §3.1).
                    self.output.push_text(b".\r\n");
                }
                self.expected.push_front(Expected::Of(Part::End));
            }
            Part::Data => {
                running.conclude(&reply, false);
                self.unclean = true;
                self.conclude_first();
            }
            Part::End => {
                // After BDAT that was not taken the transaction may go on (RFC 3030 §2).
                self.unclean |= !reply.is_positive();
                running.conclude(&reply, true);
                self.conclude_first();
            }
        }
        Ok(())
    }

    /// Sends as many commands of the last transaction as may be sent without waiting.
    fn send_commands(&mut self) {
        loop {
            let waits = !self.expected.is_empty();
            let Some(running) = self.running.back_mut() else { return };
            if running.next == Step::Sent || (waits && !self.extensions.pipelining) {
                return;
            }
            match running.next {
                Step::Mail => {
                    running.next = Step::Recipient(0);
                    let command = running.transaction.mail_command(&self.extensions);
                    self.send(&command, Expected::Of(Part::Mail));
                }
                Step::Recipient(place) => match (running.recipients.get(place), running.transaction.forward_paths.get(place)) {
                    (Some(Recipient::Open), Some(path)) => {
                        running.next = Step::Recipient(place + 1);
                        let command = recipient_command(path, &self.extensions);
                        self.send(&command, Expected::Of(Part::Recipient(place)));
                    }
                    (Some(_), _) => running.next = Step::Recipient(place + 1),
                    (None, _) => running.next = Step::Content,
                },
                Step::Content => {
                    let eager =
                        self.extensions.pipelining && (!self.extensions.chunking || running.transaction.content.len() <= EAGER_LENGTH);
                    if waits && !eager {
                        return;
                    }
                    running.next = Step::Sent;
                    if !waits && !running.accepted() {
                        self.unclean = true;
                        self.conclude_first();
                    } else if self.extensions.chunking {
                        let content = running.transaction.content.clone();
                        self.send(&format!("BDAT {} LAST\r\n", content.len()), Expected::Of(Part::End));
                        self.output.push_shared(content);
                    } else {
                        self.send("DATA\r\n", Expected::Of(Part::Data));
                    }
                }
                Step::Sent => return,
            }
        }
    }

    fn conclude_first(&mut self) {
        if let Some(running) = self.running.pop_front() {
            let conclusion = running.into_conclusion(&self.extensions);
            self.events.push_back(Event::Concluded(Box::new(conclusion)));
        }
    }

    /// Concludes transactions of which nothing was sent, once they are the first.
    fn conclude_unsendable(&mut self) {
        let concluded = |running: &Running| running.recipients.iter().all(|recipient| matches!(recipient, Recipient::Concluded(_)));
        while self.expected.is_empty() && self.running.front().is_some_and(|running| running.next == Step::Sent && concluded(running)) {
            self.conclude_first();
        }
    }
}
