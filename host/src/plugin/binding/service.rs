//! The services of the host, as the WIT's comments promise them.

use std::time::Duration;

use super::wit_http::{Error as HttpFault, Request, Response};
use super::wit_kv::Error as KvFault;
use super::wit_templates::Template;
use super::{wit_clock, wit_http, wit_kv, wit_metrics, wit_secrets, wit_templates};
use crate::network::http_client::HttpError;
use crate::plugin::sandbox::State;
use crate::plugin::service::desk::{AskError, DeskError, RequestTo};
use crate::plugin::service::table::TableError;

impl From<DeskError> for KvFault {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Denied(reason) => Self::Denied(reason),
            DeskError::Table(TableError::Invalid(reason)) => Self::Invalid(reason),
            DeskError::Table(TableError::Full) => Self::Full,
            DeskError::Table(TableError::Unavailable(reason)) => Self::Unavailable(reason),
        }
    }
}

impl From<AskError> for HttpFault {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Denied(reason) => Self::Denied(reason),
            AskError::Http(error @ HttpError::Private(_)) => Self::Denied(error.to_string()),
            AskError::Http(HttpError::Invalid(reason)) => Self::Invalid(reason),
            AskError::Http(HttpError::Timeout) => Self::Timeout,
            AskError::Http(HttpError::TooLarge(limit)) => Self::TooLarge(limit),
            AskError::Http(HttpError::Unreachable(reason)) => Self::Unreachable(reason),
        }
    }
}

impl State {
    /// Waits for something that is no work of the processor's: others have the turn meanwhile.
    async fn rested<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> wasmtime::Result<T> {
        self.in_stage()?;
        let left = self.desk.wait_left();
        self.pace.rest();
        let waited = tokio::time::timeout(left, work(self)).await;
        self.pace.begin().await;
        let Ok(result) = waited else {
            return Err(wasmtime::format_err!("waited longer than the {} s that a call may wait", self.desk.wait_time().as_secs()));
        };
        self.desk.has_waited();
        Ok(result)
    }
}

impl wit_clock::Host for State {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.in_stage()?;
        Ok(self.now.as_millis())
    }
}

impl wit_metrics::Host for State {
    fn add(&mut self, name: String, value: u64) -> wasmtime::Result<()> {
        self.in_stage()?;
        self.desk.count(&name, value);
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.in_stage()?;
        self.desk.observe(&name, value);
        Ok(())
    }
}

impl wit_secrets::Host for State {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.in_stage()?;
        Ok(self.desk.secret(&name))
    }
}

impl wit_templates::Host for State {
    fn find(&mut self, name: String) -> wasmtime::Result<Option<Template>> {
        self.in_stage()?;
        let found = self.desk.template(&name);
        Ok(found.map(|template| Template { subject: template.subject.clone(), text: template.text.clone(), html: template.html.clone() }))
    }
}

impl wit_kv::Host for State {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, KvFault>> {
        self.rested(async |state| Ok(state.desk.get(&key).await?.map(|value| value.to_vec()))).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, seconds: Option<u32>) -> wasmtime::Result<Result<(), KvFault>> {
        self.rested(async |state| Ok(state.desk.set(&key, value, seconds).await?)).await
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), KvFault>> {
        self.rested(async |state| Ok(state.desk.delete(&key).await?)).await
    }

    async fn increment(&mut self, key: String, by: i64, seconds: Option<u32>) -> wasmtime::Result<Result<i64, KvFault>> {
        self.rested(async |state| Ok(state.desk.increment(&key, by, seconds).await?)).await
    }
}

impl wit_http::Host for State {
    async fn send(&mut self, what: Request) -> wasmtime::Result<Result<Response, HttpFault>> {
        let request = RequestTo {
            method: what.method,
            url: what.url,
            headers: what.headers,
            body: what.body,
            time: what.timeout_ms.map(|time| Duration::from_millis(u64::from(time))),
        };
        self.rested(async |state| {
            let answer = state.desk.ask(request).await?;
            Ok(Response { status: answer.status, headers: answer.headers, body: answer.body.to_vec() })
        })
        .await
    }
}
