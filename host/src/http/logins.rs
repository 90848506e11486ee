//! `/v1/logins`: logins that are made while the server runs, for administrators.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value};

use super::Services;
use super::origin::Origin;
use super::problem::{Dialect, Flaw, Problem};
use super::rest::{credentials_problem, token};
use crate::mail::refusal::Refusal;
use crate::store::StoreError;
use crate::submission::login::Principal;
use crate::submission::login::book::{MOST_LISTED, Order, OrderError};

/// Octets that a description of a login may have.
const LARGEST_BODY: usize = 64 * 1024;

/// `GET` lists, `POST` makes one.
pub(super) async fn all(State(services): State<Arc<Services>>, Extension(origin): Extension<Origin>, request: Request) -> Response {
    let is_get = request.method() == Method::GET;
    let order = async {
        administrator(&services, &origin, &request)?;
        match *request.method() {
            Method::GET => {
                let query = |name: &str| super::rest::query_of(request.uri(), name);
                let limit = query("limit").map_or(Ok(100), |text| text.parse().map_err(|_| Flaw::new("limit", "must be a number")))?;
                Ok(Order::List { after: query("after"), limit: MOST_LISTED.min(limit) })
            }
            Method::POST => {
                let mut keys = object(request.into_body()).await?;
                let name =
                    keys.remove("name").and_then(|name| name.as_str().map(str::to_owned)).ok_or_else(|| Flaw::new("name", "missing"))?;
                Ok(Order::Create { name, keys })
            }
            _ => Err(Problem::MethodNotAllowed("GET, POST")),
        }
    };
    answer(&services, order.await, if is_get { StatusCode::OK } else { StatusCode::CREATED }).await
}

/// `GET` shows, `POST` changes, `DELETE` revokes.
pub(super) async fn one(
    State(services): State<Arc<Services>>,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let order = async {
        administrator(&services, &origin, &request)?;
        match *request.method() {
            Method::GET => Ok(Order::Show { name }),
            Method::POST => Ok(Order::Change { name, keys: object(request.into_body()).await? }),
            Method::DELETE => Ok(Order::Revoke { name }),
            _ => Err(Problem::MethodNotAllowed("GET, POST, DELETE")),
        }
    };
    answer(&services, order.await, StatusCode::OK).await
}

/// `POST` makes other secrets.
pub(super) async fn regenerate(
    State(services): State<Arc<Services>>,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let order = administrator(&services, &origin, &request).and_then(|()| match *request.method() {
        Method::POST => Ok(Order::Regenerate { name }),
        _ => Err(Problem::MethodNotAllowed("POST")),
    });
    answer(&services, order, StatusCode::OK).await
}

fn administrator(services: &Services, origin: &Origin, request: &Request) -> Result<(), Problem> {
    let token = token(request.headers(), request.uri()).ok_or(Problem::MissingCredentials)?;
    match services.logins.principal(&token, origin.ip).map_err(credentials_problem)? {
        Principal::Administrator(_) => Ok(()),
        Principal::Login(_) => Err(Problem::Forbidden),
    }
}

async fn object(body: Body) -> Result<Map<String, Value>, Problem> {
    let octets = to_bytes(body, LARGEST_BODY).await.map_err(|_| Problem::BodyTooLarge { limit: LARGEST_BODY as u64 })?;
    serde_json::from_slice(&octets).map_err(|error| Problem::BodyUnreadable(format!("the body is no JSON object: {error}")))
}

async fn answer(services: &Services, order: Result<Order, Problem>, status: StatusCode) -> Response {
    let done = match order {
        Ok(order) => services.logins.carry_out(order).await.map_err(|error| problem(&error)),
        Err(problem) => Err(problem),
    };
    match done {
        Ok(value) => {
            let mut response = Response::new(Body::from(value.to_string()));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(problem) => problem.response(Dialect::V1),
    }
}

fn problem(error: &OrderError) -> Problem {
    match error {
        OrderError::Unknown(_) => Problem::NotFound,
        OrderError::InFile(_) | OrderError::Taken(_) | OrderError::Inherits { .. } => Flaw::new("name", error.to_string()).into(),
        OrderError::Wrong(_) | OrderError::TooMany(_) => Problem::BodyUnreadable(error.to_string()),
        OrderError::Store(StoreError::Full) => Problem::Refused(Refusal::StorageFull),
        OrderError::Store(_) => Problem::Refused(Refusal::StorageFailed),
    }
}
