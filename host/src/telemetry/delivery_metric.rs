//! What is counted and measured of delivery: attempts by route, connections to next hops and their TLS, and mail that came back.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metric::{DeliveryOutcome, Each, Label as _, Labels, OpenConnection};

/// The metrics of delivery.
#[derive(Debug)]
pub struct DeliveryMetrics {
    recipients: Family<Labels<2>, Counter>,
    connections: Family<Labels<1>, Gauge>,
    connections_made: Family<Labels<1>, Counter>,
    connections_failed: Family<Labels<1>, Counter>,
    transactions: Family<Labels<1>, Counter>,
    destinations: Gauge,
    reports: Counter,
    bounces: Family<Labels<1>, Counter>,
    returned_mail: Family<Labels<1>, Counter>,
    source_failures: Family<Labels<1>, Counter>,
    protections: Family<Labels<1>, Counter>,
    tls_sessions: Family<Labels<2>, Counter>,
    tls_reports: Family<Labels<1>, Counter>,
    tls_uncounted: Counter,
}

impl DeliveryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (recipients, connections, connections_made) = (Family::default(), Family::default(), Family::default());
        let (connections_failed, transactions) = (Family::default(), Family::default());
        let (destinations, reports) = (Gauge::default(), Counter::default());
        let (source_failures, protections) = (Family::default(), Family::default());
        registry.register("recipients", "Attempts to deliver, by recipient", recipients.clone());
        registry.register("delivery_connections", "Connections to next hops that are open or being made", connections.clone());
        registry.register("delivery_connections_made", "Connections to next hops that were made", connections_made.clone());
        registry.register("delivery_connections_failed", "Destinations none of whose hosts answered", connections_failed.clone());
        registry.register("delivery_transactions", "Transactions with next hops that were begun", transactions.clone());
        registry.register("delivery_destinations", "Destinations that are worked on", destinations.clone());
        registry.register("delivery_reports", "Delivery reports (DSNs) that were made", reports.clone());
        let (bounces, returned_mail) = (Family::<Labels<1>, Counter>::default(), Family::<Labels<1>, Counter>::default());
        registry.register("bounces", "Recipients that mail will not reach, by what that means", bounces.clone());
        registry.register("returned_mail", "Mail that came back and was understood, by what it was", returned_mail.clone());
        registry.register("delivery_connections_protected", "Connections to next hops, by what asked for their TLS", protections.clone());
        let (tls_sessions, tls_reports) = (Family::<Labels<2>, Counter>::default(), Family::<Labels<1>, Counter>::default());
        registry.register(
            "delivery_tls_sessions",
            "Connections to hosts found by MX, by the policy of their domain and what became of TLS",
            tls_sessions.clone(),
        );
        registry.register(
            "delivery_tls_reports",
            "Reports on TLS of a domain and day (RFC 8460), by what became of them",
            tls_reports.clone(),
        );
        let tls_uncounted = Counter::default();
        registry.register(
            "delivery_tls_uncounted",
            "Connections of which reports on TLS tell nothing, or not all, as there is no room",
            tls_uncounted.clone(),
        );
        registry.register("delivery_source_failures", "Connections that a source's address could not be used for", source_failures.clone());
        Self {
            recipients,
            connections,
            connections_made,
            connections_failed,
            transactions,
            destinations,
            reports,
            bounces,
            returned_mail,
            source_failures,
            protections,
            tls_sessions,
            tls_reports,
            tls_uncounted,
        }
    }

    /// Says how many destinations are worked on.
    pub fn set_destinations(&self, destinations: usize) {
        self.destinations.set(i64::try_from(destinations).unwrap_or(i64::MAX));
    }

    /// Counts a delivery report.
    pub fn reported(&self) {
        self.reports.inc();
    }

    /// Counts a recipient that mail will not reach, whether his server said so at once or later.
    pub fn bounced(&self, class: &'static str) {
        self.bounces.get_or_create(&[("class", class.to_owned())]).inc();
    }

    /// Counts mail that came back, by the event that it made.
    pub fn returned(&self, kind: &'static str) {
        self.returned_mail.get_or_create(&[("kind", kind.to_owned())]).inc();
    }

    /// Counts a connection that could not be made as the address of a source cannot be used.
    pub fn source_failed(&self, source: &str) {
        self.source_failures.get_or_create_owned(&[("source", source.to_owned())]).inc();
    }

    /// Counts a connection that was made, by what asked for its TLS: `mta-sts`, `opportunistic`, …, or `none`.
    pub fn protected(&self, policy: &str) {
        self.protections.get_or_create_owned(&[("policy", policy.to_owned())]).inc();
    }

    /// Counts a connection by the policy that was in force and what became of TLS, both in the words of RFC 8460.
    pub fn tls_session(&self, policy: &'static str, result: &'static str) {
        self.tls_sessions.get_or_create_owned(&[("policy", policy.to_owned()), ("result", result.to_owned())]).inc();
    }

    /// Counts reports on TLS that ended alike.
    pub fn tls_reported(&self, result: &'static str, reports: usize) {
        // Nobody wants to see a result that there never was.
        if reports > 0 {
            self.tls_reports.get_or_create_owned(&[("result", result.to_owned())]).inc_by(reports as u64);
        }
    }

    /// Counts a connection that there was no room to report.
    pub fn tls_uncounted(&self) {
        self.tls_uncounted.inc();
    }

    /// Returns the handle of a route. Get it once: this takes a lock.
    pub fn route(&self, name: &str) -> RouteMetrics {
        let route = || ("route", name.to_owned());
        let outcome = |outcome: DeliveryOutcome| {
            let labels = [route(), (DeliveryOutcome::KEY, outcome.text().to_owned())];
            self.recipients.get_or_create_owned(&labels)
        };
        RouteMetrics {
            outcomes: Each::new(outcome),
            connections: self.connections.get_or_create_owned(&[route()]),
            connections_made: self.connections_made.get_or_create_owned(&[route()]),
            connections_failed: self.connections_failed.get_or_create_owned(&[route()]),
            transactions: self.transactions.get_or_create_owned(&[route()]),
        }
    }
}

/// The metrics of one route.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    outcomes: Each<DeliveryOutcome, Counter>,
    connections: Gauge,
    connections_made: Counter,
    connections_failed: Counter,
    transactions: Counter,
}

impl RouteMetrics {
    /// Counts what came of an attempt for one recipient.
    pub fn attempted(&self, outcome: DeliveryOutcome) {
        self.outcomes.get(outcome).inc();
    }

    /// Counts a try to connect to a destination: with success, or with none at any of its hosts.
    pub fn connected(&self, success: bool) {
        if success { &self.connections_made } else { &self.connections_failed }.inc();
    }

    /// Counts a transaction that was begun.
    pub fn transaction(&self) {
        self.transactions.inc();
    }

    /// Counts a connection to a next hop as open until the value that is returned is dropped.
    pub fn connection(&self) -> OpenConnection {
        OpenConnection::new(&self.connections)
    }
}
