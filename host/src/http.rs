//! Everything over HTTP: REST, public links, health and metrics, the dashboard.
//!
//! | module | is |
//! |---|---|
//! | [`origin`] | where a request comes from, trusted proxies looked through |
//! | [`problem`] | refusals and mistakes as each dialect says them |
//! | [`body`], [`json`], [`fields`], [`address_list`], [`attachment`], [`raw_mime`] | from octets to fields to values |
//! | [`v1`], [`turbosmtp`], [`mailpace`] | one dialect each: fields → [`order::Order`], pure functions |
//! | [`compose`] | fields → MIME |
//! | [`rest`] | the handlers of the three: who, what, submit, answer |
//! | [`queue`] | what waits, suspending it, and why mail goes as it does |
//! | [`idempotency`] | calls that are made again |
//! | [`dmarc_reports`] | DMARC reports that came in |
//! | [`logins`], [`events`] | logins that are made while the server runs; what became of a message |
//! | [`sender_domains`] | domains that mail is sent from, over REST |
//! | [`suppressions`] | suppression list and allow list |
//! | [`public`] | clicks, openings, unsubscribing |
//! | [`status`] | `/healthz`, `/readyz`, `/metrics` |
//! | [`dashboard`] | for people |
//! | [`serve`] | sockets, TLS, limits, draining |
//!
//! Credentials and mail in the clear are refused (400) except from loopback and through a trusted proxy that says `https`; public links and
//! health answer on plain HTTP too. Query strings are logged nowhere: tokens stand in them.

pub mod address_list;
pub mod attachment;
pub mod body;
pub mod challenge;
pub mod compose;
pub mod dashboard;
pub mod dmarc_reports;
pub mod events;
pub mod fields;
pub mod idempotency;
pub mod json;
pub mod logins;
pub mod mailpace;
pub mod order;
pub mod origin;
pub mod problem;
pub mod public;
pub mod queue;
pub mod raw_mime;
pub mod rest;
pub mod sender_domains;
pub mod serve;
pub mod status;
pub mod suppressions;
pub mod turbosmtp;
pub mod v1;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use tokio_util::task::TaskTracker;

use crate::archive::Archive;
use crate::clock::{Clock, Entropy};
use crate::config::{Chain, Http, IpNetwork};
use crate::event::recorder::Recorder;
use crate::feedback::Feedback;
use crate::link::LinkSigner;
use crate::mail::domain::Domain;
use crate::sending_domain::SendingDomains;
use crate::submission::login::Logins;
use origin::{Connection, Origin};
use problem::{Dialect, Problem};
use serve::Serving;

/// What handlers work with.
#[derive(Clone)]
pub struct Services {
    /// Takes submissions, and knows what became of them.
    pub archive: Archive,
    /// Knows who may submit.
    pub logins: Logins,
    /// Knows the DMARC reports that came in.
    pub feedback: Feedback,
    /// Domains that mail is sent from.
    pub domains: SendingDomains,
    /// Takes events of public links.
    pub recorder: Recorder,
    /// Knows its own links.
    pub links: LinkSigner,
    /// Tells the time.
    pub clock: Clock,
    /// Knows calls that were made before.
    pub idempotency: idempotency::Keys,
    /// Seals what a login is told of the queue that is not its own.
    pub places: queue::place::Places,
    /// For ids, boundaries, sessions.
    pub entropy: Entropy,
    /// Domain of Message-IDs.
    pub hostname: Domain,
    /// Whose forwarding headers count.
    pub trusted_proxies: Arc<[IpNetwork]>,
    /// Plugins by chain.
    pub chains: Arc<BTreeMap<Arc<str>, Chain>>,
    /// Limits.
    pub limits: Http,
    /// How long a message may ask to be held, over REST as over SMTP.
    pub longest_hold: Duration,
    /// Who may look at the dashboard.
    pub dashboard: dashboard::Access,
    /// Writes metrics in the text format of `OpenMetrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What authorities ask for before they give a certificate.
    pub challenges: challenge::Challenges,
    /// Says why the server is not ready, if it is not.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Events that are still being written after their response; whoever stops the server waits for it.
    pub background: TaskTracker,
}

/// Builds what a server serves.
pub fn serving(services: Services) -> Serving {
    Serving { limits: services.limits.clone(), trusted_proxies: services.trusted_proxies.clone(), router: router(services) }
}

/// Builds the router. Requests need a [`Connection`] in their extensions.
pub fn router(services: Services) -> Router {
    let room = body::Room::new(services.limits.body_size.0);
    let services = Arc::new(services);
    let rest = Router::new()
        .route("/v1/send", any(rest::v1_send))
        .route("/v1/dmarc", any(dmarc_reports::days))
        .route("/v1/dmarc/{*path}", any(dmarc_reports::report))
        .route("/v1/logins", any(logins::all))
        .route("/v1/logins/{name}", any(logins::one))
        .route("/v1/logins/{name}/regenerate", any(logins::regenerate))
        .route("/v1/queue", any(queue::list))
        .route("/v1/queue/summary", any(queue::summary))
        .route("/v1/queue/retry", any(queue::retry))
        .route("/v1/queue/cancel", any(queue::cancel))
        .route("/v1/queue/suspensions", any(queue::suspensions))
        .route("/v1/queue/suspensions/{number}", any(queue::suspension))
        .route("/v1/explain", any(queue::explain))
        .route("/v1/events/messageid/{id}", any(events::of_message))
        .route("/v1/domains", any(sender_domains::domains))
        .route("/v1/domain/{*path}", any(sender_domains::domain))
        .route("/v1/dns/{*path}", any(sender_domains::dns))
        .route("/v1/dkimkey/{*path}", any(sender_domains::dkim_key))
        .route("/v1/dkimkeys", any(sender_domains::dkim_keys))
        .route("/v1/dkimkeys/{*path}", any(sender_domains::dkim_keys))
        .route("/v1/spf/{*path}", any(sender_domains::spf))
        .route("/v1/suppressions", any(suppressions::native::suppressions))
        .route("/v1/suppressions/{address}", any(suppressions::native::suppression))
        .route("/v1/allowances", any(suppressions::native::allowances))
        .route("/v1/allowances/{address}", any(suppressions::native::allowance))
        .route("/api/v2/suppressions", any(suppressions::turbosmtp::answer))
        .route("/api/v2/suppressions/{*path}", any(suppressions::turbosmtp::answer))
        .route("/api/mail/send", any(rest::turbosmtp_send))
        .route("/api/v1/send", any(rest::mailpace_send))
        .fallback(not_found)
        .layer(Extension(room))
        .merge(dashboard::router(&services))
        .layer(middleware::from_fn(refuse_unprotected));
    Router::new()
        // A path is the operator's: what looks like a placeholder of long ago in it is none.
        .without_v07_checks()
        .merge(public_links(services.links.path()))
        .route("/.well-known/acme-challenge/{token}", get(challenge::answer))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .merge(rest)
        .layer(middleware::from_fn_with_state(services.clone(), find_origin))
        .with_state(services)
}

/// The links in mail, below the path of the public address; without it too, as a proxy may take it off.
fn public_links(path: &str) -> Router<Arc<Services>> {
    let links = Router::new()
        .without_v07_checks()
        .route("/t/{*link}", get(public::follow))
        .route("/u/{*link}", get(public::ask).post(public::unsubscribe));
    if path.is_empty() { links } else { links.clone().nest(path, links) }
}

/// Puts the [`Origin`] of a request into its extensions.
async fn find_origin(State(services): State<Arc<Services>>, mut request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Connection>().copied() else {
        // Without the server in front of it nothing is known of the client: nothing is trusted.
        return Problem::Unprotected.response(Dialect::of(request.uri().path()));
    };
    let origin = Origin::of(connection, request.headers(), &services.trusted_proxies);
    request.extensions_mut().insert(origin);
    next.run(request).await
}

/// Refuses what others could have read on the way, before anybody looks at the credentials in it.
async fn refuse_unprotected(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let dialect = Dialect::of(path);
    let has_secrets = dialect != Dialect::Plain || path == "/" || path.starts_with("/dashboard");
    if !has_secrets || request.extensions().get::<Origin>().is_some_and(|origin| origin.protected) {
        return next.run(request).await;
    }
    Problem::Unprotected.response(dialect)
}

async fn not_found(request: Request) -> Response {
    Problem::NotFound.response(Dialect::of(request.uri().path())).into_response()
}

#[cfg(test)]
mod tests;
