//! Delivery as a whole: a store in memory, a zone for DNS, next hops on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod memory;
mod peer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;

use super::dkim::Signers;
use super::dns::zone::Zone;
use super::mx::Host;
use super::route::{Route, TlsPolicy, queue_name};
use super::settings::{Render, Settings};
use super::{Delivery, DeliveryHandle};
use crate::chain::Plan;
use crate::chain::rendering::{RenderError, Rendered};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config;
use crate::event::EventKind;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::envelope::{BodyType, Notify, ReversePath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::entry::{Copy, Entry};
use crate::spool::{NewEntry, Spool};
use crate::store::Store as _;
use crate::submission::{Protocol, Received};
use memory::MemoryStore;
use peer::{HANG_UP, Peer, SILENCE, Script};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// Renders what is kept, and refuses where a test says so in the recipient's variables.
struct PlainRenderer;

impl Render for PlainRenderer {
    fn render<'a>(&'a self, _plan: &'a Plan, body: Bytes, _id: CopyId, copy: &'a Copy) -> BoxFuture<'a, Result<Rendered, RenderError>> {
        async move {
            match copy.variables.as_str() {
                "hold" => Err(RenderError::Held { reason: "looks odd".into() }),
                "discard" => Err(RenderError::Discarded { reason: "unwanted".into() }),
                "fail" => Err(RenderError::Failed { plugin: "template".into(), permanent: false }),
                _ => {
                    // Behind the prefix of an encoded composition.
                    let start = memchr::memmem::find(&body, b"From:").unwrap_or_default();
                    Ok(Rendered { content: body.slice(start..), reverse_path: None, runs: Vec::new() })
                }
            }
        }
        .boxed()
    }
}

struct Setup {
    zone: Zone,
    port: u16,
    limits: config::Delivery,
    smart_host: Option<(std::net::SocketAddr, TlsPolicy)>,
    drain_time: Duration,
}

fn limits() -> config::Delivery {
    config::Delivery {
        connections: 50,
        connections_per_destination: 4,
        messages_per_connection: 1000,
        recipients_per_transaction: 50,
        idle_time: Duration::from_secs(5),
        connect_time: Duration::from_secs(5),
        command_time: Duration::from_secs(10),
        retry_first: Duration::from_mins(1),
        retry_longest: Duration::from_hours(1),
        give_up: Duration::from_hours(24),
        lease: Duration::from_mins(15),
    }
}

impl Setup {
    /// Mail for b.example goes to `peer`.
    fn to(peer: &Peer) -> Self {
        let zone = Zone::default().mx("b.example", 10, "mx.b.example").address("mx.b.example", "127.0.0.1").broken("dark.example");
        let zone = zone.mx("null.example", 0, "");
        Self { zone, port: peer.address.port(), limits: limits(), smart_host: None, drain_time: DEADLINE }
    }

    fn start(self) -> Running {
        let mx = config::MxRoute { tls: config::OutgoingTls::None, port: self.port, nameservers: Vec::new(), allow_private: true };
        let mut kinds: BTreeMap<Arc<str>, config::Route> = BTreeMap::new();
        kinds.insert("direct".into(), config::Route::Mx(mx));
        kinds.insert("box".into(), config::Route::Capture);
        let tls = super::tls::opportunistic().unwrap();
        let mut routes: BTreeMap<Arc<str>, Route> = BTreeMap::new();
        let dns = Arc::new(self.zone);
        let tls = TlsPolicy::Opportunistic(tls);
        routes.insert("direct".into(), Route::Mx { dns: dns.clone(), port: self.port, allow_private: true, tls });
        routes.insert("box".into(), Route::Capture);
        if let Some((address, tls)) = self.smart_host {
            let host = Host::Address(address.ip());
            routes.insert("up".into(), Route::SmartHost { dns, host, port: address.port(), tls, implicit_tls: false, credentials: None });
        }
        let hostname = Domain::parse("tp.example").unwrap();
        let settings = Settings::assemble(&hostname, self.limits, routes, kinds, Signers::default(), Arc::new(PlainRenderer));
        let store = Arc::new(MemoryStore::default());
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let spool = Spool::new(store.clone(), clock.clone());
        let delivery = Delivery::new(spool.clone(), settings, clock.clone(), Entropy::seeded(1));
        let handle = delivery.handle();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(delivery.run(shutdown.clone(), self.drain_time));
        Running { store, spool, clock, handle, shutdown, task, entropy: Entropy::seeded(2) }
    }
}

struct Running {
    store: Arc<MemoryStore>,
    spool: Spool,
    clock: Clock,
    handle: DeliveryHandle,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    entropy: Entropy,
}

fn mail(route: &str, recipients: &[&str]) -> NewEntry {
    let copies = recipients.iter().map(|text| {
        let address = EmailAddress::parse(text).unwrap();
        let queue = if route == "direct" { format!("direct/{}", address.domain()).into() } else { route.into() };
        (Copy { address, notify: Notify::default(), original: None, variables: String::new() }, queue)
    });
    let id = MessageId::from_bytes([0; 16]);
    let at = Timestamp::from_millis(1_800_000_000_000);
    let entry = Entry {
        id,
        login: "login".into(),
        route: route.into(),
        received: Received { at, peer: "192.0.2.9".parse().unwrap(), helo: None, protocol: Protocol::Esmtpsa },
        reverse_path: ReversePath::parse("sender@a.example").unwrap(),
        ret: None,
        envid: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        subject: "Hello".into(),
        tags: Vec::new(),
        recipient_count: u32::try_from(recipients.len()).unwrap(),
        deliver_before: None,
        plan: Plan {
            login: "login".into(),
            message: id,
            received: at,
            context: Vec::new(),
            nonce: [0; 11],
            slots: Vec::new(),
            variables: String::new(),
            steps: Vec::new(),
        },
    };
    let body = Bytes::from_static(b"From: <sender@a.example>\r\nSubject: Hello\r\n\r\nHi\r\n.\r\n");
    NewEntry { entry, body, original: None, copies: copies.collect(), held: None, events: Vec::new() }
}

impl Running {
    async fn accept(&self, mut new: NewEntry) -> MessageId {
        let id = MessageId::new(self.clock.now(), &self.entropy);
        new.entry.id = id;
        self.spool.accept(new).await.unwrap();
        id
    }

    /// Waits until `found` finds something.
    async fn wait<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let search = async {
            loop {
                let committed = self.store.committed.notified();
                if let Some(found) = found(self) {
                    return found;
                }
                // Not every state that is waited for comes with a commit.
                let _ = tokio::time::timeout(Duration::from_millis(20), committed).await;
            }
        };
        let found = tokio::time::timeout(DEADLINE, search).await;
        found.unwrap_or_else(|_| panic!("{what} did not come; events: {:#?}", self.events()))
    }

    /// Events as short lines: what, whom, what was said.
    fn events(&self) -> Vec<String> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "delivery writes no others")]
        let line = |event: crate::event::Event| {
            let whom = event.address.clone().unwrap_or_default();
            match event.kind {
                EventKind::Delivered { reply, attempt, .. } => format!("delivered {whom} {attempt} {reply}"),
                EventKind::Deferred { reply, attempt, .. } => format!("deferred {whom} {attempt} {reply}"),
                EventKind::Bounced { reply, status, attempt, .. } => format!("bounced {whom} {attempt} {status} {reply}"),
                EventKind::Accepted { recipients, .. } => format!("accepted {}", recipients.join(" ")),
                EventKind::Held { reason, .. } => format!("held {whom} {reason}"),
                EventKind::Discarded { reason, .. } => format!("discarded {whom} {reason}"),
                EventKind::PluginFailed { plugin, .. } => format!("failed {whom} {plugin}"),
                other => format!("{other:?}"),
            }
        };
        self.store.events().into_iter().map(line).collect()
    }

    async fn wait_for_events(&self, count: usize) -> Vec<String> {
        self.wait(&format!("event {count}"), |running| Some(running.events()).filter(|events| events.len() >= count)).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("the drain ends").unwrap();
    }
}

fn script(answer: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) -> Script {
    Arc::new(answer)
}

#[tokio::test]
async fn a_copy_reaches_its_mx() {
    let peer = Peer::plain(&["PIPELINING", "8BITMIME"]).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    let EventKind::Delivered { host, .. } = &running.store.events()[0].kind else { panic!() };
    assert_eq!(host, &format!("mx.b.example [127.0.0.1]:{}", peer.address.port()));
    assert_eq!(peer.log().commands, ["EHLO tp.example", "MAIL FROM:<sender@a.example>", "RCPT TO:<x@b.example>", "DATA"]);
    assert_eq!(peer.log().messages, ["From: <sender@a.example>\r\nSubject: Hello\r\n\r\nHi\r\n..\r\n"]);
    assert!(running.store.all_rows().is_empty());
    running.stop().await;
    assert_eq!(peer.log().commands.last().unwrap(), "QUIT");
}

#[tokio::test]
async fn copies_of_one_message_share_a_transaction_and_connections_are_reused() {
    let peer = Peer::plain(&["PIPELINING", "CHUNKING"]).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example", "y@b.example", "z@b.example"])).await;
    running.wait_for_events(3).await;
    running.accept(mail("direct", &["w@b.example"])).await;
    running.wait_for_events(4).await;
    assert_eq!(peer.log().messages.len(), 2);
    assert_eq!(peer.log().connections, 1);
    running.stop().await;
}

#[tokio::test]
async fn thousands_flow_over_a_few_connections() {
    for extensions in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"], &[]] {
        let peer = Peer::plain(extensions).await;
        let running = Setup::to(&peer).start();
        for _ in 0..500 {
            running.accept(mail("direct", &["x@b.example"])).await;
        }
        running.wait_for_events(500).await;
        assert!(running.events().iter().all(|event| event.starts_with("delivered")));
        assert!(running.store.all_rows().is_empty());
        assert_eq!(peer.log().messages.len(), 500);
        assert!(peer.log().connections <= 4, "{}", peer.log().connections);
        running.stop().await;
    }
}

#[tokio::test]
async fn each_recipient_has_his_own_fate() {
    let answers = script(|line| match line {
        "RCPT TO:<bad@b.example>" => Some("550 5.1.1 no such user"),
        "RCPT TO:<later@b.example>" => Some("450 4.2.2 mailbox full"),
        _ => None,
    });
    let peer = Peer::start(&["PIPELINING"], None, answers).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["good@b.example", "bad@b.example", "later@b.example"])).await;
    let events = running.wait_for_events(4).await;
    assert_eq!(
        events[..4],
        [
            "delivered good@b.example 0 250 2.0.0 queued",
            "bounced bad@b.example 0 5.1.1 550 5.1.1 no such user",
            "deferred later@b.example 0 450 4.2.2 mailbox full",
            "accepted sender@a.example",
        ]
    );
    // The report's own way is a dead end, and nothing follows from that.
    let events = running.wait_for_events(5).await;
    assert_eq!(events[4], "bounced sender@a.example 0 5.1.2 the domain a.example does not exist");
    let rows = running.store.all_rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0.due, running.clock.now().plus(Duration::from_mins(1)));
    running.clock.advance(Duration::from_secs(61));
    running.store.commit(crate::store::Batch::default()).await.unwrap();
    let events = running.wait_for_events(6).await;
    assert_eq!(events[5], "deferred later@b.example 1 450 4.2.2 mailbox full");
    assert_eq!(running.handle.counters().reports.load(std::sync::atomic::Ordering::Relaxed), 1);
    running.stop().await;
}

#[tokio::test]
async fn what_is_too_old_bounces() {
    let peer = Peer::start(&["PIPELINING"], None, script(|line| line.starts_with("RCPT").then_some("451 later"))).await;
    let running = Setup::to(&peer).start();
    let mut old = mail("direct", &["x@b.example"]);
    old.entry.received.at = running.clock.now().minus(Duration::from_hours(25));
    running.accept(old).await;
    let events = running.wait_for_events(1).await;
    assert_eq!(events[0], "bounced x@b.example 0 5.4.7 451 later");
    let mut late = mail("direct", &["y@b.example"]);
    late.entry.reverse_path = ReversePath::Null;
    late.entry.deliver_before = Some(running.clock.now());
    running.accept(late).await;
    running
        .wait("the bounce", |running| {
            running.events().iter().find(|event| event.starts_with("bounced y@b.example 0 5.4.7 the time")).cloned()
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn dns_decides_between_never_and_later() {
    let peer = Peer::plain(&[]).await;
    let running = Setup::to(&peer).start();
    for (domain, expected) in [
        ("nowhere.example", "bounced x@nowhere.example 0 5.1.2 the domain nowhere.example does not exist"),
        ("null.example", "bounced x@null.example 0 5.1.10 the domain null.example takes no mail (null MX)"),
        ("dark.example", "deferred x@dark.example 0 dark.example: DNS does not answer: SERVFAIL"),
    ] {
        let mut new = mail("direct", &[&format!("x@{domain}")]);
        new.entry.reverse_path = ReversePath::Null;
        running.accept(new).await;
        running.wait(expected, |running| running.events().contains(&expected.to_owned()).then_some(())).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_dead_host_leads_to_the_next_one() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let mut setup = Setup::to(&peer);
    // Nothing listens on 127.0.0.2.
    setup.zone = setup.zone.mx("c.example", 5, "dead.c.example").address("dead.c.example", "127.0.0.2");
    setup.zone = setup.zone.mx("c.example", 9, "mx.b.example").mx("d.example", 5, "dead.c.example");
    let running = setup.start();
    running.accept(mail("direct", &["x@c.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@c.example 0 250 2.0.0 queued"]);
    running.accept(mail("direct", &["x@d.example"])).await;
    let events = running.wait_for_events(2).await;
    assert!(events[1].starts_with("deferred x@d.example 0 cannot connect: "), "{}", events[1]);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_defers_what_was_begun() {
    let peer = Peer::start(&["PIPELINING"], None, script(|line| (line == ".").then_some(HANG_UP))).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["deferred x@b.example 0 the server closed the connection"]);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_attempt() {
    let mails = std::sync::atomic::AtomicUsize::new(0);
    let second = script(move |line| {
        let is_second = line.starts_with("MAIL") && mails.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
        is_second.then_some(HANG_UP)
    });
    let peer = Peer::start(&["PIPELINING"], None, second).await;
    let running = Setup::to(&peer).start();
    for count in 1..=3 {
        running.accept(mail("direct", &["x@b.example"])).await;
        let events = running.wait_for_events(count).await;
        assert_eq!(events[count - 1], "delivered x@b.example 0 250 2.0.0 queued");
    }
    assert_eq!(peer.log().connections, 2);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_hangs_does_not_hold_up_what_comes_later() {
    let mails = std::sync::atomic::AtomicUsize::new(0);
    let first = script(move |line| {
        let is_first = line.starts_with("MAIL") && mails.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        is_first.then_some(SILENCE)
    });
    let peer = Peer::start(&["PIPELINING"], None, first).await;
    let mut setup = Setup::to(&peer);
    setup.drain_time = Duration::from_millis(50);
    let running = setup.start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.wait("the first transaction", |_| peer.log().commands.iter().any(|line| line.starts_with("MAIL")).then_some(())).await;
    for count in 1..=5 {
        running.accept(mail("direct", &["y@b.example"])).await;
        running.wait("the copy", |running| (running.events().len() >= count).then_some(())).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_goes_away_says_why() {
    let peer = Peer::start(&[], None, script(|line| line.is_empty().then_some("421 4.3.2 too busy"))).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["deferred x@b.example 0 421 4.3.2 too busy"]);
    running.stop().await;
}

#[tokio::test]
async fn too_many_recipients_are_sent_in_portions() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let answers = script(move |line| match line.get(..4) {
        Some("MAIL") => {
            count.store(0, std::sync::atomic::Ordering::SeqCst);
            None
        }
        Some("RCPT") if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= 2 => Some("452 4.5.3 too many recipients"),
        _ => None,
    });
    let peer = Peer::start(&["PIPELINING"], None, answers).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    let running = setup.start();
    running.accept(mail("direct", &["a@b.example", "b@b.example", "c@b.example", "d@b.example", "e@b.example"])).await;
    let events = running.wait_for_events(5).await;
    assert!(events.iter().all(|event| event.starts_with("delivered") && event.contains(" 0 250")), "{events:?}");
    assert_eq!(peer.log().messages.len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn captured_copies_are_kept_and_not_sent() {
    let peer = Peer::plain(&[]).await;
    let running = Setup::to(&peer).start();
    let id = running.accept(mail("box", &["x@b.example", "y@b.example"])).await;
    let events = running.wait_for_events(2).await;
    assert_eq!(events[1], "delivered y@b.example 0 kept, not sent");
    let kept = running.store.capture(CopyId { message: id, recipient: 1 }).await.unwrap().unwrap();
    assert!(kept.starts_with(b"From: <sender@a.example>"));
    assert_eq!(peer.log().connections, 0);
    running.stop().await;
}

#[tokio::test]
async fn the_chain_has_its_say_at_delivery() {
    let peer = Peer::plain(&[]).await;
    let running = Setup::to(&peer).start();
    for (variables, expected) in [
        ("hold", "held x@b.example looks odd"),
        ("discard", "discarded x@b.example unwanted"),
        ("fail", "deferred x@b.example 0 the plugin template failed"),
    ] {
        let mut new = mail("direct", &["x@b.example"]);
        new.copies[0].0.variables = variables.into();
        running.accept(new).await;
        running.wait(expected, |running| running.events().contains(&expected.to_owned()).then_some(())).await;
    }
    assert!(running.events().contains(&"failed x@b.example template".to_owned()));
    let rows = running.store.all_rows();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().any(|(row, leased)| row.due == Timestamp::NEVER && !leased));
    assert!(peer.log().messages.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn success_is_reported_where_the_next_hop_will_not() {
    for (extensions, reports) in [(&["PIPELINING"][..], 1), (&["PIPELINING", "DSN"], 0)] {
        let peer = Peer::plain(extensions).await;
        let running = Setup::to(&peer).start();
        let mut new = mail("direct", &["x@b.example"]);
        new.copies[0].0.notify = Notify { success: true, failure: true, delay: false };
        new.entry.reverse_path = ReversePath::parse("sender@b.example").unwrap();
        running.accept(new).await;
        // The report itself: accepted, and delivered to the sender.
        running.wait_for_events(1 + 2 * reports).await;
        assert_eq!(running.handle.counters().reports.load(std::sync::atomic::Ordering::Relaxed), u64::try_from(reports).unwrap());
        let log = peer.log();
        assert_eq!(log.messages.len(), 1 + reports);
        if reports == 1 {
            assert!(log.messages[1].contains("Action: relayed\r\nStatus: 2.0.0\r\n"), "{}", log.messages[1]);
            assert!(log.commands.contains(&"MAIL FROM:<>".to_owned()));
        } else {
            assert!(log.commands.contains(&"RCPT TO:<x@b.example> NOTIFY=SUCCESS,FAILURE".to_owned()));
        }
        running.stop().await;
    }
}

fn acceptor() -> (TlsAcceptor, String) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let config = config.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
    (TlsAcceptor::from(Arc::new(config)), key.cert.pem())
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered() {
    let (acceptor, _) = acceptor();
    let peer = Peer::start(&["STARTTLS", "PIPELINING"], Some(acceptor), script(|_| None)).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(peer.log().commands[..4], ["EHLO tp.example", "STARTTLS", "<TLS>", "EHLO tp.example"]);
    running.stop().await;
}

#[tokio::test]
async fn opportunistic_tls_falls_back_once() {
    // Offers STARTTLS and then hangs up: there is no TLS behind it.
    let peer = Peer::start(&["STARTTLS", "PIPELINING"], None, script(|_| None)).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(peer.log().connections, 2);
    running.stop().await;
}

#[tokio::test]
async fn required_tls_wants_a_valid_certificate() {
    let (acceptor, pem) = acceptor();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), pem).unwrap();
    let peer = Peer::start(&["STARTTLS", "PIPELINING"], Some(acceptor), script(|_| None)).await;
    let good = TlsPolicy::Required(super::tls::verifying(Some(ca.path())).unwrap());
    let running = Setup { smart_host: Some((peer.address, good)), ..Setup::to(&peer) }.start();
    running.accept(mail("up", &["x@b.example"])).await;
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    running.stop().await;

    let (_, other) = self::acceptor();
    std::fs::write(ca.path(), other).unwrap();
    let bad = TlsPolicy::Required(super::tls::verifying(Some(ca.path())).unwrap());
    let running = Setup { smart_host: Some((peer.address, bad)), ..Setup::to(&peer) }.start();
    running.accept(mail("up", &["x@b.example"])).await;
    let events = running.wait_for_events(1).await;
    assert!(events[0].starts_with("deferred x@b.example 0 TLS handshake failed: "), "{}", events[0]);
    assert_eq!(peer.log().messages.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn draining_gives_back_what_was_not_begun() {
    let peer = Peer::start(&[], None, script(|line| line.starts_with("MAIL").then_some(SILENCE))).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections_per_destination = 1;
    setup.drain_time = Duration::from_millis(50);
    let running = setup.start();
    for _ in 0..10 {
        running.accept(mail("direct", &["x@b.example"])).await;
    }
    running.wait("the first transaction", |_| peer.log().commands.iter().any(|line| line.starts_with("MAIL")).then_some(())).await;
    let store = running.store.clone();
    running.shutdown.cancel();
    running.task.await.unwrap();
    let rows = store.all_rows();
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().filter(|(_, leased)| *leased).count() <= 1, "{rows:?}");
}

#[tokio::test]
async fn a_full_store_stops_delivery_and_loses_nothing() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    running.accept(mail("direct", &["x@b.example"])).await;
    running.store.full.store(true, std::sync::atomic::Ordering::Release);
    running.wait("the message", |_| (peer.log().messages.len() == 1).then_some(())).await;
    running.store.full.store(false, std::sync::atomic::Ordering::Release);
    assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
    assert_eq!(peer.log().messages.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn destinations_share_connections_that_are_few() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let mut setup = Setup::to(&peer);
    setup.limits.connections = 2;
    for number in 0..10 {
        setup.zone = setup.zone.mx(&format!("d{number}.example"), 1, "mx.b.example");
    }
    let running = setup.start();
    for number in 0..10 {
        running.accept(mail("direct", &[&format!("x@d{number}.example")])).await;
    }
    // An idle connection would be kept for 5 s: it gives way at once.
    running.wait_for_events(10).await;
    running.stop().await;
}

#[test]
fn queues_are_named_by_what_decides_where_mail_goes() {
    let domain = Domain::parse("b.example").unwrap();
    let mx = config::MxRoute { tls: config::OutgoingTls::None, port: 25, nameservers: Vec::new(), allow_private: false };
    assert_eq!(&*queue_name("direct", &config::Route::Mx(mx), &domain), "direct/b.example");
    assert_eq!(&*queue_name("box", &config::Route::Capture, &domain), "box");
}
