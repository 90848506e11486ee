//! Our own calls: `/v1/suppressions` and `/v1/allowances`, one list each, with the same fields.
//!
//! | call | does |
//! |---|---|
//! | `GET` | finds entries: `scope`, `source`, `filter`, `offset`, `limit`; `format=csv` is a file |
//! | `GET /ADDRESS` | entries of one address |
//! | `POST` | puts `addresses` (a list, or a file) there: `scope`, `reason`, `source` |
//! | `DELETE /ADDRESS` | takes one off: `scope` |

use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tracing::warn;

use super::{Call, csv_file, entries, visible};
use crate::http::body;
use crate::http::fields::Fields;
use crate::http::problem::{Dialect, Flaw, Problem};
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;
use crate::store::StoreError;
use crate::submission::login::{LoginError, Principal};
use crate::suppression::entry::{Entry, List, Recipient, Scope, Source};
use crate::suppression::import::Imported;
use crate::suppression::query::{Query, Words};

/// Entries of a page where nobody says otherwise, and at most.
const ENTRIES: usize = 100;
const MOST_ENTRIES: usize = 10_000;

/// `/v1/suppressions`.
pub(in crate::http) async fn suppressions(call: Call) -> Response {
    respond(all(List::Blocked, call).await)
}

/// `/v1/suppressions/ADDRESS`.
pub(in crate::http) async fn suppression(Path(address): Path<String>, call: Call) -> Response {
    respond(one(List::Blocked, &address, &call).await)
}

/// `/v1/allowances`.
pub(in crate::http) async fn allowances(call: Call) -> Response {
    respond(all(List::Allowed, call).await)
}

/// `/v1/allowances/ADDRESS`.
pub(in crate::http) async fn allowance(Path(address): Path<String>, call: Call) -> Response {
    respond(one(List::Allowed, &address, &call).await)
}

fn respond(answer: Result<Response, Problem>) -> Response {
    answer.unwrap_or_else(|problem| problem.response(Dialect::V1))
}

fn store_problem(error: &StoreError) -> Problem {
    warn!(%error, "the suppression list could not be read or changed");
    Problem::Refused(if *error == StoreError::Full { Refusal::StorageFull } else { Refusal::StorageFailed })
}

async fn principal(call: &Call) -> Result<Principal, Problem> {
    match call.principal().await {
        Ok(Some(principal)) => Ok(principal),
        Ok(None) => match call.query().into_iter().find(|(name, _)| name == "access_token") {
            Some((_, token)) => call.services.logins.principal(&token, call.origin.ip).map_err(login_problem),
            None => Err(Problem::MissingCredentials),
        },
        Err(error) => Err(login_problem(error)),
    }
}

fn login_problem(error: LoginError) -> Problem {
    match error {
        LoginError::Wrong => Problem::WrongCredentials,
        LoginError::Busy => Problem::Refused(Refusal::Overloaded),
        LoginError::TooManyFailures { retry_after } => Problem::TooManyFailures { retry_after },
    }
}

/// The scope that a call names, as far as its sender may; none is all that he sees.
fn scope(principal: &Principal, named: Option<String>) -> Result<Option<Scope>, Problem> {
    let own = visible(principal);
    let named = named.filter(|text| !text.is_empty()).map(|text| text.parse::<Scope>()).transpose();
    match (named.map_err(|error| Flaw::new("scope", error.to_string()))?, own) {
        (named, None) => Ok(named),
        (None, own) => Ok(own),
        (named, own) if named == own => Ok(own),
        _ => Err(Flaw::new("scope", "is not the login's own: that takes an administrator").into()),
    }
}

fn source(word: &str) -> Result<Source, Problem> {
    Source::of_word(word).ok_or_else(|| Flaw::new("source", format!("is one of {}", Source::ALL.map(Source::word).join(", "))).into())
}

async fn all(list: List, mut call: Call) -> Result<Response, Problem> {
    let principal = principal(&call).await?;
    match call.parts.method {
        Method::GET => find(list, &call, &principal).await,
        Method::POST => {
            let (octets, _place) = call.octets().await?;
            let fields = body::fields(&call.parts.headers, octets, call.services.limits.json_values).await?;
            add(list, &call, &principal, &fields).await
        }
        _ => Err(Problem::MethodNotAllowed("GET, POST")),
    }
}

async fn find(list: List, call: &Call, principal: &Principal) -> Result<Response, Problem> {
    let pairs = call.query();
    let text = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).filter(|text| !text.is_empty());
    let number = |name: &str, default: usize| match text(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Problem::from(Flaw::new(name, "is no number"))),
    };
    let query = Query {
        list: Some(list),
        scope: scope(principal, text("scope"))?,
        sources: text("source").map(|word| source(&word)).transpose()?.into_iter().collect(),
        filter: text("filter").map(|text| Words::new(&text, false)),
        offset: number("offset", 0)?,
        limit: number("limit", ENTRIES)?.min(MOST_ENTRIES),
        ..Query::default()
    };
    match text("format").as_deref() {
        Some("csv") => csv_file(call.lists(), query).await.map_err(|error| store_problem(&error)),
        None | Some("json") => {
            let found = call.lists().find(&query).await.map_err(|error| store_problem(&error))?;
            let results: Vec<Value> = found.entries.iter().map(Entry::to_json).collect();
            Ok(super::json(StatusCode::OK, &json!({ "count": found.count, "results": results })))
        }
        Some(_) => Err(Flaw::new("format", "is json or csv").into()),
    }
}

async fn add(list: List, call: &Call, principal: &Principal, fields: &Fields) -> Result<Response, Problem> {
    let scope = scope(principal, fields.text(&["scope"])?)?.unwrap_or(Scope::Global);
    let reason = fields.text(&["reason"])?.unwrap_or_default();
    let source = fields.text(&["source"])?.map_or(Ok(Source::Manual), |word| source(&word))?;
    let mut imported = Imported::default();
    for file in &fields.files {
        let text = std::str::from_utf8(&file.content).map_err(|_| Flaw::new(file.field.as_str(), "is not UTF-8"))?;
        imported.add_file(text, &scope);
    }
    match fields.get(&["addresses", "address"]) {
        None if fields.files.is_empty() => return Err(Flaw::new("addresses", "is missing").into()),
        None => {}
        Some((_, Value::String(text))) => imported.add(text, &scope),
        Some((name, Value::Array(elements))) => {
            for element in elements {
                imported.add(element.as_str().ok_or_else(|| Flaw::new(name, "is a list of texts"))?, &scope);
            }
        }
        Some((name, _)) => return Err(Flaw::new(name, "is a list of texts").into()),
    }
    if let Some(first) = imported.valid.first() {
        let lists = call.lists();
        let mut template = lists.entry(list, scope, first.clone(), &reason);
        template.note.source = source;
        lists.put(&entries(&template, &imported.valid)).await.map_err(|error| store_problem(&error))?;
    }
    let valid: Vec<&str> = imported.valid.iter().map(Recipient::as_str).collect();
    Ok(super::json(StatusCode::OK, &json!({ "valid": valid, "invalid": imported.invalid })))
}

async fn one(list: List, address: &str, call: &Call) -> Result<Response, Problem> {
    let principal = principal(call).await?;
    let named = call.query().into_iter().find(|(name, _)| name == "scope").map(|(_, value)| value);
    let scope = scope(&principal, named)?;
    let address = address.parse::<EmailAddress>().map_err(|error| Flaw::new("address", error.to_string()))?;
    let recipient = Recipient::of(&address);
    let lists = call.lists();
    match call.parts.method {
        Method::GET => {
            let standing = lists.standing_of(&recipient).await.map_err(|error| store_problem(&error))?;
            let own =
                standing.entries().iter().filter(|entry| entry.list == list && scope.as_ref().is_none_or(|scope| *scope == entry.scope));
            let results: Vec<Value> = own.map(Entry::to_json).collect();
            if results.is_empty() {
                return Err(Problem::NotFound);
            }
            Ok(super::json(StatusCode::OK, &json!({ "count": results.len(), "results": results })))
        }
        Method::DELETE => {
            let removed = match scope {
                Some(scope) => lists.remove(list, &scope, &[recipient]).await,
                None => lists.remove_everywhere(list, &[recipient]).await,
            };
            match removed.map_err(|error| store_problem(&error))? {
                0 => Err(Problem::NotFound),
                removed => Ok(super::json(StatusCode::OK, &json!({ "removed": removed }))),
            }
        }
        _ => Err(Problem::MethodNotAllowed("GET, DELETE")),
    }
}
