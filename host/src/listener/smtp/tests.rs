//! Sessions over loopback, with a reception that keeps what it is given.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
use std::net::{IpAddr, Ipv4Addr};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::clock::Timestamp;
use crate::config::unit::ByteSize;
use crate::config::{Access, Bounces, Login, LoginLimits, Treatment};
use crate::intake::forward_paths::Inquiry;
use crate::listener::tls::Certificate;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::refusal::Refusal;
use crate::smtp::server::{Credentials, Proof};
use crate::spool::receipt::Receipt;
use crate::submission::login::LoginError;
use crate::submission::{Protocol, Submission};

/// `AUTH PLAIN` of `newsletter` with the password `secret`.
const AUTH: &str = "AUTH PLAIN AG5ld3NsZXR0ZXIAc2VjcmV0";

/// Keeps what it is given; subjects make it misbehave.
struct Tray {
    login: Arc<Login>,
    taken: Mutex<Vec<Submission>>,
    /// Senders of transactions that came to nothing.
    refused: Mutex<Vec<String>>,
    /// Where messages wait whose subject says so, and how many have come there.
    disk: Semaphore,
    waiting: Semaphore,
}

impl Reception for Arc<Tray> {
    async fn authenticate(&self, proof: &Proof, _: IpAddr) -> Result<Arc<Login>, LoginError> {
        let Proof::Password(Credentials { username, password }) = proof else { return Err(LoginError::Wrong) };
        let (username, password) = (username.as_str(), password.as_str());
        if (username, password) == ("newsletter", "secret") { Ok(Arc::clone(&self.login)) } else { Err(LoginError::Wrong) }
    }

    fn current(&self, login: &Arc<Login>, _: IpAddr) -> Option<Arc<Login>> {
        Some(Arc::clone(login))
    }

    fn may_send_as(&self, _: &Login, address: &EmailAddress) -> bool {
        address.domain().as_str() == "example.com"
    }

    fn asks_about_paths(&self, _: &Login) -> bool {
        true
    }

    async fn check_path(&self, inquiry: &mut Inquiry, path: &EmailAddress, _: u32) -> Result<EmailAddress, Refusal> {
        if path.domain().as_str() != "gone.example" {
            return Ok(path.clone());
        }
        inquiry.refusal = Some(Refusal::PluginFailed { plugin: "list".to_owned(), permanent: true });
        Err(Refusal::PluginFailed { plugin: "list".to_owned(), permanent: true })
    }

    async fn paths_refused(&self, inquiry: Inquiry) {
        self.refused.lock().push(inquiry.reverse_path.to_string());
    }

    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        assert!(!submission.content.starts_with(b"Subject: panic"), "the subject asks for it");
        if submission.content.starts_with(b"Subject: hang") {
            std::future::pending::<()>().await;
        }
        if submission.content.starts_with(b"Subject: wait") {
            self.waiting.add_permits(1);
            self.disk.acquire().await.unwrap().forget();
        }
        let receipt = Receipt::unfounded(submission.id);
        self.taken.lock().push(submission);
        Ok(receipt)
    }
}

/// A listener on loopback, and its end.
struct Server {
    address: SocketAddr,
    tray: Arc<Tray>,
    service: Arc<Service<Arc<Tray>>>,
    root: rustls::pki_types::CertificateDer<'static>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    fn start(mode: ListenerTls, change: impl FnOnce(&mut config::Server, &mut config::Smtp)) -> Self {
        let mut server = config::Server {
            user: None,
            group: None,
            hostname: Domain::parse("mail.example.com").unwrap(),
            data: "/nonexistent".into(),
            public_url: url::Url::parse("https://t.example.com").unwrap(),
            drain_time: Duration::from_secs(30),
            nameservers: Vec::new(),
            trusted_proxies: Vec::new(),
            submissions: 10,
        };
        let mut smtp = config::Smtp {
            message_size: ByteSize(10_000_000),
            header_size: ByteSize(100_000),
            line_size: ByteSize::kib(64),
            memory: ByteSize::mib(256),
            recipients: 10,
            connections: 10,
            connections_per_address: 10,
            command_time: Duration::from_mins(5),
            session_time: Duration::from_hours(1),
            errors: 20,
            junk_commands: 100,
            auth_failures: 3,
            future_release: Duration::from_hours(1),
            messages_per_session: 100,
        };
        change(&mut server, &mut smtp);
        let login = Login {
            name: "newsletter".into(),
            username: Some("newsletter".to_owned()),
            password: None,
            token: None,
            senders: Vec::new(),
            chain: None,
            route: "direct".into(),
            limits: LoginLimits { messages_per_hour: None, recipients_per_message: 5, message_size: ByteSize(5_000_000) },
            bounces: Bounces::default(),
            treatment: Treatment::default(),
            unverified_senders: None,
            suppress: Vec::new(),
            bounce_management: None,
            access: Access::default(),
        };
        let tray = Arc::new(Tray {
            login: Arc::new(login),
            taken: Mutex::default(),
            refused: Mutex::default(),
            disk: Semaphore::new(0),
            waiting: Semaphore::new(0),
        });
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let clock = if smtp.command_time < Duration::from_mins(1) { Clock::system() } else { clock };
        let service = Arc::new(Service::new(Arc::clone(&tray), &server, &smtp, clock, Entropy::seeded(1), Metrics::new()));

        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(vec!["mail.example.com".to_owned()]).unwrap();
        let files = config::Tls {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            watch_interval: Duration::from_secs(1),
        };
        std::fs::write(&files.certificate, pair.cert.pem()).unwrap();
        std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
        let tls = Certificate::load(&files).unwrap().server_config(&[]).unwrap();

        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = TcpListener::from_std(socket).unwrap();
        let address = socket.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let listener = SmtpListener::new(socket, Door::new(Protection::new(mode, Some(tls)).unwrap()), Arc::clone(&service));
        let running = tokio::spawn(listener.run(shutdown.clone()));
        Self { address, tray, service, root: pair.cert.der().clone(), shutdown, running }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    async fn shake_hands(&self, stream: TcpStream) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
        let name = ServerName::try_from("mail.example.com").unwrap();
        Client(BufReader::new(connector.connect(name, stream).await.unwrap()))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
        assert_eq!(self.service.connections().open(), 0);
    }
}

struct Client<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
        self.0.get_mut().flush().await.unwrap();
    }

    /// Returns the next reply, its lines joined.
    async fn hear(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let octets = self.0.read_line(&mut reply).await.unwrap();
            if octets == 0 || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    async fn expect(&mut self, start: &str) {
        let reply = self.hear().await;
        assert!(reply.starts_with(start), "{reply:?} does not start with {start:?}");
    }

    async fn ask(&mut self, line: &str, start: &str) {
        self.say(&format!("{line}\r\n")).await;
        self.expect(start).await;
    }

    async fn log_in(&mut self) {
        self.ask("EHLO client.example", "250-mail.example.com").await;
        self.ask(AUTH, "235 ").await;
    }

    async fn expect_close(&mut self) {
        assert_eq!(self.hear().await, "");
    }
}

#[tokio::test]
async fn mail_comes_in_behind_starttls() {
    let server = Server::start(ListenerTls::StartTls, |_, _| {});
    let mut client = server.connect().await;
    client.expect("220 mail.example.com ").await;
    client.ask("EHLO client.example", "250-mail.example.com").await;
    client.ask("STARTTLS", "220 ").await;
    let mut client = server.shake_hands(client.0.into_inner()).await;
    client.log_in().await;
    client.ask("MAIL FROM:<a@elsewhere.example>", "550 5.7.1 ").await;
    client.say("MAIL FROM:<a@example.com> BODY=8BITMIME\r\nRCPT TO:<b@example.net>\r\nDATA\r\n").await;
    for code in ["250 ", "250 ", "354 "] {
        client.expect(code).await;
    }
    client.ask("Subject: x\r\n\r\ny\r\n.", "250 2.0.0 queued as ").await;
    client.ask("QUIT", "221 ").await;
    client.expect_close().await;
    drop(client);
    {
        let taken = server.tray.taken.lock();
        let submission = &taken[0];
        assert_eq!(submission.content, "Subject: x\r\n\r\ny\r\n");
        assert_eq!(submission.received.protocol, Protocol::Esmtpsa);
        assert_eq!(submission.received.helo.as_deref(), Some("client.example"));
        assert_eq!(submission.received.peer, Ipv4Addr::LOCALHOST);
        assert_eq!(submission.received.at, Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(submission.id.received(), submission.received.at);
        assert_eq!(&*submission.login.name, "newsletter");
    }
    server.stop().await;
}

#[tokio::test]
async fn mail_comes_in_under_implicit_tls() {
    let server = Server::start(ListenerTls::Implicit, |_, _| {});
    let mut client = server.shake_hands(TcpStream::connect(server.address).await.unwrap()).await;
    client.expect("220 mail.example.com ").await;
    client.log_in().await;
    // Larger than all buffers, in chunks and in one.
    let content = format!("{}\r\n", "0123456789abcde".repeat(100)).repeat(1_500);
    client.say("MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n").await;
    client.say(&format!("BDAT {}\r\n{content}", content.len())).await;
    client.ask(&format!("BDAT {} LAST\r\n{content}NOOP", content.len()), "250 ").await;
    for text in ["250 ", "250 2.0.0 2253000 octets", "250 2.0.0 queued as ", "250 2.0.0 ok"] {
        client.expect(text).await;
    }
    assert_eq!(server.tray.taken.lock()[0].content, content.repeat(2));
    drop(client);
    // In the clear there is no dialogue.
    let mut client = server.connect().await;
    client.say("EHLO client.example\r\n").await;
    let reply = client.0.fill_buf().await.unwrap_or_default();
    assert!(!reply.starts_with(b"220"));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn loopback_needs_no_tls() {
    let server = Server::start(ListenerTls::None, |_, _| {});
    let mut client = server.connect().await;
    client.expect("220 ").await;
    client.log_in().await;
    client.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n").await;
    for code in ["250 ", "250 ", "354 "] {
        client.expect(code).await;
    }
    client.ask(".", "250 ").await;
    assert_eq!(server.tray.taken.lock()[0].received.protocol, Protocol::Esmtpa);
    // The client leaves without a word.
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn too_many_connections_are_turned_away() {
    let server = Server::start(ListenerTls::StartTls, |_, smtp| smtp.connections = 1);
    let mut first = server.connect().await;
    first.expect("220 ").await;
    let mut second = server.connect().await;
    second.expect("421 4.7.0 too many connections").await;
    second.expect_close().await;
    first.ask("QUIT", "221 ").await;
    first.expect_close().await;
    drop(first);
    server.stop().await;
}

#[tokio::test]
async fn silence_is_ended() {
    let server = Server::start(ListenerTls::None, |_, smtp| smtp.command_time = Duration::from_millis(20));
    let mut client = server.connect().await;
    client.expect("220 ").await;
    client.expect("421 4.4.2 ").await;
    client.expect_close().await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn draining_lets_transactions_end() {
    let server = Server::start(ListenerTls::None, |_, _| {});
    let mut idle = server.connect().await;
    idle.expect("220 ").await;
    let mut busy = server.connect().await;
    busy.expect("220 ").await;
    busy.log_in().await;
    busy.ask("MAIL FROM:<a@example.com>", "250 ").await;
    server.shutdown.cancel();
    idle.expect("421 4.3.2 ").await;
    idle.expect_close().await;
    drop(idle);
    busy.ask("RCPT TO:<b@example.net>", "250 ").await;
    busy.ask("DATA", "354 ").await;
    busy.ask(".", "250 2.0.0 queued as ").await;
    busy.expect("421 4.3.2 ").await;
    busy.expect_close().await;
    drop(busy);
    server.stop().await;
}

#[tokio::test]
async fn draining_ends() {
    let server = Server::start(ListenerTls::None, |server, _| server.drain_time = Duration::ZERO);
    let mut client = server.connect().await;
    client.expect("220 ").await;
    client.log_in().await;
    client.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n").await;
    for code in ["250 ", "250 ", "354 "] {
        client.expect(code).await;
    }
    client.say("Subject: hang\r\n.\r\n").await;
    server.shutdown.cancel();
    client.expect("421 4.3.2 ").await;
    client.expect_close().await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn what_is_on_its_way_to_the_disk_at_the_end_is_answered() {
    let server = Server::start(ListenerTls::None, |server, _| server.drain_time = Duration::ZERO);
    let mut client = server.connect().await;
    client.expect("220 ").await;
    client.log_in().await;
    client.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n").await;
    for code in ["250 ", "250 ", "354 "] {
        client.expect(code).await;
    }
    let mut other = server.connect().await;
    other.expect("220 ").await;
    other.log_in().await;
    other.ask("MAIL FROM:<a@example.com>", "250 ").await;
    client.say("Subject: wait\r\n.\r\n").await;
    server.tray.waiting.acquire().await.unwrap().forget();
    server.shutdown.cancel();
    // An open transaction hears nothing of the drain, and is told when its time is over.
    other.expect("421 4.3.2 ").await;
    server.tray.disk.add_permits(1);
    client.expect("250 2.0.0 queued as ").await;
    client.expect("421 4.3.2 ").await;
    client.expect_close().await;
    assert_eq!(server.tray.taken.lock().len(), 1);
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn content_of_all_sessions_is_bounded_and_the_sessions_live() {
    let server = Server::start(ListenerTls::None, |_, smtp| smtp.memory = ByteSize(200_000));
    let line = format!("{}\r\n", "x".repeat(98));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.expect("220 ").await;
        client.log_in().await;
        client.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n").await;
        for code in ["250 ", "250 ", "354 "] {
            client.expect(code).await;
        }
        clients.push(client);
    }
    let [first, second] = clients.as_mut_slice() else { panic!("there are two") };
    first.say(&format!("Subject: wait\r\n\r\n{}.\r\n", line.repeat(1_500))).await;
    server.tray.waiting.acquire().await.unwrap().forget();
    second.say(&line.repeat(1_000)).await;
    second.ask(".", "452 4.3.1 ").await;
    second.ask("NOOP", "250 ").await;
    // What was taken is held until the answer, and no longer.
    assert!(server.service.memory.taken() >= 150_000);
    server.tray.disk.add_permits(1);
    first.expect("250 2.0.0 queued as ").await;
    assert_eq!(server.service.memory.taken(), 0);
    second.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n").await;
    for code in ["250 ", "250 ", "354 "] {
        second.expect(code).await;
    }
    second.say(&line.repeat(1_000)).await;
    second.ask(".", "250 2.0.0 queued as ").await;
    drop(clients);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_commands_is_answered_piece_by_piece_and_ended() {
    let server = Server::start(ListenerTls::None, |_, smtp| smtp.junk_commands = 5_000);
    let mut client = server.connect().await;
    client.expect("220 ").await;
    client.say(&"HELP\r\n".repeat(5_000)).await;
    for _ in 0..5_000 {
        client.expect("214-2.0.0 ").await;
    }
    client.say(&"HELP\r\n".repeat(20)).await;
    for _ in 0..19 {
        client.expect("214-2.0.0 ").await;
    }
    client.expect("421 4.7.0 too many errors").await;
    client.expect_close().await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_fault_of_ours_costs_one_session() {
    let server = Server::start(ListenerTls::None, |_, _| {});
    let mut other = server.connect().await;
    other.expect("220 ").await;
    let mut client = server.connect().await;
    client.expect("220 ").await;
    client.log_in().await;
    client.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n").await;
    for code in ["250 ", "250 ", "354 "] {
        client.expect(code).await;
    }
    client.ask("Subject: panic\r\n.", "421 4.3.0 ").await;
    client.expect_close().await;
    drop(client);
    other.ask("NOOP", "250 ").await;
    drop(other);
    server.stop().await;
}

#[tokio::test]
async fn who_is_refused_and_brings_nothing_is_heard_of() {
    let server = Server::start(ListenerTls::StartTls, |_, _| {});
    let mut client = server.connect().await;
    client.expect("220 ").await;
    client.log_in().await;
    // One transaction with a message, one that is given up, one that ends with the session: all in one piece.
    client
        .say(
            "MAIL FROM:<one@example.com>\r\nRCPT TO:<x@gone.example>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nSubject: x\r\n\r\ny\r\n.\r\n\
             MAIL FROM:<two@example.com>\r\nRCPT TO:<x@gone.example>\r\nRSET\r\n\
             MAIL FROM:<three@example.com>\r\nRCPT TO:<b@example.net>\r\nRSET\r\n\
             MAIL FROM:<four@example.com>\r\nRCPT TO:<x@gone.example>\r\n",
        )
        .await;
    for code in ["250 ", "554 5.3.0 ", "250 ", "354 ", "250 2.0.0 queued", "250 ", "554 ", "250 ", "250 ", "250 ", "250 ", "250 ", "554 "] {
        client.expect(code).await;
    }
    let tray = Arc::clone(&server.tray);
    drop(client);
    server.stop().await;
    assert_eq!(*tray.refused.lock(), ["two@example.com", "four@example.com"]);
    let taken = tray.taken.lock();
    assert_eq!((taken.len(), taken[0].envelope.forward_paths.len()), (1, 1));
    assert!(taken[0].checked.is_some());
}
