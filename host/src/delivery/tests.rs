//! Delivery as a whole: a store in memory, a zone for DNS, next hops on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod connections;
mod content;
mod endings;
pub(super) mod memory;
mod outcomes;
mod peer;
mod reports;
mod routes;
mod security;
mod suspensions;
mod time;
mod tls_reports;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use super::dkim::Signers;
use super::mx::Host;
use super::route::{MxRoute, Route, SmartHostRoute};
use super::settings::{Render, ReturnPaths, Settings};
use super::{Delivery, DeliveryHandle, DeliveryParts};
use crate::chain::Plan;
use crate::chain::rendering::{Recipient, RenderError, Rendered};
use crate::chain::trace::Trace;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::unit::ByteSize;
use crate::config::{self, TlsLevel};
use crate::dns::zone::Zone;
use crate::event::{EventKind, PluginRun};
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::envelope::{BodyType, Notify, ReversePath};
use crate::mail::message_id::{CopyId, MessageId};
use crate::plugin::verdict::Failure;
use crate::smtp::client::Credentials;
use crate::spool::entry::{Copy, Entry, Terms};
use crate::spool::{NewEntry, Spool};
use crate::store::Store as _;
use crate::submission::{Protocol, Received};
use crate::telemetry::metric::Metrics;
use memory::MemoryStore;
use peer::{CROWD, HANG_UP, Peer, SILENCE, Script, TOGETHER};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_mins(1);

/// Renders what is kept, and refuses where a test says so in the recipient's variables.
#[derive(Default)]
struct PlainRenderer {
    /// Copies that were asked for.
    rendered: Arc<AtomicUsize>,
}

impl Render for PlainRenderer {
    fn render<'a>(
        &'a self,
        _plan: &'a Plan,
        body: Bytes,
        recipient: Recipient<'a>,
        trace: &'a mut Trace,
    ) -> BoxFuture<'a, Result<Rendered, RenderError>> {
        self.rendered.fetch_add(1, Ordering::AcqRel);
        // Behind the prefix of an encoded composition.
        let start = memchr::memmem::find(&body, b"From:").unwrap_or_default();
        let rendered = Rendered { content: body.slice(start..), reverse_path: None, tags: Vec::new(), held: None };
        let result = match recipient.variables {
            "hold" => Ok(Rendered { held: Some(("policy".into(), "looks odd".into())), ..rendered }),
            "discard" => Err(RenderError::Discarded { reason: "unwanted".into() }),
            "fail" => {
                trace.failures.push(("template".into(), Failure::Missing));
                trace.runs.push(PluginRun { plugin: "log".into(), log: vec!["a line".into()], ..PluginRun::default() });
                trace.runs.push(PluginRun { plugin: "quiet".into(), outcome: "next".into(), ..PluginRun::default() });
                Err(RenderError::Failed { plugin: "template".into(), permanent: false })
            }
            _ => Ok(rendered),
        };
        ready(result).boxed()
    }
}

struct Setup {
    zone: Zone,
    port: u16,
    limits: config::Delivery,
    smart_host: Option<(SocketAddr, TlsLevel)>,
    /// What the smart host's certificate is held against.
    verifying: Option<TlsConnector>,
    /// Of the smart host: TLS from the first octet, and credentials.
    implicit_tls: bool,
    credentials: Option<Credentials>,
    drain_time: Duration,
    signers: Signers,
    /// The route "up" goes by MX.
    up_by_mx: bool,
    /// Bounces come back here.
    returns: Option<ReturnPaths>,
    sources: config::Sources,
}

/// Answers slow nothing down: the clock of these tests stands still.
fn steady() -> config::ShapingRule {
    config::ShapingRule {
        name: "steady".into(),
        domains: Vec::new(),
        mx: Vec::new(),
        route: None,
        shared: false,
        connections: None,
        messages_per_connection: None,
        recipients_per_transaction: None,
        rate: None,
        burst: 1,
        retry: Vec::new(),
        give_up: None,
        slow_down: false,
    }
}

pub(super) fn limits() -> config::Delivery {
    config::Delivery {
        connections: 50,
        connections_per_destination: 4,
        messages_per_connection: 1000,
        recipients_per_transaction: 50,
        // These are of the machine's own time, which the tests' clock does not move: what a slow machine does not reach.
        idle_time: Duration::from_mins(1),
        connect_time: Duration::from_mins(1),
        command_time: Duration::from_mins(5),
        retry_first: Duration::from_mins(1),
        retry_longest: Duration::from_hours(1),
        retry: Vec::new(),
        retry_jitter: 0,
        retry_greylisted: Duration::from_mins(1),
        provider_limits: false,
        shaping: vec![steady()],
        give_up: Duration::from_hours(24),
        delay_report: Duration::from_hours(4),
        lease: Duration::from_mins(25),
        login_connections: 50,
        failing_connections: 25,
        unreachable_rate: config::Rate { count: 1000, period: Duration::from_secs(1) },
        dead_time: Duration::from_secs(30),
        dead_hosts: 10_000,
        host_tries: 8,
        mta_sts_memory: ByteSize::mib(1),
        outcome_queue: 1024,
        returned_size: ByteSize(64 << 10),
        copy_log: ByteSize(1024),
        dns: config::Dns { cache: 100, time: Duration::from_secs(5), tries: 3, negative_time: Duration::from_mins(5), trust_ad: None },
        tls_rules: Vec::new(),
        tls_reports: config::TlsReports::default(),
        rendered_size: ByteSize(u64::MAX),
    }
}

impl Setup {
    /// Mail for b.example goes to `peer`.
    fn to(peer: &Peer) -> Self {
        let zone = Zone::default().mx("b.example", 10, "mx.b.example").address("mx.b.example", "127.0.0.1").broken("dark.example");
        let zone = zone.mx("null.example", 0, "");
        Self {
            zone,
            port: peer.address.port(),
            limits: limits(),
            smart_host: None,
            verifying: None,
            implicit_tls: false,
            credentials: None,
            drain_time: DEADLINE,
            signers: Signers::default(),
            up_by_mx: false,
            returns: None,
            sources: config::Sources::default(),
        }
    }

    fn settings(self, rendered: Arc<AtomicUsize>) -> Settings {
        let mx = config::MxRoute { tls: TlsLevel::None, port: self.port, allow_private: true, ..config::MxRoute::default() };
        let mut kinds: BTreeMap<Arc<str>, config::Route> = BTreeMap::new();
        kinds.insert("direct".into(), config::Route::Mx(mx.clone()));
        kinds.insert("box".into(), config::Route::Capture);
        let mut routes: BTreeMap<Arc<str>, Route> = BTreeMap::new();
        let dns = Arc::new(self.zone);
        let by_mx = |dns: Arc<Zone>| {
            let dns: Arc<dyn crate::dns::Dns> = dns;
            let anyone = crate::network::tls::opportunistic().unwrap();
            Route::Mx(MxRoute {
                dns,
                port: self.port,
                allow_private: true,
                tls: TlsLevel::Opportunistic,
                verifying: None,
                verifier: None,
                anyone,
                fetching: None,
                dane: true,
            })
        };
        routes.insert("direct".into(), by_mx(dns.clone()));
        routes.insert("box".into(), Route::Capture);
        if let Some((address, tls)) = self.smart_host {
            // Only what has a name can be vouched for.
            let host = if tls == TlsLevel::Dane { Host::Name("up.example".to_owned()) } else { Host::Address(address.ip()) };
            let port = address.port();
            let (implicit_tls, credentials) = (self.implicit_tls, self.credentials);
            let (verifying, anyone) = (self.verifying, crate::network::tls::opportunistic().unwrap());
            let route = SmartHostRoute { dns, host, port, tls, verifying, anyone, implicit_tls, credentials };
            routes.insert("up".into(), Route::SmartHost(route));
        } else if self.up_by_mx {
            kinds.insert("up".into(), config::Route::Mx(mx));
            routes.insert("up".into(), by_mx(dns));
        }
        let hostname = Domain::parse("tp.example").unwrap();
        let renderer = Arc::new(PlainRenderer { rendered });
        let settings = Settings::assemble(&hostname, self.limits, routes, kinds, self.signers, renderer);
        Settings { sources: self.sources, ..settings }.with_return_paths(self.returns)
    }

    fn start(self) -> Running {
        let (drain_time, rendered) = (self.drain_time, Arc::new(AtomicUsize::new(0)));
        let settings = self.settings(rendered.clone());
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let spool = Spool::new(store.clone(), clock.clone());
        let metrics = Metrics::new();
        let (entropy, counting) = (Entropy::seeded(1), metrics.clone());
        let delivery = Delivery::new(DeliveryParts { spool: spool.clone(), settings, clock: clock.clone(), entropy, metrics: counting });
        let (shutdown, cut_off) = (CancellationToken::new(), CancellationToken::new());
        let handle = delivery.handle();
        let task = tokio::spawn(delivery.run(shutdown.clone(), cut_off.clone()));
        Running { store, spool, clock, metrics, shutdown, cut_off, drain_time, handle, rendered, task, entropy: Entropy::seeded(2) }
    }
}

struct Running {
    store: Arc<MemoryStore>,
    spool: Spool,
    clock: Clock,
    metrics: Metrics,
    shutdown: CancellationToken,
    cut_off: CancellationToken,
    drain_time: Duration,
    handle: DeliveryHandle,
    rendered: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    entropy: Entropy,
}

fn mail(route: &str, recipients: &[&str]) -> NewEntry {
    let copies = recipients.iter().map(|text| {
        let address = EmailAddress::parse(text).unwrap();
        let queue = if route == "direct" { format!("direct/{}", address.domain()).into() } else { route.into() };
        (Copy { address, notify: None, original: None, variables: String::new() }, queue)
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
        options: String::new(),
        plan: Plan::plain("login".into(), id, at),
        terms: Terms::default(),
    };
    let body = Bytes::from_static(b"From: <sender@a.example>\r\nSubject: Hello\r\n\r\nHi\r\n.\r\n");
    NewEntry { entry, body, original: None, copies: copies.collect(), held: None, not_before: None, events: Vec::new() }
}

impl Running {
    /// What the page of metrics says of one of them.
    fn counted(&self, name: &str) -> String {
        let page = self.metrics.encode();
        let line = page.lines().find_map(|line| line.strip_prefix("tubepost_")?.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).to_owned()
    }

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
                EventKind::Rendered { plugins } => {
                    let logs = plugins.iter().map(|run| format!("{}: {}", run.plugin, run.log.join(", ")));
                    format!("rendered {whom} {}", logs.collect::<Vec<_>>().join("; "))
                }
                other => format!("{other:?}"),
            }
        };
        self.store.events().into_iter().map(line).collect()
    }

    async fn wait_for_events(&self, count: usize) -> Vec<String> {
        self.wait(&format!("event {count}"), |running| Some(running.events()).filter(|events| events.len() >= count)).await
    }

    /// Lets delivery do what it would do, where nothing is to happen.
    async fn wait_a_little(&self) {
        let mut looks = 0;
        self.wait("a little time", |_| {
            looks += 1;
            (looks > 10).then_some(())
        })
        .await;
    }

    /// Time passes, and delivery looks what is due.
    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.store.ring();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let mut task = self.task;
        if tokio::time::timeout(self.drain_time, &mut task).await.is_err() {
            self.cut_off.cancel();
            tokio::time::timeout(DEADLINE, task).await.expect("the drain ends").unwrap();
        }
    }
}

fn script(answer: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) -> Script {
    Arc::new(answer)
}
