//! A mail transaction: what MAIL opens, RCPT fills, and DATA or BDAT ends (RFC 5321 §3.3).

use super::recipients::Recipients;
use super::{Action, Candidate, Message, Question, Role, Session, State, Tls, answer};
use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{BodyType, Envelope, ForwardPath, TransportSecurity};
use crate::mail::refusal::Refusal;
use crate::smtp::command::{self, Bdat, Hold, Mail, Rcpt, RcptParameters, SyntaxError};
use crate::smtp::data::{self, Both, ContentFault, ContentLimits, Decoder};
use crate::smtp::reply::Reply;

/// A transaction that is open, or will be once its sender is known to be good.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Without recipients, which it gets at the end.
    envelope: Envelope,
    recipients: Recipients,
    /// Forward-paths that were asked about and refused.
    refused: u32,
    announced: Option<u64>,
    /// What the chunks so far have brought; from the first one on, only chunks may follow.
    chunks: Option<Decoder>,
}

/// A chunk of `BDAT` that is being read.
#[derive(Debug)]
pub(super) struct Chunk {
    left: u64,
    bdat: Bdat,
    /// The answer, where the chunk has to be read but must not be there.
    refused: Option<Reply>,
}

impl Chunk {
    /// Takes octets of the chunk; returns how many.
    pub(super) fn push(&mut self, input: &[u8], transaction: Option<&mut Transaction>) -> usize {
        let taken = input.get(..usize::try_from(self.left).unwrap_or(usize::MAX)).unwrap_or(input);
        if self.refused.is_none()
            && let Some(chunks) = transaction.and_then(|transaction| transaction.chunks.as_mut())
        {
            chunks.push(taken);
        }
        self.left -= taken.len() as u64;
        taken.len()
    }

    /// Whether all of it was read.
    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }
}

impl Session {
    /// The lower of what the server and the login allow.
    fn content_limits(&self) -> ContentLimits {
        let allowed = self.login.map_or(u64::MAX, |login| login.message_octets);
        ContentLimits { size_octets: self.settings.message_octets.min(allowed), line_octets: self.settings.line_octets }
    }

    /// Octets that a message may have, as far as is known yet.
    pub(super) fn message_octets(&self) -> u64 {
        self.content_limits().size_octets
    }

    /// Recipients that a message may have, as far as is known yet.
    pub(super) fn recipients(&self) -> u32 {
        self.settings.recipients.min(self.login.map_or(u32::MAX, |login| login.recipients))
    }

    pub(super) fn mail(&mut self, mail: Mail) -> Option<Action> {
        if self.client.is_none() {
            self.error(&answer::EHLO_FIRST);
        } else if self.login.is_none() {
            let needed = self.missing_for_mail();
            self.error(&needed);
        } else if self.transaction.is_some() {
            self.error(&answer::TRANSACTION_OPEN);
        } else if self.messages >= self.settings.messages {
            self.close(&answer::TOO_MANY_MESSAGES);
        } else {
            match self.open(mail) {
                Ok(transaction) => {
                    let reverse_path = transaction.envelope.reverse_path.clone();
                    self.transaction = Some(transaction);
                    self.state = State::Asking(Question::Sender);
                    return Some(Action::CheckSender(reverse_path));
                }
                Err(reply) => self.error(&reply),
            }
        }
        None
    }

    /// Reads what `MAIL` says, as far as that was offered.
    fn open(&self, mail: Mail) -> Result<Transaction, Reply> {
        let Mail { reverse_path, size, body, smtputf8, ret, envid, hold, priority, require_tls } = mail;
        let is_of_submission = ret.is_some() || envid.is_some() || hold.is_some() || priority.is_some() || require_tls;
        if self.settings.role != Role::Submission && (is_of_submission || body == BodyType::BinaryMime) {
            return Err(Reply::from(SyntaxError::UnknownParameter));
        }
        if require_tls && self.connection.tls != Tls::Active {
            return Err(answer::TLS_NEEDED);
        }
        let not_before = hold.map(|hold| self.release(hold)).transpose()?;
        let transport = if require_tls { TransportSecurity::Required } else { TransportSecurity::AsConfigured };
        let forward_paths = Vec::new();
        let envelope = Envelope { reverse_path, forward_paths, ret, envid, body, smtputf8, priority, transport, not_before };
        Ok(Transaction { envelope, recipients: Recipients::default(), refused: 0, announced: size, chunks: None })
    }

    /// What time it is.
    fn wall_clock(&self) -> Timestamp {
        self.connection.since.plus(self.heard.saturating_sub(self.started))
    }

    /// Until when a message may be held; `None` where none is.
    pub(super) fn latest_release(&self) -> Option<Timestamp> {
        let longest = self.settings.future_release;
        (self.settings.role == Role::Submission && !longest.is_zero()).then(|| self.wall_clock().plus(longest))
    }

    /// When a message is to go out (RFC 4865 §4.1). A time that is over is now.
    fn release(&self, hold: Hold) -> Result<Timestamp, Reply> {
        let latest = self.latest_release().ok_or_else(|| Reply::from(SyntaxError::UnknownParameter))?;
        let time = match hold {
            Hold::For(time) => self.wall_clock().plus(time),
            Hold::Until(time) => time,
        };
        if time > latest { Err(answer::HELD_TOO_LONG) } else { Ok(time) }
    }

    /// The sender of the transaction is good; is the size that it announces?
    pub(super) fn sender_allowed(&mut self) {
        let limit_octets = self.message_octets();
        if self.transaction.as_ref().and_then(|transaction| transaction.announced).is_some_and(|size| size > limit_octets) {
            self.transaction = None;
            self.error(&Reply::from(ContentFault::TooLarge { limit_octets }));
        } else if let Some(lowered) = self.lowered_priority() {
            // RFC 6710 §4.1: the reply says so, and the message goes on.
            self.reply(&Reply::told(250, 3, 6, format!("{lowered} is the new priority of the message")));
        } else {
            self.reply(&answer::SENDER_OK);
        }
    }

    /// Lowers the priority of the transaction to what the login may ask for; returns it if that made a difference.
    fn lowered_priority(&mut self) -> Option<i8> {
        let highest = self.login?.highest_priority;
        let asked = self.transaction.as_mut()?.envelope.priority.as_mut()?;
        if *asked <= highest {
            return None;
        }
        *asked = highest;
        Some(highest)
    }

    pub(super) fn rcpt(&mut self, rcpt: Rcpt) -> Option<Action> {
        match self.candidate(rcpt) {
            Ok(None) => self.reply(&answer::RECIPIENT_OK),
            Ok(Some(path)) => {
                let transaction = self.transaction.as_mut()?;
                if self.login.is_some_and(|login| login.asks) {
                    let candidate = Candidate {
                        reverse_path: transaction.envelope.reverse_path.clone(),
                        address: path.address.clone(),
                        accepted: u32::try_from(transaction.recipients.count()).unwrap_or(u32::MAX),
                    };
                    self.state = State::Asking(Question::Recipient(Box::new(path)));
                    return Some(Action::CheckRecipient(Box::new(candidate)));
                }
                transaction.recipients.add(path);
                self.reply(&answer::RECIPIENT_OK);
            }
            // No error of the client's: RFC 5321 §4.5.3.1.10 has it send the rest in another transaction.
            Err(reply) if reply == answer::TOO_MANY_RECIPIENTS => self.reply(&reply),
            Err(reply) => self.error(&reply),
        }
        None
    }

    /// Returns a forward-path that may be taken as far as the protocol goes; `None` where it was taken before.
    fn candidate(&mut self, rcpt: Rcpt) -> Result<Option<ForwardPath>, Reply> {
        let limit = u64::from(self.recipients());
        let Some(transaction) = &mut self.transaction else { return Err(answer::MAIL_FIRST) };
        if transaction.chunks.is_some() {
            return Err(answer::CHUNKS_OPEN);
        }
        let path = match rcpt {
            Rcpt::Mailbox(path) => path,
            Rcpt::Postmaster(RcptParameters { notify, original }) => {
                match EmailAddress::parse(&format!("postmaster@{}", self.settings.hostname)) {
                    Ok(address) => ForwardPath { address, notify, original },
                    Err(_) => return Err(Reply::from(SyntaxError::ForwardPath)),
                }
            }
        };
        if self.settings.role != Role::Submission && (path.notify.is_some() || path.original.is_some()) {
            return Err(Reply::from(SyntaxError::UnknownParameter));
        }
        if !transaction.envelope.smtputf8 && !command::is_ascii(&path.address) {
            return Err(Reply::from(SyntaxError::NeedsSmtpUtf8));
        }
        if transaction.recipients.contain(&path) {
            return Ok(None);
        }
        // Who is refused as often as he may be accepted is done with this transaction too.
        if transaction.recipients.count() as u64 >= limit || u64::from(transaction.refused) >= limit {
            return Err(answer::TOO_MANY_RECIPIENTS);
        }
        Ok(Some(path))
    }

    /// Somebody has said whether a forward-path may stay, and under which address. A refusal is no error of the client's: he goes on with the others.
    pub(super) fn recipient_answered(&mut self, path: ForwardPath, answer: Result<EmailAddress, Refusal>) {
        let Some(transaction) = &mut self.transaction else { return };
        match answer {
            Ok(address) => {
                if !command::is_ascii(&address) {
                    transaction.envelope.smtputf8 = true;
                }
                let path = path.led_to(address);
                if !transaction.recipients.contain(&path) {
                    transaction.recipients.add(path);
                }
                self.reply(&answer::RECIPIENT_OK);
            }
            Err(refusal) => {
                transaction.refused = transaction.refused.saturating_add(1);
                self.reply(&Reply::from(&refusal));
            }
        }
    }

    /// Why content cannot come now.
    fn content_refused(&self) -> Option<Reply> {
        match &self.transaction {
            None => Some(answer::MAIL_FIRST),
            Some(transaction) if transaction.recipients.count() == 0 => Some(answer::NO_RECIPIENTS),
            Some(_) => None,
        }
    }

    pub(super) fn data(&mut self) {
        if let Some(refused) = self.content_refused() {
            return self.error(&refused);
        }
        let limits = self.content_limits();
        match &self.transaction {
            // RFC 3030 §3: there is no line that could end it.
            Some(transaction) if transaction.envelope.body == BodyType::BinaryMime => self.error(&answer::NEEDS_CHUNKS),
            Some(transaction) if transaction.chunks.is_none() => {
                let share = self.settings.memory.share();
                self.state = State::Data(Box::new(Decoder::dots(limits, transaction.announced, share)));
                self.reply(&answer::START_CONTENT);
            }
            _ => self.error(&answer::CHUNKS_OPEN),
        }
    }

    pub(super) fn bdat(&mut self, bdat: Bdat) {
        // A chunk follows its command without waiting for an answer, so it is read even where it must not be (RFC 3030 §2).
        let refused = self.content_refused();
        let limits = self.content_limits();
        if refused.is_none()
            && let Some(transaction) = &mut self.transaction
        {
            let announced = transaction.announced.or(bdat.last.then_some(bdat.size_octets));
            let memory = &self.settings.memory;
            let decoder = if transaction.envelope.body == BodyType::BinaryMime { Decoder::binary } else { Decoder::counted };
            transaction.chunks.get_or_insert_with(|| decoder(limits, announced, memory.share()));
        }
        self.state = State::Chunk(Chunk { left: bdat.size_octets, bdat, refused });
    }

    pub(super) fn end_of_chunk(&mut self) -> Option<Action> {
        let State::Chunk(Chunk { bdat, refused, .. }) = std::mem::replace(&mut self.state, State::Commands) else { return None };
        if let Some(refused) = refused {
            self.error(&refused);
        } else if bdat.last {
            let decoder = self.transaction.as_mut().and_then(|transaction| transaction.chunks.take());
            return decoder.and_then(|decoder| self.submit(decoder));
        } else if let Some(fault) = self.transaction.as_ref().and_then(|transaction| transaction.chunks.as_ref()?.fault()) {
            // Said with each chunk; what follows the last one ends the transaction.
            self.content_fault(fault);
        } else {
            self.reply(&Reply::told(250, 0, 0, format!("{} octets received", bdat.size_octets)));
        }
        None
    }

    pub(super) fn end_of_data(&mut self) -> Option<Action> {
        let State::Data(decoder) = std::mem::replace(&mut self.state, State::Commands) else { return None };
        self.submit(*decoder)
    }

    /// Ends the transaction: with a message, or with what is wrong with its content.
    fn submit(&mut self, decoder: Decoder) -> Option<Action> {
        let Transaction { mut envelope, recipients, .. } = self.transaction.take()?;
        envelope.forward_paths = recipients.into_paths();
        self.messages += 1;
        let limits = self.content_limits();
        let is_binary = envelope.body == BodyType::BinaryMime;
        let finished = decoder.finish().and_then(|(content, share)| {
            if is_binary { data::to_lines(content, share, &limits) } else { Ok((Both { lines: content, binary: None }, share)) }
        });
        match finished {
            Ok((Both { lines: content, binary }, share)) => {
                // Said or not: what delivers it must know.
                if content.eight_bit || is_binary {
                    envelope.body = if binary.is_some() { BodyType::BinaryMime } else { BodyType::EightBitMime };
                }
                self.state = State::Asking(Question::Submission(share));
                Some(Action::Submit(Box::new(Message { envelope, content, binary })))
            }
            Err(fault) => {
                self.content_fault(fault);
                self.drain_if_idle();
                None
            }
        }
    }

    /// Says what is wrong with content; only what the client could have done better counts as an error.
    fn content_fault(&mut self, fault: ContentFault) {
        if fault.is_temporary() { self.reply(&Reply::from(fault)) } else { self.error(&Reply::from(fault)) }
    }
}
