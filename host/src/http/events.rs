//! `GET /v1/events/messageid/ID`: what became of a message, in the words of SMTPeter.
//!
//! | our events | theirs |
//! |---|---|
//! | deferred | `attempt` |
//! | delivered | `delivery` |
//! | bounced | `failure` |
//! | opened, clicked | `open`, `click` |
//!
//! The others have no name of theirs, and go under their own. A login sees its own messages; an administrator sees all.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::Services;
use super::origin::Origin;
use super::problem::{Dialect, Problem};
use super::rest::{credentials_problem, token};
use crate::event::Event;
use crate::mail::message_id::CopyId;
use crate::mail::refusal::Refusal;
use crate::submission::login::Principal;

/// Tells the events of one message, the oldest first.
pub(super) async fn of_message(
    State(services): State<Arc<Services>>,
    Extension(origin): Extension<Origin>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let is_get = request.method() == Method::GET;
    let token = token(request.headers(), request.uri());
    match events(&services, &origin, &id, is_get, token).await {
        Ok(value) => {
            let mut response = Response::new(Body::from(value.to_string()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(problem) => problem.response(Dialect::V1),
    }
}

async fn events(services: &Services, origin: &Origin, id: &str, is_get: bool, token: Option<String>) -> Result<Value, Problem> {
    if !is_get {
        return Err(Problem::MethodNotAllowed("GET"));
    }
    let token = token.ok_or(Problem::MissingCredentials)?;
    let principal = services.logins.principal(&token, origin.ip).map_err(credentials_problem)?;
    // Whose a message is that is not his, or whether there is one, is nobody's business.
    let id: CopyId = id.parse().map_err(|_| Problem::NotFound)?;
    let found = services.archive.message(id.message).await.map_err(|_| Problem::Refused(Refusal::StorageFailed))?;
    let found = found.ok_or(Problem::NotFound)?;
    let is_his = |event: &Event| match &principal {
        Principal::Administrator(_) => true,
        Principal::Login(login) => event.login == login.name,
    };
    if !found.events.iter().any(is_his) {
        return Err(Problem::NotFound);
    }
    Ok(found.events.iter().filter(|event| is_his(event)).filter_map(told).collect())
}

/// An event as SMTPeter tells it: its name, its time, and the rest as `data`.
fn told(event: &Event) -> Option<Value> {
    let Value::Object(mut fields) = serde_json::to_value(event).ok()? else { return None };
    let name = fields.remove("event")?;
    let name = match name.as_str()? {
        "deferred" => "attempt",
        "delivered" => "delivery",
        "bounced" => "failure",
        "opened" => "open",
        "clicked" => "click",
        other => other,
    };
    let time = event.at.to_rfc3339().replacen('T', " ", 1);
    let time = time.get(..19).unwrap_or(&time).to_owned();
    let mut data = Map::from_iter([("id".to_owned(), event.message.to_string().into()), ("time".to_owned(), time.clone().into())]);
    if let Some(address) = fields.remove("address") {
        data.insert("recipient".to_owned(), address);
    }
    fields.retain(|key, _| !matches!(key.as_str(), "at" | "message" | "login" | "recipient"));
    data.extend(fields);
    Some(json!({ "event": name, "time": time, "data": data }))
}
