//! The one place that wires: builds everything from a configuration, binds, connects, reloads, drains.
//!
//! What needs rights is opened first ([`opening::Opened`]); whatever goes wrong before mail is taken ends the start with an error. Everything that is started is waited for when it ends, in the
//! order of the way of mail: nothing new comes in, what is under way is finished or given back, then the store is closed.

mod components;
mod inherited;
mod keys;
pub mod opening;
pub mod pipeline;
mod privileges;
mod process;
mod reload;
mod service_manager;
mod sockets;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::RwLock;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::acme::Keeper;
use crate::archive::replay::{CurrentConfig, Workshop};
use crate::archive::{Archive, ArchiveParts, follower};
use crate::chain::rendering::Renderer;
use crate::chain::{ChainRegistry, shadow};
use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::control;
use crate::delivery::settings::NoDns;
use crate::delivery::{Delivery, DeliveryHandle, DeliveryParts};
use crate::dns::Dns;
use crate::dns::network::NetworkDns;
use crate::event::index::SearchIndex;
use crate::event::recorder::Recorder;
use crate::feedback::{Feedback, FeedbackParts, FeedbackSettings, callback};
use crate::http::Services;
use crate::inbound::Inbound;
use crate::intake::{Intake, IntakeParts, IntakeSettings};
use crate::link::LinkSigner;
use crate::listener::smtp::LAST_WORDS_TIME;
use crate::observer::{Observer, ObserverParts};
use crate::plugin::engine::Engine;
use crate::sending_domain::{self, SendingDomains};
use crate::spool::Spool;
use crate::store::Store;
use crate::store::embedded::Embedded;
use crate::submission::login::Logins;
use crate::submission::permission::Rates;
use crate::submission::sender_domain::SenderDomains;
use crate::suppression;
use crate::telemetry::metric::Metrics;
use crate::verp::Verp;
use opening::Opened;
use service_manager::ServiceManager;
use sockets::Sockets;

/// How often gauges are read from the store.
const GAUGES: Duration = Duration::from_secs(5);

/// A running server.
pub struct App {
    parts: Arc<Parts>,
    sockets: Sockets,
    delivering: TaskTracker,
    tasks: TaskTracker,
    /// Ends what brings mail in, and the commands; delivery begins nothing new from then on.
    ingress: CancellationToken,
    /// Ends what delivery has begun.
    cut_off: CancellationToken,
    /// Ends the readers of the log.
    egress: CancellationToken,
    manager: ServiceManager,
}

/// The signals that a server listens to. From the moment when they are caught, none of them ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Catches them from now on; what comes before somebody waits is not lost. To be called before anybody is told that the server is ready.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Completes when the process is asked to end.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What a reload changes, and what must outlive it.
struct Parts {
    config: CurrentConfig,
    /// What the server was started with, and still works by where a change takes a restart.
    started: Arc<Config>,
    /// Where the configuration is read from again; none where it was made in memory.
    path: Option<PathBuf>,
    clock: Clock,
    store: Arc<dyn Store>,
    engine: Arc<Engine>,
    chains: ChainRegistry,
    renderer: Renderer,
    verp: Verp,
    logins: Logins,
    intake: Intake,
    feedback: Feedback,
    inbound: Inbound,
    delivery: DeliveryHandle,
    archive: Archive,
    services: Services,
    metrics: Metrics,
    /// Held while plugins are loaded again, so that it happens once at a time.
    reloading: tokio::sync::Mutex<()>,
}

impl App {
    /// Starts a server with what is opened for it; mail is taken when this returns. `open_dashboard` lets everybody on loopback look at the dashboard.
    ///
    /// # Errors
    /// Whatever keeps it from starting: the data folder is in use, a plugin is broken.
    #[expect(clippy::too_many_lines, reason = "the one place where everything meets, in the order of the way of mail")]
    pub async fn start(
        config: Config,
        opened: Opened,
        path: Option<PathBuf>,
        (clock, entropy): (Clock, Entropy),
        open_dashboard: bool,
    ) -> Result<Self> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let data = config.server.data.clone();
        let Opened { bound, certificate, manager } = opened;
        let open = bound.listen()?;
        let metrics = Metrics::new();
        let store: Arc<dyn Store> = Arc::new(
            Embedded::open(&data, &config.store, clock.clone(), entropy.clone(), metrics.clone())
                .with_context(|| format!("the spool in {}", data.display()))?,
        );
        let engine = pipeline::engine(&config, &clock, metrics.clone(), store.clone())?;
        let chains = ChainRegistry::new(pipeline::chains(&config, &engine).await?);
        let recorder = Recorder::new(store.clone());
        let (links, verp) = signers(&config, &entropy)?;
        let spool = Spool::new(store.clone(), clock.clone());
        spool.suspensions().reconfigure(config.queue);
        spool.load_suspensions().await.context("what is suspended")?;
        let logins = logins(&config, &entropy, &clock, &metrics);
        let domains = sender_domains(&config, &store, &clock, &entropy).await?;
        logins.open_book(store.clone(), domains.clone(), Arc::new(config.clone())).await.context("the logins that were made")?;
        let renderer = Renderer::new(chains.clone(), links.clone());
        let renderer = renderer.with_sender_domains(SenderDomains::new(domains.clone(), logins.clone()));
        let (shadows, shadow_worker) = shadow::queue(config.plugin_runtime.shadow_memory);
        let intake = Intake::new(IntakeParts {
            clock: clock.clone(),
            entropy: entropy.clone(),
            spool: spool.clone(),
            recorder: recorder.clone(),
            chains: chains.clone(),
            renderer: renderer.clone(),
            rates: Arc::new(Rates::new(clock.clone())),
            metrics: metrics.clone(),
            shadows,
            domains: Some(domains.clone()),
            submissions: config.server.submissions,
            settings: IntakeSettings::new(&config),
        });
        let delivery = Delivery::new(DeliveryParts {
            spool: spool.clone(),
            settings: pipeline::delivery(&config, renderer.clone(), &verp, &domains)?,
            clock: clock.clone(),
            entropy: entropy.clone(),
            metrics: metrics.clone(),
        });
        let index = SearchIndex::open(&data.join("index"))?;
        let feedback = feedback(&config, &spool, &index, &logins, (&links, &verp), &metrics, (&clock, &entropy));
        let inbound = pipeline::inbound(&config, &spool, &recorder, &metrics, &feedback, &clock, &entropy)?;
        let config = Arc::new(config);
        let current: CurrentConfig = Arc::new(RwLock::new(Arc::clone(&config)));
        let archive = Archive::new(ArchiveParts {
            spool: spool.clone(),
            index: index.clone(),
            intake: intake.clone(),
            renderer: renderer.clone(),
            logins: logins.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            workshop: Some(workshop(&engine, &current)),
            delivery: Some(delivery.handle()),
            walks: config.queue.walks,
        });
        let (ingress, cut_off, egress) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let services = sockets::services(
            &config,
            sockets::Doors {
                archive: archive.clone(),
                logins: logins.clone(),
                feedback: feedback.clone(),
                domains,
                recorder,
                links,
                metrics: metrics.clone(),
                store: store.clone(),
                ingress: ingress.clone(),
            },
            &clock,
            &entropy,
            open_dashboard,
        )?;
        let parts = Arc::new(Parts {
            config: current,
            started: config,
            path,
            clock: clock.clone(),
            store,
            engine,
            chains,
            renderer,
            verp,
            logins,
            intake,
            feedback,
            inbound,
            delivery: delivery.handle(),
            archive: archive.clone(),
            services,
            metrics,
            reloading: tokio::sync::Mutex::default(),
        });
        let (delivering, tasks) = (TaskTracker::new(), TaskTracker::new());
        delivering.spawn(delivery.run(ingress.clone(), cut_off.clone()));
        tasks.spawn(shadow_worker.run(ingress.clone()));
        read_log(&tasks, &parts, &spool, &egress).await?;
        tasks.spawn(follower::run(spool, index, parts.started.search, clock.clone(), egress.clone()));
        tasks.spawn(control::serve(control::bind(&data).context("the socket for commands")?, archive, ingress.clone()));
        tasks.spawn(callback::run(parts.feedback.clone(), pipeline::http_client(), ingress.clone()));
        look_after(&tasks, &parts, &ingress, &egress).await;
        if let Some(certificate) = certificate.clone().filter(|_| parts.started.acme.is_some()) {
            let challenges = parts.services.challenges.clone();
            let keeper = Keeper { config: Arc::clone(&parts.config), certificate, challenges, clock: clock.clone() };
            tasks.spawn(keeper.run(ingress.clone()));
        }
        let sockets = sockets::serve(open, certificate, &parts, &entropy, &ingress)?;
        if let Some(certificate) = sockets.certificate.clone() {
            tasks.spawn(watch::certificate(Arc::clone(&parts), certificate, ingress.clone()));
        }
        tasks.spawn(manager.clone().keep_alive(egress.clone()));
        Ok(Self { parts, sockets, delivering, tasks, ingress, cut_off, egress, manager })
    }

    /// Returns where each listener is bound: kind, address, and how it is protected.
    pub fn listeners(&self) -> &[sockets::Listening] {
        self.sockets.listening()
    }

    /// Returns where the first listener of a kind (`smtp`, `http`) is bound.
    pub fn bound(&self, kind: &str) -> Option<SocketAddr> {
        self.sockets.listening().iter().find(|listening| listening.kind == kind).map(|listening| listening.address)
    }

    /// Returns what was sent and what became of it.
    pub fn archive(&self) -> &Archive {
        &self.parts.archive
    }

    /// Goes on until SIGTERM or SIGINT, then ends in good order. SIGHUP reloads.
    ///
    /// # Errors
    /// If the store cannot be closed.
    pub async fn run_until_signalled(self, mut signals: Signals) -> Result<()> {
        self.manager.ready(&self.status());
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hang_up.recv() => self.reload().await,
            }
        }
        self.stop().await
    }

    /// Reads the configuration again and switches to it; where anything is wrong with it, everything stays as it is.
    async fn reload(&self) {
        self.manager.reloading();
        match reload::reload(&self.parts, &self.sockets).await {
            Ok(changed) => info!("reloaded: {changed}"),
            Err(failure) => {
                let reason = format!("{failure:#}");
                error!("not reloaded, everything stays as it was: {reason}{}", privileges::out_of_reach(&self.parts.started, &reason));
            }
        }
        self.manager.ready(&self.status());
    }

    /// Returns what the service manager shows of us.
    fn status(&self) -> String {
        format!("{} listeners", self.sockets.listening().len())
    }

    /// Ends in good order: no new mail, sessions and transactions under way may finish for `drain_time`, then the store is closed. What sessions still hand
    /// over waits in the spool for the next start.
    ///
    /// # Errors
    /// If the store cannot be closed.
    pub async fn stop(self) -> Result<()> {
        info!("draining");
        let Self { parts, sockets, delivering, tasks, ingress, cut_off, egress, manager } = self;
        manager.stopping();
        let drain_time = parts.config.read().server.drain_time;
        ingress.cancel();
        let sessions = async {
            // They end by themselves after the drain time, and have then a moment for their last words.
            if tokio::time::timeout(drain_time + 2 * LAST_WORDS_TIME, sockets.drained()).await.is_err() {
                tracing::warn!("sessions were cut off at the end of the drain");
            }
        };
        delivering.close();
        let deliveries = async {
            if tokio::time::timeout(drain_time, delivering.wait()).await.is_err() {
                tracing::warn!("deliveries were cut off at the end of the drain");
                cut_off.cancel();
                delivering.wait().await;
            }
        };
        tokio::join!(sessions, deliveries);
        egress.cancel();
        tasks.close();
        tasks.wait().await;
        parts.services.background.close();
        parts.services.background.wait().await;
        parts.store.close().await.context("the store")?;
        info!("ended");
        Ok(())
    }
}

/// Makes what knows who may hand over mail.
fn logins(config: &Config, entropy: &Entropy, clock: &Clock, metrics: &Metrics) -> Logins {
    Logins::new(config.logins.clone(), &config.authentication, entropy, clock, metrics.clone())
}

/// Reads the sender domains.
async fn sender_domains(config: &Config, store: &Arc<dyn Store>, clock: &Clock, entropy: &Entropy) -> Result<SendingDomains> {
    let secret = keys::domain_key(&config.server.data, entropy)?;
    let settings = sending_domain::settings::Settings::new(config, secret).map_err(|error| anyhow::anyhow!(error))?;
    let dns: Arc<dyn Dns> = match NetworkDns::new(&config.server.nameservers, &config.delivery.dns) {
        Ok(dns) => Arc::new(dns),
        Err(error) => {
            // Whoever has a smart host alone can do without.
            tracing::debug!("no name servers: no sender domain can be validated: {error}");
            Arc::new(NoDns)
        }
    };
    let domains = SendingDomains::new(store.clone(), dns, settings, clock.clone(), entropy.clone());
    domains.load().await.context("the sender domains")?;
    Ok(domains)
}

/// Makes what takes in mail that comes back.
fn feedback(
    config: &Config,
    spool: &Spool,
    index: &SearchIndex,
    logins: &Logins,
    (links, verp): (&LinkSigner, &Verp),
    metrics: &Metrics,
    (clock, entropy): (&Clock, &Entropy),
) -> Feedback {
    Feedback::new(FeedbackParts {
        spool: spool.clone(),
        index: index.clone(),
        logins: logins.clone(),
        verp: verp.clone(),
        links: links.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        settings: FeedbackSettings::new(config),
    })
}

/// Makes what signs the links in mail, and its return paths.
fn signers(config: &Config, entropy: &Entropy) -> Result<(LinkSigner, Verp)> {
    let (base, data) = (config.server.public_url.as_str().trim_end_matches('/').to_owned(), &config.server.data);
    let links = LinkSigner::new(keys::link_key(data, entropy)?, base);
    Ok((links, Verp::new(keys::return_path_key(data, entropy)?, config.returns.period)))
}

/// Makes what makes chains that are not in force.
fn workshop(engine: &Arc<Engine>, current: &CurrentConfig) -> Workshop {
    Workshop { engine: Arc::clone(engine), config: Arc::clone(current), read: read_config, turn: Arc::new(Semaphore::new(1)) }
}

/// Reads another configuration, as this process would if it were started with it.
pub(super) fn read_config(path: &Path) -> std::result::Result<Config, String> {
    crate::config::load(path, &|name| std::env::var(name).ok()).map_err(|errors| errors.to_string())
}

/// Starts what goes on beside mail.
async fn look_after(tasks: &TaskTracker, parts: &Arc<Parts>, ingress: &CancellationToken, egress: &CancellationToken) {
    // Whoever asks at once hears of what is queued.
    gauge(&*parts.store, &parts.metrics).await;
    tasks.spawn(gauges(parts.store.clone(), parts.metrics.clone(), egress.clone()));
    tasks.spawn(watch::run(Arc::clone(parts), ingress.clone()));
    tasks.spawn(parts.services.domains.clone().run_upkeep(ingress.clone()));
    tasks.spawn(components::run(Arc::clone(parts), ingress.clone()));
}

/// Makes what tells plugins of events.
async fn observer(parts: &Parts, shutdown: &CancellationToken) -> Result<Observer> {
    let parts = ObserverParts {
        store: parts.store.clone(),
        recorder: Recorder::new(parts.store.clone()),
        chains: parts.chains.clone(),
        logins: parts.logins.clone(),
        clock: parts.clock.clone(),
        metrics: parts.metrics.clone(),
        settings: parts.started.plugin_runtime.events,
    };
    Observer::open(parts, shutdown.clone()).await.context("the events that plugins are told of")
}

/// Starts those who act on what the log says: what tells plugins, and what fills the suppression list.
async fn read_log(tasks: &TaskTracker, parts: &Parts, spool: &Spool, shutdown: &CancellationToken) -> Result<()> {
    tasks.spawn(observer(parts, shutdown).await?.run());
    let suppressions = parts.intake.suppressions().clone();
    let reader = suppression::reader::Reader::open(suppressions, spool.clone(), parts.logins.clone());
    tasks.spawn(reader.await.context("the suppression list")?.run(shutdown.clone()));
    Ok(())
}

async fn gauge(store: &dyn Store, metrics: &Metrics) {
    if let Ok(usage) = store.usage().await {
        metrics.set_queue(usage.rows);
    }
}

async fn gauges(store: Arc<dyn Store>, metrics: Metrics, shutdown: CancellationToken) {
    loop {
        gauge(&*store, &metrics).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(GAUGES) => {}
        }
    }
}
