//! One session on one socket: reads, writes, waits, asks.
//!
//! Per message this is one read for each batch of commands, one write for its replies. The read buffer grows while a client sends much, and
//! shrinks with the end of the message.

use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::Instrument;

use super::reception::Reception;
use super::{COMMIT_TIME, Service};
use crate::config::Login;
use crate::intake::forward_paths::Inquiry;
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::MessageId;
use crate::mail::refusal::Refusal;
use crate::smtp::scram::Channel;
use crate::smtp::server::{Action, Allowance, Candidate, LoginRefused, Message, Proof, SenderRefused, Session};
use crate::submission::login::LoginError;
use crate::submission::{CheckedPaths, Options, Protocol, Received, Submission};

/// Octets that are read at once: at first, and at most, when reads come back full.
const SMALLEST_READ_OCTETS: usize = 8 * 1024;
const LARGEST_READ_OCTETS: usize = 64 * 1024;
/// How long plugins may think about forward-paths before the client hears what is said so far.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long, and for how many octets, we listen to a client that goes on talking after we closed. Without that, the system would reset
/// the connection, and the client might never see why.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_OCTETS: usize = 256 * 1024;

/// How a session hears that it must end.
pub(super) struct Stop {
    /// Soon: behind the transaction that is open.
    pub(super) drain: CancellationToken,
    /// Now.
    pub(super) end: CancellationToken,
}

/// How a conversation ended on this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is over.
    Closed,
    /// It goes on behind a TLS handshake.
    StartTls,
}

fn refused(error: LoginError) -> LoginRefused {
    match error {
        LoginError::Wrong => LoginRefused::Wrong,
        LoginError::Busy => LoginRefused::Busy,
        LoginError::TooManyFailures { .. } => LoginRefused::TooManyFailures,
    }
}

/// A session and what it needs to go on.
pub(super) struct Conversation<R> {
    service: Arc<Service<R>>,
    session: Session,
    peer: IpAddr,
    login: Option<Arc<Login>>,
    /// What was asked about forward-paths of the transaction that is open, or was left without a message.
    inquiry: Option<Box<Inquiry>>,
    input: BytesMut,
    read_octets: usize,
    drain: CancellationToken,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Fires at some deadline of the session: not moved with each command, but looked at when it fires.
    alarm: Pin<Box<Sleep>>,
    /// How long a client may take to read what it is sent.
    write_time: Duration,
}

impl<R: Reception> Conversation<R> {
    pub(super) fn new(service: Arc<Service<R>>, session: Session, peer: IpAddr, stop: Stop) -> Self {
        let Stop { drain, end } = stop;
        let time = session.deadline().saturating_sub(service.clock.monotonic());
        let login = service.reception.guest();
        Self {
            service,
            session,
            peer,
            login,
            inquiry: None,
            input: BytesMut::new(),
            read_octets: SMALLEST_READ_OCTETS,
            drained: Box::pin(drain.clone().cancelled_owned()),
            drain,
            ended: Box::pin(end.cancelled_owned()),
            alarm: Box::pin(tokio::time::sleep(time)),
            write_time: time,
        }
    }

    /// Goes on after the handshake of TLS.
    pub(super) fn tls_started(&mut self) {
        self.login = self.service.reception.guest();
        self.input.clear();
        self.session.tls_started();
    }

    /// Lets logins be bound to the TLS that is spoken now.
    pub(super) fn bind(&mut self, channel: Option<Channel>) {
        if let Some(channel) = channel {
            self.session.bind(channel);
        }
    }

    /// Talks until the session is over, or goes on with TLS.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> End {
        let ended = if let Ok(ended) = AssertUnwindSafe(self.talk(stream)).catch_unwind().await {
            ended
        } else {
            // What it was is said where it happened; whoever waits for us should come again, and the process lives.
            tracing::error!("a session is closed because of a fault of ours");
            self.session.fail();
            self.hang_up(stream).await
        };
        self.give_up_inquiry().await;
        ended.unwrap_or_else(|error| {
            tracing::debug!(%error, "the connection broke");
            End::Closed
        })
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<End> {
        let mut heard = self.service.clock.monotonic();
        loop {
            let step = self.session.receive(&self.input, self.service.clock.monotonic());
            self.input.advance(step.used);
            match step.action {
                Action::Read => {
                    self.send(stream).await?;
                    if !self.read(stream).await? {
                        return Ok(End::Closed);
                    }
                    heard = self.service.clock.monotonic();
                    self.end_if_revoked();
                }
                Action::Send => self.send(stream).await?,
                Action::StartTls => {
                    self.send(stream).await?;
                    return Ok(End::StartTls);
                }
                Action::FindVerifier(username) => {
                    let nonce: [u8; 18] = self.service.entropy.array();
                    let found = self.service.reception.verifier(&username, self.peer).map_err(refused);
                    self.session.verifier_found(found, &STANDARD.encode(nonce));
                }
                Action::Authenticate(proof) => self.authenticate(proof).await,
                Action::CheckSender(reverse_path) => {
                    self.give_up_inquiry().await;
                    self.check_sender(&reverse_path);
                }
                Action::CheckRecipient(candidate) => {
                    self.check_recipient(*candidate).await;
                    // Replies of a pipelined group go out together, unless plugins take their time: the client has a limit of its own.
                    let now = self.service.clock.monotonic();
                    if now.saturating_sub(heard) >= PATIENCE {
                        self.send(stream).await?;
                        heard = now;
                    }
                }
                Action::Submit(message) => self.submit(*message).await,
                Action::Close => return self.hang_up(stream).await,
            }
        }
    }

    /// Sends the replies there are.
    async fn send<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        if self.session.replies().is_empty() {
            return Ok(());
        }
        let replies = self.session.replies();
        let sent = tokio::time::timeout(self.write_time, async {
            stream.write_all(replies).await?;
            stream.flush().await
        });
        sent.await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.session.replies_sent();
        Ok(())
    }

    /// Reads until there is more input, or the session is over; `false` if the client has left.
    async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<bool> {
        self.input.reserve(self.read_octets);
        let room = self.input.capacity() - self.input.len();
        loop {
            tokio::select! {
                biased;
                octets = stream.read_buf(&mut self.input) => {
                    let octets = octets?;
                    if octets == room {
                        self.read_octets = (self.read_octets * 2).min(LARGEST_READ_OCTETS);
                    }
                    // A client that never pauses would keep the others in here from being looked at.
                    self.session.time_out(self.service.clock.monotonic());
                    if self.drain.is_cancelled() {
                        self.session.drain();
                    }
                    return Ok(octets > 0);
                }
                () = &mut self.ended => self.session.shut_down(),
                () = &mut self.drained, if !self.session.is_draining() => self.session.drain(),
                () = &mut self.alarm => {
                    let now = self.service.clock.monotonic();
                    self.session.time_out(now);
                    let left = self.session.deadline().saturating_sub(now);
                    self.alarm.as_mut().reset(Instant::now() + left);
                }
            }
            if self.session.is_closed() {
                return Ok(true);
            }
        }
    }

    /// Sends the last replies, closes our side, and listens a while for the client to close its own.
    async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<End> {
        self.send(stream).await?;
        let input = &mut self.input;
        let closing = tokio::time::timeout(LINGER_TIME, async {
            stream.shutdown().await?;
            let mut left = LINGER_OCTETS;
            while left > 0 {
                input.clear();
                input.reserve(SMALLEST_READ_OCTETS);
                match stream.read_buf(input).await? {
                    0 => break,
                    octets => left = left.saturating_sub(octets),
                }
            }
            io::Result::Ok(())
        });
        // Whatever comes of it, the connection is over.
        let _ = closing.await;
        Ok(End::Closed)
    }

    /// A login that is gone, or has other secrets now, is not waited for until its next message.
    fn end_if_revoked(&mut self) {
        let reception = &self.service.reception;
        if self.login.as_ref().is_some_and(|login| reception.current(login, self.peer).is_none()) {
            self.login = None;
            self.session.revoke();
        }
    }

    async fn authenticate(&mut self, proof: Proof) {
        let checking = self.service.reception.authenticate(&proof, self.peer);
        let answer = match Box::pin(checking).await {
            Ok(login) => {
                tracing::debug!(login = %login.name, "logged in");
                let allowance = self.allowance(&login);
                self.login = Some(login);
                Ok(allowance)
            }
            Err(error) => {
                if error == LoginError::Wrong {
                    tracing::info!("a login failed: wrong user name or password");
                }
                Err(refused(error))
            }
        };
        self.session.login_checked(answer);
    }

    fn check_sender(&mut self, reverse_path: &ReversePath) {
        // The configuration may have been read again since the login.
        let login = self.login.as_ref().and_then(|login| self.service.reception.current(login, self.peer));
        let answer = match (&login, reverse_path) {
            (None, _) => Err(SenderRefused::LoginRevoked),
            (Some(login), _) if login.access.defect.is_some() => {
                let reason = login.access.defect.as_deref().unwrap_or_default().to_owned();
                Err(SenderRefused::Refused(Refusal::LoginDefect { reason }))
            }
            (Some(login), ReversePath::Mailbox(address)) if !self.service.reception.may_send_as(login, address) => {
                Err(SenderRefused::Refused(Refusal::SenderNotAllowed { address: address.to_string() }))
            }
            // DSNs and automatic answers come from the null reverse-path; From is looked at by the intake.
            (Some(login), ReversePath::Mailbox(_) | ReversePath::Null) => Ok(self.allowance(login)),
        };
        self.login = login;
        self.session.sender_checked(answer);
    }

    fn allowance(&self, login: &Login) -> Allowance {
        Allowance {
            message_octets: login.limits.message_size.0,
            recipients: login.limits.recipients_per_message,
            asks: self.service.reception.asks_about_paths(login),
            highest_priority: login.treatment.highest_priority,
        }
    }

    fn received(&self) -> Received {
        Received {
            at: self.service.clock.now(),
            peer: self.peer,
            helo: self.session.client().map(str::to_owned),
            protocol: match (self.session.is_encrypted(), self.service.reception.guest()) {
                (true, None) => Protocol::Esmtpsa,
                (false, None) => Protocol::Esmtpa,
                (true, Some(_)) => Protocol::Esmtps,
                (false, Some(_)) => Protocol::Esmtp,
            },
        }
    }

    async fn check_recipient(&mut self, candidate: Candidate) {
        let Some(login) = self.login.clone() else { return self.session.fail() };
        let mut inquiry = self.inquiry.take().unwrap_or_else(|| {
            let received = self.received();
            Box::new(Inquiry {
                id: MessageId::new(received.at, &self.service.entropy),
                login,
                received,
                reverse_path: candidate.reverse_path,
                checked: CheckedPaths::default(),
                refusal: None,
            })
        });
        // In a box, because it is large and most sessions are idle.
        let asking = Box::pin(self.service.reception.check_path(&mut inquiry, &candidate.address, candidate.accepted));
        let answer = tokio::select! {
            biased;
            answer = asking => Some(answer),
            () = &mut self.ended => None,
        };
        self.inquiry = Some(inquiry);
        match answer {
            Some(answer) => self.session.recipient_checked(answer),
            None => self.session.shut_down(),
        }
    }

    /// A transaction is over without a message: where that is because forward-paths were refused, somebody may want to know.
    async fn give_up_inquiry(&mut self) {
        if let Some(inquiry) = self.inquiry.take().filter(|inquiry| inquiry.refusal.is_some()) {
            Box::pin(self.service.reception.paths_refused(*inquiry)).await;
        }
    }

    async fn submit(&mut self, message: Message) {
        let Some(login) = self.login.clone() else { return self.session.fail() };
        let received = self.received();
        let (id, checked) = match self.inquiry.take() {
            Some(inquiry) => (inquiry.id, inquiry.checked),
            None => (MessageId::new(received.at, &self.service.entropy), CheckedPaths::default()),
        };
        let span = tracing::info_span!("transaction", message.id = %id, login = %login.name);
        let submission = Submission {
            id,
            login,
            received,
            envelope: message.envelope,
            content: message.content.octets,
            binary: message.binary,
            options: Options::default(),
            checked: Some(checked),
        };
        self.shrink();
        // In a box, because it is large and most sessions are idle.
        let mut submitting = Box::pin(self.service.reception.submit(submission).instrument(span));
        let answer = tokio::select! {
            biased;
            answer = &mut submitting => Some(answer),
            () = &mut self.ended => None,
        };
        if let Some(answer) = answer {
            return self.session.submitted(answer.as_ref());
        }
        // What is on its way to the disk is not stopped by our leaving: the client is told what becomes of it, or it would send the message again.
        if let Ok(answer) = tokio::time::timeout(COMMIT_TIME, submitting).await {
            self.session.submitted(answer.as_ref());
        }
        self.session.shut_down();
    }

    /// Gives back the memory that a large message needed.
    fn shrink(&mut self) {
        if self.read_octets > SMALLEST_READ_OCTETS {
            self.read_octets = SMALLEST_READ_OCTETS;
            self.input = BytesMut::from(&*self.input);
        }
    }
}
