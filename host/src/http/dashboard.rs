//! Placeholder.
use super::Services;
use axum::Router;
use axum::http::HeaderMap;
use std::sync::Arc;
/// x
#[derive(Clone)]
pub struct Access;
pub(super) fn router(_s: &Arc<Services>) -> Router<Arc<Services>> {
    Router::new()
}
pub(super) fn is_open_for(_s: &Services, _h: &HeaderMap) -> bool {
    false
}
