//! `[[inbound]]`: what is done with mail for domains of our own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::document::{Fault, Section, Value};
use super::mx::Mx;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;

/// The login under whose name mail that came in from outside stands in the spool and in events. Nobody can log in as it.
pub const INBOUND: &str = "@inbound";

/// `[[inbound]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// `domain`.
    pub domain: Domain,
    /// `recipients`: none given is all there can be.
    pub recipients: Vec<LocalPattern>,
    /// `action`.
    pub action: InboundAction,
    /// `dmarc`.
    pub dmarc: DmarcPolicy,
}

/// Who is meant by an entry of `recipients`. ASCII case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalPattern {
    /// `"info"`.
    Exactly(Box<str>),
    /// `"info+*"`, and `"*"` for all.
    Prefix(Box<str>),
}

/// What is done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboundAction {
    /// `keep`: it can be looked at as long as `store.retention` says.
    Keep,
    /// `forward`: it is sent on.
    Forward {
        /// `to`.
        to: EmailAddress,
        /// `route`. Default: that of `[mx]`.
        route: Arc<str>,
    },
}

/// What DMARC decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmarcPolicy {
    /// `report`: it is written down.
    #[default]
    Report,
    /// `reject`: mail that the domain in From wants refused is refused.
    Reject,
}

impl LocalPattern {
    fn parse(text: &str) -> Result<Self, Fault> {
        let (literal, is_prefix) = text.strip_suffix('*').map_or((text, false), |prefix| (prefix, true));
        if literal.contains(['*', '@', '%', '!', '"']) || literal.len() > 64 || literal.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(format!("\"{text}\" is none; a recipient is what stands before the @: \"info\", \"info+*\", or \"*\" for all"));
        }
        let literal = literal.to_ascii_lowercase().into_boxed_str();
        match is_prefix {
            true => Ok(Self::Prefix(literal)),
            false if literal.is_empty() => Err("is empty".to_owned()),
            false => Ok(Self::Exactly(literal)),
        }
    }

    /// Whether it means this local part, which is in lower case as far as it is ASCII.
    pub fn fits(&self, local: &str) -> bool {
        match self {
            Self::Exactly(name) => **name == *local,
            Self::Prefix(prefix) => local.starts_with(&**prefix),
        }
    }
}

enum Kind {
    Keep,
    Forward,
}

pub(super) fn read(file: &Section<'_>, mx: &Mx, routes: &[&str]) -> Vec<Inbound> {
    let mut taken: BTreeSet<(String, LocalPattern)> = BTreeSet::new();
    file.sections("inbound", |section, number| {
        section.rename(format!("inbound {number}"));
        let domain = section.required("domain", |value| {
            let domain: Domain = value.parsed()?;
            if domain.literal().is_some() { Err("must be a name, not an address".to_owned()) } else { Ok(domain) }
        });
        let recipients = section.list("recipients", |value| LocalPattern::parse(value.text()?));
        if !section.has("recipients") {
            section.report("\"recipients\" is missing: whose mail is taken? [\"*\"] is everybody's");
        }
        for pattern in &recipients {
            if let Some(domain) = &domain
                && !taken.insert((domain.to_ascii(), pattern.clone()))
            {
                section.report("another [[inbound]] has one of these recipients of this domain");
            }
        }
        let action = action(section, mx, routes);
        let dmarc = section
            .or("dmarc", DmarcPolicy::default(), |value| value.choice(&[("report", DmarcPolicy::Report), ("reject", DmarcPolicy::Reject)]));
        Some(Inbound { domain: domain?, recipients, action: action?, dmarc })
    })
}

fn action(section: &Section<'_>, mx: &Mx, routes: &[&str]) -> Option<InboundAction> {
    let Some(kind) = section.required("action", |value| value.choice(&[("keep", &Kind::Keep), ("forward", &Kind::Forward)])) else {
        section.leave_open();
        return None;
    };
    match kind {
        Kind::Keep => Some(InboundAction::Keep),
        Kind::Forward => {
            let to = section.required("to", Value::parsed);
            let route = section.optional("route", |value| Ok((value.clone(), value.text()?)));
            let route = route.and_then(|(value, route)| super::login::reference(&value, "route", route, routes));
            if !section.has("route") && mx.route.is_none() {
                section.report("\"forward\" needs a \"route\", here or in [mx]");
            }
            Some(InboundAction::Forward { to: to?, route: route.or_else(|| mx.route.clone())? })
        }
    }
}
