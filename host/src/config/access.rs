//! How a login of `[[logins]]` may be used: `scram`, `permissions`, `ips`, `dialect`.

use std::sync::Arc;

use super::IpNetwork;
use super::document::{Fault, Section, Value};
use crate::smtp::scram::Verifier;

/// How a login may be used.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `scram`: what SCRAM-SHA-256 proves the password against.
    pub scram: Option<Verifier>,
    /// `token_scram`: the same for the token, as user name and password.
    pub token_scram: Option<Verifier>,
    /// `permissions`: ways that are closed to it.
    pub closed: Closed,
    /// `ips`: whence it may come; none given is from everywhere.
    pub ips: Vec<IpNetwork>,
    /// `dialect`.
    pub dialect: LoginDialect,
    /// Why it can send nothing now, where it was made at runtime and refers to what the configuration does not have any more.
    pub defect: Option<Arc<str>>,
}

/// What `permissions` of a login leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// No `smtp`.
    pub smtp: bool,
    /// No `rest`.
    pub rest: bool,
}

/// `dialect` of a login: whose rules hold for its mail over SMTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginDialect {
    /// `native`: those of RFC 6409; what is missing in a header is added, or not missed.
    #[default]
    Native,
    /// `mailpace`: a message has From and To.
    MailPace,
}

pub(super) fn read(section: &Section<'_>) -> Access {
    let closed = section.optional("permissions", permissions).unwrap_or_default();
    Access {
        scram: verifier(section, "scram", "password"),
        token_scram: verifier(section, "token_scram", "token"),
        closed,
        ips: section.list("ips", Value::parsed),
        dialect: section.or("dialect", LoginDialect::default(), |value| {
            value.choice(&[("native", LoginDialect::Native), ("mailpace", LoginDialect::MailPace)])
        }),
        defect: None,
    }
}

fn verifier(section: &Section<'_>, key: &'static str, secret: &str) -> Option<Verifier> {
    if section.has(key) && !section.has(secret) {
        section.report(&format!("\"{key}\" needs a \"{secret}\""));
    }
    section.optional(key, |value| {
        Verifier::parse(value.secret()?.expose())
            .ok_or_else(|| "must begin with \"SCRAM-SHA-256$\", as \"tubepost login hash --scram\" makes them".to_owned())
    })
}

fn permissions(value: &Value<'_>) -> Result<Closed, Fault> {
    let mut closed = Closed { smtp: true, rest: true };
    for element in value.elements()? {
        if element.choice(&[("smtp", true), ("rest", false)])? {
            closed.smtp = false;
        } else {
            closed.rest = false;
        }
    }
    Ok(closed)
}
