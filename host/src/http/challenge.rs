//! Answers to authorities that want to see whether a name is ours (ACME, RFC 8555 §8.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;

use super::Services;

/// What is to be answered, by token. Clones are the same; it holds what one order needs.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<RwLock<BTreeMap<String, String>>>);

impl Challenges {
    /// Answers `token` with `answer` from now on.
    pub fn put(&self, token: &str, answer: &str) {
        self.0.write().insert(token.to_owned(), answer.to_owned());
    }

    /// Answers nothing any more.
    pub fn clear(&self) {
        self.0.write().clear();
    }
}

/// `GET /.well-known/acme-challenge/TOKEN`.
pub(super) async fn answer(State(services): State<Arc<Services>>, Path(token): Path<String>) -> Response {
    match services.challenges.0.read().get(&token) {
        Some(answer) => ([(header::CONTENT_TYPE, "application/octet-stream")], answer.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
