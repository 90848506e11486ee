//! turboSMTP's calls below `/api/v2/suppressions`, with its answers to the letter.
//!
//! There are no accounts yet: the consumer pair is user name and password of a login (or its token twice), and `Authorization` holds the token of
//! a login or an administrator.

use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tracing::warn;

use super::parameters::{self, Zone};
use super::{Call, csv_file, entries, visible};
use crate::http::problem::{Dialect, Problem};
use crate::http::{body, json as values};
use crate::store::StoreError;
use crate::submission::login::{LoginError, Principal};
use crate::suppression::entry::{Entry, List, Recipient, Scope, Source};
use crate::suppression::import::Imported;
use crate::suppression::query::Query;

/// Why a call is not answered as its sender would like.
enum Failure {
    /// In turboSMTP's words.
    Said(StatusCode, &'static str),
    Problem(Problem),
    Store(StoreError),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn bad(text: &'static str) -> Failure {
    Failure::Said(StatusCode::BAD_REQUEST, text)
}

/// `/api/v2/suppressions` and below.
pub(in crate::http) async fn answer(call: Call) -> Response {
    match route(call).await {
        Ok(response) => response,
        Err(Failure::Said(status, text)) => super::json(status, &json!({ "message": text })),
        Err(Failure::Problem(problem)) => super::json(problem.status(Dialect::TurboSmtp), &message_of(&problem)),
        Err(Failure::Store(error)) => {
            warn!(%error, "the suppression list could not be read or changed");
            let text = if error == StoreError::Full { "suppression_list_is_full" } else { "server_unavailable" };
            super::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "message": text }))
        }
    }
}

fn message_of(problem: &Problem) -> Value {
    let text = match problem {
        Problem::BodyTooLarge { .. } => "request_is_too_large",
        Problem::NotFound => "not_found",
        Problem::MethodNotAllowed(_) => "method_not_allowed",
        Problem::TimedOut => "request_timed_out",
        Problem::MediaType => "content_type_is_not_supported",
        Problem::Refused(_)
        | Problem::Flaws(_)
        | Problem::SenderUnreadable
        | Problem::MissingCredentials
        | Problem::WrongCredentials
        | Problem::Forbidden
        | Problem::TooManyFailures { .. }
        | Problem::Unprotected
        | Problem::KeyInUse
        | Problem::KeyOfAnother
        | Problem::BodyUnreadable(_) => "request_is_not_readable",
    };
    json!({ "message": text })
}

async fn route(mut call: Call) -> Result<Response, Failure> {
    let principal = match call.principal().await {
        Ok(Some(principal)) => principal,
        Ok(None) => return Err(Failure::Said(StatusCode::UNAUTHORIZED, "missing_authorization_key")),
        Err(LoginError::Wrong) => return Err(Failure::Said(StatusCode::UNAUTHORIZED, "invalid_authorization_key")),
        Err(LoginError::TooManyFailures { .. }) => return Err(Failure::Said(StatusCode::TOO_MANY_REQUESTS, "too_many_failures")),
        Err(LoginError::Busy) => return Err(Failure::Said(StatusCode::SERVICE_UNAVAILABLE, "server_unavailable")),
    };
    let below = call.parts.uri.path().trim_end_matches('/').strip_prefix("/api/v2/suppressions").unwrap_or_default().to_owned();
    let is_get = call.parts.method == Method::GET;
    if !is_get && call.parts.method != Method::POST {
        return Err(Problem::MethodNotAllowed("GET, POST").into());
    }
    match (below.as_str(), is_get) {
        ("", _) => {
            let (query, zone) = query(&mut call, &principal).await?;
            let found = call.lists().find(&query).await?;
            let results: Vec<Value> = found.entries.iter().map(|entry| shown(entry, zone)).collect();
            Ok(super::json(StatusCode::OK, &json!({ "count": found.count, "results": results })))
        }
        ("/csv", _) => {
            let (query, _) = query(&mut call, &principal).await?;
            Ok(csv_file(call.lists(), query).await?)
        }
        ("/import", false) => import(&mut call, &principal).await,
        ("/bulk_delete", false) => bulk_delete(&mut call, &principal).await,
        ("/delete", false) => {
            let (query, _) = query(&mut call, &principal).await?;
            call.lists().remove_found(&query).await?;
            Ok(super::json(StatusCode::OK, &json!({ "success": true })))
        }
        ("/import" | "/bulk_delete" | "/delete", true) => Err(Problem::MethodNotAllowed("POST").into()),
        _ => Err(Problem::NotFound.into()),
    }
}

/// The query of a call: in the query string, or with POST in the body.
async fn query(call: &mut Call, principal: &Principal) -> Result<(Query, Zone), Failure> {
    let fields = if call.parts.method == Method::GET {
        parameters::of_pairs(call.query())
    } else {
        let (octets, _place) = call.octets().await?;
        if octets.is_empty() { Map::new() } else { values::object(&octets, call.services.limits.json_values).map_err(Problem::from)? }
    };
    let (query, zone) = parameters::read(&fields).map_err(bad)?;
    Ok((Query { scope: visible(principal), ..query }, zone))
}

fn shown(entry: &Entry, zone: Zone) -> Value {
    let note = &entry.note;
    json!({
        "date": zone.show(note.at),
        "sender": note.sender,
        "source": note.source.word(),
        "subject": note.subject,
        "recipient": entry.recipient.as_str(),
        "reason": note.reason,
    })
}

/// Addresses in JSON, or in a file.
async fn import(call: &mut Call, principal: &Principal) -> Result<Response, Failure> {
    let scope = visible(principal).unwrap_or(Scope::Global);
    let (octets, _place) = call.octets().await?;
    let mut fields = body::fields(&call.parts.headers, octets, call.services.limits.json_values).await?;
    let text = |name: &str| fields.text(&[name]).ok().flatten();
    let reason = text("reason").unwrap_or_default();
    let mut imported = Imported::default();
    if is_multipart(call) || text("type").as_deref() == Some("file") {
        let file = fields.files.pop().ok_or(bad("missing_upload_file"))?;
        let file = std::str::from_utf8(&file.content).map_err(|_| bad("invalid_mail_address_list"))?;
        imported.add_file(file, &scope);
    } else {
        let Some((_, Value::Array(content))) = fields.get(&["content"]) else { return Err(bad("invalid_mail_address_list")) };
        for element in content {
            imported.add(element.as_str().ok_or(bad("invalid_mail_address_list"))?, &scope);
        }
    }
    if imported.valid.is_empty() && imported.invalid.is_empty() {
        return Err(bad("invalid_mail_address_list"));
    }
    if let Some(first) = imported.valid.first() {
        let lists = call.lists();
        let mut template = lists.entry(List::Blocked, scope, first.clone(), &reason);
        template.note.source = Source::Manual;
        lists.put(&entries(&template, &imported.valid)).await?;
    }
    let valid: Vec<&str> = imported.valid.iter().map(Recipient::as_str).collect();
    Ok(super::json(StatusCode::OK, &json!({ "status": "success", "valid": valid, "invalid": imported.invalid })))
}

fn is_multipart(call: &Call) -> bool {
    let kind = call.parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

/// A bare array of addresses.
async fn bulk_delete(call: &mut Call, principal: &Principal) -> Result<Response, Failure> {
    let (octets, _place) = call.octets().await?;
    let parsed = values::parse(&octets, call.services.limits.json_values);
    let Ok(Value::Array(elements)) = parsed else { return Err(bad("no_contacts_were_provided")) };
    let recipients: Vec<Recipient> = elements.iter().filter_map(|element| element.as_str()?.trim().parse().ok()).collect();
    if elements.is_empty() {
        return Err(bad("no_contacts_were_provided"));
    }
    let lists = call.lists();
    match visible(principal) {
        Some(scope) => lists.remove(List::Blocked, &scope, &recipients).await?,
        None => lists.remove_everywhere(List::Blocked, &recipients).await?,
    };
    Ok(super::json(StatusCode::OK, &json!({ "success": true })))
}
