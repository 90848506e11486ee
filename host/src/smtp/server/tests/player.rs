//! Plays a dialogue.

use std::collections::VecDeque;
use std::fmt::Write;

use super::*;
use crate::clock::Timestamp;
use crate::mail::domain::Domain;
use crate::mail::envelope::{Envelope, ReversePath};
use crate::mail::message_id::MessageId;
use crate::smtp::memory::ContentMemory;

/// When sessions begin: 2026-01-01T00:00:00Z.
pub(super) const SINCE: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(super) fn settings() -> Settings {
    Settings {
        hostname: Domain::parse("mail.example.com").unwrap(),
        message_octets: 1_000,
        line_octets: 200,
        recipients: 10,
        command_time: Duration::from_mins(5),
        session_time: Duration::from_hours(1),
        errors: 20,
        junk_commands: 100,
        auth_failures: 3,
        messages: 100,
        future_release: Duration::from_hours(24),
        memory: ContentMemory::new(1_000_000),
        role: Role::Submission,
    }
}

/// Plays a dialogue with everything the client says in one piece, and in smaller ones.
pub(super) fn play(dialogue: &str) {
    for piece in [usize::MAX, 1, 2, 7] {
        Player::new(piece).play(dialogue);
    }
}

struct Player {
    session: Option<Session>,
    settings: Settings,
    connection: Connection,
    /// Octets that are pushed at once.
    piece: usize,
    now: Duration,
    input: Vec<u8>,
    /// What was pushed and not used.
    unused: Vec<u8>,
    /// Lines that the server has said and the dialogue has not mentioned.
    heard: VecDeque<String>,
    answer: Option<Refusal>,
    revoked: bool,
    allowance: Allowance,
    message: Option<Message>,
    content: VecDeque<String>,
    messages: u8,
    handshake: bool,
    closed: bool,
}

impl Player {
    fn new(piece: usize) -> Self {
        Self {
            session: None,
            settings: settings(),
            connection: Connection { tls_required: false, tls: Tls::Unavailable, since: SINCE },
            piece,
            now: Duration::from_secs(1_000),
            input: Vec::new(),
            unused: Vec::new(),
            heard: VecDeque::new(),
            answer: None,
            revoked: false,
            allowance: ALLOWANCE,
            message: None,
            content: VecDeque::new(),
            messages: 0,
            handshake: false,
            closed: false,
        }
    }

    fn play(mut self, dialogue: &str) {
        for (number, line) in dialogue.lines().enumerate() {
            let place = format!("line {} in pieces of {}: {line}", number + 1, self.piece);
            match line.split_at_checked(2).unwrap_or((line, "")) {
                ("C:", text) => self.input.extend_from_slice(format!("{}\r\n", text.strip_prefix(' ').unwrap_or(text)).as_bytes()),
                ("R:", text) => self.input.extend_from_slice(&unescape(text.strip_prefix(' ').unwrap_or(text))),
                ("S:", text) => {
                    self.push(&place);
                    let said = self.heard.pop_front();
                    assert_eq!(said.as_deref(), Some(text.strip_prefix(' ').unwrap_or(text)), "{place}");
                }
                ("M:", text) => {
                    self.push(&place);
                    let message = self.message.take().unwrap_or_else(|| panic!("{place}: no message was taken"));
                    assert_eq!(describe(&message.envelope), text.trim(), "{place}");
                    assert_eq!(message.content.eight_bit, message.content.octets.iter().any(|octet| *octet > 127), "{place}");
                    let content = String::from_utf8(message.content.octets.to_vec()).unwrap();
                    self.content = content.split_terminator("\r\n").map(str::to_owned).collect();
                    assert!(content.is_empty() || content.ends_with("\r\n"), "{place}");
                }
                ("M|", text) => assert_eq!(self.content.pop_front().as_deref(), Some(text.strip_prefix(' ').unwrap_or(text)), "{place}"),
                ("! ", direction) => self.direct(direction, &place),
                ("", _) => {}
                _ if line.starts_with('#') => {}
                _ if line.starts_with('+') => {
                    self.push(&place);
                    let (number, unit) = line[1..].split_at(line.len() - 2);
                    let seconds = match unit {
                        "s" => 1,
                        "m" => 60,
                        _ => 3_600,
                    };
                    self.now += Duration::from_secs(seconds * number.parse::<u64>().unwrap());
                    let now = self.now;
                    self.session(|session| session.time_out(now));
                    self.push(&place);
                }
                _ => panic!("{place}: what is this?"),
            }
        }
        let end = format!("the end in pieces of {}", self.piece);
        self.push(&end);
        assert!(self.heard.is_empty(), "{end}: the server said more: {:?}", self.heard);
        assert!(self.content.is_empty(), "{end}: the content is longer: {:?}", self.content);
        assert!(self.message.is_none(), "{end}: a message was taken: {:?}", self.message);
    }

    fn direct(&mut self, direction: &str, place: &str) {
        let (word, rest) = direction.split_once(' ').unwrap_or((direction, ""));
        match (word, rest) {
            ("loopback", "") => self.connection = Connection { tls_required: false, tls: Tls::Unavailable, since: SINCE },
            ("plain", "from afar") => self.connection = Connection { tls_required: true, tls: Tls::Unavailable, since: SINCE },
            ("clear", "from afar") => self.connection = Connection { tls_required: false, tls: Tls::Offered, since: SINCE },
            ("starttls", "") => self.connection = Connection { tls_required: true, tls: Tls::Offered, since: SINCE },
            ("tls", "") => self.connection = Connection { tls_required: true, tls: Tls::Active, since: SINCE },
            ("limits", limits) => {
                for limit in limits.split(' ') {
                    let (name, value) = limit.split_once('=').unwrap();
                    let value: u32 = value.parse().unwrap();
                    match name {
                        "recipients" => self.settings.recipients = value,
                        "messages" => self.settings.messages = value,
                        "errors" => self.settings.errors = value,
                        "junk" => self.settings.junk_commands = value,
                        "memory" => self.settings.memory.set_limit(value.into()),
                        "size" => self.settings.message_octets = value.into(),
                        _ => panic!("{place}: which limit?"),
                    }
                }
            }
            ("handshake", "") => {
                self.push(place);
                assert!(std::mem::take(&mut self.handshake), "{place}: nobody asked for it");
                self.session(Session::tls_started);
            }
            ("answer", "storage full") => self.answer = Some(Refusal::StorageFull),
            ("answer", "invalid content") => self.answer = Some(Refusal::InvalidContent("the message has no From".to_owned())),
            ("memory", taken) => {
                self.push(place);
                assert_eq!(self.settings.memory.taken().to_string(), taken, "{place}");
            }
            ("ask", "") => self.allowance.asks = true,
            ("mx", "") => {
                self.allowance.asks = true;
                self.settings.role = Role::Mx(self.allowance);
            }
            ("revoke", "") => self.revoked = true,
            ("drain", "") => {
                self.push(place);
                self.session(Session::drain);
                self.push(place);
            }
            ("shut", "down") => {
                self.push(place);
                self.session(Session::shut_down);
                self.push(place);
            }
            ("fail", "") => {
                self.push(place);
                self.session(Session::fail);
            }
            ("closed", "") => {
                self.push(place);
                assert!(self.heard.is_empty(), "{place}: the server said more: {:?}", self.heard);
                assert!(self.closed, "{place}: it is open");
            }
            ("open", "") => {
                self.push(place);
                assert!(!self.closed, "{place}: it is closed");
            }
            _ => panic!("{place}: what is this?"),
        }
    }

    fn session<T>(&mut self, act: impl FnOnce(&mut Session) -> T) -> T {
        let session = self.session.get_or_insert_with(|| Session::new(Arc::new(self.settings.clone()), self.connection, self.now));
        act(session)
    }

    /// Gives the session what the client has said.
    fn push(&mut self, place: &str) {
        let said = std::mem::take(&mut self.input);
        if !said.is_empty() {
            assert!(self.heard.is_empty(), "{place}: the server said more: {:?}", self.heard);
        }
        let mut unused = std::mem::take(&mut self.unused);
        let mut pieces = said.chunks(self.piece.min(said.len().max(1)));
        loop {
            let now = self.now;
            let step = self.session(|session| session.receive(&unused, now));
            unused.drain(..step.used);
            match step.action {
                Action::Read | Action::Close | Action::StartTls => {
                    self.closed |= matches!(step.action, Action::Close);
                    self.handshake |= matches!(step.action, Action::StartTls);
                    if self.handshake {
                        // What the client says in the clear now would be taken for its handshake.
                        break;
                    }
                    match pieces.next() {
                        Some(piece) => unused.extend_from_slice(piece),
                        None => break,
                    }
                }
                Action::Send => self.hear(),
                Action::FindVerifier(username) => self.find_verifier(&username),
                Action::Authenticate(proof) => self.authenticate(&proof),
                Action::CheckSender(sender) => self.check_sender(&sender),
                Action::CheckRecipient(candidate) => self.check_recipient(*candidate),
                Action::Submit(message) => self.submit(*message),
            }
        }
        self.unused = unused;
        self.hear();
    }

    fn hear(&mut self) {
        let said = self.session(|session| {
            let said = String::from_utf8(session.replies().to_vec()).unwrap();
            session.replies_sent();
            said
        });
        self.heard.extend(said.split_terminator("\r\n").map(str::to_owned));
    }

    /// `newsletter` has the password `secret` and may send less than others; `busy` comes at the wrong time; a token is both.
    fn authenticate(&mut self, proof: &Proof) {
        let answer = match proof {
            Proof::Password(Credentials { username, password }) => match (username.as_str(), password.as_str()) {
                ("newsletter", "secret") | ("token", "token") => Ok(self.allowance),
                ("busy", _) => Err(LoginRefused::Busy),
                ("barred", _) => Err(LoginRefused::TooManyFailures),
                _ => Err(LoginRefused::Wrong),
            },
            Proof::Token { token, .. } if token == "token" => Ok(self.allowance),
            Proof::Scram { username, stored_key: Some(key) } if username == "user" && verifier().is_proven_by(key) => Ok(self.allowance),
            Proof::Token { .. } | Proof::Scram { .. } => Err(LoginRefused::Wrong),
        };
        self.session(|session| session.login_checked(answer));
    }

    /// `user` has the password of the example in RFC 7677.
    fn find_verifier(&mut self, username: &str) {
        let answer = if username == "busy" { Err(LoginRefused::Busy) } else { Ok(verifier()) };
        self.session(|session| session.verifier_found(answer, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"));
    }

    fn check_sender(&mut self, sender: &ReversePath) {
        let answer = match sender {
            _ if self.revoked => Err(SenderRefused::LoginRevoked),
            ReversePath::Mailbox(address) if address.domain().as_str() == "forbidden.example" => {
                Err(SenderRefused::Refused(Refusal::SenderNotAllowed { address: address.to_string() }))
            }
            ReversePath::Mailbox(_) | ReversePath::Null => Ok(self.allowance),
        };
        self.session(|session| session.sender_checked(answer));
    }

    /// Nobody at `gone.example` is there, those at `busy.example` come at the wrong time, and who was at `old.example` is at `new.example` now.
    fn check_recipient(&mut self, candidate: Candidate) {
        let refusal = |code, text: String| Refusal::Plugin {
            plugin: "list".to_owned(),
            code,
            enhanced: crate::mail::enhanced_status::EnhancedStatus::new(if code < 500 { 4 } else { 5 }, 1, 1),
            text,
        };
        let Candidate { reverse_path, address, accepted } = candidate;
        let answer = match address.domain().as_str() {
            "gone.example" => Err(refusal(550, format!("gone, {reverse_path}, after {accepted}"))),
            "busy.example" => Err(refusal(450, "not now".to_owned())),
            "old.example" => Ok(EmailAddress::parse(&format!("{}@new.example", address.local_part())).unwrap()),
            _ => Ok(address),
        };
        self.session(|session| session.recipient_checked(answer));
    }

    fn submit(&mut self, message: Message) {
        let answer = if let Some(refusal) = self.answer.take() {
            Err(refusal)
        } else {
            self.messages += 1;
            self.message = Some(message);
            let mut id = [0; 16];
            id[15] = self.messages;
            Ok(Receipt::unfounded(MessageId::from_bytes(id)))
        };
        self.session(|session| session.submitted(answer.as_ref()));
    }
}

/// That of the example in RFC 7677.
fn verifier() -> Verifier {
    let salt = [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
    Verifier::new("pencil", salt, 4096)
}

const ALLOWANCE: Allowance = Allowance { message_octets: 500, recipients: 5, asks: false, highest_priority: 3 };

fn describe(envelope: &Envelope) -> String {
    use crate::mail::envelope::{BodyType, Notify, Return, TransportSecurity};
    let mut text = format!("from <{}> to", envelope.reverse_path);
    for path in &envelope.forward_paths {
        let _ = write!(text, " <{}>", path.address);
        if let Some(Notify { success, failure, delay }) = path.notify {
            let _ = write!(text, " notify success={success} failure={failure} delay={delay}");
        }
        if let Some(original) = &path.original {
            let _ = write!(text, " orcpt {original}");
        }
    }
    match envelope.body {
        BodyType::SevenBit => {}
        BodyType::EightBitMime => text += " 8bitmime",
        BodyType::BinaryMime => text += " binarymime",
    }
    if envelope.smtputf8 {
        text += " smtputf8";
    }
    match envelope.ret {
        Some(Return::Full) => text += " ret full",
        Some(Return::Headers) => text += " ret headers",
        None => {}
    }
    if let Some(priority) = envelope.priority {
        let _ = write!(text, " priority {priority}");
    }
    if envelope.transport == TransportSecurity::Required {
        text += " requiretls";
    }
    if let Some(time) = envelope.not_before {
        let _ = write!(text, " not before {time}");
    }
    if let Some(envid) = &envelope.envid {
        let _ = write!(text, " envid {envid}");
    }
    text
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap() {
                'r' => octets.push(b'\r'),
                'n' => octets.push(b'\n'),
                '0' => octets.push(0),
                'x' => octets.push(u8::from_str_radix(&chars.by_ref().take(2).collect::<String>(), 16).unwrap()),
                other => octets.extend(other.to_string().bytes()),
            },
            '{' => {
                let repeated: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let (times, what) = repeated.split_once('*').unwrap();
                octets.extend(unescape(what).repeat(times.parse().unwrap()));
            }
            other => octets.extend(other.to_string().bytes()),
        }
    }
    octets
}
