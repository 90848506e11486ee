//! `/v1/queue` and `/v1/explain`: what waits, and what is done about it; why mail goes as it does.
//!
//! | call | does |
//! |---|---|
//! | `GET /v1/queue` | lists copies: the choice, `limit`, `after` |
//! | `GET /v1/queue/summary` | how much waits: the choice, `by`, `limit` |
//! | `POST /v1/queue/retry` | makes due: the choice, or `all`; `after` |
//! | `POST /v1/queue/cancel` | takes out: the choice, or `all`; `bounce`, `reason`, `after` |
//! | `GET /v1/queue/suspensions` | lists them |
//! | `POST /v1/queue/suspensions` | suspends: `route`, `domain`, `login`, `tag`, `message`; `for`, `reason` |
//! | `DELETE /v1/queue/suspensions/NUMBER` | ends one |
//! | `GET /v1/explain` | `address`, `login`, `sender` |
//!
//! The choice is `ids`, `route`, `domain`, `login`, `tag`, `status`, `queue`: all that is given must match. The token of a login sees and changes its
//! own mail alone, an administrator's all; where a look was cut, a login is told a sealed [`place`]. A field that is not known is refused: it could have
//! been the one that narrows the choice.

pub mod place;

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::fields::Fields;
use super::problem::{Dialect, Flaw, Problem};
use super::rest::Call;
use crate::archive::filter::{Filter, Grouping, MOST_IDS, Named};
use crate::archive::{Archive, ArchiveError, explain};
use crate::config::unit::TimeSpan;
use crate::mail::domain::Domain;
use crate::mail::message_id::CopyId;
use crate::mail::refusal::Refusal;
use crate::spool::selector::Selector;
use crate::spool::suspension::{NewSuspension, Suspension, SuspensionError};
use crate::store::StoreError;
use crate::submission::login::Principal;
use place::Places;

/// Copies of a page where nobody says otherwise, and at most.
const COPIES: usize = 100;
const MOST_COPIES: usize = 10_000;
/// Groups of a summary where nobody says otherwise, and at most.
const GROUPS: usize = 50;
const MOST_GROUPS: usize = 10_000;

/// Fields of a choice of copies.
const CHOICE: [&str; 8] = ["access_token", "ids", "route", "domain", "login", "tag", "status", "queue"];

/// `/v1/queue`.
pub(super) async fn list(call: Call) -> Response {
    respond(listed(call).await)
}

/// `/v1/queue/summary`.
pub(super) async fn summary(call: Call) -> Response {
    respond(summed_up(call).await)
}

/// `/v1/queue/retry`.
pub(super) async fn retry(call: Call) -> Response {
    respond(changed(call, &["after", "all"], false).await)
}

/// `/v1/queue/cancel`.
pub(super) async fn cancel(call: Call) -> Response {
    respond(changed(call, &["after", "all", "bounce", "reason"], true).await)
}

/// `/v1/queue/suspensions`.
pub(super) async fn suspensions(call: Call) -> Response {
    respond(suspended(call).await)
}

/// `/v1/queue/suspensions/NUMBER`.
pub(super) async fn suspension(Path(number): Path<String>, call: Call) -> Response {
    respond(resumed(&number, call).await)
}

/// `/v1/explain`.
pub(super) async fn explain(call: Call) -> Response {
    respond(explained(call).await)
}

fn respond(outcome: Result<(StatusCode, Value), Problem>) -> Response {
    let (status, body) = match outcome {
        Ok(answer) => answer,
        Err(problem) => {
            debug!(status = problem.status(Dialect::V1).as_u16(), "call refused");
            return problem.response(Dialect::V1);
        }
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Busy => Self::Refused(Refusal::Overloaded),
            ArchiveError::Store(StoreError::Full) => Self::Refused(Refusal::StorageFull),
            ArchiveError::Store(_) | ArchiveError::Index(_) => {
                warn!(%error, "the queue could not be looked at or changed");
                Self::Refused(Refusal::StorageFailed)
            }
        }
    }
}

impl From<SuspensionError> for Problem {
    fn from(error: SuspensionError) -> Self {
        match error {
            SuspensionError::Everything => Flaw::new("domain", error.to_string()).into(),
            SuspensionError::TooLong(field) => Flaw::new(field, error.to_string()).into(),
            SuspensionError::Over => Flaw::new("for", error.to_string()).into(),
            SuspensionError::TooMany(_) | SuspensionError::TooManyEnded(_) => Self::BodyUnreadable(error.to_string()),
            SuspensionError::Store(error) => ArchiveError::Store(error).into(),
        }
    }
}

/// A call whose maker is known.
struct Known {
    archive: Archive,
    places: Places,
    /// The login that calls; `None` is an administrator.
    login: Option<String>,
    /// Who calls, for people.
    by: String,
    method: Method,
    /// Of the body, or of the query string where there is none.
    fields: Fields,
}

impl Known {
    async fn of(call: Call) -> Result<Self, Problem> {
        let (login, by) = match call.principal()? {
            Principal::Login(login) => (Some(login.name.to_string()), format!("login {}", login.name)),
            Principal::Administrator(name) => (None, format!("administrator {name}")),
        };
        let (method, services) = (call.method().clone(), call.services());
        let archive = &services.archive;
        let archive = login.as_deref().map_or_else(|| archive.for_operators(), |login| archive.for_login(login));
        let fields = if method == Method::POST { call.fields().await? } else { call.query() };
        Ok(Self { archive, places: services.places.clone(), login, by, method, fields })
    }

    fn only(&self, method: &Method, name: &'static str) -> Result<(), Problem> {
        if self.method == method { Ok(()) } else { Err(Problem::MethodNotAllowed(name)) }
    }

    fn knows(&self, names: &[&str], more: &[&str]) -> Result<(), Problem> {
        let flaws: Vec<Flaw> =
            self.fields.unknown(&[names, more].concat()).into_iter().map(|name| Flaw::new(name, "is no field of this call")).collect();
        if flaws.is_empty() { Ok(()) } else { Err(Problem::Flaws(flaws)) }
    }

    fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        Ok(self.fields.text(&[name])?.filter(|text| !text.is_empty()))
    }

    fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let text = self.text(name)?;
        Ok(text.map(|text| text.parse().map_err(|error: T::Err| Flaw::new(name, error.to_string()))).transpose()?)
    }

    fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Problem> {
        let number = self.text(name)?.map(|text| text.parse::<usize>().map_err(|_| Flaw::new(name, "is no number"))).transpose()?;
        Ok(number.unwrap_or(default).min(most))
    }

    /// Where the call goes on: behind a copy, or where a login was told.
    fn after(&self) -> Result<Option<CopyId>, Problem> {
        let Some(text) = self.text("after")? else { return Ok(None) };
        let told = self.login.as_deref().and_then(|login| self.places.open(login, &text));
        let wrong = "is no id of a copy, and no `next` that you were told";
        Ok(Some(told.map_or_else(|| text.parse(), Ok).map_err(|_| Flaw::new("after", wrong))?))
    }

    /// What the caller is told: a login neither where a look was cut nor how many copies it took, as they are others' too.
    fn told(&self, found: &impl Serialize) -> Result<(StatusCode, Value), Problem> {
        let (status, mut answer) = ok(found)?;
        if let (Some(login), Some(fields)) = (&self.login, answer.as_object_mut()) {
            fields.remove("looked_at");
            if let Some(next) = fields.get_mut("next") {
                *next = next.as_str().and_then(|id| id.parse().ok()).map_or(Value::Null, |copy| self.places.seal(login, copy).into());
            }
        }
        Ok((status, answer))
    }

    /// Whose mail is meant: a login's own, whatever is said.
    fn whose(&self) -> Result<Option<String>, Problem> {
        let named = self.text("login")?;
        match (&self.login, named) {
            (None, named) => Ok(named),
            (Some(own), Some(named)) if *own != named => Err(Flaw::new("login", "is not the caller: that takes an administrator").into()),
            (Some(own), _) => Ok(Some(own.clone())),
        }
    }

    /// Which mail is meant; a login means its own.
    fn selector(&self) -> Result<Selector, Problem> {
        Ok(Selector {
            route: self.text("route")?,
            domain: self.parsed("domain")?,
            login: self.whose()?,
            tag: self.parsed("tag")?,
            message: self.parsed("message")?,
        })
    }

    /// Which copies are meant.
    fn filter(&self) -> Result<Filter, Problem> {
        let named = match self.fields.structured(&["ids"])? {
            None => Vec::new(),
            Some((name, Value::String(text))) => text.split(',').map(|id| named(&name, id.trim())).collect::<Result<Vec<_>, _>>()?,
            Some((name, Value::Array(ids))) => {
                let id = |id: &Value| named(&name, id.as_str().unwrap_or_default());
                ids.iter().map(id).collect::<Result<Vec<_>, _>>()?
            }
            Some((name, _)) => return Err(Flaw::new(name, "is a list of texts").into()),
        };
        if named.len() > MOST_IDS {
            return Err(Flaw::new("ids", format!("has more than {MOST_IDS}")).into());
        }
        Ok(Filter { named, queue: self.text("queue")?, selector: self.selector()?, status: self.parsed("status")? })
    }

    /// Whether an explanation tells the caller of a suspension: of one of a message or a tag only where it is his business, as it may mean another's mail.
    fn hears_of(&self, suspension: &Suspension) -> bool {
        self.sees(suspension) || suspension.selector.is_of_places()
    }

    /// Whether a suspension is the caller's business.
    fn sees(&self, suspension: &Suspension) -> bool {
        self.login.is_none() || suspension.owner == self.login || suspension.selector.login == self.login
    }
}

fn named(field: &str, id: &str) -> Result<Named, Problem> {
    id.parse().map_err(|error: String| Flaw::new(field, error).into())
}

fn ok(value: &impl Serialize) -> Result<(StatusCode, Value), Problem> {
    Ok((StatusCode::OK, serde_json::to_value(value).map_err(|error| Problem::BodyUnreadable(error.to_string()))?))
}

async fn listed(call: Call) -> Result<(StatusCode, Value), Problem> {
    let known = Known::of(call).await?;
    known.only(&Method::GET, "GET")?;
    known.knows(&CHOICE, &["limit", "after"])?;
    let (filter, limit) = (known.filter()?, known.number("limit", COPIES, MOST_COPIES)?);
    if limit == 0 {
        // The next call would begin where this one did.
        return Err(Flaw::new("limit", "is at least 1").into());
    }
    known.told(&known.archive.queue(&filter, known.after()?, limit).await?)
}

async fn summed_up(call: Call) -> Result<(StatusCode, Value), Problem> {
    let known = Known::of(call).await?;
    known.only(&Method::GET, "GET")?;
    known.knows(&CHOICE, &["by", "limit"])?;
    let (filter, by) = (known.filter()?, known.parsed::<Grouping>("by")?.unwrap_or_default());
    known.told(&known.archive.queue_summary(&filter, by, known.number("limit", GROUPS, MOST_GROUPS)?).await?)
}

async fn changed(call: Call, more: &[&str], cancels: bool) -> Result<(StatusCode, Value), Problem> {
    let known = Known::of(call).await?;
    known.only(&Method::POST, "POST")?;
    known.knows(&CHOICE, more)?;
    // What is empty is not "all": a script may have found nothing to name.
    for name in CHOICE.iter().filter(|name| known.fields.has(&[**name])) {
        let is_empty = if *name == "ids" { known.filter()?.named.is_empty() } else { known.text(name)?.is_none() };
        if is_empty {
            return Err(Flaw::new(*name, "is empty: leave it out, or say which").into());
        }
    }
    let names_any = CHOICE.iter().any(|name| *name != "access_token" && known.fields.has(&[name]));
    if !names_any && known.fields.switch(&["all"])? != Some(true) {
        return Err(Flaw::new("ids", "say which: ids, another choice, or all").into());
    }
    let (filter, after) = (known.filter()?, known.after()?);
    let archive = &known.archive;
    if !cancels {
        return known.told(&archive.retry(&filter, after).await?);
    }
    let reason = known.text("reason")?.unwrap_or_default();
    let bounces = known.fields.switch(&["bounce"])? == Some(true);
    known.told(&archive.cancel(&filter, after, bounces.then_some(reason.as_str())).await?)
}

async fn suspended(call: Call) -> Result<(StatusCode, Value), Problem> {
    let known = Known::of(call).await?;
    let archive = &known.archive;
    match known.method {
        Method::GET => {
            let seen: Vec<Suspension> = archive.suspensions().into_iter().filter(|suspension| known.sees(suspension)).collect();
            ok(&json!({ "suspensions": seen }))
        }
        Method::POST => {
            known.knows(&["access_token", "route", "domain", "login", "tag", "message", "for", "reason"], &[])?;
            let until = known.parsed::<TimeSpan>("for")?.map(|TimeSpan(time)| archive.now().plus(time));
            let reason = known.text("reason")?.unwrap_or_default();
            let new = NewSuspension { selector: known.selector()?, reason, by: known.by.clone(), owner: known.login.clone(), until };
            let (_, made) = ok(&archive.suspend(new).await?)?;
            Ok((StatusCode::CREATED, made))
        }
        _ => Err(Problem::MethodNotAllowed("GET, POST")),
    }
}

async fn resumed(number: &str, call: Call) -> Result<(StatusCode, Value), Problem> {
    let known = Known::of(call).await?;
    known.only(&Method::DELETE, "DELETE")?;
    let number = number.parse().map_err(|_| Problem::NotFound)?;
    // What an operator has suspended only he lets go.
    let login = known.login.clone();
    let may_end = move |suspension: &Suspension| login.is_none() || suspension.owner == login;
    ok(&known.archive.resume(number, may_end).await?.ok_or(Problem::NotFound)?)
}

async fn explained(call: Call) -> Result<(StatusCode, Value), Problem> {
    let known = Known::of(call).await?;
    known.only(&Method::GET, "GET")?;
    known.knows(&["access_token", "address", "login", "sender"], &[])?;
    let address = known.parsed("address")?.ok_or_else(|| Flaw::new("address", "is missing"))?;
    let sender = known.text("sender")?.map(|text| Domain::parse(&text).map_err(|error| Flaw::new("sender", error.to_string())));
    let question = explain::Question { address, login: known.whose()?, sender: sender.transpose()? };
    let mut explanation = known.archive.explain(&question).await.map_err(|error| match error {
        explain::ExplainError::NoLogin(_) => Flaw::new("login", error.to_string()).into(),
        explain::ExplainError::Archive(error) => Problem::from(error),
    })?;
    for way in &mut explanation.ways {
        way.suspensions.retain(|suspension| known.hears_of(suspension));
    }
    ok(&explanation)
}
