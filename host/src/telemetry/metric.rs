//! What is counted and measured, under which names.
//!
//! Every name begins with `tubepost_`. Labels are words of ours or names from the configuration, never something that a client sends,
//! so their number is bounded. Whoever counts on a hot path gets its handle once and then only touches atomics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::delivery_metric::DeliveryMetrics;
pub use super::delivery_metric::RouteMetrics;
use super::histogram::Histogram;
use super::own_metric::OwnMetrics;
use super::plugin_metric::AllPlugins;
pub use super::plugin_metric::{PluginLogin, PluginMetrics, PluginUsage};

/// The media type of what [`Metrics::encode`] returns (`OpenMetrics` 1.0).
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Declares an enum whose values are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $key:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Returns the word for it.
            pub fn word(self) -> &'static str {
                Label::text(self)
            }
        }

        impl Label for $name {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$variant),*];
            fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

/// The values of a label.
pub(super) trait Label: Copy + PartialEq + 'static {
    /// The label.
    const KEY: &'static str;
    /// Its values.
    const ALL: &'static [Self];
    /// How one is written.
    fn text(self) -> &'static str;
}

label! {
    /// By which way mail comes in.
    Ingress, "protocol" {
        /// SMTP submission.
        Smtp = "smtp",
        /// SMTP, for our own domains.
        Mx = "mx",
        /// REST; as a listener also the public links and the dashboard.
        Http = "http",
        /// The command line.
        Local = "local",
    }
}

label! {
    /// Why a message was not taken, in classes that are worth an alarm of their own.
    RefusalClass, "reason" {
        /// The login may not send from the address.
        Sender = "sender",
        /// Too many recipients, or too large.
        Size = "size",
        /// A recipient who is not here.
        Recipient = "recipient",
        /// Mail that its From disowns.
        Authenticity = "authenticity",
        /// The login, or the client, has sent too much.
        Rate = "rate",
        /// Content or fields that cannot be read.
        Invalid = "invalid",
        /// A plugin said no, or not now.
        Plugin = "plugin",
        /// A plugin failed.
        PluginFailed = "plugin_failed",
        /// The store is full or broken.
        Store = "store",
        /// Too much at once, or shutting down.
        Overloaded = "overloaded",
    }
}

label! {
    /// How a login went.
    Authentication, "result" {
        /// Let in.
        Succeeded = "succeeded",
        /// Wrong user name, password or token.
        Failed = "failed",
        /// Too many at once.
        Busy = "busy",
        /// Not looked at: too many from the address had failed.
        Barred = "barred",
    }
}

label! {
    /// What came of one call of a plugin.
    PluginOutcome, "outcome" {
        /// The message went on.
        Continued = "continued",
        /// The plugin was asked whether the message needs it, and it does not.
        NotWanted = "not_wanted",
        /// The plugin refused it for good.
        Rejected = "rejected",
        /// The plugin refused it for now.
        Deferred = "deferred",
        /// The plugin threw it away.
        Discarded = "discarded",
        /// The plugin keeps it for an operator.
        Held = "held",
        /// The plugin says that it failed.
        Failed = "failed",
        /// The plugin trapped.
        Trapped = "trapped",
        /// The plugin took too long.
        OutOfTime = "out_of_time",
        /// The plugin took too much memory.
        OutOfMemory = "out_of_memory",
        /// The plugin's answer was none.
        BadAnswer = "bad_answer",
        /// The plugin's answer was too large.
        OutputTooLarge = "output_too_large",
    }
}

label! {
    /// What came of a message that a plugin had as a shadow.
    ShadowResult, "result" {
        /// It would have made no difference.
        Same = "same",
        /// The message would have been another.
        Different = "different",
        /// The message would have been refused, thrown away, or kept for an operator.
        Refused = "refused",
        /// The plugin failed.
        Failed = "failed",
        /// There was no room for it to wait.
        Dropped = "dropped",
    }
}

label! {
    /// What came of an attempt, for one recipient.
    DeliveryOutcome, "outcome" {
        /// The next hop has it.
        Delivered = "delivered",
        /// A capture route keeps it.
        Captured = "captured",
        /// It will be tried again.
        Deferred = "deferred",
        /// It will not be tried again.
        Bounced = "bounced",
        /// A plugin threw it away, or keeps it for an operator.
        Withheld = "withheld",
        /// The recipient is on a suppression list.
        Suppressed = "suppressed",
    }
}

/// Labels with their values.
pub(super) type Labels<const N: usize> = [(&'static str, String); N];

/// One metric for each value of a label.
#[derive(Clone, Debug)]
pub(super) struct Each<L: Label, M>(Vec<M>, std::marker::PhantomData<L>);

impl<L: Label, M> Each<L, M> {
    pub(super) fn new(metric: impl FnMut(L) -> M) -> Self {
        Self(L::ALL.iter().copied().map(metric).collect(), std::marker::PhantomData)
    }

    fn of<C: MetricConstructor<M>>(family: &Family<Labels<1>, M, C>) -> Self
    where
        M: Clone,
    {
        Self::new(|label| family.get_or_create_owned(&[(L::KEY, label.text().to_owned())]))
    }

    pub(super) fn get(&self, label: L) -> &M {
        let index = L::ALL.iter().position(|other| *other == label);
        index.and_then(|index| self.0.get(index)).expect("there is one for each value")
    }
}

/// All metrics of a process. Cloning is cheap; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    accepted: Each<Ingress, Counter>,
    accept_time: Each<Ingress, Histogram>,
    refused: Each<RefusalClass, Counter>,
    paths_refused: Each<RefusalClass, Counter>,
    events_told: Family<Labels<1>, Counter>,
    events_given_up: Family<Labels<1>, Counter>,
    authentications: Each<Authentication, Counter>,
    connections: Each<Ingress, Gauge>,
    connections_refused: Each<Ingress, Counter>,
    delivery: DeliveryMetrics,
    plugins: AllPlugins,
    plugin_reloads: Family<Labels<2>, Counter>,
    commit_time: Histogram,
    commit_size: Histogram,
    queue: Gauge,
    own: OwnMetrics,
}

/// Bounds of times in microseconds: from what a header takes to where clients give up.
const TIMES: [u64; 16] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 60_000_000];

/// Bounds of numbers of submissions that share a sync.
const COUNTS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

fn times() -> Histogram {
    Histogram::new(&TIMES, 1e6)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Metrics {
    /// Makes metrics that stand at nothing.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tubepost");
        let accepted = Family::default();
        let accept_time = Family::new_with_constructor(times as fn() -> Histogram);
        let (refused, authentications, connections_refused) = (Family::default(), Family::default(), Family::default());
        let (paths_refused, events_told, events_given_up) = (Family::default(), Family::default(), Family::default());
        let (connections, plugin_reloads) = (Family::default(), Family::default());
        let (commit_time, commit_size, queue) = (times(), Histogram::new(&COUNTS, 1.0), Gauge::default());

        registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("messages_accepted", "Messages that are on disk and acknowledged", accepted.clone());
        registry.register_with_unit("accept_time", "From the end of the content to the answer", Unit::Seconds, accept_time.clone());
        registry.register("messages_refused", "Messages that were not taken", refused.clone());
        registry.register(
            "recipients_refused",
            "Forward-paths that were not taken, while others of the message may be",
            paths_refused.clone(),
        );
        registry.register("authentications", "Logins of clients", authentications.clone());
        registry.register("connections", "Connections of clients that are open", connections.clone());
        registry.register("connections_refused", "Connections beyond a limit", connections_refused.clone());
        let delivery = DeliveryMetrics::register(&mut registry);
        let plugins = AllPlugins::register(&mut registry);
        registry.register("plugin_reloads", "Plugins loaded again while the server runs", plugin_reloads.clone());
        registry.register("plugin_events", "Events that a plugin has taken note of", events_told.clone());
        registry.register("plugin_events_given_up", "Events that a plugin has failed on too often", events_given_up.clone());
        registry.register_with_unit("store_commit_time", "Time from write to sync of a commit", Unit::Seconds, commit_time.clone());
        registry.register("store_commit_size", "Writers that shared a commit", commit_size.clone());
        registry.register("queue_recipients", "Recipients that are not done with", queue.clone());

        let own = OwnMetrics::register(&mut registry);
        Self(Arc::new(Inner {
            registry,
            own,
            accepted: Each::of(&accepted),
            accept_time: Each::of(&accept_time),
            refused: Each::of(&refused),
            paths_refused: Each::of(&paths_refused),
            events_told,
            events_given_up,
            authentications: Each::of(&authentications),
            connections: Each::of(&connections),
            connections_refused: Each::of(&connections_refused),
            delivery,
            plugins,
            plugin_reloads,
            commit_time,
            commit_size,
            queue,
        }))
    }

    /// Counts a message that was acknowledged, `time` after the last octet of it had come in.
    pub fn accepted(&self, ingress: Ingress, time: Duration) {
        self.0.accepted.get(ingress).inc();
        self.0.accept_time.get(ingress).observe(micros(time));
    }

    /// Counts a message that was not taken.
    pub fn refused(&self, class: RefusalClass) {
        self.0.refused.get(class).inc();
    }

    /// Counts a forward-path that was not taken.
    pub fn path_refused(&self, class: RefusalClass) {
        self.0.paths_refused.get(class).inc();
    }

    /// Counts events that a plugin has taken note of.
    pub fn events_told(&self, plugin: &str, count: usize) {
        self.0.events_told.get_or_create_owned(&[("plugin", plugin.to_owned())]).inc_by(count as u64);
    }

    /// Counts events that a plugin will not hear of, as it has failed on them too often.
    pub fn events_given_up(&self, plugin: &str, count: usize) {
        self.0.events_given_up.get_or_create_owned(&[("plugin", plugin.to_owned())]).inc_by(count as u64);
    }

    /// Counts a login.
    pub fn authenticated(&self, result: Authentication) {
        self.0.authentications.get(result).inc();
    }

    /// Counts a client's connection as open until the value that is returned is dropped.
    pub fn connection(&self, ingress: Ingress) -> OpenConnection {
        OpenConnection::new(self.0.connections.get(ingress))
    }

    /// Counts a connection that was closed at once, because a limit was reached.
    pub fn connection_refused(&self, ingress: Ingress) {
        self.0.connections_refused.get(ingress).inc();
    }

    /// Counts one commit of the store: `writers` waited for it, and it took `time`.
    pub fn committed(&self, writers: usize, time: Duration) {
        self.0.commit_size.observe(writers as u64);
        self.0.commit_time.observe(micros(time));
    }

    /// Says how many recipients are not done with.
    pub fn set_queue(&self, recipients: u64) {
        self.0.queue.set(i64::try_from(recipients).unwrap_or(i64::MAX));
    }

    /// Returns what is counted of delivery.
    pub fn delivery(&self) -> &DeliveryMetrics {
        &self.0.delivery
    }

    /// Adds to a counter of a plugin's own; without a name it counts as dropped.
    pub fn plugin_counter(&self, plugin: &str, login: &str, name: Option<&str>, value: u64) {
        self.0.own.add(plugin, login, name, value);
    }

    /// Counts a value of a plugin's own; without a name it counts as dropped.
    pub fn plugin_value(&self, plugin: &str, login: &str, name: Option<&str>, value: f64) {
        self.0.own.observe(plugin, login, name, value);
    }

    /// Returns the metrics of a plugin. Get them once: this takes a lock.
    pub fn plugin(&self, name: &str) -> PluginMetrics {
        self.0.plugins.plugin(name)
    }

    /// Counts that a plugin was loaded again, or that its version from before had to stay.
    pub fn plugin_reloaded(&self, name: &str, success: bool) {
        let result = if success { "switched" } else { "failed" };
        self.0.plugin_reloads.get_or_create_owned(&[("plugin", name.to_owned()), ("result", result.to_owned())]).inc();
    }

    /// Returns all metrics as text of the type [`MEDIA_TYPE`].
    ///
    /// # Panics
    /// Never: a `String` takes everything.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.0.registry).expect("a String takes everything");
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection that is open, as long as this value lives.
#[derive(Debug)]
#[must_use = "the connection counts as open as long as this lives"]
pub struct OpenConnection(Gauge);

impl OpenConnection {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_was_counted() {
        let metrics = Metrics::new();
        let clone = metrics.clone();
        clone.accepted(Ingress::Smtp, Duration::from_micros(250));
        clone.accepted(Ingress::Smtp, Duration::from_micros(251));
        clone.refused(RefusalClass::Rate);
        clone.path_refused(RefusalClass::Plugin);
        clone.events_told("tags", 3);
        clone.events_given_up("tags", 2);
        clone.authenticated(Authentication::Failed);
        let open = clone.connection(Ingress::Http);
        drop(clone.connection(Ingress::Http));
        clone.connection_refused(Ingress::Smtp);
        clone.committed(3, Duration::from_mins(2));
        clone.set_queue(12);
        for _ in 0..5 {
            clone.delivery().route("direct").attempted(DeliveryOutcome::Delivered);
        }
        clone.delivery().route("direct").connected(true);
        clone.delivery().route("direct").transaction();
        clone.delivery().set_destinations(2);
        clone.delivery().reported();
        let _next_hop = clone.delivery().route("direct").connection();
        clone.plugin("tags").login("news").called(PluginOutcome::Trapped, Duration::from_millis(1), 1 << 20);
        clone.plugin_reloaded("tags", false);

        let page = metrics.encode();
        for line in [
            &format!("tubepost_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
            "tubepost_messages_accepted_total{protocol=\"smtp\"} 2",
            "tubepost_messages_accepted_total{protocol=\"http\"} 0",
            "tubepost_accept_time_seconds_sum{protocol=\"smtp\"} 0.000501",
            "tubepost_accept_time_seconds_bucket{le=\"0.00025\",protocol=\"smtp\"} 1",
            "tubepost_accept_time_seconds_bucket{le=\"0.0005\",protocol=\"smtp\"} 2",
            "tubepost_accept_time_seconds_bucket{le=\"+Inf\",protocol=\"smtp\"} 2",
            "tubepost_accept_time_seconds_count{protocol=\"smtp\"} 2",
            "tubepost_messages_refused_total{reason=\"rate\"} 1",
            "tubepost_recipients_refused_total{reason=\"plugin\"} 1",
            "tubepost_plugin_events_total{plugin=\"tags\"} 3",
            "tubepost_plugin_events_given_up_total{plugin=\"tags\"} 2",
            "tubepost_authentications_total{result=\"failed\"} 1",
            "tubepost_connections{protocol=\"http\"} 1",
            "tubepost_connections_refused_total{protocol=\"smtp\"} 1",
            "tubepost_recipients_total{route=\"direct\",outcome=\"delivered\"} 5",
            "tubepost_recipients_total{route=\"direct\",outcome=\"bounced\"} 0",
            "tubepost_delivery_connections{route=\"direct\"} 1",
            "tubepost_delivery_connections_made_total{route=\"direct\"} 1",
            "tubepost_delivery_connections_failed_total{route=\"direct\"} 0",
            "tubepost_delivery_transactions_total{route=\"direct\"} 1",
            "tubepost_delivery_destinations 2",
            "tubepost_delivery_reports_total 1",
            "tubepost_plugin_calls_total{plugin=\"tags\",login=\"news\",outcome=\"trapped\"} 1",
            "tubepost_plugin_time_seconds_count{plugin=\"tags\",login=\"news\"} 1",
            "tubepost_plugin_memory_bytes_count{plugin=\"tags\",login=\"news\"} 1",
            "tubepost_plugin_reloads_total{plugin=\"tags\",result=\"failed\"} 1",
            "tubepost_store_commit_time_seconds_bucket{le=\"60.0\"} 0",
            "tubepost_store_commit_time_seconds_bucket{le=\"+Inf\"} 1",
            "tubepost_store_commit_size_bucket{le=\"4.0\"} 1",
            "tubepost_queue_recipients 12",
            "# EOF",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
        drop(open);
        assert!(metrics.encode().contains("tubepost_connections{protocol=\"http\"} 0"));
    }
}
