//! `/v1/domain`, `/v1/dns`, `/v1/dkimkey`, `/v1/spf`: sender domains over REST, with the fields and answers of SMTPeter.
//!
//! The token of a login manages the domains of that login; an administrator's all.

pub mod fields;
pub mod view;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tracing::debug;

use super::Services;
use super::fields::Fields;
use super::problem::{Dialect, Flaw, Problem};
use super::rest::Call;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::refusal::Refusal;
use crate::sending_domain::change::Posted;
use crate::sending_domain::record::SendingDomain;
use crate::sending_domain::{Caller, DomainError};
use crate::store::StoreError;
use crate::submission::login::Principal;

/// What a call is answered with.
enum Answer {
    Json(Value),
    Text(String),
}

impl From<DomainError> for Problem {
    fn from(error: DomainError) -> Self {
        match error {
            DomainError::Unknown => Self::NotFound,
            DomainError::Invalid { field, reason } => Self::from(Flaw::new(field, reason)),
            DomainError::Store(StoreError::Full) => Self::Refused(Refusal::StorageFull),
            DomainError::Store(StoreError::TooLarge(limit)) => Self::from(Flaw::new("name", format!("more than {limit}"))),
            DomainError::Store(StoreError::Poisoned(_) | StoreError::Damaged(_) | StoreError::Unreadable(_) | StoreError::BadDisk(_))
            | DomainError::Key(_) => {
                tracing::warn!("a sender domain could not be changed: {error}");
                Self::Refused(Refusal::StorageFailed)
            }
        }
    }
}

/// `/v1/domains`.
pub(super) async fn domains(call: Call) -> Response {
    respond(list(call).await)
}

/// `/v1/domain/…`.
pub(super) async fn domain(Path(path): Path<String>, call: Call) -> Response {
    respond(one(&path, call).await)
}

/// `/v1/dns/…`.
pub(super) async fn dns(Path(path): Path<String>, call: Call) -> Response {
    respond(records(&path, call).await)
}

/// `/v1/dkimkey/…`.
pub(super) async fn dkim_key(Path(path): Path<String>, call: Call) -> Response {
    respond(key(&path, call).await)
}

/// `/v1/dkimkeys` and below.
pub(super) async fn dkim_keys(path: Option<Path<String>>, call: Call) -> Response {
    let path = path.map(|Path(path)| path).unwrap_or_default();
    respond(keys(&path, call).await)
}

/// `/v1/spf/…`.
pub(super) async fn spf(Path(path): Path<String>, call: Call) -> Response {
    respond(mechanisms(&path, call).await)
}

fn respond(outcome: Result<Answer, Problem>) -> Response {
    let (body, kind) = match outcome {
        Ok(Answer::Json(value)) => (value.to_string(), "application/json"),
        Ok(Answer::Text(text)) => (text, "text/plain; charset=utf-8"),
        Err(problem) => {
            debug!(status = problem.status(Dialect::V1).as_u16(), "call refused");
            return problem.response(Dialect::V1);
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A call whose maker is known.
struct Known {
    services: Arc<Services>,
    caller: Caller,
    method: Method,
    fields: Fields,
}

async fn known(call: Call) -> Result<Known, Problem> {
    let principal = call.principal()?;
    let caller = match principal {
        Principal::Login(login) => Caller::Login(Arc::clone(&login.name)),
        Principal::Administrator(_) => Caller::Administrator,
    };
    let method = call.method().clone();
    let services = call.services();
    let fields = if method == Method::POST { call.fields().await? } else { Fields::default() };
    Ok(Known { services, caller, method, fields })
}

/// The parts of a path; empty ones do not count.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

fn name(text: &str) -> Result<Domain, Problem> {
    Domain::parse(text).map_err(|error| Flaw::new("name", error.to_string()).into())
}

async fn list(call: Call) -> Result<Answer, Problem> {
    let Known { services, caller, method, .. } = known(call).await?;
    if method != Method::GET {
        return Err(Problem::MethodNotAllowed("GET"));
    }
    let domains = services.domains.list(&caller);
    Ok(Answer::Json(domains.iter().map(|domain| view::object(&services.domains, domain)).collect()))
}

async fn one(path: &str, call: Call) -> Result<Answer, Problem> {
    let Known { services, caller, method, fields } = known(call).await?;
    let domains = &services.domains;
    let object = |domain: &SendingDomain| Answer::Json(view::object(domains, domain));
    match (parts(path).as_slice(), method) {
        ([domain], Method::GET) => Ok(object(&*domains.get(&caller, &name(domain)?)?)),
        ([domain], Method::POST) => match domains.submit(&caller, &name(domain)?, fields::changes(&fields)?).await? {
            Posted::Pending(record) => Ok(Answer::Json(json!(record))),
            Posted::Approved(domain) => Ok(object(&domain)),
        },
        ([domain], Method::DELETE) => {
            domains.remove(&caller, &name(domain)?).await?;
            Ok(Answer::Json(json!({})))
        }
        ([domain, address], Method::DELETE) => {
            let address = EmailAddress::parse(address).map_err(|error| Flaw::new("address", error.to_string()))?;
            Ok(object(&*domains.remove_address(&caller, &name(domain)?, &address).await?))
        }
        ([_], _) => Err(Problem::MethodNotAllowed("GET, POST, DELETE")),
        ([_, _], _) => Err(Problem::MethodNotAllowed("DELETE")),
        _ => Err(Problem::NotFound),
    }
}

async fn records(path: &str, call: Call) -> Result<Answer, Problem> {
    let Known { services, caller, method, .. } = known(call).await?;
    let parts = parts(path);
    let [domain, what] = parts.as_slice() else { return Err(Problem::NotFound) };
    if method != Method::GET {
        return Err(Problem::MethodNotAllowed("GET"));
    }
    let domain = services.domains.get(&caller, &name(domain)?)?;
    match *what {
        "recommended" => Ok(Answer::Json(json!(services.domains.recommended(&domain)))),
        "selfhosted" => Ok(Answer::Json(json!(services.domains.self_hosted(&domain)))),
        "status" => Ok(Answer::Json(json!(services.domains.status(&domain).await))),
        _ => Err(Problem::NotFound),
    }
}

async fn key(path: &str, call: Call) -> Result<Answer, Problem> {
    let Known { services, caller, method, fields } = known(call).await?;
    let domains = &services.domains;
    match (parts(path).as_slice(), method) {
        ([domain], Method::GET) => Ok(Answer::Json(view::active_key(&*domains.get(&caller, &name(domain)?)?))),
        ([domain, part @ ("publickey" | "algorithm" | "selector")], Method::GET) => {
            let key = view::active_key(&*domains.get(&caller, &name(domain)?)?);
            let member = if *part == "publickey" { "public" } else { part };
            Ok(Answer::Text(key.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()))
        }
        ([domain, selector], Method::GET) => {
            view::key(&*domains.get(&caller, &name(domain)?)?, selector).map(Answer::Json).ok_or(Problem::NotFound)
        }
        ([domain, selector], Method::POST) => {
            let domain = domains.add_key(&caller, &name(domain)?, selector, fields::new_key(&fields)?).await?;
            view::key(&domain, selector).map(Answer::Json).ok_or(Problem::NotFound)
        }
        ([domain, selector], Method::DELETE) => {
            domains.remove_key(&caller, &name(domain)?, selector).await?;
            Ok(Answer::Json(json!({})))
        }
        ([_], _) => Err(Problem::MethodNotAllowed("GET")),
        ([_, _], _) => Err(Problem::MethodNotAllowed("GET, POST, DELETE")),
        _ => Err(Problem::NotFound),
    }
}

async fn keys(path: &str, call: Call) -> Result<Answer, Problem> {
    let Known { services, caller, method, .. } = known(call).await?;
    if method != Method::GET {
        return Err(Problem::MethodNotAllowed("GET"));
    }
    match parts(path).as_slice() {
        [] => Ok(Answer::Json(services.domains.list(&caller).iter().flat_map(|domain| view::keys(domain)).collect())),
        [domain] => Ok(Answer::Json(view::keys(&*services.domains.get(&caller, &name(domain)?)?).into())),
        [domain, selector] => {
            view::key(&*services.domains.get(&caller, &name(domain)?)?, selector).map(Answer::Json).ok_or(Problem::NotFound)
        }
        _ => Err(Problem::NotFound),
    }
}

async fn mechanisms(path: &str, call: Call) -> Result<Answer, Problem> {
    let Known { services, caller, method, fields } = known(call).await?;
    let domains = &services.domains;
    let parts = parts(path);
    let [domain] = parts.as_slice() else { return Err(Problem::NotFound) };
    let name = name(domain)?;
    let domain = match method {
        Method::GET => domains.get(&caller, &name)?,
        Method::POST => domains.add_mechanisms(&caller, &name, fields::mechanisms(&fields, &name)?).await?,
        Method::DELETE => domains.reset_mechanisms(&caller, &name).await?,
        _ => return Err(Problem::MethodNotAllowed("GET, POST, DELETE")),
    };
    Ok(Answer::Json(json!(domains.mechanisms(&domain))))
}
