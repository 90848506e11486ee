//! `/healthz`, `/readyz` and `/metrics`: for orchestrators and Prometheus.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::origin::Origin;
use super::problem::{Dialect, Problem};
use super::{Services, dashboard};
use crate::telemetry::metric::MEDIA_TYPE;

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// It takes mail: 200, or 503 with the reason.
pub(super) async fn readyz(State(services): State<Arc<Services>>) -> Response {
    match (services.ready)() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// Metrics, for this machine, trusted proxies and peers on their own account, and whoever is logged in on the dashboard. Others see nothing.
pub(super) async fn metrics(State(services): State<Arc<Services>>, Extension(origin): Extension<Origin>, headers: HeaderMap) -> Response {
    let may_look = origin.internal || (origin.protected && dashboard::is_open_for(&services, &headers));
    if !may_look {
        return Problem::NotFound.response(Dialect::Plain);
    }
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], (services.metrics)()).into_response()
}
