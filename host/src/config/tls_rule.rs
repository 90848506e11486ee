//! `[[tls_rules]]`: how well mail for certain domains is to be protected, whatever their servers offer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{Section, Value, is_name};
use super::route::Route;
use super::shaping::HostPattern;
use super::suggestion::did_you_mean;
use super::tls_level::{self, TlsLevel};

/// `[[tls_rules]]`: the least that is done for the mail of certain recipients. The first rule that matches takes the place of what the route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRule {
    /// `name`: unique; in deferrals, and in what is explained of a destination.
    pub name: Arc<str>,
    /// `domains`: recipients' domains; none given are all.
    pub domains: Vec<HostPattern>,
    /// `route`: only mail of this route.
    pub route: Option<Arc<str>>,
    /// `tls`.
    pub tls: TlsLevel,
    /// `hosts`: the only hosts that get the mail; none given are all that DNS names.
    pub hosts: Vec<HostPattern>,
}

impl TlsRule {
    /// Whether it is about mail for `domain`, in A-labels, over `route`.
    pub fn matches(&self, route: &str, domain: &str) -> bool {
        self.route.as_deref().is_none_or(|wanted| wanted == route)
            && (self.domains.is_empty() || self.domains.iter().any(|pattern| pattern.matches(domain)))
    }
}

pub(super) fn read(file: &Section<'_>, routes: &BTreeMap<Arc<str>, Route>) -> Vec<TlsRule> {
    let mut names = BTreeSet::new();
    file.sections("tls_rules", |section, number| {
        section.rename(format!("TLS rule {number}"));
        let name = section.required("name", |value| {
            let name: Arc<str> = value.text()?.into();
            if !is_name(&name) {
                return Err("a name has 1 to 64 letters, digits, \"-\", \"_\" and \".\"".to_owned());
            }
            section.rename(format!("TLS rule \"{name}\""));
            if names.insert(Arc::clone(&name)) { Ok(name) } else { Err("another rule has this name".to_owned()) }
        });
        let domains = section.list("domains", Value::parsed::<HostPattern>);
        let route = section.optional("route", |value| {
            let name = value.text()?;
            match routes.get_key_value(name) {
                Some((name, Route::Mx(_))) => Ok(Arc::clone(name)),
                Some((_, Route::SmartHost(_) | Route::Capture)) => {
                    Err(format!("route \"{name}\" is not of kind \"mx\": say it with \"tls\" of the route"))
                }
                None => Err(format!("no route \"{name}\"{}", did_you_mean(name, routes.keys().map(|name| &**name)))),
            }
        });
        let tls = section.required("tls", tls_level::read);
        let hosts = section.list("hosts", Value::parsed::<HostPattern>);
        Some(TlsRule { name: name?, domains, route, tls: tls?, hosts })
    })
}
