//! `/v1/dmarc`: DMARC reports that came in, as SMTPeter has it: the days on which there are any, and the XML of one.
//!
//! A login sees the reports on approved sender domains that are open to it, and on others that its `senders` name; an administrator sees all.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use tracing::warn;

use super::problem::{Dialect, Problem};
use super::rest::Call;
use crate::feedback::dmarc::DmarcKey;
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;
use crate::sending_domain::{SendingDomains, Standing};
use crate::store::StoreError;
use crate::submission::login::Principal;
use crate::submission::permission::may_send_as;

/// `GET /v1/dmarc`: an array of days.
pub(super) async fn days(call: Call) -> Response {
    answer(all_days(call).await, "application/json")
}

/// `GET /v1/dmarc/DATE/FROM/FOR`, and `/ID` behind it for those that are not the first.
pub(super) async fn report(Path(path): Path<String>, call: Call) -> Response {
    answer(xml(&path, call).await, "application/xml; charset=utf-8")
}

fn answer(outcome: Result<String, Problem>, kind: &'static str) -> Response {
    let body = match outcome {
        Ok(body) => body,
        Err(problem) => return problem.response(Dialect::V1),
    };
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn all_days(call: Call) -> Result<String, Problem> {
    let principal = asked(&call)?;
    let services = call.services();
    let keys = services.feedback.dmarc_reports().await.map_err(|error| failed(&error))?;
    let seen = keys.into_iter().filter(|key| may_see(&services.domains, &principal, &key.domain));
    let days: BTreeSet<String> = seen.map(|key| key.date).collect();
    Ok(serde_json::json!(days).to_string())
}

async fn xml(path: &str, call: Call) -> Result<String, Problem> {
    let principal = asked(&call)?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (date, from, domain, number) = match parts[..] {
        [date, from, domain] => (date, from, domain, 0),
        [date, from, domain, number] => (date, from, domain, number.parse().map_err(|_| Problem::NotFound)?),
        _ => return Err(Problem::NotFound),
    };
    let key = DmarcKey { date: date.to_owned(), from: from.to_lowercase(), domain: domain.to_lowercase() };
    if !may_see(&call.services().domains, &principal, &key.domain) {
        return Err(Problem::NotFound);
    }
    let found = call.services().feedback.dmarc_xml(&key, number).await.map_err(|error| failed(&error))?;
    found.ok_or(Problem::NotFound)
}

fn asked(call: &Call) -> Result<Principal, Problem> {
    if *call.method() != Method::GET {
        return Err(Problem::MethodNotAllowed("GET"));
    }
    call.principal()
}

pub(super) fn may_see(domains: &SendingDomains, principal: &Principal, domain: &str) -> bool {
    let login = match principal {
        Principal::Administrator(_) => return true,
        Principal::Login(login) => login,
    };
    let Ok(address) = EmailAddress::parse(&format!("dmarc@{domain}")) else { return false };
    // Whoever may send as anybody is not therefore told about everybody.
    let is_named = match domains.standing(&login.name, address.domain()) {
        Standing::Open => true,
        Standing::Foreign => false,
        Standing::Unknown => !login.senders.is_empty(),
    };
    is_named && may_send_as(login, &address)
}

fn failed(error: &StoreError) -> Problem {
    warn!(%error, "DMARC reports cannot be read");
    Problem::Refused(Refusal::StorageFailed)
}
