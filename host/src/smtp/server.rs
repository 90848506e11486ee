//! A session as a state machine: of submission (RFC 6409), or with another mail server that brings mail for us (RFC 5321).
//!
//! Whoever owns the socket pushes what he reads into [`Session::receive`], sends what [`Session::replies`] gives, and does what the
//! [`Action`] says. Questions (is this password right, may he send as this address, is this message on disk) are asked one at a time:
//! until the answer is given back, nothing more of the input is looked at, and so replies always stand in the order of the commands,
//! however many were pipelined (RFC 2920).
//!
//! Invariants:
//! - Where mail is submitted: no mail without a login, no login without TLS, except where the connection says that none is needed. Where it comes for
//!   us ([`Role::Mx`]): no login at all, and no recipient that was not asked about.
//! - What came in clear text before TLS started is forgotten when it has (RFC 3207 §4.2): pipelined input, name, login, transaction.
//! - Memory is bounded: a line by [`LONGEST_LINE_OCTETS`], content and recipients by [`Settings`] and [`Allowance`], content of all sessions together by
//!   [`ContentMemory`](crate::smtp::memory::ContentMemory), replies by `MOST_REPLY_OCTETS`.
//! - 250 for a message comes from a [`Receipt`] alone.

mod answer;
mod authentication;
mod conversation;
mod interface;
mod recipients;
mod settings;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use crate::mail::address::EmailAddress;
use crate::mail::envelope::ForwardPath;
use crate::mail::refusal::Refusal;
use crate::smtp::command::{self, LONGEST_LINE_OCTETS, SyntaxError};
use crate::smtp::data::Decoder;
use crate::smtp::extension::Mechanisms;
use crate::smtp::memory::Share;
use crate::smtp::reply::Reply;
use crate::smtp::scram::{Channel, ClientFirst, Verifier};
use crate::spool::receipt::Receipt;
use authentication::{Exchange, refused_token};
use conversation::Line;
pub use interface::{Action, Allowance, Candidate, Connection, Credentials, LoginRefused, Message, Proof, SenderRefused, Step, Tls};
pub use settings::{Role, Settings};
use transaction::{Chunk, Transaction};

/// Octets of replies above which they are sent before anything more of the input is looked at: a client that asks and does not listen fills no memory.
const MOST_REPLY_OCTETS: usize = 64 * 1024;
/// Octets of replies for which the memory is kept.
const KEPT_REPLY_OCTETS: usize = 4 * 1024;

/// A session, from the greeting to the end.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    connection: Connection,
    state: State,
    replies: Vec<u8>,
    /// When it started, and when the client last said something, or heard something it had to wait for.
    started: Duration,
    heard: Duration,
    /// What the client called itself in EHLO or HELO.
    client: Option<Box<str>>,
    mechanisms: Mechanisms,
    channel: Option<Channel>,
    login: Option<Allowance>,
    transaction: Option<Transaction>,
    errors: u32,
    junk_commands: u32,
    auth_failures: u32,
    messages: u32,
    draining: bool,
    is_probe: bool,
}

/// What the next octets are, or what they wait for.
#[derive(Debug)]
enum State {
    /// Command lines.
    Commands,
    /// The rest of a line that was too long.
    OverlongLine,
    /// Lines of an AUTH exchange.
    Authenticating(Exchange),
    /// Content, up to the dot.
    Data(Box<Decoder>),
    /// Content of a chunk.
    Chunk(Chunk),
    /// Nothing before the answer to this question.
    Asking(Question),
    /// Nothing any more.
    Closed,
}

#[derive(Debug)]
enum Question {
    Tls,
    Verifier(Box<ClientFirst>),
    Login(Sequel),
    Sender,
    Recipient(Box<ForwardPath>),
    /// The content is under way until it is answered.
    Submission(#[expect(dead_code, reason = "held, and given back with the answer")] Share),
}

/// What is said before the client hears how a login went.
#[derive(Debug)]
enum Sequel {
    Nothing,
    /// Why a token is refused.
    WhyNot,
    /// To a client that is let in: that we know the secret too.
    Prove(String),
}

impl Session {
    /// Starts a session; its greeting is the first reply. Times are those of one clock that does not run backwards.
    pub fn new(settings: Arc<Settings>, connection: Connection, now: Duration) -> Self {
        let greeting = Reply::bare(220, format!("{} ESMTP Tubepost", settings.hostname.to_ascii()).into());
        let login = settings.role.guest();
        let mut session = Self {
            settings,
            connection,
            state: State::Commands,
            replies: Vec::new(),
            started: now,
            heard: now,
            client: None,
            mechanisms: Mechanisms::default(),
            channel: None,
            login,
            transaction: None,
            errors: 0,
            junk_commands: 0,
            auth_failures: 0,
            messages: 0,
            draining: false,
            is_probe: false,
        };
        session.reply(&greeting);
        session
    }

    /// Offers these mechanisms beside PLAIN and LOGIN from now on.
    pub fn offer(&mut self, mechanisms: Mechanisms) {
        self.mechanisms = mechanisms;
    }

    /// Takes neither logins nor mail: the other end looks whether we are there, and does not say who it is.
    pub fn take_no_mail(&mut self) {
        self.is_probe = true;
    }

    /// Lets logins be bound to the TLS that is spoken.
    pub fn bind(&mut self, channel: Channel) {
        self.channel = Some(channel);
    }

    /// Takes input: what was left of it the last time, then what was read since. To be called again, if only with what is left, after
    /// each answer.
    pub fn receive(&mut self, input: &[u8], now: Duration) -> Step {
        self.heard = now;
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let (taken, action) = match &mut self.state {
                State::Closed => return Step { used: input.len(), action: Action::Close },
                // Called without the answer that was asked for: nothing can be done before it is there.
                State::Asking(_) => return Step { used, action: Action::Read },
                _ if self.replies.len() > MOST_REPLY_OCTETS => return Step { used, action: Action::Send },
                State::Chunk(chunk) if chunk.is_complete() => (0, self.end_of_chunk()),
                _ if rest.is_empty() => return Step { used, action: Action::Read },
                State::Data(decoder) => {
                    let taken = decoder.push(rest);
                    let action = if decoder.is_complete() { self.end_of_data() } else { None };
                    (taken, action)
                }
                State::Chunk(chunk) => (chunk.push(rest, self.transaction.as_mut()), None),
                State::Commands | State::OverlongLine | State::Authenticating(_) => match Line::split(rest) {
                    Line::Incomplete if rest.len() < LONGEST_LINE_OCTETS => return Step { used, action: Action::Read },
                    Line::Incomplete => {
                        self.overlong(rest);
                        // Its last octet may be the CR of its end.
                        (rest.len() - 1, None)
                    }
                    Line::Bare => {
                        self.close(&answer::BARE_LINE_END);
                        (rest.len(), None)
                    }
                    Line::Complete(line) => {
                        if line.len() + "\r\n".len() > LONGEST_LINE_OCTETS {
                            self.overlong(line);
                        }
                        (line.len() + "\r\n".len(), self.line(line))
                    }
                },
            };
            used += taken;
            if let Some(action) = action {
                let used = if matches!(action, Action::StartTls) { input.len() } else { used };
                return Step { used, action };
            }
        }
    }

    /// A line is longer than any may be; this is how it begins, or goes on.
    fn overlong(&mut self, beginning: &[u8]) {
        if matches!(self.state, State::Commands) && command::is_bdat(beginning) {
            // What follows may be content, and must not be taken for commands.
            self.close(&Reply::from(SyntaxError::ChunkSize));
        } else {
            self.state = State::OverlongLine;
        }
    }

    /// Answers [`Action::StartTls`]: the handshake is done.
    pub fn tls_started(&mut self) {
        if matches!(self.state, State::Asking(Question::Tls)) {
            self.connection.tls = Tls::Active;
            self.client = None;
            self.login = self.settings.role.guest();
            self.transaction = None;
            self.state = State::Commands;
            self.drain_if_idle();
        }
    }

    /// Answers [`Action::FindVerifier`]; `nonce` is printable ASCII without commas, and new each time.
    pub fn verifier_found(&mut self, answer: Result<Verifier, LoginRefused>, nonce: &str) {
        if !matches!(self.state, State::Asking(Question::Verifier(_))) {
            return;
        }
        let State::Asking(Question::Verifier(first)) = std::mem::replace(&mut self.state, State::Commands) else { return };
        match answer {
            Ok(verifier) => {
                let challenge = first.challenge(verifier, nonce);
                self.reply(&authentication::prompt(challenge.message()));
                self.state = State::Authenticating(Exchange::ScramProof(Box::new(challenge)));
            }
            Err(LoginRefused::Busy) => self.reply(&answer::AUTHENTICATION_BUSY),
            Err(LoginRefused::TooManyFailures) => self.error(&answer::AUTHENTICATION_BARRED),
            Err(LoginRefused::Wrong) => self.login_failed(),
        }
        self.drain_if_idle();
    }

    /// Says that a secret was wrong; too many of them end the session.
    fn login_failed(&mut self) {
        self.reply(&answer::AUTHENTICATION_FAILED);
        self.auth_failures += 1;
        if self.auth_failures >= self.settings.auth_failures {
            self.close(&answer::TOO_MANY_AUTH_FAILURES);
        }
    }

    /// Ends the session because its login is not what it was.
    pub fn revoke(&mut self) {
        self.close(&answer::LOGIN_REVOKED);
    }

    /// Answers [`Action::Authenticate`].
    pub fn login_checked(&mut self, answer: Result<Allowance, LoginRefused>) {
        if !matches!(self.state, State::Asking(Question::Login(_))) {
            return;
        }
        let State::Asking(Question::Login(sequel)) = std::mem::replace(&mut self.state, State::Commands) else { return };
        match answer {
            Ok(allowance) if let Sequel::Prove(proof) = &sequel => {
                self.reply(&authentication::prompt(proof));
                self.state = State::Authenticating(Exchange::ScramProven(allowance));
            }
            Ok(allowance) => {
                self.login = Some(allowance);
                self.reply(&answer::AUTHENTICATED);
            }
            Err(LoginRefused::Busy) => self.reply(&answer::AUTHENTICATION_BUSY),
            Err(LoginRefused::TooManyFailures) => self.error(&answer::AUTHENTICATION_BARRED),
            Err(LoginRefused::Wrong) if matches!(sequel, Sequel::WhyNot) => {
                let (exchange, reply) = refused_token();
                self.reply(&reply);
                self.state = State::Authenticating(exchange);
            }
            Err(LoginRefused::Wrong) => self.login_failed(),
        }
        self.drain_if_idle();
    }

    /// Answers [`Action::CheckSender`]: with what the login is allowed now.
    pub fn sender_checked(&mut self, answer: Result<Allowance, SenderRefused>) {
        if !matches!(self.state, State::Asking(Question::Sender)) {
            return;
        }
        self.state = State::Commands;
        match answer {
            Ok(allowance) => {
                self.login = Some(allowance);
                self.sender_allowed();
            }
            Err(SenderRefused::Refused(refusal)) => {
                self.transaction = None;
                self.error(&Reply::from(&refusal));
            }
            Err(SenderRefused::LoginRevoked) => self.close(&answer::LOGIN_REVOKED),
        }
        self.drain_if_idle();
    }

    /// Answers [`Action::CheckRecipient`]: with the address to take.
    pub fn recipient_checked(&mut self, answer: Result<EmailAddress, Refusal>) {
        if !matches!(self.state, State::Asking(Question::Recipient(_))) {
            return;
        }
        if let State::Asking(Question::Recipient(path)) = std::mem::replace(&mut self.state, State::Commands) {
            self.recipient_answered(*path, answer);
        }
        self.drain_if_idle();
    }

    /// Answers [`Action::Submit`].
    pub fn submitted(&mut self, answer: Result<&Receipt, &Refusal>) {
        if !matches!(self.state, State::Asking(Question::Submission(_))) {
            return;
        }
        self.state = State::Commands;
        match answer {
            Ok(receipt) => {
                self.errors = 0;
                self.junk_commands = 0;
                self.reply(&Reply::queued(receipt));
            }
            Err(refusal) if refusal.is_temporary() => self.reply(&Reply::from(refusal)),
            Err(refusal) => self.error(&Reply::from(refusal)),
        }
        self.drain_if_idle();
    }

    /// Ends the session because the answer to a question cannot be given: something broke on our side.
    pub fn fail(&mut self) {
        self.close(&answer::INTERNAL_ERROR);
    }

    /// Returns when [`Session::time_out`] is due.
    pub fn deadline(&self) -> Duration {
        self.heard.saturating_add(self.settings.command_time).min(self.latest_end())
    }

    /// When the session must be over. Who is not logged in has the time of one command for everything that comes before: connections
    /// are not to be held by strangers.
    fn latest_end(&self) -> Duration {
        let longest = if self.login.is_some() { self.settings.session_time } else { self.settings.command_time };
        self.started.saturating_add(longest.min(self.settings.session_time))
    }

    /// Ends the session if its deadline has passed.
    pub fn time_out(&mut self, now: Duration) {
        if now >= self.heard.saturating_add(self.settings.command_time) {
            self.close(&answer::IDLE_TOO_LONG);
        } else if now >= self.latest_end() {
            let reply = if self.login.is_some() { answer::SESSION_TOO_LONG } else { answer::LOGIN_TOO_LATE };
            self.close(&reply);
        }
    }

    /// Asks for the end of the session: at once if no transaction is open, else behind its end.
    pub fn drain(&mut self) {
        self.draining = true;
        self.drain_if_idle();
    }

    /// Whether the end was asked for.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Ends the session, whatever it is at.
    pub fn shut_down(&mut self) {
        self.close(&answer::SHUTTING_DOWN);
    }

    /// Whether nothing is left to do but to send the replies.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.connection.tls == Tls::Active
    }

    /// Returns what the client called itself.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Returns replies that are to be sent.
    pub fn replies(&self) -> &[u8] {
        &self.replies
    }

    /// Forgets the replies, as they were sent.
    pub fn replies_sent(&mut self) {
        if self.replies.capacity() > KEPT_REPLY_OCTETS {
            self.replies = Vec::new();
        }
        self.replies.clear();
    }

    fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.replies);
    }

    /// Replies to a command that is wrong; too many of them end the session.
    fn error(&mut self, reply: &Reply) {
        self.reply(reply);
        self.count_error();
    }

    fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.settings.errors {
            self.close(&answer::TOO_MANY_ERRORS);
        }
    }

    /// Counts a command that brings no message any nearer.
    fn count_junk(&mut self) {
        self.junk_commands = self.junk_commands.saturating_add(1);
        if self.junk_commands > self.settings.junk_commands {
            self.count_error();
        }
    }

    /// Replies and closes; once closed, nothing more is said.
    fn close(&mut self, reply: &Reply) {
        if !self.is_closed() {
            self.reply(reply);
            self.state = State::Closed;
            self.transaction = None;
        }
    }

    fn drain_if_idle(&mut self) {
        let idle = match self.state {
            State::Commands | State::OverlongLine | State::Authenticating(_) => self.transaction.is_none(),
            State::Data(_) | State::Chunk(_) | State::Asking(_) | State::Closed => false,
        };
        if self.draining && idle {
            self.close(&answer::SHUTTING_DOWN);
        }
    }
}

#[cfg(test)]
mod tests;
