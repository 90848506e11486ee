//! Lines: where they end, and what is done with each command.

use memchr::memchr2;

use super::authentication::{Exchange, Turn};
use super::{Action, Proof, Question, Role, Sequel, Session, State, Tls, answer};
use crate::smtp::command::{self, Command, SyntaxError};
use crate::smtp::extension::{Mechanisms, Offer};
use crate::smtp::reply::Reply;
use crate::smtp::scram::Channel;

/// The first line of some input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line, without its CRLF.
    Complete(&'a [u8]),
    /// A line whose end is not there yet.
    Incomplete,
    /// A line with an LF without CR, or a CR without LF. Nobody knows what its sender, or who stands between, takes for a line.
    Bare,
}

impl<'a> Line<'a> {
    pub(super) fn split(input: &'a [u8]) -> Self {
        let Some(end) = memchr2(b'\r', b'\n', input) else { return Self::Incomplete };
        let (line, rest) = input.split_at(end);
        match rest {
            [b'\r', b'\n', ..] => Self::Complete(line),
            [b'\r'] => Self::Incomplete,
            _ => Self::Bare,
        }
    }
}

impl Session {
    /// Does what a line says.
    pub(super) fn line(&mut self, line: &[u8]) -> Option<Action> {
        match std::mem::replace(&mut self.state, State::Commands) {
            State::OverlongLine => {
                self.error(&answer::LINE_TOO_LONG);
                None
            }
            State::Authenticating(exchange) => self.turn(exchange.next(line)),
            State::Commands => self.command(line),
            other @ (State::Data(_) | State::Chunk(_) | State::Asking(_) | State::Closed) => {
                self.state = other;
                None
            }
        }
    }

    fn command(&mut self, line: &[u8]) -> Option<Action> {
        let command = match command::parse(line) {
            Ok((command, quirk)) => {
                if let Some(quirk) = quirk {
                    tracing::trace!("tolerated {quirk}");
                }
                command
            }
            Err(error @ SyntaxError::ChunkSize) => {
                // What follows may be content, and must not be taken for commands.
                self.close(&Reply::from(error));
                return None;
            }
            Err(error) => {
                self.error(&Reply::from(error));
                return None;
            }
        };
        let is_junk = match &command {
            Command::Ehlo(_) | Command::Helo(_) | Command::Rset | Command::Noop | Command::Vrfy | Command::Help => true,
            Command::Bdat(bdat) => bdat.size_octets == 0 && !bdat.last,
            Command::StartTls
            | Command::Auth { .. }
            | Command::Mail(_)
            | Command::Rcpt(_)
            | Command::Data
            | Command::Expn
            | Command::Quit => false,
        };
        if is_junk {
            self.count_junk();
            if self.is_closed() {
                return None;
            }
        }
        match command {
            Command::Auth { .. } | Command::Mail(_) if self.is_probe => self.error(&answer::PROBE),
            Command::Ehlo(name) => self.ehlo(name),
            Command::Helo(name) => self.helo(name),
            Command::StartTls => return self.start_tls(),
            Command::Auth { mechanism, initial_response } => return self.auth(mechanism, initial_response),
            Command::Mail(mail) => return self.mail(mail),
            Command::Rcpt(rcpt) => return self.rcpt(rcpt),
            Command::Data => self.data(),
            Command::Bdat(bdat) => self.bdat(bdat),
            Command::Rset => {
                self.transaction = None;
                self.reply(&answer::OK);
                self.drain_if_idle();
            }
            Command::Noop => self.reply(&answer::OK),
            Command::Vrfy => self.reply(&answer::CANNOT_VERIFY),
            Command::Expn => self.error(&answer::NO_LISTS),
            Command::Help => match self.settings.role {
                Role::Submission => self.reply(&answer::HELP),
                Role::Mx(_) => self.reply(&answer::HELP_MX),
            },
            Command::Quit => self.close(&answer::BYE),
        }
        None
    }

    fn ehlo(&mut self, name: &str) {
        self.introduce(name);
        let offer = Offer {
            size_octets: self.message_octets(),
            starttls: self.connection.tls == Tls::Offered,
            auth: (self.may_log_in() && self.login.is_none() && !self.is_probe)
                .then_some(Mechanisms { binding: self.offered_channel().is_some(), ..self.mechanisms }),
            submission: self.settings.role == Role::Submission,
            recipients: self.recipients(),
            messages: self.settings.messages,
            require_tls: self.settings.role == Role::Submission && self.connection.tls == Tls::Active,
            future_release: self.latest_release().map(|latest| (self.settings.future_release, latest)),
        };
        let text = format!("{}\n{}", self.settings.hostname.to_ascii(), offer.lines());
        self.reply(&Reply::bare(250, text.into()));
        self.drain_if_idle();
    }

    fn helo(&mut self, name: &str) {
        self.introduce(name);
        self.reply(&Reply::bare(250, self.settings.hostname.to_ascii().into()));
        self.drain_if_idle();
    }

    /// RFC 5321 §4.1.4: a transaction that is open is dropped.
    fn introduce(&mut self, name: &str) {
        self.client = Some(name.into());
        self.transaction = None;
    }

    fn start_tls(&mut self) -> Option<Action> {
        match self.connection.tls {
            Tls::Active => self.error(&answer::TLS_ACTIVE),
            Tls::Unavailable => self.error(&answer::NO_TLS),
            Tls::Offered if self.client.is_none() => self.error(&answer::EHLO_FIRST),
            Tls::Offered if self.transaction.is_some() => self.error(&answer::TRANSACTION_OPEN),
            Tls::Offered => {
                self.reply(&answer::START_TLS);
                self.state = State::Asking(Question::Tls);
                return Some(Action::StartTls);
            }
        }
        None
    }

    /// Passwords go over TLS, or never leave the machine, or somebody has said that he does without.
    fn may_log_in(&self) -> bool {
        self.connection.tls == Tls::Active || !self.connection.tls_required
    }

    /// What a client that is not logged in must do before it may send mail.
    pub(super) fn missing_for_mail(&self) -> Reply {
        match self.connection.tls {
            _ if self.may_log_in() => answer::AUTHENTICATION_NEEDED,
            Tls::Offered => answer::TLS_NEEDED,
            Tls::Active | Tls::Unavailable => answer::TLS_NEEDED_ELSEWHERE,
        }
    }

    /// What SCRAM-SHA-256-PLUS binds to, where it is offered.
    fn offered_channel(&self) -> Option<&Channel> {
        self.channel.as_ref().filter(|_| self.mechanisms.scram)
    }

    fn auth(&mut self, mechanism: &str, initial_response: Option<&str>) -> Option<Action> {
        if self.client.is_none() {
            self.error(&answer::EHLO_FIRST);
        } else if self.settings.role != Role::Submission {
            self.error(&answer::NO_LOGINS);
        } else if !self.may_log_in() {
            let needed = self.missing_for_mail();
            self.error(&needed);
        } else if self.login.is_some() {
            self.error(&answer::AUTHENTICATED_ALREADY);
        } else {
            return self.turn(Exchange::start(mechanism, initial_response, self.offered_channel()));
        }
        None
    }

    fn turn(&mut self, turn: Turn) -> Option<Action> {
        match turn {
            Turn::Prompt(exchange, prompt) => {
                self.reply(&prompt);
                self.state = State::Authenticating(exchange);
                None
            }
            Turn::FindVerifier(first) => {
                let username = first.username().to_owned();
                self.state = State::Asking(Question::Verifier(first));
                Some(Action::FindVerifier(username))
            }
            Turn::Check(proof) => {
                let sequel = if matches!(proof, Proof::Token { .. }) { Sequel::WhyNot } else { Sequel::Nothing };
                self.state = State::Asking(Question::Login(sequel));
                Some(Action::Authenticate(proof))
            }
            Turn::Prove(proof, server_final) => {
                self.state = State::Asking(Question::Login(Sequel::Prove(server_final)));
                Some(Action::Authenticate(proof))
            }
            Turn::LoggedIn(allowance) => {
                self.login = Some(allowance);
                self.reply(&answer::AUTHENTICATED);
                None
            }
            Turn::Refused => {
                self.login_failed();
                None
            }
            Turn::Over(reply) => {
                self.error(&reply);
                None
            }
        }
    }
}
