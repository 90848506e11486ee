//! What the commands ask about sender domains. Whoever may ask runs the server: he sees all of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::sender_domains::view;
use crate::mail::domain::Domain;
use crate::sending_domain::change::{Changes, Posted};
use crate::sending_domain::record::SendingDomain;
use crate::sending_domain::{Caller, SendingDomains};

/// A question about sender domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Creates one, or looks for its validation record.
    Add {
        /// Its name.
        name: String,
        /// Whose it shall be; none is everybody's.
        login: Option<String>,
        /// It needs no validation.
        approved: bool,
    },
    /// All of them.
    List,
    /// One, with the records to add.
    Show {
        /// Its name.
        name: String,
    },
    /// What is found of it in DNS.
    Check {
        /// Its name.
        name: String,
    },
    /// Removes one with its keys.
    Remove {
        /// Its name.
        name: String,
    },
    /// The public parts of its keys.
    Keys {
        /// Its name.
        name: String,
    },
    /// Our zone, as a file.
    Export,
}

/// Answers a question.
pub(super) async fn answer(order: Order, domains: Option<&SendingDomains>) -> Result<Value, String> {
    let domains = domains.ok_or("this server has no sender domains")?;
    let found = |name: &str| -> Result<Arc<SendingDomain>, String> {
        domains.get(&Caller::Administrator, &parse(name)?).map_err(|error| format!("{name}: {error}"))
    };
    match order {
        Order::Add { name, login, approved } => add(domains, &parse(&name)?, login.map(Arc::from), approved).await,
        Order::List => Ok(domains.list(&Caller::Administrator).iter().map(|domain| shown(domains, domain)).collect()),
        Order::Show { name } => Ok(with_records(domains, &*found(&name)?)),
        Order::Check { name } => {
            let domain = found(&name)?;
            let status = domains.status(&domain).await;
            let parts = status.parts().into_iter().map(|(part, finding)| {
                json!({ "part": part, "status": finding, "required": finding.required, "found": finding.found, "fault": finding.fault })
            });
            Ok(parts.collect())
        }
        Order::Remove { name } => {
            let removed = domains.remove(&Caller::Administrator, &parse(&name)?).await;
            removed.map(|()| json!({ "removed": name })).map_err(|error| format!("{name}: {error}"))
        }
        Order::Keys { name } => Ok(view::keys(&*found(&name)?).into()),
        Order::Export => match domains.zone() {
            Some(zone) => Ok(json!({ "zone": zone.name, "file": zone.to_file() })),
            None => Err("\"zone\" in [domains] is not set: there is no zone to export".to_owned()),
        },
    }
}

async fn add(domains: &SendingDomains, name: &Domain, login: Option<Arc<str>>, approved: bool) -> Result<Value, String> {
    let failed = |error: crate::sending_domain::DomainError| error.to_string();
    if approved {
        let domain = domains.vouch(login, name).await.map_err(failed)?;
        return Ok(with_records(domains, &domain));
    }
    let caller = login.map_or(Caller::Administrator, Caller::Login);
    match domains.submit(&caller, name, Changes::default()).await.map_err(failed)? {
        Posted::Pending(record) => Ok(json!({ "validation": record })),
        Posted::Approved(domain) => Ok(with_records(domains, &domain)),
    }
}

fn parse(name: &str) -> Result<Domain, String> {
    Domain::parse(name).map_err(|error| format!("{name}: {error}"))
}

fn shown(domains: &SendingDomains, domain: &SendingDomain) -> Value {
    let mut value = view::object(domains, domain);
    if let Some(object) = value.as_object_mut() {
        object.insert("login".into(), domain.owner.as_deref().into());
    }
    value
}

fn with_records(domains: &SendingDomains, domain: &SendingDomain) -> Value {
    let mut value = shown(domains, domain);
    if let Some(object) = value.as_object_mut() {
        object.insert("records".into(), json!(domains.recommended(domain)));
    }
    value
}
